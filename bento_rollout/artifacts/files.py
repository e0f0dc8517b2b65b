"""Small files beside an artifact: read within bounds, private ones only if they are, and written whole."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = [
    "Unusable",
    "alone",
    "is_secret",
    "put_file",
    "read_private",
    "read_small",
    "replace_file",
    "sync_folder",
    "write_new",
]

MAX_SMALL = 256 * 2**10
"""Bytes of a key, an identity file or a policy."""

_SECRETS = re.compile(r"AGE-SECRET-KEY-|PRIVATE KEY-----", re.IGNORECASE)
"""What names a secret itself where its file's path was asked for; no message may repeat that."""

_PUBLIC = (b"-----BEGIN PUBLIC KEY-", b"age1")
"""How the files begin that are for everybody: who gives one for a secret need not narrow its mode."""


class Unusable(Exception):
    """A file that cannot be used; the message names it and says what to do, and shows no content."""


def is_secret(text: str) -> bool:
    r"""Whether text is, or holds, a secret key itself; then no message may show it.

    >>> is_secret("# public key: age1…\\nAGE-SECRET-KEY-1…"), is_secret("identity.txt")
    (True, False)
    """
    return _SECRETS.search(text) is not None


def read_small(path: Path) -> bytes:
    """Return the content of a regular file of at most 256 KiB.

    Raises:
        Unusable: it is missing, unreadable, too large, or no regular file; or the path is a secret itself.
    """
    return _read(path, private=False)


def read_private(path: Path) -> bytes:
    """Return the content of a regular file that nobody but this user and root can read.

    What belongs to root may be readable by a group: that is how orchestrators hand secrets to a process that
    runs as somebody else.

    Raises:
        Unusable: others can read or write it, or see `read_small`.
    """
    return _read(path, private=True)


def _read(path: Path, *, private: bool) -> bytes:
    if is_secret(str(path)):
        raise Unusable("has a secret key itself for its path, not shown here: give a file that holds it")
    try:
        # Without waiting: a pipe in its place may have nobody who writes to it.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode):
                raise Unusable(f"{path} is no regular file")
            content = b""
            while len(content) <= MAX_SMALL and (part := os.read(fd, MAX_SMALL + 1 - len(content))):
                content += part
            if private:
                _check_private(path, found, public=content.startswith(_PUBLIC))
        finally:
            os.close(fd)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "its name holds NUL"
        raise Unusable(f"{path} cannot be read: {reason}") from None
    if len(content) > MAX_SMALL:
        raise Unusable(f"{path} has more than {MAX_SMALL} bytes")
    return content


def _check_private(path: Path, found: os.stat_result, *, public: bool) -> None:
    """Refuse a file that others can read, by its open descriptor's status."""
    allowed = 0o740 if found.st_uid == 0 and os.geteuid() != 0 else 0o700
    if found.st_uid not in {0, os.geteuid()}:
        raise Unusable(f"{path} belongs to another user (uid {found.st_uid}): make a copy of your own")
    if excess := stat.S_IMODE(found.st_mode) & 0o777 & ~allowed:
        if public:
            raise Unusable(f"{path} is a public key: give the secret one")
        raise Unusable(
            f"{path} is open to others (mode {stat.S_IMODE(found.st_mode):04o}, {excess:04o} too much):"
            f" chmod 600 {path}"
        )


def write_new(path: Path, content: bytes, mode: int) -> None:
    """Write a file that must not be there yet; never wider than ``mode``, not even for a moment.

    Raises:
        FileExistsError: it is there.
        OSError: it cannot be written; nothing is left of it.
    """
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with open(fd, "wb") as file:  # noqa: PTH123 - a descriptor
            file.write(content)
            file.flush()
            os.fsync(fd)
    except BaseException:
        with suppress(OSError):
            path.unlink()
        raise


def replace_file(path: Path, content: bytes) -> None:
    """Replace a file in one step that survives a crash; its mode stays, and its owner where that is allowed.

    One at a time, as `alone` sees to: a draft that a killed process left is used again.

    Raises:
        OSError: it cannot be written; the old content is there.
    """
    before = path.stat()
    draft = path.with_name(f".{path.name}.draft")
    with suppress(FileNotFoundError):
        draft.unlink()
    write_new(draft, content, 0o600)
    try:
        try:
            os.chown(draft, before.st_uid, before.st_gid)
        except PermissionError as error:
            if error.errno != errno.EPERM:
                raise
        draft.chmod(stat.S_IMODE(before.st_mode))
        draft.replace(path)
    except BaseException:
        with suppress(OSError):
            draft.unlink()
        raise
    sync_folder(path.parent)


def put_file(path: Path, content: bytes, *, draft: Path | None = None, mode: int = 0o644) -> None:
    """Write a file, or replace it, in one step that survives a crash.

    Args:
        path: the file; a link in its place is replaced, not followed.
        content: all of it.
        draft: where to write first, on the same file system; beside the file by default.
        mode: of a new file, less the process's umask; that of an old one stays.

    Raises:
        OSError: it cannot be written; the old content is there.
    """
    with suppress(FileNotFoundError):
        mode = stat.S_IMODE(path.lstat().st_mode) & 0o666
    draft = draft or path.with_name(f".{path.name}.draft")
    draft.unlink(missing_ok=True)
    write_new(draft, content, mode)
    try:
        draft.replace(path)
    except BaseException:
        with suppress(OSError):
            draft.unlink()
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Let a folder's entries survive a crash of the system."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold a folder's lock: one process at a time changes what lies in it, and others wait.

    A file that is replaced could not be locked itself: the lock would be on the old one.
    """
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
