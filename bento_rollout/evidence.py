"""What predictions say of the variants that were drawn for them: sums that are added in any order; pure.

A prediction is evidence only if chance decided who served it. What somebody pinned or targeted, and what was
meant for a variant that was not there, is counted apart: a candidate that is asked the harder questions by
hand would look worse than it is. When routing is sticky the unit is the key, so what one key did is kept
together.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import mmh3

from .arms import Arm, KeySums
from .errors import InvalidValue
from .guardrails import Guardrail, Measure, Threshold, split_name
from .histogram import bin_of
from .records import Compared, Observation, Reason
from .sums import WHOLE, MeasureSums, PairSums, Timing, add_counts, checked_count, checked_key, cut_keys
from .units import Told, Unit, bad_part, pairs_of, units_of, values_of

__all__ = ["MOST_KEYS", "Evidence", "Place", "hash64_of"]

MOST_KEYS = 100_000
"""Keys of one place, in all its arms, that are told apart; with more, only those of half the hashes are."""

_MOST_PLACES = 1000
"""Places of which anything is kept when some must go."""

_DRAWN = frozenset((Reason.SPLIT, Reason.NO_KEY))
_DEFAULT = Reason.DEFAULT


class Place(NamedTuple):
    """What sums must have in common: a revision, at which shares are constant, and an endpoint."""

    revision: int
    endpoint: str


class Evidence:
    """The sums of one flush, or of several.

    Bounded: of more than `MOST_KEYS` keys in a place only those with small hashes are told apart, in all arms
    alike, so that which keys are left has nothing to do with what they did. Sums of calls are never cut.

    Args:
        salt: what keys are hashed with; empty: keys are not told apart (routing is not sticky).
        sticky: the endpoints whose calls have keys; None: all have. The others' are not told apart.
        guardrails: by name; those of measures say of which ones what is bad. Of others the name is noted.
        most_keys: keys of one place that are told apart.

    Attributes:
        arms: what each variant did, by place and variant.
        pairs: what each shadow did, by place and variant; that of the champion itself is the noise floor.
        cuts: below what the hashes of a place lie that are told apart; a place without a cut has all.

    >>> from bento_rollout.records import Outcome, Prediction
    >>> run = Observation("r", "predict", "boosted", 7, Reason.SPLIT, "id", Outcome.ERROR, 0.01)
    >>> evidence = Evidence(salt="s")
    >>> evidence.count(Prediction("r", "predict", "id", 0.0, (), (run,), Outcome.OK, 0.02, ("p-17",)))
    >>> arm = evidence.arms[Place(7, "predict")]["boosted"]
    >>> arm.calls, arm.errors, len(arm.keys)
    (1, 1, 1)
    """

    __slots__ = ("_guardrails", "_measures", "_most", "_salt", "_sticky", "arms", "cuts", "pairs")

    def __init__(
        self,
        *,
        salt: str = "",
        sticky: Collection[str] | None = None,
        guardrails: Mapping[str, Guardrail] | None = None,
        most_keys: int = MOST_KEYS,
    ) -> None:
        self._salt, self._sticky, self._most = salt, sticky, most_keys
        self._guardrails = guardrails or {}
        self._measures = _by_measure(self._guardrails)
        self.arms: dict[Place, dict[str, Arm]] = {}
        self.pairs: dict[Place, dict[str, PairSums]] = {}
        self.cuts: dict[Place, int] = {}

    def __bool__(self) -> bool:
        """Whether anything was counted."""
        return bool(self.arms or self.pairs)

    def count(self, prediction: Told) -> None:
        """Count what became of one prediction: for each unit, the run of whoever was drawn for it."""
        for unit in units_of(prediction):
            run, time = unit.run, prediction.time
            place = Place(run.revision, run.endpoint)
            arm = self.arm(place, unit.variant)
            if unit.reason not in _DRAWN:
                add_counts(arm.apart, {unit.reason.value: 1})
                if unit.reason is _DEFAULT:
                    _count_alone(arm, unit)
                continue
            key = self._hash(place, unit.name)
            index = 0 if unit.missed else bin_of(_took(run))
            arm.count(KeySums(1, int(unit.failed), unit.failed, index, time), key)
            if not unit.missed:
                if run.measures:
                    self._measure(arm, unit, time, key)
                if run.total is not None and not unit.failed:
                    for name, seconds in _timings(run).items():
                        arm.timings.setdefault(name, Timing()).count(bin_of(seconds), time, key)
            if key is not None:
                self._bound(place)

    def count_pair(self, compared: Compared) -> None:
        """Count what a shadow made of one prediction, and what the champion did."""
        place = Place(compared.revision, compared.endpoint)
        seconds, champion = compared.seconds, compared.champion_seconds
        sums = self.pairs.setdefault(place, {}).setdefault(compared.variant, PairSums())
        for name, agreed in pairs_of(compared):
            key = self._hash(place, name)
            took = None if compared.failed or seconds is None or champion is None else (seconds, champion)
            sums.count(took, compared.time, key, agreed=agreed, failed=compared.failed)
            if key is not None:
                self._bound(place)

    def add(self, other: Evidence) -> None:
        """Add what another worker counted, or this one at another time, in any order."""
        for place, arms in other.arms.items():
            for variant, arm in arms.items():
                self.arm(place, variant).add(arm)
        for place, pairs in other.pairs.items():
            for variant, sums in pairs.items():
                self.pairs.setdefault(place, {}).setdefault(variant, PairSums()).add(sums)
        for place in {**other.arms, **other.pairs}:
            self._cut(place, min(self.cuts.get(place, WHOLE), other.cuts.get(place, WHOLE)))
            self._bound(place)

    def take(self) -> Evidence:
        """Return what was counted since the last time, and begin anew."""
        taken = Evidence(
            salt=self._salt, sticky=self._sticky, guardrails=self._guardrails, most_keys=self._most
        )
        taken.arms, self.arms = self.arms, {}
        taken.pairs, self.pairs = self.pairs, {}
        taken.cuts, self.cuts = self.cuts, {}
        return taken

    def shed(self, most: int) -> int:
        """Forget the oldest revisions while more is told of keys than this; return how many units are gone.

        The newest one is always kept.
        """
        gone = 0
        while len(places := sorted({*self.arms, *self.pairs})) > 1 and (
            len(places) > _MOST_PLACES or sum(map(self._size_of, places)) > most
        ):
            arms, pairs = self.arms.pop(places[0], {}), self.pairs.pop(places[0], {})
            self.cuts.pop(places[0], None)
            gone += sum(arm.calls + sum(arm.apart.values()) for arm in arms.values())
            gone += sum(sums.compared for sums in pairs.values())
        return gone

    def to_plain(self) -> list[dict[str, Any]]:
        """Return it as what JSON can say, one object for each variant of each place, and each shadow."""
        parts = [("arm", place, arms) for place, arms in sorted(self.arms.items())]
        parts += [("pair", place, pairs) for place, pairs in sorted(self.pairs.items())]  # type: ignore[misc]
        return [
            {
                "kind": kind, "revision": place.revision, "endpoint": place.endpoint, "variant": variant,
                "cut": self.cuts.get(place), **sums.to_plain(),
            }
            for kind, place, variants in parts
            for variant, sums in sorted(variants.items())
        ]  # fmt: skip

    @classmethod
    def from_plain(cls, rows: object, *, most_keys: int = MOST_KEYS) -> Evidence:
        """Return what `to_plain` told.

        Raises:
            InvalidValue: it is something else, or says what cannot be: sums below 0, more errors than calls.
        """
        evidence = cls(most_keys=most_keys)
        if not isinstance(rows, list):
            raise InvalidValue(f"this is no evidence that a worker wrote: a {type(rows).__name__}, no list")
        try:
            for row in rows:
                evidence._add_row(row)
        except InvalidValue:
            raise
        except (AttributeError, LookupError, TypeError, ValueError, OverflowError) as error:
            raise InvalidValue(f"this is no evidence that a worker wrote: {error!r}") from error
        return evidence

    def _add_row(self, row: Mapping[str, Any]) -> None:
        place = Place(checked_count(row["revision"], "revision"), str(row["endpoint"]))
        variant = str(row["variant"])
        if row["kind"] == "arm":
            self.arm(place, variant).add(Arm.from_plain(row))
        elif row["kind"] == "pair":
            sums = self.pairs.setdefault(place, {}).setdefault(variant, PairSums())
            sums.add(PairSums.from_plain(row, f"pairs.{variant}"))
        else:
            raise InvalidValue(f"this is no evidence that a worker wrote: of the kind {row['kind']!r}")
        if row["cut"] is not None:
            self._cut(place, min(checked_key(row["cut"], "cut"), self.cuts.get(place, WHOLE)))
        self._bound(place)

    def arm(self, place: Place, variant: str) -> Arm:
        """Return the sums of one variant in one place, which are made if need be."""
        return self.arms.setdefault(place, {}).setdefault(variant, Arm())

    def _hash(self, place: Place, name: str) -> int | None:
        """Return the hash of a unit's name; None: units are not told apart here, or this one is cut."""
        if not self._salt or (self._sticky is not None and place.endpoint not in self._sticky):
            return None
        hashed = hash64_of(self._salt, name)
        return hashed if hashed < self.cuts.get(place, WHOLE) else None

    def _measure(self, arm: Arm, unit: Unit, time: float, key: int | None) -> None:
        strangers = set()
        for name, values in values_of(unit).items():
            found = [one for one in self._measures.get(name, ()) if one[1] in (None, unit.run.endpoint)]
            if not found:
                strangers.add(name)
            for guardrail, _, measure in found:
                counted = measure or _LEVEL
                bad, clipped = bad_part(counted, values)
                sums = arm.measures.setdefault(guardrail, MeasureSums())
                whose = None if measure is None else key
                sums.count(bad, time, whose, clipped=clipped, counter=counted.range is None)
        if strangers:
            arm.note_others(strangers)

    def _bound(self, place: Place) -> None:
        while self._keys_of(place) > self._most:
            self._cut(place, self.cuts.get(place, WHOLE) // 2)

    def _keys_of(self, place: Place) -> int:
        """Return how many keys are told apart; what they did has no part in it."""
        arms, pairs = self.arms.get(place, {}), self.pairs.get(place, {})
        return sum([len(arm.keys) for arm in arms.values()] + [len(sums.keys) for sums in pairs.values()])

    def _size_of(self, place: Place) -> int:
        """Return how many things are told of keys."""
        arms = self.arms.get(place, {}).values()
        measured = [len(sums.keys) for arm in arms for sums in arm.measures.values()]
        timed = [len(timing.keys) for arm in arms for timing in arm.timings.values()]
        return self._keys_of(place) + sum(measured) + sum(timed)

    def _cut(self, place: Place, cut: int) -> None:
        """Tell only keys apart whose hashes are below a cut."""
        if cut < WHOLE:
            self.cuts[place] = cut
            for arm in self.arms.get(place, {}).values():
                arm.cut(cut)
            for sums in self.pairs.get(place, {}).values():
                sums.keys = cut_keys(sums.keys, cut)


def hash64_of(salt: str, name: str) -> int:
    """Return an unsigned 64-bit hash of a unit's name; independent of its key's bucket.

    >>> hash64_of("s", "key:p-17") == hash64_of("s", "key:p-17") < 2**64
    True
    """
    return mmh3.hash64(f"evidence:{salt}:{name}", 0, signed=False)[0]


_Counted = tuple[str, str | None, Measure | None]
"""The name of a guardrail, its endpoint, and what it says of the measure; None: it is a plain bound of it."""

_LEVEL = Measure(better="low")
"""As which a measure counts that a plain bound is about: values are added up, and no key is told apart."""


def _by_measure(guardrails: Mapping[str, Guardrail]) -> dict[str, list[_Counted]]:
    """Return what is counted of each measure: more than one guardrail may be about it, with other ranges."""
    found: dict[str, list[_Counted]] = {}
    for name, guardrail in guardrails.items():
        if isinstance(guardrail, (Measure, Threshold)):
            metric, endpoint = split_name(name)
            measure = guardrail if isinstance(guardrail, Measure) else None
            found.setdefault(metric, []).append((name, endpoint, measure))
    return found


def _count_alone(arm: Arm, unit: Unit) -> None:
    """Count what happened while nothing was split."""
    run = unit.run
    arm.alone = arm.alone[0] + 1, arm.alone[1] + unit.failed
    if run.measures:
        arm.note_others({name for name, _ in run.measures})
    if not unit.failed:
        _add_history(arm, run)


def _took(run: Observation) -> float:
    """Return how long a run took; without the wait for a thread, where that is known.

    Each variant has threads of its own: who has more of the traffic waits longer, however fast it is.
    """
    return run.seconds if run.own is None else run.own


def _timings(run: Observation) -> dict[str, float]:
    """Return how long a stream took: all of it, and from item to item."""
    if run.total is None:
        return {}
    if run.items is None or run.items < _TWO:
        return {"total": run.total}
    return {"total": run.total, "per_item": (run.total - run.seconds) / (run.items - 1)}


def _add_history(arm: Arm, run: Observation) -> None:
    for name, seconds in {"first_item": _took(run), **_timings(run)}.items():
        add_counts(arm.history.setdefault(name, {}), {bin_of(seconds): 1})


_TWO = 2
"""Items without which nothing is between items."""
