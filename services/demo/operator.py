"""An operator at the shell: runs `bento-rollout`, and knows when each command began and when it returned."""

from __future__ import annotations

import json
import shlex
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.demo.server import ROOT, command, environment

NAME = "screening"


@dataclass(frozen=True)
class Step:
    """A state that the operator asked for.

    Attributes:
        title: what the table calls it.
        share: percent of the patients that the candidate is to answer.
        issued: when the command began (monotonic).
        returned: when it returned; every request that starts later must see its revision.
        revision: the revision that it committed.
        line: the command as typed.
    """

    title: str
    share: float
    issued: float
    returned: float
    revision: int
    line: str = ""


class CommandFailed(RuntimeError):
    """A command of the operator did not exit with 0."""


class Operator:
    """Runs the real command in the same home as the service."""

    def __init__(self, home: Path) -> None:
        self._environment = environment(home)

    def ask(self, *arguments: str, html: bool = False) -> Any:
        """Run a command with ``--json`` and return what it printed; or with ``--html``, for a page."""
        printed = self.run(*arguments, "--html" if html else "--json")
        return None if html else json.loads(printed)

    def run(self, *arguments: str) -> str:
        """Run a command and return what it printed."""
        done = subprocess.run(
            [command("bento-rollout"), *arguments],
            cwd=ROOT,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if done.returncode != 0:
            told = (done.stderr or done.stdout).strip()
            raise CommandFailed(f"bento-rollout {shlex.join(arguments)}: exit {done.returncode}: {told}")
        return done.stdout

    def step(self, title: str, share: float, verb: str, arguments: Sequence[str], reason: str) -> Step:
        """Run a command that changes the state, and return the step that it made."""
        line = [verb, NAME, *arguments, "--reason", reason]
        issued = time.monotonic()
        state = self.ask(*line)
        returned = time.monotonic()
        return Step(
            title, share, issued, returned, int(state["revision"]), f"bento-rollout {shlex.join(line)}"
        )

    def status(self) -> Any:
        """Return the rollout's state, as ``status --json`` prints it."""
        return self.ask("status", NAME)

    def history(self) -> list[Any]:
        """Return the rollout's revisions, newest first."""
        revisions: list[Any] = self.ask("history", NAME)
        return revisions

    def assigned(self, keys: Sequence[str]) -> dict[str, str]:
        """Return who answers each of these keys now."""
        options = [part for key in keys for part in ("--key", key)]
        return {row["key"]: row["variant"] for row in self.ask("assign", NAME, *options)}
