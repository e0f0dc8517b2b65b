"""`Pipe`: messages between a worker and a process that it started, pickled here and read nowhere else.

A message is a kind, the number of the call that it belongs to, and a value. Values are pickled with protocol
5: large buffers (arrays, frames) go through shared memory and are copied once on each side, so that whoever
receives one owns it. The two ends are one program of one user: this is a wall against crashes, and none
against malice.
"""

from __future__ import annotations

import asyncio
import pickle
import socket
import struct
from collections.abc import Callable
from enum import IntEnum
from typing import Any

from .arena import Arena

__all__ = ["Garbled", "Kind", "Pipe"]

LARGE = 1 << 15
"""Bytes from which on a buffer goes through shared memory."""

_HEAD = struct.Struct("!QBIH")
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


class Pipe(asyncio.Protocol):
    """One end of the connection between two processes; used on one event loop.

    Args:
        outgoing: where this end puts buffers.
        incoming: where the other end puts them.
        on_message: told of each message; a value that cannot be read is a `Garbled`.
        on_lost: told once that the other end is gone.
    """

    def __init__(
        self, outgoing: Arena, incoming: Arena, on_message: OnMessage, on_lost: Callable[[], None]
    ) -> None:
        self._outgoing, self._incoming = outgoing, incoming
        self._on_message, self._on_lost = on_message, on_lost
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()

    @classmethod
    async def over(cls, end: socket.socket, *parts: Any) -> Pipe:
        """Return a pipe over one end of a socket pair."""
        loop = asyncio.get_running_loop()
        _, pipe = await loop.create_unix_connection(lambda: cls(*parts), sock=end)
        return pipe

    def send(self, kind: Kind, call: int, value: Any = None) -> None:
        """Send a message.

        Raises:
            Exception: whatever pickling the value raises; nothing was sent then.
            ConnectionError: the other end is gone.
        """
        if self._transport is None or self._transport.is_closing():
            raise ConnectionResetError("the other end is gone")
        buffers: list[pickle.PickleBuffer] = []
        text = b"" if value is None else pickle.dumps(value, 5, buffer_callback=buffers.append)
        table, inline = [], [text]
        for buffer in buffers:
            raw = buffer.raw()
            start = self._outgoing.put(raw) if raw.nbytes >= LARGE else None
            table.append(_BUFFER.pack(-1 if start is None else start, raw.nbytes))
            if start is None:
                inline.append(bytes(raw))
        rest = b"".join((*table, *inline))
        self._transport.write(_HEAD.pack(len(rest), kind, call, len(buffers)) + rest)

    def close(self) -> None:
        """Send what is still to be sent, and end."""
        if self._transport is not None:
            self._transport.close()

    # -- what asyncio calls ----------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Take in bytes, and hand on each message that is whole."""
        buffer = self._buffer
        buffer += data
        at = 0
        while len(buffer) - at >= _HEAD.size:
            size, kind, call, count = _HEAD.unpack_from(buffer, at)
            stop = at + _HEAD.size + size
            if len(buffer) < stop:
                break
            self._take(Kind(kind), call, count, bytes(buffer[at + _HEAD.size : stop]))
            at = stop
        del buffer[:at]

    def connection_lost(self, _: Exception | None) -> None:
        """End."""
        self._transport = None
        self._on_lost()

    def _take(self, kind: Kind, call: int, count: int, rest: bytes) -> None:
        if kind is Kind.TAKEN:
            for (start,) in struct.iter_unpack("!q", rest):
                self._outgoing.free(start)
            return
        table = [_BUFFER.unpack_from(rest, index * _BUFFER.size) for index in range(count)]
        text_at = count * _BUFFER.size
        inline = sum(size for start, size in table if start < 0)
        text = rest[text_at : len(rest) - inline]
        at, buffers, shared = len(rest) - inline, [], []
        for start, size in table:
            if start < 0:
                buffers.append(bytearray(rest[at : at + size]))
                at += size
            else:
                buffers.append(self._incoming.get(start, size))
                shared.append(start)
        if shared and self._transport is not None:
            starts = b"".join(struct.pack("!q", start) for start in shared)
            self._transport.write(_HEAD.pack(len(starts), Kind.TAKEN, call, 0) + starts)
        try:
            value = pickle.loads(text, buffers=buffers) if text else None  # noqa: S301 - from our own child
        except Exception as error:  # noqa: BLE001 - this call's failure, and no other's
            value = Garbled(f"{type(error).__name__}: {error}")
        self._on_message(kind, call, value)
