"""Daemon threads with a limit: where a variant's sync code runs without holding anybody's, or the exit."""

from __future__ import annotations

import asyncio
import contextvars
import queue
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

__all__ = ["DaemonThreads"]

Work = Callable[[], None]
Around = Callable[[], AbstractContextManager[None]]


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
        self._free = asyncio.Semaphore(limit)
        self._idle: list[queue.SimpleQueue[Work | None]] = []
        self._closed = False

    async def run(self, func: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Call a function in a thread, in a copy of this context, and return what it returns.

        A caller that is cancelled stops waiting; the thread's slot is free again when the function has ended.
        """
        await self._free.acquire()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        box = self._idle.pop() if self._idle else self._new_thread()
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

    def close(self) -> None:
        """Let idle threads end; busy ones end with their call, or with the process."""
        self._closed = True
        while self._idle:
            self._idle.pop().put(None)

    def _done(
        self,
        box: queue.SimpleQueue[Work | None],
        future: asyncio.Future[Any],
        result: Any,
        error: BaseException | None,
    ) -> None:
        if self._closed:
            box.put(None)
        else:
            self._idle.append(box)
        self._free.release()
        if future.done():
            return
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)

    def _new_thread(self) -> queue.SimpleQueue[Work | None]:
        box: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        name = f"rollout-{self.name}"
        threading.Thread(target=_serve, args=(box, self._around), name=name, daemon=True).start()
        return box


class _Stopped(Exception):
    """What steers coroutines left a thread as an error: thrown into who waits it would steer that one."""


_CONTROL = (StopIteration, GeneratorExit)


def _serve(box: queue.SimpleQueue[Work | None], around: Around) -> None:
    with around():
        while (work := box.get()) is not None:
            work()
            del work  # it holds the arguments of the call
