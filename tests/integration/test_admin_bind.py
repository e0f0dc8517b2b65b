"""A service whose operators were to have an address of their own, and cannot have it."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from bento_rollout.examine import examine
from tests.integration.running import serving, until

pytestmark = pytest.mark.server

TARGET = "tests.integration.apps.pair:Pair"


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    """The service serves all the same, the log says so once, and `doctor` says so until it is over."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        bind = f"127.0.0.1:{other.getsockname()[1]}"
        environment = {"PAIR_WORKERS": "1", "BENTO_ROLLOUT_ADMIN_BIND": bind}
        with serving(TARGET, tmp_path, rollout="pair", workers=1, environment=environment) as server:
            server.ready()
            (line,) = until(lambda: server.events("admin.unbound"), "it is said")
            assert (line["address"], line["problem"]) == (bind, "Address already in use")
            assert server.asks("GET", "/rollout/admin/state") == 404

            def problems() -> list[str]:
                return list(examine(store=server.url)["rollouts"][0]["problems"])

            (found,) = until(problems, "doctor finds it", 20)
            assert f"operators are not served at {bind}" in found
            other.close()
            until(lambda: server.events("admin.bound"), "operators are served")
            until(lambda: not problems(), "all is well", 20)


def test_a_value_that_is_none_stops_the_start(tmp_path: Path) -> None:
    """It is refused when the service starts, and the variable is named."""
    environment = {"PAIR_WORKERS": "1", "BENTO_ROLLOUT_ADMIN_BIND": "3999"}
    with serving(TARGET, tmp_path, rollout="pair", workers=1, environment=environment) as server:
        until(lambda: server.arbiter.poll() is not None, "it ends", 60)
        assert server.arbiter.returncode != 0
        assert "BENTO_ROLLOUT_ADMIN_BIND='3999' is not HOST:PORT" in server.said
