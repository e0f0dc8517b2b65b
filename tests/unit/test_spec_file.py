"""Which spec a decorator goes by: the environment's file, else its own; and what a build may leave out."""

from __future__ import annotations

from pathlib import Path

import pytest
from bentoml._internal.bento.build_config import BentoBuildConfig
from bentoml._internal.context import server_context

from bento_rollout.bento import including
from bento_rollout.bento.spec_file import CONTENTS, VARIABLE, find, hand_down
from bento_rollout.errors import InvalidSpec
from bento_rollout.spec import RolloutSpec

GOVERNS = "authority: spec\nweights: {boosted: 5}\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a file, and an environment that names none."""
    monkeypatch.chdir(tmp_path)
    for name in (VARIABLE, CONTENTS):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    (tmp_path / "rollout.yaml").write_text(GOVERNS)
    return tmp_path


@pytest.mark.parametrize(
    "given", ["code.yaml", None, RolloutSpec(weights={"boosted": 9})], ids=["path", "none", "spec"]
)
def test_the_environment_goes_first(folder: Path, monkeypatch: pytest.MonkeyPatch, given: object) -> None:
    """Whatever the decorator was given, and relative to the working directory, not to the code."""
    monkeypatch.setenv(VARIABLE, "rollout.yaml")
    found = find(given, folder / "elsewhere")  # type: ignore[arg-type]  # each of them
    assert (found.path, found.spec.weights, found.by_environment) == (
        folder / "rollout.yaml",
        {"boosted": 5000},
        True,
    )
    assert found.text == GOVERNS.encode()


@pytest.mark.parametrize(
    ("name", "why"), [("no.yaml", "there is no such spec file"), ("bad.yaml", "not valid YAML")]
)
def test_the_environment_is_blamed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, why: str
) -> None:
    """A file that is missing or not valid is an error that names the variable."""
    (folder / "bad.yaml").write_text("weights: [")
    monkeypatch.setenv(VARIABLE, name)
    with pytest.raises(InvalidSpec, match=rf"^{VARIABLE}: {folder / name}: {why}"):
        find(None, folder)


def test_only_a_file_governs(folder: Path) -> None:
    """A spec in Python is nothing that could be changed."""
    with pytest.raises(InvalidSpec, match="not from a file"):
        find(RolloutSpec(authority="spec"), folder)
    assert find("rollout.yaml", folder).spec.authority == "spec"


def test_workers_begin_with_what_the_service_was_started_with(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever has become of the file; a process that is no worker reads it, if it can be read."""
    path = folder / "rollout.yaml"
    monkeypatch.setenv(VARIABLE, "rollout.yaml")
    hand_down(path, GOVERNS.encode())
    path.write_text("authority: spec\nweights: {boosted: 50}\n")
    monkeypatch.chdir(folder.parent)  # as a worker's may be
    assert find(None, folder).spec.weights == {"boosted": 50_000}
    monkeypatch.setattr(server_context, "worker_index", 1)
    assert find(None, folder).spec.weights == {"boosted": 5000}
    monkeypatch.setattr(server_context, "worker_index", None)
    path.write_text("weights: [")
    assert find(None, folder).spec.weights == {"boosted": 5000}


def test_a_content_that_no_variable_can_hold_is_read_again(folder: Path) -> None:
    """It is not handed down: nothing else may be lost for it."""
    path = folder / "rollout.yaml"
    hand_down(path, GOVERNS.encode() + b"#" * 200_000)
    path.write_text("weights: {boosted: 50}\n")
    assert find("rollout.yaml", folder).spec.weights == {"boosted": 50_000}


def test_a_build_may_leave_out_what_the_host_has(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file outside what is built is the host's, where it governs or the environment names it."""
    built = folder / "built"
    built.mkdir()
    config = BentoBuildConfig(service="service:S", include=["*.py"])
    monkeypatch.setattr(including, "_running_build", lambda: (config, str(built)))
    including.check_included(folder / "rollout.yaml", anywhere=True)
    with pytest.raises(InvalidSpec, match="outside the build context"):
        including.check_included(folder / "rollout.yaml")
    with pytest.raises(InvalidSpec, match="the bento would lack"):
        including.check_included(built / "rollout.yaml", anywhere=True)
