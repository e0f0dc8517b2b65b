"""What no sequence of verbs and decisions can do to a try, and to the way back from it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from bento_rollout.applying import seed
from bento_rollout.assessment import Assessments, Finding
from bento_rollout.assignment import check_ranges
from bento_rollout.attempt import Try
from bento_rollout.deciding import decided, fitting, let_go, promoted, started, stopped
from bento_rollout.errors import InvalidValue, Refused
from bento_rollout.policy import decide
from bento_rollout.position import Stage
from bento_rollout.spec import RolloutSpec
from bento_rollout.state import RolloutState
from tests.unit.trying import CANARY, FINE, SWAP, assessed, parsed

KNOWN = ("logistic", "boosted", "forest")
WATCHING = """
canary:
  candidate: boosted
  steps: [{shadow: 100, bake: 20s}, {weight: 5, bake: 20s}, {weight: 50, bake: 20s}]
  bake_after: {for: 20s, holdback: 2}
guardrails:
  error_rate: {margin: 1pp}
  latency: {}
  label.correct: {margin: 1pp, matures: 10s, watch: 50s, required: false}
"""
STRATEGIES = [parsed(text) for text in (CANARY, SWAP, WATCHING, WATCHING.replace("boosted", "forest"))]
AFTER = (Stage.BAKE, Stage.WATCH)


def expect(error: Exception, *parts: str) -> None:
    """Only these refusals are in order."""
    assert any(part in str(error) for part in parts), error


class AnyVerbs(RuleBasedStateMachine):
    """Drives a rollout with any verbs and any evidence, each as its door commits it."""

    def __init__(self) -> None:
        super().__init__()
        first = seed("r", "logistic", RolloutSpec.parse({}), {name: name for name in KNOWN})
        self.states = [first.model_copy(update={"revision": 1})]
        self.time = 1000.0

    @property
    def now(self) -> RolloutState:
        """The newest state."""
        return self.states[-1]

    @property
    def tried(self) -> Try:
        """Its try."""
        assert self.now.attempt is not None
        return self.now.attempt

    def commit(self, state: RolloutState) -> None:
        """Commit a state as it is read again."""
        if state is not self.now:
            numbered = state.model_copy(update={"revision": self.now.revision + 1})
            stored = RolloutState.load(json.loads(json.dumps(numbered.model_dump(mode="json"))))
            assert stored == numbered
            self.states.append(stored)

    @rule(strategy=st.sampled_from(STRATEGIES))
    def start(self, strategy: Any) -> None:
        """Begin a try; it is refused exactly where it would compare nothing, or a try runs."""
        now = self.now
        busy = now.running is not None and not now.running.watches
        others = [name for name, milli in now.weights.items() if milli and name != strategy.candidate]
        if busy or others or strategy.candidate == now.champion:
            with pytest.raises(Refused):
                started(now, strategy, {}, self.time, "ann")
        else:
            self.commit(started(now, strategy, {}, self.time, "ann"))
            assert self.now.running is not None

    @precondition(lambda self: self.now.running is not None)
    @rule()
    def wait_for_the_next(self) -> None:
        """Let evidence go on until something is done."""
        self.look(0, 12)

    @precondition(lambda self: self.now.running is not None)
    @rule(harm=st.sampled_from([0, 0, 0, 0, 0, 0, 1]), ticks=st.integers(1, 12))
    def look(self, harm: int, ticks: int) -> None:
        """Let evidence decide, some looks in a row."""
        findings = {**FINE, "error_rate": Finding.HARMFUL} if harm else FINE
        position = self.tried.position
        for _ in range(ticks):
            self.time += 15.0
            evidence = Assessments(assessed(findings), position.place, 1, 1)
            decision = decide(self.tried.strategy, position, evidence, self.time)
            position = decision.position
            after = decided(self.now, fitting(self.now, decision), self.time, KNOWN)
            if after is not self.now:
                self.commit(after)
                return

    @precondition(lambda self: self.now.running is not None)
    @rule()
    def promote(self) -> None:
        """Promote by hand: only before it is promoted."""
        if self.tried.position.stage in AFTER:
            with pytest.raises(Refused):
                promoted(self.now, self.tried.position)
            return
        before = self.now
        try:
            self.commit(promoted(before, self.tried.position))
        except Refused as error:
            expect(error, "others have")
        else:
            assert self.now.champion == self.tried.candidate

    @rule(pause=st.booleans())
    def wait(self, pause: bool) -> None:
        """Pause, or resume with a reason."""
        here = self.tried.position if self.now.running else None
        if pause:
            self.commit(stopped(self.now, here, "ann", ""))
            return
        try:
            self.commit(let_go(self.now, here, Assessments(), "known"))
        except Refused as error:
            expect(error, "nothing is paused")

    @rule(name=st.sampled_from(KNOWN), milli=st.sampled_from([0, 1000, 30_000, 98_000]))
    def weigh(self, name: str, milli: int) -> None:
        """Set a weight by hand."""
        try:
            self.commit(self.now.set_weights({name: milli}, KNOWN))
        except InvalidValue as error:
            expect(error, "add up to", "is the champion")

    @rule(name=st.sampled_from(KNOWN))
    def flip(self, name: str) -> None:
        """Flip: not across a try."""
        running = self.now.running
        if running is not None and not running.watches and name != self.now.champion:
            with pytest.raises(Refused):
                self.now.flip(name, KNOWN)
        else:
            self.commit(self.now.flip(name, KNOWN))

    @rule()
    def rollback(self) -> None:
        """Roll back; twice does it once."""
        self.commit(self.now.roll_back(known=KNOWN))
        assert self.now.is_settled
        assert self.now.roll_back(known=KNOWN) is self.now

    @precondition(lambda self: self.now.moved > 1)
    @rule()
    def undo(self) -> None:
        """Take back the newest change of traffic."""
        after = self.states[self.now.moved - 1]
        before = self.states[after.revision - 2]
        self.commit(self.now.undo(before=before, after=after, known=KNOWN, by="bob"))
        assert (self.now.champion, self.now.weights) == (before.champion, before.weights)

    @invariant()
    def the_way_back_is_open(self) -> None:
        """While a try runs a rollback gives all traffic to its control, whatever anybody did."""
        if self.now.running is not None:
            back = self.now.roll_back(known=KNOWN)
            assert (back.champion, any(back.weights.values())) == (self.tried.control, False)
            assert (back.is_settled, back.running) == (True, None)

    @invariant()
    def stage_and_champion_agree(self) -> None:
        """Before the promotion the control is champion, after it the candidate."""
        if self.now.running is not None:
            promoted_ = self.tried.position.stage in AFTER
            assert self.now.champion == (self.tried.candidate if promoted_ else self.tried.control)
            assert not self.now.is_settled

    @invariant()
    def is_whole(self) -> None:
        """Ranges fit weights, the champion has none, and a settled state is on its own stack."""
        now = self.now
        check_ranges(now.ranges, now.weights)
        assert not now.weights.get(now.champion)
        assert now.settled[-1].champion == now.champion or not now.is_settled
        assert [point.revision for point in now.settled] == sorted({point.revision for point in now.settled})
        assert now.moved <= now.revision


TestAnyVerbs = AnyVerbs.TestCase
TestAnyVerbs.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
