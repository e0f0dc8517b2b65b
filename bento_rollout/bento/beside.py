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
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any

from ..arena import Arena
from ..pipe import Garbled, Kind, Pipe
from ..telemetry.log import described

__all__ = ["ORDER", "main"]

ORDER = "BENTO_ROLLOUT_BESIDE"
"""The environment variable that holds the order."""

CREDIT = 16
"""Items of a stream that may be on their way to the worker: the candidate waits when they are not taken."""

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
        self._runner: Any = None
        self._methods: Mapping[str, Any] = {}
        self._calls: dict[int, asyncio.Task[None]] = {}
        self._credit: dict[int, asyncio.Semaphore] = {}
        self._over = asyncio.Event()

    async def serve(self) -> None:
        """Load, say how that went, and answer until the worker says that it is over, or is gone."""
        order = self._order
        there, back = (Arena(fd, order["arena"]) for fd in order["arenas"])
        end = socket.socket(fileno=order["socket"])
        self._pipe = await Pipe.over(end, back, there, self._take, lost)
        hello = await self._load()
        self._pipe.send(Kind.HELLO, 0, hello)
        if hello["state"] != "ready":
            self._over.set()  # it ends, and is tried again after a while
        await self._over.wait()
        for task in [*self._calls.values()]:
            task.cancel()
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
            return {"state": "failed", "error": described(error), "digest": ""}
        self._runner, self._methods = runner, site.methods
        return {"state": runner.state, "error": runner.error, "digest": digest}

    # -- messages --------------------------------------------------------------------------------------

    def _take(self, kind: Kind, call: int, value: Any) -> None:
        if kind in (Kind.CALL, Kind.STREAM):
            work = self._answer if kind is Kind.CALL else self._stream
            task = asyncio.ensure_future(work(call, value))
            self._calls[call] = task
            task.add_done_callback(lambda _: self._calls.pop(call, None))
        elif kind is Kind.CANCEL and (task_ := self._calls.get(call)) is not None:
            task_.cancel()
        elif kind is Kind.MORE and (credit := self._credit.get(call)) is not None:
            credit.release()
        elif kind is Kind.STOP:
            self._over.set()
        elif kind is Kind.PING:
            with contextlib.suppress(ConnectionError):
                self._pipe.send(Kind.PING, 0)

    async def _answer(self, call: int, order: Any) -> None:
        from .carrying import effects_of

        try:
            endpoint, args, kwargs, head = self._read(order)
            response = self._enter(head)
            value = await self._runner.call(endpoint, args, kwargs)
            self._pipe.send(Kind.ANSWER, call, (value, effects_of(response)))
        except BaseException as error:  # noqa: BLE001 - told to the worker, whose caller waits for it
            self._fail(call, error)
        else:
            await self._afterwards(response)

    async def _stream(self, call: int, order: Any) -> None:
        from .carrying import effects_of

        credit = self._credit[call] = asyncio.Semaphore(CREDIT)
        items: AsyncGenerator[Any, None] | None = None
        try:
            endpoint, args, kwargs, head = self._read(order)
            response = self._enter(head)
            items = self._runner.stream(endpoint, args, kwargs)
            async for item in items:
                await credit.acquire()
                self._pipe.send(Kind.ITEM, call, (item, effects_of(response)))
            self._pipe.send(Kind.END, call, (None, effects_of(response)))
        except BaseException as error:  # noqa: BLE001 - told to the worker, whose caller waits for it
            self._fail(call, error)
        finally:
            del self._credit[call]
            if items is not None:
                with contextlib.suppress(Exception, asyncio.CancelledError):
                    await items.aclose()

    def _read(self, order: Any) -> tuple[str, Sequence[Any], Mapping[str, Any], Mapping[str, Any] | None]:
        from .carrying import unpacked

        if isinstance(order, Garbled):
            raise TypeError(f"the input cannot be read in the candidate's process: {order}")
        endpoint, args, kwargs, head = order
        return endpoint, unpacked(args, self._methods[endpoint].input_spec), kwargs, head

    def _enter(self, head: Mapping[str, Any] | None) -> Any:
        """Let the context be that of the worker's request; return the response's part of it."""
        from bentoml._internal.context import ServiceContext, _request_var, _response_var

        from .carrying import request_of

        response = ServiceContext.ResponseContext()
        _response_var.set(response)
        if head is not None:
            _request_var.set(request_of(head))
        return response

    def _fail(self, call: int, error: BaseException) -> None:
        from .carrying import error_to

        with contextlib.suppress(ConnectionError):
            self._pipe.send(Kind.FAILURE, call, error_to(error))

    async def _afterwards(self, response: Any) -> None:
        """Run the background tasks that the candidate added to its response."""
        with contextlib.suppress(Exception):
            await response.background()


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
