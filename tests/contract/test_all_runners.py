"""The same promises in all four places: time limits, fallback, limits of concurrency, what is observed."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from bento_rollout import Variant, open_rollout
from bento_rollout.bento import url_runner
from bento_rollout.records import Outcome, Readiness
from tests.contract import kinds_everywhere
from tests.contract.apart import Callee
from tests.contract.kinds_everywhere import FEW, bare, everywhere, other
from tests.contract.places import settled
from tests.contract.serving import Served, forget_metrics, marks

RUNNERS = ("worker", "process", "service", "url")
TWO = {"x-rollout-variant": "two"}
TARGET = "tests.contract.kinds_everywhere"


@pytest.fixture(scope="module")
def callees(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Callee]]:
    """The candidates that somebody else starts."""
    folder = tmp_path_factory.mktemp("callees")
    made = {
        "service": Callee(f"{TARGET}:SERVICE", "everywhere_two", folder).start(),
        "url": Callee(f"{TARGET}:Deployed", "deployed", folder, main=True).start(),
    }
    yield made
    for callee in made.values():
        callee.stop()


@pytest.fixture(scope="module")
def served(
    callees: dict[str, Callee], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str, bool], Served]]:
    """Give the service with its candidate at a place, for few calls at a time or many; each starts once."""
    folder, running = tmp_path_factory.mktemp("everywhere"), dict[tuple[str, bool], Served]()

    def get(runner: str, few: bool) -> Served:
        if (runner, few) not in running:
            app = running[runner, few] = Served(made(runner, few, callees["url"].url)).start()
            stack.callback(app.stop)
            settled(app)
            forget_metrics()
        return running[runner, few]

    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENTO_ROLLOUT_STORE", f"sqlite:///{folder / 'store.db'}")
        yield get


def made(runner: str, few: bool, url: str) -> Any:
    """Return the service with its candidate at a place."""
    if runner in ("process", "service"):
        return getattr(kinds_everywhere, f"{runner}{'_few' if few else ''}".upper())
    variant = other("worker") if runner == "worker" else Variant(url=url)
    return everywhere(f"{'few' if few else 'everywhere'}-{runner}", variant, FEW if few else {})(bare())


KINDS = {
    "sync": "two",
    "coroutine": "two",
    "generator": "two!",
    "async_generator": "two!",
    "batch": '["two"]',
    "job": "two",
}
"""The endpoints, and what the candidate answers."""

HOWS = {
    "answers": ("two", "pinned", [("two", Outcome.OK)]),
    "raises": ("one", "fallback", [("two", Outcome.ERROR), ("one", Outcome.OK)]),
    "hangs": ("one", "fallback", [("two", Outcome.TIMEOUT), ("one", Outcome.OK)]),
}
"""What the candidate does: who answers then, why, and how each run ended."""


async def asked(app: Served, endpoint: str, how: str) -> httpx.Response:
    """Return an endpoint's answer; of a task what `/get` says when it is done."""
    body: dict[str, Any] = {"hows": [how]} if endpoint == "batch" else {"how": how}
    if endpoint != "job":
        return await app.arequest("POST", f"/{endpoint}", json=body, headers=TWO)
    task = (await app.arequest("POST", "/job/submit", json=body, headers=TWO)).json()["task_id"]
    while (answer := await app.arequest("GET", f"/job/get?task_id={task}")).status_code in (202, 404):  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    return answer


def ended(app: Served, prediction_id: str) -> list[tuple[str, Outcome]]:
    """Return who ran for a prediction, and how that ended."""
    return [(fact.variant, fact.outcome) for fact in app.facts if fact.prediction_id == prediction_id]


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("runner", RUNNERS)
def test_every_kind_of_endpoint(runner: str, how: str, served: Callable[[str, bool], Served]) -> None:
    """The candidate answers, or in time the champion does; its failure is recorded as its own."""
    app = served(runner, False)
    who, reason, runs = HOWS[how]

    async def story() -> list[httpx.Response]:
        return list(await asyncio.gather(*(asked(app, endpoint, how) for endpoint in KINDS)))

    began = time.monotonic()
    answers = dict(zip(KINDS, app.run(story()), strict=True))
    assert time.monotonic() - began < kinds_everywhere.HANG * 2
    for endpoint, answer in answers.items():
        said = marks(answer)
        got = (answer.status_code, answer.text, said["variant"], said["reason"])
        assert got == (200, KINDS[endpoint].replace("two", who), who, reason), endpoint
        assert ended(app, said["prediction-id"]) == runs, endpoint
    own = answers["async_generator"].headers.get("x-own")
    assert own == who  # what the candidate said of its response is not the champion's


@pytest.mark.parametrize("runner", RUNNERS)
def test_a_stream_that_pauses_too_long_ends(runner: str, served: Callable[[str, bool], Served]) -> None:
    """After its first item nobody stands in; that it was late is the candidate's."""
    app = served(runner, False)
    answer = app.post("/async_generator", {"how": "pauses"}, headers=TWO)
    assert (answer.status_code, answer.text, marks(answer)["variant"]) == (200, "two", "two")
    assert ended(app, marks(answer)["prediction-id"]) == [("two", Outcome.TIMEOUT)]


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("runner", RUNNERS)
def test_rows(runner: str, how: str, served: Callable[[str, bool], Served]) -> None:
    """Rows have their own variants; only the candidate's are answered again when it fails."""
    app = served(runner, False)
    users = [f"user-{number}" for number in range(20)]
    whose = open_rollout(app.site.name).assign(users)
    assert set(whose) == {"one", "two"}
    answer = app.post("/rows", {"rows": [{"user": user} for user in users], "how": how})
    who, _, runs = HOWS[how]
    expected = [
        f"{who if is_two else 'one'} {user}" for user, is_two in zip(users, whose == "two", strict=True)
    ]
    assert (answer.status_code, answer.json()) == (200, expected)
    found = Counter(ended(app, marks(answer)["prediction-id"]))
    assert found == Counter([("one", Outcome.OK), *runs])


@pytest.mark.parametrize("runner", RUNNERS)
def test_more_calls_than_may_run_or_wait(runner: str, served: Callable[[str, bool], Served]) -> None:
    """With ``max_concurrency: 2, max_pending: 1`` the fourth call at a time is the champion's."""
    app = served(runner, True)
    request = {"method": "POST", "path": "/crowd", "json": {"seconds": 0.4}, "headers": TWO}
    answers = app.together([request] * 6)
    assert {answer.status_code for answer in answers} == {200}
    assert Counter((marks(answer)["variant"], marks(answer)["reason"]) for answer in answers) == {
        ("two", "pinned"): 3,
        ("one", "fallback"): 3,
    }
    assert max(int(answer.text[4:]) for answer in answers if answer.text.startswith("two")) <= 2
    refused = [marks(answer)["prediction-id"] for answer in answers if answer.text.startswith("one")]
    assert [ended(app, each) for each in refused] == [[("two", Outcome.UNAVAILABLE), ("one", Outcome.OK)]] * 3
    assert app.post("/crowd", {"seconds": 0}, headers=TWO).text == "two 1"


@pytest.mark.parametrize("runner", RUNNERS[1:])
def test_it_goes_and_comes_back_under_many_callers(
    runner: str,
    served: Callable[[str, bool], Served],
    callees: dict[str, Callee],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No caller fails, no more calls reach it than may, and the sink is told what it becomes."""
    monkeypatch.setattr(url_runner, "PATIENCE", 0.5)
    app = served(runner, True)
    first = len(app.changes)
    over, answers = asyncio.Event(), list[httpx.Response]()

    async def calls() -> None:
        while not over.is_set():
            answers.append(await app.arequest("POST", "/crowd", json={"seconds": 0.02}, headers=TWO))

    def end() -> None:
        if runner == "process":
            os.kill(settled(app).process["pid"], signal.SIGKILL)
        else:
            callees[runner].kill()

    async def story() -> None:
        callers = [asyncio.ensure_future(calls()) for _ in range(12)]
        await asyncio.sleep(0.3)
        await asyncio.to_thread(end)
        while app.site.serving._runners["two"].ready:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        if runner != "process":
            callees[runner].start()
        await asyncio.to_thread(settled, app)
        await asyncio.sleep(0.7)
        over.set()
        await asyncio.gather(*callers)

    app.run(story())
    assert {answer.status_code for answer in answers} == {200}
    assert max(int(answer.text[4:]) for answer in answers if answer.text.startswith("two")) <= 2
    assert any(answer.text.startswith("two") for answer in answers[-40:])
    named = {"rollout": app.site.name, "variant": "two", "runner": runner}
    gone = Readiness(**named, state="starting" if runner == "process" else "unready")
    back = Readiness(**named, state="ready", restarts=1 if runner == "process" else 0)
    assert app.changes[first:] == [gone, back]


@pytest.mark.parametrize("runner", RUNNERS)
def test_a_start_tells_what_each_variant_is(runner: str, served: Callable[[str, bool], Served]) -> None:
    """The champion and the candidate, where they run, once they are ready."""
    app = served(runner, False)
    assert Readiness(app.site.name, "one", "worker", "ready") in app.changes
    assert Readiness(app.site.name, "two", runner, "ready") in app.changes
    assert {(change.variant, change.runner) for change in app.changes} == {("one", "worker"), ("two", runner)}
