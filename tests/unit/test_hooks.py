"""What a hook may do around a flip, and what is said of it."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections.abc import Iterator

import pytest

from bento_rollout import Veto
from bento_rollout.errors import InvalidValue
from bento_rollout.hooks import Hook, as_hooks, run_hooks
from bento_rollout.records import Flip

FLIP = Flip("screening", "logistic", "boosted", instance=object(), reason="better", author="ann")


def test_hooks_run_in_order_and_see_the_flip() -> None:
    """Hooks run one after the other, each with the flip that is asked for."""
    seen = []
    hooks = as_hooks([lambda flip: seen.append(("one", flip)), lambda flip: seen.append(("two", flip))])
    assert run_hooks(hooks, FLIP, None) is None
    assert seen == [("one", FLIP), ("two", FLIP)]


def test_a_veto_is_told_in_the_hooks_own_words() -> None:
    """What a hook says in `Veto` is what the operator reads, and later hooks do not run."""
    seen: list[Flip] = []

    def no(flip: Flip) -> None:
        raise Veto("accuracy 0.71 is below 0.9")

    assert run_hooks(as_hooks([no, seen.append]), FLIP, None) == "accuracy 0.71 is below 0.9"
    assert seen == []


def test_a_veto_without_words_names_the_hook() -> None:
    """An empty `Veto` still says who said it."""

    def shy(flip: Flip) -> None:
        raise Veto

    assert "shy vetoed without a reason" in str(run_hooks(as_hooks(shy), FLIP, None))


@pytest.mark.parametrize("raised", [ValueError("bad shape"), SystemExit(3), KeyboardInterrupt()])
def test_anything_raised_is_a_veto(raised: BaseException) -> None:
    """A hook that breaks, or tries to end the process, has vetoed: its error is named."""

    def broken(flip: Flip) -> None:
        raise raised

    told = run_hooks(as_hooks(broken), FLIP, None)
    assert told is not None
    assert f"broken raised {type(raised).__name__}" in told


def test_a_hook_that_takes_too_long_has_vetoed() -> None:
    """A hook over its time limit is named, and nobody waits for it."""
    let_go = threading.Event()

    def slow(flip: Flip) -> None:
        let_go.wait(30)

    began = time.monotonic()
    told = run_hooks(as_hooks(Hook(slow, timeout="100ms")), FLIP, None)
    let_go.set()
    assert "slow took longer than 0.1 s" in str(told)
    assert time.monotonic() - began < 10


def test_a_timeout_that_the_hook_raises_is_its_own() -> None:
    """A `TimeoutError` raised by the hook is reported as what it is, not as a hook that is late."""

    def refused(flip: Flip) -> None:
        raise TimeoutError("the feature store did not answer")

    assert "refused raised TimeoutError: the feature store did not answer" in str(
        run_hooks(as_hooks(refused), FLIP, None)
    )


def test_the_time_limit_is_ten_seconds_unless_given() -> None:
    """A plain callable gets 10 s; `Hook(func, timeout=…)` takes seconds or text."""
    assert [hook.timeout for hook in as_hooks([print, Hook(print, timeout="5m"), Hook(print, 3)])] == [
        10,
        300,
        3,
    ]


@pytest.mark.parametrize("wrong", [0, -1, "soon", "5", float("nan"), True])
def test_a_time_limit_that_cannot_be_is_refused(wrong: float | str) -> None:
    """A timeout of zero, below, or without a unit is an error where the hook is made."""
    with pytest.raises(InvalidValue):
        Hook(print, timeout=wrong)


def test_only_callables_are_hooks() -> None:
    """Something that cannot be called is refused where the service is defined."""
    with pytest.raises(InvalidValue, match="must be callable"):
        as_hooks(["warm_up"])  # type: ignore[list-item]  # what a user might write


def test_no_hooks_is_no_hooks() -> None:
    """Nothing and an empty list are both no hooks."""
    assert as_hooks(None) == as_hooks([]) == ()


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop that runs in a thread, as the server's does."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join(5)
    loop.close()


def test_an_async_hook_runs_on_the_servers_loop(loop: asyncio.AbstractEventLoop) -> None:
    """An async hook may use what lives on the worker's event loop."""
    seen = []

    async def hook(flip: Flip) -> None:
        await asyncio.sleep(0)
        seen.append((asyncio.get_running_loop(), flip))

    assert run_hooks(as_hooks(hook), FLIP, loop) is None
    assert seen == [(loop, FLIP)]


def test_an_async_hook_may_veto_and_be_late(loop: asyncio.AbstractEventLoop) -> None:
    """An async hook vetoes by raising, and by not coming to an end."""

    async def no(flip: Flip) -> None:
        raise Veto("not today")

    async def late(flip: Flip) -> None:
        await asyncio.sleep(30)

    assert run_hooks(as_hooks(no), FLIP, loop) == "not today"
    assert "late took longer than 0.1 s" in str(run_hooks(as_hooks(Hook(late, 0.1)), FLIP, loop))


def test_an_async_hook_runs_without_a_server_too() -> None:
    """Where no loop is at hand an async hook gets one."""
    seen = []

    async def hook(flip: Flip) -> None:
        seen.append(flip)

    assert run_hooks(as_hooks(hook), FLIP, None) is None
    assert seen == [FLIP]


def test_hooks_see_the_context_that_they_are_run_in(loop: asyncio.AbstractEventLoop) -> None:
    """What is true around the hooks (whose code is running) is true in them, sync or async."""
    whose: contextvars.ContextVar[str] = contextvars.ContextVar("whose", default="nobody")
    seen = []

    async def later(flip: Flip) -> None:
        seen.append(whose.get())

    whose.set("boosted")
    assert run_hooks(as_hooks([lambda flip: seen.append(whose.get()), later]), FLIP, loop) is None
    assert seen == ["boosted", "boosted"]
