"""A store in this process's memory, for tests."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from ..errors import Conflict, InvalidValue
from ..spec import check_name
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
        """Return the newest commit of a rollout, or None when the store does not know it."""
        return next(iter(self.history(name, 1)), None)

    def commit(self, commit: Commit, *, after: int) -> Sequence[str]:
        """Append a commit if ``after`` is the current revision.

        Raises:
            Conflict: somebody else committed first; carries the current revision.
        """
        name = check_name(commit.state.name, "rollout name")
        if commit.revision != after + 1:
            raise InvalidValue(f"revision {commit.revision} cannot follow revision {after}")
        with self._lock:
            commits = self._commits.get(name, [])
            if (current := len(commits)) != after:
                raise Conflict(f"{name!r} is at revision {current}, not {after}", current)
            self._commits[name] = [*commits, commit]  # a reader keeps the list that it has
        return ()

    def history(self, name: str, limit: int | None = None, *, before: int | None = None) -> Sequence[Commit]:
        """Return the commits of a rollout, newest first; ``before``: only those of lower revisions."""
        commits = self._commits.get(check_name(name, "rollout name"), [])
        return [commit for commit in reversed(commits) if before is None or commit.revision < before][:limit]

    def token(self, name: str) -> bytes:
        """Return the number of commits, as bytes."""
        return len(self._commits.get(name, ())).to_bytes(8, "big")
