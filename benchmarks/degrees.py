"""What a degree of automation adds to a request: CPU at degree full with audits, over no automation at all.

Run ``python -m benchmarks.degrees``. Three apps of the same wrapped service are driven in one process on one
pinned core without sockets, in interleaved slices, with the collector off: without ``automation:``, the same
again (A/A: the noise), and with it at degree full, 2 % of the decisions audited. Six processes begin them in
each order that there is: which app begins first costs microseconds by itself. Two costs are told: on the
path, which is the CPU of the thread that serves, and in all, with the threads that write the audits. A slice
is long beside the time for which audits wait to be written together, and all is written before the next one
begins: what that costs is nobody else's.

It fails when the path costs more than 10 microseconds more for each request.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from itertools import permutations
from typing import Any, Literal

from benchmarks.overhead import Driven, forget_metrics, prepared

BAR = 10.0
"""Microseconds."""

RATE = 0.02

SETTLED = 0.5
"""Seconds after a slice in which all that it left is written."""

NAMES = ("plain", "again", "full")
BODY = json.dumps({"radius": 14.1}).encode()

Found = dict[str, list[tuple[float, float]]]
Finding = Literal["benign", "malignant"]


def service(name: str, *, automated: bool) -> Any:
    """Return a wrapped service; its model says the same whatever is asked."""
    import bentoml

    from bento_rollout import RolloutSpec, rollout

    class Reading:
        @bentoml.api
        async def read(self, radius: float) -> Finding:
            return "malignant" if radius > 0 else "benign"

    review = {
        "inputs": "plain",
        "on_timeout": "wait",
        "overflow": {"max_open": 1_000_000, "action": "reject"},
    }
    entry = {"degree": "human", "target_error": "2%", "audit": {"rate": RATE}, "review": review}
    spec: dict[str, Any] = {"name": name, "routing": {"key": "header:x-user"}}
    whole = RolloutSpec.parse({**spec, "automation": {"read": entry}} if automated else spec)
    return rollout(champion="one", spec=whole)(bentoml.service(name=name)(Reading))


def promote(name: str) -> None:
    """Let the model of a rollout decide alone, as an operator does who has a certificate for everything."""
    from bento_rollout import open_rollout
    from bento_rollout.ladder import Certificate

    rollout = open_rollout(name, author="benchmark")
    state = rollout.state
    certificate = Certificate(
        digest=state.champions_digest,
        variant=state.champion,
        threshold=0.0,
        target_error=0.02,
        confidence=0.95,
        labels=400,
        accepted=400,
        errors=0,
        coverage=1.0,
        full=True,
        at=time.time(),
        author="benchmark",
    )
    certified = lambda state, _: state.certify("read", certificate)  # noqa: E731 - as short as it is
    rollout._desk.change("calibrate", certified, "", None)  # noqa: SLF001 - nobody has labelled anything here
    rollout.set_degree("read", "full", reason="to be measured")


async def measured(names: Sequence[str], rounds: int, requests: int) -> Found:
    """Return the microseconds a request on the path and in all, of each slice; apps begin in this order."""
    apps: dict[str, Driven] = {}
    found: Found = {name: [] for name in names}
    async with AsyncExitStack() as stack:
        for name in names:
            forget_metrics()
            driven = apps[name] = Driven(service(name, automated=name == "full").to_asgi())
            await driven.start(stack)
            if name == "full":
                await asyncio.to_thread(promote, name)
            await slice_of(driven, 300)
        gc.collect()
        gc.disable()
        for number in range(rounds):
            for name in random.sample(names, len(names)):
                found[name].append(await slice_of(apps[name], requests))
            if number % 5 == 4:
                gc.collect()
    return found


async def slice_of(driven: Driven, requests: int) -> tuple[float, float]:
    """Return the microseconds of CPU a request: of this thread, and of the process."""
    users = [b"user-%d" % random.randrange(10_000) for _ in range(requests)]
    path, whole = time.thread_time(), time.process_time()
    for user in users:
        if await driven.call("read", BODY, user) != 200:
            raise RuntimeError("a request failed")
    path = time.thread_time() - path
    await asyncio.sleep(SETTLED)
    return path / requests * 1e6, (time.process_time() - whole) / requests * 1e6


def spread(over: list[float], under: list[float]) -> tuple[float, float, float]:
    """Return the median of the rounds' differences, with its 95 % bootstrap interval."""
    differences = [a - b for a, b in zip(over, under, strict=True)]
    draws = sorted(statistics.median(random.choices(differences, k=len(differences))) for _ in range(2000))
    return statistics.median(differences), draws[50], draws[1949]


def everywhere(rounds: int, requests: int) -> Found:
    """Return what was found in a process for each order in which the apps can begin: it matters by itself."""
    found: Found = {name: [] for name in NAMES}
    for order in permutations(NAMES):
        command = [sys.executable, "-m", "benchmarks.degrees", "--order", *order]
        sizes = ["--rounds", str(rounds), "--requests", str(requests)]
        done = subprocess.run([*command, *sizes], stdout=subprocess.PIPE, check=True)
        for name, slices in json.loads(done.stdout).items():
            found[name] += [(path, whole) for path, whole in slices]
        print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return found


def main() -> int:
    """Measure, print, and say by the exit status whether the bar is met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=8, help="in each of six processes")
    parser.add_argument("--requests", type=int, default=1000, help="per slice")
    parser.add_argument("--order", nargs=len(NAMES), metavar="NAME", help="only this one, as JSON")
    options = parser.parse_args()
    if options.order is not None:
        with prepared():
            print(json.dumps(asyncio.run(measured(options.order, options.rounds, options.requests))))
        return 0
    found = everywhere(options.rounds, options.requests)
    met = True
    for place, kind in enumerate(("on the path", "in all")):
        times = {name: [both[place] for both in slices] for name, slices in found.items()}
        print(f"{kind}: {statistics.median(times['plain']):.0f} us a request without automation (median)")
        for name, told in (("again", "A/A again"), ("full", "A/B degree full, audits")):
            middle, low, high = spread(times[name], times["plain"])
            print(f"  {told}: {middle:+.1f} us [{low:+.1f}, {high:+.1f}]")
            if (place, name) == (0, "full"):
                met = middle <= BAR
                print(f"  bar {BAR:g} us: {'met' if met else 'MISSED'}")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
