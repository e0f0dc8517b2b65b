"""What `drift.db` holds, and how that becomes rows of its tables."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..alarms import Alarm, Told
from ..errors import Conflict
from .sql import Db

__all__ = [
    "ALARM",
    "LATCHES",
    "LEVELS",
    "MOST_ALARMS",
    "WATCHES",
    "Latch",
    "Level",
    "Point",
    "Stored",
    "alarm_of",
    "level_of",
    "put_alarm",
    "put_all",
    "stored_of",
]

MOST_POINTS = 1000
"""Points of a timeline; of more every other one goes."""

MOST_ALARMS = 1000
"""Alarms that are kept; of more the oldest that has ended goes."""


@dataclass(frozen=True, slots=True)
class Stored:
    """One watch as it was left: what it reads, how far, and what came of it. Immutable.

    Attributes:
        key: ``data``, ``schema`` or ``concept``.
        endpoint: whose calls are watched.
        version: how often it was written; whoever writes next names it.
        digest: of the reference; of losses empty.
        began, position: where in the ledger ``start`` was, and up to where it was read.
        start: the watch as it was there: from it the ledger gives the same again.
        body: the watch now.
        told: its settings, which JSON can say: with others it begins anew.
        updated: when it was written, in seconds since 1970.
    """

    key: str
    endpoint: str
    version: int
    digest: str
    began: Mapping[str, Any]
    position: Mapping[str, Any]
    start: bytes = field(repr=False)
    body: bytes = field(repr=False)
    told: Mapping[str, Any] = field(default_factory=dict)
    updated: float = 0.0


@dataclass(frozen=True, slots=True)
class Level:
    """How one test stands, for people and for every worker. Immutable.

    Attributes:
        test: ``data``, ``data/COLUMN=…`` of a segment, ``schema``, or ``concept/VARIANT``.
        kind: ``data``, ``schema`` or ``concept``.
        endpoint: whose calls are watched.
        epoch: how often it began, from 1.
        rows: of this epoch; of losses labels.
        log_evidence, log_bound: ln of the evidence, and ln of what is an alarm.
        told: further facts for people, which JSON can say.
        updated: when it was written, in seconds since 1970.
    """

    test: str
    kind: str
    endpoint: str
    epoch: int
    rows: int
    log_evidence: float
    log_bound: float
    told: Mapping[str, Any] = field(default_factory=dict)
    updated: float = 0.0


@dataclass(frozen=True, slots=True)
class Point:
    """The evidence after some rows of an epoch. Immutable."""

    test: str
    epoch: int
    row: int
    at: float
    log_evidence: float
    top: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Latch:
    """What every worker needs to know of a test. Immutable."""

    test: str
    kind: str
    endpoint: str
    log_evidence: float
    latched: bool


_WATCH = "key, endpoint, version, digest, began, position, start, body, told, updated"
WATCHES = f"SELECT {_WATCH} FROM watches ORDER BY key"  # noqa: S608 - constants
_LEVEL = "test, kind, endpoint, epoch, rows, log_evidence, log_bound, told, updated"
LEVELS = f"SELECT {_LEVEL} FROM levels ORDER BY test"  # noqa: S608 - constants
_POINT = "test, epoch, row, at, log_evidence, top"
LATCHES = (
    "SELECT test, kind, endpoint, log_evidence, CASE WHEN EXISTS (SELECT 1 FROM alarms "
    "WHERE alarms.test = levels.test AND alarms.\"end\" = '') THEN 1 ELSE 0 END FROM levels ORDER BY test"
)
ALARM = (
    'id, test, kind, endpoint, epoch, at, row, revision, words, features, acting, acts, "end", ended_at, '
    "ended_by, note"
)


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def _put(table: str, columns: str, key: str) -> str:
    """Return the statement that writes a row, over the one of its key."""
    names = columns.split(", ")
    keys = key.split(", ")
    update = ", ".join(f"{name} = excluded.{name}" for name in names if name not in keys)
    places = ", ".join("?" * len(names))
    put = f"INSERT INTO {table} ({columns}) VALUES ({places})"  # noqa: S608 - constants
    return f"{put} ON CONFLICT ({key}) DO UPDATE SET {update}"


def stored_of(row: Sequence[Any]) -> Stored:
    """Return a watch from its row."""
    key, endpoint, version, digest, began, position, start, body, told, updated = row
    told, began, position = json.loads(told), json.loads(began), json.loads(position)
    return Stored(key, endpoint, version, digest, began, position, bytes(start), bytes(body), told, updated)


def level_of(row: Sequence[Any]) -> Level:
    """Return how a test stands from its row."""
    told, updated = row[-2:]
    test, kind, endpoint, epoch, rows, evidence, bound = row[:-2]
    return Level(test, kind, endpoint, epoch, rows, evidence, bound, json.loads(told), updated)


def put_all(
    db: Db,
    watches: Sequence[Stored],
    levels: Sequence[Level],
    alarms: Sequence[Alarm],
    points: Sequence[Point],
    why: str,
) -> tuple[Stored, ...]:
    """Write all of it, in a transaction; return the watches with their new versions."""
    kept = tuple(replace(one, version=one.version + 1) for one in watches)
    for before, after in zip(watches, kept, strict=True):
        _put_watch(db, before, after)
    for level in levels:
        _put_level(db, level, why)
    for alarm in alarms:
        put_alarm(db, alarm)
    for point in points:
        _put_point(db, point)
    if alarms:
        _forget_oldest(db)
    return kept


def _put_watch(db: Db, before: Stored, after: Stored) -> None:
    (version,) = db.execute("SELECT version FROM watches WHERE key = ?", (before.key,)).fetchone() or (0,)
    if version != before.version:
        raise Conflict(
            f"somebody else has written the watch {before.key!r} meanwhile; nothing changed", version
        )
    values = (
        after.key, after.endpoint, after.version, after.digest, _json(after.began), _json(after.position),
        after.start, after.body, _json(after.told), after.updated,
    )  # fmt: skip
    db.execute(_put("watches", _WATCH, "key"), values)


def _put_level(db: Db, level: Level, why: str) -> None:
    values = (
        level.test, level.kind, level.endpoint, level.epoch, level.rows, level.log_evidence, level.log_bound,
        _json(level.told), level.updated,
    )  # fmt: skip
    db.execute(_put("levels", _LEVEL, "test"), values)
    began = (level.test, level.epoch, level.updated, why)
    db.execute(
        "INSERT INTO epochs (test, epoch, at, why) VALUES (?, ?, ?, ?) ON CONFLICT (test, epoch) DO NOTHING",
        began,
    )


def put_alarm(db: Db, alarm: Alarm) -> None:
    """Write an alarm: what it has become, or a new one, unless its test has found one in this epoch."""
    values = (
        alarm.id, alarm.test, alarm.kind, alarm.endpoint, alarm.epoch, alarm.at, alarm.row,
        alarm.revision, alarm.words,
        _json([one.plain for one in alarm.features]), _json(alarm.acting), _json(dict(alarm.acts)), alarm.end,
        alarm.ended_at, alarm.ended_by, alarm.note,
    )  # fmt: skip
    update = (
        'UPDATE alarms SET features = ?, acting = ?, acts = ?, "end" = ?, ended_at = ?, ended_by = ?, '
        "note = ? WHERE id = ?"
    )
    if not db.execute(update, (*values[9:], alarm.id)).rowcount:
        places = ", ".join("?" * len(values))
        insert = f"INSERT INTO alarms ({ALARM}) VALUES ({places}) ON CONFLICT DO NOTHING"  # noqa: S608 - constants
        db.execute(insert, values)


def alarm_of(row: Sequence[Any]) -> Alarm:
    """Return an alarm from its row."""
    id_, test, kind, endpoint, epoch, at, number, revision, words, *more = row
    features, acting, acts, end, ended_at, ended_by, note = more
    told = tuple(Told(**one) for one in json.loads(features))
    return Alarm(
        id_, test, kind, endpoint, epoch, at, number, revision, words, told, tuple(json.loads(acting)),
        json.loads(acts), end, ended_at, ended_by, note,
    )  # fmt: skip


def _put_point(db: Db, point: Point) -> None:
    key, epoch = point.test, point.epoch
    values = (key, epoch, point.row, point.at, point.log_evidence, _json(dict(point.top)))
    db.execute(_put("timeline", _POINT, "test, epoch, row"), values)
    where = "FROM timeline WHERE test = ? AND epoch = ?"
    (count,) = db.execute(f"SELECT count(*) {where}", (key, epoch)).fetchone()
    if count <= MOST_POINTS:
        return
    rows = [row for (row,) in db.execute(f"SELECT row {where} ORDER BY row", (key, epoch))]
    gone = [(key, epoch, row) for row in rows[1:-1:2]]
    db.executemany("DELETE FROM timeline WHERE test = ? AND epoch = ? AND row = ?", gone)


def _forget_oldest(db: Db) -> None:
    (count,) = db.execute("SELECT count(*) FROM alarms").fetchone()
    if count > MOST_ALARMS:
        oldest = "SELECT id FROM alarms WHERE \"end\" <> '' ORDER BY at LIMIT ?"
        db.execute(f"DELETE FROM alarms WHERE id IN ({oldest})", (count - MOST_ALARMS,))  # noqa: S608 - constants
