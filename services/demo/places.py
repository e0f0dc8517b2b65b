"""The last act: the same candidate in four places, told by one of the examples."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from services.demo.promises import Verdict
from services.demo.screen import Screen
from services.demo.server import ROOT, environment

RUNNERS = ("worker", "worker", "process", "service", "url")
"""Where the champion and the four candidates run, in the order in which the example asks them."""

SECONDS = 90.0


def four_places(home: Path, screen: Screen) -> Verdict:
    """Let the example tell its story, show what it says, and judge it."""
    screen.say("the same candidate in the worker, in a process, in a service of its own and at a URL")
    done = subprocess.run(
        [sys.executable, "examples/runners.py"],
        cwd=ROOT,
        env=environment(home / "places"),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    told = [line for line in done.stdout.splitlines() if ", runner " in line or " is killed" in line]
    for line in told:
        screen.say(f"  {line}")
    runners = tuple(line.partition(", runner ")[2].partition(":")[0] for line in told[:-1])
    kept = done.returncode == 0 and runners == RUNNERS and told[-1].endswith("callers get {'older': 20}")
    detail = "one was killed, and the champion answered" if kept else (done.stderr or done.stdout)[-300:]
    return Verdict("a candidate answers wherever it runs, and its death is nobody else's", kept, detail)
