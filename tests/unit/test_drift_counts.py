"""Conformal p-values: uniform and independent whatever the distribution, and the same in any split."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bento_rollout.drift.counts import conformal_p, counts_of
from bento_rollout.drift.uniforms import uniforms


def by_hand(
    reference: list[int], bins: list[int], u: list[float], of: list[int] | None = None
) -> list[float]:
    """The p-values of one lane, counted one by one; the reference is of stratum 0."""
    seen = [(0, each) for each in reference]
    found = []
    for row, (each, tie) in enumerate(zip(bins, u, strict=True)):
        stratum = of[row] if of else 0
        seen.append((stratum, each))
        own = [there for where, there in seen if where == stratum]
        found.append((sum(t > each for t in own) + tie * sum(t == each for t in own)) / len(own))
    return found


ROWS = st.lists(
    st.tuples(st.integers(0, 4), st.floats(0, 0.999), st.integers(0, 2)), min_size=1, max_size=150
)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=20), ROWS, st.integers(0, 150))
def test_p_values_are_ranks_among_all_so_far(
    reference: list[int], rows: list[tuple[int, float, int]], cut: int
) -> None:
    """Chunks and splits change nothing: a row is ranked among the reference and the rows up to it."""
    bins = np.array([[each] for each, _, _ in rows], dtype=np.uint8)
    u = np.array([[tie] for _, tie, _ in rows])
    counts = np.bincount(reference, minlength=5)[None].astype(np.int64)
    first, between = conformal_p(counts, bins[:cut], u[:cut])
    second, after = conformal_p(between, bins[cut:], u[cut:])
    whole, end = conformal_p(counts, bins, u)
    assert np.concatenate((first, second)).tobytes() == whole.tobytes()
    assert after.tolist() == end.tolist()
    assert whole.ravel() == pytest.approx(by_hand(reference, bins.ravel().tolist(), u.ravel().tolist()))
    assert counts.sum() == len(reference)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=20), ROWS)
def test_rows_are_ranked_in_their_stratum(reference: list[int], rows: list[tuple[int, float, int]]) -> None:
    """With strata a row is compared with those of its own alone; the first of one has only itself."""
    bins = np.array([[each] for each, _, _ in rows], dtype=np.uint8)
    u = np.array([[tie] for _, tie, _ in rows])
    of = np.array([stratum for _, _, stratum in rows])
    counts = np.zeros((3, 1, 5), dtype=np.int64)
    counts[0, 0] = np.bincount(reference, minlength=5)
    p, after = conformal_p(counts, bins, u, of)
    wanted = by_hand(reference, bins.ravel().tolist(), u.ravel().tolist(), of.tolist())
    assert p.ravel() == pytest.approx(wanted)
    assert after.sum() == len(reference) + len(rows)


def sample(kind: str, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Bins of some distributions, few ties or many."""
    draw = np.random.default_rng(11)
    if kind == "even":
        return draw.integers(0, 17, size).astype(np.uint8)
    if kind == "rare":
        return (draw.random(size) < 0.02).astype(np.uint8)
    return np.minimum(draw.poisson(1.0, size), 16).astype(np.uint8)


@pytest.mark.parametrize("kind", ["even", "rare", "skewed"])
def test_p_values_are_uniform_and_independent(kind: str) -> None:
    """Of exchangeable rows, whatever their distribution; also with a reference of a hundred rows."""
    rows, lanes = 4000, 5
    bins = sample(kind, (100 + rows, lanes))
    counts = counts_of(bins[:100], np.zeros(100, dtype=np.intp), 1, 17)[0]
    p, _ = conformal_p(counts, bins[100:], uniforms(1, 0, rows, lanes))
    for lane in range(lanes):
        ordered = np.sort(p[:, lane])
        distance = np.abs(ordered - np.arange(rows) / rows).max()
        assert distance < 1.95 / rows**0.5  # Kolmogorov's bound at one in a thousand
        lagged = np.corrcoef(p[:-1, lane], p[1:, lane])[0, 1]
        assert abs(lagged) < 3.5 / rows**0.5


def test_a_frozen_reference_would_not_do() -> None:
    """Why rows are counted: against a frozen reference of 100 rows p-values keep its chance for ever."""
    bins = sample("even", (20_100, 1))
    frozen = counts_of(bins[:100], np.zeros(100, dtype=np.intp), 1, 17)[0]
    u = uniforms(1, 0, 20_000, 1)
    growing, _ = conformal_p(frozen, bins[100:], u)
    above = frozen.sum() - np.cumsum(frozen[0])
    never = (above[bins[100:, 0]] + u[:, 0] * frozen[0][bins[100:, 0]]) / 100

    def distance(p: NDArray[np.float64]) -> float:
        return float(np.abs(np.sort(p) - np.arange(len(p)) / len(p)).max())

    assert distance(growing[:, 0]) < 1.95 / 20_000**0.5
    assert distance(never) > 3 * 1.95 / 20_000**0.5


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**64 - 1),
    st.integers(0, 10**9),
    st.integers(1, 40),
    st.integers(1, 9),
    st.integers(0, 3),
    st.data(),
)
def test_random_numbers_depend_on_their_place_alone(
    seed: int, first: int, rows: int, lanes: int, epoch: int, data: st.DataObject
) -> None:
    """Any split draws the same; another seed or epoch draws others."""
    whole = uniforms(seed, first, rows, lanes, epoch)
    cut = data.draw(st.integers(0, rows))
    parts = (uniforms(seed, first, cut, lanes, epoch), uniforms(seed, first + cut, rows - cut, lanes, epoch))
    assert np.concatenate(parts).tobytes() == whole.tobytes()
    assert ((whole >= 0) & (whole < 1)).all()
    assert not (whole == uniforms(seed, first, rows, lanes, epoch + 1)).any()
    assert not (whole == uniforms(seed ^ 1, first, rows, lanes, epoch)).any()


def test_random_numbers_are_known() -> None:
    """These numbers are part of the promise that a replay gives the same evidence, in every release."""
    assert uniforms(0, 0, 2, 2).tolist() == [
        [0.011546754286331562, 0.24154919656271812],
        [0.5023796042735054, 0.27760557688455356],
    ]
