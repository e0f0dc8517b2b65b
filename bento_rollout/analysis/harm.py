"""Is the candidate worse? Tests that may be looked at after every block, and still keep their promise."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import InvalidValue
from .arithmetic import finite, from_odds, inside, nearest, two_rate_bet
from .block import Block
from .mixture import EVERY, MIXTURE_FIELDS, Mixture
from .stored import flag, opened, pack

__all__ = ["ODDS", "EventTest", "HarmTest", "champion_rate", "event_bets", "odds_bets"]

ODDS = (1.25, 1.5, 2.0, 3.0, 5.0, 8.0, 13.0, 25.0, 60.0, 200.0, 1000.0)
"""The bets: how many times the champion's odds those of the candidate are."""

_FIXED = {"odds": list(ODDS), "every": EVERY}


def champion_rate(bad: float, calls: float) -> tuple[float, float]:
    """Return the champion's rate ``(X + 0.5)/(N + 50)`` from what was seen before, and one minus it."""
    return (bad + 0.5) / (calls + 50.0), (calls - bad + 49.5) / (calls + 50.0)


def odds_bets(
    sums: tuple[float, float, float, float],
    share: float,
    champion: tuple[float, float],
    odds: tuple[float, ...],
    tolerance: float = 0.0,
) -> list[float]:
    """Return what each bet of a grid of odds wins on one block, in logs.

    Args:
        sums: bad and good outcomes of the candidate, then those of the champion.
        share: of the candidate among the two.
        champion: its rate from past blocks only, and one minus it.
        odds: how many times the champion's odds each bet gives the candidate.
        tolerance: what the candidate's rate may be above the champion's; where a bet is within it, none
            is placed.
    """
    s, not_s = champion
    bets: list[float] = []
    if tolerance:
        for ratio in odds:
            bet = from_odds(ratio * s / not_s)
            null = nearest(share, bet, champion, tolerance) if bet[0] > s + tolerance else None
            bets.append(two_rate_bet(sums, bet, champion, null) if null else 0.0)
        return bets
    bad_c, good_c, bad_s, good_s = sums
    rest, log = 1.0 - share, math.log
    apart, shared_s, shared_not_s = s / not_s, rest * s, rest * not_s
    bad, good = bad_c + bad_s, good_c + good_s
    for ratio in odds:  # written out, both rates times (1 + own): this is most of what a tick costs
        own = ratio * apart
        whole = 1.0 + own
        won = good_s * log(not_s * whole) - good * log(share + shared_not_s * whole)
        if bad:
            won += bad_c * log(own) + bad_s * log(s * whole) - bad * log(share * own + shared_s * whole)
        bets.append(won)
    return bets


def event_bets(block: Block, share: float) -> list[float]:
    """Return what each odds ratio of the grid wins on the events of one block, in logs."""
    bets = []
    for ratio in ODDS:
        log_total = math.log(1.0 - share + ratio * share)
        bets.append(block.x_candidate * (math.log(ratio) - log_total) - block.x_champion * log_total)
    return bets


@dataclass(frozen=True, slots=True)
class HarmTest:
    """Is the candidate's rate of bad outcomes above the champion's, by more than a tolerance?

    An e-process: the chance that it *ever* alarms, however often it is looked at, is at most ``alpha``
    while the candidate is no worse. From past blocks ``th_s = (X_s+0.5)/(N_s+50)``; for each odds ratio
    ``rho`` of a grid ``th_c = from_odds(rho*odds(th_s))``, ``t = share*th_c + (1-share)*th_s``, and a
    block multiplies by ``(th_c/t)^x_c ((1-th_c)/(1-t))^(n_c-x_c) (th_s/t)^x_s
    ((1-th_s)/(1-t))^(n_s-x_s)``; with a tolerance the null is the nearest pair ``(t+tolerance, t)``.
    Turner, Ly, Grünwald, "Generic E-variables for exact sequential k-sample tests", JSPI 230, 2024, arXiv
    2106.02693. Outcomes from 0 to 1 are valid, too: the log is concave.

    The start mixture is always on: epochs open at the start, by `epoch`, and after every 1 000 candidate
    calls.

    Args:
        alpha: the chance of a false alarm, above 0 and below 1.
        tolerance: what the candidate's rate may be above the champion's, from 0 to below 1.
        champion_bad: bad outcomes of the champion before the start, where its history is known.
        champion_calls: of how many calls.

    Attributes:
        log_evidence: ``ln E`` now.
        alarm: whether ``E`` has been at ``1/alpha`` at any time so far; it stays.

    Raises:
        InvalidValue: a setting that cannot be, by its name.

    >>> test = HarmTest(alpha=0.01)
    >>> for _ in range(4):
    ...     test = test.update(Block(5, 5, 95, 0, share=0.05))
    >>> test.alarm
    True
    """

    alpha: float = 0.01
    tolerance: float = 0.0
    champion_bad: float = field(default=0.0, kw_only=True)
    champion_calls: float = field(default=0.0, kw_only=True)
    mixture: Mixture = field(default_factory=lambda: Mixture.start(len(ODDS)), kw_only=True, repr=False)
    alarm: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        inside("alpha", self.alpha)
        if not 0.0 <= finite("tolerance", self.tolerance) < 1.0:
            raise InvalidValue(f"tolerance is {self.tolerance!r}; a number from 0 to below 1 is needed")
        bad = finite("champion_bad", self.champion_bad)
        if not 0.0 <= bad <= finite("champion_calls", self.champion_calls):
            raise InvalidValue(f"champion_bad is {bad!r}; a sum from 0 to champion_calls is needed")

    @property
    def log_evidence(self) -> float:
        """``ln E`` now."""
        return self.mixture.log_evidence

    def update(self, block: Block) -> HarmTest:
        """Return the test after one more block."""
        share = block.realised_share
        if share is None:
            bets = [0.0] * len(ODDS)
        else:
            rate = champion_rate(self.champion_bad, self.champion_calls)
            bets = odds_bets(block.sums, share, rate, ODDS, self.tolerance)
        mixture = self.mixture.step(bets, block.n_candidate)
        return HarmTest(  # not by `replace`, which takes longer
            self.alpha,
            self.tolerance,
            champion_bad=self.champion_bad + block.x_champion,
            champion_calls=self.champion_calls + block.n_champion,
            mixture=mixture,
            alarm=self.alarm or mixture.log_evidence >= -math.log(self.alpha),
        )

    def epoch(self) -> HarmTest:
        """Return the test with a new epoch open, as at a change of step; ``E`` stays as it is."""
        return replace(self, mixture=self.mixture.epoch())

    def plain(self) -> HarmTest:
        """Return a test with what this one knows of the champion, and no evidence, alarm or start mixture."""
        return replace(self, mixture=Mixture.plain(len(ODDS)), alarm=False)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, from which `from_dict` makes the same test."""
        return pack(
            "HarmTest",
            alpha=self.alpha,
            tolerance=self.tolerance,
            champion_bad=self.champion_bad,
            champion_calls=self.champion_calls,
            alarm=self.alarm,
            **self.mixture.to_fields(),
            **_FIXED,
        )

    @classmethod
    def from_dict(cls, data: object) -> HarmTest:
        """Return a stored test; refuse what is none, or of other settings, by name, with `InvalidValue`."""
        names = MIXTURE_FIELDS | {"alpha", "tolerance", "champion_bad", "champion_calls", "alarm"}
        fields = opened(data, "HarmTest", names, _FIXED)
        return cls(
            fields["alpha"],
            fields["tolerance"],
            champion_bad=fields["champion_bad"],
            champion_calls=fields["champion_calls"],
            mixture=Mixture.from_fields(fields, len(ODDS)),
            alarm=flag("alarm", fields["alarm"]),
        )


@dataclass(frozen=True, slots=True)
class EventTest:
    """Do events fall to the candidate more often than its share of the traffic says?

    For counters, for first errors of keys, and (share ½) for shadow pairs in which only one arm was bad.
    A block multiplies each bet of the odds grid by ``(rho/(1-share+rho*share))^x_c
    (1/(1-share+rho*share))^x_s``. Lindon and Malek, "Anytime-valid inference for multinomial count data",
    NeurIPS 2022, arXiv 2011.03567, as a grid, so that the share may change. Counts of calls are ignored,
    so no epoch opens by count: whoever feeds it calls `epoch`.

    Args:
        alpha: the chance of a false alarm, ever, above 0 and below 1.

    Attributes:
        log_evidence: ``ln E`` now.
        alarm: whether ``E`` has been at ``1/alpha`` at any time so far; it stays.

    >>> test = EventTest(alpha=0.01)
    >>> test.update(Block(3, 3, 0, 0, share=0.05)).alarm
    True
    """

    alpha: float = 0.01
    mixture: Mixture = field(default_factory=lambda: Mixture.start(len(ODDS)), kw_only=True, repr=False)
    alarm: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        inside("alpha", self.alpha)

    @property
    def log_evidence(self) -> float:
        """``ln E`` now."""
        return self.mixture.log_evidence

    def update(self, block: Block) -> EventTest:
        """Return the test after one more block, whose share is needed, and whose counts of calls are not."""
        mixture = self.mixture.step(event_bets(block, block.needed_share("EventTest")), 0)
        alarm = self.alarm or mixture.log_evidence >= -math.log(self.alpha)
        return EventTest(self.alpha, mixture=mixture, alarm=alarm)

    def epoch(self) -> EventTest:
        """Return the test with a new epoch open; ``E`` stays as it is."""
        return replace(self, mixture=self.mixture.epoch())

    def plain(self) -> EventTest:
        """Return a test of the same settings without evidence, alarm or start mixture."""
        return replace(self, mixture=Mixture.plain(len(ODDS)), alarm=False)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, from which `from_dict` makes the same test."""
        return pack("EventTest", alpha=self.alpha, alarm=self.alarm, **self.mixture.to_fields(), **_FIXED)

    @classmethod
    def from_dict(cls, data: object) -> EventTest:
        """Return a stored test; refuse what is none, or of other settings, by name, with `InvalidValue`."""
        fields = opened(data, "EventTest", MIXTURE_FIELDS | {"alpha", "alarm"}, _FIXED)
        mixture = Mixture.from_fields(fields, len(ODDS))
        return cls(fields["alpha"], mixture=mixture, alarm=flag("alarm", fields["alarm"]))
