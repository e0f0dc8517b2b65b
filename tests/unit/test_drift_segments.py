"""Tests of parts: alpha is shared, a change in one part is named, and a part with few rows is no silence."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from bento_rollout.drift import DriftTest, Reference, SegmentedTest
from bento_rollout.errors import InvalidValue


def rows(count: int, seed: int, shift: float = 0.0, region: str = "south") -> dict[str, Any]:
    """Rows of three regions; in one of them the age may be higher."""
    draw = np.random.default_rng(seed)
    regions = draw.choice(["north", "south", "islands"], count, p=[0.7, 0.25, 0.05])
    age = draw.normal(size=count) + shift * (regions == region)
    return {"region": regions.tolist(), "age": age, "dose": draw.normal(size=count)}


REFERENCE = Reference.fit(rows(3000, 0), segments=["region"])


def test_alpha_is_shared_by_the_whole_and_the_tested_parts() -> None:
    """A part with too few rows of the reference is not tested, and says so with its rows."""
    test = SegmentedTest.of(REFERENCE, alpha=0.03)
    assert set(test.tests) == {"", "region=north", "region=south"}
    assert {each.alpha for each in test.tests.values()} == {0.03 / 3}
    (few,) = test.insufficient
    assert (few.name, few.needed, few.seen) == ("region=islands", 300, 0)
    assert 80 < few.rows < 150
    assert sum(int(each.base[0, 0].sum()) for name, each in test.tests.items() if name) + few.rows == 2250
    assert set(SegmentedTest.of(REFERENCE, min_rows=50).tests) >= {"region=islands"}


def test_a_change_in_one_part_is_named() -> None:
    """It is found where it is, sooner than in the whole."""
    test = SegmentedTest.of(REFERENCE).update(rows(2000, 1))
    assert not test.alarm
    changed = test.update(rows(1000, 2, shift=1.0))
    assert changed.alarm
    assert "region=south" in changed.alarmed
    assert "region=north" not in changed.alarmed
    assert "region=south: age" in {each.name for each in changed.acting()}
    assert changed.log_evidence >= math.log(100)
    assert changed.tests["region=south"].log_evidence > changed.whole.log_evidence


def test_values_that_the_reference_has_not_are_counted() -> None:
    """New and missing ones belong to no part; those of a part without a test are counted with it."""
    test = SegmentedTest.of(REFERENCE).update(
        {"region": ["east", None, "islands", "north"], "age": [0.0] * 4, "dose": [0.0] * 4}
    )
    assert test.unseen == {"region": 2}
    assert test.insufficient[0].seen == 1
    assert test.tests["region=north"].rows == 1
    assert test.tests["region=south"].rows == 0
    assert test.rows == 4
    assert [(alarm.kind, alarm.feature) for alarm in test.schema] == [("category", "region")]


def test_splits_and_storing_change_nothing() -> None:
    """Split, stored and read, the evidence is the same bytes."""
    data = rows(500, 3)
    whole = SegmentedTest.of(REFERENCE).update(data)
    parts = SegmentedTest.of(REFERENCE)
    for first, stop in ((0, 1), (1, 200), (200, 500)):
        part = {name: column[first:stop] for name, column in data.items()}
        parts = SegmentedTest.from_bytes(
            parts.update(part).to_bytes(), Reference.from_json(REFERENCE.to_json())
        )
    assert parts.to_bytes() == whole.to_bytes()
    encoded = REFERENCE.encode(data)
    assert SegmentedTest.of(REFERENCE).update_encoded(encoded.bins, encoded.segments).log_evidence == (
        whole.log_evidence
    )


def test_epochs_of_parts() -> None:
    """All of them begin anew together; a part with few recent rows keeps its old reference."""
    test = SegmentedTest.of(REFERENCE).update(rows(1000, 2, shift=2.0))
    assert test.alarm
    anew = test.restarted()
    assert (anew.alarm, anew.epoch, anew.rows) == (False, 1, 0)
    rebased = test.rebased()
    assert {each.epoch for each in rebased.tests.values()} == {1}
    assert rebased.whole.base.sum() == 1000 * 3
    south = rebased.tests["region=south"]
    assert south.base is test.tests["region=south"].base
    assert rebased.tests["region=north"].base.sum() != test.tests["region=north"].base.sum()
    assert rebased.update(rows(10, 4)).rows == 10


def test_parts_of_another_reference_are_refused() -> None:
    """A reference without segments has only the whole; segments of another shape are refused."""
    plain = SegmentedTest.of(Reference.fit(rows(1000, 0)))
    assert set(plain.tests) == {""}
    assert plain.update(rows(100, 1)).rows == 100
    assert (
        plain.update(rows(100, 1)).log_evidence
        == DriftTest.of(plain.reference).update(rows(100, 1)).log_evidence
    )
    with pytest.raises(InvalidValue, match="segments are bytes, 2 rows x 1 columns"):
        SegmentedTest.of(REFERENCE).update_encoded(np.zeros((2, 3), np.uint8), np.zeros((2, 2), np.uint8))
    with pytest.raises(InvalidValue, match="segments names 'country'"):
        SegmentedTest.fit(rows(1000, 0), by=["country"])
