"""The arguments of calls as rows of features, and these as the bins that a ledger keeps of them; pure.

What is kept of a call is eight bytes that name the reference and one byte for each feature of each row: in
which bin of the reference the value lies; behind these, where segments are told apart, one byte for each of
their columns: which of the reference's segments the row is of. No other value can be read from it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from .call_rows import One, Row, Table, column_of, rows_in
from .drift import Encoded, Reference, SchemaAlarm
from .errors import InvalidValue
from .excerpts import MOST_ROWS, Excerpt

__all__ = ["Encoder", "Watched", "hour_of_week", "parted", "unpacked", "width_of"]

Bins = NDArray[np.uint8]
MOST_NEW = 20
"""Features that the reference has not, and that are told by their names; these are the callers' words."""

MOST_TOLD = 100
"""New features of one call that are counted."""

_PLAIN_NAME = re.compile(r"[^\W\d][\w.]{0,63}")
_NAME = 8
_HOURS = 168


@dataclass(frozen=True, slots=True)
class Watched:
    """What came of some calls.

    Attributes:
        blobs: of each call what is kept; None: it gave no rows.
        digest: of the reference.
        width: how many bytes a row has.
        rows: rows that were encoded.
        refused: calls that gave none.
        left_out: rows that were not looked at.
        alarms: in which ways calls were built otherwise than the reference.
    """

    blobs: tuple[bytes | None, ...]
    digest: str
    width: int
    rows: int = 0
    refused: int = 0
    left_out: int = 0
    alarms: tuple[SchemaAlarm, ...] = ()


@dataclass(slots=True)
class _Tally:
    """Counts while some calls are looked at."""

    refused: int = 0
    left_out: int = 0
    alarms: dict[tuple[str, str], SchemaAlarm] = field(default_factory=dict)

    def add(self, alarm: SchemaAlarm) -> None:
        key = alarm.kind, alarm.feature
        before = self.alarms[key].count if key in self.alarms else 0
        self.alarms[key] = SchemaAlarm(alarm.kind, alarm.feature, before + alarm.count, alarm.detail)


class Encoder:
    """Encodes the arguments of calls by a reference; many small ones together, which costs far less.

    Args:
        reference: what they are compared with.

    >>> reference = Reference.fit({"age": np.arange(1000.0)})
    >>> encoder = Encoder(reference)
    >>> watched = encoder.encode([Excerpt({"age": 3.0}), Excerpt({"name": "Ann"})])
    >>> [blob and len(blob) for blob in watched.blobs], watched.rows, watched.refused
    ([9, None], 1, 1)
    """

    def __init__(self, reference: Reference) -> None:
        self.reference = reference
        self.width = width_of(reference)
        self._digest = bytes.fromhex(reference.digest)
        self._names = reference.columns
        self._known = frozenset(reference.columns)
        self._vectors = frozenset(reference.embeddings)
        self._needed = {one.column for one in reference.tested} | {one.column for one in reference.segments}
        self._new: set[str] = set()

    @property
    def digest(self) -> str:
        """The reference's, as it stands in the ledger."""
        return self._digest.hex()

    def encode(self, calls: Sequence[Excerpt]) -> Watched:
        """Return what is kept of each call; never raises for what is in them."""
        tally = _Tally()
        kept: list[bytes | None] = [None] * len(calls)
        single: list[tuple[int, Row]] = []
        rows = 0
        for number, call in enumerate(calls):
            tally.left_out += call.left_out
            try:
                table = rows_in(call.arguments, self._names, self._vectors)
                if isinstance(table, One):
                    single.append((number, table.fields))
                    continue
                found, over = self._many(table, tally)
            except Exception:  # noqa: BLE001 - whatever is in one call costs no other
                self._refuse(tally)
                continue
            tally.left_out += over
            rows += len(found)
            kept[number] = self._packed(found)
        rows += self._singles(single, kept, tally)
        alarms = tuple(tally.alarms.values())
        who = self.digest, self.width
        return Watched(tuple(kept), *who, rows, tally.refused, tally.left_out, alarms)

    def refused(self, calls: Sequence[Excerpt]) -> Watched:
        """Return what came of calls that cannot be encoded at all."""
        tally = _Tally()
        for _ in calls:
            self._refuse(tally)
        alarms = tuple(tally.alarms.values())
        return Watched((None,) * len(calls), self.digest, self.width, refused=tally.refused, alarms=alarms)

    def _many(self, table: Table, tally: _Tally) -> tuple[Bins, int]:
        over = 0
        if isinstance(table, Mapping):
            length = max(len(column) for column in table.values())
            over, table = max(0, length - MOST_ROWS), {n: column[:MOST_ROWS] for n, column in table.items()}
            table = {name: column_of(column) for name, column in table.items()}
        encoded = self.reference.encode(table)
        if not len(encoded.bins):
            raise InvalidValue("no rows")
        for alarm in encoded.alarms:
            self._tell(alarm, tally)
        return _beside(encoded), over

    def _singles(self, calls: Sequence[tuple[int, Row]], kept: list[bytes | None], tally: _Tally) -> int:
        """Encode the calls of one row together; return how many there were."""
        fit: list[tuple[int, Row]] = []
        for number, row in calls:
            strangers = row.keys() - self._known
            if len(strangers) == len(row):
                self._refuse(tally)
                continue
            for name in islice(strangers, MOST_TOLD):
                alarm = SchemaAlarm("new", name, 1, "the reference has no such feature")
                self._tell(alarm, tally)
            for name in self._needed - row.keys():
                self._tell(SchemaAlarm("lost", name, 1, "the rows have no such feature"), tally)
            fit.append((number, row))
        for start in range(0, len(fit), MOST_ROWS):
            self._together(fit[start : start + MOST_ROWS], kept, tally)
        return sum(kept[number] is not None for number, _ in fit)

    def _together(self, calls: Sequence[tuple[int, Row]], kept: list[bytes | None], tally: _Tally) -> None:
        """Encode rows as one table; where that fails each by itself, so that one costs no other."""
        try:
            table = {name: column_of([row.get(name) for _, row in calls]) for name in self._names}
            encoded = self.reference.encode(table)
        except Exception:  # noqa: BLE001 - see above
            if len(calls) > 1:
                for one in calls:
                    self._together([one], kept, tally)
            else:
                self._refuse(tally)
            return
        for (number, _), row in zip(calls, _beside(encoded), strict=True):
            kept[number] = self._packed(row)
        for alarm in encoded.alarms:
            self._tell(alarm, tally)

    def _refuse(self, tally: _Tally) -> None:
        tally.refused += 1
        tally.add(SchemaAlarm("type", "", 1, "calls that give no rows with the reference's features"))

    def _tell(self, alarm: SchemaAlarm, tally: _Tally) -> None:
        """Count an alarm; the names of new features are few and plain, or not told."""
        if alarm.kind == "new" and alarm.feature not in self._new:
            if len(self._new) < MOST_NEW and _PLAIN_NAME.fullmatch(alarm.feature):
                self._new.add(alarm.feature)
            else:
                alarm = SchemaAlarm("new", "…", alarm.count, alarm.detail)
        tally.add(alarm)

    def _packed(self, rows: Bins) -> bytes:
        return self._digest + np.ascontiguousarray(rows).tobytes()


def width_of(reference: Reference) -> int:
    """Return how many bytes are kept of a row: one for each tested feature, and each column of segments."""
    return len(reference.tested) + len(reference.segments)


def _beside(encoded: Encoded) -> Bins:
    """Return rows with their segments behind their bins."""
    if not encoded.segments.shape[1]:
        return encoded.bins
    return np.concatenate((encoded.bins, encoded.segments), axis=1)


def unpacked(blob: bytes, width: int) -> tuple[str, Bins]:
    """Return the digest of the reference and the rows (rows x bytes) of what a ledger keeps of a call.

    Args:
        blob: what `Encoder.encode` returned.
        width: how many bytes a row has, bins and segments behind them, as `width_of` its reference says.

    Raises:
        InvalidValue: it is of another width, or damaged.
    """
    if len(blob) <= _NAME or width < 1 or (len(blob) - _NAME) % width:
        raise InvalidValue(f"{len(blob)} bytes are no rows of {width} features")
    return blob[:_NAME].hex(), np.frombuffer(blob, dtype=np.uint8, offset=_NAME).reshape(-1, width)


def parted(blob: bytes | None, width: int, count: int) -> tuple[bytes | None, ...]:
    """Return what is kept of each of a request's rows; of those that were not looked at nothing.

    >>> parted(b"12345678abcd", 2, 3)
    (b'12345678ab', b'12345678cd', None)
    """
    if blob is None:
        return (None,) * count
    places = range(_NAME, len(blob), width)
    rows = [blob[:_NAME] + blob[place : place + width] for place in places][:count]
    return (*rows, *(None,) * (count - len(rows)))


def hour_of_week(time: float) -> int:
    """Return which hour of its week a moment lies in, from Monday 0 o'clock in UTC.

    >>> hour_of_week(0.0)  # it was a Thursday
    72
    """
    return int(time // 3600 + 72) % _HOURS
