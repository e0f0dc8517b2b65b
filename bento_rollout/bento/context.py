"""What is true inside a variant's call: which variant it is, and which response its side effects go to."""

from __future__ import annotations

import asyncio
import contextvars
import shutil
import tempfile
import threading
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from bentoml._internal.context import ServiceContext, _request_var, _response_var
from starlette.datastructures import State
from starlette.requests import Request

from ..calls import Call
from ..shadowing import SHADOW

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


class _OwnState(State):
    """The state of a shadow's request: what the request's was, and a folder of its own when it is asked for.

    The request's own folder is another request's by then.
    """

    def __init__(self, state: Mapping[str, Any]) -> None:
        super().__init__({name: value for name, value in state.items() if name != "temp_dir"})

    def __getattr__(self, name: Any) -> Any:
        if name == "temp_dir" and "temp_dir" not in self._state:
            self._state["temp_dir"] = tempfile.mkdtemp(prefix="bento-rollout-shadow-")
        return super().__getattr__(name)

    def end(self) -> None:
        """Take the folder away, in a thread of its own: it may be large."""
        if (folder := self._state.pop("temp_dir", None)) is not None:
            threading.Thread(target=shutil.rmtree, args=(folder, True), daemon=True).start()


def isolate_shadow(work: Coroutine[Any, Any, Any]) -> tuple[asyncio.Task[Any], Callable[[], None]]:
    """Start a shadow's work with a request and a response of its own; the second value ends them.

    What BentoML keeps for a request (its folder for files) is given to another request when the answer is
    out, and a shadow runs after that.
    """
    context = contextvars.copy_context()
    context.run(_response_var.set, ServiceContext.ResponseContext())
    state = _OwnState({})
    if (request := _request_var.get(None)) is not None:
        state = _OwnState(request.scope.get("state") or {})
        own = Request(dict(request.scope))
        own._state = state  # noqa: SLF001 - starlette makes one from the scope when there is none
        own.metadata = request.headers  # type: ignore[attr-defined]  # as BentoML does it
        context.run(_request_var.set, own)
    return context.run(asyncio.get_running_loop().create_task, work), state.end


def isolate(work: Coroutine[Any, Any, Any]) -> tuple[asyncio.Task[Any], Callable[[], None]]:
    """Start work with a response context of its own; the second value copies that one into the request's.

    Headers, cookies, status and background tasks that a candidate set before it failed, or sets long after
    the champion has answered, never reach the caller.
    """
    context = contextvars.copy_context()
    own = ServiceContext.ResponseContext()
    context.run(_response_var.set, own)
    real = _response_var.get(None)
    task = context.run(asyncio.get_running_loop().create_task, work)

    def keep() -> None:
        if real is not None:
            real.metadata.update(own.metadata)
            real.cookies.extend(own.cookies)
            real.status_code = own.status_code
            real.background.tasks.extend(own.background.tasks)

    return task, keep
