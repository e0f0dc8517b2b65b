"""A real `bentoml serve` in a home of its own, and everything that it started stopped again."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

from bento_rollout.operations import Rollout
from bento_rollout.store.location import Location, locate
from bento_rollout.store.opened import open_at, presence_at

ROOT = Path(__file__).resolve().parents[2]
START = 120.0
STOP = 60.0


def until(condition: Callable[[], Any], what: str, seconds: float = 60.0, pause: float = 0.05) -> Any:
    """Return the first truth that a condition has; fail when it has none within a generous time."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"after {seconds:g} s still not: {what}"
        time.sleep(pause)
    return value


class Server:
    """One `bentoml serve` with its workers.

    Args:
        target: the import string of the service, or a folder.
        folder: where home, store, log and hooks' notes lie; stays when the server ends.
        rollout: the rollout's name.
        workers: how many workers the service asks for.
        arguments: more of the command line.
        environment: more of the environment, for commands about it, too.
        cwd: the working directory.
        python: whose environment serves it; None: this one.
        store: where the store lies; None: in the folder.
        database: the URL of a database that is the store instead.
        prefix: what the command line begins with, like ``setpriv`` and its options.
    """

    def __init__(
        self,
        target: str,
        folder: Path,
        *,
        rollout: str,
        workers: int,
        arguments: tuple[str, ...] = (),
        environment: dict[str, str] | None = None,
        cwd: Path = ROOT,
        python: Path | None = None,
        store: Path | None = None,
        database: str | None = None,
        prefix: tuple[str, ...] = (),
    ) -> None:
        self.folder, self.name, self.count, self.cwd = folder, rollout, workers, cwd
        self.port = free_port()
        self.log = folder / "server.log"
        self.store, self._database = store or folder / "rollouts.db", database
        self._more = environment or {}
        self._begin = self.log.stat().st_size if self.log.exists() else 0
        self._seen: set[psutil.Process] = set()
        script = Path(python or sys.executable).with_name("bentoml")
        address = "--host", "127.0.0.1", "--port", str(self.port)
        with self.log.open("ab") as output:
            self.arbiter = subprocess.Popen(
                [*prefix, script, "serve", target, *address, *arguments],
                cwd=cwd,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def environment(self, **more: str) -> dict[str, str]:
        """Return the environment of the server and of commands about it."""
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("BENTO", "PAIR", "KUBERNETES"))}
        own = {
            "BENTOML_HOME": str(self.folder),
            "BENTOML_DO_NOT_TRACK": "True",
            "BENTO_ROLLOUT_STORE": self.url,
            "BENTO_ROLLOUT_SINGLE_REPLICA": "1",  # wherever the tests run
            "PYTHONPATH": str(ROOT),
        }
        return {**inherited, **own, **self._more, **more}

    @property
    def url(self) -> str:
        """The store, as the environment names it."""
        return self._database or f"sqlite:///{self.store}"

    @property
    def said(self) -> str:
        """What this server has logged."""
        with self.log.open("rb") as file:
            file.seek(self._begin)
            return file.read().decode(errors="replace")

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the log lines of one event."""
        lines = (line[line.index("{") :] for line in self.said.splitlines() if f'"event": "{name}"' in line)
        return [json.loads(line) for line in lines]

    def operator(self, author: str = "ann") -> Rollout:
        """Return the rollout as an operator on this host has it."""
        # Whether this machine's disk outlives a container says nothing about the tests.
        location = self._location()
        return Rollout(self.name, open_at(location), location, author)

    def living(self) -> list[int]:
        """Return the pids of the workers that hold their liveness lock."""
        place = open_at(self._location()).place(self.name)
        return sorted(card.pid for card in presence_at(place).living())

    def _own(self) -> int:
        """Return how many of this server's workers live: where hosts share a database it has others, too."""
        living = self.living()
        if self._database is None:
            return len(living)
        children = psutil.Process(self.arbiter.pid).children(recursive=True)
        return len({child.pid for child in children} & set(living))

    def _location(self) -> Location:
        return locate(
            self.url, {"BENTO_ROLLOUT_SINGLE_REPLICA": "1", "BENTOML_HOME": str(self.folder / "operator")}
        )

    def ready(self) -> Server:
        """Wait until every worker holds its lock, and the service says that it is ready."""

        def up() -> bool:
            assert self.arbiter.poll() is None, f"the server ended ({self.arbiter.returncode}):\n{self.said}"
            self._remember()
            return self._own() == self.count and self.asks("GET", "/readyz") == http.client.OK

        until(up, f"{self.count} workers live; see {self.log}", START, 0.1)
        return self

    def asks(self, method: str, path: str) -> int:
        """Return the status of one request; 0 when there was no answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request(method, path)
            return connection.getresponse().status
        except OSError:
            return 0
        finally:
            connection.close()

    def processes(self) -> list[psutil.Process]:
        """Return every process that this server started and that still runs."""
        self._remember()
        return [process for process in self._seen if alive(process)]

    def stop(self) -> None:
        """End the server as an operator does, then whatever it left; idempotent."""
        self._remember()
        if self.arbiter.poll() is None:
            self.arbiter.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.arbiter.wait(STOP)
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.arbiter.kill()
        self.arbiter.wait()

    def _remember(self) -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            arbiter = psutil.Process(self.arbiter.pid)
            self._seen |= {arbiter, *arbiter.children(recursive=True)}


def alive(process: psutil.Process) -> bool:
    """Whether a process runs, and is not only waiting to be reaped."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def serving(target: str, folder: Path, **options: Any) -> Iterator[Server]:
    """Serve until the block ends."""
    server = Server(target, folder, **options)
    try:
        yield server
    finally:
        server.stop()


def fresh(folder: Path) -> Path:
    """Return an empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
