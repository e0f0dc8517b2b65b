"""The people's queue in an SQLite file of this host: its connections, its locks, what is wrong with it."""

from __future__ import annotations

import os
import sqlite3
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from ..errors import StoreCorrupt, StoreUnreachable
from .files import locked, release, try_lock
from .ledger_forgetting import rewrite
from .making import make_empty, make_folder
from .reviews_tables import APPLICATION_ID, MIGRATIONS, SCHEMA
from .sql import Db

__all__ = ["FILE", "LocalReviews"]

FILE = "reviews.db"
"""Its name in the folder of a rollout."""

_WAL_LIMIT = 1 << 23
_IDLE = 4


class LocalReviews:
    """Lends connections to the file; they are kept for the next operation, and safe in any thread.

    A file that was replaced is never written through an old connection, nor is one from before a fork.

    Args:
        folder: where the rollout's shared files lie.
        patience: seconds to wait for another process's lock.

    Attributes:
        where: what it is called in messages.
        remedy: what to do about a damaged one.
    """

    remedy = (
        "restore a backup, or move it away: a new queue begins, and what waits in this one is not answered"
    )

    def __init__(self, folder: Path, patience: float) -> None:
        self.folder, self.path, self.patience = folder, folder / FILE, patience
        self.where = str(self.path)
        self._idle: deque[tuple[object, Db]] = deque(maxlen=_IDLE)

    def exists(self) -> bool:
        """Whether anybody ever wrote."""
        return self.path.exists()

    @contextmanager
    def lent(self, *, make: bool) -> Iterator[Db]:
        """Lend a connection outside of any transaction; what is not committed when the block ends is undone.

        Args:
            make: make the file when there is none.

        Raises:
            StoreUnreachable: it is not there, or of a newer schema.
            StoreCorrupt: it is of another program.
            sqlite3.Error: any other trouble.
        """
        db = self._take(make=make)
        try:
            yield db
        except BaseException:
            db.close()  # which undoes what was not committed
            raise
        if db.in_transaction:
            db.execute("ROLLBACK")
        if len(self._idle) < _IDLE:
            self._idle.append((self._which(), db))
        else:
            db.close()

    def _take(self, *, make: bool) -> Db:
        which = self._which()
        while self._idle:
            with suppress(IndexError):
                of, db = self._idle.pop()
                if of == which:
                    return db
                if os.getpid() == of[0]:  # type: ignore[index]
                    db.close()
        if which[1:] == (0, 0):
            if not make:
                raise StoreUnreachable(f"there are no reviews at {self.path}: nobody was ever asked")
            make_folder(self.folder)
            make_empty(self.path)
        return self._connect("rwc" if make else "rw")

    def _which(self) -> tuple[int, int, int]:
        """Return which process this is, and which file lies at the path now."""
        try:
            there = self.path.stat()
        except FileNotFoundError:
            return (os.getpid(), 0, 0)
        return (os.getpid(), there.st_dev, there.st_ino)

    def begin(self, db: Db, *, durable: bool) -> None:
        """Begin a transaction that writes.

        Args:
            db: where.
            durable: whether a power cut may not undo it; a killed process never does.
        """
        db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        db.execute("BEGIN IMMEDIATE")

    @contextmanager
    def turn(self, name: str, what: str, *, wait: bool) -> Iterator[bool]:
        """Hold a right that one process has at a time, and say whether it is held; `ReviewsFile.turn`."""
        path = self.folder / name
        if wait:
            with locked(path, what, self.patience):
                yield True
            return
        held = try_lock(path)
        try:
            yield held is not None
        finally:
            if held is not None:
                release(held)

    def rewrite(self, db: Db) -> None:
        """Write the file anew, so that no byte of what was deleted is left in it."""
        rewrite(db, self.path, self.patience)

    def tidy(self, db: Db) -> None:
        """Give space back and empty the log, as far as nobody reads: what was deleted is in it."""
        db.execute("PRAGMA incremental_vacuum(2000)").fetchall()
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def hint(self, error: sqlite3.OperationalError) -> str:
        """Return what to do about trouble."""
        text = str(error)
        if "full" in text:
            return "; make space"
        if "locked" in text:
            return "; another process holds it: try again"
        if "readonly" in text or "unable to open" in text:
            return f"; is its folder there, and may this user write to it? (uid {os.geteuid()})"
        return ""

    def close(self) -> None:
        """Close the connections that nobody uses."""
        while self._idle:
            with suppress(IndexError):
                self._idle.pop()[1].close()

    def _connect(self, mode: str) -> Db:
        url = f"file:{quote(os.fsencode(self.path))}?mode={mode}"
        db = sqlite3.connect(
            url, uri=True, timeout=self.patience, isolation_level=None, check_same_thread=False
        )
        try:
            db.row_factory = sqlite3.Row
            db.execute("PRAGMA secure_delete = ON")
            db.execute(f"PRAGMA journal_size_limit = {_WAL_LIMIT}")
            if not self._is_current(db):
                with locked(self.folder / "reviews.lock", "the making of the reviews", self.patience):
                    self._migrate(db)
        except BaseException:
            db.close()
            raise
        return db

    def _is_current(self, db: Db) -> bool:
        """Whether the file has this version's schema; what never may have it is refused."""
        version, owner = _header(db)
        if version > SCHEMA and owner == APPLICATION_ID:
            raise StoreUnreachable(
                f"the reviews in {self.path} have schema {version}, and this version knows up to {SCHEMA}: "
                "use a newer bento_rollout"
            )
        if owner != APPLICATION_ID and (owner or version or _has_tables(db)):
            raise StoreCorrupt(
                f"{self.path} is of another program, not reviews of bento_rollout; {self.remedy}"
            )
        return version == SCHEMA and owner == APPLICATION_ID

    def _migrate(self, db: Db) -> None:
        if self._is_current(db):  # somebody else was faster
            return
        if _header(db) == (0, 0):
            db.execute("PRAGMA auto_vacuum = INCREMENTAL")  # before there is a page
            db.execute("PRAGMA journal_mode = WAL")
        version, _ = _header(db)
        db.execute("BEGIN IMMEDIATE")
        for statements in MIGRATIONS[version:]:
            for statement in statements:
                db.execute(statement)
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {SCHEMA}")
        db.execute("COMMIT")


def _header(db: Db) -> tuple[int, int]:
    (version,) = db.execute("PRAGMA user_version").fetchone()
    (owner,) = db.execute("PRAGMA application_id").fetchone()
    return int(version), int(owner)


def _has_tables(db: Db) -> bool:
    return db.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is not None
