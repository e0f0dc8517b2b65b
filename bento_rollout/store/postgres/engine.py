"""`Engine`: the connections of one process to one database, lent for an operation each."""

from __future__ import annotations

import hashlib
import os
import re
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import TransactionStatus

from ...errors import InvalidValue, StoreUnreachable
from .connection import ADAPTERS, Connection, Raw, lock_of, row_of
from .faults import OperationalError, as_sqlite, in_short
from .forks import watch

__all__ = ["HOME", "SCHEMA", "Engine", "engine_at", "require"]

T = TypeVar("T")

SCHEMA = 1
"""The version of the tables that this version of the library works with."""

HOME = "bento_rollout"
"""The schema of what all rollouts share."""

IDLE = 4
"""How many connections are kept for the next one who asks."""

REST = 1.0
"""Seconds after a failed attempt to connect in which nobody tries again: a dead database costs no time."""

_DEFAULTS: dict[str, Any] = {
    "connect_timeout": 3,
    "application_name": "bento_rollout",
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 5000,
}
_OLDEST = 130000


class Engine:
    """Lends connections to one database.

    Args:
        url: ``postgresql://…``, as libpq reads it.

    Raises:
        InvalidValue: libpq cannot read the URL.

    Attributes:
        shown: the URL without what is secret in it.
        digest: names the database among others, on this host.
    """

    def __init__(self, url: str) -> None:
        given = _parts(url)
        self._password = str(given.get("password") or "")
        self._target = make_conninfo(**{**_DEFAULTS, **given})
        self.shown = _shown(given)
        self.digest = hashlib.sha256(self.shown.partition("@")[2].encode()).hexdigest()[:12]
        self._pid = os.getpid()
        self._idle: deque[Raw] = deque()
        self._connecting = threading.Lock()
        self._failed: tuple[float, str] = (-REST, "")
        self._store_id = ""
        self._numbers: dict[str, int] = {}
        self._kept: dict[str, Any] = {}

    def __repr__(self) -> str:
        return f"<Engine {self.shown}>"

    def connect(self, schema: str = HOME, patience: float = 5.0) -> Connection:
        """Return a connection for a schema; whoever closes it gives it back.

        Args:
            schema: where names without a schema are looked for.
            patience: seconds to wait for another writer of that schema.

        Raises:
            OperationalError: the database cannot be reached, or is of another version.
        """
        self._after_fork()
        settings = _settings(schema, patience)
        while self._idle:
            with suppress(IndexError):
                raw = self._idle.pop()
                if _is_set(raw, settings):
                    return Connection(raw, lock_of(schema), self._take_back)
        raw = self._made()
        try:
            raw.execute(settings)
        except psycopg.Error as error:
            raw.close()
            raise as_sqlite(error) from error
        return Connection(raw, lock_of(schema), self._take_back)

    @contextmanager
    def lent(self, schema: str = HOME, patience: float = 5.0) -> Iterator[Connection]:
        """Lend a connection for a block; what is not committed when it ends is undone.

        Raises:
            OperationalError: as `connect`.
        """
        db = self.connect(schema, patience)
        try:
            yield db
        finally:
            db.close()

    def alone(self, *, checked: bool = True) -> Raw:
        """Return a new connection that is never lent to others: to listen on, or to hold a lock with.

        Args:
            checked: refuse a database of another version.

        Raises:
            OperationalError: as `connect`.
        """
        self._after_fork()
        return self._made(checked=checked)

    def number(self, name: str, *, make: bool = False) -> int | None:
        """Return the number of a rollout; None: the database does not know it.

        Args:
            name: the rollout.
            make: enter it when it is not known.

        Raises:
            OperationalError: as `connect`.
        """
        self._after_fork()
        if (known := self._numbers.get(name)) is not None:
            return known
        with self.lent() as db:
            query = "SELECT enter_rollout(?)" if make else "SELECT number FROM rollouts WHERE name = ?"
            row = db.execute(query, (name,)).fetchone()
        if row is None:
            return None
        self._numbers[name] = int(row[0])
        return self._numbers[name]

    def kept(self, name: str, make: Callable[[], T]) -> T:
        """Return what this process keeps under a name, made when it is first asked for."""
        return self._kept.setdefault(name, make())  # type: ignore[no-any-return]  # what `make` made

    @contextmanager
    def turn(self, name: str) -> Iterator[bool]:
        """Hold a right that one process of all hosts has at a time; yields false when it is another one.

        Raises:
            StoreUnreachable: the database cannot be used.
        """
        number = lock_of(name, "turn")
        try:
            db = self.connect()
            (mine,) = db.execute("SELECT pg_try_advisory_lock(?)", (number,)).fetchone()
        except OperationalError as error:
            raise StoreUnreachable(f"{self.shown} cannot be used: {error}") from error
        try:
            yield bool(mine)
        finally:
            if mine:
                try:
                    db.execute("SELECT pg_advisory_unlock(?)", (number,))
                except sqlite3.Error:
                    db.raw.close()  # the session's end gives it back
            db.close()

    def identity(self) -> str:
        """Return the id that the database's tables got when they were made.

        Raises:
            OperationalError: as `connect`.
        """
        with self.lent() as db:
            row = db.execute("SELECT value FROM meta WHERE key = 'store_id'").fetchone()
        return str(row[0]) if row else ""

    def require_writable(self) -> None:
        """Raise `StoreUnreachable` when the database can be read only, as a standby can."""
        try:
            with self.lent() as db:
                (only,) = db.execute("SELECT current_setting('transaction_read_only')").fetchone()
        except sqlite3.Error as error:
            raise StoreUnreachable(f"the store {self.shown} cannot be used: {error}") from error
        if only == "on":
            raise StoreUnreachable(
                f"the store {self.shown} can be read only: its URL must name the primary, and the database "
                "or role must not say default_transaction_read_only"
            )

    def close(self) -> None:
        """Close the connections that nobody uses."""
        self._after_fork()
        while self._idle:
            with suppress(IndexError, psycopg.Error):
                self._idle.pop().close()

    def _after_fork(self) -> None:
        """Forget, in a forked child, what belongs to its parent."""
        if os.getpid() == self._pid:
            return
        self._pid, self._connecting = os.getpid(), threading.Lock()
        self._idle = deque()  # psycopg leaves a parent's connections alone when they are collected

    def _take_back(self, raw: Raw) -> None:
        """Keep a connection for the next one who asks, if it is whole."""
        if os.getpid() != self._pid:
            return
        try:
            if not raw.closed and raw.info.transaction_status != TransactionStatus.IDLE:
                raw.execute("ROLLBACK")
        except psycopg.Error:
            raw.close()
        if not raw.closed and len(self._idle) < IDLE:
            self._idle.append(raw)
        else:
            raw.close()

    def _made(self, *, checked: bool = True) -> Raw:
        with self._connecting:  # one after the other: they all learn from the first that fails
            failed, told = self._failed
            if time.monotonic() - failed < REST:
                raise OperationalError(told)
            try:
                raw = watch(
                    Raw.connect(
                        self._target,
                        autocommit=True,
                        cursor_factory=psycopg.ClientCursor,
                        context=ADAPTERS_CONTEXT,
                        row_factory=row_of,
                        prepare_threshold=None,
                    )
                )
            except psycopg.Error as error:
                self._failed = (time.monotonic(), self._masked(in_short(error)))
                raise OperationalError(self._failed[1]) from None
        try:
            self._check(raw, checked=checked)
        except psycopg.Error as error:
            raw.close()
            raise as_sqlite(error) from error
        except BaseException:
            raw.close()
            raise
        return raw

    def _check(self, raw: Raw, *, checked: bool) -> None:
        """Refuse what cannot work: an old server, a pooler in between, tables of another version."""
        raw.execute(
            "SET client_min_messages = warning; SET statement_timeout = '60s'; SET bytea_output = 'hex'; "
            # A process that is stopped in the middle of a transaction keeps everybody else from writing.
            "SET idle_in_transaction_session_timeout = '30s'; "
            # Where the server says otherwise: what was acknowledged outlives its crash.
            "SELECT set_config('synchronous_commit', 'on', false) "
            "WHERE current_setting('synchronous_commit') = 'off'"
        )
        pid, meta = raw.execute("SELECT pg_backend_pid(), to_regclass('bento_rollout.meta')").fetchone() or (
            0,
            None,
        )
        if raw.info.server_version < _OLDEST:
            raise OperationalError(
                f"PostgreSQL {raw.info.server_version // 10000} is too old: 13 is the oldest"
            )
        if pid != raw.info.backend_pid:
            raise OperationalError(
                "a pooler (PgBouncer, …) answers there, which passes on neither notifications nor session "
                "locks: name the database itself in BENTO_ROLLOUT_STORE"
            )
        if not checked:
            return
        if meta is None:
            raise OperationalError("the database has no tables of bento_rollout: run `bento-rollout migrate`")
        facts = dict(raw.execute("SELECT key, value FROM bento_rollout.meta").fetchall())
        require(int(facts.get("schema_version", 0)))
        if self._store_id != facts.get("store_id", ""):  # another database than before: other numbers
            self._store_id, self._numbers = facts.get("store_id", ""), {}

    def _masked(self, text: str) -> str:
        return text.replace(self._password, "***") if self._password else text


class _Context:
    """How values come and go, for psycopg's ``connect``."""

    adapters = ADAPTERS
    connection = None


ADAPTERS_CONTEXT = _Context()

_engines: dict[str, Engine] = {}
_making = threading.Lock()
os.register_at_fork(after_in_child=lambda: globals().update(_making=threading.Lock()))


def engine_at(url: str) -> Engine:
    """Return this process's engine for a database.

    Raises:
        InvalidValue: libpq cannot read the URL.
    """
    with _making:
        if url not in _engines:
            _engines[url] = Engine(url)
        return _engines[url]


def require(version: int) -> None:
    """Raise `OperationalError` for tables of another version than this library's."""
    if version > SCHEMA:
        raise OperationalError(
            f"the tables of bento_rollout have schema {version}, and this version knows up to {SCHEMA}: "
            "use a newer bento_rollout"
        )
    if version < SCHEMA:
        raise OperationalError(
            f"the tables of bento_rollout have schema {version}, and this version needs {SCHEMA}: run "
            "`bento-rollout migrate`"
        )


def _parts(url: str) -> dict[str, Any]:
    try:
        return dict(conninfo_to_dict(url))
    except psycopg.Error:  # its words may quote what is secret
        raise InvalidValue(
            "BENTO_ROLLOUT_STORE is no URL that PostgreSQL's library can read: write "
            "postgresql://USER:PASSWORD@HOST:PORT/DATABASE, with special characters as %XX"
        ) from None


def _shown(parts: dict[str, Any]) -> str:
    """Return a URL to show: where the database is, and as whom; nothing secret."""
    user = parts.get("user") or os.environ.get("PGUSER") or ""
    host = parts.get("host") or parts.get("hostaddr") or os.environ.get("PGHOST") or "localhost"
    port = parts.get("port") or os.environ.get("PGPORT") or "5432"
    name = parts.get("dbname") or os.environ.get("PGDATABASE") or user
    return f"postgresql://{user}@{host}:{port}/{name}" if user else f"postgresql://@{host}:{port}/{name}"


def _settings(schema: str, patience: float) -> bytes:
    if not re.fullmatch(r"[a-z0-9_]+", schema):
        raise InvalidValue(f"{schema!r} is no schema of ours")
    wait = max(1, int(patience * 1000))  # 0 would wait for ever
    return f"SET search_path = {schema}; SET lock_timeout = {wait}".encode()


def _is_set(raw: Raw, settings: bytes) -> bool:
    """Make a connection ready for its next user; false: it is broken, and closed."""
    try:
        raw.execute(settings)
    except psycopg.Error:
        raw.close()
    return not raw.closed
