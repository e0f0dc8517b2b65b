"""`Labelling`: lets a worker tell the ledger what people decided, again and again until the ledger has it."""

from __future__ import annotations

import time
from collections.abc import Callable

from .errors import RolloutError
from .store.feedback import Feedback
from .telemetry import log

__all__ = ["Labelling"]

FIRST, LONGEST = 5.0, 300.0
"""Seconds until the ledger is tried again that could not be used: the first time, and at most."""

OFF = 60.0
"""Seconds between two looks at how many decisions wait for a ledger that is off."""


class Labelling:
    """Tells the ledger, in the thread that looks after time.

    Args:
        feedback: what is told.
        rollout: the rollout's name, for the log.
        ledger: whether the service keeps a ledger; else the decisions wait until it does.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        feedback: Feedback,
        rollout: str,
        *,
        ledger: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._feedback, self._rollout, self._on, self._clock = feedback, rollout, ledger, clock
        self._once = log.Once()
        self._next, self._pause = 0.0, FIRST

    def look(self) -> None:
        """Tell what the ledger has not heard of; never raises."""
        if self._clock() < self._next:
            return
        try:
            if self._on:
                self._tell()
                self._next, self._pause = 0.0, FIRST
                return
            waiting = self._feedback.waiting()
        except (RolloutError, OSError) as error:
            self._next, self._pause = self._clock() + self._pause, min(2 * self._pause, LONGEST)
            self._wait(str(error), "they are kept, and told when it can be used again")
            return
        self._next = self._clock() + OFF
        if waiting:
            self._wait("the service keeps no ledger", "they are kept: write `ledger: true`", waiting=waiting)

    def close(self) -> None:
        """Close the files."""
        self._feedback.close()

    def _tell(self) -> None:
        told = self._feedback.tell()
        if told.refused:
            log.event(
                "reviews.label_refused",
                "error",
                rollout=self._rollout,
                problem=told.refused[0],
                labels=len(told.refused),
                hint="the decisions stand; the ledger has no label of them, and they are not told again",
            )
        if self._once.over("wait"):
            log.event("reviews.labels_told", rollout=self._rollout, labels=told.labels)

    def _wait(self, problem: str, hint: str, **facts: object) -> None:
        where = {"rollout": self._rollout, "problem": problem, **facts}
        self._once.say("wait", "reviews.labels_wait", "warning", **where, hint=hint)
