"""Plans, runs and observes one call at a time; whatever a candidate does, the champion's answer stays possible."""

from __future__ import annotations

import asyncio
import copy
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from .assignment import normal_key
from .errors import InvalidKey
from .feed import Feed
from .records import Observation, Outcome, Plan, Reason
from .rows import check_rows, gather, groups_of, row_count, take
from .spec import FULL, RolloutSpec

__all__ = ["Call", "Router", "Runner", "Sink", "Unavailable"]

_random_bucket = random.Random().randrange  # routing needs no secret


class Unavailable(Exception):  # noqa: N818 - a state, told to the caller as an error
    """No variant can answer in this worker now."""


class Runner(Protocol):
    """Where a variant's code runs: in this worker, in a process beside it, in a service, at a URL."""

    @property
    def ready(self) -> bool:
        """Whether it can answer now."""

    async def call(self, endpoint: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Run an endpoint and return its answer, or raise what it raised."""

    def stream(self, endpoint: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> AsyncGenerator[Any, None]:
        """Run a streaming endpoint; the items as they come."""


Isolate = Callable[[Coroutine[Any, Any, Any]], tuple["asyncio.Task[Any]", Callable[[], None]]]
"""Starts work whose effects on the response are held back; the second value lets them through."""


class Sink(Protocol):
    """Takes a fact at once, or drops and counts it; never blocks, never raises."""

    def offer(self, fact: Observation) -> None:
        """Take a fact."""


@dataclass(slots=True)
class Call:
    """One request on its way: its id, who asked for what, and who answered in the end.

    Attributes:
        endpoint: the endpoint's name.
        prediction_id: UUIDv7.
        pinned: the variant that the caller asked for.
        header: looks up a request header.
        plans: who answered: one plan, or one for each row.
        taken: whether the endpoint has begun.
    """

    endpoint: str
    prediction_id: str = ""
    pinned: str | None = None
    header: Callable[[str], str | None] | None = None
    plans: tuple[Plan, ...] = ()
    taken: bool = False
    early: Plan | None = None
    task_id: str | None = None
    gone: Callable[[], Awaitable[bool]] | None = None


class Router:
    """Sends calls to variants.

    Args:
        feed: the newest state.
        runners: by variant; the champion's too.
        spec: timeouts and fallbacks.
        sink: takes an observation for each run.
        is_client_error: whether an exception is the caller's fault, and so an answer.
        isolate: runs a candidate so that what it did to the response is lost when the champion answers after all.
        digests: what each variant is, here.
    """

    def __init__(self, feed: Feed, runners: Mapping[str, Runner], spec: RolloutSpec, sink: Sink,
                 is_client_error: Callable[[BaseException], bool], isolate: Isolate,
                 digests: Mapping[str, str]) -> None:
        self._feed = feed
        self._runners = runners
        self._spec = spec
        self._sink = sink
        self._is_client_error = is_client_error
        self._routed = None if spec.endpoints is None else frozenset(spec.endpoints)
        self._held: tuple[int, frozenset[str]] = (-1, frozenset())
        self._isolate = isolate
        self._digests = digests

    # -- who answers ------------------------------------------------------------------------------------------

    @property
    def champion(self) -> str:
        """Who answers by default, now."""
        return self._feed.table().champion

    def ready(self) -> Collection[str]:
        """Return the variants that may answer here and now: their runner is ready, and their digest is trusted."""
        held = self._untrusted()
        return [name for name, runner in self._runners.items() if runner.ready and name not in held]

    def plan(self, call: Call, key: object = None) -> Plan:
        """Return who serves a call. A key that cannot be hashed costs nothing: the request is routed at random."""
        table = self._feed.table()
        if self._routed is not None and call.endpoint not in self._routed:
            return Plan(table.champion, table.revision, Reason.DEFAULT)
        return table.plan(_quiet_key(key), draw=_draw, ready=self.ready(), pinned=call.pinned, header=call.header)

    def plan_rows(self, call: Call, keys: Sequence[object]) -> list[Plan]:
        """Return who serves each row, all at one revision."""
        table, ready = self._feed.table(), self.ready()
        return [table.plan(_quiet_key(key), draw=_draw, ready=ready, pinned=call.pinned, header=call.header) for key in keys]

    def _untrusted(self) -> frozenset[str]:
        """Return the candidates whose code is not the one that the state's traffic was granted to."""
        state = self._feed.commit.state
        if self._held[0] != state.revision:
            names = (n for n, digest in self._digests.items() if n != state.champion and state.granted.get(n, digest) != digest)
            self._held = (state.revision, frozenset(names))
        return self._held[1]

    # -- a call -----------------------------------------------------------------------------------------------

    async def call(self, call: Call, plan: Plan, args: Sequence[Any], kwargs: Mapping[str, Any],
                   finish: Callable[[Any, str], Awaitable[Any]] | None = None) -> Any:
        """Run a call as planned and return its answer; the champion answers when the spec says so.

        Args:
            finish: turns the answer and the name of the variant into what goes out; when it fails the answer was
                not valid, and that is the variant's failure.
        """
        call.plans = (plan,)
        limits = self._spec.limits(plan.variant)
        if limits.fallback != "champion" or plan.variant == self._feed.commit.state.champion:
            return await self._observed(call, plan, args, kwargs, finish, limits.timeout)
        spare = _copied(args, kwargs)
        try:
            return await self._observed(call, plan, args, kwargs, finish, limits.timeout, isolated=True)
        except Exception as error:
            if self._is_client_error(error):
                raise
        return await self._fall_back(call, spare, finish)

    async def _fall_back(self, call: Call, spare: tuple[Sequence[Any], Mapping[str, Any]],
                         finish: Callable[[Any, str], Awaitable[Any]] | None) -> Any:
        table = self._feed.table()
        plan = Plan(table.champion, table.revision, Reason.FALLBACK)
        call.plans = (plan,)
        return await self._observed(call, plan, *spare, finish, self._spec.limits(plan.variant).timeout)

    async def _observed(self, call: Call, plan: Plan, args: Sequence[Any], kwargs: Mapping[str, Any],
                        finish: Callable[[Any, str], Awaitable[Any]] | None, timeout: float | None, *,
                        isolated: bool = False, rows: tuple[int, ...] = ()) -> Any:
        began, outcome, failure = time.perf_counter(), Outcome.OK, None
        try:
            runner = self._runner(plan.variant)
            if timeout is None and not isolated:
                value = await runner.call(call.endpoint, args, kwargs)
                return value if finish is None else await finish(value, plan.variant)
            task, keep = self._isolate(_run(runner, call.endpoint, args, kwargs, finish, plan.variant))
            value = await _within(task, timeout)
            if not rows or plan.variant == self._feed.commit.state.champion:
                keep()
            return value
        except BaseException as error:
            outcome, failure = self._outcome(error), type(error).__name__
            raise
        finally:
            seconds = time.perf_counter() - began
            if outcome is Outcome.OK and seconds > GONE_AFTER and call.gone is not None and await call.gone():
                outcome = Outcome.DISCONNECTED
            self._sink.offer(Observation(self._feed.name, call.endpoint, plan.variant, plan.revision, plan.reason,
                                         call.prediction_id, outcome, seconds, rows, failure))

    def _runner(self, variant: str) -> Runner:
        runner = self._runners.get(variant)
        if runner is None or not runner.ready:
            raise Unavailable(f"variant {variant!r} cannot answer in this worker")
        return runner

    def _outcome(self, error: BaseException) -> Outcome:
        if isinstance(error, (TimeoutError, asyncio.TimeoutError, asyncio.CancelledError)):
            return Outcome.TIMEOUT
        if isinstance(error, GeneratorExit):
            return Outcome.DISCONNECTED
        if isinstance(error, Unavailable):
            return Outcome.UNAVAILABLE
        return Outcome.CLIENT_ERROR if self._is_client_error(error) else Outcome.ERROR

    # -- a stream ---------------------------------------------------------------------------------------------

    async def stream(self, call: Call, plan: Plan, args: Sequence[Any], kwargs: Mapping[str, Any]) -> AsyncGenerator[Any, None]:
        """Run a streaming call as planned; before the first item the champion may still answer."""
        call.plans = (plan,)
        limits = self._spec.limits(plan.variant)
        falls = limits.fallback == "champion" and plan.variant != self._feed.commit.state.champion
        spare = _copied(args, kwargs) if falls else (args, kwargs)
        try:
            items, first = await self._opened(call, plan, args, kwargs, limits.timeout)
        except Exception as error:
            if not falls or self._is_client_error(error):
                raise
            table = self._feed.table()
            plan = Plan(table.champion, table.revision, Reason.FALLBACK)
            call.plans = (plan,)
            limits = self._spec.limits(plan.variant)
            items, first = await self._opened(call, plan, *spare, limits.timeout)
        try:
            while first is not _END:
                yield first
                first = await _within(asyncio.ensure_future(_next(items)), limits.idle_timeout) if limits.idle_timeout else await _next(items)
        except GeneratorExit:
            self._note(call, plan, Outcome.DISCONNECTED)
            raise
        except Exception as error:
            self._note(call, plan, self._outcome(error), type(error).__name__)
            raise
        finally:
            await _closed(items)

    async def _opened(self, call: Call, plan: Plan, args: Sequence[Any], kwargs: Mapping[str, Any],
                      timeout: float | None) -> tuple[AsyncGenerator[Any, None], Any]:
        began, outcome, failure = time.perf_counter(), Outcome.OK, None
        items = None
        try:
            items = self._runner(plan.variant).stream(call.endpoint, args, kwargs)
            if timeout is None:
                return items, await _next(items)
            return items, await _within(asyncio.ensure_future(_next(items)), timeout)
        except BaseException as error:
            outcome, failure = self._outcome(error), type(error).__name__
            if items is not None:
                await _closed(items)
            raise
        finally:
            self._sink.offer(Observation(self._feed.name, call.endpoint, plan.variant, plan.revision, plan.reason,
                                         call.prediction_id, outcome, time.perf_counter() - began, (), failure))

    def _note(self, call: Call, plan: Plan, outcome: Outcome, error: str | None = None) -> None:
        self._sink.offer(Observation(self._feed.name, call.endpoint, plan.variant, plan.revision, plan.reason,
                                     call.prediction_id, outcome, 0.0, (), error))

    # -- rows -------------------------------------------------------------------------------------------------

    async def call_rows(self, call: Call, plans: Sequence[Plan], batch: Batch) -> Any:
        """Run the rows (at least one) of a request, each group by its variant, side by side.

        Rows whose candidate failed, or answered something that cannot stand beside the champion's rows, are answered
        by the champion, unless the spec says ``fallback: none``.
        """
        call.plans = tuple(plans)
        champion = self._feed.commit.state.champion
        groups = groups_of(plans)
        answers = await asyncio.gather(*(self._group(call, plans[g.rows[0]], g.rows, batch) for g in groups), return_exceptions=True)
        results: list[tuple[tuple[int, ...], Any]] = []
        failed: list[int] = []
        for group, answer in zip(groups, answers, strict=True):
            if not isinstance(answer, BaseException):
                results.append((group.rows, answer))
            elif self._is_final(group.variant, champion, answer):
                raise answer
            else:
                failed.extend(group.rows)
        return await self._together(call, results, failed, champion, batch)

    def _is_final(self, variant: str, champion: str, error: BaseException) -> bool:
        keeps = variant == champion or self._spec.limits(variant).fallback == "none"
        return keeps or not isinstance(error, Exception) or self._is_client_error(error)

    async def _together(self, call: Call, results: list[tuple[tuple[int, ...], Any]], failed: list[int],
                        champion: str, batch: Batch) -> Any:
        by_champion = next((i for i, (rows, _) in enumerate(results) if call.plans[rows[0]].variant == champion), None)
        if failed:
            results.append((tuple(sorted(failed)), await self._again(call, failed, champion, batch)))
            by_champion = len(results) - 1 if by_champion is None else by_champion
        whole, misfits = gather(results, by_champion or 0, len(call.plans))
        if not misfits:
            return whole
        bad = sorted(row for index in misfits for row in results[index][0])
        for index in misfits:
            self._note(call, call.plans[results[index][0][0]], Outcome.ERROR, "Misfit")
        kept = [result for index, result in enumerate(results) if index not in misfits]
        kept.append((tuple(bad), await self._again(call, bad, champion, batch)))
        whole, misfits = gather(kept, len(kept) - 1, len(call.plans))
        if misfits:
            everything = list(range(len(call.plans)))
            return await self._again(call, everything, champion, batch)
        return whole

    async def _group(self, call: Call, plan: Plan, rows: tuple[int, ...], batch: Batch) -> Any:
        args, kwargs = batch.of(rows)
        limits = self._spec.limits(plan.variant)

        async def fits(answer: Any, _: str) -> Any:
            check_rows(answer, len(rows))
            return answer

        candidate = plan.variant != self._feed.commit.state.champion
        return await self._observed(call, plan, args, kwargs, fits if candidate else None, limits.timeout, isolated=candidate, rows=rows)

    async def _again(self, call: Call, rows: Sequence[int], champion: str, batch: Batch) -> Any:
        plan = Plan(champion, self._feed.table().revision, Reason.FALLBACK)
        plans = list(call.plans)
        for row in rows:
            plans[row] = plan if plans[row].variant != champion else plans[row]
        call.plans = tuple(plans)
        args, kwargs = batch.of(tuple(rows))
        return await self._observed(call, plan, args, kwargs, None, None, rows=tuple(rows))


@dataclass(frozen=True, slots=True)
class Batch:
    """The arguments of a request whose rows are split: ``split`` names those that are cut row by row.

    Attributes:
        args, kwargs: as the endpoint got them.
        split: keyword names, or positions in ``args``.
    """

    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    split: frozenset[str | int]

    def of(self, rows: tuple[int, ...]) -> tuple[Sequence[Any], Mapping[str, Any]]:
        """Return the arguments with only these rows; always copies, so that no variant sees another's changes."""
        args = [take(value, rows) if index in self.split else value for index, value in enumerate(self.args)]
        kwargs = {name: take(value, rows) if name in self.split else value for name, value in self.kwargs.items()}
        return args, kwargs

    @classmethod
    def around(cls, args: Sequence[Any], kwargs: Mapping[str, Any], owner: str | int, *, parallel: bool) -> Batch:
        """Return the batch whose rows are those of ``owner``; ``parallel``: of every argument as long as it, too."""
        split: set[str | int] = {owner}
        if parallel:
            count = row_count(args[owner] if isinstance(owner, int) else kwargs[owner])
            split |= {name for name, value in kwargs.items() if row_count(value) == count}
            split |= {index for index, value in enumerate(args) if row_count(value) == count}
        return cls(args, kwargs, frozenset(split))


GONE_AFTER = 0.02
"""Seconds from which on it is worth asking whether the caller has gone: who leaves earlier has been answered."""

_END = object()


def _draw() -> int:
    return _random_bucket(FULL)


def _quiet_key(key: object) -> str | None:
    if key is None:
        return None
    try:
        return normal_key(key)
    except InvalidKey:
        return None


def _copied(args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Sequence[Any], Mapping[str, Any]]:
    """Return the input as the champion must get it should the candidate fail, whatever the candidate did to it."""
    def one(value: Any) -> Any:
        try:
            return copy.deepcopy(value)
        except Exception:  # noqa: BLE001 - not everything can be copied (a context, an open file): then it is shared
            return value

    return [one(value) for value in args], {name: one(value) for name, value in kwargs.items()}


async def _run(runner: Runner, endpoint: str, args: Sequence[Any], kwargs: Mapping[str, Any],
               finish: Callable[[Any, str], Awaitable[Any]] | None, variant: str) -> Any:
    value = await runner.call(endpoint, args, kwargs)
    return value if finish is None else await finish(value, variant)


async def _next(items: AsyncGenerator[Any, None]) -> Any:
    try:
        return await items.__anext__()
    except StopAsyncIteration:
        return _END


async def _within(task: asyncio.Future[Any], timeout: float | None) -> Any:
    """Wait for a task; one that is late is cancelled and not waited for, so it cannot hold the caller.

    Raises:
        TimeoutError: when it is late.
    """
    try:
        done, _ = await asyncio.wait({task}, timeout=timeout)
    except asyncio.CancelledError:
        task.cancel()
        raise
    if done:
        return task.result()
    task.add_done_callback(lambda late: late.cancelled() or late.exception())
    task.cancel()
    raise TimeoutError(f"no answer within {timeout:g} s")


async def _closed(items: AsyncGenerator[Any, None]) -> None:
    try:
        await items.aclose()
    except (Exception, asyncio.CancelledError):  # noqa: BLE001 - a variant that cannot be closed must not cost the answer
        return
