"""`DriftFile`: what is known of drift, shared by the workers of a rollout: tests, alarms and their course.

One worker owns it and writes: how far it read, what came of that, and the alarms that it found, in one
transaction. A person's verb ends an alarm and begins an epoch in one, too. Whoever writes names the version
that it started from: what somebody else wrote meanwhile is never lost.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from ..alarms import Alarm
from ..errors import NotFound
from .drift_rows import (
    ALARM,
    LATCHES,
    LEVELS,
    WATCHES,
    Latch,
    Level,
    Point,
    Stored,
    alarm_of,
    level_of,
    put_alarm,
    put_all,
    stored_of,
)
from .place import Place
from .side_file import SideFile
from .sql import Db

__all__ = ["DriftFile", "Revise"]

T = TypeVar("T")

APPLICATION_ID = 0x42524446  # "BRDF"
_MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE watches (
            key TEXT PRIMARY KEY, endpoint TEXT NOT NULL, version INTEGER NOT NULL, digest TEXT NOT NULL,
            began TEXT NOT NULL, position TEXT NOT NULL, start BLOB NOT NULL, body BLOB NOT NULL,
            told TEXT NOT NULL, updated REAL NOT NULL
        ) WITHOUT ROWID""",
        """CREATE TABLE levels (
            test TEXT PRIMARY KEY, kind TEXT NOT NULL, endpoint TEXT NOT NULL, epoch INTEGER NOT NULL,
            rows INTEGER NOT NULL, log_evidence REAL NOT NULL, log_bound REAL NOT NULL, told TEXT NOT NULL,
            updated REAL NOT NULL
        ) WITHOUT ROWID""",
        """CREATE TABLE alarms (
            id TEXT PRIMARY KEY, test TEXT NOT NULL, kind TEXT NOT NULL, endpoint TEXT NOT NULL,
            epoch INTEGER NOT NULL, at REAL NOT NULL, row INTEGER NOT NULL, revision INTEGER NOT NULL,
            words TEXT NOT NULL, features TEXT NOT NULL, acting TEXT NOT NULL, acts TEXT NOT NULL,
            "end" TEXT NOT NULL, ended_at REAL, ended_by TEXT NOT NULL, note TEXT NOT NULL
        )""",
        "CREATE UNIQUE INDEX alarms_once ON alarms (test, epoch)",
        "CREATE INDEX alarms_latched ON alarms (test) WHERE \"end\" = ''",
        """CREATE TABLE timeline (
            test TEXT NOT NULL, epoch INTEGER NOT NULL, row INTEGER NOT NULL, at REAL NOT NULL,
            log_evidence REAL NOT NULL, top TEXT NOT NULL, PRIMARY KEY (test, epoch, row)
        ) WITHOUT ROWID""",
        """CREATE TABLE epochs (
            test TEXT NOT NULL, epoch INTEGER NOT NULL, at REAL NOT NULL, why TEXT NOT NULL,
            PRIMARY KEY (test, epoch)
        ) WITHOUT ROWID""",
        "CREATE TABLE reference (digest TEXT PRIMARY KEY, at REAL NOT NULL, body TEXT NOT NULL)",
        "CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    ),
)
_LOSS = "the watch begins anew with the next rows, and predictions go on"

Revise = Callable[
    [tuple[Stored, ...], tuple[Level, ...], tuple[Alarm, ...]],
    tuple[Sequence[Stored], Sequence[Level], Sequence[Alarm]],
]


class DriftFile:
    """What is known of drift in one rollout; each operation opens the file by itself.

    Args:
        place: where what belongs to the rollout lies; the file is made when somebody has something to keep.
        patience: seconds to wait for another process's lock.

    Raises:
        StoreUnreachable: every operation: the file is locked, full, read-only, or of a newer schema.
        StoreCorrupt: it is damaged, or another program's.
    """

    def __init__(self, place: Place, *, patience: float = 2.0) -> None:
        self._file = SideFile(
            place,
            "drift",
            "what is known of drift",
            APPLICATION_ID,
            _MIGRATIONS,
            _LOSS,
            patience=patience,
            synchronous="NORMAL",
        )

    def exists(self) -> bool:
        """Whether anybody may have written."""
        return self._file.exists()

    def mark(self) -> object | None:
        """Return what is another one after every change; None: nobody ever wrote. Never raises."""
        return self._file.mark()

    # -- reading ---------------------------------------------------------------------------------------

    def watches(self) -> tuple[Stored, ...]:
        """Return the watches, in the order of their keys."""
        return self._of(stored_of, self._rows(WATCHES))

    def levels(self) -> tuple[Level, ...]:
        """Return how the tests stand, in the order of their names."""
        return self._of(level_of, self._rows(LEVELS))

    def standing(self) -> tuple[tuple[Stored, ...], tuple[Level, ...]]:
        """Return the watches, and how their tests stand, as they are at one moment."""
        if not self._file.exists():
            return (), ()
        with self._file.open(write=False) as db:
            db.execute("BEGIN")
            watches, levels = (db.execute(query).fetchall() for query in (WATCHES, LEVELS))
            db.execute("COMMIT")
        return self._of(stored_of, watches), self._of(level_of, levels)

    def latches(self) -> tuple[Latch, ...]:
        """Return what every worker needs to know, and nothing that is large."""
        rows = self._rows(LATCHES)
        return tuple(Latch(test, kind, of, log, bool(latched)) for test, kind, of, log, latched in rows)

    def alarms(self, *, latched: bool = False, limit: int = 100) -> tuple[Alarm, ...]:
        """Return alarms, those that are latched first, then the newest.

        Args:
            latched: only those that nobody has ended.
            limit: at most so many.
        """
        where = "WHERE \"end\" = ''" if latched else ""
        query = f"SELECT {ALARM} FROM alarms {where} ORDER BY \"end\" <> '', at DESC, id LIMIT ?"  # noqa: S608 - constants
        return self._of(alarm_of, self._rows(query, limit))

    def timeline(self, test: str, epoch: int) -> tuple[Point, ...]:
        """Return the course of a test's evidence in one epoch, in order."""
        query = "SELECT row, at, log_evidence, top FROM timeline WHERE test = ? AND epoch = ? ORDER BY row"
        rows = self._rows(query, test, epoch)
        return tuple(Point(test, epoch, row, at, log, json.loads(top)) for row, at, log, top in rows)

    def epochs(self, test: str) -> tuple[tuple[int, float, str], ...]:
        """Return when each epoch of a test began, in seconds since 1970, and why."""
        rows = self._rows("SELECT epoch, at, why FROM epochs WHERE test = ? ORDER BY epoch", test)
        return tuple((epoch, at, why) for epoch, at, why in rows)

    def reference(self, digest: str) -> str | None:
        """Return the reference of a digest, as it was kept; None: it was not."""
        found = self._rows("SELECT body FROM reference WHERE digest = ?", digest)
        return str(found[0][0]) if found else None

    def facts(self) -> dict[str, Any]:
        """Return further facts, by name."""
        return {name: json.loads(value) for name, value in self._rows("SELECT name, value FROM facts")}

    # -- writing ---------------------------------------------------------------------------------------

    def keep_reference(self, digest: str, body: str, now: float) -> None:
        """Keep a reference, once: with it what is known can be read without the service."""
        if self.reference(digest) == body:
            return
        with self._writing() as db:
            db.execute(
                "INSERT INTO reference (digest, at, body) VALUES (?, ?, ?) "
                "ON CONFLICT (digest) DO UPDATE SET at = excluded.at, body = excluded.body",
                (digest, now, body),
            )

    def note(self, name: str, value: object) -> None:
        """Keep a fact; None forgets it. One that is so already is not written."""
        if self.facts().get(name) == value:
            return
        with self._writing() as db:
            if value is None:
                db.execute("DELETE FROM facts WHERE name = ?", (name,))
            else:
                db.execute(
                    "INSERT INTO facts (name, value) VALUES (?, ?) "
                    "ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                    (name, json.dumps(value)),
                )

    def save(
        self,
        watches: Sequence[Stored],
        levels: Sequence[Level] = (),
        *,
        alarms: Sequence[Alarm] = (),
        points: Sequence[Point] = (),
        why: str = "",
    ) -> tuple[Stored, ...]:
        """Keep watches, with what was found, all or nothing; return them with their new versions.

        An alarm that is kept already is brought up to what is given; a test finds one alarm in each epoch,
        and a second one is not kept.

        Args:
            watches: each with the version that it was read with; 0: it is new.
            levels: how their tests stand.
            alarms: those that are new or went on.
            points: of timelines.
            why: of epochs that begin.

        Raises:
            Conflict: somebody else has written one of them meanwhile; nothing is kept.
        """
        with self._writing() as db:
            return put_all(db, watches, levels, alarms, points, why)

    def change(self, id_: str, change: Callable[[Alarm], Alarm]) -> Alarm:
        """Bring one alarm on, as it is when nobody else writes; return it.

        Args:
            id_: the alarm's.
            change: what becomes of it.

        Raises:
            NotFound: there is none.
        """
        with self._writing() as db:
            row = db.execute(f"SELECT {ALARM} FROM alarms WHERE id = ?", (id_,)).fetchone()  # noqa: S608
            if row is None:
                raise NotFound(f"there is no alarm {id_} in {self._file.where}")
            after = change(alarm_of(row))
            put_alarm(db, after)
        return after

    def revise(self, revise: Revise, *, why: str) -> None:
        """Change watches and alarms as they are while nobody else writes; for the verbs of people.

        Args:
            revise: given the watches, how the tests stand, and the latched alarms, returns what becomes of
                some of each.
            why: of epochs that begin.
        """
        with self._writing() as db:
            watches = tuple(map(stored_of, db.execute(WATCHES)))
            levels = tuple(map(level_of, db.execute(LEVELS)))
            query = f"SELECT {ALARM} FROM alarms WHERE \"end\" = '' ORDER BY at DESC, id"  # noqa: S608 - constants
            after, stands, ended = revise(watches, levels, tuple(map(alarm_of, db.execute(query))))
            put_all(db, after, stands, ended, (), why)

    def forget(self, keys: Collection[str], tests: Collection[str]) -> None:
        """Forget watches, and how tests stand, that are not wanted any more; their alarms stay."""
        with self._writing() as db:
            db.executemany("DELETE FROM watches WHERE key = ?", [(key,) for key in keys])
            db.executemany("DELETE FROM levels WHERE test = ?", [(test,) for test in tests])

    def set_aside(self, now: float) -> Path | None:
        """Put a damaged file aside, so that a new one is made; return where it lies then.

        Only the owner may. None: the file is whole, or cannot be moved.

        Args:
            now: seconds since 1970.
        """
        return self._file.set_aside(now, lambda: (self.watches(), self.levels(), self.alarms()))

    # -- the parts -------------------------------------------------------------------------------------

    def _rows(self, query: str, *values: object) -> list[Any]:
        """Return what a query finds; nothing where nobody ever wrote."""
        if not self._file.exists():
            return []
        with self._file.open(write=False) as db:
            return db.execute(query, values).fetchall()

    def _of(self, make: Callable[[Any], T], rows: Iterable[Any]) -> tuple[T, ...]:
        """Return what rows are read as.

        Raises:
            StoreCorrupt: they cannot be.
        """
        try:
            return tuple(map(make, rows))
        except (ValueError, TypeError, KeyError) as error:
            raise self._file.damaged(error) from error

    @contextmanager
    def _writing(self) -> Iterator[Db]:
        with self._file.open(write=True) as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:  # a full disk has ended it
                    db.execute("ROLLBACK")
                raise
