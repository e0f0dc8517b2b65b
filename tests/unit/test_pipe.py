"""Messages between two processes: whole, in order, whatever their size; arrays through shared memory."""

from __future__ import annotations

import asyncio
import copyreg
import socket
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bento_rollout import pipe
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
        one.pipe = Pipe(ours, there, back, one.note, one.lost.set)
        two.pipe = Pipe(theirs, back, there, two.note, two.lost.set)
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
        two.lost.set()  # who closes is told nothing
        await asyncio.wait_for(one.lost.wait(), 5)
        with pytest.raises(ConnectionError):
            one.pipe.send(Kind.CALL, 1, "anybody?")

    joined(story)


ARRAYS: dict[str, Any] = {
    "plain": np.arange(12.0).reshape(3, 4),
    "flags": np.array([True, False]),
    "complex": np.arange(3) * 1j,
    "half": np.ones(3, "f2"),
    "no dimension": np.array(3.5),
    "no rows": np.zeros((0, 3)),
    "columns first": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "a part": np.arange(20).reshape(4, 5)[:, ::2],
    "other byte order": np.arange(3, dtype=">i4"),
    "texts": np.array(["a", "bcd"]),
    "bytes": np.array([b"a", b"bcd"]),
    "times": np.array(["2026-01-01", "NaT"], "datetime64[s]"),
    "objects": np.array([1, "two", None], object),
    "fields": np.array([(1, 2.5)], [("a", "i4"), ("b", "f8")]),
    "a record": np.rec.array([(1, 2.5)], [("a", "i4"), ("b", "f8")]),
    "a matrix": np.ma.array([1, 2, 3], mask=[False, True, False]),
    "read only": np.broadcast_to(np.float32(2), (2, 2)),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_of_every_kind_arrive_as_pickle_would_bring_them(name: str) -> None:
    """The same class, element type, shape and order; alone and inside of other values."""
    array = ARRAYS[name]

    async def story(one: End, two: End, _: Arena) -> None:
        one.pipe.send(Kind.CALL, 1, {"deep": [array, (array,)]})
        got = (await two.until(1))[0][2]["deep"]
        for one_of_them in (got[0], got[1][0]):
            assert (type(one_of_them), one_of_them.dtype) == (type(array), array.dtype)
            assert (one_of_them.shape, one_of_them.flags.fnc) == (array.shape, array.flags.fnc)
            np.testing.assert_array_equal(one_of_them, array)

    joined(story)


class Odd:
    """Has a lock, so it can be copied only by who knows how."""

    def __init__(self, text: str) -> None:
        self.text, self.lock = text, threading.Lock()


def test_what_others_taught_pickle_is_known_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reducer that was registered with `copyreg` is used."""
    monkeypatch.setitem(copyreg.dispatch_table, Odd, lambda odd: (Odd, (odd.text,)))

    async def story(one: End, two: End, _: Arena) -> None:
        one.pipe.send(Kind.CALL, 1, Odd("taught"))
        assert (await two.until(1))[0][2].text == "taught"

    joined(story)


def test_many_buffers_arrive_in_their_order() -> None:
    """More of them than the system takes in one piece."""

    async def story(one: End, two: End, _: Arena) -> None:
        one.pipe.send(Kind.CALL, 1, [np.full(3, number) for number in range(70_000)])
        got = (await two.until(1))[0][2]
        assert [int(array[0]) for array in got] == list(range(70_000))

    joined(story)


@pytest.mark.parametrize("size", [10, 3_000_000], ids=["small", "larger than the socket's memory"])
def test_threads_send_whole_messages_beside_the_loop(size: int) -> None:
    """Each is whole, each thread's come in its order, and arrays of all of them keep their bytes."""

    async def story(one: End, two: End, there: Arena) -> None:
        def tell(thread: int) -> None:
            for number in range(8):
                one.pipe.send(Kind.ANSWER, thread, (number, bytes([thread]) * size, np.full(9000, thread)))

        threads = [threading.Thread(target=tell, args=(number,)) for number in range(1, 5)]
        for thread in threads:
            thread.start()
        tell(0)
        seen = await two.until(40)
        for number in range(5):
            told = [value for _, call, value in seen if call == number]
            assert [value[0] for value in told] == list(range(8))
            assert all(value[1] == bytes([number]) * size for value in told)
            assert all((value[2] == number).all() for value in told)
        two.pipe.send(Kind.STOP, 0)
        await one.until(1)
        assert there.used == 0

    joined(story)


def test_what_is_still_to_be_sent_goes_out_before_the_end() -> None:
    """Closing right after a large message loses nothing of it, and takes no more."""

    async def story(one: End, two: End, _: Arena) -> None:
        one.pipe.send(Kind.ANSWER, 1, b"x" * 5_000_000)
        one.pipe.close()
        with pytest.raises(ConnectionError):
            one.pipe.send(Kind.ANSWER, 2, "too late")
        await asyncio.wait_for(two.lost.wait(), 20)
        assert [(call, len(value)) for _, call, value in two.seen] == [(1, 5_000_000)]
        assert not one.lost.is_set()

    joined(story)


def test_an_end_that_goes_in_the_middle_of_a_message_is_noticed() -> None:
    """The half message is dropped, the sender is told like everybody."""

    async def story(one: End, two: End, _: Arena) -> None:
        one.pipe.send(Kind.ANSWER, 1, b"x" * 5_000_000)
        two.pipe.close()
        two.lost.set()
        await asyncio.wait_for(one.lost.wait(), 20)
        assert two.seen == []
        with pytest.raises(ConnectionError):
            one.pipe.send(Kind.ANSWER, 2, "anybody?")

    joined(story)


def test_an_end_that_talks_nonsense_is_given_up() -> None:
    """What follows a message that nobody can take is not trusted: it is as if the other end had gone."""

    async def run() -> None:
        ours, theirs = socket.socketpair()
        end, told = End(), []
        asyncio.get_running_loop().set_exception_handler(lambda _, what: told.append(what["exception"]))
        end.pipe = Pipe(ours, Arena(size=64), Arena(size=64), end.note, end.lost.set)
        theirs.sendall(bytes(8) + b"\xff" + bytes(8))
        await asyncio.wait_for(end.lost.wait(), 20)
        assert [type(error) for error in told] == [ValueError]
        theirs.close()

    asyncio.run(run())


def test_who_sends_a_lot_waits_for_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the other end has taken what was sent, or is gone; who gives up is forgotten."""
    monkeypatch.setattr(pipe, "CROWD", 1 << 20)

    async def story(one: End, two: End, there: Arena) -> None:
        await one.pipe.room()
        for number in range(4):
            one.pipe.send(Kind.CALL, number, np.ones(1 << 16))
        impatient, patient = (asyncio.ensure_future(one.pipe.room()) for _ in range(2))
        await asyncio.sleep(0)  # the other end has had no turn yet
        assert not patient.done()
        impatient.cancel()
        await asyncio.wait_for(patient, 5)
        assert there.used <= 1 << 20
        assert not one.pipe._waiters
        one.pipe.send(Kind.CALL, 4, np.ones(1 << 18))
        last = asyncio.ensure_future(one.pipe.room())
        await asyncio.sleep(0)
        one.pipe.close()
        await asyncio.wait_for(last, 5)

    joined(story)
