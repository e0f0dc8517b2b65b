"""Candidates in services of their own under a real server: never up, killed, late, and stopped."""

from __future__ import annotations

import http.client
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from tests.integration.callers import Line, Load, is_stale, slowest, times_over
from tests.integration.running import Server, alive, fresh, serving, until

pytestmark = [pytest.mark.server, pytest.mark.fault, pytest.mark.slow]

TARGET = "tests.integration.apps.services:Services"
COMMAND = Path(sys.executable).with_name("bento-rollout")


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The service `services` with one worker, and one for each candidate."""
    folder = fresh(tmp_path_factory.mktemp("services"))
    with serving(TARGET, folder, rollout="services", workers=1) as server:
        yield server.ready()


def weigh(server: Server, *weights: str, reason: str = "") -> subprocess.CompletedProcess[str]:
    """Change weights as a person at a terminal does."""
    command = [str(COMMAND), "weight", server.name, *weights, "--reason", reason]
    return subprocess.run(
        command, env=server.environment(), capture_output=True, text=True, timeout=60, check=False
    )


def workers(server: Server, variant: str) -> list[psutil.Process]:
    """Return the processes that serve a candidate's service, or are about to."""
    name = f"{server.name}_{variant}"
    return [process for process in server.processes() if name in _arguments(process)]


def _arguments(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


def kill(server: Server, variant: str) -> None:
    """End whatever serves a candidate, the hard way."""
    for process in workers(server, variant):
        process.kill()


def settle(server: Server, *variants: str) -> None:
    """Wait until candidates are ready."""

    def ready() -> bool:
        rows = server.operator().status()["variants"]
        return all(rows[name]["state"] == "ready" for name in variants)

    until(ready, f"{variants} are ready", 90, 0.1)


def check_health(server: Server) -> None:
    """Check that the champion's two probes answer 200 within a second each."""
    for path in ("/readyz", "/livez"):
        began = time.monotonic()
        assert server.asks("GET", path) == http.client.OK
        assert time.monotonic() - began < 1, path


def keys_of(server: Server, variant: str, count: int) -> list[str]:
    """Return keys that a variant answers."""
    keys = [f"u{number}" for number in range(10_000)]
    answers = zip(keys, server.operator().assign(keys), strict=True)
    return [key for key, answer in answers if answer == variant][:count]


# -- one that never starts -----------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["host", "container"])
def test_one_that_crashes_at_every_start_costs_nothing(tmp_path: Path, where: str) -> None:
    """Services that exit at import, or raise in __init__, again and again: the champion is there alone."""
    environment = {"SERVICES_BROKEN": "1"}
    if where == "container":
        environment["BENTOML_CONTAINERIZED"] = "true"  # there BentoML ends the server with its first process
    options = {"rollout": "services", "workers": 1, "environment": environment}
    with serving(TARGET, tmp_path, **options) as server:
        server.ready()
        seen: dict[str, set[int]] = {"exiting": set(), "raising": set()}

        def again() -> bool:
            check_health(server)
            for name, pids in seen.items():
                pids.update(process.pid for process in workers(server, name))
            return all(len(pids) >= 2 for pids in seen.values())

        with Load(server.port, 8, pause=0.05) as load:
            until(again, "both have been started again", 120, 0.2)
            for name in seen:
                row = server.operator().status()["variants"][name]
                assert row["state"] in ("starting", "unready")
                assert f"'services_{name}' does not answer" in row["error"]
                refused = weigh(server, f"{name}=30")
                assert refused.returncode == 1, refused.stdout
                assert "does not answer" in refused.stderr
        assert load.failures == []
        assert {answer.variant for answer in load.answers} == {"calm"}
        assert {answer.reason for answer in load.answers} == {"split", "unavailable"}
        assert server.operator().state.revision == 1


# -- one that is killed --------------------------------------------------------------------------------------


def test_one_that_is_killed_every_two_seconds_costs_no_request(services: Server) -> None:
    """Kill -9 of a candidate's service every 2 s under load, without a time limit: no request fails."""
    settle(services, "wild")
    services.operator().set_weights({"wild": 50})
    with Load(services.port, 24, pause=0.02) as load:
        for _ in range(5):  # mostly while it is starting
            kill(services, "wild")
            time.sleep(1)
            check_health(services)
            time.sleep(1)
        for _ in range(3):  # while it answers
            settle(services, "wild")
            time.sleep(1)
            kill(services, "wild")
            time.sleep(1)
            check_health(services)
        settle(services, "wild")
        back = time.monotonic()
        time.sleep(1)
    services.operator().set_weights({"wild": 0})
    assert load.failures == []
    reasons = {answer.reason for answer in load.answers}
    assert {"split", "unavailable"} <= reasons <= {"split", "unavailable", "fallback"}
    assert {answer.variant for answer in load.answers if answer.reason != "split"} == {"calm"}
    assert slowest(load.answers, 1.0) < 10
    assert len({answer.body["pid"] for answer in load.answers if answer.variant == "wild"}) >= 4
    late = [answer for answer in load.answers if answer.began > back]
    assert {answer.variant for answer in late} == {"calm", "wild"}


def test_changes_made_while_it_is_killed_are_kept_or_refused(services: Server) -> None:
    """Two people change weights while a service is killed: what is acknowledged holds, else refused."""
    settle(services, "wild", "late", "alone")
    operator, over = services.operator(), threading.Event()
    since = operator.state.revision
    done: list[tuple[str, str, subprocess.CompletedProcess[str], float]] = []

    def person(variant: str) -> None:
        number = 0
        while not over.is_set():
            number += 1
            percent = number % 15 + (30 if number % 2 else 1)
            reason = f"{variant} {number}"
            made = weigh(services, f"{variant}={percent}", reason=reason)
            done.append((reason, variant, made, time.monotonic()))

    with Load(services.port, 16, pause=0.02) as load, ThreadPoolExecutor(2) as pool:
        people = [pool.submit(person, variant) for variant in ("wild", "alone")]
        for _ in range(6):
            kill(services, "wild")
            time.sleep(2)
        settle(services, "wild")
        time.sleep(3)
        over.set()
        for one in people:
            one.result(60)
    assert load.failures == []
    assert {made.returncode for _, _, made, _ in done} == {0, 1}
    assert all(v == "wild" and "not answer" in m.stderr for _, v, m, _ in done if m.returncode == 1)
    commits = [commit for commit in operator.history() if commit.revision > since]
    assert {commit.reason for commit in commits} == {r for r, _, m, _ in done if m.returncode == 0}
    assert [commit.revision for commit in commits] == list(range(since + len(commits), since, -1))
    revisions = {commit.reason: commit.revision for commit in commits}
    acknowledged = sorted((at, revisions[reason], "") for reason, _, m, at in done if m.returncode == 0)
    newest = [max(r for t, r, _ in acknowledged if t <= at) for at, _, _ in acknowledged]
    known = [(at, revision, "") for (at, _, _), revision in zip(acknowledged, newest, strict=True)]
    assert times_over(lambda answer: is_stale(answer, known), load.answers) == []
    operator.set_weights({"wild": 0, "alone": 0})


# -- one that is late ----------------------------------------------------------------------------------------


def test_one_that_is_late_leaves_nothing_behind(services: Server) -> None:
    """Answers after 10 s, one second's patience, 5 %: the champion answers all; no connection stays open."""
    settle(services, "late")
    (pid,) = services.living()
    worker = psutil.Process(pid)
    with Load(services.port, 16, pause=0.01):
        time.sleep(1)
    time.sleep(1)
    before = worker.num_fds(), worker.num_threads()
    services.operator().set_weights({"late": 5})
    with Load(services.port, 16, pause=0.01) as load:
        time.sleep(15)
    services.operator().set_weights({"late": 0})
    assert load.failures == []
    assert {answer.variant for answer in load.answers} == {"calm"}
    fallbacks = [answer for answer in load.answers if answer.reason == "fallback"]
    assert len(fallbacks) > 20
    assert 0.9 < slowest(fallbacks, 0.5) < 3
    until(lambda: worker.num_fds() <= before[0] + 2, f"{before[0]} files are open as before", 15)
    assert worker.num_threads() <= before[1] + 2


# -- the end -------------------------------------------------------------------------------------------------


def test_stopping_loses_nothing_and_leaves_nobody(services: Server) -> None:
    """SIGTERM under load: what was accepted is answered, by candidates, too; then no process is left."""
    settle(services, "wild", "alone")
    services.operator().set_weights({"wild": 40, "alone": 20})
    processes = services.processes()
    waiting = {name: keys_of(services, name, 4) for name in ("calm", "wild", "alone")}
    lines = {key: Line(services.port) for keys in waiting.values() for key in keys}
    # Without `fallback` a call may come to a service that has just ended: the caller is told.
    keys = [*keys_of(services, "calm", 500), *keys_of(services, "wild", 500)]
    with Load(services.port, 8, pause=0.02, keys=keys) as load, ThreadPoolExecutor(len(lines)) as pool:
        answers = {
            key: pool.submit(line.ask, "/who", {"seconds": 4}, **{"x-key": key})
            for key, line in lines.items()
        }
        time.sleep(2)  # by then each has come to where it is answered, on a busy machine, too
        services.arbiter.send_signal(signal.SIGTERM)
        got = {name: [answers[key].result(60) for key in keys] for name, keys in waiting.items()}
    assert services.arbiter.wait(60) == 0
    for name, those in got.items():
        assert [(one.status, one.variant, one.reason) for one in those] == [(200, name, "split")] * 4
    assert {answer.status for answer in load.answers} <= {200, 0}  # 0: no longer accepted
    until(lambda: not any(alive(process) for process in processes), "no process is left", 20)
