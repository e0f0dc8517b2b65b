"""The command: ``python -m benchmarks.drift``."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from . import __doc__ as about
from .check import Checked, check
from .cost import Cost, cost
from .pictures import draw
from .rows import ROWS, SEED, Line, Row, Series, together

EXTRA = ("check", "cost")


def main() -> int:
    """Simulate, print one line for each result, and say by the exit status whether all bars are met."""
    names = ", ".join((*EXTRA, *(row.name for row in ROWS)))
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drift", description=about)
    parser.add_argument("--quick", action="store_true", help="fewer streams: under 3 minutes, not an hour")
    only = f"only rows whose names begin with this (more than once: any of them): {names}"
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help=only.replace("%", "%%"))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write JSON, again after each row")
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="write SVG files into this folder")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="processes")
    options = parser.parse_args()
    wanted = tuple(options.only) or ("",)
    rows = [row.quickly() if options.quick else row for row in ROWS if row.name.startswith(wanted)]
    extra = [name for name in EXTRA if name.startswith(wanted)]
    if not rows and not extra:
        parser.error(f"no row is named {options.only}; there are {names}")
    began, found, lines = time.monotonic(), dict[str, dict[str, Series]](), list[Line]()
    checked: list[Checked | Cost] = [*check(2 if options.quick else 20)] if "check" in extra else []
    costs: list[Checked | Cost] = [*cost(3 if options.quick else 20)] if "cost" in extra else []
    facts: dict[str, Any] = {
        "quick": options.quick,
        "seed": options.seed,
        "python": platform.python_version(),
        "numpy": np.__version__,
    }
    for row, series in simulated(rows, options.seed, options.jobs, began):
        found[row.name] = series
        lines = [line for one in rows if one.name in found for line in one.lines(found[one.name])]
        if options.json:
            facts |= {
                "seconds": round(time.monotonic() - began, 1),
                "whole": len(found) == len(rows),
                "lines": [line.plain() for line in lines],
                "measured": [item.plain() for item in (*checked, *costs)],
                "found": {
                    name: {who: one.plain() for who, one in its.items()} for name, its in found.items()
                },
            }
            options.json.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    if options.pictures:
        draw(found, options.pictures)
    for text in table(lines):
        print(text)
    for item in (*checked, *costs):
        print(item)
    kind, minutes = "quick" if options.quick else "full", (time.monotonic() - began) / 60
    versions = f"Python {platform.python_version()}, numpy {np.__version__}"
    print(f"{kind}, seed {options.seed}, {versions}, {minutes:.1f} min")
    failed = any(line.met is False for line in lines) or not all(item.met for item in (*checked, *costs))
    return 1 if failed else 0


def simulated(rows: list[Row], seed: int, jobs: int, began: float) -> Iterator[tuple[Row, dict[str, Series]]]:
    """Yield what came of each row as soon as it is whole, all parts of all rows spread over processes."""
    # The long rows stand first, and come last: so something is there soon.
    parts = [(row, number) for row in reversed(rows) for number in range(len(row.parts()))]
    results: dict[str, dict[int, tuple[str, Series]]] = {row.name: {} for row in rows}
    with ProcessPoolExecutor(jobs) as pool:
        futures = {
            pool.submit(replace(row, bars=()).part, number, seed): (row, number) for row, number in parts
        }
        for done, future in enumerate(as_completed(futures), 1):
            row, number = futures[future]
            its = results[row.name]
            its[number] = future.result()
            minutes = (time.monotonic() - began) / 60
            print(f"{done} of {len(parts)} parts, {row.name}, {minutes:.1f} min", file=sys.stderr, flush=True)
            if len(its) == len(row.parts()):
                yield row, together([its[place] for place in sorted(its)])


def table(lines: list[Line]) -> Iterator[str]:
    """Yield the results as a table in Markdown."""
    if lines:
        yield "| what | ours | bar | | others |"
        yield "|---|---|---|---|---|"
    for line in lines:
        met = {True: "met", False: "**MISSED**", None: "too few streams to say"}[line.met]
        contrast = "; ".join(f"{name}: {told}" for name, told in line.contrast.items())
        yield f"| {line.what} | {line.told} | {line.bar} | {met} | {contrast} |"


if __name__ == "__main__":
    sys.exit(main())
