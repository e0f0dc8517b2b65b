"""Server processes with homes of their own behind a load balancer: pods and an ingress, on one machine."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Balancer", "Replica", "balanced", "free_port", "replicas"]

ROOT = Path(__file__).parents[2]
START, STOP = 180.0, 60.0

_CONFIGURATION = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log warn;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  upstream pods {{ {servers} keepalive 64; keepalive_timeout 4s; }}
  server {{
    listen 127.0.0.1:{port};
    keepalive_requests 1000000;
    location / {{
      proxy_pass http://pods; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_next_upstream off;
    }}
  }}
}}
"""
# A server closes connections that were idle for 5 s; the balancer must be sooner, or a request falls between.
# `proxy_next_upstream off`: a request that fails is seen to fail, and not asked of the next one.


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Replica:
    """One ``bentoml serve``, as a pod has it: a home of its own, shared is what the environment names.

    Attributes:
        number: its number, from 0.
        home: its BENTOML_HOME; its log lies there, too.
        target: what is served.
        environ: more of the environment.
        prefix: what the command begins with, like ``ip netns exec``.
        host: the address that it listens on.
        port: where.
    """

    number: int
    home: Path
    target: str
    environ: Mapping[str, str]
    prefix: tuple[str, ...] = ()
    host: str = "127.0.0.1"
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; `wait` says when it serves."""
        self.home.mkdir(parents=True, exist_ok=True)
        inherited = {
            k: v for k, v in os.environ.items() if not k.startswith(("BENTO", "KUBERNETES", "BENCH"))
        }
        own = {"BENTOML_HOME": str(self.home), "BENTOML_DO_NOT_TRACK": "1", "PYTHONPATH": str(ROOT)}
        command = [*self.prefix, sys.executable, "-m", "bentoml", "serve", self.target]
        with (self.home / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--host", self.host, "--port", str(self.port)],
                env={**inherited, **own, **self.environ}, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                cwd=ROOT, start_new_session=True,
            )  # fmt: skip

    def is_ready(self) -> bool:
        """Whether it serves."""
        with contextlib.suppress(OSError), urllib.request.urlopen(self.url("/readyz"), timeout=2) as answer:  # noqa: S310 - ours
            return bool(answer.status == 200)
        return False

    def url(self, path: str) -> str:
        """Return an address of it."""
        return f"http://{self.host}:{self.port}{path}"

    def wait(self) -> None:
        """Wait until it serves; one whose port somebody took meanwhile is started again at another."""
        deadline, again = time.monotonic() + START, 3
        while not self.is_ready():
            ended = self.process is None or self.process.poll() is not None
            if ended and again and "already in use" in self.said():
                self.port, again = free_port(), again - 1
                self.start()
            elif ended or time.monotonic() > deadline:
                raise RuntimeError(f"replica {self.number} did not start:\n{self.said()[-3000:]}")
            time.sleep(0.1)

    def said(self) -> str:
        """Return what it logged."""
        return (self.home / "server.log").read_text(errors="replace")

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return its log lines of one event."""
        mark = f'"event": "{name}"'
        return [json.loads(line[line.index("{") :]) for line in self.said().splitlines() if mark in line]

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it and all that it started."""
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, how)
        try:
            self.process.wait(STOP)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(STOP)
        self.process = None


@dataclass
class Balancer:
    """What callers see: one address, with all replicas behind it in turn."""

    port: int
    log: Path

    def url(self, path: str) -> str:
        """Return an address of it."""
        return f"http://127.0.0.1:{self.port}{path}"


@contextlib.contextmanager
def balanced(folder: Path, members: list[Replica]) -> Iterator[Balancer]:
    """Put a load balancer before replicas.

    Raises:
        RuntimeError: nginx is not installed, or does not start.
    """
    if (nginx := shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")) is None:
        raise RuntimeError("nginx is not installed (on Debian: nginx-light)")
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    servers = " ".join(f"server {one.host}:{one.port} max_fails=0;" for one in members)
    file = folder / "nginx.conf"
    file.write_text(_CONFIGURATION.format(folder=folder, servers=servers, port=port))
    with (folder / "nginx.log").open("wb") as log:
        process = subprocess.Popen(
            [nginx, "-p", folder, "-c", file, "-e", folder / "error.log"], stdout=log, stderr=log
        )
    balancer = Balancer(port, folder / "error.log")
    try:
        deadline = time.monotonic() + 10
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"nginx did not start: {(folder / 'nginx.log').read_text()}")
            time.sleep(0.02)
        yield balancer
    finally:
        process.terminate()
        process.wait(10)


@contextlib.contextmanager
def replicas(
    folder: Path,
    target: str,
    environ: Mapping[str, str],
    count: int = 6,
    *,
    each: Mapping[int, Mapping[str, str]] | None = None,
) -> Iterator[list[Replica]]:
    """Serve something so many times, each in a home of its own, until the block ends.

    Args:
        folder: where their homes lie.
        target: what is served.
        environ: of all of them.
        count: how many.
        each: more of the environment of some of them, by number.
    """
    members = [
        Replica(number, folder / f"home-{number}", target, {**environ, **(each or {}).get(number, {})})
        for number in range(count)
    ]
    try:
        for one in members:
            one.start()
        for one in members:
            one.wait()
        yield members
    finally:
        for one in members:
            if one.process is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(one.process.pid, signal.SIGTERM)
        for one in members:
            one.stop()
