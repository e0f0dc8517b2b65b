"""Over real sockets: generated clients, tasks in several workers, clients that disconnect."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import bentoml
import httpx
import numpy as np
import pytest
from bentoml.exceptions import BentoMLException

from tests.contract.processes import Server
from tests.contract.serving import marks

pytestmark = [pytest.mark.server]
VIP, OTHER = "vip", "other"


@pytest.fixture(scope="module")
def wrapped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The wrapped service with two workers."""
    server = Server("tests.contract.wire:WRAPPED", tmp_path_factory.mktemp("wrapped"))
    try:
        yield server.wait()
    finally:
        server.stop()


def test_the_generated_sync_client_works(wrapped: Server) -> None:
    """Arrays, streams, errors and text, from both variants."""
    with bentoml.SyncHTTPClient(wrapped.url) as client:
        for user, factor, who in ((OTHER, 1, "one"), (VIP, 10, "two")):
            answer = client.predict(rows=np.array([[1, 2]]), user=user)
            assert np.asarray(answer).tolist() == [[factor, 2 * factor]]
            assert "".join(client.stream(n=3, user=user)) == f"{who} 0\n{who} 1\n{who} 2\n"
            assert "".join(client.sync_stream(n=2, user=user)) == f"{who} 0\n{who} 1\n"
            assert client.ask(text="hi", user=user) == f"{who}: HI"
            with pytest.raises(BentoMLException, match=f"{who} says no"):
                client.invalid(user=user)
        assert client.batch(rows=np.array([[1, 2]])) is not None


def test_the_generated_async_client_works(wrapped: Server) -> None:
    """The same, awaited."""

    async def use() -> None:
        async with bentoml.AsyncHTTPClient(wrapped.url) as client:
            for user, who in ((OTHER, "one"), (VIP, "two")):
                assert await client.ask(text="hi", user=user) == f"{who}: HI"
                assert (
                    "".join([item async for item in client.stream(n=2, user=user)]) == f"{who} 0\n{who} 1\n"
                )

    asyncio.run(use())


def test_a_sync_candidate_may_call_its_dependency(wrapped: Server) -> None:
    """From the candidate's own threads `bentoml.depends` works as from BentoML's."""
    for _ in range(20):
        answer = httpx.post(f"{wrapped.url}/ask", json={"text": "hi", "user": VIP})
        assert (answer.text, marks(answer)["variant"]) == ("two: HI", "two")


def test_tasks_are_planned_once_whichever_worker_asks(wrapped: Server) -> None:
    """Submitted to one of two workers, read from any: id, variant, revision and reason are the same."""
    for user, who in ((VIP, "two"), (OTHER, "one")):
        submitted = httpx.post(f"{wrapped.url}/job/submit", json={"x": 3, "user": user})
        task = {"task_id": submitted.json()["task_id"]}
        assert set(marks(submitted)) == {"prediction-id"}
        deadline = time.monotonic() + 20
        while (answer := httpx.get(f"{wrapped.url}/job/get", params=task)).status_code != 200:
            assert time.monotonic() < deadline, answer.text
            time.sleep(0.02)
        seen = {json.dumps(marks(httpx.get(f"{wrapped.url}/job/get", params=task))) for _ in range(10)}
        assert (answer.text, len(seen)) == (f"{who}: 3", 1)
        assert marks(answer)["variant"] == who
        assert marks(answer)["prediction-id"] == marks(submitted)["prediction-id"]


def _answered_by_batch(number: int) -> Callable[[list[dict[str, Any]]], bool]:
    """Return whether so many calls of one endpoint were told."""
    return lambda notes: sum(note.get("endpoint") == "batch" for note in notes) >= number


def test_both_workers_answer_and_measure_batches(wrapped: Server) -> None:
    """Ids are unique across workers, and `/metrics` has the sizes of batches."""

    def ask(_: int) -> str:
        return marks(httpx.post(f"{wrapped.url}/batch", json={"rows": [[1]]}))["prediction-id"]

    ids, pids = set[str](), set[int]()
    with ThreadPoolExecutor(8) as callers:
        while len(pids) < 2 and len(ids) < 1200:  # who takes a connection is the kernel's choice
            ids |= set(callers.map(ask, range(30)))
            told = len(ids)
            lines = wrapped.wait_for(_answered_by_batch(told))
            pids = {line["pid"] for line in lines if line.get("endpoint") == "batch"}
    assert len(ids) % 30 == 0
    assert len(pids) == 2
    assert 'adaptive_batch_size_count{method_name="batch"' in httpx.get(f"{wrapped.url}/metrics").text


@pytest.mark.parametrize("user", [OTHER, VIP])
@pytest.mark.parametrize("endpoint", ["slow", "slow_sync"])
def test_a_client_that_leaves_does_not_stop_an_ordinary_call(
    endpoint: str, user: str, wrapped: Server
) -> None:
    """As on the bare service the method runs to its end; the fact says `disconnected`."""
    name = f"{endpoint} {user}"
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{wrapped.url}/{endpoint}", json={"name": name, "seconds": 1, "user": user}, timeout=0.3)
    ended = {"did": f"{name} ended"}
    noted = wrapped.wait_for(lambda notes: ended in notes and notes[-1].get("endpoint") == endpoint)
    assert (noted[-1]["variant"], noted[-1]["outcome"]) == ("two" if user == VIP else "one", "disconnected")


def test_a_client_that_stays_is_not_disconnected(wrapped: Server) -> None:
    """However long the call takes."""
    httpx.post(f"{wrapped.url}/slow", json={"name": "stays", "seconds": 0.3, "user": VIP})
    noted = wrapped.wait_for(lambda notes: {"did": "stays ended"} in notes and "endpoint" in notes[-1])
    assert (noted[-1]["endpoint"], noted[-1]["outcome"]) == ("slow", "ok")


@pytest.mark.parametrize("user", [OTHER, VIP])
def test_a_client_that_leaves_closes_its_stream(user: str, wrapped: Server) -> None:
    """The generator is closed, as on the bare service; the one fact says `disconnected`."""
    body = {"name": f"stream {user}", "user": user}
    with httpx.stream("POST", f"{wrapped.url}/endless", json=body, timeout=10) as answer:
        assert marks(answer)["variant"] == ("two" if user == VIP else "one")
        next(answer.iter_raw())
    before = {"did": f"stream {user} closed"}
    noted = wrapped.wait_for(
        lambda notes: before in notes and any(n.get("endpoint") == "endless" for n in notes[-2:])
    )
    facts = [note for note in noted if note.get("endpoint") == "endless"]
    assert (facts[-1]["outcome"], len(facts)) == ("disconnected", [OTHER, VIP].index(user) + 1)
