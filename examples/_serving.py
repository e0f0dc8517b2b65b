"""Serves a story's service while it is told; in production that is ``bentoml serve``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import bentoml
import httpx


@contextmanager
def served(service: str, port: int) -> Iterator[httpx.Client]:
    """Serve ``module:Service`` of this folder, and give a client once it is ready."""
    with (
        bentoml.serve(service, working_dir=str(Path(__file__).parent), port=port) as server,
        bentoml.SyncHTTPClient(server.url, server_ready_timeout=60),
        httpx.Client(base_url=server.url) as client,
    ):
        yield client
