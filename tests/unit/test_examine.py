"""``doctor``: what is wrong is shown, and a lost store is made anew from the last good copies."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from bento_rollout.errors import Conflict, StoreCorrupt, StoreUnreachable
from bento_rollout.examine import examine, repair
from bento_rollout.feed import Feed
from bento_rollout.operations import open_rollout
from bento_rollout.store.presence import Card, Presence
from bento_rollout.store.sqlite import SQLiteStore
from tests.states import NAME, finish, following, fork, grow, seed, started, store_at, wait_until


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SQLiteStore:
    """The store that the environment names: one rollout at revision 6, another at 3."""
    monkeypatch.setenv("BENTO_ROLLOUT_STORE", f"sqlite:///{tmp_path / 'rollouts.db'}")
    monkeypatch.setenv("BENTO_ROLLOUT_SINGLE_REPLICA", "1")
    for name in ("ADMIN_TOKEN", "ADMIN_TOKEN_FILE"):
        monkeypatch.delenv(f"BENTO_ROLLOUT_{name}", raising=False)
    store = store_at(tmp_path / "rollouts.db", 6)
    grow(store, 3, "other")
    return store


@pytest.fixture
def feed(store: SQLiteStore) -> Feed:
    """A feed that follows the rollout."""
    feed = Feed(SQLiteStore(store.path), seed())
    feed.check()
    return feed


def delete(store: SQLiteStore) -> None:
    """Remove the file."""
    store.path.unlink()


def empty(store: SQLiteStore) -> None:
    """Cut it to nothing."""
    os.truncate(store.path, 0)


def truncate(store: SQLiteStore) -> None:
    """Cut it in the middle of a page."""
    os.truncate(store.path, 9000)


def garbage(store: SQLiteStore) -> None:
    """Write over it what is no database."""
    store.path.write_bytes(b"garbage" * 5000)


def holes(store: SQLiteStore) -> None:
    """Write zeros over every page but the first."""
    data = store.path.read_bytes()
    store.path.write_bytes(data[:4096] + bytes(len(data) - 4096))


def rewind(store: SQLiteStore) -> None:
    """Put an older backup in its place."""
    backup = store.path.read_bytes()
    grow(store, 7)
    store.path.write_bytes(backup)


def another(store: SQLiteStore) -> None:
    """Put another store in its place."""
    other = store_at(store.path.with_name("theirs.db"), 9)
    shutil.move(other.path, store.path)


def foreign(store: SQLiteStore) -> None:
    """Put somebody else's database in its place."""
    store.path.unlink()
    with sqlite3.connect(store.path) as db:
        db.execute("CREATE TABLE users (name TEXT)")
    db.close()


def one_row(store: SQLiteStore) -> None:
    """Damage one revision in the middle of the history."""
    db = sqlite3.connect(store.path)
    db.execute("DROP TRIGGER revisions_stay")
    db.execute("UPDATE revisions SET state = '{' WHERE name = ? AND revision = 3", (NAME,))
    db.commit()
    db.close()


DAMAGES = [delete, empty, truncate, garbage, holes, rewind, another, foreign, one_row]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_repair(store: SQLiteStore, feed: Feed, damage: Callable[[SQLiteStore], None]) -> None:
    """Whatever became of a store, its rollouts go on from their last good state; running workers follow."""
    damage(store)
    feed.table()
    last = feed.commit
    assert examine()["store"]["problem"]
    done = repair()
    assert any(text.startswith(f"{NAME}: revision {last.revision + 1} ") for text in done)
    assert any(text.startswith("other: revision 4 ") for text in done)
    assert feed.table().revision == last.revision + 1  # at once
    assert feed.commit.state.model_copy(update={"revision": last.revision}) == last.state
    assert (feed.commit.action, feed.commit.parent) == ("repair", last.revision)
    feed.check()
    assert feed.trouble is None
    facts = examine()
    assert facts["store"]["problem"] is None
    assert [(row["name"], row["revision"]) for row in facts["rollouts"]] == [
        ("other", 4),
        (NAME, last.revision + 1),
    ]
    assert repair() == [f"{store.path} is whole; nothing was done"]
    open_rollout(NAME).set_weights({"boosted": 77})
    assert feed.table().revision == last.revision + 2


@pytest.mark.parametrize("damage", [garbage, rewind, another, holes], ids=lambda damage: damage.__name__)
def test_what_was_there_is_kept(store: SQLiteStore, damage: Callable[[SQLiteStore], None]) -> None:
    """The damaged file is put aside as it was, whatever is in it."""
    damage(store)
    data = store.path.read_bytes()
    done = repair()
    (aside,) = store.path.parent.glob("rollouts.db.damaged-*")
    assert aside.read_bytes() == data
    assert f"{store.path} was put aside as {aside.name}" in done


def test_the_history_is_saved(store: SQLiteStore) -> None:
    """What can still be read of the history is in the new store: `undo` and rollbacks further back work."""
    before = list(store.history(NAME))
    rewind(store)
    repair()
    after = list(store.history(NAME))
    assert [commit.revision for commit in after] == [8, 7, 6, 5, 4, 3, 2, 1]
    assert after[2:] == before
    open_rollout(NAME).undo()


def test_one_damaged_revision_costs_that_one(store: SQLiteStore) -> None:
    """When one old revision is unreadable the others are saved."""
    one_row(store)
    with pytest.raises(StoreCorrupt):
        store.history(NAME)
    repair()
    assert [commit.revision for commit in store.history(NAME)] == [7, 6, 5, 4, 2, 1]


def test_a_whole_store_is_left_alone(store: SQLiteStore) -> None:
    """A store that is whole is not touched."""
    before = {path: path.read_bytes() for path in store.path.parent.rglob("*") if path.is_file()}
    assert repair() == [f"{store.path} is whole; nothing was done"]
    assert {path: path.read_bytes() for path in store.path.parent.rglob("*") if path.is_file()} == before
    assert examine()["store"]["problem"] is None


def test_a_locked_store_is_left_alone(store: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that only cannot be reached now is not put aside."""
    monkeypatch.setattr("bento_rollout.examine.SQLiteStore", lambda path: SQLiteStore(path, patience=0.1))
    db = sqlite3.connect(store.path, isolation_level=None)
    db.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreUnreachable, match="locked"):
        repair()
    db.execute("ROLLBACK")
    db.close()
    assert {path.name for path in store.path.parent.glob("rollouts.db*")} == {"rollouts.db", "rollouts.db.d"}
    assert store.read(NAME) is not None


def test_nothing_to_repair_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no store, or a file that is none and no copies, nothing is made or put aside."""
    path = tmp_path / "rollouts.db"
    monkeypatch.setenv("BENTO_ROLLOUT_STORE", f"sqlite:///{path}")
    with pytest.raises(StoreUnreachable, match="there is no store"):
        repair()
    path.write_text("the diary of somebody else")
    with pytest.raises(StoreCorrupt, match="nothing was done"):
        repair()
    assert path.read_text() == "the diary of somebody else"
    assert not list(tmp_path.glob("*damaged*"))


def test_a_damaged_copy_beside_a_damaged_store(store: SQLiteStore, feed: Feed) -> None:
    """A rollout whose copy is damaged as well begins anew at its next start; the others are restored."""
    garbage(store)
    (store.place("other") / "state.json").write_bytes(b"{")
    done = repair()
    assert "other: no good copy was found; its next start seeds it from the spec" in done
    assert feed.table().revision == 7
    assert store.read("other") is None
    grow(store, 1, "other")
    assert list(store.names()) == ["other", NAME]


def test_it_goes_beyond_what_anybody_saw(store: SQLiteStore) -> None:
    """The new revision is newer than any that a worker serves, even when only an older state was saved."""
    presence = Presence(store.place(NAME))
    presence.write(Card(presence.token, os.getpid(), 1, "Screening", 40))
    presence.join()
    garbage(store)
    repair()
    presence.leave()
    newest = store.read(NAME)
    assert newest is not None
    assert (newest.revision, newest.parent) == (41, 6)


def test_an_old_journal_does_not_reach_the_new_store(store: SQLiteStore) -> None:
    """A journal that lay beside a damaged store is gone: nothing is rolled back into the new one."""
    copy = store.path.with_name("copy")
    db = sqlite3.connect(store.path, isolation_level=None)
    db.execute("PRAGMA cache_size = 1")
    db.execute("BEGIN IMMEDIATE")
    db.execute("INSERT INTO meta VALUES ('x', hex(zeroblob(100000)))")  # over the cache: it is written
    journal = store.path.with_name("rollouts.db-journal")
    shutil.copy(journal, copy)
    db.execute("ROLLBACK")
    db.close()
    store.path.write_bytes(b"garbage" * 9999)
    shutil.copy(copy, journal)
    repair()
    SQLiteStore(store.path).check()
    assert SQLiteStore(store.path).read(NAME) is not None
    assert not journal.exists()


def test_commits_and_repair_at_once(store: SQLiteStore) -> None:
    """No acknowledged change is lost by a repair that happens meanwhile; two repairs at once are one."""
    over, acknowledged = fork.Event(), fork.Value("i", 0)

    def change() -> None:
        ours = SQLiteStore(store.path)
        while not over.is_set():
            try:
                newest = ours.read(NAME)
                assert newest is not None
                commit = following(newest, percent=newest.revision % 100, reason="mine")
                ours.commit(commit, after=newest.revision)
            except (StoreUnreachable, Conflict):
                continue
            acknowledged.value = commit.revision

    changing = [started(change) for _ in range(2)]
    for _ in range(5):
        before = acknowledged.value
        wait_until(lambda before=before: acknowledged.value > before + 2)  # type: ignore[misc]  # bound now
        with store.beacon(NAME).writing():  # damage that does not meet a commit half-way
            store.path.write_bytes(b"garbage" * 5000)
        for process in [started(repair) for _ in range(2)]:
            finish(process)
    over.set()
    for process in changing:
        finish(process)
    newest = store.read(NAME)
    assert newest is not None
    assert newest.revision >= acknowledged.value
    assert len(list(store.path.parent.glob("rollouts.db.damaged-*"))) == 5
    feed = Feed(SQLiteStore(store.path), seed())
    feed.check()
    assert feed.trouble is None


def test_killed_repairs(store: SQLiteStore) -> None:
    """A repair that was killed half-way is done by the next one, also when only its last step is missing."""
    garbage(store)
    copies = {name: (store.place(name) / "state.json").read_bytes() for name in (NAME, "other")}
    repair()
    for name, data in copies.items():  # as if it was killed before it told of the new store
        (store.place(name) / "state.json").write_bytes(data)
    with pytest.raises(StoreCorrupt, match="another database"):
        store.read(NAME)
    repair()
    newest = store.read(NAME)
    assert newest is not None
    assert newest.revision > 6


def test_problems_are_shown(store: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that serves another revision, or has trouble, is among the problems."""
    presence = Presence(store.place(NAME))
    presence.write(Card(presence.token, 77, 1, "Screening", 5, trouble="no space"))
    presence.join()
    monkeypatch.setenv("BENTO_ROLLOUT_ADMIN_TOKEN_FILE", str(store.path.with_name("missing")))
    facts = examine()
    presence.leave()
    problems = next(row["problems"] for row in facts["rollouts"] if row["name"] == NAME)
    assert "worker 77: no space" in problems
    assert "worker 77 serves revision 5, not 6" in problems
    assert "cannot be read" in facts["token"]["problem"]


def test_tokens_are_judged_as_the_service_judges_them(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token file that keeps every operator out is a problem; what stands in it is not shown."""
    file = store.path.with_name("tokens")
    monkeypatch.setenv("BENTO_ROLLOUT_ADMIN_TOKEN_FILE", str(file))
    file.write_text("ann:first\nbob:second\n")
    assert examine()["token"] == {"admin": True, "names": ["ann", "bob"], "problem": None}
    file.write_text("ann:first\nsecret of bob: second\n")
    token = examine()["token"]
    assert (token["admin"], token["names"]) == (False, [])
    assert "line 2" in token["problem"]
    assert "secret" not in token["problem"]


def test_damaged_evidence_is_shown(store: SQLiteStore) -> None:
    """A try stands still while its evidence cannot be read, so that is a problem."""
    place = store.place(NAME)
    place.mkdir(parents=True, exist_ok=True)
    (place / "evidence.db").write_bytes(b"no database" * 1000)
    (found,) = [row for row in examine()["rollouts"] if row["name"] == NAME]
    assert any("evidence.db is damaged" in problem for problem in found["problems"])
