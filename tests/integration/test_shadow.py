"""Shadows of a real server: whatever they do, callers, probes and the end of the server do not notice."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import psutil
import pytest

from tests.integration.callers import Load
from tests.integration.running import Server, fresh, serving, until

pytestmark = [pytest.mark.server, pytest.mark.slow]

TARGET = "tests.integration.apps.shadows:Shadows"
PLACES = ("near", "beside", "apart")
READY_IN = 5.0
"""Seconds that `/readyz` may take: the machine may be busy, and it never waits for a shadow."""


@pytest.fixture(scope="module")
def shadows(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The service `shadows`, all of whose candidates are ready."""
    folder = fresh(tmp_path_factory.mktemp("shadows"))
    with serving(TARGET, folder, rollout="shadows", workers=1) as server:
        server.ready()
        until(lambda: states(server) == {"ready"}, "all candidates are ready")
        yield server


def states(server: Server) -> set[str]:
    """Return what the variants are."""
    return {row["state"] for row in server.operator().status()["variants"].values()}


def row_of(server: Server, name: str) -> dict[str, Any]:
    """Return what the report says of a candidate."""
    found: dict[str, Any] = server.operator().shadow_report()["candidates"].get(name, {})
    return found


def reported(server: Server, name: str, done: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    """Wait until something is true of what the report says of a candidate."""
    until(lambda: (row := row_of(server, name)) and done(row), f"the report on {name}", 30)
    return row_of(server, name)


def has_compared(server: Server, name: str, calls: int) -> bool:
    """Whether a candidate was compared so often."""
    return bool(row_of(server, name)["compared"] >= calls)


def watched_only_by(server: Server, name: str) -> None:
    """Let one candidate watch everything, and the others nothing."""
    server.operator().set_shadow({**dict.fromkeys(PLACES, 0), name: 100})


@pytest.mark.parametrize("name", PLACES)
def test_it_is_compared_wherever_it_runs(shadows: Server, name: str) -> None:
    """In the worker, in a process, in a service: a shadow is compared, and knows what it is."""
    watched_only_by(shadows, name)
    with Load(shadows.port, 1, pause=0.02) as load:
        reported(shadows, name, lambda row: row["agreed"] >= 10)
    assert load.failures == []
    assert {answer.variant for answer in load.answers} == {"calm"}
    assert row_of(shadows, name)["disagreed"] == 0


def test_all_at_once(shadows: Server) -> None:
    """Several candidates watch the same calls."""
    before = {name: row_of(shadows, name)["compared"] for name in PLACES}
    shadows.operator().set_shadow(dict.fromkeys(PLACES, 100))
    with Load(shadows.port, 2, pause=0.02) as load:
        for name in PLACES:
            until(partial(has_compared, shadows, name, before[name] + 10), f"{name} is compared")
    assert load.failures == []


def test_a_process_that_is_killed_again_and_again(shadows: Server) -> None:
    """Kill -9 of the shadow's process under load: no request fails, what it missed is counted."""
    watched_only_by(shadows, "beside")
    operator = shadows.operator()
    with Load(shadows.port, 4, pause=0.002) as load:
        for _ in range(3):
            until(lambda: "ready" in operator.status()["variants"]["beside"]["state"], "it is back")
            for one in operator.status()["variants"]["beside"]["processes"]:
                if psutil.pid_exists(one.get("pid", -1)):
                    os.kill(one["pid"], signal.SIGKILL)
            time.sleep(0.5)
        until(lambda: operator.status()["variants"]["beside"]["state"] == "ready", "it is back")
        compared = row_of(shadows, "beside")["compared"]
        reported(shadows, "beside", lambda row: row["compared"] > compared)
    assert load.failures == []
    assert row_of(shadows, "beside")["dropped"]["unavailable"] > 0


@pytest.mark.parametrize("how", ["raise", "burn", "leak"])
def test_ten_thousand_requests_beside_one_that_misbehaves(
    tmp_path_factory: pytest.TempPathFactory, how: str
) -> None:
    """Shadows that raise, burn the processor or leak, in the worker and in a process: no request fails."""
    folder = fresh(tmp_path_factory.mktemp(f"shadows-{how}"))
    with serving(TARGET, folder, rollout="shadows", workers=1, environment={"SHADOWS_HOW": how}) as server:
        server.ready()
        server.operator().set_shadow({"near": 100, "beside": 100})
        with Load(server.port, 16) as load:
            until(lambda: len(load.answers) >= 3400, "a third of ten thousand answers", 120)
            assert server.asks("GET", "/readyz") == 200
        assert load.failures == []
        found = server.operator().shadow_report()["candidates"]
        assert sum(found["near"]["dropped"].values()) > 0
        if how == "raise":
            assert set(found["near"]["not_comparable"]) == {"RuntimeError"}
        if how == "burn":
            assert found["near"]["dropped"]["budget"] > 0


def test_one_that_sleeps_for_ever(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Threads and memory are flat after 10 000 calls, `/readyz` answers, and SIGTERM ends it within 5 s."""
    folder = fresh(tmp_path_factory.mktemp("shadows-hang"))
    with serving(TARGET, folder, rollout="shadows", workers=1, environment={"SHADOWS_HOW": "hang"}) as server:
        server.ready()
        server.operator().set_shadow({"near": 100, "beside": 100})
        (worker,) = (psutil.Process(pid) for pid in server.living())
        with Load(server.port, 16) as load:
            until(lambda: len(load.answers) >= 4000, "the first answers", 120)
            threads, memory = worker.num_threads(), worker.memory_info().rss
            until(lambda: len(load.answers) >= 10_000, "ten thousand answers", 240)
            began = time.monotonic()
            assert server.asks("GET", "/readyz") == 200
            assert time.monotonic() - began < READY_IN
        assert load.failures == []
        assert worker.num_threads() <= threads + 2
        assert worker.memory_info().rss < memory + (20 << 20)
        for name in ("near", "beside"):
            row = reported(server, name, lambda row: row["now"]["stuck"] or row["dropped"].get("timeout"))
            assert row["compared"] == 0
        assert row_of(server, "near")["now"]["stuck"] == 1
        assert len(server.events("shadow.stuck")) >= 1
        began = time.monotonic()
        server.arbiter.send_signal(signal.SIGTERM)
        until(lambda: server.arbiter.poll() is not None, "the server has ended", 30, 0.01)
        assert time.monotonic() - began < 5
        assert server.processes() == []
