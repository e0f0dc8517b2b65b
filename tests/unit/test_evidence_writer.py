"""The counting of a worker's predictions: off their path, bounded, and honest about what it lost."""

from __future__ import annotations

import json
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from bento_rollout.errors import StoreCorrupt
from bento_rollout.evidence import Evidence
from bento_rollout.evidence import Place as Where
from bento_rollout.guardrails import Guardrail, parse_guardrails
from bento_rollout.records import Comparison, Observation, Outcome, Reason, Relation
from bento_rollout.store import evidence_writer
from bento_rollout.store.evidence_log import EvidenceLog
from bento_rollout.store.evidence_writer import EvidenceWriter
from bento_rollout.store.place import Place
from bento_rollout.telemetry import log
from tests.ledgers import prediction, reply_of, said
from tests.states import wait_until

Capture = pytest.CaptureFixture[str]
PLACE = Where(3, "predict")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a rollout on one host."""
    return tmp_path / "store.d" / "r"


def writer_at(place: Place, **more: Any) -> EvidenceWriter:
    """A worker's."""
    return EvidenceWriter(place, "w", **{"salt": "s", "sticky": ("predict",), "rollout": "r", **more})


def events(capfd: Capture) -> list[dict[str, Any]]:
    """Return the log lines about evidence since the last look."""
    assert log.WRITER.flush(30)  # a service of another file in this process may still let a thread write
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"].startswith("evidence.")]


def whole(place: Place) -> Evidence:
    """All that was written."""
    evidence = Evidence()
    for flush in EvidenceLog(place).read(0):
        assert flush.evidence is not None
        evidence.add(flush.evidence)
    return evidence


def calls(place: Place) -> int:
    """How many calls of the champion were written."""
    return whole(place).arms[PLACE]["one"].calls


def test_what_workers_saw_is_written_as_sums(place: Place, capfd: Capture) -> None:
    """From many threads, predictions and comparisons: all is counted, and nothing is said."""
    writer = writer_at(place)

    def offer() -> None:
        for _ in range(500):
            one = prediction()
            writer.offer(one)
            writer.offer(said(one, answer=[1] * 100, keys=("u1",)))

    threads = [threading.Thread(target=offer) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert writer.close(30)
    found = whole(place)
    arm, pair = found.arms[PLACE]["one"], found.pairs[PLACE]["two"]
    assert (arm.calls, arm.errors, [sums.calls for sums in arm.keys.values()]) == (2000, 0, [2000])
    assert (pair.compared, pair.disagreed, list(pair.keys)) == (2000, 2000, list(arm.keys))
    assert (writer.lost, writer.waiting, events(capfd)) == (0, 0, [])


def test_nothing_of_what_was_asked_is_kept(folder: Path) -> None:
    """Neither while it waits nor in the file: no payload, no key, no id."""
    writer = writer_at(folder)
    waits: list[Any] = []
    writer._channel.offer = lambda fact, weight=0: waits.append(fact)  # type: ignore[method-assign]
    writer.offer(prediction(reply=reply_of(b'"SECRET"'), inputs={"x": "SECRET"}))
    writer.offer(said(prediction(), answer="SECRET"))
    assert "SECRET" not in repr([vars(one) if hasattr(one, "__dict__") else tuple(one) for one in waits[:1]])
    assert waits[1].answer is None
    writer = writer_at(folder)
    writer.offer(prediction("SECRET", "SECRET"))
    writer.offer(said(prediction(), keys=("SECRET",), inference_ids=("SECRET",)))
    assert writer.close(30)
    assert calls(folder) == 1
    assert b"SECRET" not in b"".join(path.read_bytes() for path in folder.iterdir())


def test_guardrails_say_what_is_counted(place: Place) -> None:
    """Those of the moment at which a flush begins."""
    ranges: dict[str, Any] = {"score": {"better": "high", "range": [0, 10]}}
    now: dict[str, Guardrail] = {}
    writer = writer_at(place, guardrails=lambda: now)
    run = Observation(
        "r", "predict", "one", 3, Reason.SPLIT, "id", Outcome.OK, 0.01, measures=(("score", 5.0),)
    )
    writer.offer(prediction(runs=(run,)))
    assert writer.flush(30)
    now |= parse_guardrails(ranges)
    writer.offer(prediction(runs=(run,)))
    assert writer.close(30)
    arm = whole(place).arms[PLACE]["one"]
    assert (arm.others, arm.measures["score"].calls, arm.measures["score"].bad) == ({"score"}, 1, 0.5)


@pytest.mark.parametrize(("limit", "value"), [("MOST_WAITING", 10), ("HEAVIEST", 13_000)])
def test_what_finds_no_room_is_counted(
    place: Place, monkeypatch: pytest.MonkeyPatch, limit: str, value: int
) -> None:
    """By number and by weight."""
    monkeypatch.setattr(evidence_writer, limit, value)
    writer = writer_at(place)
    for _ in range(30):
        writer.offer(prediction())
    assert writer.close(30)
    assert 0 < writer.lost <= 20
    assert calls(place) == 30 - writer.lost


def test_one_that_cannot_be_counted_costs_no_other(place: Place, capfd: Capture) -> None:
    """It is counted as lost, and said once without its text."""
    writer = writer_at(place)
    odd = Observation("r", "predict", "one", 3, Reason.SPLIT, "id", Outcome.OK, "SECRET")  # type: ignore[arg-type]
    for fact in (prediction(), prediction(runs=(odd,)), prediction(runs=(odd,)), prediction()):
        writer.offer(fact)
    assert writer.close(30)
    (line,) = events(capfd)
    assert (writer.lost, line["event"], "TypeError" in line["reason"]) == (2, "evidence.unwritten", True)
    assert "SECRET" not in json.dumps(line)


def test_a_lock_that_ends_costs_nothing(
    folder: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sums wait, are tried again though nothing else comes, and both ends are said once."""
    monkeypatch.setattr(evidence_writer, "BUSY", 0.01)
    writer = writer_at(folder)
    writer.offer(prediction())
    assert writer.flush(30)
    with closing(sqlite3.connect(folder / "evidence.db", isolation_level=None)) as db:
        db.execute("BEGIN EXCLUSIVE")
        for _ in range(3):
            writer.offer(prediction())
            assert writer.flush(30)
        assert (writer.waiting, writer.lost) == (3, 0)
    writer.look()
    wait_until(lambda: not writer.waiting)
    assert calls(folder) == 4
    found = events(capfd)
    assert [line["event"] for line in found] == ["evidence.unwritten", "evidence.written"]
    assert "locked" in found[0]["reason"]
    assert [line["lost"] for line in found] == [0, 0]
    assert writer.close(30)


def test_a_worker_that_ends_tries_again_while_there_is_time(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock that ends meanwhile costs nothing."""
    monkeypatch.setattr(evidence_writer, "BUSY", 0.01)
    writer = writer_at(folder)
    writer.offer(prediction())
    assert writer.flush(30)
    with closing(
        sqlite3.connect(folder / "evidence.db", isolation_level=None, check_same_thread=False)
    ) as db:
        db.execute("BEGIN EXCLUSIVE")
        writer.offer(prediction())
        threading.Timer(0.3, lambda: db.execute("ROLLBACK")).start()
        assert writer.close(30)
    assert (writer.lost, calls(folder)) == (0, 2)


def test_a_worker_that_ends_does_not_wait_for_ever(
    folder: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What could not be written is counted, said, and never written after all."""
    monkeypatch.setattr(evidence_writer, "BUSY", 0.01)
    writer = writer_at(folder)
    writer.offer(prediction())
    assert writer.flush(30)
    with closing(sqlite3.connect(folder / "evidence.db", isolation_level=None)) as db:
        db.execute("BEGIN EXCLUSIVE")
        writer.offer(prediction())
        writer.offer(prediction())
        assert not writer.close(0.5)
    writer.look()
    assert (writer.lost, calls(folder)) == (2, 1)
    last = events(capfd)[-1]
    assert (last["event"], last["lost"]) == ("evidence.unwritten", 2)
    assert "the worker ends" in last["reason"]


def test_what_hangs_in_the_system_is_lost_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that does not answer: what was kept before, what is being written, and what waits."""
    over = threading.Event()
    monkeypatch.setattr(evidence_writer, "BUSY", 0.01)
    folder.parent.mkdir(parents=True)
    folder.write_text("a file where the folder belongs")
    writer = writer_at(folder)
    writer.offer(prediction())
    assert writer.flush(30)
    monkeypatch.setattr(EvidenceLog, "add", lambda *_: over.wait(30))
    writer.offer(prediction())
    writer.offer(prediction())
    assert not writer.close(0.2)
    assert writer.lost == 3
    over.set()
    for thread in threading.enumerate():
        if thread.name == "bento-rollout-evidence":
            thread.join(30)
    assert log.WRITER.flush(30)  # what it says now is not the next test's


def test_a_damaged_file_loses_what_waited(folder: Path, capfd: Capture) -> None:
    """It says what to do; with the file away all is well again."""
    folder.mkdir(parents=True)
    path = folder / "evidence.db"
    path.write_bytes(b"no database at all, not even a short one" * 100)
    with pytest.raises(StoreCorrupt):
        EvidenceLog(folder).read(0)
    writer = writer_at(folder)
    for _ in range(2):
        writer.offer(prediction())
        assert writer.flush(30)
    assert (writer.lost, writer.waiting) == (2, 0)
    path.unlink()
    writer.offer(prediction())
    assert writer.close(30)
    assert calls(folder) == 1
    found = events(capfd)
    assert [(line["event"], line["lost"]) for line in found] == [
        ("evidence.unwritten", 1),
        ("evidence.written", 2),
    ]
    assert "move it away" in found[0]["reason"]


def test_sums_that_wait_are_bounded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the file cannot be written: those of the oldest revisions go, and are counted."""
    monkeypatch.setattr(evidence_writer, "MOST_KEPT", 20)
    folder.parent.mkdir(parents=True)
    folder.write_text("a file where the folder belongs")
    writer = writer_at(folder)
    for revision in range(6):
        for number in range(10):
            run = Observation("r", "predict", "one", revision, Reason.SPLIT, "id", Outcome.OK, 0.01)
            writer.offer(prediction(f"u{number}", runs=(run,)))
        assert writer.flush(30)
    assert writer.lost == 40
    folder.unlink()
    writer.look()
    wait_until(lambda: (folder / "evidence.db").exists() and bool(EvidenceLog(folder).read(0)))
    assert writer.close(30)
    assert [found.revision for found in whole(folder).arms] == [4, 5]
    assert writer.lost == 40


def test_a_failed_shadow_is_one(place: Place) -> None:
    """Told by the comparison itself."""
    writer = writer_at(place)
    failure = (Comparison(Relation.NOT_COMPARABLE, "KeyError"),)
    writer.offer(said(prediction(), comparisons=failure, failed=True, seconds=None))
    assert writer.close(30)
    pair = whole(place).pairs[PLACE]["two"]
    assert (pair.compared, pair.disagreed, pair.failed, pair.seconds) == (1, 1, 1, {})
