"""Services whose candidate runs in a process of its own; at module level: that process imports them."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import AsyncGenerator, Generator
from pathlib import Path
from typing import Any

import bentoml
import numpy as np

from bento_rollout import Flip, RolloutSpec, Variant, rollout
from tests.contract.kinds import Kinds, KindsInContext


def beside(cls: type, name: str, candidate: Any, hooks: Any = None, **spec: Any) -> Any:
    """Return a service of a class, all of whose requests are answered by its candidate."""
    service: Any = bentoml.service(name="kinds")(cls)
    parsed = RolloutSpec.parse({"name": name, "weights": {"two": 100}, **spec})
    return rollout(champion="one", candidates={"two": candidate}, spec=parsed, before_flip=hooks)(service)


def in_process(cls: type) -> Variant:
    """Return a class as a candidate in a process."""
    return Variant(bentoml.service(name="kinds_two")(cls), runner="process", twin=True)


PLAIN = beside(Kinds, "beside-plain", in_process(Kinds))
CONTEXT = beside(KindsInContext, "beside-context", in_process(KindsInContext))


LOCK = threading.Lock()
RUNNING: list[int] = []


class Own:
    """Says which process answers, and does whatever a test needs."""

    who = "one"

    @bentoml.api
    def pid(self) -> int:
        return os.getpid()

    @bentoml.api
    async def where(self, ctx: bentoml.Context) -> dict[str, Any]:
        state = {name: getattr(ctx.request.state, name, None) for name in ("note", "lock")}
        ctx.response.set_cookie("own", "1")
        ctx.response.headers["x-own"] = self.who
        ctx.response.status_code = 201
        told = {"who": self.who, "say": ctx.request.headers.get("x-say"), **state}
        return {**told, "path": ctx.request.url.path, "nice": os.nice(0), "session": os.getsid(0)}

    @bentoml.api
    def double(self, rows: np.ndarray) -> np.ndarray:
        rows *= 2
        return rows

    @bentoml.api
    async def slow(self, seconds: float) -> str:
        await asyncio.sleep(seconds)
        return self.who

    @bentoml.api
    async def block(self, rows: np.ndarray, seconds: float) -> str:
        if self.who == "two":
            time.sleep(seconds)  # noqa: ASYNC251 - its event loop stands still
        return self.who

    @bentoml.api
    def hang(self, seconds: float) -> str:
        if self.who == "two":
            time.sleep(seconds)
        return self.who

    @bentoml.api
    def text(self, size: int) -> str:
        return "x" * size

    @bentoml.api
    def said(self, ctx: bentoml.Context) -> str:
        time.sleep(0.002)
        ctx.response.headers["x-own"] = said = ctx.request.headers["x-say"]
        return f"{said} {threading.current_thread().name}"

    @bentoml.api
    def later(self, path: str, ctx: bentoml.Context) -> str:
        ctx.response.background.add_task(Path(path).write_text, f"{self.who} {ctx.request.headers['x-say']}")
        return self.who

    @bentoml.api
    def leave(self) -> str:
        raise SystemExit(self.who)

    @bentoml.api
    def crowd(self) -> int:
        with LOCK:
            RUNNING.append(len(RUNNING) + 1)
        time.sleep(0.01)
        with LOCK:
            return RUNNING.pop()

    @bentoml.api
    def die(self) -> str:
        if self.who == "two":
            os._exit(3)
        return self.who

    @bentoml.api
    def count(self, n: int) -> Generator[str, None, None]:
        for number in range(n):
            yield f"{number}\n"

    @bentoml.api
    async def endless(self) -> AsyncGenerator[str, None]:
        number = 0
        while True:
            number += 1
            yield f"{number}\n"

    @bentoml.api
    def odd(self) -> dict[str, Any]:
        raise Odd("here", detail="there") if self.who == "two" else ValueError

    @bentoml.api
    def environment(self) -> str:
        return os.environ.get("OWN_ENV", "none")


class Odd(Exception):
    """Cannot be copied: its constructor wants more than it gives to Exception."""

    def __init__(self, text: str, *, detail: str) -> None:
        super().__init__(text)
        self.detail = detail


GUARDED = {"variants": {"two": {"timeout": "2s", "fallback": "champion"}}}
OWN = beside(Own, "beside-own", Variant(attributes={"who": "two"}, runner="process"))
OWN_GUARDED = beside(Own, "beside-guarded", Variant(attributes={"who": "two"}, runner="process"), **GUARDED)
FOUR: Any = rollout(
    champion="one",
    candidates={"two": Variant(attributes={"who": "two"}, runner="process")},
    spec=RolloutSpec.parse({"name": "beside-four", "weights": {"two": 100}}),
)(bentoml.service(name="kinds", threads=4)(Own))


@bentoml.service(name="broken_two", envs=[{"name": "OWN_ENV", "value": "own"}])
class Broken(Own):
    """Cannot be made."""

    def __init__(self) -> None:
        raise OSError("no weights here")


BROKEN = beside(Own, "beside-broken", Variant(Broken, runner="process"))


@bentoml.service(name="enved_two", envs=[{"name": "OWN_ENV", "value": "own"}])
class Enved(Own):
    """Has an environment of its own."""

    who = "two"


class Noting:
    """A middleware of the champion's that leaves notes for its endpoints: one of them cannot cross."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass a request on."""
        if scope["type"] == "http":
            scope.setdefault("state", {}).update(note={"ward": 3}, lock=LOCK)
        await self.app(scope, receive, send)


ENVED = beside(Own, "beside-enved", Variant(Enved, runner="process"))
ENVED.add_asgi_middleware(Noting)

WARMED: list[Any] = []


def warm_up(flip: Flip) -> None:
    """Ask the target from a hook's thread."""
    WARMED.append(
        (flip.instance.pid(), list(flip.instance.count(3)), flip.instance.double(np.ones(2)).tolist())
    )


async def warm_up_async(flip: Flip) -> None:
    """Ask the target on the event loop."""
    WARMED.append(await flip.instance.to_async.pid())
    WARMED.append([item async for item in flip.instance.to_async.count(2)])
    try:
        flip.instance.pid()
    except RuntimeError as error:
        WARMED.append(str(error))


HOOKED: Any = rollout(
    champion="one",
    candidates={"two": Variant(attributes={"who": "two"}, runner="process")},
    spec=RolloutSpec.parse({"name": "beside-hooked"}),
    before_flip=[warm_up, warm_up_async],
)(bentoml.service(name="kinds")(Own))
