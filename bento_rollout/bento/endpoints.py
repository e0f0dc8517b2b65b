"""Stands in for the endpoints of the decorated service: for the server a router, for everybody else what they were."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import anyio.to_thread
import attrs
from _bentoml_impl.serde import ALL_SERDE
from _bentoml_sdk.method import APIMethod
from bentoml._internal.utils.http import set_cookies
from pydantic import BaseModel
from starlette.responses import Response

from ..assignment import normal_key
from ..errors import InvalidKey
from ..records import Plan, Reason
from ..router import Batch, Call, Router
from ..rows import keys_in, row_count
from ..spec import KeySource
from .context import ACTIVE, current_call, request_scope
from .keys import KeyReader, header_of, named

if TYPE_CHECKING:
    from .tasks import Tasks
    from .worker_runner import WorkerRunner

__all__ = ["Facade", "RoutedMethod", "parameters_of"]

RUNTIME = "_bento_rollout_runtime"
"""The attribute by which a served instance is known; an instance made in a unit test does not have it."""


@attrs.define
class RoutedMethod(APIMethod[..., Any]):
    """The champion's endpoint as BentoML sees it: its schema as the user wrote it, its calls routed when served.

    ``batchable`` is False, so that the server hands over each request by itself, in its own context; each variant has
    its own batcher behind the router. ``schema()`` still says what the user wrote.
    """

    declared: Any = attrs.field(default=None, kw_only=True)

    @classmethod
    def around(cls, method: APIMethod[..., Any]) -> RoutedMethod:
        """Return the routed form of a method."""
        routed = cls(func=method.func, route=method.route, input_spec=method.input_spec, output_spec=method.output_spec,
                     batchable=False, batch_dim=method.batch_dim, max_batch_size=method.max_batch_size,
                     max_latency_ms=method.max_latency_ms, is_task=method.is_task, declared=method)
        routed.name, routed.doc, routed.ctx_param, routed.is_stream = method.name, method.doc, method.ctx_param, method.is_stream
        return routed

    def __get__(self, instance: Any, owner: type) -> Any:
        if instance is None:
            return self
        runtime = instance.__dict__.get(RUNTIME)
        if runtime is None:
            return self.declared.__get__(instance, owner)
        return runtime[self.name]

    def schema(self) -> dict[str, Any]:
        """Return the schema of the method as the user wrote it."""
        return self.declared.schema()  # type: ignore[no-any-return]  # typed by bentoml as dict[str, Any]


def parameters_of(method: APIMethod[..., Any]) -> tuple[str, ...]:
    """Return the names of an endpoint's parameters, without ``self`` and the context."""
    names = list(inspect.signature(method.func).parameters)[1:]
    return tuple(name for name in names if name != method.ctx_param)


class Facade:
    """One endpoint of one served instance.

    Called by the server it routes; called inside a variant's code it stays in that variant; called from elsewhere
    (a mounted app, a thread) it is a request of its own, as on the bare service.
    """

    __is_bentoml_api_func__ = True

    def __init__(self, method: APIMethod[..., Any], router: Router, champion: WorkerRunner, proxy: Callable[[str], Any],
                 sources: Sequence[KeySource], inference: Sequence[KeySource], converters: Mapping[str, Converter],
                 methods: Mapping[str, Mapping[str, APIMethod[..., Any]]], *, atomic: bool, tasks: Tasks) -> None:
        self._method = method
        self._router = router
        self._champion = champion
        self._proxy = proxy
        self._names = parameters_of(method)
        self._rows = next((source for source in sources if source.kind == "rows"), None)
        self._atomic = atomic
        self._keys = KeyReader([source for source in sources if source.kind != "rows"], self._names)
        self._converters = converters
        self._methods = methods
        self._tasks = tasks
        self._loop = asyncio.get_running_loop()
        functools.update_wrapper(self, method.func)
        self.local = Local(self)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the endpoint from Python."""
        if ACTIVE.get() is not None:
            return self.inside(*args, **kwargs)
        return self._proxy(self._method.name)(*args, **kwargs)

    def inside(self, *args: Any, **kwargs: Any) -> Any:
        """Run the endpoint of the variant whose code is running; the champion's outside of variants."""
        runner = ACTIVE.get() or self._champion
        method = self._methods.get(runner.name, {}).get(self._method.name, self._method)
        return runner.bound(method)(*args, **runner.with_context(method, kwargs))

    # -- serving ----------------------------------------------------------------------------------------------

    async def serve(self, call: Call, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Answer one request."""
        try:
            return await self._serve(call, args, kwargs)
        finally:
            if call.task_id is not None:
                await self._tasks.record(call)

    async def _serve(self, call: Call, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        ctx = kwargs.pop(self._method.ctx_param, None) if self._method.ctx_param else None
        if self._rows is not None:
            return await self._serve_rows(call, args, kwargs)
        plan = self.plan(call, args, kwargs, ctx)
        args, kwargs = self._converted(plan.variant, args, kwargs)
        finish = None if plan.variant == self._champion.name else self._finish
        return await self._router.call(call, plan, args, kwargs, finish)

    async def serve_stream(self, call: Call, args: Sequence[Any], kwargs: dict[str, Any]) -> AsyncGenerator[Any, None]:
        """Answer one request item by item."""
        ctx = kwargs.pop(self._method.ctx_param, None) if self._method.ctx_param else None
        plan = self.plan(call, args, kwargs, ctx)
        args, kwargs = self._converted(plan.variant, args, kwargs)
        items = self._router.stream(call, plan, args, kwargs)
        try:
            async for item in items:
                yield item
        finally:
            await items.aclose()

    def plan(self, call: Call, args: Sequence[Any], kwargs: Mapping[str, Any], ctx: Any = None) -> Plan:
        """Return who serves a call; a task's plan may have been made when it was submitted."""
        if call.early is not None:
            return call.early
        scope = request_scope() or {}
        return self._router.plan(call, self._keys.read(scope, args, kwargs, ctx))

    def plan_from_head(self, call: Call, scope: Mapping[str, Any]) -> tuple[Plan | None, object]:
        """Return who serves a call, and its key, when the request's head is enough to know; else None."""
        if self._rows is not None:
            return None, None
        key = self._keys.from_head(scope)
        if key is None and self._keys.needs_body and call.pinned is None:
            return None, None
        return self._router.plan(call, key), key

    def converted(self, kind: str) -> Callable[..., Any] | None:
        """Return the endpoint of the variant whose code is running, as ``to_async`` or ``to_sync``; else None."""
        if ACTIVE.get() is None:
            return None
        is_async = inspect.iscoroutinefunction(self._method.func) or inspect.isasyncgenfunction(self._method.func)
        if (kind == "to_async") == is_async:
            return self.inside
        if self._method.is_stream:
            return None  # a stream in the other form crosses the server, as on the bare service
        if kind == "to_async":
            return self._awaited
        return self._waited

    async def _awaited(self, *args: Any, **kwargs: Any) -> Any:
        return await anyio.to_thread.run_sync(functools.partial(self.inside, *args, **kwargs))

    def _waited(self, *args: Any, **kwargs: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(self.inside(*args, **kwargs), self._loop).result()

    async def _serve_rows(self, call: Call, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        assert self._rows is not None  # noqa: S101 - the caller looked
        owner: str | int = self._rows.name if self._rows.name in kwargs else self._names.index(self._rows.name)
        batch = named(self._rows.name, self._names, args, kwargs)
        count = row_count(batch)
        keys = [_kept(key) for key in keys_in(batch, self._rows.path)] if count else []
        if self._atomic or not keys:
            plan = self._router.plan(call, keys[0] if keys else None)
            if not keys and not call.pinned:
                plan = Plan(self._router.champion, plan.revision, Reason.DEFAULT)
            args, kwargs = self._converted(plan.variant, args, kwargs)
            return await self._router.call(call, plan, args, kwargs, None if plan.variant == self._champion.name else self._finish)
        plans = self._router.plan_rows(call, keys)
        return await self._router.call_rows(call, plans, Batch.around(args, kwargs, owner, parallel=not self._rows.path))

    def _converted(self, variant: str, args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[Sequence[Any], dict[str, Any]]:
        converter = self._converters.get(variant)
        return (args, kwargs) if converter is None else converter(args, kwargs)

    async def _finish(self, value: Any, variant: str) -> Any:
        """Turn a candidate's answer into the response, so that an answer which is not valid is its own failure."""
        scope = request_scope()
        if scope is None:
            return value
        serde = _serde_of(scope)
        method, theirs = self._method, self._methods[variant][self._method.name]
        response = value if isinstance(value, Response) else await method.output_spec.to_http_response(value, serde)
        current = self._champion.service_context.response
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
        functools.update_wrapper(self, facade._method.func)
        self.func = _streaming if facade._method.is_stream else _waiting

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Serve the request that has just arrived; from anywhere else, call the method directly."""
        facade = self._facade
        call = current_call(facade._method.name)
        if call is None:
            return facade.inside(*args, **kwargs)
        return facade.serve_stream(call, args, kwargs) if facade._method.is_stream else facade.serve(call, args, kwargs)


async def _waiting() -> None:
    """Tells BentoML by its kind that calls are awaited."""


async def _streaming() -> AsyncGenerator[None, None]:
    """Tells BentoML by its kind that calls are streams."""
    yield


Converter = Callable[[Sequence[Any], dict[str, Any]], tuple[Sequence[Any], dict[str, Any]]]


def converter_between(ours: APIMethod[..., Any], theirs: APIMethod[..., Any]) -> Converter | None:
    """Return what turns the champion's pydantic inputs into the candidate's own classes, or None when they are one."""
    classes = {name: cls for name, cls in _models(theirs).items() if _models(ours).get(name) not in (None, cls)}
    if not classes:
        return None
    names = parameters_of(ours)

    def convert(args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[Sequence[Any], dict[str, Any]]:
        new = [_as(classes.get(name), value) for name, value in zip(names, args, strict=False)]
        return [*new, *args[len(new):]], {name: _as(classes.get(name), value) for name, value in kwargs.items()}

    return convert


def _models(method: APIMethod[..., Any]) -> dict[str, type[BaseModel]]:
    if getattr(method.input_spec, "__root_input__", False):
        return {}
    fields = method.input_spec.model_fields
    return {name: f.annotation for name, f in fields.items() if inspect.isclass(f.annotation) and issubclass(f.annotation, BaseModel)}


def _as(cls: type[BaseModel] | None, value: Any) -> Any:
    return value if cls is None or not isinstance(value, BaseModel) else cls.model_validate(value.model_dump())


def _kept(key: object) -> str | None:
    try:
        return None if key is None else normal_key(key)
    except InvalidKey:
        return None


def _serde_of(scope: Mapping[str, Any]) -> Any:
    media_type = (header_of(scope, "content-type") or "application/json").split(";")[0].strip()
    return ALL_SERDE.get(media_type, ALL_SERDE["application/json"])()
