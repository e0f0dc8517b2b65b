"""What is simulated, and what it must reach."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from benchmarks.decisions.numbers import Rate

from .data import MOVED, Floats, Shift
from .ours import data_alarms, loss_alarms
from .peers import BINARY, DETECTORS, evidently_alarms, on_features, on_losses

__all__ = ["ROWS", "SEED", "Bar", "Line", "Row", "Series", "together"]

SEED = 20_261_127

QUIET, FULL, BRIEF = 100_000, 200, 40
"""Rows of a quiet stream, and streams of ours: in full, and quickly."""


@dataclass(frozen=True, slots=True)
class Series:
    """What came of streams, of ours or of somebody else.

    Attributes:
        delays: rows from the change to the alarm, infinite where there was none; of quiet streams the rows
            until a false one.
        false: false alarms in all the quiet rows before; of ours in how many streams.
        quiet: so many quiet rows there were.
        top: of the three features with most evidence at the alarm, how many had moved; empty: it names none.
        later: the same 100 rows later.
    """

    delays: Floats
    false: int
    quiet: int
    top: Floats = field(default_factory=lambda: np.empty(0))
    later: Floats = field(default_factory=lambda: np.empty(0))

    def plus(self, other: Series) -> Series:
        """Return both together."""
        return Series(
            np.concatenate([self.delays, other.delays]),
            self.false + other.false,
            self.quiet + other.quiet,
            np.concatenate([self.top, other.top]),
            np.concatenate([self.later, other.later]),
        )

    @property
    def per(self) -> float:
        """False alarms per 100 000 quiet rows."""
        return self.false / self.quiet * QUIET if self.quiet else 0.0

    def delay(self, part: float) -> float:
        """Return the delay that this part of the streams does not exceed."""
        return float(np.quantile(self.delays, part, method="higher")) if len(self.delays) else math.inf

    def __str__(self) -> str:
        if not len(self.delays):
            return f"{self.per:.4g} false per 100 000 rows"
        missed = int(np.isinf(self.delays).sum())
        told = f"median {_whole(self.delay(0.5))}, 95 % within {_whole(self.delay(0.95))}"
        told += f", missed {missed} of {len(self.delays)}" if missed else ""
        return told + (f"; {self.per:.4g} false per 100 000 rows before" if self.false else "")

    def plain(self) -> dict[str, Any]:
        """Return it for JSON."""
        delays = [None if math.isinf(delay) else delay for delay in self.delays]
        return {
            "false": self.false, "quiet": self.quiet, "delays": delays, "top": self.top.tolist(),
            "later": self.later.tolist(),
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Bar:
    """What ours must reach.

    Args:
        what: in words.
        told: what ours came to, in words.
        met: whether it is enough; None: so few streams cannot tell.
    """

    what: str
    told: Callable[[Series], str]
    met: Callable[[Series], bool | None]


@dataclass(frozen=True, slots=True)
class Line:
    """One printed result."""

    row: str
    what: str
    told: str
    bar: str
    met: bool | None
    contrast: Mapping[str, str]

    def plain(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "row": self.row, "what": self.what, "ours": self.told, "bar": self.bar, "met": self.met,
            "contrast": dict(self.contrast),
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Row:
    """One simulation.

    Attributes:
        name: for ``--only``.
        what: in words.
        shift: what happens.
        bars: what ours must reach.
        kind: ``data``, or the kind of loss.
        reference: rows, or losses, of the reference.
        alpha: the chance of a false alarm.
        streams: how many of ours.
        others: how many of each other's.
        chunk: streams of ours that are tested together.
    """

    name: str
    what: str
    shift: Shift
    bars: Sequence[Bar]
    kind: str = "data"
    reference: int = 1000
    alpha: float = 0.01
    streams: int = FULL
    others: int = 40
    chunk: int = 20

    def quickly(self) -> Row:
        """Return it with fewer and shorter streams."""
        few = 12 if self.kind == "data" else BRIEF
        short = replace(self, streams=min(self.streams, few), others=min(self.others, 2), chunk=few)
        if self.shift.rows:
            return short
        quiet = min(self.shift.after, 5000)
        what = f"{self.what} (here {_whole(quiet)})"
        return replace(short, what=what, shift=replace(self.shift, after=quiet))

    def parts(self) -> list[tuple[str, int]]:
        """Return what can be simulated apart: who, and of how many streams."""
        sizes = [min(self.chunk, self.streams - start) for start in range(0, self.streams, self.chunk)]
        names = [*(DETECTORS if self.kind == "data" else BINARY if self.kind == "zero_one" else ())]
        names += ["Evidently's rule"] if self.kind == "data" else []
        return [("ours", size) for size in sizes] + [(name, self.others) for name in names if self.others]

    def part(self, number: int, seed: int) -> tuple[str, Series]:
        """Simulate one part; the same seed gives the same."""
        name, streams = self.parts()[number]
        rng = np.random.default_rng([seed, zlib.crc32(self.name.encode()), number])
        if name == "ours":
            return name, self._ours(rng, streams)
        found = [self._other(rng, name) for _ in range(streams)]
        delays = np.array([delay for _, delay in found] if self.shift.rows else [])
        return name, Series(delays, sum(false for false, _ in found), streams * self.shift.after)

    def _ours(self, rng: np.random.Generator, streams: int) -> Series:
        if self.kind == "data":
            found = data_alarms(rng, streams, self.reference, self.alpha, self.shift)
        else:
            found = loss_alarms(rng, streams, self.kind, self.reference, self.alpha, self.shift)
        delays = found.rows[~found.early] if self.shift.rows else found.rows
        top, later = (one[np.isfinite(one)] for one in (found.top, found.later))
        return Series(delays, int(found.early.sum()), streams * self.shift.after, top, later)

    def _other(self, rng: np.random.Generator, name: str) -> tuple[int, float]:
        if self.kind != "data":
            return on_losses(rng, name, self.reference, self.shift)
        if name in DETECTORS:
            return on_features(rng, name, self.reference, self.shift)
        return evidently_alarms(rng, self.reference, self.shift)

    def lines(self, found: Mapping[str, Series]) -> list[Line]:
        """Return what is printed of it: a line for each bar; what others came to is with the first."""
        ours = found["ours"]
        others = {name: str(series) for name, series in found.items() if name != "ours"}
        return [
            Line(self.name, self.what, bar.told(ours), bar.what, bar.met(ours), {} if place else others)
            for place, bar in enumerate(self.bars)
        ]


def together(found: Sequence[tuple[str, Series]]) -> dict[str, Series]:
    """Return what parts of one row came to, by who it is of."""
    whole: dict[str, Series] = {}
    for name, series in found:
        whole[name] = whole[name].plus(series) if name in whole else series
    return whole


def _whole(number: float) -> str:
    """Return a number with thin spaces between thousands."""
    return "never" if math.isinf(number) else f"{number:,.0f}".replace(",", "\u2009")


def _at_most(most: int, of: int) -> Bar:
    def told(series: Series) -> str:
        return str(Rate(int(np.isfinite(series.delays).sum()), len(series.delays)))

    def met(series: Series) -> bool | None:
        hits, runs = int(np.isfinite(series.delays).sum()), len(series.delays)
        return None if runs < of and hits else hits <= most

    return Bar(f"at most {most} of {of}", told, met)


def _under(limit: float) -> Bar:
    def rate(series: Series) -> Rate:
        return Rate(int(np.isfinite(series.delays).sum()), len(series.delays))

    return Bar(
        f"interval under or around {limit:.0%}".replace("%", " %"),
        lambda series: str(rate(series)),
        lambda series: rate(series).low <= limit,
    )


def _delay(median: float, most: float | None = None, *, whole: bool = False) -> Bar:
    words = f"median ≤ {_whole(median)}"
    words += "" if most is None else f", 95 % within {most:.0f}"

    def met(series: Series) -> bool | None:
        if series.delay(0.5) > median or (whole and np.isinf(series.delays).any()):
            return False
        if most is None or series.delay(0.95) <= most:
            return True
        return False if len(series.delays) >= FULL / 2 else None

    def told(series: Series) -> str:
        early = f"; {series.false} alarmed before" if series.false else ""
        return str(replace(series, false=0)) + early

    return Bar(words + (", none missed" if whole else ""), told, met)


def _top() -> Bar:
    def part(hits: Floats) -> float:
        return float(np.mean(hits)) / MOVED if len(hits) else math.nan

    def told(series: Series) -> str:
        whole = float(np.mean(series.top == MOVED)) if len(series.top) else math.nan
        words = f"{part(series.top):.0%} at the alarm (all three in {whole:.0%})"
        return f"{words}, {part(series.later):.0%} 100 rows later".replace("%", " %")

    def met(series: Series) -> bool | None:
        return None if len(series.top) < FULL / 2 else part(series.top) >= 0.85

    return Bar("≥ 85 % of the moved features are among the top three", told, met)


_SUDDEN = "half a deviation in 3 of 30 features, after {} quiet rows"
_CONCEPT = "error 2.3 → 22.8 %, {} loss, after {} quiet labels"
_QUIET = Shift(QUIET, 0, 0)
_DATA_SUDDEN = [_delay(110, 180), _top()]
_KINDS = (("zero_one", "0/1"), ("log", "log"))
_LOSS: dict[str, Any] = {"reference": 500, "chunk": 100}


def _sudden(after: int) -> Row:
    what = _SUDDEN.format(_whole(after))
    return Row(f"sudden-{after}", what, Shift(after, 0, 5000), _DATA_SUDDEN, others=100)


def _concept(kind: str, words: str, after: int) -> Row:
    what, bars = _CONCEPT.format(words, _whole(after)), [_delay(100, 200)]
    return Row(f"loss-{kind}-{after}", what, Shift(after, 0, 5000), bars, kind, others=100, **_LOSS)


ROWS = (
    Row(
        "quiet",
        f"alarms at 1 % in quiet streams of {_whole(QUIET)} rows, reference {_whole(5000)}",
        _QUIET,
        [_at_most(4, FULL)],
        reference=5000,
    ),
    Row("quiet-1000", f"the same, reference {_whole(1000)}", _QUIET, [_at_most(4, FULL)]),
    Row(
        "quiet-5%",
        f"alarms at 5 % in quiet streams of {_whole(20_000)} rows",
        Shift(20_000, 0, 0),
        [_under(0.05)],
        alpha=0.05,
        streams=500,
        others=0,
    ),
    _sudden(1000),
    _sudden(20_000),
    Row(
        "gradual",
        f"growing to half a deviation over {_whole(20_000)} rows",
        Shift(1000, 20_000, 40_000),
        [_delay(6000, whole=True)],
    ),
    Row(
        "loss-quiet",
        f"alarms at 1 % in quiet streams of {_whole(QUIET)} labels, 0/1 loss",
        _QUIET,
        [_at_most(4, FULL)],
        "zero_one",
        **_LOSS,
    ),
    Row("loss-quiet-log", "the same, log loss", _QUIET, [_at_most(4, FULL)], "log", **_LOSS),
    *(_concept(kind, words, after) for kind, words in _KINDS for after in (1000, 20_000)),
    Row(
        "loss-gradual",
        f"error growing from 2.3 to 22.8 % over {_whole(20_000)} labels, 0/1 loss",
        Shift(1000, 20_000, 40_000),
        [_delay(10_000, whole=True)],
        "zero_one",
        others=100,
        **_LOSS,
    ),
)
