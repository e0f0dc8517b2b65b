"""What an exam says while nothing of the trial came: nothing, whatever the control did."""

from __future__ import annotations

import pytest

from bento_rollout.arms import Arm, KeySums
from bento_rollout.assessment import Finding
from bento_rollout.exams.latency import LatencyExam
from bento_rollout.exams.rates import RateExam
from bento_rollout.rounds import ERRORS, Round

MANY = 2000


def calls(first: int, number: int, *, sticky: bool, failed: bool = False) -> Arm:
    """An arm with so many calls, each of a key of its own."""
    keys = {key: KeySums(1, int(failed), failed, 0, 1.0) for key in range(first, first + number)}
    return Arm(calls=number, errors=number * failed, keys=keys if sticky else {})


def fed(exam: RateExam, trial: Arm, control: Arm) -> RateExam:
    """The exam after one round."""
    return exam.fed(Round(0.5, 1.0, (trial,), (control,)))


@pytest.mark.parametrize("sticky", [True, False])
@pytest.mark.parametrize("failed", [True, False])
def test_the_control_alone_shows_neither_harm_nor_health(sticky: bool, failed: bool) -> None:
    """As when the candidate's first calls take longer, or it does not give a measure."""
    exam = RateExam.start(ERRORS, 0.01, margin=0.05, sticky=sticky, window=0.01)
    for number in range(10):
        exam = fed(exam, Arm(), calls(1 + number * MANY, MANY, sticky=sticky, failed=failed))
    told = exam.told(0.5, watching=False, needs=True)
    assert (told.finding, told.numbers["harm"], told.numbers["health"]) == (Finding.NO_DATA, 0, 0)


@pytest.mark.parametrize("sticky", [True, False])
def test_calls_that_only_came_later_are_no_harm(sticky: bool) -> None:
    """The control's were told before the first of the trial's: once these are there all is well."""
    exam = RateExam.start(ERRORS, 0.01, margin=None, sticky=sticky)
    exam = fed(exam, Arm(), calls(1, 40, sticky=sticky))
    exam = fed(exam, calls(10_000, 40, sticky=sticky), Arm())
    told = exam.told(0.5, watching=False, needs=False)
    assert told.finding is Finding.INCONCLUSIVE
    failing = fed(exam, calls(20_000, 30, sticky=sticky, failed=True), calls(30_000, 30, sticky=sticky))
    assert failing.told(0.5, watching=False, needs=False).finding is Finding.HARMFUL


@pytest.mark.parametrize("sticky", [True, False])
def test_durations_of_the_control_alone_say_nothing(sticky: bool) -> None:
    """As of a candidate whose every call fails: failures have no duration."""
    exam = LatencyExam.start(0.01, tolerance=0.1, sticky=sticky, history={50: MANY})
    for number in range(10):
        control = calls(1 + number * MANY, MANY, sticky=sticky)
        control.seconds[0] = MANY
        exam = exam.fed(Round(0.5, 1.0, (Arm(),), (control,)))
    assert exam.told(0.5, watching=False, needs=False).finding is Finding.NO_DATA
