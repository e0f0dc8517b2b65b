"""`Listener`: serves the operators at an address of their own, in one of the workers, apart from requests."""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..admin.binding import ADMIN_BIND, Binding
from ..store.leadership import Leadership
from ..telemetry import log

if TYPE_CHECKING:
    import uvicorn

    from .middleware import App

__all__ = ["Listener"]

LOOK = 0.5
"""Seconds between two looks whether the worker that listens has died."""

FAREWELL = 3.0
"""Seconds that requests have to end when the worker does."""


class Listener:
    """One worker's readiness to listen; one of all workers does, and another when that one dies.

    It has a thread and an event loop of its own: whatever operators do there, callers are served beside it.

    Args:
        binding: where.
        place: where the rollout's shared files lie.
        app: what is served.
        rollout: its name, for the log.
    """

    def __init__(self, binding: Binding, place: Path, app: App, rollout: str) -> None:
        self._binding, self._app, self._name = binding, app, rollout
        self._right = Leadership(place, "admin.lock")
        self._once = log.Once()
        self._stop = threading.Event()
        self._server: uvicorn.Server | None = None
        self._thread = threading.Thread(target=self._run, name="rollout-admin", daemon=True)
        self.problem: str | None = None

    def start(self) -> None:
        """Take part from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Let another worker listen; waits a while for requests that are being answered."""
        self._stop.set()
        if self._server is not None:
            self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(2 * FAREWELL)
        self._right.resign()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._take_turn()
            except Exception as error:  # noqa: BLE001 - callers are served whatever becomes of this
                self._say(f"{type(error).__name__}: {error}")
            self._stop.wait(LOOK)

    def _take_turn(self) -> None:
        """Listen for as long as this worker lives, if no other one does."""
        try:
            ours = self._right.hold()
        except OSError:  # nothing can be written there: whoever gets the port has the right
            ours = None
        if ours is False:
            self.problem = None
            return
        try:
            listening = self._binding.listening()
        except OSError as error:
            if ours:
                self._say(f"{error.strerror or error}")
            return
        self.problem = None
        self._once.over("unbound")
        log.event("admin.bound", rollout=self._name, address=str(self._binding))
        with listening:
            self._serve(listening)

    def _serve(self, listening: socket.socket) -> None:
        import uvicorn  # late: most services do not listen twice

        config = uvicorn.Config(
            self._app,
            interface="asgi3",
            loop="asyncio",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=int(FAREWELL),
            callback_notify=self._stay,
            timeout_notify=1,
        )
        server = self._server = uvicorn.Server(config)
        if not self._stop.is_set():
            asyncio.run(server.serve([listening]))

    async def _stay(self) -> None:
        """Make sure that the right is this worker's still: somebody may have removed its file."""
        with suppress(OSError):
            if not self._right.hold() and self._server is not None:
                self._server.should_exit = True

    def _say(self, why: str) -> None:
        self.problem = f"operators are not served at {self._binding} ({ADMIN_BIND}): {why}"
        facts: dict[str, Any] = {"address": str(self._binding), "problem": why}
        self._once.say("unbound", "admin.unbound", "error", rollout=self._name, **facts)
