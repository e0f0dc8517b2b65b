"""What is decided about a try; the first part has a test for each complaint that peers' users have."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from bento_rollout.assessment import Assessment, Assessments, Finding
from bento_rollout.course import after_promotion
from bento_rollout.decision import Action
from bento_rollout.errors import InvalidValue, NotReady, Refused, StoreCorrupt
from bento_rollout.policy import begin, decide
from bento_rollout.position import MOST_TICK, Position, Stage, edited, paused_by, resumed
from tests.unit.trying import CANARY, FINE, SWAP, Findings, Try, parsed, plain

HARM: Findings = {
    **FINE,
    "error_rate": Assessment(Finding.HARMFUL, "20 % against 1 %", numbers={"log_evidence": 9.5}),
}
NOTHING: Findings = {}
UNSURE: Findings = {**FINE, "error_rate": Finding.INCONCLUSIVE}
BROKEN: Findings = {**FINE, "latency": Assessment(Finding.UNMEASURABLE, "lost telemetry")}


def running(text: str = CANARY, **changes: object) -> Try:
    """A try that has just begun."""
    return Try(parsed(text, **changes))


# -- what users of other tools complain about, row by row -------------------------------------------------


def test_sticky_only_on_the_canary_its_share_creeps_up() -> None:
    """A mismatch of the sample ratio is lost telemetry: it pauses, though every guardrail is healthy."""
    tried = running()
    ratio = Assessment(Finding.UNMEASURABLE, "5 % were assigned, 9 % were seen")
    decision = tried.look({**FINE, "sample_ratio": ratio})
    assert (decision.action, decision.causes) == (Action.PAUSE, ("sample_ratio",))
    assert "sample_ratio (5 % were assigned, 9 % were seen)" in decision.words


def test_no_metric_value_the_rollout_aborts_or_errors_out() -> None:
    """No data waits, and says about how many requests are missing."""
    tried = running()
    waits: Findings = {**FINE, "error_rate": Assessment(Finding.NO_DATA, needed=570)}
    assert {tried.look(waits).action for _ in range(20)} == {Action.HOLD}
    assert tried.last.missing == ("error_rate healthy: no data, about 570 more requests",)
    assert tried.look(NOTHING).missing == ("error_rate healthy: no data",)


def test_traffic_stops_and_the_analysis_still_advances() -> None:
    """Nothing advances and nothing is promoted but on positive evidence, however long it takes."""
    tried = running()
    for _ in range(100):
        assert tried.look(NOTHING, trial_blocks=0, control_blocks=0).action is Action.HOLD
    assert "data: no call of boosted and logistic counted here yet" in tried.last.missing
    assert tried.look(FINE, control_blocks=0).missing == ("data: no call of logistic counted here yet",)


def test_blips_roll_back_good_releases() -> None:
    """Bad numbers that prove nothing are inconclusive: traffic stays as it is."""
    tried = running()
    blip = Assessment(Finding.INCONCLUSIVE, "9 % against 1 %", 300, numbers={"log_evidence": 2.0})
    assert {tried.look({**FINE, "error_rate": blip}).action for _ in range(50)} == {Action.HOLD}


def test_an_aborted_rollout_retries_by_itself() -> None:
    """After a rollback nothing happens any more; a new try begins with nothing known."""
    tried = running()
    tried.until(Action.ADVANCE)
    assert tried.look(HARM).action is Action.ROLL_BACK
    for findings in (FINE, HARM, NOTHING):
        decision = tried.look(findings)
        assert (decision.action, decision.position.stage) == (Action.HOLD, Stage.ROLLED_BACK)
    again = begin(tried.strategy, "logistic", tried.now).position
    assert (again.stage, again.step, again.healthy, again.alarms) == (Stage.STEPS, 0, (), ())


def test_rollback_is_slow_runs_analysis_gets_stuck() -> None:
    """Harm rolls back in the look that shows it: no bake, no data, no readiness, no person is waited for."""
    tried = running()
    decision = tried.look(HARM, trial_blocks=0, control_blocks=0, trial_unready="starting", after=0.0)
    assert (decision.action, decision.weights) == (Action.ROLL_BACK, {})
    assert decision.shadow is None  # shadows stay
    assert (
        "boosted is rolled back at step 1 of 3 (weight 5 %), all traffic goes to logistic" in decision.words
    )


def test_no_rollback_while_waiting_for_a_person() -> None:
    """Harm rolls back in a pause step, and under the verb pause."""
    tried = running()
    tried.until(Action.ADVANCE)
    assert tried.look().missing == ("a person who says resume",)
    assert tried.look(HARM).action is Action.ROLL_BACK
    tried = running()
    tried.position = paused_by(tried.position, "ann", "lunch")
    assert tried.look().words == "paused by ann at step 1 of 3 (weight 5 %): lunch"
    assert tried.look(HARM).action is Action.ROLL_BACK


@pytest.mark.parametrize(
    ("on_harm", "action"),
    [("rollback", Action.ROLL_BACK), ("pause", Action.PAUSE), ("notify", Action.NOTIFY)],
)
def test_want_freeze_not_rollback(on_harm: str, action: Action) -> None:
    """``on_harm`` says what is done, once; whatever it says, nothing advances from then on."""
    tried = running(on_harm=on_harm)
    assert tried.look(HARM).action is action
    assert tried.last.causes == ("error_rate",)
    for findings in (HARM, FINE, FINE, FINE, FINE, FINE, FINE, FINE):
        assert tried.look(findings).action is Action.HOLD
    assert tried.position.alarms == ("error_rate",)


def test_failure_after_promotion_sends_all_traffic_to_the_broken_one() -> None:
    """Harm in the bake goes back to the old champion; only if that one is ready."""
    tried = running().at_bake()
    dead = tried.look(HARM, control_unready="its process does not start")
    assert (dead.action, dead.missing) == (
        Action.NOTIFY,
        ("logistic is not ready: its process does not start",),
    )
    assert tried.look(HARM, control_unready="its process does not start").action is Action.HOLD
    decision = tried.look(HARM)
    assert (decision.action, decision.weights) == (Action.ROLL_BACK, {})
    assert "all traffic goes to logistic" in decision.words


def test_a_new_revision_inherits_old_analysis() -> None:
    """Data of another step is no data of this one."""
    tried = Try(plain("[{weight: 5}, {weight: 50}]"))
    old = tried.evidence()
    tried.until(Action.ADVANCE)
    for _ in range(20):
        decision = decide(tried.strategy, tried.position, old, tried.now)
        assert decision.missing == ("data: no call of boosted and logistic counted here yet",)
    assert tried.look().action is Action.PROMOTE


def test_why_did_it_abort() -> None:
    """A decision has its numbers, and says in words what decided."""
    decision = running().look(HARM)
    assert decision.words.endswith("harm is shown by error_rate (20 % against 1 %)")
    kept = json.loads(json.dumps(decision.plain))
    assert (kept["action"], kept["causes"], kept["place"]) == ("roll_back", ["error_rate"], "rolled_back")
    assert kept["guardrails"]["error_rate"] == {
        "finding": "harmful",
        "detail": "20 % against 1 %",
        "needed": None,
        "unit": "requests",
        "numbers": {"log_evidence": 9.5},
    }
    assert kept["guardrails"]["latency"]["finding"] == "healthy"


def test_traffic_goes_to_a_candidate_that_is_not_ready() -> None:
    """A candidate is ready before any weight, before more weight, and before it is promoted."""
    strategy = plain("[{weight: 5}, {weight: 50}]")
    with pytest.raises(NotReady, match="'boosted' is not ready: still loading; nothing changed"):
        begin(strategy, "logistic", 0.0, unready="still loading")
    tried = Try(strategy)
    for action in (Action.ADVANCE, Action.PROMOTE):
        decision = tried.look(trial_unready="restarts")
        assert (decision.action, decision.missing) == (Action.HOLD, ("boosted is not ready: restarts",))
        assert tried.look().action is action


# -- the way of a good candidate --------------------------------------------------------------------------


def test_a_good_candidate_is_promoted() -> None:
    """Step by step, a person's pause between, a bake with holdback, and then all traffic is its own."""
    tried = running()
    assert (tried.last.action, tried.last.weights) == (Action.ADVANCE, {"boosted": 5000})
    assert tried.until(Action.ADVANCE).weights == {"boosted": 5000}
    assert "step 1 of 3 (weight 5 %) is over (healthy: error_rate, latency)" in tried.last.words
    assert tried.look().action is Action.HOLD
    tried.position = resumed(tried.position, tried.strategy, tried.evidence())
    assert tried.until(Action.ADVANCE, looks=1).weights == {"boosted": 50_000}
    assert tried.until(Action.PROMOTE).weights == {"logistic": 2000}
    assert "logistic keeps 2 % to compare with" in tried.last.words
    assert (tried.position.stage, tried.look().missing) == (Stage.BAKE, ("the bake: 1m 30s more",))
    assert tried.until(Action.END_BAKE).weights == {}
    assert tried.look().words == "the try has ended (done): nothing runs"


def test_the_bake_is_waited_for_and_told() -> None:
    """Healthy from the first look, a step still takes its bake."""
    tried = running()
    left = [tried.look().missing for _ in range(5)]
    assert [words[0] for words in left] == [f"the bake: {seconds}s more" for seconds in (50, 40, 30, 20, 10)]
    assert tried.look().action is Action.ADVANCE


def test_health_is_carried_over_steps_and_taken_back_by_harm() -> None:
    """Shown once it stays shown; harm of the same guardrail ends that, also when it looks healthy again."""
    tried = running(on_harm="notify")
    tried.look()
    tried.until(Action.ADVANCE, UNSURE)
    assert "error_rate" in tried.position.healthy
    assert tried.look(HARM).action is Action.NOTIFY
    assert "error_rate" not in tried.look().position.healthy


def test_a_plain_threshold_is_healthy_only_while_it_holds() -> None:
    """It is measured each time: what held once is no evidence now."""
    tried = Try(plain("[{weight: 5, bake: 20s}]", "{rss: {below: 4GiB}}"))
    tried.look({"rss": Finding.HEALTHY})
    assert tried.look({"rss": Finding.INCONCLUSIVE}).missing == ("rss healthy: inconclusive",)
    assert tried.look({"rss": Finding.HEALTHY}).action is Action.PROMOTE


def test_an_optional_step_ends_on_its_bake_while_data_flows() -> None:
    """Nothing need be shown, but data must have come, and not only long ago; harm still rolls back."""
    strategy = plain("[{weight: 1, bake: 30s, healthy: optional}, {weight: 5}]")
    tried = Try(strategy)
    assert [tried.look(NOTHING).action for _ in range(2)] == [Action.HOLD] * 2
    assert tried.look(NOTHING, trial_blocks=0).missing == ("data: no call of boosted counted here yet",)
    assert tried.look(NOTHING, idle=300.0).missing == ("data from both arms: the last came 5m ago",)
    assert tried.look(NOTHING).action is Action.ADVANCE
    assert Try(strategy).look(HARM).action is Action.ROLL_BACK


def test_a_shadow_step_waits_for_agreement_and_later_ones_do_not() -> None:
    """The shadow ends with the first traffic, and agreement with it."""
    tried = Try(plain("[{shadow: 100}, {weight: 5}]", "{error_rate: {margin: 1pp}, agreement: {min: 97%}}"))
    assert (tried.last.weights, tried.last.shadow) == ({}, 100_000)
    assert tried.look(FINE).missing == ("agreement healthy: no data",)
    decision = tried.look({**FINE, "agreement": Finding.HEALTHY})
    assert (decision.action, decision.weights, decision.shadow) == (Action.ADVANCE, {"boosted": 5000}, 0)
    tried = Try(plain("[{weight: 5}]", "{error_rate: {margin: 1pp}, agreement: {min: 97%}}"))
    assert tried.look(FINE).action is Action.PROMOTE


def test_a_pause_for_a_while_ends_by_itself() -> None:
    """``pause: {for: …}`` needs no person."""
    tried = Try(plain("[{pause: {for: 30s}}, {weight: 5}]"))
    assert (tried.last.weights, tried.last.shadow) == ({}, None)
    assert tried.look(NOTHING).missing == ("the pause: 20s more",)
    assert tried.until(Action.ADVANCE, NOTHING, looks=2).weights == {"boosted": 5000}


def test_hold_at_the_end_waits_for_a_person_and_looks_for_harm() -> None:
    """``finally: hold`` tells it once, keeps what it has, and still rolls back."""
    way = "canary: {candidate: boosted, steps: [{weight: 5}], finally: hold}"
    tried = Try(parsed(f"{way}\nguardrails: {{error_rate: {{margin: 1pp}}}}"))
    decision = tried.look()
    assert (decision.action, decision.weights, decision.position.stage) == (
        Action.NOTIFY,
        None,
        Stage.HOLDING,
    )
    assert tried.look().missing == ("a person who says promote or abort",)
    assert tried.look(HARM).action is Action.ROLL_BACK


def test_a_pause_before_the_promotion_proves_nothing_by_itself() -> None:
    """What was healthy before the last pause, and is harmful at its end, is not promoted."""
    tried = Try(plain("[{weight: 5}, {pause: {for: 20s}}]", on_harm="notify"))
    tried.until(Action.ADVANCE)
    assert tried.look(HARM).action is Action.NOTIFY
    for _ in range(10):
        assert tried.look().action is Action.HOLD


# -- blue/green, and what comes after ---------------------------------------------------------------------


def test_blue_green_flips_bakes_and_ends() -> None:
    """The flip comes at once; the bake needs no health, but data of both arms."""
    tried = running(SWAP)
    assert (tried.last.action, tried.last.weights) == (Action.PROMOTE, {"logistic": 2000})
    for _ in range(12):
        tried.look(NOTHING, control_blocks=0)
    assert tried.last.missing == ("data: no call of logistic counted here yet",)
    assert (tried.look(NOTHING).action, tried.position.stage) == (Action.END_BAKE, Stage.DONE)


def test_blue_green_flips_back_on_harm() -> None:
    """Harm in the bake gives all traffic back."""
    tried = running(SWAP)
    assert (tried.look(HARM).action, tried.last.weights) == (Action.ROLL_BACK, {})


LABELS = "{error_rate: {margin: 1pp}, label.correct: {margin: 2pp, matures: 50s, watch: 500s%s}}"
LABELLED = {"error_rate": Finding.HEALTHY, "label.correct": Finding.HEALTHY}


def test_late_labels_are_watched_after_the_promotion() -> None:
    """Weights are settled, and harm that labels tell later is still acted on; other guardrails are not."""
    tried = Try(plain("[{weight: 5}]", LABELS % ""))
    assert (tried.look(LABELLED).action, tried.position.stage) == (Action.PROMOTE, Stage.WATCH)
    assert tried.look({"error_rate": Finding.HARMFUL}).missing == ("late labels: 8m 10s more",)
    decision = tried.look({"label.correct": Finding.HARMFUL})
    assert (decision.action, decision.causes) == (Action.PAUSE, ("label.correct",))
    tried.position = resumed(tried.position, tried.strategy, tried.evidence(), "the join was wrong")
    assert tried.until(Action.FINISH, NOTHING).position.stage is Stage.DONE


def test_labels_that_are_trusted_roll_back_after_the_promotion() -> None:
    """Where ``on_harm: rollback`` is written for them."""
    tried = Try(plain("[{weight: 5}]", LABELS % ", on_harm: rollback"))
    tried.look(LABELLED)
    assert tried.look({"label.correct": Finding.HARMFUL}).action is Action.ROLL_BACK


# -- alarms, pauses and people ----------------------------------------------------------------------------


def test_an_alarm_stays_latched_and_resume_needs_a_reason() -> None:
    """Accepted with a reason it is still told, is waited for no more, and pauses no more."""
    tried = running(on_harm="pause")
    tried.look(HARM)
    with pytest.raises(Refused, match="error_rate is shown to be harmful: say why it goes on all the same"):
        resumed(tried.position, tried.strategy, tried.evidence())
    tried.position = resumed(tried.position, tried.strategy, tried.evidence(), "a test drive")
    assert (tried.position.alarms, tried.position.open_alarms) == (("error_rate",), ())
    assert tried.until(Action.ADVANCE, HARM).position.alarms == ("error_rate",)
    tried.position = after_promotion(tried.strategy, tried.position)[0]
    assert "and a person accepted the harm of error_rate" in tried.until(Action.END_BAKE, HARM).words


def test_nothing_is_promoted_when_every_guardrail_is_only_excused() -> None:
    """A person who accepted all harm must promote by hand: there is no evidence for it."""
    tried = Try(plain("[{weight: 5}]", "{error_rate: {margin: 1pp}}", on_harm="notify"))
    tried.look(HARM)
    tried.position = resumed(tried.position, tried.strategy, tried.evidence(), "known")
    assert tried.look(HARM).missing == (
        "evidence for it: every guardrail was shown harmful; promote it yourself, retry or abort",
    )


def test_a_second_alarm_pauses_again() -> None:
    """What was accepted was one guardrail's harm, not all harm."""
    tried = running(on_harm="pause")
    tried.look(HARM)
    tried.position = resumed(tried.position, tried.strategy, tried.evidence(), "known")
    decision = tried.look({**HARM, "latency": Finding.HARMFUL})
    assert (decision.action, decision.causes) == (Action.PAUSE, ("latency",))


def test_harm_while_a_person_paused_is_told_and_needs_a_reason() -> None:
    """The pause becomes one for harm: who resumes must say why."""
    tried = running(on_harm="pause")
    tried.position = paused_by(tried.position, "ann")
    assert tried.look(HARM).action is Action.PAUSE
    assert tried.look(HARM).action is Action.HOLD
    with pytest.raises(Refused):
        resumed(tried.position, tried.strategy, tried.evidence())


def test_editing_on_harm_acts_on_a_latched_alarm() -> None:
    """Who turns ``notify`` into ``pause`` or ``rollback`` gets that for the alarm that is there."""
    tried = running(on_harm="notify")
    tried.look(HARM)
    for on_harm, action in (("pause", Action.PAUSE), ("rollback", Action.ROLL_BACK)):
        tried.strategy = parsed(CANARY, on_harm=on_harm)
        assert tried.look().action is action


def test_what_cannot_be_measured_pauses() -> None:
    """After a resume it does not pause again for the same, but nothing advances before it is measured."""
    tried = running()
    decision = tried.look(BROKEN)
    assert (decision.action, decision.causes) == (Action.PAUSE, ("latency",))
    assert tried.look().action is Action.HOLD  # a pause ends only by a person
    tried.position = resumed(tried.position, tried.strategy, tried.evidence(BROKEN))
    for _ in range(10):
        decision = tried.look(BROKEN)
        assert (decision.action, decision.missing[0]) == (
            Action.HOLD,
            "a measurement: latency (lost telemetry)",
        )
    assert tried.look().action is Action.ADVANCE
    assert tried.look(BROKEN).action is Action.PAUSE  # it had recovered: this is a new one


def test_people_pause_and_resume() -> None:
    """Paused nothing advances; the first resume ends the pause, the second the pause step."""
    tried = running()
    tried.until(Action.ADVANCE)
    tried.position = paused_by(tried.position, "ann", "let me look")
    assert paused_by(tried.position, "bob") == tried.position
    for _ in range(2):
        assert tried.look().action is Action.HOLD
        tried.position = resumed(tried.position, tried.strategy, tried.evidence())
    assert tried.look().action is Action.ADVANCE
    with pytest.raises(Refused, match="nothing is paused"):
        resumed(tried.position, tried.strategy, tried.evidence())
    ended = tried.position.at(Stage.ABORTED)
    with pytest.raises(Refused, match="no try runs"):
        paused_by(ended, "ann")
    with pytest.raises(Refused, match="no try runs"):
        resumed(ended, tried.strategy, tried.evidence())


def test_giving_up_pauses_and_says_what_is_missing() -> None:
    """Undecided for too long is a person's turn; resumed it has all the time again."""
    tried = running(give_up_after="120s")
    waits: Findings = {**FINE, "error_rate": Assessment(Finding.INCONCLUSIVE, needed=900, unit="keys")}
    decision = tried.until(Action.PAUSE, waits, looks=12)
    assert decision.missing == ("error_rate healthy: inconclusive, about 900 more keys",)
    assert "undecided for 2m; missing: error_rate healthy" in decision.words
    tried.position = resumed(tried.position, tried.strategy, tried.evidence())
    assert [tried.look(waits).action for _ in range(11)] == [Action.HOLD] * 11


def test_waiting_for_a_person_is_not_being_undecided() -> None:
    """A pause step and a pause take as long as people do."""
    tried = running(give_up_after="120s")
    tried.until(Action.ADVANCE)
    assert {tried.look().action for _ in range(50)} == {Action.HOLD}
    assert tried.position.undecided <= 60


def test_a_pause_that_is_over_is_given_up_when_the_candidate_is_not_ready() -> None:
    """What a person ended waits for nobody any more."""
    tried = running(give_up_after="120s")
    tried.until(Action.ADVANCE)
    tried.position = resumed(tried.position, tried.strategy, tried.evidence())
    assert (
        "missing: boosted is not ready: restarts" in tried.until(Action.PAUSE, trial_unready="restarts").words
    )


def test_a_bake_without_data_is_given_up() -> None:
    """After a promotion too: what was not seen is not called harmless."""
    tried = running(SWAP, give_up_after="120s")
    assert "missing: data" in tried.until(Action.PAUSE, NOTHING, control_blocks=0).words


# -- clocks, dry runs, and what is stored -----------------------------------------------------------------


def test_a_clock_that_jumps_ends_no_bake() -> None:
    """Backwards counts as nothing, forwards as one tick at most; after either it goes on."""
    tried = running()
    tried.look(after=-86400.0)
    assert tried.position.counted == 0
    tried.look(after=86400.0)
    assert tried.position.counted == MOST_TICK
    tried.look(after=float("nan"))
    assert tried.position.counted == MOST_TICK
    tried.now = 0.0
    tried.look()
    assert tried.look().missing == ("the bake: 20s more",)


def test_a_clock_that_jumps_does_not_give_up() -> None:
    """A host that slept for a month has not been undecided for a month."""
    tried = running()
    assert tried.look(NOTHING, after=30 * 86400.0).action is Action.HOLD


def test_a_dry_run_decides_and_changes_nothing() -> None:
    """It says once what it would do, and then what it waits for."""
    tried = running(dry_run=True)
    assert (tried.last.dry_run, tried.last.weights) == (True, None)
    decision = tried.until(Action.ADVANCE)
    assert (decision.dry_run, decision.weights, decision.position.place) == (True, None, "step 1")
    assert decision.words.startswith("dry run, nothing changes: step 1 of 3 (weight 5 %) is over")
    assert tried.look().action is Action.HOLD
    decision = tried.look(HARM)
    assert (decision.action, decision.weights, decision.position.stage) == (
        Action.ROLL_BACK,
        None,
        Stage.STEPS,
    )
    assert tried.look(HARM).action is Action.HOLD
    assert tried.position.alarms == ("error_rate",)


def test_a_strategy_without_the_step_is_refused() -> None:
    """An edit that takes away where the try is, is refused by name."""
    tried = Try(plain("[{weight: 5}, {weight: 50}]"))
    tried.until(Action.ADVANCE)
    with pytest.raises(InvalidValue, match="the try is in step 2, and this strategy has 1"):
        decide(plain("[{weight: 5}]"), tried.position, tried.evidence(), tried.now)
    baking = running().at_bake()
    with pytest.raises(InvalidValue, match="the try bakes, and this strategy has no bake_after"):
        decide(plain("[{weight: 5}]"), baking.position, baking.evidence(), baking.now)


def test_an_edit_keeps_what_counts_the_same() -> None:
    """Steps, bakes and ``on_harm`` keep what was shown; another margin is another claim."""
    tried = running()
    tried.look()
    before, fine = tried.strategy, ("error_rate", "latency")
    assert edited(tried.position, before, parsed(CANARY, on_harm="pause")).healthy == fine
    same = parsed(CANARY.replace("margin: 1pp", "margin: 0.01, on_harm: notify, weight: 3"))
    assert edited(tried.position, before, same).healthy == fine
    stricter = parsed(CANARY.replace("margin: 1pp", "margin: 0.5pp"))
    assert edited(tried.position, before, stricter).healthy == ("latency",)
    with pytest.raises(InvalidValue, match="the try is of 'boosted', and this strategy tries 'forest'"):
        edited(tried.position, before, parsed(CANARY.replace("boosted", "forest")))
    with pytest.raises(InvalidValue, match="in step 1, and this strategy has 0"):
        edited(tried.position, before, parsed(SWAP))


def test_a_person_promotes_once() -> None:
    """By hand from any step; not again, and not what was aborted."""
    tried = running()
    position, weights = after_promotion(tried.strategy, tried.position)
    assert (position.stage, weights) == (Stage.BAKE, {"logistic": 2000})
    with pytest.raises(Refused, match="'boosted' is the champion already"):
        after_promotion(tried.strategy, position)
    with pytest.raises(Refused, match=r"the try has ended \(aborted\)"):
        after_promotion(tried.strategy, tried.position.at(Stage.ABORTED))


def test_a_removed_guardrail_decides_nothing_more() -> None:
    """Who takes a guardrail out of the strategy takes its alarm out of the way."""
    tried = running(on_harm="notify")
    tried.look(HARM)
    tried.strategy = parsed(CANARY, guardrails={"latency": {}})
    assert tried.until(Action.ADVANCE).position.alarms == ("error_rate",)


def test_a_stored_position_comes_back() -> None:
    """As plain data it survives JSON; what is no position is refused by name."""
    tried = running(on_harm="pause")
    tried.look(HARM)
    assert Position.parse(json.loads(json.dumps(tried.position.plain))) == tried.position
    for wrong in ({"step": -1}, {"counted": float("nan")}, {"counted": -1}, {"stage": "x"}, {"more": 1}):
        with pytest.raises(StoreCorrupt, match="the stored position of a try is not readable"):
            Position.parse({"control": "logistic", **wrong})
    with pytest.raises(StoreCorrupt):
        Position.parse(None)


def test_evidence_of_another_place_has_no_blocks() -> None:
    """Blocks count only where they were counted."""
    evidence = Assessments(place="step 1", trial_blocks=3, control_blocks=4)
    assert (evidence.blocks_at("step 1"), evidence.blocks_at("bake")) == ((3, 4), (0, 0))
    assert replace(evidence, place="bake").blocks_at("bake") == (3, 4)
