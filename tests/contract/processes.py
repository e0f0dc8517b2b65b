"""Starts services as users do: `bentoml serve` in a process with a home and a store of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).parents[2]


class Server:
    """One `bentoml serve` with a home of its own."""

    def __init__(self, target: str, folder: Path) -> None:
        self.notes = folder / "notes.jsonl"
        self.notes.touch()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.log = folder / "log.txt"
        environment = {
            **os.environ,
            "BENTOML_HOME": str(folder / "home"),
            "BENTO_ROLLOUT_STORE": f"sqlite:///{folder}/store.db",
            "WIRE_NOTES": str(self.notes),
            "PYTHONPATH": str(ROOT),
        }
        command = [
            sys.executable,
            "-m",
            "bentoml",
            "serve",
            target,
            "--port",
            str(port),
            "--host",
            "127.0.0.1",
        ]
        with self.log.open("w") as out:
            self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=out, stderr=out)

    def wait(self) -> Server:
        """Wait until the service answers."""
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                if httpx.get(f"{self.url}/readyz", timeout=5).status_code == 200:
                    return self
            except httpx.HTTPError:
                pass
            time.sleep(0.1)
        raise AssertionError(self.log.read_text()[-4000:])

    def stop(self) -> None:
        """Let it end as an operator would."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)

    def noted(self) -> list[dict[str, Any]]:
        """Return what methods and sink have written."""
        return [json.loads(line) for line in self.notes.read_text().splitlines()]

    def wait_for(self, condition: Callable[[list[dict[str, Any]]], bool]) -> list[dict[str, Any]]:
        """Wait until the notes say something."""
        deadline = time.monotonic() + 20
        while not condition(noted := self.noted()):
            assert time.monotonic() < deadline, (noted[-5:], self.log.read_text()[-2000:])
            time.sleep(0.02)
        return noted
