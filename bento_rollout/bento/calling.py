"""How a variant's own code calls its endpoints: no request, no prediction, always the same variant."""

from __future__ import annotations

import asyncio
import functools
import inspect
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Mapping
from typing import Any

from ..shadowing import SHADOW
from ..threads import DaemonThreads
from .anyio_threads import anyio_worker
from .context import ACTIVE
from .method import Method, inputs_of, is_async

__all__ = ["CurrentService", "Inside", "VariantCalls", "bound_hooks"]

INNER = 40
"""How many sync calls `to_async` runs at a time for one variant: anyio's own number."""


class VariantCalls:
    """The endpoints of one variant, for its own code: as they are, as coroutines, or as plain calls.

    Args:
        name: the variant.
        instance: whose endpoints they are.
        methods: by name.
        context: the service's context, for methods that ask for one.
    """

    def __init__(self, name: str, instance: Any, methods: Mapping[str, Method], context: Any) -> None:
        self.instance = instance
        self._methods = methods
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._home = threading.get_ident()
        self._threads = DaemonThreads(INNER, f"{name}-inner", anyio_worker())

    def __contains__(self, name: str) -> bool:
        return name in self._methods

    def close(self) -> None:
        """Let the threads end."""
        self._threads.close()

    def as_it_is(self, name: str) -> Callable[..., Any]:
        """Return an endpoint of the kind that it is, sync or async, with the context filled in."""
        method = self._methods[name]

        @functools.wraps(method.func)
        def call(*args: Any, **kwargs: Any) -> Any:
            given = {key: value for key, value in kwargs.items() if key != method.ctx_param}
            positional, named = inputs_of(method, args, given)
            if method.ctx_param is not None:
                named[method.ctx_param] = kwargs.get(method.ctx_param, self._context)
            return method.func(self.instance, *positional, **named)

        return call

    def to_async(self, name: str) -> Callable[..., Any]:
        """Return an endpoint as a coroutine function (a stream as an async generator)."""
        method, call = self._methods[name], self.as_it_is(name)
        if is_async(method):
            return call
        if method.is_stream:
            return functools.wraps(method.func)(lambda *args, **kwargs: self._stepped(call(*args, **kwargs)))
        return functools.partial(self._threads.run, _counted, call)

    def to_sync(self, name: str) -> Callable[..., Any]:
        """Return an endpoint as a plain function (a stream as a generator)."""
        method, call = self._methods[name], self.as_it_is(name)
        if not is_async(method):
            return call
        wait = self._drained if method.is_stream else self._waited
        return functools.wraps(method.func)(lambda *args, **kwargs: wait(call(*args, **kwargs)))

    async def _stepped(self, items: Generator[Any, None, None]) -> AsyncGenerator[Any, None]:
        while (item := await self._threads.run(_counted, next, items, _END)) is not _END:
            yield item

    def _drained(self, items: AsyncGenerator[Any, None]) -> Generator[Any, None, None]:
        loop = self._other_loop()
        while (item := asyncio.run_coroutine_threadsafe(_next(items), loop).result()) is not _END:
            yield item

    def _waited(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._other_loop()).result()

    def _other_loop(self) -> asyncio.AbstractEventLoop:
        """Return a loop that may be waited for here: the server's, or one beside the server's thread."""
        return self._loop if threading.get_ident() != self._home else _loop_beside()


class Inside:
    """``to_async`` or ``to_sync`` of an instance: within a variant the variant's own, else BentoML's.

    Args:
        kind: ``to_async`` or ``to_sync``.
        own: the calls of the variant whose instance this is.
        outside: what BentoML put there; None where an instance has no life outside its variant.
    """

    def __init__(self, kind: str, own: VariantCalls, outside: Any = None) -> None:
        self._kind, self._own, self._outside = kind, own, outside

    def __getattr__(self, name: str) -> Any:
        active = ACTIVE.get()
        calls = self._own if active is None or name not in active.calls else active.calls
        if name in calls and (active is not None or self._outside is None):
            return getattr(calls, self._kind)(name)
        if self._outside is None:
            raise AttributeError(f"there is no endpoint {name!r}")
        return getattr(self._outside, name)


class CurrentService:
    """What ``bentoml.get_current_service()`` gives: the instance of the variant whose code asks."""

    __slots__ = ("_bento_rollout_own",)

    def __init__(self, own: Any) -> None:
        object.__setattr__(self, "_bento_rollout_own", own)

    def __getattr__(self, name: str) -> Any:
        return getattr(_instance(self), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(_instance(self), name, value)

    @property
    def __class__(self) -> type:
        return type(_instance(self))

    @__class__.setter
    def __class__(self, value: type) -> None:
        _instance(self).__class__ = value


def _instance(current: CurrentService) -> Any:
    active = ACTIVE.get()
    if active is None or active.instance is None:
        return object.__getattribute__(current, "_bento_rollout_own")
    return active.instance


_END = object()


def _counted(func: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Call a function in this thread; a shadow call's meter knows of it, and keeps its slot meanwhile."""
    meter = SHADOW.get()
    return func(*args, **kwargs) if meter is None else meter.timed(func, *args, **kwargs)


async def _next(items: AsyncGenerator[Any, None]) -> Any:
    try:
        return await items.__anext__()
    except StopAsyncIteration:
        return _END


@functools.lru_cache(maxsize=1)
def _loop_beside() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="rollout-beside", daemon=True).start()
    return loop


def bound_hooks(instance: Any, inner: type, mark: str) -> list[Callable[[], Any]]:
    """Return an instance's methods that BentoML's decorators marked as hooks, in BentoML's order."""
    names = [name for name in dir(inner) if not name.startswith("__")]
    members = {name: getattr(inner, name, None) for name in names}
    marked = [name for name, member in members.items() if callable(member) and getattr(member, mark, False)]
    return [getattr(instance, name) for name in marked]


def awaits(func: Any) -> bool:
    """Whether calling it gives something to await."""
    return inspect.iscoroutinefunction(func)
