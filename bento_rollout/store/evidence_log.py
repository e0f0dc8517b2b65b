"""`EvidenceLog`: evidence on its way from a rollout's workers to whoever decides, and what came of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import Conflict, InvalidValue
from ..evidence import Evidence
from .place import Place
from .side_file import SideFile
from .spool import Batch, is_new
from .sql import Db

__all__ = ["AT_ONCE", "EvidenceLog", "Flush", "Standing", "body_of"]

APPLICATION_ID = 0x42524556  # "BREV"
_MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE flushes (
            seq INTEGER PRIMARY KEY AUTOINCREMENT, time REAL NOT NULL, worker TEXT NOT NULL,
            sums TEXT NOT NULL
        )""",
        "CREATE TABLE standing (one INTEGER PRIMARY KEY CHECK (one = 1), seq INTEGER, told TEXT NOT NULL)",
        "INSERT INTO standing VALUES (1, 0, '{}')",
    ),
    ("CREATE TABLE report (one INTEGER PRIMARY KEY CHECK (one = 1), told TEXT NOT NULL)",),
)
_LOSS = "a running try begins with fresh evidence, and nothing else is lost"

MOST_FLUSHES = 100_000
"""Flushes that wait for somebody who decides; the oldest go."""

AT_ONCE = 1000
"""Flushes that are read at a time."""


@dataclass(frozen=True, slots=True)
class Flush:
    """What one worker counted in a while.

    Attributes:
        seq: its place in the order of arrival.
        worker: whose it is.
        time: when it was written, in seconds since 1970.
        evidence: the sums; None: they cannot be.
        problem: why not.
    """

    seq: int
    worker: str
    time: float
    evidence: Evidence | None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Standing:
    """How far whoever decides has come.

    Attributes:
        seq: the last flush that was used.
        told: what came of all of them, as what JSON can say.
    """

    seq: int = 0
    told: Mapping[str, Any] | None = None


class EvidenceLog:
    """What all workers of one rollout saw, in the order in which they wrote it.

    Every flush is used once: whoever decides saves how far it came and what it made of it in one transaction,
    and only if nobody else did so since it read.

    Args:
        place: where what belongs to the rollout lies; the file is made when somebody has something to add.
        patience: seconds to wait for another worker's lock.
    """

    def __init__(self, place: Place, *, patience: float = 2.0) -> None:
        self._file = SideFile(
            place,
            "evidence",
            "the evidence",
            APPLICATION_ID,
            _MIGRATIONS,
            _LOSS,
            patience=patience,
            synchronous="NORMAL",
        )

    def add(self, worker: str, evidence: Evidence, now: float) -> None:
        """Append what a worker counted, whole or not at all.

        Args:
            worker: who.
            evidence: the sums; empty ones are not written.
            now: seconds since 1970.

        Raises:
            StoreUnreachable: the file cannot be written.
            StoreCorrupt: it is damaged.
        """
        if not evidence:
            return
        with self._file.open(write=True) as db:
            db.execute("BEGIN IMMEDIATE")
            _append(db, worker, _json(evidence), now)
            db.execute("COMMIT")

    def deliver(self, batch: Batch) -> None:
        """Append what a worker counted, unless it was delivered before; for a database.

        Args:
            batch: made by `body_of`.

        Raises:
            StoreUnreachable: the database cannot be written, or nobody knows whether it was.
            StoreCorrupt: it can never be.
        """
        worker, now, sums = json.loads(batch.body)
        with self._file.open(write=True) as db:
            db.execute("BEGIN IMMEDIATE")
            if is_new(db, batch):
                _append(db, worker, sums, now)
            db.execute("COMMIT")

    def read(self, after: int) -> list[Flush]:
        """Return the flushes after one, the oldest first, at most `AT_ONCE`.

        Raises:
            StoreUnreachable: the file cannot be read.
            StoreCorrupt: it is damaged.
        """
        if not self._file.exists():
            return []
        query = "SELECT seq, worker, time, sums FROM flushes WHERE seq > ? ORDER BY seq LIMIT ?"
        with self._file.open(write=False) as db:
            return [_flush_of(*row) for row in db.execute(query, (after, AT_ONCE))]

    def standing(self) -> Standing:
        """Return how far whoever decides has come.

        Raises:
            StoreUnreachable: the file cannot be read.
            StoreCorrupt: it is damaged.
        """
        if not self._file.exists():
            return Standing()
        with self._file.open(write=False) as db:
            row = db.execute("SELECT seq, told FROM standing").fetchone()
        if row is None:  # somebody has emptied the tables of a database
            return Standing()
        seq, told = row
        try:
            found = json.loads(told)
        except ValueError as error:
            raise self._file.damaged(error) from error
        return Standing(seq, found)

    def save(self, standing: Standing, *, after: int) -> None:
        """Save how far it came, and forget the flushes that were used.

        Args:
            standing: where it is now.
            after: where it was when it began to read.

        Raises:
            Conflict: somebody else has decided meanwhile; nothing is saved.
            StoreUnreachable: the file cannot be written.
            StoreCorrupt: it is damaged.
        """
        told = json.dumps(standing.told or {}, allow_nan=False, separators=(",", ":"))
        with self._file.open(write=True) as db:
            db.execute("BEGIN IMMEDIATE")
            (seq,) = db.execute("SELECT seq FROM standing").fetchone() or (0,)
            if seq != after:
                raise Conflict(
                    f"somebody else has used the evidence up to {seq} (this one began after {after})", seq
                )
            db.execute(
                "INSERT INTO standing (one, seq, told) VALUES (1, ?, ?) "
                "ON CONFLICT (one) DO UPDATE SET seq = excluded.seq, told = excluded.told",
                (standing.seq, told),
            )
            db.execute("DELETE FROM flushes WHERE seq <= ?", (standing.seq,))
            db.execute("COMMIT")

    def tell(self, report: Mapping[str, Any]) -> None:
        """Say how the try stands, for people who look; the last word counts, whoever says it.

        Args:
            report: what JSON can say.

        Raises:
            StoreUnreachable: the file cannot be written.
            StoreCorrupt: it is damaged.
        """
        told = json.dumps(report, allow_nan=False, separators=(",", ":"))
        with self._file.open(write=True) as db:
            db.execute(
                "INSERT INTO report (one, told) VALUES (1, ?) "
                "ON CONFLICT (one) DO UPDATE SET told = excluded.told",
                (told,),
            )

    def set_aside(self, now: float) -> Path | None:
        """Put a damaged file aside, so that a new one is made; return where it lies then.

        Only who leads may. None: the file is whole, or cannot be moved.

        Args:
            now: seconds since 1970.
        """
        return self._file.set_aside(now, self.standing)

    def report(self) -> dict[str, Any] | None:
        """Return what was told last; None: nothing yet.

        Raises:
            StoreUnreachable: the file cannot be read.
            StoreCorrupt: it is damaged.
        """
        if not self._file.exists():
            return None
        with self._file.open(write=False) as db:
            row = db.execute("SELECT told FROM report").fetchone()
        try:
            found = None if row is None else json.loads(row[0])
        except ValueError as error:
            raise self._file.damaged(error) from error
        return found if isinstance(found, dict) else None


def body_of(worker: str, evidence: Evidence, now: float) -> str:
    """Return what a worker counted as the body of a batch."""
    return json.dumps([worker, now, _json(evidence)])


def _json(evidence: Evidence) -> str:
    return json.dumps(evidence.to_plain(), separators=(",", ":"))


def _append(db: Db, worker: str, sums: str, now: float) -> None:
    db.execute("INSERT INTO flushes (time, worker, sums) VALUES (?, ?, ?)", (now, worker, sums))
    db.execute("DELETE FROM flushes WHERE seq <= (SELECT max(seq) FROM flushes) - ?", (MOST_FLUSHES,))


def _flush_of(seq: int, worker: str, time: float, sums: str) -> Flush:
    try:
        return Flush(seq, worker, time, Evidence.from_plain(json.loads(sums)))
    except InvalidValue as error:
        return Flush(seq, worker, time, None, str(error))
    except ValueError as error:
        return Flush(seq, worker, time, None, f"it is no JSON: {error}")
