"""Large files: sealed, verified, opened and extracted in memory that does not grow with them.

``BENTO_ROLLOUT_TEST_GIB=4`` tries it with so many GiB.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.seals import Desk

SIZE = int(os.environ.get("BENTO_ROLLOUT_TEST_GIB", "0")) * 2**30 or 256 * 2**20
MIB = 2**20
SLACK = 4 * MIB
"""What the interpreter takes for itself meanwhile."""

MEASURED = """
import hashlib, json, os, sys, time
from pathlib import Path
from tests.unit.seals import Desk

desk, size, out = Desk(Path(sys.argv[1])), int(sys.argv[2]), Path(sys.argv[1]) / "plain"
part = os.urandom(1 << 20)

def write(tag, size):
    with desk.create(tag) as art, art.open("big", "wb") as file:
        for _ in range(size >> 20):
            file.write(part)

def seal():
    write("large:1", size)

def verify():
    desk.verify("large:1")

def extract():
    desk.open("large:1").extract("big", out)
    out.unlink()

def read():
    found = desk.open("large:1").read("big")
    assert len(found) == size and found[-len(part):] == part

def status(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(name + ":"))) << 10

write("small:1", 32 << 20)  # what is imported and allocated once
desk.verify("small:1"), desk.open("small:1").extract("big", out), desk.open("small:1").read("big")
out.unlink()
found = {}
for work in (seal, verify, extract, read):
    Path("/proc/self/clear_refs").write_text("5")
    before, began = status("VmRSS"), time.perf_counter()
    work()
    found[work.__name__] = [status("VmHWM") - before, time.perf_counter() - began]
print(json.dumps(found))
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_memory_is_bounded(tmp_path: Path) -> None:
    """With two threads: 2 MiB each to seal, 1 MiB each to open, 16 to extract, and the plaintext to read."""
    Desk.make(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, str(tmp_path), str(SIZE)], capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    told = {name: f"{peak / MIB:.1f} MiB, {seconds:.1f} s" for name, (peak, seconds) in found.items()}
    sys.stdout.write(f"{SIZE >> 20} MiB: {told}\n")  # pytest -s shows it
    limits = {"seal": 4 * MIB, "verify": 3 * MIB, "extract": 18 * MIB, "read": SIZE + 2 * MIB}
    for name, limit in limits.items():
        assert found[name][0] <= limit + SLACK, name
