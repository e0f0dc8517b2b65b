"""Is the candidate shown to be no slower than a margin, at the median and in the tail?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from ..errors import InvalidValue
from ..histogram import ABOVE
from .block import Block
from .health import HealthTest
from .latency import QUANTILES, LatencyBlock, LatencyTest
from .stored import opened, pack

__all__ = ["LatencyHealthTest"]

CLAIMS = ((0.5, 0.10), (0.95, 0.03))
"""Quantiles of the champion's earlier calls, and how many more of the candidate's may be slower: points."""

_FIXED = {"claims": [list(claim) for claim in CLAIMS]}


@dataclass(frozen=True, slots=True, init=False)
class LatencyHealthTest:
    """Is it shown that hardly more calls of the candidate than of the champion are slow?

    Two claims, and both must be shown: of calls slower than the champion's p50 the candidate has less than 10
    points more, of calls slower than its p95 less than 3. What is slow is told by the thresholds of
    `LatencyTest`, tolerance included. Each claim is a `HealthTest` that starts from the champion's history.
    The chance of showing both though one is false is at most ``alpha``.

    Args:
        champion_histogram: 1 049 counts, as in `LatencyBlock.champion`, of 1 000 or more earlier calls.
        alpha: the chance of a wrong word, ever, above 0 and below 1.
        tolerance: how many times as slow is still well, 1 at least.

    Attributes:
        thresholds: a test of latency that has seen nothing: it knows what is slow.
        tests: one for each claim.
        log_evidence: ``ln E`` of the claim that is shown less.
        alarm: whether both have been shown. It stays.

    Raises:
        InvalidValue: a setting that cannot be, by its name, or fewer than 1 000 calls.

    >>> before = [0] * 1049
    >>> before[400], before[420] = 1500, 500
    >>> test = LatencyHealthTest(before)
    >>> for _ in range(40):
    ...     test = test.update(LatencyBlock([n // 100 for n in before], [n // 5 for n in before]))
    >>> test.alarm
    True
    """

    thresholds: LatencyTest
    tests: tuple[HealthTest, ...] = field(repr=False)

    def __init__(
        self, champion_histogram: Iterable[int], alpha: float = 0.05, tolerance: float = 1.0
    ) -> None:
        thresholds = LatencyTest(champion_histogram, alpha, tolerance)
        calls, slower = thresholds.champion_calls, thresholds.champion_slower
        tests = tuple(
            HealthTest(margin, alpha, champion_bad=slower[QUANTILES.index(share)], champion_calls=calls)
            for share, margin in CLAIMS
        )
        object.__setattr__(self, "thresholds", thresholds)
        object.__setattr__(self, "tests", tests)

    @classmethod
    def _of(cls, thresholds: LatencyTest, tests: tuple[HealthTest, ...]) -> LatencyHealthTest:
        test = object.__new__(cls)
        object.__setattr__(test, "thresholds", thresholds)
        object.__setattr__(test, "tests", tests)
        return test

    @property
    def alpha(self) -> float:
        """The chance of a wrong word, ever."""
        return self.thresholds.alpha

    @property
    def log_evidence(self) -> float:
        """``ln E`` of the claim that is shown less."""
        return min(test.log_evidence for test in self.tests)

    @property
    def alarm(self) -> bool:
        """Whether both claims have been shown at any time so far."""
        return all(test.alarm for test in self.tests)

    def update(self, block: LatencyBlock) -> LatencyHealthTest:
        """Return the test after one more block."""
        tests = zip(self.tests, self.blocks(block), strict=True)
        return self._of(self.thresholds, tuple([test.update(slow) for test, slow in tests]))

    def blocks(self, block: LatencyBlock) -> list[Block]:
        """Return how many calls of a block were slow, for each claim: what its test is given."""
        up_to_c, up_to_s = list(accumulate(block.candidate)), list(accumulate(block.champion))
        blocks = []
        for share, _ in CLAIMS:
            own, allowed = self.thresholds.bins[QUANTILES.index(share)]
            slow_c, slow_s = up_to_c[-1] - up_to_c[min(allowed, ABOVE)], up_to_s[-1] - up_to_s[own]
            blocks.append(Block(up_to_c[-1], slow_c, up_to_s[-1], slow_s, block.share))
        return blocks

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, from which `from_dict` makes the same test."""
        tests = [test.to_dict() for test in self.tests]
        return pack("LatencyHealthTest", thresholds=self.thresholds.to_dict(), tests=tests, **_FIXED)

    @classmethod
    def from_dict(cls, data: object) -> LatencyHealthTest:
        """Return a stored test; refuse what is none, or of other settings, by name, with `InvalidValue`."""
        fields = opened(data, "LatencyHealthTest", frozenset({"thresholds", "tests"}), _FIXED)
        thresholds, stored = LatencyTest.from_dict(fields["thresholds"]), fields["tests"]
        if not isinstance(stored, (list, tuple)) or len(stored) != len(CLAIMS):
            raise InvalidValue(f"tests is no list of {len(CLAIMS)} tests, one for each claim")
        tests = tuple(HealthTest.from_dict(test) for test in stored)
        expected = [(margin, thresholds.alpha) for _, margin in CLAIMS]
        if (found := [(test.margin, test.alpha) for test in tests]) != expected:
            raise InvalidValue(f"tests have margin and alpha {found}; {expected} are needed: start anew")
        return cls._of(thresholds, tests)
