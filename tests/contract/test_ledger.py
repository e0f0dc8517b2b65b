"""What a service's predictions leave in the ledger: real calls, rows, tasks, fallbacks and shadows."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import bentoml
import numpy as np
import pytest
from starlette.responses import JSONResponse

from bento_rollout import RolloutSpec, Variant, rollout
from bento_rollout.opening import open_store
from bento_rollout.store.ledger import Ledger
from bento_rollout.store.ledger_joins import Story
from bento_rollout.store.location import locate
from tests.contract.serving import Served, marks

SPEC = {
    "name": "kept",
    "routing": {
        "key": {"*": "header:x-user", "rows": "rows:rows.user"},
        "inference_id": {"rows": "rows:rows.id"},
        "override_header": True,
    },
    "weights": {"two": 50},
    "variants": {"two": {"timeout": 1, "fallback": "champion"}},
    "shadow": {"two": {"percent": 100, "endpoints": ["sync", "own"]}},
    "ledger": {"inputs": True},
}


class Kept:
    """Answers with its word."""

    word = "one"

    @bentoml.api
    def sync(self, how: str) -> dict[str, str]:
        if how == "raises" and self.word == "two":
            raise RuntimeError("a bug")
        return {"word": self.word}

    @bentoml.api
    def own(self, how: str) -> Any:
        return JSONResponse({"own": self.word})

    @bentoml.api
    def rows(self, rows: list[dict[str, str]], level: float) -> list[str]:
        if level < 0 and self.word == "two":
            raise RuntimeError("a bug")
        return [f"{self.word} {row['user']}" for row in rows]

    @bentoml.api
    def array(self, rows: np.ndarray) -> np.ndarray:
        return rows * 2

    @bentoml.task
    def job(self, how: str) -> dict[str, str]:
        return {"done": how}


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The service."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENTO_ROLLOUT_STORE", f"sqlite:///{tmp_path_factory.mktemp('kept') / 'store.db'}")
        service = rollout(
            champion="one",
            candidates={"two": Variant(attributes={"word": "two"})},
            spec=RolloutSpec.parse(SPEC),
        )(bentoml.service(name="kept")(Kept))
        served = Served(service).start()
        yield served
        served.stop()


def ledger() -> Ledger:
    """The ledger of the service."""
    return Ledger(open_store(locate()).place("kept"))


def story(name: str, *, shadows: int = 0) -> Story:
    """Return what is known of a prediction, as soon as it is."""
    until = time.monotonic() + 20
    while True:
        try:
            found = ledger().story(name)
            if len(found.shadows) >= shadows:
                return found
        except LookupError:
            pass
        assert time.monotonic() < until, "it did not come"
        time.sleep(0.02)


def asked(app: Served, path: str, body: Any, **headers: str) -> str:
    """Ask, and return the prediction's id."""
    answer = app.post(path, body, headers={name.replace("_", "-"): value for name, value in headers.items()})
    return marks(answer)["prediction-id"]


def test_a_call(app: Served) -> None:
    """Who answered whom and what, found by either id, by the key and by its shadow."""
    pinned = {"x_rollout_variant": "one", "x_user": "ann", "x_rollout_inference_id": "tx-1"}
    name = asked(app, "/sync", {"how": "well"}, **pinned)
    found = story("tx-1", shadows=1)
    entry = found.prediction
    assert (entry.prediction_id, entry.variant, entry.reason, entry.endpoint) == (
        name,
        "one",
        "pinned",
        "sync",
    )
    assert (entry.outcome, entry.status, entry.output) == ("ok", 200, {"word": "one"})
    assert (entry.inputs, entry.key_hash) == ({"how": "well"}, ledger().key_hash("ann"))
    (verdict,) = found.shadows
    assert (verdict.variant, verdict.relation, verdict.output) == ("two", "differ", {"word": "two"})


def test_a_response_of_its_own(app: Served) -> None:
    """What a shadow answers by itself is told as the champion's is."""
    name = asked(app, "/own", {"how": "well"}, x_rollout_variant="one")
    found = story(name, shadows=1)
    assert (found.prediction.output, found.shadows[0].output) == ({"own": "one"}, {"own": "two"})


def test_a_fallback(app: Served) -> None:
    """Who failed before is there."""
    entry = story(asked(app, "/sync", {"how": "raises"}, x_rollout_variant="two")).prediction
    assert (entry.variant, entry.reason, entry.outcome) == ("one", "fallback", "ok")
    assert [(run.variant, run.outcome, run.error) for run in entry.runs] == [("two", "error", "RuntimeError")]


def test_rows(app: Served) -> None:
    """Each has its own key, answer and part of the input."""
    rows = [{"user": f"u{number}", "id": f"r{number}"} for number in range(20)]
    name = asked(app, "/rows", {"rows": rows, "level": 0.5})
    for number in (0, 7, 19):
        entry = story(f"r{number}").prediction
        assert entry.prediction_id == f"{name}.{number}"
        assert entry.output == f"{entry.variant} u{number}"
        assert entry.inputs == {"rows": rows[number], "level": 0.5}
        assert entry.key_hash == ledger().key_hash(f"u{number}")
    assert ledger().forget("u7").gone.predictions == 1


def test_rows_that_were_answered_again(app: Served) -> None:
    """The candidate's failure is a run before; outcome, error and time are the champion's."""
    rows = [{"user": f"f{number}", "id": f"f{number}"} for number in range(12)]
    asked(app, "/rows", {"rows": rows, "level": -1})
    told = [story(f"f{number}").prediction for number in range(12)]
    again = [one for one in told if one.reason == "fallback"]
    assert again
    for one in again:
        assert (one.variant, one.outcome, one.error) == ("one", "ok", None)
        assert [(run.variant, run.outcome, run.error) for run in one.runs] == [
            ("two", "error", "RuntimeError")
        ]
    assert {one.runs for one in told if one.reason != "fallback"} <= {()}


def test_an_array(app: Served) -> None:
    """Inputs and outputs are lists."""
    entry = story(asked(app, "/array", {"rows": [[1, 2]]}, x_rollout_variant="one")).prediction
    assert (entry.inputs, entry.output) == ({"rows": [[1, 2]]}, [[2, 4]])


def test_a_task(app: Served) -> None:
    """What it returned."""
    entry = story(asked(app, "/job/submit", {"how": "well"})).prediction
    assert (entry.output, entry.task_id is None, entry.status) == ({"done": "well"}, False, 0)


def test_nothing_is_kept_without_a_ledger(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """``ledger: false`` makes no file, and no secret."""
    monkeypatch.setenv("BENTO_ROLLOUT_STORE", f"sqlite:///{tmp_path / 'store.db'}")
    service = rollout(champion="one", spec=RolloutSpec.parse({"name": "kept", "ledger": False}))(
        bentoml.service(name="unkept")(Kept)
    )
    served = Served(service).start()
    served.post("/sync", {"how": "well"})
    served.stop()
    assert list(tmp_path.rglob("ledger*")) == list(tmp_path.rglob("hash.key")) == []


def test_what_was_told_is_written_when_the_worker_ends(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing that was answered is lost."""
    monkeypatch.setenv("BENTO_ROLLOUT_STORE", f"sqlite:///{tmp_path / 'store.db'}")
    service = rollout(champion="one", spec=RolloutSpec.parse({"name": "kept"}))(
        bentoml.service(name="ending")(Kept)
    )
    served = Served(service).start()
    for _ in range(20):
        served.post("/sync", {"how": "well"})
    served.stop()
    assert ledger().counts().predictions == 20
