"""`Home`: what a ledger's rows lie in, as far as SQLite and PostgreSQL differ."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from .ledger_inserting import Batch, Row
from .sql import Db

__all__ = ["Home"]


class Home(Protocol):
    """A file, or the tables of a database.

    What it raises is SQLite's, the system's, or ours: `LedgerFile.in_words` says it in words.
    """

    @property
    def where(self) -> str:
        """Where it is, for messages."""

    @property
    def path(self) -> Path | None:
        """The file; None: there is none, and no disk of this host gets full."""

    @property
    def remedy(self) -> str:
        """What to do when it is damaged."""

    def exists(self) -> bool:
        """Whether anybody ever wrote."""

    def reading(self) -> Db:
        """Return a connection that reads."""

    def writing(self) -> Db:
        """Return a connection that writes."""

    def inode(self) -> tuple[int, int]:
        """Return what tells this one from another that was put in its place."""

    def size(self) -> int:
        """Return how many bytes it takes."""

    def used(self, db: Db) -> int:
        """Return how many bytes of it are in use: less after something was deleted."""

    def fits(self, db: Db | None, most: int) -> bool:
        """Whether it is not larger than it may be, as far as that is told at once."""

    def given(self, db: Db) -> int:
        """Return the last ``seq`` that a prediction got; 0: there was none."""

    def alone(self, db: Db) -> AbstractContextManager[bool]:
        """Hold the right to tidy up for a block; false: another worker has it."""

    def insert(self, db: Db, rows: Sequence[Row], batch: Batch) -> None:
        """Write rows in one transaction, unless this batch was written before."""

    def insert_each(self, db: Db, rows: Sequence[Row], batch: Batch) -> tuple[set[int], str]:
        """Write rows of which some cannot be written; return which facts these are of, and why."""

    def tidy(self, db: Db, now: float) -> None:
        """Forget what nobody asks for any more."""

    def hint(self, error: sqlite3.OperationalError) -> str:
        """Return what to do about an error."""
