"""`Audits`: lets people look at what the model decided, off the path of requests, in batches."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ..errors import StoreUnreachable
from ..reviewing import Case
from ..telemetry.channel import Channel

__all__ = ["Audit", "Audits", "Make"]

Make = Callable[[], Case]
"""Makes a case, in a thread."""

MOST, HEAVIEST = 2000, 1 << 27
"""Audits that wait to be written, and about how many bytes they may hold."""

LARGEST, LINGER, LONG, HEAVY = 100, 0.25, 1.0, 1 << 23
"""Audits that are written together; seconds from the first one to the writing, and that the making of one
transaction's takes; characters that they show.
"""

TRIES, PAUSE = 5, 1.0
"""How often audits are tried to be written, and seconds between, before they are lost and counted."""


@dataclass(frozen=True, slots=True)
class Audit:
    """One that waits.

    Attributes:
        make: makes the case.
        most: how many of the endpoint may be open.
        key: the routing key, by whose hash the case can be forgotten.
    """

    make: Make
    most: int | None
    key: str | None = field(repr=False)


Write = Callable[[Sequence[tuple[Case, Audit]]], int]


class Audits:
    """Takes audits where calls are answered, and writes them from a thread of its own, many in a transaction.

    Args:
        write: keeps cases, and returns how many of them could not be kept.
        fail: is told why a case could not be made.
        stop: set when the worker ends, which waits no longer than it must.

    Attributes:
        channel: where they wait; bounded, and counts what it loses.
    """

    def __init__(self, write: Write, fail: Callable[[BaseException], object], stop: threading.Event) -> None:
        self._write, self._fail, self._stop = write, fail, stop
        self.channel: Channel[Audit] = Channel(
            "rollout-audits", self._work, most=MOST, heaviest=HEAVIEST, linger=LINGER, largest=LARGEST
        )

    def offer(self, audit: Audit, weight: int) -> None:
        """Take an audit with which so many bytes wait, or count it as lost; at once, and never raises."""
        self.channel.offer(audit, weight)

    def _work(self, audits: Sequence[Audit]) -> int:
        """Write audits together, and return how many were lost; slow or large ones go in smaller parts."""
        made: list[tuple[Case, Audit]] = []
        lost = heavy = 0
        began = time.monotonic()
        for audit in audits:
            try:
                case = audit.make()
            except Exception as error:  # noqa: BLE001 - the others are written
                self._fail(error)
                lost += 1
                continue
            made.append((case, audit))
            heavy += len(case.input.content) if isinstance(case.input.content, str) else 0
            if heavy > HEAVY or time.monotonic() - began > LONG:
                lost += self._written(made)
                made, heavy, began = [], 0, time.monotonic()
        return lost + self._written(made)

    def _written(self, made: Sequence[tuple[Case, Audit]]) -> int:
        """Write cases, and return how many were lost; while it cannot be done it is tried for a while."""
        if not made:
            return 0
        for left in reversed(range(TRIES)):
            try:
                return self._write(made)
            except StoreUnreachable:
                if left:
                    self._stop.wait(PAUSE)  # at the worker's end there is no pause, but as many tries
            except Exception:  # noqa: BLE001 - it was said; the next ones may be kept
                break
        return len(made)
