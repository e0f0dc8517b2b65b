"""How rows get into a ledger: many in one statement, and row by row where one of them is odd."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

from .ledger_pruning import marked
from .ledger_rows import INSERT_SHADOW, Insert, Values
from .sql import Db

__all__ = ["Batch", "Row", "insert_each", "insert_rows", "is_trouble", "without_forgotten"]

Row = tuple[int, Insert, Values]
"""Which fact of its batch a row is of, how it is written, and what."""


class Batch(NamedTuple):
    """What rows are known by that are written together: delivered twice they are kept once.

    Attributes:
        spool: whose.
        number: which one; a later one has a greater number.
    """

    spool: str
    number: int


def insert_rows(db: Db, rows: Sequence[Row]) -> None:
    """Write rows; in a transaction."""
    for insert, members in groupby(without_forgotten(db, rows), itemgetter(1)):
        some = [row for _, _, row in members]
        if insert is INSERT_SHADOW:  # what is told twice in one statement is refused
            some = list({row[:3]: row for row in some}.values())
        for query, values in insert.some(some):
            db.execute(query, values)


def insert_each(db: Db, rows: Sequence[Row]) -> tuple[set[int], str]:
    """Write rows of which some cannot be written; in a transaction.

    Returns:
        Which facts are odd, and why.
    """
    odd, reason = set[int](), ""
    for number, insert, row in without_forgotten(db, rows):
        db.execute("SAVEPOINT odd")
        try:
            db.execute(insert.of(1), row)
        except Exception as error:
            if is_trouble(error):
                raise
            db.execute("ROLLBACK TO odd")
            odd.add(number)
            reason = f"it cannot be written: {type(error).__name__}"
        db.execute("RELEASE odd")
    return odd, reason


def without_forgotten(db: Db, rows: Sequence[Row]) -> Sequence[Row]:
    """Leave out what shadows said to predictions that were forgotten meanwhile; in a transaction."""
    told = [row for _, insert, row in rows if insert is INSERT_SHADOW]
    gone = marked(db, {(str(row[0]), int(str(row[1]))) for row in told}) if told else set()
    return [row for row in rows if row[1] is not INSERT_SHADOW or row[2][:2] not in gone] if gone else rows


def is_trouble(error: Exception) -> bool:
    """Whether an error is about the file or the database, and not about one row that is odd."""
    return isinstance(error, (sqlite3.DatabaseError, OSError)) and not isinstance(error, _OF_A_ROW)


_OF_A_ROW = (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.ProgrammingError, sqlite3.NotSupportedError)
