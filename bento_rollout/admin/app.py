"""`admin_app`: the operators' routes as an ASGI app, to be mounted or wrapped around a service."""

from __future__ import annotations

import os
import threading
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote

from anyio import CapacityLimiter, to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from ..errors import NotFound, RolloutError, StoreUnreachable
from ..operations import Rollout
from ..telemetry.log import event
from ..values import shown
from .bodies import VERBS, Body, parse_body
from .decisions import Deciding, decisions_endpoint
from .drift import DRIFT_VERBS
from .gate import NO_STORE, Gate, respond, said
from .labels import labels_endpoint
from .more_bodies import MORE_VERBS
from .openapi import openapi
from .people import People
from .problems import problem, problem_of
from .reading import MAX_BODY, BodyTooLarge, parse_query, read_body
from .reads import READS, Read
from .rooted import root_of
from .tokens import Tokens

if TYPE_CHECKING:
    from .reviews import Reviewing

__all__ = ["ASKED", "Operators", "admin_app", "operators_app"]

ASKED = "x-rollout-name"
"""The request header in which an operator may say which rollout is meant; another one is answered 404."""

LABELS = "BENTO_ROLLOUT_LABEL_TOKEN"

CLOSED = (
    "the operators' routes are closed: no usable token is configured "
    "(BENTO_ROLLOUT_ADMIN_TOKEN, or BENTO_ROLLOUT_ADMIN_TOKEN_FILE)"
)
UNLABELLED = (
    "labels are not taken: no usable token is configured (BENTO_ROLLOUT_LABEL_TOKEN, "
    "BENTO_ROLLOUT_LABEL_TOKEN_FILE, or an operator's)"
)

AT_ONCE = 2
"""Calls of one route that run at the same time; each route counts its own: no verb waits for another."""

REVIEWERS_AT_ONCE = 8
"""The same of each of the reviewers' routes: people come at once, and ``answer:`` may take its time."""

Endpoint = Callable[[Request], Awaitable[Response]]
T = TypeVar("T")


@dataclass(frozen=True)
class Operators:
    """What the operators' routes need beside the rollout.

    Attributes:
        refuse: is told in words, in a worker thread, of each change that the store did not take.
        examined: returns what ``doctor`` finds; None: nobody looks.
    """

    refuse: Callable[[str], None] | None = None
    examined: Callable[[], dict[str, Any]] | None = None


def admin_app(
    opened: Callable[[], Rollout],
    *,
    tokens: Tokens | None = None,
    labellers: Tokens | None = None,
    prefix: str = "/rollout",
    operators: Operators | None = Operators(),
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
        operators: what their routes need; None: they are served elsewhere.
        deciding: where callers find what people decided; None: people decide nothing.
        reviewing: what people review with; None: there is nothing to review.
        people: who may review; None: those whom the environment names (``BENTO_ROLLOUT_REVIEW_TOKEN``,
            ``…_FILE``, and operators), with the roles that ``reviewing`` has.
    """
    if tokens is None:
        tokens = Tokens.from_environment(os.environ)
    if labellers is None:
        labellers = Tokens.from_environment(os.environ, LABELS, name="labels")
    rollout, routes = _Opened(opened), list[BaseRoute]()
    if operators is not None:
        routes += _Operators(rollout, tokens, prefix, operators).routes()
    gate = Gate(tokens, labellers, closed=UNLABELLED)
    labels = labels_endpoint(gate, lambda author, _: rollout.acting_as(author), _Lane(), _guarded)
    routes.append(Route(f"{prefix}/labels", labels, methods=["POST"]))
    if deciding is not None:
        endpoint = decisions_endpoint(deciding, _Lane(), _guarded)
        routes.append(Route(f"{prefix}/decisions/{{task}}", endpoint))
    if reviewing is not None:
        from .reviews import review_routes  # it brings the queue, and that numpy

        known = people or People.from_environment(os.environ, reviewing.roles)
        routes += review_routes(reviewing, known, prefix, lambda: _Lane(REVIEWERS_AT_ONCE), _guarded)
    return _app(routes)


def operators_app(
    opened: Callable[[], Rollout], *, tokens: Tokens | None = None, prefix: str, operators: Operators
) -> Starlette:
    """Return the ASGI app that serves operators, and nobody else; the arguments are those of `admin_app`."""
    known = Tokens.from_environment(os.environ) if tokens is None else tokens
    return _app(_Operators(_Opened(opened), known, prefix, operators).routes())


def _app(routes: list[BaseRoute]) -> Starlette:
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
        tokens: Tokens,
        prefix: str,
        operators: Operators,
    ) -> None:
        self._opened, self._gate = opened, Gate(tokens, closed=CLOSED)
        self._prefix = prefix
        self._refuse, self._examined = operators.refuse, operators.examined

    def routes(self) -> list[BaseRoute]:
        """Return every route."""
        base = f"{self._prefix}/admin"
        reads = {**READS, "doctor": self._doctor}
        found: list[BaseRoute] = [
            Route(f"{base}/{name}", self._reading(read)) for name, read in reads.items()
        ]
        found.append(Route(f"{base}/openapi.json", self._describing()))
        found += [
            Route(f"{base}/{model.verb}", self._changing(model), methods=["POST"])
            for model in (*VERBS, *DRIFT_VERBS, *MORE_VERBS)
        ]
        labels = labels_endpoint(self._gate, self._asked, _Lane(), _guarded)
        found.append(Route(f"{base}/labels", labels, methods=["POST"]))
        return found

    def _doctor(self, _: Rollout, query: bytes) -> Any:
        parse_query(query, ())
        if self._examined is None:
            raise NotFound("nobody examines here: this app is not served by a service of the rollout")
        return self._examined()

    def _asked(self, author: str, request: Request) -> Rollout:
        """Return the rollout for an author.

        Raises:
            NotFound: the request is meant for another one.
        """
        rollout = self._opened.acting_as(author)
        asked = unquote(request.headers.get(ASKED, ""))
        if asked and asked != rollout.name:
            raise NotFound(f"this service has the rollout {rollout.name!r}, and none called {shown(asked)}")
        return rollout

    def _describing(self) -> Endpoint:
        """Return what serves the OpenAPI document, with the address that a caller sees it under."""

        async def endpoint(request: Request) -> Response:
            admitted = self._gate.admit(request)
            if isinstance(admitted, Response):
                return admitted
            document = openapi(self._prefix, root=root_of(request.scope))
            return JSONResponse(document, headers=NO_STORE)

        return endpoint

    def _reading(self, read: Read) -> Endpoint:
        run = _Lane()

        async def endpoint(request: Request) -> Response:
            admitted = self._gate.admit(request)
            if isinstance(admitted, Response):
                return admitted
            query = request.scope.get("query_string", b"")
            return await _guarded(run(lambda: _answer(read(self._asked(admitted, request), query))))

        return endpoint

    def _changing(self, model: type[Body]) -> Endpoint:
        run = _Lane()

        def change(name: str, raw: bytes, request: Request) -> Response:
            body = parse_body(model, raw)
            try:
                return _answer(body.answer(self._asked(body.author(name), request)))
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
            return await _guarded(run(lambda: change(admitted, raw, request)))

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


def _answer(found: Any) -> Response:
    """Return plain data as an answer; a thread makes its text, not the loop that serves callers."""
    return found if isinstance(found, Response) else JSONResponse(found, headers=NO_STORE)


async def _guarded(work: Awaitable[Any]) -> Response:
    try:
        found = await work
        return _answer(found)
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
