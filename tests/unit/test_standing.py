"""Degrees as state: down by itself, up only by a person with evidence; nothing outlives its digest."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bento_rollout.degrees import Degree
from bento_rollout.errors import InvalidValue, Refused, StoreUnreachable
from bento_rollout.ladder import Certificate, Ladder
from bento_rollout.snapshot import FORMAT
from bento_rollout.standing import MACHINES, certificate_of, degree_of
from bento_rollout.state import RolloutState
from bento_rollout.telling import phrases
from tests.unit.degrees import DIGESTS, KNOWN, certificate, certified, first, ladder

HUMAN, SHADOW, ASSIST, PARTIAL, FULL = Degree


def degrees(state: RolloutState) -> tuple[Degree, Degree]:
    """What the state holds, and what holds by it."""
    return state.automation["read"].degree, degree_of(state, "read")


# -- how it begins, and how it is stored --------------------------------------------------------------------


@pytest.mark.parametrize("degree", [HUMAN, SHADOW, ASSIST])
def test_a_rollout_begins_at_the_degree_of_its_spec(degree: Degree) -> None:
    """The state is seeded from the spec, for the champion's very code."""
    state = first(degree.word)
    standing = state.automation["read"]
    assert (standing.degree, standing.digest, standing.since) == (degree, DIGESTS["logistic"], 1)
    assert (standing.author, standing.reason) == ("spec", "the spec says so")


@pytest.mark.parametrize("degree", [PARTIAL, FULL])
def test_a_seed_never_begins_where_a_certificate_is_needed(degree: Degree) -> None:
    """Also a start that is not refused, because no store can be asked, begins at shadow."""
    assert degrees(first(degree.word)) == (SHADOW, SHADOW)


def test_what_is_stored_is_read_again() -> None:
    """A state with everything in it is the same after JSON; degrees are stored as numbers."""
    state = certified(first()).certify("read", certificate(threshold=None, by_class={"benign": 0.8}))
    proposed = state.set_degree("read", SHADOW, "ann", ladder())
    proposed = proposed.set_degree("read", ASSIST, "ann", ladder(approvals=2), at=5.0)
    for one in (state, proposed):
        assert RolloutState.load(one.model_dump(mode="json")) == one
    stored = proposed.model_dump(mode="json")
    assert stored["format"] == FORMAT == 3
    assert stored["automation"]["read"]["degree"] == 2
    assert stored["automation"]["read"]["proposed"]["degree"] == 3


@pytest.mark.parametrize("written", [1, 2])
def test_older_formats_are_read(written: int) -> None:
    """What was written before there were degrees automates nothing."""
    stored = first().model_dump(mode="json")
    del stored["automation"]
    state = RolloutState.load({**stored, "format": written})
    assert (state.automation, state.format) == ({}, FORMAT)
    assert degree_of(state, "read") is HUMAN


def test_a_newer_format_is_refused() -> None:
    """What a newer version wrote may mean something that this one cannot keep."""
    stored = {**first().model_dump(mode="json"), "format": FORMAT + 1}
    with pytest.raises(StoreUnreachable, match=r"newer bento-rollout wrote this state \(format 4\)"):
        RolloutState.load(stored)


# -- what is refused ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("degree", "allows", "words"),
    [
        (FULL, {"max_degree": 4}, r"automation\.read\.max_degree: partial is the highest"),
        (SHADOW, {"on_timeout": "model"}, r"automation\.read\.review\.on_timeout: model would show"),
        (HUMAN, {"overflow": "model"}, r"automation\.read\.review\.overflow: model would show"),
        (FULL, {"audit": 0.009}, r"automation\.read\.audit\.rate: 0\.009 is too little"),
        (PARTIAL, {"target_error": None}, r"automation\.read\.target_error: degree partial needs one"),
    ],
)
def test_what_the_spec_does_not_allow_is_refused(degree: Degree, allows: dict[str, Any], words: str) -> None:
    """Each refusal names the field, and nothing changes."""
    state = certified(first("assist"), ASSIST, full=True)
    with pytest.raises(Refused, match=words):
        state.set_degree("read", degree, "ann", ladder(**allows))


def test_partial_needs_a_certificate_for_this_very_model() -> None:
    """None, one of another model, and one that promises less are refused in words."""
    state, why = first("assist"), r"automation\.read\.degree: partial needs .* this very model \(1{12}\)"
    with pytest.raises(Refused, match=rf"{why}, and none was"):
        state.set_degree("read", PARTIAL, "ann", ladder())
    other = state.automation["read"].certified(certificate("2" * 12))
    with pytest.raises(Refused, match=rf"{why}, and none was"):
        state.model_copy(update={"automation": {"read": other}}).set_degree("read", PARTIAL, "ann", ladder())
    for less in ({"target_error": 0.05}, {"confidence": 0.9}, {"target_error": {"benign": 0.01}}):
        weak = state.certify("read", certificate(**less))
        with pytest.raises(Refused, match="it promises less than the spec asks for now"):
            weak.set_degree("read", PARTIAL, "ann", ladder())
    assert degrees(certified(state)) == (PARTIAL, PARTIAL)


def test_promises_by_class_are_compared_by_class() -> None:
    """Each class that the spec names needs a promise at least as good."""
    asked = ladder(target_error={"benign": 0.05, "malignant": 0.005})
    assert not asked.asks_more(certificate(target_error={"benign": 0.05, "malignant": 0.004}))
    assert asked.asks_more(certificate(target_error={"benign": 0.05}))
    assert asked.asks_more(certificate(target_error={"benign": 0.05, "malignant": 0.01}))
    assert asked.asks_more(certificate(target_error=0.001))


def test_full_needs_the_promise_for_all_of_the_traffic() -> None:
    """A threshold for a part of it is none for degree full."""
    with pytest.raises(Refused, match=r"full needs the promise for all .* covers 75\.0%"):
        certified(first()).set_degree("read", FULL, "ann", ladder())
    assert degrees(certified(first(), FULL, full=True)) == (FULL, FULL)


def test_a_certificate_of_another_champion_is_refused() -> None:
    """The champion may have changed while it was calculated."""
    with pytest.raises(Refused, match=r"the champion is logistic .* was certified is logistic \(9{12}\)"):
        first().certify("read", certificate("9" * 12))


def test_an_endpoint_that_is_not_automated_is_no_endpoint() -> None:
    """The error says which are."""
    with pytest.raises(InvalidValue, match=r"'write' is not automated; those that are: read"):
        first().set_degree("write", SHADOW, "ann", ladder())


@pytest.mark.parametrize("machine", ["automation", "evidence", "deploy", "spec"])
def test_nobody_but_a_person_goes_up(machine: str) -> None:
    """What acts by itself may lower, and never raise."""
    state = certified(first(), ASSIST)
    with pytest.raises(Refused, match=f"{machine} is no person"):
        state.set_degree("read", PARTIAL, machine, ladder())
    assert degrees(state.set_degree("read", HUMAN, machine, ladder())) == (HUMAN, HUMAN)


# -- two persons --------------------------------------------------------------------------------------------


def test_two_persons_go_up_together() -> None:
    """The first one's word is kept, the same one is refused, the second sets; down waits for nobody."""
    two = ladder(approvals=2)
    state = certified(first(), SHADOW)
    asked = state.set_degree("read", PARTIAL, "ann", two, "enough seen", at=7.0)
    standing = asked.automation["read"]
    assert standing.degree is SHADOW
    assert standing.proposed is not None
    assert (standing.proposed.author, standing.proposed.degree, standing.proposed.at) == ("ann", PARTIAL, 7.0)
    with pytest.raises(Refused, match=r"automation\.read\.approvals: ann asked for partial already"):
        asked.set_degree("read", PARTIAL, "ann", two)
    set_ = asked.set_degree("read", PARTIAL, "bob", two)
    assert (degrees(set_), set_.automation["read"].proposed) == ((PARTIAL, PARTIAL), None)
    assert set_.automation["read"].author == "bob"
    assert degrees(set_.set_degree("read", HUMAN, "ann", two)) == (HUMAN, HUMAN)


def test_one_token_is_one_person() -> None:
    """Whoever the admin token was used for: it counts once."""
    two = ladder(approvals=2)
    asked = first().set_degree("read", ASSIST, "admin on behalf of ann", two)
    with pytest.raises(Refused, match="admin asked for assist already"):
        asked.set_degree("read", ASSIST, "admin on behalf of bob", two)
    assert degrees(asked.set_degree("read", ASSIST, "bob", two))[0] is ASSIST


def test_a_proposal_ends_with_what_it_was_about() -> None:
    """Another degree, another certificate, the way down and another champion each end it."""
    two = ladder(approvals=2)
    asked = certified(first(), SHADOW).set_degree("read", PARTIAL, "ann", two)
    other = asked.set_degree("read", ASSIST, "bob", two)
    assert other.automation["read"].proposed is not None
    assert other.automation["read"].proposed.author == "bob"
    assert degrees(other)[0] is SHADOW
    for after in (
        asked.certify("read", certificate(errors=2)),
        asked.set_degree("read", HUMAN, "ann", two),
        asked.set_degree("read", SHADOW, "ann", two),
        asked.flip("boosted", KNOWN).numbered(3),
    ):
        assert after.automation["read"].proposed is None


def test_a_second_person_finds_the_evidence_gone() -> None:
    """What was certified when the first one asked may hold no more when the second one does."""
    two = ladder(approvals=2)
    asked = certified(first(), SHADOW).set_degree("read", PARTIAL, "ann", two)
    refuted = asked.demote("read", SHADOW, "12 errors in 100 audits", at=50.0)
    with pytest.raises(Refused, match="audits refuted it"):
        refuted.set_degree("read", PARTIAL, "bob", two)


# -- down by itself -----------------------------------------------------------------------------------------


def test_a_flip_drops_to_what_is_certified_for_the_new_champion() -> None:
    """Nothing is certified for it: shadow; and the way back raises nothing."""
    state = certified(first())
    flipped = state.flip("boosted", KNOWN).numbered(3)
    assert degrees(flipped) == (SHADOW, SHADOW)
    standing = flipped.automation["read"]
    assert (standing.author, standing.since, standing.digest) == ("automation", 3, DIGESTS["boosted"])
    assert standing.reason == "nothing is certified for the champion boosted (222222222222)"
    assert "read at degree shadow (was partial): nothing is certified for" in "; ".join(
        phrases(state, flipped)
    )
    back = flipped.roll_back(known=KNOWN).numbered(4)
    assert degrees(back) == (SHADOW, SHADOW)
    assert degrees(back.set_degree("read", PARTIAL, "ann", ladder())) == (PARTIAL, PARTIAL)


def test_a_flip_to_who_is_certified_for_less_drops_to_that() -> None:
    """Full for the one, partial for the other."""
    state = certified(first(), FULL, full=True)
    both = state.automation["read"].certified(certificate("2" * 12, variant="boosted"))
    state = state.model_copy(update={"automation": {"read": both}})
    flipped = state.flip("boosted", KNOWN).numbered(3)
    assert degrees(flipped) == (PARTIAL, PARTIAL)
    assert "no more than partial is certified" in flipped.automation["read"].reason


@pytest.mark.parametrize("degree", [HUMAN, SHADOW])
def test_what_is_low_stays(degree: Degree) -> None:
    """A flip changes nothing for those who decide themselves, but for whom it holds."""
    state = first(degree.word)
    flipped = state.flip("boosted", KNOWN).numbered(2)
    assert degrees(flipped) == (degree, degree)
    assert (flipped.automation["read"].since, flipped.automation["read"].digest) == (1, DIGESTS["boosted"])


def test_assist_is_for_the_model_that_it_was_set_for() -> None:
    """Suggestions of a model that nobody looked at yet are hidden again."""
    assert degrees(first("assist").flip("boosted", KNOWN).numbered(2)) == (SHADOW, SHADOW)


def test_new_code_of_the_champion_is_another_model() -> None:
    """A deployment drops the degree as a flip does."""
    assert degrees(certified(first()).grant({"logistic": "7" * 12}).numbered(3)) == (SHADOW, SHADOW)


def test_a_state_that_nobody_lowered_is_safe() -> None:
    """What holds is never more than what is certified for who answers, whatever the state says."""
    state = certified(first())
    assert degree_of(state, "read", "9" * 12) is SHADOW
    assert degree_of(state.model_copy(update={"granted": {}}), "read") is SHADOW
    assert certificate_of(state, "read") == certificate()
    assert certificate_of(state, "read", "9" * 12) is None
    assert certificate_of(state, "write") is None
    forged = state.automation["read"].changed(certificates=())
    assert degree_of(state.model_copy(update={"automation": {"read": forged}}), "read") is SHADOW
    assert degree_of(first("human"), "read", "9" * 12) is HUMAN


def test_audits_lower_a_degree_and_refute_what_was_certified() -> None:
    """Nobody sets it again before a new calibration, which knows from when on answers count."""
    state = certified(first())
    lower = state.demote("read", SHADOW, "12 errors in 100 audits", at=50.0).numbered(3)
    assert degrees(lower) == (SHADOW, SHADOW)
    standing = lower.automation["read"]
    assert (standing.author, standing.demoted) == ("automation", "12 errors in 100 audits")
    with pytest.raises(Refused, match=r"audits refuted it \(12 errors in 100 audits\)"):
        lower.set_degree("read", PARTIAL, "ann", ladder())
    assert certificate_of(lower, "read") is None
    anew = lower.certify("read", certificate(errors=0))
    kept = anew.automation["read"].certificate("1" * 12)
    assert kept is not None
    assert (kept.since, kept.revoked) == (50.0, "")
    up = anew.set_degree("read", PARTIAL, "ann", ladder())
    assert (degrees(up), up.automation["read"].demoted) == ((PARTIAL, PARTIAL), "")


def test_a_second_worker_demotes_nothing() -> None:
    """Each worker sees the same alarm: what the first one did is not done again."""
    lower = certified(first()).demote("read", SHADOW, "wrong", at=50.0).numbered(3)
    assert lower.demote("read", SHADOW, "wrong", at=60.0) is lower
    assert first().demote("read", SHADOW, "wrong", at=60.0).automation["read"].demoted == ""


def test_audits_of_full_may_leave_partial() -> None:
    """The promise for all of the traffic falls, that above the threshold stays."""
    state = certified(first(), FULL, full=True).demote("read", PARTIAL, "wrong", at=50.0).numbered(3)
    assert degrees(state) == (PARTIAL, PARTIAL)
    with pytest.raises(Refused, match="full needs the promise for all"):
        state.set_degree("read", FULL, "ann", ladder())


def test_audits_of_who_is_champion_no_more_lower_nobody() -> None:
    """An alarm may come after a flip; what it refutes holds no more all the same."""
    state = certified(first()).flip("boosted", KNOWN).numbered(3)
    state = state.certify("read", certificate("2" * 12)).set_degree("read", PARTIAL, "ann", ladder())
    after = state.demote("read", SHADOW, "wrong", at=50.0, digest="1" * 12)
    assert degrees(after) == (PARTIAL, PARTIAL)
    found = after.automation["read"].certificate("1" * 12)
    assert found is not None
    assert found.revoked == "wrong"


def test_certificates_are_bounded() -> None:
    """The newest of each digest, and of these the newest twenty."""
    standing = first().automation["read"]
    for number in range(30):
        standing = standing.certified(certificate(f"{number:012d}"))
        standing = standing.certified(certificate(f"{number:012d}", errors=2))
    assert len(standing.certificates) == 20
    assert {one.errors for one in standing.certificates} == {2}
    assert standing.certificates[0].digest == f"{29:012d}"


# -- deployments --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("allows", "degree"),
    [
        ({}, FULL),
        ({"max_degree": 4}, PARTIAL),
        ({"max_degree": 3}, ASSIST),
        ({"max_degree": 1}, HUMAN),
        ({"audit": 0.001}, PARTIAL),
        ({"target_error": 0.01}, SHADOW),
        ({"target_error": None}, SHADOW),
        ({"confidence": 0.99}, SHADOW),
        ({"degree": 1}, FULL),
    ],
)
def test_a_deployment_that_allows_less_lowers(allows: dict[str, Any], degree: Degree) -> None:
    """A spec lowers what it does not allow any more; its own degree is for a rollout that is new."""
    state = certified(first(), FULL, full=True)
    assert degrees(state.taken_up({"read": ladder(**allows)})) == (degree, degree)


def test_another_score_ends_what_was_certified() -> None:
    """A threshold is one of the score that it was certified for; of another it says nothing."""
    state = first().taken_up({"read": ladder(score="max_probability")}, 150.0)
    assert (state.automation["read"].score, state.automation["read"].scored) == ("max_probability", 0.0)
    alone = certified(state, FULL, full=True)
    assert alone.taken_up({"read": ladder(score="max_probability")}, 200.0) is alone
    other = alone.taken_up({"read": ladder(score="field:score")}, 200.0)
    assert degrees(other) == (SHADOW, SHADOW)
    standing = other.automation["read"]
    assert standing.reason == "the spec's score is field:score, and was max_probability"
    assert (standing.scored, standing.certificates[0].since) == (200.0, 200.0)
    with pytest.raises(Refused, match="it holds no more: the spec's score is field:score"):
        other.set_degree("read", PARTIAL, "ann", ladder(score="field:score"))
    back = other.taken_up({"read": ladder(score="max_probability")}, 300.0)
    assert (degrees(back), back.automation["read"].scored) == ((SHADOW, SHADOW), 300.0)
    with pytest.raises(Refused, match="it holds no more"):
        back.set_degree("read", PARTIAL, "ann", ladder(score="max_probability"))


def test_a_deployment_takes_up_a_new_endpoint() -> None:
    """It begins at the spec's degree; one that is not automated any more stays for when it is again."""
    state = certified(first())
    after = state.taken_up({"write": ladder(degree=3)}).numbered(3)
    assert after.automation["write"].degree is ASSIST
    assert after.automation["read"] == state.automation["read"]
    assert after.taken_up({"write": ladder(degree=3), "read": ladder()}) is after


# -- whatever people do -------------------------------------------------------------------------------------

ENDPOINTS = ("read", "write")
WHO = st.sampled_from(["ann", "bob", "automation", "evidence", "admin on behalf of ann"])
LADDERS = st.builds(
    Ladder,
    degree=st.sampled_from([1, 2, 3]),
    max_degree=st.sampled_from(list(Degree)),
    approvals=st.sampled_from([1, 2]),
    target_error=st.sampled_from([0.01, 0.02, None]),
    audit=st.sampled_from([0.0, 0.02]),
    on_timeout=st.sampled_from(["wait", "model"]),
)
DIGEST = st.sampled_from(["1" * 12, "2" * 12, "3" * 12])
TARGETS = st.sampled_from([0.01, 0.02])
ACT = st.one_of(
    st.tuples(st.just("set"), st.sampled_from(ENDPOINTS), st.sampled_from(list(Degree)), WHO, LADDERS),
    st.tuples(st.just("certify"), st.sampled_from(ENDPOINTS), DIGEST, st.booleans(), TARGETS),
    st.tuples(st.just("demote"), st.sampled_from(ENDPOINTS), st.sampled_from([SHADOW, PARTIAL]), DIGEST),
    st.tuples(st.just("flip"), st.sampled_from(KNOWN)),
    st.tuples(st.just("rollback"), st.booleans()),
    st.tuples(st.just("retire"), st.sampled_from(KNOWN), st.sampled_from(KNOWN)),
    st.tuples(st.just("undo")),
    st.tuples(st.just("deploy"), st.sampled_from(KNOWN), DIGEST, LADDERS),
    st.tuples(st.just("weight"), st.integers(0, 100)),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(ACT, max_size=25))
def test_no_sequence_of_verbs_leaves_a_degree_without_its_evidence(acts: list[Any]) -> None:
    """Above shadow is only what is certified for the champion's digest, or assist that a person set for it.

    And nothing but a person's word ever raises a degree.
    """
    state = first().taken_up({"write": ladder(degree=3)}).numbered(2)
    past = [state]
    assisted = {("write", state.champions_digest)}
    for act in acts:
        with contextlib.suppress(Refused, InvalidValue):
            after = _done(act, state, past)
            after = after.numbered(state.revision + 1)
            for endpoint in ENDPOINTS:
                old, new = state.automation[endpoint].degree, after.automation[endpoint].degree
                person = act[:2] == ("set", endpoint) and act[3] not in MACHINES
                assert new <= old or person
                if new is ASSIST and act[0] == "set" and act[1] == endpoint:
                    assisted.add((endpoint, after.champions_digest))
            past.append(after)
            state = RolloutState.load(after.model_dump(mode="json"))
        for endpoint in ENDPOINTS:
            now = degree_of(state, endpoint)
            assert now is state.automation[endpoint].degree
            found = certificate_of(state, endpoint)
            allowed = SHADOW if found is None else found.allows
            assert now <= allowed or (now is ASSIST and _was_set(state, endpoint, assisted))


def _was_set(state: RolloutState, endpoint: str, assisted: set[tuple[str, str]]) -> bool:
    return (endpoint, state.champions_digest) in assisted


def _done(act: Any, state: RolloutState, past: list[RolloutState]) -> RolloutState:  # noqa: PLR0911 - one for each verb
    verb, *rest = act
    if verb == "set":
        endpoint, degree, who, allows = rest
        return state.set_degree(endpoint, degree, who, allows)
    if verb == "certify":
        endpoint, digest, full, target = rest
        return state.certify(endpoint, certificate(digest, full=full, target_error=target))
    if verb == "demote":
        return state.demote(rest[0], rest[1], "wrong", at=1.0, digest=rest[2])
    if verb == "flip":
        return state.flip(rest[0], KNOWN)
    if verb == "rollback":
        return state.roll_back(again=rest[0], known=KNOWN)
    if verb == "retire":
        return state.retire(rest[0], rest[1], KNOWN)
    if verb == "undo":
        newest = next((at for at, one in enumerate(past) if one.revision == state.moved), 0)
        return state.undo(before=past[newest - 1], after=past[newest], known=KNOWN) if newest else state
    if verb == "deploy":
        name, digest, allows = rest
        return state.grant({name: digest}).taken_up({"read": allows})
    return state.set_weights({"boosted": rest[0] * 1000}, KNOWN)


def test_certificates_say_what_they_allow() -> None:
    """No threshold, or one that was refuted, allows no more than shadow."""
    allowed: dict[Degree, Certificate] = {
        SHADOW: certificate(threshold=None),
        PARTIAL: certificate(threshold=None, by_class={"benign": 0.5}),
        FULL: certificate(full=True),
    }
    assert {one.allows: one for one in allowed.values()} == allowed
    assert certificate(full=True, revoked="wrong").allows is SHADOW
