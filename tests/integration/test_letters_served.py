"""A real server tells real receivers of cases: workers that are killed, receivers that are not there."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest

from bento_rollout.store.letters import task_name
from bento_rollout.store.reviews import Reviews
from bento_rollout.store.sqlite import SQLiteStore
from tests.integration.running import Server, serving, until
from tests.unit.notices import KEY, Listener, listening, saying

pytestmark = [pytest.mark.server, pytest.mark.fault]

TARGET = "tests.integration.apps.telling:Telling"
TOKENS = {"ann": "a-token-of-ann-27182818", "bob": "a-token-of-bob-31415926"}


def options(folder: Path, receiver: Listener, workers: int) -> dict[str, Any]:
    """Return how the service is served."""
    path = folder / "reviewers"
    path.write_text("".join(f"{name}:{token}\n" for name, token in TOKENS.items()))
    environment = {
        "BENTO_ROLLOUT_REVIEW_TOKEN_FILE": str(path),
        "TELLING_URL": receiver.url,
        "TELLING_KEY": KEY,
        "TELLING_WORKERS": str(workers),
    }
    return {"rollout": "telling", "workers": workers, "environment": environment}


def messages(receiver: Listener, *kinds: str) -> list[dict[str, Any]]:
    """Return what a receiver was told of some kinds."""
    found = [json.loads(one.body) for one in receiver.asked]
    return [one for one in found if one["type"] in kinds]


def asked(server: Server, study: str) -> httpx.Response:
    """Call the service without waiting for a person."""
    url = f"http://127.0.0.1:{server.port}/read"
    return httpx.post(url, json={"study": study}, headers={"Prefer": "respond-async"}, timeout=60)


def answered(server: Server, who: str = "ann", choice: str = "benign") -> str:
    """Answer the next case over HTTP, until that is acknowledged, and return the case's id."""
    url, headers = (
        f"http://127.0.0.1:{server.port}/rollout/reviews",
        {"Authorization": f"Bearer {TOKENS[who]}"},
    )
    claim = httpx.post(f"{url}/claim", json={}, headers=headers, timeout=60).raise_for_status().json()
    body = {"token": claim["token"], "choice": choice}
    for status in ("revealed", "done"):
        told = httpx.post(f"{url}/{claim['task']}/answer", json=body, headers=headers, timeout=60)
        assert told.raise_for_status().json()["status"] == status
    return str(claim["task"])


def test_two_workers_tell_each_thing_once(tmp_path: Path) -> None:
    """Cases, ends and answers to one webhook, the fall of a degree to both; nothing twice."""
    with (
        listening(saying(204)) as receiver,
        serving(TARGET, tmp_path, **options(tmp_path, receiver, 2)) as server,
    ):
        server.ready()
        for number in range(4):
            assert asked(server, f"patient-{number}").status_code == 202
        tasks = {task_name(answered(server)) for _ in range(4)}
        until(lambda: len(messages(receiver, "case.decided")) >= 4, "four ends are told")
        until(lambda: len(messages(receiver, "case.opened")) >= 4, "four cases are told")
        decided = messages(receiver, "case.decided")
        assert {one["data"]["task"] for one in decided} == tasks
        assert {one["data"]["answer"] for one in decided} == {"benign"}
        server.operator().set_degree("read", "human", reason="a test")
        until(lambda: messages(receiver, "degree.changed"), "the webhook of cases is told of the degree")
        until(lambda: messages(receiver, "rollout.degree"), "whoever is told of decisions is, too")
        ids = Counter(one.headers["webhook-id"] for one in receiver.asked)
        assert set(ids.values()) == {1}
        (fallen,) = messages(receiver, "degree.changed")
        assert (fallen["data"]["was"], fallen["data"]["degree"]) == ("assist", "human")
        (noticed,) = messages(receiver, "rollout.degree")
        assert noticed["data"]["words"] == "read is at degree human (was assist), by ann: a test"
        assert not any("patient-" in one.body.decode() for one in receiver.asked)
        assert "B1-secret" not in server.said


def test_an_acknowledged_answer_is_told_whatever_is_killed(tmp_path: Path) -> None:
    """The receiver is down, the worker is killed right after the answer: the next one tells it."""
    up = False

    def answers(sock: socket.socket) -> None:
        saying(204 if up else 503)(sock)

    with (
        listening(answers) as receiver,
        serving(TARGET, tmp_path, **options(tmp_path, receiver, 1)) as server,
    ):
        server.ready()
        (pid,) = server.living()
        told = []
        for number in range(3):
            asked(server, f"s{number}")
            told.append(task_name(answered(server)))
        os.kill(pid, signal.SIGKILL)
        until(lambda: server.living() not in ([], [pid]), "another worker lives", 60)
        before = {one.headers["webhook-id"] for one in receiver.asked}
        up = True
        until(
            lambda: {one["data"]["task"] for one in messages(receiver, "case.decided")} >= set(told),
            "each acknowledged answer is told",
            90,
        )
        reviews = Reviews(SQLiteStore(server.store).place("telling"), rollout="telling")
        until(lambda: reviews.stats().letters_waiting == 0, "nothing waits", 90)
        assert reviews.stats().letters_lost == 0
        after = {one.headers["webhook-id"] for one in receiver.asked}
        assert before <= after
        assert len(after) == 6  # under the same ids as before
        assert reviews.trail.verify().whole
