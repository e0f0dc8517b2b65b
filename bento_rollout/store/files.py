"""Small files that several processes share: written whole, locked by the kernel."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..errors import StoreUnreachable

__all__ = ["locked", "read_json", "try_lock", "write_json"]


def write_json(path: Path, data: object) -> None:
    """Replace a file by JSON in one step: a reader sees the old content or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.{time.monotonic_ns()}")
    try:
        draft.write_bytes(json.dumps(data, separators=(",", ":")).encode())
        os.replace(draft, path)
    except BaseException:
        with suppress(OSError):
            draft.unlink()
        raise


def read_json(path: Path) -> Any | None:
    """Return what a JSON file holds, or None when it is missing, unreadable or damaged."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None


def try_lock(path: Path) -> int | None:
    """Return a descriptor that holds the file's lock, or None when a living process holds it.

    The kernel releases the lock when the last process that holds the descriptor ends, however it ends.

    Raises:
        OSError: when the file cannot be opened for writing.
    """
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return None
        except BaseException:
            os.close(fd)
            raise
        if _same_file(fd, path):
            return fd
        os.close(fd)  # somebody removed the file between our open and our lock: lock the one that is there


def _same_file(fd: int, path: Path) -> bool:
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    here = os.fstat(fd)
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)


@contextmanager
def locked(path: Path, what: str, timeout: float = 5.0) -> Iterator[int]:
    """Hold a file's lock, waiting for at most ``timeout`` seconds.

    Raises:
        StoreUnreachable: when it cannot be opened, or another process keeps it.
    """
    deadline = time.monotonic() + timeout
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        while (fd := try_lock(path)) is None:
            if time.monotonic() > deadline:
                raise StoreUnreachable(
                    f"another process has held {what} for over {timeout:g} s ({path}); nothing changed"
                )
            time.sleep(0.002)
    except OSError as error:
        raise StoreUnreachable(f"{path} cannot be written: {error.strerror}; nothing changed") from None
    try:
        yield fd
    finally:
        os.close(fd)
