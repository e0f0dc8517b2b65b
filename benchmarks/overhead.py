"""What a wrapped request costs: CPU over the bare service, without sockets, in interleaved slices.

Run ``python -m benchmarks.overhead``. Three apps of the same service are driven in one process on one pinned
core with the collector off: bare, bare again (A/A: the noise) and wrapped (A/B) with a 10 % canary, a log
line for each prediction, metrics and the ledger, all as they are by default. CPU is that of the whole
process, the threads that write included. Two endpoints are asked: one that returns an array, for which
BentoML makes a JSON schema with every answer (the wrapped one knows its media type beforehand), and one that
returns a model, for which it does not.

By default nothing takes spans, as in BentoML without an exporter; with ``--spans recorded`` there is an
exporter, and no request is sampled. In both the wrapped one leaves out the spans of single messages. With
``--spans sampled`` every request is sampled and exported, on all sides; the wrapped one then sets attributes
on the request's span and makes one of each variant's run: that is said, and has no bar.

It fails when an A/A lies outside 4 percent (the machine is too noisy to say anything) or an A/B above the
bar. With ``--profile`` it says instead what our own work on a request's path costs, step by step.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import AsyncExitStack, contextmanager, redirect_stderr
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel

from benchmarks._ab import Ratio, ratio

BAR = 1.05
NOISE = 0.04

Message = MutableMapping[str, Any]
App = Callable[[Any, Any, Any], Awaitable[None]]


ENDPOINTS = ("array", "model")


class Scores(BaseModel):
    """What an endpoint returns that has a model for it."""

    scores: list[float]


def services() -> tuple[Any, Any, Any]:
    """Return two bare services and a wrapped one, all of the same class body."""
    import bentoml

    from bento_rollout import RolloutSpec, rollout

    weights = np.linspace(-1, 1, 30)

    def make(name: str) -> Any:
        class Screening:
            @bentoml.api
            async def array(self, rows: np.ndarray) -> np.ndarray:
                return 1 / (1 + np.exp(-rows @ weights))

            @bentoml.api
            async def model(self, rows: np.ndarray) -> Scores:
                return Scores(scores=(1 / (1 + np.exp(-rows @ weights))).tolist())

        return bentoml.service(name=name)(Screening)

    spec = RolloutSpec.parse({"routing": {"key": "header:x-user"}, "weights": {"boosted": 10}})
    wrapped = rollout(champion="logistic", candidates={"boosted": twin(make)}, spec=spec)(make("wrapped"))
    return make("bare"), make("bare_again"), wrapped


def twin(make: Callable[[str], Any]) -> Any:
    """Return a candidate that costs the same as the champion."""
    from bento_rollout import Variant

    return Variant(make("boosted"), twin=True)


@dataclass
class Driven:
    """An app that is started and takes requests without sockets.

    Attributes:
        headers: those of its last answer.
    """

    app: App
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)

    async def start(self, stack: AsyncExitStack) -> None:
        """Run the app's lifespan until the stack ends."""
        inbox: asyncio.Queue[Message] = asyncio.Queue()
        ready = asyncio.Event()

        async def send(message: Message) -> None:
            if message["type"].endswith(".failed"):
                raise RuntimeError(message.get("message"))
            ready.set()

        scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
        task = asyncio.ensure_future(self.app(scope, inbox.get, send))
        await inbox.put({"type": "lifespan.startup"})
        waiting = asyncio.create_task(ready.wait())
        await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()

        async def stop() -> None:
            await inbox.put({"type": "lifespan.shutdown"})
            await task

        stack.push_async_callback(stop)

    async def call(self, endpoint: str, body: bytes, user: bytes) -> int:
        """Send one request and return its status."""
        headers = [
            (b"content-type", b"application/json"),
            (b"host", b"x"),
            (b"x-user", user),
            (b"content-length", b"%d" % len(body)),
        ]
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "path": f"/{endpoint}",
            "raw_path": f"/{endpoint}".encode(),
            "query_string": b"",
            "root_path": "",
            "scheme": "http",
            "headers": headers,
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
            "state": {},
        }
        status = 0
        sent = False

        async def receive() -> Message:
            nonlocal sent
            if sent:
                await asyncio.Event().wait()
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status, self.headers = message["status"], message["headers"]

        await self.app(scope, receive, send)
        return status


def forget_metrics() -> None:
    """Let the next app of this process register the same metrics: each app keeps and feeds its own."""
    from prometheus_client import REGISTRY

    for collector in list(REGISTRY._collector_to_names):  # noqa: SLF001 - it has no public list
        REGISTRY.unregister(collector)


async def slice_of(driven: Driven, endpoint: str, requests: int, body: bytes) -> float:
    """Return the CPU seconds of this process for some requests, one after the other."""
    users = [b"user-%d" % random.randrange(10_000) for _ in range(requests)]
    began = time.process_time()
    for user in users:
        if await driven.call(endpoint, body, user) != 200:
            raise RuntimeError("a request failed")
    return time.process_time() - began


Slices = dict[tuple[str, str], list[float]]
"""CPU seconds of each slice, by app and endpoint."""


async def measure(rounds: int, requests: int) -> Slices:
    """Drive each endpoint of each app, interleaved."""
    body = json.dumps({"rows": [[0.5] * 30]}).encode()
    bare, again, wrapped = services()
    apps = {
        "bare": Driven(bare.to_asgi()),
        "again": Driven(again.to_asgi()),
        "wrapped": Driven(wrapped.to_asgi()),
    }
    times: Slices = {(name, endpoint): [] for name in apps for endpoint in ENDPOINTS}
    async with AsyncExitStack() as stack:
        for driven in apps.values():
            forget_metrics()
            await driven.start(stack)
            for endpoint in ENDPOINTS:
                await slice_of(driven, endpoint, 200, body)
        gc.collect()
        gc.disable()
        for number in range(rounds):
            for name, endpoint in random.sample(list(times), len(times)):
                times[name, endpoint].append(await slice_of(apps[name], endpoint, requests, body))
            if number % 5 == 4:
                gc.collect()
                print(f"\r{number + 1}/{rounds} rounds", end="", file=sys.__stderr__, flush=True)
    print(file=sys.__stderr__)
    return times


def take_spans(*, sampled: bool) -> None:
    """Give BentoML's provider an exporter that forgets; with ``sampled`` it samples every request, too."""
    from bentoml._internal.configuration.containers import BentoMLContainer
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
    from opentelemetry.sdk.trace.sampling import ALWAYS_ON

    class Nowhere(SpanExporter):
        def export(self, _: object) -> SpanExportResult:
            return SpanExportResult.SUCCESS

    provider = BentoMLContainer.tracer_provider.get()
    if sampled:
        provider.sampler = ALWAYS_ON
    provider.add_span_processor(BatchSpanProcessor(Nowhere()))


def main() -> int:
    """Measure, print, and say by the exit status whether the bar is met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--requests", type=int, default=150, help="per slice")
    parser.add_argument("--spans", choices=("untaken", "recorded", "sampled"), default="untaken")
    parser.add_argument("--profile", action="store_true", help="say what each step of ours costs instead")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with prepared():
        if options.profile:
            from benchmarks.overhead_profile import profile

            return profile(options.rounds, options.requests, as_json=options.json)
        if options.spans != "untaken":
            take_spans(sampled=options.spans == "sampled")
        times = asyncio.run(measure(options.rounds, options.requests))
    found = {endpoint: compared(times, endpoint) for endpoint in ENDPOINTS}
    bar = float("inf") if options.spans == "sampled" else BAR
    good = all(abs(noise.value - 1) <= NOISE and cost.value <= bar for noise, cost in found.values())
    if options.json:
        print(
            json.dumps({"endpoints": {e: list(map(asdict, pair)) for e, pair in found.items()}, "good": good})
        )
        return 0 if good else 1
    print(f"spans: {options.spans}")
    for endpoint, (noise, cost) in found.items():
        bare, wrapped = (
            statistics.median(times[name, endpoint]) / options.requests * 1e6 for name in ("bare", "wrapped")
        )
        quiet, met = abs(noise.value - 1) <= NOISE, cost.value <= bar
        verdict = "no bar" if bar > BAR else f"bar {bar:.2f}x: {'met' if met else 'MISSED'}"
        print(f"{endpoint}: bare {bare:.0f} us, wrapped {wrapped:.0f} us of CPU a request (medians)")
        print(f"  A/A bare again / bare    {noise}  {'quiet' if quiet else 'TOO NOISY'}")
        print(f"  A/B wrapped / bare       {cost}  {verdict}")
    return 0 if good else 1


@contextmanager
def prepared() -> Iterator[None]:
    """Give the process a core and a home of its own; log lines are made as ever, and written to nowhere."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    logging.disable(logging.INFO)
    with tempfile.TemporaryDirectory() as home:
        os.environ.update(
            BENTOML_HOME=home,
            BENTOML_DO_NOT_TRACK="1",
            BENTO_ROLLOUT_STORE=f"sqlite:///{home}/store.db",
            PROMETHEUS_MULTIPROC_DIR=home,
        )
        with Path(os.devnull).open("w") as nowhere, redirect_stderr(nowhere):
            yield


def compared(times: Slices, endpoint: str) -> tuple[Ratio, Ratio]:
    """Return what bare costs against itself, and wrapped against bare."""
    bare = times["bare", endpoint]
    return ratio(times["again", endpoint], bare), ratio(times["wrapped", endpoint], bare)


if __name__ == "__main__":
    sys.exit(main())
