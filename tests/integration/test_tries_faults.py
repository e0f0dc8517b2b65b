"""Tries over a real server whose leader is killed, whose store goes away, and whose operators disagree."""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from bento_rollout.errors import Refused
from bento_rollout.operations import Rollout
from bento_rollout.store.presence import Presence
from bento_rollout.store.sqlite import SQLiteStore
from tests.integration.running import Server, fresh, serving, until
from tests.integration.test_tries import TARGET, actions, attempt, begin, behave, load, states

pytestmark = [pytest.mark.server, pytest.mark.fault]

WAYS = ["advance", "advance", "advance", "promote", "end_bake"]


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service of three workers whose candidate behaves as a file says."""
    folder = fresh(tmp_path_factory.mktemp("faults"))
    environment = {"TRIED_PLACE": str(folder), "TRIED_WORKERS": "3"}
    with serving(TARGET, folder, rollout="tried", workers=3, environment=environment) as server:
        whole(server)
        yield server


def whole(server: Server) -> None:
    """Wait until all workers live, the candidate is ready in each, and each serves by the newest state."""
    server.ready()
    until(lambda: states(server) == {"ready"}, "the candidate is ready")

    def caught_up() -> bool:
        cards = Presence(place_of(server)).living()
        return {card.revision for card in cards} == {server.operator().state.revision}

    until(caught_up, "every worker serves by the newest state")


def place_of(server: Server) -> Path:
    """Return the rollout's folder in the store."""
    return SQLiteStore(server.store).place("tried")


def leader(server: Server) -> int:
    """Return the pid of who holds the lead; 0: nobody."""
    lock = str(place_of(server) / "leader.lock")
    for pid in server.living():
        with suppress(psutil.Error):
            if any(file.path == lock for file in psutil.Process(pid).open_files()):
                return pid
    return 0


def by_evidence(server: Server, since: int) -> list[str]:
    """Return what evidence decided since a revision."""
    return [action for author, action, _ in actions(server, since) if author == "evidence"]


def weight(server: Server) -> float:
    """Return what the candidate has, in percent."""
    return server.operator().state.percents.get("trying", 0)


def test_a_leader_that_is_killed_in_mid_try(tried: Server) -> None:
    """Another one leads within 3 seconds; the steps go on, each taken once, with the one that joins late."""
    behave(tried)
    since = tried.operator().state.revision
    begin(tried)
    with load(tried) as callers:
        until(lambda: weight(tried) >= 5, "the second step")
        dead = until(lambda: leader(tried), "somebody leads")
        os.kill(dead, signal.SIGKILL)
        heir = until(lambda: leader(tried) not in (0, dead) and leader(tried), "another one leads", 3.0)
        assert heir != dead
        until(lambda: weight(tried) >= 25, "the next step")
        os.kill(until(lambda: leader(tried), "somebody leads"), signal.SIGKILL)
        until(lambda: not attempt(tried)["runs"], "it is over", 120)
    assert attempt(tried)["stage"] == "done", attempt(tried)
    assert by_evidence(tried, since) == WAYS
    assert {answer.status for answer in callers.failures} <= {0}, "only what the killed workers had in hand"
    whole(tried)
    tried.operator().flip(to="steady", reason="back for the other tests")


def test_a_store_that_goes_away_in_mid_try(tried: Server) -> None:
    """Traffic stays as it is while it is away; afterwards a candidate that fails is rolled back, once."""
    behave(tried)
    since = tried.operator().state.revision
    begin(tried)
    away = tried.store.with_suffix(".away")
    with load(tried) as callers:
        until(lambda: weight(tried) >= 5, "the second step")
        looked = attempt(tried)["looked"]
        tried.store.rename(away)
        until(lambda: tried.events("controller.failed"), "the leader cannot read")
        away.rename(tried.store)
        until(lambda: attempt(tried)["looked"] not in (looked, None), "somebody looks again")
        with closing(sqlite3.connect(place_of(tried) / "evidence.db", timeout=30)) as db:
            db.isolation_level = None
            db.execute("BEGIN EXCLUSIVE")
            time.sleep(3)
            db.execute("ROLLBACK")
        lost = len(callers.failures)
        behave(tried, fails=0.3)
        until(lambda: not attempt(tried)["runs"], "it is rolled back", 120)
    assert lost == 0
    assert {answer.variant for answer in callers.failures} <= {"trying"}
    assert (attempt(tried)["stage"], tried.operator().state.champion) == ("rolled_back", "steady")
    decided = by_evidence(tried, since)
    assert decided[-1] == "rollback"
    assert Counter(decided)["rollback"] == 1
    whole(tried)


def together(server: Server, *verbs: Callable[[Rollout], object]) -> list[object]:
    """Let operators act at the same moment; return what each was told."""
    start, told = threading.Barrier(len(verbs)), list[Any]([None] * len(verbs))

    def act(index: int) -> None:
        operator = server.operator(f"operator{index}")
        start.wait()
        try:
            told[index] = verbs[index](operator)
        except Refused as error:
            told[index] = error

    threads = [threading.Thread(target=act, args=(index,)) for index in range(len(verbs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return told


def doubted(server: Server) -> bool:
    """Whether there is some evidence of harm, or so much that it is over."""
    told = attempt(server)
    return not told["runs"] or told["guardrails"]["error_rate"]["numbers"]["harm"] > 0.1


def test_two_operators_at_once(tried: Server) -> None:
    """One begins a try, and the other is told of it; and an abort beside a decision ends it once."""
    behave(tried, fails=0.5)
    since = tried.operator().state.revision
    last = tried.operator().state.attempt
    done = last is None or last.position.stage.value == "done"
    start: Callable[[Rollout], object] = lambda who: who.start() if done else who.retry()  # noqa: E731
    told = together(tried, start, start)
    (refused,) = [one for one in told if isinstance(one, Refused)]
    assert "runs" in str(refused), refused
    assert len(actions(tried, since)) == 1
    with load(tried):
        until(lambda: doubted(tried), "harm is near")
        (ended,) = together(tried, lambda who: who.abort(reason="enough"))
        until(lambda: not attempt(tried)["runs"], "it is over")
    ends = [
        (author, action) for author, action, _ in actions(tried, since) if action in ("abort", "rollback")
    ]
    assert len(ends) == 1
    if isinstance(ended, Refused):
        assert ends == [("evidence", "rollback")]
        assert "was rolled back" in str(ended)
    else:
        assert ends == [("operator0", "abort")]
    assert tried.operator().state.percents.get("trying", 0) == 0
