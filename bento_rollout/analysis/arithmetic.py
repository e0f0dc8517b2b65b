"""Numbers that all the tests share: what is refused, sums in logs, odds, and the nearest rates of a null."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real

from ..errors import InvalidValue

__all__ = ["count", "finite", "from_odds", "inside", "log_add", "log_mean", "nearest", "two_rate_bet"]

MOST = 2**53
"""The largest count: above it a float no longer holds every whole number."""

_ROUNDS = 200
"""More halvings than a float has room for: the search has always ended before."""


def finite(name: str, value: object) -> float:
    """Return a number as a float; refuse what is no finite number, by its name."""
    if type(value) is float and math.isfinite(value):  # nearly always, and a tick asks thousands of times
        return value
    if isinstance(value, Real) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if math.isfinite(number):
            return number
    raise InvalidValue(f"{name} is {value!r}; a finite number is needed")


def inside(name: str, value: object) -> float:
    """Return a number above 0 and below 1; refuse any other, by its name."""
    number = finite(name, value)
    if not 0.0 < number < 1.0:
        raise InvalidValue(f"{name} is {value!r}; a number above 0 and below 1 is needed")
    return number


def count(name: str, value: object) -> int:
    """Return a whole number from 0 to 2**53; refuse any other, by its name."""
    if type(value) is int and 0 <= value <= MOST:
        return value
    number = finite(name, value)
    if not 0 <= number <= MOST or number != int(number):
        raise InvalidValue(f"{name} is {value!r}; a whole number from 0 to 2**53 is needed")
    return int(number)


def log_add(left: float, right: float) -> float:
    """Return ``ln(exp(left) + exp(right))``, whatever their size.

    >>> round(math.exp(log_add(math.log(2), math.log(3))), 9)
    5.0
    """
    high, low = (left, right) if left >= right else (right, left)
    return high + math.log1p(math.exp(low - high))


def log_mean(logs: Sequence[float]) -> float:
    """Return the log of the mean of what the logs stand for.

    >>> round(math.exp(log_mean([math.log(2), math.log(4)])), 9)
    3.0
    """
    top = max(logs)
    return top + math.log(math.fsum([math.exp(log - top) for log in logs]) / len(logs))


def from_odds(odds: float) -> tuple[float, float]:
    """Return the chance that odds stand for, and one minus it (kept apart: it may be tiny).

    >>> from_odds(3.0)
    (0.75, 0.25)
    """
    return odds / (1.0 + odds), 1.0 / (1.0 + odds)


def two_rate_bet(
    sums: tuple[float, float, float, float],
    candidate: tuple[float, float],
    champion: tuple[float, float],
    null: tuple[float, float, float, float],
) -> float:
    """Return the log of what a bet on two rates wins on one block.

    ``x_c ln(th_c/t_c) + (n_c-x_c) ln((1-th_c)/(1-t_c))``, and the same for the champion.

    Args:
        sums: bad and good outcomes of the candidate, then bad and good ones of the champion.
        candidate: its rate under the bet, and one minus it.
        champion: the same of the champion.
        null: the candidate's rate under the null, one minus it, and the same of the champion.
    """
    bad_c, good_c, bad_s, good_s = sums
    log = math.log
    return (
        bad_c * log(candidate[0] / null[0])
        + good_c * log(candidate[1] / null[1])
        + bad_s * log(champion[0] / null[2])
        + good_s * log(champion[1] / null[3])
    )


def nearest(
    share: float, candidate: tuple[float, float], champion: tuple[float, float], apart: float
) -> tuple[float, float, float, float]:
    """Return the rates ``(t + apart, t)`` of the null that are nearest to a bet, each with one minus it.

    Nearest in information (the reverse projection of arXiv 2106.02693): ``t`` solves ``share
    (t+d-c)/((t+d)(1-t-d)) + (1-share) (t-s)/(t(1-t)) = 0``. The left side rises with ``t``, so its root
    is kept between two bounds: Newton's steps, and a halving wherever one would leave them.

    >>> t_c, _, t_s, _ = nearest(0.5, (0.05, 0.95), (0.01, 0.99), 0.01)
    >>> round(t_c - t_s, 9), 0.01 < t_s < 0.04
    (0.01, True)
    """
    c, not_c = candidate
    s, not_s = champion
    rest = 1.0 - share
    low = max(0.0, min(s, c - apart))
    high = min(1.0 - apart, max(s, c - apart))
    t = low + (high - low) / 2
    for _ in range(_ROUNDS):
        u = t + apart
        p, q = t * (1.0 - t), u * (1.0 - u)
        value = share * (u - c) * p + rest * (t - s) * q
        if value > 0.0:
            high = t
        elif value < 0.0:
            low = t
        else:
            break
        slope = share * (p + (u - c) * (1.0 - 2 * t)) + rest * (q + (t - s) * (1.0 - 2 * u))
        step = t - value / slope if slope > 0.0 else low
        following = step if low < step < high else low + (high - low) / 2
        if abs(following - t) <= 1e-15 * t or not low < following < high:
            break
        t = following
    # No rate of the null is nearer to 0 or 1 than these; rounding may have said so.
    least = min(not_c, not_s) if c >= s + apart else 1e-300
    return t + apart, max(1.0 - t - apart, least), max(t, 1e-300), max(1.0 - t, least)
