"""What is told of a commit, and of which."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from bento_rollout import Notice
from bento_rollout.degrees import Degree
from bento_rollout.notice import notice_of
from bento_rollout.standing import Standing
from tests.states import seed

from .notices import BEGUN, commit


def test_a_decision_is_told_with_its_evidence() -> None:
    """What evidence decided comes with causes, numbers, what is missing, and the weights around it."""
    told = notice_of(commit(7, "rollback", percent=0.0), commit(6, percent=25.0).state)
    assert told is not None
    assert told.by_evidence
    assert (told.rollout, told.revision, told.time, told.action) == ("screening", 7, BEGUN + 7, "rollback")
    assert (told.candidate, told.control, told.champion) == ("boosted", "logistic", "logistic")
    assert (told.words, told.place, told.causes) == ("boosted: rollback", "step 2", ("errors",))
    assert told.missing == ("errors: about 300 more requests",)
    assert told.guardrails["errors"]["finding"] == "harmful"
    assert (told.weights_before, told.weights) == ({"boosted": 25.0}, {"boosted": 0.0})


def test_what_evidence_did_is_told_by_what_it_decided() -> None:
    """A history may call it otherwise; the decision's own word is told."""
    told = notice_of(commit(7, "advance", decision={"action": "advance"}), None)
    assert told is not None
    assert (told.action, told.weights_before) == ("advance", None)


@pytest.mark.parametrize("verb", ["start", "abort", "retry", "promote", "pause", "resume", "rollback"])
def test_each_verb_of_a_person_on_a_try_is_told(verb: str) -> None:
    """With who and why, and without an older decision's evidence."""
    told = notice_of(commit(7, verb, author="ann@desk", reason="as agreed"), None)
    assert told is not None
    assert not told.by_evidence
    assert (told.action, told.author, told.reason) == (verb, "ann@desk", "as agreed")
    assert told.words.startswith("ann@desk ")
    assert told.words.endswith("the try of boosted: as agreed")
    assert "changed" not in told.words
    assert (told.causes, told.missing, dict(told.guardrails)) == ((), (), {})


@pytest.mark.parametrize("verb", ["undo", "apply"])
def test_other_verbs_that_change_a_try_are_told(verb: str) -> None:
    """Whatever sets its strategy or its position: nobody's abort goes untold for its name."""
    told = notice_of(commit(7, verb, author="ann"), None)
    assert told is not None
    assert told.words == f"ann changed ({verb}) the try of boosted"


def test_what_does_not_touch_a_try_is_not_told() -> None:
    """A weight that a person sets beside it, a commit without a try, and a rollout that never had one."""
    assert notice_of(commit(7, "weight", author="ann", touched=False), None) is None
    assert notice_of(commit(7, "weight", author="ann", attempt=False), None) is None
    assert notice_of(seed(), None) is None


def test_a_notice_is_plain_data_and_frozen() -> None:
    """JSON can say all of it, and nobody changes it for others."""
    told = notice_of(commit(7), commit(6).state)
    assert told is not None
    again = json.loads(json.dumps(told.plain))
    assert again == told.plain
    assert set(again) == set(Notice.__dataclass_fields__)
    with pytest.raises(FrozenInstanceError):
        told.action = "hold"  # type: ignore[misc]  # that is the point


def graded(one: Any, degree: Degree, author: str = "spec", reason: str = "") -> Any:
    """Let the endpoint of a commit's state have a degree."""
    one.state.automation = {"read": Standing(degree=degree, author=author, reason=reason)}
    return one


def test_a_degree_that_audits_took_away_is_told() -> None:
    """Beside any try, and without its evidence."""
    before = graded(commit(6, touched=False), Degree.PARTIAL).state
    demoted = graded(
        commit(7, "demote", author="automation", touched=False), Degree.SHADOW, "automation", "9 of 40"
    )
    told = notice_of(demoted, before)
    assert told is not None
    assert told.words == "read is at degree shadow (was partial), by automation: 9 of 40"
    assert (told.action, told.author, told.champion) == ("demote", "automation", "logistic")
    assert (told.candidate, told.control, told.place, dict(told.guardrails)) == ("", "", "", {})
    assert notice_of(demoted, demoted.state) is None
    assert notice_of(demoted, None) is None


def test_a_degree_that_goes_with_a_try_is_told_with_it() -> None:
    """One notice for one revision."""
    before = graded(commit(6), Degree.PARTIAL).state
    after = graded(commit(7, "promote"), Degree.SHADOW, "automation", "nothing is certified")
    told = notice_of(after, before)
    assert told is not None
    assert told.words == (
        "boosted: promote; read is at degree shadow (was partial), by automation: nothing is certified"
    )
    assert told.candidate == "boosted"
