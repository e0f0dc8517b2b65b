"""Shadow calls in one worker: after the answer, in a bounded place, compared and counted."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Hashable, Mapping, Sequence
from typing import Any

from .calls import Call, Finish, Sink
from .comparison import Comparator
from .errors import RolloutError
from .lane import Lane
from .matching import matched
from .records import Compared, Comparison, Dropped, Plan, Reason, Relation
from .shadowing import CLOCK
from .store.tallies import Tallies
from .tally import Load, Seen, Sums, Tally, summed
from .telemetry import log
from .telemetry.spans import Running, Spans
from .terms import Terms
from .threads import DaemonThreads
from .watching import Aside, Outcome, Surroundings
from .witness import Witness

__all__ = ["Shadows"]

TICK = 0.5
"""Seconds between two times that what was counted is written."""

LAST_WORDS = 1.0
"""Seconds that the last writing may take."""

Cut = Callable[[tuple[int, ...]], tuple[Sequence[Any], Mapping[str, Any]]]
"""Returns the arguments of a request with only some of its rows."""

TWICE = (
    "from now on a call of this endpoint may run twice: in the champion, and in this shadow, whose answer "
    "is only compared. Guard what has side effects: if not bento_rollout.is_shadow(): ..."
)


class Shadows:
    """All shadows of one rollout in one worker; used on the event loop only.

    Nothing here raises, blocks or waits on a request's path: a call is handed over when its answer is out,
    and is dropped and counted where it does not fit.

    Args:
        terms: on which each variant watches.
        champion: returns the champion of this moment.
        comparators: what compares the answers, by the setting's key.
        isolate: runs code whose effects on the response go nowhere.
        surroundings: what knows BentoML.
        tallies: where what was counted is written.
        whoami: returns this worker's token.
        sink: is told of each comparison, and of what was dropped.

    Attributes:
        spans: makes the spans of shadow calls; None: nobody traces.
    """

    def __init__(
        self,
        terms: Terms,
        *,
        champion: Callable[[], str],
        comparators: Mapping[Hashable, Comparator],
        isolate: Aside,
        surroundings: Surroundings,
        tallies: Tallies,
        whoami: Callable[[], tuple[str, int]],
        sink: Sink | None = None,
    ) -> None:
        self.isolate = isolate
        self.spans: Spans | None = None
        self.refusal, self.merged, self.parted = (
            surroundings.refusal,
            surroundings.merged,
            surroundings.parted,
        )
        self._surroundings = surroundings
        self._terms = terms
        self._champion, self._comparators = champion, comparators
        self._tallies, self._whoami, self._sink = tallies, whoami, sink
        self._tally = Tally()
        self._lanes: dict[tuple[str, str], Lane] = {}
        self._meant: dict[tuple[tuple[str, ...], str, str], tuple[tuple[str, ...], bool]] = {}
        self._begun: dict[tuple[str, str, str], Lane] = {}
        self._drops: defaultdict[tuple[str, str, int, str, str], int] = defaultdict(int)
        self._writer = DaemonThreads(1, "shadow-counts")
        self._ticking: asyncio.Task[None] | None = None
        self._once = log.Once()

    # -- on a request's path ---------------------------------------------------------------------------

    async def watched(
        self,
        serve: Callable[..., Any],
        call: Call,
        plan: Plan,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        finish: Finish | None,
    ) -> Any:
        """Serve a call as ``serve`` does, and note what the champion makes of it."""
        witness = self._witness(call, plan, args, kwargs)
        if witness is None:
            return await serve(call, plan, args, kwargs, finish)
        CLOCK.set(witness.clock)
        try:
            return await serve(call, plan, args, kwargs, witness.noting(finish))
        except Exception as error:
            if (words := self.refusal(error)) is not None:
                witness.note_refusal(words)
            raise
        finally:
            if witness.clock or call.batch is not None:
                witness.ran(call.batch)

    def watched_stream(
        self,
        items: AsyncGenerator[Any, None],
        call: Call,
        plan: Plan,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
    ) -> AsyncGenerator[Any, None]:
        """Return a stream's items as they are, and note them on their way."""
        witness = self._witness(call, plan, args, kwargs)
        return items if witness is None else witness.noting_items(items)

    def watch_rows(
        self, call: Call, plan: Plan, cut: Cut, rows: tuple[int, ...], answer: Any, seconds: float
    ) -> None:
        """Note the rows that the champion answered of a request whose rows were split.

        Args:
            call: the request.
            plan: of the champion's rows, or of any where it answered none.
            cut: returns the arguments with only some rows.
            rows: which rows it answered.
            answer: its answer to these.
            seconds: how long it took.
        """
        from .rows import take  # it brings numpy, which most services do without

        champion = "" if call.watch is None else call.watch[0]
        places = {row: at for at, row in enumerate(rows)}
        for name, wanted in (call.row_watch or {}).items():
            if not self._terms.applies(name, champion, call.endpoint):
                continue
            try:
                seen = tuple(row for row in wanted if row in places)
                missed = len(wanted) - len(seen)
                self._count(name, champion, plan.revision, call.endpoint, "not_champion", missed)
                if not seen:
                    continue
                copy = self._terms.limits(name, champion).copies
                witness = Witness(call, (name,), champion, plan.revision, *cut(seen), copy=copy)
                witness.note(take(answer, tuple(places[row] for row in seen)))
                witness.rows, witness.seconds = seen, seconds
                call.witnesses = (*call.witnesses, witness)
            except Exception as error:  # noqa: BLE001 - shadows cost no answer
                self._trouble(error)

    def hand_over(self, call: Call) -> None:
        """Give a call to its shadows, when its answer is out; never raises."""
        witnesses, call.witnesses = call.witnesses, ()
        for witness in witnesses:
            for name in witness.names:
                try:
                    self._offer(name, witness)
                except Exception as error:  # noqa: BLE001 - shadows cost no answer
                    witness.done()
                    self._trouble(error)

    def _offer(self, name: str, witness: Witness) -> None:
        key = (name, witness.champion, witness.endpoint)
        lane = self._begun.get(key) or self._begin(*key)
        if not witness.whole:
            self.dropped(name, witness, "unanswered")
            witness.done()
        elif lane is None:
            self.dropped(name, witness, "unavailable")
            witness.done()
        else:
            lane.offer(witness)
            if self._ticking is None:
                self._tick()

    def _begin(self, name: str, champion: str, endpoint: str) -> Lane | None:
        """Return a shadow's lane when its first call of an endpoint comes, and say that it begins."""
        lane = self._lane(name, champion)
        if lane is not None:
            self._begun[name, champion, endpoint] = lane
            facts = {"rollout": self._terms.rollout, "variant": name, "endpoint": endpoint}
            self._once.say(f"{name} {endpoint}", "shadow.first", "info", **facts, hint=TWICE)
        return lane

    def _witness(
        self, call: Call, plan: Plan, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Witness | None:
        """Return what notes the champion's answer for those who shadow a call; None when nobody does."""
        try:
            champion, watchers = call.watch or ("", ())
            key = (watchers, champion, call.endpoint)
            names, copy = self._meant.get(key) or self._meant_for(*key)
            if not names:
                return None
            if plan.variant != champion or plan.reason is _FALLBACK:
                for name in names:
                    self._count(name, champion, plan.revision, call.endpoint, "not_champion", 1)
                return None
            witness = Witness(call, names, champion, plan.revision, args, kwargs, copy=copy)
        except Exception as error:  # noqa: BLE001 - shadows cost no answer
            self._trouble(error)
            return None
        call.witnesses = (witness,)
        return witness

    def _meant_for(
        self, watchers: tuple[str, ...], champion: str, endpoint: str
    ) -> tuple[tuple[str, ...], bool]:
        """Return those of a call's watchers that apply, and whether one of them wants a copy of the input."""
        if len(self._meant) >= _MOST:
            self._meant.clear()
        names = tuple(name for name in watchers if self._terms.applies(name, champion, endpoint))
        copy = any(self._terms.limits(name, champion).copies for name in names)
        self._meant[watchers, champion, endpoint] = names, copy
        return names, copy

    def _trouble(self, error: Exception) -> None:
        self._once.say(
            type(error).__name__,
            "shadow.error",
            "error",
            error=type(error).__name__,  # and not its text: that may hold what was asked, or answered
            where=log.place_of(error),
        )

    # -- what a lane asks ------------------------------------------------------------------------------

    def begin_span(self, name: str, witness: Witness) -> Running | None:
        """Begin the span of a shadow's call in its own context; None when the request was not recorded."""
        if self.spans is None:
            return None
        told = {
            "feature_flag.result.variant": name,
            "feature_flag.version": str(witness.revision),
            "bento_rollout.champion": witness.champion,
            "bento_rollout.endpoint": witness.endpoint,
            "bento_rollout.prediction_id": witness.prediction_id,
        }
        return self.spans.shadow(told)

    def has_become_champion(self, name: str, witness: Witness) -> bool:
        """Whether a candidate has become the champion since a call came: it has other things to do."""
        return name == self._champion() != witness.champion

    def compare(self, name: str, witness: Witness, outcome: Outcome) -> Sums:
        """Compare what a shadow made of a call with what the champion did, and add up; called in a thread."""
        comparator = self._comparators[self._terms.comparing(name, witness.champion, witness.endpoint).key]
        comparisons = matched(comparator, witness, outcome, self._surroundings.plain)
        return self._summed(name, witness, comparisons, outcome)

    def _summed(
        self, name: str, witness: Witness, comparisons: Sequence[Comparison], outcome: Outcome | None
    ) -> Sums:
        now, seconds = time.time(), None if outcome is None else outcome.seconds
        if self._sink is not None:
            answer = None if outcome is None else outcome.answer
            told = Compared(
                self._terms.rollout, witness.endpoint, name, witness.champion, witness.revision,
                witness.prediction_id, now, tuple(comparisons), witness.rows, seconds, witness.seconds,
                answer, *((outcome and outcome.trace) or witness.trace), outcome is None,
                witness.keys, witness.inference_ids,
            )  # fmt: skip
            self._sink.offer(told)
        series = self._terms.series(name, witness.champion, witness.revision, witness.endpoint)
        call, rows = witness.prediction_id, witness.rows
        predictions = [call] if rows is None else [f"{call}.{row}" for row in rows]
        return summed(series, comparisons, Seen(predictions, witness.seconds, seconds, now))

    def compared(self, sums: Sums) -> None:
        """Count what comparisons came to."""
        self._tally.add(sums)
        self._tick()

    def failed(self, name: str, witness: Witness, error: BaseException) -> None:
        """Count a call whose shadow raised, and say so once for each kind of failure and revision.

        Of the error its class and its place are told, and not its text: that may hold the caller's input.
        """
        kind = type(error).__name__
        failure = Comparison(Relation.NOT_COMPARABLE, kind)
        self.compared(self._summed(name, witness, [failure] * witness.count, None))
        self._once.say(
            f"{witness.revision} {name} {witness.endpoint} {kind}",
            "shadow.failed",
            "warning",
            rollout=self._terms.rollout,
            variant=name,
            endpoint=witness.endpoint,
            revision=witness.revision,
            error=kind,
            where=log.place_of(error),
            prediction_id=witness.prediction_id,
            hint="nobody waited for it; further ones of this kind are only counted at this revision",
        )

    def dropped(self, name: str, witness: Witness, reason: str) -> None:
        """Count a call that was not shadowed; of a request whose rows were split, its rows."""
        key = (name, witness.champion, witness.revision, witness.endpoint, reason)
        self._drops[key] += witness.count  # under overload nearly every call comes here: it is kept short
        if self._ticking is None:
            self._tick()

    def _count(self, name: str, champion: str, revision: int, endpoint: str, reason: str, count: int) -> None:
        if count:
            self._drops[name, champion, revision, endpoint, reason] += count
            self._tick()

    # -- lanes -----------------------------------------------------------------------------------------

    def _lane(self, name: str, champion: str) -> Lane | None:
        """Return a shadow's lane; one for each pair, since a flip exchanges limits and places."""
        key = (name, champion)
        lane = self._lanes.get(key)
        if lane is None and (runner := self._surroundings.runner(name)) is not None:
            lane = self._lanes[key] = Lane(name, runner, self._terms.limits(name, champion), self)
        return lane

    # -- counting --------------------------------------------------------------------------------------

    def _tick(self) -> None:
        """Begin to write what is counted, now that there is something."""
        if self._ticking is None:
            self._ticking = asyncio.ensure_future(self._keep_writing())

    async def _keep_writing(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            for lane in self._lanes.values():
                lane.sweep()
            await self._write()

    async def _write(self, *, leave: bool = False) -> None:
        sums = self._counted()
        if sums is None and not self._tallies.waits:
            return
        try:
            told = (*self._whoami(), sums or Sums(), time.time(), leave)
            waits = await self._writer.run(self._tallies.add, *told)
            if leave:
                await self._writer.run(self._tallies.leave, told[0])
            self._unwritten(waits)
        except (RolloutError, OSError) as error:
            self._tally.add(sums or Sums())
            self._unwritten(str(error))
        except Exception as error:  # noqa: BLE001 - numbers are lost, and nothing else
            self._trouble(error)

    def _counted(self) -> Sums | None:
        for (name, champion), lane in self._lanes.items():
            if champion == self._champion():
                self._tally.load(name, Load(lane.pending, lane.running, lane.stuck))
        drops, self._drops = self._drops, defaultdict(int)
        for (name, champion, revision, endpoint, reason), count in drops.items():
            self._tally.dropped(self._terms.series(name, champion, revision, endpoint), reason, count)
            if self._sink is not None:
                dropped = (self._terms.rollout, endpoint, name, champion, revision, reason, count)
                self._sink.offer(Dropped(*dropped))
        return self._tally.take()

    def _unwritten(self, problem: str | None) -> None:
        told = {"rollout": self._terms.rollout, "problem": problem}
        if problem is not None:
            self._once.say("unwritten", "shadow.unwritten", "warning", **told)
        else:
            self._once.over("unwritten")

    # -- its end ---------------------------------------------------------------------------------------

    async def close(self, patience: float) -> None:
        """Finish what waits within some seconds, drop and count the rest, and write the last numbers."""
        deadline = asyncio.get_running_loop().time() + patience
        await asyncio.gather(*(lane.finish(deadline) for lane in self._lanes.values()))
        if self._ticking is not None:
            self._ticking.cancel()
            with contextlib.suppress(asyncio.TimeoutError, TimeoutError):
                await asyncio.wait_for(self._write(leave=True), LAST_WORDS)
        self._writer.close()


_MOST = 1000
_FALLBACK = Reason.FALLBACK
"""Looked up once: until Python 3.12 an enum's member costs a fifth of a microsecond, and each call asks."""
