"""People review what a real server is asked, over its routes: as docs/reviews.md says it, two at once."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from bento_rollout.store.reviews import Reviews
from bento_rollout.store.sqlite import SQLiteStore
from tests.integration.running import ROOT, Server, serving, until

pytestmark = pytest.mark.server

TARGET = "tests.integration.apps.readings:Readings"
TOKENS = {
    "ann": "a-token-of-ann-27182818",
    "bob": "a-token-of-bob-31415926",
    "vic": "a-token-of-vic-14142135",
}
CANARY = "zq-canary-31337"
SHELL = re.compile(r"```bash\n(.*?)```", re.DOTALL)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """Serve with two workers, reviewers and a ledger."""
    path = tmp_path / "reviewers"
    path.write_text("".join(f"{name}:{token}\n" for name, token in TOKENS.items()))
    environment = {"BENTO_ROLLOUT_REVIEW_TOKEN_FILE": str(path), "READINGS_SECONDS": "0"}
    with serving(TARGET, tmp_path, rollout="readings", workers=2, environment=environment) as started:
        yield started.ready()


class Person:
    """Somebody who reviews over HTTP."""

    def __init__(self, server: Server, name: str) -> None:
        self.name, self._url = name, f"http://127.0.0.1:{server.port}/rollout/reviews"
        self._headers = {"Authorization": f"Bearer {TOKENS[name]}"}
        self.seen: list[str] = []

    def act(self, path: str, **body: Any) -> httpx.Response:
        """Do something."""
        answer = httpx.post(f"{self._url}/{path}", json=body, headers=self._headers, timeout=60)
        self.seen.append(f"{answer.headers} {answer.text}")
        return answer

    def look(self, path: str = "") -> Any:
        """Look at something."""
        return httpx.get(f"{self._url}{path}", headers=self._headers, timeout=60).json()

    def answers(self, choice: str, endpoint: str) -> str | None:
        """Take a case of an endpoint, and answer it; None: there is none."""
        taken = self.act("claim", endpoint=endpoint)
        if taken.status_code == http.client.NO_CONTENT:
            return None
        assert taken.status_code == http.client.OK, taken.text
        claim = taken.json()
        answer = self.act(f"{claim['task']}/answer", token=claim["token"], choice=choice)
        assert answer.status_code == http.client.OK, answer.text
        return str(claim["task"])


def called(server: Server, path: str, body: dict[str, Any], **headers: str) -> httpx.Response:
    """Call an endpoint."""
    return httpx.post(f"http://127.0.0.1:{server.port}{path}", json=body, headers=headers, timeout=60)


def test_two_people_at_once_answer_held_calls(server: Server) -> None:
    """Each caller gets what was answered to its own case, each case is answered once, and becomes a label."""
    calls, done, over = 12, [], threading.Event()
    people = [Person(server, "ann"), Person(server, "bob")]

    def work(person: Person) -> None:
        while not over.is_set():
            if (
                task := person.answers("benign" if person.name == "ann" else "malignant", "read")
            ) is not None:
                done.append((person.name, task))

    with ThreadPoolExecutor(calls + 2) as pool:
        working = [pool.submit(work, person) for person in people]
        waiting = [pool.submit(called, server, "/read", {"study": f"s{number}"}) for number in range(calls)]
        found = [one.result() for one in waiting]
        over.set()
        for one in working:
            one.result()
    assert {one.status_code for one in found} == {200}
    assert {one.headers["x-rollout-decided-by"] for one in found} == {"human"}
    assert len({task for _, task in done}) == len(done) == calls
    said = {one.headers["x-rollout-prediction-id"]: one.text for one in found}
    operator = server.operator()
    assert sorted(said.values()) == sorted({"ann": "benign", "bob": "malignant"}[name] for name, _ in done)
    assert not any(CANARY in text for person in people for text in person.seen)

    def labelled() -> dict[str, Any]:
        return {row["prediction_id"]: row for row in operator.ledger.export(labelled=True)}

    until(lambda: len(labelled()) == calls, "each answer is a label of its prediction", 30)
    rows = labelled()
    assert {name: row["label"] for name, row in rows.items()} == said
    assert {
        (row["label_source"], row["label_selection"], row["label_probability"]) for row in rows.values()
    } == {("review", "all", 1.0)}
    assert operator.review_stats("read")["ended"] == {"answered": calls}


def test_a_killed_worker_tells_each_label_once(server: Server) -> None:
    """Kill -9 of the workers while answers become labels: each is there once in the end."""
    calls = 20
    for number in range(calls):
        called(server, "/read", {"study": f"s{number}"}, prefer="respond-async")
    ann = Person(server, "ann")
    for number in range(calls):
        assert ann.answers("benign", "read") is not None
        if number in (5, 12):
            before = server.living()
            os.kill(before[0], signal.SIGKILL)
            until(lambda: len(living := server.living()) == 2 and living != before, "two live", 60)  # noqa: B023 - called at once
            until(lambda: server.asks("GET", "/readyz") == http.client.OK, "it serves", 60)
    ledger = server.operator().ledger
    until(lambda: ledger.counts().labels == calls, "all are labels", 40)
    reviews = Reviews(SQLiteStore(server.store).place("readings"), rollout="readings")
    until(lambda: not _owed(reviews), "nothing is owed", 20)
    assert ledger.counts().labels == calls
    assert reviews.trail.verify().broken_at is None


def _owed(reviews: Reviews) -> int:
    with reviews._file.reading() as db:
        return int(db.execute("SELECT count(*) FROM owed").fetchone()[0])


def test_the_docs_can_be_typed(server: Server, tmp_path: Path) -> None:
    """Each curl of docs/reviews.md does what the page says, in its order."""
    page = (ROOT / "docs" / "reviews.md").read_text()
    shells = [text for text in SHELL.findall(page) if "curl" in text]
    assert shells
    called(server, "/score", {"text": "two nodules"}, prefer="respond-async")
    script = "set -eu\n" + "\n".join(shells).replace(
        "http://127.0.0.1:3000", f"http://127.0.0.1:{server.port}"
    )
    environment = {**os.environ, "REVIEW_TOKEN": TOKENS["ann"], "VIEWER_TOKEN": TOKENS["vic"]}
    done = subprocess.run(
        ["bash", "-c", script],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    documents = [json.loads(line) for line in done.stdout.splitlines() if line.startswith(("{", "["))]
    statuses = [one.get("status") for one in documents if isinstance(one, dict) and "status" in one]
    assert statuses == ["revealed", "done"]
    stats = Person(server, "vic").look("/stats")
    assert stats["score"]["ended"] == {"answered": 1}
