"""The ledger: what is kept of each prediction, what belongs to it, and what is forgotten."""

from __future__ import annotations

import dataclasses
import json
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel

from bento_rollout.errors import InvalidKey, NotFound, Refused, StoreUnreachable
from bento_rollout.records import Comparison, Observation, Outcome, Plan, Reason, Relation, Reply
from bento_rollout.spec import Ledger as Settings
from bento_rollout.store.ledger import Counts, Ledger
from bento_rollout.store.ledger_pruning import Gone
from bento_rollout.store.place import Place, Shared, folder_of
from tests.ledgers import NOW, by_rows, bytes_of, new_id, prediction, reply_of, said, written

SECRET = {"BENTO_ROLLOUT_HASH_KEY": "test"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a rollout: what is about files."""
    return tmp_path / "store.d" / "r"


def ledger(place: Place, **more: Any) -> Ledger:
    """Open the ledger at a fixed time."""
    return Ledger(place, clock=lambda: NOW, **more)


def exported(place: Place, **filters: Any) -> list[dict[str, Any]]:
    """Return the exported rows."""
    return list(ledger(place).export(**filters))


# -- nothing ------------------------------------------------------------------------------------------------


def test_nothing_was_ever_kept(place: Place) -> None:
    """Everything is empty, and looking makes no file."""
    empty = ledger(place)
    assert (empty.tail(), list(empty.export()), empty.counts()) == ([], [], Counts())
    assert (empty.prune(), empty.forget("u1").gone, empty.key_hash("u1")) == (Gone(), Gone(), None)
    with pytest.raises(NotFound, match=f"no prediction 'x' is in the ledger of '{place.name}'"):
        empty.story("x")
    assert not folder_of(place).exists()


# -- what is kept -------------------------------------------------------------------------------------------


def test_the_whole_story(place: Place) -> None:
    """Who, why, how long, the run that failed before, the shadow, the answer, and the truth."""
    name = new_id()
    failed = Observation("r", "predict", "two", 3, Reason.SPLIT, name, Outcome.ERROR, 0.5, (), "KeyError")
    answered = Observation("r", "predict", "one", 3, Reason.FALLBACK, name, Outcome.OK, 0.01)
    fact = prediction(
        "u1", "tx-1", prediction_id=name, plans=(Plan("one", 3, Reason.FALLBACK),), runs=(failed, answered)
    )
    written(place, fact, said(fact, {"score": 0.7}))
    assert ledger(place).label([{"prediction_id": name, "label": True}]).accepted == 1
    story = ledger(place).story(name)
    assert ledger(place).story(name.upper()) == ledger(place).story("tx-1") == story
    one = story.prediction
    assert (one.variant, one.reason, one.revision, one.seconds) == ("one", "fallback", 3, 0.01)
    assert [dataclasses.astuple(run) for run in one.runs] == [("two", "error", "KeyError", 0.5)]
    assert (one.output, one.status, one.size) == ({"score": 0.5}, 200, 13)
    (verdict,) = story.shadows
    assert (verdict.relation, verdict.output, verdict.seconds) == ("differ", {"score": 0.7}, 0.02)
    assert verdict.differences[0]["path"] == "$.score"
    assert [(label.value, label.valid) for label in story.labels] == [(True, True)]
    (row,) = exported(place)
    assert (row["label"], row["labels"], row["outcome"]) == (True, {"label": True}, "ok")
    assert (row["shadows"][0]["output"], row["key_hash"]) == ({"score": 0.7}, ledger(place).key_hash("u1"))


def test_each_row_is_a_prediction(place: Place) -> None:
    """With its own id, key, output, inputs and failed run; a shadow's result for each row that it saw."""
    rows = [{"user": f"u{number}"} for number in range(3)]
    inputs = {"rows": rows, "array": np.arange(6).reshape(3, 2), "threshold": 0.5}
    fact = by_rows(inputs=inputs)
    agree = Comparison(Relation.AGREE)
    shadow = said(fact, ["x", "y"], comparisons=(agree, agree), rows=(0, 2))
    written(place, fact, shadow, settings=Settings(inputs=True))
    found = exported(place)
    assert [row["prediction_id"] for row in found] == [
        f"{fact.prediction_id}.{number}" for number in range(3)
    ]
    assert [row["output"] for row in found] == ["a", "b", "c"]
    assert found[1]["inputs"] == {"rows": {"user": "u1"}, "array": [2, 3], "threshold": 0.5}
    assert [len(row["runs"]) for row in found] == [0, 1, 0]
    assert [row["outcome"] for row in found] == ["ok"] * 3
    assert [[verdict["output"] for verdict in row["shadows"]] for row in found] == [["x"], [], ["y"]]
    assert ledger(place).story("t3").prediction.prediction_id == f"{fact.prediction_id}.2"
    with pytest.raises(NotFound, match="has 3 predictions, one for each row"):
        ledger(place).story(fact.prediction_id)


def test_rows_of_frames(place: Place) -> None:
    """A frame's rows are objects of its columns, a series' rows are values."""
    import pandas as pd

    inputs = {"frame": pd.DataFrame({"a": [1, 2, 3]}), "series": pd.Series([0.5, None, 1.5])}
    written(place, by_rows(inputs=inputs), settings=Settings(inputs=True))
    assert [row["inputs"] for row in exported(place)] == [
        {"frame": {"a": 1}, "series": 0.5},
        {"frame": {"a": 2}, "series": None},
        {"frame": {"a": 3}, "series": 1.5},
    ]


def test_rows_that_did_not_end_well(place: Place) -> None:
    """A row whose own run failed says so, and the others what became of the request."""
    name = new_id()
    runs = tuple(
        Observation("r", "predict", variant, 3, Reason.SPLIT, name, outcome, 0.1, (row,), error)
        for row, (variant, outcome, error) in enumerate(
            [("one", Outcome.OK, None), ("two", Outcome.TIMEOUT, "TimeoutError")]
        )
    )
    plans = (Plan("one", 3, Reason.SPLIT), Plan("two", 3, Reason.SPLIT))
    written(place, prediction(prediction_id=name, plans=plans, runs=runs, outcome=Outcome.ERROR, keys=()))
    found = [(row["variant"], row["outcome"], row["error"], row["key_hash"]) for row in exported(place)]
    assert found == [("one", "error", None, None), ("two", "timeout", "TimeoutError", None)]


class Model(BaseModel):
    """A model in an answer."""

    score: float


@pytest.mark.parametrize(
    ("reply", "kept"),
    [
        (reply_of(b'{"a":[1,2]}', "application/problem+json; charset=utf-8"), {"a": [1, 2]}),
        (reply_of(b"{}", "text/plain; charset=utf-8"), "{}"),
        (reply_of(b"\xff\xfe", "text/plain"), None),
        (reply_of(b"{}", "application/octet-stream"), None),
        (reply_of(b'{"a":', "application/json"), None),
        (reply_of(b'"\xff"', "application/json"), None),
        (reply_of(b"[NaN,1]", "application/json"), [None, 1]),
        (reply_of(b"[1e999,1]", "application/json"), [None, 1]),
        (reply_of(b' {"a" : 1.50,\n"a": "\\u00e4"} ', "application/json"), {"a": "ä"}),
        (reply_of(b"[" * 100 + b"NaN" + b"]" * 100, "application/json"), None),
        (reply_of(b'"\\ud800"', "application/json"), None),
        (reply_of(b"[" * 300 + b"]" * 300, "application/json"), None),
        (reply_of(b'"' + b"x" * 70_000 + b'"'), None),
        (Reply(200, "application/json", b"[1,2]", 5000), None),
        (reply_of(b""), None),
    ],
)
def test_which_outputs_are_kept(place: Place, reply: Reply, kept: Any) -> None:
    """JSON that is whole and not long; of others kind and size are told."""
    written(place, prediction(reply=reply))
    (row,) = exported(place)
    assert (row["output"], row["media_type"], row["size"]) == (kept, reply.media_type, reply.size)


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("done", "done"),
        (np.float32(0.5), 0.5),
        (np.array([[1, 2]]), [[1, 2]]),
        ({"model": Model(score=0.5), "nan": float("nan")}, {"model": {"score": 0.5}, "nan": None}),
        (b"bytes", {"bytes": 5}),
        (Path("/somewhere/private.png"), {"file": ".png"}),
        ((1, {2}), [1, [2]]),
        (Relation.AGREE, "agree"),
        (object(), {"kind": "object"}),
        (np.zeros(100_000), None),
        (["x"] * 100_000, None),
        ("\ud800", None),
    ],
)
def test_what_a_task_returned(place: Place, value: Any, kept: Any) -> None:
    """Python values become JSON, as far as they can."""
    written(place, prediction(task_id="t", reply=Reply(value=value)))
    (row,) = exported(place)
    assert (row["output"], row["task_id"]) == (kept, "t")


class Odd:
    """Raises when it is looked at."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


def test_odd_values_cost_their_own_place(place: Place) -> None:
    """A value that raises, or holds itself, is not kept; the prediction is."""
    circle: list[Any] = []
    circle.append(circle)
    facts = [prediction(inputs={"x": value}) for value in (Odd(), circle, 1)]
    writer = written(place, *facts, said(facts[0], Odd()), settings=Settings(inputs=True))
    assert [row["inputs"] for row in exported(place)] == [None, None, {"x": 1}]
    assert writer.lost == 0


def test_nothing_is_kept_that_is_not_asked_for(place: Place) -> None:
    """Without outputs and inputs no payload is in the file."""
    fact = prediction(inputs={"x": "secret-input"}, reply=reply_of(b'"secret-output"'))
    written(place, fact, said(fact, "secret-shadow"), settings=Settings(outputs=False))
    assert b"secret" not in bytes_of(place)
    (row,) = exported(place)
    assert (row["inputs"], row["output"]) == (None, None)


def test_a_fact_that_is_told_twice_is_one_row(place: Place) -> None:
    """What is written again after an error is there once."""
    fact = prediction()
    written(place, fact, said(fact), fact, said(fact))
    assert (ledger(place).counts().predictions, ledger(place).counts().shadows) == (1, 1)


# -- reading ------------------------------------------------------------------------------------------------


def test_the_tail_and_what_follows(place: Place) -> None:
    """The last ones in the order of arrival; then only those that came after; a number never comes again."""
    written(place, *(prediction(f"u{number}") for number in range(5)))
    last = ledger(place).tail(2)
    assert [entry.seq for entry in last] == [4, 5]
    assert ledger(place).tail(10, after=5) == []
    ledger(place).prune(keep=-10)
    written(place, prediction(), prediction())
    assert [entry.seq for entry in ledger(place).tail(1, after=5)] == [6]


def test_export_is_by_time_and_filtered(place: Place) -> None:
    """Whatever the order of arrival, over the borders of what is read at a time."""
    facts = [prediction(f"u{number % 3}", at=NOW + number) for number in range(600)]
    written(place, *facts[300:], *facts[:300])
    assert [row["time"] for row in exported(place)] == [fact.time for fact in facts]
    assert [row["time"] for row in exported(place, since=NOW + 10, until=NOW + 12)] == [NOW + 10, NOW + 11]
    assert len(exported(place, key="u1", since=NOW + 300)) == 100
    assert (exported(place, variant="two"), len(exported(place, endpoint="predict"))) == ([], 600)


def test_an_export_locks_nobody_out(place: Place) -> None:
    """Who exports slowly sees what is written meanwhile, and whoever writes does not wait."""
    written(place, *(prediction(at=NOW + number) for number in range(300)))
    rows = ledger(place).export()
    first = next(rows)
    written(place, prediction(at=NOW + 1000), patience=0.0)
    assert ledger(place).forget("nobody").gone == Gone()  # the file is written anew
    assert 1 + sum(1 for _ in rows) == 301
    assert first["time"] == NOW


# -- forgetting ---------------------------------------------------------------------------------------------


def test_forgetting_a_key_leaves_no_byte(place: Place) -> None:
    """Predictions, shadows' answers and labels of a key are gone; the others are as they were."""
    mine = [prediction("me", f"tx-{n}", reply=reply_of(b'"mine-%d"' % n)) for n in range(1500)]
    other = [prediction("you", f"ty-{n}", reply=reply_of(b'"yours"')) for n in range(1500)]
    mixed = [fact for pair in zip(mine, other, strict=True) for fact in pair]
    written(place, *mixed, *(said(fact, f"mine-{fact.prediction_id}") for fact in mine))
    labels = [{"prediction_id": mine[0].prediction_id, "label": "mine-label"}]
    labels += [{"inference_id": "tx-7", "label": "mine-late"}, {"inference_id": "ty-7", "label": "yours"}]
    assert ledger(place).label(labels).accepted == 3
    assert b"mine-" in bytes_of(place)
    gone = ledger(place).forget("me")
    assert (gone.gone, gone.other_keys) == (Gone(1500, 1500, 2), False)
    assert b"mine-" not in bytes_of(place)
    assert mine[0].prediction_id.encode() not in bytes_of(place)
    counts = ledger(place).counts()
    assert (counts.predictions, counts.labels, counts.events["forgotten"]) == (1500, 1, 1500)
    assert ledger(place).forget("me").gone == Gone()


def test_forgetting_rows(place: Place) -> None:
    """Of a request with a key for each row only the rows of the key go."""
    fact = by_rows()
    written(place, fact)
    assert ledger(place).forget("u2").gone == Gone(1)
    assert [row["output"] for row in exported(place)] == ["a", "c"]


def test_forgetting_while_somebody_reads_and_writes(folder: Path) -> None:
    """A reader that stays is waited for and then named; a writer goes on."""
    written(folder, prediction("me", reply=reply_of(b'"mine-1"')))
    reader = sqlite3.connect(folder / "ledger.db", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM predictions").fetchone()
    with pytest.raises(StoreUnreachable, match=r"it is deleted, and .* run it again"):
        ledger(folder, patience=0.1).forget("me")
    reader.close()
    written(folder, prediction("you"))
    assert ledger(folder).forget("me").gone == Gone()
    assert b"mine-" not in bytes_of(folder)


def test_forgetting_under_another_secret_is_refused(place: Place) -> None:
    """Nothing would be found, and it would look as if nothing had been there."""
    written(place, prediction("me"), environ=SECRET)
    for environ in ({}, {"BENTO_ROLLOUT_HASH_KEY": "other"}):
        with pytest.raises(Refused, match="hashed under another secret"):
            ledger(place, environ=environ).forget("me")
    written(place, prediction("me"), environ={"BENTO_ROLLOUT_HASH_KEY": "newer"})
    found = ledger(place, environ=SECRET).forget("me")
    assert (found.gone, found.other_keys) == (Gone(1), True)
    with pytest.raises(InvalidKey):
        ledger(place, environ=SECRET).forget("")


# -- retention ----------------------------------------------------------------------------------------------


def test_what_is_too_old_goes_with_what_belongs_to_it(place: Place) -> None:
    """Predictions, shadows and labels, also those by inference id; the file shrinks."""
    body = reply_of(b'"' + b"x" * 900 + b'"')
    old = [prediction(inference_id=f"o{n}", at=NOW - 100, reply=body) for n in range(1200)]
    new = [prediction(inference_id="n", at=NOW - 10), prediction(inference_id="o5", at=NOW - 9)]
    written(place, *old, *new, *(said(fact) for fact in old[:9]), said(new[0]))
    told = [{"inference_id": name, "label": 1} for name in ("o1", "o5", "n")]
    told += [{"prediction_id": old[3].prediction_id, "label": 1}]
    ledger(place).label(told)
    size = ledger(place).counts().size
    assert ledger(place).prune(keep=50) == Gone(1200, 9, 2)
    counts = ledger(place).counts()
    assert (counts.predictions, counts.shadows, counts.labels, counts.orphans) == (2, 1, 2, 0)
    assert counts.events == {"pruned": 1200}
    assert counts.size < size / 10 or isinstance(place, Shared)  # its pages are used again


def test_what_is_too_much_goes_oldest_first(place: Place) -> None:
    """Until the file is smaller than it may be."""
    body = reply_of(b'"' + b"x" * 2000 + b'"')
    written(place, *(prediction(at=NOW + n, reply=body) for n in range(2000)))
    gone = ledger(place).prune(max_size=1_000_000)
    counts = ledger(place).counts()
    assert gone.predictions == 2000 - counts.predictions > 1000
    assert counts.size <= 1_000_000 or isinstance(place, Shared)  # its indexes are not counted
    assert counts.oldest == NOW + gone.predictions


def test_pruning_goes_by_what_the_service_said(place: Place) -> None:
    """Whoever runs it by hand need not know the spec."""
    written(place, prediction(at=NOW - 100), prediction(), settings=Settings(keep="50s"))
    assert ledger(place).prune().predictions == 1


def test_the_file_is_its_owners(folder: Path) -> None:
    """Nobody else may read what was answered."""
    written(folder, prediction())
    for path in [*folder.glob("ledger.db*"), folder.parent / "hash.key"]:
        assert path.stat().st_mode & 0o077 == 0


def test_an_exported_row_is_json(place: Place) -> None:
    """As it is."""
    written(place, by_rows(), prediction())
    for row in exported(place):
        assert json.loads(json.dumps(row, allow_nan=False)) == row


def test_every_column_is_explained(folder: Path) -> None:
    """The guide names each table and each of its columns."""
    text = (Path(__file__).parents[2] / "docs" / "ledger.md").read_text(encoding="utf-8")
    told = text.partition("## The tables")[2]
    written(folder, prediction())
    db = sqlite3.connect(folder / "ledger.db")
    tables = {row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    kept = ("predictions", "shadows", "labels", "drift_schema")
    columns = {row[1] for table in kept for row in db.execute(f"PRAGMA table_info({table})")}
    db.close()
    assert tables == {*kept, "meta", "counters", "forgotten", "sqlite_sequence"}
    assert {name for name in (*kept, "meta", "counters", *columns) if f"`{name}`" not in told} == set()
