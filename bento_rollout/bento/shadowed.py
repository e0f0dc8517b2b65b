"""What a candidate's own service knows of shadow calls, and what becomes of their monitoring records."""

from __future__ import annotations

import collections
import functools
from collections.abc import Awaitable
from typing import Any

from ..shadowing import SHADOW, enter_shadow
from .middleware import App, Receive, Scope, Send

__all__ = ["MARK", "MONITORED", "SHADOWED", "ShadowedMiddleware", "mark_monitors"]

SHADOWED = "X-Rollout-Shadow"
"""The header of a call whose answer is compared and not used."""

MONITORED = "X-Rollout-Shadow-Monitor"
"""The header of a shadow call whose monitoring records are wanted."""

MARK = "rollout.shadow"
"""The column by which a shadow's monitoring records are known."""


class ShadowedMiddleware:
    """Lets `is_shadow` be true in a candidate's own service, where only the champion's workers call.

    Args:
        app: the service's app.
    """

    def __init__(self, app: App) -> None:
        self._app = app
        mark_monitors()

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one ASGI connection."""
        if scope["type"] == "http":
            heads = {name for name, _ in scope["headers"]}
            enter_shadow(_WANTED in heads if _SHADOWED in heads else None)
        return self._app(scope, receive, send)


_SHADOWED, _WANTED = SHADOWED.lower().encode(), MONITORED.lower().encode()


def mark_monitors() -> None:
    """Let `bentoml.monitor` records of shadow calls go to no sink, or be marked where they are wanted."""
    from bentoml._internal.monitoring import base

    stop = base.MonitorBase.stop_record
    if hasattr(stop, "__wrapped__"):
        return

    @functools.wraps(stop)
    def stop_record(self: Any) -> None:
        meter = SHADOW.get()
        if meter is None:
            stop(self)
            return
        columns = base.MON_DATAS_VAR.get()
        if not meter.monitored or not columns:
            base.MON_DATAS_VAR.set(None)
            if self.columns_schema is None:
                base.MON_COLUMN_VAR.set(None)
            return
        count = max(len(column) for column in columns.values())
        schema = base.MON_COLUMN_VAR.get()
        if self.columns_schema is None and schema is not None:
            schema[MARK] = {"name": MARK, "role": "feature", "type": "categorical"}
        columns[MARK] = collections.deque([True] * count)
        stop(self)

    base.MonitorBase.stop_record = stop_record  # type: ignore[method-assign]  # there is no hook for it
