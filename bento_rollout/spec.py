"""`RolloutSpec`: what the code says about a rollout; valid, or not constructed."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from .errors import InvalidSpec, InvalidValue

__all__ = ["KeySource", "RolloutSpec", "check_name", "parse_duration", "parse_milli"]

RESERVED = frozenset({"champion", "candidate", "shadow", "standby", "none"})
FULL = 100_000
"""100 percent in thousandths, and the number of buckets."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_REQUEST_SOURCES = ("header", "cookie", "query", "baggage")


def check_name(value: str, what: str = "name") -> str:
    """Return the name of a rollout or a variant, or raise `InvalidValue`.

    Names become file names and header values: letters, digits, ``.``, ``_`` and ``-``, at most 100 of them.

    >>> check_name("screening-v2")
    'screening-v2'
    """
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        shown = repr(value)[:120]
        raise InvalidValue(f"{what} {shown} is not valid: use 1 to 100 letters, digits, '_', '-' or '.', and begin with a letter, digit or '_'")
    return value


def check_variant(value: str) -> str:
    """Return a variant's name, or raise `InvalidValue`: the words of roles are reserved."""
    if check_name(value, "variant name").lower() in RESERVED:
        raise InvalidValue(f"variant name {value!r} is reserved for a role ({', '.join(sorted(RESERVED))}); choose another")
    return value


def parse_duration(value: object) -> float:
    """Return seconds: from a number of seconds, or text like ``500ms``, ``30s``, ``5m``, ``1h``, ``2d``.

    >>> parse_duration("5m")
    300.0
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        seconds = float(value)
    elif isinstance(value, str) and (match := _DURATION.fullmatch(value.strip())):
        seconds = float(match[1]) * _UNITS[match[2]]
    else:
        raise InvalidValue(f"duration {value!r} is not valid: write a number with a unit, like 500ms, 30s, 5m, 1h or 2d")
    if not math.isfinite(seconds) or seconds <= 0:
        raise InvalidValue(f"duration {value!r} is not valid: it must be above zero")
    return seconds


def parse_milli(value: object) -> int:
    """Return a percentage (0 to 100, at most three decimals) in thousandths of a percent.

    >>> parse_milli(12.5)
    12500
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidValue(f"percentage {value!r} is not a number; write one from 0 to 100, like 12.5")
    if not math.isfinite(value) or not 0 <= value <= 100:
        raise InvalidValue(f"percentage {value!r} is not valid: it must lie between 0 and 100")
    milli = round(value * 1000)
    if abs(value * 1000 - milli) > 1e-6:
        raise InvalidValue(f"percentage {value!r} has more than three decimals")
    return milli


def check_weights(weights: dict[str, int]) -> dict[str, int]:
    """Return weights in thousandths, or raise `InvalidValue` when they add up to over 100 percent."""
    if (total := sum(weights.values())) > FULL:
        parts = " + ".join(f"{name} {milli / 1000:g}" for name, milli in sorted(weights.items()))
        raise InvalidValue(f"weights add up to {total / 1000:g} percent ({parts}); at most 100 are there to give")
    return weights


VariantName = Annotated[str, AfterValidator(check_variant)]
Milli = Annotated[int, BeforeValidator(parse_milli)]
Seconds = Annotated[float, BeforeValidator(parse_duration)]


@dataclass(frozen=True, slots=True)
class KeySource:
    """Where a routing key (or an inference id) is read from.

    Attributes:
        kind: ``header``, ``cookie``, ``query``, ``baggage``, ``field``, ``rows`` or ``call``.
        name: the header's, cookie's or argument's name; for ``call`` the module.
        path: the attributes or items that lead from an argument to the key; for ``call`` the function's name.
    """

    kind: str
    name: str
    path: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: object) -> KeySource:
        """Return the source that a text like ``header:x-user`` or ``rows:batch.user_id`` names."""
        if not isinstance(text, str) or ":" not in text:
            raise InvalidValue(f"key source {text!r} is not valid: write header:NAME, cookie:NAME, query:NAME, baggage:NAME, field:ARG, rows:ARG or module:function")
        kind, _, rest = text.partition(":")
        if not rest.strip() or rest != rest.strip():
            raise InvalidValue(f"key source {text!r} names nothing after the colon")
        if kind in _REQUEST_SOURCES:
            return cls(kind, rest.lower() if kind == "header" else rest)
        if kind in ("field", "rows"):
            name, *path = rest.split(".")
            if not name or not all(path):
                raise InvalidValue(f"key source {text!r} is not valid: write {kind}:ARGUMENT or {kind}:ARGUMENT.attribute")
            return cls(kind, name, tuple(path))
        if not all(part.isidentifier() for part in (*kind.split("."), *rest.split("."))):
            raise InvalidValue(f"key source {text!r} is neither a known kind (header, cookie, query, baggage, field, rows) nor module:function")
        return cls("call", kind, tuple(rest.split(".")))

    def __str__(self) -> str:
        if self.kind == "call":
            return f"{self.name}:{'.'.join(self.path)}"
        return f"{self.kind}:{'.'.join((self.name, *self.path))}"


def _parse_sources(value: object) -> tuple[KeySource, ...]:
    items = value if isinstance(value, (list, tuple)) else [value]
    sources = tuple(item if isinstance(item, KeySource) else KeySource.parse(item) for item in items)
    if not sources:
        raise InvalidValue("an empty list names no key source; leave the field out to route at random")
    if len(sources) > 1 and any(source.kind == "rows" for source in sources):
        raise InvalidValue("a rows: key stands alone: a request is routed by its rows or as a whole, not by whichever is there")
    return sources


def _parse_key(value: object) -> dict[str, tuple[KeySource, ...]]:
    if value is None:
        return {}
    if isinstance(value, dict):
        return {check_name(name, "endpoint"): _parse_sources(sources) for name, sources in value.items()}
    return {"*": _parse_sources(value)}


Sources = Annotated[dict[str, tuple[KeySource, ...]], BeforeValidator(_parse_key)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, populate_by_name=True)


class Routing(_Strict):
    """How a request finds its variant.

    Attributes:
        key: sources by endpoint (``*``: all endpoints); empty: every request is routed at random.
        inference_id: sources of the caller's own id, by endpoint.
        salt: what the hash is salted with; None: the rollout's name.
        override_header: whether a caller may pin a variant with ``X-Rollout-Variant``.
        rows_atomic: with a ``rows:`` key, whether the first row's key decides for the whole request.
    """

    key: Sources = Field(default_factory=dict)
    inference_id: Sources = Field(default_factory=dict)
    salt: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    override_header: bool = False
    rows_atomic: bool = False

    def sources(self, endpoint: str) -> tuple[KeySource, ...]:
        """Return the key sources of an endpoint, in the order in which they are tried."""
        return self.key.get(endpoint, self.key.get("*", ()))


class Limits(_Strict):
    """What a variant may cost before the champion answers in its place.

    Attributes:
        timeout: seconds to the answer, or to a stream's first item.
        idle_timeout: seconds between two items of a stream.
        fallback: ``champion``: it answers when this variant fails; None: the error is the caller's.
    """

    timeout: Seconds | None = None
    idle_timeout: Seconds | None = None
    fallback: Literal["champion", "none"] | None = None


class Shadow(_Strict):
    """Which part of the traffic a candidate watches, and within which bounds."""

    percent: Milli = 0
    max_pending: Annotated[int, Field(gt=0)] = 64
    max_concurrency: Annotated[int, Field(gt=0)] = 1
    timeout: Seconds = 2.0
    compare: str = "close"


class Target(_Strict):
    """Who gets a variant before the split: these keys, and requests that carry one of these headers."""

    keys: tuple[str, ...] = ()
    header: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _lower(self) -> Target:
        object.__setattr__(self, "keys", tuple(dict.fromkeys(self.keys)))
        object.__setattr__(self, "header", {name.lower(): value for name, value in self.header.items()})
        return self


class BlueGreen(_Strict):
    """The variant that waits to take over at the next flip."""

    standby: VariantName | None = None


class RolloutSpec(_Strict):
    """What the code says about a rollout: routing and limits, and the state that a new rollout starts with.

    Raises:
        InvalidSpec: from `RolloutSpec.parse`, naming the field and the value.

    >>> RolloutSpec.parse({"name": "screening", "weights": {"boosted": 5}}).weights
    {'boosted': 5000}
    """

    name: Annotated[str, AfterValidator(check_name)] | None = None
    routing: Routing = Field(default_factory=Routing)
    expose_headers: bool | tuple[str, ...] = True
    targets: dict[VariantName, Target] = Field(default_factory=dict)
    endpoints: tuple[str, ...] | None = None
    weights: Annotated[dict[VariantName, Milli], AfterValidator(check_weights)] = Field(default_factory=dict)
    variants: dict[VariantName, Limits] = Field(default_factory=dict)
    shadow: dict[VariantName, Shadow] = Field(default_factory=dict)
    blue_green: BlueGreen = Field(default_factory=BlueGreen)

    @classmethod
    def parse(cls, data: object, where: str = "spec") -> RolloutSpec:
        """Return the spec that plain data (a parsed YAML file) describes; ``where`` names it in errors."""
        if not isinstance(data, dict):
            raise InvalidSpec(f"{where}: a mapping of fields is expected, not {type(data).__name__}")
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise InvalidSpec("\n".join(_explain(where, item, data) for item in error.errors())) from None

    @property
    def state_fields(self) -> frozenset[str]:
        """Which fields of the state this spec names; `apply` touches no others."""
        named = {name for name in ("weights", "shadow", "targets") if name in self.model_fields_set}
        if "blue_green" in self.model_fields_set:
            named.add("standby")
        if self.routing.salt is not None:
            named.add("salt")
        return frozenset(named)

    def limits(self, variant: str) -> Limits:
        """Return the limits of a variant; a variant that the spec does not name has none."""
        return self.variants.get(variant) or _NO_LIMITS


_NO_LIMITS = Limits()


def _explain(where: str, item: Any, data: dict[Any, Any]) -> str:
    place = ".".join(str(part) for part in item["loc"] if part != "[key]") or "(whole)"
    if item["type"] == "extra_forbidden":
        owner = _fields_at(item["loc"][:-1])
        return f"{where}: unknown field {place!r}" + (f"; known here: {', '.join(owner)}" if owner else "")
    message = item["msg"].removeprefix("Value error, ")
    shown = repr(item["input"])
    return f"{where}: {place}: {message}" + ("" if shown[:60] in message else f" (got {shown[:80]})")


def _fields_at(loc: tuple[Any, ...]) -> list[str]:
    known: dict[tuple[str, ...], type[BaseModel]] = {
        (): RolloutSpec, ("routing",): Routing, ("blue_green",): BlueGreen,
    }
    nested: dict[str, type[BaseModel]] = {"variants": Limits, "shadow": Shadow, "targets": Target}
    model = known.get(tuple(map(str, loc))) or (nested.get(str(loc[0])) if loc else None)
    return sorted(model.model_fields) if model else []
