"""A candidate that hangs holds nobody but its own callers."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.integration.callers import Answer, Line, Load, slowest
from tests.integration.running import Server, fresh, serving

pytestmark = [pytest.mark.server, pytest.mark.slow]

ROUNDS = 5
SLICE = 1.2
SLEEP = 3.0
"""Seconds that the candidate sleeps: well over a slice, so that it sleeps through the whole of it."""

THREADS = 8
"""What the candidate has in both workers: with one limit for all variants the champion would stand still."""


@pytest.fixture(scope="module")
def hanging(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The service `hanging` with two workers."""
    folder = fresh(tmp_path_factory.mktemp("hanging"))
    with serving("tests.integration.apps.hanging:Hanging", folder, rollout="hanging", workers=2) as server:
        yield server.ready()


def ask(server: Server, key: str, seconds: float) -> tuple[int, str]:
    """Call with a key and return the status and who answered."""
    line = Line(server.port)
    try:
        answer = line.ask(body={"seconds": seconds}, **{"x-key": key})
        return answer.status, answer.body["variant"]
    finally:
        line.close()


def champions_callers(server: Server, keys: Sequence[str]) -> list[Answer]:
    """Return the answers to callers of the champion during one slice of time."""
    with Load(server.port, 4, pause=0.005, keys=keys) as load:
        time.sleep(SLICE)
    assert load.failures == []
    assert {answer.variant for answer in load.answers} == {"awake"}
    return load.answers


def test_a_sleeping_candidate_does_not_slow_the_champion(hanging: Server) -> None:
    """5 % of traffic goes to a candidate that sleeps in all its threads: the champion's p99 stays within 2x.

    Slices with and without sleepers take turns, so that both meet the same machine; the middle one of the
    rounds' ratios is judged, so that a moment in which the machine was elsewhere decides nothing.
    """
    operator = hanging.operator()
    operator.set_weights({"sleeper": 5})
    keys = [f"u{number}" for number in range(400)]
    owners = operator.assign(keys)
    champions = [key for key, name in zip(keys, owners, strict=True) if name == "awake"]
    slow = [key for key, name in zip(keys, owners, strict=True) if name == "sleeper"]
    assert len(slow) >= THREADS
    champions_callers(hanging, champions)  # both workers are warm
    alone: list[list[Answer]] = []
    beside: list[list[Answer]] = []
    with ThreadPoolExecutor(THREADS) as pool:
        for _ in range(ROUNDS):
            alone.append(champions_callers(hanging, champions))
            sleeping: list[Future[tuple[int, str]]] = [
                pool.submit(ask, hanging, key, SLEEP) for key in slow[:THREADS]
            ]
            time.sleep(0.2)
            beside.append(champions_callers(hanging, champions))
            assert not any(one.done() for one in sleeping), "the candidate was awake too soon"
            assert [one.result(60) for one in sleeping] == [(200, "sleeper")] * THREADS
    ratios = [
        slowest(watched, 0.99) / slowest(before, 0.99) for before, watched in zip(alone, beside, strict=True)
    ]
    assert statistics.median(ratios) <= 2, f"p99 beside the sleepers over p99 without them: {ratios}"
    assert slowest([answer for answers in beside for answer in answers], 1) < SLEEP / 2
    assert sum(map(len, beside)) > sum(map(len, alone)) / 2
