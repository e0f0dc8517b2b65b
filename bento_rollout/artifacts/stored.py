"""Reads the files of an artifact's folder, which are anybody's: within bounds, without waiting."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import ArtifactCorrupt, ArtifactError, ArtifactNotFound, SignatureInvalid
from .age_header import MAX_AGE
from .envelope import KEYS_AGE, KEYS_JSON
from .kms import MAX_KEYS_JSON
from .manifest import MANIFEST_FILE, MAX_MANIFEST
from .signature import MAX_BUNDLE, SIGNATURE_FILE

__all__ = ["NEXT_SIGNATURE", "SEALED_FOLDER", "Stored"]

SEALED_FOLDER = "sealed"
"""What is signed lies in it."""

NEXT_SIGNATURE = f"{SIGNATURE_FILE}.next"
"""Where `resign` keeps a new signature until the manifest that it signs is there."""

_NO_FILE = frozenset({errno.ELOOP, errno.ENXIO, errno.ENODEV, errno.EISDIR})


class Stored:
    """An artifact's folder as it is now. Links are not followed, and only regular files are read.

    Args:
        folder: where it lies.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._folder = str(folder)
        self.sealed = folder / SEALED_FOLDER

    def bundle(self) -> bytes:
        """Return ``sealed.sig``.

        Raises:
            ArtifactNotFound: this is no sealed artifact at all.
            SignatureInvalid: it is missing, too large or no regular file.
            ArtifactError: the system cannot read it.
        """
        try:
            found = self._small(SIGNATURE_FILE, MAX_BUNDLE)
        except ArtifactCorrupt as error:
            raise SignatureInvalid(str(error)) from None
        if found is not None:
            return found
        if not os.path.lexists(self.sealed):
            raise ArtifactNotFound(f"{self.folder} holds no sealed artifact: there is no {SEALED_FOLDER}/")
        raise SignatureInvalid(f"{SIGNATURE_FILE} is missing in {self.folder}: nobody signed this")

    def manifest(self) -> bytes:
        """Return ``sealed/manifest.json``.

        Raises:
            ArtifactCorrupt: it is missing, too large or no regular file.
            ArtifactError: the system cannot read it.
        """
        self._check_sealed()
        found = self._small(f"{SEALED_FOLDER}/{MANIFEST_FILE}", MAX_MANIFEST)
        if found is None:
            raise ArtifactCorrupt(f"{SEALED_FOLDER}/{MANIFEST_FILE} is missing")
        return found

    def keys(self) -> tuple[bytes | None, bytes | None]:
        """Return ``keys.age`` and ``keys.json``, as far as they are there.

        Raises:
            ArtifactCorrupt: one is too large or no regular file.
            ArtifactError: the system cannot read it.
        """
        return self._small(KEYS_AGE, MAX_AGE), self._small(KEYS_JSON, MAX_KEYS_JSON)

    def next_bundle(self) -> bytes | None:
        """Return the signature that waits for its manifest, if an interrupted `resign` left one."""
        return self._small(NEXT_SIGNATURE, MAX_BUNDLE)

    def names(self, most: int) -> list[str]:
        """Return what lies in ``sealed/``, or a little more than ``most`` names of it.

        Raises:
            ArtifactCorrupt: there is no such folder, or something in it is no regular file.
            ArtifactError: the system cannot read it.
        """
        self._check_sealed()
        names: list[str] = []
        try:
            with os.scandir(self.sealed) as entries:
                for entry in entries:
                    if not entry.is_file(follow_symlinks=False):
                        raise ArtifactCorrupt(f"{SEALED_FOLDER}/{entry.name!a} is no regular file")
                    names.append(entry.name)
                    if len(names) > most:
                        break
        except OSError as error:
            raise ArtifactError(f"{self.sealed} cannot be read: {error.strerror}") from None
        return names

    @contextmanager
    def blob(self, name: str) -> Iterator[int]:
        """Open a file of ``sealed/``, and give its descriptor.

        Raises:
            ArtifactCorrupt: it is missing or no regular file.
            ArtifactError: the system cannot open it.
        """
        fd = self._open(f"{SEALED_FOLDER}/{name}")
        if fd is None:
            raise ArtifactCorrupt(f"{SEALED_FOLDER}/{name} is missing")
        try:
            yield fd
        finally:
            os.close(fd)

    def _check_sealed(self) -> None:
        try:
            mode = self.sealed.lstat().st_mode
        except FileNotFoundError:
            raise ArtifactCorrupt(f"{SEALED_FOLDER}/ is missing") from None
        except OSError as error:
            raise ArtifactError(f"{self.sealed} cannot be read: {error.strerror}") from None
        if not stat.S_ISDIR(mode):
            raise ArtifactCorrupt(f"{SEALED_FOLDER} is no folder of its own")

    def _small(self, name: str, limit: int) -> bytes | None:
        fd = self._open(name)
        if fd is None:
            return None
        try:
            with open(fd, "rb", buffering=0) as file:  # noqa: PTH123 - a descriptor
                parts, left = [], limit + 1
                while left and (part := file.read(left)):
                    parts.append(part)
                    left -= len(part)
        except OSError as error:
            raise ArtifactError(f"{self.folder / name} cannot be read: {error.strerror}") from None
        if not left:
            raise ArtifactCorrupt(f"{name} has more than {limit} bytes")
        return b"".join(parts)

    def _open(self, name: str) -> int | None:
        """Open a regular file, without waiting for one who writes to a pipe in its place."""
        path = f"{self._folder}/{name}"
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno in _NO_FILE:
                raise ArtifactCorrupt(f"{name} is no regular file") from None
            raise ArtifactError(f"{path} cannot be opened: {error.strerror}") from None
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise ArtifactCorrupt(f"{name} is no regular file")
        return fd
