"""A gateway that depends on a wrapped service: what `bentoml serve` runs for the tests over real sockets."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncGenerator, Generator
from pathlib import Path
from typing import Any

import bentoml
import numpy as np
from bentoml.exceptions import InvalidArgument

from bento_rollout import RolloutSpec, rollout
from bento_rollout.bento.decorator import site_of
from bento_rollout.records import Fact, Observation


class Notes:
    """A sink that writes what it is given to a file, for the test to read."""

    def offer(self, fact: Fact) -> None:
        """Append one line for a call."""
        if not isinstance(fact, Observation):
            return
        line = {
            "endpoint": fact.endpoint,
            "variant": fact.variant,
            "outcome": fact.outcome.value,
            "pid": os.getpid(),
        }
        with Path(os.environ["WIRE_NOTES"]).open("a") as file:
            file.write(json.dumps(line) + "\n")


def note(text: str) -> None:
    """Write what a method has done."""
    with Path(os.environ["WIRE_NOTES"]).open("a") as file:
        file.write(json.dumps({"did": text}) + "\n")


@bentoml.service(name="helper")
class Helper:
    """Something to depend on."""

    @bentoml.api
    def upper(self, text: str) -> str:
        return text.upper()


class Endpoints:
    """What champion and candidate share."""

    who = "one"
    helper = bentoml.depends(Helper)

    @bentoml.api
    def predict(self, rows: np.ndarray, user: str = "") -> np.ndarray:
        return rows * (1 if self.who == "one" else 10)

    @bentoml.api
    async def stream(self, n: int, user: str = "") -> AsyncGenerator[str, None]:
        for i in range(n):
            yield f"{self.who} {i}\n"

    @bentoml.api
    def sync_stream(self, n: int, user: str = "") -> Generator[str, None, None]:
        for i in range(n):
            yield f"{self.who} {i}\n"

    @bentoml.api
    def ask(self, text: str, user: str = "") -> str:
        return f"{self.who}: {self.helper.upper(text)}"

    @bentoml.api
    def invalid(self, user: str = "") -> str:
        raise InvalidArgument(f"{self.who} says no")

    @bentoml.api(batchable=True, max_batch_size=16, max_latency_ms=10_000)
    def batch(self, rows: np.ndarray) -> np.ndarray:
        return rows * (1 if self.who == "one" else 10)

    @bentoml.task
    def job(self, x: int, user: str = "") -> str:
        return f"{self.who}: {x}"

    @bentoml.api
    async def slow(self, name: str, seconds: float, user: str = "") -> str:
        await asyncio.sleep(seconds)
        note(f"{name} ended")
        return self.who

    @bentoml.api
    def slow_sync(self, name: str, seconds: float, user: str = "") -> str:
        time.sleep(seconds)
        note(f"{name} ended")
        return self.who

    @bentoml.api
    async def endless(self, name: str, user: str = "") -> AsyncGenerator[str, None]:
        try:
            while True:
                yield "x" * 100
                await asyncio.sleep(0.02)
        finally:
            note(f"{name} closed")


@bentoml.service(name="candidate")
class Candidate(Endpoints):
    """The candidate."""

    who = "two"


BARE: Any = bentoml.service(name="bare")(type("Bare", (Endpoints,), {"__module__": __name__}))

SPEC: dict[str, Any] = {
    "name": "wire",
    "weights": {"two": 1},
    "targets": {"two": {"keys": ["vip"]}},
    "routing": {
        "override_header": True,
        "key": {
            **dict.fromkeys(
                ("predict", "stream", "sync_stream", "ask", "invalid", "job", "slow", "slow_sync", "endless"),
                "field:user",
            ),
            "batch": "header:x-user",
        },
    },
}
WRAPPED: Any = rollout(champion="one", candidates={"two": Candidate}, spec=RolloutSpec.parse(SPEC))(
    bentoml.service(name="wrapped", workers=2, threads=2)(
        type("Wrapped", (Endpoints,), {"__module__": __name__})
    )
)
site = site_of(WRAPPED)
assert site is not None
site.sink = Notes()


@bentoml.service(name="gateway")
class Gateway:
    """Depends on the wrapped service, and on the same service without a rollout."""

    wrapped = bentoml.depends(WRAPPED)
    bare = bentoml.depends(BARE)

    @bentoml.api
    def both(self, rows: np.ndarray, user: str = "") -> list[Any]:
        return [self.bare.predict(rows, user).tolist(), self.wrapped.predict(rows, user).tolist()]

    @bentoml.api
    async def streams(self, n: int, user: str = "") -> list[str]:
        bare = [item async for item in self.bare.stream(n=n, user=user)]
        wrapped = [item async for item in self.wrapped.stream(n=n, user=user)]
        return ["".join(bare), "".join(wrapped)]

    @bentoml.api
    async def awaited(self, text: str, user: str = "") -> list[str]:
        return [
            await self.bare.to_async.ask(text, user),
            await self.wrapped.to_async.ask(text, user),
        ]

    @bentoml.api
    def error(self, user: str = "") -> list[str]:
        said = []
        for service in (self.bare, self.wrapped):
            try:
                service.invalid(user)
            except Exception as error:
                said.append(f"{type(error).__name__}: {error}")
        return said
