"""From which score on may a model decide alone? A threshold with a promise, or how many labels it lacks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from ..analysis.arithmetic import inside
from ..errors import InvalidValue

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "Certified",
    "Risk",
    "certify_groups",
    "certify_threshold",
    "coverage_grid",
    "error_bound",
    "labels_needed",
    "risk_coverage",
]

STEPS = 50
"""Thresholds of a grid: each takes two more points of the traffic."""

_HALVINGS = 60

Floats: TypeAlias = "NDArray[np.float64]"
Flags: TypeAlias = "NDArray[np.bool_]"


@dataclass(frozen=True, slots=True)
class Certified:
    """What labels say about deciding alone from a threshold on.

    Attributes:
        threshold: cases with this score or a higher one may be decided by the model; None: nothing can be
            certified.
        accepted: the labelled cases with such a score; with nothing certified, those at the threshold at
            which the search stopped.
        errors: how many of these the model had wrong.
        coverage: which part of all labelled cases they are.
        labels_missing: with nothing certified, how many more accepted cases, all right, it takes; else 0.
        target_error, confidence: what is promised, and how surely.
    """

    threshold: float | None
    accepted: int
    errors: int
    coverage: float
    labels_missing: int
    target_error: float
    confidence: float


@dataclass(frozen=True, slots=True)
class Risk:
    """One row of the risk-coverage table.

    Attributes:
        threshold: of the score.
        coverage: which part of the labelled cases has such a score or a higher one.
        accepted, errors: how many these are, and how many of them are wrong.
        error: that as a rate; NaN when none is accepted.
        bound: the true rate is below it with the confidence that was asked for, at this threshold by itself.
        p: the chance of so few errors if the true rate were the target.
    """

    threshold: float
    coverage: float
    accepted: int
    errors: int
    error: float
    bound: float
    p: float


def certify_threshold(
    scores: ArrayLike,
    wrong: ArrayLike,
    grid: ArrayLike,
    target_error: float = 0.02,
    confidence: float = 0.95,
) -> Certified:
    """Return the lowest threshold from which on the model's error is at most a target, with a confidence.

    The thresholds are tested one after another from the highest on, beginning with the first that accepts
    enough labels to say anything, and stopping at the first that fails: so no chance is lost on their number,
    and ``P(error among accepted > target_error) <= 1 - confidence`` holds for the one returned, exactly, for
    independent labelled cases (fixed-sequence testing in Learn-then-Test, Angelopoulos et al., `arXiv
    2110.01052 <https://arxiv.org/abs/2110.01052>`_). The labels must not have been selected by how sure the
    model was, and the grid not by their outcomes: take it from unlabelled traffic with `coverage_grid`. To
    certify again and again as labels come is to look until it fits: an act for a person, not for a loop.

    Args:
        scores: of the labelled cases, higher is surer; NaN is never accepted.
        wrong: whether the model had each of them wrong.
        grid: thresholds, from high to low.
        target_error: the error rate that is promised, above 0 and below 1.
        confidence: above 0 and below 1.

    Raises:
        InvalidValue: other lengths, a grid that rises, or a setting that cannot be.

    >>> scores = [0.99] * 200 + [0.6] * 100
    >>> wrong = [False] * 200 + [True] * 30 + [False] * 70
    >>> certify_threshold(scores, wrong, [0.9, 0.5], target_error=0.02).threshold
    0.9
    >>> certify_threshold(scores[:100], wrong[:100], [0.9], target_error=0.02).labels_missing
    49
    """
    delta = _delta(target_error, confidence)
    values, bad = _cases(scores, wrong)
    thresholds = _grid(grid)
    counts = list(_counts(values, bad, thresholds))
    least = labels_needed(target_error, confidence)
    found: tuple[float, int, int] | None = None
    stopped = counts[-1] if counts else (0, 0)
    for threshold, (accepted, errors) in zip(thresholds, counts, strict=True):
        if accepted < least:
            continue
        if binomial_tail(accepted, errors, target_error) > delta:
            stopped = accepted, errors
            break
        found = float(threshold), accepted, errors
    if found is None:
        accepted, errors = stopped
        missing = _missing(accepted, errors, target_error, delta)
        return Certified(None, accepted, errors, _part(accepted, values), missing, target_error, confidence)
    threshold, accepted, errors = found
    return Certified(threshold, accepted, errors, _part(accepted, values), 0, target_error, confidence)


def certify_groups(
    scores: ArrayLike,
    wrong: ArrayLike,
    groups: Sequence[Any],
    target_error: float | Mapping[Any, float],
    confidence: float = 0.95,
    grids: Mapping[Any, ArrayLike] | None = None,
) -> dict[Any, Certified]:
    """Return a threshold for each class that the model says, or for each segment of the traffic.

    All promises hold together with the confidence: each group gets an equal part of the chance to be wrong.

    Args:
        scores, wrong, confidence: as for `certify_threshold`.
        groups: of each case, the group that it is in.
        target_error: of all groups, or by group; groups that it does not name get none.
        grids: thresholds by group, from high to low; None: `coverage_grid` of the group's own scores.

    >>> said = ["cat"] * 100 + ["dog"] * 300
    >>> found = certify_groups([0.9] * 400, [False] * 400, said, {"cat": 0.1, "dog": 0.05})
    >>> {group: one.threshold for group, one in found.items()}
    {'cat': 0.9, 'dog': 0.9}
    """
    values, bad = _cases(scores, wrong)
    if len(groups) != len(values):
        raise InvalidValue(
            f"groups has {len(groups)} entries, and scores {len(values)}: one for each is needed"
        )
    targets = target_error if isinstance(target_error, Mapping) else dict.fromkeys(groups, target_error)
    if not targets:
        return {}
    inside("confidence", confidence)
    each = 1.0 - (1.0 - confidence) / len(targets)
    found = {}
    for group, target in targets.items():
        members = np.fromiter((one == group for one in groups), dtype=bool, count=len(values))
        grid = coverage_grid(values[members]) if grids is None or group not in grids else grids[group]
        found[group] = certify_threshold(values[members], bad[members], grid, target, each)
    return found


def coverage_grid(scores: ArrayLike, steps: int = STEPS) -> Floats:
    """Return thresholds from high to low, each of which accepts another equal part of some traffic.

    Args:
        scores: of unlabelled traffic, or of labelled cases whatever their outcome; NaN are left out.
        steps: how many, at most: equal ones fall together. The last accepts everything.

    >>> coverage_grid([0.1, 0.2, 0.3, 0.4], steps=2).tolist()
    [0.3, 0.1]
    """
    values = np.asarray(scores, dtype=np.float64).ravel()
    ordered = np.sort(values[~np.isnan(values)])[::-1]
    if not len(ordered):
        return ordered
    places = np.ceil(np.arange(1, steps + 1) * len(ordered) / steps).astype(int) - 1
    return np.unique(ordered[places])[::-1]


def risk_coverage(
    scores: ArrayLike,
    wrong: ArrayLike,
    grid: ArrayLike,
    target_error: float = 0.02,
    confidence: float = 0.95,
) -> list[Risk]:
    """Return what error and coverage each threshold would have: to look at, not to choose from.

    Who chooses the best-looking row exceeds the target far more often than the confidence says: that is what
    `certify_threshold` is for.

    >>> row = risk_coverage([0.9] * 100, [False] * 99 + [True], [0.5])[0]
    >>> row.coverage, row.error, round(row.bound, 3)
    (1.0, 0.01, 0.047)
    """
    delta = _delta(target_error, confidence)
    values, bad = _cases(scores, wrong)
    thresholds = _grid(grid)
    return [
        Risk(
            float(threshold),
            _part(accepted, values),
            accepted,
            errors,
            errors / accepted if accepted else math.nan,
            error_bound(accepted, errors, 1.0 - delta),
            binomial_tail(accepted, errors, target_error),
        )
        for threshold, (accepted, errors) in zip(thresholds, _counts(values, bad, thresholds), strict=True)
    ]


def labels_needed(target_error: float, confidence: float = 0.95) -> int:
    """Return how many accepted labels without any error certify a target: with fewer nothing can be.

    >>> [labels_needed(target) for target in (0.01, 0.02, 0.05, 0.1)]
    [299, 149, 59, 29]
    """
    delta = _delta(target_error, confidence)
    return math.ceil(math.log(delta) / math.log1p(-target_error) - 1e-9)


def error_bound(accepted: int, errors: int, confidence: float = 0.95) -> float:
    """Return a rate that the true one is below, with a confidence, at one look (Clopper and Pearson).

    >>> round(error_bound(299, 0), 4)
    0.01
    """
    if errors >= accepted:
        return 1.0
    delta = 1.0 - inside("confidence", confidence)
    low, high = errors / accepted, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if binomial_tail(accepted, errors, middle) > delta:
            low = middle
        else:
            high = middle
    return high


def binomial_tail(n: int, k: int, rate: float) -> float:
    """Return ``P(Bin(n, rate) <= k)``, exactly, as a sum of terms from `math.lgamma`.

    A long sum from the median on is not made: it is at least a half, and 1 is returned.

    >>> round(binomial_tail(149, 0, 0.02), 4), round(binomial_tail(3, 1, 0.25), 4)
    (0.0493, 0.8438)
    """
    if k >= n or rate <= 0.0:
        return 1.0
    if rate >= 1.0:
        return 0.0
    if k > _SHORT and k >= math.ceil(n * rate):
        return 1.0
    log_rate, log_rest, whole = math.log(rate), math.log1p(-rate), math.lgamma(n + 1)
    terms = (
        math.exp(whole - math.lgamma(i + 1) - math.lgamma(n - i + 1) + i * log_rate + (n - i) * log_rest)
        for i in range(k + 1)
    )
    return min(1.0, math.fsum(terms))


_SHORT = 1000


def _delta(target_error: float, confidence: float) -> float:
    inside("target_error", target_error)
    return 1.0 - inside("confidence", confidence)


def _cases(scores: ArrayLike, wrong: ArrayLike) -> tuple[Floats, Flags]:
    values = np.asarray(scores, dtype=np.float64).ravel()
    bad = np.asarray(wrong).ravel()
    if len(values) != len(bad):
        raise InvalidValue(f"scores has {len(values)} entries, and wrong {len(bad)}: one for each is needed")
    if bad.dtype != np.bool_ and not np.isin(bad, (0, 1)).all():
        raise InvalidValue("wrong holds other values than true and false")
    return values, bad.astype(np.bool_)


def _grid(grid: ArrayLike) -> Floats:
    thresholds = np.asarray(grid, dtype=np.float64).ravel()
    if np.isnan(thresholds).any() or (np.diff(thresholds) >= 0).any():
        raise InvalidValue("grid must fall from high to low, each threshold once, without NaN")
    return thresholds


def _counts(values: Floats, bad: Flags, thresholds: Floats) -> Sequence[tuple[int, int]]:
    """Return how many cases each threshold accepts, and how many of them are wrong."""
    known = ~np.isnan(values)
    right, wrong = np.sort(values[known & ~bad]), np.sort(values[known & bad])
    errors = len(wrong) - np.searchsorted(wrong, thresholds, side="left")
    accepted = len(right) - np.searchsorted(right, thresholds, side="left") + errors
    return [(int(n), int(k)) for n, k in zip(accepted, errors, strict=True)]


def _part(accepted: int, values: Floats) -> float:
    return accepted / len(values) if len(values) else 0.0


def _missing(accepted: int, errors: int, target: float, delta: float) -> int:
    """Return how many more accepted cases, all of them right, would pass."""
    low, high = 0, 1
    while binomial_tail(accepted + high, errors, target) > delta:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if binomial_tail(accepted + middle, errors, target) > delta:
            low = middle
        else:
            high = middle
    return high
