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
            ``above``: the rate's lower bound is above the limit; ``median``: of the delays, and every run
            found it.
        limit: the number.
    """

    kind: str
    limit: float

    def told(self) -> str:
        """Return it in words."""
        words = {
            "upper": "≤ {:.3g} %, upper bound too",
            "includes": "interval under or around {:.3g} %",
            "margin": "≤ {:.3g} % + 2 standard errors",
            "above": "> {:.3g} %",
            "median": "median ≤ {:.0f}",
        }
        return words[self.kind].format(self.limit if self.kind == "median" else 100 * self.limit)

    def met(self, value: Rate | Delay) -> bool | None:
        """Return whether it is met; None: so few runs cannot tell."""
        if isinstance(value, Delay):
            return value.median <= self.limit and value.found == value.runs
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
        bars: by series; the first one is ours.
        quick_settings: arguments that differ with ``--quick``.
        chunk: runs that are simulated together.
    """

    name: str
    what: str
    simulate: Callable[..., Found]
    settings: Mapping[str, Any]
    runs: int
    quick: int
    bars: Mapping[str, Bar]
    quick_settings: Mapping[str, Any] = field(default_factory=dict)
    chunk: int = 500

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
        lines: list[Line] = []
        for name, bar in self.bars.items():
            kind: Callable[[Any], Rate | Delay] = Delay if bar.kind == "median" else _rate
            others = {other: kind(times) for other, times in found.items() if other not in self.bars}
            what = self.what if name == "ours" else f"{self.what}: {name}"
            lines.append(Line(self.name, what, kind(found[name]), bar, {} if lines else others))
        return lines


def _rate(times: Array) -> Rate:
    return Rate(int(np.isfinite(times).sum()), len(times))


def together(parts: Sequence[Found]) -> Found:
    """Return the runs of all parts."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


ONE = Bar("upper", 0.01)
KEYS = {"ours": Bar("includes", 0.01), "each request": Bar("above", 0.05)}
FEW = {"looks": 1000}
RATES = ((0.005, "0.5"), (0.01, "1"), (0.05, "5"))
DELAYS = (
    (0.005, 0.02, "0.5 → 2", 600, 12_000),
    (0.01, 0.05, "1 → 5", 185, 6000),
    (0.0, 1.0, "0 → 100", 5, 600),
)
TIMES = "\u00d7"
SLOWER = (
    (1.2, 1.0, f"{TIMES}1.2", 190, 6000),
    (2.0, 1.0, f"{TIMES}2", 20, 600),
    (10.0, 0.02, f"2 % of requests {TIMES}10", 320, 6000),
)

ROWS = (
    *(
        Row(
            f"equal-{text}%",
            f"equal at {text} %, 20 000 candidate requests: false alarms",
            streams.rates,
            {"champion": rate, "candidate": rate, "most": 20_000, "events": True},
            10_000,
            2000,
            {"ours": ONE, "events": ONE},
        )
        for rate, text in RATES
    ),
    Row(
        "ramp",
        "the share grows 5 → 50 % through an incident of both: false alarms",
        streams.ramp,
        {},
        10_000,
        2000,
        {"ours": ONE},
    ),
    Row(
        "pinned",
        "equal at 1 %, and 0.3 % of traffic pinned to the candidate that fails in 20 %: false alarms",
        streams.pinned,
        {"rate": 0.01, "hard": 0.2, "part": 0.003, "most": 20_000},
        10_000,
        2000,
        {"ours": ONE},
    ),
    Row(
        "keys-errors",
        "2 000 keys, 1 % of them always fail: false alarms",
        sticky_streams.errors,
        {"looks": 4000},
        2000,
        200,
        KEYS,
        FEW,
        chunk=100,
    ),
    *(
        Row(
            f"keys-latencies-{spread}",
            f"2 000 keys with latencies of their own, sd of the log {spread}: false alarms",
            sticky_streams.latencies,
            {"spread": spread, "looks": 4000},
            2000,
            100,
            KEYS,
            FEW,
            chunk=50,
        )
        for spread in (0.1, 0.3)
    ),
    Row(
        "keys-agreement",
        "2 000 keys, 3 % of them always disagree, floor 3 %: false alarms",
        sticky_streams.agreements,
        {"looks": 4000},
        2000,
        200,
        KEYS,
        FEW,
        chunk=100,
    ),
    *(
        Row(
            f"delay-{text.replace(' ', '')}%",
            f"errors {text} %",
            streams.rates,
            {"champion": champion, "candidate": candidate, "most": most},
            4000,
            1000,
            {"ours": Bar("median", limit)},
        )
        for champion, candidate, text, limit, most in DELAYS
    ),
    *(
        Row(
            f"delay-after-{healthy}",
            f"errors 0.5 → 2 % after {healthy:,} healthy candidate requests".replace(",", " "),
            streams.rates,
            {"champion": 0.005, "candidate": 0.02, "most": 20_000, "healthy": healthy},
            2000,
            quick,
            {"ours": Bar("median", limit)},
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
        {"ours": Bar("median", 600)},
        chunk=100,
    ),
    *(
        Row(
            f"latency-{text.split(' ')[0].replace(TIMES, 'x')}",
            f"latency {text}",
            streams.latency,
            {"factor": factor, "part": part, "most": most},
            2000,
            400,
            {"ours": Bar("median", limit)},
        )
        for factor, part, text, limit, most in SLOWER
    ),
    Row(
        "agreement",
        "agreement 99 → 95 %",
        streams.agreement,
        {"rate": 0.05, "floor": 0.01, "most": 6000},
        4000,
        1000,
        {"ours": Bar("median", 185)},
    ),
    Row(
        "healthy",
        "healthy shown at 0.5 = 0.5 %, margin 1 point",
        streams.health,
        {"champion": 0.005, "candidate": 0.005, "most": 20_000},
        4000,
        1000,
        {"ours": Bar("median", 650)},
    ),
    Row(
        "false-healthy",
        "0.5 and 1.5 %, just at the margin of 1 point: false healthy",
        streams.health,
        {"champion": 0.005, "candidate": 0.015, "most": 20_000},
        4000,
        500,
        {"ours": Bar("margin", 0.05)},
    ),
    Row(
        "sample-ratio",
        "sample ratio, nothing wrong, share 5 → 25 → 50 %: false alarms at 0.1 %",
        streams.ratio,
        {},
        10_000,
        2000,
        {"ours": Bar("includes", 0.001)},
    ),
)
