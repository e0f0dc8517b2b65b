"""Small files that several processes share: written whole, locked by the kernel."""

from __future__ import annotations

import fcntl
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..errors import StoreUnreachable
from .making import make_folder, open_or_make

__all__ = ["is_locked", "locked", "read_json", "release", "same_file", "try_lock", "write_json"]

POLL = 0.002
"""Seconds between two attempts to take a lock."""


def write_json(path: Path, data: object, *, draft: Path | None = None) -> None:
    """Replace a file by JSON in one step: a reader sees the old content or the new one.

    Args:
        path: the file; its folder must be there.
        data: what JSON can say.
        draft: where to write first, when nobody else uses that path; what a killed writer left there is
            overwritten. Default: a name of this thread's own beside the file.
    """
    if draft is None:
        draft = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_native_id()}")
    try:
        with open(open_or_make(draft, os.O_WRONLY | os.O_TRUNC), "wb") as file:  # noqa: PTH123 - a descriptor
            file.write(json.dumps(data, separators=(",", ":")).encode())
        draft.replace(path)
    except BaseException:
        with suppress(OSError):
            draft.unlink()
        raise


def read_json(path: Path) -> Any | None:
    """Return what a JSON file holds, or None when it is missing, unreadable or damaged."""
    try:
        with open(path, "rb", opener=_at_once) as file:
            return json.loads(file.read() or b"")
    except (OSError, ValueError, RecursionError):
        return None


def _at_once(path: str, flags: int) -> int:
    """Open without waiting: a pipe that lies in a file's place may have nobody who writes to it."""
    return os.open(path, flags | os.O_NONBLOCK)


def try_lock(path: Path) -> int | None:
    """Return a descriptor that holds the file's lock, or None when somebody else holds it.

    The kernel releases the lock when the last process that holds the descriptor ends, however it ends.

    Raises:
        OSError: when the file cannot be opened for writing.
    """
    while True:
        fd = open_or_make(path, os.O_RDWR)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if same_file(fd, path):
                return fd
        except BlockingIOError:
            os.close(fd)
            return None
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # somebody removed the file between our open and our lock: lock the one that is there


def is_locked(path: Path) -> bool:
    """Whether a living process holds a file's lock; asking neither takes it away nor makes the file.

    The question is a shared lock, held for a moment: any number of processes may ask at once, and only a
    holder makes it fail.

    Raises:
        OSError: when the file is there and cannot be asked.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def release(fd: int) -> None:
    """Give a lock back, also when a forked child still has the descriptor."""
    with suppress(OSError):
        fcntl.flock(fd, fcntl.LOCK_UN)
    with suppress(OSError):
        os.close(fd)


@contextmanager
def locked(path: Path, what: str, patience: float = 5.0) -> Iterator[None]:
    """Hold a file's lock, waiting for at most ``patience`` seconds.

    Raises:
        StoreUnreachable: when it cannot be opened, or another process keeps it.
    """
    fd = _wait_for_lock(path, what, patience)
    try:
        yield
    finally:
        release(fd)


def same_file(fd: int, path: Path) -> bool:
    """Whether a descriptor still is the file that lies at a path."""
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False


def _wait_for_lock(path: Path, what: str, patience: float) -> int:
    deadline = time.monotonic() + patience
    try:
        make_folder(path.parent)
        while (fd := try_lock(path)) is None:
            if time.monotonic() > deadline:
                raise StoreUnreachable(
                    f"another process{_named(path)} has held {what} for over {patience:g} s ({path}); "
                    "nothing changed"
                )
            time.sleep(POLL)
    except OSError as error:
        raise StoreUnreachable(f"{path} cannot be written: {error.strerror}; nothing changed") from None
    return fd


def _named(path: Path) -> str:
    """Return which process holds a lock, for a message, when the kernel tells: " (pid 7)"."""
    try:
        lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
        inode = path.stat().st_ino
    except (OSError, ValueError):
        return ""
    for line in lines:
        fields = line.split()
        if len(fields) > 5 and fields[1] == "FLOCK" and fields[5].rpartition(":")[2] == str(inode):  # noqa: PLR2004
            return f" (pid {fields[4]})"
    return ""
