"""`Link`: a worker's line to the database: it is alive as long as it holds, and hears of what changes."""

from __future__ import annotations

import random
import select
import socket
import sqlite3
import threading
import time
from collections import deque
from contextlib import suppress

import psycopg
from psycopg.pq import TransactionStatus

from ...errors import RolloutError
from ..database import COLUMNS, commit_of
from .connection import Raw
from .engine import Engine
from .faults import in_short
from .holding import tend
from .news import CHANNEL, SharedBeacon

__all__ = ["LIVES", "LIVING", "Link"]

LIVES = 1112689751
"""The first number of the advisory lock that a living worker holds; the second is the worker's own."""

LIVING = (
    "EXISTS (SELECT 1 FROM pg_locks l WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2 "
    f"AND l.classid = {LIVES} AND l.objid = w.number AND l.database = "
    "(SELECT oid FROM pg_database WHERE datname = current_database()))"
)
"""The condition that a worker ``w`` of the table lives."""

BEAT = 1.0
"""Seconds between two signs of life, which also find what no notification told."""

FIRST, LAST = 0.2, 2.0
"""Seconds between two attempts to connect, doubled from first to last."""

PATIENCE = 5.0
"""Seconds that a statement may take before the connection counts as lost: a proxy in between may hang."""

FORGET = 3600
"""Seconds after which what a dead worker wrote is removed."""

_CLOCK = "extract(epoch FROM clock_timestamp())"

# ruff: noqa: S608 - the statements are put together from constants
_ENTER = (
    "INSERT INTO bento_rollout.workers (rollout, token, host, card, seen, contacted) "
    f"VALUES (%s, %s, %s, %s, 0, {_CLOCK}) ON CONFLICT (token) DO UPDATE SET card = excluded.card, "
    "contacted = excluded.contacted RETURNING number"
)
_FORGET = f"DELETE FROM bento_rollout.workers w WHERE w.contacted < {_CLOCK} - {FORGET} AND NOT {LIVING}"
_ACKNOWLEDGE = (
    f"UPDATE bento_rollout.workers SET contacted = {_CLOCK}, seen = %s WHERE token = %s "
    "RETURNING (SELECT coalesce(max(revision), 0) FROM bento_rollout.revisions WHERE name = %s)"
)
_READ = f"SELECT {COLUMNS} FROM bento_rollout.revisions WHERE name = %s ORDER BY revision DESC LIMIT 1"


class Link:
    """One connection that listens, kept by a thread of its own; when it is lost it is made anew.

    Args:
        engine: the database.
        name: the rollout.
        beacon: told of what is new.
        token: names the worker.
    """

    def __init__(self, engine: Engine, name: str, beacon: SharedBeacon, token: str) -> None:
        self._engine, self._name, self._beacon, self._token = engine, name, beacon, token
        self._card, self._every = "{}", BEAT
        self._heard: deque[int] = deque()
        self._store_id = ""
        self._number, self._holds, self._seen = 0, False, 0
        self._problem: str | None = None
        self._tried = threading.Event()
        self._stop = threading.Event()
        self._pair: tuple[socket.socket, socket.socket] | None = None
        self._thread = threading.Thread(target=self._run, name="rollout-link", daemon=True)

    @property
    def problem(self) -> str | None:
        """Why there is no connection now, or None: there is one."""
        return self._problem

    def start(self, patience: float) -> None:
        """Connect, and stay connected from now on.

        Raises:
            OSError: there is no connection yet; it is tried again and again.
        """
        self._pair = socket.socketpair()
        self._thread.start()
        self._tried.wait(patience)
        if self._problem is not None:
            raise ConnectionError(self._problem)

    def describe(self, card: str, lease: float) -> None:
        """Say what the worker is like, for the row that a new connection writes.

        Args:
            card: as JSON.
            lease: seconds for which a sign of life lasts.
        """
        self._card, self._every = card, min(BEAT, lease / 4)

    def stop(self, patience: float = 2.0) -> None:
        """Let go; whoever looks no longer sees this worker."""
        self._stop.set()
        if self._pair is None:
            return
        with suppress(OSError):
            self._pair[1].send(b"x")
        self._thread.join(patience)

    def _run(self) -> None:
        assert self._pair is not None
        with self._pair[0], self._pair[1]:
            self._live(self._pair[0])

    def _live(self, woken: socket.socket) -> None:
        wait = FIRST
        while not self._stop.is_set():
            raw: Raw | None = None
            try:
                raw = self._engine.alone()
                raw.patience = PATIENCE
                self._begin(raw)
                wait, self._problem = FIRST, None
                self._tried.set()
                self._follow(raw, woken)
            except (psycopg.Error, sqlite3.Error, OSError, RolloutError) as error:
                self._problem = in_short(error)
            except Exception as error:  # noqa: BLE001 - this thread must outlive whatever goes wrong once
                self._problem = f"{type(error).__name__}: {error}"
            finally:
                self._tried.set()
                self._end(raw)
            self._stop.wait(wait * random.uniform(0.5, 1.0))  # noqa: S311 - not all hosts at once
            wait = min(wait * 2, LAST)

    def _begin(self, raw: Raw) -> None:
        self._heard.clear()
        raw.add_notify_handler(lambda notice: self._hear(notice.payload))
        tend(raw)
        raw.execute(f"LISTEN {CHANNEL}")
        row = raw.execute("SELECT value FROM bento_rollout.meta WHERE key = 'store_id'").fetchone()
        self._store_id = str(row[0]) if row else ""
        self._register(raw)
        self._beat(raw)

    def _register(self, raw: Raw) -> None:
        """Write the worker's row, and hold its lock: from now on it counts as alive."""
        row = raw.execute(
            _ENTER,
            (self._name, self._token, socket.gethostname(), self._card),
        ).fetchone()
        self._number, self._holds = int(row[0]) if row else 0, False
        raw.execute(_FORGET)

    def _follow(self, raw: Raw, woken: socket.socket) -> None:
        due = time.monotonic() + self._every
        while not self._stop.is_set():
            left = max(0.0, due - time.monotonic())
            if not self._heard and left:
                ready, _, _ = select.select([raw.fileno(), woken.fileno()], [], [], left)
                if raw.fileno() in ready:
                    raw.pgconn.consume_input()
            while (notice := raw.pgconn.notifies()) is not None:
                self._hear(notice.extra.decode(errors="replace"))
            newest, poked = self._newest_heard()
            if newest > self._beacon.news.revision:
                self._look(raw, newest)
            elif newest > self._seen:  # this process has committed it
                self._acknowledge(raw)
            if poked:
                self._beacon.news.poke()
            if time.monotonic() >= due:
                due = time.monotonic() + self._every
                self._beat(raw)

    def _hear(self, payload: str) -> None:
        name, _, number = payload.partition(" ")
        if name == self._name and number.isdecimal():
            self._heard.append(int(number))

    def _newest_heard(self) -> tuple[int, bool]:
        """Return the newest revision that was told of since the last time, and whether anybody was poked."""
        heard = [self._heard.popleft() for _ in range(len(self._heard))]
        return max(heard, default=0), 0 in heard

    def _beat(self, raw: Raw) -> None:
        """Give a sign of life, and find what no notification told.

        It counts from before it was sent: by the database's clock it came later, so whoever waits for the
        end of this worker's lease there never waits too short.
        """
        began = time.monotonic()
        if not self._holds:  # a connection that was lost may still hold it, until the server notices
            row = raw.execute(f"SELECT pg_try_advisory_lock({LIVES}, {self._number})").fetchone()
            self._holds = bool(row and row[0])
        newest = self._acknowledge(raw)
        self._beacon.news.contacted = began
        if newest > self._beacon.news.revision:
            self._look(raw, newest)

    def _look(self, raw: Raw, wanted: int) -> None:
        """Read the newest commit, let every request see it, and only then say that it is served."""
        row = raw.execute(
            _READ,
            (self._name,),
        ).fetchone()
        if row is None:
            return
        try:
            commit = commit_of(row)
        except RolloutError:  # the feed says what is wrong with it; this line stays
            return
        self._beacon.news.tell(commit)
        self._acknowledge(raw)
        if commit.revision < wanted:
            self._heard.append(wanted)

    def _acknowledge(self, raw: Raw) -> int:
        """Say which revision is served, and keep a copy of it; return the newest that there is."""
        commit = self._beacon.news.commit
        revision = 0 if commit is None else commit.revision
        row = raw.execute(
            _ACKNOWLEDGE,
            (revision, self._token, self._name),
        ).fetchone()
        if row is None:  # somebody removed it
            self._register(raw)
            return 0
        if revision > self._seen and commit is not None:
            self._seen = revision
            self._beacon.keep(commit, self._store_id)
        return int(row[0])

    def _end(self, raw: Raw | None) -> None:
        if raw is None:
            return
        with suppress(psycopg.Error):
            if self._stop.is_set() and raw.info.transaction_status == TransactionStatus.IDLE:
                raw.execute("DELETE FROM bento_rollout.workers WHERE token = %s", (self._token,))
        with suppress(psycopg.Error):
            raw.close()
