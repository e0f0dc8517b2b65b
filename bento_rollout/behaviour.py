"""`Behaviour`: what an arm does in a plan, in the numbers that a strategy guards; read from words, pure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .errors import InvalidValue
from .guardrails import Agreement, ErrorRate, Guardrail, Label, Latency, Measure, Threshold, split_name
from .strategy import Strategy
from .values import parse_duration, parse_fraction, shown

__all__ = ["Behaviour", "Behaviours", "behaviours", "metrics_of"]

ASSUMED = {ErrorRate: 0.005, Latency: 0.1, Agreement: 0.99, Label: 0.95}
"""What both arms do in a metric of which nothing is said, by kind of guardrail."""

_FORMS: dict[type[Guardrail], str] = {
    ErrorRate: "a rate, like 0.5%",
    Latency: "a duration, like 80ms (of the candidate also a factor, like x1.3)",
    Agreement: "a rate, like 99%",
    Label: "a rate, like 97%",
    Measure: "a number, like 0.7",
}


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What one arm does. Immutable.

    Attributes:
        bad: by metric the expected bad part of a call, 0 to 1: of errors the rate, of agreement and labels
            what is missing to all, of a measure where it lies in its range; of a counter the expected number.
        latency: the median duration of a call in seconds.
    """

    bad: Mapping[str, float]
    latency: float


@dataclass(frozen=True, slots=True)
class Behaviours:
    """What both arms do. Immutable.

    Attributes:
        base: the champion, and a healthy candidate.
        candidate: the candidate that is asked about.
        told: by metric the two values as they were given, or assumed.
        assumed: metrics of which nothing was said.
    """

    base: Behaviour
    candidate: Behaviour
    told: Mapping[str, tuple[str, str]]
    assumed: tuple[str, ...]

    @property
    def differ(self) -> bool:
        """Whether the candidate does anything otherwise than the champion."""
        return self.base != self.candidate


def metrics_of(strategy: Strategy) -> dict[str, Guardrail]:
    """Return the metrics that a strategy guards, each with one of its guardrails."""
    return {split_name(name)[0]: one for name, one in sorted(strategy.guardrails.items())}


def behaviours(strategy: Strategy, base: Iterable[str], candidate: Iterable[str]) -> Behaviours:
    """Return what both arms do, from arguments like ``error_rate=0.5%``.

    Args:
        strategy: which metrics there are.
        base: what the champion does.
        candidate: what the candidate does otherwise.

    Raises:
        InvalidValue: naming the metric, and what is wrong.

    >>> canary = {"candidate": "boosted", "steps": [{"weight": 5, "bake": "30m"}]}
    >>> strategy = Strategy.parse({"canary": canary, "guardrails": {"error_rate": {"margin": "1pp"}}})
    >>> behaviours(strategy, ["error_rate=0.5%"], ["error_rate=2%"]).candidate.bad
    {'error_rate': 0.02}
    """
    guarded = metrics_of(strategy)
    given = _read("--base", base, guarded), _read("--candidate", candidate, guarded)
    bads: tuple[dict[str, float], dict[str, float]] = ({}, {})
    latency = [ASSUMED[Latency]] * 2
    told: dict[str, tuple[str, str]] = {}
    assumed = []
    for metric, kind in guarded.items():
        if isinstance(kind, Threshold):
            continue
        texts = given[0].get(metric), given[1].get(metric)
        values = _values(metric, kind, *texts)
        told[metric] = (
            (texts[0] or _as_text(kind, values[0])),
            (texts[1] or texts[0] or _as_text(kind, values[1])),
        )
        if texts == (None, None):
            assumed.append(metric)
        if isinstance(kind, Latency):
            latency = list(values)
        else:
            bads[0][metric], bads[1][metric] = (_bad(kind, value) for value in values)
    arms = Behaviour(bads[0], latency[0]), Behaviour(bads[1], latency[1])
    return Behaviours(*arms, told, tuple(assumed))


def _read(option: str, pairs: Iterable[str], guarded: Mapping[str, Guardrail]) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in pairs:
        metric, equals, text = (part.strip() for part in pair.partition("="))
        if not equals or not metric or not text:
            raise InvalidValue(f"{option} {shown(pair)} is not METRIC=VALUE; write it like error_rate=2%")
        if metric in found:
            raise InvalidValue(f"{option}: {metric} stands twice; which of the two should hold?")
        if metric not in guarded:
            raise InvalidValue(
                f"{option}: {metric!r} is not guarded by this strategy, so nothing would come of it "
                f"(it guards {', '.join(guarded)}); add a guardrail, or leave it out"
            )
        if isinstance(guarded[metric], Threshold):
            raise InvalidValue(
                f"{option}: {metric!r} is a plain threshold, whose alarms follow no chance that could be "
                "planned with; it is taken as kept: leave it out"
            )
        found[metric] = text
    return found


def _values(metric: str, kind: Guardrail, base: str | None, candidate: str | None) -> tuple[float, float]:
    """Return the values of both arms; what is not said of the candidate is as the base."""
    first = _assumed(kind) if base is None else _value(f"--base {metric}", kind, base)
    if candidate is None:
        return first, first
    where = f"--candidate {metric}"
    if isinstance(kind, Latency) and (match := _FACTOR.fullmatch(candidate)):
        if not 0 < (factor := float(match[1])) < _MOST_FACTOR:
            raise InvalidValue(f"{where}: {candidate!r} is no factor above 0 and below {_MOST_FACTOR:g}")
        return first, first * factor
    if base is not None and (kinds := (_form(base), _form(candidate)))[0] != kinds[1]:
        raise InvalidValue(
            f"{metric}: the base is {kinds[0]} ({base}), the candidate {kinds[1]} ({candidate}): "
            f"write both as {_FORMS[type(kind)]}"
        )
    return first, _value(where, kind, candidate)


_FACTOR = re.compile(r"x([0-9]{1,6}(?:\.[0-9]{1,9})?)")
_MOST_FACTOR = 1e6


def _form(text: str) -> str:
    if text.endswith("%"):
        return "a rate"
    if _FACTOR.fullmatch(text):
        return "a factor"
    return "a duration" if text[-1:].isalpha() else "a number"


def _value(where: str, kind: Guardrail, text: str) -> float:
    try:
        if isinstance(kind, Latency):
            return parse_duration(text)
        if isinstance(kind, Measure):
            return _measure(kind, text)
        return parse_fraction(text if text.endswith("%") else float(text))
    except (InvalidValue, ValueError) as error:
        reason = error if isinstance(error, InvalidValue) else f"{shown(text)} is no number"
        raise InvalidValue(f"{where}: {reason}; write {_FORMS[type(kind)]}") from None


def _measure(kind: Measure, text: str) -> float:
    number = parse_fraction(text) if text.endswith("%") else float(text)
    least, most = kind.range or (0.0, 1e6)
    if not least <= number <= most:
        words = (
            f"its range, {least:g} to {most:g}" if kind.range else "0 to 1e6, the number of events in a call"
        )
        raise InvalidValue(f"{text} is not in {words}")
    return number


def _assumed(kind: Guardrail) -> float:
    if not isinstance(kind, Measure):
        return ASSUMED[type(kind)]
    return math.fsum(kind.range) / 2 if kind.range else 0.01


def _bad(kind: Guardrail, value: float) -> float:
    if isinstance(kind, (Agreement, Label)):
        return 1.0 - value
    if isinstance(kind, Measure) and kind.range:
        low, high = kind.range
        part = (value - low) / (high - low)
        return 1.0 - part if kind.better == "high" else part
    return value


def _as_text(kind: Guardrail, value: float) -> str:
    if isinstance(kind, Latency):
        return f"{value * 1000:g}ms"
    return f"{value:g}" if isinstance(kind, Measure) else f"{value * 100:g}%"
