"""The SQLite file of a store: opened for one operation, made only when it is new, its errors in words."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ..errors import InvalidValue, RolloutError, StoreCorrupt, StoreUnreachable
from ..state import Commit, RolloutState
from ..targets import Target
from .making import make_empty, make_folder
from .sql import Db

__all__ = ["COLUMNS", "SCHEMA", "Database", "Row", "commit_of", "insert", "row_of", "sketch_of"]

APPLICATION_ID = 0x42524C54  # "BRLT"
_MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
        """CREATE TABLE revisions (
            name TEXT NOT NULL, revision INTEGER NOT NULL, parent INTEGER NOT NULL, time REAL NOT NULL,
            author TEXT NOT NULL, action TEXT NOT NULL, reason TEXT NOT NULL, state TEXT NOT NULL,
            PRIMARY KEY (name, revision)
        )""",
        """CREATE TRIGGER revisions_stay BEFORE UPDATE ON revisions
        BEGIN SELECT RAISE(ABORT, 'the history is append-only'); END""",
        """CREATE TRIGGER revisions_remain BEFORE DELETE ON revisions
        BEGIN SELECT RAISE(ABORT, 'the history is append-only'); END""",
    ),
)
SCHEMA = len(_MIGRATIONS)
REMEDY = "restore a backup, or run `bento-rollout doctor --repair`"

COLUMNS = "name, revision, parent, time, author, action, reason, state"
Row = tuple[str, int, int, float, str, str, str, str]


class Database:
    """Opens one SQLite file; a connection lives for one operation.

    Commits are rare, and a file that was replaced is never written through an old descriptor. Nothing else in
    this process may open the file: closing any descriptor of it would drop the locks of SQLite's connections.

    Args:
        path: the file.
        folder: what lies beside it; a copy of a state in there says that the file was once made.
        create: make the file when it is not there and nothing says that it once was.
        patience: seconds to wait for another process's lock.
    """

    def __init__(self, path: Path, folder: Path, *, create: bool, patience: float) -> None:
        self.path = path
        self._folder = folder
        self._create = create
        self._patience = patience

    @contextmanager
    def open(self) -> Iterator[sqlite3.Connection]:
        """Open the file for one operation; what is not committed when the block ends is undone.

        Raises:
            StoreUnreachable: it is missing, locked, full, read-only, or of a newer schema.
            StoreCorrupt: it is damaged, lost, or not a store.
        """
        try:
            with closing(self._connect()) as db:
                yield db
        except sqlite3.Error as error:
            raise _in_words(error, self.path) from error
        except OSError as error:
            problem = f"the store {self.path} cannot be used: {error.strerror}; nothing changed"
            raise StoreUnreachable(problem) from None

    def inode(self) -> tuple[int, int]:
        """Return which file lies at the path now; zeros when there is none."""
        try:
            there = self.path.stat()
        except OSError:
            return (0, 0)
        return there.st_dev, there.st_ino

    def identity(self, db: sqlite3.Connection) -> str:
        """Return the id that this database got when it was made."""
        row = db.execute("SELECT value FROM meta WHERE key = 'store_id'").fetchone()
        if row is None:
            raise StoreCorrupt(f"the store {self.path} has lost its id; {REMEDY}")
        return str(row[0])

    def check(self) -> None:
        """Read the whole file.

        Raises:
            StoreCorrupt: when SQLite finds damage.
        """
        with self.open() as db:
            found = [row[0] for row in db.execute("PRAGMA quick_check(5)")]
        if found != ["ok"]:
            raise StoreCorrupt(f"the store {self.path} is damaged: {'; '.join(found)[:300]}; {REMEDY}")

    def fill(self, rows: Iterable[Row]) -> str:
        """Make a new file with this history, whole or not at all, and return its id."""
        with self.open() as db:
            db.execute("BEGIN IMMEDIATE")
            insert(db, rows)
            identity = self.identity(db)
            db.execute("COMMIT")
        return identity

    def _connect(self) -> sqlite3.Connection:
        mode = "rw"  # a file that may not be written is opened for reading
        if self._size() == 0:
            self._refuse_to_recreate()
            make_folder(self.path.parent)
            make_empty(self.path)
            mode = "rwc"
        url = f"file:{quote(os.fsencode(self.path))}?mode={mode}"
        db = sqlite3.connect(url, uri=True, timeout=self._patience, isolation_level=None)
        try:
            # EXTRA: the journal's removal is on the disk before a commit is acknowledged.
            db.execute("PRAGMA synchronous = EXTRA")
            self._migrate(db)
        except BaseException:
            db.close()
            raise
        self._create = False  # it is there: should it vanish, it is not made anew
        return db

    def _size(self) -> int:
        try:
            there = self.path.stat()
        except FileNotFoundError:
            return 0
        if not stat.S_ISREG(there.st_mode):
            what = "a folder" if stat.S_ISDIR(there.st_mode) else "no file"
            remedy = "move it away, or set BENTO_ROLLOUT_STORE"
            raise StoreUnreachable(f"the store {self.path} cannot be used: it is {what}; {remedy}")
        return there.st_size

    def require_folder(self) -> None:
        """Raise `StoreUnreachable` when what lies beside the file can be neither found nor made."""
        try:
            next(self._folder.iterdir(), None)
        except FileNotFoundError:
            return
        except OSError as error:
            problem = f"the store {self.path} cannot be used: {self._folder}: {error.strerror}"
            raise StoreUnreachable(problem) from None

    def _refuse_to_recreate(self) -> None:
        copies = sorted(path.parent.name for path in self._folder.glob("*/state.json"))
        if copies:
            lost = "empty" if self.path.exists() else "gone"
            raise StoreCorrupt(
                f"the store {self.path} is {lost}, and a last good copy of {', '.join(copies)} lies beside "
                f"it; {REMEDY}"
            )
        if not self._create:
            raise StoreUnreachable(
                f"there is no store at {self.path}; start the service once, or set BENTO_ROLLOUT_STORE to "
                "where it is"
            )

    def _migrate(self, db: sqlite3.Connection) -> None:
        version, owner = _header(db)
        if version == SCHEMA and owner == APPLICATION_ID:
            return
        if version > SCHEMA and owner == APPLICATION_ID:
            raise StoreUnreachable(
                f"the store {self.path} has schema {version}, and this version knows up to {SCHEMA}: use a "
                "newer bento_rollout"
            )
        if owner != APPLICATION_ID and (owner or version or _has_tables(db)):
            raise StoreCorrupt(
                f"{self.path} is not a store of bento_rollout; set BENTO_ROLLOUT_STORE to where it is"
            )
        if owner == 0:
            self._refuse_to_recreate()
        db.execute("BEGIN IMMEDIATE")
        _upgrade(db)
        db.execute("COMMIT")


def insert(db: Db, rows: Iterable[Row]) -> None:
    """Append revisions."""
    db.executemany("INSERT INTO revisions VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)


def row_of(commit: Commit) -> Row:
    """Return a commit as it is stored.

    Raises:
        InvalidValue: for text that no store can keep.
    """
    state = commit.state
    try:
        stored = state.model_dump_json()
        f"{commit.author}{commit.action}{commit.reason}".encode()
    except ValueError:
        problem = "the author, the reason or a name is not valid text (UTF-8); nothing changed"
        raise InvalidValue(problem) from None
    return (
        state.name,
        commit.revision,
        commit.parent,
        commit.time,
        commit.author,
        commit.action,
        commit.reason,
        stored,
    )


def commit_of(row: Sequence[object]) -> Commit:
    """Return the commit that was stored.

    Raises:
        StoreUnreachable: a newer version wrote it.
        StoreCorrupt: when it is not readable.
    """
    return _commit(row, RolloutState.load)


def sketch_of(row: Sequence[object]) -> Commit:
    """Return the commit that was stored, its targets unchecked: they may be many, and only be looked at.

    Raises:
        StoreUnreachable, StoreCorrupt: as `commit_of`.
    """
    return _commit(row, _sketch)


def _commit(row: Sequence[object], load: Callable[[Any], RolloutState]) -> Commit:
    try:
        name, revision, parent, time, author, action, reason, stored = row
        state = load(json.loads(str(stored)))
        data = {"parent": parent, "time": time, "author": author, "action": action, "reason": reason}
        commit = Commit.model_validate({"state": state, **data})
    except StoreCorrupt as error:
        raise _damaged(error) from None
    except StoreUnreachable as error:
        raise StoreUnreachable(f"revision {row[1]} of {row[0]!r}: {error}") from None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, RolloutError) as error:
        raise _damaged(error) from None
    if (state.name, state.revision) != (name, revision):
        raise StoreCorrupt(
            f"a stored revision is damaged: row {name!r} {revision} holds {state.name!r} {state.revision}; "
            f"{REMEDY}"
        )
    return commit


def _sketch(data: Any) -> RolloutState:
    targets = {
        name: Target.model_construct(keys=tuple(target["keys"]), header=dict(target["header"]))
        for name, target in data.get("targets", {}).items()
    }
    return RolloutState.load({**data, "targets": {}}).model_copy(update={"targets": targets})


def _damaged(error: Exception) -> StoreCorrupt:
    problem = " ".join(str(error).split())[:200]
    return StoreCorrupt(f"a stored revision is damaged: {problem}; {REMEDY}")


def _upgrade(db: sqlite3.Connection) -> None:
    version, _ = _header(db)  # somebody else may have done it before this transaction began
    for statements in _MIGRATIONS[version:]:
        for statement in statements:
            db.execute(statement)
    db.execute("INSERT OR IGNORE INTO meta VALUES ('store_id', ?)", (uuid.uuid4().hex,))
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    db.execute(f"PRAGMA user_version = {SCHEMA}")


def _header(db: sqlite3.Connection) -> tuple[int, int]:
    (version,) = db.execute("PRAGMA user_version").fetchone()
    (owner,) = db.execute("PRAGMA application_id").fetchone()
    return version, owner


def _has_tables(db: sqlite3.Connection) -> bool:
    return bool(db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])


def _in_words(error: sqlite3.Error, path: Path) -> StoreUnreachable:
    text = str(error)
    structural = any(sign in text for sign in ("no such", "not decode"))
    if isinstance(error, sqlite3.OperationalError) and not structural:
        hint = "; free some space" if "full" in text else ""
        return StoreUnreachable(f"the store {path} cannot be used: {text}{hint}; nothing changed")
    return StoreCorrupt(f"the store {path} is damaged: {text}; {REMEDY}")
