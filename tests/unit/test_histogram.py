"""Durations in shared bins."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento_rollout.histogram import ABOVE, bin_of, edges_of, quantile

durations = st.floats(min_value=2e-6, max_value=900)


@given(durations)
def test_a_duration_lies_in_its_bin(seconds: float) -> None:
    """The edges of a duration's bin are around it, to rounding."""
    low, high = edges_of(bin_of(seconds))
    assert low * (1 - 1e-9) <= seconds <= high * (1 + 1e-9)


@pytest.mark.parametrize(
    ("seconds", "index"), [(0, 0), (-1, 0), (math.nan, 0), (1e-7, 0), (1e6, ABOVE), (math.inf, ABOVE)]
)
def test_odd_durations_have_a_bin(seconds: float, index: int) -> None:
    """Nothing that a clock may say is an error."""
    assert bin_of(seconds) == index


@given(st.lists(durations, min_size=1, max_size=200), st.sampled_from([0.5, 0.9, 0.99]))
def test_a_quantile_is_right_to_one_percent(values: list[float], share: float) -> None:
    """The quantile of the bins is that of the values, to half a bin."""
    counts: dict[int, int] = {}
    for value in values:
        counts[bin_of(value)] = counts.get(bin_of(value), 0) + 1
    true = sorted(values)[max(1, math.ceil(share * len(values))) - 1]
    found = quantile(counts, share)
    assert found is not None
    assert abs(found / true - 1) < 0.0101


def test_nothing_has_no_quantile() -> None:
    """Without calls there is none."""
    assert quantile({}, 0.5) is None
