"""Every endpoint kind answers as on the bare service, whoever answers: whole responses are compared."""

from __future__ import annotations

import json
import re
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any

import bentoml
import httpx
import pytest
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bento_rollout import RolloutSpec, Variant, rollout
from tests.contract.kinds import CONTEXT, PLAIN, Answer, Item, Kinds, KindsInContext
from tests.contract.serving import Served, bare_part, forget_metrics, marks

SPECS: dict[str, dict[str, Any]] = {
    "champion": {},
    "candidate": {"weights": {"two": 100}},
    "guarded candidate": {
        "weights": {"two": 100},
        "variants": {"two": {"timeout": "30s", "fallback": "champion"}},
    },
}
CLASSES = {"plain": Kinds, "context": KindsInContext}


def served(cls: type, who: str) -> Served:
    """Start the bare service of a class, or one whose every request is answered by champion or candidate."""
    service: Any = bentoml.service(name="kinds")(cls)
    if who != "bare":
        candidate = Variant(bentoml.service(name="kinds_two")(cls), twin=True)
        name = f"kinds-{cls.__name__}-{who}".replace(" ", "-")
        spec = RolloutSpec.parse({"name": name, **SPECS[who]})
        rollout(champion="one", candidates={"two": candidate}, spec=spec)(service)
    return Served(service).start()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str, str], Served]]:
    """Start each service once, when it is first asked for."""
    started: dict[tuple[str, str], Served] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENTO_ROLLOUT_STORE", f"sqlite:///{tmp_path_factory.mktemp('kinds') / 'store.db'}")

        def get(which: str, who: str) -> Served:
            if (which, who) not in started:
                started[which, who] = served(CLASSES[which], who)
            return started[which, who]

        yield get
        for one in started.values():
            one.stop()


@pytest.mark.parametrize("who", SPECS)
@pytest.mark.parametrize(
    ("which", "case"), [*(("plain", case) for case in PLAIN), *(("context", case) for case in CONTEXT)]
)
def test_whole_responses_are_those_of_the_bare_service(
    which: str, case: str, who: str, service: Callable[[str, str], Served]
) -> None:
    """Status, body and headers are the bare service's, byte for byte, apart from our own headers and ids."""
    request: dict[str, Any] = {"method": "POST", **(PLAIN if which == "plain" else CONTEXT)[case]}
    headers: dict[str, str] = request.get("headers", {})
    request["headers"] = {"x-say": "hello", **headers}
    expected = service(which, "bare").request(**request)
    forget_metrics()
    answer = service(which, who).request(**request)
    forget_metrics()
    assert bare_part(answer) == bare_part(expected)


def life_of_a_task(app: Served, x: int) -> list[tuple[Any, ...]]:
    """Submit a task, wait for it, read it, retry it; return the answers without ids and times."""
    forget_metrics()
    told: list[tuple[Any, ...]] = []
    head = {"x-say": "hello"}

    def tell(answer: httpx.Response) -> dict[str, Any]:
        status, content, headers = bare_part(answer)
        masked = re.sub(r"\b[0-9a-f]{32}\b", "ID", content.decode())
        masked = re.sub(r"\b\d{4}-\d\d-\d\dT[\d:.]+", "TIME", masked)
        told.append((status, masked, [(name, value) for name, value in headers if name != "content-length"]))
        return dict(answer.json()) if answer.text.startswith("{") else {}

    def follow(begun: httpx.Response) -> str:
        task_id = str(tell(begun)["task_id"])
        where, deadline = f"?task_id={task_id}", time.monotonic() + 30
        while app.get(f"/job/status{where}", headers=head).json()["status"] == "in_progress":
            assert time.monotonic() < deadline
            time.sleep(0.01)
        for step in ("status", "get", "get"):  # a result stays
            tell(app.get(f"/job/{step}{where}", headers=head))
        return task_id

    first = follow(app.post("/job/submit", {"x": x}, headers=head))
    second = follow(app.post(f"/job/retry?task_id={first}", headers=head))
    assert first != second
    tell(app.request("PUT", f"/job/cancel?task_id={first}", headers=head))
    follow(app.post("/job/submit", {"x": "no number"}, headers=head))
    return told


@pytest.mark.parametrize("x", [3, -1], ids=["done", "failed"])
@pytest.mark.parametrize("who", SPECS)
@pytest.mark.parametrize("which", CLASSES)
def test_the_steps_of_a_task_are_those_of_the_bare_service(
    which: str, who: str, x: int, service: Callable[[str, str], Served]
) -> None:
    """`/submit`, `/status`, `/get` and `/retry` answer as on the bare service, apart from ids and times."""
    assert life_of_a_task(service(which, who), x) == life_of_a_task(service(which, "bare"), x)


@pytest.mark.parametrize("which", CLASSES)
def test_the_openapi_document_and_the_schema_are_those_of_the_bare_service(
    which: str, service: Callable[[str, str], Served]
) -> None:
    """Generated clients and pages see no difference."""
    bare, wrapped = service(which, "bare").service, service(which, "candidate").service
    assert wrapped.openapi_spec.asdict() == bare.openapi_spec.asdict()
    assert json.dumps(wrapped.schema()) == json.dumps(bare.schema())


class Called:
    """The champion."""

    @bentoml.api(route="/")
    def predict(self, x: int) -> int:
        return x


class Negated(Called):
    """The candidate."""

    @bentoml.api
    def predict(self, x: int) -> int:
        return -x


@pytest.mark.parametrize("prefix", ["", "/v1"])
def test_routes_and_path_prefixes_are_the_champions(prefix: str, serve: Callable[..., Served]) -> None:
    """An endpoint may be the root; with a prefix everything of ours is below it, too."""
    one: Any = bentoml.service(name="called", path_prefix=prefix)(Called)
    two = bentoml.service(name="called_two")(Negated)
    spec = RolloutSpec.parse({"weights": {"two": 100}})
    app = serve(rollout(champion="one", candidates={"two": two}, spec=spec)(one))
    answer = app.post(f"{prefix}/", {"x": 3})
    assert (answer.text, marks(answer)["variant"]) == ("-3", "two")
    assert app.get(f"{prefix}/rollout/admin/state").status_code == 403  # no token is set
    assert app.get("/nowhere/rollout/admin/state").status_code == 404


class Apart(BaseModel):
    """The candidate's own class for what the champion calls `Item`."""

    name: str
    parts: list[int] = []

    def shout(self) -> str:
        """Only this class can."""
        return self.name.upper()


class Ours:
    """Takes pydantic models."""

    @bentoml.api
    def one_of(self, item: Item) -> Answer:
        return Answer(text=item.name)

    @bentoml.api
    def many_of(self, items: list[Item]) -> list[str]:
        return [item.name for item in items]

    @bentoml.api
    def root_of(self, item: Item, /) -> str:
        return item.name


class Theirs:
    """Takes the same JSON as classes of its own, and fails on demand."""

    @bentoml.api
    async def one_of(self, item: Apart) -> Answer:
        if item.name == "fail":
            raise RuntimeError
        return Answer(text=item.shout())

    @bentoml.api
    def many_of(self, items: list[Apart]) -> list[str]:
        return [item.shout() for item in items]

    @bentoml.api
    def root_of(self, item: Apart, /) -> str:
        return item.shout()


def test_a_candidate_gets_its_own_classes_and_the_champion_its_own(serve: Callable[..., Served]) -> None:
    """Same schema, other pydantic models: each variant's method gets what it declares, in a fallback too."""
    one: Any = bentoml.service(name="ours")(Ours)
    two = bentoml.service(name="theirs")(Theirs)
    spec = {"weights": {"two": 100}, "variants": {"two": {"fallback": "champion"}}}
    app = serve(rollout(champion="one", candidates={"two": two}, spec=RolloutSpec.parse(spec))(one))
    assert app.post("/one_of", {"item": {"name": "a"}}).json()["text"] == "A"
    assert app.post("/many_of", {"items": [{"name": "a"}, {"name": "b"}]}).json() == ["A", "B"]
    assert app.post("/root_of", {"name": "a"}).text == "A"
    answer = app.post("/one_of", {"item": {"name": "fail"}})
    assert (answer.json()["text"], marks(answer)["reason"]) == ("fail", "fallback")


class Silent:
    """A stream without a context."""

    @bentoml.api
    async def predict(self) -> AsyncGenerator[str, None]:
        yield "one"

    @bentoml.api
    def plain(self) -> Any:
        return Response(b"one", status_code=201)


class Speaking:
    """The same with a context."""

    @bentoml.api
    async def predict(self, ctx: bentoml.Context) -> AsyncGenerator[str, None]:
        ctx.response.headers["x-own"] = "yes"
        ctx.response.set_cookie("own", "yes")
        ctx.response.status_code = 203
        yield "two"

    @bentoml.api
    def plain(self, ctx: bentoml.Context) -> Any:
        ctx.response.headers["x-own"] = "yes"
        ctx.response.status_code = 203
        return Response(b"two", status_code=299)


@pytest.mark.parametrize("turned", [False, True])
def test_a_context_may_be_on_one_side_only(turned: bool, serve: Callable[..., Served]) -> None:
    """Status, headers and cookies reach the caller from a candidate with a context and from one without."""
    classes = (Speaking, Silent) if turned else (Silent, Speaking)
    one, two = (bentoml.service(name=f"sided_{i}")(cls) for i, cls in enumerate(classes))
    spec = RolloutSpec.parse({"weights": {"two": 100}})
    app = serve(rollout(champion="one", candidates={"two": two}, spec=spec)(one))
    stream, plain = app.post("/predict", {}), app.post("/plain", {})
    if turned:
        assert (stream.status_code, plain.status_code, plain.text) == (200, 201, "one")
    else:
        assert (stream.status_code, plain.status_code, plain.text) == (203, 203, "two")
        assert stream.headers["x-own"] == plain.headers["x-own"] == "yes"
        assert "own=yes" in stream.headers["set-cookie"]
    assert marks(stream)["variant"] == marks(plain)["variant"] == "two"


async def page(request: Request) -> Response:
    """Answer with what reached a mounted app."""
    body = (await request.body()).decode()
    said = {"path": request.url.path, "root": request.scope["root_path"], "query": str(request.query_params)}
    return JSONResponse({**said, "body": body}, 203, {"x-page": request.headers["x-say"]})


PAGES = Starlette(routes=[Route("/", page), Route("/deep/{name}", page, methods=["GET", "POST"])])
ASKED: dict[str, dict[str, Any]] = {
    "page": {"method": "GET", "path": "/pages/"},
    "page without its slash": {"method": "GET", "path": "/pages"},
    "deep page": {"method": "POST", "path": "/pages/deep/a?b=1", "json": {"x": 1}},
    "wrong method": {"method": "DELETE", "path": "/pages/deep/a"},
    "no such page": {"method": "GET", "path": "/pages/nowhere"},
    "schema": {"method": "GET", "path": "/schema.json"},
    "OpenAPI": {"method": "GET", "path": "/docs.json"},
    "endpoint": {"method": "POST", "path": "/predict", "json": {"x": 3}},
}


class Paged:
    """Has pages beside its endpoint."""

    @bentoml.api
    def predict(self, x: int) -> int:
        return x


@pytest.mark.parametrize("where", ["class", "service", "rollout"])
def test_an_app_that_the_champion_mounts_is_served_as_on_the_bare_service(
    where: str, serve: Callable[..., Served]
) -> None:
    """Wherever `@bentoml.asgi_app` stands, its pages, the schema and the OpenAPI page are the bare ones."""
    mount = bentoml.asgi_app(PAGES, path="/pages")

    def answers(decorate: Callable[[Any], Any]) -> dict[str, httpx.Response]:
        cls: type = type("Paged", (Paged,), {})
        service: Any = bentoml.service(name="paged")(mount(cls) if where == "class" else cls)
        service = decorate(mount(service) if where == "service" else service)
        app = serve(mount(service) if where == "rollout" else service)
        return {case: app.request(**asked, headers={"x-say": "hello"}) for case, asked in ASKED.items()}

    two = Variant(bentoml.service(name="paged_two")(type("Two", (Paged,), {})), twin=True)
    spec = RolloutSpec.parse({"weights": {"two": 100}})
    bare = answers(lambda service: service)
    wrapped = answers(rollout(champion="one", candidates={"two": two}, spec=spec))
    assert bare["deep page"].json()["body"] == '{"x":1}'
    assert marks(wrapped["endpoint"])["variant"] == "two"
    for case, answer in wrapped.items():
        assert bare_part(answer) == bare_part(bare[case]), case
        assert (marks(answer) == {}) == (case != "endpoint")
