"""One variant's batches: BentoML's own dispatcher, fed by one variant only."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from bentoml._internal.marshal.dispatcher import CorkDispatcher
from bentoml._internal.runner.container import AutoContainer
from bentoml.exceptions import ServiceUnavailable

from ..calls import Call, Together
from ..measuring import SHEET, Sheet, share
from ..shadowing import CLOCK, SHADOW, Clock
from ..telemetry.spans import Running
from .context import ACTIVE, watched_call
from .method import Method
from .tracing import batch_span, recorded_span

__all__ = ["Batcher", "merge", "part", "parts_of", "put_together"]

Run = Callable[[Any], Awaitable[Any]]
"""Runs the variant's method on one merged batch."""


class Batcher:
    """Collects the inputs of one endpoint of one variant and runs them together.

    Args:
        method: the variant's endpoint.
        run: runs it on a batch.
        observe: told each batch's size in requests.
    """

    def __init__(self, method: Method, run: Run, observe: Callable[[int], None]) -> None:
        self._method = method
        self._run = run
        self._observe = observe
        self._dispatcher = _dispatcher(method)
        # By the input's id (callers may have sent the same object): who waits with it.
        self._awaited: dict[int, list[_Waiter]] = {}

    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Wait in the batch; the batch runs in the context of one of its requests, as in BentoML."""
        values = [*args, *(value for name, value in kwargs.items() if name != self._method.ctx_param)]
        if len(values) != 1:
            raise TypeError("Batch inference function only accept one argument")
        infer = functools.partial(self._infer, contextvars.copy_context())
        waiter = _Waiter(watched_call(), recorded_span(), SHEET.get() if SHADOW.get() is None else None)
        if waiter.call is None and waiter.span is None and waiter.sheet is None:
            return await self._dispatcher(infer)(values[0])
        same = self._awaited.setdefault(id(values[0]), [])
        same.append(waiter)
        try:
            return await self._dispatcher(infer)(values[0])
        finally:
            same.remove(waiter)
            if not same:
                self._awaited.pop(id(values[0]), None)

    def close(self) -> None:
        """Stop collecting; who still waits is answered that the service is overloaded."""
        self._dispatcher.shutdown()

    async def _infer(self, context: contextvars.Context, batches: Sequence[Any]) -> Sequence[Any]:
        self._observe(len(batches))
        if len(batches) == 0:
            return []
        sheets = [self._sheet_of(one) for one in batches]
        waiters = self._waiters(batches) if self._awaited else []
        together = _noted([waiter.call for waiter in waiters if waiter.call is not None])
        spans = [waiter.span for waiter in waiters if waiter.span is not None]
        running = None
        if spans:
            runner = context.get(ACTIVE)
            variant = "" if runner is None else runner.name
            running = batch_span(self._method.name, variant, len(batches), spans)
        dim = self._method.batch_dim
        batch, indices = AutoContainer.batches_to_batch(batches, dim[0])
        sheet = Sheet(int(indices[-1]))
        context.run(SHEET.set, sheet)
        work = self._run(batch)
        if together is not None:
            work = _timed(work, together)
        if running is not None:
            work = _traced(work, running)
        try:
            result = await _in_context(context, work)
        finally:
            share(sheet, list(zip(sheets, indices, indices[1:], strict=False)))
        return AutoContainer.batch_to_batches(result, indices, dim[1])

    def _waiters(self, batches: Sequence[Any]) -> list[_Waiter]:
        """Return the calls and the spans that wait for a batch."""
        inputs = dict.fromkeys(map(id, batches))
        return [waiter for one in inputs for waiter in self._awaited.get(one, ())]

    def _sheet_of(self, value: Any) -> Sheet | None:
        """Return the sheet of a request whose input this is; who sent the same come one after another."""
        for waiter in self._awaited.get(id(value), ()):
            if not waiter.taken:
                waiter.taken = True
                return waiter.sheet
        return None


@dataclass(slots=True, eq=False)
class _Waiter:
    """A request that waits in a batch.

    Attributes:
        call: its call, when it is shadowed.
        span: its span, when that is recorded.
        sheet: where it is noted what is measured of its rows.
        taken: whether its batch has begun.
    """

    call: Call | None
    span: Any
    sheet: Sheet | None
    taken: bool = False


def _noted(calls: Sequence[Call]) -> Together | None:
    """Note on the calls that are shadowed which batch they are answered in, and return that."""
    if not calls:
        return None
    together = Together(len(calls))
    for call in calls:
        call.batch = together
    return together


def merge(method: Method, inputs: Sequence[Any]) -> tuple[Any, Sequence[int]]:
    """Return the batch of some inputs, and where each of them begins and ends."""
    batch, indices = AutoContainer.batches_to_batch(inputs, method.batch_dim[0])
    return batch, indices


def part(method: Method, answer: Any, indices: Sequence[int]) -> Sequence[Any]:
    """Return the answers to the inputs of a batch."""
    return list(AutoContainer.batch_to_batches(answer, indices, method.batch_dim[1]))


def parts_of(method: Method, batch: Any) -> Sequence[Any]:
    """Return a batch in parts that are no larger than an endpoint takes."""
    dim, most = method.batch_dim[0], method.max_batch_size
    size = AutoContainer.get_batch_size(batch, dim)
    if size <= most:
        return [batch]
    return list(AutoContainer.batch_to_batches(batch, [*range(0, size, most), size], dim))


def put_together(method: Method, answers: Sequence[Any]) -> Any:
    """Return the answers to the parts of a batch as one."""
    return AutoContainer.batches_to_batch(answers, method.batch_dim[1])[0]


async def _traced(work: Awaitable[Any], running: Running) -> Any:
    """Await a batch's work within its span."""
    running.enter()
    error: str | None = None
    try:
        return await work
    except BaseException as raised:
        error = type(raised).__name__
        raise
    finally:
        running.end("ok" if error is None else "error", error, failed=error is not None)


async def _timed(work: Awaitable[Any], together: Together) -> Any:
    """Await a batch's work, and note how long the variant's own code ran."""
    clock, began = Clock(), time.perf_counter()
    CLOCK.set(clock)
    try:
        return await work
    finally:
        elapsed = time.perf_counter() - began
        together.seconds = clock[0] if clock else elapsed


async def _in_context(context: contextvars.Context, work: Awaitable[Any]) -> Any:
    """Run work in a context that is not the caller's."""

    async def step() -> Any:
        return await work

    task = context.run(asyncio.get_running_loop().create_task, step())
    try:
        return await task
    except asyncio.CancelledError:
        if not task.cancelled():
            task.cancel()
            raise
        raise RuntimeError("the variant cancelled its own batch") from None


def _dispatcher(method: Method) -> CorkDispatcher[Any, Any]:
    """Return a batcher whose controller lives in an empty context: it keeps no request alive."""

    def overloaded() -> Any:
        raise ServiceUnavailable("process is overloaded")

    dispatcher: CorkDispatcher[Any, Any] = CorkDispatcher(
        max_latency_in_ms=method.max_latency_ms,
        max_batch_size=method.max_batch_size,
        fallback=overloaded,
        get_batch_size=functools.partial(AutoContainer.get_batch_size, batch_dim=method.batch_dim[0]),
        batch_dim=method.batch_dim,
    )
    task = contextvars.Context().run(asyncio.get_running_loop().create_task, dispatcher.controller())
    vars(dispatcher)["_controller"] = (
        task  # it would begin in the first request's context, and keep that alive
    )
    return dispatcher
