"""`Past`: what is known of a variant from before a try: its durations, and its disagreement with itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .errors import InvalidValue
from .evidence import Evidence
from .histogram import ABOVE

__all__ = ["MOST_PAST", "Past"]

MOST_PAST = 20_000
"""Calls of one endpoint that are remembered; with more all counts are halved: newer ones weigh more."""

MOST_ENDPOINTS = 200
"""Endpoints that are told apart."""

_Bins = Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Past:
    """What a variant did while nothing was tried. Immutable.

    Attributes:
        seconds: durations by bin, by endpoint and by what is timed (``first_item``, ``total``, ``per_item``).
        pairs, disagreed: answers that were compared with its own, and those of them that disagreed.
    """

    seconds: Mapping[tuple[str, str], _Bins] = field(default_factory=dict)
    pairs: int = 0
    disagreed: float = 0.0

    def plus(self, evidence: Evidence, variant: str) -> Past:
        """Return the past with what more a variant did."""
        seconds = dict(self.seconds)
        for place, arms in evidence.arms.items():
            if (arm := arms.get(variant)) is None:
                continue
            timed = [("first_item", arm.seconds), *arm.history.items()]
            timed += [(of, one.seconds) for of, one in arm.timings.items()]
            for of, bins in timed:
                name = place.endpoint, of
                if bins and (name in seconds or len(seconds) < MOST_ENDPOINTS):
                    seconds[name] = _bounded(seconds.get(name, {}), bins)
        pairs, disagreed = self.pairs, self.disagreed
        for found in evidence.pairs.values():
            if (itself := found.get(variant)) is not None:
                pairs, disagreed = pairs + itself.compared, disagreed + itself.disagreed
        if pairs > MOST_PAST:
            pairs, disagreed = pairs // 2, disagreed / 2
        return Past(seconds, pairs, disagreed)

    @property
    def floor(self) -> float:
        """Which part of its own answers it disagrees with; 0 where that was not measured."""
        return self.disagreed / self.pairs if self.pairs else 0.0

    def histogram(self, endpoint: str | None, of: str) -> dict[int, int]:
        """Return how long its calls took, by bin; of all endpoints when none is named."""
        found: dict[int, int] = {}
        for (name, timed), bins in self.seconds.items():
            if timed == of and endpoint in (None, name):
                for index, number in bins.items():
                    found[index] = found.get(index, 0) + number
        return found

    @property
    def plain(self) -> dict[str, Any]:
        """It as plain data; `parse` makes the same of it."""
        seconds = [[*name, sorted(bins.items())] for name, bins in sorted(self.seconds.items())]
        return {"seconds": seconds, "pairs": self.pairs, "disagreed": self.disagreed}

    @classmethod
    def parse(cls, data: object) -> Past:
        """Return what `plain` told.

        Raises:
            InvalidValue: it is something else.
        """
        try:
            fields = dict(data)  # type: ignore[call-overload]  # whatever else it is fails here
            seconds = {
                (str(endpoint), str(of)): {_count(index): _count(number) for index, number in bins}
                for endpoint, of, bins in fields["seconds"]
            }
            pairs, disagreed = _count(fields["pairs"]), float(fields["disagreed"])
        except (TypeError, ValueError, LookupError, ArithmeticError) as error:
            raise InvalidValue(f"this is no stored past of a variant: {error!r}") from error
        if not 0 <= disagreed <= pairs or any(index > ABOVE for bins in seconds.values() for index in bins):
            raise InvalidValue("the stored past of a variant has sums that cannot be")
        return cls(seconds, pairs, disagreed)


def _bounded(known: _Bins, more: _Bins) -> dict[int, int]:
    found = dict(known)
    for index, number in more.items():
        found[index] = found.get(index, 0) + number
    while sum(found.values()) > MOST_PAST:
        found = {index: number // 2 for index, number in found.items() if number > 1}
    return found


def _count(value: object) -> int:
    if type(value) is not int or not 0 <= value <= 1 << 48:
        raise ValueError(f"{value!r} is no count")
    return value
