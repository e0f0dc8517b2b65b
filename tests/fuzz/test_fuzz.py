"""The fuzzer runs, and finds what it looks for; `make fuzz` runs it for long."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent

BROKEN = """
import sys
from tests.fuzz import __main__ as fuzz
from tests.fuzz.targets import Target

def raises(raw): raise KeyError("undeclared")
def hangs(raw):
    while True: pass
def eats(raw): bytearray(2 * fuzz.MEMORY)
def lies(raw): assert not raw
def tells(raw): raise ValueError("x" * 5000)
def relative(raw): raise UnicodeError("a relative of what is declared")

broken = globals()[sys.argv.pop()]
fuzz.SECONDS = 0.5
fuzz.targets = lambda: {"broken": Target("broken", [b"seed"], broken, (ValueError,))}
sys.exit(fuzz.main())
"""


def test_thousands_of_cases() -> None:
    """Every parser refuses or round-trips, with the same seed each time."""
    line = [sys.executable, "-m", "tests.fuzz", "--cases", "24000", "--seed", "20260101"]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.findall(r"^(.+?) +3000 cases, +(\d+) accepted", done.stdout, re.MULTILINE)
    assert len(found) == 8
    assert all(0 < int(accepted) < 1500 for _, accepted in found), (
        "a target that accepts nothing tests little"
    )


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("raises", "KeyError"),
        ("hangs", "Hung: it takes longer than"),
        ("eats", "MemoryError"),
        ("lies", "AssertionError"),
        ("tells", "a message as long as what it tells of"),
        ("relative", "UnicodeError is only a relative"),
    ],
)
def test_a_broken_parser_is_found(tmp_path: Path, fault: str, told: str) -> None:
    """What it raises, how long it takes, what it accepts: each ends the run; the input is in a file."""
    line = [sys.executable, "-c", BROKEN, "--cases", "10", "--seed", "1", fault]
    done = subprocess.run(
        line, cwd=ROOT, env={"TMPDIR": str(tmp_path)}, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1, done.stderr
    assert told in done.stdout
    assert "1 targets failed" in done.stdout
    assert len(list(tmp_path.glob("fuzz-*"))) == 1
