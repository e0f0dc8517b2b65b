"""Plans one call at a time and lets variants run it; the champion's answer stays possible."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import Any

from .assignment import Table
from .calls import (
    Call,
    Finish,
    Isolate,
    Late,
    Runner,
    Sink,
    Unavailable,
)
from .copying import copied
from .feed import Feed
from .keys import quiet_key
from .readiness import Ready
from .records import Plan, Reason
from .runs import Runs
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
        feed: the newest state.
        runs: runs one variant at a time.
        shadows: who watches calls; None: nobody can.
        been_ready: the variants that were ready in this worker at some time.
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
        self.feed = feed
        self._runners = runners
        self.runs = Runs(runners, spec, sink, is_client_error, isolate, lambda: self.champion, feed.name)
        self._routed = None if spec.endpoints is None else frozenset(spec.endpoints)
        self._seen = feed.commit
        self.been_ready = {name for name, runner in runners.items() if runner.ready}
        self._ready, self._held = Ready(runners, frozenset()), frozenset[str]()
        self._once = log.Once()
        self._digests = digests
        self._look(self._seen)

    # -- who answers -----------------------------------------------------------------------------------

    @property
    def champion(self) -> str:
        """Who answers by default, in the state that this worker serves by."""
        return self.feed.commit.state.champion

    def ready(self) -> Collection[str]:
        """Return the variants that may answer here and now: their runner is ready, their digest trusted."""
        commit = self.feed.commit
        if commit is not self._seen:
            self._look(commit)
        return self._ready

    def plan(self, call: Call, key: object = None) -> Plan:
        """Return who serves a call. A key that cannot be hashed costs nothing: the draw is random.

        Raises:
            Unavailable: it is refused, since this worker's lease has run out.
        """
        table = self.feed.table()
        if call.obeys:
            return self._unleased(call, key)
        if self._routed is not None and call.endpoint not in self._routed:
            return self._unrouted(call.endpoint, table)
        ready, text = self.ready(), quiet_key(key)
        call.keys = (text,)
        if table.shadows:
            call.watch = (table.champion, table.watchers(text, _draw))
        plan = table.plan(text, draw=_draw, ready=ready, pinned=call.pinned, header=call.header)
        return plan if plan.missed is None else self._missed(plan)

    def plan_rows(self, call: Call, keys: Sequence[object]) -> list[Plan]:
        """Return who serves each row, all at one revision.

        Raises:
            Unavailable: they are refused, since this worker's lease has run out.
        """
        table, ready = self.feed.table(), self.ready()
        if call.obeys:
            plan = self._unleased(call, None)
            call.keys = tuple(quiet_key(key) for key in keys)
            return [plan] * len(keys)
        texts = [quiet_key(key) for key in keys]
        call.keys = tuple(texts)
        if table.shadows:
            call.watch, call.row_watch = (table.champion, ()), table.row_watchers(texts, _draw)
        plans = [
            table.plan(text, draw=_draw, ready=ready, pinned=call.pinned, header=call.header)
            for text in texts
        ]
        return [plan if plan.missed is None else self._missed(plan) for plan in plans]

    def _missed(self, plan: Plan) -> Plan:
        """Return a plan that names who was meant only if chance meant it, and it was lost here.

        Whoever had been ready in this worker and is not any more has crashed, or refuses: that is its error.
        What never was ready, or is held back since its code is another, has not begun.
        """
        lost = plan.bucket is not None and plan.missed in self.been_ready and plan.missed not in self._held
        return plan if lost else replace(plan, missed=None)

    def _unleased(self, call: Call, key: object) -> Plan:
        """Return who serves when this worker has known nothing new for too long: nobody is tried.

        Raises:
            Unavailable: nobody serves.
        """
        if call.obeys == "refuse":
            raise Unavailable(f"the store has not been within reach for {call.stale} s")
        call.keys = (quiet_key(key),)
        return self.stand_in(Reason.UNAVAILABLE)

    def stand_in(self, reason: Reason) -> Plan:
        """Return the plan that the champion answers, or who stands in for it when it cannot."""
        table = self.feed.table()
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
        self._held, self._ready = held, Ready(self._runners, held)
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
        serve = self._guarded if self._falls(plan) else self.runs.run
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
            return await self.runs.run(call, plan, args, kwargs, finish, isolated=True)
        except Exception as error:
            if self.is_client_error(error):
                raise
            self.say_fallback(call, plan, error)
        plan = self.stand_in(Reason.FALLBACK)
        call.plans = (plan,)
        return await self.runs.run(call, plan, *spare, finish)

    def _falls(self, plan: Plan) -> bool:
        """Whether the champion answers when this plan's variant fails."""
        return self.spec.limits(plan.variant).fallback == "champion" and plan.variant != self.champion

    def say_fallback(self, call: Call, plan: Plan, error: Exception) -> None:
        """Say once for each kind of failure and revision that the champion answers for a variant.

        Of the error its class and its place are told, and not its text: that may hold the caller's input.
        """
        kind = type(error).__name__
        self._once.say(
            f"{plan.revision} {plan.variant} {call.endpoint} {kind}",
            "call.fallback",
            "error",
            rollout=self.feed.name,
            variant=plan.variant,
            endpoint=call.endpoint,
            revision=plan.revision,
            error=kind,
            where=log.place_of(error),
            problem=str(error) if isinstance(error, (Unavailable, Late)) else None,
            prediction_id=call.prediction_id,
            hint="the champion answered; further ones of this kind are not logged at this revision",
        )

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
            opened = await self.runs.open(call, plan, args, kwargs, isolated=falls)
        except Exception as error:
            if not falls or self.is_client_error(error):
                raise
            self.say_fallback(call, plan, error)
            plan = self.stand_in(Reason.FALLBACK)
            call.plans = (plan,)
            opened = await self.runs.open(call, plan, *spare, isolated=False)
        items = self.runs.rest(call, plan, opened)
        try:
            async for item in items:
                yield item
        finally:
            await items.aclose()


def _draw() -> int:
    return _random_bucket(FULL)
