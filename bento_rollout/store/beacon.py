"""Tells every process of this host that a state was committed, and keeps a copy of it for bad days.

Two small files beside the database, in a folder for each rollout:

``counter``
    24 bytes: a sequence number that grows with each signal, the revision, and a check over both and the
    file's inode. Read on every request with ``pread`` (a mapped file that is truncated kills its reader); any
    other value than the last one means: look at the state again. The inode tells a writer that it writes
    another file than the one which readers hold open: a copy, a restored backup, a new one.
``state.json``
    The newest commit, replaced whole. What a process reads when the counter moved, and what a worker starts
    from when the database is damaged, locked or gone.
"""

from __future__ import annotations

import errno
import os
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from ..errors import StoreCorrupt, StoreUnreachable
from ..state import Commit
from .files import locked, read_json, same_file, write_json
from .making import open_or_make

__all__ = ["BLIND", "Beacon", "Turn", "Witness"]

BLIND = 1.5
"""Seconds after which every worker has looked at the database by itself, signal or no signal."""

_COUNTER = struct.Struct(">QQQ")
_MAGIC = 0x42524C54_5349474E
_WORD = (1 << 64) - 1
EMPTY = b""


@dataclass(frozen=True)
class Witness:
    """What the files beside a database say was committed to it.

    Attributes:
        copy: the copy of the newest commit, or None when it is missing or damaged.
        store_id: the database that the copy was made from.
        signalled: the revision that the counter names; 0 when it is missing or damaged.
    """

    copy: Commit | None
    store_id: str | None
    signalled: int

    @property
    def revision(self) -> int:
        """The newest revision that was committed for certain."""
        return max(self.signalled, self.copy.revision if self.copy else 0)

    def check(self, name: str, current: int, store_id: str, where: Path) -> None:
        """Raise `StoreCorrupt` when a database holds less, or other history, than was once committed to it.

        Take the witness before the database is read: what is committed in between is no contradiction then.
        """
        remedy = "put the right file back, or run `bento-rollout doctor --repair`"
        if self.copy is not None and self.store_id != store_id:
            raise StoreCorrupt(
                f"{where} is another database ({store_id}) than the one that {name!r} was committed to "
                f"({self.store_id}); {remedy}"
            )
        if current < self.revision:
            raise StoreCorrupt(
                f"{where} went back: it holds revision {current} of {name!r}, and revision {self.revision} "
                f"was committed; {remedy}"
            )

    def is_behind(self, newest: Commit) -> bool:
        """Whether a commit that the database has was not (or not wholly) published."""
        return self.copy is None or self.copy.revision < newest.revision or self.signalled != newest.revision


class _Counter:
    """The counter, open for reading; closed when nobody refers to it, so never under a reader."""

    __slots__ = ("fd", "file")

    def __init__(self, path: Path) -> None:
        self.fd = -1
        self.file: os.stat_result | None = None
        try:
            self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # it may have become a pipe
            self.file = os.fstat(self.fd)
        except OSError:
            return

    def __del__(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)


class Beacon:
    """The counter and the copy of one rollout; safe to use from several threads."""

    contacted = None
    """It lies on this host."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = folder / "counter"
        self._copy = folder / "state.json"
        self._reopening = threading.Lock()
        self._counter = _Counter(self._path)

    def token(self) -> bytes:
        """Return the counter's bytes; empty when there is none. Never raises."""
        counter = self._counter  # keeps it open during the call
        try:
            return os.pread(counter.fd, _COUNTER.size, 0)
        except OSError:
            return EMPTY

    def revision_in(self, token: bytes) -> int | None:
        """Return the revision that a token speaks of, or None when it is damaged."""
        file = self._counter.file
        return None if file is None else _revision(token, file.st_ino)

    def load(self) -> Commit | None:
        """Return the copy of the newest commit, or None when it is missing or damaged."""
        return self._read_copy()[0]

    def witness(self) -> Witness:
        """Return what these files say was committed."""
        signalled = self.revision_in(self.token()) or 0
        copy, store_id = self._read_copy()
        return Witness(copy, store_id, signalled)

    @contextmanager
    def writing(self, patience: float = 5.0) -> Iterator[Turn]:
        """Hold the right to commit: one process of this host at a time, and only one that can signal.

        Raises:
            StoreUnreachable: when the folder cannot be written, or somebody else keeps the right.
        """
        with locked(self.folder / "commit.lock", "the right to commit", patience):
            try:
                fd = open_or_make(self._path, os.O_RDWR)
            except OSError as error:
                raise _unwritable(self._path, error) from None
            try:
                yield self._turn(fd)
            finally:
                os.close(fd)
        self.reopen()

    def _turn(self, fd: int) -> Turn:
        try:
            return Turn(self, fd)
        except OSError as error:
            raise _unwritable(self._path, error) from None

    def poke(self, patience: float = 5.0) -> None:
        """Raise the counter without a new revision: there is something beside the state to look at.

        Raises:
            StoreUnreachable: when it cannot be written.
        """
        with self.writing(patience) as turn:
            try:
                turn.signal(self.witness().revision)
            except OSError as error:
                raise _unwritable(self._path, error) from None

    def keep(self, commit: Commit, store_id: str, patience: float) -> None:
        """Write a commit that somebody serves by, unless these files know of it: they may have been lost.

        Nothing happens when they cannot be written.
        """
        if self.witness().revision >= commit.revision and self.load() is not None:
            return
        with suppress(StoreUnreachable), self.writing(patience) as turn:
            if self.witness().revision <= commit.revision:
                turn.publish(commit, store_id)

    def reopen(self) -> None:
        """Open the counter again when it was replaced, and let go of one that was deleted."""
        with self._reopening:
            here = self._counter.file
            try:
                there: os.stat_result | None = self._path.stat()
            except OSError:
                there = None
            if here is None or there is None or not os.path.samestat(here, there):
                self._counter = _Counter(self._path)

    def write_copy(self, commit: Commit, store_id: str) -> None:
        """Replace the copy; call it while `writing`.

        Raises:
            OSError: when there is no space, or the folder cannot be written.
        """
        data = {"store": store_id, "commit": commit.model_dump(mode="json")}
        write_json(self._copy, data, draft=self._copy.with_name(".state.json.draft"))

    def _read_copy(self) -> tuple[Commit | None, str | None]:
        data = read_json(self._copy)
        try:
            return Commit.model_validate(data["commit"]), str(data["store"])  # type: ignore[index]  # None: see below
        except (TypeError, KeyError, ValidationError):
            return None, None


class Turn:
    """The right to commit, held, with the counter open for writing.

    Attributes:
        trusted: whether the counter is the file that readers hold open, as far as a writer can see.
    """

    def __init__(self, beacon: Beacon, fd: int) -> None:
        self._beacon = beacon
        self._fd = fd
        self._inode = os.fstat(fd).st_ino
        old = os.pread(fd, _COUNTER.size, 0)
        self.trusted = _revision(old, self._inode) is not None
        self._sequence = _COUNTER.unpack(old)[0] if self.trusted else 0
        if not self.trusted:
            self._reserve()

    def publish(self, commit: Commit, store_id: str) -> bool:
        """Replace the copy and raise the counter, after the database has committed; never raises `OSError`.

        When the disk is full the copy stays old; the counter needs no space, names the revision, and a reader
        that finds the copy older goes to the database.

        Returns:
            whether every reader sees it at once; if not, each sees it after `BLIND` seconds at the latest.
        """
        with suppress(OSError):
            self._beacon.write_copy(commit, store_id)
        try:
            self.signal(commit.revision)
            return self.trusted and same_file(self._fd, self._beacon.folder / "counter")
        except OSError:
            return False

    def signal(self, revision: int) -> None:
        """Raise the counter."""
        # By the clock: a counter that was deleted and made anew never repeats a value that a reader has seen.
        self._sequence = max(self._sequence + 1, time.time_ns()) & _WORD
        check = _check(self._sequence, revision, self._inode)
        os.pwrite(self._fd, _COUNTER.pack(self._sequence, revision, check), 0)

    def forget(self) -> None:
        """Say that nothing was ever committed: the rollout begins anew."""
        with suppress(OSError):
            (self._beacon.folder / "state.json").unlink()
        with suppress(OSError):
            self.signal(0)

    def _reserve(self) -> None:
        """Take the counter's space before the database commits, so that raising it afterwards needs none."""
        try:
            os.pwrite(self._fd, bytes(_COUNTER.size), 0)
        except OSError as error:
            raise _unwritable(self._beacon.folder / "counter", error) from None


def _check(sequence: int, revision: int, inode: int) -> int:
    return (sequence ^ revision ^ inode ^ _MAGIC) & _WORD


def _revision(token: bytes, inode: int) -> int | None:
    if len(token) != _COUNTER.size:
        return None
    sequence, revision, check = _COUNTER.unpack(token)
    return int(revision) if check == _check(sequence, revision, inode) else None


def _unwritable(path: Path, error: OSError) -> StoreUnreachable:
    hint = "; free some space" if error.errno == errno.ENOSPC else ""
    return StoreUnreachable(f"{path} cannot be written: {error.strerror}{hint}; nothing changed")
