"""Plans, runs and observes one call at a time; the champion's answer stays possible."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .assignment import Table
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
from .copying import copied
from .feed import Feed
from .gates import Gated
from .keys import quiet_key
from .readiness import Ready
from .records import Observation, Outcome, Plan, Reason
from .shadow import Shadows
from .spec import FULL, RolloutSpec
from .state import Commit
from .telemetry import log

__all__ = ["Router", "quiet_key"]

_random_bucket = random.Random().randrange  # noqa: S311 - routing needs no secret


class Router:
    """Sends calls to variants.

    Args:
        feed: the newest state.
        runners: by variant; the champion's too.
        spec: timeouts and fallbacks.
        sink: takes an observation for each run; None: nobody wants to know, and nothing is observed.
        is_client_error: whether an exception is the caller's fault, and so an answer.
        isolate: runs a candidate so that what it did to the response is lost when the champion answers.
        digests: what each variant is, here.

    Attributes:
        shadows: who watches calls; None: nobody can.
    """

    def __init__(
        self,
        feed: Feed,
        runners: Mapping[str, Runner],
        spec: RolloutSpec,
        sink: Sink | None,
        is_client_error: Callable[[BaseException], bool],
        isolate: Isolate,
        digests: Mapping[str, str],
    ) -> None:
        self.spec = spec
        self.shadows: Shadows | None = None
        self.is_client_error = is_client_error
        self._feed = feed
        self._runners = runners
        self._gated = {name: gated for name in runners if (gated := _gated(name, runners[name], spec))}
        self._sink = sink
        self._routed = None if spec.endpoints is None else frozenset(spec.endpoints)
        self._seen = feed.commit
        self._ready = Ready(runners, frozenset())
        self._isolate = isolate
        self._once = log.Once()
        self._digests = digests
        self._look(self._seen)

    # -- who answers -----------------------------------------------------------------------------------

    @property
    def champion(self) -> str:
        """Who answers by default, in the state that this worker serves by."""
        return self._feed.commit.state.champion

    def ready(self) -> Collection[str]:
        """Return the variants that may answer here and now: their runner is ready, their digest trusted."""
        commit = self._feed.commit
        if commit is not self._seen:
            self._look(commit)
        return self._ready

    def plan(self, call: Call, key: object = None) -> Plan:
        """Return who serves a call. A key that cannot be hashed costs nothing: the draw is random."""
        table = self._feed.table()
        if self._routed is not None and call.endpoint not in self._routed:
            return self._unrouted(call.endpoint, table)
        ready, text = self.ready(), quiet_key(key)
        call.keys = (text,)
        if table.shadows:
            call.watch = (table.champion, table.watchers(text, _draw))
        return table.plan(text, draw=_draw, ready=ready, pinned=call.pinned, header=call.header)

    def plan_rows(self, call: Call, keys: Sequence[object]) -> list[Plan]:
        """Return who serves each row, all at one revision."""
        table, ready = self._feed.table(), self.ready()
        texts = [quiet_key(key) for key in keys]
        call.keys = tuple(texts)
        if table.shadows:
            call.watch, call.row_watch = (table.champion, ()), table.row_watchers(texts, _draw)
        return [
            table.plan(text, draw=_draw, ready=ready, pinned=call.pinned, header=call.header)
            for text in texts
        ]

    def stand_in(self, reason: Reason) -> Plan:
        """Return the plan that the champion answers, or who stands in for it when it cannot."""
        table = self._feed.table()
        plan = table.plan(None, draw=_draw, ready=self.ready(), pinned=table.champion)
        return Plan(plan.variant, table.revision, reason)

    def _unrouted(self, endpoint: str, table: Table) -> Plan:
        """Return who answers an endpoint that is not routed: the champion, or an older one that offers it."""
        ready = self.ready()
        able = [name for name in ready if self._runners[name].offers(endpoint)]
        order = (table.champion, *table.backups, *able)
        variant = next((name for name in order if name in able), table.champion)
        failed = variant != table.champion and table.champion not in ready
        return Plan(variant, table.revision, Reason.UNAVAILABLE if failed else Reason.DEFAULT)

    def _look(self, commit: Commit) -> None:
        """Note the candidates whose code is not the one that a state's traffic was granted to."""
        state = commit.state
        others = ((name, digest) for name, digest in self._digests.items() if name != state.champion)
        held = frozenset(name for name, digest in others if state.granted.get(name, digest) != digest)
        self._ready = Ready(self._runners, held)
        self._seen = commit

    # -- a call ----------------------------------------------------------------------------------------

    def call(
        self, call: Call, plan: Plan, args: Sequence[Any], kwargs: Mapping[str, Any], finish: Finish | None
    ) -> Coroutine[Any, Any, Any]:
        """Run a call as planned and give its answer; the champion answers when the spec says so.

        Args:
            call: the request.
            plan: who serves it.
            args, kwargs: what the endpoint was called with.
            finish: makes what goes out; when it fails the answer was not valid: the variant's failure.
                None: the answer goes out as it is.
        """
        call.plans = (plan,)
        serve = self._guarded if self._falls(plan) else self.run
        if call.watch is None or self.shadows is None:
            return serve(call, plan, args, kwargs, finish)
        return self.shadows.watched(serve, call, plan, args, kwargs, finish)

    def hand_over(self, call: Call) -> None:
        """Give a call to those who shadow it, when its answer is out; never raises."""
        if call.witnesses and self.shadows is not None:
            self.shadows.hand_over(call)

    async def _guarded(
        self, call: Call, plan: Plan, args: Sequence[Any], kwargs: Mapping[str, Any], finish: Finish | None
    ) -> Any:
        """Run a variant; should it fail, let the champion answer the same input."""
        spare = copied(args, kwargs)
        try:
            return await self.run(call, plan, args, kwargs, finish, isolated=True)
        except Exception as error:
            if self.is_client_error(error):
                raise
            self.say_fallback(call, plan, error)
        plan = self.stand_in(Reason.FALLBACK)
        call.plans = (plan,)
        return await self.run(call, plan, *spare, finish)

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
        """Run one variant once, within its time limit, and observe it."""
        began, outcome, failure = time.perf_counter(), Outcome.OK, None
        try:
            runner = self._runner(plan.variant)
            timeout = self._timeout(plan.variant)
            if timeout is None and not isolated:
                value = await runner.call(call.endpoint, args, kwargs)
                return value if finish is None else await finish(value, plan.variant)
            apart = bool(rows) and plan.variant != self.champion
            work = _run(runner, call.endpoint, args, kwargs, finish, plan.variant)
            value = await answered(*self._isolate(work, apart=apart), timeout)
        except BaseException as error:
            outcome, failure = self._outcome(error), type(error).__name__
            raise
        else:
            return value
        finally:
            if self._sink is not None or offer is not None:
                seconds = time.perf_counter() - began
                if outcome is Outcome.OK and seconds > GONE_AFTER and await call.has_gone():
                    outcome = Outcome.DISCONNECTED
                fact = self._observation(call, plan, outcome, seconds, rows, failure)
                if offer is None:
                    self.tell(call, fact)
                else:
                    offer(fact)

    def _falls(self, plan: Plan) -> bool:
        """Whether the champion answers when this plan's variant fails."""
        return self.spec.limits(plan.variant).fallback == "champion" and plan.variant != self.champion

    def _timeout(self, variant: str) -> float | None:
        """Return how long a variant has; a champion that would fall back to itself: as it takes."""
        limits = self.spec.limits(variant)
        return None if limits.fallback == "champion" and variant == self.champion else limits.timeout

    def say_fallback(self, call: Call, plan: Plan, error: Exception) -> None:
        """Say once for each kind of failure and revision that the champion answers for a variant.

        Of the error its class and its place are told, and not its text: that may hold the caller's input.
        """
        kind = type(error).__name__
        self._once.say(
            f"{plan.revision} {plan.variant} {call.endpoint} {kind}",
            "call.fallback",
            "error",
            rollout=self._feed.name,
            variant=plan.variant,
            endpoint=call.endpoint,
            revision=plan.revision,
            error=kind,
            where=log.place_of(error),
            problem=str(error) if isinstance(error, (Unavailable, Late)) else None,
            prediction_id=call.prediction_id,
            hint="the champion answered; further ones of this kind are not logged at this revision",
        )

    def _runner(self, variant: str) -> Runner:
        runner = self._runners.get(variant)
        if runner is None or not runner.ready:
            raise Unavailable(f"variant {variant!r} cannot answer in this worker")
        if variant in self._gated and variant != self.champion:
            return self._gated[variant]
        return runner

    def _outcome(self, error: BaseException) -> Outcome:
        if isinstance(error, (TimeoutError, asyncio.TimeoutError, asyncio.CancelledError)):
            return Outcome.TIMEOUT
        if isinstance(error, GeneratorExit):
            return Outcome.DISCONNECTED
        if isinstance(error, Unavailable):
            return Outcome.UNAVAILABLE
        return Outcome.CLIENT_ERROR if self.is_client_error(error) else Outcome.ERROR

    def tell(self, call: Call, fact: Observation) -> None:
        """Note what one run of a call came to, and tell whoever wants to know."""
        call.runs.append(fact)
        if self._sink is not None:
            self._sink.offer(fact)

    def _tell(self, call: Call, plan: Plan, outcome: Outcome, seconds: float, error: str | None) -> None:
        if self._sink is not None:
            self.tell(call, self._observation(call, plan, outcome, seconds, error=error))

    def _observation(
        self,
        call: Call,
        plan: Plan,
        outcome: Outcome,
        seconds: float,
        rows: tuple[int, ...] = (),
        error: str | None = None,
    ) -> Observation:
        # fmt: off
        return Observation(self._feed.name, call.endpoint, plan.variant, plan.revision, plan.reason,
                           call.prediction_id, outcome, seconds, rows, error)
        # fmt: on

    # -- a stream --------------------------------------------------------------------------------------

    def stream(
        self, call: Call, plan: Plan, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> AsyncGenerator[Any, None]:
        """Run a streaming call as planned; before the first item the champion may still answer."""
        call.plans = (plan,)
        items = self._streamed(call, plan, args, kwargs)
        if call.watch is None or self.shadows is None:
            return items
        return self.shadows.watched_stream(items, call, plan, args, kwargs)

    async def _streamed(
        self, call: Call, plan: Plan, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> AsyncGenerator[Any, None]:
        falls = self._falls(plan)
        spare = copied(args, kwargs) if falls else (args, kwargs)
        try:
            opened = await self._opened(call, plan, args, kwargs, isolated=falls)
        except Exception as error:
            if not falls or self.is_client_error(error):
                raise
            self.say_fallback(call, plan, error)
            plan = self.stand_in(Reason.FALLBACK)
            call.plans = (plan,)
            opened = await self._opened(call, plan, *spare, isolated=False)
        items = self._rest(call, plan, opened)
        try:
            async for item in items:
                yield item
        finally:
            await items.aclose()

    async def _opened(
        self, call: Call, plan: Plan, args: Sequence[Any], kwargs: Mapping[str, Any], *, isolated: bool
    ) -> _Opened:
        """Take the first item; a failure here is observed here, everything later in `_rest`."""
        began, items = time.perf_counter(), None
        try:
            items = self._runner(plan.variant).stream(call.endpoint, args, kwargs)
            timeout = self._timeout(plan.variant)
            if timeout is None and not isolated:
                first = await next_of(items)
            else:
                first = await answered(*self._isolate(next_of(items)), timeout)
        except BaseException as error:
            self._tell(call, plan, self._outcome(error), time.perf_counter() - began, type(error).__name__)
            if items is not None:
                await closed(items)
            raise
        return _Opened(items, first, time.perf_counter() - began)

    async def _rest(self, call: Call, plan: Plan, opened: _Opened) -> AsyncGenerator[Any, None]:
        """Yield the items from the first on, and observe how the stream ended."""
        item, outcome, failure = opened.first, Outcome.OK, None
        idle = self.spec.limits(plan.variant).idle_timeout
        try:
            while item is not END:
                yield item
                step = next_of(opened.items)
                item = await (step if idle is None else within(asyncio.ensure_future(step), idle))
        except (GeneratorExit, asyncio.CancelledError):
            outcome = Outcome.DISCONNECTED
            raise
        except BaseException as error:
            outcome, failure = self._outcome(error), type(error).__name__
            raise
        finally:
            self._tell(call, plan, outcome, opened.seconds, failure)
            await closed(opened.items)


@dataclass(frozen=True, slots=True)
class _Opened:
    """A stream whose first item has come, and how long that took."""

    items: AsyncGenerator[Any, None]
    first: Any
    seconds: float


def _gated(name: str, runner: Runner, spec: RolloutSpec) -> Runner | None:
    limits = spec.limits(name)
    running = limits.max_concurrency or runner.limit
    return None if running is None else Gated(name, runner, running, limits.max_pending)


GONE_AFTER = 0.02
"""Seconds from which on it is worth asking whether the caller has gone."""


def _draw() -> int:
    return _random_bucket(FULL)


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
