"""The demo's verdicts: each is kept by a run that went well, and broken by the fault that it is there for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from services.demo.operator import Step
from services.demo.promises import CANDIDATE, CHAMPION, Evidence, judge
from services.demo.traffic import Answer, Patient

PATIENTS = [Patient(f"patient-{n}", n % 5, b"") for n in range(400)]
OWN = {CHAMPION: np.linspace(0.1, 0.5, 5), CANDIDATE: np.linspace(0.5, 0.9, 5)}
STEPS = [
    Step("start", 0, 0, 1, 1),
    Step("canary 10%", 10, 10, 11, 2, "weight screening boosted=10 --reason first"),
    Step("canary 50%", 50, 20, 21, 3, "weight screening boosted=50 --reason second"),
    Step("flip", 100, 30, 31, 4, "flip screening --to boosted --reason third"),
    Step("rollback", 0, 40, 41, 5, "rollback screening --reason fourth"),
]
HISTORY = [
    {"revision": step.revision, "author": "operator@host", "reason": step.line.rpartition(" ")[2]}
    for step in STEPS[1:]
]
PASSES = 2
PER_STEP = PASSES * len(PATIENTS)


def answers() -> list[Answer]:
    """Return what a faultless run gives: two passes of every patient after every step."""
    given = []
    for step in STEPS:
        for round_ in range(PASSES):
            for number, patient in enumerate(PATIENTS):
                variant = CANDIDATE if number < step.share / 100 * len(PATIENTS) else CHAMPION
                started = step.returned + 0.1 + round_
                probability = float(OWN[variant][patient.row])
                name = f"{step.revision}.{round_}.{number}"
                given.append(
                    Answer(
                        patient,
                        started,
                        started + 0.01,
                        200,
                        variant,
                        step.revision,
                        "split",
                        name,
                        probability,
                    )
                )
    return given


def evidence(**changes: Any) -> Evidence:
    """Return the evidence of a faultless run, with parts replaced."""
    told = {"patient-0": CANDIDATE, "patient-399": CHAMPION}
    faultless = Evidence(answers(), STEPS, OWN, told, HISTORY)
    return replace(faultless, **changes)


def broken(evidence: Evidence) -> set[str]:
    """Return the promises that were not kept."""
    return {verdict.promise for verdict in judge(evidence) if not verdict.kept}


def test_a_faultless_run_keeps_every_promise() -> None:
    """Nothing is broken when nothing went wrong."""
    assert broken(evidence()) == set()


@pytest.mark.parametrize(
    ("index", "fault", "promise"),
    [
        (0, {"status": 500, "probability": None, "variant": ""}, "no request failed"),
        (0, {"probability": 0.77}, "the variant in the header is the model that answered"),
        (0, {"reason": "fallback"}, "nobody had to stand in for a variant"),
        (5, {"variant": CANDIDATE}, "after the start every later request is answered by logistic"),
        (PER_STEP + 300, {"variant": CANDIDATE}, "a patient keeps the variant within a revision"),
        (2 * PER_STEP + 300, {"variant": CANDIDATE}, "a patient keeps the variant within a revision"),
        (3 * PER_STEP, {"variant": CHAMPION}, "after the flip every later request is answered by boosted"),
        (
            4 * PER_STEP,
            {"variant": CANDIDATE},
            "after the rollback every later request is answered by logistic",
        ),
        (PER_STEP, {"revision": 1}, "no later request sees an older revision"),
        (0, {"prediction_id": "1.0.1"}, "every answer has a prediction id of its own"),
    ],
)
def test_one_wrong_answer_breaks_its_promise(index: int, fault: dict[str, Any], promise: str) -> None:
    """A single bad answer among thousands is seen."""
    given = answers()
    given[index] = replace(given[index], **fault)
    assert promise in broken(evidence(answers=given))


def test_a_share_far_from_the_weight_is_seen() -> None:
    """A candidate that answers everybody does not pass for 10 percent."""
    given = [
        replace(answer, variant=CANDIDATE, probability=float(OWN[CANDIDATE][answer.patient.row]))
        if answer.revision == 2
        else answer
        for answer in answers()
    ]
    assert "the share is the weight at 10 %" in broken(evidence(answers=given))


def test_patients_that_are_moved_back_are_seen() -> None:
    """A candidate that grew but lost a patient broke its promise."""
    given = [
        replace(answer, variant=CHAMPION, probability=float(OWN[CHAMPION][answer.patient.row]))
        if answer.revision == 3 and answer.patient.key == "patient-0"
        else answer
        for answer in answers()
    ]
    assert "a growing candidate keeps all its patients" in broken(evidence(answers=given))


@pytest.mark.parametrize("told", [{}, {"patient-0": CHAMPION}])
def test_a_wrong_word_of_assign_is_seen(told: dict[str, str]) -> None:
    """What the command says is held against who answered."""
    assert broken(evidence(told=told)) == {"bento-rollout assign names who answers"}


@pytest.mark.parametrize("history", [[], HISTORY[1:], [{**HISTORY[0], "author": ""}, *HISTORY[1:]]])
def test_a_change_without_author_or_reason_is_seen(history: list[dict[str, Any]]) -> None:
    """The history must hold every change."""
    assert broken(evidence(history=history)) == {"every change has an author and a reason"}


def test_no_answers_keep_no_promise_about_answers() -> None:
    """An empty run is not a success."""
    assert "no request failed" in broken(evidence(answers=[]))
    assert "a patient keeps the variant within a revision" in broken(evidence(answers=[]))
