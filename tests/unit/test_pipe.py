"""Messages between two processes: whole, in order, whatever their size; arrays through shared memory."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bento_rollout.arena import Arena
from bento_rollout.pipe import Garbled, Kind, Pipe


class End:
    """One end, and what came to it."""

    def __init__(self) -> None:
        self.seen: list[tuple[Kind, int, Any]] = []
        self.lost = asyncio.Event()
        self.came = asyncio.Condition()
        self.pipe: Pipe

    def note(self, kind: Kind, call: int, value: Any) -> None:
        """Keep a message."""
        self.seen.append((kind, call, value))
        asyncio.ensure_future(self._tell())  # noqa: RUF006 - it lives for a moment

    async def _tell(self) -> None:
        async with self.came:
            self.came.notify_all()

    async def until(self, count: int) -> list[tuple[Kind, int, Any]]:
        """Wait for so many messages."""
        async with self.came:
            await asyncio.wait_for(self.came.wait_for(lambda: len(self.seen) >= count), 20)
        return self.seen


def joined(story: Callable[[End, End, Arena], Coroutine[Any, Any, None]], size: int = 1 << 24) -> None:
    """Run a story with two ends of one connection; the arena is the one that the first writes to."""

    async def run() -> None:
        there, back = Arena(size=size), Arena(size=size)
        ours, theirs = socket.socketpair()
        one, two = End(), End()
        one.pipe = await Pipe.over(ours, there, back, one.note, one.lost.set)
        two.pipe = await Pipe.over(theirs, back, there, two.note, two.lost.set)
        await story(one, two, there)
        one.pipe.close()
        await asyncio.wait_for(two.lost.wait(), 5)

    asyncio.run(run())


@pytest.mark.parametrize("size", [1 << 24, 1 << 16, 64], ids=["room", "little", "none"])
def test_values_arrive_as_they_were(size: int) -> None:
    """Numbers, arrays of every size, frames: equal at the other end, through shared memory or not."""
    values: list[Any] = [
        7,
        None,
        {"a": [1, "ü"]},
        np.arange(12.0).reshape(3, 4),
        np.ones((1000, 100)),
        [np.zeros(0), np.arange(9000)[::3], np.asfortranarray(np.arange(6000.0).reshape(200, 30))],
        pd.DataFrame({"x": np.arange(20_000), "y": ["t"] * 20_000}, index=np.arange(20_000) * 2),
        b"x" * 3_000_000,
    ]

    async def story(one: End, two: End, there: Arena) -> None:
        for number, value in enumerate(values):
            one.pipe.send(Kind.CALL, number, value)
        seen = await two.until(len(values))
        assert [(kind, call) for kind, call, _ in seen] == [(Kind.CALL, n) for n in range(len(values))]
        for value, (_, _, got) in zip(values, seen, strict=True):
            np.testing.assert_equal(got, value) if not isinstance(value, pd.DataFrame) else (
                pd.testing.assert_frame_equal(got, value)
            )
        two.pipe.send(Kind.STOP, 0)
        await one.until(1)  # behind what says that the regions were taken
        assert there.used == 0

    joined(story, size)


def test_who_receives_an_array_owns_it() -> None:
    """It can be written to and kept, while the next one goes through the same memory."""

    async def story(one: End, two: End, _: Arena) -> None:
        one.pipe.send(Kind.CALL, 1, np.zeros(100_000))
        await two.until(1)
        kept = two.seen[0][2]
        kept[:] = 5.0
        one.pipe.send(Kind.CALL, 2, np.ones(100_000))
        await two.until(2)
        assert (kept == 5.0).all()
        assert (two.seen[1][2] == 1.0).all()

    joined(story)


class Unreadable:
    """Pickles, and raises when it is read."""

    def __reduce__(self) -> Any:
        return (_raise, ())


def _raise() -> None:
    raise LookupError("no such thing here")


def test_what_cannot_be_read_is_that_messages_trouble_alone() -> None:
    """One that cannot be unpickled says so in its place; the next ones arrive."""

    async def story(one: End, two: End, _: Arena) -> None:
        one.pipe.send(Kind.CALL, 1, Unreadable())
        one.pipe.send(Kind.CALL, 2, "fine")
        seen = await two.until(2)
        assert isinstance(seen[0][2], Garbled)
        assert "LookupError: no such thing here" in str(seen[0][2])
        assert seen[1] == (Kind.CALL, 2, "fine")

    joined(story)


def test_what_cannot_be_pickled_is_not_sent() -> None:
    """Pickling raises for the sender, and the connection goes on."""

    async def story(one: End, two: End, _: Arena) -> None:
        with pytest.raises((TypeError, AttributeError, Exception), match=r"(?i)pickle"):
            one.pipe.send(Kind.CALL, 1, [np.ones(100_000), lambda: None])
        one.pipe.send(Kind.CALL, 2, "fine")
        assert (await two.until(1))[0] == (Kind.CALL, 2, "fine")

    joined(story)


def test_an_end_that_is_gone_is_noticed() -> None:
    """The other end is told; sending raises."""

    async def story(one: End, two: End, _: Arena) -> None:
        two.pipe.close()
        await asyncio.wait_for(one.lost.wait(), 5)
        with pytest.raises(ConnectionError):
            one.pipe.send(Kind.CALL, 1, "anybody?")

    joined(story)
