"""Who is alive: exactly the processes that joined and did not end, however they ended."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bento_rollout.store.files import is_locked, try_lock
from bento_rollout.store.presence import Card, Presence, VariantCard
from tests.states import finish, fork, started, wait_until


def card(presence: Presence, number: int = 1, **fields: Any) -> Card:
    """Return what a worker writes about itself."""
    variants = {"logistic": VariantCard("ready", "worker", "1" * 12)}
    return replace(Card(presence.token, os.getpid(), number, "Screening", 1, variants), **fields)


def _live(folder: Path, ready: Any, leave: Any) -> None:
    presence = Presence(folder)
    presence.write(card(presence))
    presence.join()
    ready.set()
    leave.wait(120)
    presence.leave()


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Callable[[], tuple[Any, Any]]]:
    """Start a process that joins and lives until its event is set."""
    processes = []

    def start() -> tuple[Any, Any]:
        ready, leave = fork.Event(), fork.Event()
        process = started(_live, tmp_path, ready, leave)
        processes.append(process)
        assert ready.wait(30)
        return process, leave

    yield start
    for process in processes:
        process.kill()
        process.join()


def test_join_and_leave(tmp_path: Path, worker: Callable[[], Any]) -> None:
    """A worker is alive from when it joined to when it left, and leaves nothing behind."""
    assert Presence(tmp_path).living() == []
    process, leave = worker()
    (living,) = Presence(tmp_path).living()
    assert (living.pid, living.variants["logistic"].state) == (process.pid, "ready")
    leave.set()
    finish(process)
    assert Presence(tmp_path).living() == []
    assert list((tmp_path / "workers").iterdir()) == []
    assert Presence(tmp_path).last() == living


def test_killed(tmp_path: Path, worker: Callable[[], Any]) -> None:
    """A worker that was killed is not alive from that moment on, and what it left is removed."""
    process, _ = worker()
    survivor, _ = worker()
    assert len(Presence(tmp_path).living()) == 2
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert [card.pid for card in Presence(tmp_path).living()] == [survivor.pid]
    assert len(list((tmp_path / "workers").iterdir())) == 2


def test_stopped_is_alive(tmp_path: Path, worker: Callable[[], Any]) -> None:
    """A worker that is stopped counts: it may go on and answer."""
    process, _ = worker()
    os.kill(process.pid, signal.SIGSTOP)
    assert [card.pid for card in Presence(tmp_path).living()] == [process.pid]


def test_a_forked_child_does_not_keep_it_alive(tmp_path: Path) -> None:
    """A child that a worker forked lives on when the worker is killed; the worker is dead all the same."""
    ready, told = os.pipe()
    parent = os.fork()
    if parent == 0:
        presence = Presence(tmp_path)
        presence.write(card(presence))
        presence.join()
        child = os.fork()
        if child == 0:
            presence.leave()  # as an exit handler may: it is not the child's to take away
            time.sleep(120)
        os.write(told, f"{child}\n".encode())
        time.sleep(120)
        os._exit(1)
    child = int(os.read(ready, 100))
    try:
        assert [card.pid for card in Presence(tmp_path).living()] == [parent]
        os.kill(parent, signal.SIGKILL)
        os.waitpid(parent, 0)
        os.kill(child, 0)
        deadline = time.monotonic() + 10
        while Presence(tmp_path).living() and time.monotonic() < deadline:
            time.sleep(0.01)  # the child lets go in its own first moments
        assert Presence(tmp_path).living() == []
    finally:
        os.kill(child, signal.SIGKILL)
        os.close(ready)
        os.close(told)


def test_a_started_program_does_not_keep_it_alive(tmp_path: Path) -> None:
    """A program that a worker started, with descriptors left open, does not keep the worker alive."""
    presence = Presence(tmp_path)
    presence.write(card(presence))
    presence.join()
    program = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(120)"], close_fds=False)
    try:
        lock = tmp_path / "workers" / f"{presence.token}.lock"
        assert is_locked(lock)
        os.close(presence._lock)  # as the kernel does when the worker is killed
        presence._lock = -1
        wait_until(lambda: Presence(tmp_path).living() == [])
    finally:
        program.kill()
        program.wait()


def test_two_in_one_process(tmp_path: Path) -> None:
    """Two joiners of one process are two workers, and one leaves without the other."""
    first, second = Presence(tmp_path), Presence(tmp_path)
    for number, presence in enumerate((second, first), 1):
        presence.write(card(presence, number))
        presence.join()
    assert [card.token for card in first.living()] == [second.token, first.token]
    second.leave()
    assert [card.token for card in first.living()] == [first.token]
    first.leave()
    first.leave()


def test_a_pid_comes_again(tmp_path: Path) -> None:
    """What a dead worker left under a pid that lives again is not taken for the new process."""
    folder = tmp_path / "workers"
    folder.mkdir()
    dead = f"{os.getpid()}-00000000"
    (folder / f"{dead}.lock").touch()
    (folder / f"{dead}.json").write_text("{}")
    presence = Presence(tmp_path)
    presence.write(card(presence))
    presence.join()
    assert [card.token for card in presence.living()] == [presence.token]
    assert not (folder / f"{dead}.lock").exists()
    presence.leave()


@pytest.mark.parametrize("content", [None, b"", b"[]", b'{"variants": 3}', b'{"unknown": 1, "variants": {}}'])
def test_a_living_one_without_a_card(tmp_path: Path, content: bytes | None) -> None:
    """A worker that lives and whose card cannot be read still counts, by its pid: nobody passes over it."""
    presence = Presence(tmp_path)
    presence.join()
    if content is not None:
        (tmp_path / "workers" / f"{presence.token}.json").write_bytes(content)
    (living,) = Presence(tmp_path).living()
    assert (living.token, living.pid, dict(living.variants)) == (presence.token, os.getpid(), {})
    assert living.trouble
    presence.leave()


def test_it_is_seen_again(tmp_path: Path) -> None:
    """A worker whose lock and card were deleted notices, and is seen again."""
    presence = Presence(tmp_path)
    presence.write(card(presence))
    presence.join()
    assert not presence.stay()
    for path in (tmp_path / "workers").iterdir():
        path.unlink()
    assert Presence(tmp_path).living() == []
    assert presence.stay()
    presence.write(card(presence))
    assert not presence.stay()
    assert [card.token for card in Presence(tmp_path).living()] == [presence.token]
    presence.leave()


def test_asking_does_not_make_or_take(tmp_path: Path) -> None:
    """Asking whether a lock is held makes no file, and keeps nobody from taking the lock."""
    assert not is_locked(tmp_path / "lock")
    assert list(tmp_path.iterdir()) == []
    fd = try_lock(tmp_path / "lock")
    assert fd is not None
    assert is_locked(tmp_path / "lock")
    assert try_lock(tmp_path / "lock") is None
    os.close(fd)
    assert not is_locked(tmp_path / "lock")
    asking = os.open(tmp_path / "lock", os.O_RDONLY)
    fcntl.flock(asking, fcntl.LOCK_SH)  # somebody asks at the same moment
    assert not is_locked(tmp_path / "lock")
    os.close(asking)


def test_readers_and_joiners_race(tmp_path: Path) -> None:
    """Readers that look all the time never steal or remove the lock of a joiner, nor miss a living one."""
    over = tmp_path / "over"

    def look() -> None:
        while not over.exists():
            Presence(tmp_path).living()

    def come_and_go() -> None:
        until = time.monotonic() + 2
        while time.monotonic() < until:
            presence = Presence(tmp_path)
            presence.write(card(presence))
            presence.join()
            assert presence._lock >= 0
            for _ in range(5):
                assert presence.token in {card.token for card in presence.living()}
                assert not presence.stay()
            presence.leave()
            assert presence.token not in {card.token for card in presence.living()}

    readers = [started(look) for _ in range(3)]
    for process in [started(come_and_go) for _ in range(3)]:
        finish(process)
    over.touch()
    for process in readers:
        finish(process)
    wait_until(lambda: Presence(tmp_path).living() == [])
    assert list((tmp_path / "workers").iterdir()) == []
