"""What the ledger costs a real server that is asked as fast as it answers, against the same one without it.

Run ``python -m benchmarks.ledger_http``. Four servers (`bentoml serve`, one worker each) run side by side: a
canary with the ledger, the same without, that one again (A/A: the noise), and the bare service, for its rate.
In each round every one is asked in turn, in an order drawn anew, by 32 clients who send their next request
when they have an answer, so each is at its limit in its own slice.

It prints requests a second and the latency that one in a hundred exceeds (p99) of each; then how many times
as long the same requests take with the ledger as without, and the same of p99 and of CPU, as the median over
the rounds with its 95 % interval. It fails

- when the ledger has an effect on time or p99 beyond the noise: all of its interval lies above 1, and above
  all of the A/A's;
- when the A/A of the time is further than 5 percent from 1: the machine is too noisy to say anything;
- when an answer is not 200, or a prediction that was answered is not in the ledger once the server has ended.

CPU fails nothing, since nobody waits for it: it holds what the ledger's thread does in a short pause after
each slice, too.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import sqlite3
import statistics
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks._ab import Ratio, ratio
from benchmarks.service import Line, Served, served
from bento_rollout.store.sqlite import SQLiteStore

CLIENTS = 32
NOISE = 0.05
SETTLED = 0.3
"""Seconds after which the ledger has written what it was given."""

SIDES = {"On": "with the ledger", "Off": "without it", "Again": "without it again", "Bare": "bare BentoML"}
MEASURES = {"seconds": "time", "slowest": "p99", "cpu": "CPU"}


@dataclass
class Slices:
    """What the slices of one server gave.

    Attributes:
        seconds: wall seconds of each.
        slowest: the p99 of each, in seconds.
        cpu: CPU seconds of all of the server's processes in each.
        failed: how many answers were not 200, in all.
    """

    seconds: list[float] = field(default_factory=list)
    slowest: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    failed: int = 0

    def told(self, name: str, size: int) -> str:
        """Return a line about them."""
        rate, slowest = size / statistics.median(self.seconds), statistics.median(self.slowest)
        cpu = statistics.median(self.cpu) / size
        return f"{name:17}{rate:7,.0f} requests/s   p99 {slowest * 1e3:5.1f} ms   {cpu * 1e6:5.0f} us CPU"


async def ask(lines: Sequence[Line], size: int) -> tuple[list[float], int]:
    """Send requests as fast as they are answered; return each one's seconds, and how many were not 200."""
    users, times, failed = iter(range(size)), list[float](), 0

    async def client(line: Line) -> None:
        nonlocal failed
        for user in users:
            began = time.perf_counter()
            status, _ = await line.ask(f"user-{user}")
            times.append(time.perf_counter() - began)
            failed += status != 200
        line.close()  # connections are opened within the slice: a server hangs up on idle ones

    await asyncio.gather(*(client(line) for line in lines))
    return times, failed


def slice_of(server: Served, size: int, found: Slices) -> None:
    """Measure one slice."""
    lines = [Line(server.port) for _ in range(CLIENTS)]
    spent, began = server.cpu(), time.perf_counter()
    times, failed = asyncio.run(ask(lines, size))
    found.seconds.append(time.perf_counter() - began)
    time.sleep(SETTLED)
    found.cpu.append(server.cpu() - spent)
    found.slowest.append(sorted(times)[int(size * 0.99)])
    found.failed += failed


def measure(servers: dict[str, Served], rounds: int, size: int) -> dict[str, Slices]:
    """Ask all servers in turn; the first slice of each is not counted."""
    for server in servers.values():
        slice_of(server, size, Slices())
    found = {name: Slices() for name in servers}
    for number in range(rounds):
        for name in random.sample(list(servers), len(servers)):
            slice_of(servers[name], size, found[name])
        print(f"\r{number + 1}/{rounds} rounds", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return found


def lost(port: int) -> int:
    """Return how many predictions the server with the ledger has counted as lost."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
        lines = answer.read().decode().splitlines()
    ours = 'bento_rollout_telemetry_lost_total{channel="ledger"'
    return int(sum(float(line.split()[-1]) for line in lines if line.startswith(ours)))


def written(home: str) -> int:
    """Return how many predictions are in the ledger."""
    path = SQLiteStore(Path(home, "store.db")).place("ledger_on") / "ledger.db"
    with contextlib.closing(sqlite3.connect(path)) as db:
        return int(db.execute("SELECT count(*) FROM predictions").fetchone()[0])


def beyond(effect: Ratio, noise: Ratio) -> bool:
    """Whether something takes longer, and the noise is no reason for it."""
    return effect.low > max(1.0, noise.high)


def main() -> int:
    """Measure, print, and say by the exit status whether the bars are met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--requests", type=int, default=2000, help="per slice")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    size = options.requests
    with tempfile.TemporaryDirectory() as home:
        os.environ.update(BENTOML_HOME=home, BENTO_ROLLOUT_STORE=f"sqlite:///{home}/store.db")
        with contextlib.ExitStack() as stack:
            servers = {name: stack.enter_context(served(home, name, "ledger_http_service")) for name in SIDES}
            found = measure(servers, options.rounds, size)
            counted = lost(servers["On"].port)
        missing = size * (options.rounds + 1) - written(home)
    pairs = {
        measured: (
            ratio(getattr(found["On"], measured), getattr(found["Off"], measured)),
            ratio(getattr(found["Again"], measured), getattr(found["Off"], measured)),
        )
        for measured in MEASURES
    }
    failed = sum(one.failed for one in found.values())
    quiet = abs(pairs["seconds"][1].value - 1) <= NOISE
    met = not any(beyond(*pairs[measured]) for measured in ("seconds", "slowest"))
    good = quiet and met and not failed and not missing and not counted
    if options.json:
        ratios = {measured: list(map(asdict, pair)) for measured, pair in pairs.items()}
        print(
            json.dumps(
                {"ratios": ratios, "failed": failed, "lost": counted, "missing": missing, "good": good}
            )
        )
        return 0 if good else 1
    for name, label in SIDES.items():
        print(found[name].told(label, size))
    for measured, label in MEASURES.items():
        effect, noise = pairs[measured]
        verdict = "beyond the noise" if beyond(effect, noise) else "not beyond the noise"
        print(f"{label:5} with / without {effect}   A/A {noise}   {verdict}")
    print(f"{failed} answers were not 200; {counted} predictions were counted as lost, {missing} are missing")
    verdict = "met" if good else "MISSED" if quiet else "TOO NOISY"
    print(f"bar: no effect on time and p99 beyond the noise, and no prediction lost: {verdict}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
