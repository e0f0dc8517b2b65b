"""`Runs`: runs one variant for one call, within its time limit, and observes what came of it."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .calls import (
    END,
    Call,
    Finish,
    Isolate,
    Late,
    Offer,
    Runner,
    Sink,
    Unavailable,
    answered,
    closed,
    next_of,
    within,
)
from .gates import Gated
from .measuring import SHEET, Sheet, left
from .records import Measures, Observation, Outcome, Plan
from .shadowing import clocked, unclocked
from .spec import RolloutSpec
from .telemetry import log
from .telemetry.users import bound

if TYPE_CHECKING:
    from .telemetry.spans import Running, Spans

__all__ = ["Opened", "Runs"]

GONE_AFTER = 0.02
"""Seconds from which on it is worth asking whether the caller has gone."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A stream whose first item has come.

    Attributes:
        items: the stream after its first item.
        first: its first item.
        began: when it was begun, on the clock of performance.
        seconds: how long the first item took.
        sheet: what its code measures.
        span: ends with it.
    """

    items: AsyncGenerator[Any, None]
    first: Any
    began: float
    seconds: float
    sheet: Sheet
    span: Running | None


class Runs:
    """Runs variants.

    Args:
        runners: by variant; the champion's too.
        spec: its time limits.
        sink: takes an observation for each run; None: nobody wants to know, and nothing is observed.
        is_client_error: whether an exception is the caller's fault, and so an answer.
        isolate: runs a candidate so that what it did to the response is lost when the champion answers.
        champion: returns who that is at this moment.
        rollout: the rollout's name.

    Attributes:
        spans: makes the spans of runs; None: nobody traces.
        is_error: the user's own word on whether what a variant raised is its error; None: the outcome tells.
    """

    def __init__(
        self,
        runners: Mapping[str, Runner],
        spec: RolloutSpec,
        sink: Sink | None,
        is_client_error: Callable[[BaseException], bool],
        isolate: Isolate,
        champion: Callable[[], str],
        rollout: str,
    ) -> None:
        self.spans: Spans | None = None
        self.is_error: Callable[[BaseException], bool] | None = None
        self._once = log.Once()
        self._runners, self._spec, self._sink = runners, spec, sink
        self._is_client_error, self._isolate = is_client_error, isolate
        self._champion, self._rollout = champion, rollout
        self._alike = all(getattr(runner, "kind", None) == "worker" for runner in runners.values())
        self._gated = {name: gated for name in runners if (gated := _gated(name, runners[name], spec))}

    async def run(
        self,
        call: Call,
        plan: Plan,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        finish: Finish | None,
        *,
        isolated: bool = False,
        rows: tuple[int, ...] = (),
        offer: Offer | None = None,
    ) -> Any:
        """Run one variant once, and observe it.

        Args:
            call: the request.
            plan: who runs.
            args, kwargs: what the endpoint is called with.
            finish: makes what goes out; when it fails the answer was not valid: the variant's failure.
            isolated: whether what it does to the response is held back until it has answered.
            rows: which of the request's rows these are.
            offer: takes the observation instead of whoever is told as a rule.
        """
        began, outcome, failure, counts = time.perf_counter(), Outcome.OK, None, None
        sheet = Sheet(len(rows))
        span = None if call.span is None else self._begin_span(call, plan, len(rows))
        token = SHEET.set(sheet)
        clock, ours = clocked() if self._alike else ((), None)
        try:
            runner = self._runner(plan.variant)
            timeout = self._timeout(plan.variant)
            if timeout is None and not isolated:
                value = await runner.call(call.endpoint, args, kwargs)
                return value if finish is None else await finish(value, plan.variant)
            apart = bool(rows) and plan.variant != self._champion()
            work = _run(runner, call.endpoint, args, kwargs, finish, plan.variant)
            value = await answered(*self._isolate(work, apart=apart), timeout)
        except BaseException as error:
            outcome, failure, counts = self._outcome(error), type(error).__name__, self._counts(error)
            raise
        else:
            return value
        finally:
            left(token)
            unclocked(ours)
            seconds = time.perf_counter() - began
            if span is not None:
                span.end(outcome.value, failure, failed=outcome.failed)
            if self._sink is not None or offer is not None:
                if outcome is Outcome.OK and seconds > GONE_AFTER and await call.has_gone():
                    outcome = Outcome.DISCONNECTED
                elif failure == _CANCELLED and await _has_left(call):
                    outcome = Outcome.DISCONNECTED  # nobody waited any more when time was up
                fact = self._observation(call, plan, outcome, seconds, rows, failure, sheet.taken(), counts)
                fact = fact._replace(own=clock[0]) if clock else fact
                (offer or functools.partial(self.tell, call))(fact)

    def tell(self, call: Call, fact: Observation) -> None:
        """Note what one run of a call came to, and tell whoever wants to know."""
        call.runs.append(fact)
        if self._sink is not None:
            call.bound = bound()  # while the user's own middleware is still around us
            self._sink.offer(fact)

    # -- a stream --------------------------------------------------------------------------------------

    async def open(
        self, call: Call, plan: Plan, args: Sequence[Any], kwargs: Mapping[str, Any], *, isolated: bool
    ) -> Opened:
        """Take the first item; a failure here is observed here, everything later in `rest`."""
        began, items, sheet = time.perf_counter(), None, Sheet()
        span = None if call.span is None else self._begin_span(call, plan, 0)
        token = SHEET.set(sheet)
        try:
            items = self._runner(plan.variant).stream(call.endpoint, args, kwargs)
            timeout = self._timeout(plan.variant)
            if timeout is None and not isolated:
                first = await next_of(items)
            else:
                first = await answered(*self._isolate(next_of(items)), timeout)
        except BaseException as error:
            outcome = self._outcome(error)
            if isinstance(error, asyncio.CancelledError) and await _has_left(call):
                outcome = Outcome.DISCONNECTED
            if span is not None:
                span.end(outcome.value, type(error).__name__, failed=outcome.failed)
            self._tell_stream(call, plan, outcome, began, None, error, sheet, 0)
            if items is not None:
                await closed(items)
            raise
        finally:
            left(token)
        if span is not None:
            span.pause()
        return Opened(items, first, began, time.perf_counter() - began, sheet, span)

    async def rest(self, call: Call, plan: Plan, opened: Opened) -> AsyncGenerator[Any, None]:
        """Yield the items from the first on, and observe how the stream ended."""
        item, outcome, failure, count = opened.first, Outcome.OK, None, 0
        idle = self._spec.limits(plan.variant).idle_timeout
        try:
            while item is not END:
                count += 1
                yield item
                item = await self._next(opened, idle)
        except (GeneratorExit, asyncio.CancelledError):
            outcome = Outcome.DISCONNECTED
            raise
        except BaseException as error:
            outcome, failure = self._outcome(error), error
            raise
        finally:
            if opened.span is not None:
                name = None if failure is None else type(failure).__name__
                opened.span.end(outcome.value, name, failed=outcome.failed)
            self._tell_stream(call, plan, outcome, opened.began, opened.seconds, failure, opened.sheet, count)
            await closed(opened.items)

    async def _next(self, opened: Opened, idle: float | None) -> Any:
        """Take the next item, in the stream's span; who takes the items keeps the current one."""
        if opened.span is not None:
            opened.span.enter()
        token = SHEET.set(opened.sheet)
        try:
            step = next_of(opened.items)
            return await (step if idle is None else within(asyncio.ensure_future(step), idle))
        finally:
            left(token)
            if opened.span is not None:
                opened.span.pause()

    def _tell_stream(
        self,
        call: Call,
        plan: Plan,
        outcome: Outcome,
        began: float,
        seconds: float | None,
        error: BaseException | None,
        sheet: Sheet,
        items: int,
    ) -> None:
        """Observe how a stream ended; ``seconds``: to its first item, None if none came."""
        if self._sink is None:
            return
        total = time.perf_counter() - began
        failure, counts = (None, None) if error is None else (type(error).__name__, self._counts(error))
        fact = self._observation(
            call, plan, outcome, total if seconds is None else seconds, (), failure, sheet.taken(), counts
        )
        self.tell(call, fact._replace(total=total, items=items))

    # -- what they have in common ----------------------------------------------------------------------

    def _begin_span(self, call: Call, plan: Plan, rows: int) -> Running | None:
        if self.spans is None:
            return None
        return self.spans.run(call.span, (call.endpoint, call.prediction_id), plan, rows)

    def _timeout(self, variant: str) -> float | None:
        """Return how long a variant has; a champion that would fall back to itself: as it takes."""
        limits = self._spec.limits(variant)
        return None if limits.fallback == "champion" and variant == self._champion() else limits.timeout

    def _runner(self, variant: str) -> Runner:
        runner = self._runners.get(variant)
        if runner is None or not runner.ready:
            raise Unavailable(f"variant {variant!r} cannot answer in this worker")
        if variant in self._gated and variant != self._champion():
            return self._gated[variant]
        return runner

    def _outcome(self, error: BaseException) -> Outcome:
        if isinstance(error, (TimeoutError, asyncio.TimeoutError, asyncio.CancelledError)):
            return Outcome.TIMEOUT
        if isinstance(error, GeneratorExit):
            return Outcome.DISCONNECTED
        if isinstance(error, Unavailable):
            return Outcome.UNAVAILABLE
        return Outcome.CLIENT_ERROR if self._is_client_error(error) else Outcome.ERROR

    def _counts(self, error: BaseException) -> bool | None:
        """Return what the user says of an error that a variant raised; None: nothing, or nothing of use."""
        if self.is_error is None or isinstance(error, _NOT_RAISED):
            return None
        try:
            said = self.is_error(error)
        except BaseException as trouble:  # noqa: BLE001 - it is asked for evidence, and costs no answer
            problem, where = f"it raised {type(trouble).__name__}", log.place_of(trouble)
        else:
            if isinstance(said, bool):
                return said
            problem, where = f"it returned a {type(said).__name__}, and neither True nor False", ""
        self._once.say(
            problem,
            "call.is_error_failed",
            "error",
            rollout=self._rollout,
            error=type(error).__name__,
            problem=problem,
            where=where,
            hint="the outcome tells whether it counts; further ones of this kind are not logged",
        )
        return None

    def _observation(
        self,
        call: Call,
        plan: Plan,
        outcome: Outcome,
        seconds: float,
        rows: tuple[int, ...],
        error: str | None,
        measures: Measures,
        counts: bool | None,
    ) -> Observation:
        # fmt: off
        return Observation(self._rollout, call.endpoint, plan.variant, plan.revision, plan.reason,
                           call.prediction_id, outcome, seconds, rows, error, measures, counts)
        # fmt: on


_NOT_RAISED = (Late, Unavailable, asyncio.CancelledError, GeneratorExit)
"""What ends a run without its variant having raised it."""


def _gated(name: str, runner: Runner, spec: RolloutSpec) -> Runner | None:
    limits = spec.limits(name)
    running = limits.max_concurrency or runner.limit
    return None if running is None else Gated(name, runner, running, limits.max_pending)


_CANCELLED = asyncio.CancelledError.__name__


async def _has_left(call: Call) -> bool:
    """Whether the caller of a call that was cancelled has left; who cancels again is not kept waiting."""
    if call.left is not None:
        return call.left
    with suppress(asyncio.CancelledError):
        return await call.has_gone()
    return False


async def _run(
    runner: Runner,
    endpoint: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    finish: Finish | None,
    variant: str,
) -> Any:
    value = await runner.call(endpoint, args, kwargs)
    return value if finish is None else await finish(value, variant)
