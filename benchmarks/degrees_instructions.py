"""What a degree of automation adds to a request, in instructions: the same on a machine that is busy.

Run ``python -m benchmarks.degrees_instructions``, which needs valgrind and an x86-64 processor. The apps of
``benchmarks.degrees`` take turns in one process under ``valgrind --tool=callgrind``, and the instructions in
user space are counted of the thread that serves: a request without ``automation:``, the same of another such
app (A/A: the noise), and one at degree full that is not audited; and what an audited one takes beyond that.
What is told is the median: now and then a request tidies up after many.
What the thread that writes audits does is done in the counted thread here, so many together as there.
Neither the kernel's work is counted nor what the two threads cost each other: ``benchmarks.degrees`` does.

Microseconds are told by what a request without automation takes without valgrind: the quickest tenth of
some, which is what it takes when nobody disturbs it.

It fails when the sum, with audits by their rate, is more than 10 microseconds a request.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import gc
import mmap
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import patch

from benchmarks.degrees import BAR, KINDS, RATE, RATES, TOGETHER, call, promote, service
from benchmarks.overhead import Driven, forget_metrics, prepared

if TYPE_CHECKING:
    from bento_rollout.bento.audits import Audit

ZERO, COLLECT, DUMP, START = 1, 2, 3, 4
"""What callgrind is asked for: its requests by their numbers (``callgrind.h``)."""

_TOOL = ord("C") << 24 | ord("T") << 16

_CODE = bytes.fromhex("4889f8 31d2 48c1c703 48c1c70d 48c1c73d 48c1c733 4887db c3")
"""``valgrind.h``'s request: its address in RAX, 0 in RDX; rotations and an exchange that do nothing."""


def asking() -> Callable[..., None]:
    """Return what asks callgrind for something, with a text."""
    memory = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    memory.write(_CODE)
    held = (ctypes.c_char * mmap.PAGESIZE).from_buffer(memory)
    request = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(ctypes.addressof(held))
    words = ctypes.c_uint64 * 6

    def ask(what: int, text: bytes = b"") -> None:
        kept = ctypes.create_string_buffer(text)
        asked = words(_TOOL + what, ctypes.addressof(kept), 0, 0, 0, 0)
        request(ctypes.addressof(asked))

    ask.__dict__["memory"] = held  # for as long as it is asked
    return ask


async def counted(rounds: int) -> None:
    """Let the apps take turns; callgrind writes down what each took, by the word that it is given."""
    from bento_rollout import runs
    from bento_rollout.automation import audited
    from bento_rollout.bento.audits import Audits

    runs.GONE_AFTER = 1e9  # no request is so slow but under valgrind
    ask, apps, desks = asking(), dict[str, Driven](), list[Audits]()
    async with AsyncExitStack() as stack:
        for kind in KINDS:
            forget_metrics()
            driven = apps[kind] = Driven(service(kind, RATES.get(kind)).to_asgi())
            await driven.start(stack)
            if kind in RATES:
                await asyncio.to_thread(promote, kind)
            for _ in range(100):
                await call(driven)
            desks += [one for one in gc.get_objects() if type(one) is Audits and one not in desks]
        desk = desks[-1]  # the last app's
        gc.collect()
        gc.disable()
        ask(START)
        for number in range(rounds):
            for kind in random.sample(KINDS, len(KINDS)):
                ask(ZERO)
                await call(apps[kind])
                ask(COLLECT)
                told = dict(apps[kind].headers)[b"x-rollout-prediction-id"].decode()
                if kind != "full" or not audited(told, RATE):
                    ask(DUMP, f"{kind} 1 {number}".encode())
                ask(COLLECT)
            if number % 4:
                continue
            waiting: list[Audit] = []
            with patch.object(desk, "offer", lambda audit, _, waiting=waiting: waiting.append(audit)):
                for _ in range(TOGETHER):
                    await call(apps["every"])
            ask(ZERO)
            desk._work(waiting)  # noqa: SLF001 - in its thread nobody could count it
            ask(DUMP, f"writing {TOGETHER} {number}".encode())
        os._exit(0)  # what is left to be done would take minutes


async def timed() -> float:
    """Return the microseconds of CPU that a request without automation takes when nobody disturbs it."""
    async with AsyncExitStack() as stack:
        driven = Driven(service("plain", None).to_asgi())
        await driven.start(stack)
        taken = [await call(driven) for _ in range(3000)]
    return statistics.quantiles(taken[300:], n=10)[0]


def everywhere(rounds: int) -> dict[str, list[float]]:
    """Return the instructions of each turn by its word, for a request or an audit."""
    found: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        options = ["--instr-atstart=no", "--dump-line=no", "--separate-threads=yes"]
        out = f"--callgrind-out-file={folder}/out"
        command = [
            sys.executable,
            "-m",
            "benchmarks.degrees_instructions",
            "--rounds",
            str(rounds),
            "--count",
        ]
        valgrind = shutil.which("valgrind") or sys.exit("valgrind is not installed")
        subprocess.run([valgrind, "-q", "--tool=callgrind", *options, out, *command], check=True)
        for path in Path(folder).glob("out.*-01"):
            text = path.read_text(errors="replace")
            said = re.search(r"Client Request: (\w+) (\d+) ", text)
            counted = re.search(r"^(?:summary|totals): (\d+)", text, re.MULTILINE)
            if said is not None and counted is not None:
                found[said[1]].append(int(counted[1]) / int(said[2]))
    return found


def main() -> int:
    """Count, print, and say by the exit status whether the bar is met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--count", action="store_true", help="only count, under valgrind")
    options = parser.parse_args()
    if options.count:
        with prepared():
            asyncio.run(counted(options.rounds))
    with prepared():
        request = asyncio.run(timed())
    return told(everywhere(options.rounds), request)


def told(found: dict[str, list[float]], request: float) -> int:
    """Print what was counted; return the exit status."""
    plain = statistics.median(found["plain"])

    def line(words: str, values: list[float], unit: str = "a request") -> float:
        value, low, high = (number / plain * request for number in spread(values))
        print(f"  {words:28} {value:+7.1f} us {unit} [{low:+.1f}, {high:+.1f}]")
        return value

    print(f"without automation: {plain:,.0f} instructions, {request:.0f} us of CPU a request")
    line("A/A without it, again", [one - plain for one in found["again"]])
    each = line("each request", [one - plain for one in found["full"]])
    full = statistics.median(found["full"])
    path = line("each audit, on the path", [one - full for one in found["every"]], "an audit")
    writing = line("each audit, writing", found["writing"], "an audit")
    value = each + RATE * (path + writing)
    print(f"  A/B in all, {RATE:.0%} audits      {value:+7.1f} us a request, {1 + value / request:.4f}x")
    print(f"  bar {BAR:g} us: {'met' if value <= BAR else 'MISSED'}")
    return 0 if value <= BAR else 1


def spread(values: list[float]) -> tuple[float, float, float]:
    """Return the median of turns with its 95 % bootstrap interval."""
    draws = sorted(statistics.median(random.choices(values, k=len(values))) for _ in range(4000))
    return statistics.median(values), draws[100], draws[3899]


if __name__ == "__main__":
    sys.exit(main())
