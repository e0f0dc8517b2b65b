"""Time limits and fallback: what a candidate does wrong is not the caller's loss where the spec says so."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any

import bentoml
import numpy as np
import pytest
from bentoml.exceptions import InvalidArgument, ServiceUnavailable

from bento_rollout import RolloutSpec, rollout
from bento_rollout.records import Outcome
from tests.contract.serving import Served, marks

Serve = Callable[..., Served]
release = threading.Event()


class One:
    """The champion: answers what it was given, and how the response looked to it."""

    @bentoml.api
    def sync(self, how: str, box: list[int], ctx: bentoml.Context) -> list[Any]:
        return ["one", how, *box, ctx.response.status_code]

    @bentoml.api
    async def coroutine(self, how: str, box: list[int]) -> list[Any]:
        return ["one", how, *box]

    @bentoml.api
    def array(self, how: str, box: np.ndarray) -> np.ndarray:
        return box + 1

    @bentoml.api
    async def stream(self, how: str, box: list[int], ctx: bentoml.Context) -> AsyncGenerator[str, None]:
        yield f"one {box} {ctx.response.status_code}"

    @bentoml.api
    def generator(self, how: str, box: list[int]) -> Generator[str, None, None]:
        yield f"one {box}"

    @bentoml.api(batchable=True, max_batch_size=4, max_latency_ms=5000)
    def batch(self, box: list[int]) -> list[int]:
        return [1 for _ in box]


def misbehave(how: str, box: Any, ctx: Any = None) -> None:
    """Spoil the input and the response, then fail in the way asked for."""
    if isinstance(box, list):
        box.append(99)
    else:
        box *= 0
    if ctx is not None:
        ctx.response.status_code = 299
        ctx.response.headers["x-leak"] = "yes"
        ctx.response.set_cookie("leak", "yes")
    if how == "raise":
        raise RuntimeError("a bug")
    if how == "busy":
        raise ServiceUnavailable("busy")
    if how == "client":
        raise InvalidArgument("your fault")
    if how == "exit":
        sys.exit(3)
    if how == "interrupt":
        raise KeyboardInterrupt
    if how == "cancel":
        raise asyncio.CancelledError
    if how == "hang":
        release.wait(20)


async def misbehave_async(how: str, box: Any, ctx: Any = None) -> None:
    """The same, and asleep where the other hangs."""
    if how == "hang":
        misbehave("", box, ctx)
        await asyncio.sleep(20)
    if how == "deaf":
        for _ in range(100):
            try:
                await asyncio.sleep(0.2)
            except asyncio.CancelledError:
                continue
    misbehave(how, box, ctx)


class Two:
    """The candidate: does what it should not."""

    @bentoml.api
    def sync(self, how: str, box: list[int], ctx: bentoml.Context) -> list[Any]:
        misbehave(how, box, ctx)
        return ["two", how, *box, ctx.response.status_code]

    @bentoml.api
    async def coroutine(self, how: str, box: list[int]) -> list[Any]:
        await misbehave_async(how, box)
        return 7 if how == "invalid" else ["two", how, *box]  # type: ignore[return-value]

    @bentoml.api
    def array(self, how: str, box: np.ndarray) -> np.ndarray:
        misbehave(how, box)
        return box

    @bentoml.api
    async def stream(self, how: str, box: list[int], ctx: bentoml.Context) -> AsyncGenerator[str, None]:
        await misbehave_async(how, box, ctx)
        yield "two"
        if how == "later":
            raise RuntimeError("after the first item")
        if how == "pause":
            await asyncio.sleep(20)
        yield " more"

    @bentoml.api
    def generator(self, how: str, box: list[int]) -> Generator[str, None, None]:
        misbehave(how, box)
        yield "two"

    @bentoml.api(batchable=True, max_batch_size=4, max_latency_ms=5000)
    def batch(self, box: list[int]) -> list[int]:
        how = {-1: "raise", -2: "hang", -3: "exit"}.get(box[0], "")
        misbehave(how, [])
        return [2 for _ in box]


class Home:
    """One app with fallback and one without, shared by this file's tests: starting takes long."""

    def __init__(self, patch: pytest.MonkeyPatch, folder: Any) -> None:
        self.guarded = self.start(patch, folder, "guarded", {"timeout": 0.5, "fallback": "champion"})
        self.timed = self.start(patch, folder, "timed", {"timeout": 0.5, "idle_timeout": 0.5})
        self.open = self.start(patch, folder, "open", {})

    @staticmethod
    def start(patch: pytest.MonkeyPatch, folder: Any, name: str, limits: dict[str, Any]) -> Served:
        patch.setenv("BENTO_ROLLOUT_STORE", f"sqlite:///{folder / name}.db")
        one: Any = bentoml.service(name="fallback", threads=2)(One)
        two = bentoml.service(name="fallback_two", threads=5)(Two)
        spec = {
            "name": name,
            "weights": {"two": 0},
            "routing": {"override_header": True},
            "variants": {"two": limits},
        }
        return Served(
            rollout(champion="one", candidates={"two": two}, spec=RolloutSpec.parse(spec))(one)
        ).start()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The apps of this file."""
    with pytest.MonkeyPatch.context() as patch:
        apps = Home(patch, tmp_path_factory.mktemp("fallback"))
        yield apps
        release.set()
        for app in (apps.guarded, apps.timed, apps.open):
            app.stop()


PIN = {"x-rollout-variant": "two"}


def ask(app: Served, endpoint: str, how: str) -> Any:
    """Ask the candidate."""
    return app.post(f"/{endpoint}", {"how": how, "box": [1, 2]}, headers=PIN)


ANSWERS: dict[str, Callable[[str], str]] = {
    "sync": lambda how: f'["one","{how}",1,2,200]',
    "coroutine": lambda how: f'["one","{how}",1,2]',
    "array": lambda how: "[2,3]",
    "stream": lambda how: "one [1, 2] 200",
    "generator": lambda how: "one [1, 2]",
}


@pytest.mark.parametrize("how", ["raise", "busy", "exit", "interrupt", "cancel", "hang"])
@pytest.mark.parametrize("endpoint", ANSWERS)
def test_the_champion_answers_the_same_input_when_the_candidate_fails(
    endpoint: str, how: str, home: Home
) -> None:
    """Errors, exits, cancellations and time-outs: nothing the candidate did to input or response shows."""
    before = len(home.guarded.facts)
    answer = ask(home.guarded, endpoint, how)
    assert (answer.status_code, answer.text.replace(", ", ",")) == (
        200,
        ANSWERS[endpoint](how).replace(", ", ","),
    )
    assert marks(answer) | {"prediction-id": "", "revision": ""} == {
        "variant": "one",
        "revision": "",
        "prediction-id": "",
        "reason": "fallback",
    }
    assert "x-leak" not in answer.headers
    assert "set-cookie" not in answer.headers
    failed, served = home.guarded.facts[before:]
    assert (failed.variant, failed.outcome.failed) == ("two", True)
    assert (served.variant, served.outcome) == ("one", Outcome.OK)
    assert failed.prediction_id == served.prediction_id == marks(answer)["prediction-id"]
    assert (failed.outcome is Outcome.TIMEOUT) == (how == "hang")


def test_a_batch_that_fails_falls_back_too(home: Home) -> None:
    """Each request of a failed batch is answered by the champion."""
    for value in (-1, -2, -3):
        answer = home.guarded.post("/batch", {"box": [value]}, headers=PIN)
        assert (answer.json(), marks(answer)["reason"]) == ([1], "fallback"), value
    answer = home.guarded.post("/batch", {"box": [5]}, headers=PIN)
    assert (answer.json(), marks(answer)["variant"]) in (
        ([2], "two"),
        ([1], "one"),
    )  # behind the hanging batch


def test_a_candidate_that_swallows_cancelling_holds_nobody(home: Home) -> None:
    """A coroutine that will not be cancelled is left behind: the caller has the champion's answer in time."""
    began = time.monotonic()
    answer = ask(home.guarded, "coroutine", "deaf")
    assert marks(answer)["reason"] == "fallback"
    assert time.monotonic() - began < 5


def test_an_answer_that_is_not_valid_is_the_candidates_failure(home: Home) -> None:
    """What the endpoint's type does not allow never reaches the caller."""
    answer = ask(home.guarded, "coroutine", "invalid")
    assert (answer.json(), marks(answer)["reason"]) == (["one", "invalid", 1, 2], "fallback")


@pytest.mark.parametrize("endpoint", ["sync", "coroutine", "stream", "generator"])
def test_a_client_error_is_an_answer(endpoint: str, home: Home) -> None:
    """A 4xx of the candidate goes to the caller: the input is at fault, not the candidate."""
    before = len(home.guarded.facts)
    answer = ask(home.guarded, endpoint, "client")
    assert (answer.status_code, marks(answer)["variant"]) == (400, "two")
    assert [fact.outcome for fact in home.guarded.facts[before:]] == [Outcome.CLIENT_ERROR]


def test_a_candidate_that_succeeds_keeps_what_it_did_to_the_response(home: Home) -> None:
    """Its status, headers and cookies arrive, guarded or not."""
    for app in (home.guarded, home.timed, home.open):
        for endpoint in ("sync", "stream"):
            answer = ask(app, endpoint, "fine")
            assert (answer.status_code, answer.headers["x-leak"]) == (299, "yes")
            assert "leak=yes" in answer.headers["set-cookie"]


@pytest.mark.parametrize("endpoint", ["sync", "coroutine", "stream", "generator"])
@pytest.mark.parametrize(("how", "status"), [("raise", 500), ("busy", 503), ("exit", 500), ("hang", 504)])
def test_without_fallback_the_variants_error_is_the_callers(
    endpoint: str, how: str, status: int, home: Home
) -> None:
    """And a candidate that asks the process to end has failed, no more; a late one is 504."""
    answer = ask(home.timed, endpoint, how)
    assert (answer.status_code, marks(answer)["variant"], marks(answer)["reason"]) == (
        status,
        "two",
        "pinned",
    )
    assert "x-leak" not in answer.headers or how != "hang"


def test_without_limits_a_failure_is_as_on_the_bare_service(home: Home) -> None:
    """No `variants:` entry: 500 for a bug, 503 for what says so."""
    for how, status in (("raise", 500), ("busy", 503), ("exit", 500)):
        assert ask(home.open, "coroutine", how).status_code == status
    assert ask(home.open, "coroutine", "fine").json() == ["two", "fine", 1, 2, 99]


def test_after_the_first_item_a_stream_is_the_candidates(home: Home) -> None:
    """No fallback in the middle of an answer: it ends there, as on the bare service; one fact says how."""
    before = len(home.guarded.facts)
    answer = ask(home.guarded, "stream", "later")
    assert (answer.text, marks(answer)["variant"]) == ("two", "two")
    assert [fact.error for fact in home.guarded.facts[before:]] == ["RuntimeError"]


def test_a_stream_that_pauses_too_long_is_ended(home: Home) -> None:
    """`idle_timeout` is the time between two items."""
    before = len(home.timed.facts)
    assert ask(home.timed, "stream", "pause").text == "two"
    assert [fact.outcome for fact in home.timed.facts[before:]] == [Outcome.TIMEOUT]


def test_a_hung_candidate_never_delays_the_champion(home: Home) -> None:
    """Hung sync calls keep the candidate's own threads; the champion's stay free, and no thread is added."""
    app = home.timed
    for _ in range(5):
        ask(app, "sync", "hang")
    threads = threading.active_count()
    for _ in range(5):
        assert ask(app, "sync", "fine").status_code in (299, 504)  # its threads are all taken
        began = time.monotonic()
        assert app.post("/sync", {"how": "", "box": []}).json() == ["one", "", 200]
        assert time.monotonic() - began < 2
    assert threading.active_count() <= threads + 1
    release.set()
    deadline = time.monotonic() + 10
    while ask(app, "sync", "fine").status_code != 299:
        assert time.monotonic() < deadline
    release.clear()


def test_nothing_hangs_at_shutdown(serve: Serve, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A candidate's call that hangs, and its shutdown hook that hangs, do not hold the service's end."""
    monkeypatch.setattr("bento_rollout.bento.worker_runner.FAREWELL", 0.3)
    monkeypatch.setenv("BENTO_ROLLOUT_STORE", f"sqlite:///{tmp_path}/s.db")

    class Lingering(Two):
        @bentoml.on_shutdown
        def linger(self) -> None:
            threading.Event().wait(30)

    one: Any = bentoml.service(name="ending")(One)
    spec = RolloutSpec.parse(
        {"weights": {"two": 100}, "variants": {"two": {"timeout": 0.2, "fallback": "champion"}}}
    )
    two = bentoml.service(name="ending_two")(Lingering)
    app = Served(rollout(champion="one", candidates={"two": two}, spec=spec)(one)).start()
    assert marks(ask(app, "sync", "hang"))["reason"] == "fallback"
    began = time.monotonic()
    app.stop()
    assert time.monotonic() - began < 10
    release.set()
    release.clear()
