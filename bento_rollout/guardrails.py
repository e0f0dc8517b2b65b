"""Guardrails: which numbers a candidate is held to, as a strategy says it; valid, or not constructed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, ValidationError, model_validator

from .amounts import Bound, Margin, Number, Points, Weight
from .errors import InvalidValue
from .explaining import Problem, Problems, problems_of
from .values import Fraction, Seconds, Strict, check_name, shown

__all__ = [
    "MOST_GUARDRAILS",
    "Agreement",
    "ErrorRate",
    "Guardrail",
    "Label",
    "Latency",
    "Measure",
    "OnHarm",
    "Threshold",
    "alpha_shares",
    "parse_guardrails",
    "split_name",
]

OnHarm = Literal["rollback", "pause", "notify"]
"""What is done when harm is shown."""

MOST_GUARDRAILS = 50
"""Guardrails of one strategy: each takes its share of the false alarms that are allowed."""

_LABEL = "label."


Flag = Annotated[bool, Field(strict=True)]


class Guardrail(Strict):
    """What all guardrails have.

    Attributes:
        required: whether a step waits until it is healthy; None: what is usual for its kind.
        on_harm: what is done when it is harmful; None: what the strategy says, of labels ``pause``.
    """

    required: Flag | None = None
    on_harm: OnHarm | None = None

    calibrated: ClassVar[bool] = True
    """Whether the chance of a false alarm is known; such a guardrail has a share of it."""

    delayed: ClassVar[bool] = False
    """Whether its evidence comes after the prediction has aged."""

    @property
    def unhealthy(self) -> str:
        """Why it can never be shown to be healthy; empty: it can."""
        return ""

    @property
    def is_required(self) -> bool:
        """Whether a step with traffic waits for it."""
        return self.required is not False

    @property
    def counting(self) -> dict[str, Any]:
        """The fields that its evidence belongs to, as plain data; others may change while it is kept."""
        kept = {"required", "on_harm", "weight", "watch"}
        return {"kind": type(self).__name__, **self.model_dump(mode="json", by_alias=True, exclude=kept)}

    def harm(self, usual: OnHarm) -> OnHarm:
        """Return what is done when it is harmful; ``usual`` is what the strategy says."""
        return self.on_harm or usual


class Calibrated(Guardrail):
    """What guardrails have whose false alarms are counted.

    Attributes:
        weight: its part of the false alarms that are allowed, beside the weights of the others.
    """

    weight: Weight = 1.0


class ErrorRate(Calibrated):
    """The part of calls that fail.

    Attributes:
        margin: how much worse than the control still counts as healthy, as a difference of rates.
        tolerance: how much worse is no harm; below the margin.
    """

    margin: Margin | None = None
    tolerance: Points = 0.0

    @model_validator(mode="after")
    def _apart(self) -> ErrorRate:
        _check_tolerance(self.tolerance, self.margin)
        return self

    @property
    def unhealthy(self) -> str:
        """Why it can never be shown to be healthy; empty: it can."""
        return _needs_margin(self.margin)


class Latency(Calibrated):
    """How long calls take; margins of its claim of health are fixed (10 points at p50, 3 at p95).

    Attributes:
        tolerance: how much slower is no harm, as a part of the control's.
        of: of a stream: to its first item, to its end, or between two items.
    """

    tolerance: Fraction = 0.1
    of: Literal["first_item", "total", "per_item"] = "first_item"


class Agreement(Calibrated):
    """The part of the shadow's answers that agree with the champion's.

    Attributes:
        least: written ``min``: the part that must agree, were the champion to agree with itself always;
            what it disagrees with itself is allowed on top.
    """

    least: Fraction = Field(alias="min")

    @model_validator(mode="after")
    def _possible(self) -> Agreement:
        if not 0 < self.least < 1:
            raise InvalidValue(
                f"min {self.least * 100:g}% is not valid: it lies between 0% and 100%; "
                "that all answers agree can never be shown: write what is enough, like 97%"
            )
        return self

    @property
    def is_required(self) -> bool:
        """Whether a step with traffic waits for it: only when that is written, as better models disagree."""
        return self.required is True


class Label(Calibrated):
    """How good predictions were, as their labels tell later.

    Attributes:
        margin: how much worse than the control still counts as healthy, as a difference of rates.
        matures: seconds after which a prediction counts, labelled or not.
        watch: seconds after promotion for which harm is looked for; None: until the bake is over.
    """

    margin: Margin | None = None
    matures: Seconds
    watch: Seconds | None = None

    delayed: ClassVar[bool] = True

    @model_validator(mode="after")
    def _seen(self) -> Label:
        if self.watch is not None and self.watch < self.matures:
            raise InvalidValue(
                f"watch ({self.watch:g} s) is shorter than matures ({self.matures:g} s): "
                "no prediction made after the promotion would count; watch longer, or leave watch out"
            )
        return self

    @property
    def unhealthy(self) -> str:
        """Why it can never be shown to be healthy; empty: it can."""
        return _needs_margin(self.margin)

    def harm(self, usual: OnHarm) -> OnHarm:  # noqa: ARG002 - a wrong join must not roll back a good model
        """Return what is done when it is harmful: ``pause``, unless something else is written for it."""
        return self.on_harm or "pause"


class Measure(Calibrated):
    """A number that the service's own code gives with ``measure(…)``: a value in a range, or a counter.

    Attributes:
        better: whether ``high`` or ``low`` values are better.
        range: the least and the largest value; values outside are clipped and counted. None: a counter.
        margin: how much worse than the control still counts as healthy, in the unit of the values.
    """

    better: Literal["high", "low"]
    range: tuple[Number, Number] | None = None
    margin: Number | None = None

    @model_validator(mode="after")
    def _bounded(self) -> Measure:
        if self.range is None:
            if self.margin is not None:
                raise InvalidValue("a margin needs a range: write range: [LEAST, MOST]")
            if self.better == "high":
                raise InvalidValue(
                    "without a range it is a counter, and of a counter fewer are better; "
                    "for values write range: [LEAST, MOST]"
                )
            return self
        low, high = self.range
        if not low < high or not math.isfinite(high - low):
            raise InvalidValue(f"range [{low:g}, {high:g}] is not valid: the first must be below the second")
        if self.margin is not None and not 0 < self.margin < high - low:
            raise InvalidValue(
                f"margin {self.margin:g} is not valid: it lies above 0 and below {high - low:g}, "
                "the width of the range"
            )
        return self

    @property
    def values(self) -> tuple[float, float] | None:
        """The best and the worst value; None: it is a counter."""
        if self.range is None:
            return None
        return self.range if self.better == "low" else (self.range[1], self.range[0])

    @property
    def share(self) -> float | None:
        """The margin as a part of the range's width."""
        if self.range is None or self.margin is None:
            return None
        return self.margin / (self.range[1] - self.range[0])

    @property
    def unhealthy(self) -> str:
        """Why it can never be shown to be healthy; empty: it can."""
        if self.range is None:
            return "a counter (no range) has no test of health"
        return _needs_margin(self.margin, "0.02")


class Threshold(Guardrail):
    """A plain bound; it is not calibrated: nothing is promised of how often it alarms.

    Attributes:
        below, above: the bound, one of the two.
        failure_limit: how many looks may fail; one more is harm.
        interval: seconds from look to look.
    """

    below: Bound | None = None
    above: Bound | None = None
    failure_limit: Annotated[int, Field(strict=True, ge=0)] = 0
    interval: Seconds = 30.0

    calibrated: ClassVar[bool] = False

    @model_validator(mode="after")
    def _one(self) -> Threshold:
        if (self.below is None) == (self.above is None):
            raise InvalidValue("write one of below and above, with a value")
        return self

    def holds(self, value: float) -> bool:
        """Whether a value is within the bound."""
        return (self.below is None or value < self.below) and (self.above is None or value > self.above)


def split_name(name: str) -> tuple[str, str | None]:
    """Return the metric of a guardrail and its endpoint; None: all endpoints together.

    >>> split_name("error_rate@predict"), split_name("latency")
    (('error_rate', 'predict'), ('latency', None))
    """
    metric, at, endpoint = name.partition("@")
    return metric, endpoint if at else None


def parse_guardrails(value: object) -> dict[str, Guardrail]:
    """Return the guardrails that a mapping by name describes; the name says which kind each is of.

    Raises:
        Problems: naming everything that is wrong.

    >>> parse_guardrails({"error_rate": {"margin": "1pp"}})["error_rate"].margin
    0.01
    """
    if not isinstance(value, Mapping):
        raise InvalidValue("a mapping is expected, like {error_rate: {margin: 1pp}}")
    if len(value) > MOST_GUARDRAILS:
        raise InvalidValue(f"{len(value)} guardrails are too many: at most {MOST_GUARDRAILS} are kept")
    found: dict[str, Guardrail] = {}
    wrong: list[Problem] = []
    for name, fields in value.items():
        try:
            found[name] = fields if isinstance(fields, Guardrail) else _parse(_checked(name), fields)
        except Problems as problems:
            wrong += [problem.below(name) for problem in problems.found]
        except InvalidValue as error:
            wrong.append(Problem((name,), str(error)))
    if wrong:
        raise Problems(wrong)
    return found


def alpha_shares(
    guardrails: Mapping[str, Guardrail], false_alarm: float, candidates: int = 1
) -> dict[str, float]:
    """Return by guardrail its part of the probability of a false alarm, for each candidate.

    They add up, over guardrails and candidates, to ``false_alarm``. Plain thresholds have none.

    >>> both = parse_guardrails({"error_rate": {"margin": "1pp", "weight": 3}, "latency": {}})
    >>> alpha_shares(both, 0.01)
    {'error_rate': 0.0075, 'latency': 0.0025}
    """
    weights = {name: one.weight for name, one in guardrails.items() if isinstance(one, Calibrated)}
    total = math.fsum(weights.values()) * candidates
    return {name: false_alarm * weight / total for name, weight in weights.items()}


_VALUES: dict[str, tuple[tuple[float, float], str]] = {
    "error_rate": ((0.0, 1.0), "the part of calls that fail lies from 0 to 1; write a part, like below: 2%"),
    "rss": ((2.0**20, math.inf), "memory in bytes is over a mebibyte; write a size, like below: 4GiB"),
}
"""Between which bounds the numbers of plain thresholds lie, where that is known, and what to write."""

_KINDS: dict[str, type[Guardrail]] = {"error_rate": ErrorRate, "latency": Latency, "agreement": Agreement}


def _checked(name: object) -> str:
    if not isinstance(name, str):
        raise InvalidValue(f"guardrail name {shown(name)} is not text: write it in quotes")
    metric, endpoint = split_name(name)
    check_name(metric.removeprefix(_LABEL), "metric name")
    if endpoint is not None:
        check_name(endpoint, "endpoint name")
    return name


def _parse(name: str, fields: object) -> Guardrail:
    if not isinstance(fields, Mapping):
        raise InvalidValue(f"a mapping is expected, like {{margin: 1pp}} (got {shown(fields)})")
    kind = _kind(split_name(name)[0], fields)
    if strangers := [field for field in fields if not isinstance(field, str)]:
        raise InvalidValue(f"unknown field {shown(strangers[0])}")
    if kind is Measure and "better" not in fields:
        raise InvalidValue(
            f"better is missing: write better: low or better: high for {name!r}, which this library does "
            "not know (it knows error_rate, latency, agreement and label.NAME); "
            "or below: or above: for a plain threshold"
        )
    try:
        found = kind.model_validate(dict(fields))
    except ValidationError as error:
        raise Problems(problems_of(error, lambda _: kind)) from None
    if isinstance(found, Threshold):
        _check_bound(split_name(name)[0], found)
    return found


def _check_bound(metric: str, threshold: Threshold) -> None:
    """Refuse a bound that no value of a number keeps, and one that every value keeps."""
    if (values := _VALUES.get(metric)) is None:
        return
    (low, high), words = values
    if threshold.below is not None:
        field, bound = "below", threshold.below
        never, always = bound <= low, bound > high
    else:
        field, bound = "above", threshold.above or 0.0
        never, always = bound >= high, bound < low
    if never or always:
        says = "can never hold" if never else "always holds, so it guards nothing"
        raise Problems([Problem((field,), f"bound {bound:.15g} {says}: {words}")])


def _kind(metric: str, fields: Mapping[Any, Any]) -> type[Guardrail]:
    if metric.startswith(_LABEL):
        return Label
    if ("below" in fields or "above" in fields) and metric not in ("latency", "agreement"):
        return Threshold
    return _KINDS.get(metric, Measure)


def _needs_margin(margin: float | None, example: str = "1pp") -> str:
    return "" if margin is not None else f"it has no margin (write one, like margin: {example})"


def _check_tolerance(tolerance: float, margin: float | None) -> None:
    if margin is not None and tolerance >= margin:
        raise InvalidValue(
            f"tolerance {tolerance:g} is not below margin {margin:g}: what is no harm yet "
            "would count as worse than healthy"
        )
