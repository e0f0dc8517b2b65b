"""An environment that holds what a bento requires, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

_made: dict[str, Path] = {}


def clean_python(bento: Path, factory: pytest.TempPathFactory) -> Path:
    """Return the Python of an environment made from a bento's own requirements.

    Bentos that require the same share one: it is made once in a session.
    """
    requirements = bento / "env" / "python" / "requirements.txt"
    wanted = requirements.read_text(encoding="utf-8")
    if wanted not in _made:
        folder = factory.mktemp("clean") / "venv"
        _run(sys.executable, "-m", "venv", str(folder))
        _run(str(folder / "bin/pip"), "install", "-q", "-r", str(requirements), cwd=bento)
        _made[wanted] = folder / "bin" / "python"
    return _made[wanted]


def _run(*command: str, cwd: Path | None = None) -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        command, cwd=cwd, env=environ, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, f"{command}:\n{done.stdout[-3000:]}{done.stderr[-5000:]}"
