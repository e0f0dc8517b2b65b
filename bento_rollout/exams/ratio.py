"""`Ratio`: whether both arms are seen as often as routing says, a key once for a whole try."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ..analysis import Block, KeyTable, SampleRatioTest
from ..analysis.arithmetic import finite, inside
from ..assessment import Assessment, Finding
from ..errors import InvalidValue
from ..rounds import Rates

__all__ = ["SETTLING", "Ratio"]

SETTLING = 15.0
"""Seconds after a change of shares in which nothing is counted."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """The sample ratio, on keys when they are first seen and on calls without key. Immutable.

    Calls are told when they end, and those of a slower arm later. So what is told in the first seconds of a
    share is left out: from then on both arms end as many calls as they begin.

    Attributes:
        test: the test.
        seen: the keys that have been seen.
        trial, control: units so far.
        share, since: of the trial now, and since when, in seconds since 1970.
    """

    test: SampleRatioTest
    seen: KeyTable
    trial: int = 0
    control: int = 0
    share: float | None = None
    since: float = 0.0

    @classmethod
    def start(cls) -> Ratio:
        """Return it before anything was seen."""
        return cls(SampleRatioTest(), KeyTable())

    def fed(self, rates: Rates, now: float) -> Ratio:
        """Return it after a round with a split.

        Args:
            rates: what every call of both arms has.
            now: when it was looked, in seconds since 1970.
        """
        since = self.since if rates.share == self.share and now >= self.since else now
        keys = [*rates.trial, *rates.control]
        seen, new = self.seen.counting(keys, 1) if keys else (self.seen, {})
        trial = int(rates.sums[0]) + sum(key in new for key in rates.trial)
        control = int(rates.sums[2]) + sum(key in new for key in rates.control)
        following = replace(self, seen=seen, share=rates.share, since=since)
        if now - since < SETTLING or not (trial or control):
            return following
        test = self.test.update(Block(trial, 0, control, 0, rates.share))
        return replace(following, test=test, trial=self.trial + trial, control=self.control + control)

    def told(self) -> Assessment:
        """Return what it says: unmeasurable, or nothing."""
        numbers = {"trial": float(self.trial), "control": float(self.control)}
        if self.test.share is not None:
            numbers["share"] = self.test.share
        if self.test.alarm:
            words = (
                f"{self.trial} of the trial and {self.control} of the control were seen, which is not what "
                "routing assigns: some of what happened is not told"
            )
            return Assessment(Finding.UNMEASURABLE, words, numbers=numbers)
        heard = self.trial and self.control
        return Assessment(Finding.INCONCLUSIVE if heard else Finding.NO_DATA, numbers=numbers)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, from which `from_dict` makes the same."""
        return {
            "kind": "Ratio",
            "test": self.test.to_dict(),
            "seen": self.seen.to_dict(),
            "trial": self.trial,
            "control": self.control,
            "share": self.share,
            "since": self.since,
        }

    @classmethod
    def from_dict(cls, data: Any) -> Ratio:
        """Return what was stored.

        Raises:
            InvalidValue: it is none, or not whole.
        """
        test, seen = SampleRatioTest.from_dict(data["test"]), KeyTable.from_dict(data["seen"])
        numbers = data["trial"], data["control"]
        if any(type(number) is not int or number < 0 for number in numbers):
            raise InvalidValue(f"units are counted from 0: {numbers} cannot be")
        share, since = data["share"], finite("since", data["since"])
        return cls(test, seen, *numbers, None if share is None else inside("share", share), since)
