"""What a call is, who can run it, and how long it is waited for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol, TypeVar

from .degrees import Degree
from .excerpts import Excerpt
from .records import Fact, Observation, Plan, Reply

__all__ = [
    "END",
    "Call",
    "Cancelled",
    "Deciding",
    "Exited",
    "Finish",
    "Isolate",
    "Late",
    "Offer",
    "Runner",
    "Sink",
    "Together",
    "Unavailable",
    "answered",
    "closed",
    "header_of",
    "next_of",
    "within",
]

T = TypeVar("T")

_NO_REPLY = Reply()

END = object()
"""What `next_of` returns at the end of a stream."""


class Unavailable(Exception):
    """No variant can answer in this worker now."""


class Late(TimeoutError):
    """A variant did not answer within its own time limit."""


class Cancelled(Exception):
    """A variant cancelled its own call, which nobody had asked it to do: an error like another."""


class Exited(Exception):
    """Code whose end nobody waits for asked the whole process to end."""


class Runner(Protocol):
    """Where a variant's code runs: in this worker, in a process beside it, in a service, at a URL."""

    @property
    def limit(self) -> int | None:
        """How many calls it takes at a time when the spec does not say; None: as many as come."""

    @property
    def ready(self) -> bool:
        """Whether it can answer now."""

    def offers(self, endpoint: str) -> bool:
        """Whether it can stand in for the champion at an endpoint."""

    async def call(self, endpoint: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Run an endpoint and return its answer, or raise what it raised."""

    def stream(
        self, endpoint: str, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> AsyncGenerator[Any, None]:
        """Run a streaming endpoint; the items as they come."""


class Isolate(Protocol):
    """Starts work whose effects on the response are held back.

    The second value ends that: with True they are let through, with False nobody waits for the work any more.
    With ``apart`` others answer parts of the same request meanwhile, and nothing is let through.
    """

    def __call__(
        self, work: Coroutine[Any, Any, Any], *, apart: bool = False
    ) -> tuple[asyncio.Task[Any], Callable[[bool], None]]:
        """Start it."""


Finish = Callable[[Any, str], Awaitable[Any]]
"""Turns a variant's answer, and the variant's name, into what goes out."""

Offer = Callable[[Observation], None]


class Sink(Protocol):
    """Takes a fact at once, or drops and counts it; never blocks, never raises."""

    def offer(self, fact: Fact) -> None:
        """Take a fact."""


@dataclass(slots=True, eq=False)
class Together:
    """One batch that a variant answered.

    Attributes:
        size: how many watched requests are in it.
        seconds: how long the variant ran; None: that is not known.
    """

    size: int
    seconds: float | None = None


@dataclass(slots=True, eq=False)
class Deciding:
    """Who decides a call of an automated endpoint.

    Attributes:
        degree: at which degree it was taken.
        by: ``model``, ``human`` or ``default``; empty: nobody has.
        running: whether the model still runs for it where its caller does not wait.
        owed: whether it was to be told of meanwhile, which whoever lets it run does then.
        until: when its caller is told at the latest where it stands, by ``time.monotonic()``.
    """

    degree: Degree
    by: str = ""
    running: bool = False
    owed: bool = False
    until: float = 0.0


@dataclass(slots=True)
class Call:
    """One request on its way: its id, who asked for what, and who answered in the end.

    Attributes:
        endpoint: the endpoint's name.
        prediction_id: UUIDv7.
        scope: the request's ASGI scope: its headers and path.
        receive: the request's ASGI receive, by which a caller is known to have gone.
        left: whether the caller had left when time was up; None: it was not.
        pinned: the variant that the caller asked for.
        plans: who answered: one plan, or one for each row.
        taken: whether the endpoint has begun.
        early: the plan that was made before the call, from the request's head (tasks).
        task_id: the task that this call is the work of.
        response: what a candidate's context says of a response that BentoML would not ask about.
        watch: the champion and those that shadow this call, as the plan was made; None: nobody does.
        row_watch: with a key for each row, the rows that each shadow watches.
        batch: names the batch in which the champion answered it, with how many requests it had.
        witnesses: what the shadows will be given when the answer is out.
        began: when it came, in seconds since 1970.
        keys: the routing keys as text, one for each plan.
        inference_ids: the caller's own ids, one for each plan.
        inputs: the endpoint's arguments by name, where somebody wants them.
        watched: the first rows of them, where drift is watched.
        runs: what was observed of it so far.
        reply: what went out.
        span: the request's span, where it is recorded.
        trace: trace id and span id of the request.
        bound: what the user's own code has bound for each of its log lines, where they ask for it.
        deciding: who decides it; None: its endpoint is not automated.
        decision: the id of the case whose decision a task waits for; empty: none.
        stale: seconds since the store was last within reach; 0: it is.
        obeys: ``champion`` or ``refuse``, where that is so long ago that its worker's state holds no more.
    """

    endpoint: str
    prediction_id: str = ""
    scope: MutableMapping[str, Any] = field(default_factory=dict)
    receive: Callable[[], Awaitable[Any]] | None = None
    left: bool | None = None
    pinned: str | None = None
    plans: tuple[Plan, ...] = ()
    taken: bool = False
    early: Plan | None = None
    task_id: str | None = None
    response: Any = None
    watch: tuple[str, tuple[str, ...]] | None = None
    row_watch: Mapping[str, tuple[int, ...]] | None = None
    batch: Together | None = None
    witnesses: tuple[Any, ...] = ()
    began: float = 0.0
    keys: tuple[str | None, ...] = ()
    inference_ids: tuple[str | None, ...] = ()
    inputs: Mapping[str, Any] | None = None
    watched: Excerpt | None = None
    runs: list[Observation] = field(default_factory=list)
    reply: Reply = _NO_REPLY
    span: Any = None
    trace: tuple[str, str] = ("", "")
    bound: Mapping[str, Any] | None = None
    deciding: Deciding | None = None
    decision: str = ""
    stale: int = 0
    obeys: str = ""

    def header(self, name: str) -> str | None:
        """Return a request header, or None when it is absent or not UTF-8."""
        return header_of(self.scope, name)

    async def has_gone(self) -> bool:
        """Whether the caller has left: asks once, waits for nothing."""
        if self.receive is None:
            return False
        asking = asyncio.ensure_future(self.receive())
        try:
            await asyncio.sleep(0)
        finally:
            asking.cancel()  # changes nothing where it is done
        if not asking.done():
            return False
        if asking.cancelled() or asking.exception() is not None:
            return False
        return bool(asking.result()["type"] == "http.disconnect")


def header_of(scope: Mapping[str, Any], name: str) -> str | None:
    """Return a header of a request's ASGI scope as text, or None when it is absent or not UTF-8."""
    wanted = _on_the_wire(name)
    for key, value in scope.get("headers", ()):
        if key == wanted:
            try:
                return str(bytes(value).decode("utf-8"))
            except UnicodeDecodeError:
                return None
    return None


@lru_cache(maxsize=1024)
def _on_the_wire(name: str) -> bytes:
    """Return a header's name as ASGI has it: in lower case."""
    return name.lower().encode("latin-1", "ignore")


async def next_of(items: AsyncGenerator[Any, None]) -> Any:
    """Return a stream's next item, or `END`."""
    try:
        return await items.__anext__()
    except StopAsyncIteration:
        return END


async def within(task: asyncio.Future[T], timeout: float | None) -> T:
    """Wait for a task; one that is late is cancelled and not waited for, so it cannot hold the caller.

    Raises:
        Late: when it is late.
        Cancelled: when it was cancelled from within.
    """
    try:
        done, _ = await asyncio.wait({task}, timeout=timeout)
    except asyncio.CancelledError:
        task.cancel()
        raise
    if done:
        if task.cancelled():
            raise Cancelled("the variant cancelled its own call")
        if isinstance(task.exception(), GeneratorExit):  # further out it would mean that we are being closed
            raise Cancelled("the variant raised GeneratorExit")
        return task.result()
    task.add_done_callback(lambda late: late.cancelled() or late.exception())
    task.cancel()
    raise Late(f"no answer within {timeout:g} s")


async def answered(
    task: asyncio.Future[T],
    end: Callable[[bool], None],
    timeout: float | None,
) -> T:
    """Wait for a task that an `Isolate` started, as `within` does, and end it with what came of it."""
    try:
        value = await within(task, timeout)
    except BaseException:
        end(False)
        raise
    end(True)
    return value


async def closed(items: AsyncGenerator[Any, None]) -> None:
    """Close a stream, whatever it makes of that."""
    try:
        await items.aclose()
    except (Exception, asyncio.CancelledError):  # noqa: BLE001 - who cannot be closed must not cost the answer
        return
