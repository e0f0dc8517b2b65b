"""Fuzz the parsers of sealed artifacts: ``python -m tests.fuzz --cases 1000000``.

It ends with an error, and the input in a file, when a parser raises what it does not declare, accepts what
does not round-trip, takes longer than a case may, or more memory than this process may.
"""

from __future__ import annotations

import argparse
import resource
import secrets
import signal
import sys
import tempfile
import time
from pathlib import Path
from random import Random
from typing import NoReturn

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from .targets import Target, targets

SECONDS = 5.0
"""One case may take so long; most take less than a ten-thousandth of it."""

MEMORY = 2**30
"""Bytes of address space that may come to what the process has when it begins."""

CHUNK = 500
console = Console()


class Hung(BaseException):
    """A case takes too long; no parser can mistake this for an error of its own."""


def main() -> int:
    """Fuzz all targets, an equal number of cases each."""
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--cases", type=int, default=1_000_000, help="of all targets together")
    arguments.add_argument(
        "--seed", type=int, default=secrets.randbits(32), help="for the same mutations again"
    )
    arguments.add_argument("--target", action="append", help="only this one; may be repeated")
    asked = arguments.parse_args()
    chosen = [target for name, target in targets().items() if name in (asked.target or targets())]
    _bound_memory()
    signal.signal(signal.SIGALRM, _hung)
    _say(f"seed {asked.seed}; {asked.cases} cases of {len(chosen)} targets")
    began, failures = time.monotonic(), 0
    columns = TextColumn("{task.description:16}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True) as progress:
        for index, target in enumerate(chosen):
            cases = asked.cases * (index + 1) // len(chosen) - asked.cases * index // len(chosen)
            failures += not _fuzz(target, cases, Random(f"{asked.seed} {target.name}"), progress)
    took = time.monotonic() - began
    _say(f"{asked.cases} cases in {took:.0f} s, {asked.cases / took:.0f} a second; {failures} targets failed")
    return min(failures, 1)


def _fuzz(target: Target, cases: int, random: Random, progress: Progress) -> bool:
    """Run the cases of one target, and say whether all are well."""
    task, accepted, slowest, began = progress.add_task(target.name, total=cases), 0, 0.0, time.monotonic()
    for number in range(cases):
        raw = target.case(random)
        before = time.monotonic()
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        try:
            accepted += target.accepts(raw)
        except (Exception, Hung) as error:
            signal.setitimer(signal.ITIMER_REAL, 0)
            with tempfile.NamedTemporaryFile(prefix="fuzz-", delete=False) as file:
                file.write(raw)
            what = f"{type(error).__name__}: {str(error)[:300]}"
            _say(f"{target.name}, case {number}: {what}; input in {file.name}")
            return False
        signal.setitimer(signal.ITIMER_REAL, 0)
        slowest = max(slowest, time.monotonic() - before)
        if number % CHUNK == CHUNK - 1:
            progress.update(task, completed=number + 1)
    progress.update(task, completed=cases, visible=False)
    took = time.monotonic() - began
    _say(
        f"{target.name:16} {cases:8} cases, {accepted:6} accepted, {cases / took:7.0f} a second,"
        f" slowest {slowest * 1e3:.1f} ms"
    )
    return True


def _say(line: str) -> None:
    console.print(line, soft_wrap=True, highlight=False, markup=False)


def _hung(_number: int, _frame: object) -> NoReturn:
    raise Hung(f"it takes longer than {SECONDS} s")


def _bound_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, resource.RLIM_INFINITY))


if __name__ == "__main__":
    sys.exit(main())
