"""Statements as the stores write them, for psycopg: other marks for values, other words for `BEGIN`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import psycopg

__all__ = ["Statement", "flattened", "translated"]

_TOKENS = re.compile(
    r"'(?:[^']|'')*'"  # text
    r'|"(?:[^"]|"")*"'  # a name
    r"|--[^\n]*"  # a comment
    r"|::"  # a cast
    r"|\?\d*"
    r"|:[A-Za-z_]\w*"
)
_CHANGES = ("INSERT", "UPDATE", "DELETE", "WITH")
_NOTHING = frozenset(
    {
        "auto_vacuum",
        "busy_timeout",
        "cache_size",
        "foreign_keys",
        "incremental_vacuum",
        "journal_mode",
        "journal_size_limit",
        "mmap_size",
        "optimize",
        "secure_delete",
        "synchronous",
        "temp_store",
        "wal_checkpoint",
    }
)
"""Pragmas about SQLite's files: nothing here is to be done for them, and nobody reads what they say."""


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement for psycopg.

    Attributes:
        sql: its text.
        marks: the names of its values in the order of a call, or empty: they have none.
        valued: whether it takes values.
        changes: whether it may change rows.
        begins: ``write``, ``read``, or empty: it begins no transaction.
        skipped: it is about SQLite's files, and nothing is to be done.
        single: the part of an ``INSERT`` before, of, and after its one row of values.
    """

    sql: str
    marks: tuple[str, ...] = ()
    valued: bool = False
    changes: bool = False
    begins: str = ""
    skipped: bool = False
    single: tuple[str, str, str] | None = None

    def values(self, given: Any) -> Any:
        """Return values as psycopg wants them for this statement."""
        if not self.valued:
            return None
        if self.marks and not isinstance(given, Mapping):
            return {f"p{number}": value for number, value in enumerate(given, 1)}
        return given if isinstance(given, Mapping) else tuple(given)


@lru_cache(maxsize=2048)
def translated(sql: str) -> Statement:
    """Return a statement in psycopg's words.

    Raises:
        psycopg.NotSupportedError: what it asks of SQLite has no meaning here.
    """
    words = sql.split(None, 2)
    first = words[0].upper() if words else ""
    if first == "BEGIN":
        writes = len(words) > 1 and words[1].upper() in ("IMMEDIATE", "EXCLUSIVE")
        return Statement("BEGIN", begins="write" if writes else "read")
    if first == "VACUUM":
        return Statement(sql, skipped=True)
    if first == "PRAGMA":
        name = re.split(r"\W", words[1], maxsplit=1)[0].lower() if len(words) > 1 else ""
        if name not in _NOTHING:
            raise psycopg.NotSupportedError(f"PostgreSQL has no {sql!r}")
        return Statement(sql, skipped=True)
    return _with_marks(sql, changes=first in _CHANGES)


def _with_marks(sql: str, *, changes: bool) -> Statement:
    found = [match[0] for match in _TOKENS.finditer(sql) if match[0][0] in "?:" and match[0] != "::"]
    if not found:
        return Statement(sql, changes=changes)
    named = any(mark != "?" for mark in found)
    count = 0

    def mark(match: re.Match[str]) -> str:
        nonlocal count
        text = match[0]
        if text == "?":
            count += 1
            return f"%(p{count})s" if named else "%s"
        if text[0] == "?":
            count = max(count, int(text[1:]))
            return f"%(p{text[1:]})s"
        if text[0] == ":" and text != "::":
            return f"%({text[1:]})s"
        return text.replace("%", "%%")

    done, at = [], 0
    for match in _TOKENS.finditer(sql):
        done += [sql[at : match.start()].replace("%", "%%"), mark(match)]
        at = match.end()
    text = "".join([*done, sql[at:].replace("%", "%%")])
    marks = tuple(dict.fromkeys(re.findall(r"%\((\w+)\)s", text))) if named else ()
    return Statement(text, marks, valued=True, changes=changes, single=None if named else _single(text))


_ONE_ROW = re.compile(
    r"(INSERT\s.*?\sVALUES\s*)(\((?:%s|[\w\s,'.])*\))((?:\s+ON CONFLICT.*DO NOTHING)?\s*)", re.DOTALL
)


def _single(text: str) -> tuple[str, str, str] | None:
    """Return the parts of an ``INSERT`` of one row, to which more rows may be added."""
    match = _ONE_ROW.fullmatch(text)
    whole = match is not None and match[2].count("%s") == text.count("%s") and "%%" not in text
    return (match[1], match[2], match[3]) if match and whole else None


def flattened(rows: Sequence[Sequence[Any]]) -> tuple[Any, ...]:
    """Return the values of several rows one after the other."""
    return tuple(value for row in rows for value in row)
