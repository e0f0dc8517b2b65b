"""The stored form of tests of the whole and of segments."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np

from .drift_test import DriftTest
from .frames import opened, packed
from .reference import Reference
from .schema import SchemaAlarm
from .segments import Insufficient, SegmentedTest

__all__ = ["bytes_of", "segmented_test_of"]

_KIND = "test of segments"


def bytes_of(test: SegmentedTest) -> bytes:
    """Return tests as bytes that `segmented_test_of` reads."""
    fields = {
        "alpha": test.alpha,
        "tests": list(test.tests),
        "insufficient": [asdict(each) for each in test.insufficient],
        "unseen": dict(test.unseen or {}),
        "schema": [asdict(alarm) for alarm in test.schema],
        "refused": test.refused,
    }
    parts = [np.frombuffer(each.to_bytes(), dtype=np.uint8) for each in test.tests.values()]
    return packed(_KIND, fields, {str(place): part for place, part in enumerate(parts)})


def segmented_test_of(data: bytes, reference: Reference) -> SegmentedTest:
    """Return stored tests.

    Raises:
        InvalidValue: another version, another reference, or damaged bytes.
    """
    fields, arrays = opened(data, _KIND)
    return SegmentedTest(
        alpha=fields["alpha"],
        tests={
            name: DriftTest.from_bytes(arrays[str(place)].tobytes(), reference)
            for place, name in enumerate(fields["tests"])
        },
        insufficient=tuple(Insufficient(**each) for each in fields["insufficient"]),
        unseen=fields["unseen"],
        schema=tuple(SchemaAlarm(**alarm) for alarm in fields["schema"]),
        refused=fields["refused"],
    )
