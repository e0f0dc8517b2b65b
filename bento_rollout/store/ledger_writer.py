"""`LedgerWriter`: takes what a worker's predictions came to, and writes it down off their path."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from ..errors import RolloutError, StoreUnreachable
from ..records import Compared, Prediction
from ..spec import Ledger as Settings
from ..telemetry import log
from ..telemetry.channel import Channel
from .hashing import KeyHash
from .ledger import ORPHANS_KEPT
from .ledger_delivery import Delivery
from .ledger_file import LedgerFile
from .ledger_forgetting import forget_examples
from .ledger_inserting import Batch, Row
from .ledger_json import Plain, as_is
from .ledger_pruning import add_count, expire_marks, prune, settle, transaction
from .ledger_rows import INSERT_ALARM, INSERT_COUNT, INSERT_PREDICTION, INSERT_SHADOW, Keeping
from .ledger_spool import MOST
from .ledger_spooling import AT_ONCE, Spooling
from .ledger_weight import light
from .place import Place, Shared

if TYPE_CHECKING:
    from ..excerpts import Excerpt
    from ..featuring import Watched

__all__ = ["LedgerWriter"]

Fact = Prediction | Compared

Watch = Callable[[Sequence["Excerpt"]], "Watched | None"]
"""Encodes the inputs of calls."""

MOST_WAITING, HEAVIEST = 20_000, 1 << 26
"""Facts that may wait, and bytes of them."""

LINGER = 0.25
"""Seconds from the first prediction of a batch to its writing: of few large batches each row costs less."""

PATIENCE = 60.0
"""Seconds for which a batch is tried again before it is given up: as long as a large ledger is rewritten."""

PAUSE = 0.25
"""Seconds between two tries."""

BUSY, BUSY_SHARED = 0.5, 2.0
"""Seconds that SQLite, and a database of many, wait for another connection's lock in one try; a worker that
ends waits for one."""

LATE = 2.0
"""Seconds after which it is said that a batch cannot be written, though nothing is lost yet."""

TEND, TEND_ORPHANS = 5.0, 60.0
"""Seconds between two looks at what is too old or too much; and at labels without a prediction."""

SLICE = 1.0
"""Seconds that one look may take."""

CALM = 5.0
"""Seconds without a loss after which it is over."""


class LedgerWriter:
    """Writes predictions, and what shadows said to them, in batches, in a thread of its own.

    Whatever becomes of the file costs rows, never an answer: what is lost is counted, and said once.

    Args:
        place: where the rollout's shared files, or its tables, lie.
        settings: what is kept, and for how long.
        rollout: the rollout's name, for log lines.
        plain: an answer as what JSON can say.
        watch: encodes the inputs of calls for the watch of drift, in the writer's thread; returns None where
            nothing is watched so far, and never raises.
        environ: instead of this process's environment.
        patience: seconds for which a batch is tried again.
    """

    def __init__(
        self,
        place: Place,
        settings: Settings,
        *,
        rollout: str = "",
        plain: Plain = as_is,
        watch: Watch | None = None,
        environ: Mapping[str, str] | None = None,
        patience: float = PATIENCE,
    ) -> None:
        shared = isinstance(place, Shared)
        self._file = LedgerFile(place, patience=BUSY_SHARED if shared else BUSY)
        self._settings, self._rollout, self._environ = settings, rollout or place.name, environ
        self._watch = watch
        self._patience, self._ending, self._given_up = patience, threading.Event(), False
        self._channel: Channel[Fact] = Channel(
            "bento-rollout-ledger", self._write, most=MOST_WAITING, heaviest=HEAVIEST, linger=LINGER
        )
        self._hashed: KeyHash | None = None
        self._keeping = Keeping(
            outputs=settings.outputs, inputs=settings.inputs, hashed=self._key_hash, plain=plain
        )
        self._once = log.Once()
        self._unwritten = self._odd = self._noted = 0
        self._since = 0
        self._lost_at = float("-inf")
        self._tended = self._settled = time.monotonic()
        self._spooling = self._with_spool() if shared else None
        self._delivery = self._make() if self._spooling is None else self._spooling.direct

    @property
    def lost(self) -> int:
        """How many facts were not written, whatever the reason."""
        return self._channel.lost + self._unwritten + self._odd

    @property
    def spooled(self) -> int:
        """How many facts wait on this host's disk until the database is there again."""
        return 0 if self._spooling is None else self._spooling.waiting

    @property
    def waiting(self) -> int:
        """How many facts wait."""
        return self._channel.waiting

    def offer(self, fact: Fact) -> None:
        """Take a fact; never blocks, never raises."""
        try:
            self._channel.offer(*light(fact))
        except Exception as error:  # noqa: BLE001 - whatever a fact does when it is looked at
            self._odd += 1
            self._say_lost(f"it cannot be weighed: {type(error).__name__}")

    def flush(self, timeout: float) -> bool:
        """Wait until what was taken is written; return whether it was in time. Not on a loop."""
        return self._channel.flush(timeout)

    def close(self, timeout: float) -> bool:
        """Take no more, and wait until what was taken is written; what is not is counted and said."""
        timer = threading.Timer(timeout * 0.5, self._ending.set)
        timer.daemon = True
        timer.start()
        done = self._channel.close(timeout * 0.6)  # at most 0.75: what is lost is told in time
        self._ending.set()
        self._given_up = True  # what is told to be lost must not be written after all
        timer.cancel()
        if done:
            self._delivery.disconnect()  # its thread has nothing more to do
        if self._spooling is not None:
            self._spooling.close(timeout * 0.1)
        if lost := self.lost + self._channel.unfinished - self._since:
            reason = "the worker ends, and these could not be written"
            log.event("ledger.unwritten", "error", rollout=self._rollout, lost=lost, reason=reason)
        return done

    def _make(self) -> Delivery:
        return Delivery(self._file, self._told, self._lose_odd, self._was_deleted)

    def _with_spool(self) -> Spooling:
        most = min(MOST, self._settings.max_size)
        return Spooling(self._file, self._make, self._file.folder, most, self._rollout, self._lose_odd)

    # -- in the channel's thread -----------------------------------------------------------------------

    def _write(self, batch: Sequence[Fact]) -> None:
        rows = self._rows_of(batch)
        began = time.monotonic()
        while not self._given_up:
            try:
                with self._file.in_words():
                    self._insert(rows)
                break
            except Exception as error:  # noqa: BLE001 - whatever it is, what was lost is counted here
                self._delivery.disconnect()
                waited = time.monotonic() - began
                again = type(error) is StoreUnreachable and waited <= self._patience
                if not again or self._ending.is_set():
                    self._given_up = self._ending.is_set()  # what comes next would wait as long for nothing
                    self._lose(rows, str(error) if isinstance(error, RolloutError) else type(error).__name__)
                    return
                if waited > LATE:
                    self._say_late(str(error))
            self._ending.wait(PAUSE)
        else:
            self._lose(rows, "the worker ends")
            return
        self._note_losses()
        fits = self._file.home.fits(self._delivery.db, self._settings.max_size)
        if time.monotonic() - self._tended > (TEND if fits else TEND / 10):
            self._tended = time.monotonic()
            with suppress(RolloutError):  # it is tried again soon; a batch that cannot be written says why
                self._tend()

    def _rows_of(self, batch: Sequence[Fact]) -> list[Row]:
        rows: list[Row] = []
        if self._hashed is None:
            self._find_key()
        blobs, alarms = self._watched(batch)
        for number, fact in enumerate(batch):
            try:
                if isinstance(fact, Prediction):
                    kept = self._keeping.predictions(fact, blobs.get(number, (None,)))
                    rows += [(number, INSERT_PREDICTION, row) for row in kept]
                else:
                    rows += [(number, INSERT_SHADOW, row) for row in self._keeping.shadows(fact)]
            except Exception as error:  # noqa: BLE001 - one odd fact costs no other
                self._unwritten += 1
                self._say_lost(f"it has no row: {type(error).__name__}")
        return rows + alarms

    def _watched(self, batch: Sequence[Fact]) -> tuple[dict[int, Sequence[bytes | None]], list[Row]]:
        """Return the bins of the calls that are watched, and the rows that count what was odd about them."""
        if self._watch is None:
            return {}, []
        calls = {n: f for n, f in enumerate(batch) if isinstance(f, Prediction) and f.watched is not None}
        watched = self._watch([fact.watched for fact in calls.values()]) if calls else None
        if watched is None:
            return {}, []
        from ..featuring import parted  # numpy, which most services have no use for

        kept = dict(zip(calls, watched.blobs, strict=True))
        blobs: dict[int, Sequence[bytes | None]] = {
            n: parted(blob, watched.width, len(calls[n].plans)) if calls[n].by_rows else (blob,)
            for n, blob in kept.items()
        }
        number, now = next(iter(calls)), time.time()
        counts = {
            "drift_rows": watched.rows, "drift_refused": watched.refused, "drift_left_out": watched.left_out
        }  # fmt: skip
        rows: list[Row] = [(number, INSERT_COUNT, count) for count in counts.items() if count[1]]
        for one in watched.alarms:
            alarm = watched.digest, one.kind, one.feature, one.count, now, now, one.detail
            rows.append((number, INSERT_ALARM, alarm))
        return blobs, rows

    def _insert(self, rows: list[Row]) -> None:
        """Write rows, some at a time, and take those that are written out of the list."""
        if self._spooling is not None:
            self._spooling.write(rows)
            return
        while rows:
            some = rows[:AT_ONCE]
            self._delivery.write(some, Batch("", 0))
            del rows[: len(some)]

    def _lose(self, rows: Sequence[Row], reason: str) -> None:
        self._unwritten += len({number for number, _, _ in rows})
        self._lost_at = time.monotonic()
        self._say_lost(reason)

    def _told(self) -> Mapping[str, str]:
        """Return what the ledger is told: what this worker keeps, and under which secret keys are hashed."""
        told = {"keep": str(self._settings.keep), "max_size": str(self._settings.max_size)}
        if self._hashed is not None:
            told[f"hash_key:{self._hashed.fingerprint}"] = self._hashed.fingerprint
        return told

    def _was_deleted(self) -> None:
        self._once.say("gone", "ledger.unwritten", rollout=self._rollout, reason="the ledger was deleted")

    def _lose_odd(self, count: int, reason: str) -> None:
        self._unwritten += count
        self._say_lost(reason)

    def _find_key(self) -> None:
        """Find or make the secret that keys are hashed under; without one they have no hashes, once said."""
        try:
            self._hashed = KeyHash.of_place(self._file.place, create=True, environ=self._environ)
        except StoreUnreachable as error:
            self._once.say("key", "ledger.no_key_hash", "error", rollout=self._rollout, reason=str(error))
            return
        self._delivery.disconnect()  # so that the ledger is told of it

    def _key_hash(self, key: str) -> str | None:
        return None if self._hashed is None else self._hashed.of(key)

    # -- what was lost ---------------------------------------------------------------------------------

    def _note_losses(self) -> None:
        """After a batch that was written: count in the file what was lost, and say when that is over."""
        lost, now = self.lost, time.monotonic()
        if lost > self._noted:
            self._say_lost("more came than could be written")
            self._lost_at = now
            with suppress(RolloutError), self._file.in_words(), transaction(self._delivery.connected()) as db:
                add_count(db, "unwritten", lost - self._noted)
                self._noted = lost
        elif now - self._lost_at > CALM:
            self._end_of_losses()

    def _end_of_losses(self) -> None:
        over = [self._once.over(what) for what in ("late", "lost", "gone")]
        if any(over):
            log.event("ledger.written", rollout=self._rollout, lost=self.lost - self._since)
            self._since = self.lost

    def _say_late(self, reason: str) -> None:
        facts = {"rollout": self._rollout, "lost": self.lost - self._since, "reason": reason}
        self._once.say("late", "ledger.unwritten", "warning", **facts, waiting=self._channel.unfinished)

    def _say_lost(self, reason: str) -> None:
        """Say the first loss; how many there were in the end is said when it is over, or the worker ends."""
        lost = self.lost - self._since
        self._once.say("lost", "ledger.unwritten", "error", rollout=self._rollout, lost=lost, reason=reason)

    # -- what is forgotten -----------------------------------------------------------------------------

    def _tend(self) -> None:
        """Delete what is too old or too much; one worker at a time, of all that share the ledger."""
        if self._spooling is not None:
            self._spooling.look()
            if self._spooling.waiting:
                return
        file = self._file
        with file.in_words():
            db, now = self._delivery.connected(), time.time()
            with file.home.alone(db) as mine:
                if not mine:
                    return
                before, most = now - self._settings.keep, self._settings.max_size
                prune(db, file.home, before=before, max_size=most, seconds=SLICE)
                if time.monotonic() - self._settled > TEND_ORPHANS:
                    self._settled = time.monotonic()
                    settle(db, max(before, now - ORPHANS_KEPT))
                    expire_marks(db, now)
                    file.home.tidy(db, now)
                    forget_examples(db, file.place)  # of shadows that answered later
