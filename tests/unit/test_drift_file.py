"""`drift.db`: written whole or not at all, and every way in which it cannot be used in words."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from bento_rollout.alarms import Alarm, Told
from bento_rollout.errors import Conflict, NotFound, StoreCorrupt, StoreUnreachable
from bento_rollout.store.drift_file import DriftFile
from bento_rollout.store.drift_rows import MOST_ALARMS, MOST_POINTS, Level, Point, Stored
from bento_rollout.store.place import Place, Shared
from tests.places import busy, run

STORED = Stored("data", "predict", 0, "abc", {"seq": 0}, {"seq": 9}, b"start", b"body", {"alpha": 0.01}, 5.0)
LEVEL = Level("data", "data", "predict", 1, 9, 1.5, 4.6, {"alpha": 0.01}, 5.0)


def alarm(id_: str = "0badcafe", epoch: int = 1, at: float = 5.0) -> Alarm:
    """An alarm of the data test."""
    told = (Told("age", 5.0, "higher", 0.3, 8),)
    return Alarm(id_, "data", "data", "predict", epoch, at, 9, 4, "age is higher", told)


def test_where_nobody_wrote_everything_is_empty(place: Place) -> None:
    """Reading makes no file."""
    file = DriftFile(place)
    assert (file.watches(), file.levels(), file.alarms(), file.latches(), file.facts()) == (
        (),
        (),
        (),
        (),
        {},
    )
    assert file.reference("x") is None
    assert not file.exists()
    assert file.mark() is None or isinstance(place, Shared)


def test_all_of_a_step_is_kept_and_read_again(place: Place) -> None:
    """Watch, level, alarm and point come back as they were."""
    file = DriftFile(place)
    point = Point("data", 1, 9, 5.0, 1.5, {"age": 1.4})
    kept = file.save([STORED], [LEVEL], alarms=[alarm()], points=[point], why="the watch began")
    assert kept == (replace(STORED, version=1),) == file.watches()
    assert file.levels() == (LEVEL,)
    assert file.alarms() == (alarm(),)
    assert file.timeline("data", 1) == (point,)
    assert file.epochs("data") == ((1, 5.0, "the watch began"),)
    (latch,) = file.latches()
    assert (latch.test, latch.latched, latch.log_evidence) == ("data", True, 1.5)


def test_what_somebody_else_wrote_meanwhile_is_never_lost(place: Place) -> None:
    """A version that is not there any more is a conflict, and nothing of the step is kept."""
    file = DriftFile(place)
    (first,) = file.save([STORED], [LEVEL])
    file.save([first], [LEVEL])
    with pytest.raises(Conflict):
        file.save([first], [LEVEL], alarms=[alarm()])
    assert file.alarms() == ()


def test_a_test_finds_one_alarm_in_each_epoch(place: Place) -> None:
    """A second one of the same epoch is not kept; what became of the first is."""
    file = DriftFile(place)
    file.save([], alarms=[alarm()])
    file.save([], alarms=[alarm("0badbeef")])
    assert [one.id for one in file.alarms()] == ["0badcafe"]
    file.change("0badcafe", lambda one: one.did("log", "written"))
    ended = file.change("0badcafe", lambda one: one.acknowledged("ann", 6.0, "seen"))
    assert file.alarms() == (ended,)
    assert file.alarms(latched=True) == ()
    file.save([], alarms=[alarm("0badbeef", epoch=2)])
    assert [one.id for one in file.alarms()] == ["0badbeef", "0badcafe"]  # latched first
    with pytest.raises(NotFound):
        file.change("00000000", lambda one: one)


def test_what_is_kept_is_bounded(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Points are thinned, ended alarms forgotten; a latched one stays, however old."""
    most = 40
    assert min(MOST_POINTS, MOST_ALARMS) > most
    monkeypatch.setattr("bento_rollout.store.drift_rows.MOST_POINTS", most)
    monkeypatch.setattr("bento_rollout.store.drift_rows.MOST_ALARMS", most)
    file = DriftFile(place)
    points = [Point("data", 1, row, float(row), 0.0) for row in range(most + 1)]
    file.save([], [LEVEL], points=points)
    kept = file.timeline("data", 1)
    assert len(kept) <= most // 2 + 2
    assert (kept[0].row, kept[-1].row) == (0, most)
    many = [alarm(f"{n:08x}", epoch=n, at=float(n)).acknowledged("ann", 1.0) for n in range(2, most + 9)]
    file.save([], alarms=[alarm(at=0.0), *many])
    assert len(file.alarms(limit=2 * most)) == most
    assert file.alarms(latched=True) == (alarm(at=0.0),)


def test_a_verb_changes_all_in_one_step(place: Place) -> None:
    """What raises in the midst of it changes nothing."""
    file = DriftFile(place)
    file.save([STORED], [LEVEL], alarms=[alarm()])
    with pytest.raises(ZeroDivisionError):
        file.revise(lambda *_: 1 / 0, why="")  # type: ignore[arg-type]  # it raises
    file.revise(
        lambda watches, levels, alarms: (
            watches,
            [replace(levels[0], epoch=2)],
            [alarms[0].acknowledged("ann", 6.0)],
        ),
        why="acknowledged by ann",
    )
    assert file.watches()[0].version == 2
    assert file.epochs("data")[-1][2] == "acknowledged by ann"
    assert file.alarms(latched=True) == ()


def test_a_locked_file_is_told_and_read_meanwhile(place: Place) -> None:
    """Whoever writes waits for its turn; whoever reads does not."""
    file = DriftFile(place, patience=0.05)
    file.save([STORED], [LEVEL])
    with busy(place, "drift"):
        with pytest.raises(StoreUnreachable, match="locked"):
            file.save([], [LEVEL])
        assert file.levels() == (LEVEL,)
    file.save([], [LEVEL])


def test_a_fact_is_what_was_said_last(place: Place) -> None:
    """None forgets it; a reference is kept by its digest."""
    file = DriftFile(place)
    file.note("problem", "x")
    file.note("problem", {"y": [1.5, None]})
    file.keep_reference("abc", "{}", 1.0)
    file.keep_reference("abc", "[]", 2.0)
    assert (file.facts(), file.reference("abc")) == ({"problem": {"y": [1.5, None]}}, "[]")
    file.note("problem", None)
    assert file.facts() == {}
    file.forget(["data"], ["data"])


def test_facts_and_references_are_kept_once(tmp_path: Path) -> None:
    """What is so already is not written again."""
    file = DriftFile(tmp_path)
    file.note("problem", "x")
    file.keep_reference("abc", "{}", 1.0)
    before = (tmp_path / "drift.db").stat().st_mtime_ns
    file.note("problem", "x")
    file.keep_reference("abc", "{}", 2.0)
    assert (tmp_path / "drift.db").stat().st_mtime_ns == before
    file.note("problem", None)
    assert file.facts() == {}
    assert file.reference("abc") == "{}"


def test_a_damaged_file_is_set_aside_and_a_whole_one_never(tmp_path: Path) -> None:
    """Only what cannot be read is moved."""
    file = DriftFile(tmp_path)
    file.save([STORED], [LEVEL], alarms=[alarm()])
    assert file.set_aside(7.0) is None
    (tmp_path / "drift.db").write_bytes(b"no database at all, and long enough to be looked at" * 100)
    with pytest.raises(StoreCorrupt, match="move it away"):
        file.levels()
    aside = file.set_aside(7.0)
    assert aside is not None
    assert aside.name == "drift.db.damaged-7"
    assert file.levels() == ()


def test_rows_that_cannot_be_are_damage(place: Place) -> None:
    """A text where JSON belongs is told as damage, and not as a bug."""
    file = DriftFile(place)
    file.save([STORED], [LEVEL])
    run(place, "drift", "UPDATE levels SET told = 'x'")
    with pytest.raises(StoreCorrupt, match=r"(move it away|delete the rows).*: the watch begins anew"):
        file.levels()
    assert (file.set_aside(7.0) is not None) == isinstance(place, Path)


def test_a_newer_file_is_left_alone(tmp_path: Path) -> None:
    """It says which version is needed, and is neither written nor moved."""
    file = DriftFile(tmp_path)
    file.save([STORED], [LEVEL])
    with sqlite3.connect(tmp_path / "drift.db") as db:
        db.execute("PRAGMA user_version = 99")
    for act in (file.levels, lambda: file.save([], [LEVEL])):
        with pytest.raises(StoreUnreachable, match="use a newer"):
            act()
    assert file.set_aside(7.0) is None


def test_another_programs_file_is_refused(tmp_path: Path) -> None:
    """It is not ours to write to."""
    file = DriftFile(tmp_path)
    with sqlite3.connect(tmp_path / "drift.db") as db:
        db.execute("CREATE TABLE cooking (recipe TEXT)")
    with pytest.raises(StoreCorrupt, match="of another program"):
        file.save([], [LEVEL])
