"""What stands in the head of an answer over HTTP, and what one means that is an error."""

from __future__ import annotations

import json
import re
from http import HTTPStatus
from typing import Any

import aiohttp
from bentoml._internal.utils.http import Cookie
from starlette.responses import Response

from ..calls import Unavailable
from .answered import Answered, RemoteFailure

__all__ = ["OF_THE_CONNECTION", "described", "effects_of", "error_of", "in_text"]

OF_THE_CONNECTION = frozenset(
    ("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te",
     "trailer", "transfer-encoding", "upgrade", "content-length", "content-type", "content-encoding",
     "accept-encoding", "expect", "host", "buffer-lengths")
)  # fmt: skip
"""Headers that are true of one connection or one body, and not of the next."""

OF_THE_SERVER = OF_THE_CONNECTION | {
    "date", "server", "set-cookie", "x-bentoml-request-id", "x-bentoml-trace-id", "x-rollout-variant",
    "x-rollout-revision", "x-rollout-prediction-id", "x-rollout-reason", "x-rollout-measures", "alt-svc",
    "clear-site-data", "strict-transport-security",
}  # fmt: skip
"""Headers of an answer that are the server's own affair, or speak of a host that the caller has not asked."""

LONGEST = 1 << 16
"""Bytes of an error's body that are worth parsing on the event loop."""

BUSY = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)
"""What looks like a client's error, and is the server's state: it has no room, or no time."""


def error_of(variant: str, answer: aiohttp.ClientResponse, body: bytes) -> BaseException:
    """Return what an answer of 4xx or 5xx means."""
    status = answer.status
    if status in BUSY:
        return Unavailable(f"variant {variant!r} is busy ({status})")
    told, invalid = _told(body) if len(body) <= LONGEST else (None, False)
    client = status < HTTPStatus.INTERNAL_SERVER_ERROR
    code = _known(status, HTTPStatus.BAD_REQUEST if client else HTTPStatus.BAD_GATEWAY)
    # The input was valid here: who finds it invalid there, or its own output, has failed.
    kind = Answered if client and not invalid else RemoteFailure
    error = kind(told or f"variant {variant!r} answered {status}", error_code=code)
    error.place = f"HTTP {status}"
    error.response = Response(body, status, media_type=answer.headers.get("content-type"))
    kept = OF_THE_SERVER - {"set-cookie"}
    error.response.raw_headers += [
        (name.lower(), value)
        for name, value in answer.raw_headers
        if name.lower().decode("latin-1") not in kept
    ]
    return error


def _known(status: int, otherwise: HTTPStatus) -> HTTPStatus:
    try:
        return HTTPStatus(status)
    except ValueError:
        return otherwise


def _told(body: bytes) -> tuple[str | None, bool]:
    """Return what BentoML's own body of an error says, and whether it is about what was not valid."""
    try:
        error = json.loads(body)
    except (ValueError, RecursionError):
        return None, False
    if isinstance(error, list) and len(error) == 1:
        error = error[0]
    told = error.get("error") if isinstance(error, dict) else None
    return (told, set(error) == {"error", "detail"}) if isinstance(told, str) else (None, False)


def effects_of(answer: aiohttp.ClientResponse, typed: bool) -> Any:
    """Return the status, headers and cookies of an answer; ``typed``: its content type is one of them."""
    kept = {"content-type"} if typed else set()
    headers = [
        (name, value)
        for name, value in answer.raw_headers
        if (known := name.lower().decode("latin-1")) not in OF_THE_SERVER or known in kept
    ]
    cookies = [_cookie(morsel) for morsel in answer.cookies.values()]
    if answer.status == HTTPStatus.OK and not headers and not cookies:
        return None
    return answer.status, headers, cookies


def _cookie(morsel: Any) -> Cookie:
    told: dict[str, Any] = {name: morsel[name] or None for name in ("expires", "path", "domain", "samesite")}
    told["max_age"] = int(morsel["max-age"]) if re.fullmatch(r"-?\d{1,12}", morsel["max-age"]) else None
    told["secure"], told["httponly"] = bool(morsel["secure"]), bool(morsel["httponly"])
    return Cookie(key=morsel.key, value=morsel.value, **told)


def in_text(value: bytes) -> str:
    """Return a header's value as text that is sent as the same bytes again, if they are UTF-8."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def described(error: BaseException) -> str:
    """Return an error's class and text, without the addresses of objects."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
