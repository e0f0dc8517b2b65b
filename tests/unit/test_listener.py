"""The address that operators have to themselves: who listens, who takes over, what is said if none can."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from bento_rollout.admin.binding import Binding
from bento_rollout.bento.listener import Listener
from bento_rollout.errors import InvalidValue
from tests.integration.running import free_port, until


async def hello(scope: Any, receive: Any, send: Any) -> None:
    """Say who serves."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": threading.current_thread().name.encode()})


def ask(host: str, port: int) -> bytes:
    """What is said there; nothing: nobody is."""
    connection = http.client.HTTPConnection(host, port, timeout=5)
    try:
        connection.request("GET", "/")
        return connection.getresponse().read()
    except OSError:
        return b""
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("127.0.0.1:3999", "127.0.0.1", 3999), ("[::1]:1", "::1", 1), (" localhost:65535 ", "localhost", 65535)],
)
def test_addresses(text: str, host: str, port: int) -> None:
    """A host and a port; of IPv6 in brackets."""
    found = Binding.from_environment({"BENTO_ROLLOUT_ADMIN_BIND": text})
    assert found == Binding(host, port)
    assert str(found) == text.strip()


@pytest.mark.parametrize("text", ["", "  "])
def test_no_address(text: str) -> None:
    """Nothing is no address."""
    assert Binding.from_environment({"BENTO_ROLLOUT_ADMIN_BIND": text}) is None
    assert Binding.from_environment({}) is None


@pytest.mark.parametrize(
    "text", ["3999", ":3999", "host", "host:", "host:0", "host:65536", "::1:3999", "http://host:1", "a b:1"]
)
def test_no_addresses(text: str) -> None:
    """Anything else is refused, and the variable is named."""
    with pytest.raises(InvalidValue, match="BENTO_ROLLOUT_ADMIN_BIND"):
        Binding.from_environment({"BENTO_ROLLOUT_ADMIN_BIND": text})


def test_one_listens_and_another_takes_over(tmp_path: Path) -> None:
    """Of two workers one listens; when it goes the other does."""
    binding = Binding("127.0.0.1", free_port())
    workers = [Listener(binding, tmp_path, hello, "screening") for _ in range(2)]
    for worker in workers:
        worker.start()
        until(lambda: ask(binding.host, binding.port), "somebody listens")
    assert [worker.problem for worker in workers] == [None, None]
    workers[0].stop()
    until(lambda: ask(binding.host, binding.port), "the other one listens")
    workers[1].stop()
    assert not ask(binding.host, binding.port)


def test_ipv6(tmp_path: Path) -> None:
    """An address of IPv6 is one."""
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6) as probe:
            port = probe.getsockname()[1]
    except OSError:
        pytest.skip("this machine has no IPv6")
    worker = Listener(Binding("::1", port), tmp_path, hello, "screening")
    worker.start()
    until(lambda: ask("::1", port), "it listens")
    worker.stop()


def test_a_port_that_is_taken(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """It is said once, in the log and to whoever looks; when it is free again somebody listens."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        binding = Binding("127.0.0.1", other.getsockname()[1])
        worker = Listener(binding, tmp_path, hello, "screening")
        worker.start()
        until(lambda: worker.problem, "it is noticed")
    assert worker.problem == (
        f"operators are not served at {binding} (BENTO_ROLLOUT_ADMIN_BIND): Address already in use"
    )
    until(lambda: ask(binding.host, binding.port), "it listens")
    assert worker.problem is None
    worker.stop()
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines() if '"admin.' in line]
    assert [line["event"] for line in lines] == ["admin.unbound", "admin.bound"]
    assert lines[0]["problem"] == "Address already in use"


def test_an_address_of_another_machine(tmp_path: Path) -> None:
    """An address that this machine has not is told in the same way."""
    worker = Listener(Binding("192.0.2.1", 3999), tmp_path, hello, "screening")
    worker.start()
    until(lambda: worker.problem, "it is noticed")
    assert "192.0.2.1:3999" in str(worker.problem)
    worker.stop()


def test_a_right_that_was_removed(tmp_path: Path) -> None:
    """Whoever removes the file of the right costs nobody the operators' address."""
    binding = Binding("127.0.0.1", free_port())
    workers = [Listener(binding, tmp_path, hello, "screening") for _ in range(2)]
    for worker in workers:
        worker.start()
    until(lambda: ask(binding.host, binding.port), "somebody listens")
    (tmp_path / "admin.lock").unlink()
    until((tmp_path / "admin.lock").exists, "the right is held anew")
    until(lambda: [worker.problem for worker in workers] == [None, None], "nobody complains", 20)
    until(lambda: ask(binding.host, binding.port), "somebody listens")
    for worker in workers:
        worker.stop()
