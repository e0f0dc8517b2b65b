"""The tests' formulas once more, as plain products: what the package is checked against."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bento_rollout.analysis import Block

HARM = (1.25, 1.5, 2, 3, 5, 8, 13, 25, 60, 200, 1000)
SLOW = (1.2, 1.5, 2, 3, 5, 10, 30, 200)
GOOD = (0.05, 0.1, 0.2, 0.33, 0.5, 0.7)


def two_rates(block: Block, c: float, s: float, null_c: float, null_s: float) -> float:
    """What a bet on the rates c and s wins against two rates of the null."""
    n_c, x_c, n_s, x_s = block.n_candidate, block.x_candidate, block.n_champion, block.x_champion
    won: float = (c / null_c) ** x_c * ((1 - c) / (1 - null_c)) ** (n_c - x_c)
    won *= (s / null_s) ** x_s * ((1 - s) / (1 - null_s)) ** (n_s - x_s)
    return won


def bisected(share: float, c: float, s: float, apart: float) -> float:
    """The root t of the null's equation, by halving."""
    low, high = max(0.0, min(s, c - apart)), min(1 - apart, max(s, c - apart))
    for _ in range(100):
        t = (low + high) / 2
        u = t + apart
        slope = share * (u - c) / (u * (1 - u)) + (1 - share) * (t - s) / (t * (1 - t))
        low, high = (low, t) if slope > 0 else (t, high)
    return (low + high) / 2


def share_of(block: Block) -> float:
    """The assigned share, or the realised one."""
    return block.share or block.n_candidate / (block.n_candidate + block.n_champion)


def harm_bets(
    block: Block, odds: Sequence[float], bad: float, calls: float, tolerance: float = 0.0
) -> list[float]:
    """What each bet of the two-rate test wins."""
    s, share, bets = (bad + 0.5) / (calls + 50), share_of(block), []
    for ratio in odds:
        c = ratio * s / (1 - s) / (1 + ratio * s / (1 - s))
        if c <= s + tolerance:
            bets.append(1.0)
            continue
        t = bisected(share, c, s, tolerance) if tolerance else share * c + (1 - share) * s
        bets.append(two_rates(block, c, s, t + tolerance, t))
    return bets


class Copies:
    """The start mixture as what it is: copies that begin one after the other, each with its weight."""

    def __init__(self, bets: int) -> None:
        self.bets, self.calls = bets, 0
        self.copies: list[list[float]] = [[1.0] * bets]

    def block(self, bets: Sequence[float], calls: int) -> None:
        """Multiply all copies; begin another one after each 1 000 calls."""
        self.copies = [[own * bet for own, bet in zip(copy, bets, strict=True)] for copy in self.copies]
        before, self.calls = self.calls, self.calls + calls
        if before // 1000 != self.calls // 1000:
            self.epoch()

    def epoch(self) -> None:
        """Begin another copy."""
        self.copies.append([1.0] * self.bets)

    @property
    def log_evidence(self) -> float:
        """The weighted sum of all copies, and the weight of those still to come."""
        done = sum(sum(copy) / self.bets / (j * (j + 1)) for j, copy in enumerate(self.copies, start=1))
        return math.log(done + 1 / (len(self.copies) + 1))
