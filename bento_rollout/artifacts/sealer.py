"""Writes a payload of any length as it comes, in memory that does not grow with it."""

from __future__ import annotations

import functools
import hashlib
import io
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from ..errors import ArtifactError, InvalidValue
from .floe import OVERHEAD, SEGMENT_LENGTH, Message
from .memory import bytes_of, private_memory, wipe
from .payload import Payload

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

__all__ = ["Sealer", "Sink"]


class Sink(Protocol):
    """Where a payload goes: a binary file, buffered or not."""

    def write(self, data: memoryview, /) -> int | None:
        """Take some of the bytes, and say how many."""


class Slot:
    """Room for one segment, as plaintext and as it is stored."""

    def __init__(self, segment_length: int) -> None:
        self.plain = private_memory(segment_length - OVERHEAD)
        self.sealed = private_memory(segment_length)
        self.filled = 0

    def seal(self, message: Message, index: int, last: bool) -> tuple[memoryview, bytes]:
        """Return the segment of what was filled in, and its SHA-256."""
        sealed = self.sealed[: self.filled + OVERHEAD]
        message.seal_into(self.plain[: self.filled], index, last, sealed)
        self.filled = 0
        return sealed, hashlib.sha256(sealed).digest()


class Sealer(io.RawIOBase):
    """A file that is encrypted as it is written; nothing of it is on disk in the clear.

    Leaving a ``with`` block finishes the payload. Leaving it by an exception, or closing it, abandons the
    payload: what was written until then does not open. A sealer belongs to one thread at a time.

    >>> out = io.BytesIO()
    >>> with Sealer(bytes(32), b"screening:v3", out) as file:
    ...     file.write(b"weights")
    7
    >>> file.payload.size, file.payload.sealed_size == len(out.getvalue())
    (7, True)

    Args:
        key: the data key, 32 bytes.
        aad: what the payload belongs to.
        sink: where it goes, from its first byte; it is neither flushed nor closed.
        segment_length: bytes of a whole segment as it is stored.
        threads: how many work on it, the caller's among them. Each has twice ``segment_length`` bytes.

    Attributes:
        payload: what the manifest says of it, once it is finished; None before.

    Raises:
        InvalidValue: a key, segment length or number of threads that cannot be.
    """

    def __init__(
        self,
        key: bytes,
        aad: bytes,
        sink: Sink,
        *,
        segment_length: int = SEGMENT_LENGTH,
        threads: int = 1,
    ) -> None:
        self._slots: list[Slot] = []
        self._sealing: deque[Callable[[], tuple[memoryview, bytes]]] = deque()
        self._pool: ThreadPoolExecutor | None = None
        if threads < 1:
            raise InvalidValue(f"threads={threads}: it is 1 or more")
        self.payload: Payload | None = None
        self._message = Message.begin(key, aad, segment_length=segment_length)
        self._sink = sink
        self._size = 0
        self._index = 0
        self._digests: list[bytes] = []
        self._slots += (Slot(segment_length) for _ in range(threads))
        if threads > 1:
            self._pool = ThreadPoolExecutor(threads - 1, thread_name_prefix="bento-rollout-seal")
        self._put(memoryview(self._message.header))

    def writable(self) -> bool:
        """Say that it can be written."""
        return True

    def tell(self) -> int:
        """Return how many bytes of plaintext were written."""
        self._check_open()
        return self._size

    def write(self, data: ReadableBuffer, /) -> int:
        """Take all of the bytes.

        Raises:
            OSError: the sink failed; the payload is abandoned.
        """
        self._check_open()
        view = bytes_of(data)
        count = len(view)
        try:
            # A whole segment waits until more comes: only then is it known not to be the last.
            while view:
                slot = self._slot
                room = len(slot.plain) - slot.filled
                if not room:
                    self._seal(last=False)
                    continue
                part, view = view[:room], view[room:]
                slot.plain[slot.filled : slot.filled + len(part)] = part
                slot.filled += len(part)
                self._size += len(part)
        except BaseException:
            self.close()
            raise
        return count

    def finish(self) -> Payload:
        """Write the last segment, and return what the manifest says of the payload; nothing can follow.

        Raises:
            OSError: the sink failed; the payload is abandoned.
        """
        self._check_open()
        try:
            self._seal(last=True)
            self._drain(0)
            self.payload = Payload(
                self._message.header, self._size, tuple(self._digests), self._message.segment_length
            )
        finally:
            self.close()
        return self.payload

    def close(self) -> None:
        """Wipe what is in memory; a payload that is not finished is abandoned."""
        if self._pool:
            self._pool.shutdown()
        for slot in self._slots:
            wipe(slot.plain)
        self._sealing.clear()
        self._slots, self._pool = [], None
        super().close()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None and not self.closed:
            self.finish()
        self.close()

    @property
    def _slot(self) -> Slot:
        return self._slots[self._index % len(self._slots)]

    def _seal(self, *, last: bool) -> None:
        """Seal what the slot holds, here or in another thread, and go on to a slot that is free."""
        work = functools.partial(self._slot.seal, self._message, self._index, last)
        self._sealing.append(self._pool.submit(work).result if self._pool else work)
        self._index += 1
        self._drain(len(self._slots) - 1)

    def _drain(self, most: int) -> None:
        """Write out the oldest segments until so many are left in work."""
        while len(self._sealing) > most:
            sealed, digest = self._sealing.popleft()()
            self._put(sealed)
            self._digests.append(digest)

    def _put(self, data: memoryview) -> None:
        while data:
            taken = self._sink.write(data)
            if not taken:
                raise ArtifactError(f"the file takes no more bytes: write() returned {taken}")
            data = data[taken:]

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("this payload is finished or was abandoned: nothing more can be written to it")
