"""A built bento with candidates in services of their own, served from a clean environment."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.callers import Answer, Line
from tests.integration.clean import clean_python
from tests.integration.running import ROOT, Server, fresh, serving, until

pytestmark = [pytest.mark.server, pytest.mark.slow]

PROJECT = Path(__file__).with_name("apps") / "scaling"
KEYS = [f"user-{number}" for number in range(100)]
FACTORS = {"light": 2, "heavy": 3, "other": 5}
MODES = {"light": "fast", "heavy": "fast", "other": "exact"}
MAKE = """
import bentoml, json, pathlib, sys
for variant, factor in json.loads(sys.argv[1]).items():
    with bentoml.models.create(f"scale:{variant}") as model:
        pathlib.Path(model.path_of("factor.json")).write_text(str(factor))
"""


@pytest.fixture(scope="module")
def bento(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the project with the library as source, and export the bento as a folder of its own."""
    folder, home = tmp_path_factory.mktemp("project"), tmp_path_factory.mktemp("home")
    shutil.copytree(PROJECT, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "bento_rollout", folder / "bento_rollout")
    # The packages of the other bento that is built in a session: one clean environment is enough for both.
    ours = yaml.safe_load((ROOT / "bentofile.yaml").read_text(encoding="utf-8"))
    file = {
        "service": "service:Scaling",
        "include": ["*.py", "rollout.yaml", "bento_rollout/**"],
        "exclude": ours["exclude"],
        "python": ours["python"],
    }
    (folder / "bentofile.yaml").write_text(yaml.safe_dump(file), encoding="utf-8")
    bentoml = [sys.executable, "-m", "bentoml"]
    run(folder, home, sys.executable, "-c", MAKE, json.dumps(FACTORS))
    tag = run(folder, home, *bentoml, "build", "--output", "tag").strip().removeprefix("__tag__:")
    elsewhere = tmp_path_factory.mktemp("bento")
    run(folder, home, *bentoml, "export", tag, str(elsewhere / "bento.tar"))
    shutil.unpack_archive(elsewhere / "bento.tar", elsewhere / "scaling")
    return elsewhere / "scaling"


def run(folder: Path, home: Path, *command: str) -> str:
    """Run a command in a folder and return what it printed."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("BENTO")}
    environ |= {"BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "1"}
    done = subprocess.run(
        command, cwd=folder, env=environ, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, f"{command}:\n{done.stdout[-3000:]}{done.stderr[-5000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def python(bento: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment that has what the bento requires, and nothing else."""
    return clean_python(bento, tmp_path_factory)


@pytest.fixture(scope="module")
def server(bento: Path, python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve the bento from the clean environment, in a home that has no models."""
    folder = fresh(tmp_path_factory.mktemp("served"))
    options: dict[str, Any] = {
        "workers": 1,
        "cwd": bento,
        "python": python,
        "environment": {"PYTHONPATH": ""},
    }
    with serving(".", folder, rollout="scaling", **options) as server:
        yield server.ready()


def tells(server: Server, python: Path, *words: str) -> Any:
    """Return what the bento's own ``bento-rollout VERB … --json`` says."""
    told = subprocess.run(
        [python, "-m", "bento_rollout.cli", *words, "--json"],
        cwd=server.cwd / "src",
        env=server.environment(PYTHONPATH=""),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return json.loads(told.stdout)


def answers_for(server: Server, keys: list[str]) -> list[Answer]:
    """Return the answer that each key gets."""
    line = Line(server.port)
    try:
        return [line.ask(**{"x-key": key}) for key in keys]
    finally:
        line.close()


def told_by(variant: str, answers: list[Answer]) -> set[Any]:
    """Return the processes in which a variant answered; each answer is by its model, in its environment."""
    bodies = [answer.body for answer in answers if answer.variant == variant]
    for body in bodies:
        own = {"model": f"scale:{variant}", "factor": FACTORS[variant], "mode": MODES[variant]}
        assert {name: body[name] for name in own} == own
    return {body["pid"] for body in bodies}


def test_all_services_and_models_are_in_the_bento(bento: Path) -> None:
    """`bento.yaml` lists candidates' services with their models, and that the champion depends on them."""
    told = yaml.safe_load((bento / "bento.yaml").read_text(encoding="utf-8"))
    services = {service["name"]: service for service in told["services"]}
    assert told["entry_service"] == "scaling"
    assert set(services) == {"scaling", "scaling_heavy", "other"}
    needed = {dependency["service"] for dependency in services["scaling"]["dependencies"]}
    assert needed == {"scaling_heavy", "other"}
    tags = {name: [model["tag"] for model in service["models"]] for name, service in services.items()}
    assert tags == {"scaling": ["scale:light"], "scaling_heavy": ["scale:heavy"], "other": ["scale:other"]}
    assert {path.name for path in (bento / "models" / "scale").iterdir()} >= set(FACTORS)


def test_a_canary_a_flip_and_the_end(server: Server, python: Path) -> None:
    """All services serve; candidates get their keys, then one gets all, from its process; nothing is left."""

    def states() -> set[str]:
        return {row["state"] for row in tells(server, python, "status", "scaling")["variants"].values()}

    until(lambda: states() == {"ready"}, "all variants are ready")
    status = tells(server, python, "status", "scaling")
    kinds = {name: variant["runner"] for name, variant in status["variants"].items()}
    assert kinds == {"light": "worker", "heavy": "service", "other": "service"}
    everyone = answers_for(server, KEYS)
    assert {(answer.status, answer.variant) for answer in everyone} == {(200, "light")}

    tells(server, python, "weight", "scaling", "heavy=30", "other=30")
    answers = answers_for(server, KEYS)
    assert {answer.status for answer in answers} == {200}
    assert [answer.variant for answer in answers] == server.operator().assign(KEYS).tolist()
    assert {answer.reason for answer in answers} == {"split"}
    pids = {variant: told_by(variant, answers) for variant in FACTORS}
    assert pids["light"] == set(server.living())
    assert len(pids["heavy"]) == 1
    assert 1 <= len(pids["other"]) <= 2
    assert pids["heavy"] | pids["other"] <= {process.pid for process in server.processes()} - pids["light"]
    assert pids["heavy"].isdisjoint(pids["other"])

    tells(server, python, "flip", "scaling", "--to", "heavy")
    flipped = answers_for(server, KEYS)
    assert {(answer.status, answer.variant) for answer in flipped} == {(200, "heavy")}
    assert told_by("heavy", flipped) == pids["heavy"]
    assert tells(server, python, "status", "scaling")["champion"] == "heavy"

    assert len(server.processes()) >= 5  # the arbiter, the champion, one heavy, two others
    server.arbiter.send_signal(signal.SIGTERM)
    assert server.arbiter.wait(30) == 0
    until(lambda: not server.processes(), "no process is left", 10)
