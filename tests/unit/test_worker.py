"""A worker's own part: it starts whatever lies in its way, and what follows a flip is run once."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bento_rollout.feed import Feed
from bento_rollout.hooks import as_hooks
from bento_rollout.opening import open_state
from bento_rollout.records import Flip
from bento_rollout.spec import RolloutSpec
from bento_rollout.state import Commit
from bento_rollout.store.ballot import After, Ballot
from bento_rollout.store.files import try_lock
from bento_rollout.store.presence import Card
from bento_rollout.store.sqlite import SQLiteStore
from bento_rollout.worker import Worker
from tests.states import DIGESTS, NAME, fork, started, store_at, wait_until

Make = Callable[..., Worker]


@contextmanager
def lend(variant: str) -> Iterator[str]:
    """Lend a variant's name in place of its instance."""
    yield variant


@pytest.fixture
def make() -> Iterator[Make]:
    """Return a worker of a store that runs these hooks; it leaves when the test ends."""
    workers: list[Worker] = []
    loop = asyncio.new_event_loop()

    def worker(path: Path, after: Any = None, before: Any = None) -> Worker:
        store = SQLiteStore(path, create=True, patience=0.2)
        feed = Feed(store, open_state(store, NAME, "logistic", RolloutSpec.parse({}), DIGESTS))
        workers.append(
            Worker(store, feed, as_hooks(before), as_hooks(after), lambda: Card("", 0, 1, "s", 0), lend, loop)
        )
        return workers[-1]

    yield worker
    for one in workers:
        one.stop()
    loop.close()


def flip(path: Path, to: str = "boosted") -> Commit:
    """Commit a flip and return it."""
    store = SQLiteStore(path)
    parent = store.read(NAME)
    assert parent is not None
    state = parent.state.flip(to, tuple(DIGESTS)).model_copy(update={"revision": parent.revision + 1})
    commit = Commit(
        state=state, parent=parent.revision, time=time.time(), author="ann", action="flip", reason="go"
    )
    store.commit(commit, after=parent.revision)
    return commit


def _claim(path: Path, revision: int, ready: Any) -> None:
    """Do what a worker does that is about to run the hooks, up to where it would be on record."""
    after = SQLiteStore(path).place(NAME) / "after"
    after.mkdir(parents=True, exist_ok=True)
    assert try_lock(after / f"{revision}.claim") is not None
    ready.set()
    time.sleep(120)


def claimer(path: Path, revision: int) -> Any:
    """Start a process that is about to run the hooks that follow a revision."""
    ready = fork.Event()
    process = started(_claim, path, revision, ready)
    assert ready.wait(30)
    return process


def record(path: Path, revision: int) -> After | None:
    """Return how the hooks that follow a revision went."""
    return Ballot(SQLiteStore(path).place(NAME)).afters().get(revision)


def test_who_dies_before_the_hooks_begin_is_replaced(tmp_path: Path, make: Make) -> None:
    """A worker killed between taking what follows a flip and beginning it: another one runs it, once."""
    path = store_at(tmp_path / "rollouts.db").path
    seen: list[Flip] = []
    for worker in (make(path, seen.append), make(path, seen.append)):
        worker.start()
    process = claimer(path, 2)
    flip(path)
    time.sleep(1.3)  # both have looked again, and left it to the one who took it
    assert seen == []
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    wait_until(lambda: (after := record(path, 2)) is not None and after.state == "done")
    time.sleep(1.3)
    assert [(one.source, one.target, one.instance, one.author) for one in seen] == [
        ("logistic", "boosted", "boosted", "ann")
    ]
    assert list((SQLiteStore(path).place(NAME) / "after").glob("*.claim")) == []


def test_the_only_worker_died_before_the_hooks_began(tmp_path: Path, make: Make) -> None:
    """The worker that takes its place runs what the dead one was about to run, and nothing older."""
    path = store_at(tmp_path / "rollouts.db").path
    flip(path)
    flip(path, "logistic")
    process = claimer(path, 3)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    seen: list[Flip] = []
    make(path, seen.append).start()
    wait_until(lambda: (after := record(path, 3)) is not None and after.state == "done")
    time.sleep(0.2)
    assert [(one.source, one.target) for one in seen] == [("boosted", "logistic")]
    make(path, seen.append).start()
    time.sleep(0.2)
    assert len(seen) == 1


def test_hooks_wait_for_a_place_to_say_who_runs_them(
    tmp_path: Path, make: Make, capfd: pytest.CaptureFixture[str]
) -> None:
    """While nobody can write who runs them the hooks wait; it is said once, and later they run once."""
    path = store_at(tmp_path / "rollouts.db").path
    after = SQLiteStore(path).place(NAME) / "after"
    after.parent.mkdir(parents=True, exist_ok=True)
    after.write_text("in the way")
    seen: list[Flip] = []
    make(path, seen.append).start()
    flip(path)
    time.sleep(2.5)
    assert seen == []
    assert capfd.readouterr().err.count("after_flip hooks do not run") == 1
    after.unlink()
    wait_until(lambda: len(seen) == 1)
    time.sleep(1.3)
    assert len(seen) == 1


def test_no_thread_for_a_hook_is_a_veto(tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that cannot run its hooks says so at once; an operator does not wait for its timeout."""
    path = store_at(tmp_path / "rollouts.db").path
    worker = make(path, before=print)
    ballot = Ballot(SQLiteStore(path).place(NAME))
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name.startswith("hook"):
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with ballot.propose("logistic", "boosted", 1, "ann", "") as proposal:
        worker.start()
        (vote,) = ballot.votes(proposal).values()
    assert "can't start new thread" in str(vote.veto)


def pipe(path: Path) -> None:
    """Put a pipe in its place, which nobody writes to."""
    os.mkfifo(path)


def loop(path: Path) -> None:
    """Put a link to itself in its place."""
    path.symlink_to(path)


def directory(path: Path) -> None:
    """Put a folder in its place."""
    path.mkdir()


def text(path: Path) -> None:
    """Put a file of something else in its place."""
    path.write_bytes(b"something else, and longer than any header " * 200)


PLACES = (
    "rollouts.db",
    "rollouts.db.d",
    "rollouts.db.d/screening",
    *(
        f"rollouts.db.d/screening/{name}"
        for name in ("counter", "state.json", "commit.lock", "workers", "service.json", "flip.json", "after")
    ),
)


@pytest.mark.parametrize("thing", [pipe, loop, directory, text], ids=lambda thing: thing.__name__)
@pytest.mark.parametrize("place", PLACES)
def test_a_worker_starts_whatever_lies_there(
    tmp_path: Path, make: Make, place: str, thing: Callable[[Path], None]
) -> None:
    """Whatever lies in the place of one of its files, a worker starts, and the champion answers."""
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    thing(tmp_path / place)
    worker = make(tmp_path / "rollouts.db", print)
    begun = threading.Thread(target=worker.start, daemon=True)
    begun.start()
    begun.join(20)
    assert not begun.is_alive()
    assert worker._feed.table().champion == "logistic"
    assert worker._thread.is_alive()


def test_a_worker_starts_without_a_thread_of_its_own(
    tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Where no thread can be started the service starts, follows the state, and says what is wrong."""
    path = store_at(tmp_path / "rollouts.db").path
    worker = make(path)

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        worker.start()
    assert capfd.readouterr().err.count("can't start new thread") == 1
    flip(path)
    assert worker._feed.table().champion == "boosted"
