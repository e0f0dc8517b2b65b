"""`LatencyExam`: durations. A trial that watches is tested apart, with half of the false alarms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ..analysis import KeyedTest, LatencyBlock, LatencyHealthTest, LatencyTest, finding_of, needed
from ..assessment import Assessment, Finding
from ..histogram import quantile
from ..rounds import Round, counts_of
from .exam import HEALTH_ALPHA, either, levels, sum_of

__all__ = ["LEAST_HISTORY", "LatencyExam"]

LEAST_HISTORY = 1000
"""Calls of the control from which thresholds of latency are taken."""


@dataclass(frozen=True, slots=True)
class LatencyExam:
    """Durations: is the trial slower? Thresholds come from calls of the control before.

    Attributes:
        of: what is timed of a stream.
        alpha, factor: of the tests; how many times as slow is no harm.
        sticky, watches: as for `RateExam.start`.
        history: earlier calls of the control by bin, while they are too few.
        harm, health, watched_harm, watched_health: the tests; None: there are no thresholds yet.
        trial, control: durations since the last epoch was opened by hand, by bin: what is shown. Those of
            other shares would say something else, as who has more of the traffic may wait longer.
    """

    of: str
    alpha: float
    factor: float
    sticky: bool
    watches: bool
    history: Mapping[int, int] = field(default_factory=dict)
    harm: LatencyTest | KeyedTest | None = None
    health: LatencyHealthTest | KeyedTest | None = None
    watched_harm: LatencyTest | None = None
    watched_health: LatencyHealthTest | None = None
    trial: Mapping[int, int] = field(default_factory=dict)
    control: Mapping[int, int] = field(default_factory=dict)

    @classmethod
    def start(
        cls,
        alpha: float,
        *,
        tolerance: float,
        of: str = "first_item",
        sticky: bool = False,
        watches: bool = False,
        history: Mapping[int, int] | None = None,
    ) -> LatencyExam:
        """Return the exam before anything was counted.

        Args:
            alpha: the chance of a false alarm that it has.
            tolerance: how much slower is no harm, as a part.
            of: what is timed of a stream.
            sticky: whether the unit is the key.
            watches: whether the trial watches for a while.
            history: earlier calls of the control, by bin.
        """
        alpha = alpha / 2 if watches else alpha
        return cls(of, alpha, 1.0 + tolerance, sticky, watches).learned(history or {})

    def learned(self, more: Mapping[int, int]) -> LatencyExam:
        """Return the exam that knows of more calls of the control; the tests begin when they are enough."""
        history = sum_of(self.history, more)
        if sum(history.values()) < LEAST_HISTORY:
            return replace(self, history=history)
        known = counts_of(history)
        harm = LatencyTest(known, self.alpha, self.factor)
        health = LatencyHealthTest(known, HEALTH_ALPHA, self.factor)
        return replace(
            self,
            history=history,
            harm=KeyedTest(harm) if self.sticky else harm,
            health=KeyedTest(health) if self.sticky else health,
            watched_harm=harm if self.watches else None,
            watched_health=health if self.watches else None,
        )

    def fed(self, round_: Round) -> LatencyExam:
        """Return the exam after one more round."""
        if self.harm is None or self.health is None:
            return self._waited(round_)
        exam = self
        if (times := round_.times(self.of)) is not None:
            trial, control = times.counts
            if trial or control:
                exam = replace(exam, trial=sum_of(self.trial, trial), control=sum_of(self.control, control))
                if isinstance(self.harm, KeyedTest) and isinstance(self.health, KeyedTest):
                    keys = times.key_block()
                    exam = replace(exam, harm=self.harm.update(keys), health=self.health.update(keys))
                elif isinstance(self.harm, LatencyTest) and isinstance(self.health, LatencyHealthTest):
                    block = times.block()
                    exam = replace(exam, harm=self.harm.update(block), health=self.health.update(block))
        if self.watched_harm and self.watched_health and (seen := round_.watched_times) is not None:
            exam = replace(
                exam,
                watched_harm=self.watched_harm.update(seen),
                watched_health=self.watched_health.update(seen),
                trial=sum_of(exam.trial, dict(enumerate(seen.candidate))),
                control=sum_of(exam.control, dict(enumerate(seen.champion))),
            )
        return exam

    def _waited(self, round_: Round) -> LatencyExam:
        """Return the exam that takes what the control did as its history."""
        times, found = round_.times(self.of), dict[int, int]()
        for arm in round_.control:
            found = dict(sum_of(found, arm.history.get(self.of, {})))
        return self.learned(found if times is None else sum_of(found, times.counts[1]))

    def epoch(self) -> LatencyExam:
        """Return the exam with a new epoch open."""
        harm, watched = self.harm and self.harm.epoch(), self.watched_harm and self.watched_harm.epoch()
        return replace(self, harm=harm, watched_harm=watched, trial={}, control={})

    def told(self, share: float | None, *, watching: bool, needs: bool) -> Assessment:
        """Return what it says now."""
        calls = sum(self.history.values())
        if self.harm is None or self.health is None:
            more = LEAST_HISTORY - calls
            words = f"thresholds need {more} more calls of the control"
            return Assessment(Finding.NO_DATA, words, more, "calls of the control", {"control": calls})
        harms = [test for test in (self.harm, self.watched_harm) if test is not None]
        shown = [test for test in (self.health, self.watched_health) if test is not None]
        health = self.watched_health if watching else self.health
        heard = bool(self.trial and self.control) or any(test.alarm for test in shown)
        finding = finding_of(harm=harms, health=either(shown), heard=heard) if self.trial else Finding.NO_DATA
        more_needed: int | None = None
        if needs and health is not None and finding in (Finding.INCONCLUSIVE, Finding.NO_DATA):
            more_needed = needed(health, self._typical(0.5 if share is None else share))
        unit = "keys" if self.sticky and not watching else "requests"
        numbers = levels(harms, shown) | _quantiles("trial", self.trial)
        numbers |= _quantiles("control", self.control or self.history)
        if share is not None:
            numbers["share"] = share
        return Assessment(finding, _times_in_words(numbers), more_needed, unit, numbers)

    def _typical(self, share: float) -> LatencyBlock:
        """Return a large block of equal arms, as the history was."""
        total = sum(self.history.values())
        scale = 10**9 / total
        trial = counts_of({index: round(scale * share * n) for index, n in self.history.items()})
        control = counts_of({index: round(scale * (1 - share) * n) for index, n in self.history.items()})
        return LatencyBlock(trial, control, share)


def _times_in_words(numbers: Mapping[str, float]) -> str:
    if "trial_p50" not in numbers or "control_p50" not in numbers:
        return ""
    parts = [
        f"p{share} {_milliseconds(numbers[trial])} against {_milliseconds(numbers[control])}"
        for share, trial, control in ((50, "trial_p50", "control_p50"), (95, "trial_p95", "control_p95"))
    ]
    return ", ".join(parts)


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.3g} ms"


def _quantiles(arm: str, counts: Mapping[int, int]) -> dict[str, float]:
    found = {arm: float(sum(counts.values()))}
    for share in (50, 95):
        value = quantile(counts, share / 100)
        if value is not None:
            found[f"{arm}_p{share}"] = value
    return found
