"""A candidate's service as `bentoml serve` starts it: a worker on a socket that somebody else holds.

And servers that a URL may lead to by mistake.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

from aiohttp import web
from bentoml._internal.configuration.containers import BentoMLContainer

ROOT = Path(__file__).parents[2]


class Callee:
    """One service behind a socket that stays open whatever becomes of its worker.

    Args:
        target: what the worker imports.
        name: the service in it.
        folder: where its socket, its home and its log are.
        main: whether it is a deployment of its own, at a URL.

    Attributes:
        url: where it is.
    """

    def __init__(self, target: str, name: str, folder: Path, *, main: bool = False) -> None:
        self.target, self.name, self.folder = target, name, folder
        path = folder / f"{name}.sock"
        self.socket = socket.socket(socket.AF_INET if main else socket.AF_UNIX)
        self.socket.bind(("127.0.0.1", 0) if main else str(path))
        self.socket.listen(128)
        self.log = folder / f"{name}.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}" if main else path.as_uri()
        if not main:
            BentoMLContainer.remote_runner_mapping.get()[name] = self.url

    def start(self) -> Callee:
        """Start its worker."""
        fd = self.socket.fileno()
        command = [
            *(sys.executable, "-m", "_bentoml_impl.worker.service", self.target),
            *("--service-name", self.name, "--fd", str(fd), "--worker-id", "1"),
        ]
        environment = {**os.environ, "BENTOML_HOME": str(self.folder / "home"), "PYTHONPATH": str(ROOT)}
        with self.log.open("a") as out:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=out, stderr=out, pass_fds=[fd]
            )
        return self

    def kill(self, how: int = signal.SIGKILL) -> None:
        """End its worker; the socket stays."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(30)

    def stop(self) -> None:
        """End it all."""
        self.kill()
        self.socket.close()
        BentoMLContainer.remote_runner_mapping.get().pop(self.name, None)


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Stranger:
    """A server at a URL that answers whatever a test wants.

    Args:
        handle: answers every request.

    Attributes:
        seen: the requests so far: method, path and headers.
    """

    def __init__(self, handle: Handler, tls: ssl.SSLContext | None = None) -> None:
        self.handle = handle
        self.seen: list[tuple[str, str, dict[str, str]]] = []
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        self._tls = tls
        self.url = asyncio.run_coroutine_threadsafe(self._begin(), self.loop).result(10)

    async def _begin(self) -> str:
        async def answer(request: web.Request) -> web.StreamResponse:
            self.seen.append(
                (request.method, request.path, {k.lower(): v for k, v in request.headers.items()})
            )
            return await self.handle(request)

        app = web.Application()
        app.router.add_route("*", "/{path:.*}", answer)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self._tls, shutdown_timeout=0.1)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        return f"{'http' if self._tls is None else 'https'}://{host}:{port}"

    def stop(self) -> None:
        """End it."""
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self.loop).result(10)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)
