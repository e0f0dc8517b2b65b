"""Does the traffic that was counted split as it was assigned? If not, telemetry is lost."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

from .arithmetic import count, finite, inside
from .block import Block
from .stored import flag, opened, pack

__all__ = ["SampleRatioTest"]

KAPPA = 20.0
"""How firmly the bet stands around the assigned share: as if so many keys had been seen."""

_FIXED = {"kappa": KAPPA}

SERIES_FROM = 10.0
"""Where Stirling's series, as far as it is written here, is exact to a float."""

NEAR = 0.5
"""How far a count may be from its share, relatively, for `math.log1p` to be the better log."""


@dataclass(frozen=True, slots=True)
class SampleRatioTest:
    """Do the counts of both arms follow the assigned share?

    Beta-multinomial: over a stretch of one share ``E = B(a+n_c, b+n_s)/(B(a,b) share^n_c
    (1-share)^n_s)``, with ``a = 20*share`` and ``b = 20*(1-share)``; when the share changes, ``ln E`` is
    frozen and a new stretch begins, and ``E`` is the product over the stretches. Lindon and Malek,
    "Anytime-valid inference for multinomial count data", NeurIPS 2022, arXiv 2011.03567.

    Args:
        alpha: the chance of a false alarm, ever, above 0 and below 1.

    Attributes:
        log_evidence: ``ln E`` now.
        alarm: whether ``E`` has been at ``1/alpha`` at any time so far; it stays.

    Raises:
        InvalidValue: a setting that cannot be, by its name.

    >>> test = SampleRatioTest()
    >>> test.update(Block(50, 0, 950, 0, share=0.05)).alarm
    False
    >>> test.update(Block(0, 0, 950, 0, share=0.05)).alarm
    True
    """

    alpha: float = 0.001
    share: float | None = field(default=None, kw_only=True)
    n_candidate: int = field(default=0, kw_only=True)
    n_champion: int = field(default=0, kw_only=True)
    frozen: float = field(default=0.0, kw_only=True)
    alarm: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        inside("alpha", self.alpha)
        finite("frozen", self.frozen)
        count("n_candidate", self.n_candidate)
        count("n_champion", self.n_champion)
        if self.share is not None:
            inside("share", self.share)

    @property
    def log_evidence(self) -> float:
        """``ln E`` now, over all stretches."""
        if self.share is None:
            return self.frozen
        return self.frozen + _log_beta_multinomial(self.n_candidate, self.n_champion, self.share)

    def update(self, block: Block) -> SampleRatioTest:
        """Return the test after one more block, of which the share is needed and the outcomes are ignored."""
        share = block.needed_share("SampleRatioTest")
        if share == self.share:
            n_candidate, n_champion, frozen = self.n_candidate, self.n_champion, self.frozen
        else:
            n_candidate, n_champion, frozen = 0, 0, self.log_evidence
        following = replace(
            self,
            share=share,
            n_candidate=n_candidate + block.n_candidate,
            n_champion=n_champion + block.n_champion,
            frozen=frozen,
        )
        if following.log_evidence >= -math.log(self.alpha):
            return replace(following, alarm=True)
        return following

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, from which `from_dict` makes the same test."""
        return pack(
            "SampleRatioTest",
            alpha=self.alpha,
            share=self.share,
            n_candidate=self.n_candidate,
            n_champion=self.n_champion,
            frozen=self.frozen,
            alarm=self.alarm,
            **_FIXED,
        )

    @classmethod
    def from_dict(cls, data: object) -> SampleRatioTest:
        """Return a stored test; refuse what is none, or of other settings, by name, with `InvalidValue`."""
        names = frozenset({"alpha", "share", "n_candidate", "n_champion", "frozen", "alarm"})
        fields = opened(data, "SampleRatioTest", names, _FIXED)
        return cls(
            fields["alpha"],
            share=fields["share"],
            n_candidate=fields["n_candidate"],
            n_champion=fields["n_champion"],
            frozen=fields["frozen"],
            alarm=flag("alarm", fields["alarm"]),
        )


def _log_beta_multinomial(n_c: int, n_s: int, share: float) -> float:
    """The log of ``B(a+n_c, b+n_s)/(B(a,b) share^n_c (1-share)^n_s)``.

    Not from three large values of `math.lgamma`, whose difference is lost to rounding from about 10^9
    calls on: by Stirling the large terms are ``A ln(A/(N share)) + B ln(B/(N (1-share)))``, small where
    the counts follow the share.
    """
    rest = 1.0 - share
    a, b = KAPPA * share, KAPPA * rest
    total = n_c + n_s + KAPPA
    big_a, big_b = n_c + a, n_s + b
    log_a, log_b, log_total = math.log(big_a), math.log(big_b), math.log(total)
    ahead = n_c * rest - n_s * share  # A - N*share, without the rounding of A
    far_a = math.log1p(r) if abs(r := ahead / total / share) < NEAR else log_a - log_total - math.log(share)
    far_b = math.log1p(-r) if abs(r := ahead / total / rest) < NEAR else log_b - log_total - math.log(rest)
    joint = big_a * far_a + big_b * far_b + (log_total - log_a - log_b + math.log(math.tau)) / 2
    joint += _beyond(big_a) + _beyond(big_b) - _beyond(total)
    start = math.lgamma(a) + math.lgamma(b) - math.lgamma(KAPPA)
    return joint + a * math.log(share) + b * math.log(rest) - start


def _beyond(z: float) -> float:
    """What `math.lgamma` is beyond ``(z - 1/2) ln z - z + ln(2 pi)/2``: Stirling's series."""
    if z < SERIES_FROM:
        return math.lgamma(z) - ((z - 0.5) * math.log(z) - z + math.log(math.tau) / 2)
    square = z * z
    return (1 / 12 - (1 / 360 - (1 / 1260 - 1 / 1680 / square) / square) / square) / z
