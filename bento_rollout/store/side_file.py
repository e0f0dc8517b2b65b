"""`SideFile`: what lies beside the store, opened for one operation at a time, its errors in words."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

from ..errors import RolloutError, StoreCorrupt, StoreUnreachable
from .making import make_empty, make_folder
from .place import Place, Shared
from .sql import Db

__all__ = ["SideFile"]


class SideFile:
    """A file of one rollout that all its workers share; whatever becomes of it, the store stays.

    Where the rollout lies in a folder it is an SQLite file in there, which is made when somebody first writes
    to it; where it lies in a database that many hosts share, the tables of that name in there.

    Args:
        place: where what belongs to the rollout lies.
        name: of the file.
        what: what is in it, for messages.
        owner: the application id that tells an SQLite file from those of others.
        migrations: the statements that bring each schema of it to the next; the first ones make it.
        loss: what is lost with it, and what is not, for messages.
        patience: seconds to wait for another worker's lock.
        synchronous: SQLite's pragma: ``OFF``, ``NORMAL``, ``FULL`` or ``EXTRA`` against a power cut.
    """

    def __init__(
        self,
        place: Place,
        name: str,
        what: str,
        owner: int,
        migrations: Sequence[Sequence[str]],
        loss: str,
        *,
        patience: float = 2.0,
        synchronous: str = "FULL",
    ) -> None:
        self._what, self._loss = what, loss
        self._home: _Home = (
            _Tables(place, name, patience)
            if isinstance(place, Shared)
            else _File(place / f"{name}.db", what, owner, migrations, loss, patience, synchronous)
        )

    @property
    def where(self) -> str:
        """Where it is, for messages."""
        return self._home.where

    def exists(self) -> bool:
        """Whether anybody may have written to it.

        Raises:
            StoreUnreachable: a database cannot be asked.
        """
        try:
            return self._home.exists()
        except sqlite3.Error as error:
            raise self._unusable(error) from error

    def mark(self) -> object | None:
        """Return what is another one after every change; None: nobody ever wrote. Never raises."""
        return self._home.mark()

    @contextmanager
    def open(self, *, write: bool) -> Iterator[Db]:
        """Open it for one operation, and make it when somebody writes to it first.

        Raises:
            StoreUnreachable: it is missing, locked, full, read-only, or of a newer schema.
            StoreCorrupt: it is damaged.
        """
        try:
            with closing(self._home.connect(write=write)) as db:
                yield db
        except sqlite3.OperationalError as error:
            raise self._unusable(error) from error
        except sqlite3.DatabaseError as error:
            raise self.damaged(error) from error
        except OSError as error:
            raise self._unusable(error.strerror) from None

    def damaged(self, error: Exception) -> StoreCorrupt:
        """Return the error that says what is wrong with it, and what to do."""
        kind = "" if isinstance(error, RolloutError) else f"{type(error).__name__}: "
        home = self._home
        return StoreCorrupt(f"{home.where} is damaged: {kind}{error}; {home.remedy}: {self._loss}")

    def set_aside(self, now: float, read: Callable[[], object]) -> Path | None:
        """Put a damaged file aside, so that a new one is made; return where it lies then.

        None: it is whole, or cannot be moved. Tables are never moved: what to do about them is a person's.

        Args:
            now: seconds since 1970.
            read: reads what it holds, and raises what is wrong with that.
        """
        try:
            if self._home.is_whole():
                read()
                return None
        except (StoreCorrupt, sqlite3.DatabaseError) as error:
            if isinstance(error, sqlite3.OperationalError):  # it may be whole
                return None
        except (StoreUnreachable, OSError):
            return None
        return self._home.set_aside(now)

    def _unusable(self, problem: object) -> StoreUnreachable:
        return StoreUnreachable(f"{self._what} in {self.where} cannot be used: {problem}")


class _Home(Protocol):
    """Where a file of a rollout really is."""

    @property
    def where(self) -> str:
        """Where, for messages."""

    @property
    def remedy(self) -> str:
        """What to do about a damaged one, for messages."""

    def exists(self) -> bool:
        """Whether anybody may have written to it."""

    def mark(self) -> object | None:
        """Return what is another one after every change; None: nobody ever wrote."""

    def connect(self, *, write: bool) -> Db:
        """Open it."""

    def is_whole(self) -> bool:
        """Whether all of it can be read."""

    def set_aside(self, now: float) -> Path | None:
        """Put it aside."""


@dataclass(frozen=True, slots=True)
class _File:
    """An SQLite file, which whoever first writes to it makes."""

    path: Path
    what: str
    owner: int
    migrations: Sequence[Sequence[str]]
    loss: str
    patience: float
    synchronous: str

    remedy = "move it away"

    @property
    def where(self) -> str:
        return str(self.path)

    def exists(self) -> bool:
        return self.path.exists()

    def mark(self) -> object | None:
        try:
            state = self.path.stat()
        except OSError:
            return None
        return state.st_ino, state.st_mtime_ns, state.st_size

    def connect(self, *, write: bool) -> Db:
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

    def is_whole(self) -> bool:
        with closing(self.connect(write=False)) as db:
            return db.execute("PRAGMA quick_check(1)").fetchall() in ([], [("ok",)])

    def set_aside(self, now: float) -> Path | None:
        aside = self.path.with_name(f"{self.path.name}.damaged-{int(now)}")
        try:
            self.path.replace(aside)
        except OSError:
            return None
        return aside

    def _migrate(self, db: Db) -> None:
        known, version = len(self.migrations), _version(db)
        (owner,) = db.execute("PRAGMA application_id").fetchone()
        if owner != self.owner and (owner or version or _has_tables(db)):
            raise StoreCorrupt(
                f"{self.path} is of another program, not {self.what}; {self.remedy}: {self.loss}"
            )
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


@dataclass(frozen=True, slots=True)
class _Tables:
    """The tables of a database that stand for a file; `bento-rollout migrate` makes them."""

    place: Shared
    name: str
    patience: float

    @property
    def where(self) -> str:
        return self.place.words(self.name)

    @property
    def remedy(self) -> str:
        return f"restore a backup of it, or delete the rows of all its tables (schema rollout_…_{self.name})"

    def exists(self) -> bool:
        return self.place.known()

    def mark(self) -> object | None:
        return object()  # it is asked itself: that is one small query

    def connect(self, *, write: bool) -> Db:
        return self.place.connect(self.name, self.patience, make=write)

    def is_whole(self) -> bool:
        return True

    def set_aside(self, now: float) -> Path | None:  # noqa: ARG002 - as for a file
        return None


def _has_tables(db: Db) -> bool:
    return bool(db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])


def _version(db: Db) -> int:
    (version,) = db.execute("PRAGMA user_version").fetchone()
    return int(version)
