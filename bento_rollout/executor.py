"""What `asyncio.to_thread` runs in: a shadow's work goes to daemon threads apart, and takes no caller's."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

from .calls import Exited
from .shadowing import SHADOW

__all__ = ["AT_ONCE", "AsideExecutor", "DaemonPool", "set_aside"]

T = TypeVar("T")

AT_ONCE = 4
"""How much of one shadow's work runs in threads at a time."""

_Work = tuple["Future[Any]", Callable[[], Any]]


class DaemonPool:
    """A few daemon threads with a queue, as an executor has them; none of them holds the exit of the process.

    Args:
        limit: how many threads there are at most.
        name: what they are called.
    """

    def __init__(self, limit: int, name: str) -> None:
        self._limit, self._name = limit, name
        self._queue: deque[_Work] = deque()
        self._changed = threading.Condition()
        self._threads = self._idle = 0
        self._closed = False

    def submit(self, func: Callable[[], T]) -> Future[T]:
        """Let a thread call a function; what is cancelled before it begins leaves the queue."""
        future: Future[T] = Future()
        work = (future, func)
        with self._changed:
            self._queue.append(work)
            if self._idle >= len(self._queue) or self._threads >= self._limit:
                self._changed.notify()
            else:
                threading.Thread(target=self._serve, name=self._name, daemon=True).start()
                self._threads += 1
        future.add_done_callback(functools.partial(self._forget, work))
        return future

    def close(self) -> None:
        """Let idle threads end; busy ones end with their work, or with the process."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _forget(self, work: _Work, future: Future[Any]) -> None:
        if future.cancelled():
            with self._changed, suppress(ValueError):  # a thread has just taken it
                self._queue.remove(work)

    def _serve(self) -> None:
        while (work := self._next()) is not None:
            future, func = work
            if future.set_running_or_notify_cancel():
                _settle(future, func)
            del work, future, func  # they hold the arguments of a call

    def _next(self) -> _Work | None:
        with self._changed:
            self._idle += 1
            self._changed.wait_for(lambda: self._queue or self._closed)
            self._idle -= 1
            if self._queue:
                return self._queue.popleft()
            self._threads -= 1
            return None


class AsideExecutor(ThreadPoolExecutor):
    """An event loop's default executor in which shadows cannot take the threads of others.

    Args:
        usual: what runs everything else; None: this executor itself, as asyncio makes it.
    """

    def __init__(self, usual: ThreadPoolExecutor | None = None) -> None:
        super().__init__(thread_name_prefix="asyncio")
        self._usual = usual

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Run a function: within a shadow call in that shadow's own threads, where its meter knows of it."""
        meter = SHADOW.get()
        if meter is not None and meter.pool is not None:
            # In the caller's context, so that `is_shadow` is true there however it was called.
            run = functools.partial(contextvars.copy_context().run, meter.timed, fn)
            return meter.pool.submit(functools.partial(run, *args, **kwargs))
        if self._usual is not None:
            return self._usual.submit(fn, *args, **kwargs)
        return super().submit(fn, *args, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the usual threads; a shadow's are not waited for."""
        if self._usual is not None:
            self._usual.shutdown(wait, cancel_futures=cancel_futures)
        super().shutdown(wait, cancel_futures=cancel_futures)


def set_aside(loop: asyncio.AbstractEventLoop) -> None:
    """Let a loop's default executor be one in which shadows run apart."""
    usual = getattr(loop, "_default_executor", None)  # asyncio tells nobody what it has
    if not isinstance(usual, AsideExecutor):
        loop.set_default_executor(AsideExecutor(usual))


def _settle(future: Future[Any], func: Callable[[], Any]) -> None:
    """Call a function, and tell who waits; what would end the loop of who waits is an error like another."""
    try:
        result = func()
    except Exception as error:  # noqa: BLE001 - handed to the one who waits
        future.set_exception(error)
    except BaseException as error:  # noqa: BLE001 - likewise
        future.set_exception(Exited(f"a shadow raised {type(error).__name__}"))
    else:
        future.set_result(result)
