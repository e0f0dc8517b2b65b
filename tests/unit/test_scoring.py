"""Scores: the largest probability, a field, or a function; a missing one is None, and nothing raises."""

from __future__ import annotations

import math
from enum import Enum
from typing import Any, Literal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from bento_rollout.automating import Score
from bento_rollout.choosing import outputs_in
from bento_rollout.labels import label_in
from bento_rollout.scoring import max_probability, score_of


class Finding(BaseModel):
    """A model with a label and its score."""

    label: str
    score: float


class Kind(Enum):
    """A choice."""

    BENIGN = "benign"
    SECOND = 2


@pytest.mark.parametrize(
    "output",
    [
        [0.2, 0.8], (0.2, 0.8), [[0.2, 0.8]], [[[0.8, 0.2]]], [0, 0.8], [0.8, np.float64(0.2)],
        np.array([0.2, 0.8]), np.array([[0.2, 0.8]]), np.array([[0.2, 0.8]], np.float64),
        pd.Series([0.2, 0.8]), pd.DataFrame([[0.2, 0.8]]), [np.array([0.2, 0.8])],
        {"cat": 0.2, "dog": 0.8}, [{"cat": 0.2, "dog": 0.8}], {"cat": np.float64(0.8), "dog": 0.2},
        {"label": "cat", "score": 0.8}, Finding(label="cat", score=0.8),
        [{"label": "cat", "score": 0.8}, {"label": "dog", "score": 0.2}],
        {"probabilities": [0.2, 0.8]}, {"label": "cat", "probabilities": {"cat": 0.8, "dog": 0.2}},
        {"probabilities": np.array([[0.2, 0.8]]), "model": "v1"},
    ],
)  # fmt: skip
def test_the_largest_probability(output: Any) -> None:
    """Wherever a class is read from, its probability is found."""
    assert max_probability(output) == pytest.approx(0.8)


@pytest.mark.parametrize(
    "output",
    [
        "cat", 3, True, 0.8, None, [], {}, b"", [0.8], [[0.8]], [1, 0], ["cat", "dog"], {"label": "cat"},
        {"cat": 0.8}, {"cat": "a", "dog": 0.8}, [[0.2, 0.8], [0.8, 0.2]], np.array([[0.2, 0.8], [0.3, 0.7]]),
        np.array([1, 2]), np.array([[0.8]]), np.array(0.8), np.array([]), [2.3, -1.0], [math.nan, 0.8],
        [0.2, math.inf], {"label": "cat", "score": 7}, {"probabilities": "high"}, np.array(["a", "b"]),
        object(),
    ],
)  # fmt: skip
def test_no_probability(output: Any) -> None:
    """One number alone, several rows, logits and NaN are none."""
    assert max_probability(output) is None


def test_rounding_of_float32_is_forgiven() -> None:
    """A softmax in float32 may exceed 1 by its rounding."""
    assert max_probability(np.array([1.0000001, 0.0], np.float32)) == 1.0


@given(st.lists(st.floats(0, 1), min_size=2, max_size=5))
def test_it_is_the_probability_of_the_label(scores: list[float]) -> None:
    """What is scored is what is labelled."""
    for output in (scores, [scores], np.array(scores)):
        label = label_in(output)
        assert label is not None
        assert max_probability(output) == pytest.approx(scores[int(label)])


def test_fields_and_functions() -> None:
    """Any finite number is a score; what raises, or gives none, is none."""
    output = {"result": {"margin": np.float32(2.5), "rows": [0.1]}, "flag": True}
    assert score_of(Score.parse("field:result.margin"), output) == 2.5
    assert score_of(Score.parse("field:result.rows.0"), output) == 0.1
    for absent in ("field:result.nothing", "field:flag", "field:result"):
        assert score_of(Score.parse(absent), output) is None
    assert score_of(Score.parse(lambda given: len(given) / 10), output) == 0.2
    assert score_of(Score.parse("m:f"), output, lambda _: np.array([0.5])) == 0.5
    wrongs: list[Any] = [lambda _: 1 / 0, lambda: 0, lambda _: "0.5", lambda _: math.nan]
    for wrong in wrongs:
        assert score_of(Score.parse("m:f"), output, wrong) is None
    assert score_of(Score.parse("m:f"), output) is None
    assert score_of(Score(), [0.3, 0.7]) == 0.7


@pytest.mark.parametrize("annotation", [bool, Literal["a", "b"], Literal[0, 1, True], Kind])
def test_choices_are_the_labels_of_the_outputs(annotation: Any) -> None:
    """People and model are compared alike."""
    outputs = outputs_in(annotation)
    assert outputs
    assert [label_in(output) for output in outputs.values()] == list(outputs)


@pytest.mark.parametrize("annotation", [float, int, dict, Any, str | None, Literal["a"] | None, list[str]])
def test_what_is_no_choice(annotation: Any) -> None:
    """Of such an output `answer:` must make one."""
    assert outputs_in(annotation) is None
