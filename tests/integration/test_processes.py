"""A candidate in a process beside each worker: killed, orphaned, stopped."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from tests.integration.callers import Line, Load
from tests.integration.running import Server, alive, fresh, serving, until

pytestmark = [pytest.mark.server, pytest.mark.slow]


@pytest.fixture(scope="module")
def besides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The service `besides` with two workers."""
    folder = fresh(tmp_path_factory.mktemp("besides"))
    with serving("tests.integration.apps.besides:Besides", folder, rollout="besides", workers=2) as server:
        yield server.ready()


def processes(server: Server) -> list[dict[str, Any]]:
    """Return the candidate's processes, one for each worker, once all of them are ready."""

    def found() -> list[dict[str, Any]] | None:
        row = server.operator().status()["variants"]["wild"]
        told = row.get("processes", [])
        here = [one for one in told if psutil.pid_exists(one.get("pid", -1))]
        return here if row["state"] == "ready" and len(here) == server.count else None

    return list(until(found, "a ready process beside each worker"))


def test_each_is_niced_in_its_workers_session(besides: Server) -> None:
    """Nice 19, which acts among the processes of one session."""
    found = processes(besides)
    assert {one["worker"] for one in found} == set(besides.living())
    for one in found:
        assert psutil.Process(one["pid"]).nice() == 19
        assert os.getsid(one["pid"]) == os.getsid(one["worker"])
        assert psutil.Process(one["pid"]).ppid() == one["worker"]


def test_one_that_is_killed_every_moment_costs_no_request(besides: Server) -> None:
    """Kill -9 of the candidate's processes under load, with a fallback: no request fails."""
    processes(besides)
    besides.operator().set_weights({"wild": 50})
    with Load(besides.port, 8, pause=0.005, keys=[f"u{number}" for number in range(200)]) as load:
        for _ in range(4):
            time.sleep(0.3)
            for one in processes(besides):
                os.kill(one["pid"], signal.SIGKILL)
        processes(besides)
        time.sleep(0.5)
    assert load.failures == []
    reasons = {answer.reason for answer in load.answers}
    assert {"split", "unavailable"} <= reasons <= {"split", "unavailable", "fallback"}
    assert {answer.variant for answer in load.answers if answer.reason != "split"} == {"calm"}
    assert load.answers[-1].status == 200


def test_it_ends_with_its_worker(besides: Server) -> None:
    """After kill -9 of a worker its candidate's process is gone, too; the new worker has one of its own."""
    before = processes(besides)
    for one in before:
        os.kill(one["worker"], signal.SIGKILL)
    until(lambda: not any(psutil.pid_exists(one["pid"]) for one in before), "the orphans are gone", 20)
    besides.ready()
    after = processes(besides)
    assert {one["pid"] for one in after}.isdisjoint(one["pid"] for one in before)


def test_it_ends_when_the_server_is_stopped(besides: Server) -> None:
    """SIGTERM: the candidate answers what is under way, then its processes end with everything else."""
    own = [psutil.Process(one["pid"]) for one in processes(besides)]
    besides.operator().set_weights({"wild": 100})
    line = Line(besides.port)
    line.send("/who", {"seconds": 1.5}, **{"x-key": "u1"})
    time.sleep(0.5)
    besides.arbiter.send_signal(signal.SIGTERM)
    answer = line.receive()
    line.close()
    assert (answer.status, answer.variant, answer.reason) == (200, "wild", "split")
    besides.stop()
    assert not any(alive(process) for process in own)
    assert "it is started again" not in besides.said[-2000:]
