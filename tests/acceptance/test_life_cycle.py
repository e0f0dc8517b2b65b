"""The life of a service over its deployments: what is code, what is state, and what is held back."""

from __future__ import annotations

import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.integration.callers import Answer, Line
from tests.integration.running import Server, serving, until

pytestmark = [pytest.mark.server, pytest.mark.slow]

HEAD = """
import bentoml
from bento_rollout import RolloutSpec, rollout
"""

VARIANT = """
@bentoml.service(name="{name}")
class {title}:
    @bentoml.api
    async def who(self) -> dict[str, str]:
        return {{"said": "{said}"}}
"""


def module(champion: tuple[str, str], *candidates: tuple[str, str], weights: str = "") -> str:
    """Return the code of a deployment: names of variants, and what each of them says."""
    parts = [VARIANT.format(name=f"c-{name}", title=name.title(), said=said) for name, said in candidates]
    names = ", ".join(f'"{name}": {name.title()}' for name, _ in candidates)
    fields = '"routing": {"key": "header:x-key"}' + (f', "weights": {weights}' if weights else "")
    decorator = (
        f'\n@rollout(champion="{champion[0]}", candidates={{{names}}}, spec=RolloutSpec.parse({{{fields}}}))'
    )
    own = VARIANT.format(name="cycle", title=champion[0].title(), said=champion[1])
    return HEAD + "".join(parts) + decorator + own + f"\nService = {champion[0].title()}\n"


class Project:
    """One project that is deployed again and again over one store."""

    def __init__(self, folder: Path) -> None:
        self.code, self.home = folder / "code", folder / "home"
        self.code.mkdir()
        self.home.mkdir()

    def deployed(self, code: str) -> AbstractContextManager[Server]:
        """Write the code and serve it."""
        (self.code / "service.py").write_text(code)
        return serving("service:Service", self.home, rollout="cycle", workers=1, cwd=self.code)


def answers(server: Server, count: int = 60) -> list[Answer]:
    """Return the answers to callers with different keys."""
    line = Line(server.port)
    try:
        return [line.ask(**{"x-key": f"u{number}"}) for number in range(count)]
    finally:
        line.close()


def said(server: Server) -> set[tuple[str, str]]:
    """Return which variants answered, and what they said."""
    found = answers(server)
    assert {answer.status for answer in found} == {200}
    return {(answer.variant, answer.body["said"]) for answer in found}


def reasons(server: Server) -> set[str]:
    """Return why the answers were given by whom they were."""
    return {answer.reason for answer in answers(server)}


def test_a_service_through_its_deployments(tmp_path: Path) -> None:  # noqa: PLR0915 - one life, in order
    """v2 is added, ramped, promoted and moved into the class; v1 retires; a v3 comes under the name of v2."""
    project = Project(tmp_path)

    with project.deployed(module(("one", "1"), ("two", "2"), weights='{"two": 10}')) as server:
        server.ready()
        operator = server.operator()
        assert (operator.state.revision, operator.state.percents) == (1, {"two": 10})
        (line,) = server.events("rollout.store")
        assert (line["store"], line["binds"]) == (server.url, "this host")
        operator.set_weights({"two": 50})
        assert said(server) == {("one", "1"), ("two", "2")}
        operator.flip("two", reason="it won")
        assert said(server) == {("two", "2")}

    # v2 is the class now; a third candidate comes; the spec still asks for what was true in the beginning.
    second = module(("two", "2"), ("three", "3"), weights='{"three": 1}')
    with project.deployed(second) as server:
        server.ready()
        operator = server.operator()
        assert operator.state.champion == "two"
        assert said(server) == {("two", "2")}
        (warning,) = server.events("rollout.spec_differs")
        assert "bento-rollout apply" in str(warning)
        assert "weights" in str(warning["differences"])
        status = operator.status()
        assert status["differences"] == warning["differences"]
        assert status["variants"]["one"]["state"] == "missing"  # it is the standby, and nothing stops
        operator.retire("one")
        assert "one" not in operator.status()["variants"]
        operator.set_weights({"three": 50})
        assert said(server) == {("two", "2"), ("three", "3")}
        digest = operator.state.granted["two"]

    # Other code under both names: the champion is an ordinary deployment, the candidate is not trusted.
    with project.deployed(module(("two", "2 again"), ("three", "3 again"))) as server:
        server.ready()
        operator = server.operator()
        deployed = operator.history()[0]
        assert deployed.author == "deploy"
        assert digest in deployed.reason
        assert operator.state.granted["two"] in deployed.reason
        assert operator.state.granted["two"] != digest
        assert said(server) == {("two", "2 again")}
        assert reasons(server) == {"split", "unavailable"}
        assert operator.status()["variants"]["three"]["held"] == "new digest, weight 50 held"
        assert operator.set_weights({"three": 50}).changed
        assert said(server) == {("two", "2 again"), ("three", "3 again")}

    # A candidate with weight is gone from the code: its keys are the champion's, and status says so.
    with project.deployed(module(("two", "2 again"), ("four", "4"))) as server:
        server.ready()
        operator = server.operator()
        assert operator.state.percents["three"] == 50
        assert said(server) == {("two", "2 again")}
        assert reasons(server) == {"split", "unavailable"}
        assert operator.status()["variants"]["three"]["state"] == "missing"
        assert operator.history()[0].action == "weight"  # the same code again is no deployment
        operator.retire("three", in_favour_of="four")
        assert said(server) == {("two", "2 again"), ("four", "4")}


def test_an_unknown_champion_is_refused_at_start(tmp_path: Path) -> None:
    """A service that lacks the state's champion does not start, and names the two ways out."""
    project = Project(tmp_path)
    with project.deployed(module(("one", "1"))) as server:
        server.ready()

    with project.deployed(module(("nine", "9"))) as server:
        until(lambda: server.arbiter.poll() is not None, "the start is refused")
        assert server.arbiter.returncode != 0
        assert "champion='one'" in server.said
        assert "bento-rollout retire cycle one --in-favour-of" in server.said
        assert server.operator().state.revision == 1

        command = Path(sys.executable).with_name("bento-rollout")
        arguments = [str(command), "retire", "cycle", "one", "--in-favour-of", "nine"]
        done = subprocess.run(
            arguments, env=server.environment(), capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr

    with project.deployed(module(("nine", "9"))) as server:
        server.ready()
        assert said(server) == {("nine", "9")}

    with project.deployed(module(("nine", "one under another name"))) as server:
        server.ready()
        assert server.operator().history()[0].author == "deploy"
