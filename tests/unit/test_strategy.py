"""Strategies: what is valid, and how what is not is told."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from bento_rollout.amounts import parse_bound, parse_points
from bento_rollout.errors import InvalidSpec, InvalidValue
from bento_rollout.guardrails import (
    Agreement,
    ErrorRate,
    Label,
    Latency,
    Measure,
    Threshold,
    alpha_shares,
    parse_guardrails,
)
from bento_rollout.strategy import StoredStrategy, Strategy
from bento_rollout.values import Strict

EXAMPLE = """
canary:
  candidate: boosted
  steps:                       # a step ends when its guardrails are healthy and its bake is over
    - {shadow: 100, bake: 24h}
    - {weight: 1, bake: 10m, healthy: optional}
    - {weight: 5, bake: 30m}
    - pause: {}
    - {weight: 25, bake: 30m}
    - pause: {for: 1h}
    - {weight: 50, bake: 30m}
  finally: promote
  bake_after: {for: 1h, holdback: 2}
guardrails:
  error_rate: {margin: 1pp}
  latency: {tolerance: 10%}
  agreement: {min: 97%}
  label.correct: {margin: 2pp, matures: 24h, on_harm: pause, watch: 30d}
  score: {margin: 0.02, better: high, range: [0, 1]}
  rss: {below: 4GiB, failure_limit: 2, interval: 30s}
key_window: 60s
false_alarm: 1%
on_harm: rollback
give_up_after: 7d
dry_run: false
"""

SWAP = """
blue_green: {candidate: boosted, bake_after: {for: 1h, holdback: 5}}
guardrails: {error_rate: {}, latency@predict: {}}
"""

STEPS = "[{weight: 5, bake: 30m}]"
GUARDRAILS = "{error_rate: {margin: 1pp}}"


def parsed(text: str) -> Strategy:
    """The strategy that this YAML describes."""
    return Strategy.parse(yaml.safe_load(text))


def canary(steps: str = STEPS, guardrails: str = GUARDRAILS, more: str = "", end: str = "") -> str:
    """YAML of a canary of which one part is of interest."""
    return f"canary: {{candidate: boosted, steps: {steps}{end}}}\nguardrails: {guardrails}\n{more}\n"


def guarded(guardrails: str, **more: str) -> Strategy:
    """A canary with these guardrails."""
    return parsed(canary(guardrails=guardrails, **more))


def test_every_field() -> None:
    """The example of the design is read as it is meant: seconds, thousandths of a percent, parts of one."""
    strategy = parsed(EXAMPLE)
    assert strategy.candidate == "boosted"
    assert [(s.shadow, s.weight, s.bake, s.optional) for s in strategy.steps] == [
        (100_000, None, 86400.0, False),
        (None, 1000, 600.0, True),
        (None, 5000, 1800.0, False),
        (None, None, None, False),
        (None, 25_000, 1800.0, False),
        (None, None, None, False),
        (None, 50_000, 1800.0, False),
    ]
    pauses = [step.pause for step in strategy.steps]
    assert pauses[3] is not None
    assert pauses[3].seconds is None
    assert pauses[5] is not None
    assert pauses[5].seconds == 3600
    assert strategy.bake_after is not None
    assert (strategy.bake_after.seconds, strategy.bake_after.holdback) == (3600.0, 2000)
    assert strategy.guardrails == {
        "error_rate": ErrorRate(margin="1pp"),
        "latency": Latency(tolerance=0.1),
        "agreement": Agreement(min=0.97),
        "label.correct": Label(margin=0.02, matures="1d", on_harm="pause", watch="30d"),
        "score": Measure(margin=0.02, better="high", range=(0, 1)),
        "rss": Threshold(below=4 * 2**30, failure_limit=2, interval=30),
    }
    assert (strategy.key_window, strategy.false_alarm, strategy.on_harm) == (60.0, 0.01, "rollback")
    assert (strategy.give_up_after, strategy.dry_run, strategy.promotes) == (604_800.0, False, True)
    assert strategy.watch == {"label.correct": 30 * 86400.0}


def test_what_is_usual() -> None:
    """What is not written has the value that the design names."""
    strategy = parsed(canary())
    assert (strategy.key_window, strategy.false_alarm, strategy.on_harm) == (60.0, 0.01, "rollback")
    assert (strategy.give_up_after, strategy.dry_run, strategy.bake_after) == (604_800.0, False, None)
    assert strategy.promotes
    assert Latency().tolerance == 0.1


def test_blue_green_needs_no_health() -> None:
    """After a flip there is only harm to look for: a guardrail without a margin is fine."""
    strategy = parsed(SWAP)
    assert (strategy.candidate, strategy.steps, strategy.promotes) == ("boosted", (), True)
    assert strategy.bake_after is not None
    assert strategy.bake_after.holdback == 5000
    assert strategy.required_to_promote == ()


@pytest.mark.parametrize("text", [EXAMPLE, SWAP, canary(), canary(end=", finally: hold")])
def test_a_stored_strategy_comes_back(text: str) -> None:
    """As plain data it survives JSON, with every default written out."""
    strategy = parsed(text)
    assert Strategy.parse(json.loads(json.dumps(strategy.plain))) == strategy
    assert strategy.plain["false_alarm"] == 0.01


class State(Strict):
    """Something stored that has a strategy."""

    strategy: StoredStrategy | None = None


@pytest.mark.parametrize("text", [EXAMPLE, SWAP])
def test_a_strategy_within_a_stored_state(text: str) -> None:
    """It comes back from a state that is dumped as JSON without further ado."""
    state = State(strategy=parsed(text))
    assert State.model_validate(json.loads(state.model_dump_json())) == state
    assert State.model_validate_json(State().model_dump_json()) == State()


def test_what_a_step_waits_for() -> None:
    """A shadow step has errors, latency and agreement; with traffic all but agreement; optional: nothing."""
    strategy = parsed(EXAMPLE)
    real = ("error_rate", "latency", "label.correct", "score", "rss")
    assert strategy.required_at(0) == ("error_rate", "latency", "agreement")
    assert [strategy.required_at(number) for number in (1, 2, 3, 6)] == [(), real, (), real]
    assert strategy.required_to_promote == real
    optional = guarded("{error_rate: {margin: 1pp}, latency: {required: false}}")
    assert optional.required_at(0) == ("error_rate",)


def test_what_a_step_gives() -> None:
    """A pause keeps what was; the shadow ends with the first traffic, unless agreement is required there."""
    strategy = parsed(EXAMPLE)
    numbers = range(len(strategy.steps))
    assert [strategy.weight_at(n) for n in numbers] == [0, 1000, 5000, 5000, 25_000, 25_000, 50_000]
    assert [strategy.shadow_at(n) for n in numbers] == [100_000, 0, 0, 0, 0, 0, 0]
    stays = parsed(EXAMPLE.replace("min: 97%", "min: 97%, required: true"))
    assert [stays.shadow_at(n) for n in numbers] == [100_000] * 7
    assert "agreement" in stays.required_to_promote
    assert parsed(canary()).shadow_at(0) is None
    first = parsed(canary("[{pause: {}}, {weight: 5}]"))
    assert (first.weight_at(0), first.shadow_at(0)) == (0, None)


def test_what_harm_does() -> None:
    """What a guardrail says, else what the strategy says; labels pause, as a wrong join is no harm."""
    text = EXAMPLE.replace(", on_harm: pause", "").replace("tolerance: 10%", "on_harm: notify")
    strategy = parsed(text)
    assert (strategy.harm("error_rate"), strategy.harm("latency")) == ("rollback", "notify")
    assert strategy.harm("label.correct") == "pause"


WRONG = [
    # steps that do not increase
    (
        canary("[{weight: 5}, {weight: 5}]"),
        "canary.steps.1: weight 5 % comes after weight 5 %: steps must inc",
    ),
    (
        canary("[{weight: 25}, {pause: {}}, {weight: 5}]"),
        "canary.steps.2: weight 5 % comes after weight 25 %",
    ),
    (canary("[{weight: 5}, {shadow: 100}]"), "canary.steps.1: shadow 100 % comes after weight 5 %"),
    (
        canary("[{shadow: 50}, {shadow: 10}, {weight: 5}]"),
        "canary.steps.1: shadow 10 % comes after shadow 50 %",
    ),
    # what a step is
    (canary("[]"), "canary.steps: no step is written"),
    (canary("[{pause: {}}]"), "canary.steps: no step is written"),
    (canary("[{bake: 1h}]"), "canary.steps.0: a step is one of three"),
    (canary("[{weight: 5, shadow: 5}]"), "canary.steps.0: a step is one of three"),
    (canary("[{weight: 0}]"), "with 0 percent nothing would be seen"),
    (canary("[{weight: 100}]"), "at weight 100 nothing is left to compare with"),
    (canary("[{weight: 5.0001}]"), "canary.steps.0.weight: percentage 5.0001 has more than three decimals"),
    (canary("[{weight: 5, bake: 0s}]"), "canary.steps.0.bake: duration '0s' is not valid"),
    (canary("[{weight: 5, bkae: 1h}]"), "unknown field 'canary.steps.0.bkae'; known here: bake, healthy, "),
    (canary("[{pause: {until: 1h}}]"), "unknown field 'canary.steps.0.pause.until'; known here: for"),
    (canary("[{weight: 5}, {pause: {}, bake: 1h}]"), "canary.steps.1: a pause has no bake"),
    (canary("[{weight: 5}, {pause: {}, healthy: optional}]"), "canary.steps.1: a pause waits for no health"),
    (canary("[{weight: 1, healthy: optional}, {weight: 5}]"), "healthy: optional needs a bake"),
    (canary("{weight: 5}"), "canary.steps: a list is expected"),
    # a bake longer than give_up_after, alone or together
    (canary("[{weight: 5, bake: 8d}]"), "canary.steps.0.bake: 8d is longer than give_up_after (7d)"),
    (
        canary("[{weight: 5, bake: 4d}, {weight: 25, bake: 4d}]"),
        "canary.steps: the bakes add up to 8d, longer than give_up_after (7d): the rollout could never end",
    ),
    (canary(more="key_window: 8d"), "key_window: 8d is longer than give_up_after (7d)"),
    # a false alarm of 0 or 1
    (canary(more="false_alarm: 0"), "false_alarm: 0 is not valid: a chance of a false alarm lies between"),
    (canary(more="false_alarm: 0%"), "false_alarm: '0%' is not valid"),
    (canary(more="false_alarm: 1"), "false_alarm: 1 is not valid"),
    (canary(more="false_alarm: 100%"), "false_alarm: '100%' is not valid"),
    (canary(more="false_alarm: -1%"), "false_alarm: fraction '-1%' is not valid"),
    (canary(more="false_alarm: .nan"), "false_alarm: fraction nan is not valid"),
    # margins
    (
        canary(guardrails="{error_rate: {margin: -1pp}}"),
        "guardrails.error_rate.margin: difference '-1pp' is not",
    ),
    (
        canary(guardrails="{error_rate: {margin: -0.01}}"),
        "guardrails.error_rate.margin: difference -0.01 is not",
    ),
    (canary(guardrails="{error_rate: {margin: 0pp}}"), "a margin of 0 is not valid"),
    (canary(guardrails="{error_rate: {margin: 1}}"), "difference 1 is not valid"),
    (canary(guardrails="{error_rate: {margin: 1%}}"), "write percentage points, like 1pp"),
    (canary(guardrails="{error_rate: {margin: .nan}}"), "nan is not a finite number"),
    (
        canary(guardrails="{error_rate: {margin: 1pp, tolerance: 2pp}}"),
        "tolerance 0.02 is not below margin 0.01",
    ),
    (
        canary(guardrails="{s: {better: low, range: [0, 1], margin: -1}}"),
        "guardrails.s: margin -1 is not valid",
    ),
    (canary(guardrails="{s: {better: low, range: [0, 1], margin: 1}}"), "margin 1 is not valid"),
    # a rollout that can never end: no test of health, nothing to wait for
    (
        canary(guardrails="{error_rate: {}}"),
        "guardrails.error_rate: it can never be shown to be healthy, so the",
    ),
    (
        canary(guardrails="{label.correct: {matures: 1h}}"),
        "guardrails.label.correct: it can never be shown to be",
    ),
    (canary(guardrails="{hits: {better: low}}"), "guardrails.hits: it can never be shown to be healthy, so"),
    (
        canary(guardrails="{s: {better: low, range: [0, 1]}}"),
        "it has no margin (write one, like margin: 0.02)",
    ),
    (canary(guardrails="{}"), "guardrails: none is written: nothing could speak for the candidate"),
    ("canary: {candidate: boosted, steps: [{weight: 5}]}", "guardrails: none is written"),
    (
        canary(guardrails="{error_rate: {required: false}}"),
        "canary.steps.0: weight 5 % has nothing to wait for, so nothing could speak for going on",
    ),
    (canary(guardrails="{agreement: {min: 97%}}"), "canary.steps.0: weight 5 % has nothing to wait for"),
    (
        canary("[{shadow: 100}, {weight: 5}]", "{rss: {below: 1GiB}}"),
        "canary.steps.0: shadow 100 % has nothing to wait for, so nothing could speak for going on: require",
    ),
    (canary("[{shadow: 100}]"), "canary.steps: the candidate would be promoted without ever having answered"),
    (
        canary("[{weight: 5}, {weight: 50, bake: 1h, healthy: optional}, {pause: {}}]"),
        "canary.steps.1.healthy: the last step before finally: promote cannot be optional",
    ),
    # labels
    (
        canary(guardrails="{label.x: {margin: 1pp, matures: 8d}}"),
        "guardrails.label.x.matures: 8d is longer than give_up_after (7d): no label would count before; ",
    ),
    (canary(guardrails="{label.x: {margin: 1pp}}"), "guardrails.label.x.matures: this field is needed"),
    (
        canary(guardrails="{label.x: {margin: 1pp, matures: 1d, watch: 1h}}"),
        "guardrails.label.x: watch (3600 s) is shorter than matures (86400 s)",
    ),
    (
        canary(guardrails="{label.: {margin: 1pp, matures: 1d}}"),
        "guardrails.label.: metric name '' is not valid",
    ),
    # agreement
    (canary(guardrails="{agreement: {}}"), "guardrails.agreement.min: this field is needed"),
    (canary(guardrails="{agreement: {min: 100%}}"), "min 100% is not valid: it lies between 0% and 100%"),
    (canary(guardrails="{agreement: {min: 0}}"), "min 0% is not valid"),
    (canary(guardrails="{agreement: {min: 97}}"), "guardrails.agreement.min: fraction 97 is not valid"),
    # measures and thresholds
    (
        canary(guardrails="{score: {margin: 0.02}}"),
        "guardrails.score: better is missing: write better: low or",
    ),
    (canary(guardrails="{score: {better: big}}"), "guardrails.score.better: "),
    (canary(guardrails="{s: {better: low, margin: 0.1}}"), "guardrails.s: a margin needs a range"),
    (canary(guardrails="{s: {better: high}}"), "without a range it is a counter, and of a counter fewer are"),
    (canary(guardrails="{s: {better: low, range: [1, 0]}}"), "range [1, 0] is not valid"),
    (canary(guardrails="{s: {better: low, range: [0, .inf]}}"), "guardrails.s.range.1: inf is not a finite"),
    (canary(guardrails="{s: {better: low, range: [0]}}"), "guardrails.s.range.1: this field is needed"),
    (canary(guardrails="{rss: {below: 4GiB, above: 1GiB}}"), "guardrails.rss: write one of below and above"),
    (canary(guardrails="{rss: {below: much}}"), "guardrails.rss.below: bound 'much' is not valid"),
    (canary(guardrails="{rss: {below: 1, failure_limit: -1}}"), "guardrails.rss.failure_limit: "),
    (canary(guardrails="{rss: {below: -1}}"), "guardrails.rss.below: bound -1 can never hold: memory in b"),
    (canary(guardrails="{rss: {below: 0}}"), "guardrails.rss.below: bound 0 can never hold"),
    (canary(guardrails="{rss: {below: 4}}"), "guardrails.rss.below: bound 4 can never hold"),
    (canary(guardrails="{rss: {above: -1}}"), "guardrails.rss.above: bound -1 always holds, so it guards"),
    (canary(guardrails="{error_rate: {below: 0}}"), "guardrails.error_rate.below: bound 0 can never hold"),
    (canary(guardrails="{error_rate: {below: 2}}"), "error_rate.below: bound 2 always holds"),
    (canary(guardrails="{error_rate@predict: {above: 1}}"), "error_rate@predict.above: bound 1 can never"),
    (
        canary(guardrails="{rss: {below: 1, weight: 2}}"),
        "unknown field 'guardrails.rss.weight'; known here: abo",
    ),
    (
        canary(guardrails="{latency: {below: 200ms}}"),
        "unknown field 'guardrails.latency.below'; known here: of",
    ),
    (canary(guardrails="{latency: {of: last}}"), "guardrails.latency.of: "),
    (canary(guardrails="{latency: {weight: 0}}"), "guardrails.latency.weight: weight 0 is not valid"),
    (canary(guardrails="{latency: {weight: .inf}}"), "guardrails.latency.weight: inf is not a finite number"),
    (canary(guardrails="{latency: {on_harm: stop}}"), "guardrails.latency.on_harm: "),
    (canary(guardrails="{latency: fast}"), "guardrails.latency: a mapping is expected"),
    (canary(guardrails="{latency: {1: 2}}"), "guardrails.latency: unknown field 1"),
    (canary(guardrails="{latency@: {}}"), "guardrails.latency@: endpoint name '' is not valid"),
    (canary(guardrails="{1: {}}"), "guardrails.1: guardrail name 1 is not text"),
    (canary(guardrails="[latency]"), "guardrails: a mapping is expected"),
    # the ways, and what follows
    ("guardrails: {latency: {}}", "strategy: write one of canary and blue_green"),
    (f"{SWAP}\ncanary: {{candidate: b, steps: {STEPS}}}", "strategy: write one of canary and blue_green"),
    (SWAP.replace(", bake_after: {for: 1h, holdback: 5}", ""), "blue_green.bake_after: this field is needed"),
    (SWAP.replace("holdback: 5", "holdback: 0"), "blue_green.bake_after: holdback 0 % is not valid"),
    (SWAP.replace("holdback: 5", "holdback: 51"), "holdback 51 % is not valid"),
    (
        SWAP.replace("for: 1h", "fro: 1h"),
        "unknown field 'blue_green.bake_after.fro'; known here: for, holdback",
    ),
    (
        "blue_green: {candidate: b, bake_after: {for: 1h}}\nguardrails: {agreement: {min: 97%}}",
        "after the flip",
    ),
    (canary(end=", finally: hold, bake_after: {for: 1h}"), "canary.bake_after: it follows a promotion"),
    (canary(end=", finally: stop"), "canary.finally: "),
    (canary().replace("boosted", "champion"), "canary.candidate: variant name 'champion' is reserved"),
    (canary(more="giveup: 7d"), "unknown field 'giveup'; known here: blue_green, canary, dry_run, "),
    (canary(more="dry_run: 1"), "dry_run: true or false is expected"),
    (canary(more="on_harm: stop"), "on_harm: "),
    ("[]", "strategy: a mapping of fields is expected"),
    ("self: 1", "unknown field 'self'"),
    ("1: 2", "a mapping of fields is expected"),
]


@pytest.mark.parametrize(("text", "words"), WRONG)
def test_refused_by_name(text: str, words: str) -> None:
    """What cannot be is refused, with the field, the value, and what to write instead."""
    with pytest.raises(InvalidSpec) as caught:
        parsed(text)
    assert words in str(caught.value)
    assert "Traceback" not in str(caught.value)


def test_everything_wrong_is_told_at_once() -> None:
    """One line for each thing, each with its place, and the file's line where that is known."""
    text = canary("[{weight: 25}, {weight: 5, bake: 9d}]", "{error_rate: {}, hits: {better: low}}")
    with pytest.raises(InvalidSpec) as caught:
        Strategy.parse(yaml.safe_load(text), lambda path: f"rollout.yaml: line {len(path)}")
    assert [line.partition(": it")[0][:62] for line in str(caught.value).splitlines()] == [
        "rollout.yaml: line 3: canary.steps.1: weight 5 % comes after w",
        "rollout.yaml: line 4: canary.steps.1.bake: 9d is longer than g",
        "rollout.yaml: line 2: guardrails.error_rate",
        "rollout.yaml: line 2: guardrails.hits",
    ]
    with pytest.raises(InvalidSpec) as caught:
        guarded(
            "{error_rate: {margin: -1pp}, latency: {tolerance: fast, slow: 1}, score: {}}", more="dry_run: 1"
        )
    assert len(str(caught.value).splitlines()) == 5


def test_many_guardrails_and_steps_are_refused() -> None:
    """Neither is without end."""
    many: dict[str, Any] = {f"m{n}": {"better": "low", "required": False} for n in range(51)}
    with pytest.raises(InvalidSpec, match="51 guardrails are too many"):
        Strategy.parse({"canary": {"candidate": "b", "steps": [{"weight": 5}]}, "guardrails": many})
    steps = [{"weight": n / 10} for n in range(1, 102)]
    with pytest.raises(InvalidSpec, match="101 steps are too many"):
        Strategy.parse({"canary": {"candidate": "b", "steps": steps}, "guardrails": {"latency": {}}})


def test_a_counter_may_watch() -> None:
    """What has no test of health guards against harm where it is not required."""
    strategy = guarded("{latency: {}, hits: {better: low, required: false}, error_rate: {required: false}}")
    assert strategy.required_to_promote == ("latency",)


def test_late_labels_may_watch() -> None:
    """Labels that mature after the try is given up are fine where no step waits for them."""
    late = "{error_rate: {margin: 1pp}, label.chargeback: {matures: 60d, watch: 90d, required: false}}"
    assert guarded(late).watch == {"label.chargeback": 90 * 86400.0}


@pytest.mark.parametrize(
    ("text", "number"),
    [("1pp", 0.01), ("0.5 pp", 0.005), (0.02, 0.02), ("0pp", 0.0)],
)
def test_percentage_points(text: object, number: float) -> None:
    """A difference of two rates is written in points or as a part of one."""
    assert parse_points(text) == number


def test_bounds_have_units() -> None:
    """A bound is a number, a part, a duration or a size."""
    assert [parse_bound(text) for text in (7, "1%", "200ms", "4GiB")] == [7.0, 0.01, 0.2, 4.0 * 2**30]
    for wrong in (True, None, 10**400, "1e400", float("nan")):
        with pytest.raises(InvalidValue):
            parse_bound(wrong)
    assert Threshold(below="1%").holds(0.009)
    assert not Threshold(below="1%").holds(0.01)
    assert not Threshold(above=3).holds(3)
    kept = parse_guardrails({"error_rate": {"below": "2%"}, "rss": {"above": "1GiB"}, "score": {"below": -1}})
    assert all(isinstance(one, Threshold) for one in kept.values())


def test_the_share_of_a_margin() -> None:
    """A measure's margin counts as a part of its range."""
    assert Measure(better="low", range=(10, 30), margin=5).share == 0.25
    assert Measure(better="low").share is None


@given(
    st.lists(st.floats(0.001, 1000), min_size=1, max_size=50),
    st.floats(1e-6, 0.5),
    st.integers(1, 5),
)
def test_shares_add_up(weights: list[float], alpha: float, candidates: int) -> None:
    """Over guardrails and candidates they are what is allowed, each above zero; thresholds take nothing."""
    guardrails = parse_guardrails(
        {f"m{n}": {"better": "low", "weight": weight} for n, weight in enumerate(weights)}
        | {"rss": {"below": "1GiB"}}
    )
    shares = alpha_shares(guardrails, alpha, candidates)
    assert set(shares) == {f"m{n}" for n in range(len(weights))}
    assert sum(shares.values()) * candidates == pytest.approx(alpha)
    assert all(share > 0 for share in shares.values())


def test_equal_shares() -> None:
    """Without weights each guardrail has the same part."""
    assert parsed(EXAMPLE).alpha_shares == {
        name: pytest.approx(0.002)
        for name in ("error_rate", "latency", "agreement", "label.correct", "score")
    }
    assert alpha_shares({}, 0.01) == {}
