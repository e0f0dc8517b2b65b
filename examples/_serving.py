"""Serves a story's service while it is told; in production that is ``bentoml serve``."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import bentoml
import httpx

from bento_rollout import open_rollout


@contextmanager
def served(
    service: str, rollout: str, workers: int = 1, folder: Path = Path(__file__).parent
) -> Iterator[httpx.Client]:
    """Serve ``module:Service`` of this folder or another one, on a free port and over a store of its own.

    Yields a client once all workers live and all variants are ready.
    """
    with tempfile.TemporaryDirectory() as place:
        os.environ["BENTO_ROLLOUT_STORE"] = f"sqlite:///{place}/store.db"
        with (
            bentoml.serve(service, working_dir=str(folder), host="127.0.0.1", port=free_port()) as server,
            bentoml.SyncHTTPClient(server.url, server_ready_timeout=60),
            httpx.Client(base_url=server.url) as client,
        ):
            while not _is_up(open_rollout(rollout).status(), workers):
                time.sleep(0.1)
            print(f"{service} is served at {server.url}, its store is {place}/store.db")
            yield client


def _is_up(status: dict[str, Any], workers: int) -> bool:
    states = {variant["state"] for variant in status["variants"].values()}
    return len(status["workers"]) == workers and states == {"ready"}


@contextmanager
def deployed(service: str) -> Iterator[str]:
    """Serve ``module:Service`` of this folder as if it were somewhere else, in a home of its own.

    Yields its URL once it is ready.
    """
    port = free_port()
    with tempfile.TemporaryDirectory() as home:
        server = subprocess.Popen(
            [sys.executable, "-m", "bentoml", "serve", service, "--host", "127.0.0.1", "--port", str(port)],
            cwd=Path(__file__).parent,
            env={**os.environ, "BENTOML_HOME": home},
        )
        try:
            url = f"http://127.0.0.1:{port}"
            with bentoml.SyncHTTPClient(url, server_ready_timeout=60):
                yield url
        finally:
            server.terminate()
            server.wait(30)


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
