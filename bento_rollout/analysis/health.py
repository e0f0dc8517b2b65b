"""Is the candidate shown to be no worse than a margin? A claim of its own, not a missing alarm."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from ..errors import InvalidValue
from .arithmetic import finite, inside, log_mean, nearest, two_rate_bet
from .block import Block
from .harm import champion_rate
from .stored import flag, opened, pack

__all__ = ["HealthTest"]

PRIOR = 200.0
"""Calls at the champion's rate that the candidate's own rate starts from."""

_STATE = (
    "log_equal",
    "log_plug",
    "candidate_bad",
    "candidate_calls",
    "champion_bad",
    "champion_calls",
)
_FIXED = {"prior": PRIOR}


@dataclass(frozen=True, slots=True)
class HealthTest:
    """Is it shown that the candidate's rate of bad outcomes is less than a margin above the champion's?

    Tests "worse by at least the margin ``m``", and rejects it at ``E >= 1/alpha``: ``E`` is half of
    ``E_equal``, which bets that both rates are the champion's ``(X_s+0.5)/(N_s+50)``, and half of
    ``E_plug``, which bets on the candidate's own ``(X_c+200*th_s)/(N_c+200)`` while that is below
    ``th_s+m``; both against the nearest pair ``(t+m, t)``. Turner, Ly, Grünwald, JSPI 230, 2024, arXiv
    2106.02693. The chance of ever calling a candidate healthy that is worse by the margin is at most
    ``alpha``. There is no start mixture.

    Args:
        margin: how much worse would be too much, above 0 and below 1: 0.01 is one point.
        alpha: the chance of a wrong word, ever, above 0 and below 1.

    Attributes:
        log_evidence: ``ln E`` now.
        alarm: whether ``E`` has been at ``1/alpha`` at any time so far: shown to be no worse. It stays.

    Raises:
        InvalidValue: a setting that cannot be, by its name.

    >>> test = HealthTest(margin=0.05)
    >>> for _ in range(20):
    ...     test = test.update(Block(25, 0, 475, 2, share=0.05))
    >>> test.alarm
    True
    """

    margin: float = 0.01
    alpha: float = 0.05
    log_equal: float = field(default=0.0, kw_only=True, repr=False)
    log_plug: float = field(default=0.0, kw_only=True, repr=False)
    candidate_bad: float = field(default=0.0, kw_only=True, repr=False)
    candidate_calls: float = field(default=0.0, kw_only=True, repr=False)
    champion_bad: float = field(default=0.0, kw_only=True, repr=False)
    champion_calls: float = field(default=0.0, kw_only=True, repr=False)
    alarm: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        inside("margin", self.margin)
        inside("alpha", self.alpha)
        for name in _STATE:
            finite(name, getattr(self, name))
        for arm, bad, calls in (
            ("candidate", self.candidate_bad, self.candidate_calls),
            ("champion", self.champion_bad, self.champion_calls),
        ):
            if not 0.0 <= bad <= calls:
                raise InvalidValue(f"{arm}_bad is {bad!r}; a sum from 0 to {arm}_calls is needed")

    @property
    def log_evidence(self) -> float:
        """``ln E`` now."""
        return log_mean((self.log_equal, self.log_plug))

    def update(self, block: Block) -> HealthTest:
        """Return the test after one more block."""
        equal, plug = 0.0, 0.0
        share = block.realised_share
        if share is not None:
            champion = champion_rate(self.champion_bad, self.champion_calls)
            equal = self._bet(block, share, champion, champion)
            candidate = self._candidate_rate(champion)
            if candidate[0] < champion[0] + self.margin:
                plug = self._bet(block, share, candidate, champion)
        equal, plug = self.log_equal + equal, self.log_plug + plug
        return HealthTest(
            self.margin,
            self.alpha,
            log_equal=equal,
            log_plug=plug,
            candidate_bad=self.candidate_bad + block.x_candidate,
            candidate_calls=self.candidate_calls + block.n_candidate,
            champion_bad=self.champion_bad + block.x_champion,
            champion_calls=self.champion_calls + block.n_champion,
            alarm=self.alarm or log_mean((equal, plug)) >= -math.log(self.alpha),
        )

    def _candidate_rate(self, champion: tuple[float, float]) -> tuple[float, float]:
        """The candidate's own rate from past blocks, drawn towards the champion's, and one minus it."""
        total = self.candidate_calls + PRIOR
        good = self.candidate_calls - self.candidate_bad
        return (self.candidate_bad + PRIOR * champion[0]) / total, (good + PRIOR * champion[1]) / total

    def _bet(
        self, block: Block, share: float, candidate: tuple[float, float], champion: tuple[float, float]
    ) -> float:
        null = nearest(share, candidate, champion, self.margin)
        return two_rate_bet(block.sums, candidate, champion, null)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, from which `from_dict` makes the same test."""
        state = {name: getattr(self, name) for name in _STATE}
        return pack("HealthTest", margin=self.margin, alpha=self.alpha, alarm=self.alarm, **state, **_FIXED)

    @classmethod
    def from_dict(cls, data: object) -> HealthTest:
        """Return a stored test; refuse what is none, or of other settings, by name, with `InvalidValue`."""
        fields = opened(data, "HealthTest", frozenset({"margin", "alpha", "alarm", *_STATE}), _FIXED)
        state = {name: fields[name] for name in _STATE}
        return cls(fields["margin"], fields["alpha"], alarm=flag("alarm", fields["alarm"]), **state)
