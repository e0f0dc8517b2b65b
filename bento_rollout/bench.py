"""`Bench`: all the tests of one try, fed with what workers counted, and what they say together; pure.

It belongs to one try, of two variants as they were when it began. Every update returns the next bench, so
whoever leads may save any of them and go on from there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from .assessment import Assessment, Assessments, Finding
from .errors import InvalidValue
from .evidence import Evidence
from .exams import (
    AgreementExam,
    Exam,
    LatencyExam,
    RateExam,
    Ratio,
    ThresholdExam,
    from_plain,
    to_plain,
)
from .guardrails import Agreement, ErrorRate, Guardrail, Label, Latency, Measure, Threshold, split_name
from .past import Past
from .rounds import ERRORS, Arms, Round, rounds_of
from .served import GAUGES
from .strategy import Strategy

__all__ = ["SAMPLE_RATIO", "Bench", "Setting"]

SAMPLE_RATIO = "sample_ratio"
"""The check that both arms are seen as often as they should be."""

_UNIT = {True: "keys", False: "calls"}


@dataclass(frozen=True, slots=True)
class Setting:
    """What a try's tests are begun with. Immutable.

    Attributes:
        sticky: whether the unit is the key.
        past: what is known of the control.
    """

    sticky: bool = False
    past: Past = field(default_factory=Past)


@dataclass(frozen=True, slots=True)
class Bench:
    """The tests of one try. Immutable.

    Attributes:
        sticky: whether the unit is the key.
        exams: by guardrail.
        counting: what each guardrail's evidence belongs to, as plain data.
        ratio: whether both arms are seen as often as they should be.
        place, since: the stretch of the try that blocks are counted in, and the revision that it began at.
        trial_blocks, control_blocks: rounds of this stretch in which the arm had at least one call.
        both: when both had one last, in seconds since 1970; None: never.
    """

    sticky: bool
    exams: Mapping[str, Exam]
    counting: Mapping[str, Mapping[str, Any]]
    ratio: Ratio
    place: str = ""
    since: int = 0
    trial_blocks: int = 0
    control_blocks: int = 0
    both: float | None = None

    @classmethod
    def begin(cls, strategy: Strategy, setting: Setting) -> Bench:
        """Return the tests of a try of which nothing was counted yet."""
        exams = {name: _exam(strategy, name, setting) for name in strategy.guardrails}
        counting = {name: one.counting for name, one in strategy.guardrails.items()}
        return cls(setting.sticky, exams, counting, Ratio.start())

    def edited(self, strategy: Strategy, setting: Setting) -> Bench:
        """Return the tests under a strategy that a person changed: what counts as before is kept."""
        fresh = Bench.begin(strategy, setting)
        if fresh.counting == self.counting:
            return self
        kept = {n for n, counting in fresh.counting.items() if self.counting.get(n) == counting}
        exams = {name: self.exams[name] if name in kept else exam for name, exam in fresh.exams.items()}
        return replace(self, exams=exams, counting=fresh.counting)

    def entered(self, place: str, revision: int) -> Bench:
        """Return the tests at the beginning of another stretch: a new epoch, and no blocks yet."""
        exams = {name: exam.epoch() for name, exam in self.exams.items()}
        return replace(
            self, exams=exams, place=place, since=revision, trial_blocks=0, control_blocks=0, both=None
        )

    def update(
        self,
        evidence: Evidence,
        arms: Mapping[int, Arms],
        now: float,
        gauges: Mapping[str, float] | None = None,
    ) -> Bench:
        """Return the tests after what workers counted.

        Args:
            evidence: what all of them did since the last time.
            arms: who is compared, by revision; what was counted at others is left out.
            now: seconds since 1970.
            gauges: values of the trial that plain thresholds are about.

        Raises:
            InvalidValue: sums that cannot be; these tests are as they were.
        """
        exams, bench = dict(self.exams), self
        for revision, make in rounds_of(evidence, arms, now):
            whole = make(None)
            apart = {endpoint: make(endpoint) for name in exams if (endpoint := split_name(name)[1])}
            exams = {
                name: exam.fed(apart.get(split_name(name)[1] or "", whole)) for name, exam in exams.items()
            }
            bench = bench._heard(revision, whole)
        for name, exam in exams.items():
            if isinstance(exam, ThresholdExam):
                exams[name] = exam.looked((gauges or {}).get(exam.number), now)
        return replace(bench, exams=exams, both=None if bench.both is None else min(bench.both, now))

    def _heard(self, revision: int, round_: Round) -> Bench:
        rates = round_.rates(ERRORS)
        bench = self if rates is None else replace(self, ratio=self.ratio.fed(rates, round_.now))
        if revision < self.since:
            return bench
        trial, control = round_.heard
        return replace(
            bench,
            trial_blocks=self.trial_blocks + trial,
            control_blocks=self.control_blocks + control,
            both=round_.now if trial and control else self.both,
        )

    def assessments(
        self,
        arms: Arms,
        now: float,
        *,
        needs: bool = True,
        broken: Mapping[str, str] | None = None,
        trial_unready: str = "",
        control_unready: str = "",
    ) -> Assessments:
        """Return what all of them say.

        Args:
            arms: who is compared now.
            now: seconds since 1970.
            needs: whether it is also estimated how many more each takes, which costs a little.
            broken: what else cannot be measured, and why.
            trial_unready, control_unready: why one cannot take traffic; empty: it can.
        """
        watching = arms.share is None
        found = {
            name: exam.told(arms.share, watching=watching, needs=needs) for name, exam in self.exams.items()
        }
        found[SAMPLE_RATIO] = self.ratio.told()
        for name, why in (broken or {}).items():
            found[name] = Assessment(Finding.UNMEASURABLE, why)
        idle = 0.0 if self.both is None else max(0.0, now - self.both)
        return Assessments(
            found,
            self.place,
            self.trial_blocks,
            self.control_blocks,
            idle,
            trial_unready,
            control_unready,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, from which `from_dict` makes the same tests."""
        return {
            "sticky": self.sticky,
            "exams": {name: to_plain(exam) for name, exam in self.exams.items()},
            "counting": {name: dict(counting) for name, counting in self.counting.items()},
            "ratio": self.ratio.to_dict(),
            "place": self.place,
            "since": self.since,
            "trial_blocks": self.trial_blocks,
            "control_blocks": self.control_blocks,
            "both": self.both,
        }

    @classmethod
    def from_dict(cls, data: object, strategy: Strategy, setting: Setting) -> Bench:
        """Return stored tests, for a strategy; what it counts otherwise begins anew.

        Raises:
            InvalidValue: they are none, not whole, or of another setting, naming what is wrong.
        """
        try:
            fields = dict(data)  # type: ignore[call-overload]  # whatever else it is fails here
            if (sticky := fields["sticky"]) is not setting.sticky:
                was, now = _UNIT[bool(sticky)], _UNIT[setting.sticky]
                raise InvalidValue(f"the tests are of {was}, and evidence is counted by {now} now")
            exams = {str(name): from_plain(exam) for name, exam in fields["exams"].items()}
            counting = {str(name): dict(of) for name, of in fields["counting"].items()}
            ratio = Ratio.from_dict(fields["ratio"])
            since, trial, control = (fields[name] for name in ("since", "trial_blocks", "control_blocks"))
            both = fields["both"]
            if any(type(number) is not int or number < 0 for number in (since, trial, control)):
                raise InvalidValue(f"blocks are counted from 0: {(since, trial, control)} cannot be")
            if both is not None and not (type(both) in (int, float) and abs(both) < math.inf):
                raise InvalidValue(f"{both!r} is no time")
            if exams.keys() != counting.keys():
                raise InvalidValue("the exams are not those of the guardrails")
            bench = cls(sticky, exams, counting, ratio, str(fields["place"]), since, trial, control, both)
        except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError) as error:
            if isinstance(error, InvalidValue):
                raise
            raise InvalidValue(f"these are no stored tests of a try: {error!r}") from error
        return bench.edited(strategy, setting)


def _exam(strategy: Strategy, name: str, setting: Setting) -> Exam:
    """Return the exam of a guardrail before anything was counted."""
    guardrail = strategy.guardrails[name]
    metric, endpoint = split_name(name)
    watches = any(step.shadow for step in strategy.steps)
    if isinstance(guardrail, Threshold):
        bound = guardrail.below, guardrail.above
        number = metric if metric == ERRORS or metric in GAUGES else name
        return ThresholdExam(number, *bound, guardrail.failure_limit, guardrail.interval)
    alpha = strategy.alpha_shares[name]
    if isinstance(guardrail, Latency):
        return LatencyExam.start(
            alpha,
            tolerance=guardrail.tolerance,
            of=guardrail.of,
            sticky=setting.sticky,
            watches=watches and guardrail.of == "first_item",
            history=setting.past.histogram(endpoint, guardrail.of),
        )
    if isinstance(guardrail, Agreement):
        floor = setting.past.floor
        return AgreementExam.start(alpha, least=guardrail.least, floor=floor, sticky=setting.sticky)
    margin, tolerance, events = _of(guardrail)
    exam = RateExam.start(
        ERRORS if metric == ERRORS else name,
        alpha,
        margin=margin,
        tolerance=tolerance,
        events=events,
        sticky=setting.sticky,
        watches=watches and metric == ERRORS,
        window=strategy.key_window,
    )
    if isinstance(guardrail, Measure) and guardrail.values is not None:
        return replace(exam, best=guardrail.values[0], worst=guardrail.values[1])
    return exam


def _of(guardrail: Guardrail) -> tuple[float | None, float, bool]:
    """Return margin and tolerance of a rate, and whether it is a counter."""
    if isinstance(guardrail, ErrorRate):
        return guardrail.margin, guardrail.tolerance, False
    if isinstance(guardrail, Label):
        return guardrail.margin, 0.0, False
    if isinstance(guardrail, Measure):
        return guardrail.share, 0.0, guardrail.range is None
    raise InvalidValue(f"a {type(guardrail).__name__} has no test")
