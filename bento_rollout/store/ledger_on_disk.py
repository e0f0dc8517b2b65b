"""The SQLite file of a ledger: made when it is new, its schema, what it takes on the disk."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from ..errors import StoreCorrupt, StoreUnreachable
from .files import locked, release, try_lock
from .ledger_inserting import Batch, Row, insert_each, insert_rows
from .ledger_pruning import transaction
from .making import make_empty, make_folder
from .sql import Db

__all__ = ["SCHEMA", "OnDisk", "size_of"]

APPLICATION_ID = 0x42524C47  # "BRLG"

_MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
        "CREATE TABLE counters (name TEXT PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID",
        """CREATE TABLE predictions (
            seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, row INTEGER NOT NULL, time REAL NOT NULL,
            key_hash TEXT, inference_id TEXT, endpoint TEXT NOT NULL, variant TEXT NOT NULL,
            revision INTEGER NOT NULL, reason TEXT NOT NULL, outcome TEXT NOT NULL, error TEXT,
            seconds REAL NOT NULL, task_id TEXT, trace_id TEXT, span_id TEXT, status INTEGER NOT NULL,
            media_type TEXT NOT NULL, size INTEGER NOT NULL, runs TEXT, inputs TEXT, output TEXT
        )""",
        "CREATE UNIQUE INDEX predictions_by_id ON predictions (id, row)",
        """CREATE INDEX predictions_by_inference_id ON predictions (inference_id, id, row)
        WHERE inference_id IS NOT NULL""",
        """CREATE TABLE shadows (
            id TEXT NOT NULL, row INTEGER NOT NULL, variant TEXT NOT NULL, champion TEXT NOT NULL,
            revision INTEGER NOT NULL, time REAL NOT NULL, relation TEXT NOT NULL, error TEXT, seconds REAL,
            champion_seconds REAL, trace_id TEXT, span_id TEXT, differences TEXT, output TEXT
        )""",
        "CREATE UNIQUE INDEX shadows_by_id ON shadows (id, row, variant)",
        """CREATE TABLE labels (
            seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT, row INTEGER NOT NULL, inference_id TEXT,
            name TEXT NOT NULL, source TEXT NOT NULL, time REAL NOT NULL, received REAL NOT NULL,
            value TEXT NOT NULL, reason TEXT NOT NULL, orphan INTEGER NOT NULL,
            CHECK ((id IS NULL) <> (inference_id IS NULL))
        )""",
        "CREATE INDEX labels_by_id ON labels (id, row) WHERE id IS NOT NULL",
        "CREATE INDEX labels_by_inference_id ON labels (inference_id) WHERE inference_id IS NOT NULL",
        "CREATE INDEX labels_orphaned ON labels (seq) WHERE orphan",
        """CREATE TRIGGER labels_stay
        BEFORE UPDATE OF id, row, inference_id, name, source, time, received, value, reason ON labels
        BEGIN SELECT RAISE(ABORT, 'labels are append-only'); END""",
    ),
    (
        "DROP INDEX labels_by_id",
        "DROP INDEX labels_by_inference_id",
        "CREATE INDEX labels_by_id ON labels (id, row, name, source) WHERE id IS NOT NULL",
        """CREATE INDEX labels_by_inference_id ON labels (inference_id, name, source)
        WHERE inference_id IS NOT NULL""",
        "CREATE TABLE forgotten (mark BLOB PRIMARY KEY, time REAL NOT NULL) WITHOUT ROWID",
    ),
    (
        "ALTER TABLE labels ADD COLUMN selection TEXT",
        "ALTER TABLE labels ADD COLUMN probability REAL",
        "DROP TRIGGER labels_stay",
        """CREATE TRIGGER labels_stay
        BEFORE UPDATE OF id, row, inference_id, name, source, time, received, value, reason, selection,
        probability ON labels BEGIN SELECT RAISE(ABORT, 'labels are append-only'); END""",
    ),
    (
        "ALTER TABLE predictions ADD COLUMN drift BLOB",
        """CREATE TABLE drift_schema (
            reference TEXT NOT NULL, kind TEXT NOT NULL, feature TEXT NOT NULL, count INTEGER NOT NULL,
            first REAL NOT NULL, last REAL NOT NULL, detail TEXT NOT NULL,
            PRIMARY KEY (reference, kind, feature)
        ) WITHOUT ROWID""",
    ),
)
SCHEMA = len(_MIGRATIONS)

REMEDY = "move it away, and a new one begins (`sqlite3 FILE .recover` may save what is in it)"
_WAL_LIMIT = 1 << 23
_CACHE_KIB = 16_384


class OnDisk:
    """A ledger in an SQLite file.

    Args:
        folder: where the rollout's shared files lie.
        patience: seconds to wait for another connection's lock.
    """

    remedy = REMEDY

    def __init__(self, folder: Path, patience: float) -> None:
        self._folder, self.path, self._patience = folder, folder / "ledger.db", patience
        self.where = str(self.path)

    def exists(self) -> bool:
        """Whether anybody ever wrote."""
        return self.path.exists()

    def reading(self) -> Db:
        """Return a connection that reads; on a read-only file system, too."""
        if not self.exists():
            raise StoreUnreachable(f"there is no ledger at {self.path}: nothing was ever kept")
        return self._connect("rw")

    def writing(self) -> Db:
        """Return a connection that writes; the file is made when it is missing."""
        if not self.exists():
            make_folder(self._folder)
            make_empty(self.path)
            return self._connect("rwc")
        return self._connect("rw")

    def size(self) -> int:
        """Return how many bytes the file and its log take."""
        found = 0
        for path in (self.path, self.path.with_name(f"{self.path.name}-wal")):
            with suppress(OSError):
                found += path.stat().st_size
        return found

    def used(self, db: Db) -> int:
        """Return how many bytes of the file are in use."""
        return size_of(db)

    def fits(self, db: Db | None, most: int) -> bool:  # noqa: ARG002 - the database's is asked
        """Whether the file is not larger than it may be."""
        try:
            return self.path.stat().st_size <= most
        except OSError:
            return True

    def given(self, db: Db) -> int:
        """Return the last ``seq`` that a prediction got; 0: there was none."""
        (seq,) = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'predictions'").fetchone() or (0,)
        return int(seq)

    def inode(self) -> tuple[int, int]:
        """Return which file lies at the path now; zeros when there is none."""
        try:
            there = self.path.stat()
        except OSError:
            return (0, 0)
        return there.st_dev, there.st_ino

    @contextmanager
    def alone(self, db: Db) -> Iterator[bool]:  # noqa: ARG002 - the database's is asked
        """Hold the right to tidy up for a block; false: another worker of the host has it."""
        lock = try_lock(self._folder / "ledger.prune.lock")
        try:
            yield lock is not None
        finally:
            if lock is not None:
                release(lock)

    def insert(self, db: Db, rows: Sequence[Row], batch: Batch) -> None:  # noqa: ARG002 - nothing comes twice
        """Write rows in one transaction."""
        with transaction(db):
            insert_rows(db, rows)

    def insert_each(
        self,
        db: Db,
        rows: Sequence[Row],
        batch: Batch,  # noqa: ARG002 - nothing comes twice
    ) -> tuple[set[int], str]:
        """Write rows of which some cannot be written, in one transaction."""
        with transaction(db):
            return insert_each(db, rows)

    def tidy(self, db: Db, now: float) -> None:
        """Do nothing: nothing of that kind is kept."""

    def hint(self, error: sqlite3.OperationalError) -> str:
        """Return what to do about an error."""
        text = str(error)
        if "full" in text:
            return "; make space, or keep less (`ledger.keep`, `ledger.max_size`)"
        if "locked" in text:
            return "; another process holds it: try again"
        if "readonly" in text or "unable to open" in text:
            return f"; is its folder there, and may this user write to it? (uid {os.geteuid()})"
        return ""

    def _connect(self, mode: str) -> Db:
        try:
            return self._opened(f"mode={mode}")
        except sqlite3.OperationalError:
            if os.access(self._folder, os.W_OK):
                raise
            return self._opened("mode=ro&immutable=1")  # SQLite cannot read a WAL file where it cannot write

    def _opened(self, how: str) -> Db:
        url = f"file:{quote(os.fsencode(self.path))}?{how}"
        db = sqlite3.connect(
            url, uri=True, timeout=self._patience, isolation_level=None, check_same_thread=False
        )
        try:
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
            db.execute(f"PRAGMA journal_size_limit = {_WAL_LIMIT}")
            if not self._is_current(db):
                with locked(self._folder / "ledger.lock", "the making of a ledger", self._patience):
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
                f"the ledger {self.path} has schema {version}, and this version knows up to {SCHEMA}: use a "
                "newer bento_rollout, or move it away"
            )
        if owner != APPLICATION_ID and (owner or version or _has_tables(db)):
            raise StoreCorrupt(f"{self.path} is not a ledger of bento_rollout; {REMEDY}")
        return version == SCHEMA and owner == APPLICATION_ID

    def _migrate(self, db: Db) -> None:
        if self._is_current(db):  # somebody else was faster
            return
        if _header(db) == (0, 0):
            db.execute("PRAGMA auto_vacuum = INCREMENTAL")  # before there is a page
            db.execute("PRAGMA journal_mode = WAL")
        version, _ = _header(db)
        db.execute("BEGIN IMMEDIATE")
        for statements in _MIGRATIONS[version:]:
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


def size_of(db: Db) -> int:
    """Return how many bytes of the file are in use."""
    (pages,) = db.execute("PRAGMA page_count").fetchone()
    (free,) = db.execute("PRAGMA freelist_count").fetchone()
    (size,) = db.execute("PRAGMA page_size").fetchone()
    return int((pages - free) * size)
