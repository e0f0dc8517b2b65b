"""The store of many hosts: one PostgreSQL database, and in each worker a link that hears of every commit."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ...errors import Conflict, InvalidValue, StoreCorrupt, StoreUnreachable
from ...spec import check_name
from ...state import Commit
from ..database import COLUMNS, commit_of, insert, row_of, sketch_of
from ..place import Shared
from ..sql import Db
from .connection import Connection
from .engine import Engine
from .faults import OperationalError
from .news import CHANNEL, SharedBeacon
from .silence import unheard

__all__ = ["PostgresStore"]

GRACE = 0.1
"""Seconds that a lease is waited for longer than it lasts: clocks differ."""

HASTY = 0.5
"""Seconds that a rollback waits at most, whoever is silent: what it takes away is harmful."""

_HASTY = ("rollback", "abort")

FIRST_LOOK, LAST_LOOK = 0.002, 0.05
"""Seconds between two looks at who has acknowledged."""

# ruff: noqa: S608 - the statements are put together from constants
_DURABLE = (
    "SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off'"
)
"""A server may be set up to lose what it has just committed when it crashes: never a state."""


class PostgresStore:
    """Revisions in one PostgreSQL database.

    Args:
        engine: the database.
        folder: where this host keeps what belongs to it: copies of states, by rollout.
        patience: seconds to wait for another process's lock.
    """

    kind = "postgresql"

    def __init__(self, engine: Engine, folder: Path, *, patience: float = 5.0) -> None:
        self.engine, self.folder = engine, folder
        self._patience = patience
        self._beacons: dict[str, SharedBeacon] = {}

    def hasty(self, patience: float) -> PostgresStore:
        """Return the same store for those who cannot wait long for a lock."""
        return PostgresStore(self.engine, self.folder, patience=patience)

    def place(self, name: str) -> Shared:
        """Return where what belongs to a rollout lies."""
        return Shared(self.engine, name, self.folder / check_name(name, "rollout name"))

    def beacon(self, name: str) -> SharedBeacon:
        """Return the signal of a rollout."""
        if name not in self._beacons:
            folder = self.folder / check_name(name, "rollout name")
            self._beacons[name] = SharedBeacon(self.engine, name, folder)
        return self._beacons[name]

    def names(self) -> Sequence[str]:
        """Return the names of all rollouts, sorted."""
        with self._open() as db:
            return [row[0] for row in db.execute("SELECT DISTINCT name FROM revisions ORDER BY name")]

    def read(self, name: str) -> Commit | None:
        """Return the newest commit of a rollout, or None when the store does not know it.

        Raises:
            StoreUnreachable: it cannot be read.
            StoreCorrupt: it holds less than was once committed to it, as this host remembers.
        """
        copy, of = self.beacon(name).read_copy()
        with self._open() as db:
            newest = next((commit_of(row) for row in _rows(db, name, 1)), None)
            (store_id,) = db.execute("SELECT value FROM meta WHERE key = 'store_id'").fetchone()
        if copy is not None:
            self._compare(name, copy, of == store_id, newest.revision if newest else 0)
        return newest

    def history(self, name: str, limit: int | None = None, *, before: int | None = None) -> Sequence[Commit]:
        """Return the commits of a rollout, newest first; ``before``: only those of lower revisions."""
        check_name(name, "rollout name")
        with self._open() as db:
            return [commit_of(row) for row in _rows(db, name, limit, before)]

    def sketches(
        self, name: str, limit: int, *, before: int | None = None, actions: Sequence[str] = ()
    ) -> Sequence[Commit]:
        """Return commits as `history` does, of these actions only, their targets unchecked: for a look."""
        check_name(name, "rollout name")
        with self._open() as db:
            return [sketch_of(row) for row in _rows(db, name, limit, before, actions)]

    def commit(self, commit: Commit, *, after: int) -> Sequence[str]:
        """Append a commit if ``after`` is the current revision, and wait until every worker serves it.

        A worker that has lost its connection is waited for until its lease has run out, and named. A rollback
        waits for nobody who is silent.

        Raises:
            Conflict: somebody else committed first; carries the current revision.
            StoreUnreachable: the store cannot be written; nothing has changed.
        """
        if commit.revision != after + 1:
            raise InvalidValue(f"revision {commit.revision} cannot follow revision {after}")
        name, row = check_name(commit.state.name, "rollout name"), row_of(commit)
        with self._open() as db:
            db.execute("BEGIN IMMEDIATE")
            query = "SELECT coalesce(max(revision), 0) FROM revisions WHERE name = ?"
            (current,) = db.execute(query, (name,)).fetchone()
            if current != after:
                raise Conflict(
                    f"{name!r} is at revision {current}, not {after}: somebody else changed it; look at "
                    f"`bento-rollout history {name}` and try again",
                    current,
                )
            insert(db, [row])
            db.execute("SELECT pg_notify(?, ?)", (CHANNEL, f"{name} {commit.revision}"))
            self._finish(db, commit)
        self.beacon(name).news.tell(commit)
        return self._reached(name, commit.revision, hasty=commit.action in _HASTY)

    def token(self, name: str) -> bytes:
        """Return a value that is another one after each commit that this process knows of."""
        return self.beacon(name).token()

    def heal(self, name: str, *, at_least: int = 0) -> Commit | None:
        """Return the newest commit, and tell this process of it if nobody has.

        Raises:
            StoreUnreachable: the store cannot be read.
            StoreCorrupt: it is damaged, or holds less than the revision that was certainly committed once.
        """
        news = self.beacon(name).news
        with self._open() as db:
            query = "SELECT coalesce(max(revision), 0) FROM revisions WHERE name = ?"
            (current,) = db.execute(query, (name,)).fetchone()
        newest = news.commit if news.commit and news.commit.revision == current else self.read(name)
        if (found := newest.revision if newest else 0) < at_least:
            raise StoreCorrupt(
                f"{self.engine.shown} went back: it holds revision {found} of {name!r}, and revision "
                f"{at_least} was committed; restore the newest backup, then restart the services"
            )
        if newest is not None:
            news.tell(newest)
        return newest

    def identity(self) -> str:
        """Return the id that this database got when it was made."""
        with self._open() as db:
            (store_id,) = db.execute("SELECT value FROM meta WHERE key = 'store_id'").fetchone()
        return str(store_id)

    def check(self) -> None:
        """Raise `StoreUnreachable` when the database cannot be used, or is of another version."""
        self.identity()

    @contextmanager
    def _open(self) -> Iterator[Connection]:
        try:
            with self.engine.lent(patience=self._patience) as db:
                yield db
        except sqlite3.OperationalError as error:
            raise StoreUnreachable(
                f"the store {self.engine.shown} cannot be used: {error}; nothing changed"
            ) from error
        except sqlite3.Error as error:
            raise StoreCorrupt(
                f"the store {self.engine.shown} is damaged: {error}; restore a backup"
            ) from error

    def _finish(self, db: Db, commit: Commit) -> None:
        """End the transaction; a connection that is lost in that moment leaves it open how it ended."""
        try:
            db.execute("COMMIT")
        except OperationalError as error:
            if self._is_there(commit) is False:
                raise
            if self._is_there(commit) is None:
                raise StoreUnreachable(
                    f"the store {self.engine.shown} was lost while revision {commit.revision} was committed "
                    f"({error}): whether it was is shown by `bento-rollout history {commit.state.name}`"
                ) from error

    def _is_there(self, commit: Commit) -> bool | None:
        """Whether a commit of ours is in the history; None: nobody can say."""
        until = time.monotonic() + self._patience
        while time.monotonic() < until:
            with suppress(StoreUnreachable):
                found = self.history(commit.state.name, 1, before=commit.revision + 1)
                return bool(found) and found[0] == commit
            time.sleep(LAST_LOOK)
        return None

    def _reached(self, name: str, revision: int, *, hasty: bool) -> tuple[str, ...]:
        """Wait until every worker serves a revision or its lease has run out; say who was not reached."""
        pause, began = FIRST_LOOK, time.monotonic()
        try:
            with self.engine.lent() as db:
                while True:
                    silent = unheard(db, name, revision)
                    left = max((one.lease - one.seconds for one in silent), default=-GRACE)
                    most = HASTY if hasty else 2 * max((one.lease for one in silent), default=0.0)
                    if left <= -GRACE or time.monotonic() - began > most:  # the latter whatever clocks do
                        return tuple(f"could not reach {one.words}" for one in silent)
                    time.sleep(pause)
                    pause = min(pause * 1.5, LAST_LOOK)
        except sqlite3.Error as error:
            return (f"it is committed, and whether every worker serves it could not be seen: {error}",)

    def _compare(self, name: str, copy: Commit, same: bool, current: int) -> None:
        """Raise `StoreCorrupt` when the database holds less, or other history, than this host remembers."""
        if not same:
            raise StoreCorrupt(
                f"{self.engine.shown} is another database than the one that {name!r} was served from on this "
                f"host; put the right one back, or remove {self.folder / name} if it is meant so"
            )
        if current < copy.revision:
            raise StoreCorrupt(
                f"{self.engine.shown} went back: it holds revision {current} of {name!r}, and revision "
                f"{copy.revision} was served on this host; restore the newest backup, or remove "
                f"{self.folder / name} if it is meant so"
            )


def _rows(
    db: Db, name: str, limit: int | None, before: int | None = None, actions: Sequence[str] = ()
) -> list[Sequence[object]]:
    chosen = f"AND action IN ({', '.join('?' * len(actions))}) " if actions else ""
    query = (
        f"SELECT {COLUMNS} FROM revisions WHERE name = ? AND revision < ? {chosen}"
        "ORDER BY revision DESC LIMIT ?"
    )
    highest = _NEWEST if before is None else min(before, _NEWEST)
    return db.execute(query, (name, highest, *actions, limit)).fetchall()


_NEWEST = (1 << 63) - 1
"""No revision is higher: the largest integer of a column."""
