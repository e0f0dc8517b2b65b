"""Runs a variant's code in this worker: its own instance, its own thread limit, its own batchers."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any

import anyio
import anyio.to_thread
from _bentoml_impl.client import RemoteProxy
from _bentoml_sdk.method import APIMethod
from bentoml._internal.marshal.dispatcher import CorkDispatcher
from bentoml._internal.runner.container import AutoContainer
from bentoml.exceptions import ServiceUnavailable

from ..threads import DaemonThreads
from .context import ACTIVE
from .variants import Definition

__all__ = ["WorkerRunner"]

Observe = Callable[[str, int], None]


class WorkerRunner:
    """One variant in this worker.

    Args:
        definition: the variant.
        context: the service's context, for methods that ask for it.
        threads: how many sync calls run at a time.
        observe: told each batch's endpoint and size.
    """

    kind = "worker"

    def __init__(self, definition: Definition, context: Any, threads: int, observe: Observe) -> None:
        self.name = definition.name
        self.definition = definition
        self.state = "starting"
        self.error: str | None = None
        self.instance: Any = None
        self._context = context
        self._limit = threads
        self._observe = observe
        self._threads: DaemonThreads | AdoptedThreads | None = None
        self._methods: Mapping[str, APIMethod[..., Any]] = {}
        self._dispatchers: dict[str, CorkDispatcher[Any, Any]] = {}

    @property
    def ready(self) -> bool:
        """Whether it can answer now."""
        return self.state == "ready"

    @property
    def service_context(self) -> Any:
        """The service's context: request and response of the call that is being served."""
        return self._context

    def adopt(self, instance: Any, methods: Mapping[str, APIMethod[..., Any]]) -> None:
        """Use an instance that BentoML made and started: the decorated service's own."""
        self._begin(instance, methods, AdoptedThreads(self._limit))

    async def start(self) -> None:
        """Make the instance as BentoML does it and run its startup hooks; what goes wrong is this variant's failure."""
        try:
            instance = await self._instance()
            instance.__self_proxy__ = LocalCalls(self)
            for dependency in self.definition.service.dependencies:
                if isinstance(real := getattr(instance, dependency), RemoteProxy):
                    await real.__aenter__()
            self.instance = instance
            await self._hooks("__bentoml_startup_hook__")
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a candidate that cannot load is `failed`, no more
            self.state, self.error = "failed", f"{type(error).__name__}: {error}"[:2000]
            return
        self._begin(instance, self.definition.service.apis, DaemonThreads(self._limit, self.name))

    async def close(self) -> None:
        """Run the instance's shutdown hooks (not those of an adopted one: BentoML does that)."""
        adopted = self.instance is not None and not isinstance(getattr(self.instance, "__self_proxy__", None), LocalCalls)
        was, self.state = self.state, "unready"
        for dispatcher in self._dispatchers.values():
            dispatcher.shutdown()
        if was == "ready" and not adopted:
            await self._hooks("__bentoml_shutdown_hook__")
        if self._threads is not None:
            self._threads.close()

    async def call(self, endpoint: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Run an endpoint and return its answer."""
        token = ACTIVE.set(self)
        try:
            method = self._methods[endpoint]
            if method.batchable:
                return await self._batched(endpoint, method, args, kwargs)
            if inspect.iscoroutinefunction(method.func):
                return await self.bound(method)(*args, **self.with_context(method, kwargs))
            return await self._in_thread(self.bound(method), *args, **self.with_context(method, kwargs))
        finally:
            ACTIVE.reset(token)

    async def stream(self, endpoint: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> AsyncGenerator[Any, None]:
        """Run a streaming endpoint; a sync generator is stepped in this variant's threads."""
        method = self._methods[endpoint]
        items = self.bound(method)(*args, **self.with_context(method, kwargs))
        step = items.__anext__ if inspect.isasyncgen(items) else functools.partial(self._in_thread, _step, items)
        try:
            while True:
                token = ACTIVE.set(self)
                try:
                    item = await step()
                except StopAsyncIteration:
                    return
                finally:
                    ACTIVE.reset(token)
                if item is _END:
                    return
                yield item
        finally:
            await _finish(items)

    def with_context(self, method: APIMethod[..., Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return keyword arguments with this method's own context parameter, if it has one and nobody gave it."""
        if method.ctx_param is None or method.ctx_param in kwargs:
            return dict(kwargs)
        return {**kwargs, method.ctx_param: self._context}

    def bound(self, method: APIMethod[..., Any]) -> Callable[..., Any]:
        """Return the user's function, bound to this instance."""
        return functools.partial(method.func, self.instance)

    def _begin(self, instance: Any, methods: Mapping[str, APIMethod[..., Any]], threads: DaemonThreads | AdoptedThreads) -> None:
        self.instance, self._methods, self._threads = instance, methods, threads
        self._dispatchers = {name: _dispatcher(method) for name, method in methods.items() if method.batchable}
        self.state, self.error = "ready", None

    async def _instance(self) -> Any:
        """Make the instance in a thread, so that one which hangs holds nothing; on the loop if it needs one."""
        try:
            return await DaemonThreads(1, f"{self.name}-start").run(self.definition.service)
        except RuntimeError as error:
            if "event loop" not in str(error):
                raise
        return self.definition.service()

    async def _hooks(self, mark: str) -> None:
        for name in dir(self.definition.service.inner):
            member = getattr(self.definition.service.inner, name, None)
            if not name.startswith("__") and callable(member) and getattr(member, mark, False):
                result = getattr(self.instance, name)()
                if inspect.isawaitable(result):
                    await result

    async def _in_thread(self, func: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        assert self._threads is not None  # noqa: S101 - set when it became ready
        return await self._threads.run(func, *args, **kwargs)

    async def _batched(self, endpoint: str, method: APIMethod[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Wait in this variant's own batch; the batch runs in the context of one of its requests."""
        values = [*args, *(value for name, value in kwargs.items() if name != method.ctx_param)]
        if len(values) != 1:
            raise TypeError("Batch inference function only accept one argument")
        context = contextvars.copy_context()

        async def infer(batches: Sequence[Any]) -> Sequence[Any]:
            self._observe(endpoint, len(batches))
            if len(batches) == 0:
                return []
            batch, indices = AutoContainer.batches_to_batch(batches, method.batch_dim[0])
            func = functools.partial(self.bound(method), batch, **self.with_context(method, {}))
            if inspect.iscoroutinefunction(method.func):
                result = await _in_context(context, func())
            else:
                result = await self._in_thread(context.copy().run, func)
            return AutoContainer.batch_to_batches(result, indices, method.batch_dim[1])

        return await self._dispatchers[endpoint](infer)(values[0])


class AdoptedThreads:
    """The champion's sync calls: BentoML's own kind of thread, with a limit that no other variant shares."""

    def __init__(self, limit: int) -> None:
        self._limiter = anyio.CapacityLimiter(limit)

    async def run(self, func: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Call a function in a worker thread."""
        return await anyio.to_thread.run_sync(functools.partial(func, *args, **kwargs), limiter=self._limiter)

    def close(self) -> None:
        """Nothing to close: the threads are BentoML's."""


class LocalCalls:
    """Lets ``self.other(…)`` in a candidate stay in the candidate, with the context filled in."""

    def __init__(self, runner: WorkerRunner) -> None:
        self._runner = runner

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = self._runner.definition.service.apis[name]
        runner = self._runner

        @functools.wraps(method.func)
        def call(*args: Any, **kwargs: Any) -> Any:
            return method.func(runner.instance, *args, **runner.with_context(method, kwargs))

        return call


_END = object()


def _step(items: Any) -> Any:
    """Take one item of a sync generator."""
    try:
        return next(items)
    except StopIteration:
        return _END


async def _finish(items: Any) -> None:
    if inspect.isasyncgen(items):
        await items.aclose()
    elif inspect.isgenerator(items):
        try:
            items.close()
        except ValueError:  # it is running in a thread right now; it ends there
            return


async def _in_context(context: contextvars.Context, work: Any) -> Any:
    """Run work in a context that is not the caller's."""
    async def step() -> Any:
        return await work

    task = context.run(asyncio.get_running_loop().create_task, step())
    try:
        return await task
    except asyncio.CancelledError:
        task.cancel()
        raise


def _dispatcher(method: APIMethod[..., Any]) -> CorkDispatcher[Any, Any]:
    """Return a batcher whose controller lives in an empty context: it keeps no request alive."""
    def overloaded() -> Any:
        raise ServiceUnavailable("process is overloaded")

    dispatcher: CorkDispatcher[Any, Any] = CorkDispatcher(
        max_latency_in_ms=method.max_latency_ms, max_batch_size=method.max_batch_size, fallback=overloaded,
        get_batch_size=functools.partial(AutoContainer.get_batch_size, batch_dim=method.batch_dim[0]),
        batch_dim=method.batch_dim,
    )
    dispatcher._controller = contextvars.Context().run(asyncio.get_running_loop().create_task, dispatcher.controller())
    return dispatcher
