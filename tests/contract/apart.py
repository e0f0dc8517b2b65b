"""A candidate's service as `bentoml serve` starts it: a worker on a socket that somebody else holds."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from bentoml._internal.configuration.containers import BentoMLContainer

ROOT = Path(__file__).parents[2]


class Callee:
    """One service behind a socket that stays open whatever becomes of its worker.

    Args:
        target: what the worker imports.
        name: the service in it.
        folder: where its socket, its home and its log are.
    """

    def __init__(self, target: str, name: str, folder: Path) -> None:
        self.target, self.name, self.folder = target, name, folder
        path = folder / f"{name}.sock"
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(str(path))
        self.socket.listen(128)
        self.log = folder / f"{name}.log"
        self.process: subprocess.Popen[bytes] | None = None
        BentoMLContainer.remote_runner_mapping.get()[name] = path.as_uri()

    def start(self) -> Callee:
        """Start its worker."""
        fd = self.socket.fileno()
        command = [
            *(sys.executable, "-m", "_bentoml_impl.worker.service", self.target),
            *("--service-name", self.name, "--fd", str(fd), "--worker-id", "1"),
        ]
        environment = {**os.environ, "BENTOML_HOME": str(self.folder / "home"), "PYTHONPATH": str(ROOT)}
        with self.log.open("a") as out:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=out, stderr=out, pass_fds=[fd]
            )
        return self

    def kill(self, how: int = signal.SIGKILL) -> None:
        """End its worker; the socket stays."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(30)

    def stop(self) -> None:
        """End it all."""
        self.kill()
        self.socket.close()
        BentoMLContainer.remote_runner_mapping.get().pop(self.name, None)
