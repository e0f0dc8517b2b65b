"""What the ledger costs a real server at the rate that bare BentoML reaches, against the same one without it.

Run ``python -m benchmarks.ledger_http``. Four servers (`bentoml serve`, one worker each) run side by side: a
canary with the ledger, the same without, that one again (A/A: the noise), and the bare service. In each round
every one is asked in turn, in an order drawn anew, by 32 clients

- at its limit: each client sends its next request when it has an answer. What the bare service reaches is
  the rate of the round;
- at that rate, which the canaries answer with time to spare: one request after another falls due, and its
  latency counts from then, whether or not a client was free.

It prints requests a second and the latency that one in a hundred exceeds (p99) of each; then latency, p99 and
CPU at the rate, with the ledger over without, and the time that the same requests take at the limit, over
without and over bare, each as the median over the rounds with its 95 % interval. It fails

- when the ledger has an effect on latency or p99 at the rate of bare BentoML beyond the noise: all of its
  interval lies above 1, and above all of the A/A's;
- when the canary with the ledger, at its limit, takes longer than bare BentoML;
- when the A/A of the time at the limit is further than 5 percent from 1: the machine is too noisy;
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
JUDGED = {"usual": "latency", "slowest": "p99"}


@dataclass
class Slices:
    """What the slices of one server gave.

    Attributes:
        seconds: wall seconds of each.
        usual: the median latency of each, in seconds.
        slowest: the p99 of each, in seconds.
        cpu: CPU seconds of all of the server's processes in each.
        failed: how many answers were not 200, in all.
    """

    seconds: list[float] = field(default_factory=list)
    usual: list[float] = field(default_factory=list)
    slowest: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    failed: int = 0

    def told(self, name: str, size: int) -> str:
        """Return a line about them."""
        rate, usual = size / statistics.median(self.seconds), statistics.median(self.usual)
        slowest, cpu = statistics.median(self.slowest), statistics.median(self.cpu) / size
        return (
            f"  {name:17}{rate:7,.0f} requests/s   median {usual * 1e3:5.1f} ms   p99 {slowest * 1e3:5.1f} ms"
            f"   {cpu * 1e6:5.0f} us CPU"
        )


async def ask(lines: Sequence[Line], size: int, rate: float = float("inf")) -> tuple[list[float], int]:
    """Send so many requests; return each one's seconds, and how many were not 200.

    Args:
        lines: one for each client.
        size: how many.
        rate: a second. Without one, they are sent as fast as they are answered.
    """
    paced = rate != float("inf")
    users, times, failed, start = iter(range(size)), list[float](), 0, time.perf_counter()

    async def client(line: Line) -> None:
        nonlocal failed
        for user in users:
            began = start + user / rate if paced else time.perf_counter()
            if (early := began - time.perf_counter()) > 0:
                await asyncio.sleep(early)
            status, _ = await line.ask(f"user-{user}")
            times.append(time.perf_counter() - began)
            failed += status != 200

    await asyncio.gather(*(client(line) for line in lines))
    return times, failed


async def warm_slice(server: Served, size: int, rate: float) -> tuple[float, float, list[float], int]:
    """Open the connections, each with a request that does not count, then ask.

    Returns the slice's seconds, the server's CPU seconds before it, and what `ask` tells.
    """
    lines = [Line(server.port) for _ in range(CLIENTS)]
    await ask(lines, CLIENTS)
    spent, began = server.cpu(), time.perf_counter()
    times, failed = await ask(lines, size, rate)
    seconds = time.perf_counter() - began
    for line in lines:  # a server hangs up on idle connections: each slice has its own
        line.close()
    return seconds, spent, times, failed


def slice_of(server: Served, size: int, found: Slices, rate: float = float("inf")) -> float:
    """Measure one slice; return the requests that were answered in a second."""
    seconds, spent, times, failed = asyncio.run(warm_slice(server, size, rate))
    found.seconds.append(seconds)
    time.sleep(SETTLED)
    found.cpu.append(server.cpu() - spent)
    found.usual.append(statistics.median(times))
    found.slowest.append(sorted(times)[int(size * 0.99)])
    found.failed += failed
    return size / found.seconds[-1]


def measure(
    servers: dict[str, Served], rounds: int, size: int
) -> tuple[dict[str, Slices], dict[str, Slices]]:
    """Ask all servers at their limit, then at bare BentoML's rate; the first slices do not count."""
    for server in servers.values():
        slice_of(server, size, Slices())
    limit, paced = ({name: Slices() for name in servers} for _ in range(2))
    for number in range(rounds):
        rate = slice_of(servers["Bare"], size, limit["Bare"])
        others = [name for name in servers if name != "Bare"]
        for name in random.sample(others, len(others)):
            slice_of(servers[name], size, limit[name])
        for name in random.sample(others, len(others)):
            slice_of(servers[name], size, paced[name], rate)
        print(f"\r{number + 1}/{rounds} rounds", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    del paced["Bare"]
    return limit, paced


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
            limit, paced = measure(servers, options.rounds, size)
            counted = lost(servers["On"].port)
        missing = (size + CLIENTS) * (2 * options.rounds + 1) - written(home)
    judged = {measured: over(paced, measured) for measured in JUDGED}
    spent, longest = over(paced, "cpu"), over(limit, "seconds")
    against = ratio(limit["On"].seconds, limit["Bare"].seconds)
    failed = sum(one.failed for found in (limit, paced) for one in found.values())
    quiet = abs(longest[1].value - 1) <= NOISE
    met = not any(beyond(*pair) for pair in judged.values()) and against.low <= 1
    good = quiet and met and not failed and not missing and not counted
    if options.json:
        pairs = {**judged, "cpu": spent, "limit": longest}
        ratios = {measured: list(map(asdict, pair)) for measured, pair in pairs.items()}
        told = {"ratios": ratios, "over_bare": asdict(against), "failed": failed, "lost": counted}
        print(json.dumps({**told, "missing": missing, "good": good}))
        return 0 if good else 1
    for title, found in (("at its limit", limit), ("at the rate of bare BentoML", paced)):
        print(title)
        for name, slices in found.items():
            print(slices.told(SIDES[name], size))
    print("with the ledger over without it")
    for measured, (effect, noise) in judged.items():
        verdict = "beyond the noise" if beyond(effect, noise) else "not beyond the noise"
        print(f"  {JUDGED[measured]:8} at that rate {effect}   A/A {noise}   {verdict}")
    print(f"  CPU      at that rate {spent[0]}   A/A {spent[1]}")
    print(f"  time     at the limit {longest[0]}   A/A {longest[1]};   over bare BentoML {against}")
    print(f"{failed} answers were not 200; {counted} predictions were counted as lost, {missing} are missing")
    verdict = "met" if good else "MISSED" if quiet else "TOO NOISY"
    print(f"bar: no effect at the rate of bare BentoML beyond the noise, and no prediction lost: {verdict}")
    return 0 if good else 1


def over(found: dict[str, Slices], measured: str) -> tuple[Ratio, Ratio]:
    """Return a measure with the ledger over without it, and without it again over without it."""
    on, off, again = (getattr(found[name], measured) for name in ("On", "Off", "Again"))
    return ratio(on, off), ratio(again, off)


if __name__ == "__main__":
    sys.exit(main())
