"""One service with its candidate in four places; at module level: processes and services import it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from typing import Any

import bentoml

from bento_rollout import RolloutSpec, Variant, rollout

HANG = 1.6
"""Seconds: longer than a call may take."""


class Everywhere:
    """Every kind of endpoint; the candidate answers, raises or hangs as it is told."""

    who = "one"
    here = 0

    def before(self, how: str) -> float:
        """Raise when that is asked for; return the seconds to wait."""
        if self.who == "two" and how == "raises":
            raise RuntimeError("a bug")
        return HANG if self.who == "two" and how == "hangs" else 0

    @bentoml.api
    def sync(self, how: str) -> str:
        time.sleep(self.before(how))
        return self.who

    @bentoml.api
    async def coroutine(self, how: str) -> str:
        await asyncio.sleep(self.before(how))
        return self.who

    @bentoml.api
    def generator(self, how: str) -> Generator[str, None, None]:
        time.sleep(self.before(how))
        yield self.who
        yield "!"

    @bentoml.api
    async def async_generator(self, how: str, ctx: bentoml.Context) -> AsyncGenerator[str, None]:
        await asyncio.sleep(self.before(how))
        ctx.response.headers["x-own"] = self.who
        yield self.who
        await asyncio.sleep(self.before("hangs" if how == "pauses" else how))
        yield "!"

    @bentoml.api(batchable=True, max_latency_ms=5000)
    def batch(self, hows: list[str]) -> list[str]:
        time.sleep(max(self.before(how) for how in hows))
        return [self.who for _ in hows]

    @bentoml.task
    def job(self, how: str) -> str:
        time.sleep(self.before(how))
        return self.who

    @bentoml.api
    async def rows(self, rows: list[dict[str, str]], how: str) -> list[str]:
        await asyncio.sleep(self.before(how))
        return [f"{self.who} {row['user']}" for row in rows]

    @bentoml.api
    async def crowd(self, seconds: float) -> str:
        """Say how many calls are here."""
        self.here += 1
        try:
            await asyncio.sleep(seconds)
            return f"{self.who} {self.here}"
        finally:
            self.here -= 1


FEW = {"max_concurrency": 2, "max_pending": 1}


def everywhere(name: str, candidate: Variant, limits: Mapping[str, int]) -> Callable[[Any], Any]:
    """Decorate a service with a candidate: rows are split in halves, other calls go where they ask to."""
    spec: dict[str, Any] = {
        "name": name,
        "weights": {"two": 50},
        "routing": {"key": {"rows": "rows:rows.user"}, "override_header": True},
        "variants": {"two": {"timeout": "1s", "idle_timeout": "1s", "fallback": "champion", **limits}},
    }
    return rollout(champion="one", candidates={"two": candidate}, spec=RolloutSpec.parse(spec))


def other(runner: Any) -> Variant:
    """Return the same code with another name, somewhere else."""
    return Variant(attributes={"who": "two"}, runner=runner)


def bare() -> Any:
    """Return the service without a rollout."""
    return bentoml.service(name="everywhere", threads=8)(Everywhere)


PROCESS: Any = everywhere("everywhere-process", other("process"), {})(
    bentoml.service(name="everywhere", threads=8)(Everywhere)
)
PROCESS_FEW: Any = everywhere("few-process", other("process"), FEW)(
    bentoml.service(name="everywhere", threads=8)(Everywhere)
)
SERVICE: Any = everywhere("everywhere-service", other("service"), {})(bare())
SERVICE_FEW: Any = everywhere("few-service", other("service"), FEW)(bare())


@bentoml.service(name="deployed", threads=8)
class Deployed(Everywhere):
    """The candidate as a deployment of its own."""

    who = "two"
