"""Runs a candidate in a niced process beside this worker: its crash, its memory and its GIL are its own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any

import psutil

from ..calls import Unavailable
from ..measuring import SHEET, Sheet
from ..pipe import Garbled, Kind
from ..shadowing import SHADOW, Meter
from ..telemetry import log
from .carrying import RemoteError, apply_effects, error_from, head, packed
from .child import FAREWELL, Child, ended, order_for, spawn
from .method import Method
from .standing import Standing
from .variants import Definition

__all__ = ["ProcessRunner"]

Told = Callable[[Kind, Any], None]
"""Takes what a process says of one call."""

FIRST_WAIT, LAST_WAIT = 0.5, 30.0
"""Seconds before a process that died is started again; doubled from first to last."""

PROBE, SILENCE = 1.0, 10.0
"""Seconds between two questions to a process, and of silence after which it is unready."""

STEADY = 60.0
"""Seconds after which a process that lives has earned the first wait again."""


class ProcessRunner:
    """One variant in a process of its own.

    Args:
        definition: the variant.
        service: the decorated service: what the process imports.
        digest: what the variant is here; a process that loads other code is refused.
        changed: told when the state changes.

    Attributes:
        restarts: how often the process was started again.
    """

    kind = "process"
    rollout = ""
    limit = 64
    """Calls that may be on their way to it when the spec names no ``max_concurrency``."""

    def __init__(
        self, definition: Definition, service: Any, digest: str, changed: Callable[[], None]
    ) -> None:
        self.name, self.definition = definition.name, definition
        self.state = "starting"
        self.error: str | None = None
        self.restarts = 0
        self.instance: Any = None
        self.calls: Mapping[str, Any] = {}
        self._service, self._digest, self._changed = service, digest, changed
        self._child: Child | None = None
        self._last = 0
        self._waiting: dict[int, Told] = {}
        self._keeper: asyncio.Task[None] | None = None
        self._settled = asyncio.Event()

    @property
    def ready(self) -> bool:
        """Whether it can answer now."""
        return self.state == "ready"

    @property
    def service_context(self) -> Any:
        """The service's context: request and response of the call that is being served."""
        return self._service.context

    @property
    def process(self) -> Mapping[str, int]:
        """What is told of the process: its pid, its memory in MB, and how often it was started again."""
        facts = {"restarts": self.restarts}
        if (pid := self.pid) is not None:
            with contextlib.suppress(psutil.Error):
                memory = psutil.Process(pid).memory_info().rss
                facts |= {"pid": pid, "memory_mb": round(memory / 1e7) * 10}
        return facts

    @property
    def pid(self) -> int | None:
        """The process, when it lives."""
        return None if self._child is None else self._child.process.pid

    def offers(self, endpoint: str) -> bool:
        """Whether it can stand in for the champion at an endpoint."""
        return endpoint in self.definition.offers

    def method(self, endpoint: str) -> Method:
        """Return the variant's own method of an endpoint."""
        return self.definition.service.apis[endpoint]

    # -- its life --------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start the process, and wait until it has said how it is; when it dies it is started again."""
        self.instance = Standing(self, asyncio.get_running_loop())
        self._keeper = asyncio.ensure_future(self._keep())
        await self._settled.wait()

    async def close(self) -> None:
        """Let the process run its shutdown hooks and end; it is killed when it does not."""
        self.state = "unready"
        if self._keeper is not None:
            self._keeper.cancel()
        child = self._child
        if child is None:
            return
        with contextlib.suppress(ConnectionError):
            child.pipe.send(Kind.STOP, 0)
        try:
            await asyncio.wait_for(child.gone.wait(), FAREWELL)
        except (TimeoutError, asyncio.TimeoutError):
            child.process.kill()
        await self._reaped(child)

    async def _keep(self) -> None:
        """Keep a process alive: start it, wait for its end, wait a while, and again."""
        wait = FIRST_WAIT
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            try:
                child = self._child = await self._spawn()
            except Exception as error:  # noqa: BLE001 - no memory, no file descriptors: it is tried again
                self._become("failed", f"{type(error).__name__}: {error}")
            else:
                await self._greet(child)
                await self._watch(child)
                code = await child.exit_code(0.5)
                self._end_calls(f"its process ended ({ended(code)})")
                if self.state in ("ready", "unready"):
                    self._become("starting", f"its process ended ({ended(code)}); it is started again")
                await self._reaped(child)
            if loop.time() - began > STEADY:
                wait = FIRST_WAIT
            await asyncio.sleep(wait)
            wait = min(wait * 2, LAST_WAIT)
            self.restarts += 1

    async def _greet(self, child: Child) -> None:
        """Wait for what the process says of itself, and be that."""
        gone: asyncio.Future[Any] = asyncio.ensure_future(child.gone.wait())
        first: set[asyncio.Future[Any]] = {child.hello, gone}
        await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        gone.cancel()
        if not child.hello.done():
            how = ended(await child.exit_code(0.5))
            self._become("failed", f"its process ended while it was starting ({how})")
            return
        hello = child.hello.result()
        if hello["state"] == "ready" and hello["digest"] != self._digest:
            self._become("failed", "the code on disk is not what this worker runs: restart the service")
            child.process.kill()
            return
        self._become(hello["state"], hello["error"])

    async def _watch(self, child: Child) -> None:
        """Wait for the end of the process; one that does not answer meanwhile is `unready`."""
        loop = asyncio.get_running_loop()
        while not child.gone.is_set():
            with contextlib.suppress(ConnectionError):
                child.pipe.send(Kind.PING, 0)
            with contextlib.suppress(TimeoutError, asyncio.TimeoutError):
                await asyncio.wait_for(child.gone.wait(), PROBE)
            silent = loop.time() - child.heard
            if self.state == "ready" and silent > SILENCE and not child.gone.is_set():
                self._become("unready", f"its process {self.pid} has not answered for {silent:.0f} s")
            elif self.state == "unready" and silent < SILENCE:
                self._become("ready", None)

    def _become(self, state: str, error: str | None) -> None:
        before = (self.state, self.error)
        self.state, self.error = state, error
        self._settled.set()
        if before != (state, error):
            level = "info" if state == "ready" else "error"
            facts = {
                "rollout": self.rollout,
                "variant": self.name,
                "state": state,
                "error": error,
                "pid": self.pid,
            }
            log.event("variant.process", level, restarts=self.restarts, **facts)
        self._changed()

    async def _spawn(self) -> Child:
        own = {env.name: env.value for env in self.definition.service.envs if env.value is not None}
        return await spawn(order_for(self._service, self.name), own, self._take)

    def _take(self, kind: Kind, number: int, value: Any) -> None:
        if (told := self._waiting.get(number)) is not None:
            told(kind, value)

    async def _reaped(self, child: Child) -> None:
        if self._child is child:
            self._child = None
        await child.reaped()

    # -- its answers -----------------------------------------------------------------------------------

    async def call(self, endpoint: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Run an endpoint and return its answer."""
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        sheet = SHEET.get()

        def told(kind: Kind, value: Any) -> None:
            if not answer.done():
                _settle(answer, kind, value, sheet)

        await self._room()
        number = self._send(Kind.CALL, told, self._written(endpoint, args, kwargs))
        try:
            value, effects, measured = await answer
        except asyncio.CancelledError:
            self._cancel(number)
            raise
        finally:
            self._forget(number, SHADOW.get())
        apply_effects(effects)
        _carry(measured, sheet)
        return value

    async def stream(
        self, endpoint: str, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> AsyncGenerator[Any, None]:
        """Run a streaming endpoint; the candidate is never far ahead of who reads."""
        items: asyncio.Queue[tuple[Kind, Any]] = asyncio.Queue()
        await self._room()
        order = self._written(endpoint, args, kwargs)
        number = self._send(Kind.STREAM, lambda kind, value: items.put_nowait((kind, value)), order)
        over, first, meter, sheet = False, True, SHADOW.get(), SHEET.get()
        try:
            while True:
                kind, value = await items.get()
                over = kind is not Kind.ITEM
                if kind is Kind.FAILURE or isinstance(value, Garbled):
                    raise _error_of(value, sheet)
                item, effects, measured = value
                _carry(measured, sheet)
                if first:
                    apply_effects(effects)
                    first = False
                if kind is Kind.END:
                    return
                yield item
                self._tell(Kind.MORE, number)
        finally:
            self._forget(number, meter)
            if not over:
                self._cancel(number)

    async def _room(self) -> None:
        """Wait while the process has a lot to take; a call that is given up here was never sent."""
        if self._child is not None:
            await self._child.pipe.room()

    def _written(self, endpoint: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        spec = self._service.apis[endpoint].input_spec
        meter = SHADOW.get()
        monitored = None if meter is None else meter.monitored
        sheet = SHEET.get() if meter is None else None
        rows = None if sheet is None else sheet.rows
        return endpoint, packed(args, spec), dict(kwargs), head(), monitored, rows

    def _send(self, kind: Kind, told: Told, order: Any) -> int:
        child = self._child
        if child is None or not self.ready:
            raise Unavailable(f"the process of variant {self.name!r} is {self.state}")
        self._last = number = (self._last + 1) % (1 << 32)
        try:
            child.pipe.send(kind, number, order)
        except ConnectionError:
            raise Unavailable(f"the process of variant {self.name!r} has just ended") from None
        meter = SHADOW.get()
        self._waiting[number] = told if meter is None else self._held(number, meter, told)
        return number

    def _held(self, number: int, meter: Meter, told: Told) -> Told:
        """Hold a shadow's slot until the process says that its call is over, though nobody waits any more."""
        meter.enter()

        def heard(kind: Kind, value: Any) -> None:
            if kind is not Kind.ITEM:
                self._waiting.pop(number, None)
                meter.leave()
            told(kind, value)

        return heard

    def _forget(self, number: int, meter: Meter | None) -> None:
        """Note that nobody waits for a call any more; a shadow's is heard of until it is over."""
        if meter is None:
            self._waiting.pop(number, None)

    def _cancel(self, number: int) -> None:
        self._tell(Kind.CANCEL, number)

    def _tell(self, kind: Kind, number: int) -> None:
        if self._child is not None:
            with contextlib.suppress(ConnectionError):
                self._child.pipe.send(kind, number)

    def _end_calls(self, why: str) -> None:
        """Fail what was waiting for a process that is gone."""
        waiting, self._waiting = self._waiting, {}
        for told in waiting.values():
            told(Kind.FAILURE, Unavailable(f"variant {self.name!r} did not answer: {why}"))


def _settle(answer: asyncio.Future[Any], kind: Kind, value: Any, sheet: Sheet | None) -> None:
    if kind is Kind.ANSWER and not isinstance(value, Garbled):
        answer.set_result(value)
        return
    error = _error_of(value, sheet)
    if not isinstance(error, Exception) or isinstance(error, StopIteration):  # nobody here is to end by it
        error = RemoteError(f"the candidate raised {type(error).__name__}")
    answer.set_exception(error)


def _error_of(value: Any, sheet: Sheet | None) -> BaseException:
    if isinstance(value, Garbled):
        return TypeError(f"the candidate's answer cannot be read in the worker: {value}")
    if isinstance(value, BaseException):
        return value
    told, measured = value
    _carry(measured, sheet)
    return error_from(*told)


def _carry(measured: Any, sheet: Sheet | None) -> None:
    """Note what the candidate has measured of a call so far."""
    if measured is not None and sheet is not None:
        sheet.carry(measured)
