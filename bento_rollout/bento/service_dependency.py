"""Declares a candidate's service to BentoML, so that serve, build, containerize and deploy start it.

BentoML's own dependency would give the champion a client that its ``/readyz`` asks and that loses contexts;
this one gives it nothing: calls go through the runner.
"""

from __future__ import annotations

import copy
import functools
import types
from collections.abc import Callable, Sequence
from typing import Any

import attrs
from _bentoml_sdk.service import Service
from _bentoml_sdk.service.dependency import Dependency

from ..errors import Incompatible
from .deploying import say_broken
from .joining import candidates_models, is_deployment_hook
from .measured import MOST_BESIDE, MeasuredMiddleware
from .shadowed import ShadowedMiddleware
from .variants import Definition, subclass

__all__ = ["depend", "keep_up"]

TASKS_TIMEOUT = 7 * 24 * 3600
"""Seconds that a candidate's service has for a task; its other calls end with the champion's limit."""


@attrs.define
class ServiceDependency(Dependency[Any]):  # type: ignore[misc]  # BentoML's SDK carries no types
    """A service that is started and never called by BentoML."""

    def get(self, **_: Any) -> Any:
        """Return what stands for the service in the champion's instance: nothing that can be called."""
        return types.SimpleNamespace(service=self.on)


def depend(service: Service[Any], inner: type, candidates: Sequence[Definition]) -> None:
    """Let the champion's service depend on its candidates' services; ``inner`` is the class that is served.

    Raises:
        Incompatible: for a name that another service has.
    """
    for candidate in candidates:
        if candidate.runner != "service":
            continue
        known = service.all_services()
        other = known.get(candidate.service.name)
        if other is None:
            for name, needed in candidate.service.all_services().items():
                if name in known and known[name] is not needed:
                    _refuse(candidate, name)
            candidate.service = _apart(candidate)
        elif other is not candidate.service:
            _refuse(candidate, candidate.service.name)
        dependency = ServiceDependency(on=candidate.service)  # type: ignore[call-arg]  # attrs, without types
        name = f"rollout:{candidate.name}"
        service.dependencies[name] = dependency
        setattr(inner, name, dependency)


def keep_up(service: Service[Any], candidates: Sequence[Definition]) -> None:
    """Let candidates' services have their own envs, and start again when they end, in a container, too.

    BentoML gives a dependency the entry service's value for an env that both name. In a container it starts
    nothing again, and ends the whole server when one service has no process left: a candidate that dies would
    take the champion with it. Called before the services' processes are set up.
    """
    from bentoml import serving  # the process that starts the workers has it, and nobody else needs it

    make = getattr(serving, "create_watcher", None)
    apart = [candidate.service for candidate in candidates if candidate.runner == "service"]
    if make is None or not apart:
        return
    kept = {f"service_{name}" for one in apart for name in one.all_services()}
    envs = {f"service_{one.name}": _differing_envs(service, one) for one in apart}
    contained = serving.running_inside_container()

    @functools.wraps(make)
    def create_watcher(name: str, *args: Any, **kwargs: Any) -> Any:
        watcher = make(name, *args, **kwargs)
        if contained and name in kept:
            watcher.respawn = True
        if own := envs.get(name):
            watcher.env.update(own)
        return watcher

    serving.create_watcher = create_watcher


def _differing_envs(service: Service[Any], other: Service[Any]) -> dict[str, str]:
    """Return the envs of another service whose values are not the entry service's."""
    ours = {env.name: env.value for env in service.envs if env.stage != "build"}
    theirs = {env.name: env.value for env in other.envs if env.stage != "build" and env.value}
    return {name: str(value) for name, value in theirs.items() if name in ours and ours[name] != value}


def _refuse(candidate: Definition, name: str) -> None:
    raise Incompatible(
        f"candidate {candidate.name!r} is to be served as the service {name!r}, and another service has that "
        "name: rename one, or the candidate"
    )


def _apart(candidate: Definition) -> Service[Any]:
    """Return the candidate's service so that what it lacks is its own trouble, and not the champion's."""
    service = copy.copy(candidate.service)  # the user's own object may be served elsewhere, too
    service.models = candidates_models(service.models)
    prefix = (service.path_prefix or "").rstrip("/")
    batched = [prefix + method.route for method in service.apis.values() if method.batchable]
    measured = (MeasuredMiddleware, {"most": MOST_BESIDE, "batched": batched})
    service.middlewares = [*service.middlewares, measured, (ShadowedMiddleware, {})]
    if any(method.is_task for method in service.apis.values()):
        traffic = service.config.get(
            "traffic", {}
        )  # who waits for a task does not wait on a connection there
        service.config = {**service.config, "traffic": {**traffic, "timeout": TASKS_TIMEOUT}}
    service.inner = _guarded(candidate.name, service.inner)
    candidate.inner = service.inner
    return service


def _guarded(variant: str, inner: type) -> type:
    """Return a class whose deployment hooks do not end the start of all services when they fail."""
    found: dict[str, Any] = {name: getattr(inner, name, None) for name in dir(inner)}
    hooks = {name: hook for name, hook in found.items() if is_deployment_hook(hook)}
    guards = {name: staticmethod(_guard(variant, hook)) for name, hook in hooks.items()}
    return subclass(inner, guards) if guards else inner


def _guard(variant: str, hook: Callable[[], Any]) -> Callable[[], None]:
    def guarded() -> None:
        try:
            hook()
        except (Exception, SystemExit) as error:  # noqa: BLE001 - who cannot be deployed is `failed`, no more
            say_broken(variant, error)

    vars(guarded)["__bentoml_deployment_hook__"] = True
    return guarded
