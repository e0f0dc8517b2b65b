"""What one worker serves by: the newest state, for the price of one look at the counter."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bento_rollout.errors import InvalidSpec, StoreUnreachable
from bento_rollout.feed import Feed
from bento_rollout.opening import check_champion, first_commit, open_state
from bento_rollout.spec import RolloutSpec
from bento_rollout.state import Commit
from bento_rollout.store import RolloutStore
from bento_rollout.store.sqlite import SQLiteStore
from tests.states import DIGESTS, NAME, finish, following, grow, seed, started, store_at

Opener = Callable[[], RolloutStore]


@pytest.fixture
def store(tmp_path: Path) -> SQLiteStore:
    """A store at revision 3."""
    return store_at(tmp_path / "rollouts.db", 3)


def opened(store: RolloutStore, **spec: object) -> Commit:
    """Return what a worker serves by when it starts."""
    return open_state(store, NAME, "logistic", RolloutSpec.parse(spec), DIGESTS)


def test_each_look_is_fresh(store: SQLiteStore) -> None:
    """Each look after an acknowledged commit has its table, whole."""
    feed = Feed(SQLiteStore(store.path), opened(store))
    for revision in range(4, 30):
        newest = grow(store, revision)
        table = feed.table()
        assert (table.revision, table.champion) == (revision, "logistic")
        assert feed.commit == newest


def test_it_never_goes_back(store: SQLiteStore) -> None:
    """A worker that has seen a revision never serves an older one."""
    ahead = grow(store_at(store.path.with_name("ahead.db")), 9)
    feed = Feed(store, ahead)
    store.beacon(NAME).poke()
    assert feed.table().revision == 9
    feed.check()
    assert feed.table().revision == 9
    assert feed.trouble is not None


def test_the_spec_seeds_once(opener: Opener) -> None:
    """The first start seeds the rollout from the spec; later starts find the state, whatever it says."""
    store = opener()
    first = opened(store, weights={"boosted": 10})
    assert (first.revision, first.author, first.action) == (1, "spec", "seed")
    assert first.state.percents == {"boosted": 10}
    assert opened(store, weights={"boosted": 90}) == first
    assert len(store.history(NAME)) == 1


def test_many_workers_start_at_once(opener: Opener) -> None:
    """Workers that start together seed once, and a deployment is recorded once."""

    def start(digest: str, revision: int) -> None:
        digests = {**DIGESTS, "logistic": digest}
        commit = open_state(opener(), NAME, "logistic", RolloutSpec.parse({}), digests)
        assert (commit.revision, commit.state.granted["logistic"]) == (revision, digest)

    for revision, digest in enumerate(("1" * 12, "9" * 12), 1):
        for process in [started(start, digest, revision) for _ in range(6)]:
            finish(process)
    history = opener().history(NAME)
    assert [commit.author for commit in history] == ["deploy", "spec"]
    assert "1" * 12 in history[0].reason
    assert "9" * 12 in history[0].reason


def test_a_deployment_between_changes(opener: Opener) -> None:
    """A deployment is recorded also when an operator changes something at the same moment."""
    store, deployed = opener(), opener()
    grow(store, 3)
    over = threading.Event()

    def change() -> None:
        while not over.is_set():
            newest = store.read(NAME)
            assert newest is not None
            try:
                store.commit(following(newest, percent=newest.revision % 100), after=newest.revision)
            except Exception:  # a conflict with the deployment
                continue
            time.sleep(0.001)  # less than a commit takes: they collide again and again

    thread = threading.Thread(target=change, daemon=True)
    thread.start()
    for number in range(5):
        digests = {**DIGESTS, "logistic": str(number) * 12}
        commit = open_state(deployed, NAME, "logistic", RolloutSpec.parse({}), digests)
        assert commit.state.granted["logistic"] == str(number) * 12
    over.set()
    thread.join()


def test_an_unknown_champion() -> None:
    """A state whose champion the service does not have is refused, naming both ways out."""
    with pytest.raises(InvalidSpec, match=r"champion='logistic'.*retire screening logistic --in-favour-of"):
        check_champion(seed().state, {"boosted": "x"})
    check_champion(seed().state, DIGESTS)


@pytest.mark.parametrize("lose", ["unlink", "write_bytes"])
def test_it_says_so_once(store: SQLiteStore, lose: str, capfd: pytest.CaptureFixture[str]) -> None:
    """While its store is lost a worker serves the last good state, says so once, and says when it is back."""
    feed = Feed(store, opened(store))
    feed.check()
    spare = store.path.read_bytes()
    store.path.unlink() if lose == "unlink" else store.path.write_bytes(b"no database" * 999)
    for _ in range(5):
        feed.check()
        feed.table()
    store.path.write_bytes(spare)
    for _ in range(5):
        feed.check()
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert [(line["event"], line["level"], line["rollout"]) for line in lines] == [
        ("store.unreachable", "error", NAME),
        ("store.reachable", "info", NAME),
    ]
    assert feed.trouble is None


def test_a_look_never_raises(store: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a look meets, a request gets the last good table; the trouble is told."""
    feed = Feed(store, opened(store))
    copy = store.place(NAME) / "state.json"
    data = json.loads(copy.read_text())
    data["commit"]["state"]["revision"] = 9
    data["commit"]["state"]["ranges"] = [[5, 1, "boosted"], ["x"]]
    copy.write_text(json.dumps(data))
    store.beacon(NAME).poke()
    assert feed.table().revision == 3
    assert feed.table().champion == "logistic"


def test_a_state_that_cannot_be_found_is_not_sought_all_the_time(store: SQLiteStore) -> None:
    """When the counter names a state that nobody has, requests look for it now and then, not each time."""
    feed = Feed(SQLiteStore(store.path), opened(store))
    with store.beacon(NAME).writing() as turn:
        turn.signal(99)
    feed.table()
    began = time.monotonic()
    for _ in range(20_000):
        assert feed.table().revision == 3
    assert time.monotonic() - began < 5
    assert "revision 99 was committed" in str(feed.trouble)
    with store.beacon(NAME).writing() as turn:
        turn.publish(grow_by_hand(store), store.identity())
    assert feed.table().revision == 4  # at once: another signal is sought anew


def grow_by_hand(store: SQLiteStore) -> Commit:
    """Return the commit that would be the next."""
    newest = store.history(NAME, 1)[0]
    return following(newest, percent=42)


def test_a_reader_is_not_held_up_by_a_check(store: SQLiteStore) -> None:
    """While a check waits for a locked database, looks go on."""
    import sqlite3

    feed = Feed(SQLiteStore(store.path, patience=2), opened(store))
    feed.table()
    db = sqlite3.connect(store.path, isolation_level=None)
    db.execute("BEGIN EXCLUSIVE")
    thread = threading.Thread(target=feed.check, daemon=True)
    thread.start()
    began = time.monotonic()
    for _ in range(1000):
        assert feed.table().revision == 3
    assert time.monotonic() - began < 1.5
    db.execute("ROLLBACK")
    db.close()
    thread.join()
    assert feed.trouble is None


def test_the_spec_is_served_when_there_is_nothing(tmp_path: Path) -> None:
    """Where no store can be, the spec is served at revision 0, and a change is refused."""
    (tmp_path / "file").touch()
    store = SQLiteStore(tmp_path / "file" / "rollouts.db", create=True)
    commit = opened(store, weights={"boosted": 30})
    assert (commit.revision, commit.state.percents) == (0, {"boosted": 30})
    feed = Feed(store, commit)
    feed.check()
    assert (feed.table().revision, bool(feed.trouble)) == (0, True)
    first = first_commit(NAME, "logistic", RolloutSpec.parse({}), DIGESTS)
    with pytest.raises(StoreUnreachable):
        store.commit(first, after=0)


def test_changes_that_the_store_does_not_take_are_said_once(
    store: SQLiteStore, capfd: pytest.CaptureFixture[str]
) -> None:
    """A store that can be read and not written costs one line until a change is made, by whatever door."""
    feed = Feed(store, opened(store))

    def said() -> list[tuple[str, int | None]]:
        lines = [json.loads(line) for line in capfd.readouterr().err.splitlines() if line.startswith("{")]
        return [(line["event"], line.get("revision")) for line in lines]

    for _ in range(3):
        feed.refuse("no space left")
        feed.check()
    assert (feed.trouble, said()) == (None, [("store.unreachable", None)])
    grow(store, 4)
    feed.table()
    assert said() == [("store.reachable", 4)]
    feed.refuse("no space left")
    assert said() == [("store.unreachable", None)]


def test_a_lost_store_is_said_once_however_it_is_met(
    store: SQLiteStore, capfd: pytest.CaptureFixture[str]
) -> None:
    """A worker that has said that the store is lost says nothing more of changes that it refuses."""
    feed = Feed(store, opened(store))
    store.path.rename(store.path.with_name("away"))
    feed.check()
    feed.refuse("it is gone")
    assert capfd.readouterr().err.count("store.unreachable") == 1
    store.path.with_name("away").rename(store.path)
    feed.check()
    assert capfd.readouterr().err.count("store.reachable") == 1
