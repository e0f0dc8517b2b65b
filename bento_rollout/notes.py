"""`Notes`: what whoever leads a rollout remembers between two looks, and leaves to the next one; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from .arms import MOST_NAMES
from .bench import Bench, Setting
from .errors import InvalidValue, StoreCorrupt
from .evidence import Evidence
from .guardrails import split_name
from .past import Past
from .position import Position
from .strategy import Strategy

__all__ = ["MOST_PASTS", "Notes", "caught_up"]

FORMAT = 1
"""What stored notes look like."""

ENOUGH_CALLS = 1_000_000
"""Up to which calls are counted."""

_MOST = 1 << 60
"""No number here is as large."""

MOST_PASTS = 6
"""Variants, each as it was, of which the past is remembered."""


@dataclass(frozen=True, slots=True)
class Notes:
    """What is known of the running try, and of champions before it. Immutable.

    Attributes:
        number: the try that it is about; 0: none.
        revision: of the state's try that the position continues.
        position: where the try stands, with the time and the evidence since that revision in it.
        bench: its tests.
        pasts: by variant and digest what is known of it from before, the last one heard of last.
        labels: how far the labels of each name were read, as whoever reads them wrote it.
        names: the numbers that the service has given with ``measure``, whoever asks for them.
        calls: predictions of the champion that were counted, at most `ENOUGH_CALLS`.
    """

    number: int = 0
    revision: int = 0
    position: Position | None = None
    bench: Bench | None = None
    pasts: Mapping[tuple[str, str], Past] = field(default_factory=dict)
    labels: Mapping[str, Any] = field(default_factory=dict)
    names: frozenset[str] = frozenset()
    calls: int = 0

    def past(self, variant: str, digest: str) -> Past:
        """Return what is known of a variant from before."""
        return self.pasts.get((variant, digest), Past())

    def heard(self, evidence: Evidence, variant: str, digest: str) -> Notes:
        """Return the notes with what a champion did."""
        if not evidence:
            return self
        pasts = dict(self.pasts)
        known = pasts.pop((variant, digest), Past())
        pasts[variant, digest] = known.plus(evidence, variant)
        arms = [arm for found in evidence.arms.values() for arm in found.values()]
        given = {split_name(name)[0] for arm in arms for name in (*arm.measures, *arm.others)}
        calls = sum(arm.calls + arm.alone[0] for arm in arms)
        return replace(
            self,
            pasts=dict([*pasts.items()][-MOST_PASTS:]),
            names=frozenset(sorted(self.names | given)[:MOST_NAMES]),
            calls=min(ENOUGH_CALLS, self.calls + calls),
        )

    @property
    def plain(self) -> dict[str, Any]:
        """The notes as plain data."""
        return {
            "format": FORMAT,
            "number": self.number,
            "revision": self.revision,
            "position": None if self.position is None else self.position.plain,
            "bench": None if self.bench is None else self.bench.to_dict(),
            "pasts": [[*name, past.plain] for name, past in self.pasts.items()],
            "labels": dict(self.labels),
            "names": sorted(self.names),
            "calls": self.calls,
        }

    @classmethod
    def parse(cls, data: Mapping[str, Any] | None, strategy: Strategy | None, sticky: bool) -> Notes:
        """Return the notes that `plain` told; empty ones when there are none.

        Args:
            data: what was stored.
            strategy: of the running try; None: there is none, and what was noted of one is left out.
            sticky: whether the unit is the key.

        Raises:
            InvalidValue: they are not whole, or of another version; nothing of them can be believed.
        """
        if not data:
            return cls()
        if not isinstance(data, Mapping):
            raise InvalidValue(f"the notes of whoever led before are a {type(data).__name__}")
        if data.get("format") != FORMAT:
            raise InvalidValue(f"notes of format {data.get('format')!r}; this version knows {FORMAT}")
        try:
            pasts = {(str(name), str(digest)): Past.parse(past) for name, digest, past in data["pasts"]}
            number, revision, labels = data["number"], data["revision"], dict(data["labels"])
            names, calls = frozenset(map(str, data["names"])), data["calls"]
            if any(type(one) is not int or not 0 <= one < _MOST for one in (number, revision, calls)):
                raise InvalidValue("the number of the try, its revision or its calls are no counts")
            if strategy is None or data["bench"] is None or data["position"] is None:
                return cls(pasts=pasts, names=names, calls=calls)
            position = Position.parse(data["position"])
            bench = Bench.from_dict(data["bench"], strategy, Setting(sticky))
            before = data["bench"]["counting"]
        except (LookupError, TypeError, ValueError, ArithmeticError, StoreCorrupt) as error:
            raise InvalidValue(f"the notes of whoever led before cannot be used: {error}") from error
        # the strategy may have been changed since: what counts otherwise is not known to be healthy
        alike = [name for name in position.healthy if before.get(name) == bench.counting.get(name)]
        position = position.model_copy(update={"healthy": tuple(alike)})
        return cls(number, revision, position, bench, pasts, labels, names, calls)


def caught_up(stored: Position, live: Position, counted_alike: frozenset[str]) -> Position:
    """Return a position that a decision or a person stored, with what was seen before they did.

    A person's verb begins from what was stored last, and what has been counted and shown since is not lost
    by it.

    Args:
        stored: what the state says.
        live: what was known when it was said.
        counted_alike: the guardrails that still count as they did.
    """
    healthy = {name for name in live.healthy if name in counted_alike} | {*stored.healthy}
    alarms = {*stored.alarms, *live.alarms}
    known: dict[str, Any] = {
        "healthy": tuple(sorted(healthy - alarms)),
        "alarms": tuple(sorted(alarms)),
        "told": tuple(sorted({*stored.told, *live.told})),
    }
    if stored.place == live.place:
        resumed = live.paused is not None and stored.paused is None
        known |= {
            "counted": max(stored.counted, live.counted),
            "undecided": 0.0 if resumed else max(stored.undecided, live.undecided),
            "promoted": max(stored.promoted, live.promoted),
            "looked": live.looked if live.looked is not None else stored.looked,
        }
    return stored.model_copy(update=known)
