"""Tries of a candidate in a process of its own: it watches first, then it answers, and labels come later."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.integration.callers import Load
from tests.integration.running import ROOT, Server, fresh, serving, until
from tests.integration.test_tries import TARGET, actions, attempt, begin, behave, load, states

pytestmark = pytest.mark.server

SPEC = ROOT / "tests/integration/apps/elsewhere.yaml"


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service whose candidate has a process of its own, and behaves as a file says."""
    folder = fresh(tmp_path_factory.mktemp("elsewhere"))
    environment = {
        "TRIED_PLACE": str(folder),
        "TRIED_WORKERS": "1",
        "TRIED_RUNNER": "process",
        "TRIED_SPEC": str(SPEC),
    }
    with serving(TARGET, folder, rollout="tried", workers=1, environment=environment) as server:
        server.ready()
        until(lambda: states(server) == {"ready"}, "the candidate is ready")
        yield server


def over(server: Server, cause: str) -> None:
    """Wait until the try was rolled back for this cause."""
    until(lambda: not attempt(server)["runs"], f"{cause} is found", 120)
    assert attempt(server)["stage"] == "rolled_back", attempt(server)
    assert server.operator().explain()["causes"] == [cause]
    state = server.operator().state
    assert (state.champion, state.percents.get("trying", 0)) == ("steady", 0)


def weighs(server: Server) -> None:
    """Wait until the candidate answers calls."""
    until(lambda: server.operator().state.percents.get("trying"), "it has watched enough", 90)


def test_a_candidate_that_disagrees_never_answers(elsewhere: Server) -> None:
    """It is rolled back while it watches; nobody saw an answer of it."""
    behave(elsewhere, disagrees=0.6)
    since = elsewhere.operator().state.revision
    begin(elsewhere)
    with load(elsewhere) as callers:
        over(elsewhere, "agreement")
    assert not callers.failures
    assert {answer.variant for answer in callers.answers} == {"steady"}
    assert [action for _, action, _ in actions(elsewhere, since)][1:] == ["rollback"]


def test_a_candidate_that_dies_again_and_again(elsewhere: Server) -> None:
    """Calls that were drawn for it count as its errors, whoever answered them."""
    behave(elsewhere)
    begin(elsewhere)
    with load(elsewhere) as callers:
        weighs(elsewhere)
        behave(elsewhere, dies=0.3)
        over(elsewhere, "error_rate")
    behave(elsewhere)
    assert not callers.failures, "the champion answered for it"
    until(lambda: states(elsewhere) == {"ready"}, "the candidate is ready", 120)


@contextmanager
def labelled(server: Server, callers: Load) -> Iterator[None]:
    """Tell of each answer what the truth was: the number 0 is even."""
    stop, told = threading.Event(), set[str]()
    operator = server.operator("truth")

    def tell() -> None:
        while not stop.wait(0.2):
            new = {answer.prediction for answer in [*callers.answers] if answer.prediction} - told
            if new:
                operator.label([{"prediction_id": one, "label": 1} for one in new])
                told.update(new)

    thread = threading.Thread(target=tell)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def test_a_candidate_whose_labels_turn_out_worse(elsewhere: Server) -> None:
    """It was fine as long as it watched, and nobody fails: the truth comes a second later."""
    behave(elsewhere)
    begin(elsewhere)
    with load(elsewhere) as callers, labelled(elsewhere, callers):
        weighs(elsewhere)
        behave(elsewhere, disagrees=0.6)
        over(elsewhere, "label.correct")
    behave(elsewhere)
    assert not callers.failures
    numbers = elsewhere.operator().explain()["guardrails"]["label.correct"]["numbers"]
    assert numbers["trial_rate"] > numbers["control_rate"]
