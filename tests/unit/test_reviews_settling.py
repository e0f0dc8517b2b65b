"""What time does to cases: timeouts, retention, forgetting, and the audits of a model."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from bento_rollout.automation import AuditTest
from bento_rollout.errors import InvalidValue, Refused, StoreCorrupt, StoreUnreachable
from bento_rollout.reviewing import Case, Selection, Shown, Status, Visibility
from bento_rollout.store.place import Place
from bento_rollout.store.reviews import Keep, Reviews
from bento_rollout.store.seal import FILE, Seal
from tests.reviewed import REVIEWER, START, Queue, case, kept, said

SECRET = "a very private finding"


@pytest.fixture
def queue(place: Place) -> Queue:
    """A queue in which nobody was asked yet."""
    return Queue(place)


TIMEOUTS = [
    ("model", Status.DEFAULTED, "model", "no", b"model"),
    ("default", Status.DEFAULTED, "default", "yes", b"default"),
    ("reject", Status.REJECTED, "", None, b""),
]


@pytest.mark.parametrize(("on_timeout", "status", "by", "choice", "body"), TIMEOUTS)
def test_a_timeout_acts_once(
    queue: Queue, on_timeout: str, status: Status, by: str, choice: str | None, body: bytes
) -> None:
    """When the case is due, and not before; whoever has it in hand is told."""
    one = queue.submit(due=START + 60, on_timeout=on_timeout, default="yes", suggestion=said("no"))
    claim = queue.take("ann")
    queue.clock.now += 59
    assert queue.settle() == 0
    queue.clock.now += 1
    assert (queue.settle(), queue.settle()) == (1, 0)
    decision = queue.reviews.decided([one.id])[one.id]
    assert (decision.status, decision.decided_by, decision.choice, decision.body) == (
        status,
        by,
        choice,
        body,
    )
    assert queue.acts(one).count(("automation", status.value)) == 1
    with pytest.raises(Refused, match=f"is {status.value}"):
        queue.answer(claim, "yes")
    assert list(queue.reviews.judged("read")) == []


def test_two_workers_that_settle_at_once_decide_once(queue: Queue) -> None:
    """Both make an answer, at the same time and not the same one; one of them is the decision, once."""
    tasks = [queue.submit(due=START + 60, on_timeout="default", default="yes") for _ in range(5)]
    others = [Reviews(queue.place, rollout="screening", clock=queue.clock) for _ in range(2)]
    meet, ended = threading.Barrier(2), [0, 0]

    def settle(worker: int) -> None:
        def make(_: Case) -> tuple[str, bytes]:
            meet.wait(10)
            return "text/plain", f"of {worker}".encode()

        ended[worker] = others[worker].settle(START + 60, make)

    threads = [threading.Thread(target=settle, args=(worker,)) for worker in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    decided = queue.reviews.decided([one.id for one in tasks])
    assert sum(ended) == len(decided) == 5
    assert {one.body for one in decided.values()} <= {b"of 0", b"of 1"}
    assert all(queue.acts(one).count(("automation", "defaulted")) == 1 for one in tasks)
    assert queue.reviews.open("read") == 0
    assert queue.reviews.trail.verify().broken_at is None


def test_who_waits_waits(queue: Queue) -> None:
    """``wait`` has no timeout, nor has an audit, for whose answer nobody waits."""
    queue.submit(due=START + 1)
    queue.submit(due=START + 1, on_timeout="reject", held=False, selection=Selection.AUDIT)
    queue.clock.now += 3600
    assert (queue.settle(), queue.reviews.open("read")) == (0, 2)


def test_of_two_answers_the_one_that_is_there_decides(queue: Queue) -> None:
    """It is better than none; where there is none, the timeout acts."""
    due: dict[str, Any] = {"due": START + 60, "on_timeout": "model", "suggestion": said("no"), "reviewers": 2}
    one = queue.submit(**due)
    queue.answer(queue.take("ann"), "yes")
    other = queue.submit(**due)
    queue.clock.now += 60
    assert queue.settle() == 2
    assert queue.reviews.decided([one.id])[one.id].choice == "yes"
    assert queue.reviews.decided([other.id])[other.id].decided_by == "model"


def test_the_first_answer_is_the_first_whatever_the_clock_says(queue: Queue) -> None:
    """Not that of whoever took the case first, nor of a clock that went back."""
    one = queue.submit(reviewers=2)
    ann, bob = queue.take("ann"), queue.take("bob")
    queue.answer(bob, "no")
    queue.clock.now -= 5
    queue.answer(ann, "yes")
    assert queue.reviews.decided([one.id])[one.id].choice == "no"


def test_a_first_answer_stands_when_the_case_is_due(queue: Queue) -> None:
    """A person's answer goes before a timeout."""
    one = queue.submit(
        due=START + 60, on_timeout="reject", suggestion=said("no"), visibility=Visibility.AFTER_ANSWER
    )
    queue.answer(queue.take("ann"), "yes")
    queue.clock.now += 60
    assert queue.settle() == 1
    assert queue.reviews.decided([one.id])[one.id].choice == "yes"


def test_an_answer_that_can_be_taken_back_goes_before_a_timeout(queue: Queue) -> None:
    """It is final in a moment."""
    one = queue.submit(due=START + 60, on_timeout="reject")
    queue.clock.now += 59
    queue.answer(queue.take("ann"), "yes", undo=10)
    queue.clock.now += 5
    assert queue.settle() == 0
    queue.clock.now += 5
    assert queue.settle() == 1
    assert queue.reviews.decided([one.id])[one.id].decided_by == "human"


def test_two_that_differ_are_not_an_answer(queue: Queue) -> None:
    """Without the third, the timeout acts."""
    one = queue.submit(due=START + 60, on_timeout="default", default="no", reviewers=2, adjudicate=True)
    queue.answer(queue.take("ann"), "yes")
    queue.answer(queue.take("bob"), "no")
    queue.clock.now += 60
    assert queue.settle() == 1
    assert queue.reviews.decided([one.id])[one.id].decided_by == "default"


def test_a_timeout_that_cannot_be_made_is_tried_again(queue: Queue) -> None:
    """After a minute; the trail says why, without payload."""
    one = queue.submit(due=START + 1, on_timeout="default", default="yes")
    mute = queue.submit(due=START + 1, on_timeout="model")
    queue.clock.now += 1

    def broken(_: Case) -> tuple[str, bytes]:
        raise ValueError(SECRET)

    assert queue.reviews.settle(queue.clock.now, broken) == 0
    assert queue.settle() == 0
    (entry,) = (e for e in queue.reviews.trail.entries(task=one.id) if e.what == "unsettled")
    assert entry.facts == {"on_timeout": "default", "error": "ValueError"}
    assert queue.answer(queue.take("ann"), "no").status == "done"  # people may still answer
    queue.reviews.suggest(mute.id, said("no"))
    queue.clock.now += 60
    assert queue.settle() == 1


def test_what_can_never_be_made_is_tried_ever_more_seldom(queue: Queue) -> None:
    """A case of which the model never says anything does not fill the trail, which is kept for good."""
    one = queue.submit(due=START + 1, on_timeout="model")
    for _ in range(24 * 6):
        queue.clock.now += 600
        assert queue.settle() == 0
    tries = [entry for entry in queue.reviews.trail.entries(task=one.id) if entry.what == "unsettled"]
    assert 5 < len(tries) < 15
    queue.reviews.suggest(one.id, said("no"))
    queue.clock.now += 24 * 3600
    assert queue.settle() == 1


def test_what_was_kept_long_enough_goes(queue: Queue) -> None:
    """First inputs, then decisions, then labels; an open case ends with its input."""
    keep = Keep(inputs=100, decisions=200, labels=1000)
    one = queue.submit(keep, input=Shown("text", SECRET), suggestion=said("no", {"why": SECRET}))
    queue.answer(queue.take("ann"), "yes")
    left = queue.submit(keep, input=Shown("text", SECRET))
    claim = queue.take("ann")
    assert kept(queue.place).count(SECRET.encode()) > 0
    queue.clock.now += 100
    assert queue.settle() == 1
    assert kept(queue.place).count(SECRET.encode()) == 0
    with pytest.raises(Refused, match="withdrawn"):
        queue.answer(claim, "yes")
    assert queue.reviews.decided([left.id])[left.id].status is Status.WITHDRAWN
    assert queue.reviews.decided([one.id])[one.id].body == b"answer yes"
    queue.clock.now += 100
    assert queue.settle() == 0
    assert (queue.reviews.decision(one.id), kept(queue.place).count(b"answer yes")) == (None, 0)
    assert len(list(queue.reviews.judged("read"))) == 1
    queue.clock.now += 800
    assert (queue.settle(), queue.reviews.list(), list(queue.reviews.judged("read"))) == (0, (), [])
    assert queue.reviews.trail.verify().whole


@pytest.mark.parametrize("by_key", [True, False])
def test_what_is_forgotten_leaves_no_byte(queue: Queue, by_key: bool) -> None:
    """Inputs, answers, comments, decisions; the trail stays, and tells of nothing but that."""
    for number in range(20):  # pages are split and merged
        queue.submit(input=Shown("text", f"{number} " * 300))
    one = queue.submit(priority=1, input=Shown("text", SECRET), prediction_id="prediction-7")
    other = case(priority=2, prediction_id="prediction-8")
    queue.reviews.submit(other)
    queue.answer(queue.take("ann"), "yes")
    claim = queue.take("ann")
    assert claim.case.id == one.id
    gone = queue.reviews.forget(
        [] if by_key else ["prediction-7"], key_hash="k" if by_key else None, who="dpo"
    )
    if by_key:
        assert gone == 0
        keyed = queue.submit(input=Shown("text", SECRET))
        queue.reviews.forget([keyed.prediction_id, "prediction-7"])
        fresh = Case(**{**fields_of(one), "id": "f" * 32})
        queue.reviews.submit(fresh, key_hash="k")
        assert queue.reviews.forget(key_hash="k", who="dpo") == 1
        one = fresh
    else:
        assert gone == 1
    content = kept(queue.place)
    assert SECRET.encode() not in content
    assert b"prediction-7" not in content
    assert b"prediction-8" in content
    assert queue.acts(one)[-2:] == [("dpo", "withdrawn"), ("dpo", "forgotten")]
    assert queue.reviews.decision(one.id) is None
    assert queue.reviews.trail.verify().whole
    assert queue.reviews.open("read") == 20


def fields_of(one: Case) -> dict[str, Any]:
    """A case's fields."""
    return {name: getattr(one, name) for name in one.__dataclass_fields__}


def test_sealed_inputs_are_unreadable_at_rest(queue: Queue) -> None:
    """The key lies beside the store, for its owner only; reviewers see what was submitted."""
    one = queue.submit(Keep(sealed=True), input=Shown("text", SECRET))
    assert SECRET.encode() not in kept(queue.place)
    if isinstance(queue.place, Path):
        assert (queue.place.parent / FILE).stat().st_mode & 0o777 == 0o600
    assert queue.take("ann").case.input == one.input


def test_without_the_key_nothing_sealed_is_shown(tmp_path: Path) -> None:
    """Which key is wanted is said, and the case is still there when it is restored."""
    queue = Queue(tmp_path / "screening")
    queue.submit(Keep(sealed=True))
    key = tmp_path / FILE
    saved = key.rename(key.with_name("saved"))
    fresh = Reviews(queue.place, rollout="screening", clock=queue.clock)
    with pytest.raises(StoreUnreachable, match=r"there is no key at .*reviews\.key: restore it"):
        fresh.claim("ann", roles=REVIEWER)
    other = Reviews(queue.place, rollout="screening", clock=queue.clock, seal=Seal(b"other"))
    with pytest.raises(StoreUnreachable, match="sealed under another key"):
        other.claim("ann", roles=REVIEWER)
    saved.rename(key)
    assert fresh.claim("ann", roles=REVIEWER) is not None


def test_a_sealed_input_that_was_changed_is_refused() -> None:
    """Or another case's: it is bound to its own."""
    seal = Seal(b"secret")
    sealed = seal.close("one", b"content")
    for name, content in (("two", sealed), ("one", sealed[:-1] + b"x"), ("one", sealed[:20])):
        with pytest.raises(StoreCorrupt, match="was changed"):
            seal.open(name, content)
    with pytest.raises(StoreUnreachable, match="another key"):
        Seal(b"other").open("one", sealed)


def test_the_environment_names_the_key(tmp_path: Path) -> None:
    """In a file that nobody else may read."""
    path = tmp_path / "key"
    path.write_text("secret\n")
    named = {"BENTO_ROLLOUT_REVIEW_KEY_FILE": str(path)}
    path.chmod(0o644)
    with pytest.raises(StoreUnreachable, match="others may read"):
        Seal.beside(tmp_path, environ=named)
    path.chmod(0o600)
    found = Seal.beside(tmp_path, environ=named)
    assert found is not None
    assert found.open("a", Seal(b"secret").close("a", b"x")) == b"x"
    assert Seal.beside(tmp_path, environ={}) is None


def audit(queue: Queue, choice: str, label: str = "no", **fields: Any) -> None:
    """Let a person look at what the model decided."""
    fields = {"selection": Selection.AUDIT, "held": False, "probability": 0.02, **fields}
    queue.submit(suggestion=said(label), **fields)
    queue.answer(queue.take("ann"), choice)


def test_audits_feed_the_test_of_their_model(queue: Queue) -> None:
    """Each once, within the transaction of the answer; what was there before counts, other cases do not."""
    audit(queue, "no")
    audit(queue, "yes", selection=Selection.UNSURE)
    assert queue.reviews.watch("read", "digest", 0.02)
    assert not queue.reviews.watch("read", "digest", 0.02)
    audit(queue, "no")
    audit(queue, "yes")
    audit(queue, "yes", endpoint="write")
    expected = AuditTest(0.02).update(wrong=False).update(wrong=False).update(wrong=True)
    assert queue.reviews.audits("read", "digest") == {"": expected}
    assert not queue.reviews.alarmed("read", "digest")
    for _ in range(8):
        audit(queue, "yes")
    assert queue.reviews.alarmed("read", "digest")
    assert [e.what for e in queue.reviews.trail.latest(30)].count("alarmed") == 1
    assert not queue.reviews.alarmed("read", "other")


def test_classes_are_watched_apart(queue: Queue) -> None:
    """By the model's choice; together they alarm without cause as rarely as one."""
    queue.reviews.watch("read", "digest", {"yes": 0.01, "no": 0.05})
    audit(queue, "yes", "no")
    audit(queue, "yes", "yes")
    tests = queue.reviews.audits("read", "digest")
    assert {label: (t.audits, t.errors, t.alpha) for label, t in tests.items()} == {
        "yes": (1, 0, 0.025), "no": (1, 1, 0.025),
    }  # fmt: skip
    with pytest.raises(InvalidValue):
        queue.reviews.watch("read", "digest", {})


def test_an_audit_that_may_be_taken_back_feeds_nothing(queue: Queue) -> None:
    """It counts when it is final, once."""
    queue.reviews.watch("read", "digest", 0.02)
    queue.submit(suggestion=said("no"), selection=Selection.AUDIT, held=False)
    claim = queue.take("ann")
    queue.answer(claim, "yes", undo=10)
    queue.reviews.undo(claim.case.id, "ann", claim.token)
    queue.answer(claim, "no", undo=10)
    assert queue.reviews.audits("read", "digest")[""].audits == 0
    queue.clock.now += 10
    assert (queue.settle(), queue.settle()) == (1, 0)
    assert queue.reviews.audits("read", "digest") == {"": AuditTest(0.02).update(wrong=False)}


def test_a_form_is_compared_with_what_the_model_said(queue: Queue) -> None:
    """Where there are no choices, the output is."""
    for answer in ({"b": 1, "a": 2}, {"a": 3}):
        queue.submit(choices=(), suggestion=said(None, {"a": 2, "b": 1}))
        queue.answer(queue.take("ann"), answer)
    found = [(one.wrong, one.label) for one in queue.reviews.judged("read")]
    assert found == [(False, None), (True, None)]
    assert queue.reviews.stats().overrides == 1
