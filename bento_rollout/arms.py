"""`Arm`: what one variant did in one place: sums that are added in any order; pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .errors import InvalidValue
from .records import Reason
from .sums import (
    Bins,
    MeasureSums,
    Timing,
    add_counts,
    checked_bin,
    checked_bins,
    checked_count,
    checked_key,
    checked_part,
    checked_time,
    cut_keys,
)

__all__ = ["MOST_NAMES", "Arm", "KeySums"]

MOST_NAMES = 200
"""Measures that no guardrail asks for and whose names are kept; with more, the first ones by the alphabet."""


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
        seconds: how long the units took that did not fail, by bin; of streams, to the first item.
        keys: what each key did, by its 64-bit hash; a unit without a key is a key of its own.
        apart: units that chance did not give it, by reason: these are no evidence.
        measures: what guardrails count of measures, by the guardrail's name.
        timings: how long streams took that did not fail, ``total`` and ``per_item``. Where an endpoint does
            not stream there is nothing: all of it is in `seconds`.
        history: how long calls took while nothing was split (reason ``default``), by what was timed:
            ``first_item``, ``total``, ``per_item``. No evidence; thresholds of latency are made of it.
        others: names of measures that no guardrail asks for, or that were given while nothing was split; at
            most `MOST_NAMES`.
        alone: units while nothing was split, and those of them that failed: what a shadow is compared with.
    """

    calls: int = 0
    errors: int = 0
    seconds: Bins = field(default_factory=dict)
    keys: dict[int, KeySums] = field(default_factory=dict)
    apart: dict[str, int] = field(default_factory=dict)
    measures: dict[str, MeasureSums] = field(default_factory=dict)
    timings: dict[str, Timing] = field(default_factory=dict)
    history: dict[str, Bins] = field(default_factory=dict)
    others: set[str] = field(default_factory=set)
    alone: tuple[int, int] = (0, 0)

    def add(self, other: Arm) -> None:
        """Add what was counted elsewhere, or at another time."""
        self.calls += other.calls
        self.errors += other.errors
        add_counts(self.seconds, other.seconds)
        add_counts(self.apart, other.apart)
        for key, sums in other.keys.items():
            self.add_key(key, sums)
        for name, measured in other.measures.items():
            self.measures.setdefault(name, MeasureSums()).add(measured)
        for name, timing in other.timings.items():
            self.timings.setdefault(name, Timing()).add(timing)
        for name, bins in other.history.items():
            add_counts(self.history.setdefault(name, {}), bins)
        self.note_others(other.others)
        self.alone = self.alone[0] + other.alone[0], self.alone[1] + other.alone[1]

    def count(self, sums: KeySums, key: int | None) -> None:
        """Count one unit; ``key`` is the hash of whose it is, None: nobody is told apart."""
        self.calls += sums.calls
        self.errors += sums.errors
        if not sums.first_error:
            self.seconds[sums.first_bin] = self.seconds.get(sums.first_bin, 0) + 1
        if key is not None:
            self.add_key(key, sums)

    def add_key(self, key: int, sums: KeySums) -> None:
        """Note what a key did."""
        known = self.keys.get(key)
        self.keys[key] = sums if known is None else known.plus(sums)

    def note_others(self, names: set[str]) -> None:
        """Note that measures were given which no guardrail asks for."""
        if not names <= self.others:
            self.others |= names
            if len(self.others) > MOST_NAMES:
                self.others = set(sorted(self.others)[:MOST_NAMES])

    def cut(self, below: int) -> None:
        """Tell only keys apart whose hashes are below this."""
        self.keys = cut_keys(self.keys, below)
        for measured in self.measures.values():
            measured.keys = cut_keys(measured.keys, below)
        for timing in self.timings.values():
            timing.keys = cut_keys(timing.keys, below)

    def to_plain(self) -> dict[str, Any]:
        """Return it as what JSON can say."""
        return {
            "calls": self.calls, "errors": self.errors, "seconds": sorted(self.seconds.items()),
            "keys": [[key, *sums] for key, sums in sorted(self.keys.items())], "apart": self.apart,
            "measures": {name: sums.to_plain() for name, sums in sorted(self.measures.items())},
            "timings": {name: timing.to_plain() for name, timing in sorted(self.timings.items())},
            "history": {name: sorted(bins.items()) for name, bins in sorted(self.history.items())},
            "others": sorted(self.others), "alone": list(self.alone),
        }  # fmt: skip

    @classmethod
    def from_plain(cls, row: Mapping[str, Any]) -> Arm:
        """Return what `to_plain` told.

        Raises:
            InvalidValue: it cannot be.
        """
        calls, errors = checked_part(row, "calls", "errors", "arm")
        keys = {}
        for key, key_calls, key_errors, first_error, first_bin, time in row["keys"]:
            both = checked_part({"calls": key_calls, "errors": key_errors}, "calls", "errors", "keys")
            keys[checked_key(key, "keys")] = KeySums(
                *both, bool(first_error), checked_bin(first_bin, "keys"), checked_time(time, "keys")
            )
        return cls(
            calls,
            errors,
            checked_bins(row["seconds"], "seconds"),
            keys,
            {Reason(reason).value: checked_count(count, "apart") for reason, count in row["apart"].items()},
            _each(row["measures"], MeasureSums.from_plain, "measures"),
            _each(row["timings"], Timing.from_plain, "timings"),
            _each(row["history"], checked_bins, "history"),
            set(map(_text, row["others"])),
            checked_part({"calls": row["alone"][0], "errors": row["alone"][1]}, "calls", "errors", "alone"),
        )


def _each(rows: Mapping[str, Any], read: Callable[[Any, str], Any], where: str) -> dict[str, Any]:
    return {_text(name): read(row, f"{where}.{name}") for name, row in rows.items()}


def _text(name: object) -> str:
    if not isinstance(name, str):
        raise InvalidValue(f"{name!r} is no name: it is text")
    return name
