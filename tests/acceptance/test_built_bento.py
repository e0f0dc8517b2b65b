"""The bento that `bentoml build` makes of services/ serves every variant with nothing but its own files."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.demo.sealed import exposed, secrets
from tests.integration.clean import clean_python

ROOT = Path(__file__).resolve().parents[2]
ROW = [1.0] * 30

pytestmark = [pytest.mark.server, pytest.mark.slow]


def run(*command: str, env: dict[str, str], cwd: Path = ROOT) -> str:
    """Run a command and return what it printed."""
    done = subprocess.run(command, env=env, cwd=cwd, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, f"{command}:\n{done.stdout[-3000:]}{done.stderr[-5000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """BentoML's home on the machine that trains and builds; its keys are in it."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def bento(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train, build, and export the bento as a folder of its own."""
    env = {**os.environ, "BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "1"}
    run(sys.executable, "-m", "services.train", env=env)
    tag = run(sys.executable, "-m", "bentoml", "build", "--output", "tag", env=env).strip()
    folder = tmp_path_factory.mktemp("elsewhere")
    archive = folder / "bento.tar"
    run(sys.executable, "-m", "bentoml", "export", tag.removeprefix("__tag__:"), str(archive), env=env)
    run("tar", "-xf", archive.name, env=env, cwd=folder)
    archive.unlink()
    return folder


@pytest.fixture(scope="module")
def python(bento: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make an environment from the bento's own requirements, and nothing else."""
    return clean_python(bento, tmp_path_factory)


@pytest.fixture(scope="module")
def served(bento: Path, home: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Prepare a host that serves: a home without models, whom it trusts, and its identity."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "BENTO"))}
    own = tmp_path_factory.mktemp("secrets")
    for name in ("trust.toml", "sign.pub.pem", "identity.txt"):
        shutil.copy2(home / "screening-keys" / name, own)
    return env | {
        "BENTOML_HOME": str(tmp_path_factory.mktemp("served")),
        "BENTOML_DO_NOT_TRACK": "1",
        "BENTO_ROLLOUT_TRUST": str(own / "trust.toml"),
        "BENTO_ROLLOUT_IDENTITY_FILE": str(own / "identity.txt"),
    }


@pytest.fixture(scope="module")
def url(
    bento: Path, python: Path, served: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Serve the bento from the clean environment, in a home that has no models."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = tmp_path_factory.mktemp("log") / "server.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [str(python), "-m", "bentoml", "serve", str(bento), "--port", str(port)],
            env=served, cwd=bento.parent, stdout=output, stderr=output,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2).close()
                break
            except OSError:
                assert server.poll() is None, log.read_text()[-5000:]
                assert time.monotonic() < deadline, log.read_text()[-5000:]
                time.sleep(0.3)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(60)


def answer_of(url: str, variant: str) -> tuple[str, object]:
    """Ask one variant and return who answered, and what."""
    headers = {"content-type": "application/json", "x-rollout-variant": variant}
    request = urllib.request.Request(f"{url}/predict", json.dumps({"rows": [ROW]}).encode(), headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.headers["x-rollout-variant"], json.loads(answer.read())


def test_models_of_every_variant_are_inside(bento: Path) -> None:
    """The bento carries the champion's model and the candidate's, and the rollout's spec."""
    assert {path.name for path in (bento / "models").iterdir()} >= {"screening-logistic", "screening-boosted"}
    assert (bento / "src/services/rollout.yaml").is_file()


def test_both_variants_answer_from_a_clean_environment(url: str) -> None:
    """Served from its own requirements alone, champion and candidate answer, each with its own model."""
    logistic, boosted = answer_of(url, "logistic"), answer_of(url, "boosted")
    assert logistic[0] == "logistic"
    assert boosted[0] == "boosted"
    assert logistic[1] != boosted[1]


def test_no_key_and_no_plaintext_is_inside(bento: Path, home: Path) -> None:
    """Neither private key, and of neither model a piece as it is in memory, is in a file of the bento."""
    count, found = exposed([bento], secrets(home))
    assert count > 10
    assert found == []


def test_without_an_identity_the_bento_does_not_start(
    bento: Path, python: Path, served: dict[str, str]
) -> None:
    """It says what is missing, and ends before a worker is started."""
    env = {name: value for name, value in served.items() if name != "BENTO_ROLLOUT_IDENTITY_FILE"}
    done = subprocess.run(
        [str(python), "-m", "bentoml", "serve", str(bento), "--port", "0"],
        env=env, cwd=bento.parent, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "KeyUnavailable: screening-logistic:" in done.stderr
    assert ": no identity was given" in done.stderr


def test_a_bento_without_the_spec_is_refused(tmp_path: Path) -> None:
    """`bentoml build` names the line that `include` lacks."""
    (tmp_path / "service.py").write_text(
        "import bentoml\nfrom bento_rollout import rollout\n"
        '@rollout(spec="rollout.yaml")\n@bentoml.service(name="lean")\nclass Lean:\n'
        "    @bentoml.api\n    def one(self) -> int:\n        return 1\n",
    )
    (tmp_path / "rollout.yaml").write_text("name: lean\n")
    (tmp_path / "bentofile.yaml").write_text('service: "service:Lean"\ninclude: ["*.py"]\n')
    env = {**os.environ, "BENTOML_HOME": str(tmp_path / "home"), "BENTOML_DO_NOT_TRACK": "1"}
    build = [sys.executable, "-m", "bentoml", "build"]
    done = subprocess.run(build, env=env, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "the bento would lack rollout.yaml" in done.stderr
    (tmp_path / "bentofile.yaml").write_text('service: "service:Lean"\ninclude: ["*.py", "rollout.yaml"]\n')
    run(*build, env=env, cwd=tmp_path)


def test_a_bento_without_the_reference_of_drift_is_refused(tmp_path: Path) -> None:
    """It would serve, and watch nothing."""
    (tmp_path / "service.py").write_text(
        "import bentoml\nfrom bento_rollout import rollout\n"
        '@rollout(spec="rollout.yaml")\n@bentoml.service(name="lean")\nclass Lean:\n'
        "    @bentoml.api\n    def one(self, x: float) -> float:\n        return x\n",
    )
    spec = "name: lean\ndrift: {reference: {file: reference.json}, data: {}}\n"
    (tmp_path / "rollout.yaml").write_text(spec)
    (tmp_path / "bentofile.yaml").write_text('service: "service:Lean"\ninclude: ["*.py", "rollout.yaml"]\n')
    env = {**os.environ, "BENTOML_HOME": str(tmp_path / "home"), "BENTOML_DO_NOT_TRACK": "1"}
    build = [sys.executable, "-m", "bentoml", "build"]
    done = subprocess.run(build, env=env, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "reference.json is not there: make it with `bento-rollout drift NAME fit`" in done.stderr
    (tmp_path / "training.csv").write_text("x\n" + "".join(f"{n}\n" for n in range(300)))
    command = (sys.executable, "-m", "bento_rollout.cli", "drift", "lean")
    run(*command, "fit", "training.csv", "--out", "reference.json", env=env, cwd=tmp_path)
    done = subprocess.run(build, env=env, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "the bento would lack reference.json" in done.stderr
    lines = 'service: "service:Lean"\ninclude: ["*.py", "rollout.yaml", "reference.json"]\n'
    (tmp_path / "bentofile.yaml").write_text(lines)
    run(*build, env=env, cwd=tmp_path)


def test_a_bento_with_secret_keys_is_refused(tmp_path: Path) -> None:
    """Without `include` BentoML packs the whole folder: keys that open the models must not come in."""
    env = {**os.environ, "BENTOML_HOME": str(tmp_path / "home"), "BENTOML_DO_NOT_TRACK": "1"}
    command = (sys.executable, "-m", "bento_rollout.cli", "artifacts")
    (tmp_path / "words.json").write_text("[]")
    run(*command, "keygen", "--output", "keys", env=env, cwd=tmp_path)
    keys = ("--recipient", "keys/recipient.txt", "--signer", "keys/sign.pem")
    run(*command, "seal", "words.json", "--name", "words:v1", "--serial", "1", *keys, env=env, cwd=tmp_path)
    (tmp_path / "service.py").write_text(
        "import json\nimport bentoml\nfrom bento_rollout.artifacts import SealedModel\n"
        '@bentoml.service(name="lean")\nclass Lean:\n'
        '    words = SealedModel("words:v1", "words.json", loader=json.load)\n'
        "    @bentoml.api\n    def one(self) -> int:\n        return 1\n",
    )
    build = [sys.executable, "-m", "bentoml", "build", "service:Lean"]
    for excluded, found in (
        ([], r"keys/identity\.txt, keys/sign\.pem"),
        (["keys/identity.txt"], r"keys/sign\.pem"),
        (["sign.pem"], r"keys/identity\.txt"),
    ):
        (tmp_path / "bentofile.yaml").write_text(json.dumps({"exclude": excluded}))
        done = subprocess.run(build, env=env, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode != 0
        assert re.search(f"the bento would hold secret keys, {found}: .*exclude:", done.stderr), done.stderr
    (tmp_path / "bentofile.yaml").write_text(json.dumps({"exclude": ["keys/", "home/"]}))
    run(*build, env=env, cwd=tmp_path)
