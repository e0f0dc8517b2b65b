"""The SQLite file of a ledger: made when it is new, its schema, its errors in words."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from ..errors import StoreCorrupt, StoreUnreachable
from .files import locked
from .making import make_empty, make_folder
from .sql import Db

__all__ = ["SCHEMA", "WHOLE", "Bound", "LedgerFile", "id_at", "id_of", "split_id"]

APPLICATION_ID = 0x42524C47  # "BRLG"

WHOLE = -1
"""The row number of a prediction that answers a request as a whole."""

Bound = tuple[str, int]
"""A prediction's place in the order of ids: the request's id, and the row."""

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

_REMEDY = "move it away, and a new one begins (`sqlite3 FILE .recover` may save what is in it)"
_WAL_LIMIT = 1 << 23
_CACHE_KIB = 16_384


class LedgerFile:
    """Opens the ledger of a rollout.

    Args:
        folder: where the rollout's shared files lie.
        patience: seconds to wait for another connection's lock.
    """

    def __init__(self, folder: Path, *, patience: float = 5.0) -> None:
        self.folder, self.path, self._patience = folder, folder / "ledger.db", patience

    def exists(self) -> bool:
        """Whether anybody ever wrote."""
        return self.path.exists()

    @contextmanager
    def reading(self) -> Iterator[Db]:
        """Open the file for one operation that changes nothing; on a read-only file system, too.

        Raises:
            StoreUnreachable: it is not there, cannot be read, or is of a newer schema.
            StoreCorrupt: it is damaged, or not a ledger.
        """
        with self.in_words():
            if not self.exists():
                raise StoreUnreachable(f"there is no ledger at {self.path}: nothing was ever kept")
            with closing(self._connect("rw")) as db:
                db.execute("BEGIN")  # all of it at one moment
                yield db

    @contextmanager
    def writing(self) -> Iterator[Db]:
        """Open the file for one operation, and make it when it is missing.

        Raises:
            StoreUnreachable: it is locked, full, read-only, or of a newer schema.
            StoreCorrupt: it is damaged, or not a ledger.
        """
        with self.in_words(), closing(self.connect()) as db:
            yield db

    def connect(self) -> Db:
        """Return a connection that writes; what it raises `in_words` turns into our errors."""
        if not self.exists():
            make_folder(self.folder)
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

    def inode(self) -> tuple[int, int]:
        """Return which file lies at the path now; zeros when there is none."""
        try:
            there = self.path.stat()
        except OSError:
            return (0, 0)
        return there.st_dev, there.st_ino

    @contextmanager
    def in_words(self) -> Iterator[None]:
        """Turn what SQLite and the system raise into errors that say what to do."""
        try:
            yield
        except sqlite3.OperationalError as error:
            raise StoreUnreachable(f"the ledger {self.path} cannot be used: {error}{_hint(error)}") from error
        except sqlite3.DatabaseError as error:
            raise StoreCorrupt(f"the ledger {self.path} is damaged: {error}; {_REMEDY}") from error
        except OSError as error:
            raise StoreUnreachable(f"the ledger {self.path} cannot be used: {error.strerror}") from None

    def _connect(self, mode: str) -> Db:
        try:
            return self._opened(f"mode={mode}")
        except sqlite3.OperationalError:
            if os.access(self.folder, os.W_OK):
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
                with locked(self.folder / "ledger.lock", "the making of a ledger", self._patience):
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
            raise StoreCorrupt(f"{self.path} is not a ledger of bento_rollout; {_REMEDY}")
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


def _hint(error: sqlite3.OperationalError) -> str:
    text = str(error)
    if "full" in text:
        return "; make space, or keep less (`ledger.keep`, `ledger.max_size`)"
    if "locked" in text:
        return "; another process holds it: try again"
    if "readonly" in text or "unable to open" in text:
        return f"; is its folder there, and may this user write to it? (uid {os.geteuid()})"
    return ""


def id_of(request: str, row: int) -> str:
    """Return the id of a prediction: the request's, or ``ID.i`` for row i.

    >>> id_of("0190-a", WHOLE), id_of("0190-a", 3)
    ('0190-a', '0190-a.3')
    """
    return request if row == WHOLE else f"{request}.{row}"


def split_id(text: str) -> tuple[str, int]:
    """Return the request's id and the row that a prediction's id names.

    >>> split_id("0190-a"), split_id("0190-a.3")
    (('0190-a', -1), ('0190-a', 3))
    """
    request, dot, row = text.rpartition(".")
    if dot and request and row.isascii() and row.isdecimal() and len(row) < _MOST_DIGITS:
        return request.lower(), int(row)
    return text.lower(), WHOLE


_MOST_DIGITS = 10


def id_at(time: float) -> str:
    """Return an id that no prediction of that time, or later, is below: ids begin with their time.

    >>> id_at(1_645_557_742.0)
    '017f22e2-79b0'
    """
    digits = f"{min(max(int(time * 1000), 0), 0xFFFF_FFFF_FFFF):012x}"
    return f"{digits[:8]}-{digits[8:]}"
