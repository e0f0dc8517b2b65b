"""`Pipe`: messages between a worker and a process that it started, pickled here and read nowhere else.

A message is a kind, the number of the call that it belongs to, and a value. Values are pickled with protocol
5: large buffers (arrays, frames) go through shared memory and are copied once on each side, so that whoever
receives one owns it. The two ends are one program of one user: this is a wall against crashes, and none
against malice.

The socket is used as it is, and not through asyncio's transports, so that a thread which has an answer sends
it itself: every turn of a loop and every wake-up of a thread on the way costs the caller some 50 µs.
"""

from __future__ import annotations

import asyncio
import contextlib
import copyreg
import io
import pickle
import socket
import struct
import sys
import threading
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Any

from .arena import Arena

__all__ = ["Garbled", "Kind", "Pipe"]

LARGE = 1 << 15
"""Bytes from which on a buffer goes through shared memory."""

ROOM = 1 << 17
"""Bytes that are read at a time; there is more room while a larger message comes in."""

CROWD = 1 << 25
"""Bytes that the other end has not taken yet from which on `room` waits."""

PIECES = 64
"""Pieces that the system is given as they are; more are joined first (it takes 1024 at most)."""

_HEAD = struct.Struct("!QBII")
"""Bytes that follow, kind, call, and how many buffers."""

_BUFFER = struct.Struct("!qQ")
"""Where a buffer begins in the arena (-1: it follows here), and its size."""


class Kind(IntEnum):
    """What a message is."""

    HELLO = 0
    CALL = 1
    STREAM = 2
    ANSWER = 3
    ITEM = 4
    END = 5
    FAILURE = 6
    CANCEL = 7
    MORE = 8
    TAKEN = 9
    STOP = 10
    PING = 11


class Garbled(Exception):
    """A value could not be read at this end: its class cannot be imported here, or its pickle raises."""


OnMessage = Callable[[Kind, int, Any], None]
Piece = bytes | bytearray | memoryview


class Pipe:
    """One end of the connection between two processes; read on the running event loop.

    Args:
        end: the socket; it is closed here.
        outgoing: where this end puts buffers.
        incoming: where the other end puts them.
        on_message: told of each message; a value that cannot be read is a `Garbled`.
        on_lost: told once that the other end is gone; not after `close`.
    """

    def __init__(
        self,
        end: socket.socket,
        outgoing: Arena,
        incoming: Arena,
        on_message: OnMessage,
        on_lost: Callable[[], None],
    ) -> None:
        end.setblocking(False)
        self._end: socket.socket | None = end
        self._outgoing, self._incoming = outgoing, incoming
        self._on_message, self._on_lost = on_message, on_lost
        self._loop = asyncio.get_running_loop()
        self._room = memoryview(bytearray(ROOM))
        self._have = 0
        self._unsent = bytearray()
        self._waiters: set[asyncio.Future[None]] = set()
        self._closing = False
        self._lock = threading.Lock()  # held while bytes are given to the system: a message is sent whole
        self._loop.add_reader(end.fileno(), self._readable)

    def send(self, kind: Kind, call: int, value: Any = None) -> None:
        """Send a message, from any thread; what the system does not take at once is sent by the loop.

        Raises:
            Exception: whatever pickling the value raises; nothing was sent then.
            ConnectionError: the other end is gone.
        """
        self._check()
        buffers: list[pickle.PickleBuffer] = []
        text = b"" if value is None else _pickled(value, buffers)
        table: list[Piece] = []
        inline: list[Piece] = []
        for buffer in buffers:
            raw = buffer.raw()
            start = self._outgoing.put(raw) if raw.nbytes >= LARGE else None
            table.append(_BUFFER.pack(-1 if start is None else start, raw.nbytes))
            if start is None:
                inline.append(raw)
        self._write(kind, call, len(buffers), [*table, text, *inline])

    async def room(self) -> None:
        """Wait, on the loop, while the other end has a lot to take: it would pile up here."""
        while self._end is not None and self._outgoing.used + len(self._unsent) > CROWD:
            waiter = self._loop.create_future()
            self._waiters.add(waiter)
            try:
                await waiter
            finally:
                self._waiters.discard(waiter)

    def close(self) -> None:
        """Send what is still to be sent, and end."""
        with self._lock:
            self._closing, unsent = True, bool(self._unsent)
        if self._end is not None and unsent:
            self._loop.remove_reader(self._end.fileno())
        else:
            self._hang_up()

    # -- writing, in any thread ------------------------------------------------------------------------

    def _check(self) -> None:
        if self._end is None or self._closing:
            raise ConnectionResetError("the other end is gone")

    def _write(self, kind: Kind, call: int, count: int, body: Sequence[Piece]) -> None:
        size = sum(len(piece) for piece in body)
        pieces: Sequence[Piece] = (_HEAD.pack(size, kind, call, count), *body)
        if len(pieces) > PIECES:
            pieces = (b"".join(pieces),)
        with self._lock:
            self._check()
            sent = 0 if self._unsent else self._push(pieces)
            if sent == _HEAD.size + size:
                return
            if not self._unsent:
                self._loop.call_soon_threadsafe(self._await_room)
            self._unsent += memoryview(b"".join(pieces))[sent:]

    def _push(self, pieces: Sequence[Piece]) -> int:
        """Give bytes to the system; return how many it took."""
        assert self._end is not None
        try:
            return self._end.sendmsg(pieces)
        except (BlockingIOError, InterruptedError):
            return 0

    # -- what the loop calls ---------------------------------------------------------------------------

    def _await_room(self) -> None:
        if self._end is not None:
            self._loop.add_writer(self._end.fileno(), self._writable)

    def _writable(self) -> None:
        """Send what did not fit before."""
        with self._lock:
            try:
                del self._unsent[: self._push((self._unsent,))]
            except OSError:  # the other end is gone, which reading notices
                self._unsent.clear()
            if self._unsent or self._end is None:
                return
            self._loop.remove_writer(self._end.fileno())
        self._tell_room()
        if self._closing:
            self._hang_up()

    def _tell_room(self) -> None:
        """Let those look again who wait for room."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _readable(self) -> None:
        """Take in bytes, and hand on each message that is whole."""
        assert self._end is not None
        try:
            count = self._end.recv_into(self._room[self._have :])
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            count = 0
        self._have += count
        try:
            self._keep(self._messages())
        except Exception as error:  # noqa: BLE001 - what comes after it cannot be trusted
            self._loop.call_exception_handler(
                {"message": "a message that nobody can take", "exception": error}
            )
            count = 0
        if not count and self._hang_up():
            self._on_lost()

    def _messages(self) -> int:
        """Hand on the messages that are whole; return where the next one begins."""
        at = 0
        while self._have - at >= _HEAD.size and self._end is not None:
            size, kind, call, count = _HEAD.unpack_from(self._room, at)
            stop = at + _HEAD.size + size
            if self._have < stop:
                break
            self._take(Kind(kind), call, count, self._room[at + _HEAD.size : stop])
            at = stop
        return at

    def _keep(self, at: int) -> None:
        """Let the bytes of a message that is not whole be the first, with room for the rest of it."""
        rest = self._have - at
        size = 0 if rest < _HEAD.size else _HEAD.size + _HEAD.unpack_from(self._room, at)[0]
        needed = max(ROOM, size)
        if needed > len(self._room) or (not rest and len(self._room) > ROOM):
            room = memoryview(bytearray(needed))
            room[:rest] = self._room[at : self._have]
            self._room = room
        elif at and rest:
            self._room[:rest] = self._room[at : self._have]
        self._have = rest

    def _hang_up(self) -> bool:
        """Close the socket; return whether it was open."""
        with self._lock:
            if (end := self._end) is None:
                return False
            self._end = None
            self._unsent.clear()
        self._loop.remove_reader(end.fileno())
        self._loop.remove_writer(end.fileno())
        end.close()
        self._tell_room()
        return True

    def _take(self, kind: Kind, call: int, count: int, rest: memoryview) -> None:
        if kind is Kind.TAKEN:
            for (start,) in struct.iter_unpack("!q", rest):
                self._outgoing.free(start)
            self._tell_room()
            return
        table = [_BUFFER.unpack_from(rest, index * _BUFFER.size) for index in range(count)]
        at = len(rest) - sum(size for start, size in table if start < 0)
        text, buffers, shared = rest[count * _BUFFER.size : at], [], []
        for start, size in table:
            if start < 0:
                buffers.append(bytearray(rest[at : at + size]))
                at += size
            else:
                buffers.append(self._incoming.get(start, size))
                shared.append(start)
        if shared:
            with contextlib.suppress(ConnectionError):
                self._write(Kind.TAKEN, call, 0, [struct.pack(f"!{len(shared)}q", *shared)])
        try:
            value = pickle.loads(text, buffers=buffers) if text else None  # noqa: S301 - from our own child
        except Exception as error:  # noqa: BLE001 - this call's failure, and no other's
            value = Garbled(f"{type(error).__name__}: {error}")
        self._on_message(kind, call, value)


class _Reducers(dict[type, Callable[[Any], Any]]):
    """How objects are taken apart for pickling: as everywhere, but for numpy's arrays."""

    def __missing__(self, kind: type) -> Callable[[Any], Any]:
        if kind is not getattr(sys.modules.get("numpy"), "ndarray", None):
            return copyreg.dispatch_table[kind]
        self[kind] = _taken_apart
        return _taken_apart


class _Pickler(pickle.Pickler):
    """Takes a plain array apart into less than numpy does, which saves both sides some 15 µs."""

    dispatch_table = _Reducers()


def _pickled(value: Any, buffers: list[pickle.PickleBuffer]) -> bytes:
    text = io.BytesIO()
    _Pickler(text, 5, buffer_callback=buffers.append).dump(value)
    return text.getvalue()


def _taken_apart(array: Any) -> Any:
    kind = array.dtype
    if kind.isbuiltin == 1 and kind.kind in "biufc" and array.flags.c_contiguous:
        return _array, (pickle.PickleBuffer(array), kind.str, array.shape)
    return array.__reduce_ex__(5)


def _array(buffer: Any, kind: str, shape: tuple[int, ...]) -> Any:
    import numpy as np  # whoever sends arrays has it, and the one who reads them, too

    return np.frombuffer(buffer, kind).reshape(shape)
