"""`RateExam`: errors, numbers that the service measures, and labels.

While the trial watches (a shadow step) its errors are tested apart, with half of the guardrail's false
alarms: what a shadow does is compared with what it watched, not with what chance gave to the other arm.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ..analysis import (
    EventTest,
    HarmTest,
    HealthTest,
    KeyBlock,
    KeyedTest,
    KeyWindows,
    finding_of,
    needed,
    typical_block,
)
from ..assessment import Assessment, Finding
from ..rounds import ERRORS, Rates, Round
from ..sums import MISSING
from .exam import HEALTH_ALPHA, Heard, either, levels
from .lost import Lost

__all__ = ["RateExam"]

LABEL = "label."
"""What names of labels begin with."""


@dataclass(frozen=True, slots=True)
class RateExam:
    """Errors, numbers that the service measures, labels: is the trial's rate of bad outcomes higher?

    Attributes:
        number: which.
        events: whether it is a counter: only events are compared.
        harm, health: the tests; None: it cannot be shown to be healthy.
        breaks: of errors of sticky keys, the test of first calls beside the one of first errors: it sees a
            break at once, and that one sees small harm. Each has half of the false alarms.
        windows: what keys do in their first minute, where that is what health is about.
        watched_harm, watched_health: the tests of a trial that watches.
        heard, watched: what was counted so far.
        best, worst: of a measure with a range, the values that are not bad at all, and bad altogether.
        lost: of labels, whether those of both arms go missing alike; None: of no label.
    """

    number: str
    events: bool
    harm: HarmTest | EventTest | KeyedTest
    health: HealthTest | KeyedTest | None
    windows: KeyWindows | None = None
    breaks: KeyedTest | None = None
    watched_harm: HarmTest | None = None
    watched_health: HealthTest | None = None
    heard: Heard = field(default_factory=Heard)
    watched: Heard = field(default_factory=Heard)
    lost: Lost | None = None
    best: float | None = None
    worst: float | None = None

    @classmethod
    def start(
        cls,
        number: str,
        alpha: float,
        *,
        margin: float | None,
        tolerance: float = 0.0,
        events: bool = False,
        sticky: bool = False,
        watches: bool = False,
        window: float = 60.0,
    ) -> RateExam:
        """Return the exam before anything was counted.

        Args:
            number: which number.
            alpha: the chance of a false alarm that it has.
            margin: how much worse still counts as healthy, as a part of the range; None: no health.
            tolerance: how much worse is no harm.
            events: whether it is a counter.
            sticky: whether the unit is the key.
            watches: whether the trial watches for a while.
            window: seconds of a key's calls that health is about.
        """
        alpha = alpha / 2 if watches else alpha
        errors = sticky and number == ERRORS and not tolerance
        share = alpha / 2 if errors else alpha
        one: HarmTest | EventTest = EventTest(share) if events or errors else HarmTest(share, tolerance)
        health = None if margin is None else HealthTest(margin, HEALTH_ALPHA)
        keyed = None if health is None else KeyedTest(health)
        return cls(
            number,
            events,
            KeyedTest(one) if sticky else one,
            keyed if sticky else health,
            KeyWindows(window) if sticky and number == ERRORS and health is not None else None,
            KeyedTest(HarmTest(share)) if errors else None,
            HarmTest(alpha, tolerance) if watches else None,
            health if watches else None,
            lost=Lost.start(sticky=sticky) if number.startswith(LABEL) else None,
        )

    def fed(self, round_: Round) -> RateExam:
        """Return the exam after one more round."""
        exam = self
        if (rates := round_.rates(self.number)) is not None:
            exam = exam._split(rates, round_.now)
        if self.lost is not None and (missing := round_.rates(self.number + MISSING)) is not None:
            exam = replace(exam, lost=self.lost.fed(missing))
        if self.watched_harm is not None and (block := round_.watched_errors) is not None:
            exam = replace(
                exam,
                watched_harm=self.watched_harm.update(block),
                watched_health=self.watched_health and self.watched_health.update(block),
                watched=self.watched.plus(
                    block.n_candidate, block.x_candidate, block.n_champion, block.x_champion
                ),
            )
        return exam

    def _split(self, rates: Rates, now: float) -> RateExam:
        units = rates.units
        if not any(units) and self.windows is None:
            return self
        exam = replace(self, heard=self.heard.plus(*units))
        if not isinstance(self.harm, KeyedTest):
            block = rates.block(events=self.events)
            health = exam.health.update(block) if isinstance(exam.health, HealthTest) else exam.health
            return replace(exam, harm=self.harm.update(block), health=health)
        keys = rates.key_block(events=isinstance(self.harm.start, EventTest))
        exam = replace(exam, harm=self.harm.update(keys))
        if self.breaks is not None:
            exam = replace(exam, breaks=self.breaks.update(rates.key_block()))
        if not isinstance(exam.health, KeyedTest):
            return exam
        if exam.windows is None:
            return replace(exam, health=exam.health.update(rates.key_block()))
        windows, closed = exam.windows.update(rates.trial, rates.control, share=rates.share, now=now)
        health = exam.health
        for means in closed:
            health = health.update(replace(means, share=None))
        if any(rates.sums):
            health = health.update(KeyBlock({}, {}, calls=0, keyless=rates.block()))
        return replace(exam, windows=windows, health=health)

    def epoch(self) -> RateExam:
        """Return the exam with a new epoch open."""
        watched = self.watched_harm and self.watched_harm.epoch()
        breaks = self.breaks and self.breaks.epoch()
        return replace(self, harm=self.harm.epoch(), breaks=breaks, watched_harm=watched)

    def told(self, share: float | None, *, watching: bool, needs: bool) -> Assessment:
        """Return what it says now."""
        heard = self.watched if watching else self.heard
        harms = [test for test in (self.harm, self.breaks, self.watched_harm) if test is not None]
        shown = [test for test in (self.health, self.watched_health) if test is not None]
        health = self.watched_health if watching else self.health
        known = heard.both or any(test.alarm for test in shown)
        lost = () if self.lost is None else (self.lost,)
        finding = finding_of(harm=harms, health=either(shown), ratio=lost, heard=known)
        unit = "keys" if isinstance(self.harm, KeyedTest) and not watching else "requests"
        more: int | None = None
        if needs and health is not None and finding in (Finding.INCONCLUSIVE, Finding.NO_DATA):
            rate = (heard.control_bad + 0.5) / (heard.control + 50)
            more = needed(health, typical_block(0.5 if share is None else share, min(0.5, rate)))
        numbers = heard.numbers | levels(harms, shown)
        if not heard.trial:
            numbers |= {name: 0.0 for name in ("harm", "health") if name in numbers}
        if share is not None:
            numbers["share"] = share
        words = self._in_words(heard, numbers)
        if finding is Finding.UNMEASURABLE:
            words = "labels of one variant go missing more often than those of the other"
        return Assessment(finding, words, more, unit, numbers)

    def _in_words(self, heard: Heard, numbers: dict[str, float]) -> str:
        """Return what both arms came to in words; means of a measure are noted among the numbers."""
        if not heard.both:
            return ""
        trial, control = heard.trial_bad / heard.trial, heard.control_bad / heard.control
        counted = f"of {heard.trial:.0f}", f"of {heard.control:.0f}"
        if self.best is not None and self.worst is not None:
            means = [self.best + rate * (self.worst - self.best) for rate in (trial, control)]
            numbers["trial_mean"], numbers["control_mean"] = means
            return f"mean {means[0]:.4g} {counted[0]}, against {means[1]:.4g} {counted[1]}"
        if self.events:
            return (
                f"{heard.trial_bad:.0f} events of the candidate, against {heard.control_bad:.0f} of the other"
            )
        what = "errors" if self.number == ERRORS else "bad"
        return f"{trial:.2%} {what} {counted[0]}, against {control:.2%} {counted[1]}"
