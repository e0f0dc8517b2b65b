"""`Feed`: what one worker serves by; replacing its table whole *is* the flip in that worker."""

from __future__ import annotations

import threading
import time
from contextlib import suppress

from .assignment import Table
from .contact import Contact
from .errors import RolloutError
from .opening import save_first
from .state import Commit
from .store import RolloutStore
from .telemetry import log

__all__ = ["Feed"]

FIRST_RETRY, LAST_RETRY = 0.05, 1.0
"""Seconds between two looks for a state that is signalled and not found; doubled from first to last."""

QUICK = 0.05
"""Seconds that a look at the database may wait for a lock when it happens on the request path."""


class Feed:
    """The newest state that this worker knows, compiled; fresh at each look, for the price of one ``pread``.

    Args:
        store: where states are committed.
        first: what to serve by until something newer is seen; its revision is 0 when no store has it.

    Attributes:
        trouble: what is wrong with the store, or None.
        contact: whether the store is within reach; None: it always is.
    """

    contact: Contact | None = None

    def __init__(self, store: RolloutStore, first: Commit) -> None:
        self.name = first.state.name
        self.trouble: str | None = None
        self._store = store
        self._quick = store.hasty(QUICK)
        self._beacon = store.beacon(self.name)
        self._lock = threading.Lock()
        self._once = log.Once()
        self._store_id: str | None = None
        self._token: bytes | None = None
        self._sought: bytes | None = None
        self._retry_at, self._retry = 0.0, FIRST_RETRY
        self._read_at = time.monotonic()
        self._commit = first
        self._table = first.state.compile()

    @property
    def commit(self) -> Commit:
        """The newest commit that this worker serves by."""
        return self._commit

    @property
    def refused(self) -> bool:
        """Whether what is newest cannot be served by; a store refuses that when it is to be committed."""
        return False

    @property
    def age(self) -> float:
        """Seconds since the store was last looked at with success; it is looked at each second."""
        return time.monotonic() - self._read_at

    def table(self) -> Table:
        """Return the look-up table of the newest state. Never raises, never waits long for a lock."""
        if self._beacon.token() != self._token:
            self._refresh()
        return self._table

    def start(self) -> None:
        """Begin to look by itself; a store is looked at by who follows it."""
        if self.contact is not None:
            self.contact.start()

    def stop(self) -> None:
        """End what `start` began."""
        if self.contact is not None:
            self.contact.stop()

    def check(self) -> None:
        """Look at the database: heal a counter that was lost, notice a store that was. Not for requests."""
        try:
            newest = self._store.heal(self.name, at_least=self._commit.revision)
            if newest is None:  # served by the spec until now; from here on there is something to change
                newest = save_first(self._store, self._commit)
            if self._store_id is None or self.trouble:
                self._store_id = self._store.identity()
        except Exception as error:  # noqa: BLE001 - a worker starts and lives whatever its store is like
            self._complain(_told(error))
            self._keep()
            return
        self.trouble, self._read_at = None, time.monotonic()
        if self._once.over("store"):
            self._once.over("change")
            log.event("store.reachable", rollout=self.name, revision=newest.revision)
        with self._lock:
            self._install(newest)

    def refuse(self, problem: str) -> None:
        """Say that a change was refused because of the store: once, until one is made or the trouble is over.

        Args:
            problem: what the operator was told.
        """
        if self.trouble is None:  # what is wrong for reading, too, is said already
            self._say("change", problem)

    def _keep(self) -> None:
        """Leave the last good state to those who start while the store is gone, when its copy is too."""
        if self._store_id is not None:
            with suppress(OSError):
                self._beacon.keep(self._commit, self._store_id, QUICK)

    def _refresh(self) -> None:
        """Find the state that the counter speaks of."""
        with self._lock:
            token = self._beacon.token()
            if token == self._token or (token == self._sought and time.monotonic() < self._retry_at):
                return
            try:
                found = self._seek(self._beacon.revision_in(token))
            except Exception as error:  # noqa: BLE001 - whatever is wrong there must not cost a request
                self._complain(_told(error))
                found = False
            if found:
                self._token = token
                return
            self._retry = FIRST_RETRY if token != self._sought else min(self._retry * 2, LAST_RETRY)
            self._sought, self._retry_at = token, time.monotonic() + self._retry

    def _seek(self, wanted: int | None) -> bool:
        """Install the newest state that can be found; true unless the one that is wanted is newer.

        Args:
            wanted: the revision that was signalled, or None: the counter is damaged and says nothing.
        """
        copy = self._beacon.load()
        if copy is not None:
            self._install(copy)
        if wanted is None or self._commit.revision < wanted:
            try:
                newest = self._quick.read(self.name)
            except RolloutError as error:
                self._complain(str(error))
            else:
                self._install(newest or self._commit)
        return wanted is None or self._commit.revision >= wanted

    def _install(self, commit: Commit) -> None:
        if commit.revision > self._commit.revision:
            self._table = commit.state.compile()
            self._commit = commit
            if self._once.over("change"):
                log.event("store.reachable", rollout=self.name, revision=commit.revision)

    def _complain(self, problem: str) -> None:
        self.trouble = problem
        self._say("store", problem)

    def _say(self, key: str, problem: str) -> None:
        revision = self._commit.revision
        serving = f"revision {revision}, the last good state" if revision else "the spec"
        facts = {"rollout": self.name, "problem": problem, "serving": serving}
        self._once.say(key, "store.unreachable", "error", **facts)


def _told(error: Exception) -> str:
    return str(error) if isinstance(error, RolloutError) else f"{type(error).__name__}: {error}"
