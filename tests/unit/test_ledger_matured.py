"""What has matured in a ledger: each prediction once, with the labels that came in time, whatever happens."""

from __future__ import annotations

import os
import random
import sqlite3
from pathlib import Path
from typing import Any, cast

import pytest

from bento_rollout.errors import InvalidValue, StoreCorrupt, StoreUnreachable
from bento_rollout.judging import class_in
from bento_rollout.label_evidence import Mature
from bento_rollout.records import Outcome, Plan, Prediction, Reason
from bento_rollout.reviewing import Selection
from bento_rollout.store import ledger_matured, ledger_newest
from bento_rollout.store.ledger import Ledger
from bento_rollout.store.ledger_file import LedgerFile
from bento_rollout.store.ledger_matured import AHEAD, GIVEN, Matured, Watermark, base_rate, end_of, matured
from bento_rollout.store.place import Place, folder_of
from tests.ledgers import NOW, by_rows, new_id, prediction, reply_of, written

DAY = 86400.0
START = Watermark()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a rollout: what is about files."""
    return tmp_path / "store.d" / "r"


def drawn(age: float, key: str | None = "u1", reason: Reason = Reason.SPLIT, **more: Any) -> Prediction:
    """Return a prediction of so many seconds ago."""
    return prediction(key, at=NOW - age, plans=(Plan("one", 3, reason),), **more)


def told(place: Place, *labels: dict[str, Any], age: float = 0.0) -> None:
    """Tell labels, so many seconds ago."""
    assert not Ledger(place, clock=lambda: NOW - age).label(labels).refused


def found(place: Place, after: Watermark = START, *, until: float = NOW, **more: Any) -> Matured:
    """Read what has matured at the age of a day."""
    return matured(place, **{"label": "label", "after": after, "until": until, "matures": DAY, **more})


def ids(read: Matured) -> list[str]:
    """Return the ids of the predictions of a read."""
    return [row.prediction_id for row in read.rows]


# -- what counts --------------------------------------------------------------------------------------------


def test_labelled_or_not(place: Place) -> None:
    """Each mature prediction counts, with its newest label and its answer; a young one waits."""
    old, silent, young = drawn(DAY + 9), drawn(DAY + 5, None, Reason.NO_KEY), drawn(DAY - 5)
    written(place, old, silent, young)
    told(place, {"prediction_id": old.prediction_id, "label": "fine"}, age=60)
    told(place, {"prediction_id": old.prediction_id, "label": "fraud", "source": "audit"}, age=30)
    read = found(place)
    first, second = read.rows
    assert (first.labelled, first.label, first.output) == (True, "fraud", {"score": 0.5})
    assert (first.variant, first.revision, first.endpoint, first.keyed) == ("one", 3, "predict", True)
    assert first.key_hash is not None
    assert (second.prediction_id, second.labelled, second.keyed) == (silent.prediction_id, False, False)
    assert (read.more, read.missing, read.replaced, dict(read.apart)) == (False, 0, False, {})
    assert ids(found(place, read.after)) == []
    assert ids(found(place, read.after, until=NOW + 5)) == [young.prediction_id]


def test_only_labels_of_that_name(place: Place) -> None:
    """Others are somebody else's."""
    fact = drawn(DAY)
    written(place, fact)
    told(place, {"prediction_id": fact.prediction_id, "label": 1, "name": "chargeback"}, age=1)
    assert [row.labelled for row in found(place).rows] == [False]
    assert [row.label for row in found(place, label="chargeback").rows] == [1]


@pytest.mark.parametrize("selection", Selection)
def test_only_labels_that_were_not_selected_by_the_model(place: Place, selection: Selection) -> None:
    """Those of audits, and of all, count; of cases that were hard, drifting or picked they say nothing."""
    fact = drawn(DAY)
    written(place, fact)
    one = {"prediction_id": fact.prediction_id, "label": "wrong", "selection": selection.value}
    told(place, {**one, "probability": 0.02}, age=1)
    assert [row.labelled for row in found(place).rows] == [selection.unbiased]
    told(place, {**one, "selection": None, "label": "right", "source": "chargebacks"}, age=2)
    expected = "wrong" if selection.unbiased else "right"
    assert [row.label for row in found(place).rows] == [expected], "the newest of those that count"


def test_a_base_rate_leaves_hard_cases_out(place: Place) -> None:
    """Cases that people were asked about because the model was unsure have other classes than the rest."""
    plain = [{"inference_id": f"p{n}", "label": "good" if n % 10 else "bad"} for n in range(100)]
    hard = [{"inference_id": f"h{n}", "label": "bad", "selection": "unsure"} for n in range(100)]
    told(place, *plain, *hard)
    assert base_rate(place, "label") == pytest.approx(0.1)


def test_a_late_read_finds_the_same(place: Place) -> None:
    """A label that was told after its prediction had matured does not count, however late the read is."""
    fact = drawn(3 * DAY)
    written(place, fact)
    told(place, {"prediction_id": fact.prediction_id, "label": "in time"}, age=2 * DAY + 1)
    told(place, {"prediction_id": fact.prediction_id, "label": "late"}, age=2 * DAY - 1)
    assert [row.label for row in found(place).rows] == ["in time"]
    assert found(place) == found(place, until=NOW + DAY), "whoever ended before it was saved finds it again"
    assert [row.label for row in found(place, matures=3 * DAY).rows] == ["late"]


def test_by_inference_id(place: Place) -> None:
    """Such a label is the newest prediction's of those that were made until the older one had matured."""
    first, again = (
        drawn(2 * DAY, None, inference_ids=("tx-1",)),
        drawn(2 * DAY - 9, None, inference_ids=("tx-1",)),
    )
    much_later = drawn(9, None, inference_ids=("tx-1",))
    other = drawn(2 * DAY, None, inference_ids=("tx-2",))
    later = drawn(9, None, inference_ids=("tx-2",))
    written(place, first, again, other, much_later, later)
    told(place, {"inference_id": "tx-1", "label": 1}, {"inference_id": "tx-2", "label": 2}, age=DAY + 60)
    assert [row.label for row in found(place).rows] == [None, 1, 2]


def test_apart(place: Place) -> None:
    """What somebody chose, what a stand-in answered, and what was not answered is no evidence."""
    failed = drawn(DAY, outcome=Outcome.ERROR)
    gone = drawn(DAY, outcome=Outcome.DISCONNECTED)
    reasons = (Reason.PINNED, Reason.TARGETED, Reason.FALLBACK, Reason.UNAVAILABLE, Reason.DEFAULT)
    written(place, failed, gone, *(drawn(DAY, reason=reason) for reason in reasons))
    read = found(place)
    assert read.rows == ()
    assert read.apart == {"unanswered": 2, **{reason.value: 1 for reason in reasons}}
    alone = found(place, reasons=GIVEN)
    assert len(alone.rows) == 1, "what the champion answers while nobody has weight, if that is asked for"
    assert Reason.DEFAULT.value not in alone.apart


def test_rows(place: Place) -> None:
    """Each row is a prediction; one that the champion answered for the candidate is none of it."""
    fact = by_rows()
    written(place, fact)
    told(
        place,
        {"prediction_id": f"{fact.prediction_id}.2", "label": "c"},
        {"inference_id": "t1", "label": "x"},
    )
    read = found(place, until=NOW + DAY)
    assert [(row.prediction_id[-2:], row.label, row.output) for row in read.rows] == [
        (".0", "x", "a"),
        (".2", "c", "c"),
    ]
    assert read.apart == {"fallback": 1}


def test_units(place: Place) -> None:
    """The key; else the caller's own id; else the prediction. A key that has no hash is no unit."""
    facts = [drawn(DAY, "u1"), drawn(DAY, "u1"), drawn(DAY, "u2")]
    facts += [drawn(DAY, None, Reason.NO_KEY, inference_ids=(name,)) for name in ("t", "t", None)]
    written(place, *facts)
    one, same, two, tx, again, alone = (row.unit for row in found(place).rows)
    assert one == same
    assert tx == again
    assert len({one, two, tx, alone}) == 4
    assert Mature("id", 0.0, 1, "predict", "one", keyed=True).unit is None


# -- each once ----------------------------------------------------------------------------------------------


def test_what_arrives_late_counts_once(place: Place) -> None:
    """A call that began long ago, and is written after its neighbours were read, is found, and only once."""
    written(place, drawn(DAY + 50), drawn(DAY + 40))
    first = found(place)
    late = drawn(DAY + 45)
    written(place, late)
    second = found(place, first.after)
    assert (len(first.rows), ids(second)) == (2, [late.prediction_id])
    assert found(place, second.after).rows == ()


def test_each_once_however_it_is_read(place: Place) -> None:
    """Whatever the order of times, the ends of reads, and what is written between them."""
    chance, after, seen, facts = random.Random(7), START, list[str](), list[Prediction]()
    for step in range(6):
        some = [drawn(DAY + chance.uniform(-20, 60) - 10 * step) for _ in range(40)]
        facts += some
        written(place, *some)
        for _ in range(chance.randrange(4)):
            read = found(place, after, until=NOW + 10 * step, most=chance.randrange(1, 50))
            after, seen = Watermark.from_plain(read.after.to_plain()), seen + ids(read)
            assert all(row.time <= NOW + 10 * step - DAY for row in read.rows)
    seen += ids(found(place, after, until=NOW + DAY))
    assert sorted(seen) == sorted(fact.prediction_id for fact in facts)


def test_bounded(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A read ends after so many rows, or so much of answers, and says that there may be more."""
    facts = [drawn(DAY + 9, reply=reply_of(b'"' + b"x" * 100 + b'"')) for _ in range(9)]
    written(place, *facts)
    told(place, *({"prediction_id": fact.prediction_id, "label": 1} for fact in facts), age=60)
    read = found(place, most=4)
    assert (len(read.rows), read.more) == (4, True)
    monkeypatch.setattr(ledger_matured, "HEAVIEST", 250)
    heavy = found(place, read.after)
    assert (len(heavy.rows), heavy.more) == (3, True)
    last = found(place, heavy.after)
    assert (len(last.rows), last.more) == (2, False)


# -- clocks -------------------------------------------------------------------------------------------------


def test_a_clock_that_was_ahead(place: Place) -> None:
    """Far ahead, what it stamped never counts, and holds nothing up; a little ahead, it is waited for."""
    far, fine, near = drawn(-1e6), drawn(DAY + 5), drawn(-AHEAD + 1)
    behind = drawn(DAY + 4)
    written(place, far, fine, near, behind)
    read = found(place)
    assert (ids(read), dict(read.apart)) == ([fine.prediction_id], {"ahead": 1})
    later = found(place, read.after, until=NOW + AHEAD + DAY)
    assert ids(later) == [near.prediction_id, behind.prediction_id]
    assert not later.replaced


def test_a_clock_that_goes_back(place: Place) -> None:
    """Nothing counts again."""
    written(place, drawn(DAY + 5))
    read = found(place)
    again = found(place, read.after, until=NOW - 3 * DAY)
    assert (again.rows, again.after) == ((), read.after)


# -- what happens to the file -------------------------------------------------------------------------------


def test_nothing_was_ever_kept(place: Place) -> None:
    """Nothing is found, the mark stays, and looking makes no file."""
    mark = Watermark(7, "0190")
    assert found(place, mark) == Matured((), mark)
    assert (end_of(place), base_rate(place, "label")) == (Watermark(), None)
    assert not folder_of(place).exists()


def test_a_try_begins_at_the_end(place: Place) -> None:
    """What was predicted before is none of it."""
    written(place, drawn(DAY + 9), drawn(5))
    mark = end_of(place)
    new = drawn(DAY + 1)
    written(place, new)
    assert ids(found(place, mark, until=NOW + DAY)) == [new.prediction_id]


def test_a_locked_ledger(folder: Path) -> None:
    """That is said, and the same mark finds the same later."""
    fact = drawn(DAY)
    written(folder, fact)
    db = sqlite3.connect(folder / "ledger.db", isolation_level=None)
    db.execute("PRAGMA locking_mode = EXCLUSIVE")
    db.execute("BEGIN EXCLUSIVE")
    db.execute("DELETE FROM forgotten")
    try:
        with pytest.raises(StoreUnreachable, match="locked"):
            found(folder, patience=0.01)
    finally:
        db.execute("ROLLBACK")
        db.close()
    assert ids(found(folder)) == [fact.prediction_id]


@pytest.mark.parametrize("cut", [100, 5000, 20_000])
def test_a_damaged_ledger(folder: Path, cut: int) -> None:
    """That is one of our errors, wherever the file is cut."""
    facts = [drawn(DAY) for _ in range(300)]
    written(folder, *facts)
    told(folder, *({"prediction_id": fact.prediction_id, "label": 1} for fact in facts))
    path = folder / "ledger.db"
    os.truncate(path, cut)
    for log in folder.glob("ledger.db-*"):
        log.unlink()
    with pytest.raises((StoreCorrupt, StoreUnreachable)):
        found(folder)
    with pytest.raises((StoreCorrupt, StoreUnreachable)):
        base_rate(folder, "label")


def test_overwritten_values(folder: Path) -> None:
    """A label or an answer that is no JSON costs its own number only."""
    facts = [drawn(DAY) for _ in range(2)]
    written(folder, *facts)
    told(folder, *({"prediction_id": fact.prediction_id, "label": 1} for fact in facts), age=1)
    with sqlite3.connect(folder / "ledger.db") as db:
        db.execute("UPDATE predictions SET output = '{' WHERE seq = 1")
        db.execute("DROP TRIGGER labels_stay")
        db.execute("UPDATE labels SET value = 'nonsense' WHERE seq = 2")
    assert [(row.labelled, row.label, row.output) for row in found(folder).rows] == [
        (True, 1, None),
        (True, None, {"score": 0.5}),
    ]


@pytest.mark.parametrize("column", ["time", "id", "revision"])
def test_a_value_that_cannot_be(folder: Path, column: str) -> None:
    """That is one of our errors, and not Python's."""
    written(folder, drawn(DAY))
    with sqlite3.connect(folder / "ledger.db") as db:
        db.execute(f"UPDATE predictions SET {column} = x'ff'")
    with pytest.raises(StoreCorrupt, match="a prediction in it cannot be"):
        found(folder)


def test_pruned_before_it_matured(place: Place) -> None:
    """How many went before anybody looked is told."""
    written(place, drawn(DAY + 90))
    read = found(place)
    left = drawn(DAY + 1)
    written(place, *(drawn(DAY + 60 - number) for number in range(20)), left)
    Ledger(place, clock=lambda: NOW).prune(keep=DAY + 10)
    later = found(place, read.after)
    assert (ids(later), later.missing, later.replaced) == ([left.prediction_id], 20, False)
    assert found(place).missing == 0, "nobody was asked to look at what went before the first read"


def test_all_is_pruned(place: Place) -> None:
    """A mark stays good, though nothing before it is left."""
    written(place, drawn(DAY + 90), drawn(DAY + 80))
    read = found(place)
    Ledger(place, clock=lambda: NOW).prune(keep=1.0)
    empty = found(place, read.after)
    assert (empty.rows, empty.after, empty.replaced) == ((), read.after, False)
    new = drawn(DAY + 1)
    written(place, new)
    assert ids(found(place, empty.after)) == [new.prediction_id]


@pytest.mark.parametrize("number", [1, 3, 8])
def test_a_new_file(folder: Path, number: int) -> None:
    """Where the ledger was moved away, all that is in the new one counts, be it shorter or longer."""
    written(folder, *(drawn(DAY + 90) for _ in range(3)))
    read = found(folder)
    (folder / "ledger.db").rename(folder / "moved.db")
    facts = [drawn(DAY + 9) for _ in range(number)]
    written(folder, *facts)
    anew = found(folder, read.after)
    assert (ids(anew), anew.replaced) == ([fact.prediction_id for fact in facts], True)
    assert not found(folder, anew.after).replaced


def test_an_older_copy(folder: Path) -> None:
    """Where a backup was put back, nothing counts again."""
    written(folder, drawn(DAY + 90), drawn(DAY + 80))
    backup = (folder / "ledger.db").read_bytes()
    written(folder, *(drawn(DAY + 70) for _ in range(5)))
    read = found(folder)
    for path in folder.glob("ledger.db*"):
        path.unlink()
    (folder / "ledger.db").write_bytes(backup)
    again = found(folder, read.after)
    assert (again.rows, again.replaced) == ((), True)
    new = drawn(DAY + 1)
    written(folder, new)
    assert ids(found(folder, again.after)) == [new.prediction_id]


def test_a_ledger_of_a_newer_version(folder: Path) -> None:
    """That is said, with what to do."""
    written(folder, drawn(DAY))
    with sqlite3.connect(folder / "ledger.db") as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreUnreachable, match="schema 99"):
        found(folder)


# -- cost ---------------------------------------------------------------------------------------------------


def test_every_query_uses_an_index(folder: Path) -> None:
    """None of them reads a table from its beginning to its end."""
    written(folder, drawn(DAY, inference_ids=("t",)))
    plans: list[str] = []
    with LedgerFile(folder).reading() as db:
        queries = {
            name: getattr(ledger_matured, name) for name in ("_NEXT", "_LAST_BEFORE", "_NEWER", "_LABELS")
        }
        queries["_NEWEST"] = ledger_newest._newest(3)
        for name, query in queries.items():
            explained = db.execute(f"EXPLAIN QUERY PLAN {query}", [1] * query.count("?"))
            plans += [f"{name}: {row[3]}" for row in explained]
    tables = [plan for plan in plans if "predictions" in plan or "labels" in plan]
    assert len(tables) >= 8
    assert not [plan for plan in tables if ": SCAN" in plan], plans
    assert not [plan for plan in plans if plan.startswith(("_NEXT", "_NEWER")) and "B-TREE" in plan], plans


def test_a_read_without_news_looks_at_one_row(folder: Path) -> None:
    """However many are too young."""
    written(folder, *(drawn(5) for _ in range(500)))
    steps = [0]
    with LedgerFile(folder).reading() as db:
        cast(sqlite3.Connection, db).set_progress_handler(lambda: steps.__setitem__(0, steps[0] + 1), 10)
        read = ledger_matured._Reading(db, "label", NOW, DAY, GIVEN).read(START, 2000, replaced=False)
    assert (read.rows, read.after) == ((), START)
    assert steps[0] < 20


# -- marks --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [None, [], {"seq": 1}, {"seq": -1, "newest": ""}, {"seq": True, "newest": ""}, {"seq": 1, "newest": 2}],
)
def test_what_is_no_mark(wrong: object) -> None:
    """It is refused by name."""
    with pytest.raises(InvalidValue, match="no place in a ledger"):
        Watermark.from_plain(wrong)


# -- base rates ---------------------------------------------------------------------------------------------


def test_base_rate(place: Place) -> None:
    """Which part is positive: what was named, or all but the most frequent class; from 100 labels on."""
    facts = [drawn(DAY) for _ in range(200)]
    written(place, *facts)
    labels = [
        {"prediction_id": fact.prediction_id, "label": int(at % 50 == 0)} for at, fact in enumerate(facts)
    ]
    told(place, *labels[:99], age=9)
    assert base_rate(place, "label") is None
    told(place, *labels[99:], age=9)
    assert base_rate(place, "label") == pytest.approx(0.02)
    assert base_rate(place, "label", class_of=class_in, positive=["1"]) == pytest.approx(0.02)
    assert base_rate(place, "label", positive=["0"]) == pytest.approx(0.98)
    assert base_rate(place, "label", class_of=lambda value: "yes" if value else None) is None
    assert base_rate(place, "other") is None
    told(place, {**labels[1], "label": 1})
    assert base_rate(place, "label") == pytest.approx(0.025), (
        "a correction counts, and what it corrects does not"
    )


def test_orphans_have_classes_too(place: Place) -> None:
    """What is true of a prediction that is not known yet says how frequent a class is."""
    told(place, *({"inference_id": new_id(), "label": at % 4 == 0} for at in range(100)))
    assert base_rate(place, "label") == pytest.approx(0.25)
