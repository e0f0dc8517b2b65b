"""The watch of how wrong models are: labels that matured, in one step with where they were read to."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from bento_rollout.cli.drift_page import drift_page
from bento_rollout.concept import ConceptRules
from bento_rollout.concept_watch import ConceptSettings
from bento_rollout.drift_acts import Acts
from bento_rollout.drift_monitor import Monitor
from bento_rollout.errors import InvalidValue
from bento_rollout.notice import Notice
from bento_rollout.notifier import Notifier, as_receivers
from tests.drift_host import Host, made_host
from tests.drift_rows import ENDPOINT, judge

SETTINGS = ConceptSettings(ENDPOINT, "label", 10.0, ConceptRules(reference=200))


def errors(rows: int, rate: float, seed: int) -> list[bool]:
    """Which predictions were wrong."""
    draw = random.Random(seed)
    return [draw.random() < rate for _ in range(rows)]


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """A host that watches losses, and nothing else."""
    host = made_host(tmp_path, monkeypatch)
    host.rules, host.losses = None, SETTINGS
    return host


def fed(host: Host, worker: Monitor) -> None:
    """Give it labels of a good model, then of a bad one."""
    worker.look(host.now)
    judge(host.place, errors(600, 0.03, 1))
    judge(host.place, errors(300, 0.4, 2), start=600, time=1600.0)
    host.now = 10_000.0
    host.settle(worker)


def test_a_loss_that_rises_alarms_and_pauses(host: Host) -> None:
    """The test is the variant's, its alarm names it, and a person ends it."""
    worker = host.worker()
    fed(host, worker)
    status = host.rollout().drift.status()
    test = status["tests"]["concept/a"]
    assert test["loss"] == "zero_one"
    assert test["coverage"] == 1.0
    (alarm,) = status["alarms"]
    assert alarm["test"] == "concept/a"
    assert "the zero_one loss of a is higher" in alarm["words"]
    assert alarm["acting"] == ["a"]
    assert host.rollout().state.paused
    report = host.rollout().drift.report()
    assert report["tests"]["concept/a"]["timeline"][-1]["row"] == test["rows"]
    assert "By its zero_one loss: it was 0.0" in drift_page(report)
    host.rollout().drift.ack()
    assert not host.rollout().drift.status()["latched"]
    judge(host.place, errors(300, 0.4, 3), start=900, time=1900.0)
    host.settle(worker)
    assert host.rollout().drift.status()["latched"]
    host.rollout().drift.rebase(test="concept/a", rows=200)
    judge(host.place, errors(400, 0.4, 4), start=1200, time=2200.0)
    host.settle(worker)
    status = host.rollout().drift.status()
    assert not status["latched"]
    assert status["tests"]["concept/a"]["epoch"] == 3
    with pytest.raises(InvalidValue, match="a file has rows"):
        host.rollout().drift.rebase(test="concept/a", file="x.npy")


def test_a_champion_that_answers_all_is_watched(host: Host) -> None:
    """While nobody has weight nothing is drawn: that is how most services run most of the time."""
    worker = host.worker()
    worker.look(host.now)
    judge(host.place, errors(300, 0.03, 1), reason="default")
    judge(host.place, errors(300, 0.03, 2), start=300, time=1300.0, reason="pinned")
    host.now = 10_000.0
    host.settle(worker)
    test = host.rollout().drift.status()["tests"]["concept/a"]
    assert (test["matured"], test["labelled"]) == (300, 300)
    assert "Nothing is certain after 100 rows" in drift_page(host.rollout().drift.report())


def test_a_replay_gives_the_same_evidence_of_losses(host: Host) -> None:
    """Labels are read as they were then."""
    worker = host.worker()
    fed(host, worker)
    (one,) = host.rollout().drift.replay()["tests"].values()
    assert one["same"] is True
    assert one["rows"] > 0


def test_an_owner_that_is_killed_counts_no_label_twice(host: Host) -> None:
    """The next one goes on from where the last one wrote."""
    one = host.worker()
    one.look(host.now)
    judge(host.place, errors(400, 0.03, 1))
    host.now = 10_000.0
    host.settle(one)
    one.resign()
    judge(host.place, errors(200, 0.03, 2), start=400, time=1400.0)
    host.settle(host.worker())
    assert host.file.levels()[0].rows == 400
    (replayed,) = host.rollout().drift.replay()["tests"].values()
    assert replayed["same"] is True


def test_too_few_labels_are_said(host: Host) -> None:
    """Below the floor nothing is tested, and status says why."""
    worker = host.worker()
    worker.look(host.now)
    judge(host.place, errors(300, 0.03, 1))
    judge(host.place, errors(900, 0.03, 2), start=300, time=1300.0, labelled=False)
    host.now = 10_000.0
    host.settle(worker)
    assert "coverage" in host.rollout().drift.status()["tests"]["concept/a"]["waits"]


def test_labels_that_have_not_matured_wait(host: Host) -> None:
    """A clock that goes backwards changes only when they count."""
    worker = host.worker()
    worker.look(host.now)
    judge(host.place, errors(300, 0.03, 1), time=5000.0)
    host.now = 4990.0
    host.settle(worker)
    assert host.file.levels() == ()
    host.now = 9000.0
    host.settle(worker)
    host.now = 10.0
    host.settle(worker)
    assert host.file.levels()[0].rows == 100


def test_a_model_with_another_digest_begins_another_test(host: Host) -> None:
    """Its epoch has a number of its own, so that its alarm is found, too."""
    worker = host.worker()
    fed(host, worker)
    before = host.file.levels()[0].epoch
    rolled = host.rollout()
    rolled._desk.change("grant", lambda state, _: state.grant({"a": "three"}), "", None)
    judge(host.place, errors(500, 0.03, 5), start=900, time=2900.0)
    host.settle(worker)
    level = host.file.levels()[0]
    assert level.told["digest"] == "three"
    assert level.epoch > before


def test_receivers_are_told_once_and_it_is_noted_when_they_were(host: Host) -> None:
    """An alarm is told as a notice; whoever goes on tells what was not noted, under the same id."""
    told: list[Notice] = []
    notifier = Notifier(as_receivers(told.append), None)
    acts = Acts(host.rollout("drift"), (), lambda: notifier)
    worker = host.worker(acts)
    fed(host, worker)
    for _ in range(100):
        if "notify" in host.file.alarms()[0].acts:
            break
        host.settle(worker)
    acts.close()
    (notice,) = told
    assert notice.action == "drift"
    assert notice.causes == ("a",)
    assert host.file.alarms()[0].acts["notify"] == "told"
