"""A file that is there when it is whole, or not at all, and replaces nothing."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path

__all__ = ["new_file"]

_UNNAMED = getattr(os, "O_TMPFILE", 0)
_NO_UNNAMED = {errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT}
"""What the system says where files without a name are not known: it, or the file system."""


@contextmanager
def new_file(path: Path) -> Iterator[FileIO]:
    """Write a file for its owner alone (mode 0600); it gets its name when the block ends without an error.

    Until then it has none where the file system can do that (Linux; most of them), so that even ``kill -9``
    leaves nothing of it; elsewhere it is a hidden draft beside the path.

    Raises:
        FileExistsError: something is there, now or at the end; it stays as it is.
        OSError: it cannot be written; nothing is left of it.
    """
    if os.path.lexists(path):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    draft: str | None = None
    try:
        fd = _without_a_name(path.parent)
        if fd is None:
            draft = f".{path.name[:100]}.{secrets.token_hex(8)}.draft"
            fd = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=folder)
        with open(fd, "wb", buffering=0) as file:  # noqa: PTH123 - a descriptor
            yield file
            os.fsync(fd)
            _name(fd, draft, path.name, folder)
        os.fsync(folder)
    finally:
        if draft is not None:
            with suppress(OSError):
                os.unlink(draft, dir_fd=folder)
        os.close(folder)


def _without_a_name(folder: Path) -> int | None:
    """Open a file that no folder has, or return None where there are none such."""
    if not _UNNAMED or not os.path.isdir("/proc/self/fd"):  # noqa: PTH112 - no path of ours
        return None
    try:
        return os.open(folder, os.O_RDWR | _UNNAMED | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno in _NO_UNNAMED:
            return None
        raise


def _name(fd: int, draft: str | None, name: str, folder: int) -> None:
    """Give the file its name, which nothing may have."""
    try:
        if draft is None:
            os.link(f"/proc/self/fd/{fd}", name, dst_dir_fd=folder, follow_symlinks=True)
        else:
            os.link(draft, name, src_dir_fd=folder, dst_dir_fd=folder)
    except FileExistsError:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name) from None
    except PermissionError:
        reason = "this file system has no hard links: write to another folder"
        raise OSError(errno.EPERM, reason, name) from None
