"""`Outbox`: delivers to a database exactly once, and lets wait on this host what cannot be delivered yet."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from pathlib import Path

from ..errors import RolloutError, StoreCorrupt, StoreUnreachable
from .spool import Batch, Spool

__all__ = ["Outbox"]

REST = 5.0
"""Seconds between two attempts while the database is away: what comes meanwhile is added up by its caller."""

_ODD = (ValueError, TypeError, LookupError)
"""What a body raises that somebody has changed in the file."""

LOOK = 10.0
"""Seconds between two looks at what other workers of this host have left."""


class Outbox:
    """What one worker has to deliver. Whoever uses it does so from one thread at a time.

    A batch has its number before it is first tried: when the answer is lost and nobody knows whether it has
    arrived, it is tried again, and the database knows.

    Args:
        folder: this host's folder of the rollout; what waits lies in a file there, of all workers.
        name: of the file.
        what: what is delivered, for messages.
        deliver: writes a batch to the database, unless it was written before.

    Attributes:
        lost: of how many facts what waited could not be kept, or not be delivered ever.
    """

    def __init__(self, folder: Path, name: str, what: str, deliver: Callable[[Batch], None]) -> None:
        self.lost = 0
        self._spool, self._deliver = Spool(folder, name, what), deliver
        self._name = name
        self._writer, self._number = _fresh(name), 0
        self._held: Batch | None = None
        self._waits = True
        self._looked = self._rested = -LOOK
        self._problem = ""

    @property
    def waits(self) -> bool:
        """Whether something waits, or may wait: somebody should look."""
        return self._waits or self._held is not None or time.monotonic() - self._looked >= LOOK

    def send(self, body: str, facts: int, *, last: bool = False) -> str | None:
        """Deliver, or let wait; return why it waits, or None: it is delivered.

        Args:
            body: what; its caller lets go of it when this returns.
            facts: how many facts it tells of.
            last: its caller has no time to offer it again.

        Raises:
            StoreUnreachable: it was not taken; add to it what comes, and offer it again.
        """
        resting = time.monotonic() - self._rested < REST
        if resting and not last:
            raise StoreUnreachable(self._problem)
        before = self._problem if resting else self.look()
        if self._held is not None:  # what waits longer could not be kept either
            raise StoreUnreachable(self._problem)
        self._number += 1
        batch = Batch(self._writer, self._number, facts, body)
        if before is None:
            try:
                self._deliver(batch)
            except StoreCorrupt:
                raise
            except RolloutError as error:
                before = self._away(error)
        if before is not None:
            self._held = batch
            self._keep()
        return before

    def look(self) -> str | None:
        """Deliver what waits, of this worker and of others; return why it does, or None: nothing does."""
        if not self.waits:
            return None
        if time.monotonic() - self._rested < REST:
            return self._problem
        self._looked = time.monotonic()
        self._keep()
        try:
            self._waits = not self._emptied()
            if self._held is not None:
                self._try(self._held)
                self._held = None
        except RolloutError as error:
            self._waits = True
            return self._away(error)
        return None

    def give_up(self) -> int:
        """Return of how many facts nothing is kept now, nor ever will be: the worker ends."""
        self._keep()
        facts, self._held = 0 if self._held is None else self._held.facts, None
        return facts

    def _emptied(self) -> bool:
        """Deliver what lies in the file; return whether nothing is left there.

        Raises:
            RolloutError: the database cannot be reached.
        """
        while some := self._waiting():
            for batch in some:
                self._try(batch)
            try:
                self._spool.drop(some)
            except RolloutError:  # the database knows them when they come again
                return False
        return True

    def _waiting(self) -> list[Batch]:
        try:
            return self._spool.first()
        except StoreCorrupt:
            self._spool.set_aside(time.time())
        except RolloutError:
            pass
        # What cannot be read now may be delivered later: newer batches must not be taken for its successors.
        self._writer, self._number = _fresh(self._name), 0
        return []

    def _try(self, batch: Batch) -> None:
        """Deliver a batch that waited; one that the database can never take is lost."""
        try:
            self._deliver(batch)
        except (StoreCorrupt, *_ODD):
            self.lost += batch.facts

    def _keep(self) -> None:
        """Put what is held into the file, where it outlives this worker."""
        if self._held is None:
            return
        try:
            self._spool.put(self._held)
        except RolloutError:  # a full disk, or a damaged file: it is held on to
            return
        self._held, self._waits = None, True

    def _away(self, error: RolloutError) -> str:
        self._rested, self._problem = time.monotonic(), str(error)
        return self._problem


def _fresh(name: str) -> str:
    return f"{name}:{uuid.uuid4().hex}"
