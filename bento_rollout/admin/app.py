"""`admin_app`: the operators' routes as an ASGI app, to be mounted or wrapped around a service."""

from __future__ import annotations

import os
import re
import threading
import traceback
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

from anyio import CapacityLimiter, to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from ..errors import InvalidValue, RolloutError, StoreUnreachable
from ..operations import Rollout
from ..telemetry.log import event
from ..values import shown
from .bodies import VERBS, Body, parse_body
from .decisions import Deciding, decisions_endpoint
from .drift import DRIFT_VERBS
from .gate import NO_STORE, Gate, respond, said
from .labels import labels_endpoint
from .openapi import openapi
from .people import People
from .problems import problem, problem_of
from .reading import MAX_BODY, BodyTooLarge, parse_query, read_body
from .tokens import Tokens

if TYPE_CHECKING:
    from .reviews import Reviewing

__all__ = ["admin_app"]

LABELS = "BENTO_ROLLOUT_LABEL_TOKEN"

CLOSED = (
    "the operators' routes are closed: no usable token is configured "
    "(BENTO_ROLLOUT_ADMIN_TOKEN, or BENTO_ROLLOUT_ADMIN_TOKEN_FILE)"
)
UNLABELLED = (
    "labels are not taken: no usable token is configured (BENTO_ROLLOUT_LABEL_TOKEN, "
    "BENTO_ROLLOUT_LABEL_TOKEN_FILE, or an operator's)"
)

ROWS, MOST_ROWS = 100, 1000
"""How many revisions one answer has, when nothing is said and at most."""

AT_ONCE = 2
"""Calls of one route that run at the same time; each route counts its own: no verb waits for another."""

REVIEWERS_AT_ONCE = 8
"""The same of each of the reviewers' routes: people come at once, and ``answer:`` may take its time."""

Endpoint = Callable[[Request], Awaitable[Response]]
T = TypeVar("T")

_WHOLE = re.compile(r"[1-9][0-9]{0,8}")

_BREATH = 0.05
"""Seconds between two pages that are computed again, so that whoever serves has the processor in between."""


def admin_app(
    opened: Callable[[], Rollout],
    *,
    tokens: Tokens | None = None,
    labellers: Tokens | None = None,
    prefix: str = "/rollout",
    refuse: Callable[[str], None] | None = None,
    deciding: Deciding | None = None,
    reviewing: Reviewing | None = None,
    people: People | None = None,
) -> Starlette:
    """Return the ASGI app that serves everything below ``prefix``; what it does not know is a 404.

    Args:
        opened: opens the rollout; called once, in a worker thread, when the first operator comes.
        tokens: who may come in; None: those of the environment (``BENTO_ROLLOUT_ADMIN_TOKEN``, ``…_FILE``).
        labellers: who may tell labels, and nothing else; None: those of the environment
            (``BENTO_ROLLOUT_LABEL_TOKEN``, ``…_FILE``). Operators may, too.
        prefix: what the paths begin with; an empty text when the app is mounted there.
        refuse: is told in words, in a worker thread, of each change that the store did not take.
        deciding: where callers find what people decided; None: people decide nothing.
        reviewing: what people review with; None: there is nothing to review.
        people: who may review; None: those whom the environment names (``BENTO_ROLLOUT_REVIEW_TOKEN``,
            ``…_FILE``, and operators), with the roles that ``reviewing`` has.
    """
    if tokens is None:
        tokens = Tokens.from_environment(os.environ)
    if labellers is None:
        labellers = Tokens.from_environment(os.environ, LABELS, name="labels")
    operators = _Operators(
        _Opened(opened),
        Gate(tokens, closed=CLOSED),
        Gate(tokens, labellers, closed=UNLABELLED),
        prefix,
        refuse,
    )
    routes = operators.routes()
    if deciding is not None:
        endpoint = decisions_endpoint(deciding, _Lane(), _guarded)
        routes.append(Route(f"{prefix}/decisions/{{task}}", endpoint))
    if reviewing is not None:
        from .reviews import review_routes  # it brings the queue, and that numpy

        known = people or People.from_environment(os.environ, reviewing.roles)
        routes += review_routes(reviewing, known, prefix, lambda: _Lane(REVIEWERS_AT_ONCE), _guarded)
    app = Starlette(routes=routes, exception_handlers={HTTPException: _http_problem})
    app.router.redirect_slashes = False
    return app


class _Opened:
    """The rollout, opened at its first use; safe to use from several threads."""

    def __init__(self, opened: Callable[[], Rollout]) -> None:
        self._open = opened
        self._rollout: Rollout | None = None
        self._lock = threading.Lock()

    def acting_as(self, author: str) -> Rollout:
        """Return the rollout with changes recorded for this author."""
        with self._lock:
            if self._rollout is None:
                self._rollout = self._open()
            return self._rollout.acting_as(author)


class _Operators:
    """The routes of one rollout; blocking work runs in threads, a few at a time."""

    def __init__(
        self,
        opened: _Opened,
        gate: Gate,
        label_gate: Gate,
        prefix: str,
        refuse: Callable[[str], None] | None,
    ) -> None:
        self._opened = opened
        self._gate, self._label_gate = gate, label_gate
        self._prefix = prefix
        self._refuse = refuse

    def routes(self) -> list[BaseRoute]:
        """Return every route."""
        base = f"{self._prefix}/admin"
        reads: dict[str, Callable[[Rollout, bytes], Any]] = {
            "state": _state,
            "history": _history,
            "assign": _assign,
            "explain": _explain,
            "automation": _automation,
            "shadow-report": _shadow_report,
            "drift": _drift,
            "drift/report": _drift_report,
            "drift/replay": _drift_replay,
        }
        found: list[BaseRoute] = [
            Route(f"{base}/{name}", self._reading(read)) for name, read in reads.items()
        ]
        found.append(Route(f"{base}/openapi.json", self._reading(lambda _, __: openapi(self._prefix))))
        found += [
            Route(f"{base}/{model.verb}", self._changing(model), methods=["POST"])
            for model in (*VERBS, *DRIFT_VERBS)
        ]
        labels = labels_endpoint(self._label_gate, self._opened.acting_as, _Lane(), _guarded)
        found.append(Route(f"{self._prefix}/labels", labels, methods=["POST"]))
        return found

    def _reading(self, read: Callable[[Rollout, bytes], Any]) -> Endpoint:
        run = _Lane()

        async def endpoint(request: Request) -> Response:
            admitted = self._gate.admit(request)
            if isinstance(admitted, Response):
                return admitted
            query = request.scope.get("query_string", b"")
            return await _guarded(run(lambda: read(self._opened.acting_as(admitted), query)))

        return endpoint

    def _changing(self, model: type[Body]) -> Endpoint:
        run = _Lane()

        def change(name: str, raw: bytes) -> dict[str, Any]:
            body = parse_body(model, raw)
            try:
                return body.answer(self._opened.acting_as(body.author(name)))
            except StoreUnreachable as error:
                if self._refuse is not None:
                    self._refuse(str(error))
                raise

        async def endpoint(request: Request) -> Response:
            admitted = self._gate.admit(request)
            if isinstance(admitted, Response):
                return admitted
            try:
                raw = await read_body(request.headers.get("content-length"), request.stream())
            except BodyTooLarge:
                return said(413, f"the body has over {MAX_BODY} bytes", headers={"Connection": "close"})
            except ClientDisconnect:
                return said(400, "the body ended early")
            return await _guarded(run(lambda: change(admitted, raw)))

        return endpoint


class _Lane:
    """Runs blocking calls in worker threads, at most so many of them at a time."""

    _limiter: CapacityLimiter | None = None

    def __init__(self, most: int = AT_ONCE) -> None:
        self._most = most

    async def __call__(self, call: Callable[[], T]) -> T:
        if self._limiter is None:  # late: it belongs to the event loop that serves
            self._limiter = CapacityLimiter(self._most)
        return await to_thread.run_sync(call, limiter=self._limiter)


def _state(rollout: Rollout, query: bytes) -> Any:
    parse_query(query, ())
    return rollout.status()


def _history(rollout: Rollout, query: bytes) -> Response:
    """Answer one page; a link leads to the next, older one."""
    values = parse_query(query, ("limit", "before"))
    limit = _number("limit", values["limit"], MOST_ROWS) or ROWS
    rows = rollout.history_rows(limit, before=_number("before", values["before"]))
    headers = dict(NO_STORE)
    if len(rows) == limit and isinstance(rows[-1]["parent"], int) and rows[-1]["parent"]:
        headers["Link"] = f'<?limit={limit}&before={rows[-1]["revision"]}>; rel="next"'
    return JSONResponse(rows, headers=headers)


def _number(name: str, values: list[str], most: int | None = None) -> int | None:
    if not values:
        return None
    if len(values) > 1 or not _WHOLE.fullmatch(values[0]) or (most and int(values[0]) > most):
        bounds = f"from 1 to {most}; `before` leads to older ones" if most else "at least 1"
        got = ", ".join(shown(value) for value in values[:2])
        raise InvalidValue(f"{name} must be one whole number, {bounds} (got {got})")
    return int(values[0])


def _assign(rollout: Rollout, query: bytes) -> Any:
    keys = parse_query(query, ("key",))["key"]
    if not keys:
        raise InvalidValue("name at least one key: ?key=K")
    return rollout.assignments(keys)


def _explain(rollout: Rollout, query: bytes) -> Any:
    return rollout.explain(_number("revision", parse_query(query, ("revision",))["revision"]))


def _automation(rollout: Rollout, query: bytes) -> Any:
    parse_query(query, ())
    return rollout.automation()


def _drift(rollout: Rollout, query: bytes) -> Any:
    parse_query(query, ())
    return rollout.drift.status()


def _drift_report(rollout: Rollout, query: bytes) -> Any:
    parse_query(query, ())
    return rollout.drift.report()


def _drift_replay(rollout: Rollout, query: bytes) -> Any:
    parse_query(query, ())
    return rollout.drift.replay(breath=_BREATH)


def _shadow_report(rollout: Rollout, query: bytes) -> Any:
    since = _number("since_revision", parse_query(query, ("since_revision",))["since_revision"])
    return rollout.shadow_report(since_revision=since or 0)


async def _guarded(work: Awaitable[Any]) -> Response:
    try:
        found = await work
        return found if isinstance(found, Response) else JSONResponse(found, headers=NO_STORE)
    except RolloutError as error:
        document = problem_of(error)
    except Exception as error:  # noqa: BLE001 - an operator's mistake or ours must not end the worker
        event("admin.failed", "error", error=type(error).__name__, traceback=traceback.format_exc())
        document = problem(500, "the service failed to do this; its log says more")
    return respond(document)


async def _http_problem(_: Request, error: Exception) -> Response:
    status, headers = (error.status_code, error.headers) if isinstance(error, HTTPException) else (500, None)
    detail = {404: "there is no such route", 405: "this route has another method"}.get(
        status, "the request failed"
    )
    return said(status, detail, dict(headers or {}))
