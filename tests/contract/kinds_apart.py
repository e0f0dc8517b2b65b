"""Services whose candidate is a service of its own; at module level: its workers import them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from http import HTTPStatus
from typing import Any

import bentoml
import pydantic
from bentoml.exceptions import BentoMLException, NotFound
from starlette.responses import Response

from bento_rollout import Variant
from tests.contract.kinds import Kinds, KindsInContext
from tests.contract.kinds_beside import GUARDED, Own, beside, warm_up, warm_up_async


class Apart(Own):
    """Says what reached it, and fails in every way."""

    @bentoml.api
    def headers(self, ctx: bentoml.Context) -> dict[str, str]:
        return dict(ctx.request.headers)

    @bentoml.api
    def bare_headers(self) -> dict[str, str]:
        return {}

    @bentoml.api
    def fail(self, how: str) -> str:
        if self.who == "one":
            return "one"
        if how == "absent":
            raise NotFound("no such patient")
        if how == "own":
            return Response("teapot", 418, {"x-own": "two"}, "text/plain")  # type: ignore[return-value]
        if how == "own-failure":
            return Response("no weights", 507, media_type="text/plain")  # type: ignore[return-value]
        if how == "invalid":
            pydantic.TypeAdapter(int).validate_python("x")
        if how == "forbidden":
            raise BentoMLException("secret", error_code=HTTPStatus.FORBIDDEN)
        raise RuntimeError(how)

    @bentoml.api
    async def words(self, fail_at: int) -> AsyncGenerator[str, None]:
        for number, word in enumerate(("größer", "€", "ñ", "")):
            if number == fail_at:
                raise NotFound("no more words")
            yield word

    @bentoml.api
    async def silence(self, ctx: bentoml.Context) -> AsyncGenerator[str, None]:
        ctx.response.status_code = 204
        for _ in ():
            yield ""

    @bentoml.api(route="/wards/{ward}/beds")
    def beds(self, ctx: bentoml.Context) -> str:
        return f"{self.who} {ctx.request.path_params['ward']}"

    @bentoml.api
    def same(self, values: dict[str, float]) -> str:
        return f"{self.who} {values}"

    @bentoml.api
    async def ticks(self) -> AsyncGenerator[str, None]:
        number = 0
        while True:
            yield f"{(number := number + 1)}\n"
            await asyncio.sleep(0.001)

    @bentoml.task
    async def job(self, seconds: float) -> str:
        return f"{self.who} {seconds:g}"


def apart(cls: type, name: str, **config: Any) -> Variant:
    """Return a class as a candidate in a service of its own."""
    return Variant(bentoml.service(name=name, **config)(cls), runner="service", twin=True)


def other() -> Variant:
    """Return the champion's code with another attribute, in a service of its own."""
    return Variant(attributes={"who": "two"}, runner="service")


PLAIN: Any = beside(Kinds, "apart-plain", apart(Kinds, "plain_two"))
CONTEXT: Any = beside(KindsInContext, "apart-context", apart(KindsInContext, "context_two"))
OWN: Any = beside(Apart, "apart-own", other())
OWN_GUARDED: Any = beside(Apart, "apart-guarded", other(), **GUARDED)
HOOKED: Any = beside(Apart, "apart-hooked", other(), hooks=[warm_up, warm_up_async], weights={})


@bentoml.service(name="hooked_two")
class Undeployable(Apart):
    """Says no when the server starts."""

    who = "two"

    @bentoml.on_deployment
    @staticmethod
    def never() -> None:
        raise RuntimeError(f"not on {os.name}")


UNDEPLOYABLE: Any = beside(Apart, "apart-undeployable", Variant(Undeployable, runner="service"))
