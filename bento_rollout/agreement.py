"""How often two variants agree, how sure that is, and how much of it is the champion's own noise; pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["CONFIDENCE", "Share", "beyond", "is_beyond_noise", "mixed", "share_of"]

CONFIDENCE = 0.95
"""How sure the bounds of a share are."""

RELATIVE, ABSOLUTE = 0.2, 0.0003
"""Diffy's thresholds: a field differs for real when it differs that much more often than the noise does."""

_PRIOR = 0.5
_STEPS = 60


@dataclass(frozen=True, slots=True)
class Share:
    """A part of some calls, and bounds for the true one.

    Attributes:
        value: what was seen.
        low, high: bounds that hold at all times at once with the confidence that was asked for.
    """

    value: float
    low: float
    high: float


def share_of(hits: int, calls: int, confidence: float = CONFIDENCE) -> Share | None:
    """Return which part of some calls were hits, with bounds that may be looked at as often as one likes.

    The bounds are a confidence sequence: the probabilities that a mixture of bets (Beta with both parameters
    1/2) has not refuted. A usual interval holds at one look that was chosen beforehand; this one holds at
    every look (Robbins, "Statistical methods related to the law of the iterated logarithm", Annals of
    Mathematical Statistics 41(5), 1970).

    Args:
        hits: how many of the calls.
        calls: how many there were; none: there is no share.
        confidence: between 0 and 1.

    >>> share_of(99, 100)  # doctest: +ELLIPSIS
    Share(value=0.99, low=0.9159..., high=0.9999...)
    """
    if calls <= 0:
        return None
    hits = min(max(hits, 0), calls)
    value, limit = hits / calls, math.log(1 / (1 - confidence))
    low = 0.0 if hits == 0 else _bound(hits, calls, 0.0, value, limit)
    high = 1.0 if hits == calls else _bound(hits, calls, 1.0, value, limit)
    return Share(value, low, high)


def mixed(parts: Sequence[tuple[Share, float]]) -> Share:
    """Return the share of all calls, given that of each part of them and how much the part weighs.

    The bounds hold when those of all parts do.

    >>> mixed([(Share(0.5, 0.4, 0.6), 30), (Share(0.0, 0.0, 0.1), 70)])
    Share(value=0.15, low=0.12, high=0.25)
    """
    whole = sum(weight for _, weight in parts)
    value, low, high = (
        round(sum(weight * column for column, (_, weight) in zip(values, parts, strict=True)) / whole, 12)
        for values in zip(*((share.value, share.low, share.high) for share, _ in parts), strict=True)
    )
    return Share(value, low, high)


def beyond(differing: Share, noise: Share) -> Share:
    """Return which part of the calls differ for another reason than noise: the one less the other.

    The bounds hold when both of the given ones do; where a candidate differs less than the noise it is 0.

    >>> beyond(Share(0.05, 0.03, 0.08), Share(0.01, 0.005, 0.02))
    Share(value=0.04, low=0.01, high=0.075)
    """
    value = max(0.0, differing.value - noise.value)
    low, high = max(0.0, differing.low - noise.high), max(0.0, differing.high - noise.low)
    return Share(round(value, 12), round(low, 12), round(high, 12))


def is_beyond_noise(differing: int, calls: int, noisy: int, noise_calls: int) -> bool:
    """Whether a field differs more often than the champion differs from itself there, by Diffy's two rules.

    It must differ at least a fifth more often, of both rates together, and in at least 0.03 % more of the
    calls. Without any call of the champion against itself every difference counts.

    >>> is_beyond_noise(50, 1000, 48, 1000), is_beyond_noise(50, 1000, 5, 1000)
    (False, True)
    """
    if not differing or calls <= 0:
        return False
    rate = differing / calls
    noise = noisy / noise_calls if noise_calls > 0 else 0.0
    return rate - noise > ABSOLUTE and (rate - noise) / (rate + noise) > RELATIVE


def _bound(hits: int, calls: int, edge: float, value: float, limit: float) -> float:
    """Return where the evidence against a share reaches its limit, between an edge and what was seen."""
    out, within = edge, value
    for _ in range(_STEPS):
        middle = (out + within) / 2
        if _log_evidence(hits, calls, middle) >= limit:
            out = middle
        else:
            within = middle
    return out


def _log_evidence(hits: int, calls: int, share: float) -> float:
    """Return the logarithm of what the bets against a share have won."""
    if share <= 0.0 or share >= 1.0:
        return math.inf
    mixture = _log_beta(_PRIOR + hits, _PRIOR + calls - hits) - _log_beta(_PRIOR, _PRIOR)
    return mixture - hits * math.log(share) - (calls - hits) * math.log1p(-share)


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
