"""Structured log lines, beside BentoML's own logging and without changing anybody's configuration.

A user's structlog configuration is followed when there is one. Otherwise lines go to standard error: readable ones in
a terminal, JSON elsewhere.
"""

from __future__ import annotations

import sys
import threading
from functools import lru_cache
from typing import Any

import structlog

__all__ = ["Once", "event"]


class _Stderr:
    """The standard error of this moment; closing it costs log lines, never an answer."""

    def msg(self, text: str) -> None:
        try:
            print(text, file=sys.stderr, flush=True)
        except (OSError, ValueError):
            pass

    log = debug = info = warn = warning = error = critical = exception = msg


@lru_cache(maxsize=1)
def _logger() -> Any:
    if structlog.is_configured():
        return structlog.get_logger("bento_rollout")
    try:
        terminal = sys.stderr.isatty()
    except (AttributeError, ValueError):
        terminal = False
    last: Any = (
        structlog.dev.ConsoleRenderer() if terminal else structlog.processors.JSONRenderer(default=str)
    )
    processors = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        last,
    ]
    return structlog.wrap_logger(_Stderr(), processors=processors)


def event(name: str, level: str = "info", **fields: Any) -> None:
    """Write one line; never raises."""
    try:
        getattr(_logger(), level)(name, **fields)
    except Exception:  # noqa: BLE001 - a log sink must not change anybody's answer
        return


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
