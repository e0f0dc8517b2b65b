"""The store of one host: an SQLite file, and a beacon beside it for each rollout.

A connection is opened for each operation: commits are rare, and a file that was replaced is never written through an
old descriptor. The rollback journal (not WAL) is used, so that a read-only mount can still be read.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

from pydantic import ValidationError

from ..errors import Conflict, StoreCorrupt, StoreUnreachable
from ..spec import check_name
from ..state import Commit, RolloutState
from .beacon import Beacon, check_rewound

__all__ = ["SQLiteStore"]

APPLICATION_ID = 0x42524C54  # "BRLT"
_MIGRATIONS = (
    """
    CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
    CREATE TABLE revisions (
        name TEXT NOT NULL, revision INTEGER NOT NULL, parent INTEGER NOT NULL, time REAL NOT NULL,
        author TEXT NOT NULL, action TEXT NOT NULL, reason TEXT NOT NULL, state TEXT NOT NULL,
        PRIMARY KEY (name, revision)
    );
    """,
)
SCHEMA = len(_MIGRATIONS)
_COLUMNS = "parent, time, author, action, reason, state"


class SQLiteStore:
    """Revisions in one SQLite file.

    Args:
        path: the file.
        create: make it when it is not there and nothing says that it once was; only services do, commands never.
        patience: seconds to wait for another process's lock.
    """

    kind = "sqlite"

    def __init__(self, path: str | Path, *, create: bool = False, patience: float = 5.0) -> None:
        self.path = Path(path).absolute()
        self.folder = self.path.with_name(self.path.name + ".d")
        self._create = create
        self._patience = patience
        self._beacons: dict[str, Beacon] = {}

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
        with self._open() as db:
            return [row[0] for row in db.execute("SELECT DISTINCT name FROM revisions ORDER BY name")]

    def read(self, name: str) -> Commit | None:
        """Return the newest commit of a rollout, or None."""
        return next(iter(self.history(name, 1)), None)

    def history(self, name: str, limit: int | None = None) -> Sequence[Commit]:
        """Return the commits of a rollout, newest first."""
        query = f"SELECT {_COLUMNS} FROM revisions WHERE name = ? ORDER BY revision DESC LIMIT ?"  # noqa: S608 - constants
        with self._open() as db:
            rows = db.execute(
                query, (check_name(name, "rollout name"), -1 if limit is None else limit)
            ).fetchall()
        return [_commit_of(row) for row in rows]

    def commit(self, commit: Commit, *, after: int) -> None:
        """Append a commit if ``after`` is the current revision, and tell every worker of this host."""
        name, beacon = commit.state.name, self.beacon(commit.state.name)
        with beacon.writing():
            with self._open() as db:
                db.execute("BEGIN IMMEDIATE")
                (current,) = db.execute(
                    "SELECT coalesce(max(revision), 0) FROM revisions WHERE name = ?", (name,)
                ).fetchone()
                identity = _identity(db)
                check_rewound(beacon, current, identity, str(self.path))
                if current != after:
                    raise Conflict(
                        f"{name!r} is at revision {current}, not {after}: somebody else changed it; look at `bento-rollout history {name}` and try again",
                        current,
                    )
                _insert(db, commit)
                db.execute("COMMIT")
            beacon.publish(commit, identity)

    def adopt(self, commit: Commit) -> None:
        """Insert a commit into a store that does not know the rollout yet: how a repaired one begins."""
        beacon = self.beacon(commit.state.name)
        with beacon.writing():
            with self._open() as db:
                _insert(db, commit)
                identity = _identity(db)
            beacon.publish(commit, identity)

    def token(self, name: str) -> bytes:
        """Return the counter of a rollout."""
        return self.beacon(name).token()

    def heal(self, name: str) -> None:
        """Publish what a writer committed and, killed, did not publish; open again what was replaced."""
        beacon = self.beacon(name)
        beacon.heal()
        known, newest = beacon.load(), self.read(name)
        if newest is None:
            check_rewound(beacon, 0, self.identity(), str(self.path))
            return
        behind = known is None or known.revision < newest.revision
        if not behind and beacon.revision_in(beacon.token()) == newest.revision:
            check_rewound(beacon, newest.revision, self.identity(), str(self.path))
            return
        with beacon.writing():
            newest = self.read(name)
            if newest is not None:
                check_rewound(beacon, newest.revision, self.identity(), str(self.path))
                beacon.publish(newest, self.identity())

    def identity(self) -> str:
        """Return the id that this database got when it was made."""
        with self._open() as db:
            return _identity(db)

    def check(self) -> None:
        """Read the whole file.

        Raises:
            StoreCorrupt: when SQLite finds damage.
        """
        with self._open() as db:
            found = [row[0] for row in db.execute("PRAGMA quick_check(5)")]
        if found != ["ok"]:
            raise StoreCorrupt(
                f"{self.path} is damaged: {'; '.join(found)[:300]}; restore a backup, or run `bento-rollout doctor --repair`"
            )

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            with contextlib.closing(self._connect()) as db:
                yield db
        except sqlite3.Error as error:
            raise _translated(error, self.path) from error

    def _connect(self) -> sqlite3.Connection:
        mode = "rw"
        if not self.path.exists() or self.path.stat().st_size == 0:
            copies = [folder.parent.name for folder in self.folder.glob("*/state.json")]
            if copies:
                raise StoreCorrupt(
                    f"the store {self.path} is {'empty' if self.path.exists() else 'gone'}, and a last good copy of {', '.join(sorted(copies))} lies beside it; restore a backup, or run `bento-rollout doctor --repair`"
                )
            if not self._create:
                raise StoreUnreachable(
                    f"there is no store at {self.path}; start the service once, or set BENTO_ROLLOUT_STORE to where it is"
                )
            self._make_folder()
            mode = "rwc"
        elif not _writable(self.path):
            mode = "ro"
        db = sqlite3.connect(
            f"file:{quote(str(self.path))}?mode={mode}",
            uri=True,
            timeout=self._patience,
            isolation_level=None,
        )
        try:
            db.execute("PRAGMA synchronous = FULL")
            self._migrate(db)
        except BaseException:
            db.close()
            raise
        return db

    def _make_folder(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreUnreachable(f"{self.path.parent} cannot be made: {error.strerror}") from None

    def _migrate(self, db: sqlite3.Connection) -> None:
        version = db.execute("PRAGMA user_version").fetchone()[0]
        owner = db.execute("PRAGMA application_id").fetchone()[0]
        if version == SCHEMA and owner == APPLICATION_ID:
            return
        if version > SCHEMA and owner == APPLICATION_ID:
            raise StoreUnreachable(
                f"{self.path} has schema {version}, and this version knows up to {SCHEMA}: use a newer bento_rollout"
            )
        if (
            not self._create
            or owner not in (0, APPLICATION_ID)
            or (owner == 0 and db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])
        ):
            raise StoreCorrupt(
                f"{self.path} is not a store of bento_rollout; set BENTO_ROLLOUT_STORE to where it is"
            )
        db.execute("BEGIN IMMEDIATE")
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version < SCHEMA:
            for script in _MIGRATIONS[version:]:
                for statement in filter(str.strip, script.split(";")):
                    db.execute(statement)
            db.execute("INSERT OR IGNORE INTO meta VALUES ('store_id', ?)", (uuid.uuid4().hex,))
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            db.execute(f"PRAGMA user_version = {SCHEMA}")
        db.execute("COMMIT")


def _identity(db: sqlite3.Connection) -> str:
    row = db.execute("SELECT value FROM meta WHERE key = 'store_id'").fetchone()
    if row is None:
        raise StoreCorrupt(
            "the store has lost its id; restore a backup, or run `bento-rollout doctor --repair`"
        )
    return str(row[0])


def _insert(db: sqlite3.Connection, commit: Commit) -> None:
    state = commit.state.model_dump_json()
    db.execute(
        "INSERT INTO revisions VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            commit.state.name,
            commit.revision,
            commit.parent,
            commit.time,
            commit.author,
            commit.action,
            commit.reason,
            state,
        ),
    )


def _commit_of(row: tuple[int, float, str, str, str, str]) -> Commit:
    parent, time, author, action, reason, state = row
    try:
        return Commit(
            state=RolloutState.load(json.loads(state)),
            parent=parent,
            time=time,
            author=author,
            action=action,
            reason=reason,
        )
    except (ValueError, TypeError, ValidationError) as error:
        raise StoreCorrupt(f"a stored revision is damaged: {' '.join(str(error).split())[:200]}") from None


def _writable(path: Path) -> bool:
    try:
        with path.open("r+b"):
            return True
    except OSError:
        return False


def _translated(error: sqlite3.Error, path: Path) -> StoreUnreachable:
    text = str(error)
    if isinstance(error, sqlite3.OperationalError) or "disk" in text:
        hint = "; free some space" if "full" in text else ""
        return StoreUnreachable(f"the store {path} cannot be used: {text}{hint}; nothing changed")
    return StoreCorrupt(
        f"the store {path} is damaged: {text}; restore a backup, or run `bento-rollout doctor --repair`"
    )
