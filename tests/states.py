"""Commits, stores and processes for the tests of what keeps state."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bento_rollout.opening import first_commit
from bento_rollout.spec import RolloutSpec
from bento_rollout.state import Commit
from bento_rollout.store import Store
from bento_rollout.store.sqlite import SQLiteStore

NAME = "screening"
DIGESTS = {"logistic": "1" * 12, "boosted": "2" * 12}
fork = multiprocessing.get_context("fork")


def seed(name: str = NAME) -> Commit:
    """Return the first commit of a rollout: champion logistic, candidate boosted without weight."""
    return first_commit(name, "logistic", RolloutSpec.parse({}), DIGESTS)


def following(parent: Commit, *, percent: int = 0, reason: str = "", author: str = "test") -> Commit:
    """Return a commit that follows another: the weight of boosted is ``percent``."""
    state = parent.state.set_weights({"boosted": percent * 1000}, tuple(DIGESTS))
    state = state.model_copy(update={"revision": parent.revision + 1})
    return Commit(
        state=state, parent=parent.revision, time=time.time(), author=author, action="weight", reason=reason
    )


def grow(store: Store, revisions: int, name: str = NAME) -> Commit:
    """Commit until a rollout is at a revision; return its newest commit."""
    newest = store.read(name)
    if newest is None:
        newest = seed(name)
        store.commit(newest, after=0)
    while newest.revision < revisions:
        newest = following(newest, percent=newest.revision % 100, reason=f"step {newest.revision}")
        store.commit(newest, after=newest.parent)
    return newest


def store_at(path: Path, revisions: int = 1, *, patience: float = 1.0) -> SQLiteStore:
    """Make a store whose rollout is at a revision."""
    store = SQLiteStore(path, create=True, patience=patience)
    grow(store, revisions)
    return store


def wait_until(true: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait for something that must come true; the deadline is far beyond what it takes."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.01)


def started(func: Callable[..., Any], *args: Any) -> Any:
    """Start a function in a process of its own, a fork of this one."""
    process = fork.Process(target=func, args=args, daemon=True)
    process.start()
    return process


def finish(process: Any, seconds: float = 60.0) -> None:
    """Wait until a process has ended well."""
    process.join(seconds)
    assert process.exitcode == 0


def unavailable(what: str) -> None:
    """Skip on a machine that does not permit something; in CI that is a failure."""
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)


@contextmanager
def mounted(folder: Path, size: str = "1m") -> Iterator[Callable[[str], None]]:
    """Mount a small file system in memory at a folder; yields what mounts it again with options."""

    def mount(options: str) -> bool:
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    folder.mkdir(parents=True, exist_ok=True)
    if not mount(f"size={size}"):
        unavailable("this machine does not permit mounts")

    def again(options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], capture_output=True, check=True)

    try:
        yield again
    finally:
        subprocess.run(["umount", "-l", str(folder)], capture_output=True, check=True)


def fill(folder: Path) -> None:
    """Use up every byte of the file system that a folder lies on."""
    block = 1 << 16
    with (folder / "ballast").open("ab", buffering=0) as file:
        while block:
            try:
                file.write(bytes(block))
            except OSError:
                block //= 2


def descriptors() -> int:
    """Return how many files this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))
