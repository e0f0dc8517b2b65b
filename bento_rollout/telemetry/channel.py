"""`Channel`: takes facts where they happen, at once, and hands them on from a thread of its own."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Generic, TypeVar

__all__ = ["Channel"]

T = TypeVar("T")


class Channel(Generic[T]):
    """A bounded queue and a daemon thread: whoever offers never waits, and never learns what became of it.

    The thread begins with the first fact, and does its work in batches: a moment after the first one of each.

    Args:
        name: what the thread is called.
        work: does something with facts, in their order; called in the thread. What it raises is counted, or
            how many of them it says that it lost.
        most: how many facts may wait.
        heaviest: how many bytes the facts that wait, or are worked on, may hold.
        linger: seconds from the first fact of a batch to the work.
        largest: how many facts the work is given at a time.

    Attributes:
        dropped: how many facts found no room.
        failed: how many the work raised for.
        trouble: what it raised last; None after it went well.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[Sequence[T]], int | None],
        *,
        most: int = 20_000,
        heaviest: int = 1 << 26,
        linger: float = 0.05,
        largest: int = 1000,
    ) -> None:
        self.name = name
        self.dropped = self.failed = 0
        self.trouble: BaseException | None = None
        self._work = work
        self._most, self._heaviest, self._linger, self._largest = most, heaviest, linger, largest
        self._facts: deque[tuple[T, int]] = deque()
        self._weight = 0
        self._lock = threading.Lock()  # around the weight and what is counted; nobody waits while holding it
        self._wake, self._hurry = threading.Event(), threading.Event()
        self._done = threading.Condition()
        self._taken = self._finished = 0
        self._thread: threading.Thread | None = None
        self._closed = False

    @property
    def waiting(self) -> int:
        """How many facts wait."""
        return len(self._facts)

    @property
    def lost(self) -> int:
        """How many facts found no room, or the work raised for."""
        return self.dropped + self.failed

    @property
    def unfinished(self) -> int:
        """How many facts were taken and are not done: those that wait, and those that are worked on."""
        return self._taken - self._finished

    def offer(self, fact: T, weight: int = 0) -> None:
        """Take a fact that holds so many bytes, or drop and count it; never blocks, never raises.

        From any thread.
        """
        with self._lock:
            if self._closed or len(self._facts) >= self._most or self._weight + weight > self._heaviest:
                self.dropped += 1
                return
            self._weight += weight
            self._taken += 1
            self._facts.append((fact, weight))
        if not self._wake.is_set():
            self._begin()

    def flush(self, timeout: float) -> bool:
        """Wait until all that was taken before is done; return whether it was in time. Not on a loop."""
        goal = self._taken
        self._hurry.set()
        try:
            with self._done:
                return self._done.wait_for(lambda: self._finished >= goal or self._gone, timeout)
        finally:
            self._hurry.clear()

    def close(self, timeout: float) -> bool:
        """Take no more, and wait until what was taken is done; return whether it was in time."""
        self.flush(timeout)
        with self._lock:
            self._closed = True
        done = self.flush(max(0.0, timeout / 4))
        self._wake.set()
        self._hurry.set()
        return done

    @property
    def _gone(self) -> bool:
        return self._thread is None and not self._facts

    def _begin(self) -> None:
        self._wake.set()
        if self._thread is not None:
            return
        with self._lock:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name=self.name, daemon=True)
                with suppress(RuntimeError):  # no more threads can be started; the next fact tries again
                    thread.start()
                    self._thread = thread
        if self._thread is None:
            self._wake.clear()

    def _run(self) -> None:
        while True:
            self._wake.wait()
            if self._closed and not self._facts:
                return
            self._hurry.wait(self._linger)
            self._wake.clear()
            full = True
            while full and self._facts:
                batch = self._batch()
                full = len(batch) == self._largest
                self._do(batch)
            if self._facts:  # came meanwhile: a batch of their own, or there would be no end of small ones
                self._wake.set()

    def _batch(self) -> list[tuple[T, int]]:
        with self._lock:
            return [self._facts.popleft() for _ in range(min(len(self._facts), self._largest))]

    def _do(self, batch: list[tuple[T, int]]) -> None:
        try:
            lost = self._work([fact for fact, _ in batch])
            self.trouble = None
            if lost:
                with self._lock:
                    self.failed += lost
        except BaseException as error:  # noqa: BLE001 - this thread must outlive whatever goes wrong once
            self.trouble = error
            with self._lock:
                self.failed += len(batch)
        finally:
            with self._lock:
                self._weight -= sum(weight for _, weight in batch)
            with self._done:
                self._finished += len(batch)
                self._done.notify_all()
