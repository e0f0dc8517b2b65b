"""Batches: many requests merged, and still each has its own key, variant, id and headers."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any

import bentoml
import numpy as np
import pytest
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml.exceptions import InvalidArgument

from bento_rollout import RolloutSpec, rollout
from bento_rollout.assignment import bucket_of
from tests.contract.serving import Served, marks

Serve = Callable[..., Served]
CALLERS = 32
SEEN: dict[str, list[list[str]]] = {}


def keys_of(rows: Any) -> list[str]:
    """Return the keys that a batch's rows carry."""
    return [str(row) for row in rows]


class One:
    """The champion: notes each batch that it sees."""

    who = "one"

    @bentoml.api(batchable=True, max_batch_size=32, max_latency_ms=20_000)
    async def predict(self, rows: list[str]) -> list[str]:
        SEEN.setdefault(self.who, []).append(keys_of(rows))
        await asyncio.sleep(0.02)
        return [f"{self.who}:{row}" for row in rows]

    @bentoml.api(batchable=True, max_batch_size=32, max_latency_ms=20_000)
    def doubled(self, rows: np.ndarray) -> np.ndarray:
        SEEN.setdefault(self.who, []).append([str(len(rows))])
        return rows * (2 if self.who == "one" else 3)

    @bentoml.api(batchable=True, max_batch_size=32, max_latency_ms=20_000)
    def picky(self, rows: list[str]) -> list[str]:
        if "bad" in rows:
            raise InvalidArgument("bad row")
        return rows


class Two(One):
    """The candidate."""

    who = "two"


class Plain:
    """A candidate that is not batchable."""

    @bentoml.api
    def predict(self, rows: list[str]) -> list[str]:
        SEEN.setdefault("two", []).append(keys_of(rows))
        return [f"two:{row}" for row in rows]

    doubled, picky = One.doubled, One.picky


def service(candidate: type = Two, **spec: Any) -> Any:
    """Return a service with half of its keys on the candidate."""
    SEEN.clear()
    one: Any = bentoml.service(name="merging", threads=2)(One)
    two = bentoml.service(name="merging_two", threads=2)(candidate)
    parsed = {"name": "merging", "weights": {"two": 50}, "routing": {"key": "header:x-user"}, **spec}
    return rollout(champion="one", candidates={"two": two}, spec=RolloutSpec.parse(parsed))(one)


def requests(prefix: str = "k") -> list[dict[str, Any]]:
    """Return one request of each caller: its key is its header and its row."""
    keys = [f"{prefix}{i}" for i in range(CALLERS)]
    return [
        {"method": "POST", "path": "/predict", "json": {"rows": [key]}, "headers": {"x-user": key}}
        for key in keys
    ]


class Echo:
    """A middleware of the champion's: what a request's own header says is said in the head of its answer."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        said = [(b"x-echo", value) for name, value in scope.get("headers", ()) if name == b"x-say"]

        async def echo(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *said]}
            await send(message)

        await self._app(scope, receive, echo)


@pytest.mark.parametrize("candidate", [Two, Plain])
def test_merged_requests_keep_their_own_variant_id_key_and_header(candidate: type, serve: Serve) -> None:
    """32 concurrent callers, 32 keys: own variant, id, answer and header; a batch never mixes variants."""
    merging = service(candidate)
    merging.add_asgi_middleware(Echo)
    app = serve(merging)
    expected = {f"k{i}": "two" if bucket_of("merging", f"k{i}") < 50_000 else "one" for i in range(CALLERS)}
    assert set(expected.values()) == {"one", "two"}
    ids = set()
    for round_ in range(6):
        calls = requests()
        for i, call in enumerate(calls):
            call["headers"]["x-say"] = f"{round_} {i}"
        for i, answer in enumerate(app.together(calls)):
            said = marks(answer)
            assert answer.headers.get_list("x-echo") == [f"{round_} {i}"]
            assert (said["variant"], said["reason"]) == (expected[f"k{i}"], "split")
            assert answer.json() == [f"{expected[f'k{i}']}:k{i}"]
            ids.add(said["prediction-id"])
    assert len(ids) == 6 * CALLERS
    for who, batches in SEEN.items():
        assert {key for batch in batches for key in batch} == {key for key, v in expected.items() if v == who}
    assert max(len(batch) for batch in SEEN["one"]) > 1
    if candidate is Two:
        assert max(len(batch) for batch in SEEN["two"]) > 1


class InContext:
    """Reads a header of the request in whose context the batch runs."""

    @bentoml.api(batchable=True, max_batch_size=32, max_latency_ms=20_000)
    def predict(self, rows: list[str], ctx: bentoml.Context) -> list[str]:
        said = ctx.request.headers["x-user"]
        SEEN.setdefault("context", []).append([said, *rows])
        return rows


def test_a_batch_runs_in_the_context_of_a_request_that_waits(serve: Serve) -> None:
    """Never in that of a request which was answered long ago."""
    SEEN.clear()
    app = serve(rollout()(bentoml.service(name="in_context")(InContext)))
    for round_ in range(5):
        assert all(answer.status_code == 200 for answer in app.together(requests(f"{round_}-")))
    rounds = [{text.split("-")[0] for text in batch} for batch in SEEN["context"]]
    assert all(len(names) == 1 for names in rounds)


def test_sync_batches_of_arrays_are_merged_and_split(serve: Serve) -> None:
    """Arrays are joined along the batch dimension and given back to whoever sent them."""
    app = serve(service(routing={"override_header": True}))
    for who, factor in (("one", 2), ("two", 3)):
        calls = [
            {
                "method": "POST",
                "path": "/doubled",
                "json": {"rows": [[i, i], [i + 1, 0]]},
                "headers": {"x-rollout-variant": who},
            }
            for i in range(8)
        ]
        for i, answer in enumerate(app.together(calls)):
            assert answer.json() == [[i * factor, i * factor], [(i + 1) * factor, 0]]


def test_an_error_in_a_batch_goes_to_its_requests_only(serve: Serve) -> None:
    """The variant's other batches, and the other variant's, are not touched."""
    app = serve(service(routing={"override_header": True}))
    bad = app.post("/picky", {"rows": ["bad"]}, headers={"x-rollout-variant": "two"})
    good = app.post("/picky", {"rows": ["good"]}, headers={"x-rollout-variant": "one"})
    assert (bad.status_code, marks(bad)["variant"]) == (400, "two")
    assert (good.json(), marks(good)["variant"]) == (["good"], "one")


def test_the_size_of_batches_is_still_measured(serve: Serve) -> None:
    """`adaptive_batch_size` is observed, although each variant has a batcher of its own."""
    app = serve(service())
    before = sizes_of_batches()
    for _ in range(4):
        app.together(requests())
    after = sizes_of_batches()
    grown = {name: after[name] - before.get(name, 0) for name in after}
    assert grown["sum"] == 4 * CALLERS
    assert 0 < grown["count"] < grown["sum"]


def sizes_of_batches() -> dict[str, float]:
    """Return how many batches were measured in this process, and how large they were together."""
    client: Any = BentoMLContainer.metrics_client.get()
    text = client.generate_latest().decode()
    name = r"^bentoml_service_adaptive_batch_size_(sum|count)\{([^}]*)\} (\S+)$"
    return {
        kind: float(value)
        for kind, labels, value in re.findall(name, text, re.MULTILINE)
        if 'method_name="predict"' in labels and 'runner_name="merging"' in labels
    }


def test_a_batch_of_the_candidate_that_is_late_falls_back_request_by_request(serve: Serve) -> None:
    """Time limits count for each request, not for the batch."""

    class Sleepy(One):
        @bentoml.api(batchable=True, max_batch_size=32, max_latency_ms=20_000)
        async def predict(self, rows: list[str]) -> list[str]:
            await asyncio.sleep(5)
            return rows

    limits = {"two": {"timeout": 0.3, "fallback": "champion"}}
    app = serve(service(Sleepy, weights={"two": 100}, variants=limits))
    for i, answer in enumerate(app.together(requests())):
        assert (answer.json(), marks(answer)["reason"]) == ([f"one:k{i}"], "fallback")
