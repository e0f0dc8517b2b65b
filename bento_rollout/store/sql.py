"""What the stores ask of a database: the few things that SQLite and PostgreSQL do alike."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Protocol

__all__ = ["Db", "Found", "Row"]


class Row(Protocol):
    """One row: its values by number or by the column's name."""

    def __getitem__(self, key: Any, /) -> Any:
        """Return the value of a column."""

    def __iter__(self) -> Iterator[Any]:
        """Yield the values in the order of the columns."""

    def __len__(self) -> int:
        """Return how many columns there are."""

    def keys(self) -> list[str]:
        """Return the names of the columns."""


class Found(Protocol):
    """What a statement found or did."""

    @property
    def rowcount(self) -> int:
        """How many rows were changed."""

    def fetchone(self) -> Any:
        """Return the next row; None: there is none."""

    def fetchall(self) -> list[Any]:
        """Return the rows that are left."""

    def __iter__(self) -> Iterator[Any]:
        """Yield the rows that are left."""

    def close(self) -> None:
        """Read no more."""


class Db(Protocol):
    """A connection, outside of any transaction until ``BEGIN``; ``?``, ``?1`` and ``:name`` stand for values.

    Statements are written in what both know: ``INSERT … ON CONFLICT … DO``, truth as the integers 0 and 1.
    """

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction runs."""

    def execute(self, sql: str, parameters: Any = ..., /) -> Found:
        """Run a statement."""

    def executemany(self, sql: str, parameters: Iterable[Any], /) -> Found:
        """Run a statement once for each set of values."""

    def close(self) -> None:
        """Close it; what was not committed is undone."""
