"""Alarms of drift: one way from new to ended, each act once, words without values."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento_rollout.alarms import ACTS, Alarm, Told, changed, cut, is_latched, mark_in, said_of
from bento_rollout.errors import InvalidValue
from bento_rollout.notice import notice_of_alarm
from bento_rollout.opening import first_commit
from bento_rollout.spec import RolloutSpec
from bento_rollout.webhook import message_id

TOLD = (Told("age", 5.0, "higher", 0.3, 80),)
FOUND = Alarm("0badcafe", "data", "data", "predict", 1, 5.0, 87, 4, "age is higher", TOLD)
LARGE = FOUND.grown(("age",), FOUND.features)


def test_an_alarm_goes_one_way() -> None:
    """New, acted, acknowledged; whoever ends it first has ended it."""
    acted = LARGE.did("log", "written").did("pause", "paused in revision 5")
    assert (FOUND.state, LARGE.did("log", "written").state, acted.state) == ("new", "new", "acted")
    ended = acted.acknowledged("ann", 9.0, "seen")
    assert (ended.state, ended.ended_by, ended.note, ended.latched) == ("acknowledged", "ann", "seen", False)
    assert ended.rebased("bob", 10.0) is ended
    assert ended.replaced(10.0, "") is ended
    assert FOUND.rebased("bob", 10.0).state == "rebased"
    assert is_latched([ended, FOUND])
    assert not is_latched([ended])


def test_only_what_is_large_acts_on_the_rollout() -> None:
    """Certain is told; certain and large pauses and demotes; how rows are built is only ever told."""
    assert FOUND.owed(ACTS) == ("log", "notify")
    assert LARGE.owed(ACTS) == ACTS
    assert LARGE.owed(("log", "pause")) == ("log", "pause")
    schema = replace(FOUND, kind="schema", acting=("age",))
    assert schema.owed(ACTS) == ("log", "notify")
    assert LARGE.acknowledged("ann", 9.0).owed(ACTS) == ()
    with pytest.raises(InvalidValue, match="is no act"):
        FOUND.did("dance", "done")


@given(st.lists(st.sampled_from(ACTS)))
def test_each_act_is_noted_once(acts: list[str]) -> None:
    """The first word about an act stays, and what was done is not owed."""
    alarm = LARGE
    for place, act in enumerate(acts):
        alarm = alarm.did(act, str(place))
    assert dict(alarm.acts) == {act: str(acts.index(act)) for act in set(acts)}
    assert set(alarm.owed(ACTS)) == set(ACTS) - set(acts)


def test_what_is_large_first_counts() -> None:
    """It is found to be large once."""
    assert LARGE.grown(("pay",), ()) is LARGE
    assert FOUND.grown((), ()) is FOUND
    assert LARGE.names == ("age",)


def test_its_own_commits_are_told_from_others() -> None:
    """The mark stands in the reason."""
    assert mark_in(FOUND.reason, FOUND)
    assert not mark_in("drift at predict: age is higher", FOUND)
    assert "age is higher" in FOUND.reason


def test_names_of_features_are_cut_to_a_part_of_a_sentence() -> None:
    """Whatever a column is called, it moves no cursor and fills no page."""
    assert len(cut("x" * 500)) == 60
    assert "\n" not in changed("a\nb\x1b[2J", "higher")
    assert said_of("schema", ["age is not there"], None).startswith("the form of what comes in")
    assert said_of("concept", ["x"], 8) == "predictions are wrong more often since about label 8: x"
    assert said_of("data", [], 3) == "what comes in has changed since about row 3"


def test_a_notice_is_the_same_whenever_it_is_told() -> None:
    """Revision and time are the alarm's, so that receivers drop what they have."""
    state = first_commit("screening", "a", RolloutSpec(), {"a": "one"}).state
    first, later = notice_of_alarm(LARGE, state), notice_of_alarm(LARGE, state.numbered(9))
    assert message_id(first) == message_id(later)
    assert (first.action, first.author, first.causes, first.revision) == ("drift", "drift", ("age",), 4)
    assert first.candidate == ""
    assert not first.by_evidence
