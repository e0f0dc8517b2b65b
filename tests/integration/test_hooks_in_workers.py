"""Hooks around a flip, in the workers of a real server."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from bento_rollout.errors import FlipTimeout, Refused, Vetoed
from bento_rollout.operations import Change
from tests.integration.callers import line_to_each
from tests.integration.running import ROOT, Server, fresh, serving, until

pytestmark = [pytest.mark.server, pytest.mark.fault]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The service `pair` with hooks and three workers."""
    folder = fresh(tmp_path_factory.mktemp("hooked"))
    environment = {"PAIR_HOOKS": str(folder)}
    target = "tests.integration.apps.pair:Pair"
    with serving(target, folder, rollout="pair", workers=3, environment=environment) as server:
        yield server.ready()


@pytest.fixture(autouse=True)
def _blue(pair: Server) -> None:
    """Begin with blue as champion, three workers, obedient hooks and no notes."""
    until(lambda: len(pair.living()) == 3, "three workers live")
    for moment in ("before", "quick", "after"):
        (pair.folder / f"{moment}.json").unlink(missing_ok=True)
    pair.operator().flip("blue", timeout=60)
    if len(rows := pair.operator().history_rows(2)) > 1 and rows[0]["champion"] != rows[1]["champion"]:
        until(lambda: followed_up(pair), "after_flip is over")
    for moment in ("before", "async", "after"):
        (pair.folder / f"{moment}.log").unlink(missing_ok=True)


def order(pair: Server, moment: str, **what: Any) -> None:
    """Tell the hooks of a moment what to do."""
    draft = pair.folder / "draft"
    draft.write_text(json.dumps(what))
    draft.rename(pair.folder / f"{moment}.json")


def notes(pair: Server, moment: str) -> list[dict[str, Any]]:
    """Return what the hooks of a moment have noted."""
    with contextlib.suppress(FileNotFoundError):
        return [json.loads(line) for line in (pair.folder / f"{moment}.log").read_text().splitlines()]
    return []


def pids(pair: Server, moment: str) -> list[int]:
    """Return in which processes the hooks of a moment ran."""
    return sorted(line["pid"] for line in notes(pair, moment))


def followed_up(pair: Server) -> dict[str, Any] | None:
    """Return how the after_flip hooks of the newest revision ended, or None while they have not."""
    after: dict[str, Any] = pair.operator().history_rows(1)[0].get("after_flip", {"state": "running"})
    return None if after["state"] == "running" else after


@contextlib.contextmanager
def preparing(pair: Server, go: Path) -> Iterator[Future[Change]]:
    """Begin a flip to green whose hooks wait until the block ends; yields it once all workers prepare."""
    order(pair, "before", until=str(go))
    with ThreadPoolExecutor() as pool:
        flip = pool.submit(pair.operator().flip, "green", timeout=60)
        try:
            until(lambda: set(pids(pair, "before")) >= set(pair.living()), "every worker prepares")
            yield flip
        finally:
            go.touch()


def test_hooks_run_in_every_live_worker(pair: Server) -> None:
    """The processes in which before_flip hooks ran, sync and async, are the live workers, each once."""
    pair.operator("bob").flip("green", reason="it is better")
    assert pids(pair, "before") == pids(pair, "async") == pair.living()
    for line in (*notes(pair, "before"), *notes(pair, "async")):
        del line["pid"]
        assert line == {
            "source": "blue",
            "target": "green",
            "reason": "it is better",
            "author": "bob",
            "answer": "green",
        }


def test_hooks_get_the_targets_own_instance_both_ways(pair: Server) -> None:
    """On the way back the decorated service itself is the target, and answers the hook as such."""
    pair.operator().flip("green")
    pair.operator().flip("blue")
    assert [line["answer"] for line in notes(pair, "before")] == ["green"] * 3 + ["blue"] * 3
    assert [line["answer"] for line in notes(pair, "async")] == ["green"] * 3 + ["blue"] * 3


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ({"veto": "cold: 3 s for the first answer"}, "cold: 3 s for the first answer"),
        ({"raise": "boom"}, "boom"),
    ],
)
def test_one_worker_may_veto(pair: Server, what: dict[str, str], told: str) -> None:
    """A hook that raises in one worker stops the flip; its words are shown and nothing changed."""
    before = pair.operator().state
    one = pair.living()[1]
    order(pair, "before", pids=[one], **what)
    with pytest.raises(Vetoed, match=told) as raised:
        pair.operator().flip("green")
    assert str(one) in str(raised.value)
    assert pair.operator().state == before
    assert notes(pair, "after") == []


def test_a_retired_champions_heir_is_prepared(pair: Server) -> None:
    """To retire the champion runs the hooks in every live worker, with the heir's instance; one may veto."""
    before = pair.operator().state
    order(pair, "before", pids=[pair.living()[1]], veto="cold")
    with pytest.raises(Vetoed, match="cold"):
        pair.operator().retire("blue", in_favour_of="green")
    assert pair.operator().state == before
    order(pair, "before")
    (pair.folder / "before.log").unlink()
    assert pair.operator().retire("blue", in_favour_of="green").state.champion == "green"
    assert pids(pair, "before") == pair.living()
    assert {line["answer"] for line in notes(pair, "before")} == {"green"}
    assert pair.operator().undo().state.champion == "blue"


def test_a_hook_over_its_time_is_a_veto(pair: Server) -> None:
    """A hook that takes longer than its own limit stops the flip, long before it ends."""
    order(pair, "quick", sleep=20)
    began = time.monotonic()
    with pytest.raises(Vetoed, match="quick took longer than 1 s"):
        pair.operator().flip("green")
    assert time.monotonic() - began < 15


def test_a_worker_that_hangs_refuses_the_flip_by_pid(pair: Server) -> None:
    """A worker that is alive and silent until --timeout is named, and nothing changed."""
    hung = pair.living()[0]
    os.kill(hung, signal.SIGSTOP)
    try:
        with pytest.raises(FlipTimeout, match=f"within 2 s from worker {hung};"):
            pair.operator().flip("green", timeout=2)
    finally:
        os.kill(hung, signal.SIGCONT)
    assert pair.operator().state.champion == "blue"
    assert pair.operator().flip("green", timeout=60).state.champion == "green"


def test_who_dies_is_dropped_and_who_joins_is_asked(pair: Server, tmp_path: Path) -> None:
    """A worker killed while it prepares is not waited for; the one that takes its place prepares too."""
    with preparing(pair, tmp_path / "go") as flip:
        killed = pair.living()[2]
        os.kill(killed, signal.SIGKILL)
        until(lambda: killed not in pair.living(), "the killed worker is gone")
        until(lambda: len(pids(pair, "before")) == 4, "the new worker prepares")
        assert not flip.done()
    assert flip.result(60).state.champion == "green"
    assert set(pids(pair, "async")) == set(
        until(lambda: len(pair.living()) == 3 and pair.living(), "three live")
    )


def test_a_rollback_waits_for_no_preparation(pair: Server, tmp_path: Path) -> None:
    """While hooks run a rollback is done at once, and the flip then finds that somebody was there first."""
    pair.operator().set_weights({"green": 50})
    with preparing(pair, tmp_path / "go") as flip:
        assert pair.operator("bob").rollback().changed
    with pytest.raises(Refused, match="somebody else"):
        flip.result(60)
    assert pair.operator().state.champion == "blue"


def test_an_operator_killed_in_a_flip_leaves_nothing_behind(pair: Server, tmp_path: Path) -> None:
    """A flip whose process is killed while workers prepare changes nothing and stands in nobody's way."""
    order(pair, "before", until=str(tmp_path / "go"))
    code = "from bento_rollout import open_rollout; open_rollout('pair').flip('green', timeout=60)"
    with subprocess.Popen([sys.executable, "-c", code], env=pair.environment(), cwd=ROOT) as flipping:
        until(lambda: pids(pair, "before") == pair.living(), "every worker prepares")
        flipping.kill()
    (tmp_path / "go").touch()
    assert pair.operator().state.champion == "blue"
    (pair.folder / "before.log").unlink()
    assert pair.operator().flip("green").state.champion == "green"
    assert pids(pair, "before") == pair.living()


def test_after_flip_runs_once_in_one_worker(pair: Server) -> None:
    """Each change of the champion, a rollback too, is followed up by one worker, on what is champion now."""
    pair.operator().flip("green", reason="go")
    pair.operator("bob").rollback(reason="back")
    until(lambda: len(notes(pair, "after")) == 2, "both were followed up")
    time.sleep(0.3)  # whoever would do it a second time has the time to
    found = [
        (line["source"], line["target"], line["author"], line["answer"]) for line in notes(pair, "after")
    ]
    assert sorted(found) == [("blue", "green", "ann", "green"), ("green", "blue", "bob", "blue")]
    assert set(pids(pair, "after")) <= set(pair.living())
    assert until(lambda: followed_up(pair), "after_flip is reported")["state"] == "done"


def test_after_flip_cannot_take_a_flip_back(pair: Server) -> None:
    """A hook that fails after the flip is told in the history; the flip stands."""
    order(pair, "after", **{"raise": "no such channel"})
    pair.operator().flip("green")
    after = until(lambda: followed_up(pair), "the failure is told")
    assert after["state"] == "failed"
    assert "no such channel" in after["error"]
    assert pair.operator().state.champion == "green"


def test_a_worker_that_dies_in_after_flip_is_named(pair: Server) -> None:
    """The history names the worker that did not survive what follows a flip."""
    order(pair, "after", die=True)
    pair.operator().flip("green")
    after = until(lambda: followed_up(pair), "the death is told")
    assert after["state"] == "died"
    assert after["worker"] == notes(pair, "after")[0]["pid"]
    assert after["worker"] not in pair.living()


def test_requests_are_answered_while_workers_prepare(pair: Server, tmp_path: Path) -> None:
    """Hooks hold nobody up: every worker answers with the old champion until the flip is made."""
    with line_to_each(pair.port, pair.living()) as lines:
        with preparing(pair, tmp_path / "go"):
            answers = [line.ask() for line in lines.values() for _ in range(20)]
        assert {(answer.status, answer.variant) for answer in answers} == {(200, "blue")}
        until(lambda: pair.operator().state.champion == "green", "the flip is made")
        assert {line.ask().variant for line in lines.values()} == {"green"}


def test_a_flip_with_hooks_is_quick(pair: Server) -> None:
    """Ten flips, each acknowledged by all workers, take no more than a few seconds."""
    began = time.monotonic()
    for _ in range(5):
        pair.operator().flip("green")
        pair.operator().flip("blue")
    assert time.monotonic() - began < 20
    assert threading.active_count() < 50
