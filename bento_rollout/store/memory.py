"""A store in this process's memory, for tests."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from ..errors import Conflict
from ..state import Commit

__all__ = ["MemoryStore"]


class MemoryStore:
    """Revisions in a list; forgotten with the process.

    >>> MemoryStore().names()
    []
    """

    kind = "memory"

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._commits: dict[str, list[Commit]] = {}

    def names(self) -> Sequence[str]:
        """Return the names of all rollouts, sorted."""
        return sorted(self._commits)

    def read(self, name: str) -> Commit | None:
        """Return the newest commit of a rollout, or None."""
        commits = self._commits.get(name)
        return commits[-1] if commits else None

    def commit(self, commit: Commit, *, after: int) -> None:
        """Append a commit if ``after`` is the current revision."""
        with self._lock:
            current = self.read(commit.state.name)
            at = current.revision if current else 0
            if at != after:
                raise Conflict(f"{commit.state.name!r} is at revision {at}, not {after}", at)
            self._commits.setdefault(commit.state.name, []).append(commit)

    def history(self, name: str, limit: int | None = None) -> Sequence[Commit]:
        """Return the commits of a rollout, newest first."""
        return self._commits.get(name, [])[::-1][:limit]

    def token(self, name: str) -> bytes:
        """Return the number of commits, as bytes."""
        return len(self._commits.get(name, ())).to_bytes(8, "big")
