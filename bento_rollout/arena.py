"""`Arena`: memory that a process and one that it started share; one of them writes there, the other reads."""

from __future__ import annotations

import mmap
import os
import tempfile
import threading
from bisect import insort

__all__ = ["Arena"]

GRAIN = 64
"""Regions begin at multiples of it: a cache line, and what numpy likes."""


class Arena:
    """A stretch of anonymous shared memory, given away in regions; pages that nobody wrote to cost nothing.

    The side that writes takes and frees regions; the side that reads only looks. Small addresses are given
    first, so what was used once is used again, and memory stays what the largest load needed. Threads may
    use it together.

    Args:
        fd: the file behind it, as inherited; None: a new one.
        size: bytes.

    Attributes:
        used: how many bytes are taken.
    """

    def __init__(self, fd: int | None = None, size: int = 1 << 28) -> None:
        self.fd = _anonymous(size) if fd is None else fd
        self.size = size
        self._map = mmap.mmap(self.fd, size)
        self._free = [(0, size)]
        self._taken: dict[int, int] = {}
        self.used = 0
        self._lock = threading.Lock()

    def put(self, data: memoryview) -> int | None:
        """Copy bytes into a free region and return where it begins; None when there is no room."""
        size = -(-max(data.nbytes, 1) // GRAIN) * GRAIN
        with self._lock:
            start = self._take(size)
        if start is not None:
            self._map[start : start + data.nbytes] = data.cast("B")
        return start

    def get(self, start: int, size: int) -> bytearray:
        """Return a copy of a region: what is made of it may be kept and changed."""
        with memoryview(self._map) as whole:
            return bytearray(whole[start : start + size])

    def free(self, start: int) -> None:
        """Let a region be used again."""
        with self._lock:
            stop = self._taken.pop(start)
            self.used -= stop - start
            insort(self._free, (start, stop))
            index = self._free.index((start, stop))
            for at in (index, index - 1):  # with the one behind it, then with the one before it
                if 0 <= at < len(self._free) - 1 and self._free[at][1] == self._free[at + 1][0]:
                    self._free[at : at + 2] = [(self._free[at][0], self._free[at + 1][1])]

    def _take(self, size: int) -> int | None:
        fitting = (i for i, (start, stop) in enumerate(self._free) if stop - start >= size)
        if (index := next(fitting, None)) is None:
            return None
        start, stop = self._free[index]
        if stop - start == size:
            del self._free[index]
        else:
            self._free[index] = (start + size, stop)
        self._taken[start] = start + size
        self.used += size
        return start

    def close(self) -> None:
        """Let go of the memory; it is gone when the other side has let go, too."""
        self._map.close()
        os.close(self.fd)


def _anonymous(size: int) -> int:
    """Return a file that has no name: memory where the system offers that, else a temporary file."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("bento-rollout")
    else:
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    os.ftruncate(fd, size)
    return fd
