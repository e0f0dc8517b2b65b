"""People review what two hosts are asked that share a PostgreSQL database."""

from __future__ import annotations

import http.client
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.integration.running import Server, fresh, serving, until
from tests.integration.test_review_doors import TARGET, TOKENS, Person, called
from tests.postgres import Server as Postgres

pytestmark = [pytest.mark.server, pytest.mark.fault]

ENDED = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = 'reviewed' AND pid <> pg_backend_pid()
"""


@pytest.fixture(scope="module")
def hosts(server: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    """Two servers with homes of their own over one database."""
    folders = [fresh(tmp_path_factory.mktemp(f"host{number}")) for number in range(2)]
    path = folders[0] / "reviewers"
    path.write_text("".join(f"{name}:{token}\n" for name, token in TOKENS.items()))
    server.run("CREATE DATABASE reviewed TEMPLATE made")
    environment = {
        "BENTO_ROLLOUT_REVIEW_TOKEN_FILE": str(path),
        "READINGS_SECONDS": "0",
        "READINGS_WORKERS": "1",
    }
    options = {"rollout": "readings", "workers": 1, "database": server.url("reviewed")}
    with (
        serving(TARGET, folders[0], environment=environment, **options) as one,
        serving(TARGET, folders[1], environment=environment, **options) as other,
    ):
        yield [one.ready(), other.ready()]


def asked(host: Server, study: str) -> str:
    """Ask people by one host, and return where the decision is to be found."""
    response = called(host, "/read", {"study": study}, prefer="respond-async")
    assert response.status_code == http.client.ACCEPTED, response.text
    return response.headers["location"]


def test_what_one_host_is_asked_the_other_ones_reviewers_answer(
    hosts: list[Server], server: Postgres
) -> None:
    """Held calls and later ones; a killed worker and ended sessions lose nothing, each is a label once."""
    one, other = hosts
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(called, one, "/read", {"study": "s0"})
        until(lambda: Person(other, "ann").answers("benign", "read"), "it is answered at the other host", 30)
        response = held.result()
    if response.status_code == http.client.OK:
        assert (response.text, response.headers["x-rollout-decided-by"]) == ("benign", "human")
    else:  # it took longer than calls are held: it is found where the answer says
        assert response.status_code == http.client.SERVICE_UNAVAILABLE
    places = [asked(one, f"s{number}") for number in range(1, 5)]
    os.kill(one.living()[0], signal.SIGKILL)
    people, done = [Person(other, "ann"), Person(other, "bob")], 0
    assert server.run(ENDED)
    while done < len(places):
        taken = people[done % 2].act("claim", endpoint="read")
        assert taken.status_code in {http.client.OK, http.client.SERVICE_UNAVAILABLE}, taken.text
        if taken.status_code == http.client.OK:
            claim = taken.json()
            people[done % 2].act(f"{claim['task']}/answer", token=claim["token"], choice="malignant")
            done += 1
    for path in places:  # the host that was not asked tells it, too
        found = httpx.get(f"http://127.0.0.1:{other.port}{path}", timeout=60).json()
        assert (found["status"], found["answer"]) == ("answered", "malignant")
    operator = other.operator()
    until(lambda: operator.ledger.counts().labels == 5, "each answer is a label", 40)
    assert operator.review_stats("read")["ended"] == {"answered": 5}
    assert operator.reviews.trail.verify().whole
    assert "secret-word" not in one.said + other.said
