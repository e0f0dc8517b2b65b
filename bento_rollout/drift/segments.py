"""Tests of the whole and of its parts: a change in one region may not be seen in the sum of all."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidValue
from .drift_test import DriftTest, FeatureEvidence
from .features import Kind
from .reference import Reference
from .schema import SchemaAlarm, together

__all__ = ["LEAST_SEGMENT_ROWS", "WHOLE", "Insufficient", "SegmentedTest"]

WHOLE = ""
"""The name of the test of all rows."""

LEAST_SEGMENT_ROWS = 300
"""Rows of the reference that a segment needs for a test of its own, where nothing else is said."""


@dataclass(frozen=True, slots=True)
class Insufficient:
    """A segment without a test of its own: the reference has too few rows of it.

    Attributes:
        name: of the segment, like ``region=north``.
        rows: how many rows of the reference it has.
        needed: how many it would need.
        seen: how many rows came since.
    """

    name: str
    rows: int
    needed: int
    seen: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class SegmentedTest:
    """Tests of all rows, and of those with each value of some columns; alpha is shared by all of them evenly.

    Its surface is that of `DriftTest`; what each part says is in `tests`.

    Attributes:
        alpha: the chance that any of the tests ever alarms falsely.
        tests: by name: `WHOLE`, and segments like ``region=north``.
        insufficient: the segments that are not tested, and why.
        unseen: by column, how many rows had a value that the reference has not, or none.

    >>> draw = np.random.default_rng(0)
    >>> rows = {"region": ["north", "south"] * 1000, "age": draw.normal(size=2000)}
    >>> test = SegmentedTest.fit(rows, by=["region"])
    >>> sorted(test.tests)
    ['', 'region=north', 'region=south']
    >>> shift = np.tile([0.8, 0.0], 1000)
    >>> after = test.update(rows | {"age": draw.normal(size=2000) + shift})
    >>> [name for name, each in after.tests.items() if each.alarm]
    ['', 'region=north']
    """

    alpha: float
    tests: Mapping[str, DriftTest]
    insufficient: tuple[Insufficient, ...] = ()
    unseen: Mapping[str, int] | None = None
    schema: tuple[SchemaAlarm, ...] = ()
    refused: int = 0

    @classmethod
    def fit(
        cls,
        reference: object,
        *,
        by: Sequence[str],
        alpha: float = 0.01,
        seed: int = 0,
        min_rows: int = LEAST_SEGMENT_ROWS,
        kinds: Mapping[str, Kind] | None = None,
    ) -> SegmentedTest:
        """Return tests against data.

        Args:
            reference: as for `DriftTest.fit`.
            by: the columns whose values make segments, each by itself.
            alpha: the chance that any test ever alarms falsely.
            seed: of all that is drawn.
            min_rows: how many rows of the reference a segment needs.
            kinds: of some columns, where the data does not tell.

        Raises:
            InvalidValue: as `DriftTest.fit`, and a column of segments that is not there.
        """
        fitted = Reference.fit(reference, kinds=kinds, seed=seed, segments=by)
        return cls.of(fitted, alpha=alpha, seed=seed, min_rows=min_rows)

    @classmethod
    def of(
        cls,
        reference: Reference,
        *,
        alpha: float = 0.01,
        seed: int = 0,
        min_rows: int = LEAST_SEGMENT_ROWS,
        epoch: int = 0,
    ) -> SegmentedTest:
        """Return tests against a reference that was fitted with segments.

        Args:
            reference: what rows are compared with.
            alpha, seed, min_rows: as of `fit`.
            epoch: how often the tests began anew.
        """
        bases: dict[str, NDArray[np.int64]] = {}
        insufficient = []
        for segment in reference.segments:
            for place, label in enumerate(segment.bins.values):
                rows, name = int(segment.rows[place]), f"{segment.column}={label}"
                if rows >= min_rows:
                    bases[name] = segment.counts[place][None]
                else:
                    insufficient.append(Insufficient(name, rows, min_rows))
        whole = DriftTest.of(reference, alpha=alpha, seed=seed, epoch=epoch)
        share = whole.alpha / (1 + len(bases))
        tests = {WHOLE: replace(whole, alpha=share)}
        for name, base in bases.items():
            tests[name] = DriftTest.of(reference, alpha=share, seed=seed, epoch=epoch, base=base)
        unseen = {segment.column: 0 for segment in reference.segments}
        return cls(whole.alpha, tests, tuple(insufficient), unseen)

    @property
    def whole(self) -> DriftTest:
        """The test of all rows."""
        return self.tests[WHOLE]

    @property
    def reference(self) -> Reference:
        """What rows are compared with."""
        return self.whole.reference

    @property
    def rows(self) -> int:
        """How many rows of this epoch were looked at."""
        return self.whole.rows

    @property
    def epoch(self) -> int:
        """How often the test began anew."""
        return self.whole.epoch

    @property
    def log_evidence(self) -> float:
        """The natural log of the largest e-value of all tests, weighted: an alarm at ``ln(1/alpha)``."""
        return max(test.log_evidence for test in self.tests.values()) - math.log(len(self.tests))

    @property
    def log_peak(self) -> float:
        """The largest that `log_evidence` ever was in this epoch."""
        return max(test.log_peak for test in self.tests.values()) - math.log(len(self.tests))

    @property
    def alarm(self) -> bool:
        """Whether it is certain that something changed, in the whole or in a segment."""
        return any(test.alarm for test in self.tests.values())

    @property
    def alarmed(self) -> tuple[str, ...]:
        """The names of the tests that are certain."""
        return tuple(name for name, test in self.tests.items() if test.alarm)

    @property
    def features(self) -> tuple[FeatureEvidence, ...]:
        """The evidence of each feature over all rows, most evidence first."""
        return self.whole.features

    def acting(self, psi: float = 0.1, min_rows: int = 100) -> tuple[FeatureEvidence, ...]:
        """Return the features whose change is certain by itself and large, of the whole and of all segments.

        A feature of a segment is named ``region=north: age``.
        """
        return tuple(
            replace(found, name=f"{name}: {found.name}") if name else found
            for name, test in self.tests.items()
            for found in test.acting(psi, min_rows)
        )

    def update(self, rows: object) -> SegmentedTest:
        """Return the tests after more rows; as `DriftTest.update`."""
        encoded = self.reference.encode(rows)
        after = self.update_encoded(encoded.bins, encoded.segments)
        return replace(
            after,
            schema=together((*self.schema, *encoded.alarms)),
            refused=self.refused + encoded.refused,
        )

    def update_encoded(self, bins: NDArray[np.uint8], segments: NDArray[np.uint8]) -> SegmentedTest:
        """Return the tests after rows that `Reference.encode` made bins and segments of."""
        parts = dict(self._parts(bins, segments))
        tests = {WHOLE: self.whole.update_encoded(bins)}
        for name, test in self.tests.items():
            if name != WHOLE:
                tests[name] = test.update_encoded(bins[parts[name]]) if parts[name].any() else test
        seen = {name: int(those.sum()) for name, those in parts.items()}
        unseen = dict(self.unseen or {})
        for place, column in enumerate(self.reference.segments):
            unseen[column.column] += int((segments[:, place] >= len(column.bins.values)).sum())
        insufficient = tuple(replace(each, seen=each.seen + seen[each.name]) for each in self.insufficient)
        return replace(self, tests=tests, unseen=unseen, insufficient=insufficient)

    def restarted(self) -> SegmentedTest:
        """Return the tests at the start of a new epoch, against the same reference."""
        return self._anew({name: test.restarted() for name, test in self.tests.items()})

    def rebased(self, rows: int | None = None) -> SegmentedTest:
        """Return the tests at the start of a new epoch, against their own recent rows.

        A segment with too few of them begins anew against its old reference.

        Args:
            rows: how many of the last rows of the whole; of a segment as many as there are, at most.

        Raises:
            InvalidValue: too few recent rows, as `DriftTest.rebased`.
        """
        tests = {WHOLE: self.whole.rebased(rows)}
        for name, test in self.tests.items():
            if name != WHOLE:
                enough = len(test.recent) >= LEAST_SEGMENT_ROWS
                tests[name] = (
                    test.rebased(rows and min(rows, len(test.recent))) if enough else test.restarted()
                )
        return self._anew(tests)

    def rebased_on(self, bins: NDArray[np.uint8], segments: NDArray[np.uint8]) -> SegmentedTest:
        """Return the tests at the start of a new epoch, against other rows in the same bins.

        A segment with too few of them begins anew against its old reference.

        Args:
            bins, segments: the rows, as `Reference.encode` gives them.

        Raises:
            InvalidValue: too few rows, as `DriftTest.rebased_on`.
        """
        parts = dict(self._parts(bins, segments))
        tests = {WHOLE: self.whole.rebased_on(bins)}
        for name, test in self.tests.items():
            if name != WHOLE:
                those = bins[parts[name]]
                enough = len(those) >= LEAST_SEGMENT_ROWS
                tests[name] = test.rebased_on(those) if enough else test.restarted()
        return self._anew(tests)

    def to_bytes(self) -> bytes:
        """Return the tests as bytes that `from_bytes` reads; about 75 KiB a segment at 30 features."""
        from .segments_form import bytes_of

        return bytes_of(self)

    @classmethod
    def from_bytes(cls, data: bytes, reference: Reference) -> SegmentedTest:
        """Return stored tests.

        Raises:
            InvalidValue: bytes of another version, of another reference, or that are damaged.
        """
        from .segments_form import segmented_test_of

        return segmented_test_of(data, reference)

    def _parts(
        self, bins: NDArray[np.uint8], segments: NDArray[np.uint8]
    ) -> Iterator[tuple[str, NDArray[np.bool_]]]:
        """Yield each segment that the reference knows, with which of the rows are its."""
        columns = self.reference.segments
        if segments.shape != (len(bins), len(columns)):
            raise InvalidValue(
                f"segments are bytes, {len(bins)} rows x {len(columns)} columns; these are {segments.shape}"
            )
        for place, column in enumerate(columns):
            for code, label in enumerate(column.bins.values):
                yield f"{column.column}={label}", segments[:, place] == code

    def _anew(self, tests: Mapping[str, DriftTest]) -> SegmentedTest:
        return replace(
            self,
            tests=tests,
            insufficient=tuple(replace(each, seen=0) for each in self.insufficient),
            unseen=dict.fromkeys(self.unseen or {}, 0),
            schema=(),
            refused=0,
        )
