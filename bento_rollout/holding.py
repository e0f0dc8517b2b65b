"""`Held`: the calls of a worker whose callers wait for a person, and the thread that looks for decisions."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress

from .reviewing import Decision, Status
from .telemetry import log

__all__ = ["Held"]

EACH = 5.0
"""Seconds between two looks at whether cases are still there."""

SOME = 200
"""Cases that are looked at then; others the next time."""

Waiter = asyncio.Future[Decision]

POLL = 0.05
"""Seconds between two looks while anybody waits."""

REST = 20.0
"""How many times as long as a look took the thread rests after it: they cost a twentieth of a core."""

SLOWEST = 2.0
"""Seconds between two looks at most."""


class Held:
    """Waits for decisions in one worker. A caller that leaves takes nothing along: its case stays.

    One thread asks for all of them at once, and only while somebody waits. What goes wrong when it asks is
    said once; it asks again until it is over, or nobody waits any more.

    Args:
        decided: returns the decisions that there are, of some ids; called in the thread.
        rollout: the rollout's name.
        exists: whether a case is still there, by its id; called in the thread. Who waits for one that is not
            (it was forgotten) is told that it was withdrawn. None: all of them are.
        poll: seconds between two looks.
    """

    def __init__(
        self,
        decided: Callable[[Collection[str]], Mapping[str, Decision]],
        rollout: str,
        *,
        exists: Callable[[str], bool] | None = None,
        poll: float = POLL,
    ) -> None:
        self._exists, self._asked_at, self._turn = exists, time.monotonic(), 0
        self._decided, self._rollout, self._poll = decided, rollout, poll
        self._waiting: defaultdict[str, list[tuple[asyncio.AbstractEventLoop, Waiter]]] = defaultdict(list)
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._once = log.Once()
        self._closed = False

    @property
    def waiting(self) -> int:
        """For how many decisions somebody waits."""
        return len(self._waiting)

    async def wait(self, task: str, seconds: float | None) -> Decision | None:
        """Return the decision about a case; None: there was none within some seconds.

        Args:
            task: the case's id.
            seconds: how long to wait; None: until it comes.
        """
        loop = asyncio.get_running_loop()
        waiter: Waiter = loop.create_future()
        entry = (loop, waiter)
        with self._changed:
            if self._closed:
                return None
            self._waiting[task].append(entry)
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="rollout-held", daemon=True)
                self._thread.start()
            self._changed.notify_all()
        try:
            done, _ = await asyncio.wait({waiter}, timeout=seconds)
            return waiter.result() if done and not waiter.cancelled() else None
        finally:
            self._forget(task, entry)

    def close(self) -> None:
        """Let nobody wait any more: the cases stay, and the decisions are found elsewhere."""
        with self._changed:
            self._closed = True
            everybody = [entry for entries in self._waiting.values() for entry in entries]
            self._waiting.clear()
            self._changed.notify_all()
        for loop, waiter in everybody:
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(waiter.cancel)

    def _forget(self, task: str, entry: tuple[asyncio.AbstractEventLoop, Waiter]) -> None:
        with self._changed:
            entries = self._waiting.get(task)
            if entries is not None and entry in entries:
                entries.remove(entry)
                if not entries:
                    del self._waiting[task]

    # -- in the thread ---------------------------------------------------------------------------------

    def _watch(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if self._closed:
                    return
                asked = tuple(self._waiting)
            began = time.monotonic()
            try:
                self._settle(self._decided(asked))
                self._settle(self._gone(asked))
                self._once.over("looking")
            except Exception as error:  # noqa: BLE001 - whatever is wrong there, callers wait on meanwhile
                problem = log.described(error)
                self._once.say("looking", "reviews.unread", "error", rollout=self._rollout, problem=problem)
            pause = min(SLOWEST, max(self._poll, (time.monotonic() - began) * REST))
            with self._changed:
                self._changed.wait_for(lambda: self._closed, timeout=pause)

    def _gone(self, asked: Sequence[str]) -> dict[str, Decision]:
        """Return of a few cases, each time of others, those that are not there any more, as withdrawn."""
        if self._exists is None or time.monotonic() - self._asked_at < EACH:
            return {}
        some = asked[self._turn : self._turn + SOME]
        self._asked_at, self._turn = time.monotonic(), self._turn + SOME if len(some) == SOME else 0
        gone = [task for task in some if not self._exists(task)]
        return {task: Decision(task, "", "", Status.WITHDRAWN) for task in gone}

    def _settle(self, found: Mapping[str, Decision]) -> None:
        for task, decision in found.items():
            if decision.status is Status.OPEN:
                continue
            with self._changed:
                entries = self._waiting.pop(task, [])
            for loop, waiter in entries:
                with suppress(RuntimeError):  # the loop has ended: nobody waits any more
                    loop.call_soon_threadsafe(_give, waiter, decision)


def _give(waiter: Waiter, decision: Decision) -> None:
    if not waiter.done():
        waiter.set_result(decision)
