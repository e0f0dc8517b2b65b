"""The operators' HTTP door: the command line's verbs as an ASGI app, closed until there is a token."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .app import admin_app

__all__ = ["admin_app"]


def __getattr__(name: str) -> Any:
    # Late, so that the command line can build the OpenAPI document without loading a web framework.
    if name == "admin_app":
        from .app import admin_app

        return admin_app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
