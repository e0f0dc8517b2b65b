"""Daemon threads with a limit: where a variant's sync code runs without holding anybody's, or the exit."""

from __future__ import annotations

import asyncio
import contextvars
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any

__all__ = ["DaemonThreads", "side_by_side"]

Work = Callable[[], None]
Around = Callable[[], AbstractContextManager[None]]
Box = queue.SimpleQueue[Work | None]
"""Where a thread waits for its next work; None ends it."""


class DaemonThreads:
    """Runs sync calls of one variant, at most ``limit`` at a time; the others wait in their order.

    A call that hangs keeps its slot for ever, and no thread is made in its place: the variant runs dry, and
    nothing else does. The threads are daemons, so none of them holds the exit of the process.

    Args:
        limit: how many calls run at a time.
        name: what the threads are called.
        around: what each thread enters when it begins and leaves when it ends.
    """

    def __init__(self, limit: int, name: str, around: Around = nullcontext) -> None:
        self.limit = limit
        self.name = name
        self._around = around
        # An entry for each slot that is free: its thread's box, or None while it has no thread. Threads and
        # the loop give and take without a lock; who waits (on the loop alone) looks again after queueing.
        self._idle: deque[Box | None] = deque([None] * limit)
        self._waiting: deque[asyncio.Future[Box | None]] = deque()
        self._loop: asyncio.AbstractEventLoop
        self._closed = False

    async def run(self, func: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Call a function in a thread, in a copy of this context, and return what it returns.

        A caller that is cancelled stops waiting; the thread's slot is free again when the function has ended.
        """
        box = self._slot() or await self._turn()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        context = contextvars.copy_context()

        def work() -> None:
            result, error = None, None
            try:
                result = context.run(func, *args, **kwargs)
            except BaseException as raised:  # noqa: BLE001 - handed to the one who waits
                error = _Stopped(repr(raised)) if isinstance(raised, _CONTROL) else raised
            try:
                loop.call_soon_threadsafe(self._done, box, future, result, error)
            except RuntimeError:  # the loop has ended: nobody waits any more
                return

        box.put(work)
        return await future

    def begin(self, work: Work) -> bool:
        """Let a thread do some work if one is free now, and nobody waits for it; return whether one was.

        The loop has no part in it from then on: the work tells who waits by itself, and raises nothing.
        """
        if (box := self._slot()) is None:
            return False

        def whole() -> None:
            try:
                work()
            finally:
                self._give(box)
                if self._waiting:
                    with suppress(RuntimeError):  # the loop has ended: nobody waits any more
                        self._loop.call_soon_threadsafe(self._next)

        box.put(whole)
        return True

    def close(self) -> None:
        """Let idle threads end; busy ones end with their call, or with the process."""
        self._closed = True
        self._retire()

    def _slot(self) -> Box | None:
        """Return the box of a free thread, if there is one that nobody waits for."""
        if self._waiting:
            return None
        try:
            return self._with_thread(self._idle.pop())
        except IndexError:
            return None

    async def _turn(self) -> Box:
        """Wait for a free thread, behind those who wait already."""
        self._loop = asyncio.get_running_loop()
        waiter: asyncio.Future[Box | None] = self._loop.create_future()
        self._waiting.append(waiter)
        self._next()  # one may have become free while nobody seemed to wait
        try:
            box = await waiter
        except asyncio.CancelledError:
            if waiter.cancelled():
                with suppress(ValueError):  # it is no longer among them
                    self._waiting.remove(waiter)
            else:
                self._give(waiter.result())
                self._next()
            raise
        return self._with_thread(box)

    def _next(self) -> None:
        """Give the threads that are free to those who wait."""
        while self._waiting:
            if not self._waiting[0].done():
                try:
                    box = self._idle.pop()
                except IndexError:
                    return
                self._waiting[0].set_result(box)
            self._waiting.popleft()

    def _give(self, box: Box | None) -> None:
        self._idle.append(box)
        if self._closed:
            self._retire()

    def _retire(self) -> None:
        """Let the threads that are free end; their slots stay."""
        for _ in range(self.limit):
            try:
                box = self._idle.pop()
            except IndexError:
                return
            if box is not None:
                box.put(None)
            self._idle.appendleft(None)

    def _done(self, box: Box, future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
        self._give(box)
        self._next()
        if future.done():
            return
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)

    def _with_thread(self, box: Box | None) -> Box:
        """Return a slot's box; without one a thread is made."""
        if box is not None:
            return box
        box = queue.SimpleQueue()
        name = f"rollout-{self.name}"
        thread = threading.Thread(target=_serve, args=(box, self._around), name=name, daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the system gives no more threads
            self._give(None)
            raise
        return box


class _Stopped(Exception):
    """What steers coroutines left a thread as an error: thrown into who waits it would steer that one."""


_CONTROL = (StopIteration, GeneratorExit)


def _serve(box: Box, around: Around) -> None:
    with around():
        while (work := box.get()) is not None:
            work()
            del work  # it holds the arguments of the call


def side_by_side(works: Sequence[Callable[[float], object]], seconds: float) -> None:
    """Run work in threads of its own, and wait for all of it for some seconds; nobody's error is another's.

    Args:
        works: each is told how long it has.
        seconds: how long that is; what takes longer is left to itself.
    """

    def run(work: Callable[[float], object]) -> None:
        with suppress(Exception):
            work(seconds)

    threads = [threading.Thread(target=run, args=(work,), daemon=True) for work in works]
    until = time.monotonic() + seconds
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
