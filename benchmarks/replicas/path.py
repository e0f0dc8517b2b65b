"""What a request costs over PostgreSQL, against the same over SQLite: in one process, without sockets.

``python -m benchmarks.replicas.path URL ROUNDS`` is what the part ``path`` of `benchmarks.replicas` runs.
Three apps of the same service, two of them over SQLite (A/A: the noise), are driven in interleaved slices
on one core with the collector off. The *path* is the CPU of the thread that serves; beside it stands that
of the whole process, which writes the ledger, too. What the database's server spends is not in it.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import random
import statistics
import subprocess
import sys
import time
from contextlib import AsyncExitStack
from typing import Any

from benchmarks._ab import ratio
from benchmarks.overhead import Driven, forget_metrics, prepared

from .findings import Finding, Outcome

__all__ = ["path"]

BAR, NOISE = 1.02, 0.02
BODY = json.dumps({"rows": [[0.5] * 30]}).encode()

Costs = dict[str, list[tuple[float, float]]]
"""Seconds of each slice, by app: of the thread that serves, and of the process."""


def path(url: str, rounds: int) -> Outcome:
    """Measure in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.replicas.path", url, str(rounds)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1200)
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])
    found = json.loads(done.stdout)
    noise, cost = found["noise"], found["path"]
    quiet = abs(noise[0] - 1) <= NOISE
    bar = f"at most {BAR}x, where A/A is within {NOISE:.0%}"
    shown = {name: f"{found[name][0]:.3f}x [{found[name][1]:.3f}, {found[name][2]:.3f}]" for name in _SHOWN}
    path_of = f"{shown['path']}; A/A {shown['noise']}; {found['us']:.0f} us over SQLite"
    return [
        Finding("CPU of a request's path, over the same over SQLite", path_of, bar, quiet and cost[0] <= BAR),
        Finding("CPU of the whole process, its ledger's writer included", shown["process"]),
    ]


_SHOWN = ("path", "noise", "process")


def _service(name: str) -> Any:
    import bentoml
    import numpy as np

    from bento_rollout import RolloutSpec, Variant, rollout

    weights = np.linspace(-1, 1, 30)

    def make(name: str) -> Any:
        class Screening:
            @bentoml.api
            async def array(self, rows: np.ndarray) -> np.ndarray:
                return 1 / (1 + np.exp(-rows @ weights))

        return bentoml.service(name=name)(Screening)

    spec = RolloutSpec.parse({"name": name, "routing": {"key": "header:x-user"}, "weights": {"boosted": 10}})
    twin = Variant(make(f"{name}_boosted"), twin=True)
    return rollout(champion="logistic", candidates={"boosted": twin}, spec=spec)(make(name))


async def _measured(url: str, rounds: int, requests: int = 150) -> Costs:
    local = os.environ["BENTO_ROLLOUT_STORE"]
    stores = {"sqlite": local, "again": local, "postgres": url}
    apps = {name: Driven(_service(name).to_asgi()) for name in stores}
    costs: Costs = {name: [] for name in apps}
    async with AsyncExitStack() as stack:
        for name, driven in apps.items():
            os.environ["BENTO_ROLLOUT_STORE"] = stores[name]
            forget_metrics()
            await driven.start(stack)
            await _slice(driven, 300)
        gc.collect()
        gc.disable()
        for number in range(rounds):
            for name in random.sample(list(apps), len(apps)):
                costs[name].append(await _slice(apps[name], requests))
            if number % 5 == 4:
                gc.collect()
    return costs


async def _slice(driven: Driven, requests: int) -> tuple[float, float]:
    """Return the CPU seconds of some requests, one after the other."""
    users = [b"user-%d" % random.randrange(10_000) for _ in range(requests)]
    thread, process = time.thread_time(), time.process_time()
    for user in users:
        if await driven.call("array", BODY, user) != 200:
            raise RuntimeError("a request failed")
    return time.thread_time() - thread, time.process_time() - process


def _main() -> None:
    url, rounds = sys.argv[1], int(sys.argv[2])
    with prepared():
        costs = asyncio.run(_measured(url, rounds))
    thread = {name: [one[0] for one in each] for name, each in costs.items()}
    whole = {name: [one[1] for one in each] for name, each in costs.items()}
    pairs = {
        "path": ratio(thread["postgres"], thread["sqlite"]),
        "noise": ratio(thread["again"], thread["sqlite"]),
        "process": ratio(whole["postgres"], whole["sqlite"]),
    }
    told: dict[str, Any] = {name: [one.value, one.low, one.high] for name, one in pairs.items()}
    print(json.dumps({**told, "us": statistics.median(thread["sqlite"]) / 150 * 1e6}))


if __name__ == "__main__":
    _main()
