"""`LedgerFile`: opens a rollout's ledger, a file or tables of a database, and says errors in words."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager

from ..errors import StoreCorrupt, StoreUnreachable
from .ledger_home import Home
from .ledger_on_disk import OnDisk
from .place import Place, Shared, folder_of
from .sql import Db

__all__ = ["LedgerFile"]


class LedgerFile:
    """Opens the ledger of a rollout.

    Args:
        place: where the rollout's shared files, or its tables, lie.
        patience: seconds to wait for another connection's lock.
    """

    def __init__(self, place: Place, *, patience: float = 5.0) -> None:
        self.place, self.folder = place, folder_of(place)
        self.home = _home(place, patience)
        self.where = self.home.where

    def exists(self) -> bool:
        """Whether anybody ever wrote.

        Raises:
            StoreUnreachable: the database cannot be used.
        """
        with self.in_words():
            return self.home.exists()

    @contextmanager
    def reading(self) -> Iterator[Db]:
        """Open it for one operation that changes nothing; on a read-only file system, too.

        Raises:
            StoreUnreachable: it is not there, cannot be read, or is of a newer schema.
            StoreCorrupt: it is damaged, or not a ledger.
        """
        with self.in_words(), closing(self.home.reading()) as db:
            db.execute("BEGIN")  # all of it at one moment
            yield db

    @contextmanager
    def writing(self) -> Iterator[Db]:
        """Open it for one operation, and make it when it is missing.

        Raises:
            StoreUnreachable: it is locked, full, read-only, or of a newer schema.
            StoreCorrupt: it is damaged, or not a ledger.
        """
        with self.in_words(), closing(self.connect()) as db:
            yield db

    def connect(self) -> Db:
        """Return a connection that writes; what it raises `in_words` turns into our errors."""
        return self.home.writing()

    @contextmanager
    def in_words(self) -> Iterator[None]:
        """Turn what SQLite, the database and the system raise into errors that say what to do."""
        try:
            yield
        except sqlite3.OperationalError as error:
            hint = self.home.hint(error)
            raise StoreUnreachable(f"the ledger {self.where} cannot be used: {error}{hint}") from error
        except sqlite3.DatabaseError as error:
            raise StoreCorrupt(f"the ledger {self.where} is damaged: {error}; {self.home.remedy}") from error
        except OSError as error:
            raise StoreUnreachable(f"the ledger {self.where} cannot be used: {error.strerror}") from None


def _home(place: Place, patience: float) -> Home:
    if not isinstance(place, Shared):
        return OnDisk(place, patience)
    from .postgres.ledger_home import InDatabase  # psycopg is an extra

    return InDatabase(place, patience)
