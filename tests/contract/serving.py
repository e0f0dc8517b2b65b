"""Runs decorated services in this process: the real ASGI app with its lifespan, without sockets."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import threading
from typing import Any

# BentoML reads its home once, when it is imported: this comes before everything that imports it.
os.environ.setdefault("BENTOML_HOME", tempfile.mkdtemp(prefix="bento-rollout-tests-"))
os.environ["BENTOML_DO_NOT_TRACK"] = "True"
# `bentoml serve` sets this; prometheus_client looks once, when it is imported.
os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", tempfile.mkdtemp(prefix="bento-rollout-metrics-"))

import httpx
from _bentoml_impl.tasks import Sqlite3Store
from bentoml._internal.configuration.containers import BentoMLContainer

from bento_rollout.bento import batch_metric, metrics
from bento_rollout.bento.decorator import site_of
from bento_rollout.gauged import Drifted, Queued
from bento_rollout.records import (
    Compared,
    Dropped,
    Fact,
    Flipped,
    Observation,
    Prediction,
    Readiness,
)

OURS = ("x-rollout-variant", "x-rollout-revision", "x-rollout-prediction-id", "x-rollout-reason")
DEADLINE = 60.0


class Recorder:
    """A sink that keeps what it is given."""

    def __init__(self) -> None:
        self.facts: list[Observation] = []
        self.changes: list[Readiness] = []
        self.predictions: list[Prediction] = []
        self.shadows: list[Compared | Dropped] = []
        self.flips: list[Flipped] = []
        self.queued: list[Queued] = []
        self.drifted: list[Drifted] = []

    def offer(self, fact: Fact) -> None:
        """Keep a fact."""
        if isinstance(fact, Readiness):
            self.changes.append(fact)
        elif isinstance(fact, Prediction):
            self.predictions.append(fact)
        elif isinstance(fact, Observation):
            self.facts.append(fact)
        elif isinstance(fact, Queued):
            self.queued.append(fact)
        elif isinstance(fact, Drifted):
            self.drifted.append(fact)
        elif isinstance(fact, Flipped):
            self.flips.append(fact)
        else:
            self.shadows.append(fact)


class Served:
    """A service that runs on an event loop of its own; its methods may be called from anywhere."""

    def __init__(self, service: Any) -> None:
        self.service = service
        self.site: Any = site_of(service)
        self.recorder = Recorder()
        if self.site is not None:
            self.site.sink = self.recorder
        if service.needs_task_db():
            Sqlite3Store.init_db(BentoMLContainer.result_store_file.get())
        self.app = service.to_asgi()
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        self._messages: asyncio.Queue[Any] = asyncio.Queue()
        self._replies: asyncio.Queue[Any] = asyncio.Queue()
        self._lifespan: Any = None

    @property
    def facts(self) -> list[Observation]:
        """What the sink has been given of calls."""
        return self.recorder.facts

    @property
    def predictions(self) -> list[Prediction]:
        """What the sink has been told of calls that are over."""
        return self.recorder.predictions

    @property
    def changes(self) -> list[Readiness]:
        """What the sink has been given of variants' states."""
        return self.recorder.changes

    def run(self, work: Any) -> Any:
        """Run a coroutine on the service's loop and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(DEADLINE)

    def start(self) -> Served:
        """Begin the lifespan and wait until the service has started."""
        forget_metrics()

        async def begin() -> Any:
            scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
            self._lifespan = asyncio.ensure_future(self.app(scope, self._messages.get, self._replies.put))
            await self._messages.put({"type": "lifespan.startup"})
            reply = asyncio.ensure_future(self._replies.get())
            await asyncio.wait({reply, self._lifespan}, return_when=asyncio.FIRST_COMPLETED)
            if not reply.done():
                reply.cancel()
                await self._lifespan
            return await reply

        reply = self.run(begin())
        assert reply["type"] == "lifespan.startup.complete", reply
        return self

    def stop(self) -> None:
        """End the lifespan and the loop; once."""
        if self.loop.is_closed():
            return

        async def end() -> None:
            await self._messages.put({"type": "lifespan.shutdown"})
            await asyncio.wait({self._lifespan}, timeout=DEADLINE)
            left = asyncio.all_tasks() - {asyncio.current_task()}
            for task in left:
                task.cancel()
            if left:
                await asyncio.wait(left, timeout=1)

        try:
            self.run(end())
        finally:
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join(DEADLINE)
            self.loop.close()

    def request(self, method: str, path: str, **kwargs: Any) -> httpx.Response:
        """Send one request and wait for its answer."""
        answer: httpx.Response = self.run(self.arequest(method, path, **kwargs))
        return answer

    async def arequest(self, method: str, path: str, **kwargs: Any) -> httpx.Response:
        """Send one request from the service's own loop."""
        transport = httpx.ASGITransport(app=self.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test", timeout=DEADLINE) as client:
            return await client.request(method, path, **kwargs)

    def post(self, path: str, json: Any = None, **kwargs: Any) -> httpx.Response:
        """POST JSON."""
        return self.request("POST", path, **({"json": json} if "content" not in kwargs else {}), **kwargs)

    def get(self, path: str, **kwargs: Any) -> httpx.Response:
        """GET."""
        return self.request("GET", path, **kwargs)

    def together(self, requests: list[dict[str, Any]]) -> list[httpx.Response]:
        """Send requests at the same time: each a dict of `arequest`'s arguments."""

        async def send() -> list[httpx.Response]:
            return list(await asyncio.gather(*(self.arequest(**request) for request in requests)))

        answers: list[httpx.Response] = self.run(send())
        return answers


def forget_metrics() -> None:
    """Let the next service register its metrics: BentoML expects one service in a process."""
    registry = BentoMLContainer.metrics_client.get().registry
    for collector in list(registry._collector_to_names):
        registry.unregister(collector)
    batch_metric._made.clear()
    metrics.forget()


def forget_numbers() -> None:
    """Count in an empty folder from now on; nothing may be serving.

    A scrape reads whatever was ever counted in the folder: with the numbers of all services that this process
    has run, one would take seconds.
    """
    forget_metrics()
    BentoMLContainer.metrics_client.get().prometheus_client.values.ValueClass.close_all_files()
    shutil.rmtree(os.environ["PROMETHEUS_MULTIPROC_DIR"], ignore_errors=True)
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix="bento-rollout-metrics-")


def marks(response: httpx.Response) -> dict[str, str]:
    """Return our headers of a response."""
    return {
        name.removeprefix("x-rollout-"): response.headers[name] for name in OURS if name in response.headers
    }


def bare_part(response: httpx.Response) -> tuple[Any, ...]:
    """Return what must be equal to the bare service's: status, body, headers without ours and without ids."""
    varying = (*OURS, "date", "x-bentoml-request-id", "x-bentoml-trace-id", "etag", "last-modified")
    headers = sorted((name, value) for name, value in response.headers.multi_items() if name not in varying)
    return response.status_code, response.content, headers
