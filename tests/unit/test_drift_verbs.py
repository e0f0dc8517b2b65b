"""What people ask about drift, and tell the watch: in Python, at the command line, as a page."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import partialmethod
from pathlib import Path

import numpy as np
import pytest

from bento_rollout.cli import main
from bento_rollout.cli.output import show
from bento_rollout.cli.views import status as rollout_blocks
from bento_rollout.drift_latches import Latches
from bento_rollout.drift_monitor import Monitor
from bento_rollout.errors import Conflict, InvalidValue, NotFound
from bento_rollout.gauged import Drifted
from bento_rollout.store.drift_file import DriftFile
from bento_rollout.store.ledger_file import LedgerFile
from tests.drift_host import Host, made_host
from tests.drift_rows import REFERENCE, draw, odd, write


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """A host with one rollout."""
    return made_host(tmp_path, monkeypatch)


@pytest.fixture
def worker(host: Host) -> Monitor:
    """The owner, after quiet rows and a shift."""
    worker = host.worker()
    worker.look(host.now)
    write(host.place, draw(300, 1), host.of)
    write(host.place, draw(300, 2, shift=2.0), host.of, start=300)
    host.settle(worker)
    return worker


def cli(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Run a command, and return its exit code and what it printed."""
    code = main(["drift", "screening", *arguments])
    return code, capsys.readouterr().out


def test_where_nothing_was_watched_it_says_so(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is latched, and nothing is made."""
    status = host.rollout().drift.status()
    assert not status["latched"]
    assert not status["watched"]
    assert "nothing was watched" in status["words"][0]
    assert cli(capsys, "status")[0] == 0
    assert cli(capsys, "replay")[0] == 0
    assert not host.file.exists()


def test_an_acknowledged_alarm_is_latched_no_more_and_found_again(host: Host, worker: Monitor) -> None:
    """The reference stays, so what has changed for good alarms anew; who ended it stands with it."""
    watch = host.rollout("bob").drift
    (first,) = watch.status()["alarms"]
    done = watch.ack(first["id"], reason="seen")
    assert done["changed"]
    assert not done["status"]["latched"]
    (ended,) = done["status"]["alarms"]
    assert (ended["state"], ended["ended_by"], ended["note"]) == ("acknowledged", "bob", "seen")
    assert watch.ack()["changed"] is False
    with pytest.raises(NotFound, match="latched: none"):
        watch.ack(first["id"])
    write(host.place, draw(300, 3, shift=2.0), host.of, start=600)
    host.settle(worker)
    status = watch.status()
    assert status["latched"]
    assert status["tests"]["data"]["epoch"] == 2
    assert len(status["alarms"]) == 2


def test_the_numbers_of_a_report_are_of_one_moment(
    host: Host, worker: Monitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The owner writes while a report is made: a test's evidence and that of its features agree."""
    reads = {name: getattr(DriftFile, name) for name in ("levels", "standing", "watches")}
    asked = 600

    def busy(name: str, file: DriftFile) -> object:
        nonlocal asked
        found = reads[name](file)
        if asked < 1000:
            asked += 100
            write(host.place, draw(100, asked), host.of, start=asked)
            host.settle(worker)
        return found

    for name in reads:
        monkeypatch.setattr(DriftFile, name, partialmethod(_swapped(busy), name))
    report = host.rollout().drift.report()
    data = report["tests"]["data"]
    assert asked > 600
    assert data["rows"] == 600
    assert data["log_evidence"] == max(one["log_evidence"] for one in data["features"])


def _swapped(busy: Callable[[str, DriftFile], object]) -> Callable[[DriftFile, str], object]:
    return lambda file, name: busy(name, file)


def test_the_rollouts_status_says_that_an_alarm_waits(
    host: Host, worker: Monitor, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one line, with how to look at it; nothing once it was seen, and nothing where it cannot be read."""
    facts = host.rollout().status()
    (alarm,) = facts["drift"]["alarms"]
    assert alarm["acts"]["pause"].startswith("paused in revision ")
    show(rollout_blocks(facts))
    printed = " ".join(capsys.readouterr().out.split())
    assert "drift what comes in has changed" in printed
    assert "look with bento-rollout drift screening report" in printed
    host.rollout().drift.ack()
    assert host.rollout().status()["drift"] is None
    host.drift.write_bytes(b"no database" * 500)
    assert host.rollout().status()["drift"] is None


def test_an_owner_goes_on_from_what_a_person_made_of_it(host: Host, worker: Monitor) -> None:
    """What it had in hand is thrown away, and no row is lost: they are read again."""
    host.rollout().drift.ack()
    write(host.place, draw(100, 3), host.of, start=600)
    host.settle(worker)
    assert host.file.levels()[0].rows == 100


def test_rebased_rows_are_quiet(host: Host, worker: Monitor) -> None:
    """What comes now is the reference: more of it is no drift."""
    done = host.rollout().drift.rebase(rows=250, reason="it stays")
    assert done["status"]["alarms"][0]["state"] == "rebased"
    write(host.place, draw(1000, 3, shift=2.0), host.of, start=600)
    host.settle(worker)
    status = host.rollout().drift.status()
    assert not status["latched"]
    assert status["tests"]["data"]["rows"] == 1000


def test_a_file_may_be_the_new_reference(host: Host, worker: Monitor, tmp_path: Path) -> None:
    """Its rows are counted in the bins that are there; what is built otherwise is refused."""
    np.save(tmp_path / "new.npy", draw(800, 5, shift=2.0))
    host.rollout().drift.rebase(file=tmp_path / "new.npy")
    write(host.place, draw(500, 3, shift=2.0), host.of, start=600)
    host.settle(worker)
    assert not host.rollout().drift.status()["latched"]
    np.save(tmp_path / "other.npy", draw(800, 5)[:, :2])
    with pytest.raises(InvalidValue, match="not built like"):
        host.rollout().drift.rebase(file=tmp_path / "other.npy")
    with pytest.raises(InvalidValue, match="say rows or a file"):
        host.rollout().drift.rebase(rows=3, file="x.npy")
    with pytest.raises(NotFound, match="there are: data"):
        host.rollout().drift.rebase(test="concept/x")
    with pytest.raises(InvalidValue):
        host.rollout().drift.rebase(rows=3)
    with pytest.raises(Conflict):
        host.rollout().drift.rebase(if_revision=99)


def test_a_replay_gives_the_same_evidence(host: Host, worker: Monitor) -> None:
    """Also after a rebase; and where predictions were pruned it says that it cannot be compared."""
    for start in (600, 800):
        (one,) = host.rollout().drift.replay()["tests"].values()
        assert one["same"] is True
        assert one["kept"] == pytest.approx(one["again"], abs=1e-9)
        host.rollout().drift.rebase(rows=100)
        write(host.place, draw(200, 3), host.of, start=start)
        host.settle(worker)
    with LedgerFile(host.place).writing() as db:
        db.execute("DELETE FROM predictions WHERE seq BETWEEN 850 AND 900")
    (one,) = host.rollout().drift.replay()["tests"].values()
    assert one["same"] is None
    assert "51 predictions" in one["words"]


def test_the_commands_say_what_programs_need(
    host: Host, worker: Monitor, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Exit 7 while latched, JSON in a pipe, a page that needs nothing else, and 0 when it is over."""
    code, out = cli(capsys, "status", "--json")
    assert code == 7
    assert json.loads(out)["latched"]
    code, out = cli(capsys, "status")
    assert code == 7
    assert "ALARM" in out
    code, out = cli(capsys, "report")
    assert code == 0
    assert "feature_1 is higher since about row" in out
    report = json.loads(cli(capsys, "report", "--json")[1])
    first = report["tests"]["data"]["features"][0]
    assert first["name"] == "feature_1"
    assert len(first["labels"]) == len(first["reference_histogram"]) == len(first["recent_histogram"])
    assert report["tests"]["data"]["timeline"][-1]["row"] == report["tests"]["data"]["rows"]
    page = tmp_path / "drift.html"
    assert cli(capsys, "report", "--html", str(page))[0] == 0
    text = page.read_text(encoding="utf-8")
    assert "feature_1 is higher" in text
    assert not re.search(r'(?:src|href)="(?!#)|<script|url\(', text)
    assert text.count("<svg") >= 3
    assert cli(capsys, "report", "--html", "-")[1].startswith("<!DOCTYPE html>")
    assert cli(capsys, "report", "--html", "x", "--json")[0] == 2
    code, out = cli(capsys, "ack", "--reason", "seen", "--author", "bob")
    assert code == 0
    assert "is acknowledged" in out
    assert cli(capsys, "status")[0] == 0
    assert "nothing to acknowledge" in cli(capsys, "ack")[1]
    assert cli(capsys, "rebase", "--rows", "100")[0] == 0
    assert cli(capsys, "replay")[0] == 0


def test_how_rows_are_built_is_shown_and_ended_by_itself(host: Host, worker: Monitor) -> None:
    """Its alarm has a test of its own: acknowledging it leaves the other's evidence."""
    odd(host.place, host.of, "lost", "feature_2", 3)
    host.settle(worker)
    watch = host.rollout().drift
    (schema,) = [one for one in watch.status()["alarms"] if one["kind"] == "schema"]
    before = watch.status()["tests"]["data"]["log_evidence"]
    watch.ack(schema["id"])
    status = watch.status()
    assert status["tests"]["data"]["log_evidence"] == before
    assert status["latched"]
    assert status["tests"]["schema"]["changes"] == []
    host.settle(worker)
    assert len(watch.status()["alarms"]) == 2
    odd(host.place, host.of, "lost", "feature_2", 1)
    host.settle(worker)
    assert len(watch.status()["alarms"]) == 3


def test_every_worker_knows_what_is_latched(host: Host, worker: Monitor) -> None:
    """One look reads a little, and what cannot be read stays as it was."""
    told: list[Drifted] = []
    latches = Latches(host.place, "screening", told.append)
    latches.look({"data": {"tested": 5}})
    assert latches.switch.on
    assert latches.switch.told == "data"
    facts = {one.test: one for one in told}
    assert facts["data"].latched
    assert facts["data"].rows == {"tested": 5}
    assert facts["schema"].log_evidence is None
    content = host.drift.read_bytes()
    host.drift.write_bytes(b"damaged" * 100)
    latches.look()
    assert latches.switch.on
    host.drift.write_bytes(content)
    host.rollout().drift.ack()
    latches.look()
    assert not latches.switch.on


def test_a_reference_is_fitted_from_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It needs no rollout; what is skipped is said; what is no data is refused."""
    one, two = REFERENCE[:, 0], REFERENCE[:, 1]
    np.savez(tmp_path / "training.npz", label=np.zeros(2000), constant=np.ones(2000), one=one, two=two)
    out = tmp_path / "reference.json"
    arguments = (
        "fit",
        str(tmp_path / "training.npz"),
        "--labels",
        "label",
        "--out",
        str(out),
        "--model",
        "m:1",
    )
    code, printed = cli(capsys, *arguments, "--json")
    facts = json.loads(printed)
    assert code == 0
    assert facts["model"] == "m:1"
    assert [one["name"] for one in facts["features"] if one["skipped"]] == ["constant"]
    assert json.loads(out.read_text(encoding="utf-8"))["digest"] == facts["digest"]
    assert "skipped" in cli(capsys, *arguments)[1]
    assert cli(capsys, "fit", str(tmp_path / "none.csv"))[0] == 2
    assert cli(capsys, "fit", str(tmp_path / "training.npz"), "--labels", "x")[0] == 2


def test_doctor_says_what_waits_and_what_is_not_watched(
    host: Host, worker: Monitor, capsys: pytest.CaptureFixture[str]
) -> None:
    """A latched alarm is a note; a watch that cannot go on is a problem."""
    assert main(["doctor"]) == 0
    assert "an alarm of drift waits for a person" in capsys.readouterr().out
    host.file.note("problem", "what comes in is not watched: x.json: there is no such file")
    assert main(["doctor", "--json"]) == 1
    (row,) = json.loads(capsys.readouterr().out)["rollouts"]
    assert any("there is no such file" in one for one in row["problems"])
    host.drift.write_bytes(b"damaged, and long enough to be looked at" * 100)
    assert main(["doctor"]) == 1
