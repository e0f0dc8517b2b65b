"""Simulated rollouts in which calls do not depend on each other, many runs at once."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np

from bento_rollout.histogram import LEAST, STEP

from .peers import Peeked, Threshold
from .twins import (
    Array,
    Blocks,
    Events,
    Floor,
    Harm,
    HarmPinned,
    Health,
    Latency,
    SampleRatio,
    Twin,
    thresholds,
)

__all__ = ["Found", "agreement", "health", "latency", "pinned", "ramp", "rates", "ratio", "watch"]

Found = dict[str, Array]
"""For each test, requests of the candidate until its alarm, by run; infinite: none."""

SHARE = 0.05
LOOK = 5
"""Requests of the candidate from one look to the next; of the champion there are as many as chance has it."""

BATCH = 20
"""Looks of long health that are simulated as one block: nothing is waited for."""

RAMP = (
    (0.05, 0.01, 400, True),
    (0.05, 0.1, 100, False),
    (0.25, 0.1, 100, True),
    (0.5, 0.1, 100, True),
    (0.5, 0.01, 300, False),
)
"""Share, rate of both arms, blocks of a hundred requests, and whether a step begins."""

TYPICAL, SPREAD = 0.05, 0.5
"""Latencies are log-normal: seconds, and the sd of the log."""


def watch(tests: Mapping[str, Twin], blocks: Iterator[Blocks], runs: int) -> Found:
    """Look at each test after each block, and return when they alarmed."""
    seen = np.zeros(runs)
    found = {name: np.full(runs, np.inf) for name in tests}
    for block in blocks:
        seen += block.calls
        for name, test in tests.items():
            test.update(block)
            new = test.alarms & np.isinf(found[name])
            found[name][new] = seen[new]
        if all(np.isfinite(times).all() for times in found.values()):
            break
    return found


def _champion(rng: np.random.Generator, runs: int, looks: int = 1) -> Array:
    """Return how many requests the champion has had when the candidate has the last one of a block."""
    return rng.negative_binomial(LOOK * looks, SHARE, runs)


def _block(rng: np.random.Generator, runs: int, candidate: float, champion: float, looks: int = 1) -> Blocks:
    calls = _champion(rng, runs, looks)
    bad_c, bad_s = rng.binomial(LOOK * looks, candidate, runs), rng.binomial(calls, champion)
    return Blocks.of((bad_c, LOOK * looks - bad_c, bad_s, calls - bad_s), SHARE)


def rates(
    rng: np.random.Generator,
    runs: int,
    *,
    champion: float,
    candidate: float,
    most: int,
    healthy: int = 0,
    events: bool = False,
) -> Found:
    """Errors at two rates, for so many requests of the candidate at most, perhaps after long health.

    The threshold's limit is twice the champion's rate. Runs that alarmed while all was well are left out.
    """
    phase = 5.0 * rng.integers(0, 200, runs) if healthy else 0.0
    ours: dict[str, Twin] = {"ours": Harm(runs, calls=phase)}
    if events:
        ours["events"] = Events(runs)
    others = {"z-test": Peeked(runs), "threshold": Threshold(runs, 2 * champion)}
    early = np.zeros(runs, dtype=bool)
    for _ in range(healthy // (LOOK * BATCH)):
        block = _block(rng, runs, champion, champion, BATCH)
        for test in ours.values():
            test.update(block)
            early |= test.alarms
    tests = ours if healthy else {**ours, **others}
    found = watch(tests, (_block(rng, runs, candidate, champion) for _ in range(most // LOOK)), runs)
    return {name: times[~early] for name, times in found.items()}


def ramp(rng: np.random.Generator, runs: int) -> Found:
    """The share grows from 5 to 50 % while both arms fail ten times as often for a while."""
    ours = Harm(runs)
    tests: dict[str, Twin] = {"ours": ours, "z-test": Peeked(runs), "threshold": Threshold(runs, 0.02)}

    def blocks() -> Iterator[Blocks]:
        for share, rate, number, begins in RAMP:
            if begins and share > SHARE:
                ours.epoch()
            for _ in range(number):
                calls = rng.binomial(100, share, runs)
                bad_c, bad_s = rng.binomial(calls, rate), rng.binomial(100 - calls, rate)
                sums = bad_c, calls - bad_c, bad_s, 100 - calls - bad_s
                yield Blocks.of(sums, share)

    return watch(tests, blocks(), runs)


def pinned(rng: np.random.Generator, runs: int, *, rate: float, hard: float, part: float, most: int) -> Found:
    """Equal arms, while a part of the traffic is pinned to the candidate and fails more, for it is harder."""
    tests = {"ours": Harm(runs), "pinned counted": HarmPinned(runs)}

    def blocks() -> Iterator[Blocks]:
        for _ in range(most // LOOK):
            block = _block(rng, runs, rate, rate)
            calls = rng.poisson(part * (block.calls + block.champion_calls))
            bad = rng.binomial(calls, hard)
            sums = block.bad_c, block.good_c, block.bad_s, block.good_s
            yield Blocks(*sums, SHARE, (bad.astype(float), (calls - bad).astype(float)))

    return watch(tests, blocks(), runs)


def agreement(rng: np.random.Generator, runs: int, *, rate: float, floor: float, most: int) -> Found:
    """Pairs of a shadow that disagree in a part of the cases, against a known floor."""
    tests: dict[str, Twin] = {"ours": Floor(runs, floor), "threshold": Threshold(runs, 2 * floor)}
    none = np.zeros(runs)

    def blocks() -> Iterator[Blocks]:
        for _ in range(most // LOOK):
            bad = rng.binomial(LOOK, rate, runs)
            yield Blocks.of((bad, LOOK - bad, none, none), SHARE)

    return watch(tests, blocks(), runs)


def health(rng: np.random.Generator, runs: int, *, champion: float, candidate: float, most: int) -> Found:
    """How soon health is shown, with a margin of one point."""
    blocks = (_block(rng, runs, candidate, champion) for _ in range(most // LOOK))
    return watch({"ours": Health(runs)}, blocks, runs)


def ratio(rng: np.random.Generator, runs: int) -> Found:
    """Nothing is wrong while the share goes 5, 25, 50 %, a thousand blocks of a hundred requests each."""

    def blocks() -> Iterator[Blocks]:
        none = np.zeros(runs)
        for share in (0.05, 0.25, 0.5):
            for _ in range(1000):
                calls = rng.binomial(100, share, runs).astype(float)
                yield Blocks(none, calls, none, 100 - calls, share)

    return watch({"ours": SampleRatio(runs)}, blocks(), runs)


def latency(rng: np.random.Generator, runs: int, *, factor: float, part: float, most: int) -> Found:
    """A part of the candidate's calls takes so many times as long; the champion's history is 2 000 calls.

    Calls are drawn as counts between thresholds. The z-test is of calls slower than the champion's p95.
    """
    own, slower = thresholds(TYPICAL * np.exp(SPREAD * rng.standard_normal((runs, 2000))))
    edges = LEAST * STEP ** own.astype(float)  # where the last bin ends that is not slower
    champion = slower_than(edges)
    candidate = (1 - part) * champion + part * slower_than(edges / factor)
    tests: dict[str, Twin] = {"ours": Latency(slower, 2000)}
    tests["z-test"] = AtTail(runs)

    def blocks() -> Iterator[Blocks]:
        cells = [_cells(chance) for chance in (candidate, champion)]
        for _ in range(most // LOOK):
            calls = _champion(rng, runs)[:, None]
            bad_c, bad_s = _slow(rng, np.full((runs, 1), LOOK), cells[0]), _slow(rng, calls, cells[1])
            yield Blocks.of((bad_c, LOOK - bad_c, bad_s, calls - bad_s), SHARE)

    return watch(tests, blocks(), runs)


class AtTail(Peeked):
    """The z-test of one threshold of latencies, the champion's p95."""

    def update(self, blocks: Blocks) -> None:
        """Take one more block of each run."""
        sums = blocks.bad_c, blocks.good_c, blocks.bad_s, blocks.good_s
        super().update(Blocks.of((part[:, 3] for part in sums), blocks.share))


def slower_than(seconds: Array) -> Array:
    """Return the chance that a call is slower, for each threshold."""
    standard = np.log(seconds / TYPICAL) / SPREAD
    found: Array = np.vectorize(lambda z: math.erfc(z / math.sqrt(2)) / 2)(standard)
    return found


def _cells(slower: Array) -> Array:
    """Return the chances to lie between one threshold and the next, from chances to be above them."""
    ends = np.pad(slower, ((0, 0), (1, 0)), constant_values=1.0)
    cells: Array = ends - np.pad(slower, ((0, 0), (0, 1)))
    return cells


def _slow(rng: np.random.Generator, calls: Array, cells: Array) -> Array:
    """Return how many of so many calls are slower than each threshold."""
    slow: Array = calls - rng.multinomial(calls[:, 0], cells).cumsum(axis=1)[:, :-1]
    return slow
