"""Metrics of a real server: sums over its workers, right after one was killed; flips; two services in one."""

from __future__ import annotations

import http.client
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bento_rollout.errors import FlipTimeout, Vetoed
from tests.integration.callers import Line, line_to_each
from tests.integration.running import Server, fresh, serving, until
from tests.scrapes import Scrape

pytestmark = [pytest.mark.server, pytest.mark.fault]

WORKERS = 3


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The service `pair` with hooks and three workers."""
    folder = fresh(tmp_path_factory.mktemp("measured"))
    environment = {"PAIR_HOOKS": str(folder)}
    target = "tests.integration.apps.pair:Pair"
    with serving(target, folder, rollout="pair", workers=WORKERS, environment=environment) as server:
        yield server.ready()


@pytest.fixture(autouse=True)
def _obedient(pair: Server) -> None:
    """Begin with all workers, obedient hooks, and blue as champion."""
    until(lambda: len(pair.living()) == WORKERS, "all workers live")
    (pair.folder / "before.json").unlink(missing_ok=True)
    pair.operator().flip("blue", timeout=60)


def scraped(server: Server) -> Scrape:
    """Return what some worker's ``/metrics`` says."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        text = answer.read().decode()
    finally:
        connection.close()
    assert answer.status == http.client.OK, text
    return Scrape(text)


def becomes(server: Server, number: Callable[[Scrape], float], expected: float) -> None:
    """Wait until scrapes say a number: who is asked knows its own requests at once, others' soon."""
    deadline, seen = time.monotonic() + 30, number(scraped(server))
    while seen != expected:
        assert time.monotonic() < deadline, f"it stays {seen:g}, and should become {expected:g}"
        time.sleep(0.05)
        seen = number(scraped(server))


def settled(server: Server) -> Scrape:
    """Return a scrape after which nothing is counted any more."""
    last = scraped(server)

    def is_quiet() -> bool:
        nonlocal last
        time.sleep(0.3)
        before, last = last, scraped(server)
        return before("predictions_total") == last("predictions_total")

    until(is_quiet, "nothing more is counted", pause=1.0)
    return last


def ask(lines: dict[int, Line], count: int) -> int:
    """Send as many requests to each worker; return how many that were."""
    for line in lines.values():
        for _ in range(count):
            assert line.ask().status == http.client.OK
    return count * len(lines)


def test_sums_over_workers(pair: Server) -> None:
    """Whoever is asked says what all workers have answered."""
    with line_to_each(pair.port, pair.living()) as lines:
        before = settled(pair)
        sent = ask(lines, 20)
        becomes(pair, lambda now: (now - before)("predictions_total", variant="blue", outcome="ok"), sent)
        grown = settled(pair) - before
    assert grown("predictions_total") == grown("runs_total") == grown("run_seconds_count") == sent


def test_a_worker_that_is_killed(pair: Server) -> None:
    """What it had counted stays; what it said of itself goes; the one in its place counts on."""
    with line_to_each(pair.port, pair.living()) as lines:
        before = settled(pair)
        sent = ask(lines, 10)
        becomes(pair, lambda now: (now - before)("predictions_total"), sent)
        os.kill(victim := next(iter(lines)), signal.SIGKILL)
    until(lambda: victim not in pair.living(), "it is gone")
    gauges = f"gauge_live*_{victim}.db"
    until(lambda: scraped(pair).text and not list(pair.folder.rglob(gauges)), "it says nothing any more")
    becomes(pair, lambda now: now("workers", rollout="pair"), WORKERS)
    assert (settled(pair) - before)("predictions_total") >= sent
    with line_to_each(pair.port, pair.living()) as lines:
        again = settled(pair)
        more = ask(lines, 10)
        becomes(pair, lambda now: (now - again)("predictions_total"), more)
    now = scraped(pair)
    assert now("variant_ready", variant="blue") == now("variant_ready", variant="green") == 1


def test_a_flip(pair: Server) -> None:
    """Whoever is asked names the new champion at once, at its revision; the flip is counted once."""
    before = settled(pair)
    pair.operator().flip("green", timeout=60)
    revision = pair.operator().state.revision
    for _ in range(20):
        now = scraped(pair)
        assert now("champion", variant="green") == 1
        assert now("champion", variant="blue") == 0
        assert now("revision") == revision
        assert now("weight_ratio", variant="green") == 1
    becomes(pair, lambda now: (now - before)("flips_total", outcome="committed"), 1)
    pair.operator().rollback()
    becomes(pair, lambda now: (now - before)("flips_total", outcome="committed"), 2)
    assert (settled(pair) - before)("flips_total") == 2


@pytest.mark.parametrize(
    ("order", "error", "outcome"),
    [({"veto": "no"}, Vetoed, "vetoed"), ({"sleep": 5}, FlipTimeout, "abandoned")],
)
def test_a_flip_that_is_not_made(
    pair: Server, order: dict[str, Any], error: type[Exception], outcome: str
) -> None:
    """All workers say no, or none says anything in time: one flip, which changed no gauge."""
    before = settled(pair)
    (pair.folder / "before.json").write_text(json.dumps(order))
    with pytest.raises(error):
        pair.operator().flip("green", timeout=1)
    becomes(pair, lambda now: (now - before)("flips_total", outcome=outcome), 1)
    now = settled(pair)
    assert (now - before)("flips_total") == 1
    assert now("champion", variant="blue") == 1


def test_two_services_in_one_serve(tmp_path: Path) -> None:
    """The candidate's own service counts nothing twice, and its readiness is known by where it runs."""
    target = "tests.integration.apps.traced:Traced"
    with serving(target, fresh(tmp_path / "home"), rollout="traced", workers=2) as server:
        server.ready()
        until(lambda: scraped(server)("variant_ready", variant="apart", runner="service") == 1, "it is ready")
        for variant, count in (("apart", 7), ("near", 5), ("calm", 3)):
            for _ in range(count):
                assert who(server, variant) == variant
        assert who(server, "near", how="near") == "calm"
        becomes(server, lambda now: now("predictions_total", endpoint="who"), 16)
        now = settled(server)
        assert now("runs_total", endpoint="who", variant="apart", outcome="ok") == 7
        assert now("runs_total", endpoint="who", variant="near", outcome="ok") == 5
        assert now("runs_total", endpoint="who", variant="near", outcome="error") == 1
        assert now("runs_total", endpoint="who", variant="calm", outcome="ok") == 4
        becomes(server, lambda now: now("shadow_compared_total", variant="watcher"), 3)


def who(server: Server, variant: str, **body: str) -> str:
    """Ask a variant who it is."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        head = {"Content-Type": "application/json", "x-rollout-variant": variant}
        connection.request("POST", "/who", json.dumps(body), head)
        return connection.getresponse().read().decode()
    finally:
        connection.close()
