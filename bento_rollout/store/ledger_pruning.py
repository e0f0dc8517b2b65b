"""What a ledger forgets: what is too old, what is too much, and what belongs to a key."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Any, cast

from .ledger_ids import Bound, id_at, id_of
from .ledger_labels import MOST_ORPHANS, settle_orphans
from .sql import Db

if TYPE_CHECKING:
    import sqlite3

    from .ledger_home import Home

__all__ = [
    "Gone",
    "add_count",
    "delete_key",
    "expire_marks",
    "marked",
    "prune",
    "settle",
    "transaction",
    "trim_orphans",
]

_STEP = 100
"""Predictions that are deleted in one transaction."""

_SLACK = 0.95
"""What is too large shrinks to this part of what it may be: the next prediction makes no new work."""

MARKED = 86400.0
"""Seconds for which it is known that a prediction was forgotten."""

COUNTED = 1000
"""Labels after which those without a prediction are counted."""

_ORPHANS = 2000
"""Labels without a prediction that are looked after in one transaction."""

_PAGES = 2000
"""Free pages that are given back at a time."""


@dataclass(frozen=True, slots=True)
class Gone:
    """How much was deleted; of labels the orphans among them are counted, too."""

    predictions: int = 0
    shadows: int = 0
    labels: int = 0
    orphans: int = 0

    def __add__(self, other: Gone) -> Gone:
        return Gone(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


@contextmanager
def transaction(db: Db) -> Iterator[Db]:
    """Hold the right to write, and commit at the end."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield db
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:  # a full disk has ended it
            db.execute("ROLLBACK")
        raise


def prune(db: Db, home: Home, *, before: float, max_size: int, seconds: float = 3600.0) -> Gone:
    """Delete predictions of before a time, and the oldest of what is too much, in small steps.

    Args:
        db: a connection that holds no transaction.
        home: where the ledger is.
        before: seconds since 1970.
        max_size: bytes that may be in use.
        seconds: to stop after; what is left is left for another time.
    """
    gone, until = Gone(), time.monotonic() + seconds
    old = id_at(before)
    while time.monotonic() < until and (step := _delete_oldest(db, old)) != Gone():
        gone += step
    if home.used(db) > max_size:
        while time.monotonic() < until and home.used(db) > max_size * _SLACK:
            if (step := _delete_oldest(db, None)) == Gone():
                break
            gone += step
    while home.path is not None and time.monotonic() < until and _give_back(db):
        pass
    return gone


def settle(db: Db, before: float) -> Gone:
    """Look after the labels that wait for their prediction, in small steps: those told before then go."""
    expired = 0
    last: int | None = 0
    while last is not None:
        with transaction(db):
            last, step = settle_orphans(db, before, last, _ORPHANS)
            _count(db, Gone(orphans=step))
        expired += step
    return Gone(labels=expired, orphans=expired)


def trim_orphans(db: Db, added: int) -> None:
    """Let the oldest of too many labels without a prediction go; in the transaction that added some labels.

    They are counted now and then, so that a label costs the same however many wait.
    """
    (last,) = db.execute("SELECT coalesce(max(seq), 0) FROM labels").fetchone()
    if last // COUNTED == (last - added) // COUNTED:
        return
    (count,) = db.execute("SELECT count(*) FROM labels WHERE orphan").fetchone()
    if count > MOST_ORPHANS:
        _, gone = settle_orphans(db, math.inf, 0, count - MOST_ORPHANS)
        _count(db, Gone(orphans=gone))


def delete_key(db: Db, key_hash: str, now: float) -> Gone:
    """Delete the predictions of a key, what shadows said to them, and their labels.

    Labels by inference id are those of the newest prediction of that id, and go with it. Shadows may still
    answer to the predictions of the last hours: these leave a mark, which tells nobody whose they were.

    Args:
        db: a connection that holds no transaction.
        key_hash: the key's.
        now: seconds since 1970.
    """
    gone, since = Gone(), id_at(now - MARKED)
    wanted = "SELECT seq, id, row, inference_id FROM predictions WHERE key_hash = ? LIMIT ?"
    newest = "SELECT seq FROM predictions WHERE inference_id = ? ORDER BY id DESC, row DESC LIMIT 1"
    while rows := db.execute(wanted, (key_hash, 100 * _STEP)).fetchall():
        for start in range(0, len(rows), _STEP):
            step = rows[start : start + _STEP]
            with transaction(db):
                late = [(_mark_of(*at), now) for _, *at, _ in step if at[0] >= since]
                db.executemany("INSERT INTO forgotten VALUES (?, ?) ON CONFLICT (mark) DO NOTHING", late)
                theirs = [name for seq, *_, name in step if db.execute(newest, (name,)).fetchone() == (seq,)]
                named = [(name,) for name in theirs]
                labels = db.executemany("DELETE FROM labels WHERE inference_id = ?", named).rowcount
                gone += _delete(db, step) + Gone(labels=max(labels, 0))
    expire_marks(db, now)
    return gone


def expire_marks(db: Db, now: float) -> None:
    """Forget the marks of forgotten predictions to which no shadow can answer any more."""
    if db.execute("SELECT 1 FROM forgotten LIMIT 1").fetchone() is not None:
        with transaction(db):
            db.execute("DELETE FROM forgotten WHERE time < ?", (now - MARKED,))


def marked(db: Db, predictions: Iterable[Bound]) -> set[Bound]:
    """Return which of some predictions are forgotten, as far as that is still known."""
    if db.execute("SELECT 1 FROM forgotten LIMIT 1").fetchone() is None:
        return set()
    of = {_mark_of(*one): one for one in predictions}
    marks, found = list(of), set[Bound]()
    for start in range(0, len(marks), _STEP):
        some = marks[start : start + _STEP]
        query = f"SELECT mark FROM forgotten WHERE mark IN ({', '.join('?' * len(some))})"  # noqa: S608 - places
        found.update(of[bytes(mark)] for (mark,) in db.execute(query, some))
    return found


def _mark_of(request: str, row: int) -> bytes:
    """Return what is kept of a forgotten prediction: who has its id knows that it was, and nobody else."""
    return hashlib.sha256(id_of(request, row).encode()).digest()[:16]


def _delete_oldest(db: Db, below: str | None) -> Gone:
    """Delete the oldest predictions, of those below an id if one is given, with all that is as old."""
    with transaction(db):
        bound = "" if below is None else "WHERE id < ?"
        query = f"SELECT seq, id, row, inference_id FROM predictions {bound} ORDER BY id, row LIMIT ?"  # noqa: S608 - constants
        rows = db.execute(query, (_STEP,) if below is None else (below, _STEP)).fetchall()
        if not rows:
            return Gone()
        gone = _delete(db, rows)
        last = rows[-1][1]  # what shadows said to predictions that were never written goes with its time
        gone += Gone(shadows=db.execute("DELETE FROM shadows WHERE id < ?", (last,)).rowcount)
        _count(db, gone)
    return gone


def _delete(db: Db, rows: Sequence[Sequence[Any]]) -> Gone:
    """Delete predictions with what belongs to them; in a transaction."""
    at = [(request, number) for _, request, number, _ in rows]
    labels = db.executemany("DELETE FROM labels WHERE id = ? AND row = ?", at).rowcount
    shadows = db.executemany("DELETE FROM shadows WHERE id = ? AND row = ?", at).rowcount
    db.executemany("DELETE FROM predictions WHERE seq = ?", [row[:1] for row in rows])
    named = {(row[3],) for row in rows if row[3] is not None}
    if named:
        labels += db.executemany(
            "DELETE FROM labels WHERE inference_id = ? AND NOT EXISTS (SELECT 1 FROM predictions AS p WHERE "
            "p.inference_id = labels.inference_id)",
            named,
        ).rowcount
    return Gone(len(rows), max(shadows, 0), max(labels, 0))


def _give_back(db: Db) -> bool:
    """Give free pages back to the file system; return whether there were many."""
    (free,) = db.execute("PRAGMA freelist_count").fetchone()
    if free == 0:
        return False
    file = cast("sqlite3.Connection", db)
    file.executescript(f"PRAGMA incremental_vacuum({_PAGES})")  # `execute` would end after one page
    db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
    return bool(free > _PAGES)


def _count(db: Db, gone: Gone) -> None:
    """Add to what was ever pruned; in a transaction."""
    for name, number in (("pruned", gone.predictions), ("orphans_expired", gone.orphans)):
        if number:
            add_count(db, name, number)


def add_count(db: Db, name: str, number: int) -> None:
    """Add to a counter of the ledger; in a transaction."""
    db.execute(
        "INSERT INTO counters VALUES (?, ?) "
        "ON CONFLICT (name) DO UPDATE SET number = counters.number + excluded.number",
        (name, number),
    )
