"""Looks for secrets wherever a process may have left them: folders, shared memory, open and deleted files."""

from __future__ import annotations

import base64
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")
CHUNK = 1 << 22


class Secrets:
    """What may be in no file.

    Args:
        values: as bytes; looked for as they are, in hexadecimal and in base64.
    """

    def __init__(self, *values: bytes) -> None:
        assert all(len(value) >= 16 for value in values)
        self._needles = {form for value in values for form in _forms(value)}
        self._longest = max(map(len, self._needles))

    def found_in(self, *folders: Path) -> list[str]:
        """Return the files below these folders, and in shared memory, that hold one or are named so."""
        paths = (path for folder in (*folders, SHARED_MEMORY) for path in _walk(folder))
        return [
            str(path)
            for path in paths
            if self._in(os.fsencode(path)) or (_regular(path) and self._held(path))
        ]

    def open_in(self, pid: int, *, memory: bool = False) -> list[str]:
        """Return the open files of a process that hold one: those on a disk or in shared memory.

        Args:
            pid: of the process.
            memory: those in anonymous memory instead, which are allowed to.
        """
        found = []
        for link in Path(f"/proc/{pid}/fd").iterdir():
            try:
                target = str(link.readlink())
            except FileNotFoundError:
                continue
            anonymous = target.startswith("/memfd:")
            if anonymous is memory and _regular(link, follow=True) and self._held(link):
                found.append(target)
        return found

    def _held(self, path: Path) -> bool:
        rest = b""
        try:
            with path.open("rb") as file:
                while part := file.read(CHUNK):
                    if self._in(rest + part):
                        return True
                    rest = part[-self._longest :]
        except OSError:  # gone meanwhile
            return False
        return False

    def _in(self, raw: bytes) -> bool:
        return any(needle in raw for needle in self._needles)


def deleted_maps(pid: int, folder: Path) -> list[str]:
    """Return the files that were in a folder and have no name, and that a process has in its memory."""
    lines = Path(f"/proc/{pid}/maps").read_text(encoding="utf-8", errors="replace").splitlines()
    names = (line.split(maxsplit=5)[5] for line in lines if line.endswith(" (deleted)"))
    return [name for name in names if name.startswith(str(folder))]


def scanned(secrets: Secrets, folders: Iterable[Path], pids: Iterable[int] = ()) -> list[str]:
    """Return every place that holds a secret."""
    found = secrets.found_in(*folders)
    for pid in pids:
        found += secrets.open_in(pid)
    return found


def _forms(value: bytes) -> Iterator[bytes]:
    """A value as it may stand in a file; in base64 after any number of other bytes."""
    yield value
    yield value.hex().encode()
    yield value.hex().upper().encode()
    for before, skipped in ((0, 0), (1, 2), (2, 3)):
        yield base64.b64encode(bytes(before) + value).rstrip(b"=")[skipped:-1]


def _walk(folder: Path) -> Iterator[Path]:
    """All files below a folder, while others come and go."""
    return (Path(parent, name) for parent, _, names in os.walk(folder) for name in names)


def _regular(path: Path, *, follow: bool = False) -> bool:
    try:
        return stat.S_ISREG((path.stat() if follow else path.lstat()).st_mode)
    except OSError:
        return False
