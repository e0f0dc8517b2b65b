"""`Standing`: what hooks get for a candidate that runs elsewhere: its endpoints, as methods that call it."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import threading
from collections.abc import Callable
from typing import Any, Protocol

from .method import Method, inputs_of, is_async

__all__ = ["Standing"]

LONGEST = 60.0
"""Seconds that a call of a hook may take."""


class Elsewhere(Protocol):
    """A runner whose instance is not in this process."""

    name: str
    definition: Any

    async def call(self, endpoint: str, args: Any, kwargs: Any) -> Any:
        """Run an endpoint."""

    def stream(self, endpoint: str, args: Any, kwargs: Any) -> Any:
        """Run a streaming endpoint."""


class Standing:
    """Stands for a variant's instance that is not in this process.

    An endpoint that is async there is async here; a sync one waits, and must not be called on the event loop:
    there ``to_async.NAME`` is the way.

    Args:
        runner: where it really is.
        loop: the worker's event loop.
    """

    def __init__(self, runner: Elsewhere, loop: asyncio.AbstractEventLoop) -> None:
        self._runner, self._loop = runner, loop
        self._home = threading.get_ident()
        self.to_async = _Async(self)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = self._method(name)
        if is_async(method):
            return functools.partial(self._begin, method)
        return functools.partial(self._wait, method)

    def _method(self, name: str) -> Method:
        methods = self._runner.definition.service.apis
        if name not in methods:
            raise AttributeError(f"variant {self._runner.name!r} has no endpoint {name!r}")
        return methods[name]

    def _begin(self, method: Method, *args: Any, **kwargs: Any) -> Any:
        positional, named = inputs_of(method, args, kwargs)
        run = self._runner.stream if method.is_stream else self._runner.call
        return run(method.name, positional, named)

    def _wait(self, method: Method, *args: Any, **kwargs: Any) -> Any:
        if threading.get_ident() == self._home:
            raise RuntimeError(
                f"{method.name}() would wait for variant {self._runner.name!r} on the event loop; "
                f"there, await to_async.{method.name}(…)"
            )
        work = self._begin(method, *args, **kwargs)
        if method.is_stream:
            return self._drained(work)
        return self._result(work, method.name)

    def _drained(self, items: Any) -> Any:
        end = object()

        async def following() -> Any:
            return await anext(items, end)

        while (item := self._result(following(), "the stream")) is not end:
            yield item

    def _result(self, work: Any, what: str) -> Any:
        """Wait for work on the event loop, though not for ever: nobody ends a hook's thread."""
        waiting = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return waiting.result(LONGEST)
        except (TimeoutError, concurrent.futures.TimeoutError):
            if waiting.cancel():
                raise TimeoutError(
                    f"variant {self._runner.name!r} did not answer {what} within {LONGEST:g} s"
                ) from None
            raise


class _Async:
    """Every endpoint as one to await, or to iterate over asynchronously."""

    def __init__(self, standing: Standing) -> None:
        self._standing = standing

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = self._standing._method(name)  # noqa: SLF001 - the other half of one thing
        return functools.partial(self._standing._begin, method)  # noqa: SLF001
