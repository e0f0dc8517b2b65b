"""How plaintext is given to loaders: a file in memory, or one with a name that only this process holds."""

from __future__ import annotations

import errno
import fcntl
import io
import mmap
import os
import secrets
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from ..errors import ArtifactError
from .memory import bytes_of

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["MemoryFile", "SealedMemory", "overwrite", "placed", "private_parent"]

_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
_NOEXEC = 0x8
"""MFD_NOEXEC_SEAL, which Linux has since 6.3."""

_NEW = os.O_WRONLY | os.O_CLOEXEC
_NO_NAMELESS = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL})
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - only a folder of mode 0700 is made there


class MemoryFile(io.RawIOBase):
    """A binary file over memory that is there already; nothing is copied but what is read.

    >>> file = io.BufferedReader(MemoryFile(memoryview(b"weights")))
    >>> file.seek(2), file.read(3), file.seek(-1, io.SEEK_END), file.read()
    (2, b'igh', 6, b's')
    """

    def __init__(self, memory: memoryview) -> None:
        self._memory = memory
        self._place = 0

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def seekable(self) -> bool:
        """Say that it can be read in any order."""
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill a buffer as far as there is something left."""
        out = bytes_of(buffer)
        part = self._memory[self._place : self._place + len(out)]
        out[: len(part)] = part
        self._place += len(part)
        return len(part)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Go to a place, and return it."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: len(self._memory)}.get(whence)
        if base is None:
            raise ValueError(f"whence={whence}: it is 0, 1 or 2")
        if base + offset < 0:
            raise OSError(errno.EINVAL, "there is nothing before the first byte")
        self._place = base + offset
        return self._place

    def tell(self) -> int:
        """Return the place."""
        return self._place

    def close(self) -> None:
        """Let go of the memory."""
        self._memory = memoryview(b"")
        super().close()


class SealedMemory:
    """A file that is only memory, and that nobody can change: for loaders that want a file's name.

    It is there until it is closed and the last one who opened or mapped it has let go; a killed process
    leaves nothing of it.

    Args:
        name: for people who look at the process's open files.
        size: bytes.
        fill: writes the content into the memory that it is given; what it raises ends the file.

    Attributes:
        fd: its descriptor.
        path: its name, which is good in this process: ``/proc/self/fd/N``.

    Raises:
        MemoryError: there is not that much memory.
        ArtifactError: the system has no such files, or too many are open.
    """

    def __init__(self, name: str, size: int, fill: Callable[[memoryview], object]) -> None:
        self.fd = -1
        self.fd = _memfd(name)
        try:
            if size:
                self._fill(size, fill)
            else:
                fill(memoryview(bytearray()))
            fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, _SEALS)
        except BaseException:
            self.close()
            raise

    def _fill(self, size: int, fill: Callable[[memoryview], object]) -> None:
        try:
            os.posix_fallocate(self.fd, 0, size)  # else a lack of memory would be a signal
            pages = mmap.mmap(self.fd, size)
        except OSError as error:
            raise MemoryError(f"there is no memory for {size} bytes: {error.strerror}") from error
        if hasattr(mmap, "MADV_DONTDUMP"):
            with suppress(OSError):
                pages.madvise(mmap.MADV_DONTDUMP)
        with memoryview(pages) as view:
            fill(view)
        pages.close()

    @property
    def path(self) -> str:
        """Its name in this process."""
        return f"/proc/self/fd/{self.fd}"

    @property
    def path_for_others(self) -> str:
        """Its name in other processes of this user too, as far as the system lets them."""
        return f"/proc/{os.getpid()}/fd/{self.fd}"

    def close(self) -> None:
        """Let go of it; again is harmless."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> SealedMemory:  # noqa: PYI034 - Self is in typing since 3.11
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()


def _memfd(name: str) -> int:
    if not hasattr(os, "memfd_create"):
        raise ArtifactError("this system has no files in memory (memfd): load it from a file object instead")
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    short = name.encode("utf-8", "replace")[-200:].decode("utf-8", "ignore")
    try:
        try:
            return os.memfd_create(short, flags | _NOEXEC)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            return os.memfd_create(short, flags)
    except OSError as error:
        advice = ": raise `ulimit -n`" if error.errno == errno.EMFILE else ""
        raise ArtifactError(f"no file in memory can be made: {error.strerror}{advice}") from error


@contextmanager
def placed(target: Path) -> Iterator[io.FileIO]:
    """Give a new file for plaintext, of mode 0600, which gets its name when the block ends.

    If the block fails it is overwritten, and gone; so it is when the process is killed, on file systems that
    have files without a name (ext4, XFS, tmpfs and others).

    Raises:
        FileExistsError: something is there, now or at the end; it stays as it is.
        OSError: it cannot be made, or cannot get its name.
    """
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
    draft: Path | None = None
    if (fd := _nameless(target.parent)) is None:
        draft = target.with_name(f".{target.name[:100]}.{secrets.token_hex(8)}.draft")
        fd = os.open(draft, _NEW | os.O_CREAT | os.O_EXCL, 0o600)
    with open(fd, "wb", buffering=0) as file:  # noqa: PTH123 - a descriptor
        try:
            yield file
            os.fsync(fd)
            _name(fd, draft, target)
        except BaseException:
            _zero(fd)
            raise
        finally:
            if draft is not None:
                draft.unlink(missing_ok=True)


def _name(fd: int, draft: Path | None, target: Path) -> None:
    """Give a file its name; a link replaces nothing, unlike a new name."""
    try:
        if draft is not None:
            os.link(draft, target)
        else:
            # Python follows the link only if a descriptor is given, which an absolute path does not need.
            os.link(f"/proc/self/fd/{fd}", target, src_dir_fd=fd, follow_symlinks=True)
    except FileExistsError:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from None
    except PermissionError:
        reason = "this file system has no hard links: take another folder"
        raise OSError(errno.EPERM, reason, str(target)) from None


def overwrite(path: Path) -> None:
    """Let zeros lie where a file's plaintext was, as far as its file system writes in place."""
    with suppress(OSError), path.open("r+b", buffering=0) as file:
        _zero(file.fileno())


def _zero(fd: int) -> None:
    with suppress(OSError):
        size, zeros, done = os.fstat(fd).st_size, bytes(1 << 20), 0
        while done < size:
            done += os.pwrite(fd, zeros[: size - done], done)


def _nameless(folder: Path) -> int | None:
    """A file without a name, if the file system has such."""
    try:
        return os.open(folder, _NEW | os.O_TMPFILE, 0o600)
    except (OSError, AttributeError) as error:
        if isinstance(error, OSError) and error.errno not in _NO_NAMELESS:
            raise
        return None


def private_parent(*, in_memory: bool) -> Path:
    """Return where folders for loaders are made: on ``/dev/shm`` if that is in memory.

    Args:
        in_memory: whether it must be, for plaintext lies there; else any temporary folder will do.

    Raises:
        ArtifactError: it must be, and is not.
    """
    if os.access(_SHARED_MEMORY, os.W_OK | os.X_OK) and _is_tmpfs(_SHARED_MEMORY):
        return _SHARED_MEMORY
    if in_memory:
        raise ArtifactError(
            f"{_SHARED_MEMORY} is no file system in memory that can be written: take links, or files one by"
            " one"
        )
    return Path(tempfile.gettempdir())


def _is_tmpfs(folder: Path) -> bool:
    """Whether the system has mounted memory there."""
    try:
        mounts = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    kinds = [kind for _, place, kind, *_ in map(str.split, mounts) if place == str(folder)]
    return kinds[-1:] == ["tmpfs"]
