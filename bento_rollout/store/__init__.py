"""Keeps the revisions of rollouts: commits whole, or raises `Conflict` and nothing has changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ..state import Commit
from .place import Place

__all__ = ["RolloutStore", "Signal", "Store"]


class Store(Protocol):
    """Where states live. One contract suite runs over every implementation."""

    def names(self) -> Sequence[str]:
        """Return the names of all rollouts, sorted."""

    def read(self, name: str) -> Commit | None:
        """Return the newest commit of a rollout, or None when the store does not know it."""

    def commit(self, commit: Commit, *, after: int) -> Sequence[str]:
        """Append a commit if ``after`` is the current revision (0: none yet).

        When it returns, every request that starts later on any worker that it binds sees the new state.

        Returns:
            what its author should know: which workers could not be reached, if any.

        Raises:
            Conflict: somebody else committed first; carries the current revision.
            StoreUnreachable: the store cannot be written; nothing has changed.
        """

    def history(self, name: str, limit: int | None = None, *, before: int | None = None) -> Sequence[Commit]:
        """Return the commits of a rollout, newest first; ``before``: only those of lower revisions."""

    def token(self, name: str) -> bytes:
        """Return a value that is another one after each commit; costs about a microsecond, never raises."""


class Signal(Protocol):
    """What tells a process that a rollout has changed, and keeps its newest state for bad days."""

    @property
    def contacted(self) -> float | None:
        """When the store was last within reach, by the monotonic clock; 0: never; None: it always is."""

    def token(self) -> bytes:
        """Return a value that is another one after each change. Never raises, never waits."""

    def revision_in(self, token: bytes) -> int | None:
        """Return the revision that a token speaks of, or None: it says nothing."""

    def load(self) -> Commit | None:
        """Return the newest commit that is known without the database, or None."""

    def poke(self, patience: float = 5.0) -> None:
        """Let everybody look: there is something beside the state.

        Raises:
            StoreUnreachable: they cannot be told.
        """

    def keep(self, commit: Commit, store_id: str, patience: float) -> None:
        """Keep a commit that somebody serves by for bad days, unless a newer one is kept; never raises."""


class RolloutStore(Store, Protocol):
    """A store that services are served by, and operated over: with a signal and a place for each rollout."""

    @property
    def kind(self) -> str:
        """What it is: ``sqlite`` or ``postgresql``."""

    def place(self, name: str) -> Place:
        """Return where what belongs to a rollout lies."""

    def beacon(self, name: str) -> Signal:
        """Return the signal of a rollout."""

    def sketches(
        self, name: str, limit: int, *, before: int | None = None, actions: Sequence[str] = ()
    ) -> Sequence[Commit]:
        """Return commits as `history` does, of these actions only, their targets unchecked: for a look."""

    def heal(self, name: str, *, at_least: int = 0) -> Commit | None:
        """Return the newest commit, and tell this process of it if nobody has.

        Raises:
            StoreUnreachable: the store cannot be read.
            StoreCorrupt: it is damaged, or holds less than the revision that was certainly committed once.
        """

    def identity(self) -> str:
        """Return the id that this database got when it was made."""

    def check(self) -> None:
        """Raise `StoreUnreachable` or `StoreCorrupt` when the store cannot be used as a whole."""

    def hasty(self, patience: float) -> RolloutStore:
        """Return the same store for those who cannot wait long for a lock."""
