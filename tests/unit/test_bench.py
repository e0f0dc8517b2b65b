"""What a try's tests say, fed with what workers counted; and what is stored of them."""

from __future__ import annotations

import json
import math
import random
from typing import Any

import pytest

from bento_rollout.arms import Arm, KeySums
from bento_rollout.assessment import Finding
from bento_rollout.bench import SAMPLE_RATIO, Bench, Setting
from bento_rollout.errors import InvalidValue
from bento_rollout.evidence import Evidence, Place
from bento_rollout.histogram import bin_of
from bento_rollout.past import Past
from bento_rollout.rounds import Arms
from bento_rollout.strategy import Strategy
from bento_rollout.sums import MeasureSums, PairSums

STEPS = [{"shadow": 100, "bake": "1s"}, {"weight": 25, "bake": "1s"}]


def strategy(guardrails: dict[str, Any], steps: list[dict[str, Any]] | None = None, **more: Any) -> Strategy:
    """A strategy with these guardrails."""
    canary = {"candidate": "new", "steps": steps or [{"weight": 25, "bake": "1s"}]}
    return Strategy.parse({"canary": canary, "guardrails": guardrails, **more})


class Traffic:
    """Makes evidence as workers would, of a split or of a shadow.

    Args:
        share: of the trial.
        sticky: whether calls have keys, each a new one.
        seed: of all chance.
    """

    def __init__(self, share: float = 0.25, *, sticky: bool = False, seed: int = 1) -> None:
        self.share, self.sticky = share, sticky
        self.chance = random.Random(seed)
        self.now = 1000.0

    def arm(self, calls: int, errors: float, seconds: float, measure: float | None) -> Arm:
        """What one variant did."""
        arm = Arm()
        for _ in range(calls):
            failed = self.chance.random() < errors
            index = bin_of(seconds * math.exp(self.chance.gauss(0, 0.2)))
            key = self.chance.getrandbits(64) if self.sticky else None
            arm.count(KeySums(1, int(failed), failed, index, self.now), key)
            if measure is not None:
                sums = arm.measures.setdefault("doubt", MeasureSums())
                bad = float(self.chance.random() < measure)
                sums.count(bad, self.now, key, clipped=False, counter=False)
        return arm

    def flush(
        self,
        calls: int = 400,
        trial: float = 0.01,
        control: float = 0.01,
        slower: float = 1.0,
        measures: tuple[float, float] | None = None,
        revision: int = 7,
        endpoint: str = "predict",
    ) -> Evidence:
        """A second of both."""
        self.now += 1.0
        split = sum(self.chance.random() < self.share for _ in range(calls))
        evidence = Evidence()
        first, second = measures or (None, None)
        evidence.arms[Place(revision, endpoint)] = {
            "new": self.arm(split, trial, 0.01 * slower, first),
            "old": self.arm(calls - split, control, 0.01, second),
        }
        return evidence

    def watched(self, calls: int = 200, *, disagree: float = 0.0, fail: float = 0.0) -> Evidence:
        """A second in which the trial watched."""
        self.now += 1.0
        evidence, pairs, alone = Evidence(), PairSums(), Arm()
        for _ in range(calls):
            alone.alone = (alone.alone[0] + 1, alone.alone[1])
            key = self.chance.getrandbits(64) if self.sticky else None
            failed, agreed = self.chance.random() < fail, self.chance.random() >= disagree
            pairs.count(None if failed else (0.01, 0.01), self.now, key, agreed=agreed, failed=failed)
        place = Place(7, "predict")
        evidence.arms[place] = {"old": alone}
        evidence.pairs[place] = {"new": pairs}
        return evidence


PAST = Past({("predict", "first_item"): {bin_of(0.01 * 1.02**n): 100 for n in range(-20, 21)}})


def fed(bench: Bench, traffic: Traffic, seconds: int, share: float | None = 0.25, **how: Any) -> Bench:
    """The tests after some seconds."""
    arms = {7: Arms("new", "old", share)}
    make = traffic.flush if share is not None else traffic.watched
    for _ in range(seconds):
        bench = bench.update(make(**how), arms, traffic.now)
    return bench


def findings(bench: Bench, share: float | None = 0.25) -> dict[str, Finding]:
    """What each guardrail is found to be."""
    told = bench.assessments(Arms("new", "old", share), 2000.0)
    return {name: one.finding for name, one in told.assessments.items()}


@pytest.fixture(params=[False, True], ids=["calls", "keys"])
def sticky(request: pytest.FixtureRequest) -> bool:
    """Whether the unit is the key."""
    found: bool = request.param
    return found


BOTH = {"error_rate": {"margin": "3pp"}, "latency": {"tolerance": "10%"}}


def test_equal_arms_are_shown_to_be_healthy(sticky: bool) -> None:
    """Equal arms are shown to be healthy."""
    bench = Bench.begin(strategy(BOTH, key_window="1s"), Setting(sticky, PAST))
    assert set(findings(bench).values()) == {Finding.NO_DATA}
    bench = fed(bench, Traffic(sticky=sticky), 30)
    assert findings(bench) == {
        "error_rate": Finding.HEALTHY,
        "latency": Finding.HEALTHY,
        SAMPLE_RATIO: Finding.INCONCLUSIVE,
    }


def test_more_errors_are_harmful(sticky: bool) -> None:
    """More errors are harmful."""
    bench = Bench.begin(strategy(BOTH), Setting(sticky, PAST))
    found = findings(fed(bench, Traffic(sticky=sticky), 5, trial=0.2))
    assert found["error_rate"] is Finding.HARMFUL
    assert found["latency"] is not Finding.HARMFUL


def test_a_slower_trial_is_harmful(sticky: bool) -> None:
    """A slower trial is harmful."""
    bench = Bench.begin(strategy(BOTH), Setting(sticky, PAST))
    found = findings(fed(bench, Traffic(sticky=sticky), 5, slower=2))
    assert found["latency"] is Finding.HARMFUL
    assert found["error_rate"] is not Finding.HARMFUL


def test_a_worse_measure_is_harmful(sticky: bool) -> None:
    """A worse measure is harmful."""
    doubt = {"doubt": {"better": "low", "range": [0, 1], "margin": 0.1}}
    fresh = Bench.begin(strategy(doubt), Setting(sticky))
    assert findings(fed(fresh, Traffic(sticky=sticky), 5, measures=(0.6, 0.2)))["doubt"] is Finding.HARMFUL
    assert findings(fed(fresh, Traffic(sticky=sticky), 20, measures=(0.2, 0.2)))["doubt"] is Finding.HEALTHY


def test_latency_waits_for_enough_calls_of_the_control_and_says_how_many() -> None:
    """Latency waits for enough calls of the control and says how many."""
    bench = Bench.begin(strategy(BOTH), Setting())
    one = bench.assessments(Arms("new", "old", 0.25), 0.0).of("latency")
    assert (one.finding, one.needed, one.unit) == (Finding.NO_DATA, 1000, "calls of the control")
    assert findings(fed(bench, Traffic(), 10))["latency"] is not Finding.NO_DATA


def test_a_shadow_that_disagrees_or_fails_is_harmful(sticky: bool) -> None:
    """A shadow that disagrees or fails is harmful."""
    guarded = strategy({**BOTH, "agreement": {"min": "95%"}}, STEPS)
    fresh = Bench.begin(guarded, Setting(sticky, PAST))
    good = findings(fed(fresh, Traffic(sticky=sticky), 10, None), None)
    assert {good["agreement"], good["error_rate"], good["latency"]} == {Finding.HEALTHY}
    bad = findings(fed(fresh, Traffic(sticky=sticky), 5, None, disagree=0.3), None)
    assert bad["agreement"] is Finding.HARMFUL
    assert bad["error_rate"] is not Finding.HARMFUL
    assert (
        findings(fed(fresh, Traffic(sticky=sticky), 5, None, fail=0.3), None)["error_rate"] is Finding.HARMFUL
    )


def test_the_noise_floor_is_allowed_for() -> None:
    """The noise floor is allowed for."""
    guarded = strategy({"agreement": {"min": "95%"}, "error_rate": {"margin": "3pp"}}, STEPS)
    noisy = Setting(past=Past(pairs=1000, disagreed=200.0))
    assert (
        findings(fed(Bench.begin(guarded, noisy), Traffic(), 8, None, disagree=0.2), None)["agreement"]
        is not Finding.HARMFUL
    )


def test_a_guardrail_of_one_endpoint_hears_no_other() -> None:
    """A guardrail of one endpoint hears no other."""
    bench = Bench.begin(strategy({"error_rate@predict": {"margin": "3pp"}}), Setting())
    found = findings(fed(bench, Traffic(), 5, trial=1.0, endpoint="other"))
    assert found["error_rate@predict"] is Finding.NO_DATA


def test_lost_telemetry_of_one_arm_is_unmeasurable(sticky: bool) -> None:
    """Lost telemetry of one arm is unmeasurable."""
    bench, traffic = Bench.begin(strategy(BOTH), Setting(sticky, PAST)), Traffic(0.15, sticky=sticky)
    assert findings(fed(bench, traffic, 20))[SAMPLE_RATIO] is Finding.UNMEASURABLE


def test_blocks_are_counted_in_their_stretch_only() -> None:
    """Blocks are counted in their stretch only."""
    bench = Bench.begin(strategy(BOTH), Setting()).entered("step 1", 7)
    bench = fed(bench, Traffic(), 3)
    told = bench.assessments(Arms("new", "old", 0.25), bench.both or 0.0)
    assert told.blocks_at("step 1") == (3, 3)
    bench = fed(bench.entered("step 2", 8), Traffic(), 3)
    assert bench.assessments(Arms("new", "old", 0.25), 0.0).blocks_at("step 2") == (0, 0)


def test_what_was_counted_at_other_revisions_is_left_out() -> None:
    """What was counted at other revisions is left out."""
    bench = Bench.begin(strategy(BOTH), Setting())
    assert findings(fed(bench, Traffic(), 5, trial=1.0, revision=6))["error_rate"] is Finding.NO_DATA


def test_a_key_in_both_arms_counts_in_none() -> None:
    """A key in both arms counts in none."""
    evidence, key = Evidence(), 12345
    for name in ("new", "old"):
        arm = evidence.arms.setdefault(Place(7, "predict"), {}).setdefault(name, Arm())
        arm.count(KeySums(1, 0, False, 400, 1.0), key)
    bench = Bench.begin(strategy(BOTH), Setting(sticky=True))
    bench = bench.update(evidence, {7: Arms("new", "old", 0.25)}, 2.0)
    assert (bench.ratio.trial, bench.ratio.control) == (0, 0)


def test_stored_tests_go_on_as_if_nothing_had_been(sticky: bool) -> None:
    """Stored tests go on as if nothing had been."""
    guardrails = {
        **BOTH,
        "doubt": {"better": "low", "range": [0, 1], "margin": 0.1},
        "agreement": {"min": "95%"},
        "rss": {"below": "4GiB"},
        "label.correct": {"matures": "1s", "margin": "1pp"},
    }
    asked, setting = strategy(guardrails, STEPS), Setting(sticky, PAST)
    traffic = Traffic(sticky=sticky)
    bench = fed(Bench.begin(asked, setting).entered("step 2", 7), traffic, 4, measures=(0.2, 0.2))
    stored = json.loads(json.dumps(bench.to_dict(), allow_nan=False))
    again = Bench.from_dict(stored, asked, setting)
    state = traffic.chance.getstate()
    one = fed(bench, traffic, 2, measures=(0.3, 0.2)).assessments(Arms("new", "old", 0.25), 2000.0)
    traffic.chance.setstate(state)
    traffic.now -= 2
    other = fed(again, traffic, 2, measures=(0.3, 0.2)).assessments(Arms("new", "old", 0.25), 2000.0)
    assert one == other


def test_stored_tests_that_are_not_whole_are_refused_by_name() -> None:
    """Stored tests that are not whole are refused by name."""
    asked = strategy(BOTH)
    stored = Bench.begin(asked, Setting(past=PAST)).to_dict()
    for broken in (
        {},
        {**stored, "exams": {}},
        {**stored, "since": -1},
        {**stored, "exams": {**stored["exams"], "error_rate": {"exam": "Nothing"}}},
        {
            **stored,
            "exams": {**stored["exams"], "error_rate": {**stored["exams"]["error_rate"], "heard": 1e999}},
        },
    ):
        with pytest.raises(InvalidValue):
            Bench.from_dict(broken, asked, Setting())


def test_an_edit_keeps_what_counts_the_same() -> None:
    """An edit keeps what counts the same."""
    bench = fed(Bench.begin(strategy(BOTH), Setting(past=PAST)), Traffic(), 5)
    edited = bench.edited(strategy({**BOTH, "error_rate": {"margin": "2pp"}}), Setting(past=PAST))
    assert edited.exams["latency"] is bench.exams["latency"]
    assert findings(edited)["error_rate"] is Finding.NO_DATA
    unwatched = bench.edited(
        strategy({**BOTH, "error_rate": {"margin": "3pp", "on_harm": "notify"}}), Setting()
    )
    assert unwatched.exams == bench.exams


def test_a_plain_threshold_is_looked_at_each_interval() -> None:
    """A plain threshold is looked at each interval."""
    rss = {"rss": {"below": 100, "failure_limit": 1, "interval": "10s"}, "error_rate": {"margin": "1pp"}}
    bench, arms = Bench.begin(strategy(rss), Setting()), {7: Arms("new", "old", 0.25)}
    seen = []
    for second in range(40):
        bench = bench.update(Evidence(), arms, 1000.0 + second, {"rss": 150.0 if second > 5 else 50.0})
        seen.append(findings(bench)["rss"])
    assert seen[5] is Finding.NO_DATA
    assert seen[15] is Finding.INCONCLUSIVE
    assert seen[-1] is Finding.HARMFUL


def test_how_many_more_it_needs_is_told() -> None:
    """How many more it needs is told."""
    bench = fed(Bench.begin(strategy(BOTH), Setting(past=PAST)), Traffic(), 2, calls=100)
    told = bench.assessments(Arms("new", "old", 0.25), 0.0)
    for name in BOTH:
        assert 10 < (told.of(name).needed or 0) < 5000, name
        assert {"harm", "health"} <= set(told.of(name).numbers)


def test_a_trial_that_is_only_slower_has_no_more_errors(sticky: bool) -> None:
    """What is still on its way is no failure, however much of it there is when a share begins."""
    bench, traffic = Bench.begin(strategy(BOTH), Setting(sticky)), Traffic(0.5, sticky=sticky)
    late: list[Evidence] = []
    for _ in range(30):
        now = traffic.flush(100, trial=0.0, control=0.0)
        place = Place(7, "predict")
        behind = Evidence()
        behind.arms[place] = {"new": now.arms[place].pop("new")}
        late.append(behind)
        if len(late) > 2:
            now.add(late.pop(0))
        bench = bench.update(now, {7: Arms("new", "old", 0.5)}, traffic.now)
        found = findings(bench)
        assert found["error_rate"] in (Finding.NO_DATA, Finding.INCONCLUSIVE, Finding.HEALTHY)
        assert found[SAMPLE_RATIO] is not Finding.UNMEASURABLE
