"""The verbs of the command line that read a spec file."""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

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


# -- where a spec is read from, and what is said of it ------------------------------------------------------


def feed(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this text be what standard input holds."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))


def test_standard_input(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    """`-` is standard input, for `apply` and for `validate`; errors call it so."""
    feed("name: screening\nweights: {boosted: 5}\n", monkeypatch)
    assert say("apply", "-")[0] == 0
    assert open_rollout("screening").state.percents == {"boosted": 5}
    feed("name: screening\nweights: {boosted: 500}\n", monkeypatch)
    code, _, err = say("validate", "-")
    assert code == 2
    assert "<stdin>: line 2: weights.boosted: percentage 500" in err
    monkeypatch.setattr("sys.stdin", None)
    assert "standard input is closed" in say("validate", "-")[2]


@pytest.mark.parametrize("verb", ["apply", "validate"])
def test_what_might_never_answer_is_refused(say: Say, tmp_path: Path, verb: str) -> None:
    """A named pipe and a device are no spec files; nothing waits for somebody to write into them."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero"), Path("/dev/null")):
        code, _, err = say(verb, str(path))
        assert code == 2
        assert "not a regular file" in err
        assert "write - for standard input" in err


def test_every_problem_has_its_line(say: Say, tmp_path: Path) -> None:
    """Each thing that is wrong is told with the line of the field, deep in lists and mappings, too."""
    spec = tmp_path / "rollout.yaml"
    spec.write_text(
        "name: screening\n"
        "wieghts: {boosted: 5}\n"
        "endpoints:\n"
        "  - predict\n"
        "  - ..\n"
        "variants:\n"
        "  boosted:\n"
        "    timeout: soon\n"
        "  'not a name': {}\n"
        "targets:\n"
        "  boosted:\n"
        "    keys: 7\n"
    )
    code, _, err = say("validate", str(spec))
    assert code == 2
    for number, field in ((2, "wieghts"), (5, "endpoints"), (8, "timeout"), (9, "not a name"), (12, "keys")):
        assert re.search(rf"{re.escape(str(spec))}: line {number}: .*{field}", err), (number, field, err)
    spec.write_text("name: screening\nweights: {boosted: 60, forest: 50}\n")
    assert "line 2: weights: weights add up to 110 percent" in say("validate", str(spec))[2]


def test_a_spec_without_fields(say: Say, tmp_path: Path) -> None:
    """An empty file is a spec, and what it means is said."""
    spec = tmp_path / "rollout.yaml"
    spec.write_text("# nothing yet\n")
    code, out, _ = say("validate", str(spec))
    assert code == 0
    assert "all traffic to the champion" in out
    code, _, err = say("apply", str(spec))
    assert code == 2
    assert "it has no `name`" in err


def test_what_only_the_code_can_say(say: Say, ask: Callable[..., Any], tmp_path: Path) -> None:
    """`validate` names what it could not check: variants, endpoints, arguments, functions."""
    spec = tmp_path / "rollout.yaml"
    spec.write_text(
        "name: screening\n"
        "routing: {key: {predict: 'rows:batch.id', other: ['field:tx.user', 'keys:of'], '*': 'header:x-a'}}\n"
        "variants: {boosted: {timeout: 2s}}\n"
        "blue_green: {standby: forest}\n"
    )
    assert ask("validate", str(spec))["unchecked"] == {
        "variants": ["boosted", "forest"],
        "endpoints": ["other", "predict"],
        "arguments": ["batch.id", "tx.user"],
        "functions": ["keys:of"],
    }
    out = say("validate", str(spec))[1]
    assert "not checked without the code" in out
    assert "variants boosted, forest" in out
    spec.write_text("name: screening\nrouting: {key: 'header:x-a'}\n")
    assert "not checked" not in say("validate", str(spec))[1]


def test_a_condition_on_drift_is_said_to_never_hold(say: Say, tmp_path: Path) -> None:
    """Nobody relies on what does not exist yet: it is said of each endpoint that has the condition."""
    review = "{inputs: plain, on_timeout: wait, overflow: {max_open: 10, action: reject}}"
    entrusted = f"{{degree: human, max_degree: assist, review: {review}"
    spec = tmp_path / "rollout.yaml"
    spec.write_text(
        "automation:\n"
        f"  read: {entrusted}, ask_when: [{{drift: true}}]}}\n"
        f"  write: {entrusted}, ask_when: [{{missing: [age]}}]}}\n"
    )
    code, out, _ = say("validate", str(spec))
    assert code == 0
    assert "automation.read.ask_when: nothing watches read for drift: {drift: true} never holds" in out
    assert "automation.write.ask_when" not in out


def test_a_reference_that_is_not_there_is_remarked(say: Say, tmp_path: Path) -> None:
    """Beside the spec, where its path begins."""
    spec = tmp_path / "rollout.yaml"
    spec.write_text("name: screening\ndrift: {reference: {file: reference.json}, data: {}}\n")
    code, out, _ = say("validate", str(spec))
    assert code == 0
    assert f"drift.reference.file: {tmp_path / 'reference.json'} is not there" in " ".join(out.split())
    (tmp_path / "reference.json").write_text("{}")
    assert "is not there" not in say("validate", str(spec))[1]


def test_a_webhook_without_encryption_is_remarked(say: Say, tmp_path: Path) -> None:
    """Unless it stays on this host."""
    review = "inputs: plain, on_timeout: wait, overflow: {max_open: 10, action: reject}"
    lines = ["automation:"]
    for name, url in (("far", "http://hooks.example.com/B1"), ("near", "http://localhost:1/B1")):
        hook = f"webhook: {{url: '{url}', secret: env:KEY}}"
        lines.append(f"  {name}: {{degree: human, max_degree: assist, review: {{{review}, {hook}}}}}")
    spec = tmp_path / "rollout.yaml"
    spec.write_text("\n".join(lines))
    code, out, _ = say("validate", str(spec))
    assert code == 0
    assert "automation.far.review.webhook.url: http carries it for others to read; write https" in out
    assert "automation.near" not in out
    assert "B1" not in out


def test_what_only_the_code_can_say_of_a_strategy(say: Say, ask: Callable[..., Any], tmp_path: Path) -> None:
    """`validate` checks a strategy as far as the file tells, and names the rest; errors have lines."""
    spec = tmp_path / "rollout.yaml"
    text = """\
name: screening
strategy:
  canary: {candidate: boosted, steps: [{weight: 5, bake: 30m}]}
  guardrails:
    error_rate@predict: {margin: 1pp}
    label.cost: {margin: 1pp, matures: 24h}
    score: {better: high, range: [0, 1], margin: 0.02}
    rss: {below: 4GiB}
labels: {cost: {loss: costs:of}}
"""
    spec.write_text(text)
    assert ask("validate", str(spec))["unchecked"] == {
        "variants": ["boosted"],
        "endpoints": ["predict"],
        "functions": ["costs:of"],
        "numbers": ["score"],
    }
    out = say("validate", str(spec))[1]
    assert "when the service is defined: variants boosted; endpoints predict; functions costs:of" in out
    assert "not known before the service gives them: numbers score" in out
    spec.write_text(text.replace("24h", "60d"))
    code, _, err = say("validate", str(spec))
    assert code == 2
    assert f"{spec}: line 6: strategy.guardrails.label.cost.matures: 60d is longer than" in err
