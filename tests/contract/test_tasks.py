"""Tasks: the plan is made once, at `/submit`; `/get` says who answered; `/retry` is a new prediction."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import bentoml
import httpx
import pytest
from _bentoml_impl.tasks.result import Sqlite3Store
from bentoml.exceptions import InvalidArgument

from bento_rollout import RolloutSpec, open_rollout, rollout
from bento_rollout.bento.tasks import Found, Tasks
from bento_rollout.calls import Call
from bento_rollout.records import Plan, Reason
from tests.contract.serving import Served, marks

Serve = Callable[..., Served]


class One:
    """The champion."""

    who = "one"

    @bentoml.task
    def job(self, x: int, user: str = "") -> str:
        if x < 0:
            raise InvalidArgument("too small")
        return f"{self.who}:{x}"

    @bentoml.task
    async def noting(self, x: int, ctx: bentoml.Context) -> str:
        return f"{self.who}:{ctx.request.headers['x-user']}"

    @bentoml.api
    def predict(self, x: int) -> str:
        return self.who


class Two(One):
    """The candidate."""

    who = "two"


def start(serve: Serve, key: Any = "header:x-user", *, store: str | None = None, **spec: Any) -> Served:
    """Start a service whose key `vip` goes to the candidate."""
    one: Any = bentoml.service(name="tasking")(One)
    two = bentoml.service(name="tasking_two")(Two)
    parsed = {
        "name": "tasking",
        "weights": {"two": 1},
        "targets": {"two": {"keys": ["vip"]}},
        "routing": {"key": key, "override_header": True},
        **spec,
    }
    return serve(rollout(champion="one", candidates={"two": two}, spec=RolloutSpec.parse(parsed))(one))


def finished(app: Served, task_id: str, endpoint: str = "job") -> httpx.Response:
    """Return the answer of `/get` once the task is done."""
    deadline = time.monotonic() + 30
    while True:
        answer = app.get(f"/{endpoint}/get", params={"task_id": task_id})
        if "not completed" not in answer.text:
            return answer
        assert time.monotonic() < deadline
        time.sleep(0.01)


VIP = {"x-user": "vip"}


def test_submit_says_who_will_answer_when_the_head_has_the_key(serve: Serve) -> None:
    """Header, cookie and baggage are known at once: all four headers; `/get` says the same."""
    for key, headers in (
        ("header:x-user", VIP),
        ("cookie:user", {"cookie": "user=vip"}),
        ("baggage:user", {"baggage": "user=vip"}),
    ):
        app = start(serve, key)
        submitted = app.post("/job/submit", {"x": 1}, headers=headers)
        said = marks(submitted)
        assert (said["variant"], said["reason"], said["revision"]) == ("two", "targeted", "1")
        answer = finished(app, submitted.json()["task_id"])
        assert (answer.text, marks(answer)) == ("two:1", said)
        assert [(fact.variant, fact.prediction_id) for fact in app.facts] == [("two", said["prediction-id"])]


def test_submit_has_the_id_alone_when_the_key_is_in_the_body(serve: Serve) -> None:
    """Who will answer is not known yet; `/get` has all."""
    app = start(serve, {"job": "field:user"})
    submitted = app.post("/job/submit", {"x": 1, "user": "vip"})
    assert set(marks(submitted)) == {"prediction-id"}
    answer = finished(app, submitted.json()["task_id"])
    assert answer.text == "two:1"
    assert marks(answer) == {
        "variant": "two",
        "reason": "targeted",
        "revision": "1",
        "prediction-id": marks(submitted)["prediction-id"],
    }


def test_the_plan_is_made_once(serve: Serve) -> None:
    """What `/submit` said holds, whatever operators do before the task runs."""
    app = start(serve, routing={"override_header": True})
    submitted = app.post("/job/submit", {"x": 1}, headers={"x-rollout-variant": "two"})
    assert marks(submitted)["reason"] == "pinned"
    answer = finished(app, submitted.json()["task_id"])
    assert (answer.text, marks(answer)["reason"]) == ("two:1", "pinned")


def test_a_retry_is_a_new_prediction_of_the_same_key(serve: Serve) -> None:
    """`/retry` has an id of its own, and a plan at the revision of now."""
    app = start(serve)
    first = app.post("/job/submit", {"x": 1}, headers=VIP)
    finished(app, first.json()["task_id"])
    open_rollout("tasking").set_weights({"two": 2})
    again = app.post("/job/retry", params={"task_id": first.json()["task_id"]})
    said = marks(again)
    assert (said["variant"], said["reason"], said["revision"]) == ("two", "targeted", "2")
    assert said["prediction-id"] != marks(first)["prediction-id"]
    answer = finished(app, again.json()["task_id"])
    assert (answer.text, marks(answer)) == ("two:1", said)
    once_more = app.post("/job/retry", params={"task_id": again.json()["task_id"]})
    assert marks(once_more)["variant"] == "two"
    assert marks(finished(app, first.json()["task_id"])) == marks(first)


def test_a_retry_by_the_body_has_all_headers_in_the_end(serve: Serve) -> None:
    """With the key in the body the id comes at once, the rest with `/get`."""
    app = start(serve, {"job": "field:user"})
    first = app.post("/job/submit", {"x": 1, "user": "vip"})
    finished(app, first.json()["task_id"])
    again = app.post("/job/retry", params={"task_id": first.json()["task_id"]})
    assert set(marks(again)) == {"prediction-id"}
    assert marks(finished(app, again.json()["task_id"]))["variant"] == "two"


def test_a_task_reads_the_head_of_its_submit(serve: Serve) -> None:
    """With a context: the request is the one that was submitted."""
    app = start(serve)
    for user in ("vip", "other"):
        submitted = app.post("/noting/submit", {"x": 1}, headers={"x-user": user})
        answer = finished(app, submitted.json()["task_id"], "noting")
        assert answer.text.endswith(f":{user}")
        assert marks(answer)["variant"] == answer.text.split(":")[0] == marks(submitted)["variant"]


def test_a_task_that_fails_says_whose_failure_it_is(serve: Serve) -> None:
    """`/get` of a failed task has the headers; so has a fallback's."""
    app = start(serve)
    submitted = app.post("/job/submit", {"x": -1}, headers=VIP)
    answer = finished(app, submitted.json()["task_id"])
    assert (answer.status_code, marks(answer)["variant"]) == (400, "two")


def test_a_fallback_is_told_by_get(serve: Serve) -> None:
    """`/submit` promised the candidate; `/get` says that the champion answered."""

    class Broken(One):
        @bentoml.task
        def job(self, x: int, user: str = "") -> str:
            raise RuntimeError("a bug")

    one: Any = bentoml.service(name="tasking")(One)
    two = bentoml.service(name="tasking_two")(Broken)
    spec = {"name": "tasking", "weights": {"two": 100}, "variants": {"two": {"fallback": "champion"}}}
    app = serve(rollout(champion="one", candidates={"two": two}, spec=RolloutSpec.parse(spec))(one))
    submitted = app.post("/job/submit", {"x": 1})
    assert marks(submitted)["variant"] == "two"
    answer = finished(app, submitted.json()["task_id"])
    assert (answer.text, marks(answer)["variant"], marks(answer)["reason"]) == ("one:1", "one", "fallback")


@pytest.mark.parametrize(("verb", "method"), [("get", "GET"), ("retry", "POST"), ("status", "GET")])
def test_unknown_tasks_have_no_headers(verb: str, method: str, serve: Serve) -> None:
    """404 as on the bare service."""
    app = start(serve)
    for task_id in ("none", "'; drop table result; --"):
        answer = app.request(method, f"/job/{verb}", params={"task_id": task_id})
        assert (answer.status_code, {k: v for k, v in marks(answer).items() if verb != "retry"}) == (404, {})


def test_keeping_plans_never_stands_in_the_way_of_bentomls_own_file(tmp_path: Path) -> None:
    """A worker that has a read of the results open can still write there after a plan was recorded."""
    results = tmp_path / "results.db"
    Sqlite3Store.init_db(str(results))
    tasks = Tasks(lambda: str(results), lambda call, key: Plan("one", 1, Reason.SPLIT))
    call = Call("job", "id", early=Plan("two", 3, Reason.SPLIT), task_id="t1")
    with closing(sqlite3.connect(results)) as reading:
        reading.execute("BEGIN")
        reading.execute("SELECT count(*) FROM result").fetchall()
        asyncio.run(tasks.record(call, "u1"))
        reading.execute("INSERT INTO result (task_id) VALUES ('t2')")
    found = asyncio.run(tasks.find({"query_string": b"task_id=t1"}))
    assert found == Found((Plan("two", 3, Reason.SPLIT),), "id")
