"""The trail: each act in its turn, and what was changed afterwards is found."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from bento_rollout.store.place import Place
from tests.places import behind
from tests.reviewed import Queue


@pytest.fixture
def queue(place: Place) -> Queue:
    """A queue with five acts in its trail."""
    queue = Queue(place)
    queue.submit()
    queue.answer(queue.take("ann"), "yes")
    queue.reviews.note("dee", "degree", endpoint="read", degree="partial", reason="it was certified")
    return queue


def test_every_act_stands_in_the_trail(queue: Queue) -> None:
    """In order, without gaps, and with what it was about."""
    entries = queue.reviews.trail.entries()
    assert [(e.seq, e.who, e.what) for e in entries] == [
        (1, "automation", "submitted"), (2, "ann", "claimed"), (3, "ann", "answered"), (4, "ann", "decided"),
        (5, "dee", "degree"),
    ]  # fmt: skip
    assert entries[-1].facts == {"degree": "partial", "endpoint": "read", "reason": "it was certified"}
    assert queue.reviews.trail.entries(after=3, limit=1) == entries[3:4]
    assert queue.reviews.trail.latest(2) == entries[:2:-1]
    verified = queue.reviews.trail.verify()
    assert (verified.entries, verified.head, verified.whole) == (5, entries[-1].hash, True)


def test_the_trail_is_append_only(queue: Queue) -> None:
    """The file itself says so."""
    with closing(behind(queue.place, "reviews")) as db:
        for statement in ("UPDATE trail SET who = 'eve'", "DELETE FROM trail"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                db.execute(statement)


TAMPERED = {
    "UPDATE trail SET who = 'eve' WHERE seq = 3": 3,
    "UPDATE trail SET at = at + 1 WHERE seq = 2": 2,
    "UPDATE trail SET facts = '{}' WHERE seq = 5": 5,
    "UPDATE trail SET task = '' WHERE seq = 1": 1,
    "DELETE FROM trail WHERE seq = 1": 1,
    "DELETE FROM trail WHERE seq = 3": 3,
    "DELETE FROM trail WHERE seq = 5": 5,
    "DELETE FROM trail": 1,
    "UPDATE trail SET hash = ZEROS WHERE seq = 4": 4,
    "INSERT INTO trail VALUES (6, 0, 'eve', 'claimed', '', '{}', ZEROS)": 6,
}


@pytest.mark.parametrize("statement", TAMPERED)
def test_what_was_tampered_with_is_found(queue: Queue, statement: str) -> None:
    """At the first entry that is not as it was written; what comes after it does not hide it."""
    with closing(behind(queue.place, "reviews")) as db:
        of = "" if isinstance(queue.place, Path) else " ON trail"
        db.execute(f"DROP TRIGGER trail_stays{of}")
        db.execute(f"DROP TRIGGER trail_remains{of}")
        db.execute(statement.replace("ZEROS", "zeroblob(32)" if not of else f"'{chr(92)}x{'00' * 32}'"))
    assert queue.reviews.trail.verify().broken_at == TAMPERED[statement]
    queue.reviews.note("dee", "degree")
    assert queue.reviews.trail.verify().broken_at == TAMPERED[statement]
