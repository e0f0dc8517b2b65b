"""A built bento with candidates in services of their own and in a process, served from a clean place."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from bento_rollout.operations import Rollout
from bento_rollout.store.location import locate
from bento_rollout.store.sqlite import SQLiteStore
from tests.integration.callers import Answer, Line
from tests.integration.clean import clean_python
from tests.integration.running import ROOT, Server, free_port, fresh, serving, until

pytestmark = [pytest.mark.server, pytest.mark.slow]

PROJECT = Path(__file__).with_name("apps") / "scaling"
KEYS = [f"user-{number}" for number in range(100)]
FACTORS = {"light": 2, "heavy": 3, "other": 5, "aside": 7}
MODES = {"light": "fast", "heavy": "fast", "other": "exact", "aside": "fast"}
MEMORY = {"light": "200Mi", "heavy": "200Mi", "other": "300Mi", "aside": None}
"""What the configuration says of the service that answers for a variant; a process beside is none."""

DOCUMENTED = re.compile(r"^start-http-server .*$", re.MULTILINE)
"""The commands of the guide's page about building."""
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
        own["memory"] = MEMORY[variant]
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
    assert {name: sorted(found) for name, found in tags.items()} == {
        "scaling": ["scale:aside", "scale:light"],
        "scaling_heavy": ["scale:heavy"],
        "other": ["scale:other"],
    }
    memory = {name: service["config"]["resources"]["memory"] for name, service in services.items()}
    assert memory == {"scaling": "200Mi", "scaling_heavy": "200Mi", "other": "300Mi"}
    assert services["other"]["config"]["workers"] == 2
    assert {path.name for path in (bento / "models" / "scale").iterdir()} >= set(FACTORS)


def test_a_canary_a_flip_and_the_end(server: Server, python: Path) -> None:
    """All services serve; candidates get their keys, then one gets all, from its process; nothing is left."""

    def states() -> set[str]:
        return {row["state"] for row in tells(server, python, "status", "scaling")["variants"].values()}

    until(lambda: states() == {"ready"}, "all variants are ready")
    status = tells(server, python, "status", "scaling")
    kinds = {name: variant["runner"] for name, variant in status["variants"].items()}
    assert kinds == {"light": "worker", "heavy": "service", "other": "service", "aside": "process"}
    everyone = answers_for(server, KEYS)
    assert {(answer.status, answer.variant) for answer in everyone} == {(200, "light")}

    tells(server, python, "weight", "scaling", "heavy=25", "other=25", "aside=25")
    answers = answers_for(server, KEYS)
    assert {answer.status for answer in answers} == {200}
    assert [answer.variant for answer in answers] == server.operator().assign(KEYS).tolist()
    assert {answer.reason for answer in answers} == {"split"}
    pids = {variant: told_by(variant, answers) for variant in FACTORS}
    assert pids["light"] == set(server.living())
    assert len(pids["heavy"]) == 1
    assert pids["aside"] == {one["pid"] for one in status["variants"]["aside"]["processes"]}
    theirs = [key for key, answer in zip(KEYS, answers, strict=True) if answer.variant == "other"]

    def answered() -> bool:
        # Many at once: calls one after the other go over one connection, and so to one of its workers.
        with ThreadPoolExecutor(16) as callers:
            for some in callers.map(lambda key: answers_for(server, [key] * 4), theirs):
                pids["other"] |= told_by("other", some)
        return len(pids["other"]) == 2

    until(answered, "both workers of `other` have answered")
    apart = [pids[variant] for variant in ("heavy", "other", "aside")]
    assert set().union(*apart) <= {process.pid for process in server.processes()} - pids["light"]
    assert sum(map(len, apart)) == len(set().union(*apart)) == 4

    tells(server, python, "flip", "scaling", "--to", "heavy")
    flipped = answers_for(server, KEYS)
    assert {(answer.status, answer.variant) for answer in flipped} == {(200, "heavy")}
    assert told_by("heavy", flipped) == pids["heavy"]
    assert tells(server, python, "status", "scaling")["champion"] == "heavy"

    assert len(server.processes()) >= 6  # the arbiter, the champion, one heavy, two others, one aside
    server.arbiter.send_signal(signal.SIGTERM)
    assert server.arbiter.wait(30) == 0
    until(lambda: not server.processes(), "no process is left", 10)


class Containers:
    """The commands that the guide gives to two containers of one image, on ports of this host.

    Attributes:
        ports: by service.
    """

    def __init__(self, bento: Path, python: Path, folder: Path) -> None:
        self.bento, self.python, self.folder = bento, python, folder
        lines = DOCUMENTED.findall((ROOT / "docs" / "building.md").read_text(encoding="utf-8"))
        self.commands = {line.split()[2]: line for line in lines}
        self.ports = {name: free_port() for name in self.commands}
        self.running: list[subprocess.Popen[bytes]] = []

    def start(self, service: str) -> subprocess.Popen[bytes]:
        """Do as a container with these arguments does: by the entrypoint of the image."""
        line = self.commands[service].replace("--port 3000", f"--port {self.ports[service]}")
        line = line.replace("0.0.0.0", "127.0.0.1")
        for name, port in self.ports.items():
            line = line.replace(f"http://{name.replace('_', '-')}:3000", f"http://127.0.0.1:{port}")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("BENTO")}
        environment = {
            **inherited,
            "BENTO_PATH": str(self.bento),
            "BENTOML_HOME": str(self.folder),
            "BENTOML_DO_NOT_TRACK": "1",
            "BENTO_ROLLOUT_STORE": f"sqlite:///{self.folder}/store.db",
            "BENTO_ROLLOUT_SINGLE_REPLICA": "1",
            "PATH": f"{self.python.parent}:{os.environ['PATH']}",
            "PYTHONPATH": "",
        }
        entrypoint = self.bento / "env" / "docker" / "entrypoint.sh"
        with (self.folder / f"{service}.log").open("ab") as out:
            command = ["bash", str(entrypoint), *line.split()]
            process = subprocess.Popen(command, cwd=self.bento, env=environment, stdout=out, stderr=out)
        self.running.append(process)
        return process

    def stop(self) -> None:
        """End them, each with all that it started."""
        for process in self.running:
            children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
            process.terminate()
            process.wait(60)
            for child in children:
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()


def test_one_container_for_each_service(bento: Path, python: Path, tmp_path: Path) -> None:
    """The guide's two commands: the champion serves alone, and its candidate joins from elsewhere."""
    containers = Containers(bento, python, tmp_path)
    assert set(containers.commands) == {"scaling", "scaling_heavy"}
    location = locate(f"sqlite:///{tmp_path}/store.db", {"BENTO_ROLLOUT_SINGLE_REPLICA": "1"})
    rollout = Rollout("scaling", SQLiteStore(location.path), location, "ann")
    try:
        containers.start("scaling")
        until(lambda: is_up(containers.ports["scaling"]), "the champion's container is ready")
        assert rollout.status()["variants"]["heavy"]["state"] != "ready"
        heavy = containers.start("scaling_heavy")
        until(lambda: rollout.status()["variants"]["heavy"]["state"] == "ready", "its candidate joined")
        rollout.set_weights({"heavy": 100})
        line = Line(containers.ports["scaling"])
        answer = line.ask(**{"x-key": "user-1"})
        line.close()
        assert (answer.status, answer.variant, answer.body["model"]) == (200, "heavy", "scale:heavy")
        assert answer.body["pid"] in {
            child.pid for child in psutil.Process(heavy.pid).children(recursive=True)
        }
        # `other` is served by no container here: it runs in the champion's worker.
        assert rollout.status()["variants"]["other"]["runner"] == "worker"
    finally:
        containers.stop()


def is_up(port: int) -> bool:
    """Whether a service says that it is ready."""
    with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz") as answer:
        return bool(answer.status == 200)
    return False
