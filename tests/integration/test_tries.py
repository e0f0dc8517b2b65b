"""Tries over a real server with real traffic: each harm is rolled back, and what is good is promoted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.callers import Answer, Load
from tests.integration.running import Server, fresh, serving, until

TARGET = "tests.integration.apps.tried:Tried"
FEW = 4
KEYS = [f"user-{number}" for number in range(200_000)]


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service of two workers whose candidate behaves as a file says."""
    folder = fresh(tmp_path_factory.mktemp("tried"))
    place = {"TRIED_PLACE": str(folder)}
    with serving(TARGET, folder, rollout="tried", workers=2, environment=place) as server:
        server.ready()
        until(lambda: states(server) == {"ready"}, "the candidate is ready")
        yield server


def states(server: Server) -> set[str]:
    """Return what the variants are."""
    return {row["state"] for row in server.operator().status()["variants"].values()}


def behave(server: Server, **how: Any) -> None:
    """Let the candidate behave like this from now on."""
    draft = server.folder / "behaviour.draft"
    draft.write_text(json.dumps(how))
    draft.replace(server.folder / "behaviour.json")


def load(server: Server) -> Load:
    """Callers who never come twice."""
    return Load(server.port, FEW, "/score", keys=KEYS)


def attempt(server: Server) -> dict[str, Any]:
    """Return how the try stands."""
    found: dict[str, Any] = server.operator().status()["try"]
    return found


def begin(server: Server) -> None:
    """Try the candidate anew."""
    operator = server.operator()
    last = operator.state.attempt
    if last is None or last.position.stage.value == "done":
        operator.start("trying", reason="a test")
    else:
        operator.retry(reason="a test")


def actions(server: Server, since: int) -> list[tuple[str, str, dict[str, float]]]:
    """Return author, action and weights of the revisions since one, oldest first."""
    rows = [row for row in server.operator().history_rows() if row["revision"] > since]
    return [(row["author"], row["action"], row["weights"]) for row in reversed(rows)]


def rolled_back(server: Server, cause: str) -> list[Answer]:
    """Try the candidate under load until it is rolled back by itself; return the answers."""
    begin(server)
    with load(server) as callers:
        until(lambda: not attempt(server)["runs"], f"{cause} is found", 120)
        state = server.operator().state
        assert (state.champion, state.weights.get("trying", 0)) == ("steady", 0), attempt(server)
    assert attempt(server)["stage"] == "rolled_back"
    told = server.operator().explain()
    assert cause in told["causes"], told
    assert told["guardrails"][cause]["finding"] == "harmful"
    return callers.answers


def test_a_candidate_that_fails_is_rolled_back(tried: Server) -> None:
    """It fails a fifth of its calls; nobody else's fail."""
    behave(tried, fails=0.2)
    answers = rolled_back(tried, "error_rate")
    lost = [answer for answer in answers if answer.status != 200]
    assert {answer.variant for answer in lost} <= {"trying"}
    assert len(lost) < 100, len(lost)


def test_a_slow_candidate_is_rolled_back(tried: Server) -> None:
    """It takes three times as long."""
    behave(tried, slower=3)
    answers = rolled_back(tried, "latency")
    assert not [answer for answer in answers if answer.status != 200]


def test_a_candidate_that_measures_worse_is_rolled_back(tried: Server) -> None:
    """It doubts most of what it says."""
    behave(tried, doubts=0.9)
    rolled_back(tried, "doubt")


def test_a_good_candidate_goes_up_by_itself_and_is_promoted(tried: Server) -> None:
    """From 1 to 5, 25, 50 percent, then all but the holdback, then all; no request fails."""
    behave(tried)
    since = tried.operator().state.revision
    begin(tried)
    with load(tried) as callers:
        until(lambda: not attempt(tried)["runs"], "it is over", 180)
    assert not callers.failures
    assert attempt(tried)["stage"] == "done", attempt(tried)
    told = [(author, action) for author, action, _ in actions(tried, since)]
    ways = ("advance", "advance", "advance", "promote", "end_bake")
    assert told[1:] == [("evidence", name) for name in ways]
    weights = [weights for _, _, weights in actions(tried, since)]
    assert [one.get("trying", 0) for one in weights[:4]] == [1, 5, 25, 50]
    assert weights[4] == {"steady": 10}
    assert not any(weights[5].values())
    state = tried.operator().state
    assert (state.champion, state.is_settled) == ("trying", True)
    tried.operator().flip(to="steady", reason="back for the other tests")
