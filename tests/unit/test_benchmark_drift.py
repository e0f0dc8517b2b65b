"""`benchmarks.drift`: what it simulates is what is shipped, and its numbers are what they say."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from scipy.stats import ks_2samp, wasserstein_distance

pytest.importorskip("river", reason="river is in the dependency group `streams`")

from benchmarks.drift.check import check
from benchmarks.drift.data import Shift, losses, table
from benchmarks.drift.peers import drifted, evidently
from benchmarks.drift.pictures import draw
from benchmarks.drift.rows import ROWS, SEED, Row, Series, together


def test_lanes_are_the_tests() -> None:
    """Evidence of many streams at once is that of each one's own test, in other pages, to the bit."""
    assert [item.apart for item in check(1)] == [0.0, 0.0]


def test_labels_are_turned_round() -> None:
    """The error goes from 2.3 to 22.8 %."""
    known = losses("zero_one")
    assert known.before.mean() == pytest.approx(0.023, abs=0.0005)
    assert known.after.mean() == pytest.approx(0.228, abs=0.001)


def test_the_same_seed_gives_the_same_numbers() -> None:
    """Another part is other numbers."""
    row = replace(next(row for row in ROWS if row.name == "loss-log-1000"), streams=10, chunk=5)
    one, again, other = (row.part(number, SEED)[1] for number in (0, 0, 1))
    np.testing.assert_array_equal(one.delays, again.delays)
    assert not np.array_equal(one.delays, other.delays)
    assert len(together([("ours", one), ("ours", other)])["ours"].delays) == 10


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_each_row_can_be_simulated(row: Row) -> None:
    """Of ours and of all others, with two streams, and shortened; each bar says something of it."""
    shift = replace(row.shift, after=300, over=min(row.shift.over, 200), rows=min(row.shift.rows, 400))
    short = replace(row, shift=shift, streams=2, others=min(row.others, 1), chunk=2)
    found = together([short.part(number, SEED) for number in range(len(short.parts()))])
    lines = short.lines(found)
    assert len(lines) == len(row.bars)
    assert all(line.told for line in lines)
    assert ("ADWIN" in found) == (row.others > 0 and row.kind != "log")


@pytest.mark.parametrize("known", [1000, 1001, 3000])
@pytest.mark.parametrize("size", [0.0, 0.05, 0.1, 0.2])
def test_evidentlys_rule(known: int, size: float) -> None:
    """A column has drifted by the distance or the p-value that scipy computes."""
    rng, rows = np.random.default_rng(known), table()
    for column in range(0, 30, 7):
        values = rows[:, column]
        reference, window = values[rng.integers(0, 569, known)], values[rng.integers(0, 569, 1000)]
        window = window + size * values.std()
        if known > 1000:
            expected = wasserstein_distance(reference, window) / reference.std() >= 0.1
        else:
            expected = ks_2samp(reference, window).pvalue < 0.05
        assert drifted(np.sort(reference), np.sort(window)) == expected


def test_half_of_the_columns_make_a_data_set_drift() -> None:
    """Fifteen of thirty do, fourteen do not."""
    known = np.sort(table()[np.random.default_rng(1).integers(0, 569, 2000)], axis=0)
    for moved in (14, 15):
        window = known.copy()
        window[:, :moved] += known[:, :moved].std(axis=0)
        assert evidently(known, window) == (moved == 15)


def test_a_stream_that_finds_nothing_takes_for_ever() -> None:
    """The median of others is not made better by it."""
    series = Series(np.array([5.0, 10.0, math.inf, math.inf]), 0, 0)
    assert str(series) == "median never, 95 % within never, missed 2 of 4"
    bar = next(row for row in ROWS if row.name == "gradual").bars[0]
    assert bar.met(series) is False
    assert bar.met(Series(np.array([5.0, 10.0, 20.0, math.inf]), 0, 0)) is False
    assert bar.met(Series(np.array([5.0, 10.0]), 0, 0)) is True


def test_sizes_of_a_shift() -> None:
    """At once, or growing until it is whole."""
    assert Shift(0, 0, 2).sizes().tolist() == [0.5, 0.5]
    assert Shift(0, 2, 3).sizes().tolist() == [0.25, 0.5, 0.5]


def test_pictures_are_drawn(tmp_path: Path) -> None:
    """Of those rows that were all simulated."""
    series = {"ours": Series(np.array([50.0, 70.0]), 0, 100), "ADWIN": Series(np.array([90.0]), 0, 100)}
    draw({row.name: series for row in ROWS if not row.name.startswith("loss")}, tmp_path)
    (picture,) = tmp_path.iterdir()
    assert picture.name == "drift-data.svg"
    assert "PageHinkley" not in ET.parse(picture).getroot().itertext()
