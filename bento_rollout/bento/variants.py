"""What a user calls a variant, made into something that can be run: a BentoML service and its digest."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from _bentoml_sdk.models import BentoModel
from _bentoml_sdk.models import Model as ModelReference
from _bentoml_sdk.service import Service
from _bentoml_sdk.service.dependency import Dependency

from ..errors import Incompatible, InvalidValue

__all__ = ["Definition", "Variant", "define"]

RUNNERS = ("worker", "process", "service")


@dataclass(frozen=True)
class Variant:
    """How a candidate differs from the champion, and where it runs.

    Args:
        service: another ``@bentoml.service`` class; leave it out for the champion's code with other attributes.
        runner: ``worker``: in the champion's worker, the default. ``process`` and ``service`` come with a later
            version, and so does ``url``.
        model: the champion's code with another model: for a class that has exactly one model reference.
        attributes: the champion's code with these class attributes replaced, each by one of its kind.
        twin: allow a candidate that is the same as another variant (an A/A test).

    Example::

        candidates={"boosted": Variant(model="screening:v2")}
    """

    service: Any = None
    runner: str = "worker"
    url: str | None = None
    model: str | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    twin: bool = False

    def __post_init__(self) -> None:
        if self.runner not in RUNNERS:
            raise InvalidValue(f"runner {self.runner!r} is not known; there are: {', '.join(RUNNERS)}")
        if self.url is not None or self.runner != "worker":
            place = f"url={self.url!r}" if self.url is not None else f"runner={self.runner!r}"
            raise InvalidValue(f"{place} is not available in this version: candidates run in the worker (runner='worker')")
        given = [name for name in ("service", "model") if getattr(self, name) is not None] + (["attributes"] if self.attributes else [])
        if len(given) != 1:
            raise InvalidValue(f"a Variant needs exactly one of service, model and attributes; got {', '.join(given) or 'none'}")


@dataclass
class Definition:
    """A variant as this process knows it: its service, and what its digest is made from."""

    name: str
    service: Service[Any]
    inner: type
    attributes: dict[str, Any] = field(default_factory=dict)
    twin: bool = False

    @property
    def models(self) -> list[ModelReference[Any]]:
        """The model references of the class, by attribute name."""
        return [value for _, value in self.references]

    @property
    def references(self) -> list[tuple[str, ModelReference[Any]]]:
        """The class attributes that are model references."""
        found = ((name, getattr(self.inner, name, None)) for name in dir(self.inner))
        return [(name, value) for name, value in found if isinstance(value, ModelReference)]

    def pin(self, pins: Mapping[str, str]) -> None:
        """Replace tags like ``:latest`` by what they were resolved to when the service was started."""
        for name, value in self.references:
            if isinstance(value, BentoModel) and (tag := pins.get(str(value.tag))) and tag != str(value.tag):
                self.inner = type(self.inner.__name__, (self.inner,), {name: BentoModel(tag), **_identity(self.inner)})
        if self.service.inner is not self.inner and issubclass(self.inner, self.service.inner):
            self.service.inner = self.inner

    def digest(self, resolve: Any) -> str:
        """Return 16 hex digits that change with the class's source, its replaced attributes, and its models' tags.

        Args:
            resolve: returns the tag that a model reference stands for now.
        """
        parts = {
            "source": [_source(cls) for cls in self.inner.__mro__ if cls.__module__ not in ("builtins", "typing", "abc")],
            "attributes": {name: _describe(value, resolve) for name, value in sorted(self.attributes.items())},
            "models": {name: resolve(value) for name, value in self.references},
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def define(name: str, given: Any, champion: Definition) -> Definition:
    """Return the definition of a candidate from what the user wrote: a service, or a `Variant`.

    Raises:
        Incompatible: when it is neither, or replaces an attribute that the champion's class does not have.
    """
    variant = given if isinstance(given, Variant) else None
    service = given if variant is None else variant.service
    if variant is None or service is not None:
        if not isinstance(service, Service):
            raise Incompatible(f"candidate {name!r} must be a @bentoml.service class or a Variant, not {service!r}")
        if service is champion.service:
            raise Incompatible(f"candidate {name!r} is the decorated service itself; name another class, or Variant(model=…)")
        return Definition(name, service, service.inner, twin=bool(variant and variant.twin))
    attributes = dict(variant.attributes) if variant.attributes else _with_model(name, variant.model or "", champion)
    for attribute, value in attributes.items():
        _check_kind(name, attribute, value, champion.inner)
    inner = type(champion.inner.__name__, (champion.inner,), {**attributes, **_identity(champion.inner)})
    made = Service(name=f"{champion.service.name}_{name}", config=dict(champion.service.config), inner=inner)
    return Definition(name, made, inner, attributes, variant.twin)


def _with_model(name: str, tag: str, champion: Definition) -> dict[str, Any]:
    found = champion.references
    if len(found) != 1:
        has = ", ".join(attribute for attribute, _ in found) or "none"
        raise Incompatible(f"candidate {name!r}: Variant(model=…) needs a class with exactly one model reference; {champion.inner.__name__} has: {has}. Use Variant(attributes={{…}})")
    attribute, old = found[0]
    if not isinstance(old, BentoModel):
        raise Incompatible(f"candidate {name!r}: {attribute!r} is a {type(old).__name__}; use Variant(attributes={{{attribute!r}: …}})")
    return {attribute: BentoModel(tag)}


def _check_kind(name: str, attribute: str, value: Any, inner: type) -> None:
    if not hasattr(inner, attribute):
        has = ", ".join(sorted(n for n in vars(inner) if not n.startswith("__")))
        raise Incompatible(f"candidate {name!r} replaces {attribute!r}, which {inner.__name__} does not have; it has: {has}")
    old = inspect.getattr_static(inner, attribute)
    for kind, word in ((ModelReference, "a model reference"), (Dependency, "a dependency")):
        if isinstance(old, kind) != isinstance(value, kind):
            raise Incompatible(f"candidate {name!r} replaces {attribute!r}, {_kind(old)}, by {_kind(value)}; it must stay {word if isinstance(old, kind) else 'no ' + word}")
    if callable(old) != callable(value) and not isinstance(old, (ModelReference, Dependency)):
        raise Incompatible(f"candidate {name!r} replaces {attribute!r}, {_kind(old)}, by {_kind(value)}")


def _kind(value: Any) -> str:
    if isinstance(value, ModelReference):
        return "a model reference"
    return "a dependency" if isinstance(value, Dependency) else f"a {type(value).__name__}"


def _identity(inner: type) -> dict[str, Any]:
    return {"__module__": inner.__module__, "__qualname__": inner.__qualname__, "__doc__": inner.__doc__}


def _source(cls: type) -> str:
    """Return a class's source; of one that has none (made in a console), its methods' code."""
    try:
        return inspect.getsource(cls)
    except (OSError, TypeError):
        codes = [f"{name}:{value.__code__.co_code.hex()}" for name, value in sorted(vars(cls).items()) if inspect.isfunction(value)]
        return f"{cls.__module__}.{cls.__qualname__}:{codes}"


def _describe(value: Any, resolve: Any) -> str:
    if isinstance(value, ModelReference):
        return str(resolve(value))
    if isinstance(value, Dependency):
        return f"depends:{value.on.name if value.on else value.url or value.deployment}"
    return repr(value)
