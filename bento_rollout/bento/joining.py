"""What a candidate in the worker brings along joins the champion: envs, models, dependencies, hooks."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from _bentoml_sdk.models import BentoModel
from _bentoml_sdk.service import Service
from _bentoml_sdk.service.dependency import Dependency
from bentoml.exceptions import BentoMLException

from ..errors import Incompatible
from ..telemetry import log
from .variants import Definition

__all__ = ["candidates_models", "deployment_hooks", "is_deployment_hook", "join"]


def join(service: Service[Any], inner: type, candidates: Sequence[Definition]) -> None:
    """Add to the champion's service what its candidates need; ``inner`` is the class that will be served.

    Those that are served elsewhere need nothing here.

    Raises:
        Incompatible: for an env with another value, or a dependency of the same name on another service;
            nothing has been added then.
    """
    candidates = [candidate for candidate in candidates if candidate.is_here]
    places = [
        (name, dep) for candidate in candidates for name, dep in _dependencies(service, candidate).items()
    ]
    taken: dict[str, Dependency[Any]] = {}
    for name, dependency in places:
        if name in taken and _goal(taken[name]) != _goal(dependency):
            raise Incompatible(f"two candidates depend on different services as {name!r}: rename one")
        taken[name] = dependency
    envs = _envs(service, candidates)
    service.envs.extend(envs)
    for candidate in candidates:
        _join_models(service, candidate)
        _warn(candidate)
    for name, dependency in taken.items():
        service.dependencies[name] = dependency
        setattr(inner, name, dependency)


def deployment_hooks(definition: Definition) -> list[Any]:
    """Return the deployment hooks of a variant's class, without the rollout's own."""
    inner = definition.inner
    members = (getattr(inner, name, None) for name in dir(inner))
    return [member for member in members if is_deployment_hook(member)]


def is_deployment_hook(member: Any) -> bool:
    """Whether BentoML would call this member of a class before it starts the workers."""
    return callable(member) and bool(getattr(member, "__bentoml_deployment_hook__", False))


def _envs(service: Service[Any], candidates: Sequence[Definition]) -> list[Any]:
    have = {env.name: (env, "the champion") for env in service.envs}
    new = []
    for candidate in candidates:
        if candidate.runner != "worker":
            continue  # a process has an environment of its own
        for env in candidate.service.envs:
            if env.name not in have:
                have[env.name] = (env, f"candidate {candidate.name!r}")
                new.append(env)
            elif have[env.name][0].value != env.value:
                ours, owner = have[env.name]
                raise Incompatible(
                    f"candidate {candidate.name!r} wants env {env.name}={env.value!r}, and {owner} has "
                    f"{ours.value!r}: one worker has one environment"
                )
    return new


def _join_models(service: Service[Any], candidate: Definition) -> None:
    have = {_tag(model) for model in service.models}
    for model in candidates_models([*candidate.service.models, *candidate.models]):
        if _tag(model) not in have:
            service.models.append(model)
            have.add(_tag(model))


def candidates_models(models: Sequence[Any]) -> list[Any]:
    """Return model references that a service can start without."""
    return [CandidateModel(model.tag) if isinstance(model, BentoModel) else model for model in models]


def _tag(model: Any) -> str:
    kind = "BentoModel" if isinstance(model, BentoModel) else type(model).__name__
    return f"{kind}:{getattr(model, 'tag', None) or model!r}"


class CandidateModel(BentoModel):  # type: ignore[misc]  # BentoML's SDK carries no types
    """A candidate's model: the start goes on without it, and the candidate that cannot load it is `failed`.

    A build still fails without it: a bento packs the models of every variant.
    """

    def resolve(self, base_path: Any = None, **injected: Any) -> Any:
        """Return the stored model; None when it is missing and only the start wants to know."""
        try:
            return super().resolve(base_path, **injected)
        except BentoMLException as error:
            if base_path is not None:
                raise
            log.event("variant.model_missing", "error", model=str(self.tag), problem=str(error))
            return None


def _dependencies(service: Service[Any], candidate: Definition) -> dict[str, Dependency[Any]]:
    """Return what a candidate depends on and the champion does not, by the name of its registration."""
    found: dict[str, Dependency[Any]] = {}
    for name, dependency in candidate.service.dependencies.items():
        ours = service.dependencies.get(name)
        if ours is None:
            found[name] = dependency
        elif _goal(ours) == _goal(dependency):
            continue
        elif name in candidate.attributes:
            found[f"{name}@{candidate.name}"] = dependency
        else:
            raise Incompatible(
                f"candidate {candidate.name!r} depends on {_goal(dependency)} as {name!r}, "
                f"and the champion on {_goal(ours)} under the same name: rename one"
            )
    return found


def _goal(dependency: Dependency[Any]) -> str:
    return str(dependency.on.name if dependency.on is not None else dependency.url or dependency.deployment)


def _warn(candidate: Definition) -> None:
    parts = (("mounted apps", candidate.service.mount_apps), ("middlewares", candidate.service.middlewares))
    if lost := [what for what, there in parts if there]:
        warnings.warn(
            f"candidate {candidate.name!r}: its {' and '.join(lost)} are not served while it runs in the "
            "champion's worker",
            stacklevel=5,
        )
