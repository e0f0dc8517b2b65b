"""A test of all rows, or of all and of segments, looked at in one way; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .alarms import Told, changed, cut
from .drift import DriftTest, FeatureEvidence, Reference, SegmentedTest

__all__ = ["AnyTest", "Part", "begun", "facts_of", "large_of", "opened", "parts_of", "updated"]

AnyTest = DriftTest | SegmentedTest
"""A test of all rows, or of all and of segments."""

MOST_NAMED = 20
"""Segments that status names one by one; of others it tells how many there are."""


@dataclass(frozen=True, slots=True)
class Part:
    """The evidence of one feature in all rows, or in those of a segment.

    Attributes:
        segment: like ``region=north``; empty: all rows.
        feature: the evidence; rows are counted within the segment.
        log_evidence: of the feature, on the scale of all tests together: an alarm at ``ln(1/alpha)``.
    """

    segment: str
    feature: FeatureEvidence
    log_evidence: float

    @property
    def name(self) -> str:
        """The feature's name; of a segment's like ``region=north: age``."""
        return f"{self.segment}: {self.feature.name}" if self.segment else self.feature.name

    @property
    def words(self) -> str:
        """How it has changed, and since which row of a segment."""
        words = changed(self.feature.name, self.feature.direction, kind=self.feature.kind)
        if not self.segment:
            return words
        return f"in {cut(self.segment)} {words} (since about row {self.feature.since_row + 1} of it)"

    @property
    def told(self) -> Told:
        """It as alarms keep it."""
        one = self.feature
        return Told(self.name, self.log_evidence, one.direction, one.psi, one.since_row + 1)

    @property
    def plain(self) -> dict[str, Any]:
        """It as plain data, for the report."""
        one = self.feature
        return {
            "name": self.name,
            "segment": self.segment or None,
            "kind": one.kind,
            "log_evidence": self.log_evidence,
            "direction": one.direction,
            "psi": one.psi,
            "since_row": one.since_row + 1,
            "rows": one.rows,
            "labels": list(one.labels),
            "reference_histogram": list(one.reference_histogram),
            "recent_histogram": list(one.recent_histogram),
        }


def begun(reference: Reference, *, alpha: float, seed: int, epoch: int, min_rows: int) -> AnyTest:
    """Return a test before its first row: with segments where the reference has some.

    Args:
        reference: what rows are compared with.
        alpha, seed, epoch: of the test.
        min_rows: how many rows of the reference a segment needs.
    """
    if not reference.segments:
        return DriftTest.of(reference, alpha=alpha, seed=seed, epoch=epoch)
    return SegmentedTest.of(reference, alpha=alpha, seed=seed, epoch=epoch, min_rows=min_rows)


def opened(body: bytes, reference: Reference) -> AnyTest:
    """Return a test that was stored.

    Raises:
        InvalidValue: it is damaged, of another version, or of another reference.
    """
    return (
        SegmentedTest.from_bytes(body, reference)
        if reference.segments
        else DriftTest.from_bytes(body, reference)
    )


def updated(test: AnyTest, rows: NDArray[np.uint8], strata: NDArray[np.int64] | None) -> AnyTest:
    """Return a test after more rows as a ledger keeps them: bins, and segments behind them."""
    if isinstance(test, DriftTest):
        return test.update_encoded(rows, strata)
    width = len(test.reference.tested)
    return test.update_encoded(rows[:, :width], rows[:, width:])


def parts_of(test: AnyTest) -> tuple[Part, ...]:
    """Return the evidence of all features, of the whole and of each segment, the strongest first."""
    if isinstance(test, DriftTest):
        return tuple(Part("", one, one.log_evidence) for one in test.features)
    shared = float(np.log(len(test.tests)))
    found = [
        Part(name, one, one.log_evidence - shared)
        for name, each in test.tests.items()
        for one in each.features
    ]
    return tuple(sorted(found, key=lambda part: -part.log_evidence))


def large_of(test: AnyTest, psi: float, min_rows: int) -> tuple[Part, ...]:
    """Return the features whose change is certain by itself, and large."""
    names = {one.name for one in test.acting(psi, min_rows)}
    return tuple(part for part in parts_of(test) if part.name in names)


def facts_of(test: AnyTest) -> dict[str, Any]:
    """Return how the segments stand, as plain data; nothing where there are none."""
    if isinstance(test, DriftTest):
        return {}
    shared = float(np.log(len(test.tests)))
    segments = [
        {"name": name, "rows": one.rows, "log_evidence": one.log_evidence - shared, "certain": one.alarm}
        for name, one in test.tests.items()
        if name
    ]
    few = [
        {"name": one.name, "reference_rows": one.rows, "needed": one.needed, "rows": one.seen}
        for one in test.insufficient
    ]
    words = [*_insufficient(few), *_unseen(test)]
    return {"segments": segments, "insufficient": few, "unseen": dict(test.unseen or {}), "notes": words}


def _insufficient(few: Sequence[dict[str, Any]]) -> list[str]:
    words = [
        f"insufficient reference: {cut(one['name'])} has {one['reference_rows']} of {one['needed']} rows "
        f"there and is tested with the whole only ({one['rows']} rows came)"
        for one in few[:MOST_NAMED]
    ]
    more = len(few) - MOST_NAMED
    return [*words, f"and {more} more segments with too few rows"] if more > 0 else words


def _unseen(test: SegmentedTest) -> list[str]:
    return [
        f"{rows} rows have no {cut(column)}, or one that is no segment of the reference: "
        "they are tested with the whole only"
        for column, rows in (test.unseen or {}).items()
        if rows
    ]
