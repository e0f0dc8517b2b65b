"""Reads a payload from a file that nobody trusts, by what a signed manifest says of it."""

from __future__ import annotations

import functools
import hashlib
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event
from typing import TYPE_CHECKING

from ..errors import ArtifactCorrupt, ArtifactError, InvalidValue
from .floe import HEADER_LENGTH, OVERHEAD, SEGMENT_LENGTH, Layout, Message, check_key, segment_length_of
from .memory import bytes_of, private_memory, wipe

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["DIGEST_LENGTH", "Payload", "Progress"]

DIGEST_LENGTH = 32
"""Bytes of a SHA-256."""

Work = Callable[[int, memoryview], None]
"""What is done with a segment that has passed its hash: its place and its bytes, which change after that."""

Progress = Callable[[int], object]
"""Told how many bytes of plaintext have passed, segment by segment, by whichever thread did it."""


@dataclass(frozen=True)
class Payload:
    """What is signed of one payload: enough to read it from a file that anybody may have changed.

    Each segment is read into memory that only its thread has, and that same memory is hashed and then
    decrypted: a file that changes meanwhile changes nothing. How many segments there are, and which is the
    last, follows from ``size``, never from the file. Each thread takes ``segment_length`` bytes, beside the
    plaintext.

    Args:
        header: the payload's first 74 bytes.
        size: bytes of plaintext.
        digests: the SHA-256 of each segment as it is stored.
        segment_length: bytes of a whole segment as it is stored; the header must say the same.

    Raises:
        ArtifactCorrupt: these do not belong together.
    """

    header: bytes
    size: int
    digests: tuple[bytes, ...] = field(repr=False)
    segment_length: int = SEGMENT_LENGTH

    def __post_init__(self) -> None:
        said = segment_length_of(self.header)
        if said != self.segment_length:
            raise ArtifactCorrupt(
                f"the payload's header says {said} bytes a segment, and it must be {self.segment_length}"
            )
        if self.size < 0 or len(self.digests) != self.layout.count:
            raise ArtifactCorrupt(
                f"a payload of {self.size} bytes does not have {len(self.digests)} segments"
            )
        if any(len(digest) != DIGEST_LENGTH for digest in self.digests):
            raise ArtifactCorrupt(f"the SHA-256 of a segment has {DIGEST_LENGTH} bytes")

    @property
    def layout(self) -> Layout:
        """Where each segment lies."""
        return Layout(self.size, self.segment_length)

    @property
    def sealed_size(self) -> int:
        """Bytes of the file."""
        return self.layout.sealed_size

    def check(self, file: int, *, threads: int = 1, progress: Progress | None = None) -> None:
        """Check a file against the hashes; this needs no key.

        Args:
            file: the descriptor of a regular file; its position is neither used nor changed.
            threads: how many work on it.
            progress: called with the bytes of plaintext in each segment that has passed, from any thread.

        Raises:
            InvalidValue: threads that cannot be.
            ArtifactCorrupt: it is not what was signed.
            ArtifactError: the system cannot read it.
        """
        _check_threads(threads)
        self._each(file, range(self.layout.count), lambda _index, _segment: None, threads, progress)

    def read(
        self, file: int, key: bytes, aad: bytes, *, threads: int = 1, progress: Progress | None = None
    ) -> memoryview:
        """Return the plaintext, in fresh memory without a name; see `read_into`.

        Raises:
            MemoryError: there is not that much.
        """
        self.check_file(file)  # before memory is taken for a size that the file does not have
        out = private_memory(self.size)
        self.read_into(file, key, aad, out, threads=threads, progress=progress)
        return out

    def read_into(
        self,
        file: int,
        key: bytes,
        aad: bytes,
        out: WriteableBuffer,
        *,
        segments: range | None = None,
        threads: int = 1,
        progress: Progress | None = None,
    ) -> None:
        """Decrypt into a buffer, which holds plaintext only if this returns; what fails leaves zeros.

        Args:
            file: the descriptor of a regular file; its position is neither used nor changed.
            key: the data key, 32 bytes.
            aad: what was given when it was sealed.
            out: as long as the plaintext of these segments. Others must not look at it before this returns.
            segments: which ones, in one piece; all of them by default. Others are not read.
            threads: how many work on it, the caller's among them.
            progress: called with the bytes of plaintext in each segment that has passed, from any thread.

        Raises:
            InvalidValue: a key, a buffer, segments or threads that cannot be; the buffer is as it was.
            ArtifactCorrupt: the file is not what was signed, or was sealed with another key or other data.
            ArtifactError: the system cannot read it.
        """
        layout = self.layout
        chosen = range(layout.count) if segments is None else segments
        view = bytes_of(out)
        check_key(key)
        _check_threads(threads)
        origin = self._check_room(chosen, view)
        # Derived for the first segment that has passed its hash: hashes go before keys.
        unlock = functools.cache(functools.partial(Message.resume, key, aad, self.header))

        def work(index: int, segment: memoryview) -> None:
            begin, end = layout.plain(index)
            unlock().open_into(segment, index, layout.is_last(index), view[begin - origin : end - origin])

        try:
            self._each(file, chosen, work, threads, progress)
        except BaseException:
            wipe(view)
            raise

    def _check_room(self, chosen: range, out: memoryview) -> int:
        """Return where the plaintext of the chosen segments begins."""
        count = self.layout.count
        if chosen.step != 1 or not 0 <= chosen.start < chosen.stop <= count:
            raise InvalidValue(f"segments={chosen}: it is a range within 0 to {count}, one at least")
        begin, end = self.layout.plain(chosen.start)[0], self.layout.plain(chosen.stop - 1)[1]
        if len(out) != end - begin or out.readonly:
            raise InvalidValue(
                f"the buffer for {end - begin} bytes has {len(out)}{', and is read-only' * out.readonly}"
            )
        return begin

    def _each(self, file: int, chosen: range, work: Work, threads: int, progress: Progress | None) -> None:
        """Read segments, check their hashes and work on them, in as many threads as asked for."""
        self.check_file(file)
        layout, rest = self.layout, iter(chosen)
        longest = min(self.segment_length, layout.sealed_size - HEADER_LENGTH)

        def lane(stop: Event) -> None:
            buffer = memoryview(bytearray(longest))
            while not stop.is_set() and (index := next(rest, None)) is not None:
                begin, end = layout.sealed(index)
                segment = buffer[: end - begin]
                _fill(file, segment, begin)
                if hashlib.sha256(segment).digest() != self.digests[index]:
                    raise ArtifactCorrupt(
                        f"segment {index} of the payload is not the one that was signed: its SHA-256 differs"
                    )
                work(index, segment)
                if progress:
                    progress(len(segment) - OVERHEAD)

        _side_by_side(lane, min(threads, len(chosen)))

    def check_file(self, file: int) -> None:
        """Check a file's kind, size and header, before anything is made ready for what it holds.

        Raises:
            ArtifactCorrupt: it is not what was signed.
            ArtifactError: the system cannot read it.
        """
        facts = os.fstat(file)
        if not stat.S_ISREG(facts.st_mode):
            raise ArtifactCorrupt("the payload is not a regular file")
        if facts.st_size != self.sealed_size:
            raise ArtifactCorrupt(
                f"the payload has {facts.st_size} bytes, and {self.sealed_size} were signed"
            )
        header = bytearray(HEADER_LENGTH)
        _fill(file, memoryview(header), 0)
        if header != self.header:
            raise ArtifactCorrupt("the payload's header is not the one that was signed")


def _check_threads(threads: int) -> None:
    if threads < 1:
        raise InvalidValue(f"threads={threads}: it is 1 or more")


def _fill(file: int, buffer: memoryview, offset: int) -> None:
    """Read until the buffer is full."""
    while buffer:
        try:
            got = os.preadv(file, [buffer], offset)
        except OSError as error:
            raise ArtifactError(f"the payload cannot be read at byte {offset}: {error.strerror}") from error
        if not got:
            raise ArtifactCorrupt(f"the payload is cut short: it ends at byte {offset}")
        buffer, offset = buffer[got:], offset + got


def _side_by_side(lane: Callable[[Event], None], count: int) -> None:
    """Run a lane in this thread and in ``count - 1`` others; return, or raise, when all have ended."""
    stop = Event()
    if count == 1:
        return lane(stop)
    from concurrent.futures import ThreadPoolExecutor

    def guarded() -> None:
        try:
            lane(stop)
        except BaseException:
            stop.set()
            raise

    others = []
    with ThreadPoolExecutor(count - 1, thread_name_prefix="bento-rollout-unseal") as pool:
        try:
            others += [pool.submit(guarded) for _ in range(count - 1)]
            guarded()
            while others:
                others.pop().result()
        except BaseException:
            # They hold the error, and it this frame: a ring that would keep the plaintext's whole buffer.
            others.clear()
            stop.set()
            raise
    return None
