"""What facts and states come to as samples, and the table that all metrics come from."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento_rollout.gauged import Queued
from bento_rollout.records import (
    Compared,
    Comparison,
    Dropped,
    Fact,
    FlipEnd,
    Flipped,
    Observation,
    Outcome,
    Plan,
    Prediction,
    Readiness,
    Reason,
    Relation,
)
from bento_rollout.telemetry.measures import (
    FACTS,
    MEASURES,
    Gathered,
    gathered,
)
from bento_rollout.telemetry.state_samples import known, state_samples
from tests.states import NAME, seed


def run(variant: str = "one", outcome: Outcome = Outcome.OK, seconds: float = 0.5) -> Observation:
    """Return a run."""
    return Observation("r", "predict", variant, 3, Reason.SPLIT, "id", outcome, seconds)


def prediction(*plans: Plan, outcome: Outcome = Outcome.OK) -> Prediction:
    """Return a prediction."""
    return Prediction("r", "predict", "id", 0.0, plans, (run(),), outcome, 0.5)


def compared(*relations: Relation, seconds: float | None = 0.25) -> Compared:
    """Return what a shadow made of a call."""
    comparisons = tuple(Comparison(relation) for relation in relations)
    return Compared("r", "predict", "two", "one", 3, "id", 0.0, comparisons, seconds=seconds)


def shown(whole: Gathered) -> dict[str, object]:
    """Return what facts came to, as it would be scraped."""
    every: dict[str, object] = {}
    for series, value in [*whole.added.items(), *whole.observed.items(), *whole.now.items()]:
        labels = ",".join(str(getattr(label, "value", label)) for label in series.labels)
        every[f"{series.measure.name.removeprefix('bento_rollout_')}{{{labels}}}"] = value
    return every


ONE, TWO = Plan("one", 3, Reason.SPLIT), Plan("two", 3, Reason.NO_KEY)


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ([], {}),
        ([prediction(ONE)], {"predictions_total{r,predict,one,split,ok}": 1}),
        (
            [prediction(ONE, TWO, ONE), prediction(TWO, outcome=Outcome.TIMEOUT)],
            {
                "predictions_total{r,predict,one,split,ok}": 2,
                "predictions_total{r,predict,two,no_key,ok}": 1,
                "predictions_total{r,predict,two,no_key,timeout}": 1,
            },
        ),
        (
            [run(), run(seconds=0.1), run("two", Outcome.ERROR, 2)],
            {
                "runs_total{r,predict,one,ok}": 2,
                "runs_total{r,predict,two,error}": 1,
                "run_seconds{r,predict,one}": [0.5, 0.1],
                "run_seconds{r,predict,two}": [2],
            },
        ),
        (
            [compared(Relation.AGREE, Relation.DIFFER, Relation.AGREE)],
            {
                "shadow_compared_total{r,predict,two,agree}": 2,
                "shadow_compared_total{r,predict,two,differ}": 1,
                "shadow_run_seconds{r,predict,two}": [0.25],
            },
        ),
        (
            [compared(Relation.NOT_COMPARABLE, seconds=None)],
            {"shadow_compared_total{r,predict,two,not_comparable}": 1},
        ),
        (
            [Dropped("r", "predict", "two", "one", 3, "queue_full", 17)],
            {"shadow_dropped_total{r,predict,two,queue_full}": 17},
        ),
        (
            [Readiness("r", "two", "process", "ready"), Readiness("r", "two", "process", "unready", 2)],
            {"variant_ready{r,two,process}": 0, "variant_restarts{r,two,process}": 2},
        ),
        ([Flipped("r", "one", "two", FlipEnd.VETOED)], {"flips_total{r,vetoed}": 1}),
        (
            [Queued("r", "predict", 9, 2, 4, 1)],
            {
                "reviews_open{r,predict}": 9,
                "reviews_adjudicating{r,predict}": 2,
                "letters_waiting{r,predict}": 4,
                "letters_lost{r,predict}": 1,
            },
        ),
    ],
)
def test_what_facts_come_to(facts: list[Fact], expected: dict[str, object]) -> None:
    """Each kind is counted where the table says."""
    assert shown(gathered(facts)) == expected


FACT = st.one_of(
    st.builds(run, st.sampled_from(["one", "two"]), st.sampled_from(Outcome), st.floats(0, 100)),
    st.builds(prediction, st.sampled_from([ONE, TWO]), outcome=st.sampled_from(Outcome)),
    st.builds(compared, st.sampled_from(Relation), seconds=st.none() | st.floats(0, 100)),
)


@given(st.lists(FACT), st.integers(0, 50))
def test_a_batch_is_the_sum_of_its_parts(facts: list[Fact], cut: int) -> None:
    """How facts fall into batches changes no number."""
    whole, parts = gathered(facts), [gathered(facts[:cut]), gathered(facts[cut:])]
    for series, value in whole.added.items():
        assert value == sum(part.added.get(series, 0) for part in parts)
    for series, values in whole.observed.items():
        assert values == [value for part in parts for value in part.observed.get(series, ())]


@given(st.integers(0, 100_000), st.integers(0, 100_000))
def test_the_shares_of_a_state_are_whole(weight: int, shadow: int) -> None:
    """The champion has what the candidates leave; exactly one variant is champion."""
    state = seed().state.model_copy(update={"weights": {"boosted": weight}, "shadow": {"boosted": shadow}})
    now = Gathered()
    now.take(state_samples(state, ("logistic", "boosted", "forest")))
    found = shown(now)
    shares = [v for series, v in now.now.items() if series.measure.name == "bento_rollout_weight_ratio"]
    assert math.isclose(sum(shares), 1)
    assert found[f"weight_ratio{{{NAME},boosted}}"] == weight / 100_000
    assert found[f"shadow_ratio{{{NAME},boosted}}"] == shadow / 100_000
    assert found[f"weight_ratio{{{NAME},forest}}"] == 0
    champions = [found[f"champion{{{NAME},{name}}}"] for name in ("logistic", "boosted", "forest")]
    assert champions == [1, 0, 0]
    assert found[f"revision{{{NAME}}}"] == state.revision


def test_what_is_known_begins_at_nothing() -> None:
    """Counters of what may happen are there before it does, each with all of its labels."""
    series = list(known("r", ["a", "b"], ["one", "two"], ["log"]))
    assert len(series) == len(set(series)) == 3 + 1 + 2 * 2 * 2
    assert all(len(one.labels) == len(one.measure.labels) for one in series)


def test_names_follow_the_conventions() -> None:
    """Counters end in _total, seconds in _seconds; each name is there once."""
    assert len({one.name for one in MEASURES}) == len(MEASURES)
    for one in MEASURES:
        assert one.name.startswith("bento_rollout_")
        assert one.name.endswith("_total") == (one.kind == "counter")
        assert one.kind in {"counter", "gauge", "histogram"}
        assert one.kind != "histogram" or one.name.endswith("_seconds")
        assert bool(one.merge) == (one.kind == "gauge")
        assert one.labels[0] == "rollout"
        assert not one.help.endswith(".")


def test_every_kind_of_fact_is_measured() -> None:
    """Nothing that a sink is given is left out."""
    assert set(FACTS) == set(Fact.__args__)
