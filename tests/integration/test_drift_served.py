"""Inputs that a real `bentoml serve` watches for drift: what the ledger holds of them, and what not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bento_rollout.drift import Reference
from bento_rollout.featuring import unpacked
from bento_rollout.store.ledger_file import LedgerFile
from tests.integration.callers import Line
from tests.integration.running import Server, serving, until

pytestmark = pytest.mark.server

TARGET = "tests.integration.apps.watched:Watched"
CANARY = "zq-canary-90210"
DRAW = np.random.default_rng(3)
TABLE = {"age": DRAW.normal(50, 10, 1000), "city": DRAW.choice(["bonn", "ulm"], 1000)}


def place_of(server: Server) -> Path:
    """Return the rollout's folder in the store."""
    return server.store.with_name("rollouts.db.d") / "watched"


def kept(server: Server, query: str = "SELECT drift FROM predictions ORDER BY seq") -> list[tuple[Any, ...]]:
    """Return what the ledger says."""
    ledger = LedgerFile(place_of(server))
    if not ledger.exists():
        return []
    with ledger.reading() as db:
        return db.execute(query).fetchall()


def written(folder: Path, drift: str, **more: str) -> dict[str, str]:
    """Write a spec; return the environment that names it."""
    fields = "".join(f"{name}: {value}\n" for name, value in more.items())
    spec = folder / "rollout.yaml"
    spec.write_text(f"name: watched\n{fields}drift: {drift}\n", encoding="utf-8")
    return {"WATCHED_SPEC": str(spec)}


def test_the_bins_of_what_was_sent(tmp_path: Path) -> None:
    """Each prediction's row has its own bins, of what was sent; no value of it is in any file."""
    reference = Reference.fit(TABLE)
    (tmp_path / "ref.json").write_text(reference.to_json(), encoding="utf-8")
    environment = written(tmp_path, "{endpoint: predict, reference: {file: ref.json}, data: {}}")
    with serving(TARGET, tmp_path, rollout="watched", workers=2, environment=environment) as server:
        server.ready()
        until(lambda: len(server.events("drift.reference")) == 2, "both workers have the reference")
        rows: list[dict[str, Any]] = [
            {"age": 51.5, "city": "ulm"}, {"age": None, "city": CANARY}, {"age": 20.0, "city": "bonn", "x": 1}
        ]  # fmt: skip
        line = Line(server.port)
        for row in rows:
            assert line.ask("/predict", {"patient": row}).status == 200
            until(lambda: kept(server)[-1:], "it is kept")
        assert line.ask("/count", {"rows": [{"age": 1}]}).status == 200
        line.close()
        until(lambda: len(kept(server)) == 4, "all are kept")
        *blobs, other = [blob for (blob,) in kept(server)]
        expected = sorted(
            reference.encode([{"age": r["age"], "city": r["city"]}]).bins.tolist() for r in rows
        )
        found = [unpacked(blob, 2) for blob in blobs]
        assert sorted(bins.tolist() for _, bins in found) == expected
        assert {digest for digest, _ in found} == {reference.digest}
        assert other is None  # of an endpoint that is not watched
        told = kept(server, "SELECT kind, feature, count FROM drift_schema ORDER BY kind")
        assert told == [("category", "city", 1), ("new", "x", 1)]
        assert dict(kept(server, "SELECT name, number FROM counters"))["drift_rows"] == 3
    for file in tmp_path.rglob("*"):
        if file.is_file() and file.name != "rollout.yaml":
            assert CANARY.encode() not in file.read_bytes(), file


def test_arrays_and_rows_beyond_a_thousand(tmp_path: Path) -> None:
    """An endpoint that overwrites its array changes nothing; a large call costs a row of a thousand bins."""
    np.save(tmp_path / "ref.npy", DRAW.normal(size=(1000, 3)))
    environment = written(tmp_path, "{endpoint: predict_rows, reference: {file: ref.npy}, data: {}}")
    environment["WATCHED_WORKERS"] = "1"
    with serving(TARGET, tmp_path, rollout="watched", workers=1, environment=environment) as server:
        server.ready()
        until(lambda: server.events("drift.reference"), "the reference is fitted")
        line, many = Line(server.port), DRAW.normal(size=(1500, 3)).round(3)
        assert line.ask("/predict_rows", {"rows": many.tolist()}).body == 1500
        line.close()
        until(lambda: len(kept(server)) == 1, "it is kept")
        ((blob,),) = kept(server)
        reference = Reference.fit(np.load(tmp_path / "ref.npy"))
        assert unpacked(blob, 3)[1].tolist() == reference.encode(many[:1000]).bins.tolist()
        assert dict(kept(server, "SELECT name, number FROM counters"))["drift_left_out"] == 500


def test_each_row_has_its_own_bins(tmp_path: Path) -> None:
    """With a key for each row a row is a prediction of its own."""
    (tmp_path / "ref.csv").write_text(
        "age,city\n" + "".join(f"{a},{c}\n" for a, c in zip(*TABLE.values(), strict=True)), encoding="utf-8"
    )
    environment = written(
        tmp_path,
        "{endpoint: count, reference: {file: ref.csv}, data: {features: [age]}}",
        routing="{key: {count: 'rows:rows.id'}}",
    )
    environment["WATCHED_WORKERS"] = "1"
    with serving(TARGET, tmp_path, rollout="watched", workers=1, environment=environment) as server:
        server.ready()
        until(lambda: server.events("drift.reference"), "the reference is fitted")
        line = Line(server.port)
        answer = line.ask("/count", {"rows": [{"id": str(at), "age": 40 + 10 * at} for at in range(3)]})
        assert answer.body == [40.0, 50.0, 60.0]
        line.close()
        until(lambda: len(kept(server)) == 3, "they are kept")
        blobs = [blob for (blob,) in kept(server, "SELECT drift FROM predictions ORDER BY row")]
        bins = [unpacked(blob, 1)[1].tolist()[0][0] for blob in blobs]
        assert bins == sorted(bins)
        assert len(set(bins)) == 3


def test_a_service_without_its_reference_serves(tmp_path: Path) -> None:
    """Each worker says once what is missing; predictions are kept as ever, without bins."""
    environment = written(tmp_path, "{endpoint: predict, reference: {file: gone.json}, data: {}}")
    with serving(TARGET, tmp_path, rollout="watched", workers=2, environment=environment) as server:
        server.ready()
        until(lambda: len(server.events("drift.no_reference")) == 2, "both say it")
        line = Line(server.port)
        assert line.ask("/predict", {"patient": {"age": 3}}).body == 3
        line.close()
        until(lambda: kept(server) == [(None,)], "it is kept")
        said = server.events("drift.no_reference")
        assert len(said) == 2
        assert "gone.json: there is no such file" in said[0]["problem"]
