"""What a candidate in the worker brings along joins the champion: envs, models, dependencies, deployment hooks."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from _bentoml_sdk.service import Service
from _bentoml_sdk.service.dependency import Dependency

from ..errors import Incompatible
from .variants import Definition

__all__ = ["deployment_hooks", "join"]


def join(service: Service[Any], inner: type, candidates: Sequence[Definition]) -> None:
    """Add to the champion's service what its candidates need; ``inner`` is the class that will be served.

    Raises:
        Incompatible: for an env with another value, or a dependency of the same name on another service.
    """
    for candidate in candidates:
        _join_envs(service, candidate)
        _join_models(service, candidate)
        _join_dependencies(service, inner, candidate)
        _warn(candidate)


def deployment_hooks(definition: Definition) -> list[Any]:
    """Return the deployment hooks of a variant's class."""
    inner = definition.service.inner
    members = (getattr(inner, name, None) for name in dir(inner))
    return [member for member in members if callable(member) and getattr(member, "__bentoml_deployment_hook__", False)]


def _join_envs(service: Service[Any], candidate: Definition) -> None:
    have = {env.name: env for env in service.envs}
    for env in candidate.service.envs:
        ours = have.get(env.name)
        if ours is None:
            service.envs.append(env)
            have[env.name] = env
        elif ours.value != env.value:
            raise Incompatible(f"candidate {candidate.name!r} wants env {env.name}={env.value!r}, and the champion has {ours.value!r}: one worker has one environment")


def _join_models(service: Service[Any], candidate: Definition) -> None:
    have = {_tag(model) for model in service.models}
    for model in (*candidate.service.models, *candidate.models):
        if _tag(model) not in have:
            service.models.append(model)
            have.add(_tag(model))


def _tag(model: Any) -> str:
    return f"{type(model).__name__}:{getattr(model, 'tag', None) or model!r}"


def _join_dependencies(service: Service[Any], inner: type, candidate: Definition) -> None:
    for name, dependency in candidate.service.dependencies.items():
        ours = service.dependencies.get(name)
        if ours is None:
            place = name
        elif _goal(ours) == _goal(dependency):
            continue
        elif name in candidate.attributes:
            place = f"{name}@{candidate.name}"
        else:
            raise Incompatible(f"candidate {candidate.name!r} depends on {_goal(dependency)} as {name!r}, and the champion on {_goal(ours)} under the same name: rename one")
        service.dependencies[place] = dependency
        setattr(inner, place, dependency)


def _goal(dependency: Dependency[Any]) -> str:
    return str(dependency.on.name if dependency.on is not None else dependency.url or dependency.deployment)


def _warn(candidate: Definition) -> None:
    lost = [what for what, there in (("mounted apps", candidate.service.mount_apps), ("middlewares", candidate.service.middlewares)) if there]
    if lost:
        warnings.warn(f"candidate {candidate.name!r}: its {' and '.join(lost)} are not served while it runs in the champion's worker", stacklevel=5)
