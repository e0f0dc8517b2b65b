"""The life of a service over its deployments: what is code, what is state, and what is held back."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from bento_rollout.store.sqlite import SQLiteStore
from tests.integration.callers import Answer, Line
from tests.integration.running import Server, serving, until

pytestmark = [pytest.mark.server, pytest.mark.slow]

TOKEN = "a-token-of-the-tests"

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


def module(champion: tuple[str, str], *candidates: tuple[str, str], weights: str = "", spec: str = "") -> str:
    """Return the code of a deployment: names of variants, what each of them says, and the spec's file."""
    parts = [VARIANT.format(name=f"c-{name}", title=name.title(), said=said) for name, said in candidates]
    names = ", ".join(f'"{name}": {name.title()}' for name, _ in candidates)
    fields = '"routing": {"key": "header:x-key"}' + (f', "weights": {weights}' if weights else "")
    chosen = f'"{spec}"' if spec else f"RolloutSpec.parse({{{fields}}})"
    decorator = f'\n@rollout(champion="{champion[0]}", candidates={{{names}}}, spec={chosen})'
    own = VARIANT.format(name="cycle", title=champion[0].title(), said=champion[1])
    return HEAD + "".join(parts) + decorator + own + f"\nService = {champion[0].title()}\n"


class Project:
    """One project that is deployed again and again over one store."""

    def __init__(self, folder: Path) -> None:
        self.code, self.home = folder / "code", folder / "home"
        self.code.mkdir()
        self.home.mkdir()

    def deployed(self, code: str, spec: str = "", **environment: str) -> AbstractContextManager[Server]:
        """Write the code, and its spec where it has one in a file, and serve it in an environment."""
        (self.code / "service.py").write_text(code)
        (self.code / "rollout.yaml").write_text(spec)
        more: dict[str, Any] = {"cwd": self.code, "environment": environment}
        return serving("service:Service", self.home, rollout="cycle", workers=1, **more)


def answers(server: Server, count: int = 60) -> list[Answer]:
    """Return the answers to callers with different keys."""
    line = Line(server.port)
    try:
        return [line.ask(**{"x-key": f"u{number}"}) for number in range(count)]
    finally:
        line.close()


def operator_asks(server: Server, path: str, body: Any) -> Answer:
    """Return what the service answers to an operator's program."""
    line = Line(server.port)
    try:
        return line.ask(path, body, Authorization=f"Bearer {TOKEN}")
    finally:
        line.close()


def said(server: Server) -> set[tuple[str, str]]:
    """Return which variants answered, and what they said."""
    found = answers(server)
    assert {answer.status for answer in found} == {200}
    return {(answer.variant, answer.body["said"]) for answer in found}


def run(server: Server, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `bento-rollout` as a person does beside the service."""
    return subprocess.run(
        [Path(sys.executable).with_name("bento-rollout"), *arguments],
        env=server.environment(),
        cwd=server.cwd,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


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
        operator.set_shadow({"three": 10})
        operator.target("three", keys=["vip"])
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
        assert operator.state.shadow  # idle, and it stops nothing
        (warning,) = server.events("rollout.missing")
        assert warning["variants"] == ["three"]
        assert warning["weights"] == {"three": 50}
        assert "bento-rollout retire cycle three --in-favour-of two" in warning["hint"]
        examined = run(server, "doctor")
        assert (examined.returncode, "variant 'three' is missing" in examined.stdout) == (1, True)
        refused = run(server, "retire", "cycle", "three")
        assert (refused.returncode, "--in-favour-of" in refused.stderr) == (1, True)
        operator.retire("three", in_favour_of="four")
        assert said(server) == {("two", "2 again"), ("four", "4")}
        assert "three" not in json.dumps(operator.status())  # targets and shadow went with it

        # Another deployment over the same store brings a candidate that these running workers do not know.
        store, newest = SQLiteStore(server.store), operator.history(1)[0]
        state = newest.state.set_weights({"four": 0, "five": 50_000}, ("two", "four", "five"))
        state = state.model_copy(update={"revision": newest.revision + 1})
        store.commit(
            newest.model_copy(update={"state": state, "parent": newest.revision}), after=newest.revision
        )
        assert said(server) == {("two", "2 again")}
        assert reasons(server) == {"split", "unavailable"}
        assert operator.status()["variants"]["five"]["state"] == "missing"


def test_the_next_candidate_under_the_name_of_the_last(tmp_path: Path) -> None:
    """v2 moves into the class, which keeps its name, and retires; v3 comes under v2's name, at weight 0."""
    project = Project(tmp_path)
    with project.deployed(module(("one", "1"), ("two", "2"))) as server:
        server.ready()
        operator = server.operator()
        operator.target("two", keys=["vip"])
        operator.flip("two", reason="it won")
        granted = operator.state.granted

    second = module(("one", "2"))
    with project.deployed(second) as server:  # all traffic is still v2's under its own name
        until(lambda: server.arbiter.poll() is not None, "the start is refused")
        assert "--in-favour-of" in server.said
        assert run(server, "retire", "cycle", "two", "--in-favour-of", "one").returncode == 0

    with project.deployed(second) as server:
        server.ready()
        operator = server.operator()
        assert said(server) == {("one", "2")}
        assert operator.history()[0].author == "deploy"
        assert operator.state.granted["one"] != granted["one"]

    with project.deployed(module(("one", "2"), ("two", "3"))) as server:
        server.ready()
        operator = server.operator()
        assert operator.history()[0].author == "deploy"  # the new candidate alone is no revision
        assert said(server) == {("one", "2")}
        assert not operator.state.targets  # the last one's, gone with it
        assert operator.flip("two", reason="better still").state.granted["two"] != granted["two"]
        assert said(server) == {("two", "3")}
        assert operator.rollback().state.champion == "one"
        assert said(server) == {("one", "2")}


def spec_file(routing: str, two: int) -> str:
    """Return a spec's file: fields of the routing, and the weight of two."""
    return f"name: cycle\nrouting: {{{routing}}}\nweights: {{two: {two}}}\n"


def test_routing_is_code_and_weights_are_state(tmp_path: Path) -> None:
    """A deployment's routing holds at once; its weights wait for `apply`, as one warning says."""
    project = Project(tmp_path)
    code = module(("one", "1"), ("two", "2"), spec="rollout.yaml")
    with project.deployed(code, spec_file("key: header:x-old", 10)) as server:
        server.ready()
        server.operator().set_weights({"two": 50})

    with project.deployed(code, spec_file("key: header:x-key, override_header: true", 20)) as server:
        server.ready()
        operator = server.operator()
        keys = [f"u{number}" for number in range(60)]
        assert [answer.variant for answer in answers(server)] == list(operator.assign(keys))
        line = Line(server.port)
        pinned = [line.ask(**{"x-rollout-variant": name}) for name in ("one", "two")]
        line.close()
        assert [(answer.variant, answer.reason) for answer in pinned] == [
            ("one", "pinned"),
            ("two", "pinned"),
        ]
        assert operator.state.percents == {"two": 50}
        (warning,) = server.events("rollout.spec_differs")
        assert warning["differences"] == operator.status()["differences"]
        assert any("50" in text and "20" in text for text in warning["differences"])
        command = warning["hint"][warning["hint"].index("bento-rollout apply") :]
        applied = run(server, *shlex.split(command)[1:])
        assert applied.returncode == 0, applied.stderr
        assert operator.state.percents == {"two": 20}
        assert operator.status()["differences"] == []

    with project.deployed(code, spec_file("key: header:x-key, override_header: true", 20)) as server:
        server.ready()
        assert server.events("rollout.spec_differs") == []
        assert server.operator().history()[0].action == "apply"


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

        done = run(server, "retire", "cycle", "one", "--in-favour-of", "nine")
        assert done.returncode == 0, done.stderr

    with project.deployed(module(("nine", "9"))) as server:
        server.ready()
        assert said(server) == {("nine", "9")}

    with project.deployed(module(("nine", "one under another name"))) as server:
        server.ready()
        assert server.operator().history()[0].author == "deploy"


def test_a_store_that_binds_one_pod(tmp_path: Path) -> None:
    """In a pod the spec is served and changes are refused at every door, unless it is the only one."""
    project = Project(tmp_path)
    code = module(("one", "1"), ("two", "2"), weights='{"two": 50}')
    pod = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "BENTO_ROLLOUT_ADMIN_TOKEN": TOKEN}
    asked = "/rollout/admin/weights", {"weights": {"two": 10}}
    refusal = "this would bind one pod of unknown many"

    with project.deployed(code, **pod, BENTO_ROLLOUT_SINGLE_REPLICA="") as server:
        server.ready()
        assert said(server) == {("one", "1"), ("two", "2")}
        (line,) = server.events("rollout.store")
        assert line["binds"].startswith("nobody for long (this is a pod")
        assert line["binds"].endswith("changes are refused")
        status = json.loads(run(server, "status", "cycle", "--json").stdout)
        assert (status["store"]["durable"], status["weights"]) == (False, {"two": 50})
        for verb in (("weight", "cycle", "two=10"), ("flip", "cycle", "--to", "two"), ("rollback", "cycle")):
            done = run(server, *verb)
            assert (done.returncode, refusal in done.stderr) == (1, True), verb
        answer = operator_asks(server, *asked)
        assert (answer.status, refusal in answer.body["detail"]) == (409, True)
        assert "BENTO_ROLLOUT_SINGLE_REPLICA=1" in answer.body["detail"]
        assert len(server.operator().history()) == 1
        assert said(server) == {("one", "1"), ("two", "2")}

    with project.deployed(code, **pod, BENTO_ROLLOUT_SINGLE_REPLICA="1") as server:
        server.ready()
        (line,) = server.events("rollout.store")
        assert line["binds"] == "this host"
        assert json.loads(run(server, "status", "cycle", "--json").stdout)["store"]["durable"] is True
        answer = operator_asks(server, *asked)
        assert (answer.status, answer.body["weights"]) == (200, {"two": 10})
        assert run(server, "flip", "cycle", "--to", "two").returncode == 0
        assert said(server) == {("two", "2")}
