"""Rates and budgets: what may be used in a time, and what is left."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento_rollout.budgets import Budget, Rate


def test_a_rate_allows_a_seconds_worth_at_once_and_then_its_pace() -> None:
    """Ten a second: ten at once, none more, and one more each tenth of a second."""
    rate = Rate(10)
    assert [rate.take(100.0) for _ in range(12)] == [True] * 10 + [False] * 2
    assert [rate.take(100.1), rate.take(100.1), rate.take(100.25)] == [True, False, True]


def test_a_slow_rate_allows_single_calls() -> None:
    """One in ten seconds is one now, and the next in ten seconds."""
    rate = Rate(0.1)
    assert [rate.take(1000 + second) for second in (0, 5, 9, 10, 11, 20)] == [
        True, False, False, True, False, True,
    ]  # fmt: skip


def test_without_a_limit_everything_fits() -> None:
    """No rate and no budget refuse nothing."""
    assert all(Rate(None).take(0.0) for _ in range(1000))
    budget = Budget(None)
    budget.spend(1e9)
    assert budget.has(0.0)


def test_an_overdrawn_budget_is_waited_for() -> None:
    """A quarter of a core: a call that burns a second is paid for in three seconds more."""
    budget = Budget(0.25)
    assert budget.has(50.0)
    budget.spend(1.0)
    assert not budget.has(50.0)
    assert not budget.has(52.9)
    assert budget.has(53.1)


@given(st.floats(0.01, 8.0), st.lists(st.tuples(st.floats(0.0, 2.0), st.floats(0.0, 1.0)), max_size=60))
def test_what_is_spent_stays_within_the_share(share: float, steps: list[tuple[float, float]]) -> None:
    """Whatever calls cost: no more is begun in any time than the share, one second and one call allow."""
    budget, now, spent, largest = Budget(share), 1000.0, 0.0, 0.0
    for pause, cost in steps:
        now += pause
        if budget.has(now):
            budget.spend(cost)
            spent, largest = spent + cost, max(largest, cost)
    assert spent <= share * (now - 1000.0 + 1.0) + largest + 1e-6


def test_threads_may_spend_at_once() -> None:
    """What several threads spend at the same time is all counted."""
    budget = Budget(1.0)
    assert budget.has(10.0)

    def spend() -> None:
        for _ in range(1000):
            budget.spend(0.001)

    threads = [threading.Thread(target=spend) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not budget.has(10.0)
    assert not budget.has(16.9)
    assert budget.has(17.1)


@pytest.mark.parametrize("limit", [0.5, 3, 1000])
def test_over_a_long_time_a_rate_is_its_pace(limit: float) -> None:
    """Asked all the time for a minute, it allows a minute's worth and one second's more."""
    rate = Rate(limit)
    taken = sum(rate.take(5.0 + step / 2000) for step in range(120_000))
    assert limit * 60 - 1 <= taken <= limit * 60 + max(1, limit) + 1
