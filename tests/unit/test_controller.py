"""Who leads a rollout, and what becomes of what it knew: whoever dies, whatever people do meanwhile."""

from __future__ import annotations

import json
import math
import os
import socket
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from bento_rollout.bench import Bench
from bento_rollout.controller import Controller
from bento_rollout.errors import Conflict, StoreCorrupt, StoreUnreachable
from bento_rollout.evidence import Evidence
from bento_rollout.late import Late
from bento_rollout.notes import Notes
from bento_rollout.position import MOST_TICK
from bento_rollout.store.evidence_log import EvidenceLog
from bento_rollout.store.leadership import Leadership
from bento_rollout.store.sqlite import SQLiteStore
from bento_rollout.strategy import Strategy
from bento_rollout.view import View
from tests.states import wait_until
from tests.unit.crew import LONG, POINTS, QUICK, Crew, Died, events, named
from tests.unit.test_trying import answering, with_strategy
from tests.unit.trying import parsed
from tests.unit.workers import Join, with_digest, with_state

Begun = Callable[..., Crew]
FINE = ["advance", "promote", "end_bake"]
BAD: dict[str, Any] = {"trial": 0.4}


@pytest.fixture
def begun(store: SQLiteStore, join: Join) -> Begun:
    """A crew whose try of ``boosted`` has begun; arguments replace fields of the strategy."""

    def begun(text: str = QUICK, *, card: Mapping[str, Any] | None = None, **how: Any) -> Crew:
        host = join(spec={"strategy": parsed(text).plain}, **(card or {}))
        crew = Crew(store, host, **how)
        crew.person.start()
        return crew

    return begun


# -- who leads --------------------------------------------------------------------------------------------


def test_one_leads_and_the_next_takes_over(begun: Begun, capfd: pytest.CaptureFixture[str]) -> None:
    """Nobody looks without the lock; when its holder gives it back another one goes on from its notes."""
    crew = begun(LONG)
    first, second = crew.worker(), crew.worker()
    for _ in range(5):
        led, other = crew.second(first, second)
        assert led is not None
        assert other is None
    assert (first.leads, second.leads) == (True, False)
    first.resign(crew.now)
    assert crew.heard == crew.sent
    crew.second(second)
    assert (first.leads, second.leads) == (False, True)
    assert crew.counted() == 5.0
    second.resign(crew.now)
    assert crew.heard == crew.sent
    assert len(named(events(capfd), "controller.leads")) == 2


def test_a_lead_lost_is_noticed(begun: Begun) -> None:
    """Whoever finds that its lock was taken away decides nothing more."""
    crew = begun(LONG)
    first, second = crew.worker(), crew.worker()
    crew.second(first)
    (crew.store.place("screening") / "leader.lock").unlink()
    led, other = crew.second(second, first)
    assert led is not None
    assert other is None
    assert (first.leads, second.leads) == (False, True)


def test_a_forked_child_keeps_nobody_from_leading(tmp_path: Path) -> None:
    """A lock is a process's: what it forked may outlive it."""
    first, second = Leadership(tmp_path), Leadership(tmp_path)
    assert first.hold()
    ours, theirs = socket.socketpair()
    if not (child := os.fork()):  # pragma: no cover - another process
        ours.close()
        theirs.send(b"x")
        theirs.recv(1)
        os._exit(0)
    theirs.close()
    ours.recv(1)
    assert not second.hold()
    os.close(first._fd)  # as the kernel does when its holder dies
    try:
        assert second.hold()
    finally:
        ours.close()
        os.waitpid(child, 0)
        first._fd = -1
        second.resign()


def test_a_thread_looks_and_is_stopped(begun: Begun) -> None:
    """A worker that ends writes down what it knows, and gives back the lead."""
    crew = begun(LONG)
    crew.now = 1_700_000_000.0
    crew.flush()
    worker = crew.worker()
    worker.start()
    wait_until(lambda: crew.log.report() is not None)
    worker.stop(10)
    assert crew.heard == crew.sent
    assert Leadership(crew.store.place("screening")).hold()


# -- leaders that die -------------------------------------------------------------------------------------


def let_die(crew: Crew, condition: Callable[[], object], most: int = 150, **how: Any) -> int:
    """Let seconds pass in which workers die at any point; return how many did."""
    workers, dead = [crew.worker(), crew.worker()], 0
    for _ in range(most):
        if condition():
            crew.fate = ""
            for worker in workers:
                worker.resign(crew.now)
            return dead
        crew.now += crew.chance.choice((0.3, 1.0, 1.0, 2.5))
        for _ in range(crew.chance.randrange(3)):
            crew.flush(200, **how)
        if crew.chance.random() < 0.4:
            crew.fate = crew.chance.choice(POINTS)
        for index in crew.chance.sample(range(2), 2):
            try:
                workers[index].look(crew.now)
            except Died:
                workers[index] = crew.worker()
                dead += 1
            if crew.chance.random() < 0.1 and not crew.fate:
                workers[index].resign(crew.now)
    raise AssertionError(f"not in {most} looks: {crew.log.report()}")


@pytest.mark.parametrize("seed", range(10))
def test_no_decision_is_taken_twice_and_none_is_lost(begun: Begun, seed: int) -> None:
    """Anybody may die before and after the notes are saved, and before and after a decision is committed."""
    crew = begun(seed=seed)
    dead = let_die(crew, lambda: crew.stage == "done")
    assert dead
    assert crew.decisions == FINE
    rows = crew.person.history_rows()
    assert [row["weights"].get("boosted", 0) for row in reversed(rows)][1:3] == [25, 50]


@pytest.mark.parametrize("seed", range(6))
def test_harm_is_found_whoever_dies(begun: Begun, seed: int) -> None:
    """A candidate that fails is rolled back once."""
    crew = begun(seed=seed)
    let_die(crew, lambda: crew.stage == "rolled_back", **BAD)
    assert crew.decisions in (["rollback"], ["advance", "rollback"])
    assert crew.person.state.percents == {}


@pytest.mark.parametrize("sticky", [False, True], ids=["calls", "keys"])
@pytest.mark.parametrize("seed", range(6))
def test_each_flush_counts_once(begun: Begun, seed: int, *, sticky: bool) -> None:
    """What was used and not written down is used by the next one; what was written down is used no more."""
    crew = begun(LONG, seed=seed, sticky=sticky)
    rounds = iter(range(40))
    let_die(crew, lambda: next(rounds) == 39)
    last = crew.worker()
    crew.now += 1
    last.look(crew.now)
    last.resign(crew.now)
    assert crew.heard == crew.sent
    assert crew.log.read(0) == []


def test_a_look_that_fails_half_way_loses_nothing(begun: Begun, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same worker goes on, too, with what it had read."""
    crew = begun(LONG)
    worker = crew.worker()
    crew.second(worker)
    with monkeypatch.context() as patch:
        patch.setattr(worker._desk, "view", _raise)
        with pytest.raises(StoreUnreachable):
            crew.second(worker)
    assert not worker.leads
    crew.second(worker)
    worker.resign(crew.now)
    assert crew.heard == crew.sent


def _raise(*_: object) -> Any:
    raise StoreUnreachable("gone for a moment")


# -- people -----------------------------------------------------------------------------------------------


def test_people_are_respected_between_two_looks(begun: Begun) -> None:
    """What was counted before goes on; what they set is not set back."""
    crew = begun(QUICK.replace("bake: 3s", "bake: 8s"))
    worker = crew.worker()
    for _ in range(4):
        crew.second(worker)
    crew.person.set_weights({"boosted": 10})
    crew.second(worker)
    assert (crew.person.state.percents, crew.counted()) == ({"boosted": 10}, 4.0)
    crew.person.pause(reason="lunch")
    for _ in range(20):
        crew.second(worker)
    assert crew.decisions == []
    assert crew.counted() == 24.0
    crew.person.resume()
    crew.second(worker)
    assert crew.decisions == ["advance"]
    assert crew.person.state.percents == {"boosted": 50}


def test_a_pause_and_who_takes_over(begun: Begun) -> None:
    """Whoever leads next finds the pause, and the evidence from before it."""
    crew = begun(QUICK.replace("bake: 3s", "bake: 8s"))
    first, second = crew.worker(), crew.worker()
    for _ in range(4):
        crew.second(first)
    crew.person.pause(reason="lunch")
    first.resign(crew.now)
    decision = crew.second(second)[0]
    assert decision is not None
    assert decision.words == "paused by ann at step 1 of 2 (weight 25 %): lunch"
    assert crew.counted() == 4.0
    second.resign(crew.now)
    assert crew.heard == crew.sent


@pytest.mark.parametrize("dies", [False, True], ids=["stays", "dies"])
def test_an_edited_strategy(begun: Begun, *, dies: bool) -> None:
    """What counts as before is kept; a guardrail that counts otherwise is not healthy, whoever leads next."""
    crew = begun(LONG)
    worker = crew.worker()
    crew.until(lambda: "error_rate" in _healthy(crew), worker)
    sent, seconds = list(crew.sent), crew.counted()
    crew.person.apply(with_strategy(parsed(LONG, give_up_after="3h")))
    if dies:
        worker.resign(crew.now)
        worker = crew.worker()
    crew.second(worker, calls=1)
    assert "error_rate" in _healthy(crew)
    assert crew.counted() > seconds
    crew.person.apply(with_strategy(parsed(LONG.replace("5pp", "1pp"))))
    if dies:
        worker.resign(crew.now)
        worker = crew.worker()
    crew.second(worker, calls=1)
    assert "error_rate" not in _healthy(crew)
    worker.resign(crew.now)
    assert sum(crew.heard) < sum(sent)


def _healthy(crew: Crew) -> list[str]:
    report = crew.log.report() or {}
    return list(report.get("position", {}).get("healthy", ()))


def test_an_abort_ends_it(begun: Begun) -> None:
    """Nothing is decided any more; and a retry begins with nothing that was counted before."""
    crew = begun()
    worker = crew.worker()
    for _ in range(3):
        crew.second(worker)
    crew.person.abort()
    assert crew.second(worker) == [None]
    assert crew.log.standing().told is not None
    crew.person.retry()
    before = list(crew.sent)
    crew.second(worker)
    worker.resign(crew.now)
    assert crew.heard == [now - then for now, then in zip(crew.sent, before, strict=True)]


def test_a_person_who_is_faster(begun: Begun) -> None:
    """What somebody commits between decision and commit is looked at first."""
    crew = begun()
    worker = crew.worker()
    crew.between = lambda: crew.person.set_weights({"boosted": 1})
    crew.until(lambda: crew.between is None, worker)
    assert crew.decisions == []
    assert crew.person.state.percents == {"boosted": 1}
    crew.second(worker)
    assert crew.decisions == ["advance"]
    crew.between = lambda: crew.person.abort(reason="I saw something")
    crew.until(lambda: crew.between is None, worker)
    crew.second(worker)
    assert (crew.decisions, crew.stage) == (["advance"], "aborted")
    assert crew.person.state.champion == "logistic"


def test_two_who_decide_at_once(begun: Begun) -> None:
    """Of two decisions on one state one is made; the other one is no failure."""
    crew = begun()
    worker = crew.worker()
    decided = crew._decided
    taken: list[object] = []

    def twice(decision: Any, revision: int) -> object:
        taken.append(crew.leader.decided(decision, after_revision=revision))
        return decided(decision, revision)

    worker._decided = twice
    crew.until(lambda: taken, worker)
    assert crew.decisions == ["advance"]
    assert worker.leads


# -- stores that go away, and files that are damaged ------------------------------------------------------


def test_a_store_that_is_away_for_a_while(begun: Begun) -> None:
    """Nothing is decided while it is, and nothing is lost."""
    crew = begun(LONG)
    worker = crew.worker()
    crew.second(worker)
    away = crew.store.path.with_suffix(".away")
    place = crew.store.path.with_name(crew.store.path.name + ".d")
    for _ in range(3):
        crew.now += 1
        crew.flush()
        crew.store.path.rename(away)
        with pytest.raises(StoreUnreachable):
            worker.look(crew.now)
        away.rename(crew.store.path)
    crew.second(worker)
    worker.resign(crew.now)
    assert crew.heard == crew.sent
    assert place.exists()


def test_trouble_is_said_once_by_each(
    begun: Begun, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often the lead goes round among workers that all meet it; and who leads afterwards."""
    crew = begun(LONG)
    crew.now = 1_700_000_000.0
    workers = [crew.worker(), crew.worker()]
    tries = [0, 0]
    for index, worker in enumerate(workers):
        read = worker._desk.read

        def counted(*more: Any, index: int = index, read: Any = read) -> Any:
            tries[index] += 1
            return read(*more)

        monkeypatch.setattr(worker._desk, "read", counted)
    away = crew.store.path.with_suffix(".away")
    crew.store.path.rename(away)
    for worker in workers:
        worker.start()
    wait_until(lambda: min(tries) > 3)
    away.rename(crew.store.path)
    wait_until(lambda: crew.log.report() is not None)
    for worker in workers:
        worker.stop(10)
    said = events(capfd)
    assert len(named(said, "controller.failed")) == 2
    assert 1 <= len(named(said, "controller.leads")) <= 2


def test_evidence_that_is_locked_for_a_while(begun: Begun) -> None:
    """Whatever a backup does with the file: the next look goes on."""
    crew = begun(LONG)
    worker = crew.worker()
    worker._log = EvidenceLog(crew.store.place("screening"), patience=0.01)
    crew.second(worker)
    crew.flush()
    with closing(sqlite3.connect(crew.evidence, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreUnreachable, match=r"the evidence in .* cannot be used: database is locked"):
            worker.look(crew.now)
    crew.second(worker)
    worker.resign(crew.now)
    assert crew.heard == crew.sent


def garbage(path: Path) -> None:
    """No database."""
    path.write_bytes(b"no database at all" * 500)


def foreign(path: Path) -> None:
    """Somebody else's."""
    path.unlink()
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("CREATE TABLE flushes (seq)")
        db.execute("PRAGMA user_version = 2")


@pytest.mark.parametrize(
    ("spoil", "told"), [(garbage, "is damaged"), (foreign, "is of another program, not the evidence")]
)
def test_a_file_that_cannot_be_used(begun: Begun, spoil: Callable[[Path], None], told: str) -> None:
    """It is refused by name and put aside, and nothing changes; the try goes on with fresh evidence."""
    crew = begun()
    worker = crew.worker()
    crew.until(lambda: crew.decisions == ["advance"], worker)
    before = crew.person.state
    spoil(crew.evidence)
    with pytest.raises(StoreCorrupt, match=rf"evidence\.db {told}.*move it away"):
        worker.look(crew.now + 1)
    assert crew.person.state == before
    assert not crew.evidence.exists()
    assert len(list(crew.evidence.parent.glob("evidence.db.damaged-*"))) == 1
    crew.until(lambda: crew.stage == "done", worker)
    assert crew.decisions == FINE


def test_a_file_that_is_moved_away_while_one_leads(begun: Begun) -> None:
    """The position is that of the newest revision, and the evidence begins anew."""
    crew = begun()
    worker = crew.worker()
    crew.until(lambda: crew.decisions == ["advance"], worker)
    crew.second(worker)
    crew.evidence.unlink()
    failed = 0
    for _ in range(6):
        try:
            crew.second(worker, calls=20)
        except Conflict:
            failed += 1
    assert failed <= 1
    crew.until(lambda: crew.stage == "done", worker)
    assert crew.decisions == FINE


ODD = [
    ("calls", -5, "-5 is no count"),
    ("calls", 10**30, "is no count"),
    ("errors", math.nan, "nan is no count"),
    ("seconds", [[3, math.inf]], "inf is no count"),
    ("kind", "label", "of the kind 'label'"),
    ("revision", 99, "there is no revision 99"),
]


@pytest.mark.parametrize(("field", "value", "told"), ODD)
def test_sums_that_cannot_be(
    begun: Begun, capfd: pytest.CaptureFixture[str], field: str, value: object, told: str
) -> None:
    """They are left out and named, once; all others count, and the rollout goes on."""
    crew = begun()
    worker = crew.worker()
    crew.second(worker)
    events(capfd)
    for _ in range(3):
        crew.flush()
        ((seq, sums),) = _rows(crew, "SELECT seq, sums FROM flushes ORDER BY seq DESC LIMIT 1")
        rows = [{**row, field: value} for row in json.loads(sums)]
        crew.write("UPDATE flushes SET sums = ? WHERE seq = ?", json.dumps(rows), seq)
        crew.second(worker)
    (line,) = named(events(capfd), "evidence.unusable")
    assert told in line["problem"]
    crew.until(lambda: crew.stage == "done", worker)
    assert crew.decisions == FINE


def _rows(crew: Crew, query: str) -> list[Any]:
    with closing(sqlite3.connect(crew.evidence)) as db:
        return db.execute(query).fetchall()


def test_sums_that_break_a_test(
    begun: Begun, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of all flushes of a look only the one is left out."""
    crew = begun(LONG)
    worker = crew.worker()
    crew.second(worker)
    crew.flush(calls=77)
    real = Bench.update

    def update(bench: Bench, evidence: Evidence, *more: Any) -> Bench:
        calls = {sum(arm.calls for arm in arms.values()) for arms in evidence.arms.values()}
        if any(count % 400 for count in calls):
            raise OverflowError("too large")
        return real(bench, evidence, *more)

    monkeypatch.setattr(Bench, "update", update)
    crew.second(worker)
    worker.resign(crew.now)
    (line,) = named(events(capfd), "evidence.unusable")
    assert line["problem"] == "what a worker counted: too large"
    assert sum(crew.heard[::2]) == sum(crew.sent[::2]) - 77


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ('json_set(told, "$.format", 9)', "notes of format 9; this version knows 1"),
        ('json_set(told, "$.number", -1)', "the number of the try"),
        ('json_set(told, "$.bench.exams.error_rate.heard", 3)', "RateExam.heard was stored as int"),
        ('json_set(told, "$.bench.trial_blocks", -3)', "blocks are counted from 0"),
        ('json_set(told, "$.position.counted", -1)', "counted"),
        ('json_remove(told, "$.bench.sticky")', "sticky"),
        ('json_array("x")', "the notes of whoever led before are a list"),
    ],
)
def test_notes_that_cannot_be(
    begun: Begun, capfd: pytest.CaptureFixture[str], change: str, told: str
) -> None:
    """They are refused by name; the try goes on from its newest revision, with fresh evidence."""
    crew = begun()
    worker = crew.worker()
    crew.until(lambda: crew.decisions == ["advance"], worker)
    worker.resign(crew.now)
    crew.write(f"UPDATE standing SET told = {change}")
    crew.until(lambda: crew.stage == "done", crew.worker())
    assert crew.decisions == FINE
    (line,) = named(events(capfd), "evidence.unusable")
    assert told in line["problem"]


def test_evidence_of_other_settings(begun: Begun, capfd: pytest.CaptureFixture[str]) -> None:
    """Tests by key are none by call: when routing lost its key they begin anew, and it is said."""
    crew = begun(LONG, sticky=True)
    worker = crew.worker()
    crew.until(lambda: "error_rate" in _healthy(crew), worker)
    worker.resign(crew.now)
    crew.sticky = False
    crew.second(crew.worker(), calls=10)
    (line,) = named(events(capfd), "evidence.unusable")
    assert "the tests are of keys, and evidence is counted by calls now" in line["problem"]
    assert _healthy(crew) == []
    assert crew.person.state.running is not None


# -- clocks -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("jump", [-86_400.0, -5.0, 86_400.0, 1e9])
def test_a_clock_that_jumps(begun: Begun, jump: float) -> None:
    """It ends no bake by itself, and the rollout goes on; looks that follow count as they did."""
    crew = begun(QUICK.replace("bake: 3s", "bake: 90s"))
    worker = crew.worker()
    for _ in range(4):
        crew.second(worker)
    crew.now += jump
    crew.second(worker)
    assert crew.counted() <= 3.0 + MOST_TICK
    crew.now -= jump
    for _ in range(4):
        crew.second(worker)
    assert crew.decisions == []
    crew.until(lambda: crew.stage == "done", worker, 300, calls=60)
    assert crew.decisions == FINE


# -- what a decision meets --------------------------------------------------------------------------------


def test_a_promotion_that_is_vetoed_pauses(begun: Begun, store: SQLiteStore) -> None:
    """The try waits for a person, with the hook's reason; `resume` tries again."""
    crew = begun(card={"before_flip": 1})
    worker = crew.worker()
    with answering(store, crew.host, "the cache is cold"):
        crew.until(lambda: crew.decisions[-1:] == ["pause"], worker)
    assert crew.decisions == ["advance", "pause"]
    attempt = crew.person.state.attempt
    assert attempt is not None
    paused = attempt.position.paused
    assert paused is not None
    assert (paused.cause, paused.by) == ("refused", "evidence")
    assert "the cache is cold" in paused.reason
    for _ in range(3):
        crew.second(worker)
    assert crew.decisions == ["advance", "pause"]
    crew.person.resume(reason="it is warm now")
    with answering(store, crew.host, None):
        crew.until(lambda: crew.stage == "done", worker)
    assert crew.decisions == ["advance", "pause", "promote", "end_bake"]


@pytest.mark.parametrize("name", ["boosted", "logistic"])
def test_other_code_in_mid_try_pauses(begun: Begun, join: Join, name: str) -> None:
    """What workers serve now was not tried: a person says what comes of it."""
    crew = begun(LONG)
    worker = crew.worker()
    crew.second(worker)
    join(variants=with_digest("d2", name), spec={"strategy": parsed(LONG).plain})
    crew.second(worker)
    assert crew.decisions == ["pause"]
    attempt = crew.person.state.attempt
    assert attempt is not None
    assert attempt.position.paused is not None
    assert f"digest.{name}" in attempt.position.paused.reason
    assert "retry begins anew" in attempt.position.paused.reason


def test_a_candidate_that_is_not_ready_gets_no_more(begun: Begun, join: Join) -> None:
    """Nobody raises the traffic of what a worker that joins late cannot serve yet."""
    crew = begun()
    worker = crew.worker()
    late = join(variants=with_state("starting"), spec={"strategy": parsed(QUICK).plain})
    for _ in range(12):
        crew.second(worker)
    assert crew.decisions == []
    report = crew.log.report()
    assert report is not None
    assert any("boosted is not ready" in words for words in report["missing"])
    late.leave()
    crew.until(lambda: crew.decisions == ["advance"], worker, 3)


# -- what is evidence -------------------------------------------------------------------------------------


def test_what_was_counted_before_the_try_is_none(begun: Begun) -> None:
    """Neither a late flush of an earlier try nor one of before it began."""
    crew = begun(LONG)
    worker = crew.worker()
    crew.second(worker)
    old = crew.person.state.revision
    crew.person.abort()
    crew.person.retry()
    crew.second(worker)
    before = crew.log.report()
    for _ in range(5):
        crew.second(worker, revision=old, **BAD)
        crew.second(worker, revision=1, **BAD)
    assert crew.decisions == []
    report = crew.log.report()
    assert before is not None
    assert report is not None
    numbers = [one["guardrails"]["error_rate"]["numbers"]["trial"] for one in (before, report)]
    assert numbers[0] == numbers[1]


def test_what_other_code_did_is_none(begun: Begun, store: SQLiteStore) -> None:
    """A revision at which the candidate was granted to other code than was tried."""
    crew = begun(LONG)
    worker = crew.worker()
    crew.second(worker)
    commit = crew.leader._desk.read()
    granted = {**commit.state.granted, "boosted": "d9"}
    other = commit.state.model_copy(update={"granted": granted, "revision": commit.revision + 1})
    store.commit(commit.model_copy(update={"state": other, "parent": commit.revision}), after=commit.revision)
    for _ in range(5):
        crew.second(worker, **BAD)
    assert crew.decisions == []


def test_a_try_that_follows_at_once_is_judged_by_its_own_names(begun: Begun) -> None:
    """Who was compared at a revision is not remembered of another try."""
    crew = begun(LONG)
    worker = crew.worker()
    crew.second(worker)
    crew.person.abort()
    crew.person.retry()
    revision = crew.person.state.revision
    first = crew.person.state.attempt
    assert first is not None
    assert worker._who(revision, first.model_copy(update={"number": 1, "started": 2})) is None
    assert worker._who(revision, first) is not None


def test_the_standing_stays_bounded(begun: Begun) -> None:
    """However long a try runs, and however many revisions it makes."""
    crew = begun(LONG)
    worker = crew.worker()
    sizes = []
    for number in range(120):
        if number % 10 == 5:
            crew.person.set_weights({"boosted": 20 + number % 7})
        crew.second(worker, calls=40)
        sizes.append(len(json.dumps(crew.log.standing().told)))
    assert sizes[-1] < 1.5 * sizes[20]
    assert len(_rows(crew, "SELECT seq FROM flushes")) < 5


@pytest.mark.slow
def test_the_standing_stays_bounded_however_many_keys_there_are(begun: Begun) -> None:
    """Of more keys than are told apart those of half the hashes go, in both arms alike."""
    crew = begun(LONG, sticky=True)
    worker = crew.worker()
    sizes = []
    for _ in range(12):
        crew.second(worker, calls=15_000)
        worker.resign(crew.now)
        sizes.append(len(json.dumps(crew.log.standing().told)))
    assert max(sizes) < 10_000_000
    assert sizes[-1] < max(sizes)


@pytest.mark.parametrize("sticky", [False, True], ids=["calls", "keys"])
def test_notes_are_what_they_were(begun: Begun, *, sticky: bool) -> None:
    """Whoever takes over knows all that was known."""
    crew = begun(LONG, sticky=sticky)
    worker = crew.worker()
    for _ in range(6):
        crew.second(worker)
    worker.resign(crew.now)
    told = crew.log.standing().told
    attempt = crew.person.state.attempt
    assert attempt is not None
    assert json.loads(json.dumps(Notes.parse(told, attempt.strategy, sticky).plain)) == told
    assert Notes.parse(told, None, sticky).bench is None
    assert Notes.parse(None, None, sticky) == Notes()


# -- labels -----------------------------------------------------------------------------------------------


class Sources:
    """Labels of which each look finds some more."""

    def __init__(self) -> None:
        self.read = 0

    def begin(self, strategy: Strategy) -> dict[str, Any]:
        """They begin at 0."""
        return dict.fromkeys(strategy.guardrails, 0)

    def labels(
        self, strategy: Strategy, marks: Mapping[str, Any], now: float
    ) -> tuple[Evidence, dict[str, Any]]:
        """Return nothing, and how far it was read."""
        self.read = max(self.read, *marks.values())
        return Evidence(), {name: mark + 1 for name, mark in marks.items()}

    def gauges(self, variant: str, view: View) -> Mapping[str, float]:
        """Return none."""
        return {}


@pytest.mark.parametrize("seed", range(3))
def test_marks_of_labels_go_with_the_evidence(begun: Begun, seed: int) -> None:
    """How far labels were read is written down with what came of them."""
    sources = Sources()
    crew = begun(LONG, sources=sources, seed=seed)
    rounds = iter(range(30))
    let_die(crew, lambda: next(rounds) == 29)
    told = crew.log.standing().told
    assert told is not None
    assert 0 < told["labels"]["error_rate"] <= sources.read + 1 <= 31


def test_a_ledger_that_cannot_be_read_stops_no_try(
    begun: Begun, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """It is said, and harm that other guardrails see is found."""
    place = tmp_path / "rollouts.db.d" / "screening"
    text = QUICK + "  label.correct: {matures: 1s, required: false}\n"
    place.mkdir(parents=True, exist_ok=True)
    (place / "ledger.db").write_bytes(b"no database at all" * 500)
    crew = begun(text, sources=Late(place, {}, {}, (), "screening"))
    assert crew.store.place("screening") == place
    worker: Controller = crew.worker()
    crew.until(lambda: crew.stage == "rolled_back", worker, **BAD)
    assert crew.decisions == ["rollback"]
    assert named(events(capfd), "labels.unread")
