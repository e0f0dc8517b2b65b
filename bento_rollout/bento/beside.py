"""The process beside a worker: serves one candidate to the worker that started it, and ends with it.

Started as ``python -m bento_rollout.bento.beside`` with an order (JSON) in its environment, which only this
user may read: what to load, and which inherited file descriptors lead to the worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ..arena import Arena
from ..pipe import Kind, Pipe
from ..telemetry.log import described, place_of

if TYPE_CHECKING:
    from .answering import Answering
    from .worker_runner import WorkerRunner

__all__ = ["ORDER", "main"]

ORDER = "BENTO_ROLLOUT_BESIDE"
"""The environment variable that holds the order."""

LAST_WORDS = 8.0
"""Seconds that shutdown hooks may take."""


class Beside:
    """One candidate, served over a pipe.

    Args:
        order: what the worker wants to be served.
    """

    def __init__(self, order: Mapping[str, Any]) -> None:
        self._order = order
        self._pipe: Pipe
        self._runner: WorkerRunner | None = None
        self._answering: Answering | None = None
        self._over = asyncio.Event()

    async def serve(self) -> None:
        """Load, say how that went, and answer until the worker says that it is over, or is gone."""
        order = self._order
        there, back = (Arena(fd, order["arena"]) for fd in order["arenas"])
        end = socket.socket(fileno=order["socket"])
        self._pipe = Pipe(end, back, there, self._take, lost)
        hello = await self._load()
        self._pipe.send(Kind.HELLO, 0, hello)
        if hello["state"] != "ready":
            self._over.set()  # it ends, and is tried again after a while
        await self._over.wait()
        if self._answering is not None:
            self._answering.end()
        if self._runner is not None:
            with contextlib.suppress(Exception, asyncio.CancelledError):
                await asyncio.wait_for(self._runner.close(), LAST_WORDS)
        self._pipe.close()
        await asyncio.sleep(0)  # what is still to be sent goes out

    async def _load(self) -> dict[str, Any]:
        """Import the service, make the candidate, and return how it is."""
        try:
            site, runner = await load_candidate(self._order)
            digest = site.digests()[runner.name]
        except BaseException as error:  # noqa: BLE001 - whatever a user's module raises when it is imported
            return {"state": "failed", "error": reason(error), "digest": ""}
        from .answering import Answering  # slow to import, as all that knows BentoML

        self._runner, self._answering = runner, Answering(runner, site.methods, self._pipe)
        return {"state": runner.state, "error": runner.error, "digest": digest}

    def _take(self, kind: Kind, call: int, value: Any) -> None:
        if kind is Kind.STOP:
            self._over.set()
        elif kind is Kind.PING:
            with contextlib.suppress(ConnectionError):
                self._pipe.send(Kind.PING, 0)
        elif self._answering is not None:
            self._answering.take(kind, call, value)


def reason(error: BaseException) -> str:
    """Return on one line why a service could not be loaded: what went wrong first, and where.

    BentoML's advice about imports is left out; what the user's own code made of it stands before it.
    """
    from bentoml.exceptions import ImportServiceError

    first = error
    for _ in range(20):
        inner = first.__cause__ or (None if first.__suppress_context__ else first.__context__)
        if inner is None:
            break
        first = inner
    words = [" ".join(described(each).split()) for each in (error, first)]
    if first is error or isinstance(error, ImportServiceError):
        error, told = first, words[1]
    else:
        told = " because of ".join(words)
    return f"{told} ({place})" if (place := place_of(error)) else told


async def load_candidate(order: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return the rollout that an order names, as it is defined here, and its candidate's runner, started."""
    from _bentoml_impl.loader import load
    from _bentoml_sdk.service import set_current_service
    from bentoml._internal.configuration.containers import BentoMLContainer
    from bentoml._internal.context import server_context
    from bentoml._internal.log import configure_server_logging
    from bentoml._internal.utils.args import set_arguments

    from .decorator import site_of
    from .serving import runner_for

    set_arguments(order["arguments"])
    configure_server_logging()  # type: ignore[no-untyped-call]  # BentoML's own
    for name, value in order["server"].items():
        setattr(server_context, name, value)
    # The candidate's lines in the log are not the champion's.
    server_context.service_type = "candidate"
    server_context.service_name = f"{order['service']}@{order['variant']}"
    BentoMLContainer.remote_runner_mapping.set(order["runners"])
    service = load(order["target"], working_dir=order["folder"], standalone_load=True)
    if service.name != order["service"]:
        service = service.find_dependent_by_name(order["service"])
    site = site_of(service)
    if site is None or order["variant"] not in site.definitions:
        raise LookupError(f"{order['target']} has no rollout with a variant {order['variant']!r}")
    runner = runner_for(site, site.definitions[order["variant"]])
    await runner.start()
    if runner.instance is not None:
        set_current_service(runner.instance)
    return site, runner


def lost() -> None:
    """End at once: the worker is gone, and nobody is left to answer to."""
    os._exit(0)


def die_with(parent: int) -> None:
    """Let the kernel end this process when the worker ends, however busy it is then (Linux)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        lost()


def watch(parent: int) -> None:
    """Notice from a thread that the worker is gone, where the kernel does not say so."""

    def look() -> None:
        while os.getppid() == parent:
            threading.Event().wait(1.0)
        lost()

    threading.Thread(target=look, name="rollout-parent", daemon=True).start()


def main() -> None:
    """Serve a candidate, as the order in the environment says."""
    order = json.loads(os.environ.pop(ORDER))
    die_with(order["parent"])
    watch(order["parent"])
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, lambda *_: None)  # the worker's affair: it ends its calls, then this process
    with contextlib.suppress(OSError):
        os.nice(order["nice"])
    run: Callable[..., Any] = asyncio.run
    run(Beside(order).serve())
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # a thread of the candidate may hang: it holds nobody


if __name__ == "__main__":
    main()
