"""Runs the user's callables: bounded in time; what they raise is an answer, not a crash."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import threading
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from .errors import InvalidValue, Veto
from .records import Flip
from .spec import parse_duration

if TYPE_CHECKING:
    from .notice import Notice

__all__ = ["Hook", "as_hooks", "run_hooks"]

DEFAULT_TIMEOUT = 10.0

Around = Callable[[str], AbstractContextManager[Any]]

_LATE = (TimeoutError, FutureTimeoutError, asyncio.TimeoutError)
"""One class since Python 3.11, three before."""


class Hook:
    """A hook with a time limit of its own.

    Args:
        func: called with one `Flip`, or of ``notify=`` with one `Notice`; sync (in a thread) or async (on
            the worker's event loop).
        timeout: seconds, or text like ``"5m"``; without a `Hook` around it a callable gets 10 s.

    >>> Hook(print, timeout="5m").timeout
    300.0
    """

    def __init__(
        self,
        func: Callable[[Flip], Any] | Callable[[Notice], Any],
        timeout: float | str = DEFAULT_TIMEOUT,
    ) -> None:
        if not callable(func):
            raise InvalidValue(f"a hook must be callable, not {func!r}")
        self.func = func
        self.timeout = parse_duration(timeout)

    @property
    def name(self) -> str:
        """The callable's name, for messages."""
        return getattr(self.func, "__qualname__", None) or repr(self.func)

    def run(self, given: Flip | Notice, loop: asyncio.AbstractEventLoop | None) -> str | None:
        """Run it and wait; return None, or in words why it failed: its veto, its error, or being late."""
        return self.wait(self.begin(given, loop))

    def wait(self, result: Future[str | None]) -> str | None:
        """Wait for what `begin` began, for as long as it may take; return what `run` returns."""
        try:
            return result.result(self.timeout)
        except _LATE:
            return self._late

    @property
    def _late(self) -> str:
        return f"{self.name} took longer than {self.timeout:g} s"

    def begin(self, given: Flip | Notice, loop: asyncio.AbstractEventLoop | None) -> Future[str | None]:
        """Call it in a thread of its own; the future holds what it raised, in words, or None."""
        result: Future[str | None] = Future()

        def work() -> None:
            result.set_result(self._attempt(given, loop))

        # A daemon, so that a hook which hangs does not hold the worker's exit; in the caller's context, so
        # that the endpoints of the target's instance are the target's own.
        context = contextvars.copy_context()
        threading.Thread(target=context.run, args=(work,), name=f"hook-{self.name}", daemon=True).start()
        return result

    def _attempt(self, given: Any, loop: asyncio.AbstractEventLoop | None) -> str | None:
        try:
            value = self.func(given)
            if inspect.isawaitable(value):
                return self._await(value, loop)
        except Veto as veto:
            return str(veto) or f"{self.name} vetoed without a reason"
        except BaseException as error:  # noqa: BLE001 - SystemExit in a hook is a veto as well, not our end
            return f"{self.name} raised {type(error).__name__}: {error}"
        return None

    def _await(self, value: Awaitable[Any], loop: asyncio.AbstractEventLoop | None) -> str | None:
        async def wait() -> None:
            await value

        if loop is None:
            asyncio.run(wait())
            return None
        task = asyncio.run_coroutine_threadsafe(wait(), loop)
        try:
            task.result(self.timeout)
        except _LATE:
            if task.done():
                raise  # the hook's own
            task.cancel()
            return self._late
        return None


def as_hooks(
    hooks: Sequence[Hook | Callable[[Flip], Any]] | Hook | Callable[[Flip], Any] | None,
) -> tuple[Hook, ...]:
    """Return hooks from what a user wrote: one callable, a list of them, or nothing."""
    if hooks is None:
        return ()
    items: Sequence[Any] = hooks if isinstance(hooks, (list, tuple)) else [hooks]
    return tuple(hook if isinstance(hook, Hook) else Hook(hook) for hook in items)


def run_hooks(
    hooks: Sequence[Hook],
    flip: Flip,
    loop: asyncio.AbstractEventLoop | None,
    around: Around = nullcontext,
) -> str | None:
    """Run hooks one after the other; return the first failure in words, or None.

    Args:
        hooks: what to run.
        flip: what each is given.
        loop: what async hooks run on.
        around: returns what each runs in, by its name.
    """
    for hook in hooks:
        with around(hook.name):
            failure = hook.run(flip, loop)
        if failure is not None:
            return failure
    return None
