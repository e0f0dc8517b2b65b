"""What happens to a worker's requests: which are calls, which are of tasks, and which are the operators'."""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING

from starlette.routing import compile_path

from ..admin.rooted import inner_path
from ..calls import Call, Deciding
from ..degrees import Degree
from ..ids import uuid7
from ..telemetry.spans import Running, annotate
from .answers import Answer, Deadlines, headers_of, shown, staleness, start_of
from .context import ACTIVE, CALL
from .middleware import App, Message, Receive, Scope, Send
from .tracing import mark_trace

if TYPE_CHECKING:
    from .serving import Serving
    from .site import Site

__all__ = ["Requests"]

_entropy = random.Random(os.urandom(32))  # noqa: S311 - ids must differ between workers, not be secret
os.register_at_fork(after_in_child=lambda: _entropy.seed(os.urandom(32)))

EARLY = 0.05
"""Seconds before the server's own time limit at which the caller is told of it, with our headers."""

AGAIN = 5
"""Seconds after which a caller who was refused without a connection may ask again."""

MOST_KEPT = 1 << 16
"""Bytes of an answer that are kept for the ledger."""

Way = Callable[[str, Scope, Receive, Send], Awaitable[None]]


class Requests:
    """Serves HTTP requests in a worker that has started.

    Args:
        app: the service's app.
        site: the rollout as it was defined.
        serving: the rollout in this worker.
    """

    def __init__(self, app: App, site: Site, serving: Serving) -> None:
        self._app, self._site, self._serving = app, site, serving
        self._tasks, self._prefix, self._metrics = serving.tasks, site.prefix, f"{site.base}/metrics"
        self._names, self._contact = shown(site.spec.expose_headers), serving.contact
        self._keep = MOST_KEPT if site.spec.ledger.enabled and site.spec.ledger.outputs else 0
        self._pins = site.spec.routing.override_header
        # The server's own answer when time is up could not carry the headers: ours comes a moment before.
        self._deadlines = Deadlines(site.time_limit(), EARLY)
        ways: dict[str, tuple[str, Way]] = {
            "call": ("POST", self._call),
            "submit": ("POST", self._submit),
            "retry": ("POST", self._retry),
            "get": ("GET", self._result),
            "status": ("GET", self._status),
        }
        self._routes = {path: (endpoint, *ways[kind]) for path, (endpoint, kind) in site.routes().items()}
        self._patterns = [(compile_path(p)[0], route) for p, route in self._routes.items() if "{" in p]

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one request."""
        if ACTIVE.get() is not None:
            ACTIVE.set(None)  # a connection may carry the context in which its reading was resumed
        path = inner_path(scope) if scope.get("root_path") else scope["path"]
        route = self._routes.get(path) or self._templated(path)
        if route is not None:
            endpoint, verb, way = route
            if scope["method"] == verb:
                return way(endpoint, scope, receive, send)
        elif path.startswith(self._prefix):
            return self._serving.doors(scope, receive, send)
        return self._other(scope, receive, send)

    def _templated(self, path: str) -> tuple[str, str, Way] | None:
        """Return what serves a path whose route has parameters, like ``/v1/{tenant}/predict``."""
        found = (route for pattern, route in self._patterns if pattern.match(path))
        return next(found, None) if self._patterns else None

    async def _other(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve what is none of our routes; a middleware within may still lead it to an endpoint."""
        if inner_path(scope) == self._metrics:
            await self._serving.scraped()
        call = _begun("", scope, receive)
        if self._contact is not None:
            self._contact.mark(call)  # where it becomes a call it is not served
        if self._pins and (pin := _pin_of(call)) in self._site.pinnable():
            call.pinned = pin
        scope[CALL] = call
        answer = Answer(call, self._names, send, keep=self._keep, rollout=self._site.name)
        try:
            await self._app(scope, receive, answer.send)
        finally:
            call.scope, call.receive = {}, None
            self._is_out(call, answer)

    async def _call(self, endpoint: str, scope: Scope, receive: Receive, send: Send) -> None:
        call = _begun(endpoint, scope, receive)
        if self._contact is not None and await self._refused(call, send):
            return
        if self._pins and not await self._pinned(call, send):
            return
        scope[CALL] = call
        answer = Answer(call, self._names, send, keep=self._keep, rollout=self._site.name)
        self._deadlines.begin(answer)
        running = None if call.span is not None else self._begin_span(call, scope)
        try:
            await self._app(scope, receive, answer.send)
        except asyncio.CancelledError:
            if answer.apology is None:
                raise
        finally:
            self._deadlines.end(answer)
            answer.end()
            call.scope, call.receive = {}, None  # the scope holds the call: a circle would keep both
            self._is_out(call, answer)
            if running is not None:
                self._end_span(call, running)
        if answer.apology is not None:
            answer.forget_cancelling()
            await answer.apology

    def _begin_span(self, call: Call, scope: Scope) -> Running | None:
        """Begin a span of the user's own provider where BentoML records none; never raises."""
        running = self._serving.spans.request(call.endpoint, scope["headers"])
        if running is not None:
            mark_trace(call)
        return running

    @staticmethod
    def _end_span(call: Call, running: Running) -> None:
        last = call.runs[-1] if call.runs else None
        failed = call.reply.status >= HTTPStatus.INTERNAL_SERVER_ERROR
        running.end(last.outcome.value if last else "refused", last.error if last else None, failed=failed)

    def _is_out(self, call: Call, answer: Answer) -> None:
        """Let those know who shadow a call, or tell of it, that its answer is out; never raises."""
        if call.witnesses:
            self._serving.hand_over(call)
        if call.stale and call.plans and self._contact is not None:
            self._contact.count(call)
        if call.plans and call.task_id is None:
            call.reply = answer.reply()
            self._serving.tell(call)

    async def _refused(self, call: Call, send: Send) -> bool:
        """Note whether the store is within reach; true when nobody may answer without it: that was said."""
        assert self._contact is not None
        self._contact.mark(call)
        if call.obeys != "refuse":
            return False
        self._contact.count(call)
        detail = f"the store has not been within reach of this worker for {call.stale} s (on_stale: refuse)"
        more = [(b"retry-after", str(AGAIN).encode()), *staleness(call.stale, self._names)]
        await _say(send, HTTPStatus.SERVICE_UNAVAILABLE, "Store out of reach", detail, more)
        return True

    async def _pinned(self, call: Call, send: Send) -> bool:
        """Note the variant that the caller asks for; false when there is none of that name: that was said."""
        pin, known = _pin_of(call), self._site.pinnable()
        if pin is None:
            return True
        if pin in known:
            call.pinned = pin
            return True
        detail = f"X-Rollout-Variant names {pin[:100]!r}; the variants are: {', '.join(sorted(known))}"
        await _say(send, HTTPStatus.BAD_REQUEST, "Unknown variant", detail)
        return False

    # -- tasks -----------------------------------------------------------------------------------------

    async def _submit(self, endpoint: str, scope: Scope, receive: Receive, send: Send) -> None:
        call = _begun(endpoint, scope, None)  # nobody waits for a task: no caller can leave it
        if self._contact is not None and await self._refused(call, send):
            return
        if self._pins and not await self._pinned(call, send):
            return
        call.early, key = self._serving.plan_from_head(call, scope)
        await self._begin(call, key, scope, receive, send)

    async def _retry(self, endpoint: str, scope: Scope, receive: Receive, send: Send) -> None:
        call = _begun(endpoint, scope, None)
        if self._contact is not None and await self._refused(call, send):
            return
        if self._pins and not await self._pinned(call, send):
            return
        key = await self._tasks.retried(call, scope)
        await self._begin(call, key, scope, receive, send)

    async def _begin(self, call: Call, key: object, scope: Scope, receive: Receive, send: Send) -> None:
        """Mark the answer that a task was taken, and keep what the task's ``/get`` must say."""
        names, body, status = self._names, bytearray(), 0
        if call.endpoint in self._site.spec.automation:
            call.deciding = Deciding(Degree.HUMAN)  # until the task begins nobody knows who decides
        decided_by = None if call.deciding is None else ""
        scope[CALL] = call

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                plans = () if call.early is None else (call.early,)
                if call.span is not None:
                    annotate(call.span, self._site.name, call.endpoint, call.prediction_id, plans)
                if names and status < HTTPStatus.BAD_REQUEST:
                    ours = headers_of(plans, call.prediction_id, names, decided_by)
                    stale = staleness(call.stale, names)
                    message["headers"] = [*message.get("headers", ()), *ours, *stale]
                if call.stale and self._contact is not None and status < HTTPStatus.BAD_REQUEST:
                    self._contact.count(call)
            elif message["type"] == "http.response.body" and status < HTTPStatus.BAD_REQUEST:
                body.extend(message.get("body", b""))
                if not message.get("more_body"):
                    await self._tasks.submitted(call, bytes(body), key)
            await send(message)

        running = self._begin_span(call, scope)
        try:
            await self._app(scope, receive, sending)
        finally:
            if running is not None:
                running.end("submitted", None, failed=status >= HTTPStatus.INTERNAL_SERVER_ERROR)

    async def _result(self, _: str, scope: Scope, receive: Receive, send: Send) -> None:
        found = await self._tasks.find(scope)
        if self._contact is not None and found is not None:
            send = _marking(send, staleness(self._contact.seconds(), self._names))
        if found is not None and found.case:
            from .asked_tasks import result  # most services ask nobody

            ways = (found, self._names), self._serving.decision
            await result(self._app, scope, receive, send, *ways)
            return

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start" and found is not None:
                ours = headers_of(found.plans, found.prediction_id, self._names, found.decided_by)
                message["headers"] = [*message.get("headers", ()), *ours]
            await send(message)

        await self._app(scope, receive, sending if found is not None and self._names else send)

    async def _status(self, _: str, scope: Scope, receive: Receive, send: Send) -> None:
        from .asked_tasks import status

        found = await self._tasks.find(scope)
        decision = await self._serving.decision("" if found is None else found.case)
        await status(self._app, scope, receive, send, decision)


async def _say(
    send: Send, status: HTTPStatus, title: str, detail: str, more: Sequence[tuple[bytes, bytes]] = ()
) -> None:
    """Answer with a problem instead of the service."""
    problem = {"type": "about:blank", "title": title, "status": status.value, "detail": detail}
    body = json.dumps(problem).encode()
    start = start_of(status, "application/problem+json", body)
    await send({**start, "headers": [*start["headers"], *more]})
    await send({"type": "http.response.body", "body": body})


def _marking(send: Send, more: Sequence[tuple[bytes, bytes]]) -> Send:
    """Return what sends an answer with more headers."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), *more]
        await send(message)

    return sending if more else send


def _pin_of(call: Call) -> str | None:
    """Return the variant that the caller asks for, as text whatever its bytes; None without the header."""
    found = next((value for name, value in call.scope["headers"] if name == b"x-rollout-variant"), None)
    return None if found is None else bytes(found).decode("utf-8", "replace").strip()


def _begun(endpoint: str, scope: Scope, receive: Receive | None) -> Call:
    """Return a call that begins now."""
    now = time.time_ns()
    call = Call(endpoint, uuid7(now // 1_000_000, _entropy.randbytes(10)), scope, receive)
    call.began = now / 1e9
    mark_trace(call)
    return call
