"""A candidate in a service of its own: the same answers, over a socket, and a fate of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import bentoml
import pytest

from tests.contract import kinds, kinds_apart
from tests.contract.apart import Callee
from tests.contract.serving import Served, bare_part, forget_metrics, marks
from tests.contract.test_beside import settled

CASES = [*(("plain", case) for case in kinds.PLAIN), *(("context", case) for case in kinds.CONTEXT)]
NAMES = {"plain": "plain_two", "context": "context_two", "own": "kinds_two", "own_guarded": "kinds_two"}

Callees = dict[str, Callee]


@pytest.fixture(scope="module")
def callees(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callees]:
    """The candidates' services."""
    folder = tmp_path_factory.mktemp("apart")
    targets = {"plain_two": "PLAIN", "context_two": "CONTEXT", "kinds_two": "OWN"}
    made = {
        name: Callee(f"tests.contract.kinds_apart:{target}", name, folder).start()
        for name, target in targets.items()
    }
    yield made
    for callee in made.values():
        callee.stop()


@pytest.fixture(scope="module")
def service(callees: Callees, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Served]]:
    """Start each service once, when it is first asked for, and wait until its candidate is ready."""
    started: dict[str, Served] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENTO_ROLLOUT_STORE", f"sqlite:///{tmp_path_factory.mktemp('apart') / 'store.db'}")

        def get(which: str) -> Served:
            if which not in started:
                bare = {"plain": kinds.Kinds, "context": kinds.KindsInContext}
                made: Any = getattr(kinds_apart, which.upper(), None)
                if which.startswith("bare-"):
                    made = bentoml.service(name="kinds")(bare[which.removeprefix("bare-")])
                started[which] = Served(made).start()
                if not which.startswith("bare-"):
                    settled(started[which])
                forget_metrics()
            return started[which]

        yield get
        for one in started.values():
            one.stop()


@pytest.mark.parametrize(("which", "case"), CASES)
def test_whole_responses_are_those_of_the_bare_service(
    which: str, case: str, service: Callable[[str], Served]
) -> None:
    """Status, body and headers are the bare service's, byte for byte, for every kind of endpoint."""
    request: dict[str, Any] = {"method": "POST", **(kinds.PLAIN if which == "plain" else kinds.CONTEXT)[case]}
    headers: dict[str, str] = request.get("headers", {})
    request["headers"] = {"x-say": "hello", **headers}
    expected = service(f"bare-{which}").request(**request)
    forget_metrics()
    answer = service(which).request(**request)
    assert bare_part(answer) == bare_part(expected)
    assert marks(answer).get("variant", "two") == "two"
