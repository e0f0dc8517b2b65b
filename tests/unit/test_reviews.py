"""The people's queue: who gets which case, what an answer does, and who sees the suggestion."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from typing import Any

import pytest

from bento_rollout.degrees import Degree
from bento_rollout.errors import InvalidValue, NotFound, QueueFull, Refused
from bento_rollout.reviewing import Case, Claim, Decision, Given, Role, Selection, Shown, Status, Visibility
from bento_rollout.store.place import Place
from bento_rollout.store.reviews import Reviews, Stats
from bento_rollout.store.reviews_rows import Submission
from tests.places import run
from tests.reviewed import ADJUDICATOR, REVIEWER, START, Queue, case, kept, made, said


@pytest.fixture
def queue(place: Place) -> Queue:
    """A queue in which nobody was asked yet."""
    return Queue(place)


def test_where_nobody_was_asked_everything_is_empty(queue: Queue) -> None:
    """Reading makes no file."""
    reviews = queue.reviews
    assert queue.claim("ann") is None
    assert (reviews.open("read"), reviews.decided(["0" * 32]), reviews.decision("0" * 32)) == (0, {}, None)
    assert (reviews.list(), reviews.stats(), list(reviews.judged("read")), reviews.ratings("read")) == (
        (), Stats(), [], (),
    )  # fmt: skip
    assert (queue.settle(), reviews.forget(["p"]), reviews.withdraw(["t"])) == (0, 0, 0)
    assert reviews.trail.verify().entries == 0
    assert not reviews.path.exists()


def test_a_case_is_taken_answered_and_decided(queue: Queue) -> None:
    """What the answer makes is what the caller gets, byte for byte."""
    one = queue.submit(secret="5e", held=True)
    decision = queue.reviews.decision(one.id)
    assert decision is not None
    assert (decision.status, decision.secret) == (Status.OPEN, "5e")
    claim = queue.take("ann")
    assert (claim.case.input, claim.case.choices, claim.until) == (one.input, ("yes", "no"), START + 600)
    assert claim.case.secret == ""
    assert queue.reviews.decided([one.id]) == {}
    outcome = queue.answer(claim, "yes")
    decision = queue.reviews.decided([one.id, "unknown"])[one.id]
    assert (outcome.status, outcome.decision) == ("done", decision)
    assert (decision.body, decision.media_type, decision.choice) == (b"answer yes", "text/plain", "yes")
    assert (decision.status, decision.decided_by) == (Status.ANSWERED, "human")
    assert queue.acts(one) == [
        ("automation", "submitted"), ("ann", "claimed"), ("ann", "answered"), ("ann", "decided"),
    ]  # fmt: skip


def test_a_case_is_submitted_once(queue: Queue) -> None:
    """The same id again gives what is there."""
    one = queue.submit()
    queue.answer(queue.take("ann"), "yes")
    assert queue.reviews.submit(one).status is Status.ANSWERED
    assert len(queue.reviews.list()) == 1


def test_many_are_submitted_at_once(queue: Queue) -> None:
    """In one transaction, and one that cannot be kept leaves no trace beside the others."""
    good, large = case(), case(input=Shown("json", float("nan")))
    other, late = case(endpoint="look"), case()
    found = queue.reviews.submit_many(
        [Submission(good, 1), Submission(large), Submission(other), Submission(late, 1), Submission(good)]
    )
    kept, invalid, looked, full, again = found
    assert isinstance(invalid, InvalidValue)
    assert isinstance(full, QueueFull)
    assert (full.open, kept) == (1, again)
    assert isinstance(looked, Decision)
    assert {one.id for one in queue.reviews.list()} == {good.id, other.id}
    assert [entry.task for entry in queue.reviews.trail.entries()] == [good.id, other.id]
    assert (queue.reviews.open("read"), queue.reviews.open("look")) == (1, 1)
    assert queue.reviews.trail.verify().broken_at is None


def test_the_order_is_due_then_priority_then_oldest(queue: Queue) -> None:
    """What is due at all comes before what is not."""
    old, urgent = queue.submit(), queue.submit(priority=5)
    late, soon = queue.submit(due=START + 200), queue.submit(due=START + 100)
    assert [queue.take("ann").case.id for _ in range(4)] == [soon.id, late.id, urgent.id, old.id]
    assert queue.claim("ann") is None


def test_endpoints_are_taken_apart(queue: Queue) -> None:
    """Only those that were asked for, in one order."""
    queue.submit(endpoint="write")
    late, soon = queue.submit(due=START + 2), queue.submit(endpoint="look", due=START + 1)

    def taken(*endpoints: str) -> str | None:
        found = queue.reviews.claim("ann", roles=REVIEWER, endpoints=endpoints)
        return None if found is None else found.case.id

    assert [taken("read", "look"), taken("look", "read", "read"), taken("read"), taken()] == [
        soon.id, late.id, None, None,
    ]  # fmt: skip


@pytest.mark.parametrize("roles", [frozenset(), {Role.VIEWER}, {Role.OPERATOR}, {Role.ADJUDICATOR}])
def test_only_reviewers_review(queue: Queue, roles: set[Role]) -> None:
    """No role contains another, but the admin holds all."""
    queue.submit()
    assert queue.reviews.claim("ann", roles=frozenset(roles)) is None
    assert queue.reviews.claim("ann", roles=frozenset({Role.ADMIN})) is not None


def test_a_case_is_in_one_pair_of_hands_until_the_lease_ends(queue: Queue) -> None:
    """Then somebody else has it, and the first one's answer is refused."""
    one = queue.submit()
    first = queue.take("ann", lease=60)
    assert queue.claim("bob") is None
    queue.clock.now += 60
    second = queue.take("bob")
    assert second.case.id == one.id
    with pytest.raises(Refused, match="the lease ended, and somebody else has it"):
        queue.answer(first, "yes")
    assert queue.answer(second, "no").status == "done"


def test_a_lease_that_ended_matters_only_once_somebody_else_has_the_case(queue: Queue) -> None:
    """A slow answer is an answer."""
    queue.submit()
    claim = queue.take("ann", lease=60)
    queue.clock.now += 3600
    assert queue.answer(claim, "yes").status == "done"


def test_activity_renews_a_lease(queue: Queue) -> None:
    """Nobody else gets it meanwhile."""
    queue.submit()
    claim = queue.take("ann", lease=60)
    queue.clock.now += 50
    assert queue.reviews.renew(claim.case.id, "ann", claim.token, 60) == queue.clock.now + 60
    queue.clock.now += 50
    assert queue.claim("bob") is None


def test_a_clock_that_goes_back_frees_what_was_taken(queue: Queue) -> None:
    """A lease is no longer than it was: who waits for its end does not wait for the clock to come back."""
    queue.submit()
    claim = queue.take("ann", lease=60)
    queue.clock.now -= 86400
    second = queue.take("bob")
    with pytest.raises(Refused):
        queue.answer(claim, "yes")
    assert queue.answer(second, "yes", undo=10).status == "kept"
    queue.clock.now -= 86400  # the time in which it can be taken back is over as well
    assert queue.settle() == 1


@pytest.mark.parametrize("who", ["ann", "bob"])
def test_a_token_opens_what_it_was_given_for(queue: Queue, who: str) -> None:
    """Another one, or another person's, opens nothing, and the case stays where it is."""
    queue.submit()
    claim = queue.take("ann")
    token = "x" if who == "ann" else claim.token
    acts = queue.reviews
    given = claim.case.id, who, token
    for act in (
        lambda: acts.answer(*given, Given("yes"), make=made),
        lambda: acts.skip(*given, "why"),
        lambda: acts.release(*given),
        lambda: acts.escalate(*given, "why"),
        lambda: acts.renew(*given),
        lambda: acts.undo(*given),
        lambda: acts.look(*given),
    ):
        with pytest.raises(Refused, match="not in the hands of"):
            act()
    with pytest.raises(NotFound):
        acts.look("0" * 32, "ann", claim.token)
    assert queue.answer(claim, "yes").status == "done"


def test_no_token_is_in_the_file(queue: Queue) -> None:
    """Who reads it cannot act."""
    queue.submit()
    token = queue.take("ann").token
    queue.reviews.close()
    assert token.encode() not in kept(queue.place)


def test_an_answer_told_twice_is_kept_once(queue: Queue) -> None:
    """The second gives what the first gave, and makes nothing."""
    one = queue.submit()
    claim = queue.take("ann")
    assert queue.answer(claim, "yes") == queue.answer(claim, "no")
    assert queue.acts(one).count(("ann", "answered")) == 1


def test_what_cannot_be_made_is_not_kept(queue: Queue) -> None:
    """The case stays in hand."""
    queue.submit()
    claim = queue.take("ann")

    def broken(_: Case, __: Given) -> tuple[str, bytes]:
        raise InvalidValue("no such finding")

    with pytest.raises(InvalidValue, match="no such finding"):
        queue.reviews.answer(claim.case.id, "ann", claim.token, Given("yes"), make=broken)
    with pytest.raises(InvalidValue, match="none of its choices: yes, no"):
        queue.answer(claim, "maybe")
    assert queue.answer(claim, "yes").status == "done"


def test_a_form_is_filled_in(queue: Queue) -> None:
    """Without choices anything that JSON can say is an answer."""
    queue.submit(choices=(), schema={"type": "object"})
    claim = queue.take("ann")
    with pytest.raises(InvalidValue, match="cannot be kept"):
        queue.answer(claim, {1, 2})
    outcome = queue.answer(claim, {"a": [1]})
    assert outcome.decision is not None
    assert outcome.decision.choice == {"a": [1]}


def test_a_skipped_case_stays_for_others(queue: Queue) -> None:
    """Who skipped it is not offered it again; a reason is needed."""
    one = queue.submit()
    claim = queue.take("ann")
    with pytest.raises(InvalidValue, match="reason"):
        queue.reviews.skip(one.id, "ann", claim.token, " ")
    queue.reviews.skip(one.id, "ann", claim.token, "too blurred")
    queue.reviews.skip(one.id, "ann", claim.token, "too blurred")  # told twice
    assert queue.claim("ann") is None
    assert queue.take("bob").case.id == one.id
    with pytest.raises(Refused, match="you skipped it"):
        queue.answer(claim, "yes")


def test_a_released_case_is_as_if_never_taken(queue: Queue) -> None:
    """The same person may take it again."""
    one = queue.submit()
    claim = queue.take("ann")
    queue.reviews.release(one.id, "ann", claim.token)
    again = queue.take("ann")
    assert again.case.id == one.id
    assert again.token != claim.token


def test_an_escalated_case_is_decided_by_an_adjudicator(queue: Queue) -> None:
    """Before others that are equally due, and by nobody else."""
    one, other = queue.submit(), queue.submit(reviewers=2, adjudicate=True)
    claim = queue.take("ann")
    for who, choice in (("ann", "yes"), ("bob", "no")):
        found = queue.take(who)
        assert found.case.id == other.id
        queue.answer(found, choice)
    queue.reviews.escalate(one.id, "ann", claim.token, "I am not sure")
    assert queue.claim("bob") is None
    up = queue.take("dee", up=True)
    assert (up.case.id, up.adjudicates) == (one.id, ())
    assert queue.answer(up, "yes").status == "done"
    queue.reviews.escalate(one.id, "ann", claim.token, "I am not sure")  # told twice
    assert queue.reviews.open("read") == 1


def test_two_review_without_seeing_each_other(queue: Queue) -> None:
    """At the same time if they like; equal answers decide."""
    one = queue.submit(reviewers=2, adjudicate=True)
    ann, bob = queue.take("ann"), queue.take("bob")
    assert queue.claim("cem") is None
    assert queue.answer(ann, "yes").status == "kept"
    assert queue.reviews.look(one.id, "bob", bob.token) == bob
    assert queue.reviews.decided([one.id]) == {}
    assert queue.claim("ann") is None  # never twice the same person
    assert queue.answer(bob, "yes").status == "done"


def test_a_third_decides_where_two_differ(queue: Queue) -> None:
    """An adjudicator who gave neither answer; both are shown in an order that tells nothing."""
    one = queue.submit(reviewers=2, adjudicate=True, suggestion=said(), visibility=Visibility.SHOWN)
    ann, bob = queue.take("ann"), queue.take("bob")
    queue.answer(ann, "yes")
    assert queue.answer(bob, "no").status == "disagree"
    assert queue.answer(ann, "yes").status == "disagree"
    everything = frozenset(Role)
    assert queue.reviews.claim("ann", roles=everything) is None
    assert queue.claim("cem") is None
    claim = queue.take("dee", up=True)
    assert sorted(claim.adjudicates) == ["no", "yes"]
    assert claim.case.suggestion is None
    assert queue.reviews.look(one.id, "dee", claim.token) == claim
    assert queue.claim("eve", up=True) is None
    outcome = queue.answer(claim, "no")
    assert outcome.decision is not None
    assert (outcome.status, outcome.decision.choice) == ("done", "no")


def test_the_order_of_two_answers_is_drawn(queue: Queue) -> None:
    """Over many cases both orders come."""
    seen = set()
    for _ in range(20):
        queue.submit(reviewers=2, adjudicate=True)
        queue.answer(queue.take("ann"), "yes")
        queue.answer(queue.take("bob"), "no")
        claim = queue.take("dee", up=True)
        seen.add(claim.adjudicates)
        queue.answer(claim, "no")
    assert seen == {("yes", "no"), ("no", "yes")}


def test_without_adjudication_the_first_answer_stands(queue: Queue) -> None:
    """The second is kept for measures of agreement."""
    queue.submit(reviewers=2)
    queue.answer(queue.take("ann"), "yes")
    outcome = queue.answer(queue.take("bob"), "no")
    assert outcome.decision is not None
    assert outcome.decision.choice == "yes"
    assert [rating.choice for rating in queue.reviews.ratings("read")] == ["yes", "no"]


def test_a_case_that_waits_for_an_adjudicator_counts_for_agreement(queue: Queue) -> None:
    """It waits because people differ: left out, they would seem to agree. Answers not final are nobody's."""
    agreed, differ, half = (queue.submit(reviewers=2, adjudicate=True) for _ in range(3))
    for who, second in (("ann", "yes"), ("bob", "no")):
        queue.answer(queue.take(who), "yes")
        queue.answer(queue.take(who), second)
    queue.answer(queue.take("ann"), "no", undo=10)
    found = [(one.task, one.choice) for one in queue.reviews.ratings("read")]
    assert found == [(agreed.id, "yes"), (agreed.id, "yes"), (differ.id, "yes"), (differ.id, "no")]
    queue.clock.now += 20
    queue.settle()
    assert [one.task for one in queue.reviews.ratings("read")][4:] == [half.id]
    assert queue.reviews.stats().ended == {"answered": 1}
    queue.answer(queue.take("dee", up=True), "no")
    ruled = [one for one in queue.reviews.ratings("read") if one.adjudicates]
    assert [(one.task, one.choice) for one in ruled] == [(differ.id, "no")]


def test_after_the_answer_the_suggestion_is_revealed(queue: Queue) -> None:
    """The first answer is kept; the second, revised or not, decides."""
    one = queue.submit(suggestion=said("no"), visibility=Visibility.AFTER_ANSWER)
    claim = queue.take("ann")
    assert claim.case.suggestion is None
    first = queue.answer(claim, "yes", final=False)
    assert (first.status, first.suggestion) == ("revealed", one.suggestion)
    assert queue.answer(claim, "yes", final=False) == first  # told twice
    assert queue.reviews.look(one.id, "ann", claim.token).case.suggestion == one.suggestion
    assert queue.claim("bob") is None
    with pytest.raises(Refused, match="kept already"):
        queue.reviews.release(one.id, "ann", claim.token)
    second = queue.answer(claim, "no")
    assert second.decision is not None
    assert (second.status, second.decision.choice) == ("done", "no")
    (judged,) = queue.reviews.judged("read", "digest")
    assert (judged.choice, judged.label, judged.wrong, judged.independent) == ("yes", "no", True, True)
    stats = queue.reviews.stats()
    assert (stats.revealed, stats.revised, stats.overrides, stats.blind_share) == (1, 1, 0, 1.0)


def test_a_first_answer_stands_when_nobody_comes_back(queue: Queue) -> None:
    """Once the lease is over; until then nobody else gets the case."""
    one = queue.submit(suggestion=said("no"), visibility=Visibility.AFTER_ANSWER)
    queue.answer(queue.take("ann", lease=60), "yes")
    queue.clock.now += 59
    assert (queue.settle(), queue.claim("bob")) == (0, None)
    queue.clock.now += 1
    assert (queue.settle(), queue.settle()) == (1, 0)
    assert queue.reviews.decided([one.id])[one.id].choice == "yes"


SEEN = [
    (Degree.ASSIST, Visibility.SHOWN, False, True),
    (Degree.ASSIST, Visibility.SHOWN, True, False),
    (Degree.ASSIST, Visibility.HIDDEN, False, False),
    (Degree.ASSIST, Visibility.AFTER_ANSWER, False, False),
    (Degree.SHADOW, Visibility.SHOWN, False, False),
    (Degree.SHADOW, Visibility.AFTER_ANSWER, False, False),
]


@pytest.mark.parametrize(("degree", "visibility", "blind", "seen"), SEEN)
def test_who_sees_the_suggestion(
    queue: Queue, degree: Degree, visibility: Visibility, blind: bool, seen: bool
) -> None:
    """Only where it is shown, the case was not drawn to hide it, and the degree is not blind."""
    queue.submit(degree=degree, visibility=visibility, blind=blind, suggestion=said())
    claim = queue.take("ann")
    assert (claim.case.suggestion is not None) is seen
    outcome = queue.answer(claim, "yes")
    one_call = degree is Degree.SHADOW or visibility is not Visibility.AFTER_ANSWER
    assert outcome.status == ("done" if one_call else "revealed")


WHY = ("score 0.71 below 0.93",)
HIDING = [
    {"visibility": Visibility.HIDDEN},
    {"visibility": Visibility.AFTER_ANSWER},
    {"visibility": Visibility.SHOWN, "blind": True},
]


@pytest.mark.parametrize("hiding", HIDING)
def test_why_a_case_is_asked_about_is_hidden_with_the_suggestion(
    queue: Queue, hiding: dict[str, Any]
) -> None:
    """It holds the score; and who is not to know it cannot tell audits from unsure cases either."""
    unsure: dict[str, Any] = {
        "selection": Selection.UNSURE,
        "why": WHY,
        "on_timeout": "reject",
        **hiding,
    }
    audit: dict[str, Any] = {"selection": Selection.AUDIT, "probability": 0.02, "held": False}
    claims: list[Claim] = []
    for fields in (unsure, {**audit, "visibility": Visibility.HIDDEN, "blind": hiding.get("blind", False)}):
        queue.submit(degree=Degree.PARTIAL, suggestion=said(), **fields)
        claims.append(queue.take(f"ann-{len(claims)}"))
    first, second = claims
    again = queue.reviews.look(first.case.id, "ann-0", first.token)
    alike = replace(first.case, id=second.case.id, prediction_id=second.case.prediction_id)
    assert alike == second.case
    assert again.case == first.case
    assert "0.71" not in repr(first)
    # The evidence and the lists keep it.
    assert {one.selection for one in queue.reviews.list()} == {Selection.UNSURE, Selection.AUDIT}


def test_why_comes_with_the_suggestion(queue: Queue) -> None:
    """Who sees the suggestion sees why, too: at once, or once the own answer is kept."""
    fields: dict[str, Any] = {
        "degree": Degree.PARTIAL,
        "selection": Selection.UNSURE,
        "why": WHY,
    }
    queue.submit(visibility=Visibility.SHOWN, suggestion=said(), **fields)
    claim = queue.take("ann")
    assert (claim.case.why, claim.case.selection) == (WHY, Selection.UNSURE)
    queue.answer(claim, "yes")
    queue.submit(visibility=Visibility.AFTER_ANSWER, suggestion=said(), **fields)
    claim = queue.take("ann")
    assert claim.case.why == ()
    assert queue.answer(claim, "yes").status == "revealed"
    shown = queue.reviews.look(claim.case.id, "ann", claim.token).case
    assert (shown.why, shown.selection) == (WHY, Selection.UNSURE)


def test_what_the_model_says_late_is_kept_once(queue: Queue) -> None:
    """Degree shadow: nobody sees it before the answer, and it may come after that."""
    one = queue.submit(degree=Degree.SHADOW)
    claim = queue.take("ann")
    assert queue.reviews.suggest(one.id, said("no"), input=Shown("text", "better"))
    assert not queue.reviews.suggest(one.id, said("yes"))
    assert not queue.reviews.suggest("0" * 32, said("yes"))
    found = queue.reviews.look(one.id, "ann", claim.token).case
    assert (found.suggestion, found.input) == (None, Shown("text", "better"))
    assert queue.answer(claim, "yes").suggestion is None
    (judged,) = queue.reviews.judged("read", "digest")
    assert (judged.label, judged.wrong) == ("no", True)
    other = queue.submit(degree=Degree.SHADOW)
    queue.answer(queue.take("ann"), "no")
    queue.reviews.suggest(other.id, said("no"))
    assert [one.wrong for one in queue.reviews.judged("read")] == [True, False]


def test_undo_takes_an_answer_back_for_a_while(queue: Queue) -> None:
    """Until then the caller sees nothing of it, and nobody else gets the case."""
    one = queue.submit()
    claim = queue.take("ann")
    outcome = queue.answer(claim, "yes", undo=10)
    assert (outcome.status, outcome.decision, outcome.final_at) == ("kept", None, START + 10)
    assert (queue.reviews.decided([one.id]), queue.claim("bob"), queue.settle()) == ({}, None, 0)
    decision = queue.reviews.decision(one.id)
    assert decision is not None
    assert (decision.status, decision.body, decision.choice) == (Status.OPEN, b"", None)
    queue.clock.now += 5
    again = queue.reviews.undo(one.id, "ann", claim.token)
    assert (again.case, again.until) == (claim.case, START + 605)
    assert queue.reviews.undo(one.id, "ann", claim.token) == again  # told twice
    queue.answer(claim, "no", undo=10)
    queue.clock.now += 10
    with pytest.raises(Refused, match="is final"):
        queue.reviews.undo(one.id, "ann", claim.token)
    assert queue.reviews.decided([one.id])[one.id].choice == "no"  # it is final because somebody looks
    assert queue.settle() == 0
    with pytest.raises(Refused, match="is final"):
        queue.reviews.undo(one.id, "ann", claim.token)


def test_without_a_time_for_it_an_answer_is_not_taken_back(queue: Queue) -> None:
    """It is final at once."""
    one = queue.submit()
    claim = queue.take("ann")
    queue.answer(claim, "yes")
    with pytest.raises(Refused, match="is final"):
        queue.reviews.undo(one.id, "ann", claim.token)


def test_undo_keeps_the_first_answer(queue: Queue) -> None:
    """What was revealed stays revealed, and the bias stays measured."""
    queue.submit(suggestion=said("no"), visibility=Visibility.AFTER_ANSWER)
    claim = queue.take("ann")
    queue.answer(claim, "yes")
    queue.answer(claim, "no", undo=10)
    assert queue.reviews.undo(claim.case.id, "ann", claim.token).case.suggestion == said("no")
    queue.answer(claim, "yes")
    (rating,) = queue.reviews.ratings("read")
    assert rating.choice == "yes"
    assert queue.reviews.stats().revised == 0


def test_two_answers_that_can_be_taken_back_decide_when_both_are_final(queue: Queue) -> None:
    """Nobody adjudicates what may yet agree."""
    one = queue.submit(reviewers=2, adjudicate=True)
    ann, bob = queue.take("ann"), queue.take("bob")
    queue.answer(ann, "yes", undo=10)
    assert queue.answer(bob, "no", undo=20).status == "kept"
    queue.clock.now += 10
    assert (queue.settle(), queue.claim("dee", up=True)) == (0, None)
    queue.reviews.undo(one.id, "bob", bob.token, within=20)
    assert queue.answer(bob, "yes").status == "done"


def test_as_many_cases_are_open_as_may_be(queue: Queue) -> None:
    """Those that nobody waits for count; those of another endpoint do not."""
    queue.submit(endpoint="write")
    queue.reviews.submit(case(), most=2)
    queue.reviews.submit(case(held=False, selection=Selection.AUDIT, probability=0.02), most=2)
    with pytest.raises(QueueFull, match="2 cases of read wait") as caught:
        queue.reviews.submit(case(), most=2)
    assert (caught.value.open, caught.value.endpoint, queue.reviews.open("read")) == (2, "read", 2)
    queue.answer(queue.take("ann"), "yes")
    while queue.reviews.open("read") == 2:
        queue.answer(queue.take("ann"), "yes")
    queue.reviews.submit(case(), most=2)


def test_a_withdrawn_case_is_nobodys(queue: Queue) -> None:
    """Who holds it is told so, and once is enough."""
    one = queue.submit()
    claim = queue.take("ann")
    assert (queue.reviews.withdraw([one.id]), queue.reviews.withdraw([one.id])) == (1, 0)
    with pytest.raises(Refused, match="withdrawn"):
        queue.answer(claim, "yes")
    decision = queue.reviews.decided([one.id])[one.id]
    assert (decision.status, decision.decided_by) == (Status.WITHDRAWN, "")


@pytest.mark.parametrize(
    "fields",
    [{"reviewers": 3}, {"probability": 0.0}, {"created": float("nan")}, {"input": Shown("json", {1})}],
)
def test_what_is_no_case_is_refused(queue: Queue, fields: dict[str, object]) -> None:
    """Nothing is kept of it."""
    with pytest.raises(InvalidValue):
        queue.reviews.submit(case(**fields))
    assert queue.reviews.open("read") == 0


@pytest.mark.parametrize("lease", [0.0, -1.0, 1e9, float("nan")])
def test_what_is_no_lease_is_refused(queue: Queue, lease: float) -> None:
    """Nor is somebody without a name."""
    with pytest.raises(InvalidValue, match="lease"):
        queue.claim("ann", lease=lease)
    with pytest.raises(InvalidValue, match="name"):
        queue.claim("")


def test_stats_tell_how_the_queue_does(queue: Queue) -> None:
    """Who answered how much, how long it took, and how often the model was overruled."""
    for choice, seconds in (("yes", 10), ("no", 30), ("no", 50)):
        queue.submit(suggestion=said("no"), visibility=Visibility.SHOWN)
        claim = queue.take("ann")
        queue.clock.now += seconds
        queue.answer(claim, choice)
    queue.submit(due=START)
    skipped = queue.take("bob")
    queue.reviews.skip(skipped.case.id, "bob", skipped.token, "why")
    queue.submit()
    queue.submit(endpoint="write")
    queue.take("cem")
    stats = queue.reviews.stats("read")
    assert (stats.open, stats.waiting, stats.overdue, stats.skipped) == (2, 1, 1, 1)
    assert (stats.answered, stats.ended, stats.median_seconds) == ({"ann": 3}, {"answered": 3}, 30.0)
    assert (stats.with_suggestion, stats.overrides, stats.blind_share) == (3, 1, 0.0)
    assert queue.reviews.stats().open == 3


def test_lists_tell_where_cases_stand(queue: Queue) -> None:
    """In the order of their turn while they are open."""
    late, soon = queue.submit(due=START + 9, why=("amount above 10000",)), queue.submit(due=START + 1)
    claim = queue.take("ann")
    first, second = queue.reviews.list(status=Status.OPEN)
    assert (first.id, second.id, first.in_hands_of) == (soon.id, late.id, ("ann",))
    assert (second.why, second.stage, second.answers) == (("amount above 10000",), "review", 0)
    queue.answer(claim, "yes")
    (ended,) = queue.reviews.list("read", status=Status.ANSWERED)
    assert (ended.id, ended.answers, ended.decided_by, ended.stage) == (soon.id, 1, "human", "")
    assert [one.id for one in queue.reviews.list(limit=1)] == [soon.id]


def test_a_case_ends_once(queue: Queue) -> None:
    """The file itself refuses another end."""
    queue.submit()
    queue.answer(queue.take("ann"), "yes")
    with pytest.raises(sqlite3.IntegrityError, match="ends once"):
        run(queue.place, "reviews", "UPDATE tasks SET status = 'defaulted'")


def test_a_second_queue_sees_the_same(queue: Queue) -> None:
    """All processes share the file."""
    one = queue.submit()
    other = Reviews(queue.place, rollout="screening", clock=queue.clock)
    claim = other.claim("ann", roles=REVIEWER | ADJUDICATOR)
    assert claim is not None
    assert claim.case == one
    assert queue.claim("bob") is None
