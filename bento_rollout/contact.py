"""`Contact`: whether this worker's store is within reach, and what a request obeys while it is not."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol

from .leases import OnStale
from .store import Signal
from .telemetry import log

__all__ = ["FRESH", "OBEYED", "Contact", "Marked"]

FRESH = 2.5
"""Seconds after the last sign of life in which a worker counts as connected; one comes each second."""

LOOK = 0.25
"""Seconds between two looks at whether it still is, for the log."""

OBEYED = ("serve", "champion", "refuse")
"""What a request that is stale obeys: the last state, its champion, or nobody."""


class Marked(Protocol):
    """A request, as far as this matters to it."""

    stale: int
    obeys: str


class Contact:
    """Tells from the last sign of life whether a request may go by what this worker knows.

    It asks the clock at each request, so that no thread which hangs can keep a lease alive.

    Args:
        rollout: the rollout's name, for the log.
        signal: knows when the store was last within reach.
        lease: seconds from then on in which the last state holds.
        on_stale: what holds after that.
        clock: the monotonic clock.

    Attributes:
        answers: how many answers went out without a connection, by what they obeyed.
    """

    def __init__(
        self,
        rollout: str,
        signal: Signal,
        lease: float,
        on_stale: OnStale,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.answers = dict.fromkeys(OBEYED, 0)
        self._rollout, self._signal, self._clock = rollout, signal, clock
        self._lease, self._on_stale, self._fresh = lease, on_stale, min(FRESH, lease)
        self._since = clock()
        self._lost_at: float | None = None
        self._before = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rollout-contact", daemon=True)

    def mark(self, request: Marked) -> None:
        """Let a request that begins know how stale it is, and what it obeys. Never raises, never waits."""
        silence = self._clock() - (self._signal.contacted or 0.0)
        if silence >= self._fresh:
            request.stale = self._seconds()
            if silence >= self._lease and self._on_stale != "serve":
                request.obeys = self._on_stale

    def count(self, request: Marked) -> None:
        """Count a request that was marked and is answered."""
        self.answers[request.obeys or "serve"] += 1

    def seconds(self) -> int:
        """Return the whole seconds since the last sign of life, at least 1; 0: the store is within reach."""
        silence = self._clock() - (self._signal.contacted or 0.0)
        return self._seconds() if silence >= self._fresh else 0

    def _seconds(self) -> int:
        """Return the whole seconds since the last sign of life; where there was none, since the start."""
        return max(1, int(self._clock() - (self._signal.contacted or self._since)))

    # -- what the log is told --------------------------------------------------------------------------

    def start(self) -> None:
        """Tell the log from now on when the connection is lost, and when it is back."""
        self._thread.start()

    def stop(self) -> None:
        """Tell it no more; the thread ends by itself."""
        self._stop.set()

    def _run(self) -> None:
        while not self._stop.wait(LOOK):
            self.look()

    def look(self) -> None:
        """Tell the log if something has changed."""
        seconds, told = self.seconds(), {"rollout": self._rollout}
        if seconds and self._lost_at is None:
            self._lost_at, self._before = self._clock() - seconds, sum(self.answers.values())
            terms = {"lease": self._lease, "on_stale": self._on_stale}
            log.event("store.stale", "warning", **told, seconds=seconds, **terms)
        elif not seconds and self._lost_at is not None:
            away, self._lost_at = self._clock() - self._lost_at, None
            answers = sum(self.answers.values()) - self._before
            log.event("store.fresh", **told, seconds=round(away, 1), answers=answers)
