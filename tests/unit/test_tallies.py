"""What shadow calls came to: sums of all workers in a file, and the report that is made of them."""

from __future__ import annotations

import json
import math
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from bento_rollout.eras import Era, Series
from bento_rollout.errors import StoreCorrupt, StoreUnreachable
from bento_rollout.records import Comparison, Difference, Relation
from bento_rollout.shadow_report import shadow_report
from bento_rollout.state import RolloutState
from bento_rollout.store import tallies as tallies_module
from bento_rollout.store.place import Place, Shared
from bento_rollout.store.tallies import APPLICATION_ID, MOST_SERIES, SCHEMA, Counted, Tallies
from bento_rollout.tally import (
    EXAMPLES,
    MOST_NAMES,
    OTHER,
    Example,
    Kind,
    Load,
    Seen,
    Tally,
    summed,
)

AGREE = Comparison(Relation.AGREE)
DIFFER = Comparison(
    Relation.DIFFER, None, (Difference("$.score", "value", "1", "2", 0.5),), ("$.score",), (("a", "b"),)
)
FAILED = Comparison(Relation.NOT_COMPARABLE, "KeyError")
STATE = RolloutState(name="r", champion="one", shadow={"two": 100_000}, settled=(), salt="r")


def series(candidate: str = "two", *, digest: str = "d2", revision: int = 3, how: str = "close") -> Series:
    """Return a series of the endpoint `predict`."""
    return Series(Era("one", "d1", candidate, digest, how), revision, "predict")


def counted(tally: Tally, *comparisons: Comparison, of: Series | None = None, now: float = 1.0) -> None:
    """Count comparisons."""
    for number, comparison in enumerate(comparisons):
        answered = None if comparison.error else 0.01
        tally.add(summed(of or series(), [comparison], Seen([f"id-{number}"], 0.02, answered, now)))


def written(place: Place, tally: Tally, token: str = "w1", now: float = 1.0) -> Tallies:
    """Write what was counted."""
    tallies, sums = Tallies(place), tally.take()
    assert sums is not None
    tallies.add(token, 1, sums, now)
    return tallies


def report(tallies: Tallies, **more: Any) -> dict[str, Any]:
    """Return the report."""
    state = more.pop("state", STATE)
    return shadow_report(state, tallies.read(), more.pop("living", ()), 0.0, **more)


def test_nothing_counted_is_a_report(place: Place) -> None:
    """Every shadowed variant is there before anything was compared, and reading makes no file."""
    found = report(Tallies(place))
    row = found["candidates"]["two"]
    assert (row["compared"], row["agreement"]) == (0, {"value": None, "low": None, "high": None})
    assert not (place.known() if isinstance(place, Shared) else place.exists())


def test_sums_of_all_workers_are_added(place: Place) -> None:
    """Two workers, several times each: one report."""
    for token in ("w1", "w2", "w1"):
        tally = Tally()
        counted(tally, AGREE, AGREE, DIFFER, FAILED)
        tally.dropped(series(), "queue_full", 5)
        written(place, tally, token)
    row = report(Tallies(place))["candidates"]["two"]
    assert (row["compared"], row["agreed"], row["disagreed"]) == (9, 6, 3)
    assert (row["not_comparable"], row["dropped"]) == ({"KeyError": 3}, {"queue_full": 15})
    assert row["fields"] == {"$.score": {"differed": 3, "noise": None, "beyond_noise": None}}
    assert row["labels"] == [{"champion": "a", "candidate": "b", "count": 3}]
    assert row["latency"]["champion"]["calls"] == row["latency"]["candidate"]["calls"] == 9
    assert abs(row["latency"]["candidate"]["p50"] - 0.01) < 0.0002
    assert len(row["examples"]) == 3


def test_two_workers_at_once(place: Place) -> None:
    """Workers that write at the same time lose nothing."""

    def work(token: str) -> None:
        for _ in range(20):
            tally = Tally()
            counted(tally, AGREE)
            written(place, tally, token)

    threads = [threading.Thread(target=work, args=(f"w{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert report(Tallies(place))["candidates"]["two"]["agreed"] == 80


def test_new_code_begins_anew(place: Place) -> None:
    """What another digest answered, or what was compared in another way, is not counted with the new."""
    tally = Tally()
    counted(tally, DIFFER, DIFFER, of=series(digest="old"))
    counted(tally, DIFFER, of=series(how="exact"))
    tallies = written(place, tally, now=1.0)
    counted(tally, AGREE, of=series(revision=5))
    written(place, tally, now=2.0)
    found = report(tallies)
    assert found["since_revision"] == 5
    assert (found["candidates"]["two"]["agreed"], found["candidates"]["two"]["disagreed"]) == (1, 0)


def era(place: Place, now: float, revision: int, *answers: Comparison, ours: str = "d1", digest: str) -> None:
    """Count comparisons of one pair of digests."""
    tally = Tally()
    counted(tally, *answers, of=Series(Era("one", ours, "two", digest, "close"), revision, "predict"))
    written(place, tally, now=now)


def granting(**granted: str) -> RolloutState:
    """Return a state that grants traffic to digests."""
    return STATE.model_copy(update={"granted": granted})


def test_a_store_that_is_made_anew_does_not_bring_old_code_back(place: Place) -> None:
    """Its revisions begin at 1 again, so what was counted at higher ones is older all the same."""
    era(place, 1000.0, 40, AGREE, AGREE, digest="old")
    era(place, 2000.0, 3, DIFFER, digest="new")
    for state in (STATE, granting(one="d1"), granting(one="d1", two="new")):
        assert report(Tallies(place), state=state)["candidates"]["two"]["disagreed"] == 1


def test_a_clock_that_is_set_back_does_not_bring_old_code_back(place: Place) -> None:
    """What traffic is granted to is newer than what was counted before that was so."""
    era(place, 5000.0, 3, AGREE, AGREE, digest="old")
    era(place, 1000.0, 4, DIFFER, digest="new")
    found = report(Tallies(place), state=granting(one="d1", two="new"))
    assert found["candidates"]["two"]["disagreed"] == 1
    era(place, 6000.0, 9, AGREE, ours="d0", digest="new")
    found = report(Tallies(place), state=granting(one="d1", two="new"))
    assert found["candidates"]["two"]["disagreed"] == 1, "the champion's old code still answers somewhere"


def test_a_candidate_is_watched_before_traffic_is_granted_to_its_code(place: Place) -> None:
    """The report is of the code that runs, whatever had traffic once."""
    era(place, 1000.0, 4, AGREE, AGREE, digest="granted")
    era(place, 2000.0, 4, DIFFER, digest="new")
    found = report(Tallies(place), state=granting(one="d1", two="granted"))
    assert found["candidates"]["two"]["disagreed"] == 1


@pytest.mark.parametrize("magnitude", [math.nan, math.inf])
def test_the_report_is_json(place: Place, magnitude: float) -> None:
    """An older version's file may hold numbers that JSON lacks."""
    found = Comparison(Relation.DIFFER, None, (Difference("$", "value", "1", "2", magnitude),), ("$",))
    one = Example(magnitude, 1.0, "id", found.differences)
    row = report_of({series(): [one]})["candidates"]["two"]
    json.dumps(row, allow_nan=False)
    assert row["examples"][0]["magnitude"] == row["examples"][0]["differences"][0]["magnitude"] == 1e300


def report_of(examples: dict[Series, list[Example]]) -> dict[str, Any]:
    """Return the report on some examples."""
    return shadow_report(STATE, Counted({}, examples, dict.fromkeys(examples, 1.0)), (), 0.0)


def test_since_a_revision(place: Place) -> None:
    """What was planned before a revision may be left out."""
    tally = Tally()
    counted(tally, DIFFER, of=series(revision=3))
    counted(tally, AGREE, of=series(revision=4))
    tallies = written(place, tally)
    assert report(tallies)["candidates"]["two"]["compared"] == 2
    assert report(tallies, since_revision=4)["candidates"]["two"]["agreed"] == 1
    assert report(tallies, since_revision=9)["candidates"]["two"]["compared"] == 0


def test_the_champions_own_noise_is_subtracted(place: Place) -> None:
    """The noise floor is the champion's own disagreement; what is noisy in both is not real."""
    tally = Tally()
    counted(tally, *[AGREE] * 90, *[DIFFER] * 10)
    counted(
        tally, *[AGREE] * 90, *[DIFFER] * 10, of=Series(Era("one", "d1", "one", "d1", "close"), 3, "predict")
    )
    found = report(written(place, tally))
    row = found["candidates"]["two"]
    assert (row["noise_floor"], row["beyond_noise"]["value"]) == (0.1, 0.0)
    assert row["fields"]["$.score"] == {"differed": 10, "noise": 10, "beyond_noise": False}
    assert found["noise"]["compared"] == 100
    assert set(found["candidates"]) == {"two"}


def test_noise_that_was_compared_in_another_way_is_not_subtracted(place: Place) -> None:
    """Then the report says so."""
    tally = Tally()
    counted(tally, AGREE)
    counted(tally, DIFFER, of=Series(Era("one", "d1", "one", "d1", "exact"), 3, "predict"))
    row = report(written(place, tally))["candidates"]["two"]
    assert row["noise_floor"] is None
    assert "another way" in row["notes"][0]


def test_loads_are_those_of_living_workers(place: Place) -> None:
    """What a dead worker did last is not what happens now."""
    tallies = Tallies(place)
    for token in ("w1", "w2", "w3"):
        tally = Tally()
        tally.load("two", Load(4, 2, 1))
        written(place, tally, token)
    tallies.leave("w3")
    row = report(tallies, living=["w1", "w3"])["candidates"]["two"]
    assert row["now"] == {"pending": 4, "running": 2, "stuck": 1}


def test_everything_is_bounded(place: Place) -> None:
    """Any number of names, examples and series takes a bounded place, and no count is lost."""
    tally = Tally()
    for number in range(1000):
        counted(tally, Comparison(Relation.NOT_COMPARABLE, f"Error{number}"))
        counted(tally, DIFFER, now=float(number))
    sums = tally.take()
    assert sums is not None
    (things,) = sums.counts.values()
    errors = things[Kind.ERROR]
    assert len(errors) == MOST_NAMES + 1
    assert (sum(errors.values()), errors[OTHER]) == (1000, 800)
    tallies = Tallies(place)
    for _ in range(2):
        tallies.add("w1", 1, sums, 1.0)
    row = report(tallies)["candidates"]["two"]
    assert sum(row["not_comparable"].values()) == 2000
    assert len(row["examples"]) == EXAMPLES


def test_old_series_go(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of too many series the one that was counted longest ago goes."""
    monkeypatch.setattr("bento_rollout.store.tallies.MOST_SERIES", 3)
    assert MOST_SERIES > 1000
    for revision in range(1, 6):
        tally = Tally()
        counted(tally, AGREE, of=series(revision=revision))
        written(place, tally, now=float(revision))
    assert sorted(one.revision for one in Tallies(place).read().counts) == [3, 4, 5]


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    """It is an error with the way out, for who reads and for who writes; it is not made anew silently."""
    (tmp_path / "shadows.db").write_bytes(b"no database" * 1000)
    tally = Tally()
    counted(tally, AGREE)
    with pytest.raises(StoreCorrupt, match="move it away"):
        Tallies(tmp_path).read()
    with pytest.raises(StoreCorrupt, match="move it away"):
        written(tmp_path, tally)


def test_a_newer_file_is_refused(tmp_path: Path) -> None:
    """A schema of a later version is not touched."""
    with sqlite3.connect(tmp_path / "shadows.db") as db:
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {SCHEMA + 1}")
    with pytest.raises(StoreUnreachable, match="newer bento_rollout"):
        Tallies(tmp_path).read()


def test_a_file_of_the_first_schema_is_brought_along(tmp_path: Path) -> None:
    """Its disagreements are told as before, and new ones are added to them."""
    with closing(sqlite3.connect(tmp_path / "shadows.db")) as db, db:
        for statement in tallies_module._MIGRATIONS[0]:
            db.execute(statement)
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute("PRAGMA user_version = 1")
        db.execute("INSERT INTO series VALUES (1, 'one', 'd1', 'two', 'd2', 'close', 3, 'predict', 1.0)")
        db.execute("INSERT INTO counts VALUES (1, 'differed', '', 1)")
        db.execute("INSERT INTO examples VALUES (1, 0.7, 1.0, 'old', '[]')")
    tally = Tally()
    counted(tally, DIFFER)
    found = written(tmp_path, tally).read()
    assert found.counts[series()][Kind.DIFFERED] == {"": 2}
    assert [example.prediction_id for example in found.examples[series()]] == ["old", "id-0"]


def test_what_cannot_be_written_is_kept(tmp_path: Path) -> None:
    """A folder that cannot be made loses no numbers: they are given back, and written later."""
    (tmp_path / "blocked").write_text("a file")
    tally = Tally()
    counted(tally, AGREE)
    sums = tally.take()
    assert sums is not None
    with pytest.raises((StoreUnreachable, OSError)):
        Tallies(tmp_path / "blocked" / "deeper").add("w1", 1, sums, 1.0)
    tally.add(sums)
    counted(tally, AGREE)
    assert report(written(tmp_path, tally))["candidates"]["two"]["agreed"] == 2


def test_its_file_is_its_owners(tmp_path: Path) -> None:
    """Labels and field names may be personal data: nobody else may read the file."""
    tally = Tally()
    counted(tally, AGREE)
    written(tmp_path, tally)
    assert (tmp_path / "shadows.db").stat().st_mode & 0o077 == 0


def test_the_noise_of_all_endpoints_is_weighted_as_the_candidates_calls_are(place: Place) -> None:
    """Noise at one endpoint excuses no differences at another, whatever the champion was asked more often."""
    own = Era("one", "d1", "one", "d1", "close")
    era = series().era
    tally = Tally()
    counted(tally, *[AGREE] * 5, *[DIFFER] * 5, of=Series(era, 3, "a"))
    counted(tally, *[AGREE] * 81, *[DIFFER] * 9, of=Series(era, 3, "b"))
    counted(tally, *[AGREE] * 50, *[DIFFER] * 50, of=Series(own, 3, "a"))
    tallies = written(place, tally)
    row = report(tallies)["candidates"]["two"]
    assert (row["noise_floor"], row["beyond_noise"]["value"]) == (None, None)
    assert row["endpoints"]["a"]["noise_floor"] == 0.5
    counted(tally, *[AGREE] * 10, of=Series(own, 3, "b"))
    written(place, tally)
    row = report(tallies)["candidates"]["two"]
    assert (row["noise_floor"], row["beyond_noise"]["value"]) == (0.05, 0.09)


def test_the_champion_beside_itself_has_no_noise_to_compare_with(place: Place) -> None:
    """Its own fields are not judged, and pairs of labels that are not told apart are no pair."""
    tally = Tally()
    counted(tally, DIFFER, of=Series(Era("one", "d1", "one", "d1", "close"), 3, "predict"))
    for number in range(300):
        counted(tally, Comparison(Relation.DIFFER, labels=((f"a{number}", "b"),)))
    found = report(written(place, tally))
    assert found["noise"]["fields"]["$.score"] == {"differed": 1, "noise": None, "beyond_noise": None}
    row = found["candidates"]["two"]
    assert (len(row["labels"]), row["labels_not_told_apart"]) == (MOST_NAMES, 300 - MOST_NAMES)


def test_text_that_is_no_unicode_poisons_nothing(place: Place) -> None:
    """A lone surrogate in a label, path or error is written out; magnitudes are finite: all of it is JSON."""
    tally = Tally()
    odd = Difference("$.\udcff", "value", "\udcfe", "1", float("inf"))
    counted(tally, Comparison(Relation.DIFFER, None, (odd,), ("$.\udcff",), (("\udcff", "b"),)))
    counted(tally, Comparison(Relation.NOT_COMPARABLE, "Error\udcff" + "x" * 1000))
    row = report(written(place, tally))["candidates"]["two"]
    assert json.dumps(row, allow_nan=False, ensure_ascii=False).encode()
    assert row["labels"][0]["champion"] == "\\udcff"
    assert max(map(len, row["not_comparable"])) < 300


def test_many_rows_are_added_up_at_once() -> None:
    """A request of many rows is one sum, with as many calls as rows, and only the most telling examples."""
    rows = [DIFFER, AGREE] * 5000
    sums = summed(series(), rows, Seen([f"id.{n}" for n in range(10_000)], 0.02, 0.01, 1.0))
    (things,) = sums.counts.values()
    assert (things[Kind.AGREED][""], things[Kind.DIFFERED][""]) == (5000, 5000)
    assert sum(things[Kind.CHAMPION_SECONDS].values()) == 10_000
    assert len(sums.examples[series()]) == EXAMPLES
