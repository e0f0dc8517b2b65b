"""What is counted of measures, of durations and of shadows: sums that are added in any order; pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from .errors import InvalidValue
from .histogram import ABOVE, bin_of

__all__ = [
    "GRAIN",
    "MISSING",
    "WHOLE",
    "Bins",
    "MeasureSums",
    "PairSums",
    "Timing",
    "add_counts",
    "checked_bin",
    "checked_bins",
    "checked_count",
    "checked_key",
    "checked_part",
    "checked_time",
    "cut_keys",
]

WHOLE = 1 << 64
"""Hashes are below it."""

GRAIN = 1 << 20
"""Into how many parts 1 is cut where numbers are added: their sums are exact, so no order changes them."""

_FAR = 1e12
"""Seconds since 1970 that no call comes after."""

MISSING = " missing"
"""Put after the name of a label: whether there is none when its prediction matures."""

Bins = dict[int, int]
"""How many fell into each bin of `histogram.bin_of`."""

T = TypeVar("T", bound=tuple[Any, ...])


@dataclass(slots=True)
class MeasureSums:
    """What a guardrail of a measure counts of it.

    Attributes:
        calls: units that gave a value.
        bad: the bad parts of their values, added up: each from 0 to 1, where the range begins and ends. Of a
            counter, which has no range, the events. Rounded to a millionth, so that sums are exact.
        clipped: units with a value outside the range, or one that is no number.
        keys: by its hash a key's first unit that gave a value: the bad part, and when that was, in seconds
            since 1970. Of a counter only the keys that had events, with 1.0 and the time of the first one.
    """

    calls: int = 0
    bad: float = 0.0
    clipped: int = 0
    keys: dict[int, tuple[float, float]] = field(default_factory=dict)

    def add(self, other: MeasureSums) -> None:
        """Add what was counted elsewhere, or at another time."""
        self.calls += other.calls
        self.bad += other.bad
        self.clipped += other.clipped
        _add_firsts(self.keys, other.keys)

    def count(self, bad: float, time: float, key: int | None, *, clipped: bool, counter: bool) -> None:
        """Count what one unit gave."""
        bad = round(bad * GRAIN) / GRAIN
        self.calls += 1
        self.bad += bad
        self.clipped += clipped
        if key is not None and (bad or not counter):
            _add_first(self.keys, key, (1.0 if counter else bad, time))

    def to_plain(self) -> dict[str, Any]:
        """Return it as what JSON can say."""
        return {"calls": self.calls, "bad": self.bad, "clipped": self.clipped, "keys": _plain(self.keys)}

    @classmethod
    def from_plain(cls, row: Mapping[str, Any], where: str) -> MeasureSums:
        """Return what `to_plain` told.

        Raises:
            InvalidValue: it cannot be.
        """
        calls, clipped = checked_part(row, "calls", "clipped", where)
        keys = {
            checked_key(key, where): (_bad_of(first, 1.0, f"{where}.keys"), checked_time(time, where))
            for key, first, time in row["keys"]
        }
        return cls(calls, _bad_of(row["bad"], math.inf, f"{where}.bad"), clipped, keys)


@dataclass(slots=True)
class Timing:
    """How long something took, other than to the first item.

    Attributes:
        seconds: units by bin.
        keys: by its hash a key's first unit: the bin, and when that was, in seconds since 1970.
    """

    seconds: Bins = field(default_factory=dict)
    keys: dict[int, tuple[int, float]] = field(default_factory=dict)

    def add(self, other: Timing) -> None:
        """Add what was counted elsewhere, or at another time."""
        add_counts(self.seconds, other.seconds)
        _add_firsts(self.keys, other.keys)

    def count(self, index: int, time: float, key: int | None) -> None:
        """Count one unit by the bin that it falls into."""
        self.seconds[index] = self.seconds.get(index, 0) + 1
        if key is not None:
            _add_first(self.keys, key, (index, time))

    def to_plain(self) -> dict[str, Any]:
        """Return it as what JSON can say."""
        return {"seconds": sorted(self.seconds.items()), "keys": _plain(self.keys)}

    @classmethod
    def from_plain(cls, row: Mapping[str, Any], where: str) -> Timing:
        """Return what `to_plain` told.

        Raises:
            InvalidValue: it cannot be.
        """
        keys = {
            checked_key(key, where): (checked_bin(index, where), checked_time(time, where))
            for key, index, time in row["keys"]
        }
        return cls(checked_bins(row["seconds"], f"{where}.seconds"), keys)


@dataclass(slots=True)
class PairSums:
    """What one shadow made of calls, beside what the champion made of them.

    Whatever does not agree has disagreed. That holds for answers that could not be compared, for a comparison
    that is left out is one that something went wrong with, as a rule in the candidate's answer: without them
    a candidate would be judged by its good answers only. And it holds for calls at which the shadow failed,
    where the caller would have got no answer like the champion's. What the comparison itself cannot do (an
    answer too deep, a comparator that raises) the champion's own shadow cannot do either: the noise floor
    allows for it.

    Attributes:
        compared: units that the shadow ran for and that were compared, or failed. A unit is one call, or of a
            call with a key for each row all compared rows of one key.
        disagreed: those that did not agree, one row being enough; those that failed are among them.
        failed: those that the shadow raised at.
        seconds, champion_seconds: how long both took, of those that did not fail, by bin.
        keys: by its hash a key's first unit: whether it disagreed, whether it failed, and when it was
            compared, in seconds since 1970.
    """

    compared: int = 0
    disagreed: int = 0
    failed: int = 0
    seconds: Bins = field(default_factory=dict)
    champion_seconds: Bins = field(default_factory=dict)
    keys: dict[int, tuple[bool, bool, float]] = field(default_factory=dict)

    def add(self, other: PairSums) -> None:
        """Add what was counted elsewhere, or at another time."""
        self.compared += other.compared
        self.disagreed += other.disagreed
        self.failed += other.failed
        add_counts(self.seconds, other.seconds)
        add_counts(self.champion_seconds, other.champion_seconds)
        _add_firsts(self.keys, other.keys)

    def count(
        self, took: tuple[float, float] | None, time: float, key: int | None, *, agreed: bool, failed: bool
    ) -> None:
        """Count one unit.

        Args:
            took: how long the shadow and the champion took; None: that is not known.
            time: when it was compared, in seconds since 1970.
            key: the hash of whose it is; None: nobody is told apart.
            agreed: whether the answers agree.
            failed: whether there is no answer of the shadow's.
        """
        disagreed = failed or not agreed
        self.compared += 1
        self.disagreed += disagreed
        self.failed += failed
        if took is not None:
            add_counts(self.seconds, {bin_of(took[0]): 1})
            add_counts(self.champion_seconds, {bin_of(took[1]): 1})
        if key is not None:
            _add_first(self.keys, key, (disagreed, failed, time))

    def to_plain(self) -> dict[str, Any]:
        """Return it as what JSON can say."""
        return {
            "compared": self.compared, "disagreed": self.disagreed, "failed": self.failed,
            "seconds": sorted(self.seconds.items()),
            "champion_seconds": sorted(self.champion_seconds.items()),
            "keys": _plain(self.keys),
        }  # fmt: skip

    @classmethod
    def from_plain(cls, row: Mapping[str, Any], where: str) -> PairSums:
        """Return what `to_plain` told.

        Raises:
            InvalidValue: it cannot be.
        """
        compared, disagreed = checked_part(row, "compared", "disagreed", where)
        _, failed = checked_part(row, "disagreed", "failed", where)
        keys = {}
        for key, bad, broken, time in row["keys"]:
            if broken and not bad:
                raise InvalidValue(f"{where}.keys: one failed and agreed; what fails does not agree")
            keys[checked_key(key, where)] = bool(bad), bool(broken), checked_time(time, where)
        ours, theirs = (
            checked_bins(row[name], f"{where}.{name}") for name in ("seconds", "champion_seconds")
        )
        return cls(compared, disagreed, failed, ours, theirs, keys)


# -- adding ----------------------------------------------------------------------------------------------


def add_counts(into: dict[Any, int], counts: Mapping[Any, int]) -> None:
    """Add counts by name, or by bin."""
    for name, number in counts.items():
        into[name] = into.get(name, 0) + number


def _add_first(into: dict[int, T], key: int, told: T) -> None:
    """Note what a key did at a time, which is told last, unless it is known to have done something before."""
    known = into.get(key)
    if known is None or (told[-1], told) < (known[-1], known):
        into[key] = told


def _add_firsts(into: dict[int, T], keys: Mapping[int, T]) -> None:
    for key, told in keys.items():
        _add_first(into, key, told)


def cut_keys(keys: dict[int, Any], below: int) -> dict[int, Any]:
    """Return what is told of the keys whose hashes are below something."""
    return {key: told for key, told in keys.items() if key < below}


# -- the plain form --------------------------------------------------------------------------------------


def _plain(keys: Mapping[int, tuple[Any, ...]]) -> list[list[Any]]:
    return [[key, *told] for key, told in sorted(keys.items())]


def checked_count(value: object, where: str) -> int:
    """Return a count.

    Raises:
        InvalidValue: it is none; ``where`` says of what.
    """
    if type(value) is not int or value < 0:
        raise InvalidValue(f"{where}: {value!r} is no count: it is a whole number from 0")
    return value


def checked_part(row: Mapping[str, Any], whole: str, part: str, where: str) -> tuple[int, int]:
    """Return two counts of a row of which one is of a part of the other.

    Raises:
        InvalidValue: it is more than the whole.
    """
    one, other = (checked_count(row[name], f"{where}.{name}") for name in (whole, part))
    if other > one:
        raise InvalidValue(
            f"{where}: {other} {part} in {one} {whole}: there cannot be more {part} than {whole}"
        )
    return one, other


def _bad_of(value: object, most: float, where: str) -> float:
    if type(value) not in (int, float) or not 0 <= value <= most or value == math.inf:  # type: ignore[operator]
        raise InvalidValue(f"{where}: {value!r} is no sum of bad parts: it is a number from 0, and finite")
    return float(value)  # type: ignore[arg-type]


def checked_bins(rows: Any, where: str) -> Bins:
    """Return counts by bin.

    Raises:
        InvalidValue: it is none; ``where`` says of what.
    """
    return {checked_bin(index, where): checked_count(count, where) for index, count in rows}


def checked_bin(index: object, where: str) -> int:
    """Return a bin of durations.

    Raises:
        InvalidValue: it is none; ``where`` says of what.
    """
    if checked_count(index, where) > ABOVE:
        raise InvalidValue(f"{where}: a duration is in bin {index}: the last one is {ABOVE}")
    return index  # type: ignore[return-value]


def checked_key(key: object, where: str) -> int:
    """Return the hash of a key.

    Raises:
        InvalidValue: it is none; ``where`` says of what.
    """
    if checked_count(key, where) >= WHOLE:
        raise InvalidValue(f"{where}: no key can be like this: {key} has more than 64 bits")
    return key  # type: ignore[return-value]


def checked_time(time: object, where: str) -> float:
    """Return a time in seconds since 1970.

    Raises:
        InvalidValue: it is none; ``where`` says of what.
    """
    if type(time) not in (int, float) or not abs(time) < _FAR:  # type: ignore[arg-type]
        raise InvalidValue(f"{where}: no key can be like this: it came at {time!r}")
    return float(time)  # type: ignore[arg-type]
