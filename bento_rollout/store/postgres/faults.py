"""What goes wrong in PostgreSQL, said as sqlite3 says it: what reads those errors needs no second rule."""

from __future__ import annotations

import re
import sqlite3

import psycopg

__all__ = [
    "DataError",
    "DatabaseError",
    "IntegrityError",
    "OperationalError",
    "ProgrammingError",
    "as_sqlite",
    "in_short",
]


class DatabaseError(sqlite3.DatabaseError):
    """The database is damaged, or says something that nobody expects."""


class OperationalError(sqlite3.OperationalError):
    """It cannot be used now: lost, locked, full, shut down, read-only, or of another version."""


class IntegrityError(sqlite3.IntegrityError):
    """A rule of the tables was broken."""


class DataError(sqlite3.DataError):
    """A value does not fit."""


class ProgrammingError(sqlite3.ProgrammingError):
    """A value is of a kind that cannot be kept."""


def as_sqlite(error: psycopg.Error) -> sqlite3.Error:
    """Return an error of psycopg as the one of sqlite3 that means the same."""
    state, text = error.sqlstate or "", in_short(error)
    kind = state[:2]
    if kind in ("21", "23") or state == "P0001":  # what our own triggers refuse
        return IntegrityError(text)
    if kind == "22" or state == "42804":
        return DataError(text)
    if not state and isinstance(error, (psycopg.ProgrammingError, psycopg.DataError)):
        return ProgrammingError(text)  # a value of a kind that nobody can send
    if kind == "XX" and state != "XX000":
        return DatabaseError(text)
    return OperationalError(_told(kind, state, text))


def in_short(error: Exception) -> str:
    """Return what an error says, in one line."""
    told = error.diag.message_primary if isinstance(error, psycopg.Error) else None
    text = " ".join((told or str(error) or type(error).__name__).split())
    return re.sub(r" Is the server running .*?\?$", "", text)[:400]


def _told(kind: str, state: str, text: str) -> str:
    if state == "55P03":
        return "the database is locked: another process holds it"
    if state == "53100":
        return f"the disk of the database is full: {text}"
    if state == "25006":
        return f"the database is readonly: {text}; the URL must name the primary"
    if state == "42501":
        return f"{text}: let the role that owns the tables run `bento-rollout migrate --grant ROLE`"
    if kind in ("42", "3F"):
        return f"{text} (is the schema of this version there? run `bento-rollout migrate`)"
    return text
