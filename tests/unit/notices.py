"""Commits of a try, and a server that is told of them, for the tests of what is told."""

from __future__ import annotations

import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

from bento_rollout.notice import EVIDENCE, Notice
from bento_rollout.state import Commit

BEGUN = 1_760_000_000.0
KEY = "whsec_MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDA="
OLD_KEY = "whsec_MTExMTExMTExMTExMTExMTExMTExMTExMTExMTExMTE="


def commit(
    revision: int,
    action: str = "advance",
    *,
    author: str = EVIDENCE,
    reason: str = "",
    percent: float = 5.0,
    touched: bool = True,
    attempt: bool = True,
    when: float | None = None,
    decision: Mapping[str, Any] | None = None,
) -> Commit:
    """Return a commit of a rollout whose try of boosted stands in its second step."""
    at = BEGUN + revision if when is None else when
    made = {
        "action": action,
        "words": f"boosted: {action}",
        "missing": ["errors: about 300 more requests"],
        "causes": ["errors"],
        "place": "step 2",
        "dry_run": False,
        "guardrails": {
            "errors": {"finding": "harmful", "detail": "7 % after 0.5 %", "numbers": {"harm": 1.0}}
        },
        "revision": revision if author == EVIDENCE else revision - 1,
        "time": at,
        **(decision or {}),
    }
    running = SimpleNamespace(
        candidate="boosted",
        control="logistic",
        revision=revision if touched else 1,
        decision=made,
        position=SimpleNamespace(place="step 2"),
        strategy=SimpleNamespace(dry_run=False),
    )
    state = SimpleNamespace(
        name="screening",
        revision=revision,
        champion="logistic",
        percents={"boosted": percent},
        attempt=running if attempt else None,
    )
    made_of = {"revision": revision, "parent": revision - 1, "time": at, "author": author}
    return cast("Commit", SimpleNamespace(state=state, action=action, reason=reason, **made_of))


def notice(revision: int = 7, **changes: Any) -> Notice:
    """Return a notice of a decision."""
    known: dict[str, Any] = {
        "rollout": "screening",
        "revision": revision,
        "time": BEGUN + revision,
        "action": "rollback",
        "author": EVIDENCE,
        "words": "boosted is rolled back: errors",
        "candidate": "boosted",
        "control": "logistic",
        "champion": "logistic",
        "place": "rolled_back",
    }
    return Notice(**{**known, **changes})


@dataclass(frozen=True)
class Asked:
    """One request that came in."""

    line: str
    headers: Mapping[str, str]
    body: bytes


Answering = Callable[[socket.socket], None]


def saying(status: int, head: str = "", body: bytes = b"") -> Answering:
    """Answer with a status."""
    text = f"HTTP/1.1 {status} Said\r\nContent-Length: {len(body)}\r\n{head}\r\n".encode()
    return lambda sock: sock.sendall(text + body)


def resetting(sock: socket.socket) -> None:
    """Break the connection."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def silent(sock: socket.socket) -> None:
    """Never answer; return when the other side is gone."""
    sock.recv(1)


def dripping(sock: socket.socket) -> None:
    """Send a byte of a head now and then, for ever: no single wait is long."""
    sock.sendall(b"HTTP/1.1 200 OK\r\nX-Long: ")
    while True:
        sock.sendall(b"x")
        time.sleep(0.02)


def huge(sock: socket.socket) -> None:
    """Begin an answer that never ends."""
    sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        sock.sendall(b"x" * 65536)


def garbage(sock: socket.socket) -> None:
    """Answer with what is no HTTP."""
    sock.sendall(b"secret nonsense\r\n\r\n")


class Listener:
    """A real server on this host; each request gets the next answer, and the last one for ever.

    Args:
        answers: what requests are answered with.
        around: what a connection is wrapped in before anything is read of it.
    """

    def __init__(
        self, answers: Sequence[Answering], around: Callable[[socket.socket], socket.socket] | None = None
    ) -> None:
        self.asked: list[Asked] = []
        self._answers, self._around = list(answers), around
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._open: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def url(self) -> str:
        """Where it listens; the path is a secret."""
        return f"http://127.0.0.1:{self.port}/T0/B1-secret?room=ops"

    def close(self) -> None:
        """Listen no more."""
        with suppress(OSError):  # without it one more gets in: the thread that waits for it holds it open
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for sock in self._open:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                sock, _ = self._server.accept()
                self._open.append(sock)
                threading.Thread(target=self._one, args=(sock,), daemon=True).start()

    def _one(self, sock: socket.socket) -> None:
        with suppress(OSError):
            sock = sock if self._around is None else self._around(sock)
            try:
                self.asked.append(read_request(sock))
                answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
                answer(sock)
            finally:
                sock.close()


def read_request(sock: socket.socket) -> Asked:
    """Read one request."""
    data = b""
    while b"\r\n\r\n" not in data:
        if not (more := sock.recv(65536)):
            raise ConnectionError
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    line, *rest = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, value in (re.split(r":\s*", one, maxsplit=1) for one in rest)}
    while len(body) < int(headers.get("content-length", 0)):
        body += sock.recv(65536)
    return Asked(line, headers, body)


@contextmanager
def listening(*answers: Answering, **how: Any) -> Iterator[Listener]:
    """Run a listener; without answers it says 204 to everything."""
    listener = Listener(answers or [saying(204)], **how)
    try:
        yield listener
    finally:
        listener.close()
