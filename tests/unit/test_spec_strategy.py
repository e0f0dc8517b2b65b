"""Strategies and labels in a spec: what is valid, and what is refused, by name and with its line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from bento_rollout.applying import differences, seed
from bento_rollout.errors import InvalidSpec
from bento_rollout.judging import Judging
from bento_rollout.operations import Rollout
from bento_rollout.spec import RolloutSpec
from bento_rollout.specfile import load_spec
from bento_rollout.steps import Canary, Step
from bento_rollout.store.presence import Presence
from bento_rollout.strategy import Strategy

SPEC = """\
name: screening
shadow: {boosted: {compare: label}}
strategy:
  canary:
    candidate: boosted
    steps:
      - {shadow: 100, bake: 24h}
      - {weight: 5, bake: 30m}
      - pause: {for: 1h}
      - {weight: 50, bake: 30m}
    bake_after: {for: 1h, holdback: 2}
  guardrails:
    error_rate: {margin: 1pp}
    latency: {tolerance: 10%}
    agreement: {min: 97%}
    label.correct: {margin: 2pp, matures: 24h}
    label.chargeback: {margin: 1pp, matures: 3d, required: false, watch: 30d}
    score: {margin: 0.02, better: high, range: [0, 1]}
    rss: {below: 4GiB}
labels:
  chargeback: {positive: [1], loss: costs:of, range: [0, 500], prediction: field:score, base_rate: 0.2%}
ledger: {retention: 60d, size: 2GiB}
"""


def test_a_spec_with_a_strategy(tmp_path: Path) -> None:
    """A file and Python give the same; a strategy is no state, so `apply` and `differences` have nothing."""
    file = tmp_path / "rollout.yaml"
    file.write_text(SPEC, encoding="utf-8")
    spec = load_spec(file)
    assert spec == RolloutSpec(**yaml.safe_load(SPEC))
    assert spec.strategy == Strategy.parse(yaml.safe_load(SPEC)["strategy"])
    assert spec == RolloutSpec(**{**yaml.safe_load(SPEC), "strategy": spec.strategy, "labels": spec.labels})
    assert spec.labels == {
        "chargeback": Judging(
            positive=[1], loss="costs:of", range=(0, 500), prediction="field:score", base_rate=0.002
        )
    }
    assert spec.state_fields == {"shadow"}
    state = seed("screening", "logistic", RolloutSpec(), {"logistic": "a", "boosted": "b"})
    without = RolloutSpec(**{**yaml.safe_load(SPEC), "shadow": {}})
    assert differences(state, without) == []
    assert RolloutSpec().strategy is None
    assert RolloutSpec().labels == {}


def test_the_example_has_every_field() -> None:
    """`examples/progressive_full.yaml` is valid, and leaves out only what cannot stand beside the rest."""
    file = Path(__file__).parents[2] / "examples/progressive_full.yaml"
    spec, written = load_spec(file), yaml.safe_load(file.read_text(encoding="utf-8"))
    assert spec.strategy is not None
    assert set(Strategy.model_fields) - set(written["strategy"]) == {"blue_green"}
    named = {field.alias or name for name, field in Canary.model_fields.items()}
    assert named == set(written["strategy"]["canary"])
    assert {key for step in written["strategy"]["canary"]["steps"] for key in step} == set(Step.model_fields)
    assert {type(one).__name__ for one in spec.strategy.guardrails.values()} == {
        "ErrorRate", "Latency", "Agreement", "Label", "Measure", "Threshold"
    }  # fmt: skip
    assert set(Judging.model_fields) - set(written["labels"]["chargeback"]) == {"name"}
    assert sum(step.bake or 0 for step in spec.strategy.steps) < 60


def test_the_ledger_goes_by_two_names() -> None:
    """`retention` and `size` are `keep` and `max_size`; both of one are refused."""
    spec = RolloutSpec(ledger={"retention": "60d", "size": "2GiB"})
    assert spec == RolloutSpec(ledger={"keep": "60d", "max_size": "2GiB"})
    assert (spec.ledger.keep, spec.ledger.max_size) == (60 * 86400.0, 2 << 30)
    for both in ({"keep": "1d", "retention": "2d"}, {"size": "1GB", "max_size": "1GB"}):
        with pytest.raises(InvalidSpec, match=r"unknown field 'ledger\.(retention|size)'"):
            RolloutSpec(ledger=both)
    with pytest.raises(InvalidSpec, match=r"ledger\.retention: duration 'x' is not valid"):
        RolloutSpec(ledger={"retention": "x"})


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("rss: {below: 4GiB}", "rss: {below: -1}", "line 19: strategy.guardrails.rss.below: bound -1 can ne"),
        # steps
        ("{weight: 5,", "{weight: 60,", "line 10: strategy.canary.steps.3: weight 50 % comes after weight 6"),
        ("{weight: 5,", "{weight: 50,", "line 10: strategy.canary.steps.3: weight 50 % comes after weight 5"),
        ("{weight: 5,", "{weight: 100,", "line 8: strategy.canary.steps.1: at weight 100 nothing is left"),
        ("{weight: 5,", "{wait: 5,", "line 8: unknown field 'strategy.canary.steps.1.wait'; known here: bak"),
        ("{weight: 5, bake: 30m}", "{weight: 5, bake: 8d}", "line 8: strategy.canary.steps.1.bake: 8d is lo"),
        ("{weight: 5, bake: 30m}", "{weight: 5, bake: 6d}", "line 6: strategy.canary.steps: the bakes add u"),
        ("{for: 1h}", "{till: 1h}", "line 9: unknown field 'strategy.canary.steps.2.pause.till'; known here"),
        ("holdback: 2}", "holdback: 0}", "line 11: strategy.canary.bake_after: holdback 0 % is not valid"),
        ("    candidate: boosted\n", "", "line 4: strategy.canary.candidate: this field is needed"),
        # the whole
        ("  guardrails:", "  false_alarm: 0\n  guardrails:", "line 12: strategy.false_alarm: 0 is not valid"),
        ("  guardrails:", "  false_alarm: 1\n  guardrails:", "line 12: strategy.false_alarm: 1 is not valid"),
        ("  guardrails:", "  false_alarm: 100%\n  guardrails:", "line 12: strategy.false_alarm: '100%' is n"),
        ("  guardrails:", "  alpha: 1%\n  guardrails:", "line 12: unknown field 'strategy.alpha'; known her"),
        ("  guardrails:", "  give_up_after: 1h\n  guardrails:", "strategy.canary.steps.0.bake: 1d is longer"),
        ("strategy:\n  canary:", "strategy:\n  canari:", "line 4: unknown field 'strategy.canari'; known he"),
        ("name: screening", "weights: {boosted: 5}", "line 1: weights: a strategy sets the weights, step by"),
        ("name: screening", "weights: {}", "line 1: weights: a strategy sets the weights"),
        # guardrails
        ("{margin: 1pp}", "{margin: -1pp}", "line 13: strategy.guardrails.error_rate.margin: difference '-1"),
        ("{margin: 1pp}", "{margin: 0}", "line 13: strategy.guardrails.error_rate.margin: a margin of 0 is "),
        ("{margin: 1pp}", "{}", "line 13: strategy.guardrails.error_rate: it can never be shown to be healt"),
        ("{margin: 1pp}", "{marge: 1pp}", "line 13: unknown field 'strategy.guardrails.error_rate.marge'; k"),
        ("error_rate:", "eror_rate:", "line 13: strategy.guardrails.eror_rate: better is missing"),
        ("min: 97%", "min: 100%", "line 15: strategy.guardrails.agreement: min 100% is not valid"),
        ("margin: 0.02,", "margin: -0.02,", "line 18: strategy.guardrails.score: margin -0.02 is not valid"),
        ("- {shadow: 100, bake: 24h}", "- pause: {}", "line 15: strategy.guardrails.agreement: 'boosted' do"),
        # labels
        ("matures: 24h", "matures: 8d", "line 16: strategy.guardrails.label.correct.matures: 8d is longer t"),
        ("retention: 60d", "keep: 12h", "line 16: strategy.guardrails.label.correct.matures: 1d is longer t"),
        ("{retention: 60d, size: 2GiB}", "false", "line 16: strategy.guardrails.label.correct: labels need "),
        ("retention: 60d", "outputs: false", "line 17: strategy.guardrails.label.chargeback: chargeback com"),
        ("  chargeback:", "  correct: {base_rate: 0.2%}\n  chargeback:", "line 16: strategy.guardrails.labe"),
        ("loss: costs:of, range: [0, 500],", "", "line 17: strategy.guardrails.label.chargeback: only 0.20%"),
        ("  chargeback:", "  churn:", "line 17: strategy.guardrails.label.chargeback: nothing says how the "),
        ("loss: costs:of", "loss: costs", "line 21: labels.chargeback.loss: loss 'costs' is not valid: writ"),
        ("loss: costs:of", "los: costs:of", "line 21: unknown field 'labels.chargeback.los'; known here: ba"),
        ("loss: costs:of,", "", "line 21: labels.chargeback: a range is that of a loss, and there is none"),
        ("[0, 500]", "[0, 0]", "line 21: labels.chargeback: range [0, 0] is not valid: the first must be be"),
        ("[0, 500]", "[0, .inf]", "line 21: labels.chargeback.range.1: inf is not a finite number"),
        ("field:score", "score", "line 21: labels.chargeback.prediction: prediction 'score' is not valid: w"),
        ("positive: [1]", "positive: 1", "line 21: labels.chargeback.positive: a list of labels is expected"),
        ("positive: [1]", "positive: [0.5]", "line 21: labels.chargeback.positive: 0.5 is no class: a label"),
        ("base_rate: 0.2%", "base_rate: 2", "line 21: labels.chargeback.base_rate: fraction 2 is not valid"),
        ("  chargeback:", "  no: {}\n  chargeback:", "line 20: labels: label name False is not text"),
    ],
)  # fmt: skip
def test_what_is_refused(tmp_path: Path, old: str, new: str, told: str) -> None:
    """Each is told with file, line and field; and in Python with the field."""
    assert SPEC.count(old) >= 1
    text, file = SPEC.replace(old, new, 1), tmp_path / "rollout.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidSpec) as error:
        load_spec(file)
    assert all(line.startswith(f"{file}: line ") for line in str(error.value).splitlines())
    assert told in str(error.value)
    fields: dict[str, Any] = yaml.safe_load(text)
    with pytest.raises(InvalidSpec) as error:
        RolloutSpec(**fields)
    assert str(error.value).startswith("RolloutSpec: ")
    assert told.partition(": ")[2] in str(error.value) or "line" not in told


def test_a_workers_strategy_is_no_difference(screening: Rollout, join: Callable[..., Presence]) -> None:
    """What a card tells of a strategy asks nothing of the state, whatever labels it speaks of."""
    spec = RolloutSpec(**yaml.safe_load(SPEC))
    assert spec.strategy is not None
    join(spec={"strategy": spec.strategy.plain})
    assert screening.status()["differences"] == []


def test_a_strategy_hides_no_difference(screening: Rollout, join: Callable[..., Presence]) -> None:
    """What the spec asks of the state beside it is told as ever."""
    spec = RolloutSpec(**yaml.safe_load(SPEC))
    assert spec.strategy is not None
    join(spec={"strategy": spec.strategy.plain, "targets": {"boosted": {"keys": ["u1"]}}})
    assert [text.partition(":")[0] for text in screening.status()["differences"]] == ["targets"]


@pytest.mark.parametrize(
    "labels",
    [
        {"correct": {"base_rate": "2%"}},
        {"correct": {"base_rate": "0.2%", "loss": "costs:of"}},
        {"correct": {"name": "truth"}, "other": {}},
    ],
)
def test_correct_may_be_said_otherwise(labels: dict[str, Any]) -> None:
    """With a loss, or with enough positives, `label.correct` is accepted."""
    guardrails = {"label.correct": {"margin": "2pp", "matures": "1d"}}
    canary = {"candidate": "boosted", "steps": [{"weight": 5}]}
    spec = RolloutSpec(labels=labels, strategy={"canary": canary, "guardrails": guardrails})
    assert spec.labels["correct"].told_as("correct") == labels["correct"].get("name", "label")


def test_endpoints_are_checked_as_far_as_the_spec_names_them() -> None:
    """With `endpoints:` a guardrail of another one is refused at once; without, when there is a service."""
    canary = {"candidate": "boosted", "steps": [{"weight": 5}]}
    strategy = {"canary": canary, "guardrails": {"error_rate@explain": {"margin": "1pp"}}}
    assert RolloutSpec(strategy=strategy).strategy is not None
    with pytest.raises(InvalidSpec, match=r"strategy\.guardrails\.error_rate@explain: no routed endpoint"):
        RolloutSpec(endpoints=["predict"], strategy=strategy)
