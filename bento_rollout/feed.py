"""`Feed`: what one worker serves by; replacing its table whole *is* the flip in that worker."""

from __future__ import annotations

import threading
import time

from .assignment import Table
from .errors import RolloutError
from .state import Commit
from .store.beacon import Beacon
from .store.sqlite import SQLiteStore
from .telemetry import log

__all__ = ["Feed"]

RETRY = 0.05
QUICK = 0.05
"""Seconds that a look at the database may wait for a lock when it happens on the request path."""


class Feed:
    """The newest state that this worker knows, compiled; fresh at each look, for the price of one ``pread``.

    Args:
        store: where states are committed.
        first: what to serve by until something newer is seen.
    """

    def __init__(self, store: SQLiteStore, first: Commit) -> None:
        self.name = first.state.name
        self.trouble: str | None = None
        self._store = store
        self._quick = SQLiteStore(store.path, patience=QUICK)
        self._beacon = store.beacon(self.name)
        self._lock = threading.Lock()
        self._once = log.Once()
        self._token: bytes | None = None
        self._retry_at = 0.0
        self._commit = first
        self._table = first.state.compile()

    @property
    def commit(self) -> Commit:
        """The newest commit that this worker serves by."""
        return self._commit

    def table(self) -> Table:
        """Return the look-up table of the newest state. Never raises, never waits for a lock of the database long."""
        if self._beacon.token() != self._token:
            self._refresh()
        return self._table

    def check(self) -> None:
        """Look at the database itself: heal a counter that was lost, notice a store that was. Not for requests."""
        try:
            self._store.heal(self.name)
            newest = self._store.read(self.name)
        except RolloutError as error:
            self._beacon.heal()
            self._complain(str(error))
            return
        self.trouble = None
        if self._once.over("store"):
            log.event("store.reachable", rollout=self.name, revision=self._commit.revision)
        if newest is not None:
            with self._lock:
                self._install(newest)

    def _refresh(self) -> None:
        with self._lock:
            token = self._beacon.token()
            if token == self._token or time.monotonic() < self._retry_at:
                return
            wanted = Beacon.revision_in(token)
            commit = self._beacon.load()
            if commit is None or commit.revision < wanted:
                commit = self._from_database()
            if commit is None or commit.revision < wanted:
                self._retry_at = time.monotonic() + RETRY
                if (
                    not wanted
                ):  # the counter was cut short and nothing says more: the slow check goes on from here
                    self._token = token
                return
            self._install(commit)
            self._token = token

    def _from_database(self) -> Commit | None:
        try:
            return self._quick.read(self.name)
        except RolloutError as error:
            self._complain(str(error))
            return None

    def _install(self, commit: Commit) -> None:
        if commit.revision > self._commit.revision:
            self._table = commit.state.compile()
            self._commit = commit

    def _complain(self, problem: str) -> None:
        self.trouble = problem
        self._once.say(
            "store",
            "store.unreachable",
            "error",
            rollout=self.name,
            problem=problem,
            serving=f"revision {self._commit.revision}, the last good state",
        )
