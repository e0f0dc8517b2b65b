"""A real server watches what it is asked: it alarms, pauses its rollout, demotes, and survives kill -9."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from bento_rollout.degrees import Degree
from bento_rollout.ladder import Certificate
from bento_rollout.reviewing import Selection
from bento_rollout.store import files
from bento_rollout.store.reviews import Reviews
from bento_rollout.store.sqlite import SQLiteStore
from tests.drift_rows import draw, reference
from tests.integration.callers import Line, line_to_each
from tests.integration.running import Server, serving, until

pytestmark = pytest.mark.server

TARGET = "tests.integration.apps.drifts:Drifts"


@pytest.fixture
def server(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Server]:
    """Serve with two workers; a parameter is more of the environment."""
    (tmp_path / "reference.json").write_text(reference().to_json(), encoding="utf-8")
    environment = {
        "DRIFTS_REFERENCE": str(tmp_path / "reference.json"),
        "BENTO_ROLLOUT_ADMIN_TOKEN": "sesame-sesame-sesame",
        **getattr(request, "param", {}),
    }
    with serving(TARGET, tmp_path, rollout="drifts", workers=2, environment=environment) as started:
        started.ready()
        until(lambda: len(started.events("drift.reference")) == 2, "both workers have the reference")
        until(lambda: started.operator().drift.status()["watched"], "the watch begins")
        yield started


def ask(server: Server, rows: Any, each: int = 20) -> list[httpx.Response]:
    """Ask about rows, some in each call."""
    found = []
    with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=60) as client:
        for start in range(0, len(rows), each):
            body = {"rows": np.asarray(rows[start : start + each]).tolist()}
            found.append(client.post("/read", json=body, headers={"prefer": "respond-async"}))
    return found


def taken(server: Server, rows: int, test: str = "data") -> dict[str, Any]:
    """Wait until so many rows were tested, and return how that stands."""

    def stands() -> dict[str, Any] | None:
        found: dict[str, Any] = server.operator().drift.status()["tests"][test]
        return found if found["rows"] >= rows else None

    found: dict[str, Any] = until(stands, f"{rows} rows are tested")
    return found


def command(server: Server, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command about the rollout's drift."""
    return subprocess.run(
        [sys.executable, "-m", "bento_rollout.cli", "drift", "drifts", *arguments],
        env=server.environment(),
        capture_output=True,
        text=True,
        check=False,
    )


def entrust(server: Server) -> None:
    """Let the model decide by itself."""
    rolled = server.operator()
    certificate = Certificate(
        digest=rolled.state.champions_digest, variant="first", threshold=0.9, target_error=0.05,
        confidence=0.95, labels=400, accepted=300, errors=1, coverage=0.9, full=True, at=time.time(),
        author="ann",
    )  # fmt: skip
    rolled._desk.change("calibrate", lambda state, _: state.certify("read", certificate), "", None)
    rolled.set_degree("read", "partial")


def _told_over_http(address: str, bearer: dict[str, str]) -> None:
    report = httpx.get(f"{address}/report", headers=bearer).json()["tests"]["data"]
    assert report["features"][0]["name"] == "feature_1"
    assert report["timeline"]
    again = httpx.get(f"{address}/replay", headers=bearer, timeout=60).json()["tests"]["data"]
    assert again["same"] is True


def test_a_shift_pauses_the_rollout_and_hands_decisions_back(server: Server) -> None:
    """Alarm, pause, demotion, exit 7; acknowledged 0; the new normal becomes the reference."""
    entrust(server)
    quiet = ask(server, draw(400, 1))
    assert {one.headers["x-rollout-decided-by"] for one in quiet} == {"model"}
    taken(server, 400)
    assert command(server, "status").returncode == 0
    ask(server, draw(400, 2, shift=2.0))

    def alarmed() -> dict[str, Any] | None:
        found: list[dict[str, Any]] = server.operator().drift.status()["alarms"]
        return found[0] if found and {"pause", "demote"} <= found[0]["acts"].keys() else None

    alarm = until(alarmed, "an alarm that has acted")
    assert alarm["acting"][0] == "feature_1"
    assert "feature_1 is higher" in alarm["words"]
    state = server.operator().state
    assert state.paused
    assert state.automation["read"].demoted
    authors = [(one.author, one.action) for one in server.operator().history()]
    assert authors.count(("drift", "pause")) == 1
    assert authors.count(("automation", "demote")) == 1
    done = command(server, "status", "--json")
    assert done.returncode == 7
    assert json.loads(done.stdout)["latched"]
    assert "ALARM" in command(server, "status").stdout
    found = until(lambda: server.events("drift.alarm"), "a log line")
    assert len(found) == 1
    assert found[0]["features"][0] == "feature_1"
    base = f"http://127.0.0.1:{server.port}"
    until(lambda: "bento_rollout_drift_latched" in httpx.get(f"{base}/metrics").text, "metrics")
    until(lambda: 'test="data"} 1.0' in httpx.get(f"{base}/metrics").text, "the gauge is 1")
    bearer = {"authorization": "Bearer sesame-sesame-sesame"}
    assert httpx.get(f"{base}/rollout/admin/drift", headers=bearer).json()["latched"]
    _told_over_http(f"{base}/rollout/admin/drift", bearer)
    page = server.folder / "drift.html"
    assert command(server, "report", "--html", str(page)).returncode == 0
    assert "feature_1 is higher" in page.read_text(encoding="utf-8")
    acknowledged = httpx.post(
        f"{base}/rollout/admin/drift/ack", headers=bearer, json={"reason": "seen", "alarm": alarm["id"]}
    )
    assert acknowledged.status_code == http.client.OK
    assert acknowledged.json()["changed"]
    assert command(server, "status").returncode == 0
    assert server.operator().state.paused  # a person resumes
    ask(server, draw(400, 3, shift=2.0))
    until(lambda: command(server, "status").returncode == 7, "it is found again")
    taken(server, 400)
    rebased = command(server, "rebase", "--rows", "300", "--reason", "that is how it is now")
    assert rebased.returncode == 0, rebased.stderr
    ask(server, draw(400, 4, shift=2.0))
    taken(server, 400)
    assert command(server, "status").returncode == 0
    replayed = command(server, "replay", "--json")
    assert replayed.returncode == 0
    assert json.loads(replayed.stdout)["tests"]["data"]["same"] is True


def status_of(line: Line, shift: float) -> int:
    """Ask one worker about a row: 200 when the model decides, 202 when a person is to."""
    return line.ask("/read", {"rows": draw(1, 50, shift).tolist()}, prefer="respond-async").status


@pytest.mark.parametrize("server", [{"DRIFTS_ONLY_ASKS": "1"}], indirect=True)
def test_while_drift_is_latched_people_are_asked(server: Server) -> None:
    """`{drift: true}`: each call is held while an alarm waits, as `drift`; before and after it none is."""
    entrust(server)
    reviews = Reviews(SQLiteStore(server.store).place("drifts"), rollout="drifts")

    def held() -> int:
        return sum(one.selection is Selection.DRIFT for one in reviews.list())  # others are audits

    assert {one.headers["x-rollout-decided-by"] for one in ask(server, draw(400, 1))} == {"model"}
    taken(server, 400)
    assert held() == 0
    ask(server, draw(200, 2, shift=2.0))
    until(lambda: server.operator().drift.status()["latched"], "an alarm")
    with line_to_each(server.port, server.living()) as lines:
        for line in lines.values():
            until(partial(_answers, line, 202), "this worker knows it")
        before = held()
        assert [status_of(line, 0.0) for line in lines.values()] == [202, 202]
        assert held() == before + 2
        assert {one.selection for one in reviews.list()} <= {Selection.DRIFT, Selection.AUDIT}
        assert server.operator().state.automation["read"].degree is Degree.PARTIAL
        assert not server.operator().state.paused
        server.operator().drift.ack(reason="seen")
        for line in lines.values():
            until(partial(_answers, line, 200), "this worker knows it")
        before = held()
        assert [status_of(line, 0.0) for line in lines.values()] == [200, 200]
        assert held() == before


def _answers(line: Line, status: int) -> bool:
    return status_of(line, 0.0) == status


def _replaced(server: Server, victim: int) -> bool:
    living = server.living()
    return len(living) == 2 and victim not in living


def _loaded(server: Server, times: int) -> bool:
    return len(server.events("drift.reference")) >= times


def test_the_owner_may_be_killed_at_any_moment(server: Server) -> None:
    """Kill -9 whoever owns the watch, again and again: no row counts twice, and the replay agrees."""
    place = SQLiteStore(server.store).place("drifts")
    asked = 0
    for round_ in range(3):
        ask(server, draw(200, 10 + round_))
        asked += 200
        time.sleep(0.3 * round_)  # before they are written, while they are read, after
        until(lambda: files.is_locked(place / "drift.lock"), "somebody owns the watch")
        victim = int(re.search(r"\d+", files._named(place / "drift.lock"))[0])  # type: ignore[index]  # it has one
        assert victim in server.living()
        os.kill(victim, signal.SIGKILL)
        until(partial(_replaced, server, victim), "two live again")
        until(lambda: server.asks("GET", "/readyz") == http.client.OK, "it serves")
        until(partial(_loaded, server, 3 + round_), "it has the reference")
    ask(server, draw(200, 20))  # all that came before may have been with those that were killed
    asked += 200
    found = taken(server, 200)
    last = -1
    while found["rows"] != last:  # a killed worker may have had rows that it had not written
        last = found["rows"]
        time.sleep(2)
        found = taken(server, 1)
    assert last <= asked
    replayed = server.operator().drift.replay()["tests"]["data"]
    assert replayed["same"] is True
    assert replayed["rows"] == last


def test_a_file_that_is_damaged_or_missing_costs_no_prediction(server: Server) -> None:
    """drift.db is overwritten under the server: it is set aside, said, and the answers stay the same."""
    ask(server, draw(100, 1))
    taken(server, 100)
    file = SQLiteStore(server.store).place("drifts") / "drift.db"
    file.write_bytes(b"\xff" * 20_000)
    answers = ask(server, draw(100, 2))
    assert {one.status_code for one in answers} <= {200, 202, 503}
    until(lambda: server.events("drift.unusable"), "it is said")
    until(lambda: server.operator().drift.status()["watched"], "the watch begins anew")
