"""`Spool`: what a database could not take yet waits in a file of this host, in its order."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ..errors import StoreUnreachable
from .side_file import SideFile
from .sql import Db

__all__ = ["MOST", "Batch", "Spool", "is_new"]

APPLICATION_ID = 0x42525350  # "BRSP"
_MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE batches (
            seq INTEGER PRIMARY KEY AUTOINCREMENT, writer TEXT NOT NULL, number INTEGER NOT NULL,
            facts INTEGER NOT NULL, body TEXT NOT NULL, UNIQUE (writer, number)
        )""",
    ),
)

MOST = 1 << 26
"""Bytes that the file may take."""

AT_ONCE = 50
"""Batches that are read at a time."""


class Batch(NamedTuple):
    """What is delivered whole, and once, however often it is tried. Immutable.

    Attributes:
        writer: whose it is; names one run of a worker among all that ever were.
        number: a later one of that writer has a greater number.
        facts: how many facts it tells of.
        body: what is delivered.
    """

    writer: str
    number: int
    facts: int
    body: str

    def __repr__(self) -> str:
        """Return which one it is, and nothing of what it tells."""
        return f"<Batch {self.writer} {self.number}>"


class Spool:
    """A file of batches that all workers of this host share; whoever delivers one takes it out.

    Args:
        folder: this host's folder of the rollout.
        name: of the file.
        what: what is in it, for messages.
        most: bytes that it may take.
    """

    def __init__(self, folder: Path, name: str, what: str, most: int = MOST) -> None:
        self._most, self._what = most, what
        self._file = SideFile(
            folder,
            f"{name}-spool",
            f"{what} that waits for the database",
            APPLICATION_ID,
            _MIGRATIONS,
            "what waits in there is lost, and nothing else",
            patience=0.5,
            synchronous="NORMAL",
        )

    def put(self, batch: Batch) -> None:
        """Keep a batch behind the others; one that is kept already stays as it is.

        Raises:
            StoreUnreachable: there is no room for it, or the file cannot be written.
            StoreCorrupt: it is damaged.
        """
        with self._file.open(write=True) as db:
            db.execute("BEGIN IMMEDIATE")
            if (size := _size(db) + len(batch.body)) > self._most:
                raise StoreUnreachable(
                    f"{self._what} cannot wait in {self._file.where}: that would take {size} bytes, of "
                    f"{self._most} that it may"
                )
            insert = (
                "INSERT INTO batches (writer, number, facts, body) VALUES (?, ?, ?, ?) "
                "ON CONFLICT (writer, number) DO NOTHING"
            )
            db.execute(insert, batch)
            db.execute("COMMIT")

    def first(self) -> list[Batch]:
        """Return the batches that came first, at most `AT_ONCE`.

        Raises:
            StoreUnreachable: the file cannot be read.
            StoreCorrupt: it is damaged.
        """
        if not self._file.exists():
            return []
        query = "SELECT writer, number, facts, body FROM batches ORDER BY seq LIMIT ?"
        with self._file.open(write=False) as db:
            return [Batch(*row) for row in db.execute(query, (AT_ONCE,))]

    def drop(self, batches: Sequence[Batch]) -> None:
        """Take out batches that were delivered.

        Raises:
            StoreUnreachable: the file cannot be written.
            StoreCorrupt: it is damaged.
        """
        with self._file.open(write=True) as db:
            db.execute("BEGIN IMMEDIATE")
            gone = [batch[:2] for batch in batches]
            db.executemany("DELETE FROM batches WHERE writer = ? AND number = ?", gone)
            db.execute("COMMIT")

    def set_aside(self, now: float) -> Path | None:
        """Put a damaged file aside; return where it lies then, or None: it is whole, or cannot be moved."""
        return self._file.set_aside(now, self.first)


def is_new(db: Db, batch: Batch) -> bool:
    """Note in a database that a batch is delivered; false: it was before. In a transaction of a writer.

    Batches of one writer come in their order, so that only the last one is to be known.
    """
    of = (batch.writer,)
    row = db.execute("SELECT max(batch) FROM bento_rollout.delivered WHERE spool = ?", of).fetchone()
    if row[0] is not None and row[0] >= batch.number:
        return False
    db.execute("DELETE FROM bento_rollout.delivered WHERE spool = ?", of)
    note = "INSERT INTO bento_rollout.delivered (spool, batch, time) VALUES (?, ?, ?)"
    db.execute(note, (*of, batch.number, time.time()))
    return True


def _size(db: Db) -> int:
    (pages,) = db.execute("PRAGMA page_count").fetchone()
    (free,) = db.execute("PRAGMA freelist_count").fetchone()
    (size,) = db.execute("PRAGMA page_size").fetchone()
    return int(size * (pages - free))
