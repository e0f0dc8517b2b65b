"""What is true inside a shadow call, and what it costs: code runs that nobody waits for."""

from __future__ import annotations

import contextvars
import threading
import time
import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any, TypeVar

__all__ = [
    "CLOCK",
    "SHADOW",
    "Clock",
    "Meter",
    "enter_shadow",
    "is_shadow",
    "metered",
    "metered_call",
    "timed_call",
]

T = TypeVar("T")


class Meter:
    """Measures one shadow call: the CPU time that it takes here, and whether it has left its threads.

    Args:
        spend: told the CPU seconds of each piece of work, from whatever thread did it.
        left: called when the last thread is left, from that thread.
        monitored: whether what the code gives to `bentoml.monitor` goes to its sink.
    """

    __slots__ = ("_inside", "_left", "_lock", "_spend", "monitored")

    def __init__(
        self, spend: Callable[[float], None], left: Callable[[], None], *, monitored: bool = False
    ) -> None:
        self.monitored = monitored
        self._spend, self._left = spend, left
        self._inside, self._lock = 0, threading.Lock()

    @property
    def inside(self) -> bool:
        """Whether a thread still runs code of this call."""
        return self._inside > 0

    def timed(self, func: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
        """Call a function in this thread, and note that it runs and what it costs."""
        with self._lock:
            self._inside += 1
        began = time.thread_time()
        try:
            return func(*args, **kwargs)
        finally:
            self._spend(time.thread_time() - began)
            with self._lock:
                self._inside -= 1
                last = self._inside == 0
            if last:
                self._left()

    def spend(self, seconds: float) -> None:
        """Note what a piece of work on the loop has cost."""
        self._spend(seconds)


class Clock:
    """How long a variant's own code ran for one call: without waiting for a thread, or for a batch.

    Attributes:
        seconds: of a stream, to its first item; None: that is not known.
    """

    __slots__ = ("seconds",)

    def __init__(self) -> None:
        self.seconds: float | None = None


CLOCK: contextvars.ContextVar[Clock | None] = contextvars.ContextVar("bento_rollout_clock", default=None)
"""The clock of the call whose code is running; None: nobody wants to know. Small: it may live for a while."""

SHADOW: contextvars.ContextVar[Meter | None] = contextvars.ContextVar("bento_rollout_shadow", default=None)
"""The meter of the shadow call whose code is running; None where somebody waits for the answer."""


def enter_shadow(monitored: bool | None) -> None:
    """Let this context be that of a shadow call whose meter is elsewhere; None: of a call that is none."""
    SHADOW.set(None if monitored is None else Meter(_nothing, _nothing, monitored=monitored))


def _nothing(*_: object) -> None:
    """Measure nothing."""


def is_shadow() -> bool:
    """Whether this code runs inside a shadow call, whose answer nobody gets: then skip side effects.

    Example::

        if not is_shadow():
            self.ledger.charge(account, amount)
    """
    return SHADOW.get() is not None


def timed_call(func: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Call a function in this thread; where somebody wants to know, how long it runs is noted."""
    clock = CLOCK.get()
    if clock is None or clock.seconds is not None:
        return func(*args, **kwargs)
    began = time.perf_counter()
    try:
        return func(*args, **kwargs)
    finally:
        clock.seconds = time.perf_counter() - began


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
    """Step through work as ``await`` does, with the clock of this thread around each step."""
    resume: Callable[[], Any] = lambda: work.send(None)  # noqa: E731 - replaced for each step
    while True:
        began = time.thread_time()
        try:
            awaited = resume()
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]  # what a coroutine returns is its T
        finally:
            meter.spend(time.thread_time() - began)
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
