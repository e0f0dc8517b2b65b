"""How fast keys are assigned: vectorised against a loop over single keys, on one core.

Run ``python -m benchmarks.assign``. A million string keys are split among five variants by `Table.assign`, in
rounds interleaved with a plain loop over `Table.plan`, which the router calls once for each request. It fails
when a million keys take 0.5 s of CPU or more (median of the rounds).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys

import numpy as np

from benchmarks._ab import interleaved, ratio
from bento_rollout.assignment import Table, reallocate

BAR = 0.5
MILLION = 1_000_000
WEIGHTS = {"v1": 5_000, "v2": 12_500, "v3": 333, "v4": 40_000}


def main() -> int:
    """Measure, print, and say by the exit status whether the bar is met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--keys", type=int, default=MILLION)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    table = Table(1, "v0", "assign-1", reallocate((), WEIGHTS))
    ready = ("v0", *WEIGHTS)
    text = [f"patient-{number:07d}" for number in range(options.keys)]
    few = text[: max(options.keys // 10, 1)]
    array, numbers = np.array(text), np.arange(options.keys)
    times = interleaved(
        {
            "a list of strings": lambda: table.assign(text),
            "the same again": lambda: table.assign(text),
            "an array of strings": lambda: table.assign(array),
            "an array of integers": lambda: table.assign(numbers),
            "one by one": lambda: [table.plan(key, draw=lambda: 0, ready=ready).variant for key in few],
        },
        options.rounds,
    )
    times["one by one"] = [seconds * options.keys / len(few) for seconds in times["one by one"]]
    seconds = {name: statistics.median(values) for name, values in times.items()}
    took = seconds["a list of strings"] * MILLION / options.keys
    speedup = ratio(times["one by one"], times["a list of strings"])
    noise = ratio(times["the same again"], times["a list of strings"])
    if options.json:
        rates = {name: options.keys / value for name, value in seconds.items()}
        print(json.dumps({"keys_per_second": rates, "seconds_per_million": took, "met": took < BAR}))
        return 0 if took < BAR else 1
    for name, value in seconds.items():
        print(f"{name:22} {options.keys / value / 1e6:6.2f} million keys a second")
    print(f"one by one / vectorised  {speedup}")
    print(f"the same again (noise)   {noise}")
    print(f"a million strings: {took:.3f} s of CPU, bar {BAR:.1f} s: {'met' if took < BAR else 'MISSED'}")
    return 0 if took < BAR else 1


if __name__ == "__main__":
    sys.exit(main())
