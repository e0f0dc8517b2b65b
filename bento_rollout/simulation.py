"""`simulate`: one rollout that did not happen: the real policy and the real tests, with made-up calls; pure.

The clock is made up, too: looks are close together when a stretch begins, and further apart later, so that a
bake of a day takes no longer than one of an hour.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from enum import Enum

import numpy as np

from .assessment import Assessments
from .bench import Bench, Setting
from .decision import Action, Decision
from .evidence import Evidence
from .guardrails import Label, Threshold, split_name
from .past import Past
from .policy import begin, decide
from .position import MOST_TICK, Position, Stage, resumed, ticked
from .rounds import Arms
from .strategy import Strategy
from .traffic import Crowd, Split, Traffic
from .values import FULL

__all__ = ["CONTROL", "Event", "Outcome", "Plan", "Reach", "Run", "past_of", "simulate"]

CONTROL = "champion"
"""The control's name in a plan."""

_SOONEST, _LATEST = 1.0, 6 * 3600.0
"""Seconds between two looks: the least, and the most."""

_GROWTH, _QUIET_GROWTH = 0.1, 0.3
"""The same as a part of the stretch so far: in its dense part, and after it."""

_DENSE, _DENSE_OPEN, _MOST_DENSE = 5_000, 30_000, 200_000
"""Calls of a stretch that all count: when only time is missing, when evidence is, and with many keys."""

_FLOOD, _TRICKLE_OPEN, _TRICKLE = 5_000, 2_000, 150
"""Calls between two looks that count: in the dense part; after it when evidence, or only time, is missing."""

_SUMS = 200_000
"""The same where keys are not told apart: then what counts are sums."""

_PAST = 20_000
"""Calls of the champion that are known before the rollout."""

_MOST_LOOKS = 50_000
"""Looks after which a run is given up that nothing ended."""


class Outcome(str, Enum):
    """How a run ended."""

    PROMOTED = "promoted"
    HELD = "held"
    ROLLED_BACK = "rolled_back"
    PAUSED = "paused"
    UNMEASURABLE = "unmeasurable"
    GAVE_UP = "gave_up"


@dataclass(frozen=True, slots=True)
class Plan:
    """What is planned. Immutable.

    Attributes:
        strategy: how the candidate is tried.
        traffic: what comes.
        past: what is known of the champion before.
        person: seconds after which a person answers where the strategy waits for one.
    """

    strategy: Strategy
    traffic: Traffic
    past: Past
    person: float = 0.0


@dataclass(frozen=True, slots=True)
class Reach:
    """Whom the trial has reached so far. Immutable.

    Attributes:
        seconds: since the start.
        calls, failed: calls that it answered, or watched in nobody's sight (not counted); those that failed.
        keys, hurt: users who met it, and those of whom a call failed.
    """

    seconds: float
    calls: float = 0.0
    failed: float = 0.0
    keys: int = 0
    hurt: int = 0


@dataclass(frozen=True, slots=True)
class Event:
    """A decision. Immutable.

    Attributes:
        seconds: since the start.
        action: what was done.
        words: the decision's sentence.
        share: of the trial after it.
    """

    seconds: float
    action: Action
    words: str
    share: float


@dataclass(frozen=True, slots=True)
class Run:
    """What became of one simulated rollout. Immutable.

    Attributes:
        outcome: how it ended.
        causes: the guardrails that ended it or paused it.
        end: whom the trial had reached when it ended.
        promoted: when it was promoted; None: never.
        caught: when the first harm was shown, and whom the trial had reached; None: none was.
        healthy: when each guardrail was first shown to be healthy.
        events: the decisions, in order.
    """

    outcome: Outcome
    causes: tuple[str, ...]
    end: Reach
    promoted: float | None
    caught: Reach | None
    healthy: dict[str, Reach]
    events: tuple[Event, ...]


def past_of(traffic: Traffic, rng: np.random.Generator) -> Past:
    """Return what is known of the champion before: durations, and how often it disagrees with itself."""
    crowd = Crowd(replace(traffic, sticky=False), rng, healthy=True)
    before = Split(CONTROL, CONTROL, 0.0, shadow=0.25)
    evidence, _, _ = crowd.draw(before, _PAST / traffic.rate, 0.0, 0, _PAST)
    return Past().plus(evidence, CONTROL)


def simulate(plan: Plan, rng: np.random.Generator, *, healthy: bool, prompt: bool = False) -> Run:
    """Return what became of one rollout.

    Args:
        plan: what is planned.
        rng: all chance of this run; the same generator gives the same run.
        healthy: whether the candidate does what the champion does, instead of what is asked about.
        prompt: whether labels come with the prediction, to see what waiting for them costs.
    """
    return _Try(plan, Crowd(plan.traffic, rng, healthy=healthy), prompt=prompt).run()


@dataclass(slots=True)
class _Try:
    """A try while it runs."""

    plan: Plan
    crowd: Crowd
    prompt: bool
    now: float = 0.0
    revision: int = 0
    calls: float = 0.0
    failed: float = 0.0
    promoted: float | None = None
    caught: Reach | None = None
    healthy: dict[str, Reach] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    arms: dict[int, Arms] = field(default_factory=dict)
    due: deque[tuple[float, Evidence]] = field(default_factory=deque)
    known: Assessments = field(default_factory=Assessments)
    entered: float = 0.0
    counted: int = 0
    split: Split = field(init=False)
    bench: Bench = field(init=False)
    position: Position = field(init=False)

    def run(self) -> Run:
        strategy = self.plan.strategy
        self.split = Split(strategy.candidate, CONTROL, 0.0)
        self.bench = Bench.begin(strategy, Setting(self.plan.traffic.sticky, self.plan.past))
        self._apply(begin(strategy, CONTROL, self.now))
        for _ in range(_MOST_LOOKS):
            if (ended := self._ended()) is not None:
                return ended
            self._look(self._until_next())
        return self._run(Outcome.GAVE_UP, ("looks",))

    # -- one look --------------------------------------------------------------------------------------

    def _look(self, seconds: float) -> None:
        """Let some seconds pass, count what happened in them, and decide."""
        began, self.now = self.now, self.now + seconds
        evidence = self._happened(seconds, began)
        self._wait_until(self.now)
        self.bench = self.bench.update(evidence, self.arms, self.now, self._gauges)
        self.known = self.bench.assessments(self.arms[self.revision], self.now, needs=False)
        self._decide()

    def _wait_until(self, now: float) -> None:
        """Let the position count what looks each second would have, of which none had anything new to say.

        One look adds `MOST_TICK` at most; all of a gap add alike, as no gap goes beyond the end of a bake.
        """
        here, strategy = self.position, self.plan.strategy
        gap = now - (now if here.looked is None else here.looked) - MOST_TICK
        if gap <= 0 or here.looked is None:
            return
        after = ticked(here, strategy, here.looked + MOST_TICK)
        added = {
            name: getattr(here, name) + (getattr(after, name) - getattr(here, name)) * gap / MOST_TICK
            for name in ("counted", "undecided", "promoted")
        }
        self.position = here.model_copy(update={**added, "looked": now - MOST_TICK})

    def _happened(self, seconds: float, began: float) -> Evidence:
        """Return what is told of some seconds; labels come when they are mature."""
        if self.position.stage is Stage.WATCH:  # all calls are the trial's: nothing is compared any more
            evidence = Evidence()
        else:
            most = self._most
            evidence, later, hit = self.crowd.draw(self.split, seconds, began, self.revision, most)
            self.counted += min(most, int(self.plan.traffic.rate * seconds))
            self.calls, self.failed = self.calls + hit.calls, self.failed + hit.bad
            if later:
                self.due.append((self.now + (0.0 if self.prompt else self._matures), later))
        while self.due and self.due[0][0] <= self.now:
            evidence.add(self.due.popleft()[1])
        return evidence

    def _decide(self) -> None:
        """Decide once, and do it."""
        strategy = self.plan.strategy
        if self._waits_for_a_person and self.position.counted >= self.plan.person:
            self.position = resumed(self.position, strategy, self.known)
        decision = decide(strategy, self.position, self.known, self.now)
        for name in decision.position.healthy:
            if name not in self.healthy:
                self.healthy[name] = self._reach()
        if decision.position.open_alarms and self.caught is None:
            self.caught = self._reach()
        if decision.action is Action.HOLD:
            self.position = decision.position
        else:
            self._apply(decision)

    def _apply(self, decision: Decision) -> None:
        before = self.position.place if self.events else ""
        self.position = decision.position
        if decision.action is Action.PROMOTE:
            self.promoted = self.now
        if decision.weights is not None:
            held = sum(decision.weights.values()) / FULL
            done = self.position.stage in (Stage.BAKE, Stage.WATCH, Stage.DONE)
            self.split = replace(self.split, share=1.0 - held if done else held)
        if decision.shadow is not None:
            self.split = replace(self.split, shadow=decision.shadow / FULL)
        self.events.append(Event(self.now, decision.action, decision.words, self.split.share))
        self.revision += 1
        share = self.split.share if 0.0 < self.split.share < 1.0 else None
        self.arms[self.revision] = Arms(self.split.trial, CONTROL, share)
        if self.position.place != before:
            self.bench = self.bench.entered(self.position.place, self.revision)
            self.entered, self.counted = self.now, 0

    # -- how far apart looks are, and how much of what happens counts ----------------------------------

    def _until_next(self) -> float:
        """Return the seconds until the next look: no longer than the stretch certainly takes."""
        rate = self.plan.traffic.rate
        growth = _GROWTH if self._dense else _QUIET_GROWTH
        seconds = min(_LATEST, max(_SOONEST, 5.0 / rate, (self.now - self.entered) * growth))
        if (left := self._time_left) > 0:
            seconds = min(seconds, max(left, 1e-3))
        elif self._waits_for_a_person:
            return _SOONEST
        left = self.plan.strategy.give_up_after - self.position.undecided
        return min(seconds, max(left, _SOONEST))

    @property
    def _time_left(self) -> float:
        """Seconds that this stretch takes at least; 0 or less: only evidence or a person is missing."""
        if self.position.stage is Stage.STEPS:
            step = self.plan.strategy.steps[self.position.step]
            bake = self.plan.person if self._waits_for_a_person else step.bake or 0.0
            if step.pause and step.pause.seconds is not None:
                bake = step.pause.seconds
        elif self.position.stage is Stage.BAKE and (after := self.plan.strategy.bake_after):
            bake = after.seconds
        else:
            bake = 0.0
        return bake - self.position.counted

    @property
    def _waits_for_a_person(self) -> bool:
        if self.position.stage is not Stage.STEPS or self.position.passed:
            return False
        pause = self.plan.strategy.steps[self.position.step].pause
        return pause is not None and pause.seconds is None

    @property
    def _most(self) -> int:
        """How many calls count until the next look."""
        if not self.plan.traffic.sticky:
            return _SUMS
        return _FLOOD if self._dense else _TRICKLE_OPEN if self._open else _TRICKLE

    @property
    def _open(self) -> bool:
        """Whether the step still waits for evidence."""
        if self.position.stage is not Stage.STEPS:
            return False
        return not {*self.plan.strategy.required_at(self.position.step)} <= {*self.position.healthy}

    @property
    def _dense(self) -> bool:
        """Whether all calls count: for long while evidence is missing, and at the beginning of any stretch.

        Later chance keeps a part of them: then harm of which nothing was seen yet is seen later than it
        would be, never sooner.
        """
        most = max(_DENSE_OPEN, min(_MOST_DENSE, 3 * self.plan.traffic.keys // 2))
        return self.counted < (most if self._open else _DENSE)

    @property
    def _matures(self) -> float:
        labels = (one.matures for one in self.plan.strategy.guardrails.values() if isinstance(one, Label))
        return max(labels, default=0.0)

    @property
    def _gauges(self) -> dict[str, float]:
        """Values of plain thresholds, within their bounds: no chance is known of them."""
        found = {}
        for name, one in self.plan.strategy.guardrails.items():
            if isinstance(one, Threshold):
                value = one.above + 1.0 if one.above is not None else (one.below or 0.0) - 1.0
                found[name] = found[split_name(name)[0]] = value
        return found

    # -- how it ends -----------------------------------------------------------------------------------

    def _ended(self) -> Run | None:
        stage, paused = self.position.stage, self.position.paused
        causes = self.position.open_alarms
        if stage is Stage.ROLLED_BACK:
            return self._run(Outcome.ROLLED_BACK, causes)
        if paused is not None:
            broken = tuple(self.position.unmeasured) or (paused.reason,)
            return {
                "harm": lambda: self._run(Outcome.PAUSED, causes),
                "unmeasurable": lambda: self._run(Outcome.UNMEASURABLE, broken),
            }.get(paused.cause, lambda: self._run(Outcome.GAVE_UP, (paused.reason,)))()
        if stage is Stage.HOLDING:
            return self._run(Outcome.HELD, causes)
        if stage.ended or (stage is Stage.WATCH and not self.due):
            return self._run(Outcome.PROMOTED, causes)
        return None

    def _run(self, outcome: Outcome, causes: tuple[str, ...]) -> Run:
        end = self._reach()
        return Run(outcome, causes, end, self.promoted, self.caught, self.healthy, tuple(self.events))

    def _reach(self) -> Reach:
        return Reach(self.now, self.calls, self.failed, self.crowd.met, self.crowd.hurt)
