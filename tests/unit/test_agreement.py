"""Shares with bounds that may be looked at at any time, and what is left when the noise is taken away."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento_rollout.agreement import Share, beyond, is_beyond_noise, share_of


@given(st.integers(0, 5000), st.integers(1, 5000))
def test_bounds_are_around_what_was_seen(hits: int, calls: int) -> None:
    """0 <= low <= value <= high <= 1."""
    share = share_of(min(hits, calls), calls)
    assert share is not None
    assert 0 <= share.low <= share.value <= share.high <= 1


def test_nothing_has_no_share() -> None:
    """Without calls nothing is claimed."""
    assert share_of(0, 0) is None


def test_bounds_close_in() -> None:
    """More calls of the same share give narrower bounds."""
    widths = [share.high - share.low for n in (10, 100, 1000, 10_000) if (share := share_of(n * 9 // 10, n))]
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] < 0.03


@pytest.mark.simulation
@pytest.mark.parametrize("truth", [0.5, 0.9, 0.99])
def test_bounds_hold_at_every_look(truth: float) -> None:
    """Looked at after every twentieth call, they miss the truth at any time in about 5 % of runs at most."""
    random = np.random.default_rng(7)
    looks = np.arange(20, 1001, 20)
    missed = 0
    for _ in range(100):
        hits = np.cumsum(random.random(1000) < truth)[looks - 1]
        shares = [share_of(int(hit), int(calls)) for hit, calls in zip(hits, looks, strict=True)]
        missed += any(share is not None and not share.low <= truth <= share.high for share in shares)
    assert missed <= 8


def test_noise_is_subtracted() -> None:
    """What is left is never below nothing, and its bounds are those of both together."""
    assert beyond(Share(0.02, 0.01, 0.04), Share(0.05, 0.03, 0.08)) == Share(0.0, 0.0, 0.01)
    assert beyond(Share(0.3, 0.25, 0.35), Share(0.1, 0.05, 0.15)) == Share(0.2, 0.1, 0.3)


@pytest.mark.parametrize(
    ("differing", "calls", "noisy", "noise_calls", "real"),
    [
        (0, 100, 0, 100, False),
        (10, 100, 10, 100, False),
        (10, 100, 9, 100, False),
        (10, 100, 1, 100, True),
        (10, 100, 0, 0, True),
        (1, 10_000, 0, 10_000, False),
        (5, 0, 0, 0, False),
    ],
)
def test_a_field_differs_for_real_by_diffys_two_rules(
    differing: int, calls: int, noisy: int, noise_calls: int, real: bool
) -> None:
    """A fifth more often than the noise, of both together, and in 0.03 % more of the calls."""
    assert is_beyond_noise(differing, calls, noisy, noise_calls) is real
