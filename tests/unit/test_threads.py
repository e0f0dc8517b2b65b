"""Daemon threads with a limit: nobody waits for a hung call but the calls of its own variant."""

from __future__ import annotations

import asyncio
import contextvars
import subprocess
import sys
import threading
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from bento_rollout.threads import DaemonThreads

VALUE: contextvars.ContextVar[str] = contextvars.ContextVar("value", default="none")


def run(work: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine on a loop of its own, with a deadline."""

    async def limited() -> Any:
        return await asyncio.wait_for(work, 20)

    return asyncio.run(limited())


def alive(name: str) -> int:
    """Return how many threads of a name are alive."""
    return sum(thread.name == f"rollout-{name}" for thread in threading.enumerate())


def test_a_call_returns_or_raises_what_the_function_does() -> None:
    """Values, errors, and even a StopIteration, which no future can carry."""

    async def work() -> None:
        threads = DaemonThreads(1, "test")
        assert await threads.run(lambda a, b: a + b, 1, b=2) == 3
        for error in (ValueError, SystemExit):
            with pytest.raises(error):
                await threads.run(_raise, error())
        with pytest.raises(Exception, match="over"):
            await threads.run(_raise, StopIteration("over"))
        threads.close()

    run(work())


def _raise(error: BaseException) -> None:
    raise error


def test_a_call_runs_in_a_copy_of_the_callers_context() -> None:
    """It sees the caller's variables, and what it sets stays its own."""

    async def work() -> None:
        threads = DaemonThreads(1, "test")
        VALUE.set("caller")

        def look() -> str:
            seen = VALUE.get()
            VALUE.set("thread")
            return seen

        assert await threads.run(look) == "caller"
        assert VALUE.get() == "caller"
        assert await threads.run(look) == "caller"
        threads.close()

    run(work())


def test_at_most_the_limit_runs_at_a_time_and_the_rest_in_order() -> None:
    """Calls beyond the limit wait; those that came first go first."""

    async def work() -> None:
        threads, running, most, order = DaemonThreads(2, "test"), 0, 0, []
        lock = threading.Lock()

        def busy(number: int) -> None:
            nonlocal running, most
            with lock:
                running += 1
                most = max(most, running)
                order.append(number)
            time.sleep(0.01)
            with lock:
                running -= 1

        await asyncio.gather(*(threads.run(busy, number) for number in range(10)))
        assert (most, sorted(order)) == (2, list(range(10)))
        assert [number // 2 for number in order] == [number // 2 for number in range(10)]
        threads.close()

    run(work())


def test_a_hung_call_keeps_its_slot_and_no_thread_takes_its_place() -> None:
    """Who waits for it gives up by being cancelled; the variant runs dry, the number of threads stays."""

    async def work() -> None:
        threads, release = DaemonThreads(2, "hung"), threading.Event()
        for _ in range(6):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(threads.run(release.wait, 20), 0.02)
        assert alive("hung") == 2
        release.set()
        assert await threads.run(lambda: "free again") == "free again"
        threads.close()

    run(work())


def test_work_begins_at_once_or_not_at_all() -> None:
    """A thread that is free takes it, and no turn of the loop is needed; when none is free it is refused."""

    async def work() -> None:
        threads, done, release = DaemonThreads(2, "begun"), threading.Event(), threading.Event()
        assert threads.begin(done.set)
        assert done.wait(10)  # this holds the loop

        def held() -> None:
            release.wait(20)

        begun = [threads.begin(held) for _ in range(3)]
        while sum(begun) < 2:  # the first thread may still be on its way back
            begun.append(threads.begin(held))
        assert not threads.begin(done.set)
        assert alive("begun") == 2
        release.set()
        threads.close()

    run(work())


def test_work_that_begins_and_calls_that_wait_share_the_limit() -> None:
    """No more than the limit run at a time, and nobody is forgotten, cancelled calls among them."""

    async def work() -> None:
        threads, lock, running, most = DaemonThreads(3, "shared"), threading.Lock(), 0, 0

        def busy() -> None:
            nonlocal running, most
            with lock:
                running += 1
                most = max(most, running)
            time.sleep(0.0005)
            with lock:
                running -= 1

        calls, begun = [], 0
        for number in range(400):
            begun += threads.begin(busy)
            calls.append(asyncio.ensure_future(threads.run(busy)))
            if number % 7 == 0:
                calls.pop().cancel()
            if number % 5 == 0:
                await asyncio.sleep(0.001)
        await asyncio.gather(*calls)
        assert begun > 0
        assert most <= 3
        threads.close()

    run(work())


def test_who_waits_is_next() -> None:
    """Work does not begin before a call that waits, though a thread is free."""

    async def work() -> None:
        threads, release = DaemonThreads(1, "next"), threading.Event()

        def held() -> None:
            release.wait(20)

        assert threads.begin(held)
        waits = asyncio.ensure_future(threads.run(lambda: "ran"))
        await asyncio.sleep(0)
        release.set()
        time.sleep(0.05)  # noqa: ASYNC251 - the thread is free again, and the loop has not noticed
        assert not threads.begin(release.set)
        assert await waits == "ran"
        threads.close()

    run(work())


def test_a_call_that_gives_up_just_when_its_turn_comes_gives_it_on() -> None:
    """No slot is lost by a caller that was cancelled between getting it and using it."""

    async def work() -> None:
        threads, release = DaemonThreads(1, "given"), threading.Event()
        first = asyncio.ensure_future(threads.run(release.wait, 20))
        await asyncio.sleep(0)
        late, last = (asyncio.ensure_future(threads.run(lambda: "ran")) for _ in range(2))
        await asyncio.sleep(0)
        (turn, _) = threads._waiting
        turn.add_done_callback(lambda _: late.cancel())
        release.set()
        assert await first is True
        assert await last == "ran"
        assert late.cancelled()
        threads.close()

    run(work())


def test_idle_threads_end_when_it_is_closed() -> None:
    """Busy ones end with their call."""

    async def work() -> None:
        threads, release = DaemonThreads(3, "closed"), threading.Event()
        await asyncio.gather(*(threads.run(time.sleep, 0.01) for _ in range(2)))
        busy = asyncio.ensure_future(threads.run(release.wait, 20))
        await asyncio.sleep(0.01)
        threads.close()
        release.set()
        assert await busy is True
        deadline = time.monotonic() + 10
        while alive("closed"):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.005)

    run(work())


def test_each_thread_enters_what_it_is_given() -> None:
    """Once for its life, and leaves it at its end."""
    entered: list[str] = []

    @contextmanager
    def around() -> Iterator[None]:
        entered.append("in")
        yield
        entered.append("out")

    async def work() -> None:
        threads = DaemonThreads(1, "test", around)
        await threads.run(len, [])
        await threads.run(len, [])
        assert entered == ["in"]
        threads.close()
        while entered != ["in", "out"]:  # noqa: ASYNC110 - a thread fills it
            await asyncio.sleep(0.001)

    run(work())


def test_a_hung_call_does_not_hold_the_exit_of_the_process() -> None:
    """The interpreter ends although a call never does."""
    code = (
        "import asyncio, threading\n"
        "from bento_rollout.threads import DaemonThreads\n"
        "async def main():\n"
        "    task = asyncio.ensure_future(DaemonThreads(1, 'x').run(threading.Event().wait))\n"
        "    await asyncio.sleep(0.05)\n"
        "    task.cancel()\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], timeout=30, check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
