"""The command: ``python -m benchmarks.decisions``."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import numpy as np

from . import __doc__ as about
from .check import Checked, check
from .pictures import draw
from .rows import ROWS, SEED, Line, Row, together
from .streams import Found
from .tick import Cost, tick

EXTRA = ("check", "tick")


def main() -> int:
    """Simulate, print one line for each result, and say by the exit status whether all bars are met."""
    names = [row.name for row in ROWS]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decisions", description=about)
    parser.add_argument("--quick", action="store_true", help="fewer runs: a few minutes, not half an hour")
    only = "only rows whose names begin with this (more than once: any of them): " + ", ".join(
        (*EXTRA, *names)
    )
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help=only.replace("%", "%%"))
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="write SVG files into this folder")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="processes")
    options = parser.parse_args()
    wanted = tuple(options.only) or ("",)
    rows = [row.quickly() if options.quick else row for row in ROWS if row.name.startswith(wanted)]
    extra = [name for name in EXTRA if name.startswith(wanted)]
    if not rows and not extra:
        parser.error(f"no row is named {options.only}; there are {', '.join((*EXTRA, *names))}")
    began = time.monotonic()
    checked = check(20 if options.quick else 100) if "check" in extra else []
    found = dict(simulated(rows, options.seed, options.jobs))
    lines = [line for row in rows for line in row.lines(found[row.name])]
    ticks = tick() if "tick" in extra else []
    if options.pictures:
        draw(found, options.pictures)
    failed = [line.row for line in lines if line.bar.met(line.value) is False]
    measured: list[Checked | Cost] = [*checked, *ticks]
    failed += [item.name for item in measured if not item.met]
    if options.json:
        plain = {
            "quick": options.quick,
            "seed": options.seed,
            "seconds": round(time.monotonic() - began, 1),
            "python": platform.python_version(),
            "numpy": np.__version__,
            "lines": [line.plain() for line in lines],
            "check": [item.plain() for item in checked],
            "tick": [item.plain() for item in ticks],
        }
        print(json.dumps(plain, indent=1))
        return 1 if failed else 0
    for text in table(lines):
        print(text)
    for item in measured:
        print(item)
    kind, minutes = "quick" if options.quick else "full", (time.monotonic() - began) / 60
    versions = f"Python {platform.python_version()}, numpy {np.__version__}"
    print(f"{kind}, seed {options.seed}, {versions}, {minutes:.1f} min")
    return 1 if failed else 0


def simulated(rows: list[Row], seed: int, jobs: int) -> Iterator[tuple[str, Found]]:
    """Yield what came of each row, all parts of all rows spread over processes."""
    parts = [(row, number) for row in rows for number in range(len(row.parts()))]
    results: dict[str, dict[int, Found]] = {row.name: {} for row in rows}
    with ProcessPoolExecutor(jobs) as pool:
        futures = {pool.submit(row.part, number, seed): (row, number) for row, number in parts}
        for done, future in enumerate(as_completed(futures), 1):
            row, number = futures[future]
            results[row.name][number] = future.result()
            if sys.stderr.isatty():
                end = "\n" if done == len(parts) else ""
                print(
                    f"\r{done} of {len(parts)} parts, {row.name}\033[K", end=end, file=sys.stderr, flush=True
                )
    for name, by_number in results.items():
        yield name, together([by_number[number] for number in sorted(by_number)])


def table(lines: list[Line]) -> Iterator[str]:
    """Yield the results as a table in Markdown."""
    if lines:
        yield "| what | result | bar | | for contrast |"
        yield "|---|---|---|---|---|"
    for line in lines:
        met = {True: "met", False: "**MISSED**", None: "too few runs to say"}[line.bar.met(line.value)]
        contrast = "; ".join(f"{name}: {value}" for name, value in line.contrast.items())
        yield f"| {line.what} | {line.value} | {line.bar.told()} | {met} | {contrast} |"


if __name__ == "__main__":
    sys.exit(main())
