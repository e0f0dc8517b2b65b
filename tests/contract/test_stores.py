"""What every store promises; the same suite runs over all of them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from bento_rollout.errors import Conflict, InvalidValue
from bento_rollout.state import Commit
from bento_rollout.store import Store
from bento_rollout.store.memory import MemoryStore
from bento_rollout.store.postgres.engine import engine_at
from bento_rollout.store.postgres.store import PostgresStore
from bento_rollout.store.sqlite import SQLiteStore
from tests.states import NAME, finish, following, grow, seed, started


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """An empty store of each kind."""
    if request.param == "memory":
        return MemoryStore()
    if request.param == "sqlite":
        return SQLiteStore(tmp_path / "rollouts.db", create=True)
    return PostgresStore(engine_at(request.getfixturevalue("emptied")), tmp_path / "copies")


def test_unknown_rollout(store: Store) -> None:
    """A rollout that was never committed is unknown: no state, no history."""
    assert store.read(NAME) is None
    assert list(store.history(NAME)) == []
    assert list(store.names()) == []


def test_commit_is_read_back(store: Store) -> None:
    """What was committed is what is read, word for word."""
    first = seed()
    store.commit(first, after=0)
    second = following(first, percent=12, reason="größer; 'DROP' \"x\" \n 🚀", author="zoë@host")
    store.commit(second, after=1)
    assert store.read(NAME) == second
    assert list(store.history(NAME)) == [second, first]


def test_history_is_newest_first(store: Store) -> None:
    """The history lists every commit, newest first, or as many of them as were asked for."""
    grow(store, 5)
    assert [commit.revision for commit in store.history(NAME)] == [5, 4, 3, 2, 1]
    assert [commit.revision for commit in store.history(NAME, 2)] == [5, 4]
    assert [commit.revision for commit in store.history(NAME, 2, before=4)] == [3, 2]
    assert [commit.revision for commit in store.history(NAME, before=1 << 80)] == [5, 4, 3, 2, 1]
    assert list(store.history(NAME, before=1)) == []
    assert [commit.parent for commit in store.history(NAME)] == [4, 3, 2, 1, 0]


def test_history_only_grows(store: Store) -> None:
    """A commit leaves every older one as it was."""
    grow(store, 3)
    before = list(store.history(NAME))
    grow(store, 6)
    assert list(store.history(NAME))[-3:] == before


@pytest.mark.parametrize("after", [0, 1, 3, 7])
def test_conflict_carries_the_current_revision(store: Store, after: int) -> None:
    """Who commits after another revision than the current one is told the current one; nothing changes."""
    newest = grow(store, 2)
    other = newest.model_copy(
        update={"state": newest.state.model_copy(update={"revision": after + 1}), "parent": after}
    )
    with pytest.raises(Conflict) as caught:
        store.commit(other, after=after)
    assert caught.value.current == 2
    assert store.read(NAME) == newest
    assert len(store.history(NAME)) == 2


def test_revisions_grow_by_one(store: Store) -> None:
    """A revision that does not follow the one that it was made from is refused."""
    first = grow(store, 1)
    skipping = following(following(first))
    with pytest.raises(InvalidValue):
        store.commit(skipping, after=1)
    assert store.read(NAME) == first


def test_rollouts_are_independent(store: Store) -> None:
    """Each rollout has revisions, a history and a token of its own; names come sorted."""
    grow(store, 2, "b")
    token = store.token("b")
    grow(store, 3, "a")
    assert list(store.names()) == ["a", "b"]
    assert [c.revision for c in store.history("b")] == [2, 1]
    assert {c.state.name for c in store.history("a")} == {"a"}
    assert store.token("b") == token


def test_token_changes_with_each_commit(store: Store) -> None:
    """The token is another one after each commit, and stays the same in between."""
    tokens = []
    for revision in range(1, 30):
        grow(store, revision)
        assert store.token(NAME) == store.token(NAME)
        tokens.append(store.token(NAME))
    assert len(set(tokens)) == len(tokens)


def test_a_refused_commit_signals_nothing(store: Store) -> None:
    """A conflict leaves the token as it was."""
    newest = grow(store, 3)
    token = store.token(NAME)
    with pytest.raises(Conflict):
        store.commit(following(seed()), after=1)
    assert store.token(NAME) == token
    assert store.read(NAME) == newest


@pytest.mark.parametrize("name", ["../evil", "a/b", "", ".", "..", "a\0b", "x" * 300])
def test_a_name_is_no_path(store: Store, name: str, tmp_path: Path) -> None:
    """A rollout's name cannot lead anywhere else; nothing is written."""
    commit = seed()
    stray = commit.model_copy(update={"state": commit.state.model_copy(update={"name": name})})
    for attempt in (
        lambda: store.commit(stray, after=0),
        lambda: store.read(name),
        lambda: store.history(name),
    ):
        with pytest.raises(InvalidValue):
            attempt()
    assert list(tmp_path.iterdir()) == []


def _increment(store: Store, times: int) -> None:
    """Commit so many times, trying again after each conflict."""
    done = 0
    while done < times:
        newest = store.read(NAME)
        assert newest is not None
        commit = following(newest, percent=newest.revision % 100)
        current = _refused(store, commit)
        assert current is None or current > newest.revision
        done += current is None


def _refused(store: Store, commit: Commit) -> int | None:
    """Commit; return None, or the revision that a conflict tells."""
    try:
        store.commit(commit, after=commit.parent)
    except Conflict as conflict:
        return conflict.current
    return None


def test_threads_at_once(store: Store) -> None:
    """Of many threads that commit at once none loses a commit, and no revision is given twice."""
    grow(store, 1)
    threads = [threading.Thread(target=_increment, args=(store, 10)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [commit.revision for commit in store.history(NAME)] == list(range(61, 0, -1))


def test_processes_at_once(opener: Callable[[], Store]) -> None:
    """Of many processes that commit at once none loses a commit, and no revision is given twice."""
    grow(opener(), 1)
    processes = [started(lambda: _increment(opener(), 10)) for _ in range(6)]
    for process in processes:
        finish(process)
    history = opener().history(NAME)
    assert [commit.revision for commit in history] == list(range(61, 0, -1))
    assert all(commit.parent == commit.revision - 1 for commit in history)


def test_processes_seed_at_once(opener: Callable[[], Store]) -> None:
    """Workers that start together on an empty home, or database, make one store and one first revision."""

    def start() -> None:
        assert _refused(opener(), seed()) in (None, 1)

    for process in [started(start) for _ in range(8)]:
        finish(process)
    assert len(opener().history(NAME)) == 1
