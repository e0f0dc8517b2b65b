"""Each story under examples/ runs as its first lines say, and tells what it promises."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bento_rollout.drift import Reference

EXAMPLES = Path(__file__).parents[2] / "examples"

TELLS = {
    "canary": ["warm at  0 %: {'polite': 200}", "rolled back:  {'polite': 200}"],
    "blue_green": [
        "flipped: 30 by green",
        "free quotes nothing for ten pieces",
        "refused: 30 by green",
        "rolled back: 40 by blue",
    ],
    "runners": [
        "older is ready, runner worker: 40 by older in the worker",
        "here is ready, runner worker: 30 by here in the worker",
        "beside is ready, runner process: 30 by beside in another process",
        "apart is ready, runner service: 30 by apart in another process",
        "away is ready, runner url: 30 by away in another process",
        "apart is killed, and callers get {'older': 20}",
    ],
    "progressive": [
        "start polite {'warm': 1.0}",
        "evidence advance polite {'warm': 5.0}",
        "evidence advance polite {'warm': 25.0}",
        "evidence advance polite {'warm': 50.0}",
        "evidence promote warm {'polite': 5.0}",
        "evidence end_bake warm {}",
        "failed requests: {'polite': 0, 'warm': 0}",
        "evidence rollback polite {}",
        "all traffic goes to polite: harm is shown by error_rate (",
    ],
    "shadow": [
        "answered by {'plain'}",
        "discount agrees in 90% of 100 calls",
        "plain differs from itself in 0 calls",
        "'champion': '",
    ],
    "drift": [
        "people come as they did when the model was made\n  300 visitors: evidence ",
        "temperature is higher\n  the try is paused by drift\n",
        "bento-rollout drift triage status: exit code 7\n  200 visitors",
        "is acknowledged; data begins anew\n  rebase: data begins anew, against the last 200 ones",
        "age is higher\n  the try is paused by drift\n  bento-rollout drift triage status: exit code 7\n",
        "the whole report: drift.html",
    ],
    "rows": ["v1,v2 split ", "'v1:13', 'v1:13', 'v1:13', 'v1:13', 'v1:13', 'v1:13', 'v1:13', 'v1:13'"],
}


LONGER = {"progressive": 80, "runners": 80, "drift": 100}
"""Stories that need more than the 60 lines of the others."""


def test_no_example_needs_a_certain_port() -> None:
    """Stories run beside each other, and beside whatever else listens: none names a port."""
    for path in EXAMPLES.glob("*.py"):
        assert not re.search(r"port=\d|localhost:\d", path.read_text(encoding="utf-8")), path


def test_every_example_is_run() -> None:
    """No story stands there without a test."""
    assert {path.stem for path in EXAMPLES.glob("[!_]*.py")} == set(TELLS)


def test_the_command_that_serves_an_example_finds_it() -> None:
    """The ``bentoml serve`` that each example tells of loads its service, from the folder above."""
    told = {path.stem: path.read_text(encoding="utf-8") for path in EXAMPLES.glob("[!_]*.py")}
    targets = [re.search(r"``bentoml serve (\S+:\w+)``", text) for text in told.values()]
    names = [target[1] for target in targets if target]
    assert {name.partition(":")[0] for name in names} == {f"examples.{stem}" for stem in told}
    load = (
        "import sys; from _bentoml_impl.loader import load; [load(t, working_dir='.') for t in sys.argv[1:]]"
    )
    command = [sys.executable, "-c", load, *names]
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command, cwd=EXAMPLES.parent, env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", sorted(TELLS))
def test_story(name: str, tmp_path: Path) -> None:
    """The script ends by itself and prints what the story says."""
    environ = {**os.environ, "BENTOML_HOME": str(tmp_path), "BENTOML_DO_NOT_TRACK": "1"}
    environ.pop("BENTO_ROLLOUT_STORE", None)
    environ.pop("PYTHONUNBUFFERED", None)  # the server writes between the pieces of a line
    run = subprocess.run(
        [sys.executable, str(EXAMPLES / f"{name}.py")],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-4000:]
    assert re.search(rf"^{name}:\w+ is served at http://\S+:\d+, its store is ", run.stdout, re.MULTILINE)
    for line in TELLS[name]:
        assert line in run.stdout
    assert len((EXAMPLES / f"{name}.py").read_text().splitlines()) < LONGER.get(name, 60)
    if name == "drift":
        assert "age is higher" in (tmp_path / "drift.html").read_text(encoding="utf-8")


def test_the_reference_of_drift_is_of_its_visits() -> None:
    """What stands beside the story is what `bento-rollout drift triage fit` makes of 2 000 visits."""
    script = "import json, drift; print(json.dumps(drift.visits(2000, seed=0)))"
    run = subprocess.run(
        [sys.executable, "-c", script], cwd=EXAMPLES, capture_output=True, text=True, timeout=60, check=True
    )
    kept = Reference.from_json((EXAMPLES / "drift_reference.json").read_text(encoding="utf-8"))
    assert Reference.fit(json.loads(run.stdout)).digest == kept.digest
