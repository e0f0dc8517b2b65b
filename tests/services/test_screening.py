"""The real service: its models answer in plain Python, and its hooks guard the flip."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import joblib
import numpy as np
import pytest

from bento_rollout import Flip, Veto, artifacts
from bento_rollout.artifacts import FolderShelf, verify
from services.data import split

ROOT = Path(__file__).resolve().parents[2]
PLAY = """
import json
import numpy as np
from services.data import split
from services.screening import Biopsy, Nuclei, Screening
held = split()[1]
service = Screening()
sure = service.predict(held.rows)
names = list(Nuclei.model_fields)
parts = (dict(zip(names, held.rows[0, start : start + 10])) for start in (0, 10, 20))
one = service.assess(Biopsy(**dict(zip(("mean", "error", "worst"), parts))))
accuracy = float(np.mean((sure >= 0.5) == held.malignant))
print(json.dumps([accuracy, one.probability - sure[0], one.malignant == (one.probability >= 0.5)]))
"""


def train(environment: dict[str, str], *options: str) -> str:
    """Train, and return what was said of it."""
    command = [sys.executable, "-m", "services.train", *options]
    return subprocess.run(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True
    ).stdout


def serial(keys: Path) -> int:
    """Return the serial of the newest candidate, which is verified."""
    shelf = FolderShelf(keys.parent / "models")
    return verify("screening-boosted", policy=keys / "trust.toml", shelf=shelf).manifest.serial


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """Return the environment of processes with a model store of their own, both models trained."""
    environment = {**os.environ, "BENTOML_HOME": str(tmp_path), "BENTOML_DO_NOT_TRACK": "True"}
    train(environment)
    return environment


def test_an_instance_in_python_is_the_champion(home: dict[str, str]) -> None:
    """Without a server the service is a plain class, and its endpoints call each other."""
    done = subprocess.run(
        [sys.executable, "-c", PLAY], cwd=ROOT, env=home, capture_output=True, text=True, check=True
    )
    accuracy, difference, agrees = json.loads(done.stdout.splitlines()[-1])
    assert accuracy > 0.95
    assert abs(difference) < 1e-12
    assert agrees is True


def test_training_makes_keys_once_and_counts_releases(home: dict[str, str]) -> None:
    """Private keys are their owner's alone; the next training signs with the same, with the next serial."""
    keys = Path(home["BENTOML_HOME"], "screening-keys")
    assert {(keys / name).stat().st_mode & 0o777 for name in ("identity.txt", "sign.pem")} == {0o600}
    assert serial(keys) == 1
    before = {path.name: path.read_bytes() for path in keys.iterdir()}
    assert train(home, "--if-missing") == ""
    assert "sealed screening-logistic:" in train(home)
    assert serial(keys) == 2
    assert {path.name: path.read_bytes() for path in keys.iterdir()} == before


def test_a_careless_release_fails_for_some_and_can_be_mended_alone(home: dict[str, str]) -> None:
    """What the demo rolls back: training does not see it; only the model that is named is sealed."""
    keys = Path(home["BENTOML_HOME"], "screening-keys")
    assert train(home, "screening-boosted", "--careless").count("sealed ") == 1
    policy, identity = keys / "trust.toml", keys / "identity.txt"
    shelf = FolderShelf(keys.parent / "models")
    sealed = artifacts.open("screening-boosted", policy=policy, identity=identity, shelf=shelf)
    model = joblib.load(sealed.open("model.joblib"))
    learnt, held = split()
    assert np.isfinite(model.predict_proba(learnt.rows)).all()
    failed = 0
    for row in held.rows:
        try:
            model.predict_proba(row[np.newaxis])
        except ValueError:
            failed += 1
    assert 0.1 < failed / len(held.rows) < 0.3
    assert "right in" in train(home, "screening-boosted")
    assert serial(keys) == 3


def test_models_that_do_not_open_are_trained_anew(home: dict[str, str]) -> None:
    """With lost keys, the models are as good as missing: there are new keys, and models for them."""
    keys = Path(home["BENTOML_HOME"], "screening-keys")
    shutil.rmtree(keys)
    said = train(home, "--if-missing")
    assert said.startswith(f"made keys in {keys}")
    assert said.count("sealed screening-") == 2
    assert train(home, "--if-missing") == ""


def test_where_a_host_names_its_own_keys_ours_are_not_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A policy of the host's brings its identity; an identity of the host's leaves our policy."""
    from services import keys

    for name in [name for name in os.environ if name.startswith("BENTO")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("BENTOML_HOME", "/home/of")
    ours = (Path("/home/of/screening-keys/trust.toml"), Path("/home/of/screening-keys/identity.txt"))
    assert (keys.policy(), keys.identity()) == ours
    monkeypatch.setenv("BENTO_ROLLOUT_IDENTITY_FILE", "/run/secrets/identity")
    assert (keys.policy(), keys.identity()) == (ours[0], None)
    monkeypatch.setenv("BENTO_ROLLOUT_TRUST", "/etc/trust.toml")
    monkeypatch.delenv("BENTO_ROLLOUT_IDENTITY_FILE")
    assert (keys.policy(), keys.identity()) == (None, None)


def flip_to(answers: list[float]) -> Flip:
    """Return a flip to a model whose answers in training were 0.25 and 0.75, and that now answers these."""
    model = SimpleNamespace(rows=np.zeros((2, 30)), answers=np.array([0.25, 0.75]))
    instance: Any = SimpleNamespace(model=model, predict=lambda rows: np.array(answers[: len(rows)]))
    return Flip("screening", "logistic", "boosted", instance, "", "operator@host")


def test_warm_up_lets_a_model_pass_that_answers_as_when_it_was_trained() -> None:
    """The same answers are no reason for a veto."""
    from services.screening import warm_up

    warm_up(flip_to([0.25, 0.75]))


def test_warm_up_vetoes_a_model_that_answers_differently() -> None:
    """A model that was damaged, or loaded by another library version, does not become champion."""
    from services.screening import warm_up

    with pytest.raises(Veto, match=r"boosted answers differently .* by up to 0\.05"):
        warm_up(flip_to([0.25, 0.7]))
