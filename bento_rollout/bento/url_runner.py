"""Runs a candidate in a deployment that exists already, at a URL."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

import aiohttp
from multidict import CIMultiDict
from opentelemetry import propagate

from .answered import RemoteFailure
from .encoding import Encoding
from .remote import IDLE, PROBE, Remote
from .replies import described, in_text
from .schemas import openapi_problem, routes_of, schema_problem

__all__ = ["UrlRunner"]

PATIENCE = 5.0
"""Seconds that a question whether it is ready may take."""

AGAIN = 10
"""Questions after which the schema is compared again, though nothing seemed to change."""

GONE = 2
"""Questions in a row without an answer after which calls that wait for one are let go."""

LONGEST_PAUSE = 8
"""Seconds between two questions to one that does not answer them, or not as a service would."""

LARGEST = 1 << 19
"""Bytes of a schema at most."""

DESCRIPTIONS = ("/schema.json", "/openapi.json", "/docs.json")
"""Where services describe themselves: BentoML's own form first, then OpenAPI."""

TRACING = ("traceparent", "tracestate", "baggage")


class UrlRunner(Remote):
    """One variant at a URL.

    It is somebody else's: inputs go as JSON or as files, never pickled; of the request's head what
    ``forward_headers`` names; certificates are verified (``SSL_CERT_FILE`` names a private authority's);
    redirects are not followed.

    Args:
        endpoints: the endpoints that are routed: there they must be the champion's.
    """

    kind = "url"
    most = 1 << 23
    signs = (aiohttp.ClientConnectorError,)  # a balancer may cut a connection and mean nothing by it

    def __init__(self, *args: Any, endpoints: Iterable[str]) -> None:
        super().__init__(*args)
        assert self.definition.place is not None  # it is what makes a definition this runner's
        self._place = self.definition.place
        self._endpoints = tuple(endpoints)
        self._apis = dict(self.definition.service.apis)
        self._count = 0
        self._silent = 0
        self._strange = 0
        self._last: int | None = 0
        self._path = DESCRIPTIONS[0]
        self._wrong: dict[str, str | None] = {}
        self._compared: tuple[str, bytes, str | None] | None = None

    @property
    def late(self) -> bool:
        """Whether every place was asked where it may describe itself, or one of them answered for it."""
        return not 0 < len(self._wrong) < len(DESCRIPTIONS)

    def connector(self) -> aiohttp.BaseConnector:
        """Return what connects to it: certificates are verified."""
        return aiohttp.TCPConnector(limit=0, keepalive_timeout=IDLE, ssl=ssl.create_default_context())

    def address(self, path: str) -> str:
        """Return the URL of a path there."""
        return f"{self._place.url}{path}"

    def heads(self, scope: Mapping[str, Any] | None) -> CIMultiDict[str]:
        """Return what of the request's head may go there, and the headers that are ours."""
        forwarded = self._place.forwarded
        headers: CIMultiDict[str] = CIMultiDict()
        for name, value in () if scope is None or not forwarded else scope["headers"]:
            if (key := name.decode("latin-1")) in forwarded:
                headers.add(key, in_text(value))
        if not forwarded.isdisjoint(TRACING):
            trace: dict[str, str] = {}
            propagate.inject(trace)
            headers.update({name: value for name, value in trace.items() if name in forwarded})
        headers.update(self._place.headers)
        return headers

    async def probe(self) -> str | None:
        """Ask whether it is ready, and when it came back or some time has passed what its endpoints are."""
        self._count += 1
        due = not self.ready or self._count % AGAIN == 0
        problem = await self._readyz()
        if problem is None and due:
            problem = await self._compare()
        status = self._last
        self._silent = self._silent + 1 if status is None else 0
        strange = problem is not None and status and status < HTTPStatus.INTERNAL_SERVER_ERROR
        self._strange = self._strange + 1 if strange else 0
        if self._silent >= GONE:
            await self._hang_up()  # whoever waits for it waits in vain
        return problem

    def pause(self) -> float:
        """Return the seconds until it is asked again: longer and longer for one that wastes our time.

        One that answers as no such service would has been asked for each description before that.
        """
        wasted = max(self._silent, self._strange - len(DESCRIPTIONS) + 1)
        return PROBE * float(min(1 << min(max(wasted - 1, 0), 8), LONGEST_PAUSE))

    async def _readyz(self) -> str | None:
        status, _, problem = await self._get("/readyz")
        if problem is not None:
            return problem
        if status in (HTTPStatus.OK, HTTPStatus.NO_CONTENT) or status == HTTPStatus.NOT_FOUND:
            return None  # who has no such path is ready when its endpoints are the champion's
        return f"{self._place.url}/readyz answers {status}"

    async def _compare(self) -> str | None:
        """Compare its endpoints with the champion's: where it describes itself, or one guess at a time."""
        path = self._path
        status, body, problem = await self._get(path)
        if problem is not None:
            return problem
        if status == HTTPStatus.OK:
            if self._compared is not None and self._compared[:2] == (path, body):
                return self._compared[2]  # nothing is parsed twice
            try:
                found = json.loads(body)
            except (ValueError, RecursionError):
                problem = f"{self._place.url}{path} answers what is no JSON: {_start(body)}"
            else:
                self._compared = path, body, self._fits(path, found)
                self._wrong.clear()
                return self._compared[2]
        elif status != HTTPStatus.NOT_FOUND:
            return f"{self._place.url}{path} answers {status}"
        return self._guess_again(path, problem)

    def _guess_again(self, path: str, problem: str | None) -> str:
        """Ask elsewhere the next time; return the most telling of what was wrong so far."""
        self._wrong[path] = problem
        self._path = DESCRIPTIONS[(DESCRIPTIONS.index(path) + 1) % len(DESCRIPTIONS)]
        asked = [at for at in DESCRIPTIONS if at in self._wrong]
        telling = next((wrong for at in asked if (wrong := self._wrong[at]) is not None), None)
        return telling or f"{self._place.url} has no {', no '.join(asked)}: is a BentoML service there?"

    def _fits(self, path: str, found: Any) -> str | None:
        if path != DESCRIPTIONS[0]:
            problem = openapi_problem(found, self._apis, self._endpoints)
        else:
            problem = schema_problem(found, self._apis, self._endpoints)
            if problem is None:
                self._prefix = ""
                self._routes.update(routes_of(found, self._endpoints))
        return None if problem is None else f"{self._place.url}{path}: {problem}"

    async def _get(self, path: str) -> tuple[int, bytes, str | None]:
        """Return status and body of a page, and what is wrong with asking for it."""
        timeout = aiohttp.ClientTimeout(total=PATIENCE)
        url, self._last = self.address(path), 0
        try:
            async with self._connected().get(
                url, headers=self._place.headers, timeout=timeout, allow_redirects=False
            ) as answer:
                self._last = answer.status
                if HTTPStatus.MULTIPLE_CHOICES <= answer.status < HTTPStatus.BAD_REQUEST:
                    to = answer.headers.get("location", "").removesuffix(path)
                    here = f"{self._place.url} redirects ({answer.status})"
                    return answer.status, b"", f"{here} to {to!r}: write that URL"
                body = await answer.content.read(LARGEST + 1)
                while len(body) <= LARGEST and (more := await answer.content.read(LARGEST)):
                    body += more
                if len(body) > LARGEST:
                    answer.close()
                    return answer.status, b"", f"{url} answers more than {LARGEST} bytes"
                return answer.status, body, None
        except (TimeoutError, asyncio.TimeoutError):
            self._last = None
            return 0, b"", f"{url} did not answer within {PATIENCE:g} s"
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return 0, b"", f"{url}: {described(error)}"

    def check_type(self, answer: aiohttp.ClientResponse, encoding: Encoding) -> None:
        """Raise when an answer is not of the endpoint's media type.

        Whoever is there could else answer in any form in the champion's name: with a proxy's page, or to a
        gateway with what BentoML's client would unpickle.
        """
        if not encoding.is_file and not encoding.fits(answer.headers.get("content-type", "")):
            got = answer.headers.get("content-type", "of no type")[:100]
            raise RemoteFailure(f"variant {self.name!r}: the answer is {got}, not {encoding.media_type}")


def _start(body: bytes) -> str:
    return repr(body[:60].decode("utf-8", "replace"))
