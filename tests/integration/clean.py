"""An environment that holds what a bento requires, and nothing else."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def clean_python(bento: Path, factory: pytest.TempPathFactory) -> Path:
    """Return the Python of an environment made from a bento's own requirements.

    Bentos that require the same share one: it is made once in a session, by the process that asks first.
    """
    requirements = bento / "env" / "python" / "requirements.txt"
    session = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        session = session.parent
    folder = session / f"clean-{hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]}"
    whole = folder / "whole"
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not whole.exists():
            shutil.rmtree(folder, ignore_errors=True)
            _run(sys.executable, "-m", "venv", str(folder))
            _run(str(folder / "bin/pip"), "install", "-q", "-r", str(requirements), cwd=bento)
            whole.touch()
    return folder / "bin" / "python"


def _run(*command: str, cwd: Path | None = None) -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        command, cwd=cwd, env=environ, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, f"{command}:\n{done.stdout[-3000:]}{done.stderr[-5000:]}"
