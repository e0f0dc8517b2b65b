"""What ``/get`` and ``/status`` say of a task that a person decides, though its worker may have ended."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs

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

    def say(self, value: object, status: HTTPStatus) -> None:
        """Say something else instead."""
        self.start = {**self.start, "status": status.value}
        self.body = bytearray(json.dumps(value, separators=(",", ":")).encode())

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
    asked: Callable[[str], Awaitable[Decision | None]],
) -> None:
    """Answer ``/get``: with the task's result; where there is none, with the decision.

    Args:
        app: the service.
        scope, receive, send: the request.
        told: what is known of the task, and the headers that callers may see.
        asked: returns where a case stands.
    """
    heard, (found, names) = _Heard(), told
    await app(scope, receive, heard.send)
    by, decision = found.decided_by, None
    if heard.start["status"] >= HTTPStatus.BAD_REQUEST:
        decision = await asked(found.case)
    if decision is not None and decision.status is Status.OPEN:
        heard.say({"error": f"task {_task_of(scope)} is not completed yet"}, HTTPStatus.BAD_REQUEST)
    elif decision is not None:
        response, by = answer_of(decision), decision.decided_by
        heard.start = {"type": "http.response.start", "status": response.status_code}
        heard.start["headers"], heard.body = response.raw_headers, bytearray(response.body)
    ours = headers_of(found.plans, found.prediction_id, names, by or "")
    heard.start["headers"] = [*heard.start.get("headers", ()), *ours]
    await heard.pass_on(send)


async def status(app: App, scope: Scope, receive: Receive, send: Send, decision: Decision | None) -> None:
    """Answer ``/status``: a task stands where its case does, whoever was to write that down, or lost it.

    Args:
        app: the service.
        scope, receive, send: the request.
        decision: where the case stands; None: there is none.
    """
    if decision is None:
        await app(scope, receive, send)
        return
    heard = _Heard()
    await app(scope, receive, heard.send)
    try:
        row: Any = json.loads(heard.body)
    except ValueError:
        row = {}
    if not isinstance(row, dict) or "status" not in row:
        row = {"task_id": _task_of(scope), "status": _IN_PROGRESS, "created_at": None, "executed_at": None}
    if row["status"] == _IN_PROGRESS and decision.status is not Status.OPEN:
        done = decision.status in (Status.ANSWERED, Status.DEFAULTED)
        row["status"] = "completed" if done else "failed"
    heard.say(row, HTTPStatus.OK)
    await heard.pass_on(send)


_IN_PROGRESS = "in_progress"


def _task_of(scope: Scope) -> str:
    query = parse_qs(bytes(scope.get("query_string", b"")).decode("latin-1"))
    return query.get("task_id", [""])[0]
