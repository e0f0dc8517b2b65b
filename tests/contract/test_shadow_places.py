"""Shadows elsewhere and by rows; what of a shadow is refused when it is defined, and what at the verb."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import bentoml
import numpy as np
import pandas as pd
import pytest
from aiohttp import web
from pydantic_core import CoreSchema, core_schema

from bento_rollout import RolloutSpec, Variant, is_shadow, open_rollout, rollout
from bento_rollout.errors import InvalidSpec, InvalidValue, UnknownVariant
from tests.contract.apart import Stranger
from tests.contract.serving import Served, marks

Serve = Callable[..., Served]


class Doubles:
    """Doubles numbers."""

    factor = 2

    @bentoml.api
    def one(self, number: float) -> float:
        return number * self.factor

    @bentoml.api
    def rows(self, box: np.ndarray) -> np.ndarray:
        return box[:, 0] * self.factor

    @bentoml.api
    def frame(self, table: pd.DataFrame) -> pd.DataFrame:
        doubled: pd.DataFrame = table * self.factor
        return doubled


class Sneaky(Doubles):
    """Knows whether it is a shadow, and is asked in a process of its own."""

    @bentoml.api
    def one(self, number: float) -> float:
        return number * 2 if is_shadow() else -1.0


def made(candidate: Any, **spec: Any) -> Any:
    """Return a service with one candidate."""
    service = bentoml.service(name="doubles")(type("Doubles", (Doubles,), {}))
    return rollout(champion="one", candidates={"two": candidate}, spec=RolloutSpec(name="doubles", **spec))(
        service
    )


def report(done: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    """Return the candidate's part of the report once something is true of it."""
    until = time.monotonic() + 30
    while True:
        found = open_rollout("doubles").shadow_report()["candidates"].get("two")
        if found is not None and done(found):
            return dict(found)
        assert time.monotonic() < until, found
        time.sleep(0.05)


class Slow:
    """Takes its time."""

    pause = 0.05

    @bentoml.api
    def one(self, number: float) -> float:
        time.sleep(self.pause)
        return number


WATCH = {"shadow": {"two": {"percent": 100}}}


# -- elsewhere -----------------------------------------------------------------------------------------------


@pytest.fixture
def stranger() -> Iterator[Stranger]:
    """A deployment of the same code, which answers after it was let."""
    schema = bentoml.service(name="doubles")(type("Doubles", (Doubles,), {})).schema()

    async def handle(request: web.Request) -> web.StreamResponse:
        if request.path == "/schema.json":
            return web.json_response(schema)
        if request.path == "/one":
            number = (await request.json())["number"]
            return web.json_response(number * 2, headers={"x-leak": "yes"}, status=201)
        return web.Response()

    server = Stranger(handle)
    yield server
    server.stop()


def test_a_url_is_told_that_it_is_a_shadow(serve: Serve, stranger: Stranger) -> None:
    """It gets X-Rollout-Shadow: 1, none of the caller's own words about that, and its head goes nowhere."""
    app = serve(made(Variant(url=stranger.url), **WATCH))
    answer = app.post("/one", {"number": 3}, headers={"x-rollout-shadow": "0", "x-secret": "s"})
    assert (answer.status_code, answer.text, marks(answer)["variant"]) == (200, "6.0", "one")
    assert "x-leak" not in answer.headers
    assert report(lambda row: row["compared"])["agreed"] == 1
    (asked,) = (headers for method, path, headers in stranger.seen if path == "/one")
    assert asked["x-rollout-shadow"] == "1"
    assert "x-secret" not in asked
    open_rollout("doubles").set_shadow({"two": 0})
    open_rollout("doubles").set_weights({"two": 100})
    assert app.post("/one", {"number": 3}, headers={"x-rollout-shadow": "1"}).status_code == 201
    asked = [headers for method, path, headers in stranger.seen if path == "/one"][-1]
    assert "x-rollout-shadow" not in asked


def test_a_url_that_is_not_there_is_dropped_and_counted(serve: Serve) -> None:
    """Nobody at the URL: the calls are counted as unavailable, and the champion answers."""
    app = serve(made(Variant(url="http://127.0.0.1:9"), **WATCH))
    for _ in range(3):
        assert app.post("/one", {"number": 3}).status_code == 200
    assert report(lambda row: row["dropped"])["dropped"] == {"unavailable": 3}


# -- rows ----------------------------------------------------------------------------------------------------


def test_rows_are_watched_by_their_own_keys(serve: Serve) -> None:
    """Of a request whose rows are split, exactly the watched rows that the champion answered are compared."""
    spec = {
        "routing": {"key": "rows:box.0"},
        "endpoints": ["rows"],
        "variants": {"two": {"timeout": "2s"}},
        "weights": {"two": 50},
        "shadow": {"two": {"percent": 50, "max_cpu": "400%"}},
    }
    candidate = bentoml.service(name="other")(type("Other", (Doubles,), {"factor": 3}))
    app = serve(made(candidate, **spec))
    keys = [str(number) for number in range(40)]
    box = np.array([[float(number), 1.0] for number in range(40)])
    answer = app.post("/rows", {"box": box.tolist()})
    assert answer.status_code == 200
    state = open_rollout("doubles").state
    table, owners = state.compile(), open_rollout("doubles").assign(keys).tolist()
    watched = [row for row, key in enumerate(keys) if table.watchers(key, lambda: 0)]
    ours = [row for row in watched if owners[row] == "one"]
    assert 0 < len(ours) < len(watched)
    found = report(lambda row: row["compared"] + sum(row["not_comparable"].values()) == len(ours))
    assert found["dropped"] == {"not_champion": len(watched) - len(ours)}
    assert found["disagreed"] == len([row for row in ours if row])  # row 0 is 0 in both
    shown = {example["prediction_id"] for example in found["examples"]}
    assert shown <= {f"{marks(answer)['prediction-id']}.{row}" for row in ours}


def test_a_frame_is_compared(serve: Serve) -> None:
    """Frames are compared by their numbers."""
    candidate = bentoml.service(name="other")(type("Other", (Doubles,), {}))
    app = serve(made(candidate, **WATCH))
    assert app.post("/frame", {"table": [{"a": 1.0}, {"a": 2.0}]}).status_code == 200
    assert report(lambda row: row["compared"])["agreed"] == 1


class Helper:
    """Another service."""

    @bentoml.api
    def help(self) -> int:
        return 1


class Helped(Doubles):
    """Depends on another service, which the champion does not."""

    helper = bentoml.depends(bentoml.service(name="helper")(Helper))


def test_the_champion_runs_beside_itself_without_what_a_candidate_brought_along(serve: Serve) -> None:
    """A candidate's dependency joins the champion's service, and is none of its own."""
    candidate = bentoml.service(name="other")(type("Other", (Helped,), {}))
    app = serve(made(candidate, shadow={"one": {"percent": 100}}))
    until = time.monotonic() + 20
    while not ((noise := open_rollout("doubles").shadow_report()["noise"]) and noise["compared"]):
        assert app.post("/one", {"number": 3}).text == "6.0"
        assert time.monotonic() < until, noise
        time.sleep(0.05)
    assert noise["agreement"]["value"] == 1.0


def test_the_latency_is_that_of_the_code_and_not_of_the_wait_for_a_thread(serve: Serve) -> None:
    """Eight callers wait for the champion's one thread: the report tells what one call takes."""
    service = bentoml.service(name="doubles", threads=1)(type("Slow", (Slow,), {}))
    spec = RolloutSpec(name="doubles", shadow={"two": {"percent": 100, "max_pending": 100, "timeout": "20s"}})
    candidates = {"two": Variant(attributes={"pause": 0.1})}
    served = serve(rollout(champion="one", candidates=candidates, spec=spec)(service))
    requests = [{"method": "POST", "path": "/one", "json": {"number": n}} for n in range(8)]
    assert {answer.status_code for answer in served.together(requests)} == {200}
    latency = report(lambda row: row["compared"] == 8)["latency"]
    assert 0.045 <= latency["champion"]["p50"] < 0.09 <= latency["candidate"]["p50"] < 0.2


# -- what is refused -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shadow", "words"),
    [
        ({"two": {"percent": 101}}, "101"),
        ({"two": {"percent": -1}}, "-1"),
        ({"two": {"percent": float("nan")}}, "nan"),
        ({"three": {"percent": 5}}, "three"),
        ({"two": {"percent": 5, "compare": "exactly"}}, "exactly"),
        ({"two": {"percent": 5, "compare": "nowhere:function"}}, "nowhere"),
        ({"two": {"percent": 5, "compare": {"nothing": "close"}}}, "nothing"),
        ({"two": {"percent": 5, "endpoints": ["absent"]}}, "absent"),
        ({"two": {"percent": 5, "where": "moon"}}, "where"),
        ({"two": {"percent": 5, "max_pending": 0}}, "max_pending"),
        ({"two": {"percent": 5, "max_cpu": "0%"}}, "0%"),
        ({"two": {"percent": 5, "max_rate": "often"}}, "often"),
        ({"two": {"percent": 5, "timeout": "never"}}, "never"),
    ],
)
def test_what_cannot_be_is_refused_when_it_is_defined(shadow: dict[str, Any], words: str) -> None:
    """Each error names the field and what stands there."""
    candidate = bentoml.service(name="other")(type("Other", (Doubles,), {}))
    with pytest.raises(InvalidSpec, match="shadow") as caught:
        made(candidate, shadow=shadow)
    assert words in str(caught.value)


class Cursor:
    """Reads on from where it is: two cannot share it, and it cannot be copied."""

    def __init__(self, text: str) -> None:
        self._letters = iter(text)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        return next(self._letters)

    @classmethod
    def __get_pydantic_core_schema__(cls, _: Any, __: Any) -> CoreSchema:
        return core_schema.no_info_after_validator_function(cls, core_schema.str_schema())


class Uploads:
    """A task that takes what cannot be copied."""

    @bentoml.task
    def read(self, source: Cursor) -> int:
        return len(list(source))


def test_a_copy_of_what_cannot_be_copied_is_refused() -> None:
    """What is read on from where it is cannot be given to two."""
    candidate = bentoml.service(name="other")(type("Other", (Uploads,), {}))
    service = bentoml.service(name="uploads")(type("Uploads", (Uploads,), {}))
    spec = RolloutSpec(name="uploads", shadow={"two": {"percent": 5, "copy": True}})
    with pytest.raises(InvalidSpec, match="'read' takes 'source'"):
        rollout(champion="one", candidates={"two": candidate}, spec=spec)(service)


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        ({"two": 101}, InvalidValue),
        ({"two": float("nan")}, InvalidValue),
        ({"two": -0.1}, InvalidValue),
        ({"three": 5}, UnknownVariant),
        ({}, InvalidValue),
    ],
)
def test_what_cannot_be_is_refused_at_the_verb(serve: Serve, asked: Any, error: type[Exception]) -> None:
    """The state is untouched."""
    candidate = bentoml.service(name="other")(type("Other", (Doubles,), {}))
    serve(made(candidate, **WATCH))
    before = open_rollout("doubles").state
    with pytest.raises(error):
        open_rollout("doubles").set_shadow(asked)
    assert open_rollout("doubles").state == before


def test_two_operators_at_once(serve: Serve) -> None:
    """Both changes are made, one after the other, and the calls in between are all accounted for."""
    candidate = bentoml.service(name="other")(type("Other", (Doubles,), {}))
    app = serve(made(candidate, **WATCH))

    def operate(name: str, percents: tuple[int, ...]) -> None:
        for percent in percents:
            open_rollout("doubles").set_shadow({name: percent})

    threads = [
        threading.Thread(target=operate, args=("two", (50, 100, 25, 100))),
        threading.Thread(target=operate, args=("one", (10, 20, 0))),
    ]
    for thread in threads:
        thread.start()
    for _ in range(30):
        assert app.post("/one", {"number": 3}).status_code == 200
    for thread in threads:
        thread.join()
    assert open_rollout("doubles").state.shadow_percents == {"two": 100}
