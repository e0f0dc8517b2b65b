"""How what a candidate elsewhere measures comes back: in the head of its answer, where it is asked for."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from ..measuring import SHEET, Sheet, left
from .middleware import App, Message, Receive, Scope, Send

__all__ = ["MEASURED", "MEASURES", "MOST_BESIDE", "MOST_ELSEWHERE", "MeasuredMiddleware"]

MEASURED = "X-Rollout-Measured"
"""The header of a call that asks for what is measured; its value: how many rows it has, 0 of a whole call."""

MEASURES = "X-Rollout-Measures"
"""The header of an answer that tells what was measured, as a JSON object."""

MOST_BESIDE, MOST_ELSEWHERE = 1 << 17, 6000
"""Bytes of it at most: between two services on one host, and where proxies may stand between."""


class MeasuredMiddleware:
    """Lets `measure` in a service that another rollout calls be heard there.

    Candidates with ``runner="service"`` have it already. Add it to a service that is deployed by itself and
    is a candidate at a URL::

        Boosted.add_asgi_middleware(MeasuredMiddleware)

    An answer's head is sent with its first byte, so of a stream only what is measured before its first item
    is told. Nothing is told to who does not ask.

    Args:
        app: the service's app.
        most: bytes of the header at most; larger arrays are dropped, counted and logged.
        batched: paths of batchable endpoints, of which BentoML does not say which input is whose.
    """

    def __init__(self, app: App, most: int = MOST_ELSEWHERE, batched: Collection[str] = ()) -> None:
        self._app, self._most, self._batched = app, most, frozenset(batched)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        rows = _asked(scope) if scope["type"] == "http" else None
        if rows is None:
            await self._app(scope, receive, send)
            return
        sheet = None if scope["path"] in self._batched else Sheet(rows)
        start: Message | None = None

        async def sending(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                start = message
                return
            if start is not None:
                begun, start = start, None
                await send(self._told(begun, sheet))
            await send(message)

        token = SHEET.set(sheet)
        try:
            await self._app(scope, receive, sending)
        finally:
            left(token)
            if sheet is not None:
                sheet.taken()

    def _told(self, start: Message, sheet: Sheet | None) -> Message:
        told = None if sheet is None else sheet.as_text(self._most)
        if told is None:
            return start
        return {**start, "headers": [*start.get("headers", ()), (_MEASURES, told.encode())]}


_MEASURED, _MEASURES = MEASURED.lower().encode(), MEASURES.lower().encode()


def _asked(scope: Any) -> int | None:
    """Return for how many rows it is asked what is measured; None: nobody asks."""
    for name, value in scope["headers"]:
        if name == _MEASURED:
            return int(value) if value.isdigit() and len(value) <= 9 else None  # noqa: PLR2004 - digits of a count
    return None
