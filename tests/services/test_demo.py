"""`make demo` as a person runs it: the whole story, piped, ends by itself with every promise kept."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.server
@pytest.mark.slow
def test_the_demo_keeps_every_promise() -> None:
    """Exit 0, no promise broken, nothing left behind."""
    before = set((ROOT / ".demo").glob("run-*"))
    done = subprocess.run(
        [sys.executable, "-m", "services.demo"],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert "BROKEN" not in done.stdout
    assert "25 of 25 promises kept" in done.stdout
    assert set((ROOT / ".demo").glob("run-*")) == before
