"""Answers a worker's calls in the process beside it: sync endpoints in their thread, others on the loop."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any

from bentoml._internal.context import ServiceContext, _request_var, _response_var

from ..pipe import Garbled, Kind, Pipe
from ..shadowing import enter_shadow
from .carrying import effects_of, error_to, request_of, unpacked
from .method import Method
from .worker_runner import WorkerRunner

__all__ = ["Answering"]

_Order = tuple[str, Sequence[Any], Mapping[str, Any], Mapping[str, Any] | None, bool | None]

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
        self._in_threads: dict[int, bool] = {}
        self._credit: dict[int, asyncio.Semaphore] = {}
        self._loop = asyncio.get_running_loop()

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
        self._in_threads.pop(call, None)
        if (task := self._tasks.get(call)) is not None:
            task.cancel()

    # -- in a thread: the shortest way, with no turn of the loop on it ---------------------------------

    def _begun_in_thread(self, call: int, order: Any) -> bool:
        """Let a thread answer a call from here on, if it is one of a sync endpoint and a thread is free."""
        if isinstance(order, Garbled):
            return False
        context = contextvars.copy_context()
        self._in_threads[call] = True
        if self._runner.begin(order[0], lambda run: context.run(self._answer_here, call, order, run)):
            return True
        del self._in_threads[call]
        return False

    def _answer_here(self, call: int, order: Any, run: Callable[..., Any]) -> None:
        """Answer a call in this thread; who takes it out of `_in_threads` is the one who tells the worker."""
        mine = False
        try:
            endpoint, args, kwargs, head, shadow = order
            response = self._enter(head, shadow)
            value = run(unpacked(args, self._methods[endpoint].input_spec), kwargs)
            if mine := self._claimed(call):
                self._pipe.send(Kind.ANSWER, call, (value, effects_of(response)))
        except BaseException as error:  # noqa: BLE001 - told to the worker, whose caller waits for it
            if mine or self._claimed(call):
                self._fail(call, error)
        else:
            if mine and response.background.tasks:
                here = contextvars.copy_context()  # a copy: this thread has not left its own yet
                with contextlib.suppress(RuntimeError):  # the loop has ended
                    self._loop.call_soon_threadsafe(self._begin_afterwards, call, response, context=here)

    def _claimed(self, call: int) -> bool:
        return self._in_threads.pop(call, False)

    def _begin_afterwards(self, call: int, response: Any) -> None:
        self._begin(call, self._afterwards(response))

    # -- on the loop -----------------------------------------------------------------------------------

    async def _answer(self, call: int, order: Any) -> None:
        try:
            endpoint, args, kwargs, head, shadow = self._read(order)
            response = self._enter(head, shadow)
            value = await self._runner.call(endpoint, args, kwargs)
            self._pipe.send(Kind.ANSWER, call, (value, effects_of(response)))
        except BaseException as error:  # noqa: BLE001 - told to the worker, whose caller waits for it
            self._fail(call, error)
        else:
            await self._afterwards(response)

    async def _stream(self, call: int, order: Any) -> None:
        credit = self._credit[call] = asyncio.Semaphore(CREDIT)
        items: AsyncGenerator[Any, None] | None = None
        try:
            endpoint, args, kwargs, head, shadow = self._read(order)
            response = self._enter(head, shadow)
            items = self._runner.stream(endpoint, args, kwargs)
            async for item in items:
                await credit.acquire()
                self._pipe.send(Kind.ITEM, call, (item, effects_of(response)))
            self._pipe.send(Kind.END, call, (None, effects_of(response)))
        except BaseException as error:  # noqa: BLE001 - told to the worker, whose caller waits for it
            self._fail(call, error)
        finally:
            del self._credit[call]
            if items is not None:
                with contextlib.suppress(Exception, asyncio.CancelledError):
                    await items.aclose()

    # -- on either way ---------------------------------------------------------------------------------

    def _read(self, order: Any) -> _Order:
        if isinstance(order, Garbled):
            raise TypeError(f"the input cannot be read in the candidate's process: {order}")
        endpoint, args, kwargs, head, shadow = order
        return endpoint, unpacked(args, self._methods[endpoint].input_spec), kwargs, head, shadow

    def _enter(self, head: Mapping[str, Any] | None, shadow: bool | None) -> Any:
        """Let the context be that of the worker's request; return the response's part of it."""
        enter_shadow(shadow)
        response = ServiceContext.ResponseContext()
        _response_var.set(response)
        if head is not None:
            _request_var.set(request_of(head))
        return response

    def _fail(self, call: int, error: BaseException) -> None:
        with contextlib.suppress(ConnectionError):
            self._pipe.send(Kind.FAILURE, call, error_to(error))

    async def _afterwards(self, response: Any) -> None:
        """Run the background tasks that the candidate added to its response."""
        with contextlib.suppress(Exception):
            await response.background()
