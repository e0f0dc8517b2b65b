"""Memory that plaintext may lie in, and how it is wiped."""

from __future__ import annotations

import mmap
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

__all__ = ["bytes_of", "private_memory", "wipe"]

ZEROS = bytes(1 << 16)


def bytes_of(buffer: ReadableBuffer) -> memoryview:
    """Return the bytes of a buffer of any shape, without a copy.

    Raises:
        TypeError: it is no buffer, or its bytes do not lie one after another.
    """
    view = memoryview(buffer)
    if view.ndim == 1 and view.format == "B" and view.c_contiguous:
        return view
    return view.cast("B") if view.nbytes else memoryview(b"")


def private_memory(size: int) -> memoryview:
    """Return fresh, zeroed memory without a name: no file holds it, no child of a fork writes to it.

    It is left out of core dumps where the system can do that (Linux). The kernel may swap it out.

    Args:
        size: bytes.

    Raises:
        MemoryError: there is not that much.
    """
    if not size:
        return memoryview(bytearray())
    try:
        pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except (OSError, OverflowError) as error:
        raise MemoryError(f"there is no memory for {size} bytes: {error}") from error
    if hasattr(mmap, "MADV_DONTDUMP"):
        with suppress(OSError):
            pages.madvise(mmap.MADV_DONTDUMP)
    return memoryview(pages)


def wipe(buffer: WriteableBuffer) -> None:
    """Overwrite every byte of a buffer with zero."""
    view = bytes_of(buffer)
    for start in range(0, len(view), len(ZEROS)):
        part = view[start : start + len(ZEROS)]
        part[:] = ZEROS[: len(part)]
