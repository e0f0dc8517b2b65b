"""What is left of a forgotten key: nothing, also where others read, write, answer late, or fill the disk."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any, cast

import pytest

from bento_rollout.eras import Era, Series
from bento_rollout.errors import StoreUnreachable
from bento_rollout.records import Difference
from bento_rollout.spec import Ledger as Settings
from bento_rollout.store import ledger_forgetting, ledger_on_disk, ledger_pruning, ledger_writer
from bento_rollout.store.ledger import Ledger
from bento_rollout.store.ledger_file import LedgerFile
from bento_rollout.store.ledger_writer import LedgerWriter
from bento_rollout.store.place import Place, Shared
from bento_rollout.store.tallies import Tallies
from bento_rollout.tally import Example, Kind, Sums
from tests.ledgers import NOW, bytes_of, prediction, reply_of, said, written

SERIES = Series(Era("one", "1", "two", "2", ""), 3, "predict")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a rollout: what is about files."""
    return tmp_path / "store.d" / "r"


def ledger(place: Place, **options: Any) -> Ledger:
    """Open the ledger at a time."""
    return Ledger(place, clock=lambda: NOW, **options)


def disagreed(place: Place, *predictions: str) -> None:
    """Count as a worker does that shadows disagreed with predictions."""
    told = Difference("$", "value", "1", "2", 0.5)
    examples = [Example(0.5, NOW, name, (told,)) for name in predictions]
    Tallies(place).add("w", 1, Sums({SERIES: {Kind.DIFFERED: {"": 1}}}, {SERIES: examples}, {}), NOW)


def body(size: int, text: bytes = b"mine-") -> Any:
    """Return an answer of so many bytes."""
    return reply_of(b'"' + text * (size // len(text)) + b'"')


# -- the file is written anew -------------------------------------------------------------------------------


def test_a_reader_leaves_no_large_log(folder: Path) -> None:
    """Who reads for long is told of before the log is as large as the ledger; the key is gone."""
    written(folder, *(prediction("you", reply=body(20_000, b"yours")) for _ in range(200)))
    written(folder, prediction("me", reply=body(1000)))
    reader = sqlite3.connect(folder / "ledger.db", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM predictions").fetchone()
    with pytest.raises(StoreUnreachable, match=r"it is deleted, and .* somebody is reading it: run it again"):
        ledger(folder, patience=0.1).forget("me")
    assert (folder / "ledger.db").stat().st_size > 4_000_000
    assert (folder / "ledger.db-wal").stat().st_size < 1_000_000
    assert [entry.key_hash for entry in ledger(folder).tail(1)] == [ledger(folder).key_hash("you")]
    reader.close()
    ledger(folder).forget("me")
    assert b"mine-" not in bytes_of(folder)


def test_a_disk_without_room_is_told_of(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """How much it takes, and where; with room the same command ends what it began."""
    written(folder, prediction("me", reply=body(1000)), prediction("you"))
    with monkeypatch.context() as full:
        full.setattr(ledger_forgetting, "size_of", lambda _: 1 << 60)
        with pytest.raises(StoreUnreachable, match=r"it is deleted, and .* takes \d+ bytes in .* make space"):
            ledger(folder).forget("me")
    assert ledger(folder).counts().predictions == 1
    ledger(folder).forget("me")
    assert b"mine-" not in bytes_of(folder)


def test_a_try_that_fails_leaves_no_large_log(folder: Path, tmp_path: Path) -> None:
    """Whatever SQLite says: what it wrote in vain is given back, and the same command again works."""
    written(folder, *(prediction("you", reply=body(20_000, b"yours")) for _ in range(200)))
    written(folder, prediction("me", reply=body(1000)))
    with LedgerFile(folder).writing() as db:
        cast(sqlite3.Connection, db).set_authorizer(
            lambda *call: sqlite3.SQLITE_DENY if call[0] == sqlite3.SQLITE_ATTACH else 0
        )
        with pytest.raises(StoreUnreachable, match=r"could not be written anew .*run it again"):
            ledger_forgetting.rewrite(db, folder / "ledger.db", 1.0)
    wal = folder / "ledger.db-wal"
    assert not wal.exists() or wal.stat().st_size == 0
    assert ledger(folder).forget("me").gone.predictions == 1


def test_a_writer_waits_meanwhile(place: Place) -> None:
    """Each of several forgettings while a worker writes: nothing is lost."""
    written(place, *(prediction(f"u{n % 5}", reply=body(5000)) for n in range(300)))
    writer = LedgerWriter(place, Settings())
    for number in range(5):
        for _ in range(100):
            writer.offer(prediction("new"))
        assert ledger(place).forget(f"u{number}").gone.predictions == 60
    assert writer.close(30)
    assert (writer.lost, ledger(place).counts().predictions) == (0, 500)


# -- what comes late ----------------------------------------------------------------------------------------


def test_a_shadow_that_answers_later_is_not_kept(place: Place) -> None:
    """Neither its answer nor a byte of the prediction's id; others' are."""
    mine, other = prediction("me"), prediction("you")
    written(place, mine, other)
    ledger(place).forget("me")
    written(place, said(mine, "mine-late"), said(other, "yours"))
    assert ledger(place).counts().shadows == 1
    assert (b"mine-" in bytes_of(place), mine.prediction_id.encode() in bytes_of(place)) == (False, False)


def test_marks_are_kept_for_a_day(place: Place) -> None:
    """Only of predictions that a shadow may still answer to."""
    written(place, prediction("me"), prediction("me", at=NOW - 2 * 86400), settings=Settings(keep="30d"))
    ledger(place).forget("me")

    def marks() -> int:
        with LedgerFile(place).reading() as db:
            (count,) = db.execute("SELECT count(*) FROM forgotten").fetchone()
            return int(count)

    assert marks() == 1
    Ledger(place, clock=lambda: NOW + 86300).prune(keep=1e9)
    assert marks() == 1
    Ledger(place, clock=lambda: NOW + 86500).prune(keep=1e9)
    assert marks() == 0


def test_disagreements_go_too(place: Place) -> None:
    """Those in the file of the shadows' sums, rows' ones as well; the sums stay."""
    mine, other = prediction("me"), prediction("you")
    written(place, mine, other)
    disagreed(place, mine.prediction_id, other.prediction_id, f"{other.prediction_id}.3")
    forgotten = ledger(place).forget("me")
    assert forgotten.examples == 1
    assert sorted(Tallies(place).examples()) == [other.prediction_id, f"{other.prediction_id}.3"]
    if not isinstance(place, Shared):
        assert mine.prediction_id.encode() not in (place / "shadows.db").read_bytes()
    assert Tallies(place).read().counts[SERIES] == {Kind.DIFFERED: {"": 1}}


def test_disagreements_that_are_told_later_go_soon(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker looks after them, and the same command again does."""
    monkeypatch.setattr(ledger_writer, "TEND", 0.0)
    monkeypatch.setattr(ledger_writer, "TEND_ORPHANS", 0.0)
    mine = prediction("me")
    written(place, mine)
    ledger(place).forget("me")
    disagreed(place, mine.prediction_id)
    assert ledger(place).forget("me").examples == 1
    disagreed(place, mine.prediction_id)
    written(place, prediction("you"))
    assert Tallies(place).examples() == []


def test_a_damaged_file_of_sums_is_told_of_first(folder: Path) -> None:
    """Nothing is deleted before: the predictions tell whose the disagreements are."""
    written(folder, prediction("me"))
    (folder / "shadows.db").write_bytes(b"x" * 5000)
    with pytest.raises(StoreUnreachable, match=r"shadows\.db is damaged"):
        ledger(folder).forget("me")
    assert ledger(folder).counts().predictions == 1


# -- labels -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [1, 100])
def test_labels_by_inference_id_go_with_the_newest(
    place: Place, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They were its own, and do not fall to an older prediction of somebody else; those of others stay."""
    monkeypatch.setattr(ledger_pruning, "_STEP", step)
    mine = [prediction("me", "tx", at=NOW - n) for n in (1, 3)]
    written(place, *mine, prediction("you", "tx", at=NOW - 2), prediction("me", "ty", at=NOW - 5))
    written(place, prediction("you", "ty", at=NOW - 4))
    ledger(place).label([{"inference_id": name, "label": name} for name in ("tx", "ty")])
    assert ledger(place).forget("me").gone.labels == 1
    assert [row["label"] for row in ledger(place).export()] == ["ty", None]


# -- files of before ----------------------------------------------------------------------------------------


def test_a_file_of_the_first_schema_goes_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It gets what is new, and nothing is lost."""
    with monkeypatch.context() as before:
        before.setattr(ledger_on_disk, "_MIGRATIONS", ledger_on_disk._MIGRATIONS[:1])
        before.setattr(ledger_on_disk, "SCHEMA", 1)
        with LedgerFile(folder).writing() as db:
            db.execute(
                "INSERT INTO labels (row, inference_id, name, source, time, received, value, reason, orphan) "
                "VALUES (-1, 'tx', 'label', 'api', ?, ?, '1', '', 1)",
                (NOW, NOW),
            )
    fact = prediction("me", "tx")
    written(folder, fact, said(fact))
    assert [label.value for label in ledger(folder).story("tx").labels] == [1]
    assert ledger(folder).forget("me").gone.shadows == 1
