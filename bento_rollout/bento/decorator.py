"""`rollout`: the decorator that makes a BentoML service the champion of a rollout."""

from __future__ import annotations

import inspect
import os
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from _bentoml_sdk.service import Service
from bentoml._internal.context import server_context

from ..errors import Incompatible, InvalidSpec, InvalidValue
from ..hooks import Hook, as_hooks
from ..notifier import Notify, as_receivers
from ..records import Flip
from ..spec import RolloutSpec, check_variant
from ..telemetry import log
from ..values import shown
from .compat import check_candidate, difference
from .deploying import check_twins, pinned
from .fitting import check_spec
from .including import check_included, check_reference
from .joining import join
from .method import Method, RoutedMethod
from .middleware import RolloutMiddleware
from .service_dependency import depend
from .site import Site
from .spec_file import find
from .unlogged import keep_ids_out
from .variants import Definition, define

__all__ = ["rollout", "site_of"]

Hooks = Sequence["Hook | Callable[[Flip], Any]"] | Hook | Callable[[Flip], Any] | None
S = TypeVar("S")

OFF = ("off", "0", "false", "no")
ON = ("on", "1", "true", "yes", "")
"""What ``BENTO_ROLLOUT`` may say, in any case; nothing else."""


def rollout(
    *,
    champion: str | None = None,
    candidates: Mapping[str, Any] | None = None,
    spec: str | Path | RolloutSpec | None = None,
    before_flip: Hooks = None,
    after_flip: Hooks = None,
    is_error: Callable[[BaseException], bool] | None = None,
    notify: Notify = None,
) -> Callable[[S], S]:
    """Make a BentoML service the champion of a rollout, with candidates beside it.

    Put it above ``@bentoml.service``. It returns the same service object: serving, building, clients, schemas
    and unit tests stay as they were. With ``BENTO_ROLLOUT=off`` in the environment it does nothing.

    Args:
        champion: the name of the decorated service as a variant; required with candidates.
        candidates: ``@bentoml.service`` classes or `Variant`, by name.
        spec: a path relative to the file that decorates, a `RolloutSpec`, or nothing (all to the champion).
            ``BENTO_ROLLOUT_SPEC`` in the environment names a file to go by instead.
        before_flip: called in every worker before a flip; may veto by raising.
        after_flip: called once, in one worker, after a flip.
        is_error: says of what a variant raised (a client's 4xx included, which is nobody's error by default)
            whether guardrails count it as that variant's error. It changes evidence only: never what the
            caller sees, who falls back, or what metrics and logs call the outcome. Not asked where nobody
            raised: when time was up, the caller left, or the variant was not there. Of a candidate elsewhere
            it is given what came back (at a URL a ``BentoMLException`` with its ``error_code``). It runs
            on the event loop, so it must be quick; when it raises or returns no ``bool`` that is logged once,
            and the outcome tells.
        notify: told of each decision by evidence, and of each verb of a person on a try, in one worker:
            callables that take a `Notice`, and `Webhook`; what they do changes nothing and holds nobody up.

    Raises:
        Incompatible: a candidate that cannot stand in for the champion, naming endpoint and difference.
        InvalidSpec: a spec that is not valid or does not fit the service, naming the field.
        InvalidValue: a name that is not valid, an ``is_error`` that is no plain function, somebody
            to notify who is none, or a ``BENTO_ROLLOUT`` that is neither on nor off.

    Example::

        @rollout(champion="logistic", candidates={"boosted": Boosted}, spec="rollout.yaml")
        @bentoml.service(name="screening")
        class Screening:
            @bentoml.api
            def predict(self, rows: np.ndarray) -> np.ndarray: ...
    """
    base = Path(sys._getframe(1).f_globals.get("__file__", ".")).absolute().parent  # noqa: SLF001 - who decorates

    def decorate(service: S) -> S:
        if _is_off(os.environ.get("BENTO_ROLLOUT", "")):
            _say_off(service)
            return service
        if not isinstance(service, Service):
            raise Incompatible(
                f"@rollout stands above @bentoml.service and decorates a service, not {service!r}"
            )
        if site_of(service) is not None:
            raise Incompatible(
                f"service {service.name!r} has a @rollout already; candidates go into one decorator"
            )
        found = find(spec, base)
        loaded, path = found.spec, found.path
        hooks = as_hooks(before_flip), as_hooks(after_flip)
        _check_is_error(is_error)
        receivers = as_receivers(notify)
        try:
            site = _install(service, champion, dict(candidates or {}), loaded, hooks, path)
        except InvalidSpec as error:
            raise found.blame(error) from error
        site.is_error, site.notify = is_error, receivers
        if path is not None:
            site.file, site.text = path, found.text
            check_included(path, anywhere=found.by_environment or loaded.authority == "spec")
        check_reference(loaded.drift)
        return service

    return decorate


def _is_off(value: str) -> bool:
    """Whether the environment takes the decorator out; a word that says neither is refused, not guessed."""
    word = value.strip().lower()
    if word not in (*OFF, *ON):
        raise InvalidValue(
            f"BENTO_ROLLOUT={shown(value)} says neither on nor off: write one of {', '.join(OFF)} to serve "
            f"without the rollout, or one of {', '.join(filter(None, ON))} (or nothing) to serve with it"
        )
    return word in OFF


def _check_is_error(is_error: object) -> None:
    """Raise `InvalidValue` for what cannot say of an error whether it counts."""
    if is_error is None:
        return
    if not callable(is_error):
        raise InvalidValue(
            f"is_error={shown(is_error)} cannot be called: give a function of an error, like "
            "is_error=lambda error: isinstance(error, TooLong)"
        )
    if inspect.iscoroutinefunction(is_error) or isinstance(is_error, type):
        kind = "a class" if isinstance(is_error, type) else "async"
        raise InvalidValue(f"is_error= is {kind}: give a plain function that returns True or False")


def _say_off(service: Any) -> None:
    """Say once, in the process that starts the workers, that the service runs without its rollout."""
    if server_context.worker_index is None:
        hint = "BENTO_ROLLOUT takes the decorator out: the service is bare, and nothing of its rollout holds"
        log.event("rollout.off", "warning", service=getattr(service, "name", None), hint=hint)


def site_of(service: Service[Any]) -> Site | None:
    """Return the rollout of a decorated service in this process, or None when it is not decorated."""
    options = (options for cls, options in service.middlewares if cls is RolloutMiddleware)
    return next((option["site"] for option in options), None)


def _install(
    service: Service[Any],
    champion: str | None,
    candidates: dict[str, Any],
    spec: RolloutSpec,
    hooks: tuple[tuple[Hook, ...], tuple[Hook, ...]],
    file: Path | None,
) -> Site:
    if candidates and champion is None:
        raise InvalidValue("champion= is required with candidates: the decorated service's name as a variant")
    methods = dict(service.apis)
    if not methods:
        raise Incompatible(
            f"service {service.name!r} has no endpoint to route; "
            "@rollout needs at least one @bentoml.api or @bentoml.task"
        )
    name = check_variant(service.name if champion is None else champion)
    own = Definition(name, service, service.inner, offers=frozenset(methods))
    definitions = _define(own, candidates)
    endpoints = _routed(spec, file, methods, tuple(definitions))
    _compare(definitions, methods, endpoints)
    for definition in definitions.values():
        definition.pin(pinned())
    check_twins(definitions)
    site = Site(service, spec, definitions, methods, *hooks)
    inner = _served_class(own, methods, site)
    others = [definition for definition in definitions.values() if definition is not own]
    join(service, inner, others)
    depend(service, inner, others)
    service.inner = inner
    for endpoint in methods:
        service.apis[endpoint] = inner.__dict__[endpoint]
    service.add_asgi_middleware(RolloutMiddleware, site=site)
    if spec.automation:
        keep_ids_out()
    return site


def _define(own: Definition, candidates: Mapping[str, Any]) -> dict[str, Definition]:
    definitions = {own.name: own}
    for name, given in candidates.items():
        if check_variant(name) in definitions:
            raise InvalidValue(f"two variants are called {name!r}")
        definition = definitions[name] = define(name, given, own)
        if definition.place is None and site_of(definition.service) is not None:
            raise Incompatible(
                f"candidate {name!r} has a @rollout of its own; leave it out: one service, one rollout"
            )
    return definitions


def _routed(
    spec: RolloutSpec, file: Path | None, methods: Mapping[str, Method], variants: Sequence[str]
) -> tuple[str, ...]:
    """Return the routed endpoints; what does not fit the service is said with the file that says it."""
    try:
        return check_spec(spec, methods, variants)
    except InvalidSpec as error:
        if file is None:
            raise
        raise InvalidSpec(f"{file}: {error}") from error


def _compare(
    definitions: Mapping[str, Definition], methods: Mapping[str, Method], endpoints: Sequence[str]
) -> None:
    """Refuse candidates that cannot stand in where they must, and note where else they can."""
    for definition in list(definitions.values())[1:]:
        if definition.place is not None:
            continue  # it is compared when it can be reached
        theirs = definition.service.apis
        check_candidate(definition.name, methods, theirs, endpoints)
        fits = (
            name for name in methods if name in theirs and difference(methods[name], theirs[name]) is None
        )
        definition.offers = frozenset(fits)


def _served_class(own: Definition, methods: Mapping[str, Method], site: Site) -> type:
    """Return a subclass of the user's class whose endpoints are routed when it is served; the class stays."""

    def remember(self: Any) -> None:
        if type(self) is served:  # and not of a class that inherits from it, which is another service's
            site.instance = self

    def deploy(cls: type) -> None:
        if cls is served:
            site.deploy()

    # This is how BentoML knows hooks: what `@bentoml.on_startup` and `@bentoml.on_deployment` set.
    vars(remember)["__bentoml_startup_hook__"] = True
    vars(deploy)["__bentoml_deployment_hook__"] = True
    body: dict[str, Any] = {
        **{endpoint: RoutedMethod.around(method) for endpoint, method in methods.items()},
        "_bento_rollout_remember": remember,
        "_bento_rollout_deploy": classmethod(deploy),
        "__module__": own.inner.__module__,
        "__qualname__": own.inner.__qualname__,
        "__doc__": own.inner.__doc__,
    }
    if hasattr(own.inner, _GRADIO):
        body[_GRADIO] = getattr(own.inner, _GRADIO)
    served = types.new_class(own.inner.__name__, (own.inner,), {}, lambda namespace: namespace.update(body))
    return served


_GRADIO = "__bentoml_gradio_apps__"
"""BentoML deletes it from the served class itself, where an inherited attribute could not be deleted."""
