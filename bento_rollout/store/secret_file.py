"""Files that hold one secret, and that nobody but their owner reads."""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from ..errors import StoreUnreachable
from .making import make_folder, open_or_make

__all__ = ["make_secret", "read_secret"]

_MOST = 4096


def make_secret(path: Path, secret: bytes | None = None) -> None:
    """Make a file of 32 random bytes in hex, whole, or leave the one that somebody else has just made.

    Args:
        path: the file.
        secret: instead of random bytes; it takes the place of what is there.

    Raises:
        OSError: it cannot be made.
    """
    make_folder(path.parent)
    draft = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
    try:
        with open(open_or_make(draft, os.O_WRONLY), "wb") as file:  # noqa: PTH123 - a descriptor
            file.write((secret or secrets.token_hex(32).encode()) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        if secret is not None:
            draft.replace(path)
            return
        with suppress(FileExistsError):
            os.link(draft, path)
    finally:
        with suppress(OSError):
            draft.unlink()


def read_secret(path: Path, otherwise: str) -> bytes:
    """Return what a file holds, without the blanks around it.

    Args:
        path: the file.
        otherwise: what is lost without it and what to do, for messages.

    Raises:
        StoreUnreachable: it is empty, or others may read it.
        OSError: it cannot be read.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        found = os.fstat(fd)
        shared = path.parent.stat().st_mode & stat.S_ISGID  # a folder that a group shares on purpose
        if found.st_mode & (0o007 if shared else 0o077):
            raise StoreUnreachable(f"others may read {path}: run `chmod 600 {path}`; {otherwise}")
        secret = os.read(fd, _MOST).strip()
    finally:
        os.close(fd)
    if not secret:
        raise StoreUnreachable(f"{path} is empty; {otherwise}")
    return secret
