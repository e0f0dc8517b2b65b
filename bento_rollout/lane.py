"""One shadow in one worker: a bounded queue, a few calls at a time, a deadline and a budget for each."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from .budgets import Budget, Rate
from .calls import END, Late, Unavailable, closed, next_of, within
from .executor import AT_ONCE, DaemonPool, set_aside
from .shadowing import CLOCK, SHADOW, Clock, Meter, metered
from .spec import Shadow
from .telemetry import log
from .threads import DaemonThreads
from .waiting import MOST_WAITING, Entry, Waiting, weight_of
from .watching import Host, Outcome, Shadowed
from .witness import MOST_BYTES, MOST_ITEMS, Witness, size_of

__all__ = ["Lane"]

LINGER = 0.02
"""Seconds that a batch waits for those of its requests whose answers are not out yet."""

PATIENCE = 2.0
"""How many times as long as the champion's a shadow's stream may take, beside its timeout."""


@dataclass(slots=True, eq=False)
class _Slot:
    """One of the calls that may run at a time; free again when nothing of it runs any more."""

    endpoint: str
    began: float
    task: asyncio.Task[Any] | None = None
    meter: Meter | None = None
    end: Callable[[], None] | None = None
    over: bool = False
    said: bool = False
    trace: tuple[str, str] | None = None

    @property
    def held(self) -> bool:
        """Whether something of the call still runs, though nobody waits for it."""
        return (self.task is not None and not self.task.done()) or (
            self.meter is not None and self.meter.inside
        )


class _Running:
    """A shadow call that begins in this context.

    Args:
        meter: what it may take.
    """

    __slots__ = ("_began", "_clock")

    def __init__(self, meter: Meter) -> None:
        self._began, self._clock = time.perf_counter(), Clock()
        SHADOW.set(meter)
        CLOCK.set(self._clock)

    @property
    def seconds(self) -> float:
        """How long its own code ran, where that is known, else how long it takes by now."""
        return self._clock[0] if self._clock else time.perf_counter() - self._began


class Lane:
    """One candidate's shadow calls.

    Args:
        name: the candidate.
        runner: where its code runs.
        limits: what it may take.
        host: the worker.
    """

    def __init__(self, name: str, runner: Shadowed, limits: Shadow, host: Host) -> None:
        self.name, self.runner, self.limits, self._host = name, runner, limits, host
        self._loop = asyncio.get_running_loop()
        self._pending, self._budget = Waiting(limits.max_pending), Budget(limits.max_cpu)
        self._rate = None if limits.max_rate is None else Rate(limits.max_rate)
        self._slots: set[_Slot] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._woken = False
        self.closed: str | None = None
        self._threads = DaemonThreads(limits.max_concurrency, f"{name}-compare")
        self._pool = DaemonPool(max(AT_ONCE, limits.max_concurrency), f"rollout-{name}-aside")
        set_aside(self._loop)

    @property
    def pending(self) -> int:
        """How many calls wait."""
        return self._pending.calls

    @property
    def running(self) -> int:
        """How many calls run, those that hang included."""
        return len(self._slots)

    @property
    def stuck(self) -> int:
        """How many calls hang: nobody waits for them any more, and they still run."""
        return sum(slot.over for slot in self._slots)

    # -- what comes ------------------------------------------------------------------------------------

    def offer(self, witness: Witness) -> None:
        """Take a call, or drop and count it; at once."""
        now = time.monotonic()
        weight = 0 if (pending := self._pending).calls >= pending.most else weight_of(witness)
        if (reason := self._refused(now, weight)) is not None:
            self._drop(witness, reason)
            return
        pending.add(now, witness, weight)
        if not self._woken:
            self._wake()

    def _refused(self, now: float, weight: int) -> str | None:
        if self.closed is not None:
            return self.closed
        if not self.runner.ready:
            return "unavailable"
        calls = (pending := self._pending).calls
        if calls >= pending.most or (calls and pending.weight + weight > MOST_WAITING):
            return "queue_full"
        if not self._budget.has(now):
            return "budget"
        return None if self._rate is None or self._rate.take(now) else "rate"

    def _drop(self, witness: Witness, reason: str) -> None:
        self._host.dropped(self.name, witness, reason)
        witness.done()

    def _drop_entry(self, entry: Entry, reason: str) -> None:
        for witness in entry.witnesses:
            self._drop(witness, reason)

    # -- what runs -------------------------------------------------------------------------------------

    def _wake(self, after: float = 0.0) -> None:
        """Begin what may begin, in a moment: never in the turn of whoever hands over."""
        if self._woken or not self._pending or len(self._slots) >= self.limits.max_concurrency:
            return
        self._woken = True
        self._loop.call_later(after, self._begin) if after else self._loop.call_soon(self._begin)

    def _begin(self) -> None:
        self._woken = False
        now = time.monotonic()
        while self._pending and len(self._slots) < self.limits.max_concurrency:
            entry = self._pending.first
            if not entry.whole and now - entry.since < LINGER:
                self._wake(LINGER)
                return
            self._pending.take()
            if (reason := self._outdated(entry, now)) is not None:
                self._drop_entry(entry, reason)
                continue
            slot = _Slot(entry.first.endpoint, now)
            self._slots.add(slot)
            task = self._loop.create_task(self._run(slot, entry))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _outdated(self, entry: Entry, now: float) -> str | None:
        if self.closed is not None:
            return self.closed
        if now - entry.since > self.limits.timeout:
            return "timeout"
        if self._host.has_become_champion(self.name, entry.first):
            return "not_champion"
        return None if self._budget.has(now) else "budget"

    def sweep(self) -> None:
        """Drop what has waited too long behind calls that hang, and say that they do."""
        now = time.monotonic()
        while self._pending and now - self._pending.first.since > self.limits.timeout:
            self._drop_entry(self._pending.take(), "timeout")
        for slot in self._slots:
            if slot.over and not slot.said and now - slot.began > self.limits.timeout + 1.0:
                slot.said = True
                hint = (
                    "a call that hangs in this worker cannot be ended; it keeps its place, and no thread is "
                    "made instead of it: mend the candidate, or give it a process of its own"
                )
                facts = {"endpoint": slot.endpoint, "seconds": round(now - slot.began, 1)}
                log.event("shadow.stuck", "warning", variant=self.name, **facts, hint=hint)

    async def _run(self, slot: _Slot, entry: Entry) -> None:
        """Run one entry, compare, count; whatever goes wrong is this shadow's own."""
        try:
            for outcome in await self._outcomes(slot, entry):
                outcome.trace = slot.trace
                await self._compared(slot, entry.first, outcome)
                entry.witnesses.pop(0).done()
        except Late:
            self._drop_entry(entry, "timeout")
        except asyncio.CancelledError:
            self._drop_entry(entry, "shutdown")
            raise
        except BaseException as error:  # noqa: BLE001 - whatever a candidate raises is a result
            self._failed(entry, error)
        finally:
            entry.witnesses.clear()
            self._leave(slot)

    def _failed(self, entry: Entry, error: BaseException) -> None:
        if isinstance(error, Unavailable):
            self._drop_entry(entry, "unavailable")
            return
        for witness in entry.witnesses:
            self._host.failed(self.name, witness, error)
            witness.done()

    def _leave(self, slot: _Slot) -> None:
        """Free a slot when nothing of its call runs any more."""
        slot.over = True
        if slot.held:
            if slot.task is not None and not slot.task.done():
                slot.task.add_done_callback(lambda _: self._leave(slot))
            return
        self._slots.discard(slot)
        if slot.end is not None:
            slot.end()
        self._wake()

    def _left(self, slot: _Slot) -> None:
        """Note, from whatever thread left the call last, that it did."""
        try:
            self._loop.call_soon_threadsafe(self._left_here, slot)
        except RuntimeError:  # the loop has ended
            return

    def _left_here(self, slot: _Slot) -> None:
        if slot.over and slot in self._slots:
            self._leave(slot)

    # -- one call --------------------------------------------------------------------------------------

    async def _outcomes(self, slot: _Slot, entry: Entry) -> list[Outcome]:
        """Return what the shadow makes of each call of an entry."""
        first, limit = entry.first, self.limits.timeout
        meter = slot.meter = Meter(
            self._budget.spend, lambda: self._left(slot), monitored=self.limits.monitor, pool=self._pool
        )
        if first.stream:
            limit += PATIENCE * first.total
            return [await self._waited(slot, first, self._streamed(first, meter), limit)]
        if len(entry.witnesses) == 1:
            return [await self._waited(slot, first, self._answered(first, meter), limit)]
        outcomes = await self._waited(slot, first, self._answered_batch(entry, meter), limit)
        if len(outcomes) != len(entry.witnesses):
            raise ValueError("a batch was answered with another number of rows")
        return list(outcomes)

    async def _waited(self, slot: _Slot, first: Witness, work: Coroutine[Any, Any, Any], limit: float) -> Any:
        """Wait for work in the context of the request, its effects on the response going nowhere."""
        assert slot.meter is not None  # set by the only caller
        context, running = first.context.copy(), None
        if first.trace[0]:
            running = context.run(self._host.begin_span, self.name, first)
        slot.trace = None if running is None else running.ids
        slot.task, slot.end = context.run(self._host.isolate, metered(work, slot.meter))
        if running is None:
            return await within(slot.task, limit)
        try:
            answer = await within(slot.task, limit)
        except BaseException as error:
            running.end("timeout" if isinstance(error, Late) else "error", type(error).__name__, failed=True)
            raise
        running.end("ok", None, failed=False)
        return answer

    async def _answered(self, witness: Witness, meter: Meter) -> Outcome:
        ran = _Running(meter)
        args, kwargs = witness.input(copy=self.limits.copies)
        try:
            answer = await self.runner.watch(witness.endpoint, args, kwargs)
        except Exception as error:  # noqa: BLE001 - raised again unless it is an answer
            return self._refusal(error, ran)
        return Outcome(answer, seconds=ran.seconds)

    def _refusal(self, error: Exception, ran: _Running) -> Outcome:
        words = self._host.refusal(error)
        if words is None:
            raise error
        return Outcome(refused=words, seconds=ran.seconds)

    async def _answered_batch(self, entry: Entry, meter: Meter) -> list[Outcome]:
        ran = _Running(meter)
        endpoint = entry.first.endpoint
        args, kwargs, cuts = self._host.merged(endpoint, entry.witnesses, copy=self.limits.copies)
        try:
            answer = await self.runner.watch(endpoint, args, kwargs)
        except Exception as error:  # noqa: BLE001 - raised again unless it is an answer
            return [self._refusal(error, ran)] * len(entry.witnesses)
        seconds = ran.seconds
        parts = self._host.parted(endpoint, answer, cuts)
        return [Outcome(part, seconds=seconds) for part in parts]

    async def _streamed(self, witness: Witness, meter: Meter) -> Outcome:
        ran = _Running(meter)
        args, kwargs = witness.input(copy=self.limits.copies)
        outcome, size = Outcome([]), 0
        items = self.runner.stream(witness.endpoint, args, kwargs)
        try:
            while (item := await next_of(items)) is not END:
                if not outcome.answer:
                    outcome.seconds = ran.seconds
                outcome.answer.append(item)
                size += size_of(item)
                if len(outcome.answer) >= MOST_ITEMS or size >= MOST_BYTES:
                    outcome.cut = True
                    break
                await asyncio.sleep(0)  # one that never suspends would keep the loop, whatever its time is
        except Exception as error:
            if outcome.answer:
                raise
            return self._refusal(error, ran)
        finally:
            await closed(items)
        return outcome

    async def _compared(self, slot: _Slot, witness: Witness, outcome: Outcome) -> None:
        """Compare in a thread: a large answer, or a user's comparator, holds up nobody."""
        assert slot.meter is not None  # set before anything ran
        work = self._threads.run(slot.meter.timed, self._host.compare, self.name, witness, outcome)
        sums = await within(asyncio.ensure_future(work), self.limits.timeout)
        self._host.compared(sums)

    # -- its end ---------------------------------------------------------------------------------------

    async def finish(self, deadline: float) -> None:
        """Finish what waits until a time of the loop; then drop it. Nothing that hangs is waited for."""
        while (self._pending or len(self._slots) > self.stuck) and self._loop.time() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        self.close("shutdown")
        await asyncio.sleep(0)

    def close(self, reason: str) -> None:
        """Take no more, and drop what waits."""
        self.closed = reason
        while self._pending:
            self._drop_entry(self._pending.take(), reason)
        for task in self._tasks:
            task.cancel()
        self._threads.close()
        self._pool.close()
