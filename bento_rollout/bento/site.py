"""`Site`: the decorated service's rollout as it was defined; what runs in a worker is `Serving`.

The process that starts the workers imports this and nothing of what serves: it has no use for it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _bentoml_sdk.service import Service
from bentoml._internal.configuration.containers import BentoMLContainer

from ..admin.binding import Binding
from ..hooks import Hook
from ..spec import RolloutSpec
from ..store.location import locate
from ..store.opened import open_at
from ..store.place import folder_of
from .deploying import deploy, resolver
from .method import Method
from .service_dependency import keep_up
from .variants import Definition

if TYPE_CHECKING:
    from ..calls import Sink
    from ..webhook import Webhook
    from .listener import Listener
    from .middleware import App
    from .serving import Serving

__all__ = ["Site"]


class Site:
    """One decorated service.

    Args:
        service: the service object that the user decorated.
        spec: the rollout's spec.
        definitions: by variant, the decorated one first.
        methods: the decorated class's own endpoints.
        before, after: the hooks around a flip.

    Attributes:
        sink: takes an observation for each run of a variant, and what variants become; set it before the
            service starts.
        file: where the spec was read from; None: it is not from a file.
        text: what was in that file.
        is_error: the user's own word on what counts as a variant's error; None: its outcome tells.
        notify: who is told what becomes of a try.
        code: names the code that this worker runs, once it has begun.
        instance: the service's instance in this worker.
        serving: this worker's part, once it has begun.
    """

    def __init__(
        self,
        service: Service[Any],
        spec: RolloutSpec,
        definitions: Mapping[str, Definition],
        methods: Mapping[str, Method],
        before: tuple[Hook, ...],
        after: tuple[Hook, ...],
    ) -> None:
        self.service, self.spec, self.definitions, self.methods = service, spec, definitions, methods
        self.before, self.after = before, after
        self.name = spec.name or service.name
        self.champion = next(iter(definitions))
        self.is_error: Callable[[BaseException], bool] | None = None
        self.base = (service.path_prefix or "").rstrip("/")
        self.prefix = f"{self.base}/rollout/"
        self.file: Path | None = None
        self.text, self.code = b"", ""
        self.notify: tuple[Hook | Webhook, ...] = ()
        self.sink: Sink | None = None
        self.instance: Any = None
        self.serving: Serving | None = None
        self._listener: Listener | None = None

    @property
    def unwell(self) -> str | None:
        """What is wrong in this worker beside its store; None: nothing."""
        return None if self._listener is None else self._listener.problem

    def routes(self) -> dict[str, tuple[str, str]]:
        """Return which paths lead to which endpoint, and as what: call, submit, retry, get or status."""
        routes: dict[str, tuple[str, str]] = {}
        for endpoint, method in self.methods.items():
            path = f"{self.base}{method.route}"
            routes[path] = (endpoint, "call")
            if method.is_task:
                verbs = ("submit", "retry", "get", *(("status",) if endpoint in self.spec.automation else ()))
                routes.update({f"{path}/{verb}": (endpoint, verb) for verb in verbs})
        return routes

    def pinnable(self) -> tuple[str, ...]:
        """Return the variants that a caller may pin."""
        return tuple(self.definitions)

    @property
    def watched(self) -> str | None:
        """The endpoint whose inputs are watched for drift; None: none is."""
        drift, endpoints = self.spec.drift, self.spec.endpoints or tuple(self.methods)
        return None if drift is None or drift.data is None else drift.endpoint_of(endpoints)

    def time_limit(self) -> float | None:
        """Return the seconds that BentoML gives a request."""
        config = BentoMLContainer.config.services[self.service.name].get()
        return (config.get("traffic") or {}).get("timeout")

    def digests(self) -> dict[str, str]:
        """Return the digest of each variant, with the tags that they resolve to now."""
        resolve = resolver(self.service)
        return {name: definition.digest(resolve) for name, definition in self.definitions.items()}

    def models(self) -> dict[str, list[str]]:
        """Return what the model references of each variant stand for now."""
        resolve = resolver(self.service)
        found = {name: definition.models for name, definition in self.definitions.items()}
        return {
            n: [str(getattr(m, "model_id", None) or resolve(m)) for m in models]
            for n, models in found.items()
        }

    def deploy(self) -> None:
        """Do what is done once for all workers, in the process that starts them."""
        Binding.from_environment(os.environ)  # one that cannot be stops the start
        deploy(self.service, self.name, self.spec, self.definitions, self.file, self.text)
        keep_up(self.service, list(self.definitions.values())[1:])

    async def start(self, app: App, outermost: Any = None) -> App:
        """Begin this worker's part, when the service has started; return what serves requests from now on.

        Args:
            app: the service's own app.
            outermost: the application as the server calls it, with all that stands around that one.
        """
        from .requests import Requests
        from .serving import Serving

        self.serving = Serving(self)
        binding = Binding.from_environment(os.environ)
        await self.serving.start(outermost)
        if binding is not None:
            from .listener import Listener  # most services serve operators with everybody else

            place = folder_of(open_at(locate()).place(self.name))
            self._listener = Listener(binding, place, self.serving.doors.operators, self.name)
            self._listener.start()
        return Requests(app, self, self.serving)

    async def stop(self) -> None:
        """End this worker's part; called before the service's own shutdown hooks."""
        if self._listener is not None:
            await asyncio.to_thread(self._listener.stop)
        if self.serving is not None:
            await self.serving.stop()
