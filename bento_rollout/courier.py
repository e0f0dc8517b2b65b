"""`Courier`: tells the webhook of one endpoint what became of its cases; one worker of a host at a time."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from .answer_json import answer_json
from .errors import StoreUnreachable
from .outbox import Patience
from .store.leadership import leadership_at
from .store.letterbox import Letterbox
from .store.letters import Letter
from .store.place import Place
from .telemetry import log
from .webhook import Failure, Webhook, timestamp_of

if TYPE_CHECKING:
    from .review_settings import ReviewWebhook

__all__ = ["EACH", "Courier"]

EACH = 1.0
"""Seconds between two looks at what is to be told."""

MOST_ANSWER = 1 << 20
"""Bytes of an answer that a letter holds; a larger one is left out."""


class Courier:
    """Sends the letters of one endpoint, each until it was taken or given up.

    Every worker has one, and one of them sends: the kernel gives the right to the next when it dies. A letter
    that could not be told waits for its next try and holds no newer one.

    Args:
        rollout, endpoint: whose cases.
        settings: the webhook, as the spec says it.
        place: of the rollout (`store.place`).
        prefix: where the rollout's own addresses begin, like ``/rollout/``.
        patience: how often a letter is tried, and for how long.
    """

    def __init__(
        self,
        rollout: str,
        endpoint: str,
        settings: ReviewWebhook,
        place: Place,
        *,
        prefix: str = "/rollout/",
        patience: Patience = Patience(),  # noqa: B008 - immutable
    ) -> None:
        self._endpoint, self._settings, self._patience = endpoint, settings, patience
        self._facts = {"rollout": rollout, "endpoint": endpoint}
        self._webhook = Webhook(settings.url, secret=settings.secret, timeout=settings.timeout)
        self._console = None if settings.console is None else f"{settings.console}{prefix}console/"
        self._box = Letterbox(place)
        self._leadership = leadership_at(place, f"letters-{quote(endpoint, safe='')}.lock")
        self._lost: int | None = None
        self._once = log.Once()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="rollout-letters", daemon=True)

    def start(self) -> None:
        """Begin; what is wrong with the key is said at once."""
        if (problem := self._webhook.problem()) is not None:
            self._failed(Failure(problem))
        self._thread.start()

    def stop(self) -> None:
        """Begin no further request; returns at once."""
        self._stop.set()

    def close(self, seconds: float) -> None:
        """End after the request that is on its way; what is left is the next one's."""
        self.stop()
        if self._thread.is_alive():
            self._thread.join(seconds)
        self._leadership.resign()
        self._box.close()

    def _work(self) -> None:
        while not self._stop.wait(EACH):
            try:
                if self._leadership.hold():
                    self.send_due()
            except Exception as error:  # noqa: BLE001 - this thread outlives whatever goes wrong once
                if not isinstance(error, (StoreUnreachable, OSError)):  # others say that it is not reachable
                    facts = {"error": type(error).__name__, "where": log.place_of(error)}
                    self._once.say(
                        type(error).__name__, "reviews.letters_failed", "error", **self._facts, **facts
                    )

    def send_due(self) -> int:
        """Send what is due, one after the other, and return how many letters were taken.

        One that was not taken ends it: who is not there is asked for once a second at most, and who refuses
        for a moment what it will take in the next one does not lose all that waits.
        """
        taken = 0
        while not self._stop.is_set() and (letter := self._box.next(self._endpoint)) is not None:
            failure = self._webhook.send(letter.id, self._content(letter))
            if failure is None:
                taken += 1
                self._box.told(letter)
                if self._once.over("failed"):
                    log.event("reviews.letters_told", **self._facts, receiver=self._webhook.name)
                continue
            self._failed(failure)
            self._not_told(letter, failure)
            break
        self._look_at_lost()
        return taken

    def _not_told(self, letter: Letter, failure: Failure) -> None:
        tries, patience = letter.tries + 1, self._patience
        left = patience.seconds if letter.first is None else letter.first + patience.seconds - time.time()
        if not failure.again or tries >= patience.tries or left <= 0:
            self._box.give_up(letter)
            return
        drawn = random.random()  # noqa: S311 - spreads tries, and guards nothing
        self._box.again(letter, min(left, patience.pause(tries, drawn, failure.wait)))

    def _failed(self, failure: Failure) -> None:
        self._once.say(
            "failed",
            "reviews.letters_wait",
            "warning",
            **self._facts,
            receiver=self._webhook.name,
            problem=failure.problem,
            hint="it is tried again with growing pauses, for an hour; not logged again until one is taken",
        )

    def _look_at_lost(self) -> None:
        """Say it when letters were lost, once until all that wait were told."""
        waiting, lost = self._box.numbers(self._endpoint)
        if self._lost is not None and lost > self._lost:
            told = {"receiver": self._webhook.name, "lost": lost, "waiting": waiting}
            hint = "its receiver was not there for too long; the cases are as they were"
            self._once.say("lost", "reviews.letters_lost", "error", **self._facts, **told, hint=hint)
        elif not waiting:
            self._once.over("lost")
        self._lost = lost

    def _content(self, letter: Letter) -> dict[str, Any]:
        return {"type": letter.kind, "timestamp": timestamp_of(letter.at), "data": self._data(letter)}

    def _data(self, letter: Letter) -> Mapping[str, Any]:
        data = {"rollout": self._facts["rollout"], **letter.data}
        if self._console is not None:
            data["console"] = self._console + _PAGES[letter.kind]
        decision = letter.decision
        if self._settings.answer and decision is not None and len(decision.body) <= MOST_ANSWER:
            data["answer"] = answer_json(decision)
        return data


_PAGES = {
    "case.opened": "review",
    "case.escalated": "adjudication",
    "case.decided": "",
    "case.overflowed": "review",
    "degree.changed": "automation",
}
"""The page of the console that a letter leads to."""
