"""Stands in for the decorated service's endpoints: for the server a router, for others what they were."""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from _bentoml_impl.serde import ALL_SERDE
from bentoml._internal.utils.http import set_cookies
from bentoml.exceptions import BentoMLException, ServiceUnavailable
from starlette.responses import Response

from ..calls import Call, Late, Unavailable, header_of
from ..copying import copied
from ..excerpts import excerpt
from ..keys import quiet_key
from ..records import Plan, Reply
from ..router import Router
from ..spec import KeySource
from .answered import Answered
from .context import ACTIVE, CALL, current_call, request_scope
from .keys import KeyReader
from .method import Method, parameters_of
from .presetting import preset
from .sendable import check_sendable
from .worker_runner import WorkerRunner

if TYPE_CHECKING:
    from .automated import Automated

__all__ = ["Facade", "Noting", "Record"]

Record = Callable[[Call], Awaitable[None]]
"""Writes down who answered a task."""


@dataclass(frozen=True, slots=True)
class Noting:
    """What is noted of the calls of an endpoint.

    Attributes:
        ids: where the caller's own id of a prediction is.
        inputs: whether somebody wants to know what the endpoint was called with.
        watched: whether its first rows are watched for drift.
        record: writes down who answered a task.
        tell: tells of a task that is done.
    """

    ids: Sequence[KeySource]
    inputs: bool
    watched: bool
    record: Record
    tell: Callable[[Call], None]


class Facade:
    """One endpoint of one served instance.

    Called by the server it routes; called inside a variant's code it stays in that variant; called from
    elsewhere (a mounted app, a thread) it is a request of its own, as on the bare service.

    Args:
        method: the endpoint as the user declared it.
        router: sends calls to variants.
        runners: by variant.
        champion: the decorated service's own runner.
        outside: returns what BentoML calls this endpoint with from Python: a request.
        sources: where the key is; empty for an endpoint that is not routed.
        noting: what is noted of a call beside who answers it.

    Attributes:
        output_spec: makes responses of answers.
        automated: answers its calls where a person may decide; None: it is not automated.
    """

    __is_bentoml_api_func__ = True

    def __init__(
        self,
        method: Method,
        router: Router,
        runners: Mapping[str, WorkerRunner],
        champion: WorkerRunner,
        outside: Callable[[], Callable[..., Any]],
        *,
        sources: Sequence[KeySource],
        noting: Noting,
    ) -> None:
        self.method = method
        self._router, self._runners, self._champion = router, runners, champion
        self._outside = outside
        self._names = parameters_of(method)
        self._keys = KeyReader(sources, self._names)
        self._ids = KeyReader([one for one in noting.ids if one.kind != "rows"], self._names)
        self._noting = noting
        self.automated: Automated | None = None
        self.output_spec = preset(method.output_spec)
        functools.update_wrapper(self, method.func)
        self.local = Local(self)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the endpoint from Python."""
        return self._outside()(*args, **kwargs) if ACTIVE.get() is None else self.inside(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        # `submit`, `get` and the like of a task are BentoML's own.
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._outside(), name)

    def inside(self, *args: Any, **kwargs: Any) -> Any:
        """Run the endpoint of the variant whose code is running; the decorated one's outside of variants."""
        active = ACTIVE.get()
        name = self.method.name
        calls = self._champion.calls if active is None or name not in active.calls else active.calls
        return calls.as_it_is(name)(*args, **kwargs)

    def inside_async(self, *args: Any, **kwargs: Any) -> Any:
        """Run it as `inside` does, and give what can be awaited, or iterated over asynchronously."""
        active, name = ACTIVE.get(), self.method.name
        calls = self._champion.calls if active is None or name not in active.calls else active.calls
        return calls.to_async(name)(*args, **kwargs)

    # -- serving ---------------------------------------------------------------------------------------

    async def serve(self, call: Call, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Answer one request."""
        try:
            answer = await self._answer(call, args, kwargs)
        except Late as late:
            raise BentoMLException(str(late), error_code=HTTPStatus.GATEWAY_TIMEOUT) from late
        except Unavailable as error:
            raise ServiceUnavailable(str(error)) from error
        except Answered as error:
            if error.response is None:
                raise
            if self.method.ctx_param is not None:
                self._champion.service_context.response.status_code = error.response.status_code
            return error.response
        else:
            made = isinstance(answer, Response) and call.reply.value is not None  # of what is noted already
            if call.task_id is not None and not made:
                call.reply = Reply(value=answer)
            return answer
        finally:
            if call.task_id is not None:
                await self._noting.record(call)
                self._router.hand_over(call)
                self._noting.tell(call)

    def _answer(self, call: Call, args: Sequence[Any], kwargs: dict[str, Any]) -> Coroutine[Any, Any, Any]:
        ctx = self._pop_context(kwargs)
        plan = self.plan(call, args, kwargs, ctx)
        self._note(call, args, kwargs, ctx)
        finish = None if plan.variant == self._champion.name else self._finish
        if self.automated is not None:
            return self.automated.answer(call, plan, args, kwargs, finish)
        return self._router.call(call, plan, args, kwargs, finish)

    async def serve_stream(
        self, call: Call, args: Sequence[Any], kwargs: dict[str, Any]
    ) -> AsyncGenerator[Any, None]:
        """Answer one request item by item."""
        ctx = self._pop_context(kwargs)
        self._note(call, args, kwargs, ctx)
        try:
            plan = self.plan(call, args, kwargs, ctx)
        except Unavailable as error:
            raise ServiceUnavailable(str(error)) from error
        items = self._router.stream(call, plan, args, kwargs)
        try:
            async for item in items:
                theirs = self._runners[call.plans[0].variant].method(self.method.name)
                if self.method.ctx_param is None and theirs.ctx_param is not None:
                    call.response = self._champion.service_context.response
                yield item
        except Late as late:
            raise BentoMLException(str(late), error_code=HTTPStatus.GATEWAY_TIMEOUT) from late
        except Unavailable as error:
            raise ServiceUnavailable(str(error)) from error
        finally:
            await items.aclose()

    def plan(self, call: Call, args: Sequence[Any], kwargs: Mapping[str, Any], ctx: Any = None) -> Plan:
        """Return who serves a call; a task's plan may have been made when it was submitted."""
        if call.early is not None:
            return call.early
        return self._router.plan(call, self._keys.read(call.scope, args, kwargs, ctx))

    def _note(self, call: Call, args: Sequence[Any], kwargs: Mapping[str, Any], ctx: Any) -> None:
        """Note what is told of a call beside who answered it; never raises."""
        call.inference_ids = (quiet_key(self._ids.read(call.scope, args, kwargs, ctx)),)
        self._note_inputs(call, args, kwargs)

    def _note_inputs(self, call: Call, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        if self._noting.watched:
            call.watched = excerpt({**dict(zip(self._names, args, strict=False)), **kwargs})
        if self._noting.inputs:
            args, kwargs = copied(args, kwargs)  # as they were sent, whatever the endpoint makes of them
            call.inputs = {**dict(zip(self._names, args, strict=False)), **kwargs}

    def plan_from_head(self, call: Call, scope: Mapping[str, Any]) -> tuple[Plan | None, object]:
        """Return who serves a call, and its key, when the request's head is enough to know; else None."""
        key = self._keys.from_head(scope)
        if key is None and self._keys.needs_body and call.pinned is None:
            return None, None
        return self._router.plan(call, key), key

    def _pop_context(self, kwargs: dict[str, Any]) -> Any:
        return None if self.method.ctx_param is None else kwargs.pop(self.method.ctx_param, None)

    async def _finish(self, value: Any, variant: str) -> Any:
        """Turn a candidate's answer into the response, so that one which is not valid is its own failure."""
        scope = request_scope()
        if scope is None or variant == self._champion.name:
            return value
        method, theirs = self.method, self._runners[variant].method(self.method.name)
        if self.method.is_task and (call := scope.get(CALL)) is not None:
            call.reply = Reply(value=value)  # once it is a response nobody can tell what was returned
        response: Response
        if isinstance(value, Response):
            response = value
        else:
            response = await self.output_spec.to_http_response(value, _serde_of(scope))
        current = self._champion.service_context.response
        check_sendable(response, current)
        if theirs.ctx_param is None and isinstance(value, Response):
            current.status_code = response.status_code
        elif theirs.ctx_param is not None and method.ctx_param is None:
            response.status_code = current.status_code
            response.headers.update(current.metadata)
            set_cookies(response, current.cookies)
        return response


class Local:
    """What the server calls: of the kind that it must wait for, whatever kind the user's function is."""

    __is_bentoml_api_func__ = True

    def __init__(self, facade: Facade) -> None:
        self._facade = facade
        functools.update_wrapper(self, facade.method.func)
        self.func: Callable[..., Any] = _streaming if facade.method.is_stream else _waiting

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Serve the request that has just arrived; from anywhere else, call the variant's own endpoint."""
        facade = self._facade
        call = current_call(facade.method.name)
        if call is None:
            return facade.inside_async(*args, **kwargs)
        return (facade.serve_stream if facade.method.is_stream else facade.serve)(call, args, kwargs)


async def _waiting() -> None:
    """Tells BentoML by its kind that calls are awaited."""


async def _streaming() -> AsyncGenerator[None, None]:
    """Tells BentoML by its kind that calls are streams."""
    yield


def _serde_of(scope: Mapping[str, Any]) -> Any:
    media_type = (header_of(scope, "content-type") or "application/json").split(";")[0].strip()
    return ALL_SERDE.get(media_type, ALL_SERDE["application/json"])()
