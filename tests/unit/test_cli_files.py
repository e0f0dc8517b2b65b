"""The verbs of the command line that read a spec file."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from bento_rollout.operations import open_rollout
from bento_rollout.specfile import content_digest
from tests.unit.door import Say, revision


def test_apply(say: Say, tmp_path: Path) -> None:
    """``apply`` sets what the file names; ``--dry-run`` says what that would be, with exit code 8."""
    spec = tmp_path / "rollout.yaml"
    spec.write_text("name: screening\nweights: {boosted: 5}\n")
    code, out, _ = say("apply", str(spec), "--dry-run")
    assert (code, revision()) == (8, 1)
    assert "boosted" in out
    code, out, _ = say("apply", str(spec), "--dry-run", "--json")
    assert code == 8
    assert len(json.loads(out)["differences"]) == 1
    assert say("apply", str(spec))[0] == 0
    assert open_rollout("screening").state.weights == {"boosted": 5000}
    code, out, _ = say("apply", str(spec))
    assert (code, revision()) == (0, 2)
    assert "nothing changed" in out
    assert say("apply", str(spec), "--dry-run")[0] == 0


def test_apply_does_not_undo_a_rollback(say: Say, tmp_path: Path) -> None:
    """Nobody's script applies again what a person rolled back."""
    spec = tmp_path / "rollout.yaml"
    spec.write_text("name: screening\nweights: {boosted: 5}\n")
    say("apply", str(spec))
    say("rollback", "screening")
    code, _, err = say("apply", str(spec))
    assert (code, revision()) == (1, 3)
    assert "rolled back" in err


def test_apply_reads_a_pipe(say: Say, tmp_path: Path) -> None:
    """What a pipe said once is applied, and known again by its content."""
    for content in ("name: screening\nweights: {boosted: 5}\n", "name: screening\nweights: {boosted: 6}\n"):
        reading, writing = os.pipe()
        os.write(writing, content.encode())
        os.close(writing)
        assert say("apply", f"/dev/fd/{reading}")[0] == 0
        os.close(reading)
    applied = {commit.state.applied for commit in open_rollout("screening").history(2)}
    (tmp_path / "rollout.yaml").write_text(content)
    digests = {entry[0] for entry in applied if entry}
    assert len(digests) == 2
    assert content_digest(tmp_path / "rollout.yaml") in digests


def test_validate(say: Say, tmp_path: Path) -> None:
    """``validate`` says whether a file is a spec, and names the place where it is not."""
    spec = tmp_path / "rollout.yaml"
    spec.write_text("name: screening\nweights: {boosted: 5}\n")
    code, out, _ = say("validate", str(spec), "--json")
    assert (code, json.loads(out)["valid"]) == (0, True)
    spec.write_text("name: screening\nwieghts: {boosted: 5}\n")
    code, out, err = say("validate", str(spec), "--json")
    assert (code, json.loads(out)["error"]["type"]) == (2, "invalid_spec")
    assert "wieghts" in err


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (None, "no such spec file"),
        ("weights: {boosted: 5}", "name"),
        ("name: screening\nweights: {nobody: 5}", "nobody"),
        ("name: screening\nweights: {boosted: 500}", "500"),
        ("name: screening\nwieghts: {}", "wieghts"),
        ("name: ../../etc/passwd\nweights: {boosted: 5}", "passwd"),
        ("name: [", "YAML"),
        ("[" * 5000, "YAML"),
    ],
)
def test_bad_spec(say: Say, tmp_path: Path, content: str | None, named: str) -> None:
    """A bad spec file is exit code 2, names the place, and changes nothing."""
    if content is not None:
        (tmp_path / "rollout.yaml").write_text(content)
    for more in ((), ("--dry-run",)):
        code, _, err = say("apply", str(tmp_path / "rollout.yaml"), *more)
        assert (code, revision()) == (2, 1)
        assert named in err
        assert len(err) < 1000
