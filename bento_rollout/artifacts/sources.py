"""Files and folders of this host that are to be sealed: regular files only, reached without a link."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from ..errors import InvalidValue, Refused
from .canonical import Malformed
from .manifest import MAX_FILES
from .paths import check_paths

__all__ = ["Source", "find_sources"]

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True)
class Source:
    """One file to seal.

    Args:
        root: the folder that it was found below.
        path: its path from there, parts joined by ``/``: its name in the artifact.
        size: bytes that it had when it was found.
    """

    root: Path
    path: str
    size: int

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """Open it for reading, as it was found: no part of its path may have become a link.

        Raises:
            Refused: it is no regular file any more, cannot be read, or has changed while it was open.
        """
        where = self.root / self.path
        try:
            file = open(_descend(self.root, self.path), "rb", buffering=0)  # noqa: SIM115 - a descriptor
        except OSError as error:
            raise Refused(f"{where} cannot be read: {error.strerror}") from None
        with file:
            before = os.fstat(file.fileno())
            if not stat.S_ISREG(before.st_mode):
                raise Refused(f"{where} is no regular file any more")
            yield file
            after = os.fstat(file.fileno())
            if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
                raise Refused(f"{where} was written to while it was sealed: wait until it is whole")


def find_sources(path: Path) -> list[Source]:
    """Return the file, or all files below the folder, in the order of their paths; not its empty folders.

    Raises:
        InvalidValue: there is nothing, a link, a device or another thing that is no file, or a path that no
            artifact can have; the message names it.
    """
    try:
        kind = path.lstat().st_mode
        if stat.S_ISREG(kind):
            found = [Source(path.parent, path.name, path.lstat().st_size)]
        elif stat.S_ISDIR(kind):
            found = sorted(islice(_below(path), MAX_FILES + 1), key=lambda source: source.path)
        else:
            raise InvalidValue(_refusal(path, kind))
        if not 0 < len(found) <= MAX_FILES:
            raise InvalidValue(
                f"{path} has no file" if not found else f"{path} has more than {MAX_FILES} files"
            )
        check_paths(source.path for source in found)
    except OSError as error:
        raise InvalidValue(f"{error.filename or path} cannot be read: {error.strerror}") from None
    except Malformed as error:
        raise InvalidValue(f"{path} cannot be sealed: {error}") from None
    return found


def _below(root: Path) -> Iterator[Source]:
    def fail(error: OSError) -> None:
        raise error

    for folder, folders, files, fd in os.fwalk(root, onerror=fail):
        prefix = Path(folder).relative_to(root)
        for name in (*folders, *files):
            facts = os.stat(name, dir_fd=fd, follow_symlinks=False)
            if stat.S_ISREG(facts.st_mode):
                yield Source(root, (prefix / name).as_posix(), facts.st_size)
            elif not stat.S_ISDIR(facts.st_mode):
                raise InvalidValue(_refusal(root / prefix / name, facts.st_mode))


def _refusal(path: Path, mode: int) -> str:
    if stat.S_ISLNK(mode):
        return f"{path} is a symbolic link: put what it points to in its place"
    return f"{path} is neither a file nor a folder: only those are sealed"


def _descend(root: Path, path: str) -> int:
    """Open a file part by part, so that a link in the place of any is refused."""
    *folders, name = path.split("/")
    at = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in folders:
            below = os.open(part, _FOLDER, dir_fd=at)
            os.close(at)
            at = below
        return os.open(name, _FILE, dir_fd=at)
    finally:
        os.close(at)
