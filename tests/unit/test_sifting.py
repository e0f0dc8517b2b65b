"""Which rows a test is given: the same, however they are split."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento_rollout.errors import InvalidValue
from bento_rollout.sifting import HOUR, MOST_KEYS, STRATA, Sieve, stratum_of

CALLS = st.lists(
    st.tuples(st.integers(0, 5), st.floats(0, 20_000), st.none() | st.sampled_from(["a" * 16, "b" * 16]))
)


@given(CALLS, st.integers(1, 4), st.booleans(), st.integers(0, 10))
def test_a_restart_between_changes_nothing(
    calls: list[tuple[int, float, str | None]], every: int, dedupe: bool, cut: int
) -> None:
    """Stored and read again anywhere, it says the same of all rows to come."""

    def taken(sieve: Sieve, part: list[tuple[int, float, str | None]]) -> tuple[Sieve, list[bool]]:
        found: list[bool] = []
        for rows, time, key in part:
            sieve, counts = sieve.take(rows, time, key, every=every, dedupe=dedupe)
            found += counts
        return sieve, found

    whole, all_at_once = taken(Sieve(), calls)
    half, before = taken(Sieve(), calls[:cut])
    again, after = taken(Sieve.from_plain(half.plain), calls[cut:])
    assert (again, before + after) == (whole, all_at_once)


def test_one_row_in_so_many() -> None:
    """Every third, across calls."""
    sieve, first = Sieve().take(4, 0.0, None, every=3)
    _, second = sieve.take(3, 0.0, None, every=3)
    assert first + second == [True, False, False, True, False, False, True]


def test_a_key_counts_once_in_an_hour() -> None:
    """The first call of a key counts whole; keys that are none always do; the next hour begins anew."""
    sieve, first = Sieve().take(2, 0.0, "k" * 32, dedupe=True)
    sieve, again = sieve.take(1, 10.0, "k" * 32, dedupe=True)
    sieve, other = sieve.take(1, 10.0, None, dedupe=True)
    _, later = sieve.take(1, HOUR + 1.0, "k" * 32, dedupe=True)
    assert (first, again, other, later) == ([True, True], [False], [True], [True])


def test_what_is_remembered_is_bounded() -> None:
    """Of too many keys the first are forgotten."""
    sieve = Sieve()
    for number in range(MOST_KEYS + 10):
        sieve, _ = sieve.take(1, 0.0, f"{number:016d}", dedupe=True)
    assert len(sieve.keys) == MOST_KEYS


@given(st.integers(-(10**9), 10**10))
def test_every_time_has_an_hour_of_the_week(time: int) -> None:
    """A clock may say anything."""
    assert 0 <= stratum_of(time) < STRATA
    assert stratum_of(time) == stratum_of(time + 7 * 24 * HOUR)


def test_what_is_no_sieve_is_refused() -> None:
    """A damaged one is told."""
    with pytest.raises(InvalidValue):
        Sieve.from_plain({"seen": "x"})
