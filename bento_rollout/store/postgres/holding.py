"""`Session`: a connection of its own whose locks live exactly as long as whoever holds it."""

from __future__ import annotations

import sqlite3
from contextlib import suppress

import psycopg

from ...errors import RolloutError, StoreUnreachable
from .connection import Connection, Raw, lock_of
from .engine import HOME, Engine

__all__ = ["Session", "is_free", "tend", "unusable"]

_KEEPALIVES = (
    "SET tcp_keepalives_idle = 1; SET tcp_keepalives_interval = 1; SET tcp_keepalives_count = 2; "
    "SET tcp_user_timeout = 3000"
)
"""Lets the server notice within seconds that a host is gone which could not say so."""


class Session:
    """Holds advisory locks; they go with its process, with its connection, and when it is closed.

    Args:
        engine: the database.

    Raises:
        OperationalError: it cannot be reached.
    """

    def __init__(self, engine: Engine) -> None:
        self._raw = engine.alone()
        self.db = _alone(self._raw)
        try:
            tend(self._raw)
            self.db.execute(f"SET search_path = {HOME}; SET lock_timeout = 5000")
        except BaseException:
            self.close()
            raise

    def take(self, lock: int) -> bool:
        """Take a lock unless somebody else has it; return whether it is held now.

        Raises:
            OperationalError: the connection is lost.
        """
        (taken,) = self.db.execute("SELECT pg_try_advisory_lock(?)", (lock,)).fetchone()
        return bool(taken)

    def lives(self) -> bool:
        """Whether the connection is there, and so are its locks."""
        try:
            self._raw.execute("SELECT 1")
        except psycopg.Error:
            return False
        return True

    def close(self) -> None:
        """Let go of everything."""
        with suppress(psycopg.Error, sqlite3.Error):
            self._raw.close()


def is_free(db: Connection, lock: int) -> bool:
    """Whether nobody holds a lock; asking takes it from nobody.

    Raises:
        OperationalError: the database cannot be asked.
    """
    (free,) = db.execute("SELECT pg_try_advisory_xact_lock_shared(?)", (lock,)).fetchone()
    return bool(free)


def tend(raw: Raw) -> None:
    """Let the server notice soon when this host is gone.

    Raises:
        OperationalError: the connection is lost.
    """
    _alone(raw).execute(_KEEPALIVES)


def unusable(engine: Engine, error: Exception, left: str) -> RolloutError:
    """Return what is raised when the database cannot be used: as it is, or in words.

    Args:
        engine: the database.
        error: what went wrong.
        left: what became of what was asked for.
    """
    if isinstance(error, RolloutError):
        return error
    return StoreUnreachable(f"{engine.shown} cannot be used: {error}; {left}")


def _alone(raw: Raw) -> Connection:
    """Return a connection whose writes wait for nobody: the locks that it holds guard them."""
    return Connection(raw, lock_of("session", str(raw.info.backend_pid)))
