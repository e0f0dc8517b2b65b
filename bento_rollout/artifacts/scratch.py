"""Folders that only their maker sees, and that do not outlive it for long."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["scratch"]

MOST_SWEPT = 1000
"""So many folders that killed processes left are looked at each time."""


@contextmanager
def scratch(parent: Path, prefix: str) -> Iterator[Path]:
    """Make a folder of mode 0700, and remove it with all that is in it when the block ends.

    Whoever is killed cannot do that: its folder stays until the next one with the same parent and prefix is
    made by the same user. A folder that is in use has a lock, which the kernel lets go with the process.

    Args:
        parent: where; it must be there.
        prefix: how the name begins.

    Raises:
        OSError: the folder cannot be made.
    """
    _sweep(parent, prefix)
    folder, lock = _locked(parent, prefix)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _locked(parent: Path, prefix: str) -> tuple[Path, int]:
    while True:
        folder = parent / f"{prefix}{secrets.token_hex(8)}"
        folder.mkdir(mode=0o700)
        try:
            lock = _taken(folder)
        except OSError:  # too many open files, or a file system without locks: another try would be the same
            with suppress(OSError):
                folder.rmdir()
            raise
        if lock is not None:
            return folder, lock
        # Somebody who sweeps was faster than the lock; he removes the folder.


def _taken(folder: Path) -> int | None:
    """Return a descriptor that holds the lock of a folder; None if another one has it, or it is gone.

    Raises:
        OSError: it cannot be opened or locked.
    """
    try:
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(lock), folder.lstat()):
            return lock
    except (BlockingIOError, FileNotFoundError):
        pass
    except BaseException:
        os.close(lock)
        raise
    os.close(lock)
    return None


def _sweep(parent: Path, prefix: str) -> None:
    """Remove what killed processes of this user left."""
    with suppress(OSError), os.scandir(parent) as entries:
        left = [entry.name for entry in entries if entry.name.startswith(prefix)][:MOST_SWEPT]
        for name in left:
            folder = parent / name
            with suppress(OSError):
                lock = _taken(folder)  # which opens nothing but folders
                if lock is None:
                    continue
                if os.fstat(lock).st_uid == os.geteuid():
                    shutil.rmtree(folder, ignore_errors=True)
                os.close(lock)
