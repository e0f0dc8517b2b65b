"""A candidate that hangs holds nobody but its own callers."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.integration.callers import Line, Load, slowest
from tests.integration.running import Server, fresh, serving, until

pytestmark = [pytest.mark.server, pytest.mark.slow]


@pytest.fixture(scope="module")
def hanging(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The service `hanging` with two workers."""
    folder = fresh(tmp_path_factory.mktemp("hanging"))
    with serving("tests.integration.apps.hanging:Hanging", folder, rollout="hanging", workers=2) as server:
        yield server.ready()


def test_a_sleeping_candidate_does_not_slow_the_champion(hanging: Server) -> None:
    """5 % of traffic goes to a candidate that sleeps 10 s: the champion's callers notice nothing."""
    operator = hanging.operator()
    keys = [f"u{number}" for number in range(400)]

    def ask(key: str) -> tuple[int, str]:
        line = Line(hanging.port)
        try:
            answer = line.ask(**{"x-key": key})
            return answer.status, answer.body["variant"]
        finally:
            line.close()

    with Load(hanging.port, 4, pause=0.01) as alone:
        wait_for(alone, 400)
    operator.set_weights({"sleeper": 5})
    owners = operator.assign(keys)
    champions = [key for key, name in zip(keys, owners, strict=True) if name == "awake"]
    slow = [key for key, name in zip(keys, owners, strict=True) if name == "sleeper"]
    assert len(slow) > 8
    with ThreadPoolExecutor(8) as pool:
        # As many at a time as the candidate has threads in both workers: with one thread limit for all
        # variants the champion would stand still until the first of them wakes up.
        sleeping = [pool.submit(ask, key) for key in slow[:8]]
        with Load(hanging.port, 4, pause=0.01, keys=champions) as beside:
            wait_for(beside, 400)
        asleep = sum(not one.done() for one in sleeping)
        assert [one.result(90) for one in sleeping] == [(200, "sleeper")] * 8
    assert asleep > 0, "the candidate was awake before the champion had answered"
    assert beside.failures == []
    assert {answer.variant for answer in beside.answers} == {"awake"}
    # Both runs share two cores with whatever else runs here; a shared thread limit would cost seconds.
    assert slowest(beside.answers, 0.99) < max(1.0, 5 * slowest(alone.answers, 0.99))


def wait_for(load: Load, count: int) -> None:
    """Return when so many answers are there."""
    until(lambda: len(load.answers) >= count, f"{count} answers")
