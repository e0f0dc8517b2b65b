"""What predictions say of the variants that were drawn for them: sums that are added in any order; pure.

A prediction is evidence only if chance decided who served it. What somebody pinned or targeted, and what was
meant for a variant that was not there, is counted apart: a candidate that is asked the harder questions by
hand would look worse than it is. When routing is sticky the unit is the key, so what one key did is kept
together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import mmh3

from .errors import InvalidValue
from .histogram import ABOVE, bin_of
from .records import Observation, Prediction, Reason

__all__ = ["MOST_KEYS", "Arm", "Evidence", "Failed", "KeySums", "Place", "hash64_of", "is_failure"]

MOST_KEYS = 100_000
"""Keys of one place, in all its arms, that are told apart; with more, only those of half the hashes are."""

_WHOLE = 1 << 64
"""Hashes are below it."""

_DRAWN = frozenset((Reason.SPLIT, Reason.NO_KEY))

Failed = Callable[[Observation], bool]
"""Whether a run was the variant's error."""


class Place(NamedTuple):
    """What sums must have in common: a revision, at which shares are constant, and an endpoint."""

    revision: int
    endpoint: str


class KeySums(NamedTuple):
    """What one key did in one arm.

    Attributes:
        calls, errors: how many; a call counts once, however many of its rows have the key.
        first_error: whether its first call failed.
        first_bin: the bin of its first call's duration (see `histogram.bin_of`).
        time: when that was, in seconds since 1970.
    """

    calls: int
    errors: int
    first_error: bool
    first_bin: int
    time: float

    def plus(self, other: KeySums) -> KeySums:
        """Return both together: what came first is the earlier one's."""
        first = min(self, other, key=lambda sums: (sums.time, sums[2:4]))
        return KeySums(self.calls + other.calls, self.errors + other.errors, *first[2:])


@dataclass(slots=True)
class Arm:
    """What one variant did in one place.

    Attributes:
        calls, errors: units that chance gave it, and those of them that failed. A unit is one call, or of a
            call with a key for each row all its rows of one key.
        seconds: how long the units took that were answered, by bin.
        keys: what each key did, by its 64-bit hash.
        keyless: of the units, those that had no key, and those of them that failed.
        apart: units that chance did not give it, by reason: these are no evidence.
    """

    calls: int = 0
    errors: int = 0
    seconds: dict[int, int] = field(default_factory=dict)
    keys: dict[int, KeySums] = field(default_factory=dict)
    keyless: tuple[int, int] = (0, 0)
    apart: dict[str, int] = field(default_factory=dict)

    def add(self, other: Arm) -> None:
        """Add what was counted elsewhere, or at another time."""
        self.calls += other.calls
        self.errors += other.errors
        for index, number in other.seconds.items():
            self.seconds[index] = self.seconds.get(index, 0) + number
        for key, sums in other.keys.items():
            self.add_key(key, sums)
        self.keyless = self.keyless[0] + other.keyless[0], self.keyless[1] + other.keyless[1]
        for reason, number in other.apart.items():
            self.apart[reason] = self.apart.get(reason, 0) + number

    def count(self, sums: KeySums) -> None:
        """Count one unit, whosever it is."""
        self.calls += sums.calls
        self.errors += sums.errors
        if not sums.first_error:
            self.seconds[sums.first_bin] = self.seconds.get(sums.first_bin, 0) + 1

    def add_key(self, key: int, sums: KeySums) -> None:
        """Note what a key did."""
        known = self.keys.get(key)
        self.keys[key] = sums if known is None else known.plus(sums)


def is_failure(run: Observation) -> bool:
    """Whether a run failed by the variant's doing: as ``is_error=`` said, or where it did not its outcome.

    By its outcome an error, a timeout and not being there count; no client's 4xx.
    """
    return run.outcome.failed if run.counts is None else run.counts


class Evidence:
    """The sums of one flush, or of several.

    Bounded: of more than `MOST_KEYS` keys in a place only those with small hashes are told apart, in all arms
    alike, so that which keys are left has nothing to do with what they did. Sums of calls are never cut.

    Args:
        salt: what keys are hashed with; empty: keys are not told apart (routing is not sticky).
        failed: whether a run was the variant's error.
        most_keys: keys of one place that are told apart.

    Attributes:
        arms: what each variant did, by place and variant.
        cuts: below what the hashes of a place lie that are told apart; a place without a cut has all.

    >>> from bento_rollout.records import Outcome
    >>> run = Observation("r", "predict", "boosted", 7, Reason.SPLIT, "id", Outcome.ERROR, 0.01)
    >>> evidence = Evidence(salt="s")
    >>> evidence.count(Prediction("r", "predict", "id", 0.0, (), (run,), Outcome.OK, 0.02, ("p-17",)))
    >>> arm = evidence.arms[Place(7, "predict")]["boosted"]
    >>> arm.calls, arm.errors, len(arm.keys)
    (1, 1, 1)
    """

    __slots__ = ("_failed", "_most", "_salt", "arms", "cuts")

    def __init__(self, *, salt: str = "", failed: Failed = is_failure, most_keys: int = MOST_KEYS) -> None:
        self._salt, self._failed, self._most = salt, failed, most_keys
        self.arms: dict[Place, dict[str, Arm]] = {}
        self.cuts: dict[Place, int] = {}

    def __bool__(self) -> bool:
        """Whether anything was counted."""
        return bool(self.arms)

    def count(self, prediction: Prediction) -> None:
        """Count what became of one prediction: for each unit, the run of whoever was drawn for it."""
        for key, run in _units(prediction, self._failed):
            place = Place(run.revision, run.endpoint)
            arm = self._arm(place, run.variant)
            if run.reason not in _DRAWN:
                arm.apart[run.reason.value] = arm.apart.get(run.reason.value, 0) + 1
                continue
            failed, index = self._failed(run), bin_of(run.seconds)
            sums = KeySums(1, int(failed), failed, index, prediction.time)
            arm.count(sums)
            if not self._salt or key is None:
                arm.keyless = arm.keyless[0] + 1, arm.keyless[1] + sums.errors
            elif (hashed := hash64_of(self._salt, key)) < self.cuts.get(place, _WHOLE):
                arm.add_key(hashed, sums)
                self._bound(place)

    def add(self, other: Evidence) -> None:
        """Add what another worker counted, or this one at another time, in any order."""
        for place, arms in other.arms.items():
            for variant, arm in arms.items():
                self._arm(place, variant).add(arm)
            self._cut(place, min(self.cuts.get(place, _WHOLE), other.cuts.get(place, _WHOLE)))
            self._bound(place)

    def take(self) -> Evidence:
        """Return what was counted since the last time, and begin anew."""
        taken = Evidence(salt=self._salt, failed=self._failed, most_keys=self._most)
        taken.arms, self.arms = self.arms, {}
        taken.cuts, self.cuts = self.cuts, {}
        return taken

    def to_plain(self) -> list[dict[str, Any]]:
        """Return it as what JSON can say, one object for each variant of each place."""
        return [
            {
                "revision": place.revision, "endpoint": place.endpoint, "variant": variant,
                "calls": arm.calls, "errors": arm.errors, "seconds": sorted(arm.seconds.items()),
                "keys": [[key, *sums] for key, sums in sorted(arm.keys.items())],
                "keyless": list(arm.keyless), "apart": arm.apart, "cut": self.cuts.get(place),
            }
            for place, arms in sorted(self.arms.items())
            for variant, arm in sorted(arms.items())
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
                place = Place(_number(row["revision"]), str(row["endpoint"]))
                evidence._arm(place, str(row["variant"])).add(_arm_of(row))
                if row["cut"] is not None:
                    evidence._cut(place, min(_number(row["cut"]), evidence.cuts.get(place, _WHOLE)))
                evidence._bound(place)
        except InvalidValue:
            raise
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise InvalidValue(f"this is no evidence that a worker wrote: {error!r}") from error
        return evidence

    def _arm(self, place: Place, variant: str) -> Arm:
        return self.arms.setdefault(place, {}).setdefault(variant, Arm())

    def _bound(self, place: Place) -> None:
        while sum(len(arm.keys) for arm in self.arms[place].values()) > self._most:
            self._cut(place, self.cuts.get(place, _WHOLE) // 2)

    def _cut(self, place: Place, cut: int) -> None:
        """Tell only keys apart whose hashes are below a cut."""
        if cut < _WHOLE:
            self.cuts[place] = cut
            for arm in self.arms[place].values():
                arm.keys = {key: sums for key, sums in arm.keys.items() if key < cut}


def hash64_of(salt: str, key: str) -> int:
    """Return an unsigned 64-bit hash of a key; independent of its bucket.

    >>> hash64_of("s", "p-17") == hash64_of("s", "p-17") < 2**64
    True
    """
    return mmh3.hash64(f"evidence:{salt}:{key}", 0, signed=False)[0]


def _units(prediction: Prediction, failed: Failed) -> Iterator[tuple[str | None, Observation]]:
    """Return what counts once: the key, and the run of whoever was drawn.

    A run after a failed one is a stand-in's, and no evidence of anybody.
    """
    runs = prediction.runs
    if not prediction.by_rows:
        if runs:
            yield (prediction.keys[0] if prediction.keys else None), runs[0]
        return
    first: dict[int, Observation] = {}
    for run in runs:
        for row in run.rows:
            first.setdefault(row, run)
    units: dict[tuple[str, str], Observation] = {}
    for row, run in sorted(first.items()):
        key = prediction.keys[row] if row < len(prediction.keys) else None
        if key is None:
            yield None, run  # a unit of its own
            continue
        known = units.get((key, run.variant))
        if known is None or (failed(run) and not failed(known)):
            units[key, run.variant] = run  # one failed row is enough
    for (key, _), run in units.items():
        yield key, run


def _arm_of(row: Mapping[str, Any]) -> Arm:
    """Return an arm of what `Evidence.to_plain` told.

    Raises:
        InvalidValue: it cannot be.
    """
    calls, errors = _of(row["calls"], row["errors"])
    seconds = {_number(index): _number(count) for index, count in row["seconds"]}
    if any(index > ABOVE for index in seconds):
        raise InvalidValue(f"a duration is in bin {max(seconds)}: the last one is {ABOVE}")
    keys = {}
    for key, key_calls, key_errors, first_error, first_bin, time in row["keys"]:
        if not 0 <= _number(key) < _WHOLE or _number(first_bin) > ABOVE or not abs(time) < _FAR:
            raise InvalidValue(f"no key can be like this: {[key, first_bin, time]}")
        keys[key] = KeySums(*_of(key_calls, key_errors), bool(first_error), first_bin, float(time))
    apart = {Reason(reason).value: _number(count) for reason, count in row["apart"].items()}
    return Arm(calls, errors, seconds, keys, _of(*row["keyless"]), apart)


_FAR = 1e12
"""Seconds since 1970 that no call comes after."""


def _of(calls: object, errors: object) -> tuple[int, int]:
    if _number(errors) > _number(calls):
        raise InvalidValue(f"{errors} errors in {calls} calls: there cannot be more errors than calls")
    return _number(calls), _number(errors)


def _number(value: object) -> int:
    if type(value) is not int or value < 0:
        raise InvalidValue(f"{value!r} is no count: it is a whole number from 0")
    return value
