"""What is true inside a shadow call, and what it costs: code runs that nobody waits for."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
import types
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import Future
from typing import Any, Protocol, TypeVar

from .calls import Exited

__all__ = [
    "CLOCK",
    "SHADOW",
    "Clock",
    "Meter",
    "clocked",
    "enter_shadow",
    "is_shadow",
    "metered",
    "metered_call",
    "timed_call",
    "unclocked",
]

T = TypeVar("T")


class Pool(Protocol):
    """Threads of one shadow."""

    def submit(self, func: Callable[[], T]) -> Future[T]:
        """Let a thread call a function."""


class Meter:
    """Measures one shadow call: the CPU time that it takes here, and whether it has left its threads.

    Args:
        spend: told the CPU seconds of each piece of work, from whatever thread did it.
        left: called when the last thread is left, from that thread.
        monitored: whether what the code gives to `bentoml.monitor` goes to its sink.
        pool: where what the code gives to the loop's default executor runs; None: in that.
    """

    __slots__ = ("_inside", "_left", "_lock", "_spend", "monitored", "pool")

    def __init__(
        self,
        spend: Callable[[float], None],
        left: Callable[[], None],
        *,
        monitored: bool = False,
        pool: Pool | None = None,
    ) -> None:
        self.monitored, self.pool = monitored, pool
        self._spend, self._left = spend, left
        self._inside, self._lock = 0, threading.Lock()

    @property
    def inside(self) -> bool:
        """Whether a thread, or another process, still runs code of this call."""
        return self._inside > 0

    def timed(self, func: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
        """Call a function in this thread, and note that it runs and what it costs."""
        self.enter()
        began = time.thread_time()
        try:
            return func(*args, **kwargs)
        finally:
            self._spend(time.thread_time() - began)
            self.leave()

    def enter(self) -> None:
        """Note that something of this call begins to run where nobody can end it."""
        with self._lock:
            self._inside += 1

    def leave(self) -> None:
        """Note that what was entered has ended."""
        with self._lock:
            self._inside -= 1
            last = self._inside == 0
        if last:
            self._left()

    def spend(self, seconds: float) -> None:
        """Note what a piece of work on the loop has cost."""
        self._spend(seconds)


Clock = list[float]
"""Gets how long a variant's own code ran for one call, in seconds, without the wait for a thread or a batch.

Of a stream, to its first item. Empty: that is not known. A plain list, since each watched call makes one.
"""

CLOCK: contextvars.ContextVar[Clock | None] = contextvars.ContextVar("bento_rollout_clock", default=None)
"""The clock of the call whose code is running; None: nobody wants to know. Small: it may live for a while."""

SHADOW: contextvars.ContextVar[Meter | None] = contextvars.ContextVar("bento_rollout_shadow", default=None)
"""The meter of the shadow call whose code is running; None where somebody waits for the answer."""


def enter_shadow(
    monitored: bool | None, left: Callable[[], None] | None = None, pool: Pool | None = None
) -> None:
    """Let this context be that of a shadow call whose budget is elsewhere.

    Args:
        monitored: whether its monitoring records are wanted; None: the call is no shadow's.
        left: called when the last thread is left, from that thread.
        pool: where what the code gives to the loop's default executor runs; None: in that.
    """
    meter = None if monitored is None else Meter(_nothing, left or _nothing, monitored=monitored, pool=pool)
    SHADOW.set(meter)


def _nothing(*_: object) -> None:
    """Measure nothing."""


def is_shadow() -> bool:
    """Whether this code runs inside a shadow call, whose answer nobody gets: then skip side effects.

    Example::

        if not is_shadow():
            self.ledger.charge(account, amount)
    """
    return SHADOW.get() is not None


def clocked() -> tuple[Clock, contextvars.Token[Clock | None] | None]:
    """Return the clock of this call, and what ends it; None: it is somebody else's."""
    if (known := CLOCK.get()) is not None:
        return known, None
    clock: Clock = []
    return clock, CLOCK.set(clock)


def unclocked(token: contextvars.Token[Clock | None] | None) -> None:
    """End what `clocked` began; a call that nobody waits for any more may end in another context."""
    if token is None:
        return
    try:
        CLOCK.reset(token)
    except ValueError:
        CLOCK.set(None)


def timed_call(func: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Call a function in this thread; where somebody wants to know, how long it runs is noted."""
    clock = CLOCK.get()
    if clock is None or clock:
        return func(*args, **kwargs)
    began = time.perf_counter()
    try:
        return func(*args, **kwargs)
    finally:
        clock.append(time.perf_counter() - began)


def metered_call(func: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Call a function in this thread; within a shadow call its meter knows what that costs."""
    meter = SHADOW.get()
    if meter is None:
        return timed_call(func, *args, **kwargs)
    return meter.timed(timed_call, func, *args, **kwargs)


async def metered(work: Coroutine[Any, Any, T], meter: Meter) -> T:
    """Await work, and let a meter know what each of its steps on the loop costs."""
    return await _steps(work, meter)


@types.coroutine
def _steps(work: Coroutine[Any, Any, T], meter: Meter) -> Generator[Any, Any, T]:
    """Step through work as ``await`` does, with a clock around each step.

    A step has the loop to itself: it costs its whole time, though it may sleep or wait for a disk.
    """
    resume: Callable[[], Any] = lambda: work.send(None)  # noqa: E731 - replaced for each step
    while True:
        began, began_here = time.perf_counter(), time.thread_time()
        try:
            awaited = resume()
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]  # what a coroutine returns is its T
        except (Exception, asyncio.CancelledError, GeneratorExit):
            raise
        except BaseException as error:
            # A task whose work raises it would end the loop by it.
            raise Exited(f"a shadow raised {type(error).__name__}") from error
        finally:
            meter.spend(max(time.perf_counter() - began, time.thread_time() - began_here))
        try:
            sent = yield awaited
        except GeneratorExit:
            work.close()
            raise
        except BaseException as error:  # noqa: BLE001 - thrown into the work, as `await` does
            thrown = error
            resume = lambda: work.throw(thrown)  # noqa: E731, B023 - called before it is replaced
        else:
            resume = lambda: work.send(sent)  # noqa: E731, B023 - called before it is replaced
