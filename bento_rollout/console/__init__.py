"""The console: pages for people who review, and for those who decide how much the model may do alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .app import console_app

__all__ = ["console_app"]


def __getattr__(name: str) -> Any:
    # Late: templates and a web framework are loaded by whoever opens the console, not by a start.
    if name == "console_app":
        from .app import console_app

        return console_app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
