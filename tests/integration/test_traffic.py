"""Changes under traffic: nobody is lost, and nobody is answered by what was before."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bento_rollout.errors import RolloutError, StoreUnreachable
from bento_rollout.opening import first_commit
from bento_rollout.spec import RolloutSpec
from bento_rollout.store.sqlite import SQLiteStore
from tests.integration.callers import Load, is_stale, line_to_each, times_over
from tests.integration.running import ROOT, Server, fresh, serving, until

pytestmark = [pytest.mark.server, pytest.mark.fault]

FLIPPER = """
import itertools
from bento_rollout import open_rollout
pair = open_rollout("pair", author="flipper")
for to in itertools.cycle(["green", "blue"]):
    print(pair.flip(to).state.revision, flush=True)
"""


def other(champion: str) -> str:
    """Return whom to flip to."""
    return "green" if champion == "blue" else "blue"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The service `pair` without hooks, with three workers."""
    folder = fresh(tmp_path_factory.mktemp("plain"))
    with serving("tests.integration.apps.pair:Pair", folder, rollout="pair", workers=3) as server:
        yield server.ready()


@pytest.mark.slow
def test_every_request_after_a_change_sees_it(pair: Server) -> None:
    """1 000 flips, each followed at once by a request to every worker: never the variant of before."""
    operator = pair.operator()
    champion = operator.state.champion
    with line_to_each(pair.port, pair.living()) as lines:
        for _ in range(1000):
            champion = other(champion)
            revision = operator.flip(champion).state.revision
            for line in lines.values():
                line.send()
            for pid, line in lines.items():
                answer = line.receive()
                found = (answer.status, answer.variant, answer.body["variant"], answer.revision)
                assert found == (200, champion, champion, revision), f"worker {pid}: {answer}"


@pytest.mark.slow
def test_flips_and_weights_under_load_cost_no_request(pair: Server) -> None:
    """32 callers, 100 flips, 20 changes of weight: no failure, nobody is answered by what was before."""
    operator = pair.operator()
    acknowledged: list[tuple[float, int, str]] = []
    with Load(pair.port, 32) as load:
        for number in range(100):
            champion = other(operator.state.champion)
            change = operator.flip(champion)
            acknowledged.append((time.monotonic(), change.state.revision, champion))
            if number % 5 == 0:
                change = operator.set_weights({other(champion): 1 + number / 2})
                acknowledged.append((time.monotonic(), change.state.revision, ""))
            time.sleep(0.02)
    assert len(acknowledged) == 120
    assert load.failures == []
    assert len(load.answers) > 1000
    assert times_over(lambda answer: is_stale(answer, acknowledged), load.answers) == []


@pytest.mark.slow
def test_an_operator_killed_in_the_middle_costs_no_request(pair: Server) -> None:
    """A process that flips is killed at any moment: no request fails, and what it was told holds."""
    operator = pair.operator()
    flipped: list[tuple[float, int, str]] = []
    with Load(pair.port, 32) as load:
        for _ in range(6):
            arguments = [sys.executable, "-c", FLIPPER]
            with subprocess.Popen(
                arguments, env=pair.environment(), cwd=ROOT, stdout=subprocess.PIPE, text=True
            ) as flipping:
                assert flipping.stdout is not None
                assert int(flipping.stdout.readline()) > 0
                time.sleep(random.uniform(0, 0.1))
                flipping.send_signal(signal.SIGKILL)
                told = [int(line) for line in flipping.stdout.read().split()]
            assert operator.state.revision >= max(told, default=0)
            champion = other(operator.state.champion)
            revision = operator.flip(champion).state.revision
            flipped.append((time.monotonic(), revision, champion))
            time.sleep(0.1)
    assert load.failures == []
    assert times_over(lambda answer: is_stale(answer, flipped), load.answers) == []
    revisions = [commit.revision for commit in operator.history()]
    assert revisions == list(range(len(revisions), 0, -1))


def damages(path: Path) -> dict[str, Callable[[], object]]:
    """Return what may happen to a store, as callables."""

    def replace() -> None:
        spare = path.with_name("spare.db")
        spare.unlink(missing_ok=True)
        SQLiteStore(spare, create=True).commit(
            first_commit("pair", "blue", RolloutSpec(), {"blue": "1", "green": "2"}), after=0
        )
        spare.replace(path)

    return {
        "deleted": path.unlink,
        "truncated": lambda: os.truncate(path, path.stat().st_size // 2),
        "emptied": lambda: os.truncate(path, 0),
        "overwritten": lambda: path.write_bytes(os.urandom(8192)),
        "replaced": replace,
    }


@pytest.mark.parametrize("damage", ["deleted", "truncated", "emptied", "overwritten", "replaced"])
def test_a_damaged_store_costs_no_request(pair: Server, damage: str, tmp_path: Path) -> None:
    """Whatever happens to the store: serving goes on, changes are refused, each worker says it once."""
    operator = pair.operator()
    operator.flip(other(operator.state.champion))
    state = operator.state
    kept = shutil.copy2(pair.store, tmp_path / "kept.db")
    said = len(pair.events("store.unreachable"))
    with Load(pair.port, 8, pause=0.01) as load:
        damages(pair.store)[damage]()
        until(lambda: len(pair.events("store.unreachable")) >= said + 3, "each worker says so")
        with pytest.raises(StoreUnreachable):
            operator.flip(other(state.champion))
        with pytest.raises(StoreUnreachable):
            operator.rollback()
        assert operator.status()["revision"] == state.revision
        assert operator.status()["store"]["problem"]
        time.sleep(1.5)  # two more looks at the store
    try:
        assert load.failures == []
        assert times_over(lambda answer: answer.variant != state.champion, load.answers) == []
        assert len(pair.events("store.unreachable")) == said + 3
    finally:
        shutil.copy2(kept, tmp_path / "again.db")
        (tmp_path / "again.db").replace(pair.store)
    champion = other(state.champion)
    until(
        lambda: all(not worker["trouble"] for worker in operator.status()["workers"]), "the trouble is over"
    )
    assert operator.flip(champion).state.champion == champion
    with line_to_each(pair.port, pair.living()) as lines:
        assert {line.ask().variant for line in lines.values()} == {champion}


@pytest.mark.parametrize("damage", ["deleted", "truncated", "replaced", "older", "folder"])
def test_a_lost_counter_heals(pair: Server, damage: str) -> None:
    """The counter beside the store may vanish or be another: no request fails, and the next change holds."""
    place = pair.store.with_name("rollouts.db.d") / "pair"
    operator = pair.operator()
    spares = {"replaced": os.urandom(24), "older": (place / "counter").read_bytes()}
    operator.flip(other(operator.state.champion))
    with Load(pair.port, 8, pause=0.01) as load:
        if damage == "deleted":
            (place / "counter").unlink()
        elif damage == "truncated":
            os.truncate(place / "counter", 3)
        elif damage in spares:
            (place / "spare").write_bytes(spares[damage])
            (place / "spare").replace(place / "counter")
        else:
            for path in (place / "counter", place / "state.json"):
                path.unlink()
        time.sleep(0.2)
        champion = other(operator.state.champion)
        revision = operator.flip(champion).state.revision
        until(
            lambda: {worker["revision"] for worker in operator.status()["workers"]} == {revision}, "all know"
        )
        healed = time.monotonic()
        time.sleep(0.3)
    assert load.failures == []
    assert times_over(lambda answer: answer.began > healed and answer.revision < revision, load.answers) == []


@pytest.mark.slow
def test_a_worker_killed_under_load_comes_back_with_the_last_good_state(pair: Server, tmp_path: Path) -> None:
    """A worker killed while the store is damaged: the one in its place serves the last good state."""
    operator = pair.operator()
    operator.flip(other(operator.state.champion))
    state = operator.state
    shutil.copy2(pair.store, tmp_path / "kept.db")
    with Load(pair.port, 8, pause=0.01) as load:
        pair.store.write_bytes(b"this was a database")
        killed = pair.living()[0]
        os.kill(killed, signal.SIGKILL)
        until(lambda: killed not in pair.living() and len(pair.living()) == 3, "a new worker lives", 90)
        time.sleep(0.5)
    # Only what was under way in the killed worker is lost, as on the bare service.
    assert len(load.failures) <= 8
    assert {answer.variant for answer in load.answers if answer.status == 200} == {state.champion}
    with line_to_each(pair.port, pair.living()) as lines:
        answers = [line.ask() for line in lines.values()]
    assert {(answer.variant, answer.revision) for answer in answers} == {(state.champion, state.revision)}
    with pytest.raises(RolloutError):
        operator.pause()
    (tmp_path / "kept.db").replace(pair.store)
    assert operator.flip(other(state.champion)).changed


@pytest.mark.slow
def test_a_champion_that_another_deployment_brought(pair: Server) -> None:
    """While the champion is a variant that this service lacks, even a worker that is respawned serves on."""
    operator = pair.operator()
    champion = operator.flip(other(operator.state.champion)).state.champion
    store = SQLiteStore(pair.store)
    before = store.read("pair")
    assert before is not None
    state = before.state.flip("nine", ("blue", "green", "nine"))
    numbered = state.model_copy(update={"revision": before.revision + 1})
    commit = before.model_copy(update={"state": numbered, "parent": before.revision, "action": "flip"})
    with Load(pair.port, 8, pause=0.01) as load:
        store.commit(commit, after=before.revision)
        killed = pair.living()[0]
        os.kill(killed, signal.SIGKILL)
        until(lambda: killed not in pair.living() and len(pair.living()) == 3, "a new worker lives", 90)
        time.sleep(0.5)
    assert len(load.failures) <= 8  # what was under way in the killed worker
    with line_to_each(pair.port, pair.living()) as lines:
        answers = [line.ask() for line in lines.values()]
    assert {(answer.status, answer.variant, answer.reason) for answer in answers} == {
        (200, champion, "unavailable")
    }
    (line,) = pair.events("rollout.unknown_champion")
    assert "champion='nine'" in line["problem"]
    assert operator.rollback().state.champion == champion
