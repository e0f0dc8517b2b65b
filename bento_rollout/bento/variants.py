"""What a user calls a variant, made into something that can be run: a BentoML service and its digest."""

from __future__ import annotations

import copy
import hashlib
import inspect
import json
import re
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from _bentoml_sdk.method import APIMethod
from _bentoml_sdk.models import BentoModel
from _bentoml_sdk.models import Model as ModelReference
from _bentoml_sdk.service import Service
from _bentoml_sdk.service.dependency import Dependency

from ..arrays import is_array
from ..errors import Incompatible, InvalidValue
from .places import Place, check_headers, check_url
from .sources import source_of, written

__all__ = ["Definition", "Variant", "define", "subclass"]

RUNNERS = ("worker", "process", "service")


@dataclass(frozen=True)
class Variant:
    """How a candidate differs from the champion, and where it runs.

    Args:
        service: another ``@bentoml.service`` class; leave it out for the champion's code
            with other attributes.
        runner: ``worker``: in the champion's worker, the default. ``process``: in a niced process beside each
            worker. ``service``: in a BentoML service of its own, with the workers, resources and envs of its
            ``@bentoml.service`` (for the champion's code: the champion's), named ``SERVICE_VARIANT`` then.
        url: where a deployment answers that exists already. Nothing of a request but its inputs goes there.
        forward_headers: the request's headers that go to ``url`` all the same, by name.
        headers: headers of our own for every call to ``url``, like a token. Never shown, never logged.
        model: the champion's code with another model: for a class that has exactly one model reference.
        attributes: the champion's code with these class attributes replaced, each by one of its kind.
        twin: allow a candidate that is the same as another variant (an A/A test).

    Example::

        candidates={"boosted": Variant(model="screening:v2")}
    """

    service: Any = None
    runner: str | None = None
    url: str | None = None
    forward_headers: Sequence[str] = ()
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    model: str | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    twin: bool = False

    def __post_init__(self) -> None:
        if self.runner is not None and self.runner not in RUNNERS:
            raise InvalidValue(f"runner {self.runner!r} is not known; there are: {', '.join(RUNNERS)}")
        given = [name for name in ("service", "url", "model") if getattr(self, name) is not None]
        given += ["attributes"] if self.attributes else []
        if len(given) != 1:
            got = ", ".join(given) or "none"
            raise InvalidValue(
                f"a Variant needs exactly one of service, url, model and attributes; got {got}"
            )
        if self.url is None:
            if self.forward_headers or self.headers:
                raise InvalidValue("forward_headers and headers go with url: elsewhere all headers are seen")
            return
        if self.runner is not None:
            raise InvalidValue(f"a Variant with a url runs there; leave out runner={self.runner!r}")
        check_url(self.url)
        check_headers(self.forward_headers, self.headers)


MADE = "_bento_rollout_made"
"""Marks a class without a source of its own: it only replaces attributes of the class below it."""


@dataclass
class Definition:
    """A variant as this process knows it: its service, and what its digest is made from.

    Attributes:
        name: the variant.
        service: whose endpoints answer.
        inner: the class that is instantiated.
        attributes: what replaces the champion's class attributes.
        twin: whether it may be the same as another variant.
        runner: where it runs.
        offers: the champion's endpoints at which it can answer.
        place: where it is, for a deployment that exists.
    """

    name: str
    service: Service[Any]
    inner: type
    attributes: dict[str, Any] = field(default_factory=dict)
    twin: bool = False
    runner: str = "worker"
    offers: frozenset[str] = frozenset()
    place: Place | None = None

    @property
    def is_here(self) -> bool:
        """Whether it runs in the worker or beside it, with the service's own environment."""
        return self.runner in ("worker", "process")

    @property
    def models(self) -> list[ModelReference[Any]]:
        """The model references of the class."""
        return [value for _, value in self.references]

    @property
    def references(self) -> list[tuple[str, ModelReference[Any]]]:
        """The class attributes that are model references."""
        if self.place is not None:
            return []  # who is there knows
        found = ((name, getattr(self.inner, name, None)) for name in dir(self.inner))
        return [(name, value) for name, value in found if isinstance(value, ModelReference)]

    def pin(self, pins: Mapping[str, str]) -> None:
        """Replace tags like ``:latest`` by what they were resolved to when the service was started."""
        new: dict[str, Any] = {}
        for name, value in self.references:
            tag = pins.get(str(value.tag)) if isinstance(value, BentoModel) else None
            if tag is not None and isinstance(value, BentoModel) and tag != str(value.tag):
                new[name] = with_tag(value, tag)
        if new:
            self.inner = subclass(self.inner, new)
            self.service = copy.copy(self.service)  # the user's own object may be served elsewhere, too
            self.service.inner = self.inner

    def digest(self, resolve: Callable[[Any], str]) -> str:
        """Return 16 hex digits that change with the class's source, replaced attributes, and models' tags.

        Comments and blank lines do not count. The class of a candidate that only replaces attributes is the
        champion's: what changes there changes both. Of a deployment at a URL only the URL is known.

        Args:
            resolve: returns the tag that a model reference stands for now.
        """
        if self.place is not None:
            return hashlib.sha256(f"url:{self.place.url}".encode()).hexdigest()[:16]
        written = (cls for cls in self.inner.__mro__ if MADE not in vars(cls))
        classes = (cls for cls in written if cls.__module__ not in ("builtins", "typing", "abc"))
        replaced = {
            name: value for name, value in self.attributes.items() if not isinstance(value, ModelReference)
        }
        parts = {
            "source": [source_of(cls) for cls in classes],
            "attributes": {name: _describe(value) for name, value in sorted(replaced.items())},
            "models": {name: resolve(value) for name, value in self.references},
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def define(name: str, given: Any, champion: Definition) -> Definition:
    """Return the definition of a candidate from what the user wrote: a service, or a `Variant`.

    Raises:
        Incompatible: when it is neither, or replaces an attribute that the champion's class does not have.
    """
    variant = given if isinstance(given, Variant) else Variant(given) if given is not None else None
    if variant is None or (variant.service is not None and not isinstance(variant.service, Service)):
        wrong = None if variant is None else variant.service
        raise Incompatible(f"candidate {name!r} must be a @bentoml.service class or a Variant, not {wrong!r}")
    if variant.service is champion.service:
        raise Incompatible(
            f"candidate {name!r} is the decorated service itself; name another class, or Variant(model=…)"
        )
    runner = variant.runner or "worker"
    if variant.service is not None:
        service = variant.service
        return Definition(name, service, service.inner, twin=variant.twin, runner=runner)
    if variant.url is not None:
        return _elsewhere(name, variant, champion)
    attributes = dict(variant.attributes) or _with_model(name, variant.model or "", champion)
    for attribute, value in attributes.items():
        _check_kind(name, attribute, value, champion.inner)
    inner = subclass(champion.inner, attributes)
    ours = champion.service
    made: Service[Any] = Service(
        name=f"{ours.name}_{name}", config=dict(ours.config), inner=inner, path_prefix=ours.path_prefix
    )
    made.envs.extend(ours.envs)  # setting them would convert what is converted already
    made.labels, made.image = dict(ours.labels), ours.image
    differing = {
        key: value for key, value in attributes.items() if not _same(value, getattr(champion.inner, key))
    }
    return Definition(name, made, inner, differing, variant.twin, runner)


def _elsewhere(name: str, variant: Variant, champion: Definition) -> Definition:
    """Return the definition of a deployment that exists: its endpoints should be the champion's."""
    service = copy.copy(champion.service)
    service.apis, service.dependencies, service.models = dict(service.apis), {}, []
    forwarded = frozenset(header.lower() for header in variant.forward_headers)
    place = Place((variant.url or "").rstrip("/"), forwarded, dict(variant.headers))
    offers = frozenset(service.apis)
    return Definition(name, service, champion.inner, {}, variant.twin, "url", offers, place)


def _with_model(name: str, tag: str, champion: Definition) -> dict[str, Any]:
    found = champion.references
    if len(found) != 1:
        has = ", ".join(attribute for attribute, _ in found) or "none"
        raise Incompatible(
            f"candidate {name!r}: Variant(model=…) needs a class with exactly one model reference; "
            f"{champion.inner.__name__} has: {has}. Use Variant(attributes={{…}})"
        )
    attribute, old = found[0]
    if not isinstance(old, BentoModel):
        raise Incompatible(
            f"candidate {name!r}: {attribute!r} is a {type(old).__name__}; "
            f"use Variant(attributes={{{attribute!r}: …}})"
        )
    return {attribute: with_tag(old, tag)}


def with_tag(reference: BentoModel, tag: str) -> BentoModel:
    """Return a reference to another model of the store, of the same kind: a sealed one stays sealed."""
    retagged: BentoModel = reference.with_tag(tag) if hasattr(reference, "with_tag") else BentoModel(tag)
    return retagged


def _check_kind(name: str, attribute: str, value: Any, inner: type) -> None:
    if not hasattr(inner, attribute):
        raise Incompatible(
            f"candidate {name!r} replaces {attribute!r}, which {inner.__name__} does not have; "
            f"it has: {_replaceable(inner)}"
        )
    old = inspect.getattr_static(inner, attribute)
    if _kind(old) != _kind(value):
        raise Incompatible(f"candidate {name!r} replaces {attribute!r}, {_kind(old)}, by {_kind(value)}")


def _replaceable(inner: type) -> str:
    """Return what a class has that attributes of a candidate can replace, each with its kind."""
    names = {key for cls in inner.__mro__[:-1] for key in vars(cls) if not key.startswith("__")}
    kinds = {key: _kind(inspect.getattr_static(inner, key)) for key in sorted(names)}
    found = [f"{key} ({kind})" for key, kind in kinds.items() if kind != ENDPOINT]
    return ", ".join(found) or "nothing that could be replaced"


ENDPOINT = "an endpoint"


def _kind(value: Any) -> str:
    if isinstance(value, ModelReference):
        return "a model reference"
    if isinstance(value, Dependency):
        return "a dependency"
    if isinstance(value, APIMethod):
        return ENDPOINT
    if inspect.isclass(value):
        return "a class"
    return "a function" if callable(value) else "a value"


def _same(value: Any, old: Any) -> bool:
    if isinstance(value, (ModelReference, Dependency)):
        return _describe(value) == _describe(old)
    try:
        return type(value) is type(old) and bool(value == old)
    except Exception:  # noqa: BLE001 - arrays and the like; then it is another one
        return value is old


def subclass(inner: type, attributes: Mapping[str, Any]) -> type:
    """Return a class that replaces some attributes of another, and is the same code in every other way."""
    body = {
        **attributes,
        MADE: True,
        "__module__": inner.__module__,
        "__qualname__": inner.__qualname__,
        "__doc__": inner.__doc__,
    }
    return types.new_class(inner.__name__, (inner,), {}, lambda namespace: namespace.update(body))


def _describe(value: Any) -> str:
    """Return text that is the same in every process for the same value, as far as that can be known."""
    if isinstance(value, Dependency):
        return f"depends:{value.on.name if value.on else value.url or value.deployment}"
    if inspect.isclass(value) or inspect.isfunction(value):
        try:
            return f"{value.__module__}.{value.__qualname__}:{written(inspect.getsource(value))}"
        except (OSError, TypeError):
            return f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, (set, frozenset)):
        return repr(sorted(map(_describe, value)))
    if is_array(value):
        return f"{value.dtype}{value.shape}:{hashlib.sha256(value.tobytes()).hexdigest()}"
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))
