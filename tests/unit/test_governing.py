"""What a file that governs makes of a rollout, and what one host sets against it; pure."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento_rollout.degrees import Degree
from bento_rollout.errors import Governed, InvalidSpec, Refused
from bento_rollout.governing import (
    Mark,
    Override,
    code_differs,
    governed_state,
    overridden,
    overriding,
    placed,
)
from bento_rollout.revisions import digest_in, is_of_file, of_file, shown_revision
from bento_rollout.spec import RolloutSpec
from bento_rollout.specfile import parse_spec
from bento_rollout.state import Commit, RolloutState

DIGEST = "00000000002a"
CODE = {"logistic": "d0", "boosted": "d1", "other": "d2"}
ANN = Mark(author="ann", reason="errors", time=7.0)


def governs(**fields: Any) -> RolloutSpec:
    """Return a spec that governs."""
    return RolloutSpec.parse({"authority": "spec", **fields})


def state_of(**fields: Any) -> RolloutState:
    """Return the state that a file asks for."""
    return governed_state("screening", "logistic", governs(**fields), CODE, DIGEST)


def commit_of(**fields: Any) -> Commit:
    """Return what a file says."""
    return Commit(state=state_of(**fields), parent=0, time=1.0, author="file", action="file")


# -- revisions --------------------------------------------------------------------------------------------


@given(st.integers(0, 2**48 - 1), st.booleans(), st.booleans())
def test_a_revision_says_what_it_is(number: int, rolled_back: bool, paused: bool) -> None:
    """Whatever holds against a content: the digits stay, JSON keeps the number, no two states share it."""
    digest = f"{number:012x}"
    revision = of_file(digest, rolled_back=rolled_back, paused=paused)
    assert is_of_file(revision)
    assert revision < 2**53
    assert shown_revision(revision) == f"file:{digest}"
    assert digest_in(revision) == digest
    others = {of_file(digest, rolled_back=a, paused=b) for a in (False, True) for b in (False, True)}
    assert len(others) == 4


def test_what_a_store_counts_is_shown_as_it_is() -> None:
    """A number, as ever."""
    assert shown_revision(12) == 12
    assert not is_of_file(2**40)


# -- the state --------------------------------------------------------------------------------------------


def test_the_file_is_the_whole_state() -> None:
    """Champion, weights, targets, shadows, standby and salt, granted to the code that there is."""
    state = state_of(
        champion="boosted",
        weights={"logistic": 5},
        targets={"other": {"keys": ["u1"]}},
        shadow={"other": {"percent": 10}},
        blue_green={"standby": "logistic"},
        routing={"salt": "s2"},
    )
    assert (state.champion, state.percents, state.standby, state.salt) == (
        "boosted",
        {"logistic": 5.0},
        "logistic",
        "s2",
    )
    assert state.shadow_percents == {"other": 10.0}
    assert state.targets["other"].keys == ("u1",)
    assert state.granted == CODE
    assert state.revision == of_file(DIGEST)
    assert state.compile().revision == state.revision


@pytest.mark.parametrize("fields", [{"weights": {"nobody": 5}}, {"weights": {"logistic": 5}}])
def test_a_file_that_does_not_fit_is_refused(fields: dict[str, Any]) -> None:
    """A variant that is not there, or a weight for the champion."""
    with pytest.raises(ValueError, match=r"nobody|champion"):
        state_of(**fields)


SHARES = st.tuples(st.integers(0, 100_000), st.integers(0, 100_000)).filter(lambda two: sum(two) <= 100_000)


@given(SHARES, SHARES)
def test_of_two_candidates_who_grows_keeps_its_keys(before: tuple[int, int], after: tuple[int, int]) -> None:
    """And who shrinks keeps of its own what is left; whatever the other does."""

    def owned(weights: tuple[int, int]) -> dict[str, tuple[int, int]]:
        ranges = placed(dict(zip(("boosted", "other"), weights, strict=True)), tuple(CODE))
        return {name: (start, stop) for start, stop, name in ranges}

    then, now = owned(before), owned(after)
    for name, had, has in zip(("boosted", "other"), before, after, strict=True):
        assert now.get(name, (0, 0))[1] - now.get(name, (0, 0))[0] == has
        if had and has:
            (less, more) = sorted((then[name], now[name]), key=lambda span: span[1] - span[0])
            assert more[0] <= less[0] <= less[1] <= more[1]


def test_three_candidates_have_what_they_weigh() -> None:
    """The third lies behind the first."""
    found = placed(
        {"boosted": 10_000, "other": 20_000, "third": 5_000}, ["logistic", "boosted", "other", "third"]
    )
    assert found == ((0, 10_000, "boosted"), (10_000, 15_000, "third"), (80_000, 100_000, "other"))


# -- against the file -------------------------------------------------------------------------------------


def test_a_rollback_takes_all_weights_away() -> None:
    """Another state with another number, by whoever asked; against another content nothing holds."""
    commit = commit_of(weights={"boosted": 50}, champion="logistic")
    held = overriding(None, commit, "rollback", ANN)
    served = overridden(commit, held)
    assert served.state.percents == {}
    assert served.state.champion == "logistic"
    assert (served.action, served.author, served.reason, served.parent) == (
        "rollback",
        "ann",
        "errors",
        commit.revision,
    )
    assert served.revision != commit.revision
    assert shown_revision(served.revision) == shown_revision(commit.revision)
    assert overridden(commit, held and held.model_copy(update={"digest": "0" * 12})) is commit
    assert overriding(held, commit, "rollback", ANN) is held


def test_a_pause_and_a_rollback_add_up_and_resume_ends_both() -> None:
    """The newest is what the history tells; `resume` leaves nothing."""
    commit = commit_of(weights={"boosted": 50})
    paused = overriding(None, commit, "pause", ANN)
    both = overriding(paused, commit, "rollback", ANN.model_copy(update={"time": 8.0}))
    served = overridden(commit, both)
    assert (served.state.paused, served.state.percents, served.action) == (True, {}, "rollback")
    assert overridden(commit, paused).state.percents == {"boosted": 50.0}
    assert overriding(both, commit, "resume", ANN) is None
    assert overridden(commit, None) is commit


def test_where_no_candidate_has_weight_nothing_is_rolled_back() -> None:
    """It is nothing that could be held."""
    assert overriding(None, commit_of(), "rollback", ANN) is None
    assert overridden(commit_of(), Override(digest=DIGEST)).revision == of_file(DIGEST)


# -- what is code -----------------------------------------------------------------------------------------


def test_what_is_state_does_not_wait() -> None:
    """Weights, targets, champion, standby, salt and shadow percents, and the degree."""
    wanted = governs(
        weights={"boosted": 5},
        champion="logistic",
        targets={"other": {"keys": ["u1"]}},
        blue_green={"standby": "boosted"},
        routing={"salt": "x"},
        shadow={"boosted": {"percent": 50}},
    )
    assert code_differs(governs(), wanted) == []


@pytest.mark.parametrize(
    ("fields", "waits"),
    [
        ({"routing": {"key": "header:x-user"}}, ["routing"]),
        ({"variants": {"boosted": {"timeout": "2s"}}}, ["variants"]),
        ({"shadow": {"boosted": {"percent": 5, "max_pending": 3}}}, ["shadow"]),
        ({"endpoints": ["predict"], "expose_headers": False}, ["expose_headers", "endpoints"]),
    ],
)
def test_what_is_code_waits(fields: dict[str, Any], waits: list[str]) -> None:
    """By the names of the fields."""
    assert code_differs(governs(), governs(**fields)) == waits


# -- what such a file cannot say --------------------------------------------------------------------------

STRATEGY = {
    "canary": {"candidate": "boosted", "steps": [{"weight": 5, "bake": "10m"}], "finally": "hold"},
    "guardrails": {"error_rate": {"margin": "1pp"}},
}


def test_a_strategy_is_refused_by_name() -> None:
    """Both fields are named."""
    with pytest.raises(InvalidSpec, match=r"strategy: .*authority: spec") as caught:
        governs(strategy=STRATEGY)
    assert "write one of authority: spec and strategy" in str(caught.value)


def test_what_would_have_to_be_kept_is_refused() -> None:
    """A degree that needs a certificate, and lowering one; up to assist a file may say who decides."""
    review = "choices: [a, b], inputs: plain, on_timeout: wait, overflow: {{max_open: 9, action: reject}}"
    audited = (
        "authority: spec\nledger: {{inputs: true}}\nautomation:\n  read:\n    degree: {degree}\n"
        f"    score: max_probability\n    target_error: 2%\n    review: {{{{{review}}}}}\n{{more}}"
    )
    fine = parse_spec(audited.format(degree="assist", more="").encode(), "rollout.yaml")
    state = governed_state("screening", "logistic", fine, CODE, DIGEST)
    assert state.automation["read"].degree == Degree.ASSIST
    assert state.automation["read"].since == of_file(DIGEST)
    for degree in ("partial", "full"):
        with pytest.raises(InvalidSpec, match=rf"line 5: automation.read.degree: {degree} needs a threshold"):
            parse_spec(audited.format(degree=degree, more="").encode(), "rollout.yaml")
    more = "drift:\n  endpoint: read\n  concept: {}\n  on_alarm: {automation: demote}\n"
    with pytest.raises(InvalidSpec, match=r"drift\.on_alarm\.automation: it would lower a degree"):
        parse_spec(audited.format(degree="shadow", more=more).encode(), "rollout.yaml")


def test_a_champion_is_refused_where_a_store_has_the_state() -> None:
    """And says how it is done there."""
    with pytest.raises(InvalidSpec, match=r"champion: .*a store has the state"):
        RolloutSpec.parse({"champion": "boosted"})


def test_governed_is_a_refusal() -> None:
    """Exit code 1 and 409, as of every refusal."""
    assert issubclass(Governed, Refused)
    assert (Governed.exit_code, Governed.http_status) == (1, 409)
