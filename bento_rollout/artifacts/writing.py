"""A file of an artifact while it is written: encrypted, hashed, and forgotten unless it comes to its end."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from .payload import Payload
from .sealer import Sealer, Sink

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

__all__ = ["FILE_MODE", "SealedWriter"]

FILE_MODE = 0o666
"""Of ciphertext, less the process's umask."""

_BUFFER = 1 << 16


class SealedWriter(io.BufferedWriter):
    """A binary file to write to; small writes are gathered, and all are encrypted before they reach the disk.

    Closing it finishes the payload. A ``with`` block that ends by an exception, a write that fails and
    `abandon` remove it instead.

    Args:
        path: where the ciphertext goes; it must not be there.
        seal: makes the sealer that writes to a sink.
        finished: called with the payload and the SHA-256 of the whole file, when that is on the disk.
        dropped: called when it was removed instead.

    Raises:
        OSError: it cannot be made.
    """

    def __init__(
        self,
        path: Path,
        seal: Callable[[Sink], Sealer],
        finished: Callable[[Payload, bytes], object],
        dropped: Callable[[], object],
    ) -> None:
        self._entry = _Entry(path, seal, finished, dropped)
        super().__init__(self._entry, _BUFFER)

    def abandon(self) -> None:
        """Forget what was written; again is harmless."""
        self._entry.abandon()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            self.abandon()
        self.close()


class _Entry(io.RawIOBase):
    """Writes to a sealer."""

    def __init__(
        self,
        path: Path,
        seal: Callable[[Sink], Sealer],
        finished: Callable[[Payload, bytes], object],
        dropped: Callable[[], object],
    ) -> None:
        self._sink: _HashedFile | None = None
        self._finished, self._dropped = finished, dropped
        sink = _HashedFile(path)
        try:
            self._sealer = seal(sink)
        except BaseException:
            sink.remove()
            raise
        self._sink = sink

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._sealer.tell()

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            return self._sealer.write(data)
        except BaseException:
            self.abandon()
            raise

    def abandon(self) -> None:
        sink, self._sink = self._sink, None
        if sink is not None:
            self._sealer.close()
            sink.remove()
            self._dropped()
        super().close()

    def close(self) -> None:
        if self._sink is not None:
            try:
                payload = self._sealer.finish()
                self._finished(payload, self._sink.finish())
                self._sink = None
            except BaseException:
                self.abandon()
                raise
        super().close()


class _HashedFile:
    """A new file whose bytes are hashed as they are written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
        self._digest = hashlib.sha256()

    def write(self, data: memoryview, /) -> int:
        """Take some of the bytes."""
        taken = os.write(self._fd, data)
        self._digest.update(data[:taken])
        return taken

    def finish(self) -> bytes:
        """Let it survive a crash, and return the SHA-256 of all."""
        os.fsync(self._fd)
        self._close()
        return self._digest.digest()

    def remove(self) -> None:
        """Leave nothing of it."""
        with suppress(OSError):
            self._close()
        self._path.unlink(missing_ok=True)

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
