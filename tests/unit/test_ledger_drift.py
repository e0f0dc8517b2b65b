"""The ledger's writer and the watch for drift: what a row holds of inputs, whatever they do."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bento_rollout.drift import Reference
from bento_rollout.errors import StoreUnreachable
from bento_rollout.excerpts import Excerpt, excerpt
from bento_rollout.featuring import Encoder, Watched, unpacked
from bento_rollout.spec import Ledger as Settings
from bento_rollout.store import ledger_on_disk
from bento_rollout.store.ledger import Ledger
from bento_rollout.store.ledger_file import LedgerFile
from bento_rollout.store.ledger_weight import light
from bento_rollout.store.ledger_writer import HEAVIEST
from bento_rollout.store.place import Place
from tests.ledgers import by_rows, bytes_of, prediction, written

DRAW = np.random.default_rng(5)
ENCODER = Encoder(
    Reference.fit({"age": DRAW.normal(50, 10, 1000), "city": DRAW.choice(["bonn", "ulm"], 1000)})
)
CANARY = "zq-canary-77"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a rollout: what is about files."""
    return tmp_path / "store.d" / "r"


def watched(**arguments: Any) -> dict[str, Any]:
    """What a prediction holds of arguments."""
    return {"watched": excerpt(arguments)}


def rows_of(place: Place, query: str) -> list[tuple[Any, ...]]:
    """What the file says."""
    with LedgerFile(place).reading() as db:
        return db.execute(query).fetchall()


BLOBS = "SELECT drift FROM predictions ORDER BY seq, row"


def test_a_row_has_its_bins_and_no_value(place: Place) -> None:
    """With `inputs: false` nothing of the arguments is in the file but where they lie."""
    facts = [prediction(**watched(age=51.0, city=CANARY)), prediction(), prediction(**watched(name=CANARY))]
    written(place, *facts, watch=ENCODER.encode)
    first, second, third = (blob for (blob,) in rows_of(place, BLOBS))
    assert (
        unpacked(first, 2)[1].tolist() == ENCODER.reference.encode([{"age": 51.0, "city": "x"}]).bins.tolist()
    )
    assert (second, third) == (None, None)
    assert CANARY.encode() not in bytes_of(place)
    counters = dict(rows_of(place, "SELECT name, number FROM counters"))
    assert (counters["drift_rows"], counters["drift_refused"]) == (1, 1)
    assert "drift_left_out" not in counters


def test_odd_calls_are_counted_over_batches(place: Place) -> None:
    """Counts grow with each batch and each writer; the first time stays."""
    for _ in range(2):
        written(place, *(prediction(**watched(age=1.0, city=CANARY)) for _ in range(3)), watch=ENCODER.encode)
    ((reference, kind, feature, count, first, last, detail),) = rows_of(place, "SELECT * FROM drift_schema")
    assert (reference, kind, feature, count) == (ENCODER.digest, "category", "city", 6)
    assert first <= last
    assert CANARY not in detail


def test_each_row_of_a_request_has_its_own(place: Place) -> None:
    """Rows that were not looked at have none."""
    rows = [{"age": 30.0, "city": "ulm"}, {"age": 70.0, "city": "ulm"}]
    written(place, by_rows(**watched(rows=rows)), watch=ENCODER.encode)
    first, second, third = (blob for (blob,) in rows_of(place, BLOBS))
    expected = ENCODER.reference.encode(rows).bins.tolist()
    assert [unpacked(blob, 2)[1].tolist()[0] for blob in (first, second)] == expected
    assert third is None


def test_without_a_reference_rows_are_written_as_ever(place: Place) -> None:
    """Nothing is encoded, and nothing is lost."""
    writer = written(place, prediction(**watched(age=1.0)), watch=lambda _: None)
    assert rows_of(place, BLOBS) == [(None,)]
    assert writer.lost == 0


def test_nothing_of_arguments_waits_for_long(place: Place) -> None:
    """What waits is weighed: calls of many rows do not fill the memory."""
    fact = prediction(**watched(rows=np.zeros((1000, 30))))
    _, weight = light(fact)
    assert weight > 240_000
    assert HEAVIEST // weight < 300


def test_forgetting_takes_the_bins(place: Place) -> None:
    """They are the prediction's."""
    written(place, prediction("me", "tx", **watched(age=1.0, city="ulm")), watch=ENCODER.encode)
    Ledger(place).forget("me")
    assert rows_of(place, BLOBS) == []


def test_bins_that_cannot_be_made_cost_no_row(place: Place) -> None:
    """One row in a batch that no reference fits costs no other its bins."""

    def watch(calls: Sequence[Excerpt]) -> Watched | None:
        return ENCODER.refused(calls)

    written(place, prediction(**watched(age=1.0)), prediction(), watch=watch)
    assert rows_of(place, BLOBS) == [(None,), (None,)]
    assert dict(rows_of(place, "SELECT name, number FROM counters"))["drift_refused"] == 1


# -- files of before --------------------------------------------------------------------------------------


def test_a_file_of_before_gets_the_column(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever opens it first brings it here, and nothing is lost."""
    old = ledger_on_disk.SCHEMA - 1
    with monkeypatch.context() as before:
        before.setattr(ledger_on_disk, "_MIGRATIONS", ledger_on_disk._MIGRATIONS[:old])
        before.setattr(ledger_on_disk, "SCHEMA", old)
        with LedgerFile(folder).writing() as db:
            columns = [row[1] for row in db.execute("PRAGMA table_info(predictions)")]
            assert "drift" not in columns
            db.execute(
                f"INSERT INTO predictions (seq, {', '.join(columns[1:])}) "
                "VALUES (1, 'a', -1, 1.0, NULL, 'tx', 'p', 'one', 1, 'split', 'ok', NULL, 0.1, NULL, '', '', "
                "200, '', 0, NULL, NULL, NULL)"
            )
    written(folder, prediction(**watched(age=1.0, city="ulm")), watch=ENCODER.encode)
    (old_row,), (new_row,) = rows_of(folder, BLOBS)
    assert old_row is None
    assert new_row is not None
    assert Ledger(folder).story("tx").prediction.prediction_id == "a"


def test_a_reader_of_before_refuses_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what to do, and changes nothing."""
    written(folder, prediction())
    with monkeypatch.context() as before:
        before.setattr(ledger_on_disk, "SCHEMA", ledger_on_disk.SCHEMA - 1)
        with pytest.raises(StoreUnreachable, match="use a newer bento_rollout"), LedgerFile(folder).reading():
            pass
    db = sqlite3.connect(folder / "ledger.db")
    assert db.execute("PRAGMA user_version").fetchone() == (ledger_on_disk.SCHEMA,)
    db.close()


def test_settings_that_keep_inputs_keep_both(place: Place) -> None:
    """Bins are beside inputs where these are kept."""
    fact = prediction(inputs={"age": 3.0}, **watched(age=3.0, city="ulm"))
    written(place, fact, settings=Settings(inputs=True), watch=ENCODER.encode)
    ((inputs, blob),) = rows_of(place, "SELECT inputs, drift FROM predictions")
    assert inputs == '{"age":3.0}'
    assert len(blob) == 8 + 2
