"""`Outbox`: what one receiver is still to be told, and the thread that tells it, if need be again."""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from .notice import Notice
from .telemetry import log
from .webhook import Failure

__all__ = ["Outbox", "Patience", "Receiver"]

MOST = 100
"""How many notices may wait for one receiver; of more the oldest are given up."""


Mark = tuple[int, float]
"""A revision and its time: a new store counts its revisions anew."""


class Receiver(Protocol):
    """Who is told."""

    @property
    def name(self) -> str:
        """What log lines call it."""

    def tell(self, notice: Notice) -> Failure | None:
        """Tell it and wait; return None, or why it was not told."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How often somebody is told again who could not be told.

    Attributes:
        first: seconds to the second try; each further pause is twice as long.
        longest: seconds that a pause has at most, unless the receiver asks for more.
        tries: how many there are in all.
        seconds: after so many no new try begins.
    """

    first: float = 1.0
    longest: float = 300.0
    tries: int = 20
    seconds: float = 3600.0

    def pause(self, tries: int, drawn: float, asked: float = 0.0) -> float:
        """Return the seconds to the next try: between half of the pause and all of it, or what is asked for.

        Args:
            tries: how many there were.
            drawn: a random number from 0 to 1: not everybody comes back at once.
            asked: what the receiver asked for.

        >>> Patience().pause(1, 1.0), Patience().pause(4, 0.0), Patience().pause(19, 1.0)
        (1.0, 4.0, 300.0)
        """
        return max(asked, min(self.longest, self.first * 2.0 ** (tries - 1)) * (1 + drawn) / 2)


@dataclass(slots=True)
class _Waiting:
    notice: Notice
    since: float
    due: float
    tries: int = 0


class Outbox:
    """What one receiver is still to be told.

    A notice that could not be told waits for its next try and holds no newer one.

    Args:
        receiver: who is told.
        settled: called, in the thread that tells, when a notice was told or given up.
        patience: how often it is tried.
    """

    def __init__(self, receiver: Receiver, settled: Callable[[], None], patience: Patience) -> None:
        self._receiver, self._settled, self._patience = receiver, settled, patience
        self._changed = threading.Condition()
        self._waiting: dict[Mark, _Waiting] = {}
        self._ended: deque[Mark] = deque(maxlen=MOST)
        self._thread: threading.Thread | None = None
        self._closed = self._over = False

    @property
    def oldest(self) -> int | None:
        """The oldest revision that it is still to be told; None: nothing waits."""
        with self._changed:
            return min((revision for revision, _ in self._waiting), default=None)

    def waits(self, notice: Notice) -> bool:
        """Whether it is still to be told of a notice."""
        with self._changed:
            return (notice.revision, notice.time) in self._waiting

    def put(self, notice: Notice) -> None:
        """Take a notice; returns at once. What it has, or had a moment ago, is not taken again."""
        dropped, mark = None, (notice.revision, notice.time)
        with self._changed:
            if self._closed or mark in self._waiting or mark in self._ended:
                return
            if len(self._waiting) >= MOST:
                dropped = self._waiting.pop(min(self._waiting))
            now = time.monotonic()
            self._waiting[mark] = _Waiting(notice, now, now)
            self._begin()
            self._changed.notify()
        if dropped is not None:
            self._give_up(dropped, f"more than {MOST} notices wait")

    def close(self) -> None:
        """Let the thread end when nothing is due; what waits for another try is left to the next leader."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def join(self, seconds: float) -> None:
        """Wait for the thread's end for so many seconds; after them no further try begins."""
        if self._thread is not None:
            self._thread.join(seconds)
        self._over = True

    def _begin(self) -> None:
        if self._thread is None:
            thread = threading.Thread(target=self._work, name="rollout-notice", daemon=True)
            with suppress(RuntimeError):  # the system gives no more threads: the next notice tries again
                thread.start()
                self._thread = thread

    def _work(self) -> None:
        while (waiting := self._next()) is not None:
            self._end(waiting, self._tell(waiting.notice))

    def _next(self) -> _Waiting | None:
        """Wait until something is due, and return it; None: it is closed, and nothing is."""
        with self._changed:
            while not self._over:
                first = min(
                    self._waiting.values(), key=lambda one: (one.due, one.notice.revision), default=None
                )
                pause = None if first is None else first.due - time.monotonic()
                if pause is not None and pause <= 0:
                    return first
                if self._closed:
                    return None
                self._changed.wait(pause)
            return None

    def _tell(self, notice: Notice) -> Failure | None:
        try:
            return self._receiver.tell(notice)
        except BaseException as error:  # noqa: BLE001 - whatever it is, others are told
            return Failure(log.described(error))

    def _end(self, waiting: _Waiting, failure: Failure | None) -> None:
        waiting.tries += 1
        pause = None if failure is None else self._again(waiting, failure)
        with self._changed:
            if pause is not None:
                waiting.due = time.monotonic() + pause
            else:
                mark = (waiting.notice.revision, waiting.notice.time)
                self._waiting.pop(mark, None)  # with too many of them it is not there any more
                self._ended.append(mark)
        if pause is not None and failure is not None:
            if waiting.tries == 1:
                self._say("notice.failed", "warning", waiting, problem=failure.problem)
            return
        if failure is not None:
            self._give_up(waiting, failure.problem)
        self._settled()

    def _again(self, waiting: _Waiting, failure: Failure) -> float | None:
        """Return the seconds to the next try; None: there is none."""
        left = waiting.since + self._patience.seconds - time.monotonic()
        if not failure.again or waiting.tries >= self._patience.tries or left <= 0:
            return None
        drawn = random.random()  # noqa: S311 - spreads tries, and guards nothing
        return min(left, self._patience.pause(waiting.tries, drawn, failure.wait))

    def _give_up(self, waiting: _Waiting, problem: str) -> None:
        self._say("notice.given_up", "error", waiting, problem=problem, tries=waiting.tries)

    def _say(self, name: str, level: str, waiting: _Waiting, **fields: object) -> None:
        notice = waiting.notice
        known = {"rollout": notice.rollout, "revision": notice.revision, "action": notice.action}
        log.event(name, level, **known, receiver=self._receiver.name, **fields)
