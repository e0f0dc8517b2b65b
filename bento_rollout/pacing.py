"""`Paces`: how fast what a try waits for comes, from the traffic of both arms."""

from __future__ import annotations

from dataclasses import dataclass, field

from .assessment import Assessment, Assessments

__all__ = ["FEW", "Paces"]

FEW = 200
"""Units that must have come before a pace is told: of fewer it would be a guess."""

_LOOKS = 30
"""Of about how many of the last looks a pace is the mean."""


@dataclass(frozen=True, slots=True)
class _Count:
    """How much of one kind has come, and how fast."""

    kind: str
    units: float
    now: float
    come: float = 0.0
    looks: int = 0
    speed: float = 0.0

    def then(self, units: float, now: float) -> _Count:
        """Return the count after a look; one that went back, or an hour that did, tells nothing."""
        if now <= self.now or units < self.units:
            return _Count(self.kind, units, now, self.come, self.looks, self.speed)
        more, looks = units - self.units, self.looks + 1
        change = more / (now - self.now) - self.speed
        return _Count(
            self.kind, units, now, self.come + more, looks, self.speed + change / min(looks, _LOOKS)
        )


@dataclass(slots=True)
class Paces:
    """How fast each guardrail's evidence comes, from look to look.

    A trial of one percent has few calls of its own for long. So where chance splits the traffic the calls of
    both arms are counted, and its share is taken of them, which also holds from the first look after a step.

    >>> from bento_rollout.assessment import Finding
    >>> paces = Paces()
    >>> for second in range(1, 5):
    ...     calls = {"trial": second, "control": 99.0 * second, "share": 0.05}
    ...     one = Assessment(Finding.INCONCLUSIVE, numbers=calls)
    ...     told = paces.after(Assessments({"error_rate": one}), second)
    >>> told
    {'error_rate': 5.0}
    """

    _counts: dict[str, _Count] = field(default_factory=dict)

    def after(self, evidence: Assessments, now: float) -> dict[str, float]:
        """Return by guardrail how many units of what it needs come in a second, where enough have come.

        Args:
            evidence: what is known now.
            now: seconds since 1970; it may jump.
        """
        found: dict[str, float] = {}
        for name, one in evidence.assessments.items():
            kind, units, part = _counted(one)
            known = self._counts.get(name)
            if known is None or known.kind != kind:
                known = _Count(kind, units, now)
            self._counts[name] = known = known.then(units, now)
            if known.come >= FEW:
                found[name] = known.speed * part
        return found


def _counted(one: Assessment) -> tuple[str, float, float]:
    """Return what is counted for a guardrail, how much there is, and which part of it is waited for."""
    numbers = one.numbers
    trial, control, share = (numbers.get(name, 0.0) for name in ("trial", "control", "share"))
    if "pairs" in numbers:
        return "pairs", numbers["pairs"], 1.0
    if "trial" not in numbers:
        return "control", control, 1.0
    return ("both", trial + control, share) if trial and share else ("trial", trial, 1.0)
