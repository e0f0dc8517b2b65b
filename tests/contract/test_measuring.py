"""What endpoints measure is observed, wherever they run, and costs no answer."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest
from aiohttp import web

from bento_rollout import RolloutSpec, Variant, open_rollout, rollout
from bento_rollout.errors import InvalidValue
from bento_rollout.measuring import REFUSED
from bento_rollout.records import Observation, Outcome
from bento_rollout.telemetry import log
from tests.contract import kinds_measuring
from tests.contract.apart import Callee, Stranger
from tests.contract.kinds_measuring import Tooth, bare, measuring, other
from tests.contract.places import settled
from tests.contract.serving import Served, forget_metrics, marks

Serve = Callable[..., Served]
Get = Callable[[str], Served]
RUNNERS = ("worker", "process", "service", "url")
OVER_HTTP = ("service", "url")
TARGET = "tests.contract.kinds_measuring"
TWO = {"x-rollout-variant": "two"}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Get]:
    """Give the service with its candidate at a place; each starts once."""
    folder, running = tmp_path_factory.mktemp("measuring"), dict[str, Served]()
    callees = {
        "service": lambda: Callee(f"{TARGET}:SERVICE", "measuring_two", folder).start(),
        "url": lambda: Callee(f"{TARGET}:Deployed", "measured", folder, main=True).start(),
    }

    def get(runner: str) -> Served:
        if runner not in running:
            url = ""
            if runner in callees:
                callee = callees[runner]()
                stack.callback(callee.stop)
                url = callee.url
            app = running[runner] = Served(made(runner, url)).start()
            stack.callback(app.stop)
            settled(app)
            forget_metrics()
        return running[runner]

    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENTO_ROLLOUT_STORE", f"sqlite:///{folder / 'store.db'}")
        yield get


def made(runner: str, url: str) -> Any:
    """Return the service with its candidate at a place."""
    if runner in ("process", "service"):
        return getattr(kinds_measuring, runner.upper())
    return measuring(f"measuring-{runner}", other("worker") if runner == "worker" else Variant(url=url))(
        bare()
    )


def runs_of(app: Served, answer: httpx.Response) -> list[Observation]:
    """Return what was observed of a prediction."""
    assert not [name for name in answer.headers if name.startswith("x-rollout-measure")]
    return [fact for fact in app.facts if fact.prediction_id == marks(answer)["prediction-id"]]


def measured(app: Served, endpoint: str, how: str = "answers", **headers: str) -> dict[str, Any]:
    """Ask the candidate; return what its run measured."""
    answer = app.post(f"/{endpoint}", {"how": how}, headers={**TWO, **headers})
    run = runs_of(app, answer)[0]
    assert run.variant == "two"
    return dict(run.measures)


@pytest.mark.parametrize("runner", RUNNERS)
def test_what_is_measured(runner: str, served: Get) -> None:
    """Sync, async, through another endpoint, in a thread aside; what comes several times adds up."""
    app = served(runner)
    assert measured(app, "sync") == {"score": 0.5, "retries": 3.0, "who": 1.0}
    assert measured(app, "coroutine") == {"score": 0.25, "aside": 3.0}
    assert measured(app, "outer") == {"outer": 1.0, "score": 0.25, "aside": 3.0}
    told = [prediction.runs[-1] for prediction in app.predictions if prediction.endpoint == "outer"]
    assert dict(told[-1].measures)["outer"] == 1.0  # what the log, the ledger and guardrails are given
    champion = app.post("/sync", {"how": "answers"}, headers={"x-rollout-variant": "one"})
    assert dict(runs_of(app, champion)[0].measures) == {"score": 0.5, "retries": 3.0, "who": 0.0}


@pytest.mark.parametrize("runner", RUNNERS)
def test_a_failed_run_keeps_what_it_measured(runner: str, served: Get) -> None:
    """The candidate's and the champion's stand apart."""
    app = served(runner)
    answer = app.post("/sync", {"how": "raises"}, headers=TWO)
    theirs, ours = runs_of(app, answer)
    assert (theirs.variant, theirs.outcome, dict(theirs.measures)["who"]) == ("two", Outcome.ERROR, 1.0)
    assert (ours.variant, dict(ours.measures)["who"]) == ("one", 0.0)


@pytest.mark.parametrize("endpoint", ["generator", "async_generator"])
@pytest.mark.parametrize("runner", RUNNERS)
def test_a_stream(runner: str, endpoint: str, served: Get) -> None:
    """What is measured until its end; over HTTP until its first item. And how long it took, and its items."""
    app = served(runner)
    answer = app.post(f"/{endpoint}", {"how": "answers"}, headers=TWO)
    assert answer.text == "two!"
    (run,) = runs_of(app, answer)
    assert dict(run.measures) == {"tokens": 1.0 if runner in OVER_HTTP else 3.0}
    assert run.total is not None
    assert run.total >= run.seconds > 0
    assert run.items == 2


@pytest.mark.parametrize("runner", ["worker", "process"])
def test_a_stream_that_fails(runner: str, served: Get) -> None:
    """What it measured before is there, and one item was sent."""
    app = served(runner)
    answer = app.post("/generator", {"how": "raises"}, headers=TWO)
    (run,) = runs_of(app, answer)
    assert (run.outcome, dict(run.measures), run.items) == (Outcome.ERROR, {"tokens": 2.0}, 1)


@pytest.mark.parametrize("runner", RUNNERS)
def test_rows(runner: str, served: Get) -> None:
    """An array has a value for each row that the variant was given; a number holds for all of them."""
    app = served(runner)
    users = [f"user-{number}" for number in range(40)]
    rows = [{"user": user, "value": number / 7} for number, user in enumerate(users)]
    whose = list(open_rollout(app.site.name).assign(users))
    answer = app.post("/rows", {"rows": rows})
    assert answer.json() == whose
    for run in runs_of(app, answer):
        assert dict(run.measures) == {
            "value": tuple(rows[row]["value"] for row in run.rows),
            "whole": 0.5,
        }


@pytest.mark.parametrize("runner", ["worker", "process"])
def test_a_batch(runner: str, served: Get) -> None:
    """Each request has its own rows' values; one number is nobody's where several came together."""
    app = served(runner)

    async def story() -> list[httpx.Response]:
        bodies = [{"rows": [float(n)] * (1 + n % 2)} for n in range(12)]
        asks = (app.arequest("POST", "/batch", json=body, headers=TWO) for body in bodies)
        return list(await asyncio.gather(*asks))

    answers = app.run(story())
    assert max(answer.json()[0] for answer in answers) > 2
    for number, answer in enumerate(answers):
        found = dict(runs_of(app, answer)[0].measures)
        assert found.pop("seen") == number
        assert found in ({}, {"batches": 1.0})


@pytest.mark.parametrize("runner", RUNNERS)
def test_a_task(runner: str, served: Get) -> None:
    """What a task's work measures is its run's."""
    app = served(runner)
    before = len(app.facts)
    task = app.post("/job/submit", {"how": "answers"}, headers=TWO).json()["task_id"]

    async def done() -> None:
        while (await app.arequest("GET", f"/job/get?task_id={task}")).status_code in (202, 404):  # noqa: ASYNC110
            await asyncio.sleep(0.05)

    app.run(done())
    assert [dict(fact.measures) for fact in app.facts[before:]] == [{"score": 0.75}]


@pytest.mark.parametrize("runner", RUNNERS)
def test_wild_measures_cost_no_answer(runner: str, served: Get) -> None:
    """Many names, odd values: twenty names are kept, the rest is counted, and the answer is as it was."""
    app, before = served(runner), REFUSED.lost
    found = measured(app, "wild")
    assert found == {f"name-{number}": 1.0 for number in range(20)}
    if runner == "worker":
        assert REFUSED.lost - before == 980 + 10


def test_a_million_names(serve: Serve) -> None:
    """They end in time, and keep twenty."""
    app = serve(measuring("million", other("worker"))(bare()))
    assert len(measured(app, "wild", "names")) == 20


def test_the_predictions_line_has_it(serve: Serve, capfd: pytest.CaptureFixture[str]) -> None:
    """By name, of whoever answered; left out with a key for each row, where it is of several variants."""
    app = serve(measuring("told", other("worker"))(bare()))
    app.post("/sync", {"how": "raises"}, headers=TWO)
    app.post("/rows", {"rows": [{"user": "ann", "value": 1}]})
    app.stop()
    assert log.WRITER.flush(30)
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines() if line.startswith("{")]
    ours = [line for line in lines if line.get("rollout") == "told"]
    told = [line.get("measures") for line in ours if line["event"].startswith("prediction.")]
    assert told == [{"score": 0.5, "retries": 3.0, "who": 0.0}, None]


def test_a_shadow_measures_nothing(serve: Serve) -> None:
    """What the shadow says is not the champion's."""
    spec = RolloutSpec.parse({"name": "watched", "shadow": {"two": {"percent": 100}}})
    app = serve(rollout(champion="one", candidates={"two": other("worker")}, spec=spec)(bare()))
    answer = app.post("/sync", {"how": "answers"})

    async def compared() -> None:
        while not app.recorder.shadows:  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0.02)

    app.run(compared())
    (run,) = runs_of(app, answer)
    assert dict(run.measures) == {"score": 0.5, "retries": 3.0, "who": 0.0}


@pytest.mark.parametrize(
    "told", ["{", "[1]", '{"score": "1", "a b": 1, "ok": 2}', "[" * 3000, '{"ok": [1, 3]}']
)
def test_a_stranger_may_say_anything(told: str, serve: Serve) -> None:
    """What a URL answers in the header is looked at like what an endpoint measures, and never passed on."""
    asked: list[str] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        if request.path in ("/schema.json", "/readyz"):
            return web.json_response(bare().schema() if request.path == "/schema.json" else {})
        asked.append(request.headers["x-rollout-measured"])
        return web.Response(text="two", headers={"X-Rollout-Measures": told})

    stranger = Stranger(handle)
    try:
        app = serve(measuring("strange", Variant(url=stranger.url))(bare()))
        settled(app)
        answer = app.post("/sync", {"how": "x"}, headers={**TWO, "x-rollout-measured": "7"})
        assert (answer.status_code, answer.text) == (200, "two")
        assert dict(runs_of(app, answer)[0].measures) == ({"ok": 2.0} if '"ok"' in told else {})
    finally:
        stranger.stop()
    assert asked == ["0"]  # what the caller says is not passed on


# -- what counts as an error ---------------------------------------------------------------------------


def counting(serve: Serve, is_error: Any) -> Served:
    """Start the service with somebody's own word on errors."""
    return serve(measuring("counting", other("worker"), is_error=is_error)(bare()))


def counts(app: Served, how: str) -> tuple[int, list[tuple[str, Outcome, bool | None]]]:
    """Ask the candidate; return the status and what was observed of each run."""
    answer = app.post("/sync", {"how": how}, headers=TWO)
    return answer.status_code, [(run.variant, run.outcome, run.counts) for run in runs_of(app, answer)]


def test_is_error_changes_evidence_only(serve: Serve) -> None:
    """A 4xx can count and a bug can be none; the caller and the fallback see nothing of that."""
    seen: list[BaseException] = []

    def is_error(error: BaseException) -> bool:
        seen.append(error)
        return not isinstance(error, Tooth)

    app = counting(serve, is_error)
    assert counts(app, "answers") == (200, [("two", Outcome.OK, None)])
    assert counts(app, "refuses") == (400, [("two", Outcome.CLIENT_ERROR, True)])
    status, runs = counts(app, "raises")
    assert (status, runs) == (500, [("two", Outcome.ERROR, False), ("one", Outcome.ERROR, False)])
    assert [type(error).__name__ for error in seen] == ["InvalidArgument", "Tooth", "Tooth"]


@pytest.mark.parametrize("odd", [lambda _: "yes", lambda _: 1 // 0, lambda _: sys.exit(3), lambda _: None])
def test_an_is_error_of_no_use_changes_nothing(odd: Any, serve: Serve) -> None:
    """When it raises or says nothing the outcome tells, and the answer is as it was."""
    app = counting(serve, odd)
    assert counts(app, "refuses") == (400, [("two", Outcome.CLIENT_ERROR, None)])


@pytest.mark.parametrize("wrong", ["yes", 3, ValueError, asyncio.sleep])
def test_an_is_error_that_cannot_be_asked_is_refused(wrong: Any) -> None:
    """At the definition, by name."""
    with pytest.raises(InvalidValue, match="is_error"):
        measuring("refused", other("worker"), is_error=wrong)(bare())
