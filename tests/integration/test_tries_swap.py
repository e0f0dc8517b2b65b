"""Blue/green by evidence over a real server: flip, bake beside a holdback, and back on harm."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.running import ROOT, Server, fresh, serving, until
from tests.integration.test_tries import TARGET, actions, attempt, begin, behave, load, states

pytestmark = pytest.mark.server

SPEC = ROOT / "tests/integration/apps/swap.yaml"


@pytest.fixture(scope="module")
def swapped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service whose strategy is blue/green."""
    folder = fresh(tmp_path_factory.mktemp("swap"))
    environment = {"TRIED_PLACE": str(folder), "TRIED_WORKERS": "1", "TRIED_SPEC": str(SPEC)}
    with serving(TARGET, folder, rollout="tried", workers=1, environment=environment) as server:
        server.ready()
        until(lambda: states(server) == {"ready"}, "the candidate is ready")
        yield server


def test_harm_after_the_flip_flips_back(swapped: Server) -> None:
    """All traffic but the holdback is its at once; when it fails then, all of it goes back."""
    behave(swapped)
    since = swapped.operator().state.revision
    begin(swapped)
    state = swapped.operator().state
    assert (state.champion, state.percents) == ("trying", {"steady": 30})
    with load(swapped) as callers:
        until(lambda: attempt(swapped)["guardrails"]["error_rate"]["numbers"].get("trial"), "it is counted")
        assert not callers.failures
        behave(swapped, fails=0.4)
        until(lambda: not attempt(swapped)["runs"], "the harm is found", 120)
    state = swapped.operator().state
    assert (attempt(swapped)["stage"], state.champion) == ("rolled_back", "steady")
    assert not any(state.weights.values())
    assert [(who, what) for who, what, _ in actions(swapped, since)][1:] == [("evidence", "rollback")]
    assert {answer.variant for answer in callers.failures} <= {"trying"}


def test_a_good_one_bakes_and_is_done(swapped: Server) -> None:
    """It has all traffic after the bake."""
    behave(swapped)
    since = swapped.operator().state.revision
    begin(swapped)
    with load(swapped) as callers:
        until(lambda: not attempt(swapped)["runs"], "it is over", 120)
    assert not callers.failures
    state = swapped.operator().state
    assert (attempt(swapped)["stage"], state.champion, state.is_settled) == ("done", "trying", True)
    assert [(who, what) for who, what, _ in actions(swapped, since)][1:] == [("evidence", "end_bake")]
