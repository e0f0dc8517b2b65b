"""`Site`: the decorated service's rollout in this process: what was defined, and once it serves, what runs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

from _bentoml_sdk.method import APIMethod
from _bentoml_sdk.models import BentoModel
from _bentoml_sdk.service import Service
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.context import server_context
from bentoml.exceptions import BentoMLException
from pydantic import ValidationError

from ..errors import Incompatible, RolloutError
from ..feed import Feed
from ..hooks import Hook
from ..opening import check_champion, first_commit, open_state
from ..operations import open_rollout
from ..records import Observation, Plan
from ..router import Call, Router
from ..spec import RolloutSpec
from ..store.location import locate
from ..store.presence import Card, VariantCard
from ..store.sqlite import SQLiteStore
from ..telemetry import log
from ..worker import Worker
from .context import ACTIVE, isolate
from .endpoints import RUNTIME, Facade, converter_between
from .joining import deployment_hooks
from .tasks import Tasks
from .variants import Definition
from .worker_runner import WorkerRunner

__all__ = ["Site"]

PINS = "BENTO_ROLLOUT_PINS"
"""Set by the process that starts the workers: tags like ``:latest``, resolved once for all of them."""

BROKEN = "BENTO_ROLLOUT_BROKEN"
"""Set by the process that starts the workers: candidates whose deployment hooks failed."""

PATIENCE = 10.0
"""Seconds that a worker waits for its candidates before it serves without those that are still starting."""


class Dropped:
    """A sink for facts that nobody subscribed to."""

    def offer(self, fact: Observation) -> None:
        """Drop a fact."""


class Site:
    """One decorated service.

    Args:
        service: the service object that the user decorated.
        spec: the rollout's spec.
        definitions: by variant, the decorated one first.
        methods: the decorated class's own endpoints.
        before, after: the hooks around a flip.
    """

    def __init__(self, service: Service[Any], spec: RolloutSpec, definitions: Mapping[str, Definition],
                 methods: Mapping[str, APIMethod[..., Any]], before: tuple[Hook, ...], after: tuple[Hook, ...]) -> None:
        self.service, self.spec, self.definitions = service, spec, definitions
        self.name = spec.name or service.name
        self.champion = next(iter(definitions))
        self.prefix = f"{(service.path_prefix or '').rstrip('/')}/rollout/"
        self.sink: Any = Dropped()
        self.instance: Any = None
        self._methods, self._before, self._after = methods, before, after
        self._runners: dict[str, WorkerRunner] = {}
        self._digests: dict[str, str] = {}
        self._facades: dict[str, Facade] = {}
        self._router: Router | None = None
        self._worker: Worker | None = None
        self._admin: Any = None
        self._starting: set[asyncio.Task[None]] = set()
        self.tasks = Tasks(BentoMLContainer.result_store_file.get, self._replan)

    # -- what the middleware asks -----------------------------------------------------------------------------

    def routes(self) -> dict[str, tuple[str, str]]:
        """Return which paths lead to which endpoint, and as what: call, submit, retry or get."""
        routes: dict[str, tuple[str, str]] = {}
        for endpoint, method in self._methods.items():
            path = f"{(self.service.path_prefix or '').rstrip('/')}{method.route}"
            routes[path] = (endpoint, "call")
            if method.is_task:
                routes.update({f"{path}/{verb}": (endpoint, verb) for verb in ("submit", "retry", "get")})
        return routes

    def pinnable(self, endpoint: str) -> tuple[str, ...]:
        """Return the variants that a caller of an endpoint may pin."""
        return tuple(self.definitions)

    def time_limit(self) -> float | None:
        """Return the seconds that BentoML gives a request."""
        config = BentoMLContainer.config.services[self.service.name].get()
        return (config.get("traffic") or {}).get("timeout")  # type: ignore[no-any-return]  # a number or None

    def plan_from_head(self, call: Call, scope: Mapping[str, Any]) -> tuple[Plan | None, object]:
        """Return a call's plan and key when the request's head is enough to know them."""
        facade = self._facades.get(call.endpoint)
        return (None, None) if facade is None else facade.plan_from_head(call, scope)

    async def admin(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve what lies under ``/rollout``."""
        if self._admin is None:
            from ..admin import admin_app

            self._admin = admin_app(lambda: open_rollout(self.name), prefix=self.prefix.rstrip("/"))
        await self._admin(scope, receive, send)

    # -- in the process that starts the workers ---------------------------------------------------------------

    def deploy(self) -> None:
        """Check, once for all workers, what must stop the start; resolve tags; say where the state lives."""
        pins = {str(ref.tag): self._resolve(ref) for d in self.definitions.values() for _, ref in d.references if isinstance(ref, BentoModel)}
        os.environ[PINS] = json.dumps({**json.loads(os.environ.get(PINS, "{}")), **pins})
        digests = self.digests()
        check_twins(self.definitions, digests)
        self._deploy_candidates()
        location = locate()
        store = SQLiteStore(location.path, create=True)
        whom = "this host" if location.durable else f"nobody for long ({location.why}); changes are refused"
        problem, state = None, first_commit(self.name, self.champion, self.spec, digests).state
        try:
            store.check()
            commit = store.read(self.name)
            state = commit.state if commit else state
        except (RolloutError, OSError) as error:
            problem = str(error)
            copy = store.beacon(self.name).load()
            state = copy.state if copy else state
        check_champion(state, digests)
        log.event("rollout.store", "info" if problem is None else "error", rollout=self.name, store=str(location), binds=whom,
                  revision=state.revision, champion=state.champion, **({} if problem is None else {"problem": problem}))
        self._say_differences(state)

    def _say_differences(self, state: Any) -> None:
        if differences := state.differences(self.spec):
            log.event("rollout.spec_differs", "warning", rollout=self.name, differences=differences,
                      hint="the state wins; to make the spec's values the state: bento-rollout apply FILE")
        if missing := sorted(state.named - set(self.definitions)):
            log.event("rollout.missing", "warning", rollout=self.name, variants=missing,
                      hint="the champion answers for them; take them out with: bento-rollout retire " + self.name + " VARIANT")
        if any(shadow.percent for shadow in self.spec.shadow.values()):
            log.event("rollout.no_shadow", "warning", rollout=self.name, hint="this version records shadow percents and runs no shadow calls yet")

    def _deploy_candidates(self) -> None:
        broken: dict[str, str] = {}
        for name, definition in list(self.definitions.items())[1:]:
            ours = {getattr(hook, "__func__", hook) for hook in deployment_hooks(self.definitions[self.champion])}
            for hook in deployment_hooks(definition):
                if getattr(hook, "__func__", hook) in ours:
                    continue  # the same code with another model: the champion's own run is enough
                try:
                    hook()
                except Exception as error:  # noqa: BLE001 - a candidate that cannot be deployed is `failed`, no more
                    broken[name] = f"its deployment hook raised {type(error).__name__}: {error}"
        os.environ[BROKEN] = json.dumps(broken)

    # -- in a worker ------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin this worker's part; called when the service has started, before it takes requests."""
        self._digests = self.digests()
        store = SQLiteStore(locate().path, create=True)
        commit = open_state(store, self.name, self.champion, self.spec, self._digests)
        check_champion(commit.state, self._digests)
        await self._start_runners(commit.state.champion)
        feed = Feed(store, commit)
        self._router = Router(feed, self._runners, self.spec, self.sink, is_client_error, isolate, self._digests)
        self._serve(self._router)
        self._worker = Worker(store, feed, self._before, self._after, self._card, self._lend, asyncio.get_running_loop())
        await asyncio.to_thread(self._worker.start)

    async def stop(self) -> None:
        """End this worker's part; called before the service's own shutdown hooks."""
        if self._worker is not None:
            await asyncio.to_thread(self._worker.stop)
        for task in self._starting:
            task.cancel()
        for name, runner in self._runners.items():
            try:
                await runner.close()
            except Exception as error:  # noqa: BLE001 - a candidate's shutdown must not cost the champion's
                log.event("variant.shutdown_failed", "error", rollout=self.name, variant=name, error=f"{type(error).__name__}: {error}")

    def digests(self) -> dict[str, str]:
        """Return the digest of each variant, with the tags that they resolve to now."""
        return {name: definition.digest(self._resolve) for name, definition in self.definitions.items()}

    async def _start_runners(self, champion: str) -> None:
        broken = json.loads(os.environ.get(BROKEN, "{}"))
        for name, definition in self.definitions.items():
            threads = int(definition.service.config.get("threads", 1) or 1)
            self._runners[name] = WorkerRunner(definition, self.service.context, threads, self._observe_batch)
        self._runners[self.champion].adopt(self.instance, self._methods)
        waits = []
        for name, runner in list(self._runners.items())[1:]:
            if name in broken:
                runner.state, runner.error = "failed", broken[name]
                continue
            task = asyncio.ensure_future(self._start_runner(runner))
            self._starting.add(task)
            task.add_done_callback(self._starting.discard)
            waits.append(task)
            if name == champion:
                await task  # the champion's start is the service's start
        if waits:
            await asyncio.wait(waits, timeout=PATIENCE)

    async def _start_runner(self, runner: WorkerRunner) -> None:
        await runner.start()
        if runner.error is not None:
            log.event("variant.failed", "error", rollout=self.name, variant=runner.name, error=runner.error)
        if self._worker is not None:
            await asyncio.to_thread(self._worker.refresh)

    def _serve(self, router: Router) -> None:
        instance, champion = self.instance, self._runners[self.champion]
        proxy = instance.__self_proxy__
        methods = {name: (self._methods if name == self.champion else d.service.apis) for name, d in self.definitions.items()}
        for endpoint, method in self._methods.items():
            converters = {name: found for name, theirs in methods.items() if endpoint in theirs
                          and (found := converter_between(method, theirs[endpoint])) is not None}
            routing = self.spec.routing
            inference = routing.inference_id.get(endpoint, routing.inference_id.get("*", ()))
            self._facades[endpoint] = Facade(method, router, champion, lambda name: getattr(proxy, name), routing.sources(endpoint),
                                             inference, converters, methods, atomic=routing.rows_atomic, tasks=self.tasks)
        instance.to_async = Staying(instance.to_async, self._facades, "to_async")
        instance.to_sync = Staying(instance.to_sync, self._facades, "to_sync")
        instance.__dict__[RUNTIME] = self._facades

    def _resolve(self, reference: Any) -> str:
        """Return the tag that a model reference stands for in the store that this process would load it from."""
        if not isinstance(reference, BentoModel):
            return repr(reference)
        tag = json.loads(os.environ.get(PINS, "{}")).get(str(reference.tag))
        if tag is not None:
            return str(tag)
        bento = self.service.bento
        own = None if bento is None else bento._model_store
        try:
            stored = own.get(reference.tag) if own is not None and own.list() else reference.stored
        except BentoMLException:
            stored = None
        return str(reference.tag if stored is None else stored.tag)

    def _card(self) -> Card:
        variants = {name: VariantCard(r.state, r.kind, self._digests[name], r.error) for name, r in self._runners.items()}
        return Card("", os.getpid(), server_context.worker_index or 0, self.service.name, 0, variants,
                    len(self._before), len(self._after), state_fields(self.spec))

    @contextlib.contextmanager
    def _lend(self, variant: str) -> Iterator[Any]:
        """Give hooks a variant's instance, whose endpoints are the variant's own meanwhile; None: it is not ready."""
        runner = self._runners.get(variant)
        if runner is None or not runner.ready:
            yield None
            return
        token = ACTIVE.set(runner)
        try:
            yield runner.instance
        finally:
            ACTIVE.reset(token)

    def _replan(self, call: Call, key: object) -> Plan:
        assert self._router is not None  # noqa: S101 - requests come after the start
        return self._router.plan(call, key)

    def _observe_batch(self, endpoint: str, size: int) -> None:
        from .batch_metric import observe

        observe(self.service.name, endpoint, size)


class Staying:
    """``to_async`` and ``to_sync`` of a served instance: inside a variant they stay in it, elsewhere they are BentoML's."""

    def __init__(self, client: Any, facades: Mapping[str, Facade], kind: str) -> None:
        self._client, self._facades, self._kind = client, facades, kind

    def __getattr__(self, name: str) -> Any:
        facade = self._facades.get(name)
        inside = None if facade is None else facade.converted(self._kind)
        return getattr(self._client, name) if inside is None else inside

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the endpoint ``__call__``."""
        return self._client(*args, **kwargs)


def is_client_error(error: BaseException) -> bool:
    """Whether an exception is the caller's fault: a validation error, or one that BentoML answers with 4xx."""
    if isinstance(error, ValidationError):
        return False  # raised by the variant's own code or for its own output: the input was valid before
    return isinstance(error, BentoMLException) and 400 <= error.error_code.value < 500  # noqa: PLR2004 - HTTP


def state_fields(spec: RolloutSpec) -> dict[str, Any]:
    """Return the state fields that a spec names, as its file would write them."""
    fields: dict[str, Any] = {}
    if "weights" in spec.state_fields:
        fields["weights"] = {name: milli / 1000 for name, milli in spec.weights.items()}
    if "shadow" in spec.state_fields:
        fields["shadow"] = {name: {"percent": shadow.percent / 1000} for name, shadow in spec.shadow.items()}
    if "targets" in spec.state_fields:
        fields["targets"] = {name: {"keys": list(t.keys), "header": t.header} for name, t in spec.targets.items()}
    if "standby" in spec.state_fields:
        fields["blue_green"] = {"standby": spec.blue_green.standby}
    if "salt" in spec.state_fields:
        fields["routing"] = {"salt": spec.routing.salt}
    return fields


def check_twins(definitions: Mapping[str, Definition], digests: Mapping[str, str]) -> None:
    """Raise `Incompatible` when two variants are the same and neither says that it is meant so."""
    seen: dict[str, str] = {}
    for name, digest in digests.items():
        if (other := seen.setdefault(digest, name)) != name and not (definitions[name].twin or definitions[other].twin):
            models = ", ".join(str(getattr(ref, "tag", ref)) for _, ref in definitions[name].references) or "the same code"
            raise Incompatible(f"{other!r} and {name!r}: both are {models}: nothing to compare; for an A/A test write Variant(…, twin=True)")
