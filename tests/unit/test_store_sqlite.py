"""The SQLite store: made once, never made anew, refused when it is not ours, right about its locks."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from bento_rollout.errors import InvalidValue, StoreCorrupt, StoreUnreachable
from bento_rollout.feed import Feed
from bento_rollout.operations import open_rollout
from bento_rollout.store.database import SCHEMA
from bento_rollout.store.sqlite import SQLiteStore
from tests.states import NAME, following, grow, seed, store_at


def test_only_a_service_makes_a_store(tmp_path: Path) -> None:
    """A command that finds no store says so and makes none; a service makes it, folders included."""
    path = tmp_path / "home" / "rollouts.db"
    with pytest.raises(StoreUnreachable, match="there is no store"):
        SQLiteStore(path).read(NAME)
    assert not path.parent.exists()
    assert SQLiteStore(path, create=True).read(NAME) is None
    assert path.exists()


def test_a_store_is_made_once(tmp_path: Path) -> None:
    """A service that had a store does not make another when it vanishes, even with nothing left beside it."""
    store = SQLiteStore(tmp_path / "rollouts.db", create=True)
    assert list(store.names()) == []
    store.path.unlink()
    with pytest.raises(StoreUnreachable, match="there is no store"):
        store.names()
    assert not store.path.exists()


def test_a_lost_store_is_not_made_anew(tmp_path: Path) -> None:
    """While a last good copy lies beside it, nobody makes a store in place of one that is gone or empty."""
    store = store_at(tmp_path / "rollouts.db", 3)
    for lose, state in ((store.path.unlink, "gone"), (store.path.touch, "empty")):
        lose()
        with pytest.raises(StoreCorrupt, match=f"is {state}.*copy of {NAME}.*doctor --repair"):
            SQLiteStore(store.path, create=True).read(NAME)


def test_newer_schema(tmp_path: Path) -> None:
    """A store of a newer version is refused with the remedy, and left as it is."""
    store = store_at(tmp_path / "rollouts.db")
    with sqlite3.connect(store.path) as db:
        db.execute(f"PRAGMA user_version = {SCHEMA + 1}")
    db.close()
    data = store.path.read_bytes()
    attempts: tuple[Callable[[], object], ...] = (
        lambda: store.read(NAME),
        lambda: SQLiteStore(store.path, create=True).commit(seed(), after=0),
    )
    for attempt in attempts:
        with pytest.raises(StoreUnreachable, match="use a newer bento_rollout"):
            attempt()
    assert store.path.read_bytes() == data


@pytest.mark.parametrize("create", [False, True])
def test_somebody_elses_database(tmp_path: Path, create: bool) -> None:
    """A database of something else is refused, and left as it is."""
    path = tmp_path / "theirs.db"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE users (name TEXT)")
    db.close()
    data = path.read_bytes()
    with pytest.raises(StoreCorrupt, match="not a store of bento_rollout"):
        SQLiteStore(path, create=create).names()
    assert path.read_bytes() == data


def test_the_file_refuses_to_forget(tmp_path: Path) -> None:
    """The history is append-only in the file itself: rows can neither be changed nor removed."""
    store = store_at(tmp_path / "rollouts.db", 3)
    db = sqlite3.connect(store.path)
    for statement in ("UPDATE revisions SET author = 'nobody'", "DELETE FROM revisions WHERE revision = 2"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            db.execute(statement)
    db.close()
    assert [commit.author for commit in store.history(NAME)] == ["test", "test", "spec"]


@pytest.mark.parametrize("stored", ["{", "[]", '{"name": "other"}', "", "\x00"])
def test_a_damaged_revision(tmp_path: Path, stored: str) -> None:
    """A revision that cannot be read is reported as damage, not served."""
    store = store_at(tmp_path / "rollouts.db", 2)
    db = sqlite3.connect(store.path)
    db.execute("DROP TRIGGER revisions_stay")
    db.execute("UPDATE revisions SET state = ? WHERE revision = 2", (stored,))
    db.commit()
    db.close()
    with pytest.raises(StoreCorrupt, match="a stored revision is damaged"):
        store.read(NAME)


def test_text_that_no_store_can_keep(tmp_path: Path) -> None:
    """A reason that is no valid text is refused as a wrong value, and nothing changes."""
    store = store_at(tmp_path / "rollouts.db", 2)
    newest = grow(store, 2)
    with pytest.raises(InvalidValue, match="not valid text"):
        store.commit(following(newest, reason="\udcff"), after=2)
    assert store.read(NAME) == newest
    assert grow(store, 3).revision == 3


@pytest.mark.parametrize("path", ["x" * 300, "file/rollouts.db"])
def test_a_path_that_cannot_be(tmp_path: Path, path: str) -> None:
    """A path that no file can lie at is reported as an unreachable store."""
    (tmp_path / "file").touch()
    for create in (False, True):
        with pytest.raises(StoreUnreachable):
            SQLiteStore(tmp_path / path, create=create).read(NAME)


def test_reading_keeps_the_locks_of_others_in_this_process(tmp_path: Path) -> None:
    """While one thread is in a transaction, looks by its process do not let other processes into it.

    Closing any descriptor of a file drops all POSIX locks that a process has on it, SQLite's included.
    """
    store = store_at(tmp_path / "rollouts.db", 2)
    feed = Feed(SQLiteStore(store.path), seed())

    program = (
        "import sqlite3, sys; db = sqlite3.connect(sys.argv[1], timeout=0, isolation_level=None)\n"
        "try: db.execute('BEGIN IMMEDIATE')\n"
        "except sqlite3.OperationalError as error: print(error)"
    )  # not forked: a fork would know of this process's transaction without the kernel's lock
    db = sqlite3.connect(store.path, isolation_level=None)
    db.execute("BEGIN IMMEDIATE")
    for look in (
        lambda: SQLiteStore(store.path).read(NAME),
        lambda: SQLiteStore(store.path, create=True).names(),
        feed.check,
        feed.table,
    ):
        look()
        attempt = [sys.executable, "-S", "-c", program, str(store.path)]
        assert "locked" in subprocess.run(attempt, capture_output=True, text=True, check=True).stdout
    db.execute("COMMIT")
    db.close()


def test_a_file_replaced_in_the_middle_of_a_commit(tmp_path: Path) -> None:
    """A commit into a file that was replaced meanwhile is not acknowledged."""
    store = store_at(tmp_path / "rollouts.db", 2)
    other = tmp_path / "other.db"
    other.write_bytes(store.path.read_bytes())
    blocker = sqlite3.connect(store.path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")  # the commit waits for this, the file already open
    failures: list[StoreUnreachable] = []

    def commit() -> None:
        try:
            grow(SQLiteStore(store.path, patience=20), 3)
        except StoreUnreachable as error:
            failures.append(error)

    thread = threading.Thread(target=commit, daemon=True)
    thread.start()
    thread.join(0.3)
    other.replace(store.path)
    blocker.execute("ROLLBACK")
    blocker.close()
    thread.join(30)
    assert len(failures) == 1
    assert len(store.history(NAME)) == 2
    assert grow(store, 3).revision == 3


@pytest.mark.parametrize("verb", ["rollback", "retire", "set_weights", "pause"])
def test_a_verb_changes_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    """A change appends one revision to its rollout; all other rows and other rollouts stay as they were."""
    store = store_at(tmp_path / "rollouts.db", 4)
    grow(store, 3, "other")
    monkeypatch.setenv("BENTO_ROLLOUT_STORE", f"sqlite:///{store.path}")
    monkeypatch.setenv("BENTO_ROLLOUT_SINGLE_REPLICA", "1")
    before = _rows(store.path)
    beside = _files(store.place("other"))
    rollout = open_rollout(NAME)
    if verb == "retire":
        rollout.retire("boosted", in_favour_of="logistic")
    elif verb == "set_weights":
        rollout.set_weights({"boosted": 7})
    else:
        getattr(rollout, verb)()
    after = _rows(store.path)
    assert set(before) < set(after)
    assert [(row[0], row[1]) for row in set(after) - set(before)] == [(NAME, 5)]
    assert _files(store.place("other")) == beside


def _rows(path: Path) -> list[tuple[object, ...]]:
    db = sqlite3.connect(path)
    rows = db.execute("SELECT * FROM revisions").fetchall() + db.execute("SELECT * FROM meta").fetchall()
    db.close()
    return rows


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
