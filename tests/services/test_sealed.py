"""The search for plaintext: nothing is found where models are sealed, and all that was left open is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from services.demo.sealed import PIECE, exposed, opened, secrets
from services.demo.server import ROOT

KEYS = "screening-keys"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with both models, and their keys."""
    home = tmp_path_factory.mktemp("home")
    env = {**os.environ, "BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "True"}
    subprocess.run([sys.executable, "-m", "services.train"], cwd=ROOT, env=env, check=True)
    return home


@pytest.fixture
def home(trained: Path, tmp_path: Path) -> Path:
    """A home of this test's own."""
    return Path(shutil.copytree(trained, tmp_path / "home", symlinks=True))


def test_a_store_of_sealed_models_holds_no_secret(home: Path) -> None:
    """Every file is read, ciphertexts too, and there are many pieces to look for."""
    needles = list(secrets(home))
    assert len(needles) > 50
    count, found = exposed([home / "models"], needles)
    assert count >= len(list((home / "models").rglob("*.floe")))
    assert found == []


@pytest.mark.parametrize("name", ["screening-logistic", "screening-boosted"])
@pytest.mark.parametrize("path", ["model.joblib", "smoke.npz"])
def test_a_model_that_was_left_open_is_found(home: Path, name: str, path: str) -> None:
    """Beside its ciphertext, and in the middle of an archive."""
    left = home / "models" / name / "left.bin"
    opened(home, name).extract(path, left)
    assert exposed([home / "models"], secrets(home))[1] == [left]
    archive = home / "packed.tar"
    with tarfile.open(archive, "w") as packed:
        packed.add(left)
    left.unlink()
    assert exposed([home / "models", archive], secrets(home))[1] == [archive]


def test_a_part_of_a_model_is_found(home: Path) -> None:
    """A draft that was cut short, from anywhere in the file."""
    left = home / "models" / "draft"
    left.write_bytes(bytes(opened(home, "screening-boosted").read("model.joblib"))[5000 : 9000 + PIECE])
    assert exposed([home / "models"], secrets(home))[1] == [left]


@pytest.mark.parametrize("name", ["identity.txt", "sign.pem"])
def test_a_private_key_is_found(home: Path, name: str) -> None:
    """A key that was packed with the code, as text among others."""
    left = home / "models" / "notes.md"
    left.write_bytes(b"> " + (home / KEYS / name).read_bytes().replace(b"\n", b"\n> "))
    assert exposed([home / "models"], secrets(home))[1] == [left]


def test_public_keys_may_lie_anywhere(home: Path) -> None:
    """Who is trusted, and for whom it is sealed, is no secret."""
    for name in ("recipient.txt", "sign.pub.pem", "trust.toml"):
        shutil.copy2(home / KEYS / name, home / "models")
    assert exposed([home / "models"], secrets(home))[1] == []
