"""One stream against a known rate: are there too many bad events, or is it shown that there are few?"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from ..errors import InvalidValue
from .arithmetic import count, finite, from_odds, inside, log_mean
from .harm import ODDS
from .mixture import EVERY, MIXTURE_FIELDS, Mixture
from .stored import flag, opened, pack

__all__ = ["FloorTest"]

PARTS = (0.05, 0.1, 0.2, 0.33, 0.5, 0.7)
"""The bets of the claim that all is well: which part of ``p0`` the true rate is."""

_FIXED = {"odds": list(ODDS), "parts": list(PARTS), "every": EVERY}


@lru_cache(256)
def _logs(p0: float, good: bool) -> list[tuple[float, float]]:
    """Return what each bet wins on one bad event, and on one that is not, in logs."""
    not_p0 = 1.0 - p0
    if good:
        rates = [(part * p0, 1.0 - part * p0) for part in PARTS]
    else:
        rates = [from_odds(ratio * p0 / not_p0) for ratio in ODDS]
    return [(math.log(rate) - math.log(p0), math.log(rest) - math.log(not_p0)) for rate, rest in rates]


@dataclass(frozen=True, slots=True)
class FloorTest:
    """Are bad events more frequent than ``p0``? Or, with ``good``: is it shown that they are less frequent?

    A bet on the rate ``th`` multiplies by ``(th/p0)^x ((1-th)/(1-p0))^(n-x)``: for harm ``th =
    from_odds(rho*odds(p0))`` over the odds grid, with the start mixture; for *good* ``th = g*p0`` over a
    grid of parts, without it, like every test of health. ``E`` is the mean. These are likelihood ratios
    against one rate (Wald 1945), so the chance of ever a wrong word is at most ``alpha``; rates on the
    far side of ``p0`` only lower it.

    Args:
        p0: the rate to compare with, above 0 and below 1.
        alpha: the chance of a wrong word, ever, above 0 and below 1.
        good: whether the claim is "below p0", instead of "above".

    Attributes:
        log_evidence: ``ln E`` now.
        alarm: whether ``E`` has been at ``1/alpha`` at any time so far; it stays. With ``good``: shown to
            be good.

    Raises:
        InvalidValue: a setting that cannot be, by its name.

    >>> FloorTest(0.03).update(20, 20).alarm
    True
    >>> FloorTest(0.03, good=True).update(500, 2).alarm
    True
    """

    p0: float
    alpha: float = 0.01
    good: bool = False
    mixture: Mixture | None = field(default=None, kw_only=True, repr=False)
    alarm: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        inside("p0", self.p0)
        inside("alpha", self.alpha)
        flag("good", self.good)
        if self.mixture is None:
            start = Mixture((0.0,) * len(PARTS)) if self.good else Mixture.start(len(ODDS))
            object.__setattr__(self, "mixture", start)

    @property
    def _bets(self) -> Mixture:
        assert self.mixture is not None
        return self.mixture

    @property
    def log_evidence(self) -> float:
        """``ln E`` now."""
        return log_mean(self._bets.logs) if self.good else self._bets.log_evidence

    def update(self, n: int, x: float) -> FloorTest:
        """Return the test after ``n`` more events (or keys) of which ``x`` were bad, from 0 to ``n``."""
        calls, bad = count("n", n), finite("x", x)
        if not 0.0 <= bad <= calls:
            raise InvalidValue(f"x is {x!r}; a sum from 0 to n, {n}, is needed")
        good = calls - bad
        bets = [bad * of_bad + good * of_good for of_bad, of_good in _logs(self.p0, self.good)]
        mixture = self._bets.step(bets, 0 if self.good else calls)
        found = log_mean(mixture.logs) if self.good else mixture.log_evidence
        alarm = self.alarm or found >= -math.log(self.alpha)
        return FloorTest(self.p0, self.alpha, self.good, mixture=mixture, alarm=alarm)

    def epoch(self) -> FloorTest:
        """Return the test with a new epoch open, ``E`` as it was; the claim that all is well has none."""
        return self if self.good else replace(self, mixture=self._bets.epoch())

    def plain(self) -> FloorTest:
        """Return a test of the same settings without evidence, alarm or start mixture."""
        return replace(self, mixture=Mixture.plain(len(self._bets.logs)), alarm=False)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, from which `from_dict` makes the same test."""
        return pack(
            "FloorTest",
            p0=self.p0,
            alpha=self.alpha,
            good=self.good,
            alarm=self.alarm,
            **self._bets.to_fields(),
            **_FIXED,
        )

    @classmethod
    def from_dict(cls, data: object) -> FloorTest:
        """Return a stored test; refuse what is none, or of other settings, by name, with `InvalidValue`."""
        fields = opened(data, "FloorTest", MIXTURE_FIELDS | {"p0", "alpha", "good", "alarm"}, _FIXED)
        good = flag("good", fields["good"])
        mixture = Mixture.from_fields(fields, len(PARTS if good else ODDS))
        return cls(fields["p0"], fields["alpha"], good, mixture=mixture, alarm=flag("alarm", fields["alarm"]))
