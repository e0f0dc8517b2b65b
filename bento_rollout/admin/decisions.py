"""The callers' route: what became of a prediction that a person decides; no token of an operator's."""

from __future__ import annotations

import hmac
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ..answer_json import answer_json
from ..proof import proof_of, proves
from ..reviewing import Decision, Status
from .gate import NO_STORE, said

__all__ = ["Deciding", "decisions_endpoint"]

RETRY = "30"
"""Seconds after which it is worth asking again."""

_ID = re.compile(r"[0-9a-f]{32}")
_UNKNOWN = "there is no such decision, or it is not this caller's, or it has expired"


@dataclass(frozen=True)
class Deciding:
    """Where decisions are found.

    Attributes:
        find: returns a decision by its id; None: there is none, or it has expired. Called in a thread.
        proofs: returns the headers beside Authorization that tell who calls an endpoint.
    """

    find: Callable[[str], Decision | None]
    proofs: Callable[[str], tuple[str, ...]]


def decisions_endpoint(
    deciding: Deciding,
    run: Callable[[Callable[[], Any]], Awaitable[Any]],
    guarded: Callable[[Awaitable[Any]], Awaitable[Response]],
) -> Callable[[Request], Awaitable[Response]]:
    """Return what answers ``GET …/decisions/ID``.

    Unknown, malformed, expired, and somebody else's are alike, in what is said and in how long it takes.

    Args:
        deciding: where decisions are found.
        run: runs blocking work in a thread.
        guarded: makes an answer of what that returns or raises.
    """

    def found(task: str, request: Request) -> Response:
        given = task if _ID.fullmatch(task) else "0" * 32
        decision = deciding.find(given)
        name, secret = ("", "") if decision is None else (decision.id, decision.secret)
        shown = proof_of(
            request.scope["headers"], () if decision is None else deciding.proofs(decision.endpoint)
        )
        known = hmac.compare_digest(name.encode(), task.encode())
        if not (proves(secret, shown) & known) or decision is None:
            return said(404, _UNKNOWN)
        return _told(decision)

    async def endpoint(request: Request) -> Response:
        task = str(request.path_params["task"])
        return await guarded(run(lambda: found(task, request)))

    return endpoint


def _told(decision: Decision) -> Response:
    is_open = decision.status is Status.OPEN
    body = {
        "status": "pending" if is_open else decision.status.value,
        "answer": answer_json(decision),
        "decided_by": decision.decided_by or None,
    }
    headers = dict(NO_STORE)
    if is_open:
        headers["Retry-After"] = RETRY
    elif decision.decided_by:
        headers["X-Rollout-Decided-By"] = decision.decided_by
    return JSONResponse(body, headers=headers)
