"""Starts the real service under `bentoml serve` in a home of its own, and stops all that it started."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
SERVICE = "services.screening:Screening"
START_TIMEOUT = 90.0
STOP_TIMEOUT = 20.0


def command(name: str) -> str:
    """Return the path of a command of this environment."""
    return str(Path(sys.executable).with_name(name))


def environment(home: Path) -> dict[str, str]:
    """Return the environment of every process of the demo: the caller's, with a home of its own."""
    own = {"BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "True", "PYTHONUNBUFFERED": "1"}
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("BENTO_ROLLOUT")}
    return {**inherited, **own}


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def serving(
    home: Path, log: Path, service: str = SERVICE, settings: Mapping[str, str] | None = None
) -> Iterator[int]:
    """Serve the screening service, or another one, and yield its port; at the end stop it, workers included.

    Args:
        home: BentoML's.
        log: the file that the server writes to.
        service: which, as ``module:Service``.
        settings: environment variables of its own.
    """
    port = free_port()
    arguments = ["serve", service, "--host", "127.0.0.1", "--port", str(port)]
    with log.open("wb") as output:
        server = subprocess.Popen(
            [command("bentoml"), *arguments],
            cwd=ROOT,
            env={**environment(home), **(settings or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_ready(server, port)
        yield port
    finally:
        stop(server)


def wait_ready(server: subprocess.Popen[bytes], port: int) -> None:
    """Return once the service says that it is ready; raise if it cannot be."""
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise RuntimeError(f"the service did not start (exit {server.returncode})")
        if is_ready(port):
            return
        time.sleep(0.1)
    raise RuntimeError(f"the service was not ready after {START_TIMEOUT:.0f} s")


def is_ready(port: int) -> bool:
    """Ask the service once."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def stop(server: subprocess.Popen[bytes]) -> None:
    """End the server as an operator would, and whatever of it is still there after that by force."""
    try:
        family = psutil.Process(server.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        family = []
    server.terminate()
    try:
        server.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
    _, left = psutil.wait_procs(family, timeout=2)
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def tail(log: Path, lines: int = 25) -> str:
    """Return the end of a log, without the lines that BentoML writes for every request."""
    text = log.read_text(encoding="utf-8", errors="replace")
    return "\n".join([line for line in text.splitlines() if "(scheme=http" not in line][-lines:])
