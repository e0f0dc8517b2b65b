"""What is true inside a variant's call: which variant it is, and which response its side effects go to."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from typing import Any

from bentoml._internal.context import ServiceContext, _request_var, _response_var
from starlette.datastructures import State
from starlette.requests import Request

from ..calls import Call
from ..shadowing import SHADOW
from .apart import CandidateState, ShadowState

__all__ = [
    "ACTIVE",
    "CALL",
    "current_call",
    "isolate",
    "isolate_shadow",
    "left",
    "request_scope",
    "watched_call",
]

ACTIVE: contextvars.ContextVar[Any] = contextvars.ContextVar("bento_rollout_active", default=None)
"""The runner whose code is running; None outside variants. Small and shared: it may live for a while."""


def left(token: contextvars.Token[Any]) -> None:
    """End what ``ACTIVE.set`` began; a call that nobody waits for any more may end in another context."""
    try:
        ACTIVE.reset(token)
    except ValueError:
        return


CALL = "bento_rollout.call"
"""Where a request's scope keeps its `Call`."""


def request_scope() -> dict[str, Any] | None:
    """Return the scope of the request that is being served, or None outside requests."""
    try:
        return _request_var.get().scope  # type: ignore[return-value]  # a MutableMapping that is a dict in fact
    except LookupError:
        return None


def current_call(endpoint: str) -> Call | None:
    """Return the call that the server is about to serve with this endpoint, now begun; else None."""
    scope = request_scope()
    call = None if scope is None else scope.get(CALL)
    if call is None or call.taken or call.endpoint not in ("", endpoint) or ACTIVE.get() is not None:
        return None
    call.taken, call.endpoint = True, endpoint
    return call  # type: ignore[no-any-return]  # only the middleware writes there


def watched_call() -> Call | None:
    """Return the call that is being answered, if somebody shadows it and this is not such a shadow."""
    scope = request_scope()
    call = None if scope is None else scope.get(CALL)
    return call if call is not None and call.witnesses and SHADOW.get() is None else None


def isolate_shadow(work: Coroutine[Any, Any, Any]) -> tuple[asyncio.Task[Any], Callable[[], None]]:
    """Start a shadow's work with a request and a response of its own; the second value ends them.

    What BentoML keeps for a request (its folder for files) is given to another request when the answer is
    out, and a shadow runs after that.
    """
    context = contextvars.copy_context()
    context.run(_response_var.set, ServiceContext.ResponseContext())
    state = ShadowState({})
    if (request := _request_var.get(None)) is not None:
        state = ShadowState(request.scope.get("state") or {})
        own = Request(dict(request.scope))
        own._state = state  # noqa: SLF001 - starlette makes one from the scope when there is none
        own.metadata = request.headers  # type: ignore[attr-defined]  # as BentoML does it
        if (body := request.__dict__.get("_body")) is not None:
            own._body = body  # noqa: SLF001 - it was read, and is not sent again
        context.run(_request_var.set, own)
    return context.run(asyncio.get_running_loop().create_task, work), state.end


def isolate(
    work: Coroutine[Any, Any, Any], *, apart: bool = False
) -> tuple[asyncio.Task[Any], Callable[[bool], None]]:
    """Start work with a response of its own; the second value ends that, and tells whether it answers.

    Headers, cookies, status and background tasks that a candidate set before it failed, or sets long after
    the champion has answered, never reach the caller. A candidate that goes on when nobody waits for it any
    more keeps the folder for files that it had; the request gets another when it asks.

    Args:
        work: what a candidate does for this request.
        apart: whether others answer parts of the same request meanwhile: its files and its response are
            then its own.
    """
    context = contextvars.copy_context()
    own = ServiceContext.ResponseContext()
    context.run(_response_var.set, own)
    real, request = _response_var.get(None), _request_var.get(None)
    state: CandidateState | None = None
    if request is not None:
        state = CandidateState(request.scope.setdefault("state", {}), apart=apart)
        context.run(_request_var.set, _with_state(request, state))
    task = context.run(asyncio.get_running_loop().create_task, work)

    def end(answers: bool) -> None:
        if answers and real is not None and not apart:
            real.metadata.update(own.metadata)
            real.cookies.extend(own.cookies)
            real.status_code = own.status_code
            real.background.tasks.extend(own.background.tasks)
        elif not answers and state is not None and request is not None and not apart:
            # The request refers to it, too: its input may be files in there, which the champion reads.
            request.__dict__.setdefault("_bento_rollout_folders", []).append(state.part())

    return task, end


def _with_state(request: Request, state: State) -> Request:
    """Return the same request with another state."""
    own = type(request).__new__(type(request))
    own.__dict__.update(request.__dict__, _state=state)
    return own
