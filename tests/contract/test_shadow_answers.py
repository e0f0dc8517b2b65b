"""Answers and comparators that nobody should write: no caller is harmed, and no payload is kept."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
import time
from collections import UserList
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bentoml
import pytest
from pydantic import BaseModel

from bento_rollout import RolloutSpec, open_rollout, rollout
from tests.contract.serving import Served

Serve = Callable[..., Served]

CACHED: dict[str, Any] = {"time": 1, "score": 0.5}
"""What the champion answers with, call after call."""


class Endless(UserList):  # type: ignore[type-arg]  # as a user writes it
    """Its iterator, which is no Python code, has no end."""

    def __iter__(self) -> Iterator[Any]:
        return itertools.repeat(0)


class Exits(BaseModel):
    """An input whose copy ends the process."""

    x: int = 1

    def __deepcopy__(self, memo: Any = None) -> Any:
        raise SystemExit("no")


class Champion:
    """Answers as it should."""

    @bentoml.api
    def cached(self, number: int) -> dict[str, Any]:
        return CACHED

    @bentoml.api
    def listed(self, number: int) -> list[int]:
        return [0]

    @bentoml.api
    def exits(self, value: Exits) -> int:
        return value.x

    @bentoml.api
    def patients(self, name: str) -> dict[str, Any]:
        return {"by": {name: 0.5}}

    @bentoml.api
    def file(self, file: Path) -> int:
        return 1


class Candidate(Champion):
    """Answers what is hard to compare."""

    @bentoml.api
    def cached(self, number: int) -> dict[str, Any]:
        return {"time": 2, "score": 0.5}

    @bentoml.api
    def listed(self, number: int) -> list[int]:
        return Endless()  # type: ignore[return-value]  # as a user does it

    @bentoml.api
    def patients(self, name: str) -> dict[str, Any]:
        return {"by": {name: 0.75}}


def service(**shadow: Any) -> Any:
    """Return the decorated service."""
    made = bentoml.service(name="watched")(type("Champion", (Champion,), {}))
    candidate = bentoml.service(name="candidate")(type("Candidate", (Candidate,), {}))
    spec = RolloutSpec(
        name="watched",
        routing={"key": "header:x-key"},
        shadow={"two": {"percent": 100, "max_cpu": None, **shadow}},
    )
    return rollout(champion="one", candidates={"two": candidate}, spec=spec)(made)


def report(done: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    """Return the candidate's part of the report once something is true of it."""
    until = time.monotonic() + 20
    while True:
        found: dict[str, Any] = open_rollout("watched").shadow_report()["candidates"]["two"]
        if done(found):
            return found
        assert time.monotonic() < until, found
        time.sleep(0.05)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_a_comparator_that_ends_the_process_ends_nothing(serve: Serve, error: type[BaseException]) -> None:
    """It runs in a thread, where no Ctrl-C of a person is raised; each call is counted."""

    def ends(_: Any, __: Any) -> bool:
        raise error("x")

    app = serve(service(compare=ends))
    for number in range(2):
        assert app.post("/cached", {"number": number}).status_code == 200
    found = report(lambda row: sum(row["not_comparable"].values()) == 2)
    assert found["not_comparable"] == {error.__name__: 2}


@pytest.mark.parametrize("compare", ["close", "exact", "json", "set", "label"])
def test_an_answer_without_end_holds_nobody_up(serve: Serve, compare: str) -> None:
    """The interpreter is not held, and no memory is filled."""
    app = serve(service(compare=compare, timeout="10s"))
    for number in range(2):
        assert app.post("/listed", {"number": number}).status_code == 200
    assert report(lambda row: row["not_comparable"])["not_comparable"].keys() == {"size"}


def test_a_comparator_changes_nobodys_answer(serve: Serve) -> None:
    """The champion keeps what it answers with, and later callers get the same."""

    def changes(champion: dict[str, Any], candidate: dict[str, Any]) -> bool:
        return champion.pop("time") != candidate.pop("time") and champion == candidate

    app = serve(service(compare=changes))
    for calls in (1, 2):
        assert app.post("/cached", {"number": 1}).json() == {"time": 1, "score": 0.5}
        report(lambda row, calls=calls: row["agreed"] == calls)  # type: ignore[misc]  # mypy knows no such lambda


def test_an_input_whose_copy_ends_the_process_ends_nothing(serve: Serve) -> None:
    """It is shared then, as what cannot be copied is."""
    app = serve(service(copy=True))
    assert app.post("/exits", {"value": {"x": 3}}).json() == 3
    assert report(lambda row: row["compared"])["agreed"] == 1


@pytest.mark.parametrize("name", ["Mary Ann", "mary.ann@example.org", "P1234567"])
def test_keys_that_may_be_payload_are_not_kept(serve: Serve, tmp_path: Path, name: str) -> None:
    """They reach neither the report nor the file."""
    app = serve(service())
    app.post("/patients", {"name": name})
    found = report(lambda row: row["disagreed"])
    assert list(found["fields"]) == ["$.by.*"]
    assert name not in repr(found)
    kept = [path for path in tmp_path.rglob("shadows.db*") if path.is_file()]
    assert kept
    assert all(name.encode() not in path.read_bytes() for path in kept)


def test_a_full_disk_leaves_nothing_behind(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that cannot be kept for the shadow is a call that is not watched."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def full(source: Any, target: Any, **_: Any) -> None:
        Path(target).write_bytes(b"x")
        raise OSError(28, "no space")

    monkeypatch.setattr(os, "link", full)
    monkeypatch.setattr(shutil, "copy2", full)
    app = serve(service())
    assert app.request("POST", "/file", files={"file": ("a.txt", b"x")}).status_code == 200
    time.sleep(0.5)
    assert list(tmp_path.glob("bento-rollout-*")) == []
