"""`Gate`: lets in whoever shows a token of an audience, or says in a problem document why not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ..telemetry.log import event
from .problems import problem
from .tokens import Tokens

__all__ = ["NO_STORE", "Gate", "bearer_of", "respond", "said", "unauthorized"]

NO_STORE = {"Cache-Control": "no-store"}


class Gate:
    """Lets people in by their token.

    Args:
        *tokens: those of each audience that may come in.
        closed: what is said when none is configured.
    """

    def __init__(self, *tokens: Tokens, closed: str) -> None:
        self._tokens, self._closed = tokens, closed
        self._said: str | None = None

    def admit(self, request: Request) -> str | Response:
        """Return the name of the token that the request shows, or the refusal."""
        trouble = next((one.problem for one in self._tokens if one.problem is not None), None)
        if trouble is not None and trouble != self._said:
            event("admin.closed", "error", problem=trouble)
        self._said = trouble
        if not any(one.names for one in self._tokens):
            return said(403, self._closed)
        token = bearer_of(request)
        if token is None:
            return unauthorized("show a token: Authorization: Bearer TOKEN")
        names = [one.name_of(token) for one in self._tokens]  # all, in constant time
        found = next((name for name in names if name is not None), None)
        return found or unauthorized("the token is not known here", ', error="invalid_token"')


def bearer_of(request: Request) -> bytes | None:
    """Return the token that a request shows; None: none, or more than one header that could hold it."""
    shown = [value for name, value in request.scope["headers"] if name.lower() == b"authorization"]
    scheme, _, token = shown[0].strip().partition(b" ") if len(shown) == 1 else (b"", b"", b"")
    return token.strip() if scheme.lower() == b"bearer" else None


def respond(document: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Response:
    """Return a problem document as an answer."""
    return JSONResponse(
        document, document["status"], {**NO_STORE, **(headers or {})}, "application/problem+json"
    )


def said(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return the answer that a status alone explains."""
    return respond(problem(status, detail), headers)


def unauthorized(detail: str, more: str = "") -> Response:
    """Return that a token is missing, or not known."""
    return said(401, detail, {"WWW-Authenticate": f'Bearer realm="bento-rollout"{more}'})
