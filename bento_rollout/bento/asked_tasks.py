"""What ``/get`` and ``/status`` say of a task that a person decides, though its worker may have ended."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

from ..reviewing import Decision, Status
from .answers import headers_of
from .middleware import App, Message, Receive, Scope, Send
from .pending import answer_of
from .tasks import Found

__all__ = ["result", "status"]


class _Heard:
    """An answer of the service that is not sent yet."""

    def __init__(self) -> None:
        self.start: Message = {}
        self.body = bytearray()

    async def send(self, message: Message) -> None:
        """Keep a message."""
        if message["type"] == "http.response.start":
            self.start = message
        else:
            self.body.extend(message.get("body", b""))

    async def pass_on(self, send: Send) -> None:
        """Send what was kept."""
        length = [(b"content-length", str(len(self.body)).encode())]
        others = [pair for pair in self.start.get("headers", ()) if pair[0].lower() != b"content-length"]
        await send({**self.start, "headers": [*others, *length]})
        await send({"type": "http.response.body", "body": bytes(self.body)})


async def result(
    app: App,
    scope: Scope,
    receive: Receive,
    send: Send,
    told: tuple[Found, frozenset[bytes]],
    decided: Callable[[str], Awaitable[Decision | None]],
) -> None:
    """Answer ``/get``: with the task's result; where there is none, with the decision.

    Args:
        app: the service.
        scope, receive, send: the request.
        told: what is known of the task, and the headers that callers may see.
        decided: returns a decision.
    """
    heard, (found, names) = _Heard(), told
    await app(scope, receive, heard.send)
    by = found.decided_by
    if (
        heard.start["status"] >= HTTPStatus.BAD_REQUEST
        and (decision := await decided(found.case)) is not None
    ):
        response, by = answer_of(decision), decision.decided_by
        heard.start = {"type": "http.response.start", "status": response.status_code}
        heard.start["headers"], heard.body = response.raw_headers, bytearray(response.body)
    ours = headers_of(found.plans, found.prediction_id, names, by or "")
    heard.start["headers"] = [*heard.start.get("headers", ()), *ours]
    await heard.pass_on(send)


async def status(app: App, scope: Scope, receive: Receive, send: Send, decision: Decision | None) -> None:
    """Answer ``/status``: a task whose case is decided is over, whoever was to write that down."""
    if decision is None:
        await app(scope, receive, send)
        return
    heard = _Heard()
    await app(scope, receive, heard.send)
    try:
        row: Any = json.loads(heard.body)
        if row["status"] == "in_progress":
            done = decision.status in (Status.ANSWERED, Status.DEFAULTED)
            row["status"] = "completed" if done else "failed"
            heard.body = bytearray(json.dumps(row, separators=(",", ":")).encode())
    except (ValueError, TypeError, KeyError):  # an error of the service's own is passed on
        pass
    await heard.pass_on(send)
