"""Audits: which decisions of a model a person looks at again, and what takes its degree away."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import mmh3

from ..analysis.arithmetic import count, inside
from ..analysis.mixture import Mixture
from ..analysis.stored import flag, numbers, opened, pack
from ..errors import InvalidValue

__all__ = ["AuditTest", "audited", "audits_to_notice", "audits_with", "drawn", "thinned"]

FACTORS = (1.25, 1.5, 2.0, 3.0, 5.0)
"""The bets: the true error is so many times the target."""

CEILING = 0.95
"""No bet says that the error is above it."""

EVERY = 50
"""Audits after which an epoch opens: who was good for long is found out nearly as soon as who is new."""

_WHOLE = 1 << 64


def drawn(salt: str, prediction_id: str, rate: float) -> bool:
    """Whether a prediction is drawn: the same for the same id everywhere, and of many ids this part of them.

    Args:
        salt: keeps one draw apart from another of the same id.
        prediction_id: of the prediction.
        rate: from 0 to 1.

    >>> drawn("audit", "01a21cf9-5af8-7b9e-9ba7-2609ea63986f", 1.0)
    True
    """
    return _drawing(salt, rate)(prediction_id)


def _drawing(salt: str, rate: float) -> Callable[[str], bool]:
    prefix, below, digest = f"{salt}:", math.ceil(rate * _WHOLE), mmh3.hash_bytes
    top = below >> 56

    def draws(prediction_id: str) -> bool:
        # As `mmh3.hash64(…, signed=False)[0] < below`; it is asked of each call, and of most one byte tells.
        found = digest(prefix + prediction_id)
        return found[7] <= top and int.from_bytes(found[:8], "little") < below

    return draws


def audits_with(rate: float) -> Callable[[str], bool]:
    """Return `audited` with this rate, for whoever asks it of each call.

    >>> audits_with(1.0)("01a21cf9-5af8-7b9e-9ba7-2609ea63986f")
    True
    """
    return _drawing("audit", rate)


def audited(prediction_id: str, rate: float) -> bool:
    """Whether what a model decided goes to a person as well.

    >>> 1900 < sum(audited(f"case-{number}", 0.02) for number in range(100_000)) < 2100
    True
    """
    return drawn("audit", prediction_id, rate)


def thinned(prediction_ids: Sequence[str], probabilities: Sequence[float]) -> list[bool]:
    """Return which cases to keep so that all had the same chance to be asked about.

    A case that was asked about with the chance ``p`` is kept with ``least / p``, by its id: what is left is a
    plain sample, for which the exact binomial test holds; weights of ``1/p`` have no such test.

    >>> thinned(["a", "b"], [0.02, 0.02])
    [True, True]
    """
    if not all(0.0 < chance <= 1.0 for chance in probabilities):
        raise InvalidValue("a case has a chance of 0, or above 1, to be asked about: it cannot be among them")
    least = min(probabilities, default=1.0)
    pairs = zip(prediction_ids, probabilities, strict=True)
    return [chance == least or drawn("thin", one, least / chance) for one, chance in pairs]


@dataclass(frozen=True, slots=True)
class AuditTest:
    """Is a model that decides alone wrong more often than was certified? May be looked at after every audit.

    A bet on an error of ``r`` times the target multiplies by ``r`` at an error, else by
    ``(1 - r target)/(1 - target)``; the bets are averaged, with the start mixture, and an epoch opens every
    50 audits. While the error is at most the target the chance of ever an alarm is at most ``alpha``
    (Ville's inequality), however often it is looked at, and whatever order the audits come in.

    Args:
        target_error: what was certified, above 0 and below 0.95.
        alpha: the chance of a demotion that nothing justified.

    Attributes:
        audits, errors: how many so far.
        alarm: whether the evidence has ever been at ``1/alpha``; it stays.

    >>> test = AuditTest(0.02)
    >>> for _ in range(5):
    ...     test = test.update(wrong=True)
    >>> test.alarm, test.audits
    (True, 5)
    """

    target_error: float
    alpha: float = 0.05
    mixture: Mixture = field(default_factory=lambda: Mixture.start(len(FACTORS)), repr=False)
    audits: int = 0
    errors: int = 0
    alarm: bool = False

    def __post_init__(self) -> None:
        if inside("target_error", self.target_error) >= CEILING:
            raise InvalidValue(f"target_error is {self.target_error!r}; it must be below {CEILING}")
        inside("alpha", self.alpha)

    @property
    def log_evidence(self) -> float:
        """``ln E`` now; an alarm is at ``ln(1/alpha)``."""
        return self.mixture.log_evidence

    def update(self, *, wrong: bool) -> AuditTest:
        """Return the test after one more audit."""
        target = self.target_error
        rates = [min(factor * target, CEILING) for factor in FACTORS]
        bets = [math.log(rate / target if wrong else (1.0 - rate) / (1.0 - target)) for rate in rates]
        mixture, audits = self.mixture.step(bets, 0), self.audits + 1
        alarm = self.alarm or mixture.log_evidence >= -math.log(self.alpha)
        following = mixture.epoch() if audits % EVERY == 0 else mixture
        return AuditTest(target, self.alpha, following, audits, self.errors + wrong, alarm)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, from which `from_dict` makes the same test."""
        return pack(
            "AuditTest",
            target_error=self.target_error,
            alpha=self.alpha,
            audits=self.audits,
            errors=self.errors,
            alarm=self.alarm,
            logs=list(self.mixture.logs),
            epochs=self.mixture.epochs,
            **_FIXED,
        )

    @classmethod
    def from_dict(cls, data: object) -> AuditTest:
        """Return a stored test; refuse what is none, or of other settings, by name, with `InvalidValue`."""
        names = {"target_error", "alpha", "audits", "errors", "alarm", "logs", "epochs"}
        fields = opened(data, "AuditTest", frozenset(names), _FIXED)
        audits, errors, epochs = (count(name, fields[name]) for name in ("audits", "errors", "epochs"))
        if errors > audits or epochs != 1 + audits // EVERY:
            raise InvalidValue(f"{errors} errors and {epochs} epochs of {audits} audits cannot be")
        mixture = Mixture(numbers("logs", fields["logs"], len(FACTORS)), epochs)
        alarm = flag("alarm", fields["alarm"])
        return cls(fields["target_error"], fields["alpha"], mixture, audits, errors, alarm)


_FIXED = {"factors": list(FACTORS), "every": EVERY}


def audits_to_notice(target_error: float, factor: float, alpha: float = 0.05) -> int | None:
    """Return about how many audits it takes to notice an error of ``factor`` times the target.

    What is still to be won, divided by the growth that is to be expected of the best bet: about the mean of
    simulations from the start; the median is lower. None: so small an excess is never noticed for sure.

    >>> audits_to_notice(0.02, 3.0)
    199
    >>> audits_to_notice(0.02, 1.0)
    """
    true = min(factor * target_error, 1.0)
    best = 0.0
    for bet in FACTORS:
        rate = min(bet * target_error, CEILING)
        won = true * math.log(rate / target_error)
        best = max(best, won + (1.0 - true) * math.log((1.0 - rate) / (1.0 - target_error)))
    needed = -math.log(alpha) + math.log(len(FACTORS)) + math.log(2.0)
    return math.ceil(needed / best) if best > 0.0 else None
