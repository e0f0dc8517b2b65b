"""A service whose models lie sealed in BentoML's store: served, built, tampered with, and without a key."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from contextlib import AbstractContextManager
from pathlib import Path

import httpx
import pytest

from bento_rollout.artifacts import keygen
from bento_rollout.errors import NotReady
from tests.integration.running import ROOT, Server, fresh, serving, until

pytestmark = [pytest.mark.server, pytest.mark.slow]

APP = Path(__file__).with_name("apps") / "sealed"
CANARY = "plaintext-canary-"
SEAL = """
import json, sys
from bento_rollout import artifacts
signer, recipient, canary = sys.argv[1:]
for version, factor in {"first": 3, "second": 5}.items():
    with artifacts.create(f"scale:{version}", recipients=[recipient], signer=signer, serial=1) as art:
        with art.open("factor.json", "wb") as file:
            file.write(json.dumps({"factor": factor, "canary": canary * 100}).encode())
"""


class Place:
    """Where models, keys and the trust policy lie."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.keys = folder, folder / "keys"
        keygen(self.keys)
        (folder / "trust.toml").write_text('keys = ["keys/sign.pub.pem"]\n', encoding="utf-8")
        recipient = (self.keys / "recipient.txt").read_text(encoding="utf-8").strip()
        self.home = folder / "home"
        self.run("-c", SEAL, str(self.keys / "sign.pem"), recipient, CANARY)

    @property
    def environment(self) -> dict[str, str]:
        """What a server needs to open them."""
        return {
            "BENTO_ROLLOUT_TRUST": str(self.folder / "trust.toml"),
            "BENTO_ROLLOUT_IDENTITY_FILE": str(self.keys / "identity.txt"),
        }

    def run(self, *command: str, cwd: Path = ROOT) -> str:
        """Run Python with the store as BentoML's home; return what it printed."""
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("BENTO")}
        own = {"BENTOML_HOME": str(self.home), "BENTOML_DO_NOT_TRACK": "True", "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, *command],
            env={**inherited, **own},
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def blob(self, home: Path, version: str) -> Path:
        """Return the ciphertext of a model in a home."""
        return home / "models" / "scale" / version / "sealed" / "0000.floe"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Two sealed models."""
    return Place(tmp_path_factory.mktemp("sealed"))


@pytest.fixture
def home(place: Place, tmp_path: Path) -> Path:
    """A home of this test's own, with the models in it."""
    shutil.copytree(place.home / "models", tmp_path / "models", symlinks=True)
    return tmp_path


def flip_bit(path: Path) -> None:
    """Change one bit in the middle of a file."""
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)


def ends(target: str, home: Path, environment: dict[str, str], cwd: Path = APP) -> str:
    """Start a server that must not come up; return what it said."""
    server = Server(target, home, rollout="scale", workers=1, environment=environment, cwd=cwd)
    try:
        assert server.arbiter.wait(60) != 0
        return server.said
    finally:
        server.stop()


def served(home: Path, environment: dict[str, str]) -> AbstractContextManager[Server]:
    """Serve the service from its folder."""
    target = "service:Scale"
    return serving(target, home, rollout="scale", workers=1, environment=environment, cwd=APP)


def test_sealed_models_answer(place: Place, home: Path) -> None:
    """Champion and candidate, each with its own model."""
    with served(home, place.environment) as server:
        assert answers(server) == {"first": 21, "second": 35}


def ask(server: Server, variant: str) -> httpx.Response:
    """Ask a variant what seven comes to."""
    url, headers = f"http://127.0.0.1:{server.port}/times", {"x-rollout-variant": variant}
    return httpx.post(url, json={"number": 7}, headers=headers, timeout=30)


def answers(server: Server) -> dict[str, int]:
    """Ask each variant; return what it comes to by who says that it answered."""
    asked = [ask(server.ready(), variant) for variant in ("first", "second")]
    return {answer.headers["x-rollout-variant"]: answer.json() for answer in asked}


def test_without_a_key_nothing_starts(place: Place, home: Path) -> None:
    """The process that starts the workers says what is missing, and ends."""
    policy = {"BENTO_ROLLOUT_TRUST": place.environment["BENTO_ROLLOUT_TRUST"]}
    assert "KeyUnavailable" in ends("service:Scale", home, policy)


def test_a_service_without_a_rollout_is_as_strict(place: Place, home: Path) -> None:
    """A sealed model is checked before the start, and opened in it, wherever it stands."""
    policy = {"BENTO_ROLLOUT_TRUST": place.environment["BENTO_ROLLOUT_TRUST"]}
    assert "KeyUnavailable" in ends("service:Plain", home, policy)
    target, options = "service:Plain", {"environment": place.environment, "cwd": APP}
    with serving(target, home, rollout="plain", workers=1, **options) as server:
        until(lambda: server.asks("GET", "/readyz") == httpx.codes.OK, "ready")
        assert ask(server, "nobody").json() == 21


def test_without_trust_nothing_starts(place: Place, home: Path) -> None:
    """There is no silent way to trust whoever signed."""
    key = {"BENTO_ROLLOUT_IDENTITY_FILE": place.environment["BENTO_ROLLOUT_IDENTITY_FILE"]}
    assert "PolicyViolated" in ends("service:Scale", home, key)


def test_a_champion_that_was_changed_is_not_served(place: Place, home: Path) -> None:
    """One bit of its ciphertext: the start ends with the check that failed."""
    flip_bit(place.blob(home, "first"))
    said = ends("service:Scale", home, place.environment)
    assert "ArtifactCorrupt" in said
    assert "factor.json" in said


def test_a_candidate_that_was_changed_takes_nobody_down(place: Place, home: Path) -> None:
    """It is failed, the champion answers for it, and it cannot become champion."""
    flip_bit(place.blob(home, "second"))
    with served(home, place.environment) as server:
        answer = ask(server.ready(), "second")
        assert answer.json() == 21
        assert answer.headers["x-rollout-reason"] == "unavailable"
        operator = server.operator()
        with pytest.raises(NotReady, match="ArtifactCorrupt"):
            operator.flip(to="second", reason="must not happen")
        assert operator.state.champion == "first"


def test_a_bento_holds_no_plaintext_and_serves(place: Place, tmp_path: Path) -> None:
    """Built and exported: ciphertext only; served from a home without models it answers as before."""
    project = tmp_path / "project"
    shutil.copytree(APP, project, ignore=shutil.ignore_patterns("__pycache__"))
    (project / "bentofile.yaml").write_text(
        "service: service:Scale\ninclude: ['*.py', rollout.yaml]\n", encoding="utf-8"
    )
    place.run("-m", "bentoml", "build", "--version", "v1", cwd=project)
    archive = tmp_path / "scale.tar.gz"
    place.run("-m", "bentoml", "export", "scale:v1", str(archive), cwd=project)
    bento = tmp_path / "bento"
    with tarfile.open(archive) as packed:
        packed.extractall(bento, filter="data")
    files = [path for path in bento.rglob("*") if path.is_file()]
    assert {path.parent.name for path in files if path.suffix == ".floe"} == {"sealed"}
    assert not [path for path in files if CANARY.encode() in path.read_bytes()]
    other = fresh(tmp_path / "served")
    with serving(".", other, rollout="scale", workers=1, environment=place.environment, cwd=bento) as server:
        assert answers(server) == {"first": 21, "second": 35}
    policy = {"BENTO_ROLLOUT_TRUST": place.environment["BENTO_ROLLOUT_TRUST"]}
    assert "KeyUnavailable" in ends(".", other, policy, bento)
