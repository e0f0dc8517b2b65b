"""A wrapped service behind a gateway: a key that is set at the edge decides, and sticks."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

import pytest

from tests.integration.callers import Line
from tests.integration.running import Server, fresh, serving, until

pytestmark = [pytest.mark.server]

KEYS = [*(f"user-{number}" for number in range(96)), "ann+1@example.com", "Zoë", "50%,x=1;y", "+4930"]
WAYS = ("passed", "passed_by_thread", "named", "named_by_thread")


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The gateway, the wrapped service, and a candidate of that in a service of its own."""
    folder = fresh(tmp_path_factory.mktemp("gateway"))
    with serving("tests.integration.apps.gateway:Gateway", folder, rollout="behind", workers=1) as server:
        server.ready()
        until(lambda: states(server) == {"ready"}, "all variants are ready")
        yield server


def states(server: Server) -> set[str]:
    """Return how the variants are."""
    return {variant["state"] for variant in server.operator().status()["variants"].values()}


def who_answers(server: Server, way: str) -> list[str]:
    """Return who answers each key through one of the gateway's endpoints."""
    line = Line(server.port)
    try:
        if way.startswith("named"):
            answers = [line.ask(f"/{way}", {"user": key}) for key in KEYS]
        else:
            headers = [{"baggage": f"other=1,user={quote(key, safe='+@')}"} for key in KEYS]
            answers = [line.ask(f"/{way}", **head) for head in headers]
    finally:
        line.close()
    assert [answer for answer in answers if answer.status != 200][:3] == []
    assert all("user=" in answer.body["baggage"] for answer in answers), "every variant sees the baggage"
    return [answer.body["variant"] for answer in answers]


@pytest.mark.parametrize("way", WAYS)
def test_a_key_in_baggage_decides_behind_a_gateway(way: str, gateway: Server) -> None:
    """Set by the caller or by the gateway, in a coroutine or a thread: `assign` says who answers."""
    operator = gateway.operator()
    before: list[str] = []
    for weights in ({"new": 30, "apart": 20}, {"new": 50, "apart": 20}, {"new": 0, "apart": 0}):
        operator.set_weights(weights)
        expected = operator.assign(KEYS).tolist()
        assert who_answers(gateway, way) == expected
        assert expected != before
        before = expected
    assert set(before) == {"old"}
    line = Line(gateway.port)
    assert line.ask("/passed").body["baggage"] is None, "a key does not outlive its request"
    line.close()
