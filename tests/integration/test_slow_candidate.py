"""A candidate that hangs holds nobody but its own callers."""

from __future__ import annotations

import asyncio
import itertools
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.integration.callers import Answer, ask, slowest
from tests.integration.running import Server, fresh, serving

pytestmark = [pytest.mark.server, pytest.mark.slow]

RATE = 100
ROUNDS = 6
SLICE = 1.2
SLEEP = 10.0
"""What the candidate sleeps, unless it is told otherwise."""

CHAMPIONS_THREADS = 8
"""What the champion has in both workers: with one limit for all variants it would soon stand still."""


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Server]]:
    """The service `hanging` with two workers, twice: for the champion alone, and with traffic for both."""
    with ExitStack() as stack:
        alone, beside = (
            stack.enter_context(
                serving(
                    "tests.integration.apps.hanging:Hanging",
                    fresh(tmp_path_factory.mktemp(name)),
                    rollout="hanging",
                    workers=2,
                )
            )
            for name in ("alone", "beside")
        )
        yield alone.ready(), beside.ready()


class Arrivals:
    """Callers who come at a steady rate, however long the others wait: each on a connection that is free."""

    def __init__(self, server: Server) -> None:
        self._port = server.port
        self._keys = (f"u{number}" for number in itertools.count())
        self._free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def during(self, seconds: float) -> list[asyncio.Task[Answer]]:
        """Call for a while; return these calls."""
        began, calls = time.monotonic(), []
        for number in range(int(seconds * RATE)):
            await asyncio.sleep(began + number / RATE - time.monotonic())
            calls.append(asyncio.create_task(self._call(next(self._keys))))
        return calls

    async def _call(self, key: str) -> Answer:
        while self._free and self._free[-1][0].at_eof():  # the server hung up on one that was idle for long
            self._free.pop()[1].close()
        streams = self._free.pop() if self._free else await asyncio.open_connection("127.0.0.1", self._port)
        answer = await asyncio.wait_for(ask(*streams, key), 60)
        self._free.append(streams)
        return answer


async def take_turns(alone: Server, beside: Server) -> tuple[list[list[Answer]], list[list[Answer]]]:
    """Return what the champion's own service answered, and what the other one did, slice by slice."""
    pair = Arrivals(alone), Arrivals(beside)
    for arrivals in pair:  # all workers are warm
        await arrivals.during(SLICE)
    beside.operator().set_weights({"sleeper": 5})
    slices = [[await arrivals.during(SLICE) for arrivals in pair] for _ in range(ROUNDS)]
    answers = [[await asyncio.gather(*calls) for calls in both] for both in slices]
    return [own for own, _ in answers], [mixed for _, mixed in answers]


def test_a_sleeping_candidate_does_not_slow_the_champion(pair: tuple[Server, Server]) -> None:
    """5 % of traffic goes to a candidate that sleeps for 10 s: the champion's p99 stays within 2x.

    The same service without traffic for the candidate has the champion's own p99. Slices of both take turns,
    so that both meet the same machine, while those who are asleep sleep on; the middle one of the rounds'
    ratios is judged, so that a moment in which the machine was elsewhere decides nothing.
    """
    own, mixed = asyncio.run(take_turns(*pair))
    answers = [answer for answers in mixed for answer in answers]
    assert {answer.status for answers in (*own, *mixed) for answer in answers} == {200}
    champions = [[answer for answer in answers if answer.variant == "awake"] for answers in mixed]
    sleepers = [answer for answer in answers if answer.variant == "sleeper"]
    assert {answer.variant for answers in own for answer in answers} == {"awake"}
    assert 0.03 < len(sleepers) / len(answers) < 0.07
    assert len(sleepers) > 2 * CHAMPIONS_THREADS
    assert min(answer.seconds for answer in sleepers) >= SLEEP
    ratios = [slowest(now, 0.99) / slowest(then, 0.99) for then, now in zip(own, champions, strict=True)]
    assert statistics.median(ratios) <= 2, f"p99 beside the sleepers over the champion's own: {ratios}"
    assert slowest([answer for answers in champions for answer in answers], 1) < SLEEP / 4
