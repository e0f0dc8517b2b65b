"""In Python everything stays as it was: unit tests, self-calls, other services of the class."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Annotated, Any

import bentoml
import numpy as np
import pytest
from bentoml._internal.context import server_context
from pydantic import Field, ValidationError

from bento_rollout import RolloutSpec, rollout
from bento_rollout.bento.decorator import site_of
from bento_rollout.errors import InvalidValue
from tests.contract.serving import Served, marks

Serve = Callable[..., Served]


class Base:
    """Endpoints that call each other in every way."""

    who = "one"

    @bentoml.api
    def plain(self, x: int, factor: Annotated[int, Field(ge=1)] = Field(2)) -> str:
        return f"{self.who}:{x * factor}"

    @bentoml.api
    async def coroutine(self, x: int) -> str:
        await asyncio.sleep(0)
        return f"{self.who}:async {x}"

    @bentoml.api
    def noting(self, x: int, ctx: bentoml.Context) -> str:
        return f"{self.who}:{x} {ctx.request.headers['x-say']}"

    @bentoml.api
    def numbers(self, n: int) -> Generator[int, None, None]:
        yield from range(n)

    @bentoml.api
    async def async_numbers(self, n: int) -> AsyncGenerator[int, None]:
        for i in range(n):
            yield i

    @bentoml.api
    def total(self, rows: np.ndarray) -> float:
        return float(rows.sum())

    @bentoml.api
    def from_sync(self, how: str) -> Any:
        ways: dict[str, Callable[[], Any]] = {
            "self": lambda: self.plain(1),
            "keyword": lambda: self.plain(x=1, factor=5),
            "context": lambda: self.noting(1),
            "stream": lambda: list(self.numbers(3)),
            "to_sync": lambda: self.to_sync.plain(1),  # type: ignore[attr-defined]
            "to_sync of async": lambda: self.to_sync.coroutine(1),  # type: ignore[attr-defined]
            "to_sync of a stream": lambda: list(self.to_sync.async_numbers(3)),  # type: ignore[attr-defined]
            "current": lambda: bentoml.get_current_service().plain(1),
            "current's name": lambda: bentoml.get_current_service().who,
            "list for an array": lambda: self.total([[1, 2], [3, 4]]),
            "invalid": lambda: self.plain("text"),
            "kind": lambda: type(bentoml.get_current_service()).__name__,
        }
        return ways[how]()

    @bentoml.api
    async def from_async(self, how: str) -> Any:
        if how == "to_async of a stream":
            return [i async for i in self.to_async.numbers(3)]  # type: ignore[attr-defined]
        if how == "stream":
            return [i async for i in self.async_numbers(3)]
        if how == "to_sync on the loop":
            return self.to_sync.coroutine(1)  # type: ignore[attr-defined]
        awaited: dict[str, Callable[[], Any]] = {
            "self": lambda: self.coroutine(1),
            "to_async of sync": lambda: self.to_async.plain(1),  # type: ignore[attr-defined]
            "to_async of a context": lambda: self.to_async.noting(1),  # type: ignore[attr-defined]
            "current": lambda: bentoml.get_current_service().coroutine(1),
        }
        return await awaited[how]()


class Two(Base):
    """The candidate."""

    who = "two"


def make(cls: type = Base, **spec: Any) -> Any:
    """Return a decorated service of a class."""
    one: Any = bentoml.service(name="calls", threads=4)(cls)
    two = bentoml.service(name="calls_two", threads=4)(Two)
    parsed = RolloutSpec.parse({"name": "calls", "routing": {"override_header": True}, **spec})
    return rollout(champion="one", candidates={"two": two}, spec=parsed)(one)


SELF_CALLS = {
    ("from_sync", "self"): "{who}:2",
    ("from_sync", "keyword"): "{who}:5",
    ("from_sync", "context"): "{who}:1 hello",
    ("from_sync", "stream"): [0, 1, 2],
    ("from_sync", "to_sync"): "{who}:2",
    ("from_sync", "to_sync of async"): "{who}:async 1",
    ("from_sync", "to_sync of a stream"): [0, 1, 2],
    ("from_sync", "current"): "{who}:2",
    ("from_sync", "current's name"): "{who}",
    ("from_sync", "list for an array"): 10.0,
    ("from_async", "self"): "{who}:async 1",
    ("from_async", "to_async of sync"): "{who}:2",
    ("from_async", "to_async of a context"): "{who}:1 hello",
    ("from_async", "to_async of a stream"): [0, 1, 2],
    ("from_async", "stream"): [0, 1, 2],
    ("from_async", "to_sync on the loop"): "{who}:async 1",
    ("from_async", "current"): "{who}:async 1",
}


@pytest.mark.parametrize("guarded", [False, True])
def test_a_variants_own_calls_stay_in_it_and_are_no_predictions(guarded: bool, serve: Serve) -> None:
    """`self.other`, `to_async`, `to_sync` and the current service: same variant, counted once."""
    limits = {"two": {"timeout": "20s", "fallback": "champion"}} if guarded else {}
    app = serve(make(variants=limits))
    for who in ("one", "two"):
        for (endpoint, how), expected in SELF_CALLS.items():
            before = len(app.facts)
            headers = {"x-rollout-variant": who, "x-say": "hello"}
            answer = app.post(f"/{endpoint}", {"how": how}, headers=headers)
            wanted = expected.format(who=who) if isinstance(expected, str) else expected
            got = answer.text if isinstance(expected, str) else answer.json()
            assert (answer.status_code, got) == (200, wanted), (who, endpoint, how, answer.text)
            assert [(fact.variant, fact.endpoint) for fact in app.facts[before:]] == [(who, endpoint)]


def test_a_self_call_with_invalid_input_is_refused_as_by_the_server(serve: Serve) -> None:
    """Arguments are checked as they were when the call went through the server."""
    answer = serve(make()).post("/from_sync", {"how": "invalid"})
    assert (answer.status_code, marks(answer)["variant"]) == (400, "one")


def test_calls_from_outside_of_variants_are_requests_of_their_own(serve: Serve) -> None:
    """Code that belongs to no variant (a mounted app, a thread) is routed, as on the bare service."""
    app = serve(make(weights={"two": 100}))

    async def outside() -> Any:
        return await app.site.instance.coroutine(1)

    assert app.run(outside()) == "two:async 1"
    assert [fact.variant for fact in app.facts] == ["two"]


def test_an_instance_in_a_unit_test_runs_the_champions_method() -> None:
    """`Service().predict(x)`: no server, no context, nothing recorded; sync stays sync."""
    wrapped = make(weights={"two": 100})
    instance = wrapped()
    assert instance.plain(3) == "one:6"
    assert instance.plain(x=3, factor=1) == "one:3"
    assert asyncio.run(instance.coroutine(1)) == "one:async 1"
    assert list(instance.numbers(2)) == [0, 1]
    assert instance.total(np.ones((2, 2))) == 4.0
    assert not inspect.iscoroutinefunction(instance.plain.func)
    assert inspect.signature(instance.plain).parameters.keys() == {"x", "factor"}
    assert instance.plain.__doc__ == Base.plain.func.__doc__
    assert asyncio.run(instance.to_async.plain(3)) == "one:6"
    assert instance.from_sync("self") == "one:2"


def test_an_instance_of_the_inner_class_is_the_users_class() -> None:
    """`isinstance` and the class's name hold; the user's own class was not changed."""
    wrapped = make()
    assert isinstance(wrapped(), Base)
    assert (wrapped.inner.__name__, wrapped.inner.__doc__) == (Base.__name__, Base.__doc__)
    assert type(vars(Base)["plain"]).__name__ == "APIMethod"


class Batching:
    """Has a batchable endpoint."""

    @bentoml.api(batchable=True, max_batch_size=7)
    def predict(self, rows: list[int]) -> list[int]:
        return rows


def test_other_services_of_the_class_are_untouched() -> None:
    """A service that shares the class, or inherits from it, is as if there were no rollout."""
    before = bentoml.service(name="other")(Batching).schema()
    wrapped = rollout(champion="one")(bentoml.service(name="other")(Batching))
    after = bentoml.service(name="other")(Batching)

    class Child(Batching):
        __doc__ = Batching.__doc__

    child = bentoml.service(name="other")(Child)
    assert before == wrapped.schema() == after.schema() == child.schema()
    assert (after.apis["predict"].batchable, child.apis["predict"].batchable) == (True, True)
    assert (site_of(after), site_of(child)) == (None, None)


def test_it_returns_the_same_object() -> None:
    """What was imported as the service still is the service."""
    one: Any = bentoml.service(name="same")(Batching)
    assert rollout()(one) is one
    assert one.name == "same"


@pytest.mark.parametrize("word", ["off", "OFF", "0", "False", "no"])
def test_rollout_off_leaves_the_service_bare(
    word: str, monkeypatch: pytest.MonkeyPatch, serve: Serve
) -> None:
    """`BENTO_ROLLOUT=off`: not even a wrong candidate is looked at."""
    monkeypatch.setenv("BENTO_ROLLOUT", word)
    one: Any = bentoml.service(name="bare")(Batching)
    before = (one.inner, dict(one.apis), list(one.middlewares))
    assert rollout(champion="none", candidates={"x": 3}, spec="nowhere.yaml")(one) is one
    assert (one.inner, one.apis, one.middlewares) == before
    assert marks(serve(one).post("/predict", {"rows": [1]})) == {}


@pytest.mark.parametrize("word", ["on", "1", "TRUE", "yes", "", " "])
def test_rollout_on_is_as_without_the_variable(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A word that says on leaves the decorator in."""
    monkeypatch.setenv("BENTO_ROLLOUT", word)
    one: Any = bentoml.service(name="switched_on")(Batching)
    assert site_of(rollout()(one)) is not None


@pytest.mark.parametrize("word", ["of", "disabled", "2", "none", "-1"])
def test_rollout_neither_on_nor_off(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A word that says neither is refused at definition, by its name and with what is allowed."""
    monkeypatch.setenv("BENTO_ROLLOUT", word)
    one: Any = bentoml.service(name="switched")(Batching)
    with pytest.raises(InvalidValue, match=f"BENTO_ROLLOUT='{word}'.*off, 0, false, no.*on, 1, true, yes"):
        rollout()(one)


def test_rollout_off_is_said_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The process that starts the workers says that the service is bare; the workers do not repeat it."""
    monkeypatch.setenv("BENTO_ROLLOUT", "off")
    one: Any = bentoml.service(name="switched_off")(Batching)
    rollout()(one)
    assert capsys.readouterr().err.count('"rollout.off"') == 1
    monkeypatch.setattr(server_context, "worker_index", 1)
    rollout()(one)
    assert "rollout.off" not in capsys.readouterr().err


def test_current_service_is_of_the_variants_class(serve: Serve) -> None:
    """`get_current_service()` passes `isinstance` for whoever asks."""
    app = serve(make())
    assert isinstance(bentoml.get_current_service(), Base)
    assert app.post("/from_sync", {"how": "kind"}).status_code == 200


def test_a_wrong_number_of_arguments_is_a_type_error() -> None:
    """As in any Python call."""
    with pytest.raises(TypeError):
        make()().plain()
    with pytest.raises((TypeError, ValidationError)):
        make()().plain(1, 2, 3)
