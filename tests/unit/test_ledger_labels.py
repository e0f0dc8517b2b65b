"""Labels: which are taken, which one is valid, and how those that come early find their prediction."""

from __future__ import annotations

import math
import sqlite3
import tempfile
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bento_rollout.errors import InvalidValue, StoreCorrupt, StoreUnreachable
from bento_rollout.reviewing import Selection
from bento_rollout.store import ledger_pruning
from bento_rollout.store.ledger import Ledger
from bento_rollout.store.ledger_file import LedgerFile
from bento_rollout.store.ledger_labels import Label, add_label, parse_label, settle_orphans, valid_of
from bento_rollout.store.place import Place, folder_of
from tests.ledgers import NOW, by_rows, new_id, prediction, written

ID = "01a21a27-dec2-7359-8d76-819fe1acbac2"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a rollout: what is about files."""
    return tmp_path / "store.d" / "r"


def ledger(place: Place, now: float = NOW) -> Ledger:
    """Open the ledger at a time."""
    return Ledger(place, clock=lambda: now)


def label(value: Any = 1, **fields: Any) -> dict[str, Any]:
    """Return one label as it is told."""
    where = {} if "inference_id" in fields or "prediction_id" in fields else {"prediction_id": ID}
    return {**where, "label": value, **fields}


# -- one label ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("item", "problem"),
    [
        (7, "a label is an object, not int"),
        (None, "a label is an object, not NoneType"),
        ({**label(), "lable": 1}, "unknown field 'lable'"),
        ({"label": 1}, "one of prediction_id and inference_id is needed"),
        (label(prediction_id=ID, inference_id="x"), "one of prediction_id and inference_id is needed"),
        ({"prediction_id": ID}, "label is missing"),
        (label(None), "label is missing"),
        (label(float("nan")), "holds NaN"),
        (label({"a": [math.inf]}), "holds NaN"),
        (label("x" * (1 << 20)), "label has 1048578 bytes of JSON"),
        (label("\ud800"), "lone surrogate"),
        (label({1, 2}), "what JSON can say, not set"),
        (label(prediction_id=7), "prediction_id must be text, not int"),
        (label(prediction_id=""), "is empty"),
        (label(prediction_id=" x"), "blanks"),
        (label(prediction_id="x" * 513), "more than 512 bytes"),
        (label(inference_id=""), "inference_id: it is empty"),
        (label(inference_id=True), "inference_id: it must be text or a whole number"),
        (label(inference_id="x" * 9000), "inference_id: it has 9000 bytes"),
        (label(name=1), "name must be text"),
        (label(name="no name"), "name 'no name' is no name"),
        (label(source="x" * 65), "is no name"),
        (label(time="yesterday"), "not ISO 8601"),
        (label(time="2026-01-01T00:00:00"), "no time zone"),
        (label(time=True), "seconds since 1970 or ISO 8601"),
        (label(time=float("nan")), "no time since 1970"),
        (label(time=-5), "no time since 1970"),
        (label(time=10**1000), "ahead of the clock"),
        (label(time=NOW + 301), "more than 300 s ahead of the clock"),
        (label(reason=1), "reason must be text"),
        (label(reason="x" * 5000), "reason has more than 4096 bytes"),
        (label(reason="\udc00"), "lone surrogate"),
        (label(selection="best"), "selection 'best' is not known: write one of all, audit, unsure"),
        (label(selection=["audit"]), "is not known"),
        (label(probability=0), "probability 0 is none"),
        (label(probability=1.5), "probability 1.5 is none"),
        (label(probability=True), "probability True is none"),
        (label(probability=float("nan")), "above 0, at most 1"),
    ],
)  # fmt: skip
def test_bad_labels(item: object, problem: str) -> None:
    """Each is refused, in words that name the field and hold no long text."""
    with pytest.raises(InvalidValue, match=problem) as caught:
        parse_label(item, NOW)
    assert len(str(caught.value)) < 300


def test_good_labels() -> None:
    """What is left out has its default; numbers are ids, too; an id is the same in capitals."""
    assert parse_label(label(), NOW) == Label(ID, None, 1, "label", "api", NOW, NOW)
    full = label("x", inference_id=7.0, name="fraud", source="team-a", time=NOW + 299, reason="late")
    assert parse_label(full, NOW) == Label(None, "7", "x", "fraud", "team-a", NOW + 299, NOW, "late")
    assert parse_label(label(prediction_id=f"{ID.upper()}.7"), NOW).prediction_id == f"{ID}.7"
    drawn = parse_label(label(selection="audit", probability=0.02), NOW)
    assert (drawn.selection, drawn.probability) == (Selection.AUDIT, 0.02)
    for text in ("1970-01-01T00:01:00Z", "1970-01-01T02:01:00+02:00"):
        assert parse_label(label(time=text), NOW).time == 60.0


texts = st.text(max_size=8)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda items: st.lists(items, max_size=3) | st.dictionaries(texts, items, max_size=3),
    max_leaves=6,
)
fields = st.sampled_from(
    ["prediction_id", "inference_id", "label", "name", "source", "time", "reason", "selection", "x"]
)


@given(anything | st.dictionaries(fields, anything, max_size=5))
def test_anything_is_a_label_or_refused(item: object) -> None:
    """No data, however odd, raises anything else."""
    try:
        found = parse_label(item, NOW)
    except InvalidValue:
        return
    assert (found.prediction_id is None) != (found.inference_id is None)
    assert 0 <= found.time <= NOW + 300


# -- which one is valid -------------------------------------------------------------------------------------

told = st.lists(
    st.tuples(st.sampled_from("ab"), st.sampled_from("xy"), st.integers(0, 5), st.integers(0, 3)),
    max_size=12,
)


@given(told)
def test_the_newest_is_valid(items: list[tuple[str, str, int, int]]) -> None:
    """Of each name and source: by its time, then by arrival."""
    labels = [
        Label(ID, None, value, name, source, float(time), NOW, seq=seq)
        for seq, (name, source, time, value) in enumerate(items, 1)
    ]
    valid = {(found.name, found.source): found.seq for found in valid_of(labels) if found.valid}
    expected = {
        (one.name, one.source): max(
            (other.time, other.seq)
            for other in labels
            if (other.name, other.source) == (one.name, one.source)
        )[1]
        for one in labels
    }
    assert valid == expected


@settings(max_examples=25, deadline=None)
@given(
    items=st.permutations([(0, "a"), (1, "b"), (2, "c"), (3, "d"), (3, "d"), (1, "b")]),
    position=st.integers(0, 6),
    by_inference_id=st.booleans(),
)
def test_whatever_the_order(items: list[tuple[int, str]], position: int, by_inference_id: bool) -> None:
    """Labels with times, some told twice, the prediction before, among or after them: one is valid."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder, "store.d", "r")
        fact = prediction(inference_id="tx")
        where = {"inference_id": "tx"} if by_inference_id else {"prediction_id": fact.prediction_id}
        for index, (time, value) in enumerate([*items, (0, "a")]):
            if index == position:
                written(place, fact)
            taken = ledger(place).label([{**where, "label": value, "time": time}])
            assert (taken.accepted, taken.orphaned) == (1, int(index < position))
        story = ledger(place).story("tx")
        assert [(found.value, found.valid) for found in story.labels] == [
            ("a", False), ("b", False), ("c", False), ("d", True),
        ]  # fmt: skip
        assert ledger(place).counts().orphans == 0


def test_a_label_that_is_told_again_changes_nothing(place: Place) -> None:
    """One that says what is valid already; one that was corrected meanwhile is news."""
    written(place, prediction(prediction_id=ID))
    for now, value in enumerate(["x", "x", "y", "x", "x"]):
        assert ledger(place, NOW + now).label([label(value)]).accepted == 1
    history = [(found.value, found.time - NOW, found.valid) for found in ledger(place).story(ID).labels]
    assert history == [("x", 0, False), ("y", 2, False), ("x", 3, True)]
    ledger(place, NOW + 9).label([label("x", reason="checked")])
    assert ledger(place).story(ID).labels[-1].reason == "checked"


def test_names_and_sources_stand_beside_each_other(place: Place) -> None:
    """Each name has its newest, whoever says so; each source its own valid one."""
    written(place, prediction(prediction_id=ID))
    items = [label(1, source="a"), label(2, source="b", time=NOW - 5), label("big", name="size")]
    assert ledger(place).label(items).accepted == 3
    (row,) = ledger(place).export()
    assert (row["label"], row["label_source"], row["labels"]) == (1, "a", {"label": 1, "size": "big"})
    assert [found.valid for found in ledger(place).story(ID).labels] == [True] * 3


# -- batches ------------------------------------------------------------------------------------------------


def test_the_good_of_a_batch_are_kept(place: Place) -> None:
    """Each that is wrong is named by its place; nothing earlier is lost."""
    written(place, prediction(prediction_id=ID))
    ledger(place).label([label("before", name="earlier")])
    items = [label(number, name=f"n{number}") for number in range(1200)]
    items[3], items[700], items[1199] = label(math.nan), {}, label(time=NOW + 9999)
    found = ledger(place).label(items)
    assert (found.accepted, found.orphaned) == (1197, 0)
    assert [refusal.index for refusal in found.refused] == [3, 700, 1199]
    assert len(ledger(place).story(ID).labels) == 1198


def test_a_batch_without_a_good_one_makes_no_file(place: Place) -> None:
    """Nothing is kept, and nothing is made."""
    assert len(ledger(place).label([1, 2]).refused) == 2
    assert ledger(place).label([]).accepted == 0
    assert not folder_of(place).exists()
    with pytest.raises(InvalidValue, match="100001 labels are too many"):
        ledger(place).label([0] * 100_001)


def test_labels_of_rows(place: Place) -> None:
    """A label names a row where there are rows, and none where there are none."""
    fact = by_rows()
    written(place, fact, prediction(prediction_id=ID))
    bad = [fact.prediction_id, f"{ID}.0", f"{fact.prediction_id}.3"]
    found = ledger(place).label([label(prediction_id=name) for name in (*bad, f"{fact.prediction_id}.1")])
    assert found.accepted == 1
    assert [refusal.index for refusal in found.refused] == [0, 1, 2]
    assert "has a prediction for each row" in found.refused[0].error
    assert "is one prediction, and has no row 0" in found.refused[1].error
    assert "has no row 3" in found.refused[2].error
    assert [row["label"] for row in ledger(place).export(key="u2")] == [1]


# -- by the caller's own id ---------------------------------------------------------------------------------


def test_the_newest_prediction_of_an_inference_id_has_its_labels(place: Place) -> None:
    """However often the caller asked again; the others are named."""
    first, second = prediction(inference_id="tx", at=NOW), prediction(inference_id="tx", at=NOW + 1)
    written(place, first)
    ledger(place).label([label("x", inference_id="tx")])
    assert ledger(place).story("tx").labels[0].value == "x"
    written(place, second)
    story = ledger(place).story("tx")
    assert (story.prediction.prediction_id, story.others) == (second.prediction_id, (first.prediction_id,))
    assert [row["label"] for row in ledger(place).export()] == [None, "x"]
    assert ledger(place).story(first.prediction_id).labels == ()


# -- orphans ------------------------------------------------------------------------------------------------


def test_orphans_expire(place: Place) -> None:
    """Those that found nobody; those that did not stay."""
    fact = prediction()
    ledger(place).label([label(), label(prediction_id=fact.prediction_id), label(inference_id="never")])
    assert ledger(place).counts().orphans == 3
    written(place, fact)
    assert ledger(place, NOW + 6 * 86400).prune().orphans == 0
    assert ledger(place, NOW + 8 * 86400).prune().orphans == 2
    counts = ledger(place).counts()
    assert (counts.labels, counts.orphans, counts.events) == (1, 0, {"orphans_expired": 2})


def test_orphans_are_bounded(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of too many the oldest go, and are counted."""
    monkeypatch.setattr(ledger_pruning, "MOST_ORPHANS", 10)
    monkeypatch.setattr(ledger_pruning, "COUNTED", 5)
    ledger(place).label([label(number, prediction_id=new_id()) for number in range(25)])
    counts = ledger(place).counts()
    assert (counts.labels, counts.orphans, counts.events) == (10, 10, {"orphans_expired": 15})


def test_a_label_costs_the_same_however_many_wait(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that wait are looked at once for many labels, and then only as many as are too many."""
    monkeypatch.setattr(ledger_pruning, "MOST_ORPHANS", 50)
    monkeypatch.setattr(ledger_pruning, "COUNTED", 20)
    looked_at: list[int] = []

    def counted(db: Any, before: float, after: int, most: int) -> tuple[int | None, int]:
        looked_at.append(most)
        return settle_orphans(db, before, after, most)

    monkeypatch.setattr(ledger_pruning, "settle_orphans", counted)
    found = [prediction(inference_id=f"tx-{number}") for number in range(5)]
    for number in range(200):
        ledger(place).label([label(inference_id=f"tx-{number}")])
        if number == 30:
            written(place, *found)
    assert (0 < len(looked_at) <= 200 // 20, sum(looked_at) <= 200) == (True, True)
    counts = ledger(place).counts()
    assert 50 <= counts.orphans < 70
    assert [row["label"] for row in ledger(place).export()] == [1] * 5


@pytest.mark.parametrize("where", ["inference_id", "prediction_id"])
def test_a_label_is_compared_with_those_of_its_source_alone(folder: Path, where: str) -> None:
    """However many sources tell of one prediction."""
    target = {where: ID}
    ledger(folder).label([label(number, source=f"s{number}", **target) for number in range(50)])
    with LedgerFile(folder).writing() as db:
        queries: list[str] = []
        cast(sqlite3.Connection, db).set_trace_callback(queries.append)
        add_label(db, parse_label(label(source="s7", **target), NOW))
        cast(sqlite3.Connection, db).set_trace_callback(None)
        (query,) = (text for text in queries if "ORDER BY seq" in text)
        (plan,) = (row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {query}"))
    assert plan.startswith(f"SEARCH labels USING INDEX labels_by_{where.removeprefix('prediction_')}")
    assert "name=? AND source=?" in plan


# -- a file that cannot be used -----------------------------------------------------------------------------


def test_labels_are_never_changed(place: Place) -> None:
    """Not even by somebody who opens the file."""
    ledger(place).label([label()])
    with (
        pytest.raises(StoreCorrupt, match="append-only"),
        Ledger(place)._file.writing() as db,
    ):
        db.execute("UPDATE labels SET value = '2'")


def test_a_locked_file_says_so(place: Place) -> None:
    """Whoever holds it too long is waited for, and nothing is kept."""
    ledger(place).label([label()])
    with Ledger(place)._file.writing() as db:
        db.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnreachable, match="another process holds it: try again"):
            Ledger(place, patience=0.05).label([label(2)])
