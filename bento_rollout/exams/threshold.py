"""`ThresholdExam`: a plain bound."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..assessment import Assessment, Finding
from ..rounds import ERRORS, Round

__all__ = ["ThresholdExam"]


@dataclass(frozen=True, slots=True)
class ThresholdExam:
    """A plain bound, looked at each interval; nothing is promised of how often it alarms.

    Attributes:
        number: what is bound: a gauge, the trial's errors, or a number that it measures.
        below, above: the bound.
        limit: how many looks may fail.
        interval: seconds from look to look.
        since: when the present interval began.
        calls, bad: of the trial in the present interval.
        gauge: the last value of a gauge in it.
        failures: looks that failed.
        value: what the last look saw; None: nothing yet.
        harmful: whether too many failed; it stays.
    """

    number: str
    below: float | None
    above: float | None
    limit: int
    interval: float
    since: float | None = None
    calls: float = 0
    bad: float = 0.0
    gauge: float | None = None
    failures: int = 0
    value: float | None = None
    harmful: bool = False

    def fed(self, round_: Round) -> ThresholdExam:
        """Return the exam after one more round."""
        if (rates := round_.rates(self.number)) is None:
            return self.looked(None, round_.now)
        calls, bad, _, _ = rates.units if self.number == ERRORS else rates.sums
        if not calls:
            calls, bad = rates.units[:2]
        return replace(self, calls=self.calls + calls, bad=self.bad + bad).looked(None, round_.now)

    def looked(self, gauge: float | None, now: float) -> ThresholdExam:
        """Return the exam after a look at a time, with what a gauge says, if there is one."""
        if gauge is not None:
            return replace(self, gauge=gauge).looked(None, now)
        if self.since is None or now < self.since:
            return replace(self, since=now)
        if now - self.since < self.interval:
            return self
        value = self.gauge if self.gauge is not None else (self.bad / self.calls if self.calls else None)
        begun = replace(self, since=now, calls=0, bad=0.0, gauge=None)
        if value is None:
            return begun
        holds = (self.below is None or value < self.below) and (self.above is None or value > self.above)
        failures = self.failures + (not holds)
        return replace(begun, value=value, failures=failures, harmful=self.harmful or failures > self.limit)

    def epoch(self) -> ThresholdExam:
        """Return it as it is: it has no epochs."""
        return self

    def told(self, share: float | None, *, watching: bool, needs: bool) -> Assessment:  # noqa: ARG002
        """Return what it says now: healthy while it holds."""
        bound = f"below {self.below:g}" if self.below is not None else f"above {self.above:g}"
        if self.value is None:
            return Assessment(Finding.NO_DATA, f"no value yet; it must be {bound}", unit="looks")
        holds = (self.below is None or self.value < self.below) and (
            self.above is None or self.value > self.above
        )
        finding = Finding.HARMFUL if self.harmful else Finding.HEALTHY if holds else Finding.INCONCLUSIVE
        words = f"{self.value:g}; it must be {bound}; {self.failures} looks failed, {self.limit} may"
        numbers = {
            "value": self.value,
            "failures": float(self.failures),
            "harm": 1.0 if self.harmful else min(1.0, self.failures / (self.limit + 1)),
            "health": float(holds),
        }
        return Assessment(finding, words, unit="looks", numbers=numbers)
