"""What an error estimated without labels knows, and what it cannot know."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from bento_rollout.drift.estimate import ErrorEstimate
from bento_rollout.errors import InvalidValue

_RNG = np.random.default_rng(1)
_SURE = 0.5 + 0.5 * _RNG.beta(5, 1, 5000)
_WRONG = (_RNG.random(5000) > _SURE).astype(float)
_ESTIMATE = ErrorEstimate.fit(_SURE, _WRONG)


def test_right_when_inputs_change() -> None:
    """More hard cases: the estimate rises with the error (covariate shift)."""
    rng = np.random.default_rng(2)
    sure = 0.5 + 0.5 * rng.beta(3, 1, 5000)
    true = float((rng.random(5000) > sure).mean())
    found = _ESTIMATE.of(sure)
    assert found is not None
    assert found.mean == pytest.approx(true, abs=0.02)
    assert found.mean > 1.3 * found.expected


def test_blind_when_their_meaning_changes() -> None:
    """As sure as ever and wrong half of the time: the estimate says that all is well."""
    found = _ESTIMATE.of(_SURE)
    assert found is not None
    assert found.mean == pytest.approx(found.expected) == pytest.approx(float(_WRONG.mean()))


def test_without_scores() -> None:
    """Predictions without one are left out; of none nothing is said."""
    assert _ESTIMATE.of([None, math.nan]) is None
    assert _ESTIMATE.of([]) is None
    found = _ESTIMATE.of([0.9, None])
    assert found is not None
    assert found.rows == 1


def test_few_and_equal_scores() -> None:
    """Too few labels are refused; scores that are all alike make one bin."""
    with pytest.raises(InvalidValue, match="99 labelled"):
        ErrorEstimate.fit([0.9] * 99 + [None], [0.0] * 100)
    with pytest.raises(InvalidValue, match="2 scores and 1 losses"):
        ErrorEstimate.fit([0.9, 0.9], [0.0])
    found = ErrorEstimate.fit([0.9] * 100, [0.0, 1.0] * 50).of([0.1, 0.9])
    assert found is not None
    assert found.mean == pytest.approx(0.5)


def test_it_is_kept() -> None:
    """Through JSON and back."""
    assert ErrorEstimate.from_plain(json.loads(json.dumps(_ESTIMATE.to_plain()))) == _ESTIMATE


@pytest.mark.parametrize(
    "told",
    [
        None, [], {}, {"edges": [], "rows": [1]}, {"edges": [], "rows": [0], "losses": [0.0]},
        {"edges": [0.5, 0.5], "rows": [1, 1, 1], "losses": [0, 0, 0]},
        {"edges": [0.5], "rows": [1], "losses": [0]}, {"edges": [], "rows": [-1], "losses": [0]},
        {"edges": [], "rows": [1], "losses": ["x"]}, {"edges": [], "rows": [1], "losses": [math.nan]},
        {"edges": 7, "rows": [1], "losses": [0]},
    ],
)  # fmt: skip
def test_what_is_none_is_refused(told: Any) -> None:
    """Damaged bins are told, whatever is wrong with them."""
    with pytest.raises(InvalidValue, match=r"no estimate|no bins"):
        ErrorEstimate.from_plain(told)
