"""What is told of a prediction when its answer is out: who, why, how it ended, and what went out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import suppress
from typing import Any

import bentoml
import pytest
from bentoml.exceptions import InvalidArgument

from bento_rollout import RolloutSpec, Variant, rollout
from bento_rollout.records import Compared, Outcome, Prediction
from tests.contract.serving import Served

SPEC = {
    "name": "told",
    "routing": {
        "key": {"*": "header:x-user", "rows": "rows:rows.user"},
        "inference_id": {"field": "field:tx.id", "rows": "rows:rows.id"},
        "override_header": True,
    },
    "weights": {"two": 50},
    "variants": {"two": {"timeout": 1, "fallback": "champion"}},
    "shadow": {"two": {"percent": 100, "endpoints": ["sync"]}},
    "ledger": {"inputs": True},
}


class Told:
    """Answers with its word."""

    word = "one"

    @bentoml.api
    def sync(self, how: str) -> dict[str, str]:
        if how == "raises" and self.word == "two":
            raise RuntimeError("a bug")
        if how == "breaks":
            raise RuntimeError("a bug")
        if how == "client":
            raise InvalidArgument("no")
        return {"word": self.word}

    @bentoml.api
    def field(self, tx: dict[str, str]) -> str:
        tx["id"] = "changed"
        return self.word

    @bentoml.api
    async def stream(self, how: str) -> AsyncGenerator[str, None]:
        yield self.word
        yield "!"

    @bentoml.api
    def rows(self, rows: list[dict[str, str]]) -> list[str]:
        return [f"{self.word} {row['user']}" for row in rows]

    @bentoml.task
    def job(self, how: str) -> str:
        return f"{self.word} did it"


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The service."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENTO_ROLLOUT_STORE", f"sqlite:///{tmp_path_factory.mktemp('told') / 'store.db'}")
        candidates = {"two": Variant(attributes={"word": "two"})}
        spec = RolloutSpec.parse(SPEC)
        service = rollout(champion="one", candidates=candidates, spec=spec)(
            bentoml.service(name="told")(Told)
        )
        served = Served(service).start()
        yield served
        served.stop()


def told(app: Served, before: int, count: int = 1) -> list[Prediction]:
    """Return the predictions since then."""
    until = time.monotonic() + 10
    while len(app.predictions) < before + count and time.monotonic() < until:
        time.sleep(0.01)
    time.sleep(0.05)
    assert len(app.predictions) == before + count
    return app.predictions[before:]


def one(app: Served, path: str, body: Any, **headers: str) -> Prediction:
    """Ask, and return the one prediction that is told."""
    before = len(app.predictions)
    answer = app.post(path, body, headers={name.replace("_", "-"): value for name, value in headers.items()})
    (found,) = told(app, before)
    assert found.prediction_id == answer.headers["x-rollout-prediction-id"]
    assert (found.reply.status, found.reply.body) == (answer.status_code, answer.content)
    assert found.reply.size == len(answer.content)
    return found


def test_an_answer(app: Served) -> None:
    """Who asked, who answered and why, what went out, and who shadowed it."""
    began = time.time()
    found = one(app, "/sync", {"how": "well"}, x_user="ann", x_rollout_inference_id="tx-1")
    assert (found.rollout, found.endpoint, found.outcome, found.error) == ("told", "sync", Outcome.OK, None)
    assert began <= found.time <= time.time()
    assert (found.keys, found.inference_ids, found.inputs) == (("ann",), ("tx-1",), {"how": "well"})
    assert found.reply.media_type == "application/json"
    assert [run.variant for run in found.runs] == [plan.variant for plan in found.plans]
    assert found.shadows == ("two",)
    assert 0 < found.seconds < 1
    assert "ann" not in repr(found)
    assert "well" not in repr(found)


@pytest.mark.parametrize(
    ("how", "pin", "outcome", "runs"),
    [
        ("raises", "two", Outcome.OK, ["two", "one"]),
        ("breaks", "one", Outcome.ERROR, ["one"]),
        ("breaks", "two", Outcome.ERROR, ["two", "one"]),
        ("client", "two", Outcome.CLIENT_ERROR, ["two"]),
    ],
)
def test_what_fails(app: Served, how: str, pin: str, outcome: Outcome, runs: list[str]) -> None:
    """A candidate that failed is among the runs; the outcome is the caller's."""
    found = one(app, "/sync", {"how": how}, x_rollout_variant=pin)
    assert (found.outcome, [run.variant for run in found.runs]) == (outcome, runs)
    assert found.plans[0].variant == runs[-1]
    assert found.keys == (None,)


def test_its_own_id_and_its_input_as_it_was_sent(app: Served) -> None:
    """The id is read before the endpoint changes its input."""
    found = one(app, "/field", {"tx": {"id": "t-9"}})
    assert (found.inference_ids, found.inputs) == (("t-9",), {"tx": {"id": "t-9"}})


def test_a_stream(app: Served) -> None:
    """All items are what went out."""
    found = one(app, "/stream", {"how": "well"}, x_rollout_variant="two")
    assert (found.reply.body, found.outcome) == (b"two!", Outcome.OK)


def test_rows(app: Served) -> None:
    """One plan, key and id for each row; one reply for all."""
    rows = [{"user": f"u{number}", "id": f"r{number}"} for number in range(20)]
    found = one(app, "/rows", {"rows": rows})
    assert found.by_rows
    assert found.keys == tuple(row["user"] for row in rows)
    assert found.inference_ids == tuple(row["id"] for row in rows)
    assert {plan.variant for plan in found.plans} == {run.variant for run in found.runs} == {"one", "two"}


def test_a_task(app: Served) -> None:
    """It is told when it is done, with what it returned."""
    before = len(app.predictions)
    answer = app.post("/job/submit", {"how": "well"}, headers={"x-user": "ann"})
    (found,) = told(app, before)
    assert (found.prediction_id, found.task_id) == (
        answer.headers["x-rollout-prediction-id"],
        answer.json()["task_id"],
    )
    assert (found.outcome, found.keys, found.reply.value) == (
        Outcome.OK,
        ("ann",),
        f"{found.plans[0].variant} did it",
    )


def test_what_bentoml_refuses_is_no_prediction(app: Served) -> None:
    """No variant was chosen."""
    before = len(app.predictions)
    assert app.post("/sync", {"what": 1}).status_code == 400
    assert told(app, before, 0) == []


def test_what_a_shadow_said(app: Served) -> None:
    """It is told by the prediction's id."""
    found = one(app, "/sync", {"how": "well"}, x_rollout_variant="one")

    def said() -> Callable[[], Iterator[Compared]]:
        return lambda: (
            fact
            for fact in app.recorder.shadows
            if isinstance(fact, Compared) and fact.prediction_id == found.prediction_id
        )

    until = time.monotonic() + 10
    while not list(said()()) and time.monotonic() < until:
        time.sleep(0.02)
    (fact,) = said()()
    assert (fact.variant, fact.champion, fact.comparisons[0].relation.value) == ("two", "one", "differ")
    assert fact.answer == {"word": "two"}


# -- when the server's time is up ---------------------------------------------------------------------------


class Slow:
    """Takes its time."""

    @bentoml.api
    async def sleep(self, seconds: float) -> str:
        await asyncio.sleep(seconds)
        return "slept"

    @bentoml.api
    async def stream(self, seconds: float) -> AsyncGenerator[str, None]:
        await asyncio.sleep(seconds)
        yield "slept"


@pytest.fixture
def slow(serve: Callable[..., Served]) -> Served:
    """A service whose calls may take half a second."""
    inner: Any = bentoml.service(name="slow", traffic={"timeout": 0.5})(Slow)
    return serve(rollout(champion="one", spec=RolloutSpec.parse({"name": "slow"}))(inner))


def test_our_own_504_is_what_went_out(slow: Served) -> None:
    """With its body, its size and its media type."""
    answer = slow.post("/sleep", {"seconds": 30})
    (told,) = slow.predictions
    reply = told.reply
    assert (told.outcome, reply.status, reply.media_type) == (Outcome.TIMEOUT, 504, "application/json")
    assert (told.reply.body, told.reply.size) == (answer.content, len(answer.content))


@pytest.mark.parametrize("path", ["/sleep", "/stream"])
def test_nobody_waits_when_time_is_up(slow: Served, path: str) -> None:
    """The caller left before: that is no timeout."""

    async def leave() -> None:
        messages = [{"type": "http.request", "body": b'{"seconds":30}', "more_body": False}]
        gone = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(0.1, gone.set_result, None)

        async def receive() -> dict[str, Any]:
            if messages:
                return messages.pop()
            await asyncio.shield(gone)
            return {"type": "http.disconnect"}

        async def send(_: object) -> None:
            return

        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "path": path,
            "raw_path": path.encode(), "root_path": "", "query_string": b"", "scheme": "http",
            "headers": [(b"content-type", b"application/json")], "server": ("test", 80), "client": ("me", 1),
        }  # fmt: skip
        with suppress(asyncio.CancelledError):
            await slow.app(scope, receive, send)

    slow.run(leave())
    assert [told.outcome for told in slow.predictions] == [Outcome.DISCONNECTED]
