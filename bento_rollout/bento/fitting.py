"""Whether a spec fits the service that it is for: its variants, endpoints and arguments."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from ..errors import InvalidSpec
from ..served import problems_with
from ..spec import KeySource, RolloutSpec
from .drifted import check_drift
from .entrusting import check_automation
from .judges import judges_of
from .keys import KeyReader
from .method import Method, parameters_of, takes_any

__all__ = ["check_spec"]


def check_spec(spec: RolloutSpec, methods: Mapping[str, Method], variants: Sequence[str]) -> tuple[str, ...]:
    """Return the routed endpoints.

    Args:
        spec: the rollout's spec.
        methods: the decorated service's endpoints.
        variants: the names of the variants, the decorated one first.

    Raises:
        InvalidSpec: for a variant, an endpoint, an argument or a function that is not there, rows without a
            limit, or a strategy, an automation or a watch for drift that does not fit the service.
    """
    _check_names(spec, variants)
    champion = spec.champion or variants[0]
    candidates = [name for name in variants if name != champion]
    if champion in spec.weights:
        raise InvalidSpec(
            f"weights: {champion!r} is the champion and has no weight: it gets what the candidates leave"
        )
    endpoints = tuple(methods) if spec.endpoints is None else spec.endpoints
    keyed = {*spec.routing.key, *spec.routing.inference_id} - {"*"}
    for field, names in (("endpoints", endpoints), ("routing", sorted(keyed))):
        for endpoint in names:
            if endpoint not in methods:
                has = ", ".join(methods)
                raise InvalidSpec(f"{field}: the service has no endpoint {endpoint!r}; it has: {has}")
    for endpoint in endpoints:
        _check_sources(endpoint, spec, methods[endpoint], candidates)
    _check_paths(spec, methods)
    if spec.shadow:
        from .shadows import (
            check_shadows,
        )  # what compares is slow to import, and not every service has shadows

        check_shadows(spec, methods, endpoints)
    judges_of(spec)
    if spec.automation:
        check_automation(spec, methods, endpoints)
    check_drift(spec, methods, endpoints)
    _check_strategy(spec, methods, variants, endpoints)
    return endpoints


def _check_strategy(
    spec: RolloutSpec, methods: Mapping[str, Method], variants: Sequence[str], endpoints: Sequence[str]
) -> None:
    """Refuse a strategy that speaks of a variant or an endpoint that is not there."""
    if spec.strategy is None:
        return
    served = replace(
        spec.served,
        variants=tuple(variants),
        champion=variants[0],
        endpoints=frozenset(endpoints),
        streams=frozenset(endpoint for endpoint in endpoints if methods[endpoint].is_stream),
    )
    if problems := problems_with(spec.strategy, served):
        raise InvalidSpec("\n".join(str(problem.below("strategy")) for problem in problems))


def _check_names(spec: RolloutSpec, variants: Sequence[str]) -> None:
    standby = spec.blue_green.standby
    fields: dict[str, Iterable[str]] = {
        "weights": spec.weights,
        "variants": spec.variants,
        "shadow": spec.shadow,
        "targets": spec.targets,
        "champion": () if spec.champion is None else (spec.champion,),
        "blue_green.standby": () if standby is None else (standby,),
    }
    for field, named in fields.items():
        for name in named:
            if name not in variants:
                has = ", ".join(variants)
                raise InvalidSpec(f"{field}: no variant is called {name!r}; this service has: {has}")


def _check_paths(spec: RolloutSpec, methods: Mapping[str, Method]) -> None:
    """Refuse a path into an argument that no endpoint has: what it was to hide would be told."""
    if any(takes_any(method) for method in methods.values()):
        return
    arguments = {name: parameters_of(method) for name, method in methods.items()}
    for field in ("drop", "hash", "mask"):
        for path in getattr(spec.log, field):
            first = re.split(r"[.\[]", path, maxsplit=1)[0]
            if not any(first in names for names in arguments.values()):
                has = "; ".join(
                    f"{name} has {', '.join(names) or 'none'}" for name, names in arguments.items()
                )
                raise InvalidSpec(f"log.{field}: no endpoint has an argument {first!r}; {has}")


def _check_sources(endpoint: str, spec: RolloutSpec, method: Method, candidates: Sequence[str]) -> None:
    routing = spec.routing
    inference = routing.inference_id.get(endpoint, routing.inference_id.get("*", ()))
    sources = routing.sources(endpoint)
    _check_arguments(endpoint, "routing.key", sources, method)
    _check_arguments(endpoint, "routing.inference_id", inference, method)
    KeyReader([source for source in sources if source.kind != "rows"], parameters_of(method))
    if not any(source.kind == "rows" for source in sources):
        return
    if method.is_stream:
        raise InvalidSpec(
            f"routing.key: endpoint {endpoint!r} is a stream; its rows cannot be split among variants"
        )
    _check_columns(endpoint, sources, method)
    for name in candidates:
        if spec.limits(name).timeout is None:
            raise InvalidSpec(
                f"variants.{name}.timeout is required with a rows: key: "
                "a few rows of a slow candidate hold nearly every request"
            )


def _check_arguments(endpoint: str, field: str, sources: Sequence[KeySource], method: Method) -> None:
    arguments = parameters_of(method)
    for source in sources:
        given = source.name in arguments or (source.kind == "field" and takes_any(method))
        if source.kind in ("field", "rows") and not given:
            has = ", ".join(arguments) or "none"
            raise InvalidSpec(
                f"{field}: {source}: endpoint {endpoint!r} has no argument {source.name!r}; it has: {has}"
            )


def _check_columns(endpoint: str, sources: Sequence[KeySource], method: Method) -> None:
    """Refuse a frame whose key column is not named: a whole row is no key."""
    fields = method.input_spec.model_fields
    root = next(iter(fields.values())) if getattr(method.input_spec, "__root_input__", False) else None
    for source in sources:
        field = root or fields.get(source.name)
        if field is not None and not source.path and getattr(field.annotation, "__name__", "") == "DataFrame":
            raise InvalidSpec(
                f"routing.key: {source}: the rows of a frame have no key of their own; "
                f"endpoint {endpoint!r} needs the column's name, like {source}.user_id"
            )
