"""Files to be sealed: regular ones, and nothing that leads elsewhere."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from ..errors import InvalidValue

__all__ = ["open_source", "walk"]


def open_source(path: str | os.PathLike[str]) -> int:
    """Return the descriptor of a regular file.

    Raises:
        InvalidValue: it is a link, a folder, a device or a pipe.
        OSError: it cannot be opened.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENXIO, errno.ENODEV}:
            _refuse(path)
        raise
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        _refuse(path)
    return fd


def walk(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield all files of a folder and of those below it, by their paths in it, in the order of their names.

    Raises:
        InvalidValue: the folder is none, or something in it is neither a folder nor a regular file.
        OSError: something cannot be read.
    """
    if not stat.S_ISDIR(folder.lstat().st_mode):
        raise InvalidValue(f"{folder} is no folder: give its own path, and not a link to it")
    waiting = [*_entries(folder, "")]
    while waiting:  # and no recursion: folders may lie deeper than Python calls
        path, entry = waiting.pop()
        if entry.is_dir(follow_symlinks=False):
            waiting += _entries(Path(entry.path), f"{path}/")
        elif entry.is_file(follow_symlinks=False):
            yield path, Path(entry.path)
        else:
            _refuse(entry.path)


def _entries(folder: Path, prefix: str) -> list[tuple[str, os.DirEntry[str]]]:
    """What is in a folder, the last name first."""
    with os.scandir(folder) as found:
        entries = sorted(found, key=lambda entry: entry.name, reverse=True)
    return [(prefix + entry.name, entry) for entry in entries]


def _refuse(path: str | os.PathLike[str]) -> NoReturn:
    raise InvalidValue(
        f"{os.fspath(path)!a} is no regular file: links, devices and pipes are not sealed; copy what is meant"
    )
