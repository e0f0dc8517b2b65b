"""`DriftFile`: what is known of drift, shared by the workers of a host: tests, alarms and their course.

One worker owns it and writes: how far it read, what came of that, and the alarms that it found, in one
transaction. A person's verb ends an alarm and begins an epoch in one, too. Whoever writes names the version
that it started from: what somebody else wrote meanwhile is never lost.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..alarms import Alarm, Told
from ..errors import Conflict, NotFound, StoreCorrupt, StoreUnreachable
from .side_file import SideFile

__all__ = ["DriftFile", "Latch", "Point", "Stored"]

APPLICATION_ID = 0x42524446  # "BRDF"
_MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE tests (
            key TEXT PRIMARY KEY, kind TEXT NOT NULL, endpoint TEXT NOT NULL, epoch INTEGER NOT NULL,
            version INTEGER NOT NULL, digest TEXT NOT NULL, began TEXT NOT NULL, position TEXT NOT NULL,
            rows INTEGER NOT NULL, log_evidence REAL NOT NULL, log_bound REAL NOT NULL, start BLOB NOT NULL,
            body BLOB NOT NULL, told TEXT NOT NULL, updated REAL NOT NULL
        ) WITHOUT ROWID""",
        """CREATE TABLE alarms (
            id TEXT PRIMARY KEY, test TEXT NOT NULL, kind TEXT NOT NULL, endpoint TEXT NOT NULL,
            epoch INTEGER NOT NULL, at REAL NOT NULL, row INTEGER NOT NULL, revision INTEGER NOT NULL,
            words TEXT NOT NULL, features TEXT NOT NULL, acting TEXT NOT NULL, acts TEXT NOT NULL, end TEXT NOT NULL,
            ended_at REAL, ended_by TEXT NOT NULL, note TEXT NOT NULL
        )""",
        "CREATE UNIQUE INDEX alarms_once ON alarms (test, epoch, kind, words) WHERE kind = 'schema'",
        "CREATE UNIQUE INDEX alarms_once_each ON alarms (test, epoch) WHERE kind <> 'schema'",
        "CREATE INDEX alarms_latched ON alarms (at) WHERE end = ''",
        """CREATE TABLE timeline (
            test TEXT NOT NULL, epoch INTEGER NOT NULL, row INTEGER NOT NULL, at REAL NOT NULL,
            log_evidence REAL NOT NULL, top TEXT NOT NULL, PRIMARY KEY (test, epoch, row)
        ) WITHOUT ROWID""",
        "CREATE TABLE epochs (test TEXT, epoch INTEGER, at REAL, why TEXT, PRIMARY KEY (test, epoch))",
        "CREATE TABLE reference (digest TEXT PRIMARY KEY, at REAL NOT NULL, body TEXT NOT NULL)",
        "CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    ),
)
_REMEDY = "move it away: the watch begins anew with the next rows, and predictions go on"

MOST_POINTS = 1000
"""Points of a timeline; of more every other one goes."""

MOST_ALARMS = 1000
"""Alarms that are kept; of more the oldest that has ended goes."""


@dataclass(frozen=True, slots=True)
class Stored:
    """One test as it was left. Immutable.

    Attributes:
        key: ``data``, or ``concept/VARIANT``.
        kind: ``data`` or ``concept``.
        endpoint: whose calls are watched.
        epoch: how often it began, from 1.
        version: how often it was written; whoever writes next names it.
        digest: of the reference.
        began, position: where in the ledger the epoch began, and up to where it was read.
        rows: of this epoch.
        log_evidence, log_bound: ln of the evidence, and ln of what is an alarm.
        start: the test as the epoch began: from it the ledger gives the same again.
        body: the test now.
        told: further facts for people, which JSON can say: settings, and what is counted.
        updated: when it was written, in seconds since 1970.
    """

    key: str
    kind: str
    endpoint: str
    epoch: int
    version: int
    digest: str
    began: Mapping[str, Any]
    position: Mapping[str, Any]
    rows: int
    log_evidence: float
    log_bound: float
    start: bytes = field(repr=False)
    body: bytes = field(repr=False)
    told: Mapping[str, Any] = field(default_factory=dict)
    updated: float = 0.0


@dataclass(frozen=True, slots=True)
class Point:
    """The evidence after some rows of an epoch. Immutable."""

    row: int
    at: float
    log_evidence: float
    top: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Latch:
    """What every worker needs to know of a test. Immutable."""

    key: str
    endpoint: str
    log_evidence: float
    rows: int
    latched: bool


class DriftFile:
    """What is known of drift in one rollout; each operation opens the file by itself.

    Args:
        folder: where the rollout's shared files lie; the file is made when somebody has something to keep.
        patience: seconds to wait for another process's lock.

    Raises:
        StoreUnreachable: every operation: the file is locked, full, read-only, or of a newer schema.
        StoreCorrupt: it is damaged, or another program's.
    """

    def __init__(self, folder: Path, *, patience: float = 2.0) -> None:
        self.path = folder / "drift.db"
        self._file = SideFile(
            self.path, "what is known of drift", APPLICATION_ID, _MIGRATIONS, _REMEDY, patience, "NORMAL"
        )

    def exists(self) -> bool:
        """Whether anybody ever wrote."""
        return self._file.exists()

    # -- reading ---------------------------------------------------------------------------------------

    def tests(self) -> tuple[Stored, ...]:
        """Return the tests, in the order of their keys."""
        return self._read((), lambda db: tuple(_stored(row) for row in db.execute(_TESTS)))

    def test(self, key: str) -> Stored | None:
        """Return one test; None: there is none."""
        return next((one for one in self.tests() if one.key == key), None)

    def latches(self) -> tuple[Latch, ...]:
        """Return what every worker needs to know, and nothing that is large."""
        return self._read(
            (),
            lambda db: tuple(Latch(*row[:-1], latched=bool(row[-1])) for row in db.execute(_LATCHES)),
        )

    def alarms(self, *, latched: bool = False, limit: int = 100) -> tuple[Alarm, ...]:
        """Return alarms, the newest first.

        Args:
            latched: only those that nobody has ended.
            limit: at most so many.
        """
        where = "WHERE end = ''" if latched else ""
        query = f"SELECT {_ALARM} FROM alarms {where} ORDER BY at DESC, id LIMIT ?"  # noqa: S608 - constants
        return self._read((), lambda db: tuple(_alarm(row) for row in db.execute(query, (limit,))))

    def timeline(self, key: str, epoch: int) -> tuple[Point, ...]:
        """Return the course of a test's evidence in one epoch, in order."""
        query = (
            "SELECT row, at, log_evidence, top FROM timeline WHERE test = ? AND epoch = ? ORDER BY row"
        )
        return self._read(
            (),
            lambda db: tuple(Point(*row[:3], json.loads(row[3])) for row in db.execute(query, (key, epoch))),
        )

    def epochs(self, key: str) -> tuple[tuple[int, float, str], ...]:
        """Return when each epoch of a test began, in seconds since 1970, and why."""
        query = "SELECT epoch, at, why FROM epochs WHERE test = ? ORDER BY epoch"
        return self._read((), lambda db: tuple(db.execute(query, (key,)).fetchall()))

    def reference(self, digest: str) -> str | None:
        """Return the reference of a digest, as it was kept; None: it was not."""
        query = "SELECT body FROM reference WHERE digest = ?"
        found = self._read(None, lambda db: db.execute(query, (digest,)).fetchone())
        return None if found is None else str(found[0])

    def facts(self) -> dict[str, Any]:
        """Return further facts, by name."""
        rows = self._read((), lambda db: db.execute("SELECT name, value FROM facts").fetchall())
        return {name: json.loads(value) for name, value in rows}

    # -- writing ---------------------------------------------------------------------------------------

    def keep_reference(self, digest: str, body: str, now: float) -> None:
        """Keep a reference, once: with it what is known can be read without the service."""
        if self.reference(digest) == body:
            return
        with self._writing() as db:
            db.execute("INSERT OR REPLACE INTO reference VALUES (?, ?, ?)", (digest, now, body))

    def note(self, name: str, value: object) -> None:
        """Keep a fact; None forgets it. One that is so already is not written."""
        if self.facts().get(name) == value:
            return
        with self._writing() as db:
            if value is None:
                db.execute("DELETE FROM facts WHERE name = ?", (name,))
            else:
                db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, _json(value)))

    def save(
        self,
        tests: Sequence[Stored],
        *,
        alarms: Sequence[Alarm] = (),
        points: Mapping[str, Point] = {},  # noqa: B006 - never written to
        why: str = "",
    ) -> tuple[Stored, ...]:
        """Keep tests, with what was found, all or nothing; return them with their new versions.

        An alarm that is kept already is brought up to what is given; a test finds one alarm in each epoch,
        and a second one is not kept.

        Args:
            tests: each with the version that it was read with; 0: it is new.
            alarms: those that are new or went on.
            points: of timelines, by test.
            why: of an epoch that begins.

        Raises:
            Conflict: somebody else has written one of them meanwhile; nothing is kept.
        """
        kept = tuple(_next(one) for one in tests)
        with self._writing() as db:
            for before, after in zip(tests, kept, strict=True):
                _put_test(db, before, after, why)
            for alarm in alarms:
                _put_alarm(db, alarm)
            for key, point in points.items():
                epoch = next(one.epoch for one in kept if one.key == key)
                _put_point(db, key, epoch, point)
            if alarms:
                _forget_oldest(db)
        return kept

    def change(self, id_: str, change: Callable[[Alarm], Alarm]) -> Alarm:
        """Bring one alarm on, as it is when nobody else writes; return it.

        Args:
            id_: the alarm's.
            change: what becomes of it.

        Raises:
            NotFound: there is none.
        """
        with self._writing() as db:
            row = db.execute(f"SELECT {_ALARM} FROM alarms WHERE id = ?", (id_,)).fetchone()  # noqa: S608
            if row is None:
                raise NotFound(f"there is no alarm {id_} in {self.path}")
            after = change(_alarm(row))
            _put_alarm(db, after)
        return after

    def revise(
        self,
        revise: Callable[[tuple[Stored, ...], tuple[Alarm, ...]], tuple[Sequence[Stored], Sequence[Alarm]]],
        *,
        why: str,
    ) -> None:
        """Change tests and alarms as they are while nobody else writes; for the verbs of people.

        Args:
            revise: given the tests and the latched alarms, what becomes of some of each.
            why: of an epoch that begins.
        """
        with self._writing() as db:
            tests = tuple(_stored(row) for row in db.execute(_TESTS))
            query = f"SELECT {_ALARM} FROM alarms WHERE end = '' ORDER BY at DESC, id"  # noqa: S608 - constants
            after, alarms = revise(tests, tuple(_alarm(row) for row in db.execute(query)))
            for one in after:
                _put_test(db, one, _next(one), why)
            for alarm in alarms:
                _put_alarm(db, alarm)

    def drop(self, keys: Collection[str]) -> None:
        """Forget tests that are not wanted any more; their alarms stay."""
        with self._writing() as db:
            db.executemany("DELETE FROM tests WHERE key = ?", [(key,) for key in keys])

    def set_aside(self, now: float) -> Path | None:
        """Put a damaged file aside, so that a new one is made; return where it lies then.

        Only the owner may. None: the file is whole, or cannot be moved.

        Args:
            now: seconds since 1970.
        """
        try:
            with self._file.open(write=False) as db:
                (found,) = db.execute("PRAGMA quick_check(1)").fetchone()
            if found != "ok":
                raise StoreCorrupt(str(found))
            self.tests(), self.alarms()
        except StoreCorrupt:
            aside = self.path.with_name(f"{self.path.name}.damaged-{int(now)}")
            with suppress(OSError):
                self.path.replace(aside)
                return aside
        except StoreUnreachable:  # it may be whole
            pass
        return None

    # -- the parts -------------------------------------------------------------------------------------

    def _read(self, nothing: Any, read: Callable[[sqlite3.Connection], Any]) -> Any:
        if not self._file.exists():
            return nothing
        with self._file.open(write=False) as db:
            try:
                return read(db)
            except (ValueError, TypeError, KeyError) as error:
                raise self._file.damaged(error) from error

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._file.open(write=True) as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:  # a full disk has ended it
                    db.execute("ROLLBACK")
                raise


_TEST = (
    "key, kind, endpoint, epoch, version, digest, began, position, rows, log_evidence, log_bound, start, "
    "body, told, updated"
)
_TESTS = f"SELECT {_TEST} FROM tests ORDER BY key"  # noqa: S608 - constants
_LATCHES = (
    "SELECT key, endpoint, log_evidence, rows, EXISTS (SELECT 1 FROM alarms WHERE test = key AND end = '') "
    "FROM tests ORDER BY key"
)
_ALARM = (
    "id, test, kind, endpoint, epoch, at, row, revision, words, features, acting, acts, end, ended_at, "
    "ended_by, note"
)


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def _stored(row: Sequence[Any]) -> Stored:
    key, kind, endpoint, epoch, version, digest, began, position, *rest = row
    rows, log_evidence, log_bound, start, body, told, updated = rest
    return Stored(
        key, kind, endpoint, epoch, version, digest, json.loads(began), json.loads(position), rows,
        log_evidence, log_bound, bytes(start), bytes(body), json.loads(told), updated,
    )  # fmt: skip


def _next(one: Stored) -> Stored:
    return replace(one, version=one.version + 1)


def _put_test(db: sqlite3.Connection, before: Stored, after: Stored, why: str) -> None:
    row = db.execute("SELECT version, epoch FROM tests WHERE key = ?", (before.key,)).fetchone()
    version, epoch = row or (0, 0)
    if version != before.version:
        raise Conflict(f"somebody else has written the test {before.key!r} meanwhile; nothing changed", version)
    values = (
        after.key, after.kind, after.endpoint, after.epoch, after.version, after.digest, _json(after.began),
        _json(after.position), after.rows, after.log_evidence, after.log_bound, after.start, after.body,
        _json(after.told), after.updated,
    )  # fmt: skip
    places = ", ".join("?" * len(values))
    db.execute(f"INSERT OR REPLACE INTO tests ({_TEST}) VALUES ({places})", values)  # noqa: S608 - constants
    if epoch != after.epoch:
        began = (after.key, after.epoch, after.updated, why)
        db.execute("INSERT OR REPLACE INTO epochs VALUES (?, ?, ?, ?)", began)


def _put_alarm(db: sqlite3.Connection, alarm: Alarm) -> None:
    values = (
        alarm.id, alarm.test, alarm.kind, alarm.endpoint, alarm.epoch, alarm.at, alarm.row,
        alarm.revision, alarm.words,
        _json([one.plain for one in alarm.features]), _json(alarm.acting), _json(dict(alarm.acts)), alarm.end,
        alarm.ended_at, alarm.ended_by, alarm.note,
    )  # fmt: skip
    update = (
        "UPDATE alarms SET features = ?, acting = ?, acts = ?, end = ?, ended_at = ?, ended_by = ?, note = ? "
        "WHERE id = ?"
    )
    if not db.execute(update, (*values[9:], alarm.id)).rowcount:
        places = ", ".join("?" * len(values))
        db.execute(f"INSERT OR IGNORE INTO alarms ({_ALARM}) VALUES ({places})", values)  # noqa: S608 - constants


def _alarm(row: Sequence[Any]) -> Alarm:
    *facts, features, acting, acts, end, ended_at, ended_by, note = row
    told = tuple(Told(**one) for one in json.loads(features))
    return Alarm(*facts, told, tuple(json.loads(acting)), json.loads(acts), end, ended_at, ended_by, note)


def _put_point(db: sqlite3.Connection, key: str, epoch: int, point: Point) -> None:
    values = (key, epoch, point.row, point.at, point.log_evidence, _json(dict(point.top)))
    db.execute("INSERT OR REPLACE INTO timeline VALUES (?, ?, ?, ?, ?, ?)", values)
    where = "FROM timeline WHERE test = ? AND epoch = ?"
    (count,) = db.execute(f"SELECT count(*) {where}", (key, epoch)).fetchone()  # noqa: S608 - constants
    if count <= MOST_POINTS:
        return
    rows = [row for (row,) in db.execute(f"SELECT row {where} ORDER BY row", (key, epoch))]  # noqa: S608 - constants
    gone = [(key, epoch, row) for row in rows[1:-1:2]]
    db.executemany("DELETE FROM timeline WHERE test = ? AND epoch = ? AND row = ?", gone)


def _forget_oldest(db: sqlite3.Connection) -> None:
    (count,) = db.execute("SELECT count(*) FROM alarms").fetchone()
    if count > MOST_ALARMS:
        oldest = "SELECT id FROM alarms WHERE end <> '' ORDER BY at LIMIT ?"
        db.execute(f"DELETE FROM alarms WHERE id IN ({oldest})", (count - MOST_ALARMS,))  # noqa: S608 - constants
