"""Replicas over one database, some of which are cut off from it: what they answer, and what a flip says."""

from __future__ import annotations

import http.client
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from email.message import Message

import pytest

from bento_rollout.errors import StoreUnreachable
from tests.integration.relay import Relay, relaying
from tests.integration.running import ROOT, Server, fresh, serving, until
from tests.postgres import Server as Postgres

pytestmark = [pytest.mark.server, pytest.mark.fault]

TARGET, LEASE = "tests.integration.apps.leased:Leased", 4.0
WAYS = ("serve", "champion", "refuse")


@dataclass
class Replicas:
    """One replica that stays connected, and one for each way to be stale, behind a relay."""

    whole: Server
    cut: dict[str, Server]
    relay: Relay


@pytest.fixture(scope="module")
def replicas(server: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicas]:
    """Four replicas over one database."""
    server.run("CREATE DATABASE leased TEMPLATE made")
    direct = server.url("leased")
    with ExitStack() as stack:
        relay = stack.enter_context(relaying(server.port))
        afar = direct.replace(f":{server.port}/", f":{relay.port}/")

        def replica(name: str, url: str) -> Server:
            folder = fresh(tmp_path_factory.mktemp(name))
            environment = {"LEASED": name if name in WAYS else "serve"}
            options = {"rollout": "leased", "workers": 1, "database": url, "environment": environment}
            return stack.enter_context(serving(TARGET, folder, **options))

        made = Replicas(replica("whole", direct), {way: replica(way, afar) for way in WAYS}, relay)
        for one in (made.whole, *made.cut.values()):
            until(lambda: one.asks("GET", "/readyz") == http.client.OK, "it serves", 120)  # noqa: B023 - at once
        until(lambda: len(made.whole.living()) == 1 + len(WAYS), "all are there", 60)
        yield made


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: Message
    body: bytes

    @property
    def stale(self) -> int:
        """How stale it says that it is; 0: it is not."""
        return int(self.headers.get("X-Rollout-Stale", "0"))

    @property
    def variant(self) -> str | None:
        """Who answered."""
        return self.headers["X-Rollout-Variant"]


def ask(server: Server, path: str = "/who", body: object = None, **headers: str) -> Answer:
    """Send one request."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    try:
        method = "GET" if path.startswith(("/job/get", "/metrics")) else "POST"
        sent = {
            "Content-Type": "application/json",
            **{key.replace("_", "-"): v for key, v in headers.items()},
        }
        connection.request(method, path, json.dumps(body or {}) if method == "POST" else None, sent)
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read())
    finally:
        connection.close()


def counted(server: Server, obeyed: str) -> float:
    """How many answers a replica has counted that obeyed something."""
    name = re.escape(f'bento_rollout_stale_answers_total{{obeyed="{obeyed}",rollout="leased"}}')
    found = re.search(rf"^{name} (\S+)$", ask(server, "/metrics").body.decode(), re.MULTILINE)
    return float(found[1]) if found else 0.0


def predictions(server: Server) -> float:
    """How many predictions a replica has counted."""
    text = ask(server, "/metrics").body.decode()
    return sum(
        float(n) for n in re.findall(r"^bento_rollout_predictions_total\{.*\} (\S+)$", text, re.MULTILINE)
    )


def commanded(server: Server, verb: str) -> subprocess.CompletedProcess[str]:
    """Run a command on a replica's host."""
    arguments = [sys.executable, "-m", "bento_rollout.cli", verb, *(["leased"] if verb == "status" else [])]
    return subprocess.run(
        arguments, cwd=ROOT, env=server.environment(), capture_output=True, text=True, check=False
    )


def test_replicas_that_are_cut_off(replicas: Replicas) -> None:
    """A flip that returned holds on every replica that is connected; the others do as their spec says."""
    whole, cut, ann = replicas.whole, replicas.cut, replicas.whole.operator()
    serve, champion, refuse = (cut[way] for way in WAYS)
    for one in (whole, *cut.values()):
        answer = ask(one)
        assert (answer.variant, answer.stale, "X-Rollout-Stale" in answer.headers) == ("green", 0, False)
    (task,) = [json.loads(ask(champion, "/job/submit").body)["task_id"]]

    replicas.relay.cut()
    began = time.monotonic()
    assert ask(champion).stale == 0
    until(lambda: all(ask(one).stale for one in cut.values()), "they notice", 10)
    assert 1.0 < time.monotonic() - began < LEASE
    assert all(ask(one).variant == "green" for one in cut.values())  # within the lease: the last state

    notes = ann.flip("green", timeout=60).notes
    took = time.monotonic() - began
    assert LEASE - 1 < took < LEASE + 3, took
    told = sorted(re.sub(r"worker \d+ on \S+, silent for \d+ s", "W", note) for note in notes)
    assert told == [
        "could not reach W: until it is connected again it serves nobody: it answers 503",
        "could not reach W: until it is connected again it serves only the champion of revision 1",
        "could not reach W: until it is connected again it serves revision 1",
    ]

    answer = ask(whole)
    assert (answer.variant, answer.headers["X-Rollout-Revision"], answer.stale) == ("green", "2", 0)
    answer = ask(serve)
    assert (answer.variant, answer.headers["X-Rollout-Revision"]) == ("green", "1")
    assert answer.headers["X-Rollout-Reason"] == "no_key"
    assert answer.stale >= LEASE

    obeyed(champion, refuse)
    answer = ask(champion, f"/job/get?task_id={task}")
    assert (answer.body, answer.variant, answer.stale >= LEASE) == (b"green", "green", True)
    assert counted(champion, "champion") == 6
    assert counted(refuse, "refuse") == 6
    assert counted(serve, "serve") >= 1
    assert counted(whole, "serve") == 0
    assert len(ann.status()["silent"]) == 3
    for verb, code in (("doctor", 1), ("status", 0)):
        done = commanded(whole, verb)
        assert (done.returncode, done.stdout.count(", silent for ")) == (code, 3), done

    began = time.monotonic()
    notes = ann.rollback().notes
    assert sum("could not reach" in note for note in notes) == 3  # nobody is waited for who is silent
    assert time.monotonic() - began < 3
    with pytest.raises(StoreUnreachable):
        serve.operator().rollback()

    follow_again(replicas)
    until(lambda: ann.status()["silent"] == [], "none is silent")
    assert ann.flip("green", timeout=60).notes == ()
    assert {ask(one).variant for one in (whole, *cut.values())} == {"green"}


def obeyed(champion: Server, refuse: Server) -> None:
    """Whatever is asked for, one lets only the champion answer, and the other nobody."""
    for path, body, headers in (
        ("/who", None, {}),
        ("/who", None, {"x_key": "vip"}),
        ("/who", None, {"x_rollout_variant": "green"}),
        ("/items", None, {}),
        ("/each", {"rows": [{"id": "vip"}, {"id": "2"}]}, {}),
        ("/job/submit", None, {}),
    ):
        answer = ask(champion, path, body, **headers)
        assert answer.status < http.client.BAD_REQUEST, answer.body
        told_by = (answer.variant, answer.headers["X-Rollout-Reason"], answer.headers["X-Rollout-Revision"])
        assert told_by == ("blue", "unavailable", "1"), path
        assert answer.stale >= LEASE, path
        before = predictions(refuse)
        answer = ask(refuse, path, body, **headers)
        assert answer.status == http.client.SERVICE_UNAVAILABLE
        assert (answer.headers["Content-Type"], answer.headers["Retry-After"]) == (
            "application/problem+json",
            "5",
        )
        assert json.loads(answer.body)["title"] == "Store out of reach"
        assert (answer.stale >= LEASE, answer.variant) == (True, None)
        assert predictions(refuse) == before


def follow_again(replicas: Replicas) -> None:
    """Within seconds after the line is mended all follow, and their logs have told of it once."""
    cut = replicas.cut
    replicas.relay.mend()
    began = time.monotonic()
    until(lambda: all(ask(one).stale == 0 for one in cut.values()), "they are back", 30)
    assert time.monotonic() - began < 8
    for one in cut.values():
        answer = ask(one)
        assert (answer.variant, answer.headers["X-Rollout-Revision"]) == ("blue", "3")
        (lost,), (back,) = one.events("store.stale"), until(lambda: one.events("store.fresh"), "it is told")  # noqa: B023 - at once
        assert (lost["lease"], lost["on_stale"] in WAYS) == (LEASE, True)
        assert back["answers"] >= 1
