"""The ASGI middleware around the service: its begin and end, marks on answers, and ``/rollout``."""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from bentoml._internal.utils.http import set_cookies
from starlette.datastructures import MutableHeaders
from starlette.responses import Response

from ..calls import Call
from ..records import Plan, uuid7
from ..spec import RESPONSE_HEADERS
from .context import ACTIVE, CALL
from .keys import header_of

if TYPE_CHECKING:
    from .site import Site

__all__ = ["RolloutMiddleware"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_entropy = random.Random(os.urandom(32))  # noqa: S311 - ids must differ between workers, not be secret
os.register_at_fork(after_in_child=lambda: _entropy.seed(os.urandom(32)))

_WIRE = tuple(name.lower().encode() for name in RESPONSE_HEADERS)

EARLY = 0.05
"""Seconds before the server's own time limit at which the caller is told of it, with our headers."""


class RolloutMiddleware:
    """Wraps the service's app; BentoML makes one for each worker.

    Args:
        app: the app within.
        site: the decorated service's definition.
    """

    def __init__(self, app: App, site: Site) -> None:
        self._app = app
        self._site = site
        self._routes = site.routes()
        self._prefix = site.prefix
        self._names = shown(site.spec.expose_headers)
        self._pins = site.spec.routing.override_header
        self._timeout: float | None = None
        self._limit: Any = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
        elif scope["type"] != "http":
            await self._app(scope, receive, send)
        elif (route := self._routes.get(scope["path"])) is not None and ACTIVE.get() is None:
            await self._endpoint(*route, scope, receive, send)
        elif scope["path"].startswith(self._prefix):
            await self._serving.admin(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Start this worker's part after the service has started, and end it before the service ends."""

        async def receiving() -> Message:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                await self._site.stop()
            return message

        async def sending(message: Message) -> None:
            if message["type"] == "lifespan.startup.complete":
                self._serving = await self._site.start()
                self._limit = self._site.time_limit()
                self._timeout = None if not self._limit else max(self._limit - EARLY, self._limit * 0.9)
            await send(message)

        await self._app(scope, receiving, sending)

    async def _endpoint(self, endpoint: str, kind: str, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != ("GET" if kind == "get" else "POST"):
            await self._app(scope, receive, send)
            return
        if kind == "get":
            await self._task_result(scope, receive, send)
            return
        call = Call(endpoint, uuid7(time.time_ns() // 1_000_000, _entropy.randbytes(10)))
        if self._pins and (pin := _pin(scope)) is not None:
            known = self._site.pinnable()
            if pin not in known:
                await _refuse_pin(pin, known, send)
                return
            call.pinned = pin
        call.header = lambda name: header_of(scope, name)
        if kind == "call":
            await self._call(call, scope, receive, send)
        else:
            await self._task_submit(call, kind, scope, receive, send)

    async def _call(self, call: Call, scope: Scope, receive: Receive, send: Send) -> None:
        scope[CALL] = call
        call.gone = lambda: _disconnected(receive)
        answer = _Answer(call, self._names, send)
        if self._timeout is None:
            await self._app(scope, receive, answer.send)
            return
        # The server's own answer when time is up could not carry the headers: this one comes a moment before.
        timer = asyncio.get_running_loop().call_later(self._timeout, answer.expire, self._limit)
        try:
            await self._app(scope, receive, answer.send)
        except asyncio.CancelledError:
            if answer.apology is None:
                raise
        finally:
            timer.cancel()
        if answer.apology is not None:
            answer.forget_cancelling()
            await answer.apology

    async def _task_submit(self, call: Call, kind: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Mark the answer to ``/submit`` (or ``/retry``) and keep what the task's ``/get`` must say."""
        tasks = self._serving.tasks
        key: object
        if kind == "retry":
            key = await tasks.retried(call, scope)
        else:
            call.early, key = self._serving.plan_from_head(call, scope)
        scope[CALL] = call
        names, body, status = self._names, bytearray(), 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if names and status < HTTPStatus.BAD_REQUEST:
                    plans = () if call.early is None else (call.early,)
                    ours = headers_of(plans, call.prediction_id, names)
                    message["headers"] = [*message.get("headers", ()), *ours]
            elif message["type"] == "http.response.body" and status < HTTPStatus.BAD_REQUEST:
                body.extend(message.get("body", b""))
                if not message.get("more_body"):
                    await tasks.submitted(call, bytes(body), key)
            await send(message)

        await self._app(scope, receive, sending)

    async def _task_result(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = await self._serving.tasks.find(scope)

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start" and found is not None:
                plans, prediction_id = found
                ours = headers_of(plans, prediction_id, self._names)
                message["headers"] = [*message.get("headers", ()), *ours]
            await send(message)

        await self._app(scope, receive, sending if found is not None and self._names else send)


class _Answer:
    """One request's answer on its way out: marks it, and apologises in its place when time is up.

    Args:
        call: the request.
        names: the headers that callers may see.
        send: towards the caller.
    """

    def __init__(self, call: Call, names: Collection[bytes], send: Send) -> None:
        self.apology: asyncio.Task[None] | None = None
        self._call, self._names, self._send = call, names, send
        self._task = asyncio.current_task()
        self._started = self._cancelled = False

    async def send(self, message: Message) -> None:
        """Send a message of the service, unless the caller has been answered already."""
        if self.apology is not None:
            return
        if message["type"] == "http.response.start":
            self._started = True
            if self._call.response is not None:
                _apply(self._call.response, message)
            self._mark(message)
        await self._send(message)

    def expire(self, limit: float) -> None:
        """Answer that time is up, and cancel the service's work."""
        if not self._started and self._task is not None:
            self.apology = asyncio.get_running_loop().create_task(self._apologise(limit))
            self._cancelled = self._task.cancel()

    def forget_cancelling(self) -> None:
        """Let the request's task go on after its cancelling was caught."""
        if self._cancelled and self._task is not None and hasattr(self._task, "uncancel"):
            self._task.uncancel()  # Python 3.11 and later

    async def _apologise(self, limit: float) -> None:
        body = {"error": f"Not able to process the request in {limit} seconds"}
        text = json.dumps(body, separators=(",", ":")).encode()
        start = _start(HTTPStatus.GATEWAY_TIMEOUT, "application/json", text)
        self._mark(start)
        await self._send(start)
        await self._send({"type": "http.response.body", "body": text})

    def _mark(self, start: Message) -> None:
        if self._call.plans and self._names:
            ours = headers_of(self._call.plans, self._call.prediction_id, self._names)
            start["headers"] = [*start.get("headers", ()), *ours]


def shown(exposed: bool | tuple[str, ...]) -> frozenset[bytes]:
    """Return which headers callers may see, as they stand on the wire."""
    if exposed is True:
        return frozenset(_WIRE)
    return frozenset(name.lower().encode() for name in exposed or ())


def headers_of(
    plans: tuple[Plan, ...], prediction_id: str, names: Collection[bytes]
) -> list[tuple[bytes, bytes]]:
    """Return the response headers of a call; several plans (rows) are told by their distinct values."""
    values: tuple[str, ...] = ("", "", prediction_id, "")
    if len(plans) == 1:
        plan = plans[0]
        values = (plan.variant, str(plan.revision), prediction_id, plan.reason.value)
    elif plans:
        variants, reasons = {plan.variant for plan in plans}, {plan.reason.value for plan in plans}
        revision = max(plan.revision for plan in plans)
        values = (",".join(sorted(variants)), str(revision), prediction_id, ",".join(sorted(reasons)))
    pairs = zip(_WIRE, values, strict=True)
    return [(name, value.encode()) for name, value in pairs if value and name in names]


def _pin(scope: Scope) -> str | None:
    """Return the variant that the caller asks for, as text whatever its bytes; None without the header."""
    found = next((bytes(value) for name, value in scope["headers"] if name == b"x-rollout-variant"), None)
    return None if found is None else found.decode("utf-8", "replace").strip()


def _apply(response: Any, start: Message) -> None:
    """Give a stream the status, headers and cookies that a candidate set through its context."""
    headers = MutableHeaders(raw=list(start.get("headers", ())))
    headers.update(response.metadata)
    cookies = Response()
    set_cookies(cookies, response.cookies)
    more = [pair for pair in cookies.raw_headers if pair[0] == b"set-cookie"]
    start["headers"], start["status"] = [*headers.raw, *more], response.status_code


async def _disconnected(receive: Receive) -> bool:
    """Whether the caller has gone: asks once, waits for nothing."""
    asking = asyncio.ensure_future(receive())
    await asyncio.sleep(0)
    if not asking.done():
        asking.cancel()
        return False
    if asking.cancelled() or asking.exception() is not None:
        return False
    return bool(asking.result()["type"] == "http.disconnect")


async def _refuse_pin(pin: str, known: Collection[str], send: Send) -> None:
    names = ", ".join(sorted(known))
    problem = {
        "type": "about:blank",
        "title": "Unknown variant",
        "status": HTTPStatus.BAD_REQUEST.value,
        "detail": f"X-Rollout-Variant names {pin[:100]!r}; the variants are: {names}",
    }
    body = json.dumps(problem).encode()
    await send(_start(HTTPStatus.BAD_REQUEST, "application/problem+json", body))
    await send({"type": "http.response.body", "body": body})


def _start(status: HTTPStatus, media_type: str, body: bytes) -> Message:
    headers = [(b"content-type", media_type.encode()), (b"content-length", str(len(body)).encode())]
    return {"type": "http.response.start", "status": status.value, "headers": headers}
