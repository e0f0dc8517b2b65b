"""Structured log lines, beside BentoML's own logging and without changing anybody's configuration.

A user's structlog configuration is followed when there is one. Otherwise lines go to standard error: readable
ones in a terminal, JSON elsewhere. structlog is imported for a terminal's sake only: where the user has not
imported it nobody can have configured it, and a line of JSON is written without it. A start is shorter for
it, and no request ever waits for an import.
"""

from __future__ import annotations

import contextlib
import contextvars
import sys
import threading
import time
from typing import Any

from ..revisions import shown_revision
from .rendering import Line
from .writer import Writer

__all__ = ["WRITER", "Once", "described", "event", "place_of"]

WRITER = Writer()
"""Where all lines of this process go, whoever they are from."""


def event(name: str, level: str = "info", **fields: Any) -> None:
    """Write one line with ``event``, ``level``, ``timestamp`` and the fields; never raises.

    In a worker that serves it never blocks either.

    Args:
        name: what happened, like ``store.unreachable``.
        level: ``debug``, ``info``, ``warning``, ``error`` or ``critical``.
        fields: what else is known; anything that JSON cannot hold is written as text.
    """
    with contextlib.suppress(Exception):  # a log sink must not change anybody's answer
        if type(revision := fields.get("revision")) is int:
            fields["revision"] = shown_revision(revision)
        context = contextvars.copy_context() if "structlog" in sys.modules else None
        WRITER.take(_as_it_is, Line(name, level, fields, time.time(), context))


def _as_it_is(line: Line) -> Line:
    return line


def place_of(error: BaseException) -> str:
    """Return the file and line that raised, in the user's code as a rule; where else it was, if it knows."""
    if isinstance(told := getattr(error, "place", None), str):
        return told
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"


def described(error: BaseException) -> str:
    """Return an error's class and text, at most 2000 characters of them, whatever its text does.

    >>> described(ValueError("no"))
    'ValueError: no'
    """
    try:
        return f"{type(error).__name__}: {error}"[:2000]
    except Exception:  # noqa: BLE001 - a text that cannot be made is none
        return type(error).__name__


class Once:
    """Says a thing once until it is over, however often it happens."""

    def __init__(self) -> None:
        self._said: set[str] = set()
        self._lock = threading.Lock()

    def say(self, key: str, name: str, level: str = "warning", **fields: Any) -> None:
        """Write the line unless ``key`` was already said."""
        with self._lock:
            if key in self._said:
                return
            self._said.add(key)
        event(name, level, **fields)

    def over(self, key: str) -> bool:
        """Forget ``key``; True when it had been said."""
        with self._lock:
            known = key in self._said
            self._said.discard(key)
        return known
