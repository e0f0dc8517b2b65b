"""The counter and the copy: whatever happens to them, no reader fails, and freshness comes back."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bento_rollout import worker
from bento_rollout.errors import Conflict, StoreUnreachable
from bento_rollout.feed import Feed
from bento_rollout.store.beacon import BLIND, Beacon
from bento_rollout.store.sqlite import SQLiteStore
from tests.states import NAME, finish, following, grow, seed, started, store_at


@pytest.fixture
def store(tmp_path: Path) -> SQLiteStore:
    """A store at revision 3."""
    return store_at(tmp_path / "rollouts.db", 3)


@pytest.fixture
def feed(store: SQLiteStore) -> Feed:
    """A feed that serves revision 3."""
    feed = Feed(SQLiteStore(store.path), seed())
    feed.check()
    assert feed.table().revision == 3
    return feed


@pytest.fixture
def checking(feed: Feed) -> Iterator[None]:
    """The feed is checked as a worker does, from a thread of its own."""
    over = threading.Event()

    def check() -> None:
        while not over.wait(worker.CHECK):
            feed.check()

    thread = threading.Thread(target=check, daemon=True)
    thread.start()
    yield
    over.set()
    thread.join()


def truncate(counter: Path) -> None:
    """Cut it to nothing."""
    os.truncate(counter, 0)


def shorten(counter: Path) -> None:
    """Cut it in the middle."""
    os.truncate(counter, 11)


def delete(counter: Path) -> None:
    """Remove it."""
    counter.unlink()


def garbage(counter: Path) -> None:
    """Fill it with the largest numbers there are."""
    counter.write_bytes(b"\xff" * 4096)


def zeros(counter: Path) -> None:
    """Fill it with zeros."""
    counter.write_bytes(bytes(24))


def replace(counter: Path) -> None:
    """Put a copy of itself in its place: the same bytes in another file."""
    shutil.copy(counter, counter.with_name("copy"))
    counter.with_name("copy").replace(counter)


def older(counter: Path) -> None:
    """Put a file with other content in its place."""
    counter.with_name("other").write_bytes(b"older bytes than those before")
    counter.with_name("other").replace(counter)


def folder(counter: Path) -> None:
    """Put a folder in its place."""
    counter.unlink()
    counter.mkdir()


DAMAGES = [truncate, shorten, delete, garbage, zeros, replace, older]


@pytest.mark.parametrize("damage", [*DAMAGES, folder], ids=lambda damage: damage.__name__)
def test_a_damaged_counter_costs_no_request(
    store: SQLiteStore, feed: Feed, damage: Callable[[Path], None]
) -> None:
    """Whatever happens to the counter, requests go on at the last good state."""
    damage(store.place(NAME) / "counter")
    for _ in range(100):
        assert feed.table().revision == 3
    assert feed.trouble is None


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_counter_heals_at_the_check(
    store: SQLiteStore, feed: Feed, damage: Callable[[Path], None]
) -> None:
    """After one check a counter that was damaged is whole again, and changes are seen at once."""
    damage(store.place(NAME) / "counter")
    feed.check()
    for revision in range(4, 8):
        grow(store, revision)
        assert feed.table().revision == revision


@pytest.mark.usefixtures("checking")
@pytest.mark.parametrize("damage", [delete, replace, truncate], ids=lambda damage: damage.__name__)
def test_what_is_acknowledged_holds_even_then(
    store: SQLiteStore, feed: Feed, damage: Callable[[Path], None]
) -> None:
    """A commit that finds the counter lost is acknowledged only when every worker has looked by itself."""
    assert worker.CHECK < BLIND
    damage(store.place(NAME) / "counter")
    SQLiteStore(store.path).commit(following(grow(store, 3)), after=3)
    assert feed.table().revision == 4


def test_a_folder_in_place_of_the_counter(store: SQLiteStore, feed: Feed) -> None:
    """When nothing can be signalled nothing is committed: the change is refused, and the state untouched."""
    folder(store.place(NAME) / "counter")
    with pytest.raises(StoreUnreachable, match="counter cannot be written"):
        grow(store, 4)
    feed.check()
    assert (feed.table().revision, len(store.history(NAME))) == (3, 3)
    (store.place(NAME) / "counter").rmdir()
    feed.check()
    grow(store, 4)
    assert feed.table().revision == 4


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b'{"store": "x", "commit": {}}', b"\xff" * 99]
)
def test_a_damaged_copy(store: SQLiteStore, feed: Feed, content: bytes) -> None:
    """A copy that cannot be read costs nothing: the database has the state, and a check mends the copy."""
    copy = store.place(NAME) / "state.json"
    copy.write_bytes(content)
    store.beacon(NAME).poke()
    assert feed.table().revision == 3
    feed.check()
    assert store.beacon(NAME).load() == feed.commit
    copy.write_bytes(content)
    grow(store, 4)
    assert feed.table().revision == 4


def test_an_older_copy_than_the_counter(store: SQLiteStore, feed: Feed) -> None:
    """A reader that sees the new counter and an old copy goes to the database, and serves the new state."""
    copy = store.place(NAME) / "state.json"
    old = copy.read_bytes()
    for revision in range(4, 10):
        grow(store, revision)
        copy.write_bytes(old)
        assert feed.table().revision == revision


def test_committed_and_not_published(store: SQLiteStore, feed: Feed) -> None:
    """What a writer committed and, killed, did not publish is seen after the next check, by everybody."""
    SQLiteStore(store.path)._append(following(grow(store, 3)), 3)  # as far as it came
    other = Feed(SQLiteStore(store.path), seed())
    assert (feed.table().revision, other.table().revision) == (3, 3)
    feed.check()
    assert (feed.table().revision, other.table().revision) == (4, 4)
    token = store.token(NAME)
    other.check()
    assert store.token(NAME) == token  # one heals, the others see that it was done


def test_many_heal_at_once(store: SQLiteStore) -> None:
    """Many processes that heal, commit and read at once agree, and nobody ever sees trouble or goes back."""
    counter = store.place(NAME) / "counter"

    def live() -> None:
        ours = SQLiteStore(store.path)
        feed = Feed(ours, seed())
        last = 0
        until = time.monotonic() + 2
        while time.monotonic() < until:
            feed.check()
            assert feed.trouble is None
            revision = feed.table().revision
            assert revision >= last
            last = revision

    def disturb() -> None:
        until = time.monotonic() + 2
        while time.monotonic() < until:
            counter.unlink(missing_ok=True)
            store.place(NAME).joinpath("state.json").unlink(missing_ok=True)
            time.sleep(0.01)

    def change() -> None:
        ours, done = SQLiteStore(store.path), 0
        until = time.monotonic() + 2
        while time.monotonic() < until:
            with ours.beacon(
                NAME
            ).writing() as turn:  # as `commit` does, without waiting for the lost counter
                newest = ours.read(NAME)
                assert newest is not None
                commit = following(newest, percent=newest.revision % 100)
                turn.publish(commit, ours._append(commit, newest.revision))
                done += 1
        assert done > 10

    for process in [started(func) for func in (live, live, live, disturb, change)]:
        finish(process)
    feed = Feed(SQLiteStore(store.path), seed())
    feed.check()
    assert feed.table().revision == len(store.history(NAME))


def test_a_poke_is_no_revision(store: SQLiteStore, feed: Feed) -> None:
    """A poke changes the token, for those who wait for a proposal, and nothing else."""
    token = store.token(NAME)
    store.beacon(NAME).poke()
    assert store.token(NAME) != token
    assert feed.table().revision == 3
    assert store.read(NAME) == feed.commit


def test_pokes_and_commits_at_once(store: SQLiteStore) -> None:
    """Pokes from other processes never hide a commit from a reader, even when there is no copy to read."""
    over = store.path.with_name("over")

    def poke() -> None:
        beacon = SQLiteStore(store.path).beacon(NAME)
        while not over.exists():
            beacon.poke()

    processes = [started(poke) for _ in range(2)]
    feed = Feed(SQLiteStore(store.path), seed())
    (store.place(NAME) / "state.json").unlink()
    (store.place(NAME) / ".state.json.draft").mkdir()  # nor can one be written
    for revision in range(4, 60):
        grow(store, revision)
        assert feed.table().revision == revision
    over.touch()
    for process in processes:
        finish(process)


def test_a_token_never_comes_again(tmp_path: Path) -> None:
    """A counter that is made anew never shows a value that a reader has seen, so no change goes unnoticed."""
    store = store_at(tmp_path / "rollouts.db")
    seen = set()
    for _ in range(50):
        (store.place(NAME) / "counter").unlink()
        store.heal(NAME)
        assert store.token(NAME) not in seen
        seen.add(store.token(NAME))


def test_a_torn_counter_is_no_revision(store: SQLiteStore) -> None:
    """Bytes of two values at once are told from a value, whichever byte the tear is at."""
    beacon = store.beacon(NAME)
    old = beacon.token()
    grow(store, 300)
    new = beacon.token()
    assert (beacon.revision_in(old), beacon.revision_in(new)) == (3, 300)
    for place in range(1, 24):
        torn = new[:place] + old[place:]
        assert beacon.revision_in(torn) == {old: 3, new: 300}.get(torn)


def test_nobody_closes_the_counter_under_a_reader(store: SQLiteStore, feed: Feed) -> None:
    """However often the counter is replaced while requests look at it, each look works."""
    counter, over = store.place(NAME) / "counter", threading.Event()
    failures: list[object] = []

    def look() -> None:
        while not over.is_set():
            if feed.table().revision != 3:
                failures.append(feed.table())

    threads = [threading.Thread(target=look, daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(60):
        replace(counter)
        feed.check()
    over.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert feed.trouble is None


def test_a_beacon_without_a_folder(tmp_path: Path) -> None:
    """Where nothing was ever written there is no token and no copy, and looking makes nothing."""
    beacon = Beacon(tmp_path / "nowhere")
    beacon.reopen()
    assert (beacon.token(), beacon.load(), beacon.witness().revision) == (b"", None, 0)
    assert not beacon.folder.exists()


def test_a_conflict_leaves_a_lost_counter_to_the_check(store: SQLiteStore, feed: Feed) -> None:
    """A refused commit that found the counter lost costs no request, and the next check mends it."""
    (store.place(NAME) / "counter").unlink()
    with pytest.raises(Conflict):
        store.commit(following(seed()), after=1)
    assert feed.table().revision == 3
    feed.check()
    grow(store, 4)
    assert feed.table().revision == 4
