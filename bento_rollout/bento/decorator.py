"""`rollout`: the decorator that makes a BentoML service the champion of a rollout."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from _bentoml_sdk.service import Service

from ..errors import Incompatible, InvalidSpec, InvalidValue
from ..hooks import Hook, as_hooks
from ..records import Flip
from ..spec import RolloutSpec, check_variant
from ..specfile import load_spec
from .compat import check_candidate
from .endpoints import RoutedMethod, parameters_of
from .including import check_included
from .joining import join
from .middleware import RolloutMiddleware
from .site import PINS, Site, check_twins
from .variants import Definition, define

__all__ = ["rollout"]

Hooks = Sequence["Hook | Callable[[Flip], Any]"] | Hook | Callable[[Flip], Any] | None
S = TypeVar("S")


def rollout(*, champion: str | None = None, candidates: Mapping[str, Any] | None = None,
            spec: str | Path | RolloutSpec | None = None, before_flip: Hooks = None, after_flip: Hooks = None) -> Callable[[S], S]:
    """Make a BentoML service the champion of a rollout, with candidates beside it.

    Put it above ``@bentoml.service``. It returns the same service object: serving, building, clients, schemas and
    unit tests stay as they were. With ``BENTO_ROLLOUT=off`` in the environment it does nothing.

    Args:
        champion: the name of the decorated service as a variant; required with candidates.
        candidates: ``@bentoml.service`` classes or `Variant`, by name.
        spec: a path relative to the file that decorates, a `RolloutSpec`, or nothing: all traffic to the champion.
        before_flip: called in every worker before a flip; may veto by raising.
        after_flip: called once, in one worker, after a flip.

    Raises:
        Incompatible: a candidate that cannot stand in for the champion, naming the endpoint and the difference.
        InvalidSpec: a spec that is not valid or does not fit the service, naming the field.
        InvalidValue: a name that is reserved or not valid.

    Example::

        @rollout(champion="logistic", candidates={"boosted": Boosted}, spec="rollout.yaml")
        @bentoml.service(name="screening")
        class Screening:
            @bentoml.api
            def predict(self, rows: np.ndarray) -> np.ndarray: ...
    """
    base = Path(sys._getframe(1).f_globals.get("__file__", ".")).absolute().parent

    def decorate(service: S) -> S:
        if os.environ.get("BENTO_ROLLOUT", "").lower() == "off":
            return service
        if not isinstance(service, Service):
            raise Incompatible(f"@rollout stands above @bentoml.service and decorates a service, not {service!r}")
        if any(cls is RolloutMiddleware for cls, _ in service.middlewares):
            raise Incompatible(f"service {service.name!r} has a @rollout already; candidates go into one decorator")
        path = None if spec is None or isinstance(spec, RolloutSpec) else base / spec
        loaded = spec if isinstance(spec, RolloutSpec) else RolloutSpec() if path is None else load_spec(path)
        _install(service, champion, dict(candidates or {}), loaded, as_hooks(before_flip), as_hooks(after_flip))
        if path is not None:
            check_included(path)
        return service

    return decorate


def _install(service: Service[Any], champion: str | None, candidates: dict[str, Any], spec: RolloutSpec,
             before: tuple[Hook, ...], after: tuple[Hook, ...]) -> None:
    if candidates and champion is None:
        raise InvalidValue("champion= is required with candidates: the name of the decorated service as a variant")
    methods = dict(service.apis)
    if not methods:
        raise Incompatible(f"service {service.name!r} has no endpoint to route; @rollout needs at least one @bentoml.api or @bentoml.task")
    own = Definition(check_variant(champion or service.name), service, service.inner)
    definitions = _define(own, candidates)
    endpoints = _check_spec(spec, methods, definitions)
    for name, definition in definitions.items():
        if definition is not own:
            check_candidate(name, methods, definition.service.apis, endpoints)
    pins = json.loads(os.environ.get(PINS, "{}"))
    for definition in definitions.values():
        definition.pin(pins)
    check_twins(definitions, {name: definition.digest(str) for name, definition in definitions.items()})
    site = Site(service, spec, definitions, methods, before, after)
    inner = _served_class(own, methods, site)
    join(service, inner, [definition for definition in definitions.values() if definition is not own])
    service.inner = inner
    for endpoint in methods:
        service.apis[endpoint] = inner.__dict__[endpoint]
    service.add_asgi_middleware(RolloutMiddleware, site=site)


def _define(own: Definition, candidates: Mapping[str, Any]) -> dict[str, Definition]:
    definitions = {own.name: own}
    for name, given in candidates.items():
        if check_variant(name) in definitions:
            raise InvalidValue(f"two variants are called {name!r}")
        definitions[name] = define(name, given, own)
    return definitions


def _served_class(own: Definition, methods: Mapping[str, Any], site: Site) -> type:
    """Return a subclass of the user's class whose endpoints are routed when it is served; the class itself stays."""
    def remember(self: Any) -> None:
        site.instance = self

    remember.__bentoml_startup_hook__ = True  # type: ignore[attr-defined]  # how BentoML finds hooks

    def deploy() -> None:
        site.deploy()

    deploy.__bentoml_deployment_hook__ = True  # type: ignore[attr-defined]  # how BentoML finds hooks
    body: dict[str, Any] = {endpoint: RoutedMethod.around(method) for endpoint, method in methods.items()}
    body |= {"_bento_rollout_remember": remember, "_bento_rollout_deploy": staticmethod(deploy),
             "__module__": own.inner.__module__, "__qualname__": own.inner.__qualname__, "__doc__": own.inner.__doc__}
    return type(own.inner.__name__, (own.inner,), body)


def _check_spec(spec: RolloutSpec, methods: Mapping[str, Any], definitions: Mapping[str, Definition]) -> tuple[str, ...]:
    """Return the routed endpoints, or raise `InvalidSpec` where the spec does not fit the service."""
    names = {"weights": spec.weights, "variants": spec.variants, "shadow": spec.shadow, "targets": spec.targets,
             "blue_green.standby": [spec.blue_green.standby] if spec.blue_green.standby else []}
    for field, named in names.items():
        for name in named:
            if name not in definitions:
                raise InvalidSpec(f"{field}: no variant is called {name!r}; this service has: {', '.join(definitions)}")
    champion = next(iter(definitions))
    if champion in spec.weights:
        raise InvalidSpec(f"weights: {champion!r} is the champion and has no weight: it gets what the candidates leave")
    endpoints = tuple(methods) if spec.endpoints is None else spec.endpoints
    for endpoint in (*endpoints, *(set(spec.routing.key) - {"*"}), *(set(spec.routing.inference_id) - {"*"})):
        if endpoint not in methods:
            raise InvalidSpec(f"endpoints: the service has no endpoint {endpoint!r}; it has: {', '.join(methods)}")
    for endpoint in endpoints:
        _check_sources(endpoint, spec, methods[endpoint], [name for name in definitions if name != champion])
    return endpoints


def _check_sources(endpoint: str, spec: RolloutSpec, method: Any, candidates: Sequence[str]) -> None:
    arguments = parameters_of(method)
    routing = spec.routing
    inference = routing.inference_id.get(endpoint, routing.inference_id.get("*", ()))
    for source in (*routing.sources(endpoint), *inference):
        if source.kind in ("field", "rows") and source.name not in arguments:
            raise InvalidSpec(f"routing.key: {source}: endpoint {endpoint!r} has no argument {source.name!r}; it has: {', '.join(arguments) or 'none'}")
    if not any(source.kind == "rows" for source in routing.sources(endpoint)):
        return
    if method.is_stream:
        raise InvalidSpec(f"routing.key: endpoint {endpoint!r} is a stream; its rows cannot be split among variants")
    for name in candidates:
        if spec.limits(name).timeout is None:
            raise InvalidSpec(f"variants.{name}.timeout is required with a rows: key: a few rows of a slow candidate hold nearly every request")
