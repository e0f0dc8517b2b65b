"""What people decided becomes labels in the ledger: each once, whoever dies, whatever is damaged."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from bento_rollout.errors import InvalidSpec, StoreUnreachable
from bento_rollout.reviewing import Selection, Visibility
from bento_rollout.spec import RolloutSpec
from bento_rollout.store.feedback import SEEN, Feedback, Told, hushed
from bento_rollout.store.ledger import Ledger
from bento_rollout.store.place import Place
from tests.places import behind
from tests.reviewed import Queue, said
from tests.reviewing_crew import address_of, place_at
from tests.unit.degrees import REVIEW, automation


@pytest.fixture
def queue(place: Place) -> Queue:
    """A queue."""
    return Queue(place)


def told_by(queue: Queue, **names: str) -> Feedback:
    """Whoever tells the ledger of a queue's decisions."""
    return Feedback(queue.place, names, clock=queue.clock, patience=0.2)


def labels(queue: Queue) -> list[dict[str, Any]]:
    """All labels of the ledger, in the order in which they came."""
    if isinstance(queue.place, Path) and not (queue.place / "ledger.db").exists():
        return []
    with closing(behind(queue.place, "ledger")) as db:
        if isinstance(db, sqlite3.Connection):
            db.row_factory = sqlite3.Row
        return [dict(row) for row in db.execute("SELECT * FROM labels ORDER BY seq")]


def decided(queue: Queue, choice: str = "yes", **fields: Any) -> str:
    """Let somebody decide a case, and return its prediction's id."""
    one = queue.submit(**fields)
    queue.answer(queue.take("ann"), choice)
    return one.prediction_id


def test_a_decision_becomes_a_label_with_its_chance(queue: Queue) -> None:
    """Value, name, source, selection, probability and time are those of the decision."""
    queue.clock.now += 10
    name = decided(queue, selection=Selection.AUDIT, probability=0.02)
    other = decided(queue, endpoint="grade", selection=Selection.UNSURE)
    assert told_by(queue, grade="grade").tell() == Told(2)
    first, second = labels(queue)
    assert (first["id"], first["value"], first["name"], first["source"]) == (name, '"yes"', "label", "review")
    assert (first["selection"], first["probability"], first["time"]) == ("audit", 0.02, queue.clock.now)
    assert (second["id"], second["name"], second["selection"]) == (other, "grade", "unsure")


def test_what_is_no_persons_decision_is_no_label(queue: Queue) -> None:
    """Open, withdrawn and timed-out cases say nothing of the truth; nor does an answer that can be undone."""
    queue.submit(due=queue.clock.now + 5, on_timeout="default", default="no")
    one = queue.submit()
    queue.reviews.withdraw([one.id])
    queue.clock.now += 10
    queue.settle()
    queue.submit()
    claim = queue.take("ann")
    queue.answer(claim, "yes", undo=10.0)
    teller = told_by(queue)
    assert teller.tell() == Told()
    queue.clock.now += 11
    queue.settle()
    assert teller.tell() == Told(1)
    assert teller.tell() == Told()
    assert len(labels(queue)) == 1


def test_a_revised_answer_says_that_the_suggestion_was_seen(queue: Queue) -> None:
    """The final choice is the label; whether it may have followed the model's stands beside it."""
    for choice in ("no", "yes"):
        queue.submit(suggestion=said("no"), visibility=Visibility.AFTER_ANSWER)
        claim = queue.take("ann")
        queue.answer(claim, "yes")
        queue.answer(claim, choice)
    told_by(queue).tell()
    assert [(one["value"], one["reason"]) for one in labels(queue)] == [('"no"', SEEN), ('"yes"', "")]


def test_two_who_agree_are_one_label(queue: Queue) -> None:
    """The decision of a case is told once, however many answered it."""
    queue.submit(reviewers=2)
    for who in ("ann", "bob"):
        queue.answer(queue.take(who), "yes")
    assert told_by(queue).tell() == Told(1)


def _dies(where: str) -> None:
    """Tell the ledger, and end before it is noted that it was told."""
    teller = told_by(Queue(place_at(where)))
    # The process ends where the ledger has the labels and the queue does not know it yet: only so by force.
    teller._file.writing = lambda **_: os._exit(9)  # type: ignore[method-assign]
    teller.tell()


def test_who_dies_between_the_two_files_tells_twice_and_it_is_kept_once(
    queue: Queue, request: pytest.FixtureRequest
) -> None:
    """Exactly once: the ledger took it, the note was not made, and the next one tells it again."""
    decided(queue)
    process = multiprocessing.get_context("spawn").Process(
        target=_dies, args=(address_of(queue.place, request),)
    )
    process.start()
    process.join(60)
    assert process.exitcode == 9
    teller = told_by(queue)
    assert (len(labels(queue)), teller.waiting()) == (1, 1)
    queue.clock.now += 1000
    assert teller.tell() == Told(1)
    assert (len(labels(queue)), teller.waiting()) == (1, 0)


def test_a_ledger_that_is_damaged_loses_no_decision(tmp_path: Path) -> None:
    """Nothing is lost while it cannot be used; when it is there again it hears all of it."""
    queue = Queue(tmp_path / "screening")
    decided(queue)
    path = Path(Ledger(queue.place).where)
    path.write_bytes(b"this is no ledger at all, and nobody can write to it" * 100)
    teller = told_by(queue)
    with pytest.raises(StoreUnreachable):
        teller.tell()
    assert teller.waiting() == 1
    path.unlink()
    assert teller.tell() == Told(1)
    assert len(labels(queue)) == 1


def test_one_tells_at_a_time(queue: Queue) -> None:
    """While another process tells, nobody repeats it."""
    decided(queue)
    with hushed(queue.place):
        assert told_by(queue).tell() == Told()
    assert told_by(queue).tell() == Told(1)


def test_what_the_ledger_refuses_is_told_and_does_not_stop_the_rest(queue: Queue) -> None:
    """An answer that no label can be is given up, in words without it."""
    decided(queue, "x" * 70_000, choices=())
    decided(queue)
    told = told_by(queue).tell()
    assert (told.labels, told.waiting) == (1, 0)
    (problem,) = told.refused
    assert "bytes" in problem
    assert "xxx" not in problem


def test_a_clock_that_went_back_only_delays(queue: Queue) -> None:
    """A decision from the future is told when the clock has come there."""
    decided(queue)
    queue.clock.now -= 4000
    teller = told_by(queue)
    assert teller.tell() == Told(waiting=1)
    queue.clock.now += 4000
    assert teller.tell() == Told(1)


def test_what_is_forgotten_is_not_told(queue: Queue) -> None:
    """A case that was deleted owes nothing any more."""
    name = decided(queue)
    queue.reviews.forget([name])
    assert told_by(queue).tell() == Told()
    assert labels(queue) == []


def test_many_are_told_in_steps(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    """One turn tells a bounded number, and the next goes on."""
    monkeypatch.setattr("bento_rollout.store.feedback.AT_ONCE", 2)
    monkeypatch.setattr("bento_rollout.store.feedback.MOST", 2)
    names = [decided(queue) for _ in range(5)]
    teller = told_by(queue)
    assert teller.tell() == Told(4, waiting=1)
    assert teller.tell() == Told(1)
    assert [one["id"] for one in labels(queue)] == names


@pytest.mark.parametrize("name", ["", "2nd", "a b", "x" * 65, 5])
def test_a_labels_name_that_the_ledger_would_refuse_is_refused_in_the_spec(name: object) -> None:
    """The field is named; what is good is taken."""
    given: dict[str, Any] = {**REVIEW, "label": name}
    with pytest.raises(InvalidSpec, match=r"review\.label"):
        RolloutSpec.parse(automation(review=given))
    spec = RolloutSpec.parse(automation(review={**REVIEW, "label": "finding.v2"}))
    assert spec.automation["read"].review.label == "finding.v2"
