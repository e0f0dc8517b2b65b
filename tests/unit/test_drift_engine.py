"""The e-process under the tests of drift: fair bets, exact whatever the split, and never without bounds."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bento_rollout.drift.engine import DATA_BETS, LOSS_BETS, Bets, Wealth, start_weight


def drawn(rows: int, lanes: int, seed: int = 0) -> NDArray[np.float64]:
    """Uniform p-values."""
    return np.random.default_rng(seed).random((rows, lanes))


def by_hand(p: list[float], bets: Bets, playing: list[int]) -> tuple[float, int]:
    """The e-value of one lane and the start of its best bet, from the definition: a sum over all starts."""
    made = [bets.of(np.array([[each]])).ravel() for each in p]
    total, best = 0.0, (0.0, 0)
    for bet in playing:
        for start in range(len(p)):
            won = start_weight(start) - start_weight(start + 1)
            for row in range(start, len(p)):
                won *= made[row][bet]
            total += won
            best = max(best, (won, start))
    return total / len(playing) + start_weight(len(p)), best[1]


@pytest.mark.parametrize("bets", [DATA_BETS, LOSS_BETS])
def test_bets_are_fair(bets: Bets) -> None:
    """A bet is never negative, and its mean over uniform p-values is 1: none wins from nothing."""
    p = (np.arange(2_000_000) + 0.5) / 2_000_000
    made = bets.of(p[:, None])[:, :, 0]
    assert made.min() >= 0.0
    straight = len(bets.tilt) + len(bets.spread)
    stepped = straight + len(bets.power)
    fair = [*made[:, :straight].mean(axis=0), *made[:, stepped:].mean(axis=0)]
    assert fair == pytest.approx(np.ones(len(bets) - len(bets.power)), abs=1e-9)
    for place, k in enumerate(bets.power, straight):  # the mean below the first point is its power
        assert made[1:, place].mean() == pytest.approx(1.0 - (1 / len(p)) ** k, abs=2e-2 if k < 0.2 else 1e-3)


def test_steps_are_fair_exactly() -> None:
    """``1 - w`` on all, and ``w/c`` more on the part ``c``: the sum is exactly 1."""
    for c, w in LOSS_BETS.step:
        assert Fraction(c).denominator in {8, 16, 32, 64}  # exact in binary: p < c has just that chance
        assert (1 - Fraction(w)) + Fraction(w) / Fraction(c) * Fraction(c) == 1
        below, at = Bets(tilt=(), step=((c, w),)).of(np.array([[np.nextafter(c, 0)], [c]])).ravel()
        assert below == pytest.approx(1 - w + w / c, rel=1e-15)
        assert at == 1 - w
        assert c * below + (1 - c) * at == pytest.approx(1.0, abs=1e-15)


def test_twelve_bets_on_data_and_fourteen_on_losses() -> None:
    """The bets are those that the promise was measured with; none on losses wins when they fall."""
    assert len(DATA_BETS) == 12
    assert (len(LOSS_BETS.tilt), len(LOSS_BETS.power), len(LOSS_BETS.step)) == (3, 3, 8)
    assert len(LOSS_BETS) == len(LOSS_BETS.directions) == 14
    assert set(LOSS_BETS.directions) == {"higher"}
    assert (LOSS_BETS.of(np.array([[0.99]])) < 1.0).all()


@pytest.mark.simulation
def test_quiet_losses_keep_the_promise() -> None:
    """With the bets on losses, too: at most 1 of 20 lanes ever reaches 20, and 1 in 100 reaches 100."""
    wealth = Wealth.start(2000, LOSS_BETS).advance(drawn(800, 2000, seed=6))
    assert (wealth.log_peak >= math.log(20)).mean() <= 0.05
    assert (wealth.log_peak >= math.log(100)).mean() <= 0.01


def test_the_weights_of_all_starts_sum_to_one() -> None:
    """What is left for starts to come falls from 1 towards 0, and each start has a part of it."""
    weights = [start_weight(row) - start_weight(row + 1) for row in range(10_000)]
    assert min(weights) > 0.0
    assert math.fsum(weights) + start_weight(10_000) == pytest.approx(1.0, abs=1e-12)
    assert start_weight(0) == 1.0
    assert weights[5000] == pytest.approx(math.log(3) / (5003 * math.log(5003) ** 2), rel=1e-3)


def test_evidence_begins_at_one() -> None:
    """Before the first row nothing is won or lost."""
    assert Wealth.start(3).log_evidence.tolist() == [0.0, 0.0, 0.0]
    assert Wealth.start(3).log_peak.tolist() == [0.0, 0.0, 0.0]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0.0, 1.0, exclude_max=True), min_size=1, max_size=12))
def test_evidence_is_what_its_definition_says(p: list[float]) -> None:
    """Running sums give what the sum over all starts gives."""
    wealth = Wealth.start(1).advance(np.array(p)[:, None])
    value, _ = by_hand(p, DATA_BETS, list(range(12)))
    assert wealth.log_evidence[0] == pytest.approx(math.log(value), abs=1e-9)
    losses = Wealth.start(1, LOSS_BETS).advance(np.array(p)[:, None])
    assert losses.log_evidence[0] == pytest.approx(
        math.log(by_hand(p, LOSS_BETS, list(range(14)))[0]), abs=1e-9
    )


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(0.0, 1.0, exclude_max=True), min_size=1, max_size=12))
def test_two_values_bet_on_their_mean_alone(p: list[float]) -> None:
    """Where there are only two values, the six bets on spread do not play, and cost nothing."""
    wealth = Wealth.start(1, single=np.array([True])).advance(np.array(p)[:, None])
    value, since = by_hand(p, DATA_BETS, list(range(6)))
    assert wealth.log_evidence[0] == pytest.approx(math.log(value), abs=1e-9)
    assert wealth.direction[0] in {"higher", "lower"}
    assert abs(int(wealth.since[0]) - since) <= len(p)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 60), max_size=5), st.integers(0, 3), st.integers(1, 7))
def test_any_split_gives_the_same_bits(cuts: list[int], seed: int, lanes: int) -> None:
    """One call, one for each row, and any other split end in the same numbers, to the last bit."""
    p = drawn(60, lanes, seed) ** (1 + seed)
    whole = Wealth.start(lanes).advance(p)
    parts = Wealth.start(lanes)
    for start, stop in zip([0, *sorted(cuts)], [*sorted(cuts), 60], strict=True):
        parts = parts.advance(p[start:stop])
    for name in ("sums", "best", "began", "scale", "log_peak", "log_evidence", "since"):
        assert getattr(whole, name).tobytes() == getattr(parts, name).tobytes(), name


def test_lanes_do_not_know_each_other() -> None:
    """Two hundred streams in one pass are what each of them is alone, to the last bit."""
    p = drawn(500, 200) ** 1.5
    together = Wealth.start(200).advance(p)
    for lane in (0, 17, 199):
        alone = Wealth.start(1).advance(p[:, [lane]])
        assert together.log_evidence[lane] == alone.log_evidence[0]
        assert together.log_peak[lane] == alone.log_peak[0]
        assert together.since[lane] == alone.since[0]


def test_a_long_drift_overflows_nothing() -> None:
    """A hundred thousand rows of drift, and of the smallest p-value, stay finite, as does what follows."""
    p = np.full((100_000, 3), 0.01)
    p[:, 1] = 0.0
    p[:50_000, 2] = 0.99
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        for bets in (DATA_BETS, LOSS_BETS):
            wealth = Wealth.start(3, bets).advance(p)
            for values in (wealth.sums, wealth.best, wealth.log_evidence, wealth.log_peak):
                assert np.isfinite(values).all()
            assert wealth.log_evidence[0] > 10_000
            quiet = wealth.advance(drawn(1000, 3))
            assert np.isfinite(quiet.log_evidence).all()
            assert (quiet.log_peak >= wealth.log_peak).all()


def test_evidence_falls_again_and_the_peak_stays() -> None:
    """After a drift that ended, evidence goes down through its scales to that of a quiet stream."""
    high = Wealth.start(1).advance(np.full((2000, 1), 0.05))
    after = high.advance(drawn(80_000, 1))
    assert high.log_evidence[0] > 500
    assert after.log_evidence[0] < 10
    assert after.scale.tolist() == [0]
    assert after.log_peak[0] == pytest.approx(high.log_peak[0], abs=5)


@pytest.mark.parametrize(
    ("change", "direction"),
    [
        (lambda p: p**3, "higher"),
        (lambda p: 1 - p**3, "lower"),
        (lambda p: np.where(p < 0.5, p**3 * 4, 1 - (1 - p) ** 3 * 4), "wider"),
        (lambda p: 0.35 + 0.3 * p, "narrower"),
    ],
)
def test_directions_and_starts(change: object, direction: str) -> None:
    """A small p-value is a high value; the first row is found within a few rows."""
    assert callable(change)
    p = drawn(1000, 20)
    p[600:] = change(p[600:])
    wealth = Wealth.start(20).advance(p)
    assert set(wealth.direction) == {direction}
    assert np.median(abs(wealth.since - 600)) <= 15


@pytest.mark.simulation
def test_quiet_lanes_keep_the_promise() -> None:
    """Of 4000 lanes with uniform p-values, at most 1 in 20 ever reaches 20, and 1 in 100 reaches 100."""
    few = Wealth.start(4000).advance(drawn(8, 4000, seed=3))
    assert np.exp(few.log_evidence).mean() == pytest.approx(1.0, abs=0.02)
    wealth = few.advance(drawn(1500, 4000, seed=4))
    assert (wealth.log_peak >= math.log(20)).mean() <= 0.05
    assert (wealth.log_peak >= math.log(100)).mean() <= 0.01
