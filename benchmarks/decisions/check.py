"""Are the twins the tests? Both are fed the same blocks, and compared after each.

Blocks have the assigned share where the service gives it (events, the sample ratio), and none elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from bento_rollout.analysis import (
    Block,
    EventTest,
    FloorTest,
    HarmTest,
    HealthTest,
    KeyBlock,
    KeyedTest,
    LatencyBlock,
    LatencyTest,
    SampleRatioTest,
)
from bento_rollout.histogram import LEAST, STEP, bin_of

from .collected import Collector
from .sticky import Keyed, KeyEvents, KeyFloor, KeyLatency, KeyRates, Population, Requests
from .streams import SHARE
from .twins import Array, Blocks, Events, Floor, Harm, Health, Latency, SampleRatio, thresholds

__all__ = ["Checked", "check"]

NEAR = 1e-9

SHARES = (0.05, 0.25)
RATES = ((0.01, 0.02), (0.1, 0.1))
"""Of the champion and the candidate; the blocks go from one to the next, and between the shares."""


@dataclass(frozen=True, slots=True)
class Checked:
    """How far a twin was from the class at most, in ``ln E``, relative to its size where that is above 1."""

    name: str
    runs: int
    looks: int
    apart: float

    @property
    def met(self) -> bool:
        """Whether that is rounding."""
        return self.apart <= NEAR

    def __str__(self) -> str:
        state = "met" if self.met else "MISSED"
        size = f"{self.runs} runs of {self.looks} looks"
        return f"{self.name}: {size}, apart {self.apart:.1e}, bar {NEAR:.0e}: {state}"

    def plain(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "name": self.name, "runs": self.runs, "looks": self.looks, "apart": self.apart, "met": self.met,
        }  # fmt: skip


def check(runs: int, looks: int = 400) -> list[Checked]:
    """Hold each twin against its class, and what is counted of pinned calls against the collector."""
    found = [
        _streams("check HarmTest", Harm(runs), [HarmTest()] * runs, looks),
        _streams("check EventTest", Events(runs, by_count=False), [EventTest()] * runs, looks),
        _streams("check FloorTest", Floor(runs, 0.02), [FloorTest(0.02)] * runs, looks),
        _streams(
            "check FloorTest, good", Floor(runs, 0.02, good=True), [FloorTest(0.02, good=True)] * runs, looks
        ),
        _streams("check HealthTest", Health(runs), [HealthTest()] * runs, looks),
        _streams("check SampleRatioTest", SampleRatio(runs), [SampleRatioTest()] * runs, looks),
        _latency(runs, max(1, looks // 4)),
        _collected(max(1, runs // 10), looks),
    ]
    kinds: dict[str, tuple[Callable[[Population], Keyed], Any]] = {
        "EventTest": (KeyEvents, EventTest()),
        "HarmTest": (KeyRates, HarmTest()),
        "FloorTest": (lambda population: KeyFloor(population, 0.05), FloorTest(0.05)),
    }
    for name, (twin, start) in kinds.items():
        found.append(_keyed(f"check KeyedTest, {name}", twin, [start] * runs, max(1, looks // 2)))
    return [*found, _keyed_latency(runs, max(1, looks // 8))]


def _apart(twin: Array, classes: list[float]) -> float:
    """How far the evidence of runs is apart."""
    plain = np.array(classes)
    return float((np.abs(twin - plain) / np.maximum(1.0, np.abs(plain))).max())


def _blocks(runs: int, looks: int) -> Iterator[Blocks]:
    random = np.random.default_rng(3)
    for look in range(looks):
        part = SHARES[2 * look // looks]
        champion, candidate = RATES[2 * look // looks]
        n = random.choice((0, 2, 100), runs)  # so that often one arm has nothing, or both
        n_c = random.binomial(n, part)
        bad_c, bad_s = random.binomial(n_c, candidate), random.binomial(n - n_c, champion)
        sums = bad_c, n_c - bad_c, bad_s, n - n_c - bad_s
        yield Blocks.of(sums, part)


def _streams(name: str, twin: Any, tests: list[Any], looks: int) -> Checked:
    apart = 0.0
    for blocks in _blocks(len(tests), looks):
        twin.update(blocks)
        for run in range(len(tests)):
            bad_c, bad_s = float(blocks.bad_c[run]), float(blocks.bad_s[run])
            n_c, n_s = int(blocks.calls[run]), int(blocks.champion_calls[run])
            test = tests[run]
            if isinstance(test, FloorTest):
                tests[run] = test.update(n_c, bad_c)
            else:
                share = blocks.share if isinstance(test, EventTest | SampleRatioTest) else None
                tests[run] = test.update(Block(n_c, bad_c, n_s, bad_s, share))
        apart = max(
            apart, _apart(np.minimum(twin.log_evidence, 200), [min(t.log_evidence, 200) for t in tests])
        )
    return Checked(name, len(tests), looks, apart)


def _histograms(calls: Array) -> list[list[int]]:
    """Return durations of each run as counts by bin."""
    found = []
    for row in calls:
        counts = [0] * 1049
        for seconds in row:
            counts[bin_of(float(seconds))] += 1
        found.append(counts)
    return found


def _latency(runs: int, looks: int) -> Checked:
    """Durations themselves go to the classes, and how many are slower to the twin."""
    random = np.random.default_rng(4)
    history = 0.05 * np.exp(0.5 * random.standard_normal((runs, 2000)))
    own, slower = thresholds(history)
    twin, tests = Latency(slower, 2000), [LatencyTest(counts) for counts in _histograms(history)]
    apart = 0.0
    for look in range(looks):
        n_c, n_s = ((5, 95), (0, 20), (5, 0), (40, 60))[look % 4]
        arms = [
            0.05 * np.exp(0.5 * random.standard_normal((runs, n)) + shift)
            for n, shift in ((n_c, 0.1), (n_s, 0))
        ]
        bins = [1 + np.floor(np.log(arm / LEAST) / np.log(STEP)) for arm in arms]
        bad = [np.sum(arm[:, :, None] > own[:, None, :], axis=1, dtype=float) for arm in bins]
        twin.update(Blocks(bad[0], n_c - bad[0], bad[1], n_s - bad[1], SHARE))
        blocks = zip(*(_histograms(arm) for arm in arms), strict=True)
        tests = [
            test.update(LatencyBlock(slow, quick)) for test, (slow, quick) in zip(tests, blocks, strict=True)
        ]
        apart = max(apart, _apart(twin.log_evidence, [test.log_evidence for test in tests]))
    return Checked("check LatencyTest", runs, looks, apart)


def _key_block(requests: Requests, run: int, values: Array, *, events: bool) -> KeyBlock:
    """Return a run's requests by key."""
    arms: tuple[dict[int, float], dict[int, float]] = ({}, {})
    calls = 0
    for key, candidate, value in zip(requests.keys[run], requests.candidate[run], values[run], strict=True):
        calls += int(candidate)
        if value or not events:
            arms[0 if candidate else 1][int(key)] = float(value)  # the last one, as the twin has it
    return KeyBlock(arms[0], arms[1], requests.share if events else None, calls=calls)


def _keyed(name: str, twin_of: Callable[[Population], Keyed], starts: list[Any], looks: int) -> Checked:
    """Requests that fail by themselves, of few keys, so that keys come again in each epoch."""
    runs, random, apart = len(starts), np.random.default_rng(5), 0.0
    population = Population(random, runs, keys=150, share=0.3)
    twin, tests = twin_of(population), [KeyedTest(start) for start in starts]
    for _ in range(looks):
        keys = population.draw(60)
        bad = np.asarray(random.random(keys.shape) < 0.1).astype(np.int64)
        requests = Requests(keys, np.take_along_axis(population.candidate, keys, axis=1), bad, 0.3)
        twin.update(requests)
        for run in range(runs):
            tests[run] = tests[run].update(_key_block(requests, run, bad, events=twin.events))
        apart = max(apart, _apart(twin.log_evidence, [test.log_evidence for test in tests]))
    return Checked(name, runs, looks, apart)


def _keyed_latency(runs: int, looks: int) -> Checked:
    """Durations by key."""
    random, apart = np.random.default_rng(6), 0.0
    population = Population(random, runs, keys=150, share=0.3)
    history = 0.05 * np.exp(0.5 * random.standard_normal((runs, 2000)))
    own, slower = thresholds(history)
    twin = KeyLatency(population, slower, 2000)
    tests = [KeyedTest(LatencyTest(counts)) for counts in _histograms(history)]
    for _ in range(looks):
        keys = population.draw(60)
        seconds = 0.05 * np.exp(0.5 * random.standard_normal(keys.shape))
        bins = 1 + np.floor(np.log(seconds / LEAST) / np.log(STEP)).astype(int)
        level = (bins[:, :, None] > own[:, None, :]).sum(axis=2)
        requests = Requests(keys, np.take_along_axis(population.candidate, keys, axis=1), level, 0.3)
        twin.update(requests)
        for run in range(runs):
            tests[run] = tests[run].update(_key_block(requests, run, bins, events=False))
        apart = max(apart, _apart(twin.log_evidence, [test.log_evidence for test in tests]))
    return Checked("check KeyedTest, LatencyTest", runs, looks, apart)


def _collected(runs: int, looks: int) -> Checked:
    """Predictions go through the collector that serves: pinned ones are apart, and the rest is the twin's."""
    random, apart = np.random.default_rng(7), 0.0
    twin, collectors = Harm(runs), [Collector() for _ in range(runs)]
    for _ in range(looks // 10):
        bad = random.binomial(5, 0.05, runs).astype(float), random.binomial(95, 0.05, runs).astype(float)
        pinned = random.poisson(0.3, runs)
        twin.update(Blocks(bad[0], 5 - bad[0], bad[1], 95 - bad[1], SHARE))
        for run, collector in enumerate(collectors):
            collector.served("boosted", 5, int(bad[0][run]))
            collector.served("plain", 95, int(bad[1][run]))
            collector.pinned("boosted", int(pinned[run]))
            collector.look()
        apart = max(
            apart, _apart(twin.log_evidence, [collector.test.log_evidence for collector in collectors])
        )
    return Checked("check Evidence, pinned calls apart", runs, looks // 10, apart)
