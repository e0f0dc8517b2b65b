"""`RolloutSpec`: what the code says about a rollout; valid, or not constructed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    PlainValidator,
    ValidationError,
    model_validator,
)

from .automating import Automation
from .automating import model_at as in_automation
from .comparing import Comparing, parse_compare
from .degrees import Degree
from .drifting import Drift
from .drifting import model_at as in_drift
from .drifting import problems_in as with_drift
from .errors import InvalidSpec, InvalidValue
from .explaining import Problem, Problems, Where, listed, problems_of, told
from .judging import Judging
from .kept import Ledger, Logging, parse_ledger
from .keys import KeySource
from .leases import LEASE, Lease, OnStale, no_leases
from .served import Served, problems_with
from .strategy import Strategy
from .strategy import model_at as in_strategy
from .targets import Target, check_apart
from .values import (
    FULL,
    Milli,
    PerSecond,
    Seconds,
    Share,
    Strict,
    VariantName,
    check_name,
    check_variant,
    check_weights,
    parse_duration,
    parse_milli,
    shown,
)

__all__ = [
    "FULL",
    "RESPONSE_HEADERS",
    "BlueGreen",
    "KeySource",
    "Ledger",
    "Limits",
    "Logging",
    "RolloutSpec",
    "Routing",
    "Shadow",
    "check_name",
    "check_variant",
    "parse_duration",
    "parse_milli",
]

RESPONSE_HEADERS = (
    "X-Rollout-Variant",
    "X-Rollout-Revision",
    "X-Rollout-Prediction-Id",
    "X-Rollout-Reason",
    "X-Rollout-Decided-By",
    "X-Rollout-Stale",
)
"""What answers carry; the last but one of automated endpoints only, the last one without a connection."""

INFERENCE_ID = KeySource("header", "x-rollout-inference-id")
"""Where the caller's own id is when no source that the spec names has one."""

Sources = tuple[KeySource, ...]


_CLOSE = Comparing("close")


def _parse_sources(value: object) -> Sources:
    items = value if isinstance(value, (list, tuple)) else [value]
    sources = tuple(item if isinstance(item, KeySource) else KeySource.parse(item) for item in items)
    if not sources:
        raise InvalidValue("an empty list names no key source; leave the field out to route at random")
    if len(sources) > 1 and any(source.kind == "rows" for source in sources):
        raise InvalidValue(
            "a rows: key stands alone: a request is routed by its rows or as a whole, "
            "not by whichever is there"
        )
    return sources


def _parse_key(value: object) -> dict[str, Sources]:
    if value is None:
        return {}
    if isinstance(value, Mapping):
        return {_endpoint(name): _parse_sources(sources) for name, sources in value.items()}
    return {_ALL: _parse_sources(value)}


_ALL = "*"


def _endpoint(name: object) -> str:
    return _ALL if name == _ALL else check_name(name, "endpoint name")


def _parse_exposed(value: object) -> bool | tuple[str, ...]:
    if isinstance(value, bool):
        return value
    if not isinstance(value, (list, tuple)):
        raise InvalidValue("true, false or a list of headers is expected")
    known = {name.lower(): name for name in RESPONSE_HEADERS}
    for name in value:
        if not isinstance(name, str) or name.lower() not in known:
            raise InvalidValue(f"{shown(name)} is none of our headers ({', '.join(RESPONSE_HEADERS)})")
    return tuple(known[name.lower()] for name in value)


SourcesByEndpoint = Annotated[dict[str, Sources], BeforeValidator(_parse_key)]
Flag = Annotated[bool, Field(strict=True)]
Count = Annotated[int, Field(strict=True, gt=0)]
EndpointName = Annotated[str, BeforeValidator(_endpoint)]


def _label_name(value: object) -> str:
    return check_name(value, "label name")


LabelName = Annotated[str, BeforeValidator(_label_name)]


def _one_endpoint(name: object) -> str:
    if name == _ALL:
        raise InvalidValue("each endpoint has an automation of its own: write its name, not '*'")
    return check_name(name, "endpoint name")


class Routing(Strict):
    """How a request finds its variant.

    Attributes:
        key: sources by endpoint (``*``: all others); empty: every request is routed at random.
        inference_id: sources of the caller's own id, by endpoint.
        salt: what the hash is salted with; None: the rollout's name.
        override_header: whether a caller may pin a variant with ``X-Rollout-Variant``.
        rows_atomic: with a ``rows:`` key, whether the first row's key decides for the whole request.
    """

    key: SourcesByEndpoint = Field(default_factory=dict)
    inference_id: SourcesByEndpoint = Field(default_factory=dict)
    salt: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    override_header: Flag = False
    rows_atomic: Flag = False

    def sources(self, endpoint: str) -> Sources:
        """Return the key sources of an endpoint, in the order in which they are tried."""
        return self.key.get(endpoint, self.key.get(_ALL, ()))

    def id_sources(self, endpoint: str) -> Sources:
        """Return where the caller's own id of a prediction is, in the order in which they are tried."""
        return (*self.inference_id.get(endpoint, self.inference_id.get(_ALL, ())), INFERENCE_ID)


class Limits(Strict):
    """What a variant may cost before the champion answers in its place.

    Attributes:
        timeout: seconds to the answer, or to a stream's first item.
        idle_timeout: seconds between two items of a stream.
        fallback: ``champion``: it answers when this variant fails; None: the error is the caller's.
        max_concurrency: how many calls of a candidate may run at a time in one worker; None: no limit.
        max_pending: how many may wait for that; more are refused at once, which is a failure of this variant.
    """

    timeout: Seconds | None = None
    idle_timeout: Seconds | None = None
    fallback: Literal["champion", "none"] | None = None
    max_concurrency: Count | None = None
    max_pending: Count = 64


class Shadow(Strict):
    """Which part of the traffic a candidate watches, and within which bounds; all bounds are for one worker.

    Attributes:
        percent: thousandths of a percent of the keys whose calls it watches, of those the champion answered.
        endpoints: the endpoints that it watches; None: all that are routed.
        max_pending: how many calls may wait for it; when there are more, calls are dropped and counted.
        max_concurrency: how many may run at once.
        timeout: seconds that one may take; a stream also has twice the time that the champion's took.
        max_rate: calls a second; None: as many as come.
        max_cpu: CPU time in the champion's worker, as a share of one core; None: as much as it takes.
        compare: what decides whether two answers agree, by endpoint (``*``: all others).
        copies: written ``copy``: whether it gets the input as it was sent, though the champion changes it.
        monitor: whether its `bentoml.monitor` records go to their sink, marked ``rollout.shadow: true``.
    """

    percent: Milli = 0
    endpoints: tuple[EndpointName, ...] | None = None
    max_pending: Count = 64
    max_concurrency: Count = 1
    timeout: Seconds = 2.0
    max_rate: PerSecond | None = None
    max_cpu: Share | None = 0.25
    compare: Annotated[dict[str, Comparing], PlainValidator(parse_compare)] = Field(
        default_factory=lambda: {_ALL: _CLOSE}
    )
    copies: Flag = Field(default=False, alias="copy")
    monitor: Flag = False

    def comparing(self, endpoint: str) -> Comparing:
        """Return what decides whether two answers of an endpoint agree."""
        return self.compare.get(endpoint) or self.compare.get(_ALL) or _CLOSE


class BlueGreen(Strict):
    """The variant that waits to take over at the next flip."""

    standby: VariantName | None = None


class RolloutSpec(Strict):
    """What the code says about a rollout: routing and limits, and the state that a new rollout starts with.

    The fields are those of the YAML file and are given as there: percentages in percent, durations as text or
    seconds. Read back, percentages are thousandths of a percent and durations seconds.

    Raises:
        InvalidSpec: naming the field and the value.

    >>> RolloutSpec(name="screening", weights={"boosted": 5}).weights
    {'boosted': 5000}
    """

    name: Annotated[str, BeforeValidator(check_name)] | None = None
    authority: Literal["store", "spec"] = "store"
    champion: VariantName | None = None
    lease: Lease = LEASE
    on_stale: OnStale = "serve"
    routing: Routing = Field(default_factory=Routing)
    expose_headers: Annotated[bool | tuple[str, ...], PlainValidator(_parse_exposed)] = True
    targets: Annotated[dict[VariantName, Target], AfterValidator(check_apart)] = Field(default_factory=dict)
    endpoints: tuple[EndpointName, ...] | None = None
    weights: Annotated[dict[VariantName, Milli], AfterValidator(check_weights)] = Field(default_factory=dict)
    variants: dict[VariantName, Limits] = Field(default_factory=dict)
    shadow: dict[VariantName, Shadow] = Field(default_factory=dict)
    blue_green: BlueGreen = Field(default_factory=BlueGreen)
    log: Logging = Field(default_factory=Logging)
    ledger: Annotated[Ledger, BeforeValidator(parse_ledger)] = Field(default_factory=Ledger)
    strategy: Strategy | None = None
    labels: dict[LabelName, Judging] = Field(default_factory=dict)
    automation: dict[Annotated[str, BeforeValidator(_one_endpoint)], Automation] = Field(default_factory=dict)
    drift: Drift | None = None

    if not TYPE_CHECKING:  # a type checker knows the fields

        def __init__(self, **fields: Any) -> None:
            self._fill(fields, "RolloutSpec")

    @classmethod
    def parse(cls, data: object, where: Where = "spec") -> RolloutSpec:
        """Return the spec that plain data (a parsed YAML file) describes.

        Args:
            data: a mapping of fields.
            where: names the data in errors; or returns such a name for a path of fields, as with its line.

        >>> RolloutSpec.parse({"weights": {"boosted": 105}}, "rollout.yaml")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        bento_rollout.errors.InvalidSpec: rollout.yaml: weights.boosted: percentage 105 is not valid: ...
        """
        if not isinstance(data, Mapping):
            wrong = Problem((), f"a mapping of fields is expected, not {type(data).__name__}")
            raise InvalidSpec(told([wrong], where))
        if strangers := [name for name in data if not isinstance(name, str)]:
            words = f"unknown field {shown(strangers[0])}; known here: {listed(RolloutSpec)}"
            raise InvalidSpec(f"{where if isinstance(where, str) else where(strangers[:1])}: {words}")
        spec = cls.__new__(cls)
        spec._fill(data, where)  # noqa: SLF001 - its own
        return spec

    def _fill(self, fields: Mapping[str, Any], where: Where) -> None:
        try:
            super().__init__(**fields)
        except ValidationError as error:
            raise InvalidSpec(told(problems_of(error, _model_at), where)) from None

    @model_validator(mode="after")
    def _whole(self) -> RolloutSpec:
        wrong = [] if self.strategy is None else list(self._tried(self.strategy))
        if self.drift is not None:
            automated = tuple(self.automation)
            wrong += with_drift(self.drift, ledger=self.ledger, endpoints=self.endpoints, automated=automated)
        wrong += self._governed() if self.authority == "spec" else self._stored()
        if wrong:
            raise Problems(wrong)
        return self

    def _stored(self) -> Iterator[Problem]:
        if self.champion is not None:
            words = (
                "the champion is state, and a store has the state: name it in the code (champion=), and make "
                "another one champion with `flip`; or write authority: spec"
            )
            yield Problem(("champion",), words)

    def _governed(self) -> Iterator[Problem]:
        """Yield what a file cannot say that is the whole state: nothing else is kept anywhere."""
        yield from no_leases(self.model_fields_set)
        if self.strategy is not None:
            words = (
                "a strategy moves traffic by itself, and with authority: spec only the file moves it: "
                "write one of authority: spec and strategy, not both"
            )
            yield Problem(("strategy",), words)
        for endpoint, one in self.automation.items():
            if one.degree >= Degree.PARTIAL:
                words = (
                    f"{one.degree.word} needs a threshold that was certified, which is kept in a store, and "
                    "with authority: spec there is none: write human, shadow or assist"
                )
                yield Problem(("automation", endpoint, "degree"), words)
        if self.drift is not None and self.drift.on_alarm.automation is not None:
            words = "it would lower a degree, and with authority: spec only the file sets one: leave it out"
            yield Problem(("drift", "on_alarm", "automation"), words)

    def _tried(self, strategy: Strategy) -> Iterator[Problem]:
        if "weights" in self.model_fields_set:
            words = "a strategy sets the weights, step by step: write one of weights and strategy, not both"
            yield Problem(("weights",), words)
        for problem in problems_with(strategy, self.served):
            yield problem.below("strategy")

    @property
    def served(self) -> Served:
        """What a strategy may speak of, as far as the spec alone tells; it knows no variants or streams."""
        ledger, rates = self.ledger, {}
        for name, judging in self.labels.items():
            if judging.base_rate is not None and judging.loss is None:
                rates[name] = judging.base_rate
        return Served(
            endpoints=None if self.endpoints is None else frozenset(self.endpoints),
            labels=frozenset(self.labels),
            base_rates=rates,
            shadowed=frozenset(name for name, shadow in self.shadow.items() if shadow.percent),
            keep=ledger.keep if ledger.enabled else None,
            outputs=ledger.outputs,
        )

    @property
    def state_fields(self) -> frozenset[str]:
        """Which fields of the state this spec names; `apply` touches no others."""
        named = self.model_fields_set & {"weights", "shadow", "targets", "automation"}
        if "standby" in self.blue_green.model_fields_set:
            named.add("standby")
        if self.routing.salt is not None:
            named.add("salt")
        return frozenset(named)

    def limits(self, variant: str) -> Limits:
        """Return the limits of a variant; a variant that the spec does not name has none."""
        return self.variants.get(variant) or _NO_LIMITS


_NO_LIMITS = Limits()

_MODELS: dict[str, type[BaseModel]] = {
    "routing": Routing,
    "blue_green": BlueGreen,
    "log": Logging,
    "ledger": Ledger,
    "variants": Limits,
    "shadow": Shadow,
    "targets": Target,
    "labels": Judging,
}
"""What a field, or each entry of it, is made of."""


def _model_at(path: Sequence[str]) -> type[BaseModel] | None:
    """Return what the field at a path stands in."""
    if path[0] == "strategy" and len(path) > 1:
        return in_strategy(path[1:])
    if path[0] == "automation" and len(path) > 1:
        return in_automation(path[1:])
    if path[0] == "drift" and len(path) > 1:
        return in_drift(path[1:])
    return _MODELS.get(path[0]) if len(path) > 1 else RolloutSpec
