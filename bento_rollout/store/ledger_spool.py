"""`Spool`: a worker's file of batches that could not be delivered yet, in their order."""

from __future__ import annotations

import base64
import json
import os
import sqlite3
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ..errors import StoreCorrupt, StoreUnreachable
from .files import release, try_lock
from .ledger_inserting import Batch, Row
from .ledger_rows import INSERT_ALARM, INSERT_COUNT, INSERT_PREDICTION, INSERT_SHADOW
from .making import make_empty, make_folder

__all__ = ["MOST", "Spool", "left_behind"]

MOST = 1 << 28
"""Bytes that all spools of a rollout on this host may take, or what the ledger may if that is less."""

RESERVE = 1 << 26
"""Bytes of the disk that are left to others, or an eighth of it if that is less."""

_KINDS = {
    "prediction": INSERT_PREDICTION,
    "shadow": INSERT_SHADOW,
    "count": INSERT_COUNT,
    "alarm": INSERT_ALARM,
}
_NAMES = {id(insert): name for name, insert in _KINDS.items()}


class Spool:
    """Keeps batches in a file of one worker, made with the first one and gone after the last. Any thread.

    Whoever holds the lock of the file beside it owns it: what a worker that was killed left behind is taken
    over by another one.

    Args:
        folder: this host's folder of the rollout.
        token: names the spool among all that ever were.
        most: bytes that all spools in the folder may take.
    """

    def __init__(self, folder: Path, token: str, most: int = MOST) -> None:
        self._folder, self.token, self._most = folder, token, most
        self._path, self._lock_path = folder / f"spool-{token}.db", folder / f"spool-{token}.lock"
        self._guard = threading.RLock()
        self._lock: int | None = None
        self._db: sqlite3.Connection | None = None
        self._closed = False
        self.facts = self.batches = 0

    def take(self) -> bool:
        """Take over what somebody left behind; return whether there is something, and it is nobody's.

        Raises:
            StoreCorrupt: it is damaged, and was moved away.
        """
        with self._guard:
            self._lock = try_lock(self._lock_path)
            if self._lock is None:
                return False
            if not self._path.exists():
                self._remove()
                return False
            try:
                self._open()
            except sqlite3.DatabaseError as error:
                aside = self._set_aside()
                raise StoreCorrupt(f"a spool is damaged ({error}); it is moved to {aside}") from error
            return True

    def put(self, number: int, rows: Sequence[Row]) -> None:
        """Keep a batch behind the others.

        Raises:
            StoreUnreachable: there is no room for it, or the file cannot be written.
        """
        facts, packed = len({fact for fact, *_ in rows}), _packed(rows)
        with self._guard:
            try:
                if self._db is None:
                    make_folder(self._folder)
                    self._lock = self._lock if self._lock is not None else try_lock(self._lock_path)
                    make_empty(self._path)
                    self._open()
                self._leave_room(len(packed))
                self._connection.execute("INSERT INTO batches VALUES (?, ?, ?)", (number, facts, packed))
            except (sqlite3.Error, OSError) as error:
                if _is_damage(error):  # the next try begins a new one
                    aside, facts = self._set_aside(), self.facts
                    self.facts = self.batches = 0
                    raise StoreUnreachable(
                        f"the spool {self._path} is damaged ({error}), {facts} facts are lost; "
                        f"it is moved to {aside}"
                    ) from error
                raise StoreUnreachable(f"the spool {self._path} cannot be written: {error}") from error
            self.facts, self.batches = self.facts + facts, self.batches + 1

    def first(self) -> tuple[Batch, list[Row] | None, int] | None:
        """Return the batch that came first, its rows (None: it is damaged), and how many facts."""
        with self._guard:
            if self._db is None:
                return None
            query = "SELECT number, facts, packed FROM batches ORDER BY number LIMIT 1"
            try:
                row = self._db.execute(query).fetchone()
            except sqlite3.DatabaseError as error:
                if not _is_damage(error):
                    raise
                self._set_aside()
                row, self.facts, self.batches = (0, self.facts, b""), 0, 0
            if row is None:
                return None
        number, facts, packed = row
        return Batch(self.token, number), _unpacked(packed), facts

    def drop(self, batch: Batch, facts: int) -> None:
        """Take out a batch that was delivered."""
        with self._guard:
            if self._db is None:
                return
            self._db.execute("DELETE FROM batches WHERE number = ?", (batch.number,))
            self.facts, self.batches = self.facts - facts, self.batches - 1
            if not self.batches:
                self._remove()

    def close(self) -> None:
        """Leave what is there to whoever takes it over."""
        with self._guard:
            self._closed = True
            if self.batches:
                self._disconnect()
                self._release()
            else:
                self._remove()

    @property
    def _connection(self) -> sqlite3.Connection:
        if self._db is None or self._closed:
            raise sqlite3.OperationalError("it is closed")
        return self._db

    def _open(self) -> None:
        url = f"file:{quote(os.fsencode(self._path))}?mode=rw"
        db = sqlite3.connect(url, uri=True, timeout=1.0, isolation_level=None, check_same_thread=False)
        try:
            db.execute("PRAGMA journal_mode = TRUNCATE")
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute(
                "CREATE TABLE IF NOT EXISTS batches "
                "(number INTEGER PRIMARY KEY, facts INTEGER NOT NULL, packed BLOB NOT NULL)"
            )
            found = db.execute("SELECT count(*), coalesce(sum(facts), 0) FROM batches").fetchone()
        except BaseException:
            db.close()
            raise
        self._db, (self.batches, self.facts) = db, found

    def _leave_room(self, size: int) -> None:
        taken = sum(_size(path) for path in self._folder.glob("spool-*.db"))
        (free,) = self._connection.execute("PRAGMA freelist_count").fetchone()
        (page,) = self._connection.execute("PRAGMA page_size").fetchone()
        if taken - free * page + size > self._most:
            raise StoreUnreachable(f"the spool {self._path} is full: it may take {self._most} B")
        found = os.statvfs(self._folder)
        room, total = found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize
        if room < size + min(RESERVE, total // 8):
            raise StoreUnreachable(f"the disk of {self._path} is nearly full ({room} bytes free)")

    def _set_aside(self) -> Path:
        """Move a damaged file away; return where to."""
        aside = self._path.with_suffix(".damaged")
        with suppress(OSError):
            self._path.replace(aside)
        self._remove()
        return aside

    def _remove(self) -> None:
        self._disconnect()
        for name in (self._path.name, f"{self._path.name}-journal", self._lock_path.name):
            with suppress(OSError):
                if self._lock is not None:
                    (self._folder / name).unlink()
        self._release()

    def _disconnect(self) -> None:
        if self._db is not None:
            with suppress(sqlite3.Error):
                self._db.close()
        self._db = None

    def _release(self) -> None:
        if self._lock is not None:
            release(self._lock)
        self._lock = None


def left_behind(folder: Path, own: str, damaged: Callable[[str], None]) -> Iterator[Spool]:
    """Yield the spools of workers that live no more; whoever takes one closes it.

    Args:
        folder: this host's folder of the rollout.
        own: the token of the worker that asks.
        damaged: told of one that cannot be read, in words.
    """
    for path in sorted(folder.glob("spool-*.db")):
        token = path.stem.removeprefix("spool-")
        spool = Spool(folder, token)
        try:
            taken = token != own and spool.take()
        except StoreCorrupt as error:
            damaged(str(error))
            continue
        if taken:
            yield spool


def _packed(rows: Sequence[Row]) -> bytes:
    plain = [[fact, _NAMES[id(insert)], values] for fact, insert, values in rows]
    return zlib.compress(json.dumps(plain, separators=(",", ":"), default=_plain).encode(), 1)


def _unpacked(packed: bytes) -> list[Row] | None:
    """Return the rows of a batch; None: it is damaged."""
    try:
        return [
            (fact, _KINDS[name], tuple(map(_value, values)))
            for fact, name, values in json.loads(zlib.decompress(packed))
        ]
    except (zlib.error, ValueError, TypeError, KeyError):
        return None


def _plain(value: object) -> Any:
    """Return what JSON has no word for; what no row can hold becomes nothing, which is odd later."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {"bytes": base64.b64encode(value).decode()}
    return {"odd": type(value).__name__}


def _value(value: Any) -> Any:
    return base64.b64decode(value["bytes"]) if isinstance(value, dict) and "bytes" in value else value


def _is_damage(error: Exception) -> bool:
    return isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
