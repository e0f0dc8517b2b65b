"""`SideFile`: an SQLite file beside the store, opened for one operation at a time, its errors in words."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from ..errors import RolloutError, StoreCorrupt, StoreUnreachable
from .making import make_empty, make_folder
from .sql import Db

__all__ = ["SideFile"]


@dataclass(frozen=True, slots=True)
class SideFile:
    """A file of one rollout that all workers of a host share; whatever becomes of it, the store stays.

    Attributes:
        path: the file.
        what: what is in it, for messages.
        owner: the application id that tells it from files of others.
        migrations: the statements that bring each schema to the next; the first ones make the file.
        remedy: what to do about a damaged one.
        patience: seconds to wait for another worker's lock.
        synchronous: SQLite's pragma: ``OFF``, ``NORMAL``, ``FULL`` or ``EXTRA`` against a power cut.
    """

    path: Path
    what: str
    owner: int
    migrations: Sequence[Sequence[str]]
    remedy: str
    patience: float = 2.0
    synchronous: str = "FULL"

    def exists(self) -> bool:
        """Whether anybody ever wrote to it."""
        return self.path.exists()

    @contextmanager
    def open(self, *, write: bool) -> Iterator[Db]:
        """Open it for one operation, and make it when somebody writes to it first.

        Raises:
            StoreUnreachable: it is missing, locked, full, read-only, or of a newer schema.
            StoreCorrupt: it is damaged.
        """
        try:
            with closing(self._connect(write=write)) as db:
                yield db
        except sqlite3.OperationalError as error:
            raise StoreUnreachable(f"{self.what} in {self.path} cannot be used: {error}") from error
        except sqlite3.DatabaseError as error:
            raise self.damaged(error) from error
        except OSError as error:
            raise StoreUnreachable(f"{self.what} in {self.path} cannot be used: {error.strerror}") from None

    def damaged(self, error: Exception) -> StoreCorrupt:
        """Return the error that says what is wrong with the file, and what to do."""
        kind = "" if isinstance(error, RolloutError) else f"{type(error).__name__}: "
        return StoreCorrupt(f"{self.path} is damaged: {kind}{error}; {self.remedy}")

    def _connect(self, *, write: bool) -> Db:
        if write and not self.path.exists():
            make_folder(self.path.parent)
            make_empty(self.path)
        url = f"file:{quote(os.fsencode(self.path))}?mode={'rwc' if write else 'rw'}"
        db = sqlite3.connect(url, uri=True, timeout=self.patience, isolation_level=None)
        try:
            db.execute(f"PRAGMA synchronous = {self.synchronous}")
            self._migrate(db)
        except BaseException:
            db.close()
            raise
        return db

    def _migrate(self, db: Db) -> None:
        known, version = len(self.migrations), _version(db)
        (owner,) = db.execute("PRAGMA application_id").fetchone()
        if owner != self.owner and (owner or version or _has_tables(db)):
            raise StoreCorrupt(f"{self.path} is of another program, not {self.what}; {self.remedy}")
        if version == known:
            return
        if version > known:
            raise StoreUnreachable(
                f"{self.path} has schema {version}, and this version knows up to {known}: use a newer "
                "bento_rollout"
            )
        db.execute("BEGIN IMMEDIATE")
        for statements in self.migrations[_version(db) :]:  # somebody else may have been faster
            for statement in statements:
                db.execute(statement)
        db.execute(f"PRAGMA application_id = {self.owner}")
        db.execute(f"PRAGMA user_version = {known}")
        db.execute("COMMIT")


def _has_tables(db: Db) -> bool:
    return bool(db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])


def _version(db: Db) -> int:
    (version,) = db.execute("PRAGMA user_version").fetchone()
    return int(version)
