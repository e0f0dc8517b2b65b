"""Simulated rollouts with sticky keys: whoever comes again meets the same variant."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from bento_rollout.histogram import LEAST, STEP

from .sticky import Keyed, KeyEvents, KeyFloor, KeyLatency, KeyRates, Population, Requests
from .streams import Found
from .twins import Array, Floor, Harm, Latency, Twin, thresholds

__all__ = ["agreements", "broken", "errors", "latencies"]

BLOCK = 100
"""Requests of both arms from one look to the next."""

LEVELS = 7
"""Thresholds of latencies."""


def _watch(
    population: Population,
    keyed: Mapping[str, Keyed],
    called: Mapping[str, Twin],
    level: Callable[[Array], Array],
    looks: int,
    levels: int = 1,
) -> Found:
    """Look at tests of keys and of requests after each block; return requests, of both arms, to an alarm."""
    runs = population.runs
    found = {name: np.full(runs, np.inf) for name in (*keyed, *called)}
    for look in range(1, looks + 1):
        keys = population.draw(BLOCK)
        candidate = np.take_along_axis(population.candidate, keys, axis=1)
        requests = Requests(keys, candidate, level(keys), population.share)
        alarms = {name: test.update(requests) for name, test in keyed.items()}
        sums = requests.counted(levels)
        for name, test in called.items():
            test.update(sums)
            alarms[name] = test.alarms
        for name, alarm in alarms.items():
            found[name][alarm & np.isinf(found[name])] = look * BLOCK
    return found


def _always(values: Array) -> Callable[[Array], Array]:
    """Return what a request is, where that is a matter of its key alone."""
    return lambda keys: np.take_along_axis(values, keys, axis=1)


def errors(rng: np.random.Generator, runs: int, *, looks: int) -> Found:
    """One key in a hundred always fails: first errors and first calls of keys, and each request.

    First errors and first calls share the chance of a false alarm: ``ours`` is whichever alarms first.
    """
    population = Population(rng, runs)
    bad = (rng.random((runs, population.keys)) < 0.01).astype(np.int64)
    keyed = {"first errors": KeyEvents(population, 0.005), "first calls": KeyRates(population, 0.005)}
    found = _watch(population, keyed, {"each request": Harm(runs)}, _always(bad), looks)
    return {"ours": np.minimum(found["first errors"], found["first calls"]), **found}


def latencies(rng: np.random.Generator, runs: int, *, spread: float, looks: int) -> Found:
    """Each key has a latency of its own, the same in both arms."""
    population = Population(rng, runs)
    seconds = 0.05 * np.exp(spread * rng.standard_normal((runs, population.keys)))
    history = np.take_along_axis(seconds, population.draw(2000), axis=1)
    own, slower = thresholds(history)
    bins = 1 + np.floor(np.log(seconds / LEAST) / np.log(STEP)).astype(int)
    level = (bins[:, :, None] > own[:, None, :]).sum(axis=2)
    keyed = {"ours": KeyLatency(population, slower, 2000)}
    return _watch(population, keyed, {"each request": Latency(slower, 2000)}, _always(level), looks, LEVELS)


def agreements(rng: np.random.Generator, runs: int, *, looks: int) -> Found:
    """Three keys in a hundred always disagree, and the floor says so."""
    population = Population(rng, runs)
    bad = (rng.random((runs, population.keys)) < 0.03).astype(np.int64)
    keyed = {"ours": KeyFloor(population, 0.03)}
    return _watch(population, keyed, {"each request": Floor(runs, 0.03)}, _always(bad), looks)


def broken(rng: np.random.Generator, runs: int, *, healthy: int, most: int) -> Found:
    """Both arms fail in 5 % of requests; then all of the candidate's fail, in the midst of an epoch.

    Delays are requests of both arms. Runs that alarmed while all was well are left out.
    """
    population = Population(rng, runs)
    tests = {"first errors": KeyEvents(population, 0.005), "first calls": KeyRates(population, 0.005)}
    found = {name: np.full(runs, np.inf) for name in tests}
    early = np.zeros(runs, dtype=bool)
    begins = healthy + BLOCK * rng.integers(0, 200, runs)  # an epoch is about 200 blocks
    for seen in range(0, healthy + 200 * BLOCK + most, BLOCK):
        keys, fails = population.draw(BLOCK), rng.random((runs, BLOCK)) < 0.05
        candidate = np.take_along_axis(population.candidate, keys, axis=1)
        begun = seen >= begins
        fails |= candidate & begun[:, None]
        requests = Requests(keys, candidate, fails.astype(np.int64), population.share)
        for name, test in tests.items():
            alarms = test.update(requests)
            early |= alarms & ~begun
            new = alarms & begun & np.isinf(found[name])
            found[name][new] = (seen + BLOCK - begins)[new]
        either = np.minimum(*found.values())
        if (np.isfinite(either) | early).all():
            break
    ours = np.minimum(*found.values())
    return {name: times[~early] for name, times in {"ours": ours, **found}.items()}
