"""Every endpoint kind answers as on the bare service, whoever answers: whole responses are compared."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import bentoml
import pytest

from bento_rollout import RolloutSpec, Variant, rollout
from tests.contract.kinds import CONTEXT, PLAIN, Kinds, KindsInContext
from tests.contract.serving import Served, bare_part, forget_metrics

SPECS: dict[str, dict[str, Any]] = {
    "champion": {},
    "candidate": {"weights": {"two": 100}},
    "guarded candidate": {
        "weights": {"two": 100},
        "variants": {"two": {"timeout": "30s", "fallback": "champion"}},
    },
}
CLASSES = {"plain": Kinds, "context": KindsInContext}


def served(cls: type, who: str) -> Served:
    """Start the bare service of a class, or one whose every request is answered by champion or candidate."""
    service: Any = bentoml.service(name="kinds")(cls)
    if who != "bare":
        candidate = Variant(bentoml.service(name="kinds_two")(cls), twin=True)
        name = f"kinds-{cls.__name__}-{who}".replace(" ", "-")
        spec = RolloutSpec.parse({"name": name, **SPECS[who]})
        rollout(champion="one", candidates={"two": candidate}, spec=spec)(service)
    return Served(service).start()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str, str], Served]]:
    """Start each service once, when it is first asked for."""
    started: dict[tuple[str, str], Served] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENTO_ROLLOUT_STORE", f"sqlite:///{tmp_path_factory.mktemp('kinds') / 'store.db'}")

        def get(which: str, who: str) -> Served:
            if (which, who) not in started:
                started[which, who] = served(CLASSES[which], who)
            return started[which, who]

        yield get
        for one in started.values():
            one.stop()


@pytest.mark.parametrize("who", SPECS)
@pytest.mark.parametrize(
    ("which", "case"), [*(("plain", case) for case in PLAIN), *(("context", case) for case in CONTEXT)]
)
def test_whole_responses_are_those_of_the_bare_service(
    which: str, case: str, who: str, service: Callable[[str, str], Served]
) -> None:
    """Status, body and headers are the bare service's, byte for byte, apart from our own headers and ids."""
    request = {"method": "POST", **(PLAIN if which == "plain" else CONTEXT)[case]}
    request["headers"] = {"x-say": "hello", **request.get("headers", {})}
    expected = service(which, "bare").request(**request)
    forget_metrics()
    answer = service(which, who).request(**request)
    forget_metrics()
    assert bare_part(answer) == bare_part(expected)
