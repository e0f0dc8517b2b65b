"""`benchmarks.decisions`: its twins are the tests that serve, and its numbers are what they say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from scipy.stats import beta

from benchmarks.decisions.check import NEAR, check
from benchmarks.decisions.collected import Collector
from benchmarks.decisions.numbers import Delay, Rate
from benchmarks.decisions.pictures import draw
from benchmarks.decisions.rows import ROWS, SEED, Bar, Row, together


def test_the_twins_are_the_tests() -> None:
    """Look by look, with keys that come again, epochs and dropped copies, to rounding."""
    found = check(2, looks=240)
    assert {item.name: item.apart for item in found if not item.apart <= NEAR} == {}
    assert len(found) == 12


def test_the_same_seed_gives_the_same_numbers() -> None:
    """Whoever simulates a part; another part is other numbers."""
    row = next(row for row in ROWS if row.name == "agreement").quickly()
    one, again = row.part(0, SEED), row.part(0, SEED)
    assert one.keys() == again.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], again[name])
    assert not np.array_equal(one["ours"], row.part(1, SEED)["ours"])
    assert sum(row.parts()) == row.runs == len(together([one, row.part(1, SEED)])["ours"])


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_each_row_can_be_simulated(row: Row) -> None:
    """With two runs, and shortened; it has every series that has a bar."""
    short = {"most": 500, "looks": 8, "healthy": 500}
    settings = {name: short.get(name, value) for name, value in row.settings.items()}
    if row.name.startswith("delay-after"):
        settings["healthy"] = 1000
    found = replace(row, runs=2, settings=settings).part(0, SEED)
    assert {bar.series for bar in row.bars} <= found.keys()
    assert row.bars[0].series == "ours"


@pytest.mark.parametrize(("hits", "runs"), [(0, 300), (57, 10_000), (3, 40), (40, 40), (9_000, 10_000)])
def test_bounds_of_a_rate_are_those_of_clopper_and_pearson(hits: int, runs: int) -> None:
    """One-sided, 95 %."""
    rate = Rate(hits, runs)
    low = beta.ppf(0.05, hits, runs - hits + 1) if hits else 0.0
    high = beta.ppf(0.95, hits + 1, runs - hits) if hits < runs else 1.0
    assert (rate.low, rate.high) == pytest.approx((low, high), abs=1e-9)


def test_a_run_that_finds_nothing_takes_for_ever() -> None:
    """The median of others is not made better by it."""
    delay = Delay(np.array([5.0, 10.0, np.inf]))
    assert (delay.median, delay.found, delay.plain()["p90"]) == (10.0, 2, None)
    assert str(delay).endswith("90 % within never, found in 2 of 3")
    assert Bar("median", 600).met(delay) is False
    assert Bar("median", 10).met(Delay(np.array([5.0, 10.0, 15.0]))) is True


def test_few_runs_say_that_they_cannot_tell() -> None:
    """An upper bound above the bar misses it only if the lower one is above it, too."""
    assert Bar("upper", 0.01).met(Rate(3, 1000)) is True
    assert Bar("upper", 0.01).met(Rate(8, 1000)) is None
    assert Bar("upper", 0.01).met(Rate(30, 1000)) is False
    assert Bar("above", 0.05).met(Rate(30, 200)) is True
    assert Bar("includes", 0.01).met(Rate(1, 300)) is True
    assert Bar("margin", 0.05).met(Rate(30, 300)) is False
    assert Bar("none", 300).met(Rate(1, 300)) is False


def test_a_bar_of_the_first_runs_leaves_out_what_comes_later() -> None:
    """So an alarm in the three hundred and first run is none of it."""
    bar, times = Bar("none", 300), np.full(1000, np.inf)
    times[300] = 5.0
    assert str(bar.value(times)).startswith("0 of 300,")
    assert bar.met(bar.value(times)) is True
    times[299] = 5.0
    assert bar.met(bar.value(times)) is False


def test_pinned_calls_are_no_evidence() -> None:
    """0.3 % of the traffic, pinned by hand to the candidate, where it fails: counted apart."""
    collector = Collector()
    for _ in range(100):
        collector.served("boosted", 5, 0)
        collector.served("plain", 95, 0)
        collector.pinned("boosted", 1)
        collector.look()
    assert collector.apart == 100
    assert not collector.test.alarm


def test_pictures_are_small_and_whole(tmp_path: Path) -> None:
    """SVG that can be parsed; a row that was not simulated has none."""
    times = {"ours": np.array([5.0, np.inf]), "z-test": np.array([300.0, 600.0])}
    draw({"delay-0.5→2%": {**times, "threshold": times["z-test"]}}, tmp_path)
    (picture,) = tmp_path.iterdir()
    assert picture.name == "delays.svg"
    assert picture.stat().st_size < 20_000
    assert ET.parse(picture).getroot().tag.endswith("svg")
