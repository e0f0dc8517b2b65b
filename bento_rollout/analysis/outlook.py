"""About how many more requests of the candidate a test needs, if they go on like those of a typical block."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

from ..errors import InvalidValue
from .arithmetic import count, finite, from_odds, inside
from .block import Block
from .floor import FloorTest
from .harm import EventTest, HarmTest, champion_rate
from .health import HealthTest
from .key_block import OneTest
from .keyed import KeyedTest
from .latency import LatencyBlock, LatencyTest
from .latency_health import LatencyHealthTest
from .mixture import Mixture

__all__ = ["needed", "typical_block", "typical_of"]

_CALLS = 10**9
"""Calls of a typical block: so many that shares of it are as good as exact."""


def typical_block(share: float, champion: float, odds: float = 1.0) -> Block:
    """Return a large block as rates and a share would have it, to ask `needed` with.

    Args:
        share: of the candidate, above 0 and below 1.
        champion: its rate of bad outcomes, above 0 and below 1.
        odds: how many times the champion's odds those of the candidate are; 1: equal arms, as a test of
            health hopes for.

    Raises:
        InvalidValue: a share, rate or odds that cannot be, by its name.

    >>> block = typical_block(0.05, 0.01, odds=3)
    >>> round(block.x_candidate / block.n_candidate, 4), block.n_candidate / block.n_champion < 0.06
    (0.0294, True)
    """
    rate = inside("champion", champion)
    if (ratio := finite("odds", odds)) <= 0:
        raise InvalidValue(f"odds is {odds!r}; a number above 0 is needed")
    own = from_odds(ratio * rate / (1.0 - rate))[0]
    n_candidate = max(1, round(_CALLS * inside("share", share)))
    n_champion = max(1, _CALLS - n_candidate)
    return Block(n_candidate, own * n_candidate, n_champion, rate * n_champion, share)


def typical_of(test: HarmTest | HealthTest, share: float, odds: float = 1.0) -> Block:
    """Return a large block with the champion's rate as a test has estimated it; see `typical_block`."""
    rate = champion_rate(test.champion_bad, test.champion_calls)[0]
    return typical_block(share, rate, odds)


def needed(test: OneTest | KeyedTest, typical: Block | LatencyBlock) -> int | None:
    """Return about how many more requests of the candidate it takes until a test says its word.

    The expected growth of ``ln E`` in one request of the candidate, and what the champion gets meanwhile, is
    what each bet wins on the typical block once the champion's rate in it is known, divided by the block's
    requests. What is still to be won is
    ``ln(1/alpha)`` less what each bet has (or would have if an epoch opened now). The bet that is there
    first tells the number. That is a little more than the mean of what it takes (by a tenth to a fifth in
    simulations); the median is lower, and single rollouts differ by a factor of two or three.

    Args:
        test: any test but that of the sample ratio, which needs no number of requests.
        typical: the sums so far (what it takes if all goes on like this), or what an effect of some size
            would give (`typical_block`). For a `FloorTest` only the candidate's sums count, and for an
            `EventTest` they must have its share.

    Returns:
        Requests (or keys, for a `KeyedTest`); 0 when the word is said; None when it never will be, as far
        as the block tells.

    Raises:
        InvalidValue: a block of the other kind, or without the share that the test needs.

    >>> needed(HarmTest(), typical_block(0.05, 0.005, odds=4))
    702
    >>> needed(HarmTest(), typical_block(0.05, 0.005)) is None
    True
    >>> needed(HealthTest(margin=0.01), typical_block(0.05, 0.005))
    820
    """
    if test.alarm:
        return 0
    if isinstance(test, KeyedTest) and isinstance(test.start, LatencyHealthTest):
        return needed(test.copies[0].test, typical)
    if isinstance(test, LatencyHealthTest):
        return _until_all(test, typical)
    calls = sum(typical.candidate) if isinstance(typical, LatencyBlock) else typical.n_candidate
    if not count("calls of the candidate", calls):
        return None
    goal = -math.log(test.alpha)
    if not isinstance(test, KeyedTest):
        times = _times(test, typical, goal)
    else:
        times = (time for copy in test.copies for time in _times(copy.test, typical, goal - copy.log_weight))
    shortest = min(times, default=math.inf)
    more = shortest * calls
    return None if more > _CALLS else max(1, math.ceil(more))


def _until_all(test: LatencyHealthTest, typical: Block | LatencyBlock) -> int | None:
    """Return what the slowest of several claims needs."""
    if not isinstance(typical, LatencyBlock):
        raise _other(typical, "LatencyHealthTest")
    most = 0
    for claim, slow in zip(test.tests, test.blocks(typical), strict=True):
        if (number := needed(claim, slow)) is None:
            return None
        most = max(most, number)
    return most


def _times(test: OneTest, typical: Block | LatencyBlock, goal: float) -> Iterable[float]:
    """Yield how many typical blocks each bet needs to reach a goal, in logs, if it ever will."""
    levels: tuple[float, ...]
    gains: tuple[float, ...]
    if isinstance(test, HealthTest):
        block, least = _block(test, typical), -math.inf
        known = replace(test.update(block), log_equal=0.0, log_plug=0.0)
        after = known.update(block)
        levels, gains = (test.log_equal, test.log_plug), (after.log_equal, after.log_plug)
    elif isinstance(test, LatencyHealthTest):
        return  # has no bets of its own: see `_until_all`
    else:
        levels, gains, least = _bets(test, typical)
    goal += math.log(len(levels))
    for level, gain in zip(levels, gains, strict=True):
        if gain > 0.0:
            yield max(0.0, goal - max(level, least)) / gain


def _bets(
    test: HarmTest | EventTest | LatencyTest | FloorTest, typical: Block | LatencyBlock
) -> tuple[tuple[float, ...], tuple[float, ...], float]:
    """Return what each bet has, what it wins on a typical block, and what it would have in a new epoch."""
    bare = test.plain()
    if isinstance(bare, LatencyTest):
        if not isinstance(typical, LatencyBlock):
            raise _other(typical, "LatencyTest")
        after: Mixture | None = bare.update(typical).plain().update(typical).mixture
    elif isinstance(bare, FloorTest):
        block = _block(test, typical)
        after = bare.update(block.n_candidate, block.x_candidate).mixture
    else:
        block = _block(test, typical)
        after = bare.update(block).plain().update(block).mixture
    before = test.mixture
    assert before is not None
    assert after is not None
    mixed = before.epochs and not (isinstance(test, FloorTest) and test.good)
    fresh = -math.log(before.epochs + 1) - math.log(before.epochs + 2) if mixed else -math.inf
    return before.logs, after.logs, fresh


def _block(test: OneTest, typical: Block | LatencyBlock) -> Block:
    if not isinstance(typical, Block):
        raise _other(typical, type(test).__name__)
    return typical


def _other(block: Block | LatencyBlock, kind: str) -> InvalidValue:
    """What to raise for a block of durations where one of rates is needed, or the other way round."""
    return InvalidValue(f"a {type(block).__name__} is of another kind than {kind} needs")
