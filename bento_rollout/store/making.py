"""Makes files and folders that only their owner may read: targets' keys may be personal data.

A folder with the setgid bit is shared by its group, as is the custom: what is made in it is open to that
group as far as the folder is, whatever the umask. What exists keeps its mode. What root makes in somebody
else's folder is given to that folder's owner, as SQLite does it with its journals.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path

__all__ = ["make_empty", "make_folder", "open_or_make", "take_after"]


def open_or_make(path: Path, flags: int) -> int:
    """Return a descriptor of a file; one that is missing is made.

    Raises:
        OSError: as `os.open`.
    """
    while True:
        with suppress(FileNotFoundError):
            return os.open(path, flags | os.O_CLOEXEC)
        folder = path.parent.stat()
        try:
            fd = os.open(path, flags | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except FileExistsError:  # somebody else was faster, and may have taken it away again
            if path.is_symlink():  # not followed: what it names would be made, and given away
                raise OSError(errno.ELOOP, "it is a link that leads nowhere", str(path)) from None
            continue
        _give(fd, folder, 0o600 | _shared(folder) & 0o060)
        return fd


def make_folder(path: Path) -> None:
    """Make a folder, and those above it, as far as they are missing.

    Raises:
        OSError: when one cannot be made.
    """
    if path.is_dir():
        return
    make_folder(path.parent)
    above = path.parent.stat()
    with suppress(FileExistsError):  # somebody else was faster
        path.mkdir(0o700)
        shared = _shared(above)
        _give_by_name(path, os.O_DIRECTORY, above, 0o700 | shared | (stat.S_ISGID if shared else 0))


def make_empty(path: Path) -> None:
    """Make an empty file where there is none, for SQLite, without ever opening it.

    Closing a descriptor would drop the locks that other connections of this process hold. Whatever goes wrong
    is left for SQLite to find: it makes the file itself then.
    """
    with suppress(OSError):
        folder = path.parent.stat()
        os.mknod(path, stat.S_IFREG | 0o600)
        _give_unopened(path, folder, 0o600 | _shared(folder) & 0o060)


def take_after(path: Path, example: Path) -> None:
    """Give a file the owner and the mode of the one that it is to replace, as far as this user may."""
    with suppress(OSError):
        old = example.stat()
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.fchmod(fd, stat.S_IMODE(old.st_mode))
            os.fchown(fd, old.st_uid, old.st_gid)
        finally:
            os.close(fd)


def _shared(folder: os.stat_result) -> int:
    """Return what a folder's group may do in it, if the folder is meant to be shared."""
    return folder.st_mode & 0o070 if folder.st_mode & stat.S_ISGID else 0


def _give_by_name(path: Path, flags: int, folder: os.stat_result, mode: int) -> None:
    with suppress(OSError):
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | flags)
        try:
            _give(fd, folder, mode)
        finally:
            os.close(fd)


def _give_unopened(path: Path, folder: os.stat_result, mode: int) -> None:
    """Give away what was just made here, if it is still that: whoever owns the folder may have swapped it."""
    if not hasattr(os, "O_PATH"):  # a descriptor that is none: closing it drops nobody's locks (Linux)
        return
    fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        made = os.fstat(fd)
        if not stat.S_ISREG(made.st_mode) or made.st_nlink != 1 or made.st_uid != os.geteuid():
            return
        name = f"/proc/self/fd/{fd}"
        if mode & 0o070:
            os.chmod(name, mode)  # noqa: PTH101 - a descriptor's name
        if os.geteuid() == 0 and folder.st_uid != 0:
            os.chown(name, folder.st_uid, folder.st_gid)
    finally:
        os.close(fd)


def _give(made: int, folder: os.stat_result, mode: int) -> None:
    with suppress(OSError):
        if os.geteuid() == 0 and folder.st_uid != 0:
            os.fchown(made, folder.st_uid, folder.st_gid)
        if mode & 0o070:
            os.fchmod(made, mode)
