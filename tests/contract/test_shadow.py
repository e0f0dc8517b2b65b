"""Shadow calls: every kind of endpoint is watched after its answer, and nothing of it reaches the caller."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any, ClassVar

import bentoml
import numpy as np
import pytest
from bentoml._internal.monitoring.base import MonitorBase
from bentoml.exceptions import InvalidArgument

from bento_rollout import RolloutSpec, is_shadow, open_rollout, rollout
from tests.contract.serving import Served, marks

Serve = Callable[..., Served]

release = threading.Event()
seen: list[tuple[Any, ...]] = []
"""What the candidate was called with, and whether it knew that it is a shadow."""


class Champion:
    """Answers as it should; notes whether it believes to be a shadow."""

    @bentoml.api
    def sync(self, number: float) -> float:
        seen.append(("champion", is_shadow()))
        return number * 2

    @bentoml.api
    async def coroutine(self, number: float, ctx: bentoml.Context) -> float:
        if number < 0:
            raise InvalidArgument("negative")
        return number * 2

    @bentoml.api
    def array(self, box: np.ndarray) -> np.ndarray:
        return box * 2

    @bentoml.api
    def spoils(self, box: list[int]) -> int:
        box.append(99)
        return len(box)

    @bentoml.api
    def generator(self, count: int) -> Generator[str, None, None]:
        yield from (f"{number} " for number in range(count))

    @bentoml.api
    async def stream(self, count: int) -> AsyncGenerator[str, None]:
        for number in range(count):
            yield f"{number} "

    @bentoml.api(batchable=True, max_batch_size=8, max_latency_ms=5000)
    def batch(self, rows: list[int]) -> list[int]:
        return [row * 2 for row in rows]

    @bentoml.task
    def work(self, number: float) -> float:
        return number * 2


class Candidate:
    """Answers nearly the same, and notes what it was asked."""

    @bentoml.api
    def sync(self, number: float) -> float:
        seen.append(("sync", number, is_shadow()))
        if number == 500:
            raise RuntimeError("a bug")
        if number == 600:
            release.wait(20)
        return number * 2 + (number == 7)

    @bentoml.api
    async def coroutine(self, number: float, ctx: bentoml.Context) -> float:
        seen.append(("coroutine", number, is_shadow(), ctx.request.headers.get("x-say")))
        ctx.response.status_code = 299
        ctx.response.headers["x-leak"] = "yes"
        if number < 0:
            raise InvalidArgument("negative")
        return number * 2

    @bentoml.api
    def array(self, box: np.ndarray) -> np.ndarray:
        seen.append(("array", box.shape, is_shadow()))
        return box * (np.nan if box[0] < 0 else 2)

    @bentoml.api
    def spoils(self, box: list[int]) -> int:
        seen.append(("spoils", list(box), is_shadow()))
        box.append(99)
        return len(box)

    @bentoml.api
    def generator(self, count: int) -> Generator[str, None, None]:
        seen.append(("generator", count, is_shadow()))
        yield from (f"{number} " for number in range(count))

    @bentoml.api
    async def stream(self, count: int) -> AsyncGenerator[str, None]:
        seen.append(("stream", count, is_shadow()))
        for number in range(count - (count == 3)):
            yield f"{number} "

    @bentoml.api(batchable=True, max_batch_size=8, max_latency_ms=5000)
    def batch(self, rows: list[int]) -> list[int]:
        seen.append(("batch", tuple(rows), is_shadow()))
        return [row * 2 for row in rows]

    @bentoml.task
    def work(self, number: float) -> float:
        seen.append(("work", number, is_shadow()))
        return number * 2


def service(**spec: Any) -> Any:
    """Return the decorated service."""
    made = bentoml.service(name="watched")(type("Champion", (Champion,), {}))
    candidate = bentoml.service(name="candidate")(type("Candidate", (Candidate,), {}))
    spec = {"routing": {"key": "header:x-key"}, "shadow": {"two": {"percent": 100}}, **spec}
    return rollout(champion="one", candidates={"two": candidate}, spec=RolloutSpec(name="watched", **spec))(
        made
    )


def report(app: Served, done: Callable[[dict[str, Any]], Any], name: str = "two") -> dict[str, Any]:
    """Return a candidate's part of the report once something is true of it."""
    until = time.monotonic() + 20
    while True:
        whole = open_rollout("watched").shadow_report()
        found: Any = whole["noise"] if name == whole["champion"] else whole["candidates"].get(name)
        if found is not None and done(found):
            return dict(found)
        assert time.monotonic() < until, found
        time.sleep(0.05)


@pytest.fixture(autouse=True)
def _forget() -> None:
    seen.clear()
    release.clear()


CALLS: dict[str, dict[str, Any]] = {
    "sync": {"number": 3},
    "coroutine": {"number": 3},
    "array": {"box": [1.0, 2.0]},
    "generator": {"count": 4},
    "stream": {"count": 4},
    "batch": {"rows": [1, 2]},
}


def test_every_kind_is_watched_after_its_answer(serve: Serve) -> None:
    """Each endpoint's call runs a second time in the candidate, in the request's context, and is compared."""
    app = serve(service())
    for path, body in CALLS.items():
        answer = app.post(f"/{path}", body, headers={"x-say": "hello", "x-key": "u1"})
        assert answer.status_code == 200
        assert marks(answer)["variant"] == "one"
        assert "x-leak" not in answer.headers
    found = report(app, lambda row: row["compared"] == len(CALLS))
    assert (found["agreed"], found["disagreed"], found["not_comparable"]) == (len(CALLS), 0, {})
    assert ("coroutine", 3.0, True, "hello") in seen
    assert {call[0]: call[2] for call in seen if call[0] != "champion"} == dict.fromkeys(CALLS, True)
    assert ("champion", False) in seen
    assert set(found["endpoints"]) == set(CALLS)
    assert found["latency"]["candidate"]["calls"] == len(CALLS)


def test_a_task_is_watched(serve: Serve) -> None:
    """A task's work is done once more when it is done."""
    app = serve(service())
    task = app.post("/work/submit", {"number": 3}).json()["task_id"]
    found = report(app, lambda row: row["compared"] == 1)
    assert found["agreed"] == 1
    assert app.get("/work/get", params={"task_id": task}).text == "6.0"


def test_what_differs_is_told(serve: Serve) -> None:
    """A disagreement is counted and shown with the prediction's id; without anything that the caller sent."""
    app = serve(service())
    app.post("/sync", {"number": 3})
    answer = app.post("/sync", {"number": 7})
    found = report(app, lambda row: row["compared"] == 2)
    assert (found["agreed"], found["disagreed"]) == (1, 1)
    assert 0 < found["agreement"]["low"] < found["agreement"]["value"] < found["agreement"]["high"] < 1
    (example,) = found["examples"]
    assert example["prediction_id"] == marks(answer)["prediction-id"]
    assert example["differences"][0]["champion"] == "14.0"
    assert example["differences"][0]["candidate"] == "15.0"


def test_what_cannot_be_compared_is_a_result(serve: Serve) -> None:
    """An exception, NaN at one side, an answer of another length: counted by kind, and nothing else."""
    app = serve(service())
    assert app.post("/sync", {"number": 500}).status_code == 200
    assert app.post("/array", {"box": [-1.0]}).status_code == 200
    assert app.post("/stream", {"count": 3}).status_code == 200
    found = report(app, lambda row: sum(row["not_comparable"].values()) == 2 and row["compared"] == 1)
    assert found["not_comparable"] == {"RuntimeError": 1, "nan": 1}
    assert found["disagreed"] == 1


def test_refusals_are_answers(serve: Serve) -> None:
    """Where champion and candidate both refuse the caller's input they agree."""
    app = serve(service())
    assert app.post("/coroutine", {"number": -1}).status_code == 400
    assert report(app, lambda row: row["compared"] == 1)["agreed"] == 1


def test_merged_requests_are_watched_as_one_batch(serve: Serve) -> None:
    """The batch that the champion answered is the candidate's batch; each request is compared by itself."""
    app = serve(service())
    requests = [{"method": "POST", "path": "/batch", "json": {"rows": [n]}} for n in range(16)]
    for _ in range(3):
        app.together(requests)
    found = report(app, lambda row: row["compared"] + sum(row["dropped"].values()) == 48)
    assert found["agreed"] == found["compared"] > 0
    assert max(len(call[1]) for call in seen if call[0] == "batch") > 1


def test_the_percent_is_of_keys_and_independent_of_the_canary(serve: Serve) -> None:
    """A key is watched always or never; whoever is answered by a candidate is not watched, and counted."""
    app = serve(
        service(weights={"two": 50}, shadow={"two": {"percent": 50, "max_cpu": "400%", "max_pending": 1000}})
    )
    keys = [f"u{number}" for number in range(40)]
    for _ in range(2):
        for key in keys:
            app.post("/sync", {"number": 3}, headers={"x-key": key})
    found = report(app, lambda row: row["compared"] and not row["now"]["pending"])
    table = open_rollout("watched").state.compile()
    watched = [key for key in keys if table.watchers(key, lambda: 0)]
    served = dict(zip(keys, open_rollout("watched").assign(keys).tolist(), strict=True))
    assert 5 < len(watched) < 35
    ours = sum(served[key] == "one" for key in watched)
    assert 0 < ours < len(watched)
    found = report(app, lambda row: row["compared"] == 2 * ours)
    assert found["dropped"] == {"not_champion": 2 * (len(watched) - ours)}


def test_the_champion_beside_itself_measures_the_noise(serve: Serve) -> None:
    """The champion's own shadow is the noise floor; it runs in an instance of its own."""
    app = serve(service(shadow={"two": {"percent": 100}, "one": {"percent": 100}}))
    report(app, lambda row: row["percent"] == 100, "one")
    app.post("/sync", {"number": 3})  # the instance of its own is made at the first call
    noise = report(app, lambda row: sum(row["dropped"].values()) + row["compared"] > 0, "one")
    while not noise["compared"]:
        app.post("/sync", {"number": 3})
        noise = report(app, lambda _: True, "one")
    report(app, lambda row: row["compared"])
    whole = open_rollout("watched").shadow_report()
    assert set(whole["candidates"]) == {"two"}
    assert whole["noise"]["agreement"]["value"] == 1.0
    assert whole["candidates"]["two"]["noise_floor"] == 0.0
    assert ("champion", True) in seen


def test_it_is_switched_while_serving(serve: Serve) -> None:
    """Nobody is watched at 0 %, everybody from the moment at which 100 % were acknowledged."""
    app = serve(service(shadow={}))
    app.post("/sync", {"number": 3})
    time.sleep(0.1)
    assert [call for call in seen if call[0] == "sync"] == []
    open_rollout("watched").set_shadow({"two": 100})
    app.post("/sync", {"number": 3})
    assert report(app, lambda row: row["compared"] == 1)["percent"] == 100.0
    open_rollout("watched").set_shadow({"two": 0})
    app.post("/sync", {"number": 3})
    time.sleep(0.2)
    assert len([call for call in seen if call[0] == "sync"]) == 1


def test_the_queue_is_bounded(serve: Serve) -> None:
    """What does not fit is dropped and counted; the callers wait for nothing."""
    app = serve(service(shadow={"two": {"percent": 100, "max_pending": 2, "timeout": "20s"}}))
    began = time.monotonic()
    for _ in range(10):
        assert app.post("/sync", {"number": 600}).status_code == 200
    assert time.monotonic() - began < 5
    found = report(app, lambda row: row["dropped"].get("queue_full", 0) == 7)
    assert found["now"] == {"pending": 2, "running": 1, "stuck": 0}
    release.set()
    report(app, lambda row: row["compared"] == 3)


def test_a_call_that_hangs_keeps_its_place_and_is_told(serve: Serve) -> None:
    """After its time the call is dropped; its thread is not replaced, and the report says that it hangs."""
    app = serve(service(shadow={"two": {"percent": 100, "max_pending": 2, "timeout": "300ms"}}))
    for _ in range(3):
        app.post("/sync", {"number": 600})
    found = report(app, lambda row: row["dropped"].get("timeout", 0) == 3 and row["now"]["stuck"] == 1)
    assert found["compared"] == 0
    release.set()
    report(app, lambda row: row["now"]["running"] == 0)
    app.post("/sync", {"number": 3})
    report(app, lambda row: row["compared"] == 1)


def test_a_rate_is_kept(serve: Serve) -> None:
    """At most so many calls a second are watched."""
    app = serve(service(shadow={"two": {"percent": 100, "max_rate": "1/h"}}))
    for _ in range(5):
        app.post("/sync", {"number": 3})
    found = report(app, lambda row: row["compared"] == 1 and sum(row["dropped"].values()) == 4)
    assert found["dropped"] == {"rate": 4}


def test_a_copy_shows_what_was_sent(serve: Serve) -> None:
    """An endpoint that changes its input shows its shadow what it made of it, unless a copy is asked for."""
    for copy, sent in ((False, [1, 99]), (True, [1])):
        seen.clear()
        app = serve(service(shadow={"two": {"percent": 100, "copy": copy}}))
        app.post("/spoils", {"box": [1]})
        report(app, lambda row: row["compared"] == 1)
        assert ("spoils", sent, True) in seen


def test_a_comparator_of_ones_own_that_raises_costs_nothing(serve: Serve) -> None:
    """What a user's comparator raises is counted."""

    def broken(_: Any, __: Any) -> bool:
        raise KeyError("a bug")

    app = serve(service(shadow={"two": {"percent": 100, "compare": broken}}))
    assert app.post("/sync", {"number": 3}).status_code == 200
    assert report(app, lambda row: row["not_comparable"])["not_comparable"] == {"KeyError": 1}


def test_what_waits_at_the_end_is_dropped_and_counted(serve: Serve) -> None:
    """A worker that ends does not wait for a shadow that hangs."""
    app = serve(service(shadow={"two": {"percent": 100, "timeout": "30s"}}))
    for _ in range(3):
        app.post("/sync", {"number": 600})
    report(app, lambda row: row["now"]["running"] == 1)
    began = time.monotonic()
    app.stop()
    assert time.monotonic() - began < 5
    release.set()
    assert report(app, lambda row: row["dropped"])["dropped"] == {"shutdown": 3}


def test_a_flip_exchanges_who_watches(serve: Serve) -> None:
    """After a flip the old champion watches the new one, with the same settings."""
    app = serve(service())
    open_rollout("watched").flip(to="two")
    answer = app.post("/sync", {"number": 7})
    assert (answer.text, marks(answer)["variant"]) == ("15.0", "two")
    found = report(app, lambda row: row["compared"] == 1, "one")
    assert found["disagreed"] == 1
    assert ("champion", True) in seen


class Records(MonitorBase[Any]):
    """Keeps what `bentoml.monitor` exports."""

    kept: ClassVar[list[dict[str, Any]]] = []

    def __init__(self, name: str, **_: Any) -> None:
        super().__init__(name)

    def export_schema(self, columns_schema: Any) -> None:
        """Nobody reads it."""

    def export_data(self, datas: Any) -> None:
        """Keep a record."""
        self.kept.append({name: list(column) for name, column in datas.items()})


class Monitored:
    """Writes what it is asked to a monitor."""

    @bentoml.api
    def sync(self, number: float) -> float:
        with bentoml.monitor("watched", Records) as monitor:  # type: ignore[call-overload]  # its types know strings
            monitor.log(number, name="number", role="feature", data_type="numerical")
        return number


@pytest.mark.parametrize("wanted", [False, True])
def test_monitoring_records_of_shadows_go_nowhere_or_are_marked(serve: Serve, wanted: bool) -> None:
    """`bentoml.monitor` within a shadow writes nothing, unless the spec wants it, and then it is marked."""
    Records.kept.clear()
    candidate = bentoml.service(name="other")(type("Other", (Monitored,), {}))
    spec = RolloutSpec(name="watched", shadow={"two": {"percent": 100, "monitor": wanted}})
    champion = bentoml.service(name="watched")(type("Monitored", (Monitored,), {}))
    app = serve(rollout(champion="one", candidates={"two": candidate}, spec=spec)(champion))
    app.post("/sync", {"number": 3})
    report(app, lambda row: row["compared"] == 1)
    own, *shadows = Records.kept
    assert own == {"number": [3.0]}
    assert shadows == ([{"number": [3.0], "rollout.shadow": [True]}] if wanted else [])


def test_nothing_stays_behind_a_call(serve: Serve) -> None:
    """However many calls were compared and dropped, the same tasks and threads are there."""
    app = serve(service(shadow={"two": {"percent": 100, "max_cpu": "400%"}}))

    def many(calls: int) -> tuple[int, int]:
        for _ in range(calls):
            app.post("/sync", {"number": 3})
            app.post("/coroutine", {"number": 3})
        report(app, lambda row: row["now"] == {"pending": 0, "running": 0, "stuck": 0})
        time.sleep(0.2)
        return len(asyncio.all_tasks(app.loop)), threading.active_count()

    many(5)
    tasks, threads = many(5)
    later = many(40)
    assert later[0] == tasks
    assert later[1] <= threads + 2  # some are made when they are first needed


def test_wait_is_never_on_the_loop(serve: Serve) -> None:
    """While a shadow hangs in its thread, callers of every endpoint are served at once."""
    app = serve(service(shadow={"two": {"percent": 100, "timeout": "20s"}}))
    app.post("/sync", {"number": 600})

    async def many() -> float:
        began = time.monotonic()
        await asyncio.gather(*(app.arequest("POST", "/coroutine", json={"number": 1}) for _ in range(20)))
        return time.monotonic() - began

    assert app.run(many()) < 5
    release.set()
