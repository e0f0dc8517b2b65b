"""Do people agree with each other, and with the model? Raw agreement, Cohen's kappa, Krippendorff's alpha."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import InvalidValue

__all__ = ["Agreement", "agreement_of", "cohen_kappa", "krippendorff_alpha"]

FEW, SKEWED = 50, 0.95
"""With fewer cases, or when one answer has more of them, kappa and alpha say little."""

Interval = tuple[float, float]
Unit = Sequence[Hashable]
Kinds = Mapping[tuple[Hashable, ...], int]


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far answers to the same cases agree; each number with its interval from resampled cases.

    Attributes:
        units: cases with at least two answers.
        raw: the part of pairs of answers that agree.
        kappa: Cohen's, of the first and the second answer of each case; NaN where one answer is all there is.
        alpha: Krippendorff's for nominal answers; NaN likewise.
        twice: ``2 raw - 1``: what kappa would be if all answers were equally frequent (PABAK of two answers).
        raw_interval, kappa_interval, alpha_interval: with the confidence that was asked for.
        prevalence: the share of the most frequent answer.
        warnings: why not to trust them, in words.
    """

    units: int
    raw: float
    kappa: float
    alpha: float
    twice: float
    raw_interval: Interval
    kappa_interval: Interval
    alpha_interval: Interval
    prevalence: float
    warnings: tuple[str, ...]


def agreement_of(
    units: Sequence[Unit], *, confidence: float = 0.95, resamples: int = 1000, seed: int = 0
) -> Agreement:
    """Return how far the answers to each case agree; cases with fewer than two answers are left out.

    Args:
        units: the answers to each case.
        confidence: of the intervals.
        resamples: bootstrap samples of cases.
        seed: of their draw: the same cases give the same intervals.

    >>> found = agreement_of([("yes", "yes")] * 45 + [("no", "no")] * 45 + [("yes", "no")] * 10)
    >>> found.raw, round(found.kappa, 2), round(found.alpha, 2)
    (0.9, 0.8, 0.8)
    """
    kinds = Counter(tuple(unit) for unit in units if len(unit) > 1)
    counts = _answers(kinds)
    whole = sum(counts.values())
    prevalence = max(counts.values(), default=0) / whole if whole else math.nan
    raw = _raw(kinds)
    samples = list(_resampled(kinds, resamples, seed))
    low_high = [_interval([of(sample) for sample in samples], confidence) for of in (_raw, _kappa, _alpha)]
    return Agreement(
        units=sum(kinds.values()),
        raw=raw,
        kappa=_kappa(kinds),
        alpha=_alpha(kinds),
        twice=2.0 * raw - 1.0,
        raw_interval=low_high[0],
        kappa_interval=low_high[1],
        alpha_interval=low_high[2],
        prevalence=prevalence,
        warnings=tuple(_warnings(sum(kinds.values()), prevalence)),
    )


def cohen_kappa(first: Sequence[Hashable], second: Sequence[Hashable]) -> float:
    """Return Cohen's kappa of two raters; NaN where both only ever gave one and the same answer.

    ``(p_o - p_e)/(1 - p_e)`` (Cohen, *A coefficient of agreement for nominal scales*, Educational and
    Psychological Measurement 20, 1960).

    >>> round(cohen_kappa("yyynnn", "yynnny"), 3)
    0.333
    """
    if len(first) != len(second):
        raise InvalidValue(f"one rater has {len(first)} answers, and the other {len(second)}")
    return _kappa(Counter(zip(first, second, strict=True)))


def krippendorff_alpha(units: Sequence[Unit]) -> float:
    """Return Krippendorff's alpha for nominal answers, any number of them to each case; NaN without variety.

    ``1 - D_o/D_e`` over pairable answers (Krippendorff, *Content Analysis*, 4th edition, chapter 12).

    >>> round(krippendorff_alpha(["aa", "aa", "bb", "ab"]), 3)
    0.533
    """
    return _alpha(Counter(tuple(unit) for unit in units if len(unit) > 1))


def _answers(kinds: Kinds) -> Counter[Hashable]:
    counts: Counter[Hashable] = Counter()
    for unit, times in kinds.items():
        for answer in unit:
            counts[answer] += times
    return counts


def _raw(kinds: Kinds) -> float:
    agree = pairs = 0
    for unit, times in kinds.items():
        agree += times * sum(same * (same - 1) for same in Counter(unit).values())
        pairs += times * len(unit) * (len(unit) - 1)
    return agree / pairs if pairs else math.nan


def _kappa(kinds: Kinds) -> float:
    """Return kappa of the first and the second answer of each case."""
    ours, theirs, same = Counter[Hashable](), Counter[Hashable](), 0
    for unit, times in kinds.items():
        ours[unit[0]] += times
        theirs[unit[1]] += times
        same += times * (unit[0] == unit[1])
    count = sum(ours.values())
    if not count:
        return math.nan
    chance = sum(times * theirs[answer] for answer, times in ours.items()) / count**2
    return (same / count - chance) / (1.0 - chance) if chance < 1.0 else math.nan


def _alpha(kinds: Kinds) -> float:
    counts, apart = _answers(kinds), 0.0
    for unit, times in kinds.items():
        size = len(unit)
        apart += times * (size**2 - sum(same**2 for same in Counter(unit).values())) / (size - 1)
    whole = sum(counts.values())
    chance = whole**2 - sum(times**2 for times in counts.values())
    return 1.0 - (whole - 1) * apart / chance if chance else math.nan


def _resampled(kinds: Kinds, resamples: int, seed: int) -> Iterator[Kinds]:
    """Yield samples of as many cases, drawn from them with replacement."""
    if not kinds:
        return
    names, times = list(kinds), np.array(list(kinds.values()))
    draws = np.random.default_rng(seed).multinomial(times.sum(), times / times.sum(), size=resamples)
    for draw in draws:
        yield {name: int(many) for name, many in zip(names, draw, strict=True) if many}


def _interval(found: Sequence[float], confidence: float) -> Interval:
    """Return an interval by the percentile bootstrap."""
    known = [value for value in found if not math.isnan(value)]
    if not known:
        return math.nan, math.nan
    out = (1.0 - confidence) / 2
    low, high = np.quantile(known, [out, 1.0 - out])
    return float(low), float(high)


def _warnings(units: int, prevalence: float) -> list[str]:
    found = []
    if units == 0:
        found.append("no case has two answers yet: how far people agree cannot be said")
    elif units < FEW:
        cases = "case has" if units == 1 else "cases have"
        found.append(f"only {units} {cases} two answers; below {FEW} the numbers mean little")
    if prevalence > SKEWED:
        found.append(
            f"{prevalence:.0%} of the answers are the same: kappa and alpha are low then however well people "
            "agree; look at 2 raw - 1"
        )
    return found
