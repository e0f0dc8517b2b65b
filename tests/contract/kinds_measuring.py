"""One service whose endpoints measure, with its candidate in four places; at module level for processes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any

import bentoml
import numpy as np
from bentoml.exceptions import InvalidArgument

from bento_rollout import RolloutSpec, Variant, is_shadow, measure, rollout
from bento_rollout.bento.measured import MeasuredMiddleware


class Tooth(Exception):
    """Raised by an endpoint."""


class Measuring:
    """Every kind of endpoint; each says something of its answer."""

    who = "one"

    @bentoml.api
    def sync(self, how: str) -> str:
        measure("score", 0.5)
        measure("retries", 1)
        measure("retries", np.int64(2))
        measure("who", self.who == "two")
        if how == "raises":
            raise Tooth
        if how == "refuses":
            raise InvalidArgument("no")
        return self.who

    @bentoml.api
    async def coroutine(self, how: str) -> str:
        measure("score", 0.25)
        await asyncio.sleep(0.001)
        await asyncio.to_thread(measure, "aside", 3)
        return self.who

    @bentoml.api
    async def outer(self, how: str) -> str:
        measure("outer", 1)
        return await self.coroutine(how)  # type: ignore[no-any-return]  # BentoML's endpoints carry no types

    @bentoml.api
    def generator(self, how: str) -> Generator[str, None, None]:
        measure("tokens", 1)
        yield self.who
        measure("tokens", 1)
        if how == "raises":
            raise Tooth
        yield "!"
        measure("tokens", 1)

    @bentoml.api
    async def async_generator(self, how: str) -> AsyncGenerator[str, None]:
        measure("tokens", 1)
        yield self.who
        measure("tokens", 1)
        yield "!"
        measure("tokens", 1)

    @bentoml.api(batchable=True, max_batch_size=64, max_latency_ms=5000)
    def batch(self, rows: list[float]) -> list[float]:
        measure("seen", rows)
        measure("batches", 1)
        return [len(rows)] * len(rows)

    @bentoml.task
    def job(self, how: str) -> str:
        measure("score", 0.75)
        return self.who

    @bentoml.api
    async def rows(self, rows: list[dict[str, Any]]) -> list[str]:
        measure("value", np.array([row["value"] for row in rows]))
        measure("whole", 0.5)
        measure("wrong", [1.0] * (len(rows) + 1))
        return [self.who for _ in rows]

    @bentoml.api
    def wild(self, how: str) -> str:
        """Measure what nobody should."""
        for number in range(1_000_000 if how == "names" else 1000):
            measure(f"name-{number}", 1)
        for odd in (float("nan"), "0.5", None, 10**400, object(), np.zeros((2, 2)), np.zeros(10**6), [], {}):
            measure("name-1", odd)
        measure(self, self)  # type: ignore[arg-type]  # what else could be wrong
        return self.who if not is_shadow() else ""


def measuring(name: str, candidate: Variant, **more: Any) -> Callable[[Any], Any]:
    """Decorate a service with a candidate: rows are split in halves, other calls go where they ask to."""
    spec: dict[str, Any] = {
        "name": name,
        "weights": {"two": 50},
        "routing": {"key": {"rows": "rows:rows.user"}, "override_header": True},
        "variants": {"two": {"timeout": "20s", "fallback": "champion"}},
    }
    return rollout(champion="one", candidates={"two": candidate}, spec=RolloutSpec.parse(spec), **more)


def other(runner: Any) -> Variant:
    """Return the same code with another name, somewhere else."""
    return Variant(attributes={"who": "two"}, runner=runner)


def bare() -> Any:
    """Return the service without a rollout."""
    return bentoml.service(name="measuring", threads=8)(Measuring)


PROCESS: Any = measuring("measuring-process", other("process"))(
    bentoml.service(name="measuring", threads=8)(Measuring)
)
SERVICE: Any = measuring("measuring-service", other("service"))(bare())


@bentoml.service(name="measured", threads=8)
class Deployed(Measuring):
    """The candidate as a deployment of its own."""

    who = "two"


DEPLOYED: Any = Deployed
DEPLOYED.add_asgi_middleware(MeasuredMiddleware)
