"""What is simulated, and what it must reach."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from . import sticky_streams, streams
from .numbers import Delay, Rate
from .streams import Found
from .twins import Array

__all__ = ["ROWS", "Bar", "Line", "Row", "together"]

SEED = 20_261_127


@dataclass(frozen=True, slots=True)
class Bar:
    """What a series must reach.

    Attributes:
        kind: ``upper``: the rate's upper bound is at most the limit; ``includes``: the rate's interval lies
            under the limit or includes it; ``margin``: the rate is at most the limit and two standard errors;
            ``above``: the rate's lower bound is above the limit; ``none``: of so many runs, the first ones,
            none alarmed; ``median``: of the delays, and every run found it.
        limit: the number.
        series: what it is about.
    """

    kind: str
    limit: float
    series: str = "ours"

    def told(self) -> str:
        """Return it in words."""
        words = {
            "upper": "≤ {:.3g} %, upper bound too",
            "includes": "interval under or around {:.3g} %",
            "margin": "≤ {:.3g} % + 2 standard errors",
            "above": "> {:.3g} %",
            "none": "none of the first {:.0f} runs",
            "median": "median ≤ {:.0f}",
        }
        return words[self.kind].format(self.limit if self.kind in ("none", "median") else 100 * self.limit)

    def value(self, times: Array) -> Rate | Delay:
        """Return what a series came to."""
        if self.kind == "median":
            return Delay(times)
        counted = times[: int(self.limit)] if self.kind == "none" else times
        return Rate(int(np.isfinite(counted).sum()), len(counted))

    def met(self, value: Rate | Delay) -> bool | None:
        """Return whether it is met; None: so few runs cannot tell."""
        if isinstance(value, Delay):
            return value.median <= self.limit and value.found == value.runs
        if self.kind == "none":
            return value.hits == 0
        if self.kind == "includes":
            return value.low <= self.limit
        if self.kind == "margin":
            return value.value <= self.limit + 2 * math.sqrt(self.limit * (1 - self.limit) / value.runs)
        if self.kind == "above":
            return value.low > self.limit or (None if value.high > self.limit else False)
        return value.high <= self.limit or (None if value.low <= self.limit else False)


@dataclass(frozen=True, slots=True)
class Line:
    """One printed result: what a series of a row came to."""

    row: str
    what: str
    value: Rate | Delay
    bar: Bar
    contrast: Mapping[str, Rate | Delay]

    def plain(self) -> dict[str, Any]:
        """Return it for JSON."""
        contrast = {name: value.plain() for name, value in self.contrast.items()}
        return {
            "row": self.row,
            "what": self.what,
            "ours": self.value.plain(),
            "bar": self.bar.told(),
            "met": self.bar.met(self.value),
            "contrast": contrast,
        }


@dataclass(frozen=True, slots=True)
class Row:
    """One simulation.

    Attributes:
        name: for ``--only``.
        what: in words.
        simulate: returns delays by series.
        settings: its arguments.
        runs, quick: how many, in full and with ``--quick``.
        bars: what it must reach; the first one is of ours.
        chunk: runs that are simulated together.
        quick_settings: arguments that differ with ``--quick``.
    """

    name: str
    what: str
    simulate: Callable[..., Found]
    settings: Mapping[str, Any]
    runs: int
    quick: int
    bars: Sequence[Bar]
    chunk: int = 500
    quick_settings: Mapping[str, Any] = field(default_factory=dict)

    def parts(self) -> list[int]:
        """Return how many runs each part has."""
        whole, rest = divmod(self.runs, self.chunk)
        return [self.chunk] * whole + ([rest] if rest else [])

    def part(self, number: int, seed: int) -> Found:
        """Simulate one part; the same numbers for the same seed, whoever does it."""
        random = np.random.default_rng([seed, zlib.crc32(self.name.encode()), number])
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            return self.simulate(random, self.parts()[number], **self.settings)

    def quickly(self) -> Row:
        """Return the row with fewer runs."""
        return replace(self, runs=self.quick, settings={**self.settings, **self.quick_settings})

    def lines(self, found: Found) -> list[Line]:
        """Return what all parts together came to."""
        barred = {bar.series for bar in self.bars}
        first = self.bars[0]
        contrast = {name: first.value(times) for name, times in found.items() if name not in barred}
        return [
            Line(
                self.name,
                self.what if bar.series == "ours" else f"{self.what}: {bar.series}",
                bar.value(found[bar.series]),
                bar,
                contrast if bar is first else {},
            )
            for bar in self.bars
        ]


def together(parts: Sequence[Found]) -> Found:
    """Return the runs of all parts."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _false_alarms(name: str, what: str, simulate: Callable[..., Found], *bars: Bar, **settings: Any) -> Row:
    return Row(name, f"{what}: false alarms", simulate, settings, 10_000, 2000, bars or (Bar("upper", 0.01),))


def _keys(name: str, what: str, simulate: Callable[..., Found], quick: int, **settings: Any) -> Row:
    bars = Bar("includes", 0.01), Bar("above", 0.05, "each request")
    settings, what = {"looks": 4000, **settings}, f"2 000 keys{what}: false alarms"
    return Row(f"keys-{name}", what, simulate, settings, 2000, quick, bars, quick // 2, {"looks": 1000})


def _delay(
    name: str, what: str, simulate: Callable[..., Found], limit: float, runs: int, quick: int, **settings: Any
) -> Row:
    return Row(name, what, simulate, settings, runs, quick, (Bar("median", limit),))


RATES = ((0.005, "0.5"), (0.01, "1"), (0.05, "5"))
DELAYS = (
    (0.005, 0.02, "0.5 → 2", 600, 12_000),
    (0.01, 0.05, "1 → 5", 185, 6000),
    (0.0, 1.0, "0 → 100", 5, 600),
)
SLOWER = (
    ("x1.2", "\u00d71.2", 1.2, 1.0, 190, 6000),
    ("x2", "\u00d72", 2.0, 1.0, 20, 600),
    ("2", "2 % of requests \u00d710", 10.0, 0.02, 320, 6000),
)

ROWS = (
    *(
        _false_alarms(
            f"equal-{text}%",
            f"equal at {text} %, 20 000 candidate requests",
            streams.rates,
            Bar("upper", 0.01),
            Bar("upper", 0.01, "events"),
            champion=rate,
            candidate=rate,
            most=20_000,
            events=True,
        )
        for rate, text in RATES
    ),
    _false_alarms("ramp", "the share grows 5 → 50 % through an incident of both", streams.ramp),
    _false_alarms(
        "pinned",
        "equal at 1 %, and 0.3 % of traffic pinned to the candidate that fails in 20 %",
        streams.pinned,
        rate=0.01,
        hard=0.2,
        part=0.003,
        most=20_000,
    ),
    _keys("errors", ", 1 % of them always fail", sticky_streams.errors, 200),
    *(
        _keys(
            f"latencies-{spread}",
            f" with latencies of their own, sd of the log {spread}",
            sticky_streams.latencies,
            100,
            spread=spread,
        )
        for spread in (0.1, 0.3)
    ),
    _keys("agreement", ", 3 % of them always disagree, floor 3 %", sticky_streams.agreements, 200),
    *(
        _delay(
            f"delay-{text.replace(' ', '')}%",
            f"errors {text} %",
            streams.rates,
            limit,
            4000,
            1000,
            champion=champion,
            candidate=candidate,
            most=most,
        )
        for champion, candidate, text, limit, most in DELAYS
    ),
    *(
        _delay(
            f"delay-after-{healthy}",
            f"errors 0.5 → 2 % after {healthy:,} healthy candidate requests".replace(",", " "),
            streams.rates,
            limit,
            2000,
            quick,
            champion=0.005,
            candidate=0.02,
            most=20_000,
            healthy=healthy,
        )
        for healthy, limit, quick in ((5000, 1050, 500), (400_000, 2200, 200))
    ),
    Row(
        "sticky-break",
        "2 000 keys, errors 5 → 100 % after 100 000 healthy requests, all requests counted",
        sticky_streams.broken,
        {"healthy": 100_000, "most": 20_000},
        2000,
        200,
        (Bar("median", 600),),
        chunk=100,
    ),
    *(
        _delay(
            f"latency-{name}",
            f"latency {text}",
            streams.latency,
            limit,
            2000,
            400,
            factor=factor,
            part=part,
            most=most,
        )
        for name, text, factor, part, limit, most in SLOWER
    ),
    _delay(
        "agreement",
        "agreement 99 → 95 %",
        streams.agreement,
        185,
        4000,
        1000,
        rate=0.05,
        floor=0.01,
        most=6000,
    ),
    _delay(
        "healthy",
        "healthy shown at 0.5 = 0.5 %, margin 1 point",
        streams.health,
        650,
        4000,
        1000,
        champion=0.005,
        candidate=0.005,
        most=20_000,
    ),
    Row(
        "false-healthy",
        "0.5 and 1.5 %, just at the margin of 1 point: false healthy",
        streams.health,
        {"champion": 0.005, "candidate": 0.015, "most": 20_000},
        4000,
        500,
        (Bar("margin", 0.05),),
    ),
    _false_alarms(
        "sample-ratio",
        "sample ratio at 0.1 %, nothing wrong, share 5 → 25 → 50 %",
        streams.ratio,
        Bar("includes", 0.001),
        Bar("none", 300),
    ),
)
