"""A canary through `runner="service"` against ones written by hand with `bentoml.depends`; and its bad days.

Run ``python -m benchmarks.service``. All are served side by side and asked in alternating blocks over 32
connections; half of the requests go to the other service. Bars: none of ours fails, and our CPU for each
request (user and system, of all processes of the server) is no more than that of the one by hand. Beside it
stands the same with connections that are never closed: without that calls fail, and failures cost CPU, too.
Then the candidate's service is killed again and again: the champion's ``/readyz`` must answer 200 within a
second.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks._ab import ratio
from benchmarks.service_sides import is_second
from bento_rollout import open_rollout
from bento_rollout.errors import RolloutError

CONNECTIONS = 32
CPU_BAR = 1.0
READY_BAR = 1.0
NAME = "service_bench"
BODY = json.dumps({"rows": [[0.5] * 30] * 10}).encode()


@dataclass
class Served:
    """One server with all its processes."""

    port: int
    arbiter: psutil.Process

    def cpu(self) -> float:
        """Return the CPU seconds of its processes so far, user and system."""
        spent = (process.cpu_times() for process in (self.arbiter, *self.arbiter.children(recursive=True)))
        return sum(times.user + times.system for times in spent)

    def serving(self, service: str) -> list[psutil.Process]:
        """Return the processes that serve one service, or are about to."""
        found = []
        for process in self.arbiter.children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if service in process.cmdline():
                    found.append(process)
        return found

    def ready(self) -> tuple[int, float]:
        """Return the status of ``/readyz``, 0 for none, and the seconds that it took."""
        began = time.monotonic()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=20) as answer:
                return answer.status, time.monotonic() - began
        except OSError as error:
            return getattr(error, "code", 0), time.monotonic() - began


@contextlib.contextmanager
def served(home: str, service: str, module: str = "service_sides") -> Iterator[Served]:
    """Serve one side until the block ends."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    environ = {**os.environ, "BENTOML_HOME": home, "BENTOML_DO_NOT_TRACK": "1"}
    command = [sys.executable, "-m", "bentoml", "serve", f"benchmarks.{module}:{service}"]
    with Path(home, f"{service}.log").open("wb") as log:
        server = subprocess.Popen(
            [*command, "--port", str(port)],
            env=environ,
            stdout=log,
            stderr=log,
            cwd=Path(__file__).parents[1],
        )
    side = Served(port, psutil.Process(server.pid))
    try:
        deadline = time.monotonic() + 90
        while side.ready()[0] != 200:
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the service did not start; see its log in its home")
            time.sleep(0.2)
        yield side
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(60)


class Line:
    """One keep-alive connection."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._ends: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, user: str, path: str = "/predict", body: bytes = BODY) -> tuple[int, str]:
        """Send one request; return the answer's status, 0 when there was none, and the variant's name."""
        head = f"POST {path} HTTP/1.1\r\nhost: x\r\nx-user: {user}\r\ncontent-type: application/json\r\n"
        try:
            if self._ends is None:
                self._ends = await asyncio.open_connection("127.0.0.1", self._port)
            reader, writer = self._ends
            writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
            answer = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            await reader.readexactly(int(answer.split("content-length: ")[1].split("\r\n")[0]))
        except (OSError, EOFError):
            self.close()
            return 0, ""
        _, _, variant = answer.partition("x-rollout-variant: ")
        return int(answer.split(" ", 2)[1]), variant.split("\r\n")[0]

    def close(self) -> None:
        """Hang up."""
        if self._ends is not None:
            self._ends[1].close()
        self._ends = None


# -- errors and CPU ------------------------------------------------------------------------------------------


@dataclass
class Blocks:
    """What the blocks of one side gave: errors in all, and by block the CPU and the wall seconds."""

    errors: int = 0
    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)

    def told(self, name: str, size: int) -> str:
        """Return a line about them."""
        count = size * len(self.cpu)
        cpu = sum(self.cpu) / count * 1000
        return (
            f"{name}: {self.errors / count * 1000:.1f} errors in 1 000 requests, "
            f"{cpu:.2f} CPU seconds for 1 000, {count / sum(self.wall):.0f} requests/s"
        )


async def block(port: int, users: Sequence[str]) -> int:
    """Ask once for each user, over all connections; return how many failed."""
    left, errors = iter(users), 0

    async def connection() -> None:
        nonlocal errors
        line = Line(port)
        for user in left:
            status, _ = await line.ask(user)
            errors += status != 200
        line.close()

    await asyncio.gather(*(connection() for _ in range(CONNECTIONS)))
    return errors


def fair(size: int) -> list[str]:
    """Return users of whom both sides send one half to the second service; both sides send the same ones."""
    names = [f"user-{number}" for number in range(8 * size)]
    theirs = zip(names, open_rollout(NAME).assign(names), strict=True)
    agreed = [(name, who == "second") for name, who in theirs if (who == "second") == is_second(name)]
    firsts = [name for name, second in agreed if not second][: size // 2]
    return [
        name for pair in zip(firsts, (n for n, second in agreed if second), strict=False) for name in pair
    ]


def compare(sides: dict[str, Served], count: int, size: int) -> dict[str, Blocks]:
    """Ask both sides in alternating blocks."""
    users, found = fair(size), {name: Blocks() for name in sides}
    for side in sides.values():
        asyncio.run(block(side.port, users))
    for number in range(count):
        for name in random.sample(list(sides), len(sides)):
            side, blocks = sides[name], found[name]
            spent, began = side.cpu(), time.monotonic()
            blocks.errors += asyncio.run(block(side.port, users))
            blocks.wall.append(time.monotonic() - began)
            blocks.cpu.append(side.cpu() - spent)
        print(f"\r{number + 1}/{count} blocks", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return found


# -- bad days ------------------------------------------------------------------------------------------------


def settle(*variants: str, name: str = NAME) -> None:
    """Wait until candidates are ready."""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        with contextlib.suppress(RolloutError):
            rows = open_rollout(name).status()["variants"]
            if all(rows[variant]["state"] == "ready" for variant in variants):
                return
        time.sleep(0.2)
    raise RuntimeError(f"{variants} did not become ready")


def while_dead(side: Served, seconds: float) -> tuple[float, int]:
    """Return the longest ``/readyz`` while the second service is dead, and how many were not 200."""
    worst, wrong, until = 0.0, 0, time.monotonic() + seconds
    while time.monotonic() < until:
        for process in side.serving(f"{NAME}_second"):
            process.kill()
        status, took = side.ready()
        worst, wrong = max(worst, took), wrong + (status != 200)
        time.sleep(0.1)
    return worst, wrong


def costs(ours: Served, home: str, count: int, size: int) -> bool:
    """Compare the canaries, print it, and return whether the bars are met."""
    with served(home, "Hand") as hand, served(home, "Tuned") as tuned:
        found = compare({"ours": ours, "hand": hand, "tuned": tuned}, count, size)
    labels = {
        "hand": "by hand, bentoml.depends",
        "tuned": "the same, connections kept",
        "ours": "runner='service'",
    }
    for name, label in labels.items():
        print(found[name].told(label, size))
    cost = ratio(found["ours"].cpu, found["hand"].cpu)
    good = not found["ours"].errors and cost.value <= CPU_BAR
    print(f"CPU for a request: {cost} of the one by hand, bar {CPU_BAR}x, and no error: {_word(good)}")
    print(f"CPU for a request: {ratio(found['ours'].cpu, found['tuned'].cpu)} of that with connections kept")
    return good


def readiness(ours: Served, seconds: float) -> bool:
    """Ask whether the champion is ready while its candidate's service is dead, and do as `costs`."""
    worst, wrong = while_dead(ours, seconds)
    good = worst <= READY_BAR and not wrong
    told = f"{worst * 1e3:.0f} ms at most, {wrong} not 200, bar {READY_BAR:g} s"
    print(f"/readyz while the candidate's service is dead: {told}: {_word(good)}")
    return good


def main() -> int:
    """Measure, print, and say by the exit status whether the bars are met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of it: whether it works at all")
    parser.add_argument("--only", choices=("costs", "readiness"), help="one part")
    options = parser.parse_args()
    count, dead = (2, 4.0) if options.quick else (20, 20.0)
    with tempfile.TemporaryDirectory() as home:
        os.environ.update(BENTOML_HOME=home, BENTO_ROLLOUT_STORE=f"sqlite:///{home}/store.db")
        with served(home, "Ours") as ours:
            settle("second")
            parts: dict[str, Callable[[], bool]] = {
                "costs": lambda: costs(ours, home, count, 1000),
                "readiness": lambda: readiness(ours, dead),
            }
            met = [part() for name, part in parts.items() if options.only in (None, name)]
    return 0 if all(met) else 1


def _word(good: bool) -> str:
    return "met" if good else "MISSED"


if __name__ == "__main__":
    sys.exit(main())
