"""`Drift`: what is watched for drift, against which reference, and what an alarm does, as a spec says it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, PlainSerializer, PlainValidator, model_validator

from .amounts import DAY, in_time, whole_number
from .drift_source import Source
from .errors import InvalidValue
from .explaining import Problem, Problems
from .kept import Ledger
from .values import Seconds, Strict, check_name, check_text, parse_fraction, shown

__all__ = [
    "KINDS",
    "MOST_RECENT",
    "Concept",
    "Data",
    "Drift",
    "Effect",
    "OnAlarm",
    "Sampling",
    "Segments",
    "Source",
    "model_at",
    "problems_in",
]

KINDS = ("numeric", "category", "text", "embedding")
"""What a feature may be, where it is not to be found out."""

MOST_RECENT = 2000
"""How many rows a test remembers: an effect is measured on no more."""

MOST_SEGMENTS = 3
"""Columns by whose values traffic is told apart."""

MOST_FEATURES = 1000
"""Features that are watched."""

MOST_ALPHA = 0.5
"""Whoever accepts a false alarm more often than not needs no alarm."""

LONGEST = 200
"""Letters of a feature's name."""


def _alpha(value: object) -> float:
    if not 0 < (alpha := parse_fraction(value)) <= MOST_ALPHA:
        raise InvalidValue(
            f"alpha {shown(value)} is not valid: it is the chance that there is ever a false alarm, above 0% "
            f"and at most {MOST_ALPHA:.0%}; write like 1%"
        )
    return alpha


def _coverage(value: object) -> float:
    if not 0 < (part := parse_fraction(value)) <= 1:
        raise InvalidValue(
            f"min_coverage {shown(value)} is not valid: it is the part of the predictions whose label must "
            "have come, above 0%; write like 50%"
        )
    return part


def _psi(value: object) -> float:
    number = value if isinstance(value, (int, float)) and not isinstance(value, bool) else None
    if number is None or not 0 < number <= 10:  # noqa: PLR2004 - 0.25 is called large already
        raise InvalidValue(
            f"psi {shown(value)} is not valid: it says how large a change must be before it matters, above 0 "
            "and at most 10; write like 0.1 (small) or 0.25 (large)"
        )
    return float(number)


def _named(value: object, what: str) -> str:
    name = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if isinstance(name, str) and not name.strip():
        raise InvalidValue(f"an empty name is no {what}")
    return check_text(name, what, LONGEST)


def _names(value: object, what: str, most: int) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, (list, tuple)):
        raise InvalidValue(f"{shown(value)} is no list of names: write like [age, income]")
    names = tuple(_named(one, what) for one in value)
    if twice := {one for one in names if names.count(one) > 1}:
        raise InvalidValue(f"{min(twice)!r} stands twice")
    if len(names) > most:
        raise InvalidValue(f"{len(names)} are too many: at most {most}")
    return names


def _features(value: object) -> dict[str, str | None] | None:
    if value is None or value == "auto":
        return None
    if isinstance(value, Mapping):
        kinds = {_named(name, "feature"): _kind(kind) for name, kind in value.items()}
    elif isinstance(value, str):
        raise InvalidValue(f"{shown(value)} is no list of names: write auto, or like [age, income]")
    else:
        kinds = dict.fromkeys(_names(value, "feature", MOST_FEATURES))
    if not kinds:
        raise InvalidValue("an empty list names no feature: write auto, or like [age, income]")
    if len(kinds) > MOST_FEATURES:
        raise InvalidValue(f"{len(kinds)} features are too many: at most {MOST_FEATURES} are watched")
    return kinds


def _kind(value: object) -> str | None:
    if value not in (None, "auto", *KINDS):
        raise InvalidValue(f"{shown(value)} is no kind of feature; there are: auto, {', '.join(KINDS)}")
    return None if value in (None, "auto") else str(value)


def _written(features: dict[str, str | None] | None) -> str | list[str] | dict[str, str]:
    if features is None:
        return "auto"
    if any(features.values()):
        return {name: kind or "auto" for name, kind in features.items()}
    return list(features)


def _by(value: object) -> tuple[str, ...]:
    return _names(value, "column", MOST_SEGMENTS)


def _endpoint(value: object) -> str:
    return check_name(value, "endpoint name")


def _label(value: object) -> str:
    return check_name(value, "label name")


class Effect(Strict):
    """How large a change must be, beside certain, before an alarm acts.

    Attributes:
        psi: the population stability index of a feature that alarms, since its estimated first row.
        min_rows: rows since then, at least.
    """

    psi: Annotated[float, BeforeValidator(_psi)] = 0.1
    min_rows: Annotated[int, BeforeValidator(whole_number("min_rows", 1, MOST_RECENT))] = 100


class Sampling(Strict):
    """Which rows are watched; fewer where neighbours are alike.

    Attributes:
        every: one row in so many.
        dedupe_by: ``key``: of the rows of one routing key within an hour only the first; None: all.
    """

    every: Annotated[int, BeforeValidator(whole_number("every", 1, 1_000_000))] = 1
    dedupe_by: Literal["key"] | None = None


class Segments(Strict):
    """By which columns traffic is told apart; alpha is split among the whole and them.

    Attributes:
        by: names of columns, at most three.
        min_rows: rows of a segment that the reference must have; with fewer it is insufficient, and says so.
    """

    by: Annotated[tuple[str, ...], BeforeValidator(_by)] = ()
    min_rows: Annotated[int, BeforeValidator(whole_number("min_rows", 100, 10_000_000))] = 300


class Data(Strict):
    """The watch of what comes in.

    Attributes:
        features: those that are watched, with their kinds if they are given; None (``auto``): all that the
            reference has.
        alpha: the chance that there is ever a false alarm.
        effect: how large a change must be before an alarm acts.
        sampling: which rows are watched.
        segments: by which columns traffic is told apart.
        stratify_by: ``hour_of_week``: rows are compared with those of their hour only; None: with all.
    """

    features: Annotated[
        dict[str, str | None] | None,
        PlainValidator(_features),
        PlainSerializer(_written, return_type=Any),
    ] = None
    alpha: Annotated[float, BeforeValidator(_alpha)] = 0.01
    effect: Effect = Field(default_factory=Effect)
    sampling: Sampling = Field(default_factory=Sampling)
    segments: Segments = Field(default_factory=Segments)
    stratify_by: Literal["hour_of_week"] | None = None

    @model_validator(mode="after")
    def _parted_once(self) -> Data:
        if self.segments.by and self.stratify_by is not None:
            words = "rows are parted by stratify_by already, and by one of them only: leave one of them out"
            raise Problems([Problem(("segments", "by"), words)])
        return self


class Concept(Strict):
    """The watch of how wrong each variant is, by labels that come late.

    Attributes:
        loss: how wrong a prediction is; ``auto``: found by the labels.
        label: the name that the labels are told with.
        alpha: the chance that there is ever a false alarm, for each variant.
        matures: seconds after which a prediction counts, when most labels have come.
        min_coverage: the part of those predictions that must have a label.
    """

    loss: Literal["auto", "zero_one", "log", "absolute", "pinball"] = "auto"
    label: Annotated[str, BeforeValidator(_label)] = "label"
    alpha: Annotated[float, BeforeValidator(_alpha)] = 0.01
    matures: Seconds = DAY
    min_coverage: Annotated[float, BeforeValidator(_coverage)] = 0.5


class OnAlarm(Strict):
    """What an alarm that is certain and large does by itself.

    Attributes:
        rollout: ``pause``: the rollout is paused; None: nothing.
        automation: ``demote``: people look at the endpoint's predictions again; None: nothing.
    """

    rollout: Literal["pause"] | None = None
    automation: Literal["demote"] | None = None


class Drift(Strict):
    """What is watched for drift, against which reference, and what an alarm does.

    Attributes:
        endpoint: whose calls are watched; None: the only one that is routed.
        reference: where the reference comes from; None: only losses are watched.
        data: the watch of what comes in; None: none.
        concept: the watch of how wrong the variants are; None: none.
        on_alarm: what an alarm does by itself.

    >>> Drift(reference={"file": "training.csv"}, data={"alpha": "5%"}).data.alpha
    0.05
    """

    endpoint: Annotated[str, BeforeValidator(_endpoint)] | None = None
    reference: Source | None = None
    data: Data | None = None
    concept: Concept | None = None
    on_alarm: OnAlarm = Field(default_factory=OnAlarm)

    @model_validator(mode="after")
    def _whole(self) -> Drift:
        if self.data is None and self.concept is None:
            raise Problems([Problem((), "it watches nothing: write data: {}, concept: {}, or both")])
        if self.data is not None and self.reference is None:
            words = "data is compared with it: write {file: training.parquet}, {ledger: 14d} or "
            raise Problems([Problem(("reference",), f"{words}{{sealed: TAG, file: drift.json}}")])
        return self

    def endpoint_of(self, endpoints: Sequence[str]) -> str | None:
        """Return whose calls are watched, of those that are routed; None: it is not said.

        >>> Drift(concept={}).endpoint_of(["predict"])
        'predict'
        """
        return self.endpoint or (endpoints[0] if len(endpoints) == 1 else None)


def problems_in(
    drift: Drift,
    *,
    ledger: Ledger,
    endpoints: Sequence[str] | None = None,
    automated: Sequence[str] = (),
) -> list[Problem]:
    """Return what does not go together with the rest of a spec; paths begin at the spec.

    Args:
        drift: the settings.
        ledger: what the ledger keeps.
        endpoints: those that are routed; None: not known, and not checked.
        automated: those that have an automation.
    """
    found = [*_by_ledger(drift, ledger), *_by_hour(drift)]
    if endpoints is not None:
        found += _endpoints(drift, endpoints)
    if drift.on_alarm.automation is not None:
        watched = drift.endpoint if endpoints is None else drift.endpoint_of(endpoints)
        if not automated or (watched is not None and watched not in automated):
            words = "no endpoint has an automation" if watched is None else f"{watched!r} has no automation"
            place = ("drift", "on_alarm", "automation")
            found.append(Problem(place, f"{words} that could be demoted: leave it out, or write automation:"))
    return found


def _by_ledger(drift: Drift, ledger: Ledger) -> Iterator[Problem]:
    if not ledger.enabled:
        yield Problem(("drift",), "what is watched comes from the ledger, and it is off: write ledger: true")
        return
    keep, source, concept = ledger.keep, drift.reference, drift.concept
    if source is not None and source.ledger is not None:
        place = ("drift", "reference", "ledger")
        if not ledger.inputs:
            words = "it is made of inputs, and the ledger keeps none: write ledger: {inputs: true}"
            yield Problem(place, f"{words}, or fit one from a file (bento-rollout drift NAME fit FILE)")
        if source.ledger > keep:
            words = f"{in_time(source.ledger)} is longer than the ledger keeps predictions ({in_time(keep)})"
            yield Problem(place, f"{words}: write a shorter time, or ledger: {{keep: …}}")
    if concept is None:
        return
    if concept.matures >= keep:
        words = f"{in_time(concept.matures)} is not shorter than the ledger keeps predictions"
        yield Problem(
            ("drift", "concept", "matures"),
            f"{words} ({in_time(keep)}): no label would count; keep them longer (ledger: {{keep: …}})",
        )
    if not ledger.outputs:
        words = "labels are compared with answers, and the ledger keeps none: write ledger: {outputs: true}"
        yield Problem(("drift", "concept"), words)


def _by_hour(drift: Drift) -> Iterator[Problem]:
    data, source = drift.data, drift.reference
    if data is not None and data.stratify_by is not None and source is not None and source.ledger is None:
        words = "no file says at which hour its rows came: write reference: {ledger: TIME}, or leave it out"
        yield Problem(("drift", "data", "stratify_by"), words)


def _endpoints(drift: Drift, endpoints: Sequence[str]) -> Iterator[Problem]:
    listed = ", ".join(sorted(endpoints)) or "none"
    if drift.endpoint is None and len(endpoints) > 1:
        words = f"{len(endpoints)} endpoints are routed, and one of them is watched: write one of {listed}"
        yield Problem(("drift", "endpoint"), words)
    elif drift.endpoint is not None and drift.endpoint not in endpoints:
        words = f"no routed endpoint is called {drift.endpoint!r}; there are: {listed}"
        yield Problem(("drift", "endpoint"), words)


_MODELS: dict[str, type[BaseModel]] = {
    "reference": Source,
    "data": Data,
    "effect": Effect,
    "sampling": Sampling,
    "segments": Segments,
    "concept": Concept,
    "on_alarm": OnAlarm,
}


def model_at(path: Sequence[str]) -> type[BaseModel] | None:
    """Return what the field at a path of the settings stands in."""
    names = [part for part in path[:-1] if part in _MODELS]
    return _MODELS[names[-1]] if names else Drift
