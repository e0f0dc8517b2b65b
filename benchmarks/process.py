"""What a candidate in a process beside the worker costs its callers, and what it does to the champion.

Run ``python -m benchmarks.process``. First the same model of 1 ms is asked in the worker and in a process, in
turn over one connection, with an array of 100 x 30: bar +0.5 ms at the median. Then the server is put on one
core and the champion's callers are timed in rounds with and without another caller, who keeps a candidate
burning its processor all the time, which is more than 5 % of the traffic would do: bar 1.5x of the champion's
p99, and none of its requests fails.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable

from benchmarks._ab import interleaved, ratio
from benchmarks.flip import served
from bento_rollout import open_rollout

SLOWER = 0.5e-3
TAIL = 1.5
PAUSE = 0.02
BODY = json.dumps({"rows": [[0.5] * 30] * 100}).encode()


class Caller:
    """One keep-alive connection."""

    def __init__(self, port: int) -> None:
        self._line = http.client.HTTPConnection("127.0.0.1", port, timeout=120)

    def ask(self, variant: str) -> int:
        """Send one request to a variant and return its status."""
        head = {"content-type": "application/json", "x-rollout-variant": variant}
        self._line.request("POST", "/predict", BODY, head)
        answer = self._line.getresponse()
        answer.read()
        if answer.getheader("x-rollout-variant") != variant:
            return 0
        return answer.status


def latency(port: int, rounds: int) -> tuple[float, float]:
    """Return the median seconds of a call in the worker, and in a process."""
    caller = Caller(port)

    def asking(variant: str) -> Callable[[], object]:
        def ask() -> None:
            if caller.ask(variant) != http.client.OK:
                raise RuntimeError(f"{variant} did not answer")

        return ask

    work = {name: asking(name) for name in ("inside", "beside")}
    interleaved(work, 100, time.perf_counter)
    times = interleaved(work, rounds, time.perf_counter)
    return statistics.median(times["inside"]), statistics.median(times["beside"])


def tail(port: int, seconds: float, *, burning: bool) -> tuple[float, int]:
    """Return the champion's p99 in one round, and how many of its requests failed."""
    until = time.monotonic() + seconds
    burner = threading.Thread(target=burn, args=(port, until), daemon=True)
    if burning:
        burner.start()
        time.sleep(0.2)
    caller, times, failures = Caller(port), [], 0
    while (began := time.monotonic()) < until:
        failures += caller.ask("champion_model") != http.client.OK
        times.append(time.monotonic() - began)
        time.sleep(max(0.0, PAUSE - times[-1]))
    if burning:
        burner.join()
    return statistics.quantiles(times, n=100)[98], failures


def burn(port: int, until: float) -> None:
    """Give the burning candidate work all the time; it would be far over its share of the traffic."""
    caller = Caller(port)
    while time.monotonic() < until:
        caller.ask("burning")


def all_ready() -> bool:
    """Whether every candidate's process has started."""
    states = {row["state"] for row in open_rollout("process_bench").status()["variants"].values()}
    return states == {"ready"}


def main() -> int:
    """Measure, print, and say by the exit status whether the bars are met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1500)
    parser.add_argument("--slices", type=int, default=8)
    options = parser.parse_args()
    tails: dict[bool, list[float]] = {False: [], True: []}
    failures, cores = 0, os.sched_getaffinity(0)
    service = "benchmarks.process_service:Model"
    with tempfile.TemporaryDirectory() as home, served(home, service, "process_bench", 1) as port:
        while not all_ready():
            time.sleep(0.2)
        inside, beside = latency(port, options.rounds)
    os.sched_setaffinity(0, {max(cores)})  # the server inherits it
    with tempfile.TemporaryDirectory() as home, served(home, service, "process_bench", 1) as port:
        os.sched_setaffinity(0, cores - {max(cores)} or cores)
        while not all_ready():
            time.sleep(0.2)
        tail(port, 2.0, burning=False)
        for number in range(options.slices):
            for burning in (False, True) if number % 2 else (True, False):
                p99, failed = tail(port, 4.0, burning=burning)
                tails[burning].append(p99)
                failures += failed
            print(f"\r{number + 1}/{options.slices} slices", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    more, cost = beside - inside, ratio(tails[True], tails[False])
    met = more <= SLOWER and cost.value <= TAIL and not failures
    print(
        f"a call of 1 ms, 100 x 30: {inside * 1e3:.2f} ms in the worker, {beside * 1e3:.2f} ms in a process: "
        f"{more * 1e3:+.2f} ms, bar +{SLOWER * 1e3:.1f}"
    )
    print(
        f"champion's p99 on one core: {statistics.median(tails[False]) * 1e3:.1f} ms alone, "
        f"{statistics.median(tails[True]) * 1e3:.1f} ms beside a burning process: {cost}, bar {TAIL}x; "
        f"failed {failures}"
    )
    print("met" if met else "MISSED")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
