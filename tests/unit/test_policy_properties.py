"""What holds of the policy whatever evidence comes, and in whatever order."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from bento_rollout.assessment import Assessment, Assessments, Finding
from bento_rollout.decision import Action, Decision
from bento_rollout.errors import Refused
from bento_rollout.policy import decide
from bento_rollout.position import Position, Stage, paused_by, resumed
from bento_rollout.strategy import Strategy
from tests.unit.trying import CANARY, SWAP, Try, parsed, plain

LABELLED = (
    "{error_rate: {margin: 1pp}, label.correct: {margin: 1pp, matures: 50s, watch: 90s}, rss: {below: 9GiB}}"
)
SHADOWED = "{error_rate: {margin: 1pp}, latency: {required: false}, agreement: {min: 97%}}"

STRATEGIES = [
    parsed(CANARY),
    parsed(CANARY, on_harm="pause"),
    parsed(CANARY, on_harm="notify", give_up_after="120s"),
    parsed(SWAP),
    plain("[{weight: 5}, {weight: 50}]", LABELLED),
    plain("[{shadow: 100, bake: 20s}, {weight: 5, bake: 9s, healthy: optional}, {weight: 50}]", SHADOWED),
    plain("[{pause: {for: 20s}}, {weight: 5}, {pause: {}}]", on_harm="notify"),
    plain("[{weight: 5}, {weight: 50}]", "{error_rate: {margin: 1pp}}", on_harm="notify"),
    parsed("canary: {candidate: boosted, steps: [{weight: 5}], finally: hold}\nguardrails: {latency: {}}"),
]
NAMES = ("error_rate", "latency", "label.correct", "rss", "agreement", "sample_ratio")
ORDER = (Stage.STEPS, Stage.HOLDING, Stage.BAKE, Stage.WATCH, Stage.DONE)


@dataclass(frozen=True)
class Event:
    """What comes next: evidence and seconds, and whether a person pauses or resumes before."""

    findings: dict[str, Finding]
    seconds: float
    trial_blocks: int
    control_blocks: int
    idle: float
    unready: str
    person: str | None


def events(findings: st.SearchStrategy[Finding]) -> st.SearchStrategy[Event]:
    """Events with such findings."""
    return st.builds(
        Event,
        findings=st.dictionaries(st.sampled_from(NAMES), findings),
        seconds=st.floats(-100, 1e6),
        trial_blocks=st.integers(0, 2),
        control_blocks=st.integers(0, 2),
        idle=st.floats(0, 1000),
        unready=st.sampled_from(["", "", "", "restarts"]),
        person=st.sampled_from([None, None, None, "pause", "resume"]),
    )


ANY = events(st.sampled_from(Finding))


ALL_FINE = dict.fromkeys(NAMES[:-1], Finding.HEALTHY)
BASES: list[dict[str, Finding]] = [ALL_FINE, ALL_FINE, {}, {"latency": Finding.HEALTHY}]
ODD = st.dictionaries(
    st.sampled_from(["error_rate", "error_rate", *NAMES]), st.sampled_from(Finding), max_size=1
)


@st.composite
def mostly_good(draw: st.DrawFn) -> Event:
    """What happens to a good candidate: data flows, a minute passes; sometimes one thing is odd."""
    findings = {**draw(st.sampled_from(BASES)), **draw(st.one_of(st.just({}), ODD))}
    unready = draw(st.sampled_from(["", "", "", "restarts"]))
    person = draw(st.sampled_from([None, None, "resume", "pause"]))
    blocks = draw(st.sampled_from([1, 1, 1, 0]))
    return Event(findings, 60.0, 1, blocks, 0.0, unready, person)


GOOD = mostly_good()
many = st.lists(GOOD, min_size=4, max_size=40)
ways = st.sampled_from(STRATEGIES)


def evidence_of(event: Event, position: Position) -> Assessments:
    """The evidence of an event, as of the stretch that a try is in."""
    assessments = {name: Assessment(finding) for name, finding in event.findings.items()}
    return Assessments(
        assessments,
        position.place,
        event.trial_blocks,
        event.control_blocks,
        event.idle,
        trial_unready=event.unready,
        control_unready=event.unready,
    )


def before(tried: Try, event: Event) -> Assessments:
    """Let the person of an event act, and return its evidence."""
    evidence = evidence_of(event, tried.position)
    if event.person and not tried.position.stage.ended:
        try:
            if event.person == "pause":
                tried.position = paused_by(tried.position, "ann")
            else:
                tried.position = resumed(tried.position, tried.strategy, evidence, "because")
        except Refused:
            pass
    tried.now += event.seconds
    return evidence


def shown(strategy: Strategy, position: Position, evidence: Assessments) -> set[str]:
    """Guardrails whose harm this evidence shows, and that roll back."""
    if position.stage is Stage.WATCH:
        return set()
    return {
        name
        for name in strategy.guardrails
        if evidence.of(name).finding is Finding.HARMFUL
        and strategy.harm(name) == "rollback"
        and name not in position.excused
    }


@settings(max_examples=300)
@given(ways, many)
def test_never_promotes_without_positive_evidence(strategy: Strategy, happened: list[Event]) -> None:
    """At a promotion by evidence each guardrail it waits for was once healthy, and none is harmful."""
    tried, ever = Try(strategy), set[str]()
    for event in happened:
        evidence = before(tried, event)
        ever |= {name for name, finding in event.findings.items() if finding is Finding.HEALTHY}
        decision = decide(strategy, tried.position, evidence, tried.now)
        if decision.action is Action.PROMOTE:
            needed = set(strategy.required_to_promote) - set(decision.position.excused)
            assert needed
            assert needed <= ever
            assert needed <= set(decision.position.healthy)
            assert not set(decision.position.open_alarms) & set(strategy.guardrails)
            assert not any(event.findings.get(name) is Finding.UNMEASURABLE for name in needed)
            assert not event.unready
            assert tried.position.paused is None
        tried.position = decision.position


@settings(max_examples=300)
@given(ways, st.lists(st.one_of(ANY, GOOD), max_size=30))
def test_harm_always_wins(strategy: Strategy, happened: list[Event]) -> None:
    """Whatever else is the case, harm that rolls back does so at once, if there is a way back."""
    tried = Try(strategy)
    for event in happened:
        evidence = before(tried, event)
        ended, harm = tried.position.stage.ended, shown(strategy, tried.position, evidence)
        promoted = tried.position.stage is Stage.BAKE
        decision = decide(strategy, tried.position, evidence, tried.now)
        if harm and not ended and not (promoted and event.unready):
            assert decision.action is Action.ROLL_BACK
            assert decision.weights == {}
            assert harm <= set(decision.causes)
        tried.position = decision.position


@settings(max_examples=300)
@given(ways, many)
def test_never_goes_back_a_step_by_itself(strategy: Strategy, happened: list[Event]) -> None:
    """Steps and stages only go on, one step at a time; and no weight falls before the promotion."""
    tried = Try(strategy)
    for event in happened:
        evidence = before(tried, event)
        old = tried.position
        decision = decide(strategy, old, evidence, tried.now)
        new = tried.position = decision.position
        if new.stage in (Stage.ROLLED_BACK, Stage.ABORTED):
            assert new.alarms
            break
        assert ORDER.index(new.stage) >= ORDER.index(old.stage)
        if new.stage is Stage.STEPS:
            assert new.step - old.step == (1 if decision.action is Action.ADVANCE else 0)
            assert strategy.weight_at(new.step) >= strategy.weight_at(old.step)


@settings(max_examples=300)
@given(ways, st.lists(GOOD, max_size=20), st.one_of(ANY, GOOD))
def test_nothing_is_done_twice(strategy: Strategy, happened: list[Event], last: Event) -> None:
    """Asked again with nothing changed it soon holds, and then says the same of the same position."""
    tried = Try(strategy)
    for event in happened:
        evidence = before(tried, event)
        tried.position = decide(strategy, tried.position, evidence, tried.now).position
    evidence = before(tried, last)
    looks = [looked(tried, evidence) for _ in range(len(Action) + 2)]
    acted = [look.action for look in looks if look.action is not Action.HOLD]
    assert len(acted) == len(set(acted))
    assert looks[-2].action is Action.HOLD
    assert looks[-2] == looks[-1]


def looked(tried: Try, evidence: Assessments) -> Decision:
    """One more look, with nothing changed but what the last one did."""
    decision = decide(tried.strategy, tried.position, evidence, tried.now)
    tried.position = decision.position
    return decision


@given(ways, st.lists(ANY, max_size=20))
def test_a_dry_run_touches_nothing(strategy: Strategy, happened: list[Event]) -> None:
    """Whatever comes: no weights, no shadow, the same step."""
    dry = Strategy.parse({**strategy.plain, "dry_run": True})
    tried = Try(dry)
    begun = (tried.position.stage, tried.position.step)
    for event in happened:
        evidence = before(tried, event)
        decision = decide(dry, tried.position, evidence, tried.now)
        assert (decision.dry_run, decision.weights, decision.shadow) == (True, None, None)
        tried.position = decision.position
        assert (tried.position.stage, tried.position.step) == begun


@given(ways, st.lists(ANY, max_size=20))
def test_a_stored_position_decides_the_same(strategy: Strategy, happened: list[Event]) -> None:
    """Another leader that reads what was stored goes on as the first would have."""
    tried = Try(strategy)
    for event in happened:
        evidence = before(tried, event)
        decision = decide(strategy, tried.position, evidence, tried.now)
        stored, again = Position.parse(tried.position.plain), Strategy.parse(strategy.plain)
        assert decide(again, stored, evidence, tried.now) == decision
        tried.position = decision.position
