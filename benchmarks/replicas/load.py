"""Requests over keep-alive connections, and what became of each."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

__all__ = ["Answer", "Load", "loaded"]


_OURS = ("variant", "revision", "stale", "prediction-id")
_LENGTH = "content-type: application/json\r\ncontent-length: 2\r\n\r\n"


class Answer(NamedTuple):
    """One request's fate; times by the monotonic clock; ``status`` 0: there was no answer."""

    began: float
    ended: float
    status: int
    variant: str
    revision: str
    stale: str
    prediction_id: str
    key: str


@dataclass
class Load:
    """What is asked, and what was answered so far."""

    port: int
    connections: int
    pause: float
    path: str = "/who"
    answers: list[Answer] = field(default_factory=list)
    running: bool = True

    @property
    def failed(self) -> list[Answer]:
        """Those that were not answered with 200."""
        return [one for one in self.answers if one.status != 200]

    @property
    def told_failed(self) -> str:
        """How many failed of how many, and how."""
        how = ", ".join(sorted({str(one.status) if one.status else "no answer" for one in self.failed}))
        return f"{len(self.failed)} of {len(self.answers)}" + (f" ({how})" if how else "")

    def since(self, moment: float) -> list[Answer]:
        """Return the answers to requests that began after a moment."""
        return [one for one in self.answers if one.began > moment]

    async def run(self) -> None:
        """Ask until the load ends."""
        await asyncio.gather(*(self._connection(number) for number in range(self.connections)))

    async def _connection(self, number: int) -> None:
        ends, count = None, 0
        await asyncio.sleep(self.pause * number / self.connections)
        while self.running:
            began, count = time.monotonic(), count + 1
            key = f"u{number}-{count % 97}"
            try:
                if ends is None:
                    ends = await asyncio.open_connection("127.0.0.1", self.port)
                answer = await asyncio.wait_for(self._ask(ends, key, began), 30)
            except (OSError, EOFError, asyncio.TimeoutError):
                answer, ends = Answer(began, time.monotonic(), 0, "", "", "", "", key), None
            self.answers.append(answer)
            await asyncio.sleep(max(0.0, began + self.pause - time.monotonic()))
        if ends is not None:
            ends[1].close()

    async def _ask(
        self, ends: tuple[asyncio.StreamReader, asyncio.StreamWriter], key: str, began: float
    ) -> Answer:
        reader, writer = ends
        head = f"POST {self.path} HTTP/1.1\r\nhost: x\r\nx-user: {key}\r\n{_LENGTH}"
        writer.write(head.encode() + b"{}")
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines if ": " in line)
        await reader.readexactly(int(headers["content-length"]))
        variant, revision, stale, prediction = (headers.get(f"x-rollout-{name}", "") for name in _OURS)
        return Answer(
            began, time.monotonic(), int(first.split()[1]), variant, revision, stale, prediction, key
        )


@contextmanager
def loaded(port: int, connections: int = 12, pause: float = 0.02, path: str = "/who") -> Iterator[Load]:
    """Ask in a thread of its own while the block runs; afterwards every request has its answer."""
    load = Load(port, connections, pause, path)
    thread = threading.Thread(target=lambda: asyncio.run(load.run()), daemon=True)
    thread.start()
    try:
        yield load
    finally:
        load.running = False
        thread.join(60)
