"""Runs a variant's code in this worker: its own instance, its own thread limit, its own batchers."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread

from ..calls import Exited
from ..shadowing import SHADOW, metered_call, timed_call
from ..telemetry.log import described
from ..threads import DaemonThreads
from .anyio_threads import anyio_worker
from .calling import Inside, VariantCalls, bound_hooks
from .context import ACTIVE, left
from .converting import Converter
from .method import Method
from .variants import Definition

if TYPE_CHECKING:
    from .batching import Batcher

__all__ = ["WorkerRunner"]

Observe = Callable[[str, int], None]
Way = Callable[..., Awaitable[Any]]
"""Runs one endpoint with a call's arguments."""

FAREWELL = 10.0
"""Seconds that a candidate's shutdown hooks may take."""


class WorkerRunner:
    """One variant in this worker.

    Args:
        definition: the variant.
        context: the service's context, for methods that ask for it.
        threads: how many sync calls run at a time.
        observe: told each batch's endpoint and size.
        converters: by endpoint, what makes the variant's own input classes of the champion's.
    """

    kind = "worker"
    restarts = 0
    rollout = ""
    limit = None
    process = None

    def __init__(
        self,
        definition: Definition,
        context: Any,
        threads: int,
        observe: Observe,
        converters: Mapping[str, Converter],
    ) -> None:
        self.name = definition.name
        self.definition = definition
        self.state = "starting"
        self.error: str | None = None
        self.instance: Any = None
        self.calls: VariantCalls = VariantCalls(definition.name, None, {}, context)
        self._context = context
        self._limit = threads
        self._observe = observe
        self._converters = converters
        self._threads: DaemonThreads | AdoptedThreads = AdoptedThreads(threads)
        # Shadow calls have threads apart: one that hangs keeps its thread for ever, and takes no caller's.
        self._aside = DaemonThreads(threads, f"{definition.name}-shadow", anyio_worker())
        self._methods: Mapping[str, Method] = {}
        self._batchers: dict[str, Batcher] = {}
        self._ways: dict[str, Way] = {}
        self._watched: dict[str, Way] = {}
        self._plain: dict[str, Callable[..., Any]] = {}
        self._closing: set[asyncio.Future[None]] = set()

    @property
    def ready(self) -> bool:
        """Whether it can answer now."""
        return self.state == "ready"

    @property
    def service_context(self) -> Any:
        """The service's context: request and response of the call that is being served."""
        return self._context

    def offers(self, endpoint: str) -> bool:
        """Whether it can stand in for the champion at an endpoint."""
        return endpoint in self.definition.offers

    def method(self, endpoint: str) -> Method:
        """Return the variant's own method of an endpoint."""
        return self._methods[endpoint]

    # -- its life --------------------------------------------------------------------------------------

    def adopt(self, instance: Any, methods: Mapping[str, Method]) -> None:
        """Use an instance that BentoML made and started: the decorated service's own."""
        self.calls = VariantCalls(self.name, instance, methods, self._context)
        self._begin(instance, methods)

    async def start(self) -> None:
        """Make the instance as BentoML does it and run its startup hooks; failing is this variant's own."""
        methods = self.definition.service.apis
        try:
            instance = await self._beside(self._made, "start")
            self.calls = VariantCalls(self.name, instance, methods, self._context)
            instance.__self_proxy__ = OwnCalls(self.calls)
            instance.to_async = Inside("to_async", self.calls)
            instance.to_sync = Inside("to_sync", self.calls)
            await self._connect(instance)
            await self._hooks(instance, "__bentoml_startup_hook__")
        except BaseException as error:  # noqa: BLE001 - whatever it raises: it cannot load, it is `failed`
            self.state, self.error = "failed", described(error)
            return
        self._threads = DaemonThreads(self._limit, self.name, anyio_worker())
        self._begin(instance, methods)

    async def close(self) -> None:
        """Run the instance's shutdown hooks (not those of an adopted one: BentoML does that)."""
        was, self.state = self.state, "unready"
        for batcher in self._batchers.values():
            batcher.close()
        try:
            if was == "ready" and not self._adopted:
                hooks = self._hooks(self.instance, "__bentoml_shutdown_hook__")
                await asyncio.wait_for(hooks, FAREWELL)
        finally:
            self._threads.close()
            self._aside.close()
            self.calls.close()

    @property
    def _adopted(self) -> bool:
        return isinstance(self._threads, AdoptedThreads)

    def _begin(self, instance: Any, methods: Mapping[str, Method]) -> None:
        self.instance, self._methods = instance, methods
        self._ways = {name: self._way(name, method) for name, method in methods.items()}
        self._watched = {name: self._way(name, method, watched=True) for name, method in methods.items()}
        self._plain = {
            name: functools.partial(self._run_here, method)
            for name, method in methods.items()
            if not (method.is_stream or method.batchable or inspect.iscoroutinefunction(method.func))
        }
        self.state, self.error = "ready", None

    def _way(self, name: str, method: Method, *, watched: bool = False) -> Way:
        """Return what runs an endpoint: the shortest of the ways that its kind allows.

        Shadow calls (``watched``) are measured, and have no batcher: they come in the champion's batches.
        """
        way: Way = functools.partial(method.func, self.instance)
        if not inspect.iscoroutinefunction(method.func):
            run = self._aside.run if watched else self._threads.run
            way = functools.partial(run, metered_call if watched else timed_call, way)
        if method.ctx_param is not None:
            way = functools.partial(way, **{method.ctx_param: self._context})
        if method.batchable:
            way = _in_parts(method, way) if watched else self._batched(name, method, way)
        if (converter := self._converters.get(name)) is not None:
            way = functools.partial(_converted, converter, way)
        return way

    def _batched(self, name: str, method: Method, way: Way) -> Way:
        from .batching import Batcher  # BentoML's dispatcher is slow to import

        async def run(batch: Any) -> Any:
            try:
                return await way(batch)
            except (Exception, asyncio.CancelledError, GeneratorExit):
                raise
            except BaseException as error:
                raise self._exit(error) from error

        batcher = self._batchers[name] = Batcher(method, run, functools.partial(self._observe, name))
        return batcher

    def _made(self) -> Any:
        """Return a new instance whose models are there."""
        instance = self.definition.service()
        for name, _ in self.definition.references:
            getattr(instance, name)  # BentoML finds the champion's before the start; these may be missing
        return instance

    async def _connect(self, instance: Any) -> None:
        """Begin with the services that this variant depends on, where they are served elsewhere."""
        if not self.definition.service.dependencies:
            return
        from _bentoml_impl.client import RemoteProxy  # slow to import, and seldom needed

        for dependency in self.definition.service.dependencies:
            if isinstance(real := getattr(instance, dependency), RemoteProxy):
                await real.__aenter__()

    async def _hooks(self, instance: Any, mark: str) -> None:
        for hook in bound_hooks(instance, self.definition.service.inner, mark):
            result = hook() if inspect.iscoroutinefunction(hook) else await self._beside(hook, "hook")
            if inspect.isawaitable(result):
                await result

    async def _beside(self, func: Callable[[], Any], what: str) -> Any:
        """Call a function in a thread, so that one which hangs holds nothing; on the loop if it needs one."""
        around = anyio_worker() if self.definition.service.dependencies else nullcontext
        threads = DaemonThreads(1, f"{self.name}-{what}", around)
        try:
            return await threads.run(func)
        except RuntimeError as error:
            if "event loop" not in str(error):
                raise
        finally:
            threads.close()
        return func()

    # -- its answers -----------------------------------------------------------------------------------

    async def call(
        self, endpoint: str, args: Sequence[Any], kwargs: Mapping[str, Any], *, watched: bool = False
    ) -> Any:
        """Run an endpoint and return its answer.

        Args:
            endpoint: its name.
            args, kwargs: its input.
            watched: whether it is a shadow's call, whose input may be a batch that was merged already.
        """
        token, ways = ACTIVE.set(self), self._watched if watched else self._ways
        try:
            return await ways[endpoint](*args, **kwargs)
        except (Exception, asyncio.CancelledError, GeneratorExit):
            raise
        except BaseException as error:
            raise self._exit(error, watched=watched) from error
        finally:
            left(token)

    def watch(
        self, endpoint: str, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Coroutine[Any, Any, Any]:
        """Run an endpoint for a shadow."""
        return self.call(endpoint, args, kwargs, watched=True)

    def begin(
        self, endpoint: str, work: Callable[[Callable[..., Any]], None], *, watched: bool = False
    ) -> bool:
        """Let a thread do work around a sync endpoint, if one is free now; return whether one was.

        Args:
            endpoint: the endpoint; one that needs the loop (async, batched, a stream) never begins here.
            work: what the thread does, in a context of its own. It is given what runs the endpoint with a
                call's arguments in that thread, and raises nothing.
            watched: whether it is a shadow's call.
        """
        run, threads = self._plain.get(endpoint), self._aside if watched else self._threads
        if run is None or not isinstance(threads, DaemonThreads):
            return False
        return threads.begin(functools.partial(work, run))

    def _run_here(self, method: Method, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Run a sync endpoint in this thread and context."""
        ACTIVE.set(self)
        try:
            args, given = self._converted(method.name, args, kwargs)
            return method.func(self.instance, *args, **self._with_context(method, given))
        except (Exception, asyncio.CancelledError, GeneratorExit):
            raise
        except BaseException as error:
            raise self._exit(error) from error

    async def stream(
        self, endpoint: str, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> AsyncGenerator[Any, None]:
        """Run a streaming endpoint; a sync generator is stepped in this variant's threads."""
        method, watched = self._methods[endpoint], SHADOW.get() is not None
        threads = self._aside if watched else self._threads
        args, given = self._converted(endpoint, args, kwargs)
        items = method.func(self.instance, *args, **self._with_context(method, given))
        step = (
            items.__anext__
            if inspect.isasyncgen(items)
            else functools.partial(threads.run, metered_call, _step, items)
        )
        try:
            while True:
                token = ACTIVE.set(self)
                try:
                    item = await step()
                except StopAsyncIteration:
                    return
                except (Exception, asyncio.CancelledError, GeneratorExit):
                    raise
                except BaseException as error:
                    raise self._exit(error, watched=watched) from error
                finally:
                    left(token)
                if item is _END:
                    return
                yield item
        finally:
            await self._close_stream(items, watched=watched)

    async def _close_stream(self, items: Any, *, watched: bool) -> None:
        """Let a stream clean up: a candidate's, or a shadow's, where its code runs, and not on the loop."""
        if inspect.isasyncgen(items):
            await items.aclose()
        elif inspect.isgenerator(items) and watched:
            await self._aside.run(metered_call, _close_quietly, items)
        elif inspect.isgenerator(items) and self._adopted:
            _close(items)
        elif inspect.isgenerator(items):
            closing = asyncio.ensure_future(self._threads.run(_close_quietly, items))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    def _exit(self, error: BaseException, *, watched: bool = False) -> BaseException:
        """Return what a call that asks the process to end has failed with; who is no champion only fails."""
        if self._adopted and not watched:
            return error
        return Exited(f"variant {self.name!r} raised {type(error).__name__}")

    def _converted(
        self, endpoint: str, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> tuple[Sequence[Any], dict[str, Any]]:
        converter = self._converters.get(endpoint)
        return (args, dict(kwargs)) if converter is None else converter(args, kwargs)

    def _with_context(self, method: Method, kwargs: dict[str, Any]) -> dict[str, Any]:
        if method.ctx_param is None or method.ctx_param in kwargs:
            return kwargs
        return {**kwargs, method.ctx_param: self._context}


class AdoptedThreads:
    """The champion's sync calls: BentoML's own kind of thread, with a limit that no other variant shares."""

    def __init__(self, limit: int) -> None:
        self._limiter = anyio.CapacityLimiter(limit)

    async def run(self, func: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Call a function in a worker thread."""
        return await anyio.to_thread.run_sync(functools.partial(func, *args, **kwargs), limiter=self._limiter)

    def close(self) -> None:
        """Nothing to close: the threads are BentoML's."""


class OwnCalls:
    """Lets ``self.other(…)`` in a candidate stay in the candidate, with the context filled in."""

    def __init__(self, calls: VariantCalls) -> None:
        self._calls = calls

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return self._calls.as_it_is(name)


def _in_parts(method: Method, way: Way) -> Way:
    """Return what runs a batchable endpoint on a batch of any size, in parts of the size that it takes."""

    async def run(*args: Any, **kwargs: Any) -> Any:
        from .batching import parts_of, put_together  # BentoML's containers are slow to import

        name, batch = (None, args[0]) if args else next(iter(kwargs.items()))
        answers = [
            await (way(part) if name is None else way(**{**kwargs, name: part}))
            for part in parts_of(method, batch)
        ]
        return answers[0] if len(answers) == 1 else put_together(method, answers)

    return run


def _converted(converter: Converter, way: Way, /, *args: Any, **kwargs: Any) -> Awaitable[Any]:
    positional, named = converter(args, kwargs)
    return way(*positional, **named)


_END = object()


def _step(items: Any) -> Any:
    """Take one item of a sync generator."""
    return next(items, _END)


def _close(items: Any) -> None:
    with suppress(ValueError):  # it is running in a thread right now; it ends there
        items.close()


def _close_quietly(items: Any) -> None:
    with suppress(BaseException):  # nobody waits for it, and an exit in a task would end the loop
        items.close()
