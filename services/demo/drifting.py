"""An act of the demo: what comes to a service changes; that is found, and pauses its rollout."""

from __future__ import annotations

import json
import shlex
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from services.demo.promises import Verdict
from services.demo.screen import Screen
from services.demo.server import ROOT, command, environment, serving

SERVICE, NAME = "examples.drift:Triage", "triage"
PEOPLE = 200
"""Visitors before the change, and after it."""
WARMER = 0.7
"""Degrees that new thermometers read too much."""
ALARMED = 7
"""Exit code of ``drift NAME status`` while an alarm waits for a person."""
PATIENCE = 60.0


def alarm_and_pause(home: Path, screen: Screen) -> Verdict:
    """Serve an example while a try runs, shift what it is asked, and judge what is made of that."""
    screen.say("what comes in is watched: an emergency room gets thermometers that read too much")
    place = home / "drift"
    with serving(place, home / "server.log", SERVICE) as port:
        operator = _Operator(place)
        operator.run("start", NAME, "--reason", "fewer people should wait")
        _until(lambda: operator.status()["watched"], "the watch begins")
        _ask(port, 0.0)
        _until(lambda: _rows(operator) == PEOPLE, "all visitors are looked at")
        before = operator.run("drift", NAME, "status").returncode
        screen.say(f"  {PEOPLE} came as ever: exit code {before}; then {PEOPLE} with {WARMER:g} degrees more")
        _ask(port, WARMER)
        _until(lambda: operator.history()[0]["action"] == "pause", "the rollout is paused")
        during = operator.run("drift", NAME, "status").returncode
        found, paused = operator.status()["alarms"][0], operator.history()[0]
        screen.say(f"  {found['words']}")
        screen.say(f"  $ bento-rollout drift {NAME} status: exit code {during}; paused by {paused['author']}")
        acknowledged = operator.run("drift", NAME, "ack", "--reason", "the thermometers are replaced")
        screen.say(f"  {acknowledged.stdout.strip()}")
    features, codes = found["acting"], (before, during, acknowledged.returncode)
    kept = features == ["temperature"] and codes == (0, ALARMED, 0) and paused["author"] == "drift"
    detail = f"{', '.join(features)} is named after {found['row'] - PEOPLE} rows; exit code {during}"
    return Verdict("a change of what comes in is found, and pauses the rollout", kept, detail)


class _Operator:
    """Runs ``bento-rollout`` in the home of the service, and looks at exit codes."""

    def __init__(self, place: Path) -> None:
        self._environment = environment(place)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command; exit codes other than 0 and 7 end the demo."""
        done = subprocess.run(
            [command("bento-rollout"), *arguments],
            cwd=ROOT,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        if done.returncode not in (0, ALARMED):
            told = (done.stderr or done.stdout).strip()
            raise RuntimeError(f"bento-rollout {shlex.join(arguments)}: exit {done.returncode}: {told}")
        return done

    def status(self) -> dict[str, Any]:
        """Return how the watch stands."""
        found: dict[str, Any] = json.loads(self.run("drift", NAME, "status", "--json").stdout)
        return found

    def history(self) -> list[dict[str, Any]]:
        """Return the newest revision."""
        found: list[dict[str, Any]] = json.loads(self.run("history", NAME, "--json").stdout)
        return found


def _rows(operator: _Operator) -> int:
    return int(operator.status()["tests"]["data"]["rows"])


def _ask(port: int, warmer: float) -> None:
    """Let people come, one after another."""
    draw = np.random.default_rng([2, int(warmer * 10)])
    rows = draw.normal([50, 37.2 + warmer, 85], [15, 0.7, 14], (PEOPLE, 3)).tolist()
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE) as client:
        for number, (age, temperature, pulse) in enumerate(rows):
            body = {"age": age, "temperature": temperature, "pulse": pulse}
            answer = client.post("/urgent", json=body, headers={"x-visitor": f"visitor-{number}"})
            answer.raise_for_status()


def _until(true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        if time.monotonic() > deadline:
            raise RuntimeError(f"after {PATIENCE:.0f} s still not: {what}")
        time.sleep(0.2)
