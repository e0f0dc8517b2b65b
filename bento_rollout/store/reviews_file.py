"""`ReviewsFile`: the people's queue of a rollout, opened for one operation at a time, its errors in words."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ..errors import StoreCorrupt, StoreUnreachable
from .place import Place, Shared, folder_of
from .reviews_local import FILE, LocalReviews
from .reviews_shared import SharedReviews
from .sql import Db

__all__ = ["WHENEVER", "ReviewsFile"]

WHENEVER = 1e18
"""When a case is due that is not due at all: after each that is."""


class ReviewsFile:
    """Opens the queue of a rollout: an SQLite file of one host, or tables in a database of many.

    One writes at a time, whoever else waits: the trail is a chain. Safe in any thread.

    Args:
        place: of the rollout (`store.place`).
        patience: seconds to wait for another process's lock.

    Attributes:
        path: the file, or where it would be.
        where: what the queue is called in messages.
    """

    def __init__(self, place: Place, *, patience: float = 5.0) -> None:
        self._home: LocalReviews | SharedReviews
        if isinstance(place, Shared):
            self._home = SharedReviews(place, patience)
        else:
            self._home = LocalReviews(place, patience)
        self.path, self.where = folder_of(place) / FILE, self._home.where
        self._writer = threading.Lock()  # threads of one process wait here: SQLite's own waiting is a nap

    def exists(self) -> bool:
        """Whether anybody ever wrote.

        Raises:
            StoreUnreachable: the database cannot be asked.
        """
        with self._in_words():
            return self._home.exists()

    @contextmanager
    def reading(self) -> Iterator[Db]:
        """Lend a connection that sees all of it at one moment, and changes nothing.

        Raises:
            StoreUnreachable: it is not there, cannot be read, or is of a newer schema.
            StoreCorrupt: it is damaged, or not a queue.
        """
        with self._in_words(), self._home.lent(make=False) as db:
            db.execute("BEGIN")
            yield db

    @contextmanager
    def writing(self, *, durable: bool = True) -> Iterator[Db]:
        """Lend a connection in a transaction, which is committed at the end, or undone by any error.

        Args:
            durable: whether a power cut may not undo it either; a killed process never does.

        Raises:
            StoreUnreachable: it is locked, full, read-only, or of a newer schema.
            StoreCorrupt: it is damaged, or not a queue.
        """
        with self._in_words(), self._writer, self._home.lent(make=True) as db:
            self._home.begin(db, durable=durable)
            yield db
            db.execute("COMMIT")

    @contextmanager
    def turn(self, name: str, what: str, *, wait: bool = False) -> Iterator[bool]:
        """Hold a right that one process has at a time, for a block; it ends with the process, too.

        Args:
            name: of the right.
            what: it is, for messages.
            wait: wait for it as for a lock.

        Yields:
            Whether it is held; always, where it was waited for.

        Raises:
            StoreUnreachable: it cannot be taken.
        """
        with self._in_words(), self._home.turn(name, what, wait=wait) as held:
            yield held

    def rewrite(self) -> None:
        """Leave no byte of what was deleted.

        Raises:
            StoreUnreachable: with what is left to do.
        """
        with self._in_words(), self._writer, self._home.lent(make=False) as db:
            self._home.rewrite(db)

    def tidy(self) -> None:
        """Give space back that is not needed any more, as far as that is possible now."""
        with suppress(sqlite3.Error), self._writer, self._home.lent(make=False) as db:
            self._home.tidy(db)

    def close(self) -> None:
        """Close the connections that nobody uses."""
        self._home.close()

    def damaged(self, problem: str) -> StoreCorrupt:
        """Return the error that says what is wrong with the queue, and what to do."""
        return StoreCorrupt(f"the reviews in {self.where} are damaged: {problem}; {self._home.remedy}")

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            hint = self._home.hint(error)
            raise StoreUnreachable(f"the reviews in {self.where} cannot be used: {error}{hint}") from error
        except sqlite3.DatabaseError as error:
            raise self.damaged(str(error)) from error
        except OSError as error:
            raise StoreUnreachable(f"the reviews in {self.where} cannot be used: {error.strerror}") from None
