"""A service that starts over something that can be no store answers all the same, and says once why."""

from __future__ import annotations

import http.client
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import pytest

from bento_rollout.store.sqlite import SQLiteStore
from tests.integration.callers import Load
from tests.integration.running import serving, until

pytestmark = [pytest.mark.server, pytest.mark.fault, pytest.mark.slow]


@contextmanager
def beside_a_file(home: Path) -> Iterator[None]:
    """A file lies where the folder beside the store has its place."""
    (home / "rollouts.db.d").touch()
    yield


@contextmanager
def counter_is_a_pipe(home: Path) -> Iterator[None]:
    """The counter is a pipe that nobody writes to: opening it would wait for ever."""
    place = SQLiteStore(home / "rollouts.db").place("pair")
    place.mkdir(parents=True)
    os.mkfifo(place / "counter")
    yield


@contextmanager
def locked(home: Path) -> Iterator[None]:
    """Another process has the database for itself, and keeps it."""
    with closing(sqlite3.connect(home / "rollouts.db", isolation_level=None)) as db:
        db.execute("BEGIN EXCLUSIVE")
        yield


@pytest.mark.parametrize(
    "odd", [beside_a_file, counter_is_a_pipe, locked], ids=lambda odd: getattr(odd, "__name__", "")
)
def test_a_service_starts(tmp_path: Path, odd: Callable[[Path], AbstractContextManager[None]]) -> None:
    """It is ready, every call is answered by the spec's champion, nobody is respawned, one line says why."""
    environment = {"PAIR_WORKERS": "1"}
    target = "tests.integration.apps.pair:Pair"
    with (
        odd(tmp_path),
        serving(target, tmp_path, rollout="pair", workers=1, environment=environment) as server,
    ):
        until(lambda: server.asks("GET", "/readyz") == http.client.OK, f"ready; see {server.log}")
        with Load(server.port, 4, pause=0.05) as load:
            time.sleep(3)  # three looks at the store
            command = [str(Path(sys.executable).with_name("bento-rollout")), "doctor"]
            doctor = subprocess.run(
                command, env=server.environment(), capture_output=True, text=True, timeout=60, check=False
            )
        assert load.failures == []
        assert {(answer.variant, answer.revision) for answer in load.answers} == {("blue", 0)}
        assert len({answer.body["pid"] for answer in load.answers}) == 1
        (line,) = server.events("store.unreachable")
        assert line["serving"] == "the spec"
        assert server.events("worker.error") == []
        assert doctor.returncode in (1, 4)
        assert "rollouts.db" in doctor.stdout
