"""Who may read what the store writes: its owner alone, unless the folder is shared with a group."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from bento_rollout.bento.tasks import _write
from bento_rollout.errors import StoreUnreachable
from bento_rollout.opening import first_commit
from bento_rollout.spec import RolloutSpec
from bento_rollout.store.ballot import Ballot, Vote
from bento_rollout.store.files import write_json
from bento_rollout.store.mending import mend
from bento_rollout.store.presence import Card, Presence
from bento_rollout.store.sqlite import SQLiteStore

NOBODY = 65534


@pytest.fixture(autouse=True)
def _usual_umask() -> Iterator[None]:
    """The umask of most machines, which lets everybody read."""
    old = os.umask(0o022)
    yield
    os.umask(old)


def fill(path: Path) -> SQLiteStore:
    """Make a store with everything that a service and its operators write, and leave it all there."""
    store = SQLiteStore(path, create=True)
    first = first_commit("screening", "one", RolloutSpec(), {"one": "1", "two": "2"})
    store.commit(first, after=0)
    place = store.place("screening")
    presence, ballot = Presence(place), Ballot(place)
    presence.join()
    presence.write(Card(presence.token, 1, 1, "service", 1))
    with ballot.propose("one", "two", 1, "ann", "") as proposal:
        ballot.vote(proposal, Vote(presence.token, 1, None, 0.0))
        assert len(list(place.glob("votes/*/*"))) == 2
    assert ballot.claim_after(2, presence.token)
    return store


def modes(path: Path) -> dict[str, int]:
    """The modes of a store's file and of all that lies beside it."""
    beside = path.with_name(path.name + ".d")
    found = [*path.parent.glob(path.name + "*"), *beside.rglob("*")]
    return {str(file.relative_to(path.parent)): stat.S_IMODE(file.stat().st_mode) for file in found}


def check(path: Path, shared: int = 0) -> None:
    """Fail unless everything is its owner's, and the group's as far as ``shared`` (of a folder) says."""
    for name, mode in modes(path).items():
        if (path.parent / name).is_dir():
            expected = 0o700 | shared | (stat.S_ISGID if shared else 0)
        else:
            expected = 0o600 | shared & 0o060
        assert oct(mode) == oct(expected), name


def test_everything_is_private(tmp_path: Path) -> None:
    """Database, counter, copy, locks, cards, votes and their folders are for their owner alone."""
    path = tmp_path / "made for it" / "store.db"
    fill(path)
    check(path)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert {"store.db", "store.db.d/screening/counter", "store.db.d/screening/state.json"} <= set(modes(path))


@pytest.mark.parametrize(("mode", "shared"), [(0o2770, 0o070), (0o2775, 0o070), (0o2750, 0o050)])
def test_a_group_folder_is_shared(mode: int, shared: int, tmp_path: Path) -> None:
    """With the setgid bit on the folder its group may what it may there, whatever the umask; others not."""
    tmp_path.chmod(mode)
    fill(tmp_path / "store.db")
    check(tmp_path / "store.db", shared)


def test_what_exists_keeps_its_mode(tmp_path: Path) -> None:
    """A folder and files that somebody made, or opened to others, stay as they are."""
    beside = tmp_path / "store.db.d"
    beside.mkdir(mode=0o755)
    (tmp_path / "store.db").touch(mode=0o640)
    store = fill(tmp_path / "store.db")
    counter = beside / "screening" / "counter"
    counter.chmod(0o644)
    first = store.read("screening")
    assert first is not None
    second = first.state.pause(paused=True).model_copy(update={"revision": 2})
    store.commit(first.model_copy(update={"state": second, "parent": 1}), after=1)
    found = modes(tmp_path / "store.db")
    assert (found["store.db"], found["store.db.d"]) == (0o640, 0o755)
    assert found["store.db.d/screening/counter"] == 0o644


def test_journals_are_as_private_as_the_database(tmp_path: Path) -> None:
    """The journal of a commit, and of a task's plans, is not readable to others either."""
    store = fill(tmp_path / "store.db")
    with closing(sqlite3.connect(store.path, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        db.execute("INSERT INTO meta VALUES ('x', 'y')")
        assert modes(store.path)["store.db-journal"] == 0o600
        db.execute("ROLLBACK")
    plans = tmp_path / "tasks.db.plans"
    _write(str(plans), "task", "{}")
    with closing(sqlite3.connect(plans)) as db:
        db.execute("SELECT * FROM plan").fetchall()
        found = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.glob("tasks.db*")}
    assert set(found) == {"tasks.db.plans", "tasks.db.plans-wal", "tasks.db.plans-shm"}
    assert set(found.values()) == {0o600}


def test_a_mended_store_is_open_to_whom_the_old_one_was(tmp_path: Path) -> None:
    """`doctor --repair` neither opens a private store nor locks a group out of a shared one."""
    for mode in (0o600, 0o660):
        store = fill(tmp_path / oct(mode) / "store.db")
        store.path.chmod(mode)
        store.path.write_bytes(b"garbage" * 5000)
        assert mend(store, "ann")
        found = modes(store.path)
        assert found["store.db"] == mode
        assert {oct(m) for name, m in found.items() if "damaged" in name} == {oct(mode)}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes files for others")
def test_root_does_not_lock_the_owner_out(tmp_path: Path) -> None:
    """What root writes into a service's folder belongs to the service's user."""
    os.chown(tmp_path, NOBODY, NOBODY)
    store = fill(tmp_path / "store.db")
    everything = [store.path, store.folder, *store.folder.rglob("*")]
    assert {(file.stat().st_uid, file.stat().st_gid) for file in everything} == {(NOBODY, NOBODY)}


def test_json_is_replaced_as_private_as_it_was_made(tmp_path: Path) -> None:
    """A draft never shows to others what is to be private."""
    write_json(tmp_path / "x.json", {"a": 1})
    assert stat.S_IMODE((tmp_path / "x.json").stat().st_mode) == 0o600


def test_a_link_that_leads_nowhere_is_not_followed(tmp_path: Path) -> None:
    """Whoever may write to the folder cannot have a file made elsewhere by somebody more powerful."""
    store = SQLiteStore(tmp_path / "s.db", create=True)
    place, goal = store.place("screening"), tmp_path / "goal"
    place.mkdir(parents=True)
    (place / "commit.lock").symlink_to(goal)
    with pytest.raises(StoreUnreachable, match=r"commit\.lock"):
        store.commit(first_commit("screening", "one", RolloutSpec(), {"one": "1"}), after=0)
    assert not goal.exists()
