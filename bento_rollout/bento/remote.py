"""Runs a candidate behind HTTP: what a service of its own and a deployment at a URL have in common."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import http.cookies
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import aiohttp
from bentoml._internal.context import ServiceContext
from multidict import CIMultiDict
from starlette.responses import Response

from ..calls import Unavailable
from ..measuring import SHEET, Sheet
from ..shadowing import SHADOW, Meter
from ..telemetry import log
from .answered import RemoteFailure
from .carrying import Effects, apply_effects
from .context import request_scope
from .encoding import Encoding, NotEncoded
from .measured import MEASURED, MEASURES, MOST_BESIDE
from .method import Method
from .replies import described, effects_of, error_of
from .sendable import check_sendable
from .shadowed import MONITORED, SHADOWED
from .standing import Standing
from .variants import Definition

__all__ = ["IDLE", "PROBE", "Remote"]

PROBE = 1.0
"""Seconds between two questions whether the candidate is ready."""

IDLE = 3.0
"""Seconds that a connection is kept for the next call: less than the five after which BentoML closes it."""

CONNECT = 5.0
"""Seconds to connect in."""

PARAMETER = re.compile(r"{(\w+)(?::\w+)?}")
"""A part of a route that a request fills in."""

LINE = 400
"""Characters of what is wrong with it that stand in the log and in `status`."""

DONE = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT)
"""Calls have the variant's own time limit, which the router keeps."""


class Remote:
    """One variant behind HTTP.

    Subclasses say where it is, what may cross, and how one knows that it is ready.

    Args:
        definition: the variant.
        methods: the champion's endpoints.
        context: the service's context: request and response of the call that is being served.
        changed: told when the state changes.
    """

    kind = "url"
    restarts = 0
    rollout = ""
    limit = 64
    """Calls that may be on their way to it when the spec names no ``max_concurrency``."""

    pickled = False
    most = 1 << 26
    """Bytes of an answer at most; a larger one is a failure, and is not read further."""

    signs: tuple[type[Exception], ...] = (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError)
    """What a call fails with that makes it unready at once, without a question."""

    def __init__(
        self,
        definition: Definition,
        methods: Mapping[str, Method],
        context: Any,
        changed: Callable[[], None],
    ) -> None:
        service = definition.service
        self._prefix = (service.path_prefix or "").rstrip("/")
        self._routes = {name: method.route for name, method in service.apis.items()}
        self.name, self.definition, self.service_context = definition.name, definition, context
        self.state = "starting"
        self.error: str | None = None
        self.process = None
        self.instance: Any = None
        self.calls: Mapping[str, Any] = {}
        self._methods = {name: _with_context(method) for name, method in methods.items()}
        self._encodings = {n: Encoding(method, pickled=self.pickled) for n, method in methods.items()}
        self._changed = changed
        self._session: aiohttp.ClientSession | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._asked = asyncio.Event()

    # -- what the kinds differ in ----------------------------------------------------------------------

    def connector(self) -> aiohttp.BaseConnector:
        """Return what connects to it."""
        raise NotImplementedError

    def address(self, path: str) -> str:
        """Return the URL of a path there."""
        raise NotImplementedError

    def heads(self, scope: Mapping[str, Any] | None) -> CIMultiDict[str]:
        """Return the headers of a call, given the scope of the request that is being served."""
        raise NotImplementedError

    def probe(self) -> Awaitable[str | None]:
        """Ask it whether it is ready; return what is wrong, or None."""
        raise NotImplementedError

    # -- its life --------------------------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """Whether it can answer now."""
        return self.state == "ready"

    @property
    def late(self) -> bool:
        """Whether it should have answered by now; until then it is `starting`."""
        return True

    def offers(self, endpoint: str) -> bool:
        """Whether it can stand in for the champion at an endpoint."""
        return endpoint in self.definition.offers

    def method(self, endpoint: str) -> Method:
        """Return the endpoint as it is there."""
        return self._methods[endpoint]

    async def start(self) -> None:
        """Ask it for the first time, and go on asking; who is not ready holds up nothing."""
        self.instance = Standing(self, asyncio.get_running_loop())
        self._keeper = asyncio.ensure_future(self._keep())
        with contextlib.suppress(TimeoutError, asyncio.TimeoutError):
            await asyncio.wait_for(self._asked.wait(), PROBE)

    async def settled(self) -> None:
        """Wait until it is ready: for a start that waits for its champion."""
        while not self.ready:  # noqa: ASYNC110 - it becomes so once in its life
            await asyncio.sleep(0.05)

    async def close(self) -> None:
        """Ask no more, and let go of the connections."""
        self.state = "unready"
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait({self._keeper})
        await self._hang_up()

    async def _keep(self) -> None:
        """Ask once a second at most, whatever calls have met: nobody is stormed who has trouble."""
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            try:
                problem = await self.probe()
            except Exception as error:  # noqa: BLE001 - whatever goes wrong, it is asked again
                problem = f"{type(error).__name__}: {error}"
            self._become(problem)
            self._asked.set()
            await asyncio.sleep(max(0.1, self.pause() - (loop.time() - began)))

    def pause(self) -> float:
        """Return the seconds between two questions whether it is ready."""
        return PROBE

    def _become(self, problem: str | None) -> None:
        """Be ready, or not, and say so when that is new."""
        was = self.state
        waiting = was == "starting" and not self.late
        state = "ready" if problem is None else "starting" if waiting else "unready"
        problem = problem if problem is None or len(problem) <= LINE else f"{problem[:LINE]}…"
        news, told = state != was, problem != self.error
        self.state, self.error = state, problem
        if news:
            level = "info" if state == "ready" else "error"
            facts = {"rollout": self.rollout, "variant": self.name, "runner": self.kind}
            log.event("variant.remote", level, **facts, state=state, error=problem)
        if news or told:
            self._changed()

    def _connected(self) -> aiohttp.ClientSession:
        if self._session is None or self._session.closed:
            self._session = aiohttp.ClientSession(
                connector=self.connector(),
                timeout=DONE,
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers=("accept", "accept-encoding", "user-agent"),
                max_field_size=2 * MOST_BESIDE if self.pickled else 8190,
            )
        return self._session

    async def _hang_up(self) -> None:
        """Close every connection: calls that wait on them fail now."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    # -- its answers -----------------------------------------------------------------------------------

    async def call(self, endpoint: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Run an endpoint and return its answer."""
        async with self._asking(endpoint, args, kwargs) as answer:
            body = await self._read(answer)
        return self._value(self._encodings[endpoint], answer, body)

    async def stream(
        self, endpoint: str, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> AsyncGenerator[Any, None]:
        """Run a streaming endpoint; its items are the chunks in which it was sent."""
        encoding = self._encodings[endpoint]
        async with self._asking(endpoint, args, kwargs) as answer:
            if not HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
                self._check(answer, await self._read(answer))
            self.check_type(answer, encoding)
            typed = encoding.pickles and answer.headers.get("content-type") != encoding.media_type
            self._apply(effects_of(answer, typed))
            item, parts = encoding.reader(), bytearray()
            whole_only = "chunked" in answer.headers.get("transfer-encoding", "")
            content = answer.content
            while not content.at_eof():  # an answer without a body has an empty chunk for ever
                part, whole = await content.readchunk()
                parts += part
                if len(parts) > self.most:
                    raise RemoteFailure(f"an item of variant {self.name!r} is larger than {self.most} bytes")
                if parts and (whole or not whole_only):
                    yield self._item(item, parts)
                    parts.clear()
            if parts:
                yield self._item(item, parts)

    def _item(self, item: Callable[[bytes], Any], parts: bytearray) -> Any:
        try:
            return item(bytes(parts))
        except ValueError as error:
            raise RemoteFailure(
                f"variant {self.name!r} sent what is no item of this endpoint: {described(error)[:200]}"
            ) from error

    @contextlib.asynccontextmanager
    async def _asking(
        self, endpoint: str, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> AsyncGenerator[aiohttp.ClientResponse, None]:
        encoding = self._encodings[endpoint]
        if encoding.files:
            body, own = await asyncio.to_thread(encoding.body, args, kwargs)
        else:
            body, own = encoding.body(args, kwargs)
        scope = request_scope()
        headers = self.heads(scope)
        headers.update(own)
        sheet = SHEET.get()
        _mark(headers, SHADOW.get(), sheet, ours=self.pickled)
        url = self.address(self._prefix + _filled(self._routes[endpoint], scope))
        try:
            async with self._connected().post(
                url, data=body, headers=headers, allow_redirects=False
            ) as answer:
                if sheet is not None and (told := answer.headers.get(MEASURES)) is not None:
                    sheet.carry_text(told)
                yield answer
        except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError) as error:
            problem = f"{self.name!r} cannot be reached: {described(error)}"
            if self.ready and isinstance(error, self.signs):
                self._become(problem)
            raise Unavailable(f"variant {problem}") from error
        except aiohttp.ClientError as error:
            raise RemoteFailure(f"variant {self.name!r}: {described(error)}") from error

    async def _read(self, answer: aiohttp.ClientResponse) -> bytes:
        """Return the whole of an answer, unless it is too large to be kept here."""
        length = answer.content_length
        if length is not None and length > self.most:
            answer.close()
            raise RemoteFailure(f"variant {self.name!r} answered {length} bytes, and {self.most} is the most")
        parts, size = [], 0
        async for part in answer.content.iter_any():
            size += len(part)
            if size > self.most:
                answer.close()
                raise RemoteFailure(f"variant {self.name!r} answered more than {self.most} bytes")
            parts.append(part)
        return b"".join(parts)

    def _value(self, encoding: Encoding, answer: aiohttp.ClientResponse, body: bytes) -> Any:
        """Return what an answer says: a value of the endpoint, or a response as it is."""
        self._check(answer, body)
        own_type = answer.headers.get("content-type", "") != encoding.media_type
        try:
            value = encoding.value(body, answer.headers)
        except NotEncoded:
            self.check_type(answer, encoding)
            return self._passed_on(answer, body)
        except ValueError as error:
            raise RemoteFailure(
                f"variant {self.name!r} answered what is no {encoding.media_type} of this endpoint: "
                f"{described(error)[:200]}"
            ) from error
        self._apply(effects_of(answer, own_type and encoding.pickled))
        return value

    def check_type(self, answer: aiohttp.ClientResponse, encoding: Encoding) -> None:
        """Raise when an answer of this media type cannot be one of the endpoint's."""

    def _apply(self, effects: Effects | None) -> None:
        """Give the champion's response the head of an answer, if it can be sent at all."""
        if effects is None:
            return
        trial = ServiceContext.ResponseContext()
        apply_effects(effects, trial)
        try:
            check_sendable(Response(), trial)
        except (ValueError, AssertionError, http.cookies.CookieError) as error:
            raise RemoteFailure(f"variant {self.name!r} sent a head that no answer has: {error}") from error
        apply_effects(effects)

    def _check(self, answer: aiohttp.ClientResponse, body: bytes) -> None:
        """Raise what an answer means that is no success."""
        if answer.status >= HTTPStatus.BAD_REQUEST:
            raise error_of(self.name, answer, body)
        if answer.status < HTTPStatus.OK:
            raise RemoteFailure(f"variant {self.name!r} answered {answer.status}, and nothing after it")
        if answer.status >= HTTPStatus.MULTIPLE_CHOICES:
            to = answer.headers.get("location", "")[:200]
            raise RemoteFailure(f"variant {self.name!r} redirects ({answer.status}) to {to!r}")

    def _passed_on(self, answer: aiohttp.ClientResponse, body: bytes) -> Response:
        """Return an answer that is no value of the endpoint as it is: a file, a response made by hand."""
        self._apply(effects_of(answer, typed=False))
        return Response(body, answer.status, media_type=answer.headers.get("content-type"))


def _mark(headers: CIMultiDict[str], meter: Meter | None, sheet: Sheet | None, *, ours: bool) -> None:
    """Say in a call's head whether it is a shadow; what the caller says of that is not passed on.

    Args:
        headers: the call's.
        meter: the shadow call; None: it is none.
        sheet: where it is noted what is measured; None: nobody wants to know.
        ours: whether it goes to a service of our own.
    """
    for name in (SHADOWED, MONITORED, MEASURED):
        headers.popall(name, None)
    if meter is None:
        if sheet is not None:
            headers[MEASURED] = str(sheet.rows)
    else:
        headers[SHADOWED] = "1"
        if ours and meter.monitored:
            headers[MONITORED] = "1"


def _filled(route: str, scope: Mapping[str, Any] | None) -> str:
    """Return a route with the parameters of the request's own path."""
    if "{" not in route or scope is None:
        return route
    given = scope.get("path_params") or {}
    return PARAMETER.sub(lambda found: quote(str(given.get(found[1], found[0])), safe="/"), route)


def _with_context(method: Method) -> Method:
    """Return an endpoint as one that asks for the context: each of its answers may have a head of its own."""
    method = copy.copy(method)
    method.ctx_param = "ctx"
    return method
