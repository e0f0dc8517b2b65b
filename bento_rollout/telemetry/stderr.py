"""Writes log lines to the standard error of this moment, whole, and never with an exception."""

from __future__ import annotations

import io
import os
import select
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress

__all__ = ["Stderr"]

PATIENCE = 1.0
"""Seconds for which whoever writes at once waits for a pipe that is full: a start, or a command."""

_TROUBLE = (OSError, ValueError, AttributeError)
"""What a standard error raises that is full, closed, or not there."""


class Stderr:
    """The standard error of this moment; one that is closed or full costs log lines, and nothing else.

    Many processes write to one pipe: a write is one whole only up to `select.PIPE_BUF` bytes, so lines go
    into a pipe in pieces of at most that. Into a file, or onto a terminal, they go with one call.
    """

    def __init__(self) -> None:
        self._torn = False  # the last line was written in part
        self._stuck = False  # nobody took the last line in time

    def write(self, lines: Sequence[str], *, patient: bool = False) -> int:
        """Write lines; return how many of them were lost.

        Args:
            lines: ASCII, without ends of line.
            patient: whether to wait for a pipe that is full, for good: else it loses them after a moment.
        """
        written = 0
        try:
            fd = _plain_fd(patient)
            if fd is None:
                sys.stderr.write("".join(f"{line}\n" for line in lines))  # in one piece: other threads write
                sys.stderr.flush()
                return 0
            most = _most(fd)
            for piece, count in _pieces(lines, most):
                self._put(fd, piece, None if patient else most)
                written += count
        except _TROUBLE:
            return len(lines) - written
        return 0

    def _put(self, fd: int, piece: bytes, at_once: int | None) -> None:
        """Write a piece, however long that takes; or in parts of so many bytes, each when it has room."""
        left = b"\n" + piece if self._torn else piece
        while left:
            if at_once is not None:
                self._stuck = not _has_room(fd, 0 if self._stuck else PATIENCE)
                if self._stuck:
                    raise BlockingIOError
            try:
                sent = os.write(fd, left[:at_once])
            except BlockingIOError:
                if at_once is not None:
                    raise
                _has_room(fd, None)
                continue
            left = left[sent:]
            self._torn = bool(left)


def _has_room(fd: int, seconds: float | None) -> bool:
    """Wait until something can be written, or it is known that nothing ever can; None: for good."""
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return bool(poll.poll(None if seconds is None else seconds * 1000))


def _plain_fd(patient: bool) -> int | None:
    """Return the descriptor of a standard error that nobody has replaced; None: only its own way leads there.

    Written past its buffer: a thread that is stuck in there holds a lock that the process needs to end.
    """
    stream = sys.stderr
    if type(stream) is not io.TextIOWrapper:
        return None
    if not patient:
        stream.flush()
    with suppress(io.UnsupportedOperation):
        return stream.fileno()
    return None


def _most(fd: int) -> int | None:
    """Return how many bytes may be written at once without others' between them; None: any number."""
    mode = os.fstat(fd).st_mode
    return select.PIPE_BUF if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) else None


def _pieces(lines: Sequence[str], most: int | None) -> Iterator[tuple[bytes, int]]:
    """Yield whole lines together, as many as may be written at once, and how many they are."""
    piece, size, count = list[bytes](), 0, 0
    for line in lines:
        text = f"{line}\n".encode("utf-8", "backslashreplace")
        if most is not None and count and size + len(text) > most:
            yield b"".join(piece), count
            piece, size, count = [], 0, 0
        piece.append(text)
        size, count = size + len(text), count + 1
    if count:
        yield b"".join(piece), count
