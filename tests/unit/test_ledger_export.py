"""What is exported: JSON lines, CloudEvents and Parquet, whole or not at all."""

from __future__ import annotations

import json
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from bento_rollout.errors import InvalidValue, Refused, StoreUnreachable
from bento_rollout.store import ledger_export
from bento_rollout.store.ledger import Ledger
from bento_rollout.store.ledger_export import export_file, lines
from tests.ledgers import NOW, by_rows, prediction, said, written

LABELS = ["fraud", True, 2.5, {"a": 1}, None]


@pytest.fixture
def rows(tmp_path: Path) -> list[dict[str, Any]]:
    """Five predictions with labels of several kinds, the last without one, and three rows."""
    place = tmp_path / "store.d" / "screening"
    facts = [
        prediction(f"u{n}", f"tx-{n}", at=NOW + n, trace_id="a" * 32, span_id="b" * 16) for n in range(5)
    ]
    written(place, *facts, said(facts[0], {"x": 1}), by_rows())
    told = [
        {"inference_id": f"tx-{n}", "label": value} for n, value in enumerate(LABELS) if value is not None
    ]
    assert Ledger(place).label(told).accepted == 4
    return list(Ledger(place).export())


def test_json_lines(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    """One object a line; the file is its owner's."""
    path = tmp_path / "out.jsonl"
    assert export_file(path, rows, "jsonl", "screening") == 8
    assert [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] == rows
    assert path.stat().st_mode & 0o077 == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.jsonl", "store.d"]


def test_cloudevents(rows: list[dict[str, Any]]) -> None:
    """Each line is an event in structured JSON mode, with the attributes that the specification requires."""
    for row, line in zip(rows, lines(rows, "cloudevents", "screening"), strict=True):
        event = json.loads(line)
        assert (event["specversion"], event["id"]) == ("1.0", row["prediction_id"])
        assert (event["source"], event["type"]) == ("/rollouts/screening", "bento_rollout.prediction.v1")
        assert datetime.fromisoformat(event["time"].replace("Z", "+00:00")).timestamp() == row["time"]
        assert (event["datacontenttype"], event["data"]) == ("application/json", row)
        assert event.get("traceparent") == (f"00-{'a' * 32}-{'b' * 16}-01" if row["trace_id"] else None)


def test_parquet(rows: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Columns have types; a label is text, and a number where it is one; several row groups."""
    from pyarrow import parquet

    monkeypatch.setattr(ledger_export, "_GROUP_ROWS", 3)
    path = tmp_path / "out.parquet"
    assert export_file(path, iter(rows), "parquet", "screening") == 8
    assert parquet.ParquetFile(path).num_row_groups == 3
    found = parquet.read_table(path).to_pylist()
    assert [row["prediction_id"] for row in found] == [row["prediction_id"] for row in rows]
    labelled = sorted((row for row in found if row["trace_id"]), key=lambda row: str(row["inference_id"]))
    assert [row["label"] for row in labelled] == ["fraud", "true", "2.5", '{"a": 1}', None]
    assert [row["label_number"] for row in labelled] == [None, 1.0, 2.5, None, None]
    assert json.loads(labelled[0]["shadows"])[0]["output"] == {"x": 1}
    assert labelled[0]["time"] == datetime.fromtimestamp(NOW, timezone.utc)
    assert json.loads(labelled[0]["output"]) == {"score": 0.5}


def test_an_empty_ledger_is_a_file_too(tmp_path: Path) -> None:
    """Of no rows."""
    for form in ("jsonl", "cloudevents", "parquet"):
        assert export_file(tmp_path / form, [], form, "r") == 0
        assert (tmp_path / form).exists()


def test_parquet_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what to install, and leaves what is there."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "out").write_text("before", encoding="ascii")
    with pytest.raises(Refused, match=r"pip install 'bento_rollout\[parquet\]'"):
        export_file(tmp_path / "out", [], "parquet", "r")
    assert (tmp_path / "out").read_text(encoding="ascii") == "before"


def test_what_cannot_be_written(tmp_path: Path) -> None:
    """An error in the middle, no folder, another format: nothing is left, nothing replaced."""
    (tmp_path / "out").write_text("before", encoding="ascii")

    def breaks() -> Any:
        yield {"prediction_id": "x"}
        raise StoreUnreachable("the ledger is locked")

    with pytest.raises(StoreUnreachable, match="locked"):
        export_file(tmp_path / "out", breaks(), "jsonl", "r")
    with pytest.raises(StoreUnreachable, match="No such file"):
        export_file(tmp_path / "no" / "out", [], "jsonl", "r")
    with pytest.raises(InvalidValue, match="format 'csv' is not known"):
        export_file(tmp_path / "out", [], "csv", "r")
    with pytest.raises(InvalidValue, match="has no lines"):
        lines([], "parquet", "r")
    assert [path.read_text(encoding="ascii") for path in tmp_path.iterdir()] == ["before"]
