"""Whether a service has what a strategy speaks of: variants, endpoints, numbers, labels."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from .amounts import DAY, in_time
from .errors import InvalidSpec, UnknownVariant
from .explaining import Problem, Where, told
from .guardrails import Agreement, Guardrail, Label, Latency, Measure, Threshold, split_name
from .strategy import Strategy

__all__ = ["GAUGES", "LEAST_BASE_RATE", "Served", "check_served", "problems_with"]

GAUGES = frozenset({"rss"})
"""What plain thresholds may be about in every service: the memory of a variant's processes, in bytes."""

LEAST_BASE_RATE = 0.01
"""With fewer positives equal classes say nothing: who never says yes is right nearly always."""


@dataclass(frozen=True, slots=True)
class Served:
    """What a service has, as far as it is known. Immutable.

    Attributes:
        variants: all of them; None: not known, and not checked.
        champion: who answers by default.
        endpoints: those that are routed; None: not known, and not checked.
        streams: those of them that stream; None: not known, and not checked.
        measures: names given to ``measure(…)`` so far; None: not known, and not checked.
        gauges: what else plain thresholds may be about.
        labels: labels that the spec says how to count, beside ``correct``; None: not checked.
        base_rates: by label that has no loss, which part of the predictions is positive; absent: not known.
        shadowed: the variants that watch already.
        keep: seconds that the ledger keeps predictions; None: there is no ledger.
        outputs: whether the ledger keeps answers.
    """

    variants: tuple[str, ...] | None = None
    champion: str = ""
    endpoints: frozenset[str] | None = None
    streams: frozenset[str] | None = None
    measures: frozenset[str] | None = None
    gauges: frozenset[str] = GAUGES
    labels: frozenset[str] | None = None
    base_rates: Mapping[str, float] = field(default_factory=dict)
    shadowed: frozenset[str] = frozenset()
    keep: float | None = 30 * DAY
    outputs: bool = True


def check_served(strategy: Strategy, served: Served, where: Where = "strategy") -> None:
    """Refuse a strategy that speaks of something that the service does not have.

    Raises:
        InvalidSpec: naming everything that is wrong, one thing a line.
    """
    if problems := problems_with(strategy, served):
        raise InvalidSpec(told(problems, where))


def problems_with(strategy: Strategy, served: Served) -> list[Problem]:
    """Return what a strategy speaks of that the service does not have."""
    problems = list(_candidate(strategy, served))
    for name, guardrail in strategy.guardrails.items():
        found = _guardrail(strategy, name, guardrail, served)
        problems += [problem.below("guardrails", name) for problem in found]
    return problems


def _candidate(strategy: Strategy, served: Served) -> Iterator[Problem]:
    place = ("canary" if strategy.canary else "blue_green", "candidate")
    if served.variants is None:
        return
    if strategy.candidate not in served.variants:
        yield Problem(place, str(UnknownVariant(strategy.candidate, served.variants)))
    elif strategy.candidate == served.champion:
        words = f"{strategy.candidate!r} is the champion: it cannot be tried against itself"
        yield Problem(place, f"{words}; roll back to try it again, or name another candidate")


def _guardrail(strategy: Strategy, name: str, guardrail: Guardrail, served: Served) -> Iterator[Problem]:
    metric, endpoint = split_name(name)
    if endpoint is not None and served.endpoints is not None and endpoint not in served.endpoints:
        yield Problem(
            (), f"no routed endpoint is called {endpoint!r}; there are: {_listed(served.endpoints)}"
        )
    if isinstance(guardrail, Latency):
        yield from _latency(guardrail, endpoint, served)
    elif isinstance(guardrail, Agreement):
        yield from _agreement(strategy, served)
    elif isinstance(guardrail, Label):
        yield from _label(metric.partition(".")[2], guardrail, served)
    elif isinstance(guardrail, (Measure, Threshold)):
        yield from _number(metric, guardrail, served)


def _latency(latency: Latency, endpoint: str | None, served: Served) -> Iterator[Problem]:
    if latency.of != "per_item" or served.streams is None:
        return
    if not (served.streams if endpoint is None else {endpoint} & served.streams):
        yield Problem(
            ("of",), f"per_item needs an endpoint that streams; there are: {_listed(served.streams)}"
        )


def _agreement(strategy: Strategy, served: Served) -> Iterator[Problem]:
    if not any(step.shadow for step in strategy.steps) and strategy.candidate not in served.shadowed:
        yield Problem(
            (),
            f"{strategy.candidate!r} does not watch, so its answers are never compared: "
            "begin the steps with {shadow: 100, bake: 24h}",
        )


def _label(name: str, label: Label, served: Served) -> Iterator[Problem]:
    if served.labels is not None and name != "correct" and name not in served.labels:
        known = _listed({"correct", *served.labels})
        yield Problem((), f"nothing says how the label {name!r} gives a number; there are: {known}")
    if served.keep is None:
        yield Problem((), "labels need the ledger, and it is off: write ledger: true")
    elif label.is_required and label.matures > served.keep:
        yield Problem(
            ("matures",),
            f"{in_time(label.matures)} is longer than the ledger keeps predictions ({in_time(served.keep)}): "
            "no label would count; keep them longer (ledger: {keep: …}), or write required: false",
        )
    if served.keep is not None and not served.outputs:
        yield Problem(
            (), f"{name} compares labels with answers, and the ledger keeps none: write outputs: true"
        )
    rate = served.base_rates.get(name)
    if rate is not None and rate < LEAST_BASE_RATE:
        yield Problem(
            (),
            f"only {rate:.2%} of the predictions are positive: a model that never says yes would be correct "
            f"in {1 - rate:.2%}; say what a miss costs (labels: {{NAME: {{loss: module:function}}}}) "
            "and guard label.NAME",
        )


def _number(metric: str, guardrail: Measure | Threshold, served: Served) -> Iterator[Problem]:
    if served.measures is None:
        return
    plain = isinstance(guardrail, Threshold)
    known = served.measures | (served.gauges | {"error_rate"} if plain else frozenset())
    if metric not in known:
        words = f"this service never gives a number called {metric!r}"
        yield Problem((), f"{words}: no measure({metric!r}, …) was seen; there are: {_listed(known)}")


def _listed(names: Collection[str]) -> str:
    return ", ".join(sorted(names)) or "none"
