"""`Line`: one log line, and what it looks like: JSON, or in a terminal as people like to read it."""

from __future__ import annotations

import contextvars
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import lru_cache
from typing import Any

__all__ = ["LEVELS", "Line", "as_text", "checked", "is_terminal", "stamp_of"]

LEVELS = frozenset({"debug", "info", "warning", "error", "critical"})
"""What a line's level may be."""


@dataclass(frozen=True, slots=True)
class Line:
    """One log line before it is written. Immutable.

    Attributes:
        name: what happened, like ``store.unreachable``.
        level: how bad that is, one of `LEVELS`.
        fields: what else is known; a ``timestamp`` among them is the line's.
        time: when it happened, in seconds since 1970.
        context: what the user's own structlog processors are run in; None: in none.
    """

    name: str
    level: str
    fields: Mapping[str, Any]
    time: float
    context: contextvars.Context | None = None


def checked(line: Line) -> Line:
    """Return a line whose level is one.

    Raises:
        ValueError: it is none.
    """
    if line.level not in LEVELS:
        raise ValueError(line.level)
    return line


def stamp_of(time: float) -> str:
    """Return a time, in seconds since 1970, in the ISO form of UTC.

    >>> stamp_of(1.5)
    '1970-01-01T00:00:01.500000Z'
    """
    moment = datetime.fromtimestamp(time, timezone.utc)
    return f"{moment.replace(tzinfo=None).isoformat(timespec='microseconds')}Z"


def as_text(line: Line, *, terminal: bool) -> str:
    """Return a line as it is written, without an end of line.

    Args:
        line: the line.
        terminal: whether people read it as it comes.

    Raises:
        Exception: whatever a field raises that is neither JSON nor willing to be text.
    """
    stamp = line.fields.get("timestamp") or stamp_of(line.time)
    fields = {"timestamp": stamp, "level": line.level, "event": line.name, **line.fields}
    if not terminal:
        return _ENCODER.encode(fields)
    shown = {name: _printable(value) if isinstance(value, str) else value for name, value in fields.items()}
    return str(_console()(None, line.level, shown))


def _printable(text: str) -> str:
    """Return a text that does nothing to a terminal: its renderer writes a text without blanks as it is."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


_ENCODER = json.JSONEncoder(default=str)
"""Made once: `json.dumps` makes one for each line. What it writes is ASCII, whatever a field holds."""


@lru_cache(maxsize=1)
def _console() -> Any:
    import structlog

    return structlog.dev.ConsoleRenderer(sort_keys=False)


def is_terminal() -> bool:
    """Whether standard error is read by people as it comes."""
    try:
        return sys.stderr.isatty()
    except (AttributeError, ValueError):
        return False
