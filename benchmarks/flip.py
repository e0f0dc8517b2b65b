"""How long a flip takes on four workers under load: acknowledged, and served by the last worker.

Run ``python -m benchmarks.flip``. A real ``bentoml serve`` with 4 workers gets requests over 32 connections;
another process flips to and fro. Bars hold at half of the saturated rate: median under 50 ms without hooks,
under 300 ms with a ``before_flip`` hook of 10 ms. At the saturated rate the times are printed without a bar.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

CONNECTIONS = 32
WORKERS = 4
PATIENCE = 5.0
"""Seconds within which every worker must have answered with the new variant, or the flip has failed."""
MOST = 1000
"""Connections that are opened at most until every worker has taken one."""

BARS = {"no hook": 0.050, "10 ms hook": 0.300}
REQUEST = b"POST /who HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
FLIPPER = """
import sys, time
from bento_rollout import open_rollout
rollout = open_rollout("flipping")
for line in sys.stdin:
    began = time.monotonic()
    rollout.flip(line.strip())
    print(began, time.monotonic(), flush=True)
"""


@dataclass
class Load:
    """Requests over keep-alive connections, and who answered them when."""

    port: int
    pause: float = 0.0
    answers: list[tuple[float, float, str, str]] = field(default_factory=list)
    failures: int = 0
    running: bool = True

    async def connection(self, streams: Streams) -> None:
        """Send one request after the other until the load ends."""
        while self.running:
            began = time.monotonic()
            head, body = await _ask(*streams)
            if " 200 " not in head.split("\r\n")[0]:
                self.failures += 1
            else:
                self.answers.append(
                    (
                        began,
                        time.monotonic(),
                        body,
                        head.split("x-rollout-variant: ")[1].split("\r\n")[0],
                    )
                )
            if self.pause:
                await asyncio.sleep(max(0.0, began + self.pause - time.monotonic()))

    @contextlib.asynccontextmanager
    async def going(self) -> AsyncIterator[Load]:
        """Keep the connections busy inside the block."""
        async with _connected(self.port) as connections:
            tasks = [asyncio.create_task(self.connection(streams)) for streams in connections]
            try:
                yield self
            finally:
                self.running = False
                await asyncio.gather(*tasks)


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[str, str]:
    """Send one request; return the head and the body of its answer."""
    writer.write(REQUEST)
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    body = await reader.readexactly(int(head.split("content-length: ")[1].split("\r\n")[0]))
    return head, body.decode()


@contextlib.asynccontextmanager
async def _connected(port: int) -> AsyncIterator[list[Streams]]:
    """Open the connections, some of them to each worker: they are opened until every worker has taken one."""
    opened: list[tuple[str, Streams]] = []
    while len(opened) < CONNECTIONS or len({pid for pid, _ in opened}) < WORKERS:
        if len(opened) == MOST:
            raise RuntimeError(f"of {MOST} connections only some workers took one")
        streams = await asyncio.open_connection("127.0.0.1", port)
        _, pid = await _ask(*streams)
        opened.append((pid, streams))
    first = dict(reversed(opened))
    others = [streams for pid, streams in opened if streams is not first[pid]]
    try:
        yield [*first.values(), *others][:CONNECTIONS]  # those left over stay open, and are not used
    finally:
        for _, streams in opened:
            streams[1].close()


@contextlib.contextmanager
def served(home: str, service: str, rollout: str, workers: int, **environ_more: str) -> Iterator[int]:
    """Serve a benchmark's service and yield its port once all its workers are there."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    os.environ.update(
        BENTOML_HOME=home, BENTO_ROLLOUT_STORE=f"sqlite:///{home}/store.db", BENTOML_DO_NOT_TRACK="1"
    )
    environ = {**os.environ, **environ_more}
    command = [sys.executable, "-m", "bentoml", "serve", service, "--port", str(port)]
    with Path(home, "server.log").open("wb") as log:
        server = subprocess.Popen(command, env=environ, stdout=log, stderr=log, cwd=Path(__file__).parents[1])
    try:
        _wait_for_workers(port, server, rollout, workers)
        yield port
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)


def _wait_for_workers(port: int, server: subprocess.Popen[bytes], rollout: str, workers: int) -> None:
    from bento_rollout import open_rollout
    from bento_rollout.errors import RolloutError

    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and server.poll() is None:
        with contextlib.suppress(OSError, RolloutError):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=1).close()
            if len(open_rollout(rollout).status()["workers"]) == workers:
                return
        time.sleep(0.2)
    raise RuntimeError("the service did not start; see server.log in its home")


async def saturated(port: int, seconds: float = 3.0) -> float:
    """Return the requests a second that the connections reach together."""
    async with Load(port).going() as load:
        await asyncio.sleep(seconds)
        return len(load.answers) / seconds


async def flips(port: int, count: int, pause: float) -> tuple[list[float], list[float], int, int]:
    """Flip under load; return times to acknowledgement and last worker, failures, wrong variants.

    A flip after which some worker has not answered with the new variant in time is a failure, too.
    """
    flipper = await asyncio.create_subprocess_exec(
        sys.executable, "-c", FLIPPER, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert flipper.stdin is not None
    assert flipper.stdout is not None
    acknowledged, last, wrong = [], [], 0
    target = "green"
    async with Load(port, pause).going() as load:
        await asyncio.sleep(0.5)
        for number in range(count):
            load.answers.clear()
            flipper.stdin.write(f"{target}\n".encode())
            began, ended = map(float, (await flipper.stdout.readline()).split())
            await asyncio.sleep(max(0.25, 2 * pause))
            first = await _answered_by_all(load, target, ended + PATIENCE)
            load.failures += len(first) < WORKERS
            wrong += sum(start > ended and variant != target for start, _, _, variant in load.answers)
            acknowledged.append(ended - began)
            last.append(max(first.values(), default=time.monotonic()) - began)
            target = "blue" if target == "green" else "green"
            print(f"\r{number + 1}/{count} flips", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    flipper.stdin.close()
    await flipper.wait()
    return acknowledged, last, load.failures, wrong


async def _answered_by_all(load: Load, target: str, deadline: float) -> dict[str, float]:
    """Wait until every worker has answered with a variant; return when each first did, by pid."""
    while True:
        first: dict[str, float] = {}
        for _, end, pid, variant in load.answers:
            if variant == target:
                first[pid] = min(end, first.get(pid, end))
        if len(first) >= WORKERS or time.monotonic() > deadline:
            return first
        await asyncio.sleep(0.05)


@dataclass(frozen=True)
class Row:
    """One line of the result; times in milliseconds, ``bar_ms`` None where there is no bar."""

    flip: str
    load: str
    rate: float
    median_ms: float
    worst_ms: float
    last_worker_median_ms: float
    failures: int
    wrong: int
    bar_ms: float | None

    @property
    def met(self) -> bool:
        """Whether nothing failed, and the bar is met if there is one."""
        return not self.failures and not self.wrong and (self.bar_ms is None or self.median_ms < self.bar_ms)

    def __str__(self) -> str:
        bar = "no bar" if self.bar_ms is None else f"bar {self.bar_ms:.0f} ms"
        return (
            f"{self.flip:>10}, {self.load:<17} acknowledged {self.median_ms:6.1f} ms "
            f"(worst {self.worst_ms:6.1f}), "
            f"last worker {self.last_worker_median_ms:6.1f} ms, failed {self.failures}, "
            f"wrong variant {self.wrong}; {bar}: {'met' if self.met else 'MISSED'}"
        )


def measure(label: str, bar: float, count: int) -> list[Row]:
    """Return a row at half of the saturated rate, and one at the saturated rate."""
    rows = []
    more = {} if label == "no hook" else {"BENCH_HOOK": "1"}
    service = "benchmarks.flip_service:Flipping"
    with tempfile.TemporaryDirectory() as home, served(home, service, "flipping", WORKERS, **more) as port:
        rate = asyncio.run(saturated(port))
        for load, pause in (("half of saturated", 2 * CONNECTIONS / rate), ("saturated", 0.0)):
            times, last, failures, wrong = asyncio.run(flips(port, count, pause))
            middle, latest = statistics.median(times) * 1e3, statistics.median(last) * 1e3
            limit = bar * 1e3 if pause else None
            rows.append(Row(label, load, rate, middle, max(times) * 1e3, latest, failures, wrong, limit))
    return rows


def main() -> int:
    """Measure, print, and say by the exit status whether the bars are met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flips", type=int, default=40)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = [row for label, bar in BARS.items() for row in measure(label, bar, options.flips)]
    print(json.dumps([asdict(row) for row in rows]) if options.json else "\n".join(map(str, rows)))
    return 0 if all(row.met for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
