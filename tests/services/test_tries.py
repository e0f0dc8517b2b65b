"""The verdicts on the demo's tries: kept by tries that went well, and broken by what each is there for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from services.demo.promises import CANDIDATE, CHAMPION
from services.demo.traffic import Answer, Patient
from services.demo.tries import Tried, judged

ANN, BOB = Patient("ann", 0, b""), Patient("bob", 1, b"")


def told(action: str, author: str = "evidence", **more: Any) -> dict[str, Any]:
    """Return what ``explain`` says of a revision."""
    return {"author": author, "action": action, "by_evidence": author == "evidence", **more}


def answer(patient: Patient, revision: int, variant: str, reason: str = "split") -> Answer:
    """Return an answer as it should be."""
    return Answer(patient, revision, revision + 0.1, 200, variant, revision, reason, "id", 0.5)


BAD = Tried(
    [answer(ANN, 2, CHAMPION, "fallback"), answer(BOB, 2, CHAMPION), answer(ANN, 3, CHAMPION, "default")],
    [
        told("start", "ann@host", weights={CHAMPION: 95, CANDIDATE: 5}),
        told("rollback", weights={CHAMPION: 100}, causes=["error_rate"], words="harm is shown by error_rate"),
    ],
    5,
)
GOOD = Tried(
    [
        answer(ANN, 2, CANDIDATE),
        answer(BOB, 2, CHAMPION),
        answer(ANN, 3, CHAMPION, "fallback"),
        answer(BOB, 4, CANDIDATE),
        answer(ANN, 4, CANDIDATE),
        answer(BOB, 6, CANDIDATE, "default"),
    ],
    [
        told("start", "ann@host", weights={CHAMPION: 95, CANDIDATE: 5}),
        told("advance", weights={CHAMPION: 75, CANDIDATE: 25}),
        told("advance", weights={CHAMPION: 50, CANDIDATE: 50}),
        told("promote", weights={CANDIDATE: 90, CHAMPION: 10}),
        told("end_bake", weights={CANDIDATE: 100}),
    ],
    20,
)


def broken(bad: Tried = BAD, good: Tried = GOOD) -> set[str]:
    """Return the promises that were not kept, by their first words."""
    return {verdict.promise for verdict in judged(bad, good) if not verdict.kept}


def test_tries_that_went_well_keep_every_promise() -> None:
    """Nothing is broken when nothing went wrong."""
    assert broken() == set()


@pytest.mark.parametrize(
    ("change", "promise"),
    [
        ({"author": "ann@host"}, "a release that fails is rolled back by itself"),
        ({"action": "pause"}, "a release that fails is rolled back by itself"),
        ({"weights": {CHAMPION: 95, CANDIDATE: 5}}, "a release that fails is rolled back by itself"),
        ({"causes": ["latency"]}, "bento-rollout explain names the guardrail"),
        ({"words": "harm is shown"}, "bento-rollout explain names the guardrail"),
    ],
)
def test_a_release_that_is_not_taken_back_by_evidence_is_seen(change: dict[str, Any], promise: str) -> None:
    """By a person, by a pause, in part, or for another reason."""
    assert broken(replace(BAD, told=[BAD.told[0], {**BAD.told[1], **change}])) == {promise}


@pytest.mark.parametrize("answers", [BAD.answers[1:], [*BAD.answers, replace(BAD.answers[0], status=500)]])
def test_a_lost_answer_is_seen(answers: list[Answer]) -> None:
    """And so is a release that never failed at all."""
    assert broken(replace(BAD, answers=answers)) == {"what the release failed was answered all the same"}


@pytest.mark.parametrize(
    "told_so",
    [
        GOOD.told[:4],
        [*GOOD.told[:2], *GOOD.told[3:]],
        [*GOOD.told[:3], told("promote", "ann@host", weights={}), GOOD.told[4]],
        [*GOOD.told, told("rollback", weights={})],
        [GOOD.told[0], told("advance", weights={CANDIDATE: 30}), *GOOD.told[2:]],
    ],
)
def test_another_way_up_is_seen(told_so: list[dict[str, Any]]) -> None:
    """One that ended early, left a step out, was helped by a person, came back, or had another share."""
    assert broken(good=replace(GOOD, told=told_so)) == {
        "the mended release goes up by itself and is promoted"
    }


def test_a_failed_request_on_the_way_up_is_seen() -> None:
    """Promoted, though somebody got no answer, is no success."""
    failed = replace(GOOD.answers[1], status=500, variant="")
    assert "the mended release goes up by itself and is promoted" in broken(
        good=replace(GOOD, answers=[*GOOD.answers, failed])
    )


@pytest.mark.parametrize("answers", [[], [*GOOD.answers, answer(ANN, 4, CHAMPION)]])
def test_a_patient_who_is_moved_back_is_seen(answers: list[Answer]) -> None:
    """And so is a try in which nobody met the candidate."""
    good = replace(GOOD, answers=answers)
    assert broken(good=good) == {"on its way up a candidate keeps every patient"}
