"""The log of a real server: nothing is lost when it ends, and nothing that happens to it costs an answer."""

from __future__ import annotations

import http.client
import json
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import Self

from tests.integration.running import Server, serving, until

pytestmark = pytest.mark.server

TARGET = "tests.integration.apps.logged:Logged"


class Callers:
    """Ask until they are stopped, or the server is gone; keep the ids of their answers."""

    def __init__(self, port: int, count: int = 8, path: str = "/who") -> None:
        self.ids: list[str] = []
        self.failures: list[str] = []
        self._port, self._path, self._over = port, path, threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(n,), daemon=True) for n in range(count)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()

    def _ask(self, number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        while not self._over.is_set():
            try:
                answer = ask(connection, self._path, f"u{number}")
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
                return
            self.ids.append(answer)
        connection.close()


def ask(connection: http.client.HTTPConnection, path: str, key: str) -> str:
    """Ask once; returns the prediction's id."""
    connection.request("POST", path, "{}", {"Content-Type": "application/json", "x-key": key})
    answer = connection.getresponse()
    answer.read()
    return answer.headers["x-rollout-prediction-id"]


def many(server: Server, count: int, path: str = "/who") -> list[str]:
    """Ask many times, one after the other; returns the predictions' ids."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        return [ask(connection, path, f"u{number}") for number in range(count)]
    finally:
        connection.close()


def lines_of(text: str) -> list[dict[str, Any]]:
    """Return the lines about predictions and about the log itself; each line of ours must be whole."""
    found = [json.loads(line) for line in text.splitlines() if line.startswith('{"')]
    return [line for line in found if line["event"].partition(".")[0] in ("prediction", "log")]


def test_no_line_is_lost_when_the_server_ends_under_load(tmp_path: Path) -> None:
    """Two workers into one file: one line for each answer that a caller got, and all are whole."""
    with serving(TARGET, tmp_path, rollout="logged", workers=2) as server:
        server.ready()
        with Callers(server.port) as callers:
            until(lambda: len(callers.ids) > 2000 or callers.failures, "they are answered")
            assert callers.failures == []
            server.arbiter.send_signal(signal.SIGTERM)
            assert server.arbiter.wait(60) == 0
        lines = lines_of(server.said)
        told = [line["prediction_id"] for line in lines]
        assert len(callers.ids) > 2000
        assert set(callers.ids) - set(told) == set()
        assert len(told) == len(set(told))
        assert {line["event"] for line in lines} == {"prediction.served"}
        assert {line["variant"] for line in lines} == {"one", "two"}


@pytest.mark.parametrize("reader", ["never reads", "has gone"])
def test_a_log_pipe_that_is_stuck_or_gone(tmp_path: Path, reader: str) -> None:
    """Predictions go on, and the server ends as it should; a pipe takes far fewer lines than are written."""
    command = "sleep 600" if reader == "never reads" else "true"
    prefix = ("bash", "-c", f'exec "$@" 2> >(exec {command})', "bash")
    with serving(TARGET, tmp_path, rollout="logged", workers=2, prefix=prefix) as server:
        server.ready()
        ids = many(server, 1000)
        assert len(set(ids)) == 1000
        assert server.operator().set_weights({"two": 0}).state.percents == {"two": 0}
        assert None not in many(server, 100)
        server.arbiter.send_signal(signal.SIGTERM)
        assert server.arbiter.wait(60) == 0


def test_a_pipe_that_is_read_again_tells_what_was_lost(tmp_path: Path) -> None:
    """What found no room is counted, and told once; what is written stays in order."""
    pipe = tmp_path / "stderr"
    os.mkfifo(pipe)
    end = os.open(pipe, os.O_RDWR)
    prefix = ("bash", "-c", f'exec "$@" 2> {pipe}', "bash")
    with serving(TARGET, tmp_path, rollout="logged", workers=2, prefix=prefix) as server:
        server.ready()
        with Callers(server.port, 16) as callers:
            until(lambda: len(callers.ids) > 2000 or callers.failures, "they are answered")
        assert callers.failures == []
        text = bytearray()
        reading = threading.Thread(target=read_all, args=(end, text), daemon=True)
        reading.start()
        more = many(server, 10)
        server.arbiter.send_signal(signal.SIGTERM)
        assert server.arbiter.wait(60) == 0
        os.write(end, b"\nover\n")
        reading.join(60)
        os.close(end)
    told = {line["prediction_id"] for line in lines_of(text.decode()) if line["event"] != "log.lost"}
    assert {*callers.ids, *more} == told  # there was room for all in the workers


def read_all(end: int, text: bytearray) -> None:
    """Read a pipe until it says that it is over."""
    while not text.endswith(b"\nover\n"):
        text += os.read(end, 1 << 16)


def test_a_users_structlog(tmp_path: Path) -> None:
    """Lines are the user's: in the user's form and file; a processor with a bug costs its lines only."""
    mine = tmp_path / "mine.log"
    environment = {"LOGGED_STRUCTLOG": str(mine)}
    with serving(TARGET, tmp_path, rollout="logged", workers=2, environment=environment) as server:
        server.ready()
        served, failed = many(server, 50), many(server, 5, "/fail")
    assert None not in failed
    text = mine.read_text()
    assert all(f"prediction_id='{one}'" in text for one in served)
    assert "event='rollout.store'" in text
    said = server.events("log.failed")
    assert 1 <= len(said) <= 2  # once for each worker that met it
    assert {(line["error"], line["line"]) for line in said} == {("KeyError", "prediction.failed")}
    assert "secret" not in server.said.replace("BENTO", "")
    assert server.events("prediction.served") == []


def test_nothing_is_sampled_but_what_fails(tmp_path: Path) -> None:
    """With a part of nothing the failures are there, all of them."""
    with serving(TARGET, tmp_path, rollout="logged", workers=2, environment={"LOGGED_SAMPLE": "0"}) as server:
        server.ready()
        many(server, 50)
        failed = many(server, 20, "/fail")
    lines = lines_of(server.said)
    assert [line["event"] for line in lines] == ["prediction.failed"] * 20
    assert {line["prediction_id"] for line in lines} == set(failed)
