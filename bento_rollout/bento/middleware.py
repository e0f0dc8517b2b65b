"""The ASGI middleware around the service: begins and ends the worker's part, marks answers, serves ``/rollout``."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import TYPE_CHECKING, Any

from ..records import Plan, uuid7
from ..router import Call
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

HEADERS = ("X-Rollout-Variant", "X-Rollout-Revision", "X-Rollout-Prediction-Id", "X-Rollout-Reason")
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
            await self._site.admin(scope, receive, send)
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
                await self._site.start()
                self._limit = self._site.time_limit()
                self._timeout = None if not self._limit else max(self._limit - EARLY, self._limit * 0.9)
            await send(message)

        await self._app(scope, receiving, sending)

    async def _endpoint(self, endpoint: str, kind: str, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != ("GET" if kind == "get" else "POST"):
            await self._app(scope, receive, send)
            return
        call = Call(endpoint, uuid7(time.time_ns() // 1_000_000, os.urandom(10)))
        if self._pins and (pin := header_of(scope, "x-rollout-variant")) is not None:
            known = self._site.pinnable(endpoint)
            if pin not in known:
                await _refuse_pin(pin, known, send)
                return
            call.pinned = pin
        call.header = lambda name: header_of(scope, name)
        if kind == "call":
            await self._call(call, scope, receive, send)
        elif kind == "get":
            await self._task_result(scope, receive, send)
        else:
            await self._task_submit(call, kind, scope, receive, send)

    async def _call(self, call: Call, scope: Scope, receive: Receive, send: Send) -> None:
        started = False
        names = self._names

        async def sending(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                if call.plans and names:
                    message["headers"] = [*message.get("headers", ()), *headers_of(call.plans, call.prediction_id, names)]
            await send(message)

        scope[CALL] = call
        call.gone = lambda: _disconnected(receive)
        if self._timeout is None:
            await self._app(scope, receive, sending)
            return
        await self._limited(scope, receive, sending, lambda: started)

    async def _limited(self, scope: Scope, receive: Receive, send: Send, started: Callable[[], bool]) -> None:
        """Answer 504 a moment before the server would: its own answer could not carry the headers."""
        late = False
        task = asyncio.current_task()

        def expire() -> None:
            nonlocal late
            if not started() and task is not None:
                late = task.cancel()

        assert self._timeout is not None  # noqa: S101 - the caller looked
        timer = asyncio.get_running_loop().call_later(self._timeout, expire)
        try:
            await self._app(scope, receive, send)
        except asyncio.CancelledError:
            if not late:
                raise
            if hasattr(task, "uncancel"):
                task.uncancel()  # type: ignore[union-attr]  # not None: it was cancelled; Python 3.11 and later
            body = json.dumps({"error": f"Not able to process the request in {self._limit} seconds"}, separators=(",", ":"))
            await _answer(send, 504, "application/json", body.encode())
        finally:
            timer.cancel()

    async def _task_submit(self, call: Call, kind: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Mark the answer to ``/submit`` (or ``/retry``) and keep what the task's ``/get`` must say."""
        tasks = self._site.tasks
        key: object
        if kind == "retry":
            key = await tasks.retried(call, scope)
        else:
            call.early, key = self._site.plan_from_head(call, scope)
        scope[CALL] = call
        names, body = self._names, bytearray()

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start" and names and message["status"] < 400:  # noqa: PLR2004 - HTTP
                plans = () if call.early is None else (call.early,)
                message["headers"] = [*message.get("headers", ()), *headers_of(plans, call.prediction_id, names)]
            elif message["type"] == "http.response.body":
                body.extend(message.get("body", b""))
                if not message.get("more_body"):
                    await tasks.submitted(call, bytes(body), key)
            await send(message)

        await self._app(scope, receive, sending)

    async def _task_result(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = await self._site.tasks.find(scope)

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start" and found is not None:
                plans, prediction_id = found
                message["headers"] = [*message.get("headers", ()), *headers_of(plans, prediction_id, self._names)]
            await send(message)

        await self._app(scope, receive, sending if found is not None and self._names else send)


def shown(exposed: bool | tuple[str, ...]) -> frozenset[str]:
    """Return which headers callers may see, in lower case."""
    if exposed is True:
        return frozenset(name.lower() for name in HEADERS)
    return frozenset(name.lower() for name in exposed or ())


def headers_of(plans: tuple[Plan, ...], prediction_id: str, names: Collection[str]) -> list[tuple[bytes, bytes]]:
    """Return the response headers of a call; several plans (rows) are told by their distinct values."""
    if len(plans) == 1:
        plan = plans[0]
        values = (plan.variant, str(plan.revision), prediction_id, plan.reason.value)
    elif plans:
        values = (",".join(sorted({p.variant for p in plans})), str(max(p.revision for p in plans)), prediction_id,
                  ",".join(sorted({p.reason.value for p in plans})))
    else:
        values = ("", "", prediction_id, "")
    pairs = ((name.lower(), value) for name, value in zip(HEADERS, values, strict=True))
    return [(name.encode(), value.encode()) for name, value in pairs if value and name in names]


async def _disconnected(receive: Receive) -> bool:
    """Whether the caller has gone: asks once, waits for nothing."""
    asking = asyncio.ensure_future(receive())
    await asyncio.sleep(0)
    if not asking.done():
        asking.cancel()
        return False
    if asking.cancelled() or asking.exception() is not None:
        return False
    return asking.result()["type"] == "http.disconnect"


async def _refuse_pin(pin: str, known: Collection[str], send: Send) -> None:
    problem = {"type": "about:blank", "title": "Unknown variant", "status": 400,
               "detail": f"X-Rollout-Variant names {pin[:100]!r}; the variants are: {', '.join(sorted(known))}"}
    await _answer(send, 400, "application/problem+json", json.dumps(problem).encode())


async def _answer(send: Send, status: int, media_type: str, body: bytes) -> None:
    headers = [(b"content-type", media_type.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
