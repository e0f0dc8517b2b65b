"""Odd ways to an endpoint, odd inputs, odd failures of a candidate: the champion's answer stays."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, ClassVar

import bentoml
import pandas as pd
import pytest
from _bentoml_sdk.io_models import IORootModel
from starlette.types import ASGIApp, Receive, Scope, Send

from bento_rollout import RolloutSpec, Variant, open_rollout, rollout
from bento_rollout.bento.context import ACTIVE
from tests.contract.serving import Served, marks

Serve = Callable[..., Served]


class Panic(BaseException):
    """What a library in another language raises: no `Exception`."""


class Odd:
    """The champion is well-behaved; the candidate does what the request says."""

    who = "one"
    seen: ClassVar[list[int]] = []
    closed: ClassVar[threading.Event] = threading.Event()

    @bentoml.api
    def sync(self) -> str:
        return self.who

    @bentoml.api
    async def coroutine(self) -> str:
        return self.who

    @bentoml.api(route="/v1/{tenant}/templated")
    def templated(self) -> str:
        return self.who

    @bentoml.api
    def panic(self) -> str:
        if self.who == "two":
            raise Panic("from afar")
        return self.who

    @bentoml.api
    def frame(self, frame: pd.DataFrame) -> list[Any]:
        if self.who == "two":
            for tags in frame["tags"]:
                tags.append("spoiled")
            raise RuntimeError
        return list(frame["tags"])

    @bentoml.api
    def file(self, file: Path) -> str:
        if self.who == "two":
            file.write_text("spoiled")
            raise RuntimeError
        return file.read_text()

    @bentoml.api
    def answer_with_file(self, ctx: bentoml.Context) -> Path:
        return Path("/nonexistent/x.txt") if self.who == "two" else Path(__file__)

    @bentoml.api
    def through_context(self, how: str, ctx: bentoml.Context) -> str:
        if self.who == "two":
            if how == "cookie":
                ctx.response.set_cookie("label", "\u2603")
            elif how == "status":
                ctx.response.status_code = "abc"  # type: ignore[assignment]
            elif how == "none":
                ctx.response.status_code = None  # type: ignore[assignment]
            else:
                ctx.response.headers["x-own"] = "a\nb"
        return self.who

    @bentoml.api
    def items(self) -> Generator[str, None, None]:
        try:
            while True:
                yield "x"
        finally:
            self.seen.append(threading.get_ident())
            self.closed.set()


GUARDED: dict[str, Any] = {"weights": {"two": 100}, "variants": {"two": {"fallback": "champion"}}}


def odd(**spec: Any) -> Any:
    """Return the service, all of whose requests go to the candidate."""
    service: Any = bentoml.service(name="odd")(Odd)
    parsed = RolloutSpec.parse({"name": "odd", **GUARDED, **spec})
    return rollout(champion="one", candidates={"two": Variant(attributes={"who": "two"})}, spec=parsed)(
        service
    )


class Rewriting:
    """A middleware that leads another path to an endpoint."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve `/elsewhere/NAME` as `/NAME`."""
        if scope["type"] == "http" and scope["path"].startswith("/elsewhere/"):
            scope = {**scope, "path": scope["path"].removeprefix("/elsewhere")}
        await self.app(scope, receive, send)


@pytest.mark.parametrize(
    "path",
    ["/v1/acme/templated", "/elsewhere/sync", "/elsewhere/coroutine", "/sync%0A", "/coroutine%0A", "/syn%63"],
)
def test_however_a_request_comes_to_an_endpoint_it_is_routed(path: str, serve: Serve) -> None:
    """Routes with parameters, rewritten paths, a line break at the end: routed and marked like any other."""
    service = odd()
    service.add_asgi_middleware(Rewriting)
    answer = serve(service).post(path, {})
    assert (answer.status_code, answer.text, marks(answer)["variant"]) == (200, "two", "two")
    assert marks(answer)["prediction-id"]


@pytest.mark.parametrize("endpoint", ["sync", "coroutine"])
def test_a_connection_that_remembers_a_variant_changes_nothing(endpoint: str, serve: Serve) -> None:
    """A server may begin to read the next request within a variant's call: it is routed all the same."""
    app = serve(odd(weights={"two": 0}))

    async def within_the_candidate() -> Any:
        ACTIVE.set(app.site.serving._runners["two"])
        return await app.arequest("POST", f"/{endpoint}", json={})

    answer = app.run(within_the_candidate())
    assert (answer.status_code, answer.text, marks(answer)["variant"]) == (200, "one", "one")


def test_what_is_no_exception_is_a_failure_like_another(serve: Serve) -> None:
    """A candidate that raises a `BaseException` of its own fails, and the champion answers at once."""
    answer = serve(odd()).post("/panic", {})
    assert (answer.text, marks(answer)["reason"]) == ("one", "fallback")


@pytest.mark.parametrize("error", [Panic("x"), asyncio.CancelledError(), GeneratorExit(), Exception()])
def test_whatever_a_candidate_raises_while_it_is_made(error: BaseException, serve: Serve) -> None:
    """It is `failed`; as the champion of the state it is stood in for, and the service starts."""

    class Made(Odd):
        broken = False

        def __init__(self) -> None:
            if self.broken:
                raise error

    def service(*, broken: bool) -> Any:
        made: Any = bentoml.service(name="odd")(Made)
        two = bentoml.service(name="odd_two")(type("Made2", (Made,), {"broken": broken, "who": "two"}))
        spec = RolloutSpec.parse({"name": "made"})
        return rollout(champion="one", candidates={"two": two}, spec=spec)(made)

    serve(service(broken=False), store="made")
    open_rollout("made").flip(to="two")
    app = serve(service(broken=True), store="made")
    assert app.site.serving._card().variants["two"].state == "failed"
    answer = app.post("/sync", {})
    assert (answer.text, marks(answer)["reason"]) == ("one", "unavailable")


def test_the_champion_gets_what_the_caller_sent(serve: Serve) -> None:
    """Lists within a frame's cells, and files: what the candidate did to them is not seen."""
    app = serve(odd())
    rows = [{"tags": ["a"]}, {"tags": ["b"]}]
    assert app.post("/frame", {"frame": rows}).json() == [["a"], ["b"]]
    answer = app.request("POST", "/file", files={"file": ("a.txt", b"original", "text/plain")})
    assert (answer.text, marks(answer)["reason"]) == ("original", "fallback")


def test_an_answer_that_cannot_be_sent_is_the_candidates_failure(serve: Serve) -> None:
    """A file that is not there, a status, header or cookie that HTTP does not know: the champion answers."""
    app = serve(odd())
    answer = app.post("/answer_with_file", {})
    assert (answer.status_code, marks(answer)["reason"]) == (200, "fallback")
    for how in ("cookie", "status", "none", "header"):
        answer = app.post("/through_context", {"how": how})
        assert (answer.status_code, answer.text, marks(answer)["reason"]) == (200, "one", "fallback"), how


def test_a_candidates_stream_is_closed_where_its_code_runs(serve: Serve) -> None:
    """The clean-up of a sync stream that nobody reads any more does not run on the event loop."""
    app = serve(odd(variants={}))
    runner = app.site.serving._runners["two"]
    Odd.seen.clear()

    async def begin_and_leave() -> int:
        items = runner.stream("items", [], {})
        await anext(items)
        await items.aclose()
        await asyncio.to_thread(Odd.closed.wait, 20)
        return threading.get_ident()

    assert app.run(begin_and_leave()) not in Odd.seen


def test_an_output_spec_of_the_users_own_is_left_alone(serve: Serve) -> None:
    """One whose media type changes, and that refuses to be inherited from, works as it is."""

    class Changing(IORootModel[str]):  # type: ignore[misc]  # BentoML's SDK carries no types
        kind: ClassVar[str] = "text/a"

        @classmethod
        def mime_type(cls) -> str:
            return cls.kind

        @classmethod
        def __pydantic_init_subclass__(cls, **_: Any) -> None:
            raise TypeError("not to be inherited from")

    class Own:
        @bentoml.api(output_spec=Changing)
        def told(self) -> Any:
            return "x"

    app = serve(rollout()(bentoml.service(name="own_spec")(Own)))
    assert app.post("/told", {}).headers["content-type"].startswith("text/a")
    Changing.kind = "text/b"
    assert app.post("/told", {}).headers["content-type"].startswith("text/b")


def test_a_service_that_inherits_from_a_served_class_is_its_own(serve: Serve) -> None:
    """Starting it does not take the other one's place."""
    service = odd(weights={})
    app = serve(service)

    class Child(service.inner):  # type: ignore[misc,name-defined]
        who = "child"

    assert serve(bentoml.service(name="child")(Child)).post("/sync", {}).text == "child"
    assert app.site.instance.who == "one"
    assert app.post("/sync", {}).text == "one"
