"""A start whose spec asks for other state than the store has says what to do about it, in words that work."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import bentoml
import pytest

from bento_rollout import RolloutSpec, Variant, open_rollout, rollout
from bento_rollout.bento.decorator import site_of
from bento_rollout.cli import main
from bento_rollout.errors import InvalidSpec
from bento_rollout.opening import first_commit, open_state
from bento_rollout.specfile import load_with_digest
from bento_rollout.store.sqlite import SQLiteStore


class Greeter:
    """Has an attribute to replace."""

    word = "one"

    @bentoml.api
    def greet(self) -> str:
        return self.word


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SQLiteStore:
    """A store that knows ``greeter`` without any weight."""
    monkeypatch.setenv("BENTO_ROLLOUT_STORE", f"sqlite:///{tmp_path / 'store.db'}")
    monkeypatch.setenv("BENTO_ROLLOUT_SINGLE_REPLICA", "1")
    for name in ("BENTO_ROLLOUT_PINS", "BENTO_ROLLOUT_BROKEN"):  # written by a start
        monkeypatch.setenv(name, "{}")
    store = SQLiteStore(tmp_path / "store.db", create=True)
    store.commit(first_commit("greeter", "one", RolloutSpec(), {"one": "1", "two": "2"}), after=0)
    return store


def warning(
    spec: Any, capsys: pytest.CaptureFixture[str], event: str = "rollout.spec_differs"
) -> dict[str, Any]:
    """What a start with this spec warns of."""
    service: Any = bentoml.service(name="greeter")(Greeter)
    rollout(champion="one", candidates={"two": Variant(attributes={"word": "two"})}, spec=spec)(service)
    site = site_of(service)
    assert site is not None
    site.deploy()
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines() if line.startswith("{")]
    (found,) = [line for line in lines if line["event"] == event]
    return dict(found)


def test_the_command_that_is_named_works(
    tmp_path: Path, store: SQLiteStore, capsys: pytest.CaptureFixture[str]
) -> None:
    """The warning names the file, also one with a space in its path, and the command that applies it."""
    file = tmp_path / "my specs" / "rollout.yaml"
    file.parent.mkdir()
    file.write_text("name: greeter\nweights: {two: 5}\n")
    said = warning(file, capsys)
    assert said["spec"] == str(file)
    assert "weights" in str(said["differences"])
    program, *arguments = shlex.split(said["hint"].partition("the state: ")[2])
    assert program == "bento-rollout"
    Path(store.place("greeter") / "service.json").write_text(
        json.dumps({"token": "1-x", "pid": 1, "worker": 1, "service": "greeter", "revision": 1,
                    "variants": {name: {"state": "ready", "runner": "worker", "digest": str(number)}
                                 for number, name in enumerate(("one", "two"), 1)}})
    )  # fmt: skip
    assert main(arguments) == 0
    assert open_rollout("greeter").state.percents == {"two": 5}


def test_what_apply_would_lack_is_said(
    tmp_path: Path, store: SQLiteStore, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file without a name cannot be applied as it stands, and a spec in Python is no file."""
    file = tmp_path / "rollout.yaml"
    file.write_text("weights: {two: 5}\n")
    assert "adding `name: greeter`" in warning(file, capsys)["hint"]
    said = warning(RolloutSpec(weights={"two": 5}), capsys)
    assert said["spec"] is None
    assert "open_rollout('greeter').apply(spec)" in said["hint"]


def test_who_is_missing_is_named_with_the_command(
    store: SQLiteStore, capsys: pytest.CaptureFixture[str]
) -> None:
    """A start names who is in the state and not in the code, its weight, and what takes it out."""
    commit = first_commit("greeter", "one", RolloutSpec(), {"one": "1", "two": "2", "three": "3"})
    lost = commit.state.set_weights({"three": 5000}, ("three",)).set_shadow({"four": 1000}, ("four",))
    state = lost.model_copy(update={"revision": 2})
    store.commit(commit.model_copy(update={"state": state, "parent": 1}), after=1)
    said = warning(None, capsys, "rollout.missing")
    assert (said["variants"], said["weights"]) == (["four", "three"], {"four": 0, "three": 5})
    ways = [shlex.split(way) for way in said["hint"].partition("take them out: ")[2].split(", ")]
    for program, *arguments in ways:
        assert program == "bento-rollout"
        assert main(arguments) == 0
    assert open_rollout("greeter").state.named == {"one"}


def automated(file: Path, degree: str) -> None:
    """Write a spec that automates ``greet``."""
    review = "{choices: [one, two], inputs: plain, on_timeout: wait, overflow: {max_open: 9, action: reject}}"
    file.write_text(
        f"name: greeter\nautomation:\n  greet: {{degree: {degree}, target_error: 2%, review: {review}}}\n"
    )


@pytest.mark.parametrize("degree", ["partial", "full"])
def test_a_degree_that_nobody_earned_stops_the_start(
    tmp_path: Path, store: SQLiteStore, capsys: pytest.CaptureFixture[str], degree: str
) -> None:
    """The error names file and field, and what to do; before that nothing is served."""
    file = tmp_path / "rollout.yaml"
    automated(file, degree)
    told = rf"{file}: automation\.greet\.degree: {degree} needs a threshold .* this very model \("
    with pytest.raises(InvalidSpec, match=told):
        warning(file, capsys)


def test_the_degree_of_the_state_wins_and_is_told(
    tmp_path: Path, store: SQLiteStore, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also a spec that asks for a degree which people have set by now starts, whatever is certified."""
    file = tmp_path / "rollout.yaml"
    automated(file, "shadow")
    spec, _ = load_with_digest(file)
    open_state(store, "greeter", "one", spec, {"one": "1", "two": "2"})
    automated(file, "partial")
    (differs,) = warning(file, capsys)["differences"]
    assert differs == "automation.greet.degree: the spec asks for partial, the state has shadow"
