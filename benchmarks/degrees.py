"""What a degree of automation adds to a request: CPU at degree full with audits, over no automation at all.

Run ``python -m benchmarks.degrees``. Apps of the same wrapped service are driven in one process on one pinned
core without sockets, with the collector off: without ``automation:``, the same again (A/A: the noise), with
it at degree full, 2 % of the decisions audited, and with it at degree full, each decision audited. Where an
app's objects lie in memory costs microseconds by itself, so that is done in many processes, each of which
begins the apps in an order of its own, and what is told is the mean of the processes, with its 95 % interval.

What is counted is CPU time, of the kernel as well, of all threads that a request gives work to, but for the
log's, which the apps share (a line tells the degree, and who decided):

- *each request*: on the thread that serves, of requests that are not audited. The apps take turns of a few
  requests, in an order that is drawn anew for each round: what else the machine does meets all of them.
- *each request, recording*: of the threads that write the ledger and the metrics, by their own clocks.
- *each audit, on the path*: what an audited request costs the thread that serves beyond others.
- *each audit, disturbing*: by how much the requests that are served while audits are written get dearer for
  the thread that serves. The two threads share the interpreter; that is measured with requests of the app
  without automation, beside the same number of them while nothing is written.
- *each audit, writing*: of the thread that writes audits, by its own clock. So many are written together as a
  core that only serves makes in the time for which they wait.

An audit's costs count by the rate of audits. It fails when the sum is more than 10 microseconds a request,
and when the interval of A/A is wider than that: the machine is too noisy then, and
``benchmarks.degrees_instructions`` tells what can be told on it.
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
import threading
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any, Literal

from benchmarks.overhead import Driven, forget_metrics, prepared

BAR = 10.0
"""Microseconds."""

RATE = 0.02

TOGETHER = 9
"""Audits that are written together: of 450 requests, which is what a core serves in a quarter of a second."""

SETTLED = 0.5
"""Seconds after which all that was told of requests is written."""

TURN = 4
"""Requests that an app answers before it is the next one's turn."""

BESIDE = 100
"""Requests that are served while audits are written, which takes less time than they do."""

KINDS = ("plain", "again", "full", "every")
RATES = {"full": RATE, "every": 1.0}
"""Of the audits; the others are not automated."""

RECORDING = {"bento-rollout-ledger", "rollout-metrics"}
"""The threads that write what is told of a request."""

BODY = json.dumps({"radius": 14.1}).encode()

Finding = Literal["benign", "malignant"]
Found = dict[str, float]
"""Microseconds, of one process."""


def service(name: str, rate: float | None) -> Any:
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
    entry = {"degree": "human", "target_error": "2%", "audit": {"rate": rate}, "review": review}
    spec: dict[str, Any] = {"name": name, "routing": {"key": "header:x-user"}}
    whole = RolloutSpec.parse(spec if rate is None else {**spec, "automation": {"read": entry}})
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


async def measured(rounds: int, batches: int) -> Found:
    """Return what a request and an audit cost in this process, whose apps begin in an order of its own."""
    apps: dict[str, Driven] = {}
    clocks: dict[str, list[int]] = {}
    async with AsyncExitStack() as stack:
        for kind in random.sample(KINDS, len(KINDS)):
            before = threading.enumerate()
            forget_metrics()
            driven = apps[kind] = Driven(service(kind, RATES.get(kind)).to_asgi())
            await driven.start(stack)
            if kind in RATES:
                await asyncio.to_thread(promote, kind)
            for _ in range(300):
                await call(driven)
            began = [thread for thread in threading.enumerate() if thread not in before]
            clocks[kind] = [clock_of(thread) for thread in began if thread.name in RECORDING]
        gc.collect()
        gc.disable()
        began_at = {kind: seconds_of(clocks[kind]) for kind in KINDS}
        found = await on_the_path(apps, rounds)
        await asyncio.sleep(SETTLED)
        spent = {kind: (seconds_of(clocks[kind]) - began_at[kind]) / rounds / TURN * 1e6 for kind in KINDS}
        found["recording"] = spent["full"] - (spent["plain"] + spent["again"]) / 2
        return found | await beside(apps, batches)


def clock_of(thread: threading.Thread) -> int:
    """Return the clock that tells the CPU time of a thread."""
    return time.pthread_getcpuclockid(thread.ident or 0)


def seconds_of(clocks: Sequence[int]) -> float:
    """Return the CPU time of threads."""
    return sum(map(time.clock_gettime, clocks))


async def on_the_path(apps: dict[str, Driven], rounds: int) -> Found:
    """Return what each request costs the thread that serves, and what an audited one does beyond others."""
    from bento_rollout.automation import audited

    turns: dict[str, list[float]] = {kind: [] for kind in ("plain", "again", "full")}
    audits: list[float] = []
    for number in range(rounds):
        for kind in random.sample(list(turns), len(turns)):
            others: list[float] = []
            drawn: list[float] = []
            for _ in range(TURN):
                cost = await call(apps[kind])
                told = dict(apps[kind].headers)[b"x-rollout-prediction-id"].decode()
                (drawn if kind == "full" and audited(told, RATE) else others).append(cost)
            turns[kind].append(statistics.fmean(others) if others else turns[kind][-1])
            audits += [cost - turns[kind][-1] for cost in drawn]
        if number % 500 == 499:
            gc.collect()
    plain, again, full = turns["plain"], turns["again"], turns["full"]
    both = [(one + other) / 2 for one, other in zip(plain, again, strict=True)]
    return {
        "without": statistics.median(both),
        "again": middle([b - a for a, b in zip(plain, again, strict=True)]),
        "request": middle([b - a for a, b in zip(both, full, strict=True)]),
        "path": middle(audits),
    }


async def beside(apps: dict[str, Driven], batches: int) -> Found:
    """Return what the writing of an audit costs its own thread, and the thread that serves meanwhile."""
    from bento_rollout.bento.audits import Audits

    channels = [one.channel for one in gc.get_objects() if type(one) is Audits]
    clocks = [clock_of(thread) for thread in threading.enumerate() if thread.name == channels[0].name]
    written = [0.0, 0.0]
    disturbed: list[float] = []
    await asyncio.to_thread(flush, channels)
    for _ in range(batches):
        slices: dict[bool, float] = {}
        for writes in random.sample((True, False), 2):
            for _ in range(TOGETHER):
                await call(apps["every"])
            if not writes:  # and they are written before; so the slices differ in nothing else
                await asyncio.to_thread(flush, channels)
            began = seconds_of(clocks)
            for channel in channels:
                channel.flush(0)
            slices[writes] = sum([await call(apps["plain"]) for _ in range(BESIDE)])
            await asyncio.to_thread(flush, channels)
            written[writes] += seconds_of(clocks) - began
        disturbed.append((slices[True] - slices[False]) / TOGETHER)
    return {
        "disturbing": middle(disturbed),
        "writing": (written[True] - written[False]) / batches / TOGETHER * 1e6,
    }


def flush(channels: Sequence[Any]) -> None:
    """Wait until all audits are written."""
    for channel in channels:
        channel.flush(60.0)


async def call(driven: Driven) -> float:
    """Return the microseconds of CPU that a request costs the thread that serves."""
    user = b"user-%d" % random.randrange(10_000)
    began = time.thread_time_ns()
    status = await driven.call("read", BODY, user)
    took = time.thread_time_ns() - began
    if status != 200:
        raise RuntimeError("a request failed")
    return took / 1000


def middle(values: Sequence[float]) -> float:
    """Return the mean without the tenth at either end, which is the machine's."""
    ends = len(values) // 10
    return statistics.fmean(sorted(values)[ends : len(values) - ends])


def spread(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the mean over processes with its 95 % bootstrap interval."""
    draws = sorted(statistics.fmean(random.choices(values, k=len(values))) for _ in range(4000))
    return statistics.fmean(values), draws[100], draws[3899]


def everywhere(processes: int, rounds: int, batches: int) -> list[Found]:
    """Return what was found in each process."""
    found = []
    command = [sys.executable, "-m", "benchmarks.degrees", "--one"]
    sizes = ["--rounds", str(rounds), "--batches", str(batches)]
    for _ in range(processes):
        done = subprocess.run([*command, *sizes], stdout=subprocess.PIPE, check=True)
        found.append(json.loads(done.stdout))
        print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return found


def main() -> int:
    """Measure, print, and say by the exit status whether the bar is met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=1500, help="in each process")
    parser.add_argument("--batches", type=int, default=30, help="of audits, in each process")
    parser.add_argument("--one", action="store_true", help="only in this process, as JSON")
    options = parser.parse_args()
    if options.one:
        with prepared():
            print(json.dumps(asyncio.run(measured(options.rounds, options.batches))))
        return 0
    found = everywhere(options.processes, options.rounds, options.batches)
    return told(found)


def told(found: Sequence[Found]) -> int:
    """Print what was found; return the exit status."""

    def line(words: str, values: Sequence[float], unit: str = "us a request") -> tuple[float, float, float]:
        value, low, high = spread(values)
        print(f"  {words:34} {value:+7.1f} {unit} [{low:+.1f}, {high:+.1f}]")
        return value, low, high

    without = statistics.fmean(one["without"] for one in found)
    print(f"without automation: {without:.0f} us of CPU a request; {len(found)} processes")
    _, low, high = line("A/A without it, again", [one["again"] for one in found])
    line("each request", [one["request"] for one in found])
    line("each request, recording", [one["recording"] for one in found])
    for name, words in (("path", "on the path"), ("disturbing", "disturbing"), ("writing", "writing")):
        line(f"each audit, {words}", [one[name] for one in found], "us an audit")
    on_path = [one["request"] + RATE * (one["path"] + one["disturbing"]) for one in found]
    apart = [one["recording"] + RATE * one["writing"] for one in found]
    whole = [there + beside for there, beside in zip(on_path, apart, strict=True)]
    line(f"A/B the serving thread, {RATE:.0%} audits", on_path)
    value, *_ = line(f"A/B in all, {RATE:.0%} audits", whole)
    ratios = [1 + cost / one["without"] for cost, one in zip(whole, found, strict=True)]
    print("  A/B in all, as a ratio             {:.3f}x [{:.3f}, {:.3f}]".format(*spread(ratios)))
    quiet, met = high - low <= BAR, value <= BAR
    print(f"  bar {BAR:g} us: {'met' if met else 'MISSED'}{'' if quiet else '; TOO NOISY to say'}")
    return 0 if met and quiet else 1


if __name__ == "__main__":
    sys.exit(main())
