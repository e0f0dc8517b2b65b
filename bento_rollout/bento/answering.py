"""Answers a worker's calls in the process beside it: sync endpoints in their thread, others on the loop."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any

from bentoml._internal.context import ServiceContext, _request_var, _response_var

from ..executor import DaemonPool, set_aside
from ..measuring import SHEET, Sheet
from ..pipe import Garbled, Kind, Pipe
from ..shadowing import SHADOW, Meter, enter_shadow
from .carrying import effects_of, error_to, request_of, unpacked
from .folders import release_folder
from .method import Method
from .worker_runner import WorkerRunner

__all__ = ["Answering"]

_Order = tuple[str, Sequence[Any], Mapping[str, Any], Mapping[str, Any] | None, bool | None, int | None]

SHADOW_THREADS = 32
"""Threads for what shadow calls give to the loop's executor: as many as asyncio itself has, at most."""

CREDIT = 16
"""Items of a stream that may be on their way to the worker: the candidate waits when they are not taken."""


class Answering:
    """The calls that one candidate has been asked for.

    Args:
        runner: the candidate.
        methods: the decorated service's endpoints; inputs are of their classes.
        pipe: leads to the worker.
    """

    def __init__(self, runner: WorkerRunner, methods: Mapping[str, Method], pipe: Pipe) -> None:
        self._runner, self._methods, self._pipe = runner, methods, pipe
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._in_threads: dict[int, bool] = {}  # whether each is a shadow's
        self._lingering: dict[int, tuple[Meter, BaseException]] = {}
        self._credit: dict[int, asyncio.Semaphore] = {}
        self._loop = asyncio.get_running_loop()
        self._pool = DaemonPool(SHADOW_THREADS, "rollout-shadow-aside")
        set_aside(self._loop)

    def take(self, kind: Kind, call: int, value: Any) -> None:
        """Do what a message of the worker asks for."""
        if kind is Kind.CALL:
            if not self._begun_in_thread(call, value):
                self._begin(call, self._answer(call, value))
        elif kind is Kind.STREAM:
            self._begin(call, self._stream(call, value))
        elif kind is Kind.CANCEL:
            self._cancel(call)
        elif kind is Kind.MORE and (credit := self._credit.get(call)) is not None:
            credit.release()

    def end(self) -> None:
        """Cancel what has been asked for; a thread that is busy goes on, and nobody waits for it."""
        for call in [*self._in_threads]:
            if self._claimed(call):
                self._fail(call, asyncio.CancelledError())
        for task in [*self._tasks.values()]:
            task.cancel()

    def _begin(self, call: int, work: Any) -> None:
        task = self._tasks[call] = asyncio.ensure_future(work)
        task.add_done_callback(lambda _: self._tasks.pop(call, None))

    def _cancel(self, call: int) -> None:
        if self._in_threads.get(call):
            return  # a shadow's slot is held in the worker until its thread answers
        self._in_threads.pop(call, None)
        if (task := self._tasks.get(call)) is not None:
            task.cancel()

    # -- in a thread: the shortest way, with no turn of the loop on it ---------------------------------

    def _begun_in_thread(self, call: int, order: Any) -> bool:
        """Let a thread answer a call from here on, if it is one of a sync endpoint and a thread is free."""
        if isinstance(order, Garbled):
            return False
        context = contextvars.copy_context()
        watched = self._in_threads[call] = order[4] is not None
        answer = functools.partial(self._answer_here, call, order)
        if self._runner.begin(order[0], lambda run: context.run(answer, run), watched=watched):
            return True
        del self._in_threads[call]
        return False

    def _answer_here(self, call: int, order: Any, run: Callable[..., Any]) -> None:
        """Answer a call in this thread; who takes it out of `_in_threads` is the one who tells the worker."""
        mine, value = False, None
        try:
            endpoint, args, kwargs, head, shadow, rows = order
            response = self._enter(call, head, shadow, rows)
            value = run(unpacked(args, self._methods[endpoint].input_spec), kwargs)
            if mine := self._claimed(call):
                self._pipe.send(Kind.ANSWER, call, (value, effects_of(response), _news()))
        except BaseException as error:  # noqa: BLE001 - told to the worker, whose caller waits for it
            if mine or self._claimed(call):
                self._fail(call, error)
            release_folder(self._loop)
        else:
            if not mine or not response.background.tasks:
                release_folder(self._loop, value)
                return
            here = contextvars.copy_context()  # a copy: this thread has not left its own yet
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._begin_afterwards, call, response, value, context=here)

    def _claimed(self, call: int) -> bool:
        return self._in_threads.pop(call, None) is not None

    def _begin_afterwards(self, call: int, response: Any, value: Any) -> None:
        self._begin(call, self._afterwards(response, value))

    # -- on the loop -----------------------------------------------------------------------------------

    async def _answer(self, call: int, order: Any) -> None:
        try:
            endpoint, args, kwargs, head, shadow, rows = self._read(order)
            response = self._enter(call, head, shadow, rows)
            value = await self._runner.call(endpoint, args, kwargs, watched=shadow is not None)
            self._pipe.send(Kind.ANSWER, call, (value, effects_of(response), _news()))
        except BaseException as error:  # noqa: BLE001 - told to the worker, whose caller waits for it
            self._fail_when_left(call, error)
            release_folder(self._loop, ended=False)
        else:
            await self._afterwards(response, value)

    async def _stream(self, call: int, order: Any) -> None:
        credit = self._credit[call] = asyncio.Semaphore(CREDIT)
        items: AsyncGenerator[Any, None] | None = None
        ended = False
        try:
            endpoint, args, kwargs, head, shadow, rows = self._read(order)
            response = self._enter(call, head, shadow, rows)
            items = self._runner.stream(endpoint, args, kwargs)
            async for item in items:
                await credit.acquire()
                self._pipe.send(Kind.ITEM, call, (item, effects_of(response), _news()))
            self._pipe.send(Kind.END, call, (None, effects_of(response), _news()))
            ended = True
        except BaseException as error:  # noqa: BLE001 - told to the worker, whose caller waits for it
            self._fail_when_left(call, error)
        finally:
            del self._credit[call]
            if items is not None:
                with contextlib.suppress(Exception, asyncio.CancelledError):
                    await items.aclose()
            release_folder(self._loop, ended=ended)

    # -- on either way ---------------------------------------------------------------------------------

    def _read(self, order: Any) -> _Order:
        if isinstance(order, Garbled):
            raise TypeError(f"the input cannot be read in the candidate's process: {order}")
        endpoint, args, *rest = order
        return endpoint, unpacked(args, self._methods[endpoint].input_spec), *rest

    def _enter(self, call: int, head: Mapping[str, Any] | None, shadow: bool | None, rows: int | None) -> Any:
        """Let the context be that of the worker's request; return the response's part of it."""
        SHEET.set(None if rows is None else Sheet(rows))
        enter_shadow(shadow, functools.partial(self._left, call), self._pool)
        response = ServiceContext.ResponseContext()
        _response_var.set(response)
        if head is not None:
            _request_var.set(request_of(head))
        return response

    def _fail_when_left(self, call: int, error: BaseException) -> None:
        """Tell the worker of an error; of a shadow's call not before its last thread has been left."""
        meter = SHADOW.get()
        if meter is not None and meter.inside:
            self._lingering[call] = meter, error
        else:
            self._fail(call, error)

    def _left(self, call: int) -> None:
        """Note, from whatever thread left a shadow's call last, that it did."""
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._left_here, call)

    def _left_here(self, call: int) -> None:
        meter, error = self._lingering.get(call, (None, None))
        if meter is not None and error is not None and not meter.inside:
            del self._lingering[call]
            self._fail(call, error)

    def _fail(self, call: int, error: BaseException) -> None:
        with contextlib.suppress(ConnectionError):
            self._pipe.send(Kind.FAILURE, call, (error_to(error), _news()))

    async def _afterwards(self, response: Any, value: Any) -> None:
        """Run the background tasks that the candidate added to its response, then let go of its folder."""
        try:
            with contextlib.suppress(Exception):
                await response.background()
        finally:
            release_folder(self._loop, value)


def _news() -> dict[str, Any] | None:
    """Return what this call has measured since the worker was told last; None: nothing."""
    sheet = SHEET.get()
    return None if sheet is None else sheet.news()
