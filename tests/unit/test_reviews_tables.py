"""The tables of the people's queue: files of earlier versions go on."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from bento_rollout.reviewing import Visibility
from bento_rollout.store.letterbox import Letterbox
from bento_rollout.store.letters import task_name
from bento_rollout.store.reviews_tables import APPLICATION_ID, MIGRATIONS, SCHEMA
from bento_rollout.store.trail import START as CHAIN
from bento_rollout.store.trail import hashed
from tests.reviewed import START, Queue


def of_schema(path: Path, schema: int) -> None:
    """Make a queue as a version of that schema left it: a case to be shown, and one that ended."""
    asked = {"choices": ["yes", "no"], "schema": None, "why": [], "visibility": "shown", "blind": False}
    told = json.dumps({**asked, "on_timeout": "wait", "default": None, "segment": "knee"})
    acts = [(1, START, "automation", "submitted", "0" * 32, "{}")]
    path.parent.mkdir(parents=True)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("PRAGMA journal_mode = WAL")
        for statement in (one for statements in MIGRATIONS[:schema] for one in statements):
            db.execute(statement)
        for name, status in (("0" * 32, "open"), ("1" * 32, "answered")):
            db.execute(
                "INSERT INTO tasks (id, prediction_id, endpoint, revision, degree, selection, probability, "
                "held, asked, reviewers, adjudicate, priority, created, due, stage, status, secret, "
                "decisions_for, labels_until) "
                "VALUES (?, 'p1', 'read', 1, 3, 'all', 1.0, 1, ?, 1, 0, 0, ?, 1e18, ?, ?, '', 9, ?)",
                (name, told, START, "review" if status == "open" else None, status, START + 1e6),
            )
        for act in acts:
            db.execute("INSERT INTO trail VALUES (?, ?, ?, ?, ?, ?, ?)", (*act, hashed(CHAIN, *act)))
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {schema}")


@pytest.mark.parametrize("schema", range(1, SCHEMA))
def test_a_file_of_a_schema_before_goes_on(tmp_path: Path, schema: int) -> None:
    """Its cases are as they were asked, what becomes of them is told from then on, and its trail is whole."""
    queue = Queue(tmp_path / "store" / "screening")
    of_schema(queue.reviews.path, schema)
    box = Letterbox(queue.place, clock=queue.clock)
    box.listen(["read"])
    claim = queue.take("ann")
    assert (claim.case.visibility, claim.case.on_timeout) == (Visibility.SHOWN, "wait")
    assert claim.case.segment == "knee"
    queue.answer(claim, "yes")
    letter = box.next("read")
    assert letter is not None
    assert (letter.kind, letter.data["task"]) == ("case.decided", task_name("0" * 32))
    verified = queue.reviews.trail.verify()
    assert (verified.entries, verified.whole) == (4, True)
    with closing(sqlite3.connect(queue.reviews.path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (SCHEMA,)
