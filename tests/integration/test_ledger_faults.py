"""The ledger when the disk, the file or its writer fails: predictions go on, and the loss is said once."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bento_rollout.errors import StoreCorrupt, StoreUnreachable
from bento_rollout.ids import uuid7
from bento_rollout.spec import Ledger as Settings
from bento_rollout.store.ledger import Counts, Ledger
from bento_rollout.store.ledger_on_disk import SCHEMA
from bento_rollout.store.ledger_writer import LedgerWriter
from tests.ledgers import prediction, reply_of, written
from tests.states import fill, finish, mounted, started, wait_until

pytestmark = pytest.mark.fault

Capture = pytest.CaptureFixture[str]
Mounted = tuple[Path, Callable[[str], None]]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The folder of a rollout."""
    return tmp_path / "store.d" / "r"


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Mounted]:
    """A file system of 2 MiB, and how to mount it again."""
    with mounted(tmp_path / "small", "2m") as again:
        yield tmp_path / "small", again


def events(capfd: Capture) -> list[dict[str, Any]]:
    """Return the log lines about the ledger since the last look."""
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"].startswith("ledger.")]


def offered(writer: LedgerWriter, count: int, **changed: Any) -> None:
    """Offer predictions, and wait until they are written or lost."""
    for _ in range(count):
        writer.offer(prediction(**changed))
    assert writer.flush(60)


# -- several processes --------------------------------------------------------------------------------------


def own_id() -> str:
    """Return an id that no other process makes."""
    return uuid7(time.time_ns() // 1_000_000, os.urandom(10))


def _write(place: Path, count: int) -> None:
    written(place, *(prediction(prediction_id=own_id()) for _ in range(count)))


def test_processes_write_at_once(place: Path) -> None:
    """The file is made once, and nothing is lost, while somebody tells labels and exports."""
    processes = [started(_write, place, 700) for _ in range(4)]
    labels = [{"inference_id": f"tx-{number}", "label": 1} for number in range(1500)]
    assert Ledger(place).label(labels).orphaned == 1500
    list(Ledger(place).export())
    for process in processes:
        finish(process)
    counts = Ledger(place).counts()
    assert (counts.predictions, counts.labels) == (2800, 1500)


def _write_forever(place: Path) -> None:
    writer = LedgerWriter(place, Settings(max_size=400_000))
    body = reply_of(b'"' + b"x" * 3000 + b'"')
    while True:
        for _ in range(50):
            writer.offer(prediction(prediction_id=own_id(), reply=body))
        writer.flush(60)
        (place.parent / "written").write_text(str(Ledger(place).tail(1)[0].seq), encoding="ascii")


def test_writers_are_killed(place: Path) -> None:
    """At any moment, the making of the file included: what was written is there, and the next one goes on."""
    rng, least = random.Random(7), 0
    note = place.parent / "written"

    def noted() -> int:
        return int(note.read_text(encoding="ascii") or 0) if note.exists() else 0

    for round_ in range(8):
        process = started(_write_forever, place)
        if round_ % 2:
            note.unlink(missing_ok=True)
            wait_until(lambda: noted() > 0)
        time.sleep(rng.random() * 0.1)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        if least := max(least, noted()):
            assert Ledger(place).tail(1)[0].seq >= least
    assert least > 0
    written(place, prediction())
    with sqlite3.connect(place / "ledger.db") as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    db.close()


# -- the disk -----------------------------------------------------------------------------------------------


def test_full_disk(small: Mounted, capfd: Capture) -> None:
    """What does not fit is counted and said once; with space it goes on, and nothing earlier is lost."""
    place = small[0] / "r"
    writer = LedgerWriter(place, Settings(), patience=0.1)
    offered(writer, 100)
    fill(small[0])
    for _ in range(3):
        offered(writer, 400, reply=reply_of(b'"' + b"x" * 4000 + b'"'))
    assert writer.lost > 0
    with pytest.raises(StoreUnreachable, match="full; make space"):
        Ledger(place, patience=0.1).label([{"inference_id": "x", "label": "x" * 60_000}] * 100)
    (small[0] / "ballast").unlink()
    lost = writer.lost
    offered(writer, 1)
    assert writer.close(30)
    assert writer.lost == lost
    counts = Ledger(place).counts()
    assert counts.predictions >= 101
    assert counts.events["unwritten"] == lost
    found = events(capfd)
    assert [line["event"] for line in found if "worker ends" not in line.get("reason", "")] == [
        "ledger.unwritten"
    ]
    assert "full" in found[0]["reason"]


def test_read_only(small: Mounted, capfd: Capture) -> None:
    """What was kept can be read, also where nothing can be written; the loss is counted and said once."""
    place = small[0] / "r"
    written(place, prediction(inference_id="tx"))
    small[1]("ro")
    writer = LedgerWriter(place, Settings(), patience=0.0)
    offered(writer, 3)
    assert (writer.lost, [line["event"] for line in events(capfd)]) == (3, ["ledger.unwritten"])
    assert Ledger(place).story("tx").prediction.endpoint == "predict"
    assert len(list(Ledger(place).export())) == 1
    with pytest.raises(StoreUnreachable, match="readonly"):
        Ledger(place).label([{"inference_id": "tx", "label": 1}])
    small[1]("rw")
    offered(writer, 1)
    assert writer.close(30)
    assert Ledger(place).counts().predictions == 2


# -- the file -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["folder", "file"])
def test_the_file_is_deleted(place: Path, capfd: Capture, what: str) -> None:
    """While it is written: a new one begins at once, which is said."""
    writer = LedgerWriter(place, Settings())
    offered(writer, 5)
    for path in place.glob("ledger.db*"):
        path.unlink()
    if what == "folder":
        for path in place.iterdir():
            path.unlink()
        place.rmdir()
    offered(writer, 2)
    assert writer.close(30)
    assert Ledger(place).counts().predictions == 2
    found = events(capfd)
    assert [line["event"] for line in found] == ["ledger.unwritten", "ledger.written"]
    assert "deleted" in found[0]["reason"]


def damage(path: Path, how: str) -> None:
    """Spoil a ledger."""
    body = path.read_bytes()
    if how == "cut short":
        path.write_bytes(body[: len(body) // 2])
    elif how == "cut in its head":
        path.write_bytes(body[:50])
    elif how == "no database":
        path.write_bytes(b"x" * len(body))
    elif how == "another's":
        path.unlink()
        with sqlite3.connect(path) as db:
            db.execute("CREATE TABLE mine (x)")
        db.close()
    elif how == "newer":
        with sqlite3.connect(path) as db:
            db.execute(f"PRAGMA user_version = {SCHEMA + 1}")
        db.close()


@pytest.mark.parametrize(
    ("how", "error", "problem"),
    [
        ("cut short", StoreCorrupt, "is damaged: .*; move it away, and a new one begins"),
        ("cut in its head", StoreCorrupt, "is damaged: .*; move it away"),
        ("no database", StoreCorrupt, "is damaged: .*; move it away"),
        ("another's", StoreCorrupt, "is not a ledger of bento_rollout; move it away"),
        (
            "newer",
            StoreUnreachable,
            f"has schema {SCHEMA + 1}, .* use a newer bento_rollout, or move it away",
        ),
    ],
)
def test_a_file_that_cannot_be_used(
    place: Path, capfd: Capture, how: str, error: type[StoreUnreachable], problem: str
) -> None:
    """Each operation says what is wrong and what to do; predictions go on; with the file away all is well."""
    written(place, *(prediction() for _ in range(500)))
    path = place / "ledger.db"
    damage(path, how)
    spoilt = path.read_bytes()
    operations: list[Callable[[Ledger], object]] = [
        lambda ledger: ledger.tail(),
        lambda ledger: ledger.story("x"),
        lambda ledger: list(ledger.export()),
        lambda ledger: ledger.counts(),
        lambda ledger: ledger.prune(),
        lambda ledger: ledger.forget("u1"),
        lambda ledger: ledger.label([{"inference_id": "x", "label": 1}]),
    ]
    for operation in operations:
        with pytest.raises(error, match=problem):
            operation(Ledger(place))
    writer = LedgerWriter(place, Settings(), patience=0.0)
    offered(writer, 2)
    offered(writer, 2)
    assert writer.lost == 4
    assert [line["event"] for line in events(capfd)] == ["ledger.unwritten"]
    assert path.read_bytes() == spoilt
    for left in place.glob("ledger.db*"):
        left.unlink()
    offered(writer, 1)
    assert writer.close(30)
    assert Ledger(place).counts().predictions == 1


def test_something_else_lies_there(place: Path) -> None:
    """A folder in the file's place, or a file in the folder's."""
    (place / "ledger.db").mkdir(parents=True)
    with pytest.raises(StoreUnreachable, match="unable to open"):
        Ledger(place).counts()
    (place / "ledger.db").rmdir()
    place.rmdir()
    place.touch()
    assert Ledger(place).counts() == Counts()
    with pytest.raises(StoreUnreachable, match="cannot be used"):
        Ledger(place).label([{"inference_id": "x", "label": 1}])
