"""A candidate that cannot start does not stop the service: the champion answers, and status says why."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import bentoml
import pytest
from bentoml.models import BentoModel

from bento_rollout import RolloutSpec, rollout
from tests.contract.serving import Served, marks

Serve = Callable[..., Served]


class One:
    """The champion."""

    @bentoml.api
    def predict(self, x: int) -> str:
        return "one"


class Two:
    """The candidate's endpoint."""

    @bentoml.api
    def predict(self, x: int) -> str:
        return "two"


class RaisesInInit(Two):
    """Cannot load."""

    def __init__(self) -> None:
        raise FileNotFoundError("model.bin")


class ExitsInInit(Two):
    """Gives up."""

    def __init__(self) -> None:
        sys.exit("no licence")


class RaisesAtStartup(Two):
    """Its hook fails."""

    @bentoml.on_startup
    def warm_up(self) -> None:
        raise RuntimeError("cold")


class RaisesAtAsyncStartup(Two):
    """Its async hook fails."""

    @bentoml.on_startup
    async def warm_up(self) -> None:
        raise RuntimeError("cold")


def service(candidate: type, **spec: Any) -> Any:
    """Return a service whose candidate has all the traffic."""
    one: Any = bentoml.service(name="failing")(One)
    two = bentoml.service(name="failing_two")(candidate)
    parsed = RolloutSpec.parse({"name": "failing", "weights": {"two": 100}, **spec})
    return rollout(champion="one", candidates={"two": two}, spec=parsed)(one)


def state(app: Served) -> tuple[str, str]:
    """Return what `status` says of the candidate in this worker."""
    card = app.site.serving._card().variants["two"]
    return card.state, card.error or ""


@pytest.mark.parametrize(
    ("candidate", "error"),
    [
        (RaisesInInit, "FileNotFoundError: model.bin"),
        (ExitsInInit, "SystemExit: no licence"),
        (RaisesAtStartup, "RuntimeError: cold"),
        (RaisesAtAsyncStartup, "RuntimeError: cold"),
    ],
)
def test_a_candidate_that_fails_to_start_is_failed_with_its_error(
    candidate: type, error: str, serve: Serve
) -> None:
    """Its keys are answered by the champion with reason unavailable, pinned or not."""
    app = serve(service(candidate, routing={"override_header": True}))
    assert state(app) == ("failed", error)
    for headers in ({}, {"x-rollout-variant": "two"}):
        answer = app.post("/predict", {"x": 1}, headers=headers)
        assert (answer.text, marks(answer)["reason"], marks(answer)["variant"]) == (
            "one",
            "unavailable",
            "one",
        )


class Modelless(Two):
    """Its model is in no store."""

    model = BentoModel("gone:v1")


def test_a_candidate_whose_model_is_missing_is_failed(serve: Serve) -> None:
    """The start goes on without it, in the process that begins the workers as in the workers."""
    wrapped = service(Modelless)
    assert [model.resolve() for model in wrapped.models] == [None]
    app = serve(wrapped)
    condition, error = state(app)
    assert condition == "failed"
    assert "Model gone:v1 could not be found" in error
    assert app.post("/predict", {"x": 1}).text == "one"


@pytest.mark.parametrize("where", ["__init__", "startup hook", "async startup hook"])
def test_a_candidate_that_hangs_is_not_waited_for(
    where: str, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the patience the worker serves without it; when it is ready at last, it answers."""
    monkeypatch.setattr("bento_rollout.bento.serving.PATIENCE", 0.2)
    release = threading.Event()

    class Slow(Two):
        def __init__(self) -> None:
            if where == "__init__":
                release.wait(30)

        @bentoml.on_startup
        def warm_up(self) -> None:
            if where == "startup hook":
                release.wait(30)

        @bentoml.on_startup
        async def warm_up_too(self) -> None:
            while where == "async startup hook" and not release.is_set():  # noqa: ASYNC110 - set in a thread
                await asyncio.sleep(0.01)

    app = serve(service(Slow))
    assert state(app)[0] == "starting"
    assert marks(app.post("/predict", {"x": 1}))["reason"] == "unavailable"
    release.set()
    deadline = time.monotonic() + 20
    while state(app)[0] != "ready":
        assert time.monotonic() < deadline, state(app)
        time.sleep(0.01)
    assert app.post("/predict", {"x": 1}).text == "two"


@pytest.mark.parametrize("needs", ["running loop", "event loop", "task"])
def test_a_candidate_may_need_the_running_loop(needs: str, serve: Serve) -> None:
    """An `__init__` or hook that uses the event loop gets it, as in BentoML."""

    class Looping(Two):
        def __init__(self) -> None:
            if needs == "running loop":
                self.loop = asyncio.get_running_loop()
            elif needs == "event loop":
                self.loop = asyncio.get_event_loop()
            else:
                self.task = asyncio.ensure_future(asyncio.sleep(0))

        @bentoml.on_startup
        def warm_up(self) -> None:
            asyncio.get_running_loop()

    app = serve(service(Looping))
    assert state(app) == ("ready", "")
    assert app.post("/predict", {"x": 1}).text == "two"


def test_a_failed_candidate_that_was_flipped_to_leaves_the_old_champion(serve: Serve) -> None:
    """A worker that starts when the champion in the state cannot load serves with the champion before it."""
    from bento_rollout import open_rollout

    app = serve(service(Two), store="shared.db")
    open_rollout("failing").flip(to="two")
    assert app.post("/predict", {"x": 1}).text == "two"
    again = serve(service(RaisesInInit), store="shared.db")
    answer = again.post("/predict", {"x": 1})
    assert (answer.text, marks(answer)["reason"]) == ("one", "unavailable")
