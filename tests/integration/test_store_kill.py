"""``kill -9`` at every system call of a commit: the old state or the new one, whole, and all goes on."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from bento_rollout.feed import Feed
from bento_rollout.opening import open_state
from bento_rollout.operations import Rollout, open_rollout
from bento_rollout.spec import RolloutSpec
from bento_rollout.store.ballot import Ballot
from bento_rollout.store.sqlite import SQLiteStore
from tests.states import DIGESTS, NAME, grow, seed, store_at, unavailable

pytestmark = pytest.mark.fault

OFTEN = 1 if os.environ.get("BENTO_ROLLOUT_TEST_NIGHTLY") == "1" else 6
"""Of the calls that only look, one in so many is tried: each takes a process, and a store of its own."""

LOOKS = re.compile(r"close|get.*|ioctl|lseek|.*stat.*|p?read.*|uname")
"""Calls that leave nothing behind: to die before one of them is to die before the call that follows it."""


class Commits:
    """Runs commits in processes that are forked from this one, under ``strace``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._strace = shutil.which("strace") or ""
        if not self._strace:
            unavailable("strace is not installed")

    def trace(self, act: Callable[[], None]) -> Counter[str]:
        """Return how often each system call, of whatever name, is made by an action that is left alone."""
        status = self._run(act, "-e", "trace=all", "-o", str(self._folder / "trace"))
        if status is None:
            unavailable("strace may not attach to a process here")
        assert status == 0
        return Counter(re.findall(r"^(?:\d+ +)?(\w+)\(", (self._folder / "trace").read_text(), re.MULTILINE))

    def kill_at(self, act: Callable[[], None], call: str, number: int) -> bool:
        """Kill an action when it makes a system call for this time; false when it ended before."""
        inject = f"inject={call}:signal=KILL:when={number}"
        status = self._run(act, "-e", f"trace={call}", "-e", inject, "-o", os.devnull)
        assert status in (0, -signal.SIGKILL)
        return status != 0

    def _run(self, act: Callable[[], None], *options: str) -> int | None:
        ready, go = os.pipe()
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.close(go)
                os.read(ready, 1)
                act()
                status = 0
            finally:
                os._exit(status)
        os.close(ready)
        tracer = subprocess.Popen(
            [self._strace, "-p", str(child), *options], stderr=subprocess.PIPE, text=True
        )
        try:
            assert tracer.stderr is not None
            attached = "attached" in tracer.stderr.readline()
        finally:
            os.close(go)  # the child goes on
        _, status = os.waitpid(child, 0)
        tracer.communicate(timeout=30)
        return os.waitstatus_to_exitcode(status) if attached else None


def _check(path: Path, feed: Feed, before: int) -> tuple[bool, bool]:
    """After a kill the state is whole and the beacon heals; whether it was the new one, and published."""
    beacon = SQLiteStore(path).beacon(NAME)
    published = beacon.revision_in(beacon.token()) == before + 1
    newest = SQLiteStore(path).read(NAME)
    assert newest is not None
    assert newest.revision in (before, before + 1)
    assert [c.revision for c in SQLiteStore(path).history(NAME)] == list(range(newest.revision, 0, -1))
    SQLiteStore(path).check()
    started = open_state(SQLiteStore(path), NAME, "logistic", RolloutSpec.parse({}), DIGESTS)
    assert started.revision == newest.revision
    feed.table()
    feed.check()
    assert feed.trouble is None
    assert feed.table().revision == newest.revision
    copy = beacon.load()
    assert copy is not None
    assert (beacon.revision_in(beacon.token()), copy.revision) == (newest.revision, newest.revision)
    return newest.revision == before + 1, published


def test_kill_at_every_call_of_a_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whenever an operator's command is killed, the store has the old or the new state; the next works."""
    path = tmp_path / "rollouts.db"
    monkeypatch.setenv("BENTO_ROLLOUT_STORE", f"sqlite:///{path}")
    monkeypatch.setenv("BENTO_ROLLOUT_SINGLE_REPLICA", "1")
    feed = Feed(store_at(path), seed())
    feed.check()

    def change(rollout: Rollout) -> None:
        percent = rollout.state.percents.get("boosted", 0)
        rollout.set_weights({"boosted": (percent + 1) % 100}, reason="under strace")

    def act() -> None:
        change(open_rollout(NAME))

    commits = Commits(tmp_path)
    calls = commits.trace(act)
    assert {"openat", "pwrite64", "fdatasync", "unlink", "rename", "flock", "exit_group"} <= set(calls)
    killed, tried, seen = 0, 0, set()
    for call, times in sorted(calls.items()):
        for number in range(1, times + 1, OFTEN if LOOKS.fullmatch(call) else 1):
            tried += 1
            before = open_rollout(NAME).state.revision
            killed += commits.kill_at(act, call, number)
            seen.add(_check(path, feed, before))
            change(open_rollout(NAME))
            assert feed.table().revision == open_rollout(NAME).state.revision
    assert killed > tried * 0.8
    # Killed before the commit, between it and its signal, and after both.
    assert seen == {(False, False), (True, False), (True, True)}


def test_kill_at_every_call_of_the_first_start(tmp_path: Path) -> None:
    """Whenever the process that makes the store is killed, the next start makes it, or finds it whole."""
    commits = Commits(tmp_path)

    def start(path: Path) -> None:
        grow(SQLiteStore(path, create=True), 1)

    for call, times in sorted(commits.trace(lambda: start(tmp_path / "first" / "rollouts.db")).items()):
        for number in range(1, times + 1, OFTEN if LOOKS.fullmatch(call) else 1):
            path = tmp_path / f"{call}-{number}" / "rollouts.db"
            commits.kill_at(lambda path=path: start(path), call, number)  # type: ignore[misc]  # bound now
            start(path)
            feed = Feed(SQLiteStore(path), seed())
            feed.check()
            assert feed.trouble is None
            assert feed.table().revision == 1
            assert len(SQLiteStore(path).history(NAME)) == 1


def test_kill_at_every_call_of_a_claim(tmp_path: Path) -> None:
    """Whenever the one that takes what follows a flip is killed, it is on record, or the next one gets it."""
    commits = Commits(tmp_path)

    def claim(folder: Path) -> None:
        Ballot(folder).claim_after(7, "first")

    outcomes = set()
    for call, times in sorted(commits.trace(lambda: claim(tmp_path / "traced")).items()):
        for number in range(1, times + 1, OFTEN if LOOKS.fullmatch(call) else 1):
            folder = tmp_path / f"{call}-{number}"
            killed = commits.kill_at(lambda folder=folder: claim(folder), call, number)  # type: ignore[misc]  # bound now
            recorded = Ballot(folder).is_followed(7)
            assert recorded or killed
            assert Ballot(folder).claim_after(7, "second") is not recorded
            assert Ballot(folder).afters()[7].token == ("first" if recorded else "second")
            assert Ballot(folder).interrupted() == []
            outcomes.add((killed, recorded))
    assert outcomes >= {(True, False), (True, True)}
