"""The writer of a worker: off the path of predictions, bounded, and honest about what it lost."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from bento_rollout.spec import Ledger as Settings
from bento_rollout.store import ledger_writer
from bento_rollout.store.hashing import FILE
from bento_rollout.store.ledger import Ledger
from bento_rollout.store.ledger_file import LedgerFile
from bento_rollout.store.ledger_writer import LedgerWriter
from bento_rollout.store.place import Place, Shared
from bento_rollout.telemetry import log
from tests.ledgers import NOW, by_rows, prediction, reply_of, said, written
from tests.states import wait_until

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a rollout: what is about files."""
    return tmp_path / "store.d" / "r"


def events(capfd: Capture) -> list[dict[str, Any]]:
    """Return the log lines about the ledger since the last look."""
    assert log.WRITER.flush(30)  # a service of another file in this process may still let a thread write
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"].startswith("ledger.")]


def test_many_at_once_from_many_threads(place: Place, capfd: Capture) -> None:
    """All that is offered is written, and nothing is said."""
    writer = LedgerWriter(place, Settings())

    def offer() -> None:
        for _ in range(500):
            writer.offer(prediction())

    threads = [threading.Thread(target=offer) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert writer.flush(30)
    assert Ledger(place).counts().predictions == 2000
    assert (writer.close(30), writer.lost, events(capfd)) == (True, 0, [])


def test_several_workers_at_once(place: Place) -> None:
    """Each with its own connection; nothing is lost."""
    writers = [LedgerWriter(place, Settings()) for _ in range(3)]
    for number in range(1500):
        writers[number % 3].offer(prediction())
    assert all(writer.close(30) for writer in writers)
    assert Ledger(place).counts().predictions == 1500


def test_what_finds_no_room_is_counted(place: Place, capfd: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """By number and by weight; said once, and written into the file."""
    monkeypatch.setattr(ledger_writer, "MOST_WAITING", 10)
    monkeypatch.setattr(ledger_writer, "CALM", 0.0)
    writer = LedgerWriter(place, Settings())
    for _ in range(30):
        writer.offer(prediction())
    assert writer.flush(30)
    lost = writer.lost
    assert 0 < lost <= 20
    writer.offer(prediction())
    assert writer.flush(30)
    counts = Ledger(place).counts()
    assert (counts.predictions, counts.events) == (31 - lost, {"unwritten": lost})
    assert [(line["event"], line["lost"]) for line in events(capfd)] == [
        ("ledger.unwritten", lost),
        ("ledger.written", lost),
    ]
    assert writer.close(30)


def test_what_is_heavy_waits_less(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bodies that wait are bounded in bytes."""
    monkeypatch.setattr(ledger_writer, "HEAVIEST", 100_000)
    body = reply_of(b'"' + b"x" * 40_000 + b'"')
    writer = written(place, *(prediction(reply=body) for _ in range(10)))
    assert writer.lost > 0
    assert Ledger(place).counts().predictions == 10 - writer.lost


def test_a_lock_that_ends_costs_nothing(
    folder: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was taken meanwhile is written when it is over; both are said once."""
    monkeypatch.setattr(ledger_writer, "BUSY", 0.01)
    monkeypatch.setattr(ledger_writer, "PAUSE", 0.01)
    monkeypatch.setattr(ledger_writer, "LATE", 0.0)
    written(folder, prediction())
    writer = LedgerWriter(folder, Settings(), patience=60)
    said_so: list[dict[str, Any]] = []

    def heard() -> bool:
        said_so.extend(events(capfd))
        return bool(said_so)

    with LedgerFile(folder).writing() as db:
        db.execute("BEGIN IMMEDIATE")
        writer.offer(prediction())
        wait_until(heard)
        writer.offer(prediction())
    assert writer.close(30)
    assert Ledger(folder).counts().predictions == 3
    said_so += events(capfd)
    assert [line["event"] for line in said_so] == ["ledger.unwritten", "ledger.written"]
    assert "another process holds it" in said_so[0]["reason"]
    assert (said_so[1]["lost"], writer.lost) == (0, 0)


def test_a_worker_that_ends_does_not_wait_for_a_lock(folder: Path, capfd: Capture) -> None:
    """What could not be written in time is counted and said."""
    written(folder, prediction())
    with LedgerFile(folder).writing() as db:
        db.execute("BEGIN IMMEDIATE")
        writer = LedgerWriter(folder, Settings())
        for _ in range(5):
            writer.offer(prediction())
        writer.close(0.2)
        assert [line["lost"] for line in events(capfd) if "worker ends" in line["reason"]] == [5]


def test_a_loss_after_the_first_word_is_said(
    folder: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That it takes long is said while nothing is lost; what is lost then is said, too, and all of it."""
    monkeypatch.setattr(ledger_writer, "BUSY", 0.01)
    monkeypatch.setattr(ledger_writer, "PAUSE", 0.01)
    monkeypatch.setattr(ledger_writer, "LATE", 0.0)
    written(folder, prediction())
    writer = LedgerWriter(folder, Settings(), patience=0.2)
    with LedgerFile(folder).writing() as db:
        db.execute("BEGIN IMMEDIATE")
        for _ in range(7):
            writer.offer(prediction())
        assert writer.flush(30)
    assert [(line["level"], line["lost"]) for line in events(capfd)] == [("warning", 0), ("error", 7)]
    assert (writer.close(30), writer.lost) == (True, 7)


def test_what_waits_behind_a_lock_at_the_end_is_counted(folder: Path, capfd: Capture) -> None:
    """However many batches: one try is enough, and the number is true."""
    written(folder, prediction())
    with LedgerFile(folder).writing() as db:
        db.execute("BEGIN IMMEDIATE")
        writer = LedgerWriter(folder, Settings())
        for _ in range(5000):
            writer.offer(prediction())
        assert writer.close(3) or writer.flush(30)  # on a busy machine it may end before its thread does
    assert writer.lost == 5000
    assert [line["lost"] for line in events(capfd) if "worker ends" in line["reason"]] == [5000]
    assert Ledger(folder).counts().predictions == 1


def test_without_a_secret_there_are_no_hashes(folder: Path, capfd: Capture) -> None:
    """It is said once, and with the next one that is right hashes are there again."""
    secret = folder.parent / FILE
    folder.mkdir(parents=True)
    secret.write_text("secret", encoding="ascii")
    secret.chmod(0o644)
    writer = LedgerWriter(folder, Settings())
    for number in range(3):
        writer.offer(prediction(f"u{number}"))
        assert writer.flush(30)
    (line,) = events(capfd)
    assert line["event"] == "ledger.no_key_hash"
    assert "chmod 600" in line["reason"]
    secret.chmod(0o600)
    writer.offer(prediction("u9"))
    assert writer.close(30)
    hashes = [entry.key_hash for entry in Ledger(folder).tail()]
    assert hashes == [None, None, None, Ledger(folder).key_hash("u9")]
    assert Ledger(folder).forget("u9").gone.predictions == 1


def test_a_ledger_tends_itself(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is too old goes while predictions come."""
    monkeypatch.setattr(ledger_writer, "TEND", 0.0)
    monkeypatch.setattr(ledger_writer, "TEND_ORPHANS", 0.0)
    Ledger(place, clock=lambda: NOW - 9 * 86400).label([{"inference_id": "never", "label": 1}])
    old = [prediction(at=NOW - 100) for _ in range(250)]  # NOW is when the tests began
    written(
        place, *old, *(said(fact) for fact in old), prediction(at=time.time()), settings=Settings(keep="50s")
    )
    counts = Ledger(place).counts()
    assert (counts.predictions, counts.shadows, counts.labels) == (1, 0, 0)
    assert counts.events == {"pruned": 250, "orphans_expired": 1}


def test_a_ledger_stays_small(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much comes: the oldest go, and the file shrinks."""
    monkeypatch.setattr(ledger_writer, "TEND", 0.0)
    body = reply_of(b'"' + b"x" * 5000 + b'"')
    writer = LedgerWriter(place, Settings(max_size=1_000_000))
    for number in range(5):
        for _ in range(300):
            writer.offer(prediction(reply=body, at=NOW + number))
        assert writer.flush(30)
    assert writer.close(30)
    counts = Ledger(place).counts()
    assert counts.size <= 1_000_000 or isinstance(place, Shared)
    assert counts.newest == NOW + 4
    assert writer.lost == 0


def test_many_rows_are_written_in_parts(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that others get in between."""
    monkeypatch.setattr(ledger_writer, "AT_ONCE", 4)
    written(place, *(by_rows() for _ in range(5)))
    assert Ledger(place).counts().predictions == 15


def test_one_odd_fact_costs_no_other(place: Place, capfd: Capture) -> None:
    """It is counted."""
    writer = written(place, prediction(), prediction(plans=()), prediction())
    assert (Ledger(place).counts().predictions, writer.lost) == (2, 1)
    assert "it has no row: IndexError" in events(capfd)[0]["reason"]


ODD = [
    ("endpoint", None, "IntegrityError"),
    ("time", float("nan"), "IntegrityError"),
    ("trace_id", "\ud800", "UnicodeEncodeError"),
    ("seconds", 1 << 70, "OverflowError"),
    ("trace_id", object(), "Error"),
]


@pytest.mark.parametrize(("field", "value", "problem"), ODD)
def test_one_odd_row_costs_no_other(
    place: Place, capfd: Capture, field: str, value: Any, problem: str
) -> None:
    """What SQLite does not take is counted and said, and what came with it is written."""
    if problem == "OverflowError" and isinstance(place, Shared):
        value, problem = float("nan"), "IntegrityError"  # a number of that size is one like others
    facts = [prediction() for _ in range(3)]
    writer = written(place, facts[0], facts[1]._replace(**{field: value}), facts[2], said(facts[0]))
    counts = Ledger(place).counts()
    assert (counts.predictions, counts.shadows, writer.lost) == (2, 1, 1)
    assert f"it cannot be written: {problem}" in events(capfd)[0]["reason"] or problem == "Error"
    assert counts.events == {"unwritten": 1}


def test_what_nobody_foresaw_costs_one_batch(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is counted, and the next one is written."""
    writer = LedgerWriter(place, Settings())
    connected = writer._delivery.connected

    def broken() -> None:
        raise LookupError

    monkeypatch.setattr(writer._delivery, "connected", broken)
    writer.offer(prediction())
    assert writer.flush(30)
    monkeypatch.setattr(writer._delivery, "connected", connected)
    writer.offer(prediction())
    assert writer.close(30)
    assert (Ledger(place).counts().predictions, writer.lost) == (1, 1)
