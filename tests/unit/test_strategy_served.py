"""Whether a service has what a strategy speaks of."""

from __future__ import annotations

from dataclasses import replace

import pytest
import yaml

from bento_rollout.errors import InvalidSpec
from bento_rollout.served import Served, check_served, problems_with
from bento_rollout.strategy import Strategy
from tests.unit.test_strategy import EXAMPLE, SWAP, canary

SERVED = Served(
    variants=("logistic", "boosted"),
    champion="logistic",
    endpoints=frozenset({"predict", "explain"}),
    streams=frozenset({"explain"}),
    measures=frozenset({"score", "hits"}),
    labels=frozenset({"chargeback"}),
)


def parsed(text: str) -> Strategy:
    """The strategy that this YAML describes."""
    return Strategy.parse(yaml.safe_load(text))


@pytest.mark.parametrize("text", [EXAMPLE, SWAP, canary()])
def test_what_the_service_has(text: str) -> None:
    """A strategy that speaks of what is there passes."""
    check_served(parsed(text), SERVED)


@pytest.mark.parametrize(
    ("text", "changes", "words"),
    [
        (
            canary().replace("boosted", "forest"),
            {},
            "canary.candidate: no variant is called 'forest'; this rollout",
        ),
        (SWAP.replace("boosted", "logistic"), {}, "blue_green.candidate: 'logistic' is the champion"),
        (
            canary(guardrails="{error_rate@detect: {margin: 1pp}}"),
            {},
            "guardrails.error_rate@detect: no routed endpoint is called 'detect'; there are: explain, pre",
        ),
        (
            canary(guardrails="{quality: {better: high, range: [0, 1], margin: 0.1}}"),
            {},
            " this service never gives a number called 'quality': no measure('quality', …) was seen; t",
        ),
        (canary(guardrails="{gpu: {below: 4GiB}}"), {}, "never gives a number called 'gpu'"),
        (
            canary(guardrails="{label.churn: {margin: 1pp, matures: 1d}}"),
            {},
            "guardrails.label.churn: nothing says how the label 'churn' gives a number; there are: charge",
        ),
        (
            canary(guardrails="{label.correct: {margin: 1pp, matures: 1d}}"),
            {"keep": None},
            "labels need the ledger",
        ),
        (
            canary(guardrails="{label.correct: {margin: 1pp, matures: 6d}}"),
            {"keep": 5 * 86400.0},
            "guardrails.label.correct.matures: 6d is longer than the ledger keeps predictions (5d)",
        ),
        (
            canary(guardrails="{label.correct: {margin: 1pp, matures: 1d}}"),
            {"outputs": False},
            "correct compares labels with answers, and the ledger keeps none",
        ),
        (
            canary(guardrails="{label.correct: {margin: 1pp, matures: 1d}}"),
            {"base_rates": {"correct": 0.002}},
            "only 0.20% of the predictions are positive: a model that never says yes would be correct in 9",
        ),
        (
            canary(guardrails="{error_rate: {margin: 1pp}, agreement: {min: 97%}}"),
            {},
            "guardrails.agreement: 'boosted' does not watch, so its answers are never compared",
        ),
        (
            canary(guardrails="{latency@predict: {of: per_item}}"),
            {},
            "guardrails.latency@predict.of: per_item needs",
        ),
        (canary(guardrails="{latency: {of: per_item}}"), {"streams": frozenset()}, "there are: none"),
    ],
)
def test_what_it_has_not(text: str, changes: dict[str, object], words: str) -> None:
    """What the service does not have is refused by name, with what it has."""
    with pytest.raises(InvalidSpec) as caught:
        check_served(parsed(text), replace(SERVED, **changes))  # type: ignore[arg-type]  # one table of all fields
    assert words in str(caught.value)


def test_all_at_once() -> None:
    """Everything that is not there is told in one error."""
    strategy = parsed(EXAMPLE.replace("boosted", "forest"))
    served = replace(SERVED, measures=frozenset(), keep=None)
    assert [problem.path for problem in problems_with(strategy, served)] == [
        ("canary", "candidate"),
        ("guardrails", "label.correct"),
        ("guardrails", "score"),
    ]


def test_what_is_not_known_is_not_refused() -> None:
    """Before a service has run nobody knows what it measures."""
    nothing = Served(variants=("logistic", "boosted"), champion="logistic")
    check_served(parsed(EXAMPLE), nothing)
    check_served(parsed(SWAP), nothing)


def test_a_standing_shadow_is_enough_for_agreement() -> None:
    """A candidate that watches already needs no shadow step."""
    strategy = parsed(canary(guardrails="{error_rate: {margin: 1pp}, agreement: {min: 97%}}"))
    check_served(strategy, replace(SERVED, shadowed=frozenset({"boosted"})))


def test_late_labels_that_nothing_waits_for() -> None:
    """With ``required: false`` maturity may lie beyond what the ledger keeps."""
    late = "{error_rate: {margin: 1pp}, label.chargeback: {margin: 1pp, matures: 60d, required: false}}"
    check_served(parsed(canary(guardrails=late)), SERVED)
