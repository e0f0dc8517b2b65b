"""`EvidenceWriter`: counts a worker's predictions off their path, and ships the sums twice a second."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from ..errors import RolloutError, StoreCorrupt
from ..evidence import MOST_KEYS, Evidence
from ..guardrails import Guardrail
from ..records import Compared, Observation, Plan, Prediction
from ..telemetry import log
from ..telemetry.channel import Channel
from .evidence_log import EvidenceLog, body_of
from .outbox import Outbox
from .place import Place, Shared

__all__ = ["EvidenceWriter"]

FLUSH = 0.5
"""Seconds between two flushes of a busy worker."""

MOST_WAITING, HEAVIEST = 50_000, 1 << 26
"""Facts that may wait to be counted, and about how many bytes of them; none holds a payload."""

MOST_KEPT = 4 * MOST_KEYS
"""What is told of keys while the file cannot be written; with more, the oldest revision's sums go."""

PAUSE, BUSY = 0.1, 0.5
"""Seconds between two tries of a worker that ends; and that one waits for another worker's lock."""

_FACT, _ROW = 1000, 300
"""Bytes of a prediction, and of each of its rows."""


class Light(NamedTuple):
    """What is counted of a prediction: all that a `units.Told` has, and no payload."""

    prediction_id: str
    time: float
    plans: tuple[Plan, ...]
    runs: tuple[Observation, ...]
    keys: tuple[str | None, ...]
    inference_ids: tuple[str | None, ...]

    def __repr__(self) -> str:
        """Return which prediction it is, and nothing of whose: keys are personal data."""
        return f"<Light {self.prediction_id}>"


class EvidenceWriter:
    """Takes predictions and comparisons at once, and adds them up in a thread of its own.

    A file that cannot be written costs nothing: the sums are kept, bounded, and written with the next ones.
    Only a damaged one loses them, or an end of the worker that comes first. A database that cannot be reached
    loses none: they wait in a file of this host, whoever ends meanwhile. All is said once, and when it is
    over.

    Args:
        place: where what belongs to the rollout lies.
        worker: whose they are.
        salt: what keys are hashed with.
        sticky: the endpoints whose calls have keys.
        guardrails: returns those of this moment, by name.
        rollout: the rollout's name, for log lines.
    """

    def __init__(
        self,
        place: Place,
        worker: str,
        *,
        salt: str = "",
        sticky: Collection[str] = (),
        guardrails: Callable[[], Mapping[str, Guardrail]] = dict,
        rollout: str = "",
    ) -> None:
        self._log = EvidenceLog(place, patience=BUSY)
        self._outbox = (
            Outbox(place.folder, "evidence", "evidence", self._log.deliver)
            if isinstance(place, Shared)
            else None
        )
        self._worker, self._rollout = worker, rollout
        self._salt, self._sticky, self._guardrails = salt, frozenset(sticky), guardrails
        self._kept = self._fresh()
        self._facts = self._older = self._uncounted = self._since = 0
        self._given_up = False
        self._once = log.Once()
        self._channel: Channel[Light | Compared | None] = Channel(
            "bento-rollout-evidence",
            self._work,
            most=MOST_WAITING,
            heaviest=HEAVIEST,
            linger=FLUSH,
            largest=MOST_WAITING,
        )

    @property
    def lost(self) -> int:
        """How many facts were not counted, or their sums are gone."""
        gone = 0 if self._outbox is None else self._outbox.lost
        return self._channel.lost + self._uncounted + gone

    @property
    def waiting(self) -> int:
        """How many facts wait, to be counted or to be written."""
        return self._channel.waiting + self._facts

    def offer(self, fact: Prediction | Compared) -> None:
        """Take what is counted of a fact; never blocks, never raises."""
        if isinstance(fact, Compared):
            light = fact if fact.answer is None else replace(fact, answer=None)
            self._channel.offer(light, _FACT + _ROW * len(fact.comparisons))
            return
        keys = fact.keys
        self._channel.offer(
            Light(fact.prediction_id, fact.time, fact.plans, fact.runs, keys, fact.inference_ids),
            _FACT + _ROW * len(keys),
        )

    def look(self) -> None:
        """Try again what could not be written, should nothing else come; called each second."""
        waits = self._facts or (self._outbox is not None and self._outbox.waits)
        if waits and not self._channel.waiting:
            self._channel.offer(None)

    def flush(self, timeout: float) -> bool:
        """Wait until what was taken is counted, and its writing was tried; return whether it was in time.

        Not on a loop.
        """
        return self._channel.flush(timeout)

    def close(self, timeout: float) -> bool:
        """Take no more, and write what was taken, trying again while there is time; return whether all is.

        What is not is counted and said.
        """
        ends = time.monotonic() + timeout
        done = self._channel.close(timeout * 0.6)  # at most 0.75 of it
        if done and self._outbox is not None:
            self._ship(last=True)
            self._uncounted += self._outbox.give_up()
        while done and self._facts and time.monotonic() + BUSY + PAUSE < ends:
            time.sleep(PAUSE)
            self._ship()
        self._given_up = True  # what is told to be lost must not be written after all
        missing = self._facts if done else self._older + self._channel.unfinished
        if missing:
            reason = "the worker ends, and these could not be written"
            lost = self.lost + missing - self._since
            log.event("evidence.unwritten", "error", rollout=self._rollout, lost=lost, reason=reason)
            self._uncounted += missing
            self._facts = self._older = 0
        return done and not missing

    # -- in the channel's thread -----------------------------------------------------------------------

    def _work(self, facts: Sequence[Light | Compared | None]) -> None:
        if not self._facts:
            self._kept = self._fresh()
        for fact in facts:
            if fact is None:
                continue
            try:
                if isinstance(fact, Compared):
                    self._kept.count_pair(fact)
                else:
                    self._kept.count(fact)
                self._facts += 1
            except Exception as error:  # noqa: BLE001 - one odd fact costs no other
                self._uncounted += 1
                self._say("odd", f"it cannot be counted: {type(error).__name__}")
        self._ship()
        self._older = self._facts

    def _ship(self, *, last: bool = False) -> None:
        """Write the sums, or keep them; only those of a damaged file are lost."""
        if self._given_up or not (self._facts or self._outbox is not None):
            return  # whoever closed it has told what became of them
        try:
            waits = self._write(last=last)
        except StoreCorrupt as error:
            self._lose(str(error))
        except RolloutError as error:
            self._say("unwritten", str(error))
            self._uncounted += self._kept.shed(MOST_KEPT)
        except Exception as error:  # noqa: BLE001 - the next sums may be written again
            self._lose(f"they cannot be written: {type(error).__name__}")
        else:
            self._facts = 0
            if waits is not None:
                self._say("unwritten", waits)
            elif self._once.over("unwritten"):
                log.event("evidence.written", rollout=self._rollout, lost=self.lost - self._since)
                self._since = self.lost

    def _write(self, *, last: bool) -> str | None:
        """Write the sums, or let them wait in a file of this host; return why they wait.

        Raises:
            RolloutError: neither can be.
        """
        now = time.time()
        if self._outbox is None:
            if self._facts:
                self._log.add(self._worker, self._kept, now)
            return None
        if not self._facts:
            return self._outbox.look()
        return self._outbox.send(body_of(self._worker, self._kept, now), self._facts, last=last)

    def _lose(self, reason: str) -> None:
        self._uncounted += self._facts
        self._facts = 0
        self._say("unwritten", reason)

    def _fresh(self) -> Evidence:
        return Evidence(salt=self._salt, sticky=self._sticky, guardrails=self._guardrails())

    def _say(self, what: str, reason: str) -> None:
        lost = self.lost - self._since
        self._once.say(what, "evidence.unwritten", "error", rollout=self._rollout, lost=lost, reason=reason)
