"""`Spooling`: rows for a database that may be away; what cannot be delivered waits in a file of this host."""

from __future__ import annotations

import sqlite3
import threading
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ..errors import RolloutError, StoreUnreachable
from ..telemetry import log
from .ledger_delivery import Delivery
from .ledger_file import LedgerFile
from .ledger_inserting import Batch, Row
from .ledger_spool import Spool, left_behind

__all__ = ["AT_ONCE", "Spooling"]

AT_ONCE = 2000
"""Rows that are written in one transaction."""

PAUSE = 1.0
"""Seconds between two tries to deliver what waits."""


class Spooling:
    """Delivers batches in their order, each once; while the database is away they wait in a spool.

    As long as something waits, what comes goes behind it. A thread of its own, with a connection of its own,
    delivers what waits, and what workers that live no more have left on this host.

    Args:
        file: the ledger.
        make: makes a delivery, with what is told of facts that are lost.
        folder: this host's folder of the rollout.
        most: bytes that all spools in there may take.
        rollout: the rollout's name, for log lines.
        lose: told how many facts are lost, and why.
    """

    def __init__(
        self,
        file: LedgerFile,
        make: Callable[[], Delivery],
        folder: Path,
        most: int,
        rollout: str,
        lose: Callable[[int, str], None],
    ) -> None:
        self._file, self._folder, self._rollout, self._lose = file, folder, rollout, lose
        self.direct, self._courier = make(), make()
        self._spool = Spool(folder, uuid.uuid4().hex, most)
        self._number = 1
        self._order = threading.Lock()  # around what decides whether something waits
        self._once, self._delivered = log.Once(), 0
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self.look()

    @property
    def waiting(self) -> int:
        """How many facts wait in this worker's spool."""
        return self._spool.facts

    def write(self, rows: list[Row]) -> None:
        """Deliver rows, or keep them; those that are taken care of are taken out of the list.

        Raises:
            StoreUnreachable: the database is away, and there is no room in the spool.
        """
        reason = ""
        with self._order:
            while rows:
                some = rows[:AT_ONCE]
                batch = Batch(self._spool.token, self._number)
                if self._spool.batches or not self._is_delivered(some, batch):
                    self._spool.put(batch.number, some)
                    reason = self._reason
                self._number += 1
                del rows[: len(some)]
        if reason:
            told = {"rollout": self._rollout, "reason": reason}
            self._once.say("spooled", "ledger.spooled", "warning", **told, waiting=self.waiting)
            self._begin()

    def look(self) -> None:
        """Look for what others left behind."""
        with suppress(OSError):
            if any(path.stem != f"spool-{self._spool.token}" for path in self._folder.glob("spool-*.db")):
                self._begin()

    def close(self, timeout: float) -> None:
        """Deliver no more; what waits is left for the next worker of this host."""
        self._ended.set()
        if (thread := self._thread) is not None:
            thread.join(timeout)
        self._spool.close()
        self.direct.disconnect()
        if thread is None or not thread.is_alive():
            self._courier.disconnect()

    _reason = "earlier ones wait"

    def _is_delivered(self, rows: list[Row], batch: Batch) -> bool:
        try:
            with self._file.in_words():
                self.direct.write(rows, batch)
        except StoreUnreachable as error:
            self.direct.disconnect()
            self._reason = str(error)
            return False
        return True

    # -- in the courier's thread -----------------------------------------------------------------------

    def _begin(self) -> None:
        if self._thread is None and not self._ended.is_set():
            self._thread = threading.Thread(target=self._run, name="bento-rollout-spool", daemon=True)
            with suppress(RuntimeError):  # no more threads can be started: the next batch tries again
                self._thread.start()
                return
            self._thread = None

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                self._deliver(self._spool)
                for spool in left_behind(self._folder, self._spool.token, self._say_damaged):
                    try:
                        self._deliver(spool)
                    finally:
                        spool.close()
                with self._order:
                    if not self._spool.batches:
                        self._thread = None
                        break
            except (RolloutError, sqlite3.Error, OSError):
                self._courier.disconnect()
            self._ended.wait(PAUSE)
        self._courier.disconnect()
        if not self._ended.is_set() and self._delivered:
            self._once.over("spooled")
            log.event("ledger.delivered", rollout=self._rollout, facts=self._delivered)
            self._delivered = 0

    def _say_damaged(self, reason: str) -> None:
        log.event("ledger.unwritten", "error", rollout=self._rollout, reason=reason)

    def _deliver(self, spool: Spool) -> None:
        """Deliver all that is in a spool, one batch after the other.

        Raises:
            StoreUnreachable: the database is away.
        """
        while not self._ended.is_set() and (found := spool.first()) is not None:
            batch, rows, facts = found
            if rows is None:
                self._lose(facts, "a batch of the spool is damaged")
            else:
                with self._file.in_words():
                    self._courier.write(rows, batch)
                self._delivered += facts
            spool.drop(batch, facts)
