"""`Exam`: the tests of one guardrail, what they are fed, and what they say."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from ..analysis import (
    EventTest,
    FloorTest,
    HarmTest,
    HealthTest,
    KeyedTest,
    LatencyHealthTest,
    LatencyTest,
)
from ..assessment import Assessment
from ..rounds import Round

__all__ = ["HEALTH_ALPHA", "AnyTest", "Exam", "Heard", "either", "levels", "sum_of"]

HEALTH_ALPHA = 0.05
"""The chance of calling one healthy that is worse by the margin, for each guardrail."""

AnyTest = HarmTest | EventTest | HealthTest | LatencyTest | LatencyHealthTest | FloorTest | KeyedTest
"""Any test of a guardrail."""


class Exam(Protocol):
    """The tests of one guardrail."""

    def fed(self, round_: Round) -> Exam:
        """Return the exam after one more round."""

    def epoch(self) -> Exam:
        """Return the exam with a new epoch open."""

    def told(self, share: float | None, *, watching: bool, needs: bool) -> Assessment:
        """Return what it says now.

        Args:
            share: of the trial, as it is assigned now; None: there is no split.
            watching: whether the trial watches the control's answers.
            needs: whether it is also estimated how many more it takes, which costs a little.
        """


@dataclass(frozen=True, slots=True)
class Heard:
    """Sums to show: calls (or keys) of both arms so far, and how bad they were."""

    trial: float = 0
    trial_bad: float = 0.0
    control: float = 0
    control_bad: float = 0.0

    def plus(self, trial: float, trial_bad: float, control: float, control_bad: float) -> Heard:
        """Return the sums with more."""
        return Heard(
            self.trial + trial,
            self.trial_bad + trial_bad,
            self.control + control,
            self.control_bad + control_bad,
        )

    @property
    def both(self) -> bool:
        """Whether both arms had at least one."""
        return bool(self.trial and self.control)

    @property
    def numbers(self) -> dict[str, float]:
        """The sums by name, with the rates."""
        found: dict[str, float] = {
            "trial": self.trial,
            "trial_bad": round(self.trial_bad, 6),
            "control": self.control,
            "control_bad": round(self.control_bad, 6),
        }
        if self.trial:
            found["trial_rate"] = self.trial_bad / self.trial
        if self.control:
            found["control_rate"] = self.control_bad / self.control
        return found


def either(shown: Iterable[HealthTest | LatencyHealthTest | KeyedTest]) -> list[_Shown]:
    """Return one thing that is shown when one of several tests of health has shown it; none without any."""
    tests = list(shown)
    return [_Shown(any(test.alarm for test in tests))] if tests else []


@dataclass(frozen=True, slots=True)
class _Shown:
    """Something that was shown, or not."""

    alarm: bool


def levels(harm: Iterable[AnyTest], health: Iterable[AnyTest]) -> dict[str, float]:
    """Return how much of what an alarm, or a proof, needs there is: 0 to 1."""
    found = {}
    for name, tests in (("harm", harm), ("health", health)):
        levels = [1.0 if test.alarm else _level(test) for test in tests]
        if levels:
            found[name] = round(max(levels), 6)
    return found


def _level(test: AnyTest) -> float:
    return max(0.0, min(1.0, test.log_evidence / -math.log(test.alpha)))


def sum_of(counts: Mapping[int, int], more: Mapping[int, int]) -> Mapping[int, int]:
    """Return counts by bin with more of them; neither is changed."""
    if not more:
        return counts
    found = dict(counts)
    for index, number in more.items():
        if number:
            found[index] = found.get(index, 0) + number
    return found
