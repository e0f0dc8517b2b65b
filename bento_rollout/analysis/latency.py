"""Is the candidate slower, anywhere from the median to the far tail?"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from itertools import accumulate
from typing import Any

from ..errors import InvalidValue
from ..histogram import ABOVE, STEP
from .arithmetic import count, finite, inside
from .block import joint_share, realised
from .harm import champion_rate, odds_bets
from .mixture import EVERY, MIXTURE_FIELDS, Mixture
from .stored import flag, numbers, opened, pack

__all__ = ["BINS", "QUANTILES", "LatencyBlock", "LatencyTest"]

BINS = ABOVE + 1
"""How many counts a histogram has: below 1 µs, 1 047 bins of 2 %, and above about 1 000 s."""

QUANTILES = (0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999)
"""Of the champion's earlier calls: the thresholds."""

ODDS = (1.2, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 200.0)
"""The bets: how many times the champion's odds of a slow call those of the candidate are."""

LEAST_CALLS = 1000
"""Of the champion, from which thresholds can be taken."""

MOST_HISTORY = 2000
"""Of the champion's earlier calls, so many count at most: later ones are to be believed more."""

_STORED = frozenset({"alpha", "tolerance", "bins", "champion_calls", "champion_slower", "alarm"})
_FIXED = {"quantiles": list(QUANTILES), "odds": list(ODDS), "every": EVERY}


def _counts(name: str, values: Iterable[int]) -> tuple[int, ...]:
    """Return a histogram; refuse one of another length, or with what is no count."""
    plain = values.tolist() if hasattr(values, "tolist") else values  # of an array: whole numbers at once
    found = tuple(plain) if hasattr(plain, "__iter__") else ()
    if len(found) != BINS:
        raise InvalidValue(f"{name} has {len(found)} counts; {BINS} are needed, one for each bin")
    if {*map(type, found)} == {int} and min(found) >= 0:
        count(f"the sum of {name}", sum(found))
        return found
    return tuple(count(f"{name}[{place}]", value) for place, value in enumerate(found))


@dataclass(frozen=True, slots=True, init=False)
class LatencyBlock:
    """How long the calls of one flush took in both arms, as counts by bin.

    ``+`` merges the blocks of several workers, in any order.

    Args:
        candidate: 1 049 counts, in the bins of `bento_rollout.histogram`: below 1 µs, 1 047 bins of 2 %,
            above.
        champion: the same of the champion.
        share: the share of the candidate that routing assigned, above 0 and below 1; None: the realised one.

    Raises:
        InvalidValue: another number of counts, a count that is negative or not whole, a share out of
            range, or ``+`` of blocks with different shares.

    >>> quick, slow = [0] * 1049, [0] * 1049
    >>> quick[400], slow[500] = 95, 5
    >>> block = LatencyBlock(slow, quick, share=0.05)
    >>> sum((block + block).champion)
    190
    """

    candidate: tuple[int, ...]
    champion: tuple[int, ...]
    share: float | None = None

    def __init__(self, candidate: Iterable[int], champion: Iterable[int], share: float | None = None) -> None:
        object.__setattr__(self, "candidate", _counts("candidate", candidate))
        object.__setattr__(self, "champion", _counts("champion", champion))
        object.__setattr__(self, "share", None if share is None else inside("share", share))

    def __add__(self, other: LatencyBlock) -> LatencyBlock:
        if not isinstance(other, LatencyBlock):
            return NotImplemented
        return LatencyBlock(
            [left + right for left, right in zip(self.candidate, other.candidate, strict=True)],
            [left + right for left, right in zip(self.champion, other.champion, strict=True)],
            joint_share(self.share, other.share),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, from which `from_dict` makes the same block."""
        arms = {
            arm: [[place, value] for place, value in enumerate(getattr(self, arm)) if value]
            for arm in ("candidate", "champion")
        }
        return pack("LatencyBlock", share=self.share, **arms)

    @classmethod
    def from_dict(cls, data: object) -> LatencyBlock:
        """Return a stored block; refuse what is none, by name, with `InvalidValue`."""
        fields = opened(data, "LatencyBlock", frozenset({"candidate", "champion", "share"}))
        return cls(
            _spread("candidate", fields["candidate"]),
            _spread("champion", fields["champion"]),
            fields["share"],
        )


def _spread(name: str, pairs: object) -> list[int]:
    """Return all counts of a histogram that was stored as ``[bin, count]`` pairs."""
    if not isinstance(pairs, (list, tuple)):
        raise InvalidValue(f"{name} is {type(pairs).__name__}; a list of [bin, count] pairs is needed")
    counts = [0] * BINS
    for place, pair in enumerate(pairs):
        index, value = map(int, numbers(f"{name}[{place}]", pair, 2))
        if not 0 <= index < BINS:
            raise InvalidValue(f"{name}[{place}] is of bin {index}; bins are numbered from 0 to {ABOVE}")
        counts[index] = count(f"{name}[{place}]", value)
    return counts


@dataclass(frozen=True, slots=True, init=False)
class LatencyTest:
    """Is the candidate slower than the champion, by more than a factor?

    Thresholds are the bin edges at or above p50, p75, p90, p95, p99, p99.5 and p99.9 of earlier calls of
    the champion, fixed at the start; for the candidate the first edge at or above ``tolerance`` times
    them. For each the two-rate test of `HarmTest` on "slower than it", which starts from that history (as
    2 000 calls at most). ``E`` is the mean over thresholds and odds (arXiv 2106.02693: a mean of e-values
    is one), with the start mixture.

    Args:
        champion_histogram: 1 049 counts, as in `LatencyBlock.champion`, of 1 000 or more earlier calls.
        alpha: the chance of a false alarm, ever, above 0 and below 1.
        tolerance: how many times as slow is still well; 1.1 is "no worse than +10 %", 1 at least.

    Attributes:
        log_evidence: ``ln E`` now.
        alarm: whether ``E`` has been at ``1/alpha`` at any time so far; it stays.
        bins: for each threshold, the last bin that is not slower: of the champion, and of the candidate.

    Raises:
        InvalidValue: fewer than 1 000 calls, or a setting that cannot be, by its name.

    >>> before, slow, quick = [0] * 1049, [0] * 1049, [0] * 1049
    >>> before[300:400] = [20] * 100
    >>> quick[350], slow[420] = 95, 5
    >>> LatencyTest(before).update(LatencyBlock(slow, quick, share=0.05)).alarm
    True
    """

    alpha: float
    tolerance: float
    bins: tuple[tuple[int, int], ...] = field(repr=False)
    champion_calls: float = field(repr=False)
    champion_slower: tuple[float, ...] = field(repr=False)
    mixture: Mixture = field(repr=False)
    alarm: bool

    def __init__(
        self, champion_histogram: Iterable[int], alpha: float = 0.01, tolerance: float = 1.0
    ) -> None:
        alpha, tolerance = inside("alpha", alpha), _factor(tolerance)
        counts = _counts("champion_histogram", champion_histogram)
        total = sum(counts)
        if total < LEAST_CALLS:
            raise InvalidValue(
                f"champion_histogram has {total} calls; thresholds need {LEAST_CALLS}: wait for"
                f" {LEAST_CALLS - total} more"
            )
        up_to = list(accumulate(counts))
        later = _bins_later(tolerance)
        own = [next(bin_ for bin_, seen in enumerate(up_to) if seen >= share * total) for share in QUANTILES]
        weight = min(total, MOST_HISTORY)
        self._fill(
            alpha=alpha,
            tolerance=tolerance,
            bins=tuple((bin_, bin_ + later) for bin_ in own),
            champion_calls=float(weight),
            champion_slower=tuple((total - up_to[bin_]) / total * weight for bin_ in own),
            mixture=Mixture.start(len(QUANTILES) * len(ODDS)),
            alarm=False,
        )

    def _fill(self, **fields: object) -> None:
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    def _next(self, **changed: object) -> LatencyTest:
        """Return a test like this one but for these fields (the histogram is gone, so `replace` cannot)."""
        following = object.__new__(LatencyTest)
        following._fill(**{entry.name: getattr(self, entry.name) for entry in fields(self)} | changed)
        return following

    @property
    def log_evidence(self) -> float:
        """``ln E`` now."""
        return self.mixture.log_evidence

    def update(self, block: LatencyBlock) -> LatencyTest:
        """Return the test after one more block."""
        return self.after(self.sums(block), block.share)

    def sums(self, block: LatencyBlock) -> list[tuple[int, int, int, int]]:
        """Return for each threshold slow and other calls of the candidate, then those of the champion.

        They are the same for all tests with the same `bins`.
        """
        up_to_c, up_to_s = list(accumulate(block.candidate)), list(accumulate(block.champion))
        n_c, n_s = up_to_c[-1], up_to_s[-1]
        quick = [(up_to_c[min(allowed, ABOVE)], up_to_s[own]) for own, allowed in self.bins]
        return [(n_c - quick_c, quick_c, n_s - quick_s, quick_s) for quick_c, quick_s in quick]

    def after(self, sums: list[tuple[int, int, int, int]], share: float | None) -> LatencyTest:
        """Return the test after a block with these `sums` and this share (None: the realised one)."""
        n_c, n_s = sums[0][0] + sums[0][1], sums[0][2] + sums[0][3]
        share = realised(share, n_c, n_s)
        bets: list[float] = []
        for before, found in zip(self.champion_slower, sums, strict=True):
            if share is None:
                bets += [0.0] * len(ODDS)
            else:
                bets += odds_bets(found, share, champion_rate(before, self.champion_calls), ODDS)
        slower = [before + found[2] for before, found in zip(self.champion_slower, sums, strict=True)]
        mixture = self.mixture.step(bets, n_c)
        return self._next(
            champion_calls=self.champion_calls + n_s,
            champion_slower=tuple(slower),
            mixture=mixture,
            alarm=self.alarm or mixture.log_evidence >= -math.log(self.alpha),
        )

    def epoch(self) -> LatencyTest:
        """Return the test with a new epoch open; ``E`` stays as it is."""
        return self._next(mixture=self.mixture.epoch())

    def plain(self) -> LatencyTest:
        """Return a test with what this one knows of the champion, and no evidence, alarm or start mixture."""
        return self._next(mixture=Mixture.plain(len(self.mixture.logs)), alarm=False)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, from which `from_dict` makes the same test."""
        return pack(
            "LatencyTest",
            alpha=self.alpha,
            tolerance=self.tolerance,
            bins=[list(pair) for pair in self.bins],
            champion_calls=self.champion_calls,
            champion_slower=list(self.champion_slower),
            alarm=self.alarm,
            **self.mixture.to_fields(),
            **_FIXED,
        )

    @classmethod
    def from_dict(cls, data: object) -> LatencyTest:
        """Return a stored test; refuse what is none, or of other settings, by name, with `InvalidValue`."""
        stored = opened(data, "LatencyTest", MIXTURE_FIELDS | _STORED, _FIXED)
        alpha, tolerance = inside("alpha", stored["alpha"]), _factor(stored["tolerance"])
        later = _bins_later(tolerance)
        if not isinstance(stored["bins"], (list, tuple)) or len(stored["bins"]) != len(QUANTILES):
            raise InvalidValue(f"bins is {stored['bins']!r}; {len(QUANTILES)} pairs are needed")
        bins = []
        for place, pair in enumerate(stored["bins"]):
            own, allowed = map(int, numbers(f"bins[{place}]", pair, 2))
            if not 0 <= own <= ABOVE or allowed != own + later:
                raise InvalidValue(f"bins[{place}] is {pair!r}; a bin and the one {later} later are needed")
            bins.append((own, allowed))
        calls = finite("champion_calls", stored["champion_calls"])
        slower = numbers("champion_slower", stored["champion_slower"], len(QUANTILES))
        if not all(0.0 <= value <= calls for value in slower):
            raise InvalidValue(f"champion_slower is {slower}; sums from 0 to champion_calls are needed")
        test = object.__new__(cls)
        test._fill(
            alpha=alpha,
            tolerance=tolerance,
            bins=tuple(bins),
            champion_calls=calls,
            champion_slower=slower,
            mixture=Mixture.from_fields(stored, len(QUANTILES) * len(ODDS)),
            alarm=flag("alarm", stored["alarm"]),
        )
        return test


def _factor(tolerance: object) -> float:
    """Return a factor of 1 or more; refuse any other tolerance."""
    factor = finite("tolerance", tolerance)
    if factor < 1.0:
        raise InvalidValue(f"tolerance is {tolerance!r}; a factor of 1 or more is needed")
    return factor


def _bins_later(tolerance: float) -> int:
    """How many bins later the first edge lies that is at or above so many times an edge."""
    return math.ceil(math.log(tolerance) / math.log(STEP) - 1e-9)
