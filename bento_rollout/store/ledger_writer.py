"""`LedgerWriter`: takes what a worker's predictions came to, and writes it down off their path."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import RolloutError, StoreUnreachable
from ..records import Compared, Prediction
from ..spec import Ledger as Settings
from ..telemetry import log
from ..telemetry.channel import Channel
from .files import release, try_lock
from .hashing import KeyHash
from .ledger import ORPHANS_KEPT
from .ledger_file import LedgerFile
from .ledger_forgetting import forget_examples
from .ledger_json import Plain, as_is
from .ledger_pruning import add_count, expire_marks, marked, prune, settle, transaction
from .ledger_rows import (
    INSERT_ALARM,
    INSERT_COUNT,
    INSERT_PREDICTION,
    INSERT_SHADOW,
    Insert,
    Keeping,
    Values,
)
from .ledger_weight import light
from .sql import Db

if TYPE_CHECKING:
    from ..excerpts import Excerpt
    from ..featuring import Watched

__all__ = ["LedgerWriter"]

Fact = Prediction | Compared

Watch = Callable[[Sequence["Excerpt"]], "Watched | None"]
"""Encodes the inputs of calls."""

Row = tuple[int, Insert, Values]
"""Which fact of its batch a row is of, how it is written, and what."""

MOST_WAITING, HEAVIEST = 20_000, 1 << 26
"""Facts that may wait, and bytes of them."""

LINGER = 0.25
"""Seconds from the first prediction of a batch to its writing: of few large batches each row costs less."""

PATIENCE = 60.0
"""Seconds for which a batch is tried again before it is given up: as long as a large ledger is rewritten."""

PAUSE = 0.25
"""Seconds between two tries."""

BUSY = 0.5
"""Seconds that SQLite waits for another connection's lock in one try; a worker that ends waits for one."""

LATE = 2.0
"""Seconds after which it is said that a batch cannot be written, though nothing is lost yet."""

AT_ONCE = 2000
"""Rows that are written in one transaction."""

TEND, TEND_ORPHANS = 5.0, 60.0
"""Seconds between two looks at what is too old or too much; and at labels without a prediction."""

RESERVE = 1 << 26
"""Bytes of the disk that are left to the store, or an eighth of it if that is less."""

SLICE = 1.0
"""Seconds that one look may take."""

CALM = 5.0
"""Seconds without a loss after which it is over."""


class LedgerWriter:
    """Writes predictions, and what shadows said to them, in batches, in a thread of its own.

    Whatever becomes of the file costs rows, never an answer: what is lost is counted, and said once.

    Args:
        folder: where the rollout's shared files lie.
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
        folder: Path,
        settings: Settings,
        *,
        rollout: str = "",
        plain: Plain = as_is,
        watch: Watch | None = None,
        environ: Mapping[str, str] | None = None,
        patience: float = PATIENCE,
    ) -> None:
        self._file = LedgerFile(folder, patience=BUSY)
        self._settings, self._rollout, self._environ = settings, rollout or folder.name, environ
        self._watch = watch
        self._patience, self._ending, self._given_up = patience, threading.Event(), False
        self._channel: Channel[Fact] = Channel(
            "bento-rollout-ledger", self._write, most=MOST_WAITING, heaviest=HEAVIEST, linger=LINGER
        )
        self._hashed: KeyHash | None = None
        self._keeping = Keeping(
            outputs=settings.outputs, inputs=settings.inputs, hashed=self._key_hash, plain=plain
        )
        self._db: Db | None = None
        self._inode = (0, 0)
        self._once = log.Once()
        self._unwritten = self._odd = self._noted = 0
        self._since = 0
        self._lost_at = float("-inf")
        self._tended = self._settled = time.monotonic()

    @property
    def lost(self) -> int:
        """How many facts were not written, whatever the reason."""
        return self._channel.lost + self._unwritten + self._odd

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
            self._disconnect()  # its thread has nothing more to do
        if lost := self.lost + self._channel.unfinished - self._since:
            reason = "the worker ends, and these could not be written"
            log.event("ledger.unwritten", "error", rollout=self._rollout, lost=lost, reason=reason)
        return done

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
                self._disconnect()
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
        if time.monotonic() - self._tended > (TEND if self._fits() else TEND / 10):
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
        self._leave_room()
        db = self._connected()
        while rows:
            some = rows[:AT_ONCE]
            try:
                with transaction(db):
                    for insert, members in groupby(_without_forgotten(db, some), itemgetter(1)):
                        for query, values in insert.some([row for _, _, row in members]):
                            db.execute(query, values)
            except Exception as error:
                if _is_trouble(error):
                    raise
                self._insert_each(db, some)
            del rows[: len(some)]

    def _insert_each(self, db: Db, rows: Sequence[Row]) -> None:
        """Write rows of which some cannot be written: these are lost, and no other."""
        odd, reason = set[int](), ""
        with transaction(db):
            for number, insert, row in _without_forgotten(db, rows):
                try:
                    db.execute(insert.of(1), row)
                except Exception as error:
                    if _is_trouble(error):
                        raise
                    odd.add(number)
                    reason = f"it cannot be written: {type(error).__name__}"
        if odd:
            self._unwritten += len(odd)
            self._say_lost(reason)

    def _lose(self, rows: Sequence[Row], reason: str) -> None:
        self._unwritten += len({number for number, _, _ in rows})
        self._lost_at = time.monotonic()
        self._say_lost(reason)

    def _leave_room(self) -> None:
        """Raise when the disk is nearly full: what is left is for the store, in which a rollback must fit."""
        try:
            found = os.statvfs(self._file.folder)
        except OSError:
            return  # the folder is made with the file
        free, total = found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize
        if free < min(RESERVE, total // 8):
            raise StoreUnreachable(
                f"the disk of {self._file.path} is nearly full ({free} bytes free): the rest is the store's"
            )

    def _connected(self) -> Db:
        """Return the connection to the file that lies there now; one that was replaced is left."""
        if self._db is not None and self._file.inode() != self._inode:
            self._disconnect()
            self._once.say("gone", "ledger.unwritten", rollout=self._rollout, reason="the ledger was deleted")
        if self._db is None:
            db = self._file.connect()
            try:
                self._introduce(db)
            except BaseException:
                db.close()
                raise
            self._db, self._inode = db, self._file.inode()
        return self._db

    def _introduce(self, db: Db) -> None:
        """Note what this worker keeps, and under which secret keys are hashed."""
        told = {"keep": str(self._settings.keep), "max_size": str(self._settings.max_size)}
        if self._hashed is not None:
            told[f"hash_key:{self._hashed.fingerprint}"] = self._hashed.fingerprint
        known = dict(db.execute("SELECT key, value FROM meta"))
        if told.items() <= known.items():
            return
        with transaction(db):
            db.executemany(
                "INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                told.items(),
            )

    def _disconnect(self) -> None:
        if self._db is not None:
            with suppress(sqlite3.Error):
                self._db.close()
        self._db = None

    def _find_key(self) -> None:
        """Find or make the secret that keys are hashed under; without one they have no hashes, once said."""
        try:
            self._hashed = KeyHash.beside(self._file.folder.parent, create=True, environ=self._environ)
        except StoreUnreachable as error:
            self._once.say("key", "ledger.no_key_hash", "error", rollout=self._rollout, reason=str(error))
            return
        self._disconnect()  # so that the ledger is told of it

    def _key_hash(self, key: str) -> str | None:
        return None if self._hashed is None else self._hashed.of(key)

    # -- what was lost ---------------------------------------------------------------------------------

    def _note_losses(self) -> None:
        """After a batch that was written: count in the file what was lost, and say when that is over."""
        lost, now = self.lost, time.monotonic()
        if lost > self._noted:
            self._say_lost("more came than could be written")
            self._lost_at = now
            with suppress(RolloutError), self._file.in_words(), transaction(self._connected()) as db:
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

    def _fits(self) -> bool:
        """Whether the file is not larger than it may be."""
        try:
            return self._file.path.stat().st_size <= self._settings.max_size
        except OSError:
            return True

    def _tend(self) -> None:
        """Delete what is too old or too much; one worker of the host at a time."""
        with self._file.in_words():
            lock = try_lock(self._file.folder / "ledger.prune.lock")
            if lock is None:
                return
            try:
                db, now = self._connected(), time.time()
                before = now - self._settings.keep
                prune(db, before=before, max_size=self._settings.max_size, seconds=SLICE)
                if time.monotonic() - self._settled > TEND_ORPHANS:
                    self._settled = time.monotonic()
                    settle(db, max(before, now - ORPHANS_KEPT))
                    expire_marks(db, now)
                    forget_examples(db, self._file.folder)  # of shadows that answered later
            finally:
                release(lock)


def _without_forgotten(db: Db, rows: Sequence[Row]) -> Sequence[Row]:
    """Leave out what shadows said to predictions that were forgotten meanwhile; in a transaction."""
    ids = {values[:2] for _, insert, values in rows if insert is INSERT_SHADOW}
    gone = marked(db, ids) if ids else ids
    return [row for row in rows if row[1] is not INSERT_SHADOW or row[2][:2] not in gone] if gone else rows


def _is_trouble(error: Exception) -> bool:
    """Whether an error is about the file, and not about one row that is odd."""
    return isinstance(error, (sqlite3.OperationalError, OSError)) or type(error) in _OF_THE_FILE


_OF_THE_FILE = (sqlite3.DatabaseError, sqlite3.InternalError)
