"""Tells every process of this host that a state was committed, and keeps a copy of it for bad days.

Two small files beside the database, in a folder for each rollout:

``counter``
    16 bytes: a sequence number that grows with each signal, and the revision. Read on every request with ``pread``
    (a mapped file that is truncated kills its reader); any other value means: read the state again.
``state.json``
    The newest commit, replaced whole. What a process reads when the counter moved, and what a worker starts from when
    the database is damaged, locked or gone.
"""

from __future__ import annotations

import os
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pydantic import ValidationError

from ..errors import StoreCorrupt
from ..state import Commit
from .files import locked, read_json, write_json

__all__ = ["Beacon"]

_COUNTER = struct.Struct(">QQ")
EMPTY = b""


class Beacon:
    """The counter and the copy of one rollout; safe to use from several threads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = folder / "counter"
        self._fd = -1
        self._inode: tuple[int, int] | None = None
        self._retired = -1
        self._healing = threading.Lock()
        self._open()

    def token(self) -> bytes:
        """Return the counter's bytes; empty when there is none. Never raises."""
        try:
            return os.pread(self._fd, _COUNTER.size, 0)
        except OSError:
            return EMPTY

    @staticmethod
    def revision_in(token: bytes) -> int:
        """Return the revision that a token speaks of; 0 when it is damaged."""
        return int(_COUNTER.unpack(token)[1]) if len(token) == _COUNTER.size else 0

    def load(self) -> Commit | None:
        """Return the copy of the newest commit, or None when it is missing or damaged."""
        data = read_json(self.folder / "state.json")
        try:
            return Commit.model_validate(data["commit"]) if isinstance(data, dict) else None
        except (KeyError, ValidationError):
            return None

    def store_id(self) -> str | None:
        """Return the id of the database that the copy was made from."""
        data = read_json(self.folder / "state.json")
        value = data.get("store") if isinstance(data, dict) else None
        return value if isinstance(value, str) else None

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the right to commit: one process of this host at a time.

        Raises:
            StoreUnreachable: when the folder cannot be written, or somebody else keeps the right.
        """
        with locked(self.folder / "commit.lock", "the right to commit"):
            yield

    def publish(self, commit: Commit, store_id: str) -> None:
        """Replace the copy and raise the counter; call it while `writing`, after the database has committed.

        When the disk is full the copy stays old; the counter needs no space, names the revision, and a reader that
        finds the copy older goes to the database.
        """
        with suppress(OSError):
            write_json(
                self.folder / "state.json", {"store": store_id, "commit": commit.model_dump(mode="json")}
            )
        self._raise(commit.revision)

    def poke(self) -> None:
        """Raise the counter without a new revision: there is something beside the state to look at."""
        with locked(self.folder / "counter.lock", "the counter"):
            self._raise(self.revision_in(self.token()))

    def heal(self) -> None:
        """Open the counter again when it was deleted or replaced."""
        with self._healing:
            if self._retired >= 0:  # closed one check later: another thread may have been reading it
                os.close(self._retired)
                self._retired = -1
            try:
                there = self._path.stat()
            except OSError:
                return
            if self._inode != (there.st_dev, there.st_ino):
                self._retired = self._fd
                self._open()

    def close(self) -> None:
        """Release the descriptors."""
        for fd in (self._fd, self._retired):
            if fd >= 0:
                os.close(fd)
        self._fd = self._retired = -1

    def _open(self) -> None:
        try:
            self._fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            here = os.fstat(self._fd)
            self._inode = (here.st_dev, here.st_ino)
        except OSError:
            self._fd, self._inode = -1, None

    def _raise(self, revision: int) -> None:
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            old = os.pread(fd, _COUNTER.size, 0)
            last = _COUNTER.unpack(old)[0] if len(old) == _COUNTER.size else 0
            # Time-based, so a counter that was deleted and made anew never repeats a value that a reader has seen.
            os.pwrite(fd, _COUNTER.pack(max(last + 1, time.time_ns()), revision), 0)
        finally:
            os.close(fd)
        self.heal()


def check_rewound(beacon: Beacon, current: int, store_id: str, where: str) -> None:
    """Raise `StoreCorrupt` when a database holds less, or other history, than was once committed to it."""
    known = beacon.load()
    if known is None:
        return
    remedy = "put the right file back, or run `bento-rollout doctor --repair`"
    if (other := beacon.store_id()) != store_id:
        raise StoreCorrupt(
            f"{where} is another database ({store_id}) than the one that {known.state.name!r} was committed to ({other}); {remedy}"
        )
    if current < known.revision:
        raise StoreCorrupt(
            f"{where} went back: it holds revision {current} of {known.state.name!r}, and revision {known.revision} was committed; {remedy}"
        )
