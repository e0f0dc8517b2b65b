"""A file that governs, as Kubernetes mounts one: followed by all workers, refused, overridden on one host."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bento_rollout.cli import main
from bento_rollout.specfile import content_digest
from tests.integration.callers import Load, line_to_each
from tests.integration.running import Server, free_port, serving, until
from tests.states import mounted

pytestmark = pytest.mark.server

TOKEN = "t0ken"
TARGET = "tests.integration.apps.pair:Pair"
SOON = 3.0
"""Seconds within which a change of the file is what every worker serves."""
IN_TIME = 30.0
"""The same where the time is not what is tested."""
KEYS = 40


class Mount:
    """A folder as kubelet mounts a ConfigMap: a link to a folder that is exchanged in one step."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "rollout.yaml"
        self._number = 0
        folder.mkdir()

    def put(self, text: str) -> str:
        """Exchange the content; return its digest."""
        self._number += 1
        data = self.folder / f"..{self._number}"
        data.mkdir()
        (data / "rollout.yaml").write_text(text)
        draft = self.folder / "..data_tmp"
        draft.symlink_to(data.name)
        draft.rename(self.folder / "..data")
        if not self.file.is_symlink():
            self.file.symlink_to("..data/rollout.yaml")
        if (old := self.folder / f"..{self._number - 1}").exists():
            shutil.rmtree(old)
        return content_digest(self.file)


def spec(percent: float = 0, more: str = "") -> str:
    """Return a file that governs the pair."""
    return f"authority: spec\nrouting: {{key: header:x-key}}\nweights: {{green: {percent:g}}}\n{more}"


def environment(file: Path) -> dict[str, str]:
    """Return what a pod of two workers has."""
    return {
        "PAIR_WORKERS": "2",
        "BENTO_ROLLOUT_SPEC": str(file),
        "BENTO_ROLLOUT_ADMIN_TOKEN": TOKEN,
        "BENTO_ROLLOUT_SINGLE_REPLICA": "0",
        "KUBERNETES_SERVICE_HOST": "10.0.0.1",
    }


@pytest.fixture(scope="module")
def mount(tmp_path_factory: pytest.TempPathFactory) -> Mount:
    """The ConfigMap, with half of the traffic for the candidate."""
    mount = Mount(tmp_path_factory.mktemp("pod") / "config")
    mount.put(spec(50))
    return mount


@pytest.fixture(scope="module")
def pod(mount: Mount, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The pod."""
    folder, env = tmp_path_factory.mktemp("home"), environment(mount.file)
    with serving(TARGET, folder, rollout="pair", workers=2, environment=env) as server:
        yield server.ready()


@pytest.fixture
def here(pod: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Commands:
    """The command line on the pod's host."""
    for name, value in pod.environment().items():
        if name.startswith(("BENTO", "KUBERNETES")):
            monkeypatch.setenv(name, value)
    return Commands(capsys)


class Commands:
    """Runs the command line in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *words: str) -> tuple[int, str, str]:
        """Return the exit code, and what was printed."""
        code = main([*words])
        out, err = self._capsys.readouterr()
        return code, out, err

    def json(self, *words: str) -> Any:
        """Return the JSON that a verb prints."""
        return json.loads(self(*words, "--json")[1])


def over_http(server: Server, verb: str, body: Any = None, port: int | None = None) -> tuple[int, Any]:
    """Return status and JSON of an operators' route."""
    connection = http.client.HTTPConnection("127.0.0.1", port or server.port, timeout=30)
    head = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    method = "GET" if body is None else "POST"
    connection.request(method, f"/rollout/admin/{verb}", body and json.dumps(body), head)
    answer = connection.getresponse()
    found = answer.status, json.loads(answer.read())
    connection.close()
    return found


def everywhere(server: Server, digest: str, seconds: float = IN_TIME) -> None:
    """Wait until every worker answers by a content."""
    with line_to_each(server.port, server.living()) as lines:

        def follow() -> bool:
            return {line.ask().revision for line in lines.values()} == {int(digest, 16)}

        until(follow, f"all serve by {digest}", seconds, 0.02)


def share(server: Server) -> float:
    """Return the candidate's share of some keys, in percent, the same from every worker."""
    with line_to_each(server.port, server.living()) as lines:
        found = [
            tuple(line.ask(**{"x-key": f"u{number}"}).variant for line in lines.values())
            for number in range(KEYS)
        ]
    assert {len(set(variants)) for variants in found} == {1}
    return sum(variants[0] == "green" for variants in found) * 100 / KEYS


def is_half(server: Server) -> bool:
    """Whether the candidate has about half of the keys."""
    return 30 < share(server) < 70  # of these keys 47.5 % lie below


def test_a_change_of_the_file_is_served_by_every_worker(pod: Server, mount: Mount) -> None:
    """Within three seconds, under load, no request fails, and each answer names the content that it is by."""
    before = content_digest(mount.file)
    with Load(pod.port, 8, pause=0.005) as load:
        everywhere(pod, before)
        began = time.monotonic()
        after = mount.put(spec(0))
        everywhere(pod, after)
        took = time.monotonic() - began
        after_swap = time.monotonic()
        time.sleep(0.2)
    assert took < SOON
    assert {answer.status for answer in load.answers} == {200}
    late = [answer for answer in load.answers if answer.began > after_swap]
    assert late
    assert {(answer.revision, answer.variant) for answer in late} == {(int(after, 16), "blue")}
    assert {answer.revision for answer in load.answers} == {int(before, 16), int(after, 16)}


def test_nothing_is_a_store(pod: Server, here: Commands, mount: Mount) -> None:
    """No database comes into being; status, list, history, assign and doctor tell of the file."""
    digest = mount.put(spec(50))
    everywhere(pod, digest)
    until(lambda: here.json("status", "pair")["revision"] == f"file:{digest}", "the note says so", IN_TIME)
    assert not pod.store.exists()
    facts = here.json("status", "pair")
    assert facts["store"]["kind"] == "spec"
    assert facts["store"]["path"] == str(mount.file)
    assert facts["store"]["durable"] is True
    assert facts["override"] is None
    assert facts["weights"] == {"green": 50.0}
    until(lambda: not here.json("doctor")["rollouts"][0]["problems"], "nothing is wrong", 10)
    assert here("doctor")[0] == 0
    assert here.json("doctor")["store"]["url"] == "no database: files govern"
    assert here.json("list") == [{"name": "pair", "revision": f"file:{digest}", "champion": "blue"}]
    assert [row["revision"] for row in here.json("history", "pair")] == [f"file:{digest}"]
    assert here.json("assign", "pair", "--key", "u1")[0]["revision"] == f"file:{digest}"
    assert not pod.store.exists()


VERBS = [
    ("weight", "pair", "green=5"),
    ("shadow", "pair", "green=5"),
    ("flip", "pair"),
    ("promote", "pair", "--reason", "now"),
    ("undo", "pair"),
    ("target", "pair", "green", "--key", "u1"),
    ("retire", "pair", "green", "--in-favour-of", "blue"),
    ("start", "pair"),
    ("rollback", "pair", "--again"),
]


@pytest.mark.parametrize("words", VERBS, ids=lambda words: words[0])
def test_verbs_that_change_are_refused(here: Commands, pod: Server, words: tuple[str, ...]) -> None:
    """Each says which file is to be changed, with exit code 1."""
    assert pod.living()
    code, _, err = here(*words)
    assert code == 1
    assert "governed by " in err
    assert "rollout.yaml" in err


def test_applying_a_file_is_refused(here: Commands, mount: Mount, pod: Server) -> None:
    """The file is not applied: it governs."""
    assert pod.living()
    file = mount.folder.parent / "other.yaml"
    file.write_text("name: pair\nweights: {green: 1}\n")
    code, _, err = here("apply", str(file))
    assert code == 1
    assert "governed by " in err


def test_verbs_are_refused_over_http(pod: Server) -> None:
    """With 409, a kind of problem of its own, and the file's name."""
    status, problem = over_http(pod, "weights", {"weights": {"green": 5}})
    assert status == 409
    assert problem["type"].endswith(":governed")
    assert "rollout.yaml" in problem["detail"]
    status, facts = over_http(pod, "state")
    assert status == 200
    assert facts["store"]["kind"] == "spec"


@pytest.mark.parametrize(
    "broken",
    ["weights: {green: [", "authority: spec\nweights: {nobody: 5}\n", "weights: {green: 5}\n", None],
    ids=["half-written", "unknown variant", "another authority", "gone"],
)
def test_a_file_that_cannot_be_served_by_changes_nothing(
    pod: Server, here: Commands, mount: Mount, broken: str | None
) -> None:
    """The earlier content is served on; status, doctor and a metric say so, until it is mended."""
    digest = mount.put(spec(50))
    everywhere(pod, digest)
    if broken is None:
        (mount.folder / "..data").unlink()
    else:
        mount.put(broken)
    until(lambda: here.json("status", "pair")["store"]["refused"], "it is refused", IN_TIME)
    assert here("doctor")[0] == 1
    until(lambda: 'bento_rollout_spec_refused{rollout="pair"} 1.0' in metrics(pod), "the metric is 1")
    everywhere(pod, digest)
    assert is_half(pod)
    mended = mount.put(spec(50, "# mended\n"))
    everywhere(pod, mended)
    until(lambda: here.json("status", "pair")["store"]["refused"] is None, "it is mended", IN_TIME)
    until(lambda: 'bento_rollout_spec_refused{rollout="pair"} 0.0' in metrics(pod), "it is 0 again")


def metrics(server: Server) -> str:
    """Return what Prometheus scrapes."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request("GET", "/metrics")
    return connection.getresponse().read().decode()


def test_a_rollback_holds_on_this_host_until_the_file_changes(
    pod: Server, here: Commands, mount: Mount
) -> None:
    """At once in every worker; status and doctor show it; the next content ends it, for good."""
    text = spec(50, "# to be rolled back\n")
    digest = mount.put(text)
    everywhere(pod, digest)
    until(lambda: here.json("status", "pair")["revision"] == f"file:{digest}", "the note says so", IN_TIME)
    code, out, _ = here("rollback", "pair", "--reason", "too many 500s", "--author", "ann")
    assert code == 0
    assert "this host only" in out
    assert share(pod) == 0
    everywhere(pod, digest)
    facts = here.json("status", "pair")
    assert facts["override"]["rollback"]["author"] == "ann"
    assert facts["override"]["rollback"]["reason"] == "too many 500s"
    assert facts["override"]["digest"] == digest
    assert facts["weights"] == {"green": 0.0}
    assert "too many 500s" in here("status", "pair")[1]
    assert "holds against" in here("doctor")[1]
    assert here("rollback", "pair")[0] == 0
    assert [row["action"] for row in here.json("history", "pair")] == ["rollback", "file"]
    assert pod.events("rollout.overridden")
    changed = mount.put(spec(50, "# another try\n"))
    everywhere(pod, changed)
    assert is_half(pod)
    again = mount.put(text)
    everywhere(pod, again)
    assert is_half(pod)
    assert here.json("status", "pair")["override"] is None
    assert pod.events("rollout.override_ended")


def test_resume_ends_what_is_held_against_the_file(pod: Server, here: Commands, mount: Mount) -> None:
    """A pause over HTTP and a rollback add up; one `resume` ends both, in every worker at once."""
    everywhere(pod, mount.put(spec(50, "# resumed\n")))
    status, facts = over_http(pod, "pause", {"reason": "look first"})
    assert (status, facts["paused"], facts["changed"]) == (200, True, True)
    assert over_http(pod, "rollback", {"reason": "no"})[1]["override"].keys() >= {"pause", "rollback"}
    assert share(pod) == 0
    assert here("resume", "pair")[0] == 0
    assert is_half(pod)
    facts = here.json("status", "pair")
    assert (facts["paused"], facts["override"]) == (False, None)
    assert over_http(pod, "resume", {})[1]["changed"] is False


def test_another_champion_in_the_file_is_the_flip(pod: Server, here: Commands, mount: Mount) -> None:
    """Every worker answers by it, and tells of the flip as of any other."""
    text = "authority: spec\nchampion: green\nrouting: {key: header:x-key}\nblue_green: {standby: blue}\n"
    everywhere(pod, mount.put(text))
    assert share(pod) == 100
    until(lambda: here.json("status", "pair")["champion"] == "green", "status says so", IN_TIME)
    assert here.json("status", "pair")["standby"] == "blue"
    until(lambda: pod.events("flip.committed"), "it is told", IN_TIME)
    everywhere(pod, mount.put(spec(0, "# blue again\n")))
    assert share(pod) == 0


def test_what_is_code_waits_for_a_restart(pod: Server, here: Commands, mount: Mount) -> None:
    """Of a content with a new key and a new weight the weight holds at once, and status names the key."""
    text = spec(0).replace("header:x-key", "header:x-other")
    everywhere(pod, mount.put(text))
    until(lambda: here.json("status", "pair")["waits_for_restart"] == ["routing"], "it is told", IN_TIME)
    assert share(pod) == 0
    assert pod.events("rollout.spec_waits")


def test_a_worker_that_starts_while_the_file_is_broken_serves_as_the_others(
    pod: Server, mount: Mount
) -> None:
    """It begins with the content that the living ones have, not with none."""
    digest = mount.put(spec(50, "# the last good one\n"))
    everywhere(pod, digest)
    mount.put("weights: [")
    victim, *_ = pod.living()
    os.kill(victim, 9)
    until(lambda: len(pod.living()) == 2 and victim not in pod.living(), "it is replaced", 60)
    everywhere(pod, digest)
    assert is_half(pod)


@pytest.mark.fault
def test_a_home_that_nobody_can_write_to(tmp_path: Path) -> None:
    """It serves and follows the file; a verb that works against it says what cannot be written.

    Operators have an address of their own, as behind a pod's read-only root it would be.
    """
    port = free_port()
    mount = Mount(tmp_path / "config")
    before = mount.put(spec(50))
    home = tmp_path / "home"
    with mounted(home) as again:
        store = {"BENTO_ROLLOUT_STORE": f"sqlite:///{home}/ro/rollouts.db", "PAIR_WORKERS": "1"}
        env = {**environment(mount.file), **store, "BENTO_ROLLOUT_ADMIN_BIND": f"127.0.0.1:{port}"}
        again("ro")
        with serving(TARGET, tmp_path, rollout="pair", workers=1, environment=env) as server:
            until(lambda: server.asks("GET", "/readyz") == 200, f"ready; see {server.log}", 120)
            with Load(server.port, 8, pause=0.01) as load:
                until(lambda: load.answers, "it answers")
                after = mount.put(spec(0))
                until(lambda: load.answers[-1].revision == int(after, 16), "it is followed", IN_TIME)
                time.sleep(1)
                status, problem = over_http(server, "rollback", {"reason": "no"}, port)
                refused, _ = over_http(server, "weights", {"weights": {"green": 1}}, port)
            assert over_http(server, "state", port=port)[1]["revision"] == f"file:{after}"
            examined = over_http(server, "doctor", port=port)[1]
            assert examined["store"]["problem"] is None
            assert [row["revision"] for row in examined["rollouts"]] == [f"file:{after}"]
        late = [a for a in load.answers if a.began > load.answers[-1].ended - 0.5]
        assert {a.status for a in load.answers} == {200}
        assert {a.revision for a in load.answers} == {int(before, 16), int(after, 16)}
        assert {a.revision for a in late} == {int(after, 16)}
        assert (status, refused) == (503, 409)
        assert "Read-only file system" in problem["detail"]
