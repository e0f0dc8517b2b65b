"""Held calls: who waits gets the decision, and what is wrong where it is looked for costs nobody."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection

import pytest

from bento_rollout import holding
from bento_rollout.calls import Late
from bento_rollout.errors import StoreUnreachable
from bento_rollout.holding import Held
from bento_rollout.limited import limited
from bento_rollout.reviewing import Decision, Status


class Shelf:
    """Where decisions appear; fails as often as it is told."""

    def __init__(self, failures: int = 0) -> None:
        self.decisions: dict[str, Decision] = {}
        self.failures, self.looks = failures, 0

    def put(self, task: str, status: Status = Status.ANSWERED) -> None:
        """Let a decision appear."""
        self.decisions[task] = Decision(task, "p", "read", status)

    def decided(self, ids: Collection[str]) -> dict[str, Decision]:
        """Return what is there."""
        self.looks += 1
        if self.failures:
            self.failures -= 1
            raise StoreUnreachable("gone")
        return {name: self.decisions[name] for name in ids if name in self.decisions}


def test_all_who_wait_get_their_own_decision() -> None:
    """Many callers wait at once, some for the same case; each gets its own, and nothing is kept of them."""
    shelf = Shelf()
    held = Held(shelf.decided, "r", poll=0.001)

    async def run() -> list[Decision | None]:
        waiting = [asyncio.ensure_future(held.wait(f"t{number % 20}", 30)) for number in range(100)]
        await asyncio.sleep(0)
        assert held.waiting == 20
        for number in range(20):
            shelf.put(f"t{number}")
        return await asyncio.gather(*waiting)

    found = asyncio.run(run())
    assert [one.id for one in found if one] == [f"t{number % 20}" for number in range(100)]
    assert held.waiting == 0
    held.close()


def test_who_waits_too_long_or_leaves_is_forgotten() -> None:
    """A wait ends with its time, and when its caller is cancelled; then nobody looks any more."""
    shelf = Shelf()
    held = Held(shelf.decided, "r", poll=0.001)

    async def run() -> None:
        assert await held.wait("t", 0.01) is None
        leaving = asyncio.ensure_future(held.wait("t", None))
        await asyncio.sleep(0)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        assert held.waiting == 0

    asyncio.run(run())
    held.close()


def test_an_open_case_is_no_decision() -> None:
    """Only an ended case ends the wait."""
    shelf = Shelf()
    shelf.put("t", Status.OPEN)
    held = Held(shelf.decided, "r", poll=0.001)

    async def run() -> Decision | None:
        waiting = asyncio.ensure_future(held.wait("t", 30))
        await asyncio.to_thread(_until, lambda: shelf.looks >= 3)
        assert not waiting.done()
        shelf.put("t", Status.REJECTED)
        return await waiting

    found = asyncio.run(run())
    assert found is not None
    assert found.status is Status.REJECTED
    held.close()


def test_a_store_that_fails_is_asked_again() -> None:
    """Whatever is raised where decisions are looked for, callers wait on, and get theirs when it is over."""
    shelf = Shelf(failures=3)
    shelf.put("t")
    held = Held(shelf.decided, "r", poll=0.001)
    assert asyncio.run(held.wait("t", 30)) is not None
    held.close()


def test_a_worker_that_ends_lets_all_go() -> None:
    """After `close` nobody waits, whoever did and whoever comes."""
    held = Held(Shelf().decided, "r", poll=0.001)

    async def run() -> None:
        waiting = asyncio.ensure_future(held.wait("t", None))
        await asyncio.sleep(0)
        held.close()
        assert await waiting is None
        assert await held.wait("other", None) is None

    asyncio.run(run())


def test_limited_raises_what_is_raised_and_waits_no_longer() -> None:
    """A function's error is its caller's; one that hangs, or would end the thread, costs no more."""
    with pytest.raises(ZeroDivisionError):
        limited(5.0, lambda: 1 / 0)
    with pytest.raises(Late, match="no answer within"):
        limited(0.01, time.sleep, 5)
    with pytest.raises(RuntimeError, match="SystemExit"):
        limited(5.0, exit)


def _until(condition: Callable[[], bool]) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_all_that_wait_are_looked_after_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many, a few at a time are looked at; in the end nobody waits for a case that is not there."""
    monkeypatch.setattr(holding, "EACH", 0.0)
    monkeypatch.setattr(holding, "SOME", 3)
    held = Held(lambda _: {}, "r", exists=lambda task: task == "t7", poll=0.001)

    async def run() -> list[Decision | None]:
        return await asyncio.gather(*(held.wait(f"t{number}", 1.0) for number in range(10)))

    found = asyncio.run(run())
    assert [number for number, one in enumerate(found) if one is None] == [7]
    assert {one.status for one in found if one} == {Status.WITHDRAWN}
    held.close()
