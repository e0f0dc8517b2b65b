"""Evidence on its way to whoever decides: each flush is used once, whoever dies, however many decide."""

from __future__ import annotations

import json
import multiprocessing
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from bento_rollout.errors import Conflict, StoreCorrupt, StoreUnreachable
from bento_rollout.evidence import Evidence
from bento_rollout.evidence import Place as Where
from bento_rollout.records import Observation, Outcome, Prediction, Reason
from bento_rollout.store import evidence_log
from bento_rollout.store.evidence_log import EvidenceLog, Flush, Standing
from bento_rollout.store.place import Place, Shared
from tests.places import busy, run


def some(calls: int = 1, key: str = "u1") -> Evidence:
    """What a worker counted."""
    evidence = Evidence(salt="s")
    run = Observation("r", "predict", "two", 7, Reason.SPLIT, "id", Outcome.OK, 0.01)
    for _ in range(calls):
        evidence.count(Prediction("r", "predict", "id", 0.0, (), (run,), Outcome.OK, 0.01, (key,)))
    return evidence


def calls_of(flush: Flush) -> int:
    """How many calls it tells of."""
    assert flush.evidence is not None
    return flush.evidence.arms[Where(7, "predict")]["two"].calls


@pytest.fixture
def log(place: Place) -> EvidenceLog:
    """An empty one, in a file or in a database."""
    return EvidenceLog(place)


def test_what_workers_add_is_read_in_their_order(log: EvidenceLog) -> None:
    """Whole, from where one has come to."""
    assert (log.read(0), log.standing()) == ([], Standing())
    for number in (1, 2, 3):
        log.add(f"w{number}", some(number), 10.0 + number)
    log.add("idle", Evidence(), 20.0)
    found = log.read(1)
    assert [(flush.seq, flush.worker, flush.time, calls_of(flush)) for flush in found] == [
        (2, "w2", 12.0, 2),
        (3, "w3", 13.0, 3),
    ]


def test_a_flush_is_used_once(log: EvidenceLog, place: Place) -> None:
    """Two who decide, as when a leader hangs and wakes up again: the second one saves nothing."""
    log.add("w", some(), 1.0)
    mine, theirs = log.standing(), EvidenceLog(place).standing()
    (flush,) = log.read(mine.seq)
    log.save(Standing(flush.seq, {"ln E": 0.1}), after=mine.seq)
    with pytest.raises(Conflict, match=r"up to 1 \(this one began after 0\)"):
        log.save(Standing(flush.seq, {"ln E": 99.0}), after=theirs.seq)
    assert (log.standing(), log.read(0)) == (Standing(1, {"ln E": 0.1}), [])
    log.add("w", some(), 2.0)
    assert [flush.seq for flush in log.read(0)] == [2]  # a number never comes again


def test_flushes_that_nobody_reads_are_bounded(log: EvidenceLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest go."""
    monkeypatch.setattr(evidence_log, "MOST_FLUSHES", 3)
    for number in range(5):
        log.add("w", some(), float(number))
    assert [flush.time for flush in log.read(0)] == [2.0, 3.0, 4.0]


@pytest.mark.parametrize(
    ("sums", "problem"),
    [
        ("{", "it is no JSON"),
        ("{}", "no evidence that a worker wrote: a dict, no list"),
        ('[{"revision": 1}]', "no evidence that a worker wrote"),
        (json.dumps([{**some().to_plain()[0], "calls": -5}]), "-5 is no count"),
        (json.dumps([{**some().to_plain()[0], "errors": 5}]), "5 errors in 1 calls"),
    ],
)
def test_sums_that_cannot_be_are_named_and_the_others_read(
    log: EvidenceLog, place: Place, sums: str, problem: str
) -> None:
    """Of another version, or written by hand."""
    log.add("good", some(), 1.0)
    run(place, "evidence", "INSERT INTO flushes (time, worker, sums) VALUES (2.0, 'odd', ?)", (sums,))
    log.add("good", some(), 3.0)
    first, odd, last = log.read(0)
    assert (calls_of(first), calls_of(last)) == (1, 1)
    assert odd.evidence is None
    assert problem in odd.problem


def test_rows_that_cannot_be_are_damage(log: EvidenceLog, place: Place) -> None:
    """It is said what to do; once the rows are gone all begins anew, in a file that is put aside or not."""
    log.add("w", some(), 1.0)
    run(place, "evidence", "UPDATE standing SET told = '{'")
    with pytest.raises(StoreCorrupt, match=r"(move it away|delete the rows).*: a running try begins"):
        log.standing()
    assert (log.set_aside(7.0) is not None) == isinstance(place, Path)
    if isinstance(place, Shared):
        for table in ("flushes", "standing", "report"):
            run(place, "evidence", f"DELETE FROM {table}")
    assert log.standing() == Standing()
    log.add("w", some(), 2.0)
    (flush,) = log.read(0)
    log.save(Standing(flush.seq, {"ln E": 0.1}), after=0)
    assert (log.standing().told, log.read(0)) == ({"ln E": 0.1}, [])


def test_a_damaged_file_says_what_to_do(tmp_path: Path) -> None:
    """And costs the evidence only."""
    log = EvidenceLog(tmp_path)
    log.add("w", some(), 1.0)
    (tmp_path / "evidence.db").write_bytes(b"no database at all, not even a short one" * 100)
    for work in (lambda: log.read(0), log.standing, lambda: log.add("w", some(), 1.0)):
        with pytest.raises(StoreCorrupt, match="move it away"):
            work()


def test_a_newer_file_is_left_alone(tmp_path: Path) -> None:
    """A rolled back library does not write into what it does not know."""
    log = EvidenceLog(tmp_path)
    log.add("w", some(), 1.0)
    with closing(sqlite3.connect(tmp_path / "evidence.db")) as db, db:
        db.execute("PRAGMA user_version = 9")
    with pytest.raises(StoreUnreachable, match="schema 9, and this version knows up to 2"):
        log.add("w", some(), 1.0)


def test_a_locked_file_is_told_after_its_patience(place: Place) -> None:
    """Whoever holds it."""
    log = EvidenceLog(place, patience=0.05)
    log.add("w", some(), 1.0)
    with busy(place, "evidence"), pytest.raises(StoreUnreachable, match="locked"):
        log.add("w", some(), 1.0)


def write(place: Place, worker: str, count: int) -> None:
    """Add flushes, as a worker does."""
    log = EvidenceLog(place, patience=30)
    for number in range(count):
        log.add(worker, some(key=f"{worker}-{number}"), float(number))


def test_many_write_while_one_decides(place: Place) -> None:
    """Four add, two decide at once, whoever is faster: every flush is used exactly once."""
    context = multiprocessing.get_context("spawn")
    work = (
        threading.Thread if isinstance(place, Shared) else context.Process
    )  # a database tells no difference
    writers = [work(target=write, args=(place, f"w{n}", 20)) for n in range(4)]
    for writer in writers:
        writer.start()
    done, conflicts = threading.Event(), [0]

    def decide() -> None:
        log = EvidenceLog(place, patience=30)
        while True:
            last = done.is_set()
            before = log.standing()
            if found := log.read(before.seq):
                told: dict[str, Any] = dict(before.told or {"calls": 0, "seen": []})
                told["calls"] += sum(map(calls_of, found))
                told["seen"] = [*told["seen"], *(flush.seq for flush in found)]
                try:
                    log.save(Standing(found[-1].seq, told), after=before.seq)
                except Conflict:
                    conflicts[0] += 1
            elif last:
                return

    deciders = [threading.Thread(target=decide) for _ in range(2)]
    for decider in deciders:
        decider.start()
    for writer in writers:
        writer.join(60)
        assert not writer.is_alive()
    done.set()
    for decider in deciders:
        decider.join(60)
    told = EvidenceLog(place).standing().told
    assert told is not None
    assert (told["calls"], told["seen"]) == (80, list(range(1, 81)))
