"""Answers on their way out: marked with who gave them, and cut short when the server's time is up."""

from __future__ import annotations

import asyncio
import contextvars
import json
import time
from collections.abc import Awaitable, Sequence
from functools import lru_cache
from http import HTTPStatus
from typing import Any

from bentoml._internal.utils.http import set_cookies
from starlette.datastructures import MutableHeaders
from starlette.responses import Response

from ..calls import Call
from ..records import Plan, Reply
from ..revisions import shown_revision
from ..spec import RESPONSE_HEADERS
from ..telemetry.spans import annotate
from .middleware import Message, Send

__all__ = ["Answer", "Deadlines", "headers_of", "shown", "staleness", "start_of"]

Pair = tuple[bytes, bytes]

VARIANT, REVISION, PREDICTION_ID, REASON, DECIDED_BY, STALE = (
    name.lower().encode() for name in RESPONSE_HEADERS
)


class Answer:
    """One request's answer on its way out: marks it, and apologises in its place when time is up.

    Args:
        call: the request.
        names: the headers that callers may see.
        send: towards the caller.
        keep: how many bytes of the answer are kept for those who tell of it.
        rollout: the rollout's name, for the request's span.

    Attributes:
        apology: what tells the caller that time is up, once it is.
        deadline: when it is, on the monotonic clock.
    """

    __slots__ = (
        "_body", "_call", "_cancelled", "_context", "_done", "_headers", "_keep", "_names", "_rollout",
        "_send", "_size", "_started", "_status", "_task", "apology", "deadline",
    )  # fmt: skip

    def __init__(
        self, call: Call, names: frozenset[bytes], send: Send, *, keep: int = 0, rollout: str = ""
    ) -> None:
        self.apology: asyncio.Task[None] | None = None
        self.deadline = 0.0
        self._call, self._names, self._send = call, names, send
        self._task = asyncio.current_task()
        self._context = contextvars.copy_context()
        self._started = self._cancelled = self._done = False
        self._status, self._size, self._keep, self._rollout = 0, 0, keep, rollout
        self._headers: Sequence[Pair] = ()
        self._body: list[bytes] = []

    def reply(self) -> Reply:
        """Return what went out."""
        media_type = next((value for name, value in self._headers if name == b"content-type"), b"")
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        return Reply(self._status, media_type.decode("latin-1"), body, self._size)

    def send(self, message: Message) -> Awaitable[None]:
        """Send a message of the service, unless the caller has been answered already."""
        if self.apology is not None:
            return _nothing()
        if message["type"] == "http.response.start":
            self._started = True
            if self._call.response is not None:
                _apply(self._call.response, message)
            self._status, self._headers = message["status"], message.get("headers", ())
            self._mark(message)
        elif chunk := message.get("body"):
            if self._size < self._keep:
                self._body.append(bytes(chunk[: self._keep - self._size]))
            self._size += len(chunk)
        return self._send(message)

    def expire(self, limit: float) -> None:
        """Answer that time is up, and cancel the service's work."""
        if not self._started and self._task is not None:
            body = {"error": f"Not able to process the request in {limit} seconds"}
            text = json.dumps(body, separators=(",", ":")).encode()
            start = start_of(HTTPStatus.GATEWAY_TIMEOUT, "application/json", text)
            self._status, self._headers = start["status"], start["headers"]
            self._body, self._size = [text[: self._keep]], len(text)
            self.apology = self._context.run(asyncio.ensure_future, self._apologise(start, text))

    def end(self) -> None:
        """Cancel nothing any more: the service's work is done."""
        self._done = True

    def forget_cancelling(self) -> None:
        """Let the request's task go on after its cancelling was caught."""
        if self._cancelled and self._task is not None and hasattr(self._task, "uncancel"):
            self._task.uncancel()  # Python 3.11 and later

    async def _apologise(self, start: Message, text: bytes) -> None:
        self._call.left = await self._call.has_gone()  # now: who was answered has gone, too
        if not self._done and self._task is not None:
            self._cancelled = self._task.cancel()
        self._mark(start)
        await self._send(start)
        await self._send({"type": "http.response.body", "body": text})

    def _mark(self, start: Message) -> None:
        call = self._call
        if call.span is not None and call.plans:  # now: the span ends with the last byte
            annotate(call.span, self._rollout, call.endpoint, call.prediction_id, call.plans)
        if self._call.plans and self._names:
            by = None if call.deciding is None else call.deciding.by
            ours = headers_of(self._call.plans, self._call.prediction_id, self._names, by)
            start["headers"] = [*start.get("headers", ()), *ours, *staleness(call.stale, self._names)]


class Deadlines:
    """Tells answers when their time is up; one timer for all, since the oldest is always the first.

    Args:
        limit: the seconds that the server gives a request; None or 0: no limit.
        early: the seconds before that at which the caller is told.
    """

    def __init__(self, limit: float | None, early: float) -> None:
        self._limit = limit or 0.0
        self._seconds = max(self._limit - early, self._limit * 0.9)
        self._waiting: dict[Answer, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, answer: Answer) -> None:
        """Watch over an answer."""
        if self._limit:
            answer.deadline = time.monotonic() + self._seconds
            self._waiting[answer] = None
            if self._timer is None:
                self._wait(self._seconds)

    def end(self, answer: Answer) -> None:
        """Watch no more."""
        self._waiting.pop(answer, None)

    def _wait(self, seconds: float) -> None:
        # In a context of its own: a request's would be kept alive by the timer.
        context = contextvars.Context()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._ring, context=context)

    def _ring(self) -> None:
        self._timer = None
        while self._waiting:
            oldest = next(iter(self._waiting))
            if (left := oldest.deadline - time.monotonic()) > 0:
                self._wait(left)
                return
            del self._waiting[oldest]
            oldest.expire(self._limit)


async def _nothing() -> None:
    """Send nothing."""


def shown(exposed: bool | tuple[str, ...]) -> frozenset[bytes]:
    """Return which headers callers may see, as they stand on the wire."""
    names = RESPONSE_HEADERS if exposed is True else exposed or ()
    return frozenset(name.lower().encode() for name in names)


def headers_of(
    plans: tuple[Plan, ...], prediction_id: str, names: frozenset[bytes], decided_by: str | None = None
) -> list[Pair]:
    """Return the response headers of a call; several plans (rows) are told by their distinct values.

    Args:
        plans: who answered.
        prediction_id: its id.
        names: the headers that callers may see.
        decided_by: who decided, where the endpoint is automated; empty: nobody has yet. Only where that is
            the model there is a variant that answered.
    """
    if len(plans) == 1:
        plan = plans[0]
        pairs = [*_told(plan.variant, plan.revision, plan.reason.value, names, decided_by)]
    elif plans:
        variants, reasons = {plan.variant for plan in plans}, {plan.reason.value for plan in plans}
        revision = max(plan.revision for plan in plans)
        pairs = [*_told(",".join(sorted(variants)), revision, ",".join(sorted(reasons)), names, decided_by)]
    else:
        pairs = [*_decided(decided_by, names)]
    if PREDICTION_ID in names and prediction_id:
        pairs.append((PREDICTION_ID, prediction_id.encode()))
    return pairs


def staleness(seconds: int, names: frozenset[bytes]) -> tuple[Pair, ...]:
    """Return the header that says how long the store has not been within reach; none where it is.

    Args:
        seconds: how long; 0: it is.
        names: the headers that callers may see.
    """
    return ((STALE, str(seconds).encode()),) if seconds and STALE in names else ()


@lru_cache(maxsize=256)
def _told(
    variant: str, revision: int, reason: str, names: frozenset[bytes], decided_by: str | None
) -> tuple[Pair, ...]:
    pairs = (VARIANT, variant), (REVISION, str(shown_revision(revision))), (REASON, reason)
    may = names if decided_by in (None, "model") else names - {VARIANT, REASON}
    told = ((name, value.encode()) for name, value in pairs if name in may)
    return (*_decided(decided_by, names), *told)


def _decided(decided_by: str | None, names: frozenset[bytes]) -> tuple[Pair, ...]:
    return ((DECIDED_BY, decided_by.encode()),) if decided_by and DECIDED_BY in names else ()


def _apply(response: Any, start: Message) -> None:
    """Give a stream the status, headers and cookies that a candidate set through its context."""
    headers = MutableHeaders(raw=list(start.get("headers", ())))
    headers.update(response.metadata)
    cookies = Response()
    set_cookies(cookies, response.cookies)
    more = [pair for pair in cookies.raw_headers if pair[0] == b"set-cookie"]
    start["headers"], start["status"] = [*headers.raw, *more], response.status_code


def start_of(status: HTTPStatus, media_type: str, body: bytes) -> Message:
    """Return the message that begins an answer of ours."""
    headers = [(b"content-type", media_type.encode()), (b"content-length", str(len(body)).encode())]
    return {"type": "http.response.start", "status": status.value, "headers": headers}
