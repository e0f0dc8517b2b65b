"""`Child`: a process beside the worker, as the worker sees it: its beginning, the way to it, its end."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.context import server_context

from ..arena import Arena
from ..pipe import Kind, Pipe
from .beside import ORDER

__all__ = ["FAREWELL", "Child", "ended", "order_for", "spawn"]

NICE = 19
"""The lowest priority: the candidate gets what the champion leaves. It acts within the worker's session."""

ARENA = 1 << 28
"""Bytes of shared memory in each direction at most; pages that were never used cost nothing."""

FAREWELL = 10.0
"""Seconds that a process has to end by itself."""


@dataclass
class Child:
    """A process that was started, and the way to it.

    Attributes:
        hello: what it says of itself when it has loaded.
        gone: set when it has let go of its end.
        heard: when it last said something, on the loop's clock.
    """

    process: subprocess.Popen[bytes]
    arenas: tuple[Arena, Arena]
    hello: asyncio.Future[Mapping[str, Any]]
    gone: asyncio.Event
    heard: float = 0.0
    pipe: Pipe = field(init=False)

    async def exit_code(self, seconds: float) -> int | None:
        """Return how the process ended, if it does so in time."""
        loop = asyncio.get_running_loop()
        last = loop.time() + seconds
        while (code := self.process.poll()) is None and loop.time() < last:  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0.01)
        return code

    async def reaped(self) -> None:
        """Wait for the process to be over, since it has let go of its end; kill it when it is not."""
        self.pipe.close()
        if await self.exit_code(FAREWELL) is None:
            self.process.kill()
            await asyncio.to_thread(self.process.wait)
        for arena in self.arenas:
            arena.close()


def order_for(service: Any, variant: str) -> dict[str, Any]:
    """Return what a process needs to know to serve a variant of a service as this worker would."""
    target = str(service.bento.path) if service.bento is not None else service.import_string
    return {
        "target": target,
        "folder": None if service.bento is not None else service.working_dir,
        "service": service.name,
        "variant": variant,
        "parent": os.getpid(),
        "nice": NICE,
        "arguments": BentoMLContainer.bento_arguments.get(),
        "runners": BentoMLContainer.remote_runner_mapping.get(),
        "server": {
            name: getattr(server_context, name)
            for name in ("bento_name", "bento_version", "service_type", "service_name", "worker_index")
        },
    }


async def spawn(
    order: Mapping[str, Any], envs: Mapping[str, str], take: Callable[[Kind, int, Any], None]
) -> Child:
    """Start a process on the running loop.

    Args:
        order: what it is to serve.
        envs: what its environment has beside the worker's.
        take: told of each of its messages but the first.
    """
    ours, theirs = socket.socketpair()
    arenas = Arena(size=ARENA), Arena(size=ARENA)
    fds = [theirs.fileno(), *(arena.fd for arena in arenas)]
    whole = {**order, "socket": fds[0], "arenas": fds[1:], "arena": ARENA}
    command = [sys.executable, "-m", "bento_rollout.bento.beside"]
    # From the main thread, which lives as long as the worker: a child ends with the thread that began it.
    process = subprocess.Popen(  # noqa: S603, ASYNC220 - ourselves; it returns when the process has begun
        command,
        pass_fds=fds,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **envs, ORDER: json.dumps(whole)},
    )
    theirs.close()
    loop = asyncio.get_running_loop()
    gone, hello = asyncio.Event(), loop.create_future()

    def heard(kind: Kind, number: int, value: Any) -> None:
        child.heard = loop.time()
        if kind is Kind.HELLO:
            hello.set_result(value)
        else:
            take(kind, number, value)

    child = Child(process, arenas, hello, gone)
    child.pipe = Pipe(ours, arenas[0], arenas[1], heard, gone.set)
    return child


def ended(code: int | None) -> str:
    """Say how a process ended, given its exit code."""
    if code is None:
        return "it hung up"
    return f"signal {-code}" if code < 0 else f"exit code {code}"
