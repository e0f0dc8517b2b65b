"""Keeps the revisions of rollouts: commits whole, or raises `Conflict` and nothing has changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ..state import Commit

__all__ = ["Store"]


class Store(Protocol):
    """Where states live. One contract suite runs over every implementation."""

    def names(self) -> Sequence[str]:
        """Return the names of all rollouts, sorted."""

    def read(self, name: str) -> Commit | None:
        """Return the newest commit of a rollout, or None when the store does not know it."""

    def commit(self, commit: Commit, *, after: int) -> None:
        """Append a commit if ``after`` is the current revision (0: none yet).

        When it returns, every request that starts later on any worker of this host sees the new state.

        Raises:
            Conflict: somebody else committed first; carries the current revision.
            StoreUnreachable: the store cannot be written; nothing has changed.
        """

    def history(self, name: str, limit: int | None = None, *, before: int | None = None) -> Sequence[Commit]:
        """Return the commits of a rollout, newest first; ``before``: only those of lower revisions."""

    def token(self, name: str) -> bytes:
        """Return a value that is another one after each commit; costs about a microsecond, never raises."""
