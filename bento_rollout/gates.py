"""How many calls of one variant may run, and how many may wait: a slow candidate cannot pile up memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

from .calls import Runner, Unavailable

__all__ = ["Gated"]


class Gated:
    """A runner with a limit; it is a `Runner` itself.

    Args:
        name: the variant.
        runner: runs its calls.
        running: how many at a time; a stream counts until it ends.
        waiting: how many may wait; more are refused at once (`Unavailable`).
    """

    def __init__(self, name: str, runner: Runner, running: int, waiting: int) -> None:
        self._name, self._runner = name, runner
        self._free = asyncio.Semaphore(running)
        self._running, self._most, self._waiting = running, waiting, 0

    limit = None

    @property
    def ready(self) -> bool:
        """Whether it can answer now."""
        return self._runner.ready

    def offers(self, endpoint: str) -> bool:
        """Whether it can stand in for the champion at an endpoint."""
        return self._runner.offers(endpoint)

    async def call(self, endpoint: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Run an endpoint when there is room, and return its answer."""
        await self._enter()
        try:
            return await self._runner.call(endpoint, args, kwargs)
        finally:
            self._free.release()

    async def stream(
        self, endpoint: str, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> AsyncGenerator[Any, None]:
        """Run a streaming endpoint when there is room."""
        await self._enter()
        try:
            items = self._runner.stream(endpoint, args, kwargs)
            try:
                async for item in items:
                    yield item
            finally:
                await items.aclose()
        finally:
            self._free.release()

    async def _enter(self) -> None:
        """Wait for room; whoever has entered must release it."""
        if not self._free.locked():
            await self._free.acquire()
            return
        if self._waiting >= self._most:
            raise Unavailable(
                f"variant {self._name!r} is busy: {self._running} calls run and {self._waiting} wait"
            )
        self._waiting += 1
        try:
            await self._free.acquire()
        finally:
            self._waiting -= 1
