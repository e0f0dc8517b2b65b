"""The SQLite file of the people's queue: its schema, its connections, its errors in words."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from ..errors import StoreCorrupt, StoreUnreachable
from .files import locked
from .making import make_empty, make_folder
from .sql import Db

__all__ = ["FILE", "WHENEVER", "ReviewsFile"]

FILE = "reviews.db"
"""Its name in the folder of a rollout."""

APPLICATION_ID = 0x42525256  # "BRRV"

WHENEVER = 1e18
"""When a case is due that is not due at all: after each that is."""

_MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        # `asked`: what is asked, as the case has it, and no payload. `stage`: who is wanted, `review` or
        # `adjudicate`; NULL: nobody. `settle`: when `on_timeout` acts. `pending`: when the next answer that
        # may still be taken back is final. `part`: whose answer decided.
        """CREATE TABLE tasks (
            seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, prediction_id TEXT NOT NULL,
            endpoint TEXT NOT NULL, revision INTEGER NOT NULL, degree INTEGER NOT NULL,
            selection TEXT NOT NULL, probability REAL NOT NULL, held INTEGER NOT NULL, asked TEXT NOT NULL,
            reviewers INTEGER NOT NULL, adjudicate INTEGER NOT NULL, priority INTEGER NOT NULL,
            created REAL NOT NULL, due REAL NOT NULL, stage TEXT, escalated INTEGER NOT NULL DEFAULT 0,
            status TEXT NOT NULL, settle REAL, pending REAL, decided REAL,
            decided_by TEXT NOT NULL DEFAULT '', part TEXT, choice TEXT, secret TEXT NOT NULL,
            key_hash TEXT, decisions_for REAL NOT NULL,
            labels_until REAL NOT NULL, expires REAL NOT NULL DEFAULT 0
        )""",
        """CREATE INDEX tasks_wanted ON tasks (stage, due, priority DESC, seq) WHERE stage IS NOT NULL""",
        """CREATE INDEX tasks_wanted_of ON tasks (endpoint, stage, due, priority DESC, seq)
        WHERE stage IS NOT NULL""",
        "CREATE INDEX tasks_settle ON tasks (settle) WHERE settle IS NOT NULL",
        "CREATE INDEX tasks_pending ON tasks (pending) WHERE pending IS NOT NULL",
        "CREATE INDEX tasks_by_prediction ON tasks (prediction_id)",
        "CREATE INDEX tasks_by_key ON tasks (key_hash) WHERE key_hash IS NOT NULL",
        "CREATE INDEX tasks_by_age ON tasks (labels_until)",
        "CREATE INDEX tasks_ended ON tasks (endpoint, decided) WHERE decided IS NOT NULL",
        """CREATE TABLE inputs (
            task INTEGER PRIMARY KEY, until REAL NOT NULL, sealed INTEGER NOT NULL, content BLOB NOT NULL
        )""",
        "CREATE INDEX inputs_by_age ON inputs (until)",
        # Apart from the tasks: no query for a reviewer can bring one along by mistake.
        """CREATE TABLE suggestions (
            task INTEGER PRIMARY KEY, output TEXT, choice TEXT, score REAL, variant TEXT NOT NULL,
            digest TEXT NOT NULL, at REAL NOT NULL
        )""",
        # What one person has to do with one task. `first`: what was answered before the suggestion was shown.
        # `turn`: the order of answers, whatever the clock says.
        """CREATE TABLE parts (
            task INTEGER NOT NULL, reviewer TEXT NOT NULL, adjudicates INTEGER NOT NULL, state TEXT NOT NULL,
            token BLOB NOT NULL, claimed REAL NOT NULL, leased REAL NOT NULL, until REAL NOT NULL,
            lease REAL NOT NULL, sees TEXT NOT NULL, first TEXT, choice TEXT, comment TEXT,
            answered REAL, turn INTEGER, final_at REAL, final INTEGER NOT NULL DEFAULT 0, seconds REAL,
            reason TEXT, media_type TEXT, body BLOB
        )""",
        "CREATE UNIQUE INDEX parts_by_task ON parts (task, reviewer)",
        "CREATE INDEX parts_revealed ON parts (until) WHERE state = 'revealed'",
        "CREATE INDEX parts_held ON parts (until) WHERE state = 'held'",
        """CREATE TABLE decisions (
            task INTEGER PRIMARY KEY, until REAL NOT NULL, media_type TEXT NOT NULL, body BLOB NOT NULL
        )""",
        "CREATE INDEX decisions_by_age ON decisions (until)",
        """CREATE TABLE opened (endpoint TEXT PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID""",
        """CREATE TRIGGER tasks_open AFTER INSERT ON tasks WHEN NEW.status = 'open' BEGIN
            INSERT INTO opened VALUES (NEW.endpoint, 1)
            ON CONFLICT (endpoint) DO UPDATE SET number = number + 1;
        END""",
        """CREATE TRIGGER tasks_end AFTER UPDATE OF status ON tasks
        WHEN OLD.status = 'open' AND NEW.status <> 'open' BEGIN
            UPDATE opened SET number = number - 1 WHERE endpoint = OLD.endpoint;
        END""",
        """CREATE TRIGGER tasks_stay_ended BEFORE UPDATE OF status ON tasks
        WHEN OLD.status <> 'open' BEGIN SELECT RAISE(ABORT, 'a case ends once'); END""",
        """CREATE TRIGGER tasks_end_first BEFORE DELETE ON tasks
        WHEN OLD.status = 'open' BEGIN SELECT RAISE(ABORT, 'an open case is not deleted'); END""",
        """CREATE TABLE tests (
            endpoint TEXT NOT NULL, digest TEXT NOT NULL, label TEXT NOT NULL, test TEXT NOT NULL,
            PRIMARY KEY (endpoint, digest, label)
        ) WITHOUT ROWID""",
        """CREATE TABLE trail (
            seq INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, who TEXT NOT NULL, what TEXT NOT NULL,
            task TEXT NOT NULL, facts TEXT NOT NULL, hash BLOB NOT NULL
        )""",
        """CREATE TRIGGER trail_stays BEFORE UPDATE ON trail
        BEGIN SELECT RAISE(ABORT, 'the trail is append-only'); END""",
        """CREATE TRIGGER trail_remains BEFORE DELETE ON trail
        BEGIN SELECT RAISE(ABORT, 'the trail is append-only'); END""",
        "CREATE INDEX trail_by_task ON trail (task) WHERE task <> ''",
    ),
    (
        # Decisions of people that the ledger has not heard of as labels (`feedback.py`).
        "CREATE TABLE owed (task INTEGER PRIMARY KEY)",
        """CREATE TRIGGER tasks_owe AFTER UPDATE OF status ON tasks WHEN NEW.status = 'answered' BEGIN
            INSERT OR IGNORE INTO owed VALUES (NEW.seq);
        END""",
        """CREATE TRIGGER tasks_owe_no_more AFTER DELETE ON tasks BEGIN
            DELETE FROM owed WHERE task = OLD.seq;
        END""",
        "INSERT INTO owed SELECT seq FROM tasks WHERE status = 'answered'",
    ),
    (
        # Endpoints whose webhook is told of cases (`letters.py`). `told_full`: when it was last told that too
        # many are open. `degree`: the one that it knows of, by which revision of when.
        """CREATE TABLE told (
            endpoint TEXT PRIMARY KEY, waiting INTEGER NOT NULL DEFAULT 0, lost INTEGER NOT NULL DEFAULT 0,
            told_full REAL, degree INTEGER, revision INTEGER, since REAL
        ) WITHOUT ROWID""",
        # What it is still to be told. `first`, `tried`: when it was tried first and last. Nothing of the case
        # itself: what a letter says is read when it is sent.
        """CREATE TABLE letters (
            seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, endpoint TEXT NOT NULL,
            task INTEGER, kind TEXT NOT NULL, at REAL NOT NULL, facts TEXT NOT NULL,
            tries INTEGER NOT NULL DEFAULT 0, first REAL, tried REAL NOT NULL DEFAULT 0, due REAL NOT NULL
        )""",
        "CREATE INDEX letters_by_turn ON letters (endpoint, due, seq)",
        "CREATE INDEX letters_by_task ON letters (task) WHERE task IS NOT NULL",
        """CREATE TRIGGER letters_wait AFTER INSERT ON letters BEGIN
            UPDATE told SET waiting = waiting + 1 WHERE endpoint = NEW.endpoint;
        END""",
        """CREATE TRIGGER letters_wait_no_more AFTER DELETE ON letters BEGIN
            UPDATE told SET waiting = waiting - 1 WHERE endpoint = OLD.endpoint;
        END""",
        """CREATE TRIGGER tasks_told_no_more AFTER DELETE ON tasks BEGIN
            DELETE FROM letters WHERE task = OLD.seq;
        END""",
    ),
)
SCHEMA = len(_MIGRATIONS)

_REMEDY = "restore a backup, or move it away: a new queue begins, and what waits in this one is not answered"
_WAL_LIMIT = 1 << 23
_IDLE = 4


class ReviewsFile:
    """Opens the queue of a rollout; connections are kept for the next operation, and safe in any thread.

    A file that was replaced is never written through an old connection, nor is one from before a fork.

    Args:
        folder: where the rollout's shared files lie.
        patience: seconds to wait for another process's lock.
    """

    def __init__(self, folder: Path, *, patience: float = 5.0) -> None:
        self.folder, self.path, self.patience = folder, folder / FILE, patience
        self._idle: deque[tuple[object, Db]] = deque(maxlen=_IDLE)
        self._writer = threading.Lock()  # threads of one process wait here: SQLite's own waiting is a nap

    def exists(self) -> bool:
        """Whether anybody ever wrote."""
        return self.path.exists()

    @contextmanager
    def reading(self) -> Iterator[Db]:
        """Lend a connection that sees all of it at one moment, and changes nothing.

        Raises:
            StoreUnreachable: it is not there, cannot be read, or is of a newer schema.
            StoreCorrupt: it is damaged, or not a queue.
        """
        with self._in_words(), self._lent(make=False) as db:
            db.execute("BEGIN")
            yield db

    @contextmanager
    def writing(self, *, durable: bool = True) -> Iterator[Db]:
        """Lend a connection in a transaction, which is committed at the end, or undone by any error.

        Args:
            durable: whether a power cut may not undo it either; a killed process never does.

        Raises:
            StoreUnreachable: it is locked, full, read-only, or of a newer schema.
            StoreCorrupt: it is damaged, or not a queue.
        """
        with self._in_words(), self._writer, self._lent(make=True) as db:
            db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            db.execute("BEGIN IMMEDIATE")
            yield db
            db.execute("COMMIT")

    @contextmanager
    def alone(self) -> Iterator[Db]:
        """Lend a connection outside of any transaction."""
        with self._in_words(), self._writer, self._lent(make=False) as db:
            yield db

    def close(self) -> None:
        """Close the connections that nobody uses."""
        while self._idle:
            with suppress(IndexError):
                self._idle.pop()[1].close()

    def damaged(self, problem: str) -> StoreCorrupt:
        """Return the error that says what is wrong with the file, and what to do."""
        return StoreCorrupt(f"the reviews in {self.path} are damaged: {problem}; {_REMEDY}")

    @contextmanager
    def _lent(self, *, make: bool) -> Iterator[Db]:
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

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise StoreUnreachable(
                f"the reviews in {self.path} cannot be used: {error}{_hint(error)}"
            ) from error
        except sqlite3.DatabaseError as error:
            raise self.damaged(str(error)) from error
        except OSError as error:
            raise StoreUnreachable(f"the reviews in {self.path} cannot be used: {error.strerror}") from None

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
            raise StoreCorrupt(f"{self.path} is of another program, not reviews of bento_rollout; {_REMEDY}")
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
        return "; make space"
    if "locked" in text:
        return "; another process holds it: try again"
    if "readonly" in text or "unable to open" in text:
        return f"; is its folder there, and may this user write to it? (uid {os.geteuid()})"
    return ""
