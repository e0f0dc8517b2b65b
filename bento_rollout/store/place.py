"""`Place`: where what belongs to one rollout lies: a folder of this host, or a database of many hosts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import StoreUnreachable

if TYPE_CHECKING:  # psycopg is an extra: whoever makes a `Shared` has it
    from .postgres.connection import Connection
    from .postgres.engine import Engine

__all__ = ["Place", "Shared", "folder_of"]


@dataclass(frozen=True, slots=True)
class Shared:
    """A rollout in a database that many hosts share.

    Attributes:
        engine: lends connections to the database.
        name: the rollout's name.
        folder: this host's own folder of the rollout: a copy of its state, and what is not delivered yet.
    """

    engine: Engine
    name: str
    folder: Path

    def known(self) -> bool:
        """Whether the database knows the rollout: else there is nothing to read.

        Raises:
            sqlite3.OperationalError: the database cannot be used.
        """
        return self.engine.number(self.name) is not None

    def schema(self, file: str, *, make: bool = True) -> str:
        """Return the schema of a file of the rollout: ledger, reviews, shadows, evidence or drift.

        Args:
            file: which one.
            make: enter the rollout when the database does not know it.

        Raises:
            StoreUnreachable: the database does not know the rollout.
            sqlite3.OperationalError: the database cannot be used.
        """
        number = self.engine.number(self.name, make=make)
        if number is None:
            raise StoreUnreachable(
                f"{self.engine.shown} knows no rollout {self.name!r}: nothing was written yet"
            )
        return f"rollout_{number}_{file}"

    def connect(self, file: str, patience: float = 5.0, *, make: bool = True) -> Connection:
        """Return a connection to one file's tables; whoever closes it gives it back.

        Args:
            file: as for `schema`.
            patience: seconds to wait for another writer of that file.
            make: as for `schema`.

        Raises:
            StoreUnreachable: the database does not know the rollout.
            sqlite3.OperationalError: the database cannot be used.
        """
        return self.engine.connect(self.schema(file, make=make), patience)

    def size(self, file: str) -> int:
        """Return how many bytes one file's tables take.

        Raises:
            sqlite3.OperationalError: the database cannot be used.
        """
        if not self.known():
            return 0
        query = (
            "SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0) FROM pg_class c "
            "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = ? AND c.relkind = 'r'"
        )
        with self.engine.lent() as db:
            return int(db.execute(query, (self.schema(file),)).fetchone()[0])

    def words(self, file: str) -> str:
        """Return where a file's tables are, for messages; nothing secret is in it."""
        return f"{self.engine.shown} ({file} of {self.name})"

    def secret(self, name: str) -> bytes:
        """Return a secret that all hosts share; made when it is first asked for.

        Raises:
            sqlite3.OperationalError: the database cannot be used.
        """
        from .postgres.secret import shared_secret

        return shared_secret(self.engine, name)


Place = Path | Shared


def folder_of(place: Place) -> Path:
    """Return this host's folder of a rollout."""
    return place if isinstance(place, Path) else place.folder
