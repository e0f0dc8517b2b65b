"""A candidate that comes with new code under its old name: nobody reaches it until a person grants it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import bentoml
import pytest
from bentoml.models import BentoModel

from bento_rollout import RolloutSpec, Variant, open_rollout, rollout
from bento_rollout.cli import main
from bento_rollout.telemetry import log
from tests.contract.serving import Served, marks

Serve = Callable[..., Served]

PIN = {"X-Rollout-Variant": "two"}


class Greeter:
    """Has an attribute to replace."""

    word = "one"

    @bentoml.api
    def greet(self, who: str) -> str:
        return f"{self.word} {who}"


@pytest.fixture
def deployed(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Served]:
    """Deploy the service anew, over the same store, with this code under the name ``two``."""
    monkeypatch.setenv("BENTO_ROLLOUT_SINGLE_REPLICA", "1")
    for name in ("BENTO_ROLLOUT_PINS", "BENTO_ROLLOUT_BROKEN"):  # written by a start
        monkeypatch.setenv(name, "{}")
    running: list[Served] = []

    def deploy(word: str) -> Served:
        if running:
            running.pop().site.serving._worker.stop()  # it is no live worker any more
        service: Any = bentoml.service(name="held")(Greeter)
        parsed = RolloutSpec.parse({"routing": {"key": "field:who", "override_header": True}})
        rollout(champion="one", candidates={"two": Variant(attributes={"word": word})}, spec=parsed)(service)
        running.append(serve(service, store="held.db"))
        return running[0]

    return deploy


def answer(app: Served, **headers: str) -> tuple[str, str, str]:
    """Return the answer to one call, who answered, and why."""
    response = app.post("/greet", json={"who": "u1"}, headers=headers)
    return response.text, marks(response)["variant"], marks(response)["reason"]


def test_a_pin_reaches_new_code_after_a_grant_without_traffic(deployed: Callable[[str], Served]) -> None:
    """`weight NAME=0` grants new code without traffic: smoke-test it by a pin, then raise its weight."""
    app = deployed("two")
    assert answer(app, **PIN) == ("two u1", "two", "pinned")
    app = deployed("two again")
    assert answer(app, **PIN) == ("one u1", "one", "unavailable")
    assert main(["weight", "held", "two=0"]) == 0
    assert answer(app, **PIN) == ("two again u1", "two", "pinned")
    assert answer(app) == ("one u1", "one", "default")
    assert main(["weight", "held", "two=100"]) == 0
    assert answer(app) == ("two again u1", "two", "split")


def test_undo_shuts_new_code_out_again(deployed: Callable[[str], Served]) -> None:
    """Taking a grant back is seen by the next request, and so is taking that back."""
    app = deployed("two")
    open_rollout("held").set_weights({"two": 100})
    app = deployed("two again")
    open_rollout("held").set_weights({"two": 100})
    assert answer(app)[1:] == ("two", "split")
    open_rollout("held").undo()
    assert answer(app)[1:] == ("one", "unavailable")
    assert app.predictions[-1].plans[0].missed is None  # it is held back, and no fault of its own
    open_rollout("held").undo()
    assert answer(app)[1:] == ("two", "split")


def test_a_start_says_what_is_held(
    deployed: Callable[[str], Served], capsys: pytest.CaptureFixture[str]
) -> None:
    """A start with new code says whose weight waits, how much it is, and the command that grants it."""
    deployed("two")
    open_rollout("held").set_weights({"two": 12.5})
    app = deployed("two again")
    capsys.readouterr()

    def said() -> dict[str, Any]:
        app.site.deploy()
        assert log.WRITER.flush(30)
        lines = (line for line in capsys.readouterr().err.splitlines() if line.startswith("{"))
        (found,) = [found for line in lines if (found := json.loads(line))["event"] == "rollout.held"]
        return dict(found)

    held = said()
    assert (held["level"], held["rollout"], held["variant"], held["weight"]) == (
        "warning",
        "held",
        "two",
        12.5,
    )
    program, *arguments = held["hint"].partition("granted: ")[2].split()
    assert (program, main(arguments)) == ("bento-rollout", 0)
    assert answer(app, **PIN)[1:] == ("two", "pinned")
    with pytest.raises(ValueError, match="not enough values"):
        said()
    app = deployed("two once more")
    open_rollout("held").rollback()
    capsys.readouterr()
    assert said()["level"] == "info"  # nobody misses it


class Stored:
    """Has a model."""

    number = BentoModel("held_numbers:v1")

    @bentoml.api
    def predict(self) -> str:
        return str(self.number)


def test_status_shows_the_models_of_variants(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    """Each variant has the tags of its models, in JSON and in a column for people."""
    for version in ("v1", "v2"):
        with bentoml.models.create(f"held_numbers:{version}"):
            pass
    service: Any = bentoml.service(name="models")(Stored)
    rollout(champion="one", candidates={"two": Variant(model="held_numbers:v2")})(service)
    serve(service)
    variants = open_rollout("models").status()["variants"]
    assert {name: row["models"] for name, row in variants.items()} == {
        "one": ["held_numbers:v1"],
        "two": ["held_numbers:v2"],
    }
    capsys.readouterr()
    main(["status", "models"])
    out = capsys.readouterr().out
    assert "MODEL" in out
    assert "held_numbers:v2" in out
