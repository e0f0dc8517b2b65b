"""What our own work costs on a request's path, and beside it: the profile behind ``benchmarks.overhead``.

In a real request: the main thread's CPU of a wrapped request less that of a bare one, with what we save on
BentoML's own path switched off, in interleaved slices; and the CPU of each thread that writes. In hot loops:
each step by itself, less the model; together they are all that we do. And all of it in one loop, around the
model and BentoML's making of a response: there, as in a real request, steps cost each other's caches, too.

It fails when a sum is above its bar: 100 us in a real request, 40 us of the steps in hot loops (medians).
"""

from __future__ import annotations

import asyncio
import gc
import json
import random
import statistics
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from _bentoml_impl.serde import ALL_SERDE
from starlette.requests import Request
from starlette.responses import Response

from benchmarks.overhead import Driven, Message, forget_metrics, services, slice_of
from bento_rollout.bento.context import CALL
from bento_rollout.bento.middleware import RolloutMiddleware
from bento_rollout.bento.requests import Requests, _begun
from bento_rollout.records import Plan, Reason

__all__ = ["profile"]

REAL, HOT = 100.0, 40.0
"""Bars, in microseconds of a request."""

ENDPOINT = "model"
BODY = b'{"scores":[0.5]}'
SLICE = 400
WRITERS = {"rollout-log": "log lines", "bento-rollout-ledger": "ledger", "rollout-metrics": "metrics"}


@dataclass(frozen=True)
class Found:
    """What was measured, in microseconds of CPU a request (medians).

    Attributes:
        bare, again, wrapped: of the main thread in each round, savings off; bare twice.
        writers: of each thread beside it.
        hot, model: our way around the model and the making of its response in one loop, and these alone.
        steps: each in a hot loop of its own.
    """

    bare: list[float]
    again: list[float]
    wrapped: list[float]
    writers: dict[str, float]
    hot: float
    model: float
    steps: dict[str, float]

    @property
    def real(self) -> float:
        """Our own work on the path of a real request."""
        return statistics.median(a - b for a, b in zip(self.wrapped, self.bare, strict=True))

    @property
    def noise(self) -> float:
        """What bare costs more than itself."""
        return statistics.median(a - b for a, b in zip(self.again, self.bare, strict=True))

    @property
    def sum(self) -> float:
        """Our own work, each step in a hot loop."""
        return sum(self.steps.values())


def profile(rounds: int, requests: int, *, as_json: bool) -> int:
    """Measure, print, and say by the exit status whether both bars are met."""
    found = asyncio.run(_measure(rounds, requests))
    good = found.real <= REAL and found.sum <= HOT
    if as_json:
        print(json.dumps({**vars(found), "real": found.real, "sum": found.sum, "good": good}))
        return 0 if good else 1
    print("microseconds of CPU a request (medians)")
    print("in a real request, savings off:")
    bare, wrapped = statistics.median(found.bare), statistics.median(found.wrapped)
    print(f"  bare {bare:.0f}, wrapped {wrapped:.0f}, on the main thread")
    print(f"  {'bare again, less bare (noise)':<34}{found.noise:8.1f}")
    _say("our own work on the path", found.real, REAL)
    for name, value in found.writers.items():
        print(f"  beside it, {name:<22}{value:8.1f}")
    print("each step in a hot loop:")
    for name, value in found.steps.items():
        print(f"  {name:<34}{value:8.1f}")
    _say("together", found.sum, HOT)
    print("all at once in one loop:")
    print(f"  the model and its response {found.model:.1f}, with our way to them and back {found.hot:.1f}")
    return 0 if good else 1


def _say(name: str, value: float, bar: float) -> None:
    print(f"  {name:<34}{value:8.1f}   bar {bar:.0f}: {'met' if value <= bar else 'MISSED'}")


async def _measure(rounds: int, requests: int) -> Found:
    bare, again, wrapped = services()
    apps = {
        "bare": Driven(bare.to_asgi()),
        "again": Driven(again.to_asgi()),
        "wrapped": Driven(wrapped.to_asgi()),
    }
    body = json.dumps({"rows": [[0.5] * 30]}).encode()
    async with AsyncExitStack() as stack:
        with _without_savings():
            for driven in apps.values():
                forget_metrics()
                await driven.start(stack)
                await slice_of(driven, ENDPOINT, 300, body)
        with _collector_off():
            times, writers = await _real(apps, rounds, requests, body)
            hot = _Hot(wrapped, apps["wrapped"])
            slices = [await hot.slice() for _ in range(rounds)]
            steps = await hot.steps(rounds)
    per = statistics.median
    return Found(
        bare=times["bare"],
        again=times["again"],
        wrapped=times["wrapped"],
        writers={name: per(values) for name, values in writers.items()},
        hot=per(with_us for with_us, _ in slices),
        model=per(alone for _, alone in slices),
        steps={name: per(values) for name, values in steps.items()},
    )


@contextmanager
def _without_savings() -> Iterator[None]:
    """Start without what costs less than in bare BentoML: what is left is our own."""
    with (
        patch("bento_rollout.bento.serving.quieten", lambda *_: None),
        patch("bento_rollout.bento.endpoints.preset", lambda spec: spec),
    ):
        yield


@contextmanager
def _collector_off() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _clocks() -> dict[str, float]:
    """Return the CPU seconds of each thread, by name."""
    threads = ((one.name, one.ident) for one in threading.enumerate())
    return {name: time.clock_gettime(time.pthread_getcpuclockid(ident)) for name, ident in threads if ident}


async def _real(
    apps: dict[str, Driven], rounds: int, requests: int, body: bytes
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Return the main thread's time of each slice by app, and that of the threads that write."""
    times: dict[str, list[float]] = {name: [] for name in apps}
    writers: dict[str, list[float]] = {told: [] for told in WRITERS.values()}
    for number in range(rounds):
        for name in random.sample(list(apps), len(apps)):
            await asyncio.sleep(0.12)  # what waits to be written is written
            before, began = _clocks(), time.thread_time()
            await slice_of(apps[name], ENDPOINT, requests, body)
            times[name].append((time.thread_time() - began) / requests * 1e6)
            await asyncio.sleep(0.12)
            after = _clocks()
            for thread, told in WRITERS.items() if name == "wrapped" else ():
                writers[told].append((after[thread] - before[thread]) / requests * 1e6)
        gc.collect()
        if number % 5 == 4:
            print(f"\r{number + 1}/{rounds} rounds", end="", file=sys.__stderr__, flush=True)
    print(file=sys.__stderr__)
    return times, writers


class _Hot:
    """Our middleware and endpoint around the model alone, without BentoML between them."""

    def __init__(self, service: Any, driven: Driven) -> None:
        one: Any = driven.app.middleware_stack  # type: ignore[attr-defined]  # a Starlette application
        while not isinstance(one, RolloutMiddleware):
            one = one.app
        site: Any = one._site  # noqa: SLF001 - the benchmark looks within
        self._site = site
        self._local = getattr(site.instance, ENDPOINT).local
        self._facade = site.serving._facades[ENDPOINT]  # noqa: SLF001
        self._recording = site.serving._recording  # noqa: SLF001
        self._context = service.context
        self._inner = service.inner.__mro__[1].__dict__[ENDPOINT].func
        self._rows = __import__("numpy").full((1, 30), 0.5)
        self._requests = Requests(self._serve, site, site.serving)

    def _scope(self) -> dict[str, Any]:
        user = b"user-%d" % random.randrange(10_000)
        headers = [(b"content-type", b"application/json"), (b"host", b"x"), (b"x-user", user)]
        path = f"/{ENDPOINT}"
        return {"type": "http", "method": "POST", "path": path, "headers": headers, "state": {}}

    async def _serve(self, scope: Any, _: Any, send: Any) -> None:
        with self._context.in_request(Request(scope)):
            answer = await self._local(rows=self._rows)
            if not isinstance(answer, Response):
                answer = await self._made(answer)
        await _out(send)

    async def _alone(self, scope: Any, _: Any, send: Any) -> None:
        with self._context.in_request(Request(scope)):
            await self._made(await self._inner(self._site.instance, rows=self._rows))
        await _out(send)

    async def _made(self, answer: Any) -> Any:
        """Return the response that BentoML makes of an answer."""
        return await self._facade.output_spec.to_http_response(answer, ALL_SERDE["application/json"]())

    async def slice(self) -> tuple[float, float]:
        """Return a request's microseconds with us, and without."""
        await asyncio.sleep(0.12)
        return await _timed(self._requests, self._scope), await _timed(self._alone, self._scope)

    async def steps(self, rounds: int) -> dict[str, list[float]]:
        """Return the microseconds of each step in a loop of its own, for each round."""
        found: dict[str, list[float]] = {}
        router, kwargs = self._facade._router, {"rows": self._rows}  # noqa: SLF001
        plan = Plan(self._site.champion, 1, Reason.SPLIT, 1)

        async def nothing(_: Any, __: Any, send: Any) -> None:
            await _out(send)

        async def marked(scope: Any, _: Any, send: Any) -> None:
            scope[CALL].plans = (plan,)
            await _out(send)

        async def model(_: Any) -> Any:
            return await self._inner(self._site.instance, **kwargs)

        scope = self._scope()

        async def endpoint(call: Any) -> Any:
            scope[CALL] = call
            return await self._local(**kwargs)

        async def run(call: Any) -> Any:
            return await router.call(call, plan, (), kwargs, None)

        def calls() -> list[Any]:
            return [_begun(ENDPOINT, self._scope(), _receive) for _ in range(SLICE)]

        way = Requests(marked, self._site, self._site.serving)
        for _ in range(rounds):
            await asyncio.sleep(0.12)
            bare, alone = await _timed(nothing, self._scope), await _each(model, calls())
            there_and_back = await _timed(way, self._scope) - bare
            found.setdefault("way in and out: id, call, headers", []).append(there_and_back)
            with (
                patch.object(router, "call", lambda call, *_: model(call)),
                self._context.in_request(Request(scope)),
            ):
                planned = await _each(endpoint, calls()) - alone
            found.setdefault("endpoint: key, state, plan", []).append(planned)
            ran = calls()
            found.setdefault("run: call it, observe it", []).append(await _each(run, ran) - alone)
            await asyncio.sleep(0.12)
            began = time.thread_time()
            for call in ran:
                self._recording.tell(call)
            told = (time.thread_time() - began) / SLICE * 1e6
            found.setdefault("tell: log line, ledger, metrics", []).append(told)
        return found


async def _each(step: Callable[[Any], Awaitable[Any]], calls: list[Any]) -> float:
    """Return the microseconds that a step takes for each call."""
    began = time.thread_time()
    for call in calls:
        await step(call)
    return (time.thread_time() - began) / len(calls) * 1e6


async def _timed(app: Callable[[Any, Any, Any], Awaitable[None]], scope: Callable[[], Any]) -> float:
    scopes = [scope() for _ in range(SLICE)]
    began = time.thread_time()
    for one in scopes:
        await app(one, _receive, _send)
    return (time.thread_time() - began) / SLICE * 1e6


async def _out(send: Any) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", b"16")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": BODY})


async def _receive() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _send(_: Message) -> None:
    return None
