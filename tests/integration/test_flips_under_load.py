"""Flips with hooks under load: commands killed in the middle, and operators in each other's way."""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bento_rollout.errors import Conflict
from bento_rollout.operations import Rollout
from bento_rollout.store.ballot import Ballot
from bento_rollout.store.files import is_locked
from bento_rollout.store.sqlite import SQLiteStore
from tests.integration.callers import Load, is_stale, line_to_each, times_over
from tests.integration.running import Server, fresh, serving, until

pytestmark = [pytest.mark.server, pytest.mark.fault, pytest.mark.slow]

COMMAND = Path(sys.executable).with_name("bento-rollout")
TOKEN = "a-token-of-the-tests"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The service `pair` with hooks and three workers."""
    folder = fresh(tmp_path_factory.mktemp("loaded"))
    environment = {"PAIR_HOOKS": str(folder), "BENTO_ROLLOUT_ADMIN_TOKEN": TOKEN}
    target = "tests.integration.apps.pair:Pair"
    with serving(target, folder, rollout="pair", workers=3, environment=environment) as server:
        yield server.ready()


@pytest.fixture(autouse=True)
def _quiet(pair: Server) -> None:
    order(pair, moment=0)
    for log in pair.folder.glob("*.log"):
        if log != pair.log:
            log.unlink()


def other(champion: str) -> str:
    """Return whom to flip to."""
    return "green" if champion == "blue" else "blue"


def order(pair: Server, **what: Any) -> None:
    """Tell the before_flip hooks what to do."""
    draft = pair.folder / "draft"
    draft.write_text(json.dumps(what))
    draft.rename(pair.folder / "before.json")


def reasons(pair: Server, moment: str) -> list[str]:
    """Return for which flips the hooks of a moment ran, by the reasons that were given."""
    with contextlib.suppress(FileNotFoundError):
        return [
            json.loads(line)["reason"] for line in (pair.folder / f"{moment}.log").read_text().splitlines()
        ]
    return []


def command(pair: Server, *arguments: str, quiet: bool = False) -> subprocess.Popen[str]:
    """Start `bento-rollout`, as a person does."""
    output = subprocess.DEVNULL if quiet else subprocess.PIPE
    return subprocess.Popen(
        [COMMAND, *arguments], env=pair.environment(), stdout=output, stderr=output, text=True
    )


def check_history(operator: Rollout, since: int) -> dict[int, str]:
    """Check that revisions follow each other without a gap; return the flips after ``since``: reasons."""
    commits = operator.history()
    assert [commit.revision for commit in commits] == list(range(len(commits), 0, -1))
    assert [commit.parent for commit in commits] == list(range(len(commits) - 1, -1, -1))
    flips = {}
    for before, commit in zip(commits[1:], commits, strict=False):
        if commit.state.champion != before.state.champion and commit.revision > since:
            assert commit.state.percents == {}
            flips[commit.revision] = commit.reason
    return flips


def check_nothing_is_open(pair: Server) -> None:
    """Check that no flip is being prepared, no vote lies about, and the store is whole."""
    store = SQLiteStore(pair.store)
    ballot = Ballot(store.place("pair"))
    assert ballot.pending() is None
    assert not is_locked(store.place("pair") / "flip.lock")
    store.check()


def check_followed_up(pair: Server, flips: dict[int, str]) -> None:
    """Check that the after_flip hooks ran exactly once for each flip that was committed."""
    ballot = Ballot(SQLiteStore(pair.store).place("pair"))

    def followed() -> bool:
        afters = ballot.afters()
        return all(revision in afters and afters[revision].state == "done" for revision in flips)

    until(followed, "every flip is followed up")
    time.sleep(1.5)  # whoever would do it a second time has the time to
    assert Counter(reasons(pair, "after")) == Counter(flips.values())


def check_all_serve(pair: Server, operator: Rollout) -> None:
    """Check that every worker answers by the last revision."""
    state = operator.state
    with line_to_each(pair.port, pair.living()) as lines:
        answers = [line.ask() for line in lines.values()]
    assert {(a.status, a.revision, a.variant) for a in answers} == {(200, state.revision, state.champion)}


# -- commands that are killed --------------------------------------------------------------------------------


class Killer:
    """Flips, changes weights, and kills commands in the middle of a flip; remembers what was acknowledged."""

    def __init__(self, pair: Server) -> None:
        self.pair, self.operator = pair, pair.operator()
        self.acknowledged: list[tuple[float, int, str]] = []
        self.killed: list[str] = []

    def flip(self, reason: str) -> None:
        """Flip and wait for the acknowledgement."""
        champion = other(self.operator.state.champion)
        change = self.operator.flip(champion, timeout=60, reason=reason)
        assert change.changed
        self.acknowledged.append((time.monotonic(), change.state.revision, champion))

    def weigh(self, percent: float) -> None:
        """Give the candidate some traffic."""
        change = self.operator.set_weights({other(self.operator.state.champion): percent})
        self.acknowledged.append((time.monotonic(), change.state.revision, ""))

    def kill_while_a_hook_runs(self, reason: str) -> None:
        """Kill a command as soon as the hook has begun in some worker; nothing may have changed."""
        before = self.operator.state
        order(self.pair, moment=1)
        arguments = ("flip", "pair", "--to", other(before.champion), "--reason", reason)
        with command(self.pair, *arguments, quiet=True) as flipping:
            until(lambda: reason in reasons(self.pair, "before"), "a hook runs", pause=0.005)
            flipping.kill()
        assert flipping.returncode == -signal.SIGKILL
        order(self.pair, moment=0)
        assert self.operator.state == before
        self.killed.append("while a hook ran")

    def kill_right_after_the_commit(self, reason: str) -> None:
        """Kill a command as soon as the store has its revision: nobody was told, and the flip holds."""
        before = self.operator.state
        arguments = ("flip", "pair", "--to", other(before.champion), "--reason", reason)
        with command(self.pair, *arguments, quiet=True) as flipping:
            until(lambda: self.operator.state.revision > before.revision, "it is committed", pause=0)
            flipping.kill()
        state = self.operator.state
        assert (state.revision, state.champion) == (before.revision + 1, other(before.champion))
        if flipping.returncode == -signal.SIGKILL:
            self.killed.append("after the commit")
        # It was killed before it could tell: each worker finds out by itself, within two seconds.
        until(
            lambda: {card["revision"] for card in self.operator.status()["workers"]} == {state.revision},
            "every worker knows",
        )
        self.acknowledged.append((time.monotonic(), state.revision, state.champion))


FLIPS = 48


def test_commands_killed_in_the_middle_of_flips_cost_no_request(pair: Server) -> None:
    """32 callers, many flips and weights, some commands killed: no failure, nobody sees the past."""
    killer = Killer(pair)
    since = killer.operator.state.revision
    with Load(pair.port, 32, pause=0.05) as load:
        for number in range(FLIPS):
            if number % 20 == 5:
                killer.kill_while_a_hook_runs(f"killed {number}")
            if number % 12 == 2:
                killer.kill_right_after_the_commit(f"unheard {number}")
            killer.flip(f"flip {number}")  # at once: nothing of a killed command is in the way
            if number % 5 == 0:
                killer.weigh(1 + number / 2)
    assert Counter(killer.killed)["while a hook ran"] == len(range(5, FLIPS, 20))
    assert Counter(killer.killed)["after the commit"] >= 1
    assert load.failures == []
    assert len(load.answers) > 500
    assert times_over(lambda answer: is_stale(answer, killer.acknowledged), load.answers) == []
    flips = check_history(killer.operator, since)
    assert sorted(flips.values()) == sorted(
        [f"flip {number}" for number in range(FLIPS)]
        + [f"unheard {number}" for number in range(2, FLIPS, 12)]
    )
    check_nothing_is_open(pair)
    check_followed_up(pair, flips)
    check_all_serve(pair, killer.operator)


# -- operators in each other's way ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Attempt:
    """One flip that somebody asked for: whether it was done, and what was said."""

    reason: str
    to: str
    done: bool
    champion: str
    said: str


def flip_by_command(pair: Server, reason: str, to: str) -> Attempt:
    """Flip as a person at a terminal does."""
    with command(pair, "flip", "pair", "--to", to, "--reason", reason, "--json") as flipping:
        out, err = flipping.communicate(timeout=120)
    assert flipping.returncode in (0, 1), err
    answer = json.loads(out)
    if flipping.returncode == 0:
        return Attempt(reason, to, done=True, champion=answer["champion"], said="")
    assert answer["error"]["exit_code"] == 1
    return Attempt(reason, to, done=False, champion="", said=answer["error"]["message"])


def flip_by_http(pair: Server, reason: str, to: str) -> Attempt:
    """Flip as a program does."""
    connection = http.client.HTTPConnection("127.0.0.1", pair.port, timeout=120)
    head = {"Content-Type": "application/json", "Authorization": f"Bearer {TOKEN}"}
    try:
        connection.request("POST", "/rollout/admin/flip", json.dumps({"to": to, "reason": reason}), head)
        response = connection.getresponse()
        answer = json.loads(response.read())
    finally:
        connection.close()
    assert response.status in (200, 409), answer
    if response.status == 200:
        return Attempt(reason, to, done=True, champion=answer["champion"], said="")
    return Attempt(reason, to, done=False, champion="", said=answer["detail"])


def test_operators_at_two_doors_with_hooks_that_veto(pair: Server) -> None:
    """Commands and HTTP flip at once, hooks veto at random: one wins, the others are told why not."""
    operator = pair.operator()
    since = operator.state.revision
    order(pair, moment=0.1, vetoes=0.1)
    attempts: list[Attempt] = []
    over = threading.Event()

    def program() -> None:
        number = 0
        while not over.is_set():
            number += 1
            attempts.append(flip_by_http(pair, f"program {number}", random.choice(["blue", "green"])))

    def colleague() -> None:
        while not over.is_set():
            with contextlib.suppress(Conflict):
                operator.set_weights({other(operator.state.champion): random.choice([1, 2, 3])})
            time.sleep(1)

    with Load(pair.port, 16, pause=0.02) as load:
        threads = [threading.Thread(target=act) for act in (program, colleague)]
        for thread in threads:
            thread.start()
        for number in range(14):
            to = random.choice(["blue", "green"])
            attempts.append(flip_by_command(pair, f"person {number}", to))
        over.set()
        for thread in threads:
            thread.join(120)
    assert load.failures == []
    assert {answer.body["variant"] for answer in load.answers} <= {"blue", "green"}
    flips = check_history(operator, since)
    done = {attempt.reason for attempt in attempts if attempt.done}
    assert set(flips.values()) <= done, "somebody was refused, and it happened all the same"
    assert len(set(flips.values())) == len(flips)
    made = [attempt for attempt in attempts if attempt.reason in set(flips.values())]
    assert all(attempt.champion == attempt.to for attempt in made)
    refusals = " ".join(attempt.said for attempt in attempts if not attempt.done)
    assert "a bad moment" in refusals
    assert "another flip is being prepared" in refusals or "somebody else" in refusals
    check_nothing_is_open(pair)
    check_followed_up(pair, flips)
    check_all_serve(pair, operator)
