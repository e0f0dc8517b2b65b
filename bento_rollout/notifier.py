"""`Notifier`: tells people and machines what became of a try; a part of the leader that holds nobody up."""

from __future__ import annotations

import asyncio
import copy
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from .errors import InvalidValue
from .hooks import Hook
from .notice import Notice, notice_of
from .outbox import Outbox, Patience, Receiver
from .state import Commit, RolloutState
from .store.told import Told, ToldFile
from .telemetry import log
from .values import shown
from .webhook import Failure, Webhook

__all__ = ["Notifier", "Notify", "as_receivers"]

Notify = (
    Sequence[Hook | Webhook | Callable[[Notice], object]] | Hook | Webhook | Callable[[Notice], object] | None
)
"""What ``notify=`` takes."""

RECENT = 3600.0
"""Seconds that are looked back where it is not known what a receiver was told."""

FURTHEST = 200
"""How many commits are looked back at most."""


def as_receivers(notify: Notify) -> tuple[Hook | Webhook, ...]:
    """Return who is told, from what a user wrote: a callable, a `Hook`, a `Webhook`, a list of them, nothing.

    Raises:
        InvalidValue: something in it is neither; a text is not repeated, for an address may be a secret.
    """
    if notify is None:
        return ()
    found: list[Hook | Webhook] = []
    for item in notify if isinstance(notify, (list, tuple)) else [notify]:
        if isinstance(item, (Hook, Webhook)):
            found.append(item)
        elif callable(item) and not isinstance(item, type):
            found.append(Hook(item))
        else:
            what = "a text" if isinstance(item, str) else shown(item)
            raise InvalidValue(
                f"notify= takes callables and Webhooks, and {what} is neither; an address is written "
                "Webhook('https://…', secret='env:NAME')"
            )
    return tuple(found)


class Notifier:
    """Tells the receivers of one rollout of each decision, and of each verb of a person on a try.

    Every receiver has a queue and a thread of its own, so none waits for another, and nobody waits for them.
    How far each was told is kept in the rollout's place: a new leader tells what the last one did not, and at
    times what it did; then under the same id.

    Args:
        receivers: who is told, as `as_receivers` returns them.
        file: where it is kept how far; None: nowhere, for who follows no history.
        loop: what async callables run on; None: on a loop of their own.
        patience: how often a webhook is tried.
    """

    def __init__(
        self,
        receivers: Sequence[Hook | Webhook],
        file: ToldFile | None,
        loop: asyncio.AbstractEventLoop | None = None,
        patience: Patience = Patience(),  # noqa: B008 - immutable
    ) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._told = Told() if file is None else file.read()
        self._followed = False
        self._state: RolloutState | None = None
        self._boxes: dict[str, Outbox] = {}
        for receiver in receivers:
            one: Receiver = receiver if isinstance(receiver, Webhook) else _Called(receiver, loop)
            self._boxes[self._called(one.name)] = Outbox(one, self._keep, patience)
            if isinstance(receiver, Webhook) and (problem := receiver.problem()):
                log.event("notice.failed", "warning", receiver=receiver.name, problem=problem)

    def behind(self, revision: int) -> int:
        """Return how many of the newest commits `follow` needs when this is the newest revision; 0: none.

        They reach back to the one before the first that somebody is still to be told of.
        """
        if not self._boxes or (self._followed and revision == self._told.revision):
            return 0
        told = self._told
        first = told.revision if self._followed else min(told.receivers.get(name, 0) for name in self._boxes)
        return FURTHEST if revision < first else min(revision - first + 1, FURTHEST)

    def follow(self, commits: Sequence[Commit]) -> None:
        """Offer what is new in a history; returns at once.

        The first time that is what each receiver was not told yet; of one that nothing is known of, what is
        not older than an hour.

        Args:
            commits: the newest ones, as many as `behind` says, in any order.
        """
        ordered = sorted(commits, key=lambda commit: commit.revision)
        if not ordered or not self._boxes:
            return
        states = {commit.revision: commit.state for commit in ordered}
        if self._state is not None:
            states.setdefault(self._state.revision, self._state)
        is_new = self._news(ordered)
        with self._lock:  # else what is told meanwhile would seem to be all that there was to tell
            for commit in ordered:
                notice = notice_of(commit, states.get(commit.parent))
                for name, box in self._boxes.items():
                    if notice is not None and is_new[name](commit):
                        box.put(notice)
            newest = ordered[-1]
            self._told = Told(newest.revision, newest.time, self._told.receivers)
            self._state, self._followed = newest.state, True
        self._keep()

    def offer(self, notice: Notice) -> None:
        """Tell every receiver of a notice; returns at once. Who follows the history has no need to."""
        for box in self._boxes.values():
            box.put(notice)

    def waits(self, notice: Notice) -> bool:
        """Whether any receiver is still to be told of a notice that was offered."""
        return any(box.waits(notice) for box in self._boxes.values())

    def close(self, seconds: float = 1.0) -> None:
        """Tell what is due, for so many seconds at most; what is left is the next leader's.

        Call it from another thread than that of the loop: async callables need it.
        """
        until = time.monotonic() + seconds
        for box in self._boxes.values():
            box.close()
        for box in self._boxes.values():
            box.join(max(0.0, until - time.monotonic()))

    def _news(self, ordered: Sequence[Commit]) -> dict[str, Callable[[Commit], bool]]:
        """Return for each receiver what says of a commit whether it is new to it."""
        told, newest = self._told, ordered[-1]
        same = any(one.revision == told.revision and one.time == told.time for one in ordered)
        reaches = ordered[0].revision <= told.revision
        # A store that was made anew, or restored, counts its revisions anew: others were told of.
        if newest.revision < told.revision or (reaches and not same):
            told = Told()
        elif self._followed:
            return dict.fromkeys(self._boxes, _after(told.revision))
        recent = time.time() - RECENT
        return {
            name: _after(told.receivers[name]) if name in told.receivers else _since(recent)
            for name in self._boxes
        }

    def _keep(self) -> None:
        """Keep how far each receiver was told; nothing is known of that before the history is."""
        with self._lock:
            if not self._followed:
                return
            newest, oldest = self._told.revision, {name: box.oldest for name, box in self._boxes.items()}
            receivers = {
                name: newest if one is None else min(newest, one - 1) for name, one in oldest.items()
            }
            self._told = Told(newest, self._told.time, receivers)
            if self._file is not None:
                self._file.write(self._told)

    def _called(self, name: str) -> str:
        """Return a name that no other receiver has."""
        number = 1
        while (unique := name if number == 1 else f"{name} {number}") in self._boxes:
            number += 1
        return unique


def _after(revision: int) -> Callable[[Commit], bool]:
    return lambda commit: commit.revision > revision


def _since(seconds: float) -> Callable[[Commit], bool]:
    return lambda commit: commit.time >= seconds


class _Called:
    """A callable as a receiver: called once for each notice, and never beside itself.

    One that hangs keeps its thread, and the next notices find it busy: no further thread is made.
    """

    def __init__(self, hook: Hook, loop: asyncio.AbstractEventLoop | None) -> None:
        self._hook, self._loop = hook, loop
        self._running: Future[str | None] | None = None

    @property
    def name(self) -> str:
        """The callable's name."""
        return self._hook.name

    def tell(self, notice: Notice) -> Failure | None:
        """Call it with a copy of its own, and wait."""
        if self._running is not None and not self._running.done():
            self._hook.wait(self._running)
            if not self._running.done():
                return Failure(f"{self.name} has not returned from an earlier notice")
        self._running = self._hook.begin(copy.deepcopy(notice), self._loop)
        problem = self._hook.wait(self._running)
        return None if problem is None else Failure(problem)
