"""Plans: made-up traffic, simulated rollouts through the real policy and tests, and what is told of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento_rollout.behaviour import behaviours
from bento_rollout.decision import Action
from bento_rollout.errors import InvalidValue
from bento_rollout.evidence import Evidence, Place
from bento_rollout.forecast import forecast, interval, median_run, needs, scenario
from bento_rollout.histogram import quantile
from bento_rollout.simulation import CONTROL, Outcome, Plan, Run, past_of, simulate
from bento_rollout.strategy import Strategy
from bento_rollout.traffic import Crowd, Split, Traffic, endpoints_of

STEPS = [{"weight": 10, "bake": "5m"}, {"weight": 50, "bake": "5m"}]
ERRORS = {"error_rate": {"margin": "3pp"}}


def strategy_of(guardrails: dict[str, Any] | None = None, **more: Any) -> Strategy:
    """Return a strategy; what is not given is small."""
    canary = {"candidate": "boosted", "steps": more.pop("steps", STEPS)}
    for name, field in (("ending", "finally"), ("bake_after", "bake_after")):
        if name in more:
            canary[field] = more.pop(name)
    return Strategy.parse({"canary": canary, "guardrails": guardrails or ERRORS, **more})


def traffic_of(
    strategy: Strategy,
    base: tuple[str, ...] = (),
    candidate: tuple[str, ...] = (),
    *,
    rate: float = 50,
    keys: int = 5000,
    **more: Any,
) -> Traffic:
    """Return traffic for a strategy."""
    arms = behaviours(strategy, base, candidate)
    return Traffic(rate, keys, arms, strategy.guardrails, **more)


def plan_of(strategy: Strategy, *arms: tuple[str, ...], person: float = 0.0, **more: Any) -> Plan:
    """Return a plan, with a past of its own."""
    traffic = traffic_of(strategy, *arms, **more)
    return Plan(strategy, traffic, past_of(traffic, np.random.default_rng(7)), person)


def runs_of(plan: Plan, count: int = 4, **how: Any) -> list[Run]:
    """Return simulated rollouts with seeds of their own."""
    how = {"healthy": True, **how}
    return [simulate(plan, np.random.default_rng([3, seed]), **how) for seed in range(count)]


# -- what arms do -------------------------------------------------------------------------------------

EVERY = {
    "error_rate@predict": {"margin": "1pp"},
    "latency": {},
    "agreement": {"min": "97%"},
    "label.correct": {"margin": "2pp", "matures": "1h"},
    "score": {"better": "high", "range": [0, 10], "margin": 1},
    "retries": {"better": "low", "required": False},
    "rss": {"below": "4GiB"},
}


def test_values_are_read_as_what_is_bad_of_them() -> None:
    """Errors are bad; of agreement, labels and measures of which more is better what is missing is."""
    arms = behaviours(
        strategy_of(EVERY),
        ["error_rate=1%", "latency=80ms", "agreement=99%", "label.correct=97%", "score=7", "retries=0.5"],
        ["latency=x1.5", "score=6.5"],
    )
    assert arms.base.bad == pytest.approx(
        {"error_rate": 0.01, "agreement": 0.01, "label.correct": 0.03, "score": 0.3, "retries": 0.5}
    )
    assert (arms.base.latency, arms.candidate.latency) == pytest.approx((0.08, 0.12))
    assert arms.candidate.bad["score"] == pytest.approx(0.35)
    assert arms.told["latency"] == ("80ms", "x1.5")
    assert (arms.assumed, arms.differ) == ((), True)


def test_what_is_not_said_is_assumed_of_both() -> None:
    """A metric of which nothing is said does the same in both arms, and that is told."""
    arms = behaviours(strategy_of(EVERY), ["error_rate=1%"], [])
    assert not arms.differ
    assert set(arms.assumed) == {"latency", "agreement", "label.correct", "score", "retries"}


@pytest.mark.parametrize(
    ("base", "candidate", "named"),
    [
        (["eror_rate=1%"], [], "'eror_rate' is not guarded by this strategy"),
        ([], ["label.other=1%"], "it guards agreement, error_rate, label.correct"),
        (["rss=1GiB"], [], "'rss' is a plain threshold"),
        (["error_rate"], [], "is not METRIC=VALUE"),
        (["error_rate=1%", "error_rate=2%"], [], "stands twice"),
        (["error_rate=101%"], [], "fraction '101%' is not valid"),
        (["error_rate=-1%"], [], "fraction '-1%' is not valid"),
        (["error_rate=2"], [], "write a rate, like 0.5%"),
        (["error_rate=often"], [], "is no number"),
        (["latency=0ms"], [], "--base latency"),
        (["latency=x2"], [], "--base latency"),
        ([], ["latency=x0"], "no factor above 0"),
        (["latency=80ms"], ["latency=2%"], "the base is a duration (80ms), the candidate a rate (2%)"),
        (["error_rate=1%"], ["error_rate=80ms"], "the base is a rate (1%), the candidate a duration (80ms)"),
        (["score=11"], [], "11 is not in its range, 0 to 10"),
        (["retries=-1"], [], "is not in 0 to 1e6"),
    ],
)
def test_values_that_cannot_be_are_refused(base: list[str], candidate: list[str], named: str) -> None:
    """What is wrong is named with its value: unknown metrics, other kinds, rates outside of 0 to 100 %."""
    with pytest.raises(InvalidValue) as raised:
        behaviours(strategy_of(EVERY), base, candidate)
    assert named in str(raised.value)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"rate": 0}, "requests a second is 0"),
        ({"rate": math.nan}, "requests a second is nan"),
        ({"keys": 0}, "keys is 0"),
        ({"zipf": -1}, "zipf is -1"),
        ({"per_key": 1.0}, "per key is 1"),
        ({"sigma": math.inf}, "sigma is inf"),
    ],
)
def test_traffic_that_cannot_be_is_refused(changed: dict[str, float], named: str) -> None:
    """A number that cannot be is refused by its name."""
    with pytest.raises(InvalidValue, match=named):
        traffic_of(strategy_of(), **changed)  # type: ignore[arg-type]  # each is a number


# -- made-up calls ------------------------------------------------------------------------------------


def drawn(traffic: Traffic, split: Split, seconds: float = 200, **more: Any) -> tuple[Evidence, Evidence]:
    """Return what some seconds tell at once, and later."""
    crowd = Crowd(traffic, np.random.default_rng(1), healthy=more.pop("healthy", False))
    at_once, later, _ = crowd.draw(split, seconds, 1000.0, 4, more.pop("most", 100_000))
    return at_once, later


@given(st.integers(0, 2**32), st.booleans(), st.floats(0.01, 0.99), st.integers(1, 50))
def test_sums_are_whole(seed: int, sticky: bool, share: float, keys: int) -> None:
    """Whatever is drawn: a worker could have written it, and the keys' sums are the arm's."""
    strategy = strategy_of(EVERY)
    crowd = Crowd(traffic_of(strategy, keys=keys, sticky=sticky), np.random.default_rng(seed), healthy=True)
    at_once, later, hit = crowd.draw(Split("boosted", CONTROL, share), 5, 0.0, 1, 100)
    for evidence in (at_once, later):
        assert Evidence.from_plain(evidence.to_plain()).to_plain() == evidence.to_plain()
    for arm in at_once.arms.get(Place(1, "predict"), {}).values():
        assert sum(arm.seconds.values()) == arm.calls - arm.errors
        assert bool(arm.keys) == sticky
        if sticky:
            assert sum(sums.calls for sums in arm.keys.values()) == arm.calls
            assert sum(sums.errors for sums in arm.keys.values()) == arm.errors
    assert 0 <= hit.bad <= hit.calls


def test_arms_do_what_they_are_told() -> None:
    """Shares, rates, durations and labels come out as they were put in."""
    traffic = traffic_of(
        strategy_of(EVERY), ("error_rate=2%", "latency=50ms"), ("error_rate=8%", "latency=x2", "score=2"),
        rate=300, per_key=0.0, keys=100_000, sticky=False,
    )  # fmt: skip
    at_once, later = drawn(traffic, Split("boosted", CONTROL, 0.25))
    trial, control = (at_once.arms[Place(4, "predict")][name] for name in ("boosted", CONTROL))
    assert trial.calls / (trial.calls + control.calls) == pytest.approx(0.25, abs=0.02)
    assert trial.errors / trial.calls == pytest.approx(0.08, abs=0.01)
    assert control.errors / control.calls == pytest.approx(0.02, abs=0.005)
    assert quantile(trial.seconds, 0.5) == pytest.approx(0.1, rel=0.05)
    assert quantile(control.seconds, 0.5) == pytest.approx(0.05, rel=0.05)
    assert trial.measures["score"].bad / trial.calls == pytest.approx(0.8, abs=0.02)
    labels = later.arms[Place(4, "predict")]["boosted"].measures["label.correct"]
    assert labels.calls == trial.calls
    assert labels.bad / labels.calls == pytest.approx(0.05, abs=0.01)


def test_a_key_keeps_its_variant_and_ranges_grow() -> None:
    """Who is the trial's at 10 % is so at 50 %, and nobody is in both arms."""
    crowd = Crowd(traffic_of(strategy_of(), keys=300), np.random.default_rng(1), healthy=True)
    found = []
    for share in (0.1, 0.5):
        evidence, _, _ = crowd.draw(Split("boosted", CONTROL, share), 200, 0.0, 1, 100_000)
        arms = evidence.arms[Place(1, "predict")]
        assert not arms["boosted"].keys.keys() & arms[CONTROL].keys.keys()
        found.append(set(arms["boosted"].keys))
    assert found[0] < found[1]
    assert len(found[1]) / 300 == pytest.approx(0.5, abs=0.1)


def test_what_is_the_keys_own_is_so_in_both_arms() -> None:
    """With everything a key's own the same keys fail always, and the others never."""
    traffic = traffic_of(strategy_of(), ("error_rate=20%",), keys=200, per_key=0.9999999)
    evidence, _ = drawn(traffic, Split("boosted", CONTROL, 0.5))
    sums = [sums for arm in evidence.arms[Place(4, "predict")].values() for sums in arm.keys.values()]
    assert all(one.errors in (0, one.calls) for one in sums)
    assert sum(one.errors > 0 for one in sums) / len(sums) == pytest.approx(0.2, abs=0.1)


def test_a_shadow_is_compared_and_takes_no_traffic() -> None:
    """At weight 0 the control's calls are no evidence; the pairs are, with a noise floor beside them."""
    traffic = traffic_of(
        strategy_of(EVERY), ("agreement=99%",), ("agreement=90%",), sticky=False, per_key=0.0
    )
    evidence, _ = drawn(traffic, Split("boosted", CONTROL, 0.0, shadow=0.5), seconds=400)
    place = Place(4, "predict")
    arms, pairs = evidence.arms[place], evidence.pairs[place]
    assert set(arms) == {CONTROL}
    assert (arms[CONTROL].calls, arms[CONTROL].alone[0] > 0) == (0, True)
    assert pairs["boosted"].compared / arms[CONTROL].alone[0] == pytest.approx(0.5, abs=0.02)
    assert pairs["boosted"].disagreed / pairs["boosted"].compared == pytest.approx(0.105, abs=0.02)
    assert pairs[CONTROL].disagreed / pairs[CONTROL].compared == pytest.approx(0.015, abs=0.01)


def test_few_of_many_calls_count_and_all_are_told_as_reached() -> None:
    """What is left out of the evidence is left out by chance; users are hit all the same."""
    traffic = traffic_of(strategy_of(), rate=1000)
    crowd = Crowd(traffic, np.random.default_rng(1), healthy=True)
    evidence, _, hit = crowd.draw(Split("boosted", CONTROL, 0.5), 100, 0.0, 1, 1000)
    assert sum(arm.calls for arm in evidence.arms[Place(1, "predict")].values()) == 1000
    assert hit.calls == pytest.approx(50_000, rel=0.1)


@pytest.mark.parametrize("zipf", [0.0, 1.1])
def test_distinct_keys_are_foretold(zipf: float) -> None:
    """So many different keys come as was said, whether all call alike or not."""
    traffic = traffic_of(strategy_of(), rate=100, keys=1000, zipf=zipf)
    evidence, _ = drawn(traffic, Split("boosted", CONTROL, 0.5), seconds=10)
    seen = sum(len(arm.keys) for arm in evidence.arms[Place(4, "predict")].values())
    assert seen == pytest.approx(traffic.distinct(1000), rel=0.1)


def test_endpoints_are_those_that_are_guarded() -> None:
    """Calls go to the endpoints that guardrails name."""
    assert endpoints_of(["latency", "error_rate@b", "latency@a"]) == ("a", "b")
    assert endpoints_of(["latency"]) == ("predict",)


# -- one run ------------------------------------------------------------------------------------------


def test_a_healthy_candidate_is_promoted_step_by_step() -> None:
    """It goes all steps in order, no step ends before its bake, and the bake after the promotion is held."""
    strategy = strategy_of(bake_after={"for": "10m", "holdback": 5})
    for run in runs_of(plan_of(strategy), count=2):
        assert (run.outcome, run.causes, run.caught) == (Outcome.PROMOTED, (), None)
        actions = [event.action for event in run.events]
        assert actions == [Action.ADVANCE, Action.ADVANCE, Action.PROMOTE, Action.END_BAKE]
        assert [event.share for event in run.events] == [0.1, 0.5, 0.95, 1.0]
        times = [event.seconds for event in run.events]
        assert all(
            b - a >= bake - 1e-6 for a, b, bake in zip(times, times[1:], (300, 300, 600), strict=False)
        )
        assert run.promoted == times[2]
        assert "error_rate" in run.healthy


def test_a_harmful_candidate_is_rolled_back_early() -> None:
    """Harm is found within the first step, and only few users met it."""
    plan = plan_of(strategy_of(), ("error_rate=0.5%",), ("error_rate=20%",))
    for run in runs_of(plan, healthy=False):
        assert (run.outcome, run.causes) == (Outcome.ROLLED_BACK, ("error_rate",))
        assert run.caught is not None
        assert run.caught.seconds < 300
        assert 0 < run.caught.hurt <= run.caught.keys <= run.caught.calls


def test_a_run_is_a_function_of_its_seed() -> None:
    """The same generator gives the same run."""
    plan = plan_of(strategy_of(), ("error_rate=0.5%",), ("error_rate=5%",))
    one, other = (simulate(plan, np.random.default_rng(5), healthy=False) for _ in range(2))
    assert one == other


@pytest.mark.parametrize("sticky", [True, False])
@pytest.mark.parametrize(
    ("name", "fields", "base", "candidate"),
    [
        ("latency", {}, "latency=80ms", "latency=x2"),
        ("score", {"better": "high", "range": [0, 1], "margin": 0.1}, "score=0.9", "score=0.5"),
        ("retries", {"better": "low", "required": False}, "retries=0.1", "retries=1"),
        ("label.correct", {"margin": "5pp", "matures": "2m"}, "label.correct=95%", "label.correct=50%"),
    ],
)
def test_each_kind_of_harm_is_caught(
    sticky: bool, name: str, fields: dict[str, Any], base: str, candidate: str
) -> None:
    """Durations, measures, counters and labels: whatever is worse is told by its guardrail."""
    plan = plan_of(strategy_of({**ERRORS, name: fields}), (base,), (candidate,), sticky=sticky)
    run = runs_of(plan, count=1, healthy=False)[0]
    assert run.outcome is (Outcome.PAUSED if name.startswith("label") else Outcome.ROLLED_BACK)
    assert run.causes == (name,)


def test_disagreement_is_caught_in_the_shadow() -> None:
    """A shadow step ends a candidate that answers otherwise before any user met it."""
    steps = [{"shadow": 100, "bake": "10m"}, {"weight": 10, "bake": "5m"}]
    strategy = strategy_of({**ERRORS, "agreement": {"min": "97%"}}, steps=steps)
    plan = plan_of(strategy, ("agreement=99%",), ("agreement=80%",))
    bad, good = runs_of(plan, 1, healthy=False)[0], runs_of(plan, 1)[0]
    assert (bad.outcome, bad.causes, bad.end.keys) == (Outcome.ROLLED_BACK, ("agreement",), 0)
    assert good.outcome is Outcome.PROMOTED


def test_blue_green_bakes() -> None:
    """All traffic at once: harm is found against the holdback."""
    swap = {"candidate": "boosted", "bake_after": {"for": "30m", "holdback": 10}}
    strategy = Strategy.parse({"blue_green": swap, "guardrails": ERRORS})
    plan = plan_of(strategy, ("error_rate=0.5%",), ("error_rate=20%",))
    assert runs_of(plan, 1)[0].outcome is Outcome.PROMOTED
    bad = runs_of(plan, 1, healthy=False)[0]
    assert (bad.outcome, bad.promoted) == (Outcome.ROLLED_BACK, 0.0)


def test_a_person_takes_time() -> None:
    """A pause step without an end waits as long as the person of the plan takes."""
    strategy = strategy_of(steps=[STEPS[0], {"pause": {}}, STEPS[1]])
    quick, slow = plan_of(strategy), plan_of(strategy, person=3600)
    first, second = runs_of(quick, 1)[0].promoted, runs_of(slow, 1)[0].promoted
    assert first is not None
    assert second is not None
    assert second - first == pytest.approx(3600, abs=60)


def test_holding_promotes_nothing() -> None:
    """``finally: hold`` ends in nobody's promotion."""
    run = runs_of(plan_of(strategy_of(ending="hold")), 1)[0]
    assert (run.outcome, run.promoted) == (Outcome.HELD, None)


def test_notices_do_not_end_a_run() -> None:
    """``on_harm: notify`` tells it and goes on; no step ends while the harm waits for an answer."""
    strategy = strategy_of(on_harm="notify", give_up_after="1h")
    plan = plan_of(strategy, ("error_rate=0.5%",), ("error_rate=20%",))
    run = runs_of(plan, 1, healthy=False)[0]
    assert run.outcome is Outcome.GAVE_UP
    assert run.caught is not None


def test_too_few_keys_end_undecided() -> None:
    """With fewer users than health needs it pauses after ``give_up_after``, not before."""
    plan = plan_of(strategy_of(give_up_after="2h"), keys=50)
    run = runs_of(plan, 1)[0]
    assert run.outcome is Outcome.GAVE_UP
    assert 7200 <= run.end.seconds < 7200 * 1.2


def test_labels_take_their_time() -> None:
    """What matures in 2 h ends no step sooner; with labels that come at once it does."""
    strategy = strategy_of({**ERRORS, "label.correct": {"margin": "5pp", "matures": "2h"}})
    plan = plan_of(strategy, keys=20_000)
    late, prompt = (runs_of(plan, 1, prompt=prompt)[0].promoted for prompt in (False, True))
    assert late is not None
    assert prompt is not None
    assert prompt < 7200 < late


# -- what runs say together ---------------------------------------------------------------------------


def test_a_forecast_tells_what_was_asked() -> None:
    """Durations, chances with their bounds, whom it hit, and what steps need."""
    strategy = strategy_of()
    plan = plan_of(strategy, ("error_rate=0.5%",), ("error_rate=20%",))
    healthy, harmful = runs_of(plan), runs_of(plan, healthy=False)
    facts = forecast(plan, healthy, harmful)
    assert facts["healthy"]["promoted"]["share"] == 1.0
    assert facts["healthy"]["caught"]["low"] == 0.0
    assert facts["healthy"]["caught"]["high"] > 0.3
    assert facts["harmful"]["caught"]["seconds"]["median"] < 300
    assert facts["harmful"]["missed"]["runs"] == 0
    assert facts["metrics"] == {"error_rate": {"base": "0.5%", "candidate": "20%", "assumed": False}}
    assert [step["step"] for step in facts["steps"]] == [1, 2]
    assert facts["labels_add"] is None
    assert facts["warnings"] == []
    run = median_run(healthy)
    assert run in healthy


def test_steps_that_need_more_keys_than_there_are_are_warned_of() -> None:
    """A step that can never be shown to be healthy is told with its number, and why rollouts gave up."""
    strategy = strategy_of({"error_rate": {"margin": "1pp"}}, give_up_after="1h")
    plan = plan_of(strategy, keys=200)
    step = needs(plan)[0]
    assert step["distinct"] > 200
    assert (step["seconds"], step["late"]) == (None, True)
    facts = forecast(plan, runs_of(plan, 2))
    assert "step 1 (weight 10 %) needs about" in facts["warnings"][0]
    assert "never come" in facts["warnings"][0]
    assert "were not decided within give_up_after" in facts["warnings"][1]


def test_without_keys_steps_need_requests() -> None:
    """Where routing is not sticky each request counts, and time is all that it takes."""
    step = needs(plan_of(strategy_of({**ERRORS, "latency": {}}), sticky=False, rate=10))[0]
    assert step["distinct"] == math.ceil(step["units"] / 0.1)
    assert step["seconds"] == pytest.approx(step["distinct"] / 10)


@given(st.integers(0, 500), st.integers(1, 500))
def test_bounds_hold_what_was_seen(hits: int, runs: int) -> None:
    """Bounds lie around the share, within 0 and 1."""
    hits = min(hits, runs)
    low, high = interval(hits, runs)
    assert 0 <= low <= hits / runs + 1e-12
    assert hits / runs - 1e-12 <= high <= 1


def test_nothing_says_nothing() -> None:
    """No runs have no medians."""
    facts = scenario([])
    assert facts["promoted"]["seconds"] is None
    assert facts["caught"]["of"] == 0
    assert median_run([]) is None
