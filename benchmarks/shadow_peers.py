"""What others do, for `benchmarks.shadow`: nginx with its `mirror`, and the service that it mirrors to."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

__all__ = ["INSTALL", "SLEEP", "Nginx", "burn", "free_port", "mirroring", "nginx_here"]

SLEEP = 0.2
BURN = 0.05
"""Seconds that a candidate sleeps, or keeps a core busy."""

INSTALL = "apt-get update && apt-get install -y --no-install-recommends nginx-light"
CONFIG = """
{user}
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    client_body_buffer_size 256k;
    keepalive_requests 1000000;
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    upstream champion {{ server 127.0.0.1:{champion}; keepalive 32; }}
    upstream candidate {{ server 127.0.0.1:{candidate}; keepalive 32; }}
    server {{
        listen 127.0.0.1:{alone};
        location / {{ proxy_pass http://champion; }}
    }}
    server {{
        listen 127.0.0.1:{mirrored};
        location / {{ mirror /mirror; proxy_pass http://champion; }}
        location = /mirror {{ internal; proxy_pass http://candidate$request_uri; }}
    }}
}}
"""


def burn() -> None:
    """Keep a core busy, as Python code does."""
    until = time.thread_time() + BURN
    while time.thread_time() < until:
        sum(range(1000))


class Nginx:
    """Two doors to one service: ``alone`` goes to it, ``mirrored`` to it and to a candidate."""

    def __init__(self, alone: int, mirrored: int) -> None:
        self.alone, self.mirrored = alone, mirrored


def nginx_here() -> str | None:
    """Return nginx's path, or None when it is not installed."""
    return shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def mirroring(nginx: str, champion: int, how: str, folder: Path) -> Iterator[Nginx]:
    """Run nginx in front of a champion, with a candidate that sleeps or burns.

    Args:
        nginx: the program.
        champion: the port of the service that answers.
        how: ``sleep`` or ``burn``.
        folder: where configuration and logs go.
    """
    folder.mkdir(parents=True)
    candidate, doors = free_port(), Nginx(free_port(), free_port())
    user = "user root;" if os.geteuid() == 0 else ""
    ports = {"champion": champion, "candidate": candidate, **vars(doors)}
    config = folder / "nginx.conf"
    config.write_text(CONFIG.format(user=user, folder=folder, **ports))
    root = Path(__file__).parents[1]
    commands = (
        [sys.executable, "-m", "benchmarks.shadow_peers", str(candidate), how],
        [nginx, "-p", str(folder), "-c", str(config), "-e", str(folder / "error.log")],
    )
    started: list[subprocess.Popen[bytes]] = []
    with (folder / "out.log").open("wb") as log:
        try:
            started.extend(subprocess.Popen(c, cwd=root, stdout=log, stderr=log) for c in commands)
            for port in (candidate, doors.alone, doors.mirrored):
                _wait_for(port)
            yield doors
        finally:
            for process in reversed(started):
                process.terminate()
                process.wait(10)


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise RuntimeError(f"nothing listens on port {port}")


async def _mirrored_to(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, how: str) -> None:
    """Answer what nginx mirrors: many sleep at a time, and one burns."""
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            await reader.readexactly(int(head.partition("content-length: ")[2].split("\r\n")[0] or 0))
            if how == "sleep":
                await asyncio.sleep(SLEEP)
            else:
                burn()
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
    writer.close()


async def _candidate(port: int, how: str) -> None:
    """Be a candidate as light as can be: what it costs the champion is nginx's doing."""
    server = await asyncio.start_server(lambda r, w: _mirrored_to(r, w, how), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_candidate(int(sys.argv[1]), sys.argv[2]))
