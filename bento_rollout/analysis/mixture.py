"""The start mixture: evidence that does not decay while all is well.

A test that began long ago has lost what it bet on harm that never came, and must win that back first. So
copies begin anew, without end, copy ``j`` with the weight ``1/(j(j+1))``; the weights sum to 1, so their
sum keeps the promise of one test (a mixture over starting times, as in Shiryaev's and Roberts' change
detection; what an e-process promises is Ville's inequality, see arXiv 2106.02693). The copies share their
increments: one number for each bet is all that is kept.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import InvalidValue
from .arithmetic import count, log_add, log_mean
from .stored import numbers

__all__ = ["EVERY", "MIXTURE_FIELDS", "Mixture"]

EVERY = 1000
"""Candidate calls after which an epoch opens by itself."""

MIXTURE_FIELDS = frozenset({"logs", "epochs", "calls"})


@dataclass(frozen=True, slots=True)
class Mixture:
    """Bets that are placed again at each epoch.

    For each bet ``S``: at an epoch ``S += 1/(j(j+1))``, at a block ``S *= bet``; ``E = mean(S) +
    1/(j+1)``, the last for the epochs still to come. Opening an epoch therefore leaves ``E`` as it is.

    Attributes:
        logs: ``ln S`` of each bet.
        epochs: how many have opened, 1 at the start; 0: a plain mean that nothing is added to.
        calls: of the candidate since an epoch last opened by count.

    >>> mixture = Mixture.start(2)
    >>> mixture.log_evidence
    0.0
    >>> round(math.exp(mixture.step([math.log(3.0), 0.0], 5).log_evidence), 9)  # (3/2 + 1/2) / 2 + 1/2
    1.5
    """

    logs: tuple[float, ...]
    epochs: int = 1
    calls: int = 0
    _evidence: list[float] = field(default_factory=list, compare=False, repr=False, kw_only=True)

    @classmethod
    def start(cls, bets: int) -> Mixture:
        """Return so many bets, with epoch 1 just opened."""
        return cls((math.log(0.5),) * bets)

    @classmethod
    def plain(cls, bets: int) -> Mixture:
        """Return so many bets without epochs: ``E = mean(S)``, as one copy of a test of keys has it."""
        return cls((0.0,) * bets, 0)

    @property
    def log_evidence(self) -> float:
        """``ln E``, the epochs still to come included; computed once."""
        if not self._evidence:
            mean = log_mean(self.logs)
            self._evidence.append(log_add(mean, -math.log(self.epochs + 1)) if self.epochs else mean)
        return self._evidence[0]

    def step(self, bets: Sequence[float], calls: int) -> Mixture:
        """Return the bets after a block won each of them so much, in logs, in so many candidate calls."""
        logs = tuple([log + bet for log, bet in zip(self.logs, bets, strict=True)])
        if not self.epochs:
            return Mixture(logs, 0)
        calls += self.calls
        following = Mixture(logs, self.epochs, calls % EVERY)
        return following.epoch() if calls >= EVERY else following

    def epoch(self) -> Mixture:
        """Return the bets with one more epoch open; plain ones have none."""
        if not self.epochs:
            return self
        epochs = self.epochs + 1
        weight = -math.log(epochs) - math.log(epochs + 1)
        return Mixture(tuple([log_add(log, weight) for log in self.logs]), epochs, self.calls)

    def to_fields(self) -> dict[str, Any]:
        """Return what is stored of it."""
        return {"logs": list(self.logs), "epochs": self.epochs, "calls": self.calls}

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any], bets: int) -> Mixture:
        """Return what was stored of so many bets; refuse other numbers of them, and what is not finite."""
        epochs, calls = count("epochs", fields["epochs"]), count("calls", fields["calls"])
        if calls >= (EVERY if epochs else 1):
            raise InvalidValue(f"calls is {calls}; an epoch opens after {EVERY}, so fewer are needed")
        return cls(numbers("logs", fields["logs"], bets), epochs, calls)
