"""A service that depends on a wrapped one sees what it saw before the rollout."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.contract.processes import Server

pytestmark = [pytest.mark.server]
VIP, OTHER = "vip", "other"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The gateway, with what it depends on."""
    server = Server("tests.contract.wire:Gateway", tmp_path_factory.mktemp("gateway"))
    try:
        yield server.wait()
    finally:
        server.stop()


def test_the_wrapped_service_may_be_depended_on(gateway: Server) -> None:
    """`bentoml.depends`: arrays, streams, awaited calls and errors cross as those of the bare service."""
    with httpx.Client(base_url=gateway.url, timeout=30) as client:
        for user, factor, who in ((OTHER, 1, "one"), (VIP, 10, "two")):
            both = client.post("/both", json={"rows": [[1, 2]], "user": user}).json()
            assert both == [[[1, 2]], [[factor, 2 * factor]]]
            streams = client.post("/streams", json={"n": 2, "user": user}).json()
            assert streams == ["one 0\none 1\n", f"{who} 0\n{who} 1\n"]
            assert client.post("/awaited", json={"text": "hi", "user": user}).json() == [
                "one: HI",
                f"{who}: HI",
            ]
            bare, ours = client.post("/error", json={"user": user}).json()
            assert ours == bare.replace("one says", f"{who} says")
