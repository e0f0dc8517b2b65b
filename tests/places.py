"""What tests do at a place behind the backs of its classes, whether it is a folder or in a database."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from bento_rollout.store.place import Place, Shared
from bento_rollout.store.sql import Db
from tests.postgres import Database

__all__ = ["behind", "busy", "cut_off", "end_holders", "run"]


def behind(place: Place, file: str) -> Db:
    """Return a connection to a file of the rollout."""
    if isinstance(place, Shared):
        return place.connect(file)
    return sqlite3.connect(place / f"{file}.db", isolation_level=None)


def run(place: Place, file: str, sql: str, values: tuple[Any, ...] = ()) -> list[Any]:
    """Run one statement on a file of the rollout; return the rows that it found."""
    with closing(behind(place, file)) as db:
        return db.execute(sql, values).fetchall()


@contextmanager
def busy(place: Place, file: str) -> Iterator[None]:
    """Be the only one who may write to a file of the rollout."""
    with closing(behind(place, file)) as db:
        db.execute("BEGIN IMMEDIATE")
        yield
        db.execute("ROLLBACK")


@contextmanager
def cut_off(database: Database) -> Iterator[None]:
    """Let nobody into a database, and throw out whoever is in it, as long as the block runs."""
    out = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database.name}'"
    database.server.run(f"ALTER DATABASE {database.name} ALLOW_CONNECTIONS false")
    database.server.run(out)
    try:
        yield
    finally:
        database.server.run(f"ALTER DATABASE {database.name} ALLOW_CONNECTIONS true")


def end_holders(database: Database) -> None:
    """End every session that holds an advisory lock, as a server does that loses a client's host."""
    database.run(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_locks WHERE locktype = 'advisory' AND database = "
        "(SELECT oid FROM pg_database WHERE datname = current_database())"
    )
