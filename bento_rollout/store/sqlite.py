"""The store of one host: an SQLite file, and a beacon beside it for each rollout."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path

from ..errors import Conflict, InvalidValue, StoreCorrupt, StoreUnreachable
from ..spec import check_name
from ..state import Commit
from .beacon import BLIND, Beacon, Turn
from .database import COLUMNS, Database, commit_of, insert, row_of, sketch_of

__all__ = ["SQLiteStore"]

QUICK = 0.05
"""Seconds that a check waits for the right to publish: who holds it is about to publish by himself."""


class SQLiteStore:
    """Revisions in one SQLite file.

    Args:
        path: the file.
        create: make it when it is not there and nothing says that it once was; only services do.
        patience: seconds to wait for another process's lock.
    """

    kind = "sqlite"

    def __init__(self, path: str | Path, *, create: bool = False, patience: float = 5.0) -> None:
        self.path = Path(path).absolute()
        self.folder = self.path.with_name(self.path.name + ".d")
        self._patience = patience
        self._database = Database(self.path, self.folder, create=create, patience=patience)
        self._beacons: dict[str, Beacon] = {}

    def hasty(self, patience: float) -> SQLiteStore:
        """Return the same store for those who cannot wait long for a lock; it makes no file."""
        return SQLiteStore(self.path, patience=patience)

    def place(self, name: str) -> Path:
        """Return the folder that a rollout's shared files lie in."""
        return self.folder / check_name(name, "rollout name")

    def beacon(self, name: str) -> Beacon:
        """Return the beacon of a rollout."""
        if name not in self._beacons:
            self._beacons[name] = Beacon(self.place(name))
        return self._beacons[name]

    def names(self) -> Sequence[str]:
        """Return the names of all rollouts, sorted."""
        with self._database.open() as db:
            return [row[0] for row in db.execute("SELECT DISTINCT name FROM revisions ORDER BY name")]

    def read(self, name: str) -> Commit | None:
        """Return the newest commit of a rollout, or None when the store does not know it.

        Raises:
            StoreUnreachable: it cannot be read.
            StoreCorrupt: it is damaged, or holds less than was once committed to it.
        """
        witness = self.beacon(name).witness()
        with self._database.open() as db:
            newest = _newest(db, name)
            identity = self._database.identity(db)
        witness.check(name, newest.revision if newest else 0, identity, self.path)
        if newest is None:
            self._database.require_folder()
        return newest

    def history(self, name: str, limit: int | None = None, *, before: int | None = None) -> Sequence[Commit]:
        """Return the commits of a rollout, newest first; ``before``: only those of lower revisions."""
        check_name(name, "rollout name")
        with self._database.open() as db:
            return [commit_of(row) for row in _rows(db, name, limit, before)]

    def sketches(
        self, name: str, limit: int, *, before: int | None = None, actions: Sequence[str] = ()
    ) -> Sequence[Commit]:
        """Return commits as `history` does, of these actions only, their targets unchecked: for a look."""
        check_name(name, "rollout name")
        with self._database.open() as db:
            return [sketch_of(row) for row in _rows(db, name, limit, before, actions)]

    def commit(self, commit: Commit, *, after: int) -> Sequence[str]:
        """Append a commit if ``after`` is the current revision, and tell every worker of this host.

        Raises:
            Conflict: somebody else committed first; carries the current revision.
            StoreUnreachable: the store cannot be written; nothing has changed.
        """
        if commit.revision != after + 1:
            raise InvalidValue(f"revision {commit.revision} cannot follow revision {after}")
        with self.beacon(commit.state.name).writing(self._patience) as turn:
            identity = self._append(commit, after)
            signalled = turn.publish(commit, identity)
        if not signalled and after:
            time.sleep(BLIND)  # by then every worker has looked by itself: what is acknowledged holds
        return ()

    def token(self, name: str) -> bytes:
        """Return the counter of a rollout."""
        return self.beacon(name).token()

    def heal(self, name: str, *, at_least: int = 0) -> Commit | None:
        """Return the newest commit, and do what a writer that was killed, or a deleted file, left undone.

        Args:
            name: the rollout.
            at_least: a revision that was certainly committed once.

        Raises:
            StoreUnreachable: the store cannot be read.
            StoreCorrupt: it is damaged, or holds less than was once committed to it.
        """
        beacon = self.beacon(name)
        beacon.reopen()
        witness = beacon.witness()
        newest = self.read(name)
        if (current := newest.revision if newest else 0) < at_least:
            raise StoreCorrupt(
                f"{self.path} went back: it holds revision {current} of {name!r}, and revision {at_least} "
                "was committed; put the right file back, or run `bento-rollout doctor --repair`"
            )
        if newest is not None and witness.is_behind(newest):
            self._republish(name)
        return newest

    def identity(self) -> str:
        """Return the id that this database got when it was made."""
        with self._database.open() as db:
            return self._database.identity(db)

    def check(self) -> None:
        """Read the whole file.

        Raises:
            StoreCorrupt: when SQLite finds damage.
        """
        self._database.check()
        self._database.require_folder()

    def _append(self, commit: Commit, after: int) -> str:
        """Append to the history while the right to commit is held; return the database's id."""
        name, row = commit.state.name, row_of(commit)
        witness = self.beacon(name).witness()
        inode = self._database.inode()
        with self._database.open() as db:
            db.execute("BEGIN IMMEDIATE")
            query = "SELECT coalesce(max(revision), 0) FROM revisions WHERE name = ?"
            (current,) = db.execute(query, (name,)).fetchone()
            identity = self._database.identity(db)
            witness.check(name, current, identity, self.path)
            if current != after:
                raise Conflict(
                    f"{name!r} is at revision {current}, not {after}: somebody else changed it; look at "
                    f"`bento-rollout history {name}` and try again",
                    current,
                )
            insert(db, [row])
            db.execute("COMMIT")
        if inode not in ((0, 0), self._database.inode()):
            raise StoreCorrupt(f"{self.path} was replaced during the commit; look at `bento-rollout doctor`")
        return identity

    def _republish(self, name: str) -> None:
        try:
            with self.beacon(name).writing(QUICK) as turn:
                self._publish_newest(name, turn)
        except StoreCorrupt:
            raise
        except StoreUnreachable:  # a read-only home, or somebody is just committing
            return

    def _publish_newest(self, name: str, turn: Turn) -> None:
        """Publish what the database has, unless somebody else has just done it."""
        witness, newest = self.beacon(name).witness(), self.read(name)
        if newest is not None and (witness.is_behind(newest) or not turn.trusted):
            turn.publish(newest, self.identity())


def _newest(db: sqlite3.Connection, name: str) -> Commit | None:
    return next((commit_of(row) for row in _rows(db, name, 1)), None)


def _rows(
    db: sqlite3.Connection,
    name: str,
    limit: int | None,
    before: int | None = None,
    actions: Sequence[str] = (),
) -> list[tuple[object, ...]]:
    chosen = f"AND action IN ({', '.join('?' * len(actions))}) " if actions else ""
    query = (
        f"SELECT {COLUMNS} FROM revisions WHERE name = ? AND revision < ? {chosen}"  # noqa: S608 - constants
        "ORDER BY revision DESC LIMIT ?"
    )
    highest = _NEWEST if before is None else min(before, _NEWEST)
    return db.execute(query, (name, highest, *actions, -1 if limit is None else limit)).fetchall()


_NEWEST = (1 << 63) - 1
"""No revision is higher: SQLite's largest integer."""
