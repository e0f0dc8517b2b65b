"""Callers of a service: one at a time on a connection per worker, and many at once."""

from __future__ import annotations

import asyncio
import http.client
import itertools
import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from typing_extensions import Self


@dataclass(frozen=True)
class Answer:
    """One request and its answer; times are monotonic.

    Attributes:
        began, ended: when the request was about to be sent, and when its answer was read.
        status: 0: the connection broke.
        variant, reason, revision, prediction: from the headers.
        body: the JSON of the answer, or what went wrong.
    """

    began: float
    ended: float
    status: int
    variant: str = ""
    reason: str = ""
    revision: int = 0
    body: Any = None
    prediction: str = ""

    @property
    def seconds(self) -> float:
        """How long the caller waited."""
        return self.ended - self.began


def number_of(revision: str) -> int:
    """Return a revision as a number; a file's by its digits."""
    return int(revision) if revision.isdecimal() else int(revision.removeprefix("file:"), 16)


class Line:
    """One keep-alive connection, and so one worker."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._began = 0.0

    def ask(self, path: str = "/who", body: Any = None, **headers: str) -> Answer:
        """Send one request and wait for its answer."""
        self.send(path, body, **headers)
        return self.receive()

    def send(self, path: str = "/who", body: Any = None, **headers: str) -> None:
        """Send one request."""
        self._began = time.monotonic()
        head = {"Content-Type": "application/json", **headers}
        self._connection.request("POST", path, json.dumps(body or {}), head)

    def receive(self) -> Answer:
        """Wait for the answer to what was sent."""
        answer = self._connection.getresponse()
        text = answer.read()
        return Answer(
            self._began,
            time.monotonic(),
            answer.status,
            answer.getheader("x-rollout-variant", ""),
            answer.getheader("x-rollout-reason", ""),
            number_of(answer.getheader("x-rollout-revision", "0")),
            json.loads(text),
        )

    def close(self) -> None:
        """Hang up."""
        self._connection.close()


@contextmanager
def line_to_each(port: int, pids: Sequence[int]) -> Iterator[dict[int, Line]]:
    """Yield a connection to each worker: connections are opened until every worker has taken one."""
    lines: dict[int, Line] = {}
    spare: list[Line] = []
    try:
        for _ in range(1000):
            if set(lines) == set(pids):
                break
            line = Line(port)
            pid = line.ask().body["pid"]
            if pid in lines or pid not in pids:
                spare.append(line)  # hung up later: a closed one would make room in the same worker
            else:
                lines[pid] = line
        assert set(lines) == set(pids), f"only {sorted(lines)} of {sorted(pids)} took a connection"
        yield lines
    finally:
        for line in (*lines.values(), *spare):
            line.close()


async def ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: str, path: str = "/who"
) -> Answer:
    """Send one request on a connection that is open, and wait for its answer."""
    request = (
        f"POST {path} HTTP/1.1\r\nHost: service\r\nContent-Type: application/json\r\n"
        f"x-key: {key}\r\nContent-Length: 2\r\n\r\n{{}}"
    )
    began = time.monotonic()
    writer.write(request.encode())
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
    body = await reader.readexactly(int(headers["content-length"]))
    return Answer(
        began,
        time.monotonic(),
        int(head[0].split()[1]),
        headers.get("x-rollout-variant", ""),
        headers.get("x-rollout-reason", ""),
        number_of(headers.get("x-rollout-revision", "0")),
        json.loads(body),
        headers.get("x-rollout-prediction-id", ""),
    )


class Load:
    """Callers who send one request after the other, each on a connection of its own, until they are stopped.

    A connection that breaks is a failed request, and is opened anew.
    """

    def __init__(
        self,
        port: int,
        connections: int,
        path: str = "/who",
        pause: float = 0.0,
        keys: Iterable[str] | None = None,
    ) -> None:
        self.answers: list[Answer] = []
        self._port, self._count, self._path, self._pause = port, connections, path, pause
        self._over = False
        self._keys = itertools.cycle(keys or [f"u{number}" for number in range(10_000)])
        self._thread = threading.Thread(target=lambda: asyncio.run(self._all()), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        deadline = time.monotonic() + 30
        while len(self.answers) < self._count and time.monotonic() < deadline:
            time.sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        self._over = True
        self._thread.join(60)
        assert not self._thread.is_alive(), "callers are still waiting for an answer"

    @property
    def failures(self) -> list[Answer]:
        """The answers that were none."""
        return [answer for answer in self.answers if answer.status != http.client.OK]

    async def _all(self) -> None:
        await asyncio.gather(*(self._caller() for _ in range(self._count)))

    async def _caller(self) -> None:
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        while not self._over:
            began = time.monotonic()
            try:
                streams = streams or await asyncio.open_connection("127.0.0.1", self._port)
                asked = ask(*streams, next(self._keys), self._path)
                self.answers.append(await asyncio.wait_for(asked, 60))
            except (OSError, EOFError, ValueError, asyncio.TimeoutError) as error:
                self.answers.append(Answer(began, time.monotonic(), 0, body=repr(error)))
                if streams is not None:
                    streams[1].close()
                streams = None
                await asyncio.sleep(0.05)
            await asyncio.sleep(self._pause)
        if streams is not None:
            streams[1].close()


def slowest(answers: Sequence[Answer], share: float = 0.95) -> float:
    """Return the seconds within which a share of the answers came."""
    times = sorted(answer.seconds for answer in answers)
    return times[min(len(times) - 1, int(len(times) * share))]


def times_over(condition: Callable[[Answer], bool], answers: Sequence[Answer]) -> list[Answer]:
    """Return at most ten answers of which something is true that should not be."""
    return [answer for answer in answers if condition(answer)][:10]


def is_stale(answer: Answer, acknowledged: Sequence[tuple[float, int, str]]) -> bool:
    """Whether an answer is older than a change that was acknowledged before it was asked for.

    Args:
        answer: what was answered.
        acknowledged: when each change was acknowledged (monotonic), its revision, and who answers everybody
            from then on; "": not one variant alone.
    """
    before = [change for change in acknowledged if change[0] < answer.began]
    if not before:
        return False
    _, revision, champion = before[-1]
    return answer.revision < revision or (
        answer.revision == revision and bool(champion) and answer.body["variant"] != champion
    )
