"""A child that was forked keeps nothing of its parent alive, and ends nothing of it."""

from __future__ import annotations

import os
import signal
import time
from contextlib import closing
from typing import Any

from bento_rollout.store.place import Shared
from bento_rollout.store.postgres.presence import SharedPresence
from bento_rollout.store.presence import Card
from tests.states import finish, fork, started, wait_until


def _serve_and_fork(place: Shared, ready: Any, child: Any) -> None:
    """Live, be in the midst of a write, and have a child that outlives it."""
    presence = SharedPresence(place)
    presence.join()
    presence.write(Card(presence.token, os.getpid(), 1, "Screening", 0))
    with closing(place.connect("drift")) as db:
        db.execute("BEGIN IMMEDIATE")
        forked = os.fork()
        if not forked:
            time.sleep(120)
            os._exit(0)
        child.value = forked
        ready.set()
        time.sleep(120)


def test_a_child_that_outlives_a_killed_worker(hosted: Shared) -> None:
    """The worker is dead for others within two seconds, and so is what it was about to write."""
    hosted.schema("drift")
    ready, child = fork.Event(), fork.Value("i", 0)
    process = started(_serve_and_fork, hosted, ready, child)
    assert ready.wait(30)
    others = SharedPresence(hosted)
    wait_until(lambda: len(others.living()) == 1)
    os.kill(process.pid, signal.SIGKILL)
    try:
        wait_until(lambda: not others.living(), 2.0)
        with closing(hosted.connect("drift", 2.0)) as db:
            db.execute("BEGIN IMMEDIATE")
    finally:
        os.kill(child.value, signal.SIGKILL)
    process.join()


def test_a_child_ends_nothing_of_its_parent(hosted: Shared) -> None:
    """Its parent's transaction goes on after it has ended, and it has connections of its own."""
    hosted.schema("drift")
    with closing(hosted.connect("drift")) as db:
        db.execute("BEGIN IMMEDIATE")
        db.execute("INSERT INTO facts (name, value) VALUES ('a', '1')")

        def child() -> None:
            with closing(hosted.connect("drift")) as own:
                assert own.execute("SELECT count(*) FROM facts").fetchone()[0] == 0

        finish(started(child))
        db.execute("COMMIT")
        assert db.execute("SELECT count(*) FROM facts").fetchone()[0] == 1
