"""People decide what a real server is asked: held calls, workers that are killed, degrees that go down."""

from __future__ import annotations

import http.client
import json
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from bento_rollout.ladder import Certificate
from bento_rollout.reviewing import Case, Claim, Given, Role, Selection, Status
from bento_rollout.store.reviews import Reviews
from bento_rollout.store.sqlite import SQLiteStore
from tests.integration.callers import line_to_each
from tests.integration.running import Server, serving, until

pytestmark = pytest.mark.server

TARGET = "tests.integration.apps.readings:Readings"
ROLES = frozenset({Role.REVIEWER})


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """Serve with two workers."""
    with serving(TARGET, tmp_path, rollout="readings", workers=2) as started:
        yield started.ready()


def reviews_of(server: Server) -> Reviews:
    """Return the cases, as people on this host have them."""
    return Reviews(SQLiteStore(server.store).place("readings"), rollout="readings")


def made(case: Case, given: Given) -> tuple[str, bytes]:
    """Make answers as the service does."""
    if case.endpoint == "score":
        return "application/json", json.dumps({"label": given.choice, "score": 1.0}).encode()
    return "text/plain; charset=utf-8", str(given.choice).encode()


def claimed(reviews: Reviews, endpoint: str) -> Claim:
    """Return the next case of an endpoint, when there is one."""
    found: Claim = until(
        lambda: reviews.claim("ann", roles=ROLES, endpoints=[endpoint]), f"a case of {endpoint}", 30
    )
    return found


def answer(reviews: Reviews, claim: Claim, choice: str = "benign") -> None:
    """Answer a case as a person does."""
    given = claim.case.id, "ann", claim.token, Given(choice)
    if reviews.answer(*given, make=made).status == "revealed":
        reviews.answer(*given, make=made)


def called(server: Server, path: str, body: dict[str, Any], **headers: str) -> httpx.Response:
    """Call an endpoint."""
    return httpx.post(f"http://127.0.0.1:{server.port}{path}", json=body, headers=headers, timeout=60)


def got(server: Server, path: str, **params: str) -> httpx.Response:
    """Ask for something."""
    return httpx.get(f"http://127.0.0.1:{server.port}{path}", params=params, timeout=60)


def test_people_decide_what_a_server_is_asked(server: Server) -> None:
    """A held call gets a person's choice, one that is held too long its place; others notice nothing."""
    reviews = reviews_of(server)
    with ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(called, server, "/read", {"study": f"s{number}"}) for number in range(6)]
        for _ in waiting:
            claim = claimed(reviews, "read")
            assert claim.case.input.kind == "link"
            answer(reviews, claim)
        found = [one.result() for one in waiting]
    assert {(one.status_code, one.text, one.headers["x-rollout-decided-by"]) for one in found} == {
        (200, "benign", "human")
    }
    late = called(server, "/read", {"study": "late"})
    assert late.status_code == 503
    assert late.json()["type"].endswith("/decision-pending")
    assert late.headers["retry-after"]
    answer(reviews, claimed(reviews, "read"), "malignant")
    decision = got(server, late.headers["location"]).json()
    assert decision == {"status": "answered", "answer": "malignant", "decided_by": "human"}
    free = called(server, "/free", {"text": "x"})
    assert (free.text, "x-rollout-decided-by" in free.headers) == ("x", False)
    until(lambda: 'decided_by="human"' in got(server, "/metrics").text, "the decisions are measured", 20)
    assert "bento_rollout_reviews_open" in got(server, "/metrics").text


def test_a_worker_that_is_killed_loses_no_case_and_no_answer(tmp_path: Path) -> None:
    """Kill -9 while calls are held: each case is still there, and each answer is found after the restart."""
    options: dict[str, Any] = {"rollout": "readings", "environment": {"READINGS_WORKERS": "1"}, "workers": 1}
    with serving(TARGET, tmp_path, **options) as server:
        reviews = reviews_of(server.ready())
        with ThreadPoolExecutor(8) as pool:
            waiting = [pool.submit(called, server, "/read", {"study": f"s{number}"}) for number in range(4)]
            until(lambda: reviews.open("read") == len(waiting), "four calls are held")
            first = claimed(reviews, "read")
            answer(reviews, first)
            (pid,) = server.living()
            os.kill(pid, signal.SIGKILL)
            gone = [one.exception() or one.result() for one in waiting]
        assert sum(isinstance(one, httpx.HTTPError) for one in gone) >= len(waiting) - 1
        until(lambda: server.living() not in ([], [pid]), "another worker lives", 60)
        rest = [claimed(reviews, "read") for _ in range(3)]
        for claim in rest:
            answer(reviews, claim, "malignant")
        until(lambda: server.asks("GET", "/readyz") == http.client.OK, "it serves", 60)
        for claim, said in ((first, "benign"), *((one, "malignant") for one in rest)):
            found = got(server, f"/rollout/decisions/{claim.case.id}").json()
            assert found == {"status": "answered", "answer": said, "decided_by": "human"}
        assert reviews.trail.verify().broken_at is None


def test_a_service_that_ends_waits_for_nobody(tmp_path: Path) -> None:
    """SIGTERM: held calls are told their place at once, and a task keeps its case for the next one."""
    options: dict[str, Any] = {"rollout": "readings", "environment": {"READINGS_WORKERS": "1"}, "workers": 1}
    with serving(TARGET, tmp_path, **options) as server:
        reviews = reviews_of(server.ready())
        task = called(server, "/job/submit", {"text": "x"}).json()["task_id"]
        assert got(server, "/job/status", task_id=task).json()["status"] == "in_progress"
        with ThreadPoolExecutor(2) as pool:
            waiting = pool.submit(called, server, "/read", {"study": "s"})
            until(lambda: reviews.open("read"), "a call is held")
            server.arbiter.send_signal(signal.SIGTERM)
            assert waiting.result(30).status_code == http.client.SERVICE_UNAVAILABLE
        assert server.arbiter.wait(30) == 0
        assert "Waiting for background tasks" not in server.said
    with serving(TARGET, tmp_path, **options) as server:
        server.ready()
        assert got(server, "/job/status", task_id=task).json()["status"] == "in_progress"
        assert "not completed yet" in got(server, "/job/get", task_id=task).text
        answer(reviews, claimed(reviews, "job"))
        result = got(server, "/job/get", task_id=task)
        assert (result.status_code, result.text) == (200, "benign")
        assert result.headers["x-rollout-decided-by"] == "human"
        assert got(server, "/job/status", task_id=task).json()["status"] == "completed"


def test_audits_demote_on_every_worker(server: Server) -> None:
    """When audits refute the model every worker asks people again, from its next request on."""
    reviews, rolled = reviews_of(server), server.operator()
    state = rolled.state
    certificate = Certificate(
        digest=state.champions_digest, variant="first", threshold=0.9, target_error=0.05, confidence=0.95,
        labels=400, accepted=300, errors=1, coverage=0.9, full=True, at=time.time(), author="ann",
    )  # fmt: skip
    rolled._desk.change("calibrate", lambda state, _: state.certify("score", certificate), "", None)
    rolled.set_degree("score", "full")
    for _ in range(40):
        response = called(server, "/score", {"text": "x"})
        if response.headers.get("x-rollout-decided-by") != "model":
            break
        claim = claimed(reviews, "score")
        asked = {one.id: one.selection for one in reviews.list("score", status=Status.OPEN)}
        assert asked[claim.case.id] is Selection.AUDIT  # which whoever reviews it is not told
        answer(reviews, claim)
    until(lambda: rolled.state.automation["score"].demoted, "the model is demoted", 10)
    with line_to_each(server.port, server.living()) as lines:
        for line in lines.values():
            line.send("/score", {"text": "x"}, prefer="respond-async")
            assert line.receive().status == http.client.ACCEPTED
    events = until(
        lambda: len(found := server.events("automation.demoted")) == 2 and found, "both say so", 10
    )
    assert {event["degree"] for event in events} == {"shadow"}
    history = rolled.history()[0]
    assert (history.author, history.action) == ("automation", "demote")
