"""What an endpoint's webhook is still to be told of cases: written with each act, sent later.

A letter says nothing itself: what it tells is read from the case when it is sent, so that whatever was
deleted, or is to be hidden by then, is in no letter.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..degrees import Degree
from ..errors import QueueFull
from ..reviewing import Decision, Selection, Visibility
from .reviews_file import WHENEVER
from .reviews_rows import decision_of, json_of
from .sql import Db, Row

__all__ = [
    "MOST",
    "Letter",
    "degree_is",
    "due",
    "listen",
    "listening",
    "numbers",
    "overflowed",
    "put",
    "take_out",
    "task_name",
    "wait",
]

MOST = 10_000
"""Letters that may wait for one webhook; of more the oldest are lost."""

SELDOM = 60.0
"""Seconds for which it is told once that too many cases are open."""

JUMP = 60.0
"""Seconds that a try may lie ahead before the clock is taken to have gone back."""


@dataclass(frozen=True, slots=True)
class Letter:
    """What a webhook is to be told.

    Attributes:
        seq: its number here.
        id: what it is called, at every try.
        kind: what happened, like ``case.opened``.
        at: when, in seconds since 1970.
        data: what is told of it, without payload.
        tries: how often it was tried.
        first: when it was tried first; None: never.
        decision: of ``case.decided`` what the caller gets; else None.
    """

    seq: int
    id: str
    kind: str
    at: float
    data: Mapping[str, Any]
    tries: int
    first: float | None
    decision: Decision | None = field(default=None, repr=False)


def task_name(case: str) -> str:
    """Return what a case is called where its id must not stand: whoever has that may read the decision.

    >>> task_name("0" * 32)
    'case_84e0c0eafaa95a34c293f278ac52e45c'
    """
    return f"case_{hashlib.sha256(case.encode()).hexdigest()[:32]}"


def listening(db: Db) -> set[str]:
    """Return which endpoints have a webhook."""
    return {row["endpoint"] for row in db.execute("SELECT endpoint FROM told")}


def listen(db: Db, endpoints: Collection[str]) -> None:
    """Say which endpoints have a webhook from now on; what others' were still to be told is given up."""
    for endpoint in listening(db) - set(endpoints):
        db.execute("DELETE FROM letters WHERE endpoint = ?", (endpoint,))
        db.execute("DELETE FROM told WHERE endpoint = ?", (endpoint,))
    query = "INSERT INTO told (endpoint) VALUES (?) ON CONFLICT (endpoint) DO NOTHING"
    db.executemany(query, [(name,) for name in endpoints])


def put(
    db: Db,
    kind: str,
    endpoint: str,
    task: int | None,
    now: float,
    facts: Mapping[str, Any] | None = None,
) -> None:
    """Leave word of what happened, if the endpoint has a webhook; with too many letters the oldest is lost.

    Args:
        db: in the transaction of the act.
        kind: what happened.
        endpoint, task: to which endpoint's case, by the number of its row; None: to none of them.
        now: seconds since 1970.
        facts: more of it, without payload.
    """
    row = db.execute("SELECT waiting FROM told WHERE endpoint = ?", (endpoint,)).fetchone()
    if row is None:
        return
    if row["waiting"] >= MOST:
        oldest = "SELECT min(seq) FROM letters WHERE endpoint = ?"
        db.execute(f"DELETE FROM letters WHERE seq = ({oldest})", (endpoint,))  # noqa: S608 - a constant
        db.execute("UPDATE told SET lost = lost + 1 WHERE endpoint = ?", (endpoint,))
    db.execute(
        "INSERT INTO letters (id, endpoint, task, kind, at, facts, due) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (f"msg_{secrets.token_hex(16)}", endpoint, task, kind, now, json_of(facts or {}), now),
    )


def overflowed(db: Db, error: QueueFull, now: float) -> None:
    """Leave word that too many cases are open; at most once a minute, however many are turned away."""
    row = db.execute("SELECT told_full FROM told WHERE endpoint = ?", (error.endpoint,)).fetchone()
    if row is None or (row["told_full"] is not None and abs(now - row["told_full"]) < SELDOM):
        return
    db.execute("UPDATE told SET told_full = ? WHERE endpoint = ?", (now, error.endpoint))
    put(db, "case.overflowed", error.endpoint, None, now, {"open": error.open, "most": error.most})


def degree_is(
    db: Db, endpoint: str, degree: Degree, told: Mapping[str, Any], since: float, now: float
) -> bool:
    """Leave word that an endpoint's degree is another one than was known; the first one is no news.

    Args:
        db: in a transaction that writes.
        endpoint: whose.
        degree: the one that it has.
        told: more of it, without payload; its ``revision`` says so.
        since: the time of that revision, in seconds since 1970. A new store counts its revisions anew; what
            is older in both is passed over.
        now: seconds since 1970.

    Returns:
        Whether it was another one.
    """
    row = db.execute("SELECT * FROM told WHERE endpoint = ?", (endpoint,)).fetchone()
    if row is None or (
        row["degree"] is not None and row["revision"] >= told["revision"] and row["since"] >= since
    ):
        return False
    db.execute(
        "UPDATE told SET degree = ?, revision = ?, since = ? WHERE endpoint = ?",
        (int(degree), told["revision"], since, endpoint),
    )
    if row["degree"] is None or row["degree"] == int(degree):
        return False
    words = {"degree": degree.word, "was": Degree(row["degree"]).word}
    put(db, "degree.changed", endpoint, None, now, {**words, **told})
    return True


def due(db: Db, endpoint: str, now: float) -> Letter | None:
    """Return the letter whose turn it is, as it reads now; None: none is due."""
    row = db.execute(
        "SELECT * FROM letters WHERE endpoint = :endpoint "
        "AND (due <= :now OR (CASE tries WHEN 0 THEN at ELSE tried END) > :now + :jump) "
        "ORDER BY due, seq LIMIT 1",
        {"endpoint": endpoint, "now": now, "jump": JUMP},
    ).fetchone()
    if row is None:
        return None
    data, decision = {"endpoint": endpoint}, None
    if row["task"] is not None:
        task = db.execute("SELECT * FROM tasks WHERE seq = ?", (row["task"],)).fetchone()
        decided = row["kind"] == "case.decided"
        data, decision = (_ended(task), decision_of(db, task)) if decided else (_open(task), None)
    data |= json.loads(row["facts"])
    return Letter(row["seq"], row["id"], row["kind"], row["at"], data, row["tries"], row["first"], decision)


def take_out(db: Db, letter: Letter, *, lost: bool) -> None:
    """Take a letter out, and count it if nobody will ever be told; one that was forgotten is not there."""
    there = db.execute("DELETE FROM letters WHERE seq = ? AND id = ?", (letter.seq, letter.id)).rowcount
    if there and lost:
        db.execute("UPDATE told SET lost = lost + 1 WHERE endpoint = ?", (letter.data["endpoint"],))


def wait(db: Db, letter: Letter, now: float, pause: float) -> None:
    """Let a letter wait for its next try."""
    db.execute(
        "UPDATE letters SET tries = ?, first = coalesce(first, ?), tried = ?, due = ? "
        "WHERE seq = ? AND id = ?",
        (letter.tries + 1, now, now, now + pause, letter.seq, letter.id),
    )


def numbers(db: Db, endpoint: str | None) -> tuple[int, int]:
    """Return how many letters wait, and how many were lost: there were too many, or they were given up.

    Args:
        db: where they are.
        endpoint: of which endpoint; None: of all.
    """
    query = "SELECT coalesce(sum(waiting), 0), coalesce(sum(lost), 0) FROM told"
    of = ("", ()) if endpoint is None else (" WHERE endpoint = ?", (endpoint,))
    waiting, lost = db.execute(query + of[0], of[1]).fetchone()
    return int(waiting), int(lost)


def _known(task: Row) -> dict[str, Any]:
    """Return what tells one case from others; the id of the decision is the caller's."""
    return {
        "task": task_name(task["id"]),
        "prediction_id": task["prediction_id"],
        "endpoint": task["endpoint"],
    }


_BY_HAND = "asked by hand"


def _open(task: Row) -> dict[str, Any]:
    """Return what is told of a case that waits: no more than whoever claims it sees of the model.

    Where that is hidden so are why it is asked about (it holds the score) and what tells an audit from a case
    that the model was unsure of. What a person wrote who asked by hand is for reviewers alone.
    """
    asked = json.loads(task["asked"])
    shown = task["visibility"] == Visibility.SHOWN and not asked["blind"] and not Degree(task["degree"]).blind
    why = [_BY_HAND] if task["selection"] == Selection.MANUAL else asked["why"]
    return {
        **_known(task),
        "why": why if shown else [],
        "selection": task["selection"] if shown else "all",
        "due": None if task["due"] == WHENEVER else task["due"],
        "priority": task["priority"],
    }


def _ended(task: Row) -> dict[str, Any]:
    return {
        **_known(task),
        "status": task["status"],
        "decided_by": task["decided_by"] or None,
        "selection": task["selection"],
    }
