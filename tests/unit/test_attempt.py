"""What a try is to the state of a rollout: what each verb and each decision makes of it; pure."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from bento_rollout.applying import seed
from bento_rollout.assessment import Assessments
from bento_rollout.assignment import check_ranges
from bento_rollout.attempt import Try
from bento_rollout.deciding import (
    EVIDENCE,
    action_of,
    decided,
    fitting,
    let_go,
    promoted,
    reworked,
    started,
    stopped,
)
from bento_rollout.decision import Action, Decision
from bento_rollout.errors import InvalidValue, NotReady, Refused
from bento_rollout.position import Stage
from bento_rollout.settling import Settled
from bento_rollout.spec import RolloutSpec
from bento_rollout.state import FORMAT, RolloutState
from bento_rollout.strategy import Strategy
from bento_rollout.telling import phrases
from tests.unit.trying import CANARY, SWAP, parsed, plain
from tests.unit.trying import Try as Led

KNOWN = ("logistic", "boosted", "forest")
DIGESTS = {name: name * 2 for name in KNOWN}
WATCHING = """
canary:
  candidate: boosted
  steps: [{weight: 5, bake: 60s}]
  bake_after: {for: 100s, holdback: 2}
guardrails:
  error_rate: {margin: 1pp}
  label.correct: {margin: 1pp, matures: 1h, watch: 1d, required: false}
"""


class Line:
    """States one after the other, as a store has them, and a try that is led by hand."""

    def __init__(self, strategy: Strategy | None = None, **fields: Any) -> None:
        self.states = [seed("r", "logistic", RolloutSpec.parse(fields), DIGESTS)]
        self.states[0] = self.states[0].model_copy(update={"revision": 1})
        self.strategy = strategy or parsed(CANARY)
        self.led = Led(self.strategy)

    @property
    def now(self) -> RolloutState:
        """The newest state."""
        return self.states[-1]

    @property
    def tried(self) -> Try:
        """Its try."""
        assert self.now.attempt is not None
        return self.now.attempt

    def commit(self, state: RolloutState) -> RolloutState:
        """Commit a state, as the store keeps it: what was written is read again."""
        assert state is not self.now
        numbered = state.model_copy(update={"revision": self.now.revision + 1})
        stored = RolloutState.load(json.loads(json.dumps(numbered.model_dump(mode="json"))))
        assert stored == numbered
        check_ranges(stored.ranges, stored.weights)
        self.states.append(stored)
        return stored

    def start(self) -> RolloutState:
        """Begin a try."""
        return self.commit(started(self.now, self.strategy, DIGESTS, 1000.0, "ann"))

    def decide(self, decision: Decision) -> RolloutState:
        """Commit a decision."""
        return self.commit(decided(self.now, fitting(self.now, decision), 1001.0, KNOWN))

    def advance(self) -> RolloutState:
        """Let evidence decide for the next thing."""
        for _ in range(200):
            self.led.position = self.led.position.model_copy(update={"passed": True})
            if (decision := self.led.look()).action is not Action.HOLD:
                return self.decide(decision)
        raise AssertionError(self.led.last.words)

    def until(self, stage: Stage) -> RolloutState:
        """Let evidence decide until the try has come so far."""
        while self.tried.position.stage is not stage:
            self.advance()
        return self.now

    def undo(self) -> RolloutState:
        """Take back the newest change of traffic."""
        by = {state.revision: state for state in self.states}
        after = by[self.now.moved]
        return self.commit(self.now.undo(before=by[after.revision - 1], after=after, known=KNOWN, by="bob"))

    def rollback(self, **more: Any) -> RolloutState:
        """Roll back."""
        return self.now.roll_back(known=KNOWN, **more)


def stage(state: RolloutState) -> Stage:
    """Where the try of a state stands."""
    assert state.attempt is not None
    return state.attempt.position.stage


# -- the course -------------------------------------------------------------------------------------------


def test_a_start_gives_the_first_step_and_a_try() -> None:
    """The first step holds at once; the state is not settled any more, and the way back is the control."""
    line = Line()
    state = line.start()
    assert (state.percents, state.champion, state.moved) == ({"boosted": 5}, "logistic", 2)
    assert (line.tried.number, line.tried.started, line.tried.revision) == (1, 2, 2)
    assert (line.tried.candidate, line.tried.control, line.tried.digests) == ("boosted", "logistic", DIGESTS)
    assert not state.is_settled
    assert state.rollback_target() == Settled(revision=1, champion="logistic")
    assert phrases(line.states[0], state) == (
        "boosted 5 % (was 0 %)",
        "try 1 of boosted begins: step 1 of 3 (weight 5 %)",
    )


def test_a_try_goes_to_the_end_and_settles() -> None:
    """Each step sets its weight; a promotion exchanges the champion and keeps a holdback; the end settles."""
    line = Line()
    line.start()
    assert line.advance().percents == {"boosted": 5}  # the pause step
    assert line.advance().percents == {"boosted": 50}
    baking = line.advance()
    assert (baking.champion, baking.percents, baking.standby) == ("boosted", {"logistic": 2}, "logistic")
    assert (stage(baking), baking.is_settled) == (Stage.BAKE, False)
    assert baking.rollback_target() == Settled(revision=1, champion="logistic")
    done = line.advance()
    assert (stage(done), done.percents, done.is_settled) == (Stage.DONE, {}, True)
    assert [point.champion for point in done.settled] == ["logistic", "boosted"]
    assert done.rollback_target() == Settled(revision=1, champion="logistic")
    assert line.tried.decision is not None
    assert (line.tried.decision["action"], line.tried.decision["revision"]) == ("end_bake", done.revision)


def test_who_is_held_back_are_keys_of_the_old_champion() -> None:
    """After a promotion the old champion keeps some of its own keys: nobody's model changes without need."""
    line = Line(parsed(CANARY))
    line.start()
    line.advance()
    before = line.advance()
    trial = [(start, stop) for start, stop, _ in before.ranges]
    after = line.advance()
    assert [name for *_, name in after.ranges] == ["logistic"] * len(after.ranges)
    for start, stop, _ in after.ranges:
        assert all(stop <= low or start >= high for low, high in trial)


def test_the_watch_for_late_labels_is_not_settled() -> None:
    """After the bake all traffic is the candidate's, and the way back stays until the watch is over."""
    line = Line(parsed(WATCHING))
    line.start()
    watching = line.until(Stage.WATCH)
    assert (watching.percents, watching.is_settled) == ({}, False)
    assert watching.point.champion == "boosted"
    assert watching.rollback_target() == Settled(revision=1, champion="logistic")
    done = line.commit(
        decided(watching, Decision(Action.FINISH, "done", line.led.position.at(Stage.DONE)), 2.0)
    )
    assert done.is_settled
    assert (done.settled[-1], done.moved) == (
        Settled(revision=done.revision, champion="boosted"),
        watching.moved,
    )


def test_blue_green_flips_at_the_start() -> None:
    """The candidate is champion at once, and the old one keeps the holdback."""
    line = Line(parsed(SWAP))
    state = line.start()
    assert (state.champion, state.percents, stage(state)) == ("boosted", {"logistic": 2}, Stage.BAKE)
    back = line.rollback()
    assert (back.champion, back.percents, stage(back)) == ("logistic", {}, Stage.ABORTED)


def test_shadow_steps_set_the_candidates_shadow() -> None:
    """A shadow step lets the candidate watch; one with weight ends that, where agreement is not required."""
    line = Line(
        plain("[{shadow: 100, bake: 60s}, {weight: 5, bake: 60s}]"), shadow={"forest": {"percent": 3}}
    )
    assert line.start().shadow_percents == {"boosted": 100, "forest": 3}
    assert not line.now.is_settled
    assert line.advance().shadow_percents == {"forest": 3}


def test_others_keep_what_they_have() -> None:
    """A decision sets what candidate and control get; what a person gave another stays."""
    line = Line()
    line.start()
    line.commit(line.now.set_weights({"forest": 10_000}, KNOWN))
    line.advance()
    assert line.advance().percents == {"boosted": 50, "forest": 10}
    owned = [r for r in line.now.ranges if r[2] == "forest"]
    promoted_ = line.advance()
    assert promoted_.percents == {"forest": 10, "logistic": 2}
    assert [r for r in promoted_.ranges if r[2] == "forest"] == owned
    assert line.advance().percents == {"forest": 10}
    assert not line.now.is_settled


def test_a_step_that_does_not_fit_pauses() -> None:
    """Where people gave others what a step needs, the try pauses and says so; it does not fail for ever."""
    line = Line()
    line.start()
    line.advance()
    line.commit(line.now.set_weights({"forest": 60_000}, KNOWN))
    state = line.advance()
    assert state.percents == {"boosted": 5, "forest": 60}
    assert line.tried.position.paused is not None
    assert line.tried.position.paused.reason == (
        "50 % are needed for the next stretch, and others have forest 60 %"
    )
    assert (line.tried.position.stage, line.tried.position.step) == (Stage.STEPS, 1)
    crowded = line.now.set_weights({"boosted": 0, "forest": 99_000}, KNOWN)
    with pytest.raises(Refused, match="2 % are needed for the next stretch, and others have forest 99 %"):
        promoted(crowded, line.tried.position)


def test_a_dry_run_tells_and_moves_nothing() -> None:
    """Decisions of a dry run are kept, and champion, weights and shadows stay as they are."""
    line = Line(parsed(CANARY, dry_run=True))
    line.start()
    state = line.advance()
    assert (state.percents, state.champion, state.moved) == ({}, "logistic", 2)
    assert line.tried.decision is not None
    assert line.tried.decision["dry_run"]
    assert action_of(line.led.last) == "notify"


def test_to_hold_changes_nothing() -> None:
    """A decision to hold is no revision."""
    line = Line()
    line.start()
    assert decided(line.now, line.led.look(), 1.0) is line.now


def test_decisions_need_a_try() -> None:
    """Nothing is decided where no try runs."""
    line = Line()
    with pytest.raises(Refused, match="no strategy is running for 'r': there is nothing to decide"):
        decided(line.now, line.led.look(), 1.0)


@pytest.mark.parametrize(
    ("action", "name"), [(Action.ROLL_BACK, "rollback"), *((a, a.value) for a in Action if a.value[0] != "r")]
)
def test_each_decision_has_its_name_in_the_history(action: Action, name: str) -> None:
    """A rollback by evidence is called as a person's is; the others by their own names."""
    decision = Line().led.last
    assert action_of(replace(decision, action=action)) == name


# -- back -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [Stage.STEPS, Stage.BAKE, Stage.WATCH])
def test_a_rollback_ends_the_try_at_its_control(at: Stage) -> None:
    """In every stage all traffic goes to the control, and the try is aborted; twice does it once."""
    line = Line(parsed(WATCHING))
    line.start()
    line.until(at)
    state = line.commit(line.rollback())
    assert (state.champion, state.percents, stage(state)) == ("logistic", {}, Stage.ABORTED)
    assert state.is_settled
    assert (line.tried.revision, state.moved) == (state.revision, state.revision)
    assert line.rollback() is state


def test_a_rollback_ends_a_try_without_any_weight() -> None:
    """Also while it only watches in shadow: the operator wants it to end."""
    line = Line(plain("[{shadow: 100, bake: 60s}, {weight: 5, bake: 60s}]"))
    line.start()
    state = line.commit(line.rollback())
    assert (stage(state), state.shadow_percents) == (Stage.ABORTED, {"boosted": 100})
    assert line.rollback() is state


def test_a_rollback_in_a_try_does_not_pass_over_its_control() -> None:
    """Earlier champions are left alone: the newest settled state is that of the control."""
    line = Line()
    line.commit(line.now.flip("forest", KNOWN))
    line.commit(line.now.flip("logistic", KNOWN))
    line.start()
    assert line.rollback().champion == "logistic"
    assert line.rollback(again=True).champion == "logistic"


def test_a_rollback_by_evidence_is_said_to_be_one() -> None:
    """It is marked as rolled back, and a person who rolls back at the same time does nothing more."""
    line = Line()
    line.commit(line.now.flip("forest", KNOWN))
    line.commit(line.now.flip("logistic", KNOWN))
    line.start()
    at = line.led.position.at(Stage.ROLLED_BACK)
    state = line.decide(Decision(Action.ROLL_BACK, "harm", at, weights={}))
    assert (stage(state), state.champion, state.percents) == (Stage.ROLLED_BACK, "logistic", {})
    assert (line.tried.decision or {})["words"] == "harm"
    assert line.rollback() is state


def test_a_control_that_is_gone_cannot_be_rolled_back_to() -> None:
    """The only refusal of a rollback holds for decisions, too."""
    line = Line(parsed(SWAP))
    line.start()
    at = line.led.position.at(Stage.ROLLED_BACK)
    with pytest.raises(NotReady, match="'logistic' would become champion"):
        decided(line.now, Decision(Action.ROLL_BACK, "harm", at, weights={}), 1.0, ("boosted",))


def test_undoing_a_start_aborts() -> None:
    """What a start began is over when the start is taken back."""
    line = Line()
    line.start()
    state = line.undo()
    assert (state.percents, stage(state), state.is_settled) == ({}, Stage.ABORTED, True)


def test_undoing_a_decision_pauses() -> None:
    """Traffic is as before the decision, and the try waits for the person who took it back."""
    line = Line()
    line.start()
    line.advance()
    line.advance()
    state = line.undo()
    assert state.percents == {"boosted": 5}
    assert (line.tried.position.step, line.tried.runs) == (1, True)
    assert line.tried.position.paused is not None
    assert line.tried.position.paused.by == "bob"
    assert line.tried.revision == state.revision


@pytest.mark.parametrize("at", [Stage.BAKE, Stage.DONE])
def test_undoing_a_promotion_goes_back_before_it(at: Stage) -> None:
    """Also when the bake is over: what was settled since is settled no more."""
    line = Line(plain("[{weight: 5, bake: 60s}]"))
    if at is Stage.BAKE:
        line = Line(parsed(WATCHING))
    line.start()
    line.until(at)
    state = line.undo()
    assert (state.champion, state.percents) == ("logistic", {"boosted": 5})
    assert (stage(state), state.is_settled) == (Stage.STEPS, False)
    assert state.settled == line.states[0].settled


def test_undoing_a_rollback_leaves_the_try_ended() -> None:
    """An abort is final until a retry: the traffic comes back, and nothing decides about it."""
    line = Line()
    line.start()
    line.commit(line.rollback())
    state = line.undo()
    assert (state.percents, stage(state)) == ({"boosted": 5}, Stage.ABORTED)


def test_undoing_a_persons_weight_leaves_the_try_alone() -> None:
    """A weight that a person set is no decision: the try goes on as it was."""
    line = Line()
    line.start()
    line.commit(line.now.set_weights({"boosted": 1000}, KNOWN))
    before = line.tried
    assert line.undo().percents == {"boosted": 5}
    assert line.tried == before


def test_undo_keeps_what_was_shown() -> None:
    """Alarms stay latched: taking a step back does not make a candidate less harmful."""
    line = Line()
    line.start()
    line.advance()
    line.advance()
    alarmed = line.tried.position.model_copy(update={"alarms": ("latency",), "told": ("harm:latency",)})
    line.commit(line.now.tried(line.tried.at(alarmed, line.now.revision + 1)))
    line.undo()
    assert line.tried.position.alarms == ("latency",)


# -- other verbs while a try runs ---------------------------------------------------------------------------


def test_a_flip_and_a_retirement_are_refused() -> None:
    """They would pull the ground from under the try; the message names the ways."""
    line = Line()
    line.start()
    told = r"try 1 of boosted runs \(step 1\), and {} would cross it: promote or abort it first"
    with pytest.raises(Refused, match=told.format("flip")):
        line.now.flip("forest", KNOWN)
    for variant in ("boosted", "logistic"):
        with pytest.raises(Refused, match=told.format(f"retiring {variant}")):
            line.now.retire(variant, "forest", KNOWN)
    assert line.now.flip("logistic", KNOWN) is line.now
    assert "forest" not in line.now.retire("forest", None, KNOWN).granted


def test_a_flip_ends_the_watch() -> None:
    """All traffic is the candidate's already: whoever flips on has seen enough, and can come back."""
    line = Line(parsed(WATCHING))
    line.start()
    line.until(Stage.WATCH)
    state = line.commit(line.now.flip("forest", KNOWN))
    assert (stage(state), state.is_settled) == (Stage.DONE, True)
    assert [point.champion for point in state.settled] == ["logistic", "boosted", "forest"]
    assert line.rollback().champion == "boosted"


def test_a_start_ends_the_watch_of_the_one_before() -> None:
    """The next candidate need not wait for labels of weeks; the try before is done."""
    line = Line(parsed(WATCHING))
    line.start()
    line.until(Stage.WATCH)
    line.strategy = parsed(WATCHING.replace("candidate: boosted", "candidate: forest"))
    state = line.start()
    assert (line.tried.number, line.tried.candidate, line.tried.control) == (2, "forest", "boosted")
    assert state.percents == {"forest": 5}
    assert [point.champion for point in state.settled] == ["logistic", "boosted"]
    assert line.rollback().champion == "boosted"


def test_undoing_a_start_in_a_watch_keeps_the_way_back() -> None:
    """The watch is over with the start: its champion is settled, and its control is the way back."""
    line = Line(parsed(WATCHING))
    line.start()
    line.until(Stage.WATCH)
    line.strategy = parsed(WATCHING.replace("candidate: boosted", "candidate: forest"))
    line.start()
    state = line.undo()
    assert (state.champion, state.percents, stage(state)) == ("boosted", {}, Stage.ABORTED)
    assert [point.champion for point in state.settled] == ["logistic", "boosted"]
    assert line.rollback().champion == "logistic"


def test_undoing_an_undo_ends_the_try_again() -> None:
    """What was done, and brought back, is done again when that is taken back."""
    line = Line()
    line.start()
    line.until(Stage.DONE)
    assert stage(line.undo()) is Stage.BAKE
    state = line.undo()
    assert (stage(state), state.champion, state.is_settled) == (Stage.DONE, "boosted", True)


def test_starts_that_are_refused() -> None:
    """A second one, the champion itself, and one beside a candidate with weight: each by name."""
    line = Line()
    line.start()
    with pytest.raises(Refused, match=r"try 1 of boosted runs \(step 1; revision 2 began it\)"):
        line.start()
    line = Line(weights={"forest": 7})
    with pytest.raises(Refused, match=r"another candidate has weight \(forest 7 %\).*weight r forest=0"):
        line.start()
    line = Line(parsed(CANARY.replace("boosted", "logistic")))
    with pytest.raises(Refused, match="'logistic' is the champion: it cannot be tried against itself"):
        line.start()


def test_promoting_by_hand() -> None:
    """A person skips the steps that are left, accepts the harm that was shown, and the bake follows."""
    line = Line()
    line.start()
    seen = line.tried.position.model_copy(update={"alarms": ("latency",)})
    state = line.commit(promoted(line.now, seen))
    assert (state.champion, state.percents, stage(state)) == ("boosted", {"logistic": 2}, Stage.BAKE)
    assert line.tried.position.excused == ("latency",)
    assert line.tried.decision is None
    with pytest.raises(Refused, match="'boosted' is the champion already"):
        promoted(state, line.tried.position)


def test_what_was_aborted_is_not_promoted() -> None:
    """The try is over, and the message says what became of it."""
    line = Line()
    line.start()
    position = line.tried.position
    line.commit(line.rollback())
    with pytest.raises(Refused, match=r"no strategy is running for 'r' \(try 1 of boosted was aborted\)"):
        promoted(line.now, position)


def test_a_pause_and_its_end() -> None:
    """Both the automation and the try pause and go on, by whoever said so."""
    line = Line()
    line.start()
    state = line.commit(stopped(line.now, line.tried.position, "ann", "lunch"))
    assert state.paused
    assert line.tried.position.paused is not None
    assert (line.tried.position.paused.by, line.tried.position.paused.reason) == ("ann", "lunch")
    assert phrases(line.states[-2], state) == ("automation paused", "try 1 of boosted paused by ann: lunch")
    assert stopped(state, line.tried.position, "bob", "") is state
    state = line.commit(let_go(state, line.tried.position, Assessments(), ""))
    assert not state.paused
    assert line.tried.position.paused is None
    assert phrases(line.states[-2], state) == ("automation resumed", "try 1 of boosted resumed")
    with pytest.raises(Refused, match="nothing is paused"):
        let_go(state, line.tried.position, Assessments(), "")


def test_resuming_over_harm_needs_a_reason() -> None:
    """An alarm that is latched is accepted in words, or not at all."""
    line = Line()
    line.start()
    seen = line.tried.position.model_copy(update={"alarms": ("latency",)})
    state = line.commit(stopped(line.now, seen, "ann", ""))
    with pytest.raises(Refused, match="latency is shown to be harmful: say why"):
        let_go(state, line.tried.position, Assessments(), " ")
    line.commit(let_go(state, line.tried.position, Assessments(), "we know"))
    assert line.tried.position.excused == ("latency",)


def test_a_try_begins_paused_when_automation_is() -> None:
    """A pause that came before holds for it, and one `resume` ends both."""
    line = Line()
    line.commit(line.now.pause(paused=True))
    line.start()
    assert line.tried.position.paused is not None
    state = line.commit(let_go(line.now, line.tried.position, Assessments(), ""))
    assert not state.paused
    assert line.tried.position.paused is None


def test_a_strategy_is_changed_while_it_runs() -> None:
    """The steps to come may change; the candidate may not, and the step that it is in must stay."""
    line = Line()
    line.start()
    more = parsed(CANARY, on_harm="pause")
    state = line.commit(reworked(line.now, more, line.tried.position))
    assert (line.tried.strategy, line.tried.revision, state.moved) == (more, state.revision, 2)
    assert phrases(line.states[-2], state) == (
        "try 1 of boosted goes on by another strategy: on_harm pause (was rollback)",
    )
    assert reworked(state, more, line.tried.position) is state
    with pytest.raises(InvalidValue, match="the try is of 'boosted'"):
        reworked(state, parsed(CANARY.replace("boosted", "forest")), line.tried.position)


# -- what is stored ---------------------------------------------------------------------------------------


def test_a_state_of_an_older_version_loads() -> None:
    """What was stored before there were tries has none, and is written as this version does."""
    stored = Line().now.model_dump(mode="json")
    del stored["attempt"]
    state = RolloutState.load({**stored, "format": 1})
    assert (state.attempt, state.running, state.format) == (None, None, FORMAT)
    assert state == Line().now


def test_what_evidence_is_about() -> None:
    """A try knows whether the code of its two is what it began with."""
    line = Line()
    line.start()
    assert line.tried.differs(DIGESTS) == []
    assert line.tried.differs({"boosted": "new"}) == ["boosted"]
    assert EVIDENCE == "evidence"
