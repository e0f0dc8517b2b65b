"""One of a rollout's workers decides for all of them, as long as it lives."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from .files import release, same_file, try_lock
from .making import make_folder
from .place import Place, Shared

__all__ = ["Leadership", "Right", "leadership_at"]


class Right(Protocol):
    """The right to lead a rollout; it goes with its holder."""

    def hold(self) -> bool:
        """Take it if nobody else has it; return whether it is held now.

        Raises:
            OSError, StoreUnreachable: it cannot be known.
        """

    def resign(self) -> None:
        """Give it back."""


def leadership_at(place: Place, name: str = "leader.lock") -> Right:
    """Return the right to lead a rollout, on this host or on all that share its database.

    Args:
        place: the rollout.
        name: another one is a right of its own.
    """
    if not isinstance(place, Shared):
        return Leadership(place, name)
    from .postgres.leadership import SharedLeadership

    return SharedLeadership(place, name)


class Leadership:
    """The right to lead a rollout on this host; the kernel takes it back when its holder dies.

    Args:
        folder: where the rollout's shared files lie.
        name: of the file whose lock is the right; another one is a right of its own.
    """

    def __init__(self, folder: Path, name: str = "leader.lock") -> None:
        self._path = folder / name
        self._fd = -1
        self._pid = os.getpid()
        os.register_at_fork(after_in_child=self._forget)

    def hold(self) -> bool:
        """Take it if nobody else has it; return whether it is held now, and of the file that lies there.

        Raises:
            OSError: the file cannot be made or locked.
        """
        if self._fd >= 0:
            if same_file(self._fd, self._path):
                return True
            self.resign()  # somebody removed the file: another one may lead by a new one
        make_folder(self._path.parent)
        fd = try_lock(self._path)
        if fd is None:
            return False
        self._fd = fd
        return True

    def _forget(self) -> None:
        """Let go of it in a forked child, whose copy would keep the lock when its parent has died."""
        if self._fd >= 0:
            with suppress(OSError):
                os.close(self._fd)
            self._fd = -1

    def resign(self) -> None:
        """Give it back."""
        if self._fd < 0 or os.getpid() != self._pid:  # a forked child does not lead
            return
        with suppress(OSError):
            release(self._fd)
        self._fd = -1
