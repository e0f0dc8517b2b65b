"""The real service: its models answer in plain Python, and its hooks guard the flip."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bento_rollout import Flip, Veto

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


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """Return the environment of processes with a model store of their own, both models trained."""
    environment = {**os.environ, "BENTOML_HOME": str(tmp_path), "BENTOML_DO_NOT_TRACK": "True"}
    subprocess.run([sys.executable, "-m", "services.train"], cwd=ROOT, env=environment, check=True)
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


def flip_to(tmp_path: Path, answers: list[float]) -> Flip:
    """Return a flip to a model whose stored answers are 0.25 and 0.75, and that now answers these."""
    np.savez(tmp_path / "smoke.npz", rows=np.zeros((2, 30)), answers=np.array([0.25, 0.75]))
    model = SimpleNamespace(path_of=lambda name: str(tmp_path / name))
    instance: Any = SimpleNamespace(model=model, predict=lambda rows: np.array(answers[: len(rows)]))
    return Flip("screening", "logistic", "boosted", instance, "", "operator@host")


def test_warm_up_lets_a_model_pass_that_answers_as_when_it_was_trained(tmp_path: Path) -> None:
    """The same answers are no reason for a veto."""
    from services.screening import warm_up

    warm_up(flip_to(tmp_path, [0.25, 0.75]))


def test_warm_up_vetoes_a_model_that_answers_differently(tmp_path: Path) -> None:
    """A model that was damaged, or loaded by another library version, does not become champion."""
    from services.screening import warm_up

    with pytest.raises(Veto, match=r"boosted answers differently .* by up to 0\.05"):
        warm_up(flip_to(tmp_path, [0.25, 0.7]))
