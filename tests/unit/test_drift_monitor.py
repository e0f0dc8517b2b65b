"""The owner of the watch for drift: what it reads, keeps, finds and does, whatever ends meanwhile."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from bento_rollout.alarms import Alarm
from bento_rollout.concept import ConceptRules
from bento_rollout.concept_watch import ConceptSettings
from bento_rollout.degrees import Degree
from bento_rollout.drift import Reference
from bento_rollout.drift_acts import Acts
from bento_rollout.drift_monitor import LONGEST
from bento_rollout.drift_watch import DATA, DataRules
from bento_rollout.errors import InvalidValue, StoreCorrupt, StoreUnreachable
from bento_rollout.ladder import Certificate, Ladder
from bento_rollout.standing import degree_of
from bento_rollout.state import RolloutState
from bento_rollout.store.drift_file import DriftFile
from bento_rollout.telemetry import log
from bento_rollout.telemetry.rendering import Line
from tests.drift_host import RULES, Host, made_host
from tests.drift_rows import ENDPOINT, count, draw, judge, odd, write


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """A host with one rollout."""
    return made_host(tmp_path, monkeypatch)


def alarm(host: Host) -> Alarm:
    """Return the alarm that is latched."""
    (found,) = host.file.alarms(latched=True)
    return found


def test_quiet_rows_are_counted_and_raise_no_alarm(host: Host) -> None:
    """Quiet rows are counted and raise no alarm."""
    worker = host.worker()
    worker.look(host.now)
    write(host.place, draw(700, 1), host.of)
    host.settle(worker)
    data, schema = host.file.levels()
    assert (data.test, data.rows, schema.test) == ("data", 700, "schema")
    assert host.file.alarms() == ()
    assert not host.rollout().state.paused


def test_a_shift_is_found_acted_on_and_told_once(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    """A shift is found acted on and told once."""
    worker = host.worker()
    worker.look(host.now)
    write(host.place, draw(300, 1), host.of)
    write(host.place, draw(400, 2, shift=2.0), host.of, start=300)
    host.settle(worker)
    found = alarm(host)
    assert found.features[0].name == "feature_1"
    assert found.features[0].direction == "higher"
    assert found.acting[0] == "feature_1"
    assert "feature_1 is higher" in found.words
    assert 280 <= (found.features[0].since_row or 0) <= 330
    state = host.rollout().state
    newest = host.rollout().history(1)[0]
    assert state.paused
    assert newest.author == "drift"
    assert found.mark in newest.reason
    assert found.state == "acted"
    assert found.acts["pause"] == f"paused in revision {state.revision}"
    host.settle(worker)
    assert host.rollout().state.revision == state.revision


def test_what_is_large_is_written_rarely_and_what_is_found_at_once(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows wait to be written, no more than `LONGEST`, and count once; an alarm does not wait."""
    monkeypatch.setattr("bento_rollout.drift_monitor.PACE", 1)
    worker = host.worker()
    worker.look(host.now)
    write(host.place, draw(100, 1), host.of)
    worker.look(host.now + LONGEST)
    assert host.file.levels()[0].rows == 100
    write(host.place, draw(100, 2), host.of, start=100)
    worker.look(host.now + LONGEST + 1)
    assert host.file.levels()[0].rows == 100
    assert worker._taken == {"data": {"tested": 100}}
    worker.look(host.now + 2 * LONGEST)
    assert host.file.levels()[0].rows == 200
    assert worker._taken == {"data": {"tested": 200}}
    write(host.place, draw(100, 3), host.of, start=200)
    worker.look(1.0)  # the clock went backwards
    assert host.file.levels()[0].rows == 300
    write(host.place, draw(200, 4, shift=3.0), host.of, start=300)
    worker.look(2.0)
    assert host.file.levels()[0].rows == 500
    assert alarm(host).features[0].name == "feature_1"


def test_a_verb_wins_over_rows_that_wait_to_be_written(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """A person who rebases begins from what was written; the rest is read again, and counts once."""
    monkeypatch.setattr("bento_rollout.drift_monitor.PACE", 1)
    worker = host.worker()
    worker.look(host.now)
    write(host.place, draw(150, 1), host.of)
    worker.look(host.now + LONGEST)
    write(host.place, draw(100, 2), host.of, start=150)
    worker.look(host.now + LONGEST + 1)
    host.rollout().drift.rebase(rows=150)
    for later in range(3):
        worker.look(host.now + LONGEST * (3 + 2 * later))
    data = host.file.levels()[0]
    assert (data.epoch, data.rows) == (2, 100)
    assert worker._taken == {"data": {"tested": 250}}
    assert host.rollout().drift.replay()["tests"]["data"]["same"] is True


def test_what_came_before_the_watch_is_none_of_it(host: Host) -> None:
    """What came before the watch is none of it."""
    write(host.place, draw(500, 1, shift=5.0), host.of)
    worker = host.worker()
    host.settle(worker)
    assert host.file.levels()[0].rows == 0


def test_a_new_owner_goes_on_where_the_last_one_was_killed(host: Host) -> None:
    """A new owner goes on where the last one was killed."""
    first = host.worker()
    first.look(host.now)
    write(host.place, draw(500, 1), host.of)
    host.settle(first)
    first._leadership.resign()  # as the kernel does it for one that was killed: nothing is written down
    write(host.place, draw(500, 2), host.of, start=500)
    second = host.worker()
    host.settle(second)
    (data, *_) = host.file.levels()
    alone = reference_evidence(host, 500, 500)
    assert data.rows == 1000
    assert data.log_evidence == pytest.approx(alone, abs=1e-9)


def reference_evidence(host: Host, *counts: int) -> float:
    """The evidence of draws 1, 2, … in one go."""
    from bento_rollout.drift import DriftTest

    test = DriftTest.of(host.of, alpha=RULES.alpha, seed=RULES.seed)
    for seed, rows in enumerate(counts, 1):
        test = test.update(draw(rows, seed))
    return test.log_evidence


class Dying(Acts):
    """Acts of a worker that is killed after the act, before it is noted."""

    def do(self, act: str, alarm: Alarm) -> str | None:
        super().do(act, alarm)
        raise KeyboardInterrupt


@pytest.mark.parametrize("resumed", [False, True])
def test_an_owner_killed_between_act_and_note_acts_once(host: Host, resumed: bool) -> None:
    """An owner killed between act and note acts once."""
    worker = host.worker(Dying(host.rollout("drift"), ("pause",), None))
    worker.look(host.now)
    write(host.place, draw(400, 2, shift=2.0), host.of)
    for _ in range(2):  # the log line, then the pause
        with pytest.raises(KeyboardInterrupt):
            host.settle(worker)
        host.file.change(alarm(host).id, lambda one: one.did("log", "written"))
        worker.resign()
    paused = host.rollout().state
    assert paused.paused
    assert "pause" not in alarm(host).acts
    if resumed:
        host.rollout().resume(reason="I know")
    host.settle(host.worker())
    assert alarm(host).acts["pause"] == f"paused in revision {paused.revision}"
    assert host.rollout().state.paused is not resumed
    assert [one.author for one in host.rollout().history()].count("drift") == 1


def test_an_alarms_line_is_noted_when_it_is_written(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a worker that serves a thread writes lines: one that is killed meanwhile has noted nothing."""
    written: list[str] = []

    def slowly(lines: Sequence[Line]) -> None:
        time.sleep(0.1)
        written.extend(line.name for line in lines)

    def change(file: DriftFile, id_: str, change: Callable[[Alarm], Alarm]) -> Alarm:
        assert "drift.alarm" in written
        return noted(file, id_, change)

    noted = DriftFile.change
    monkeypatch.setattr(log.WRITER, "_write", slowly)
    monkeypatch.setattr(DriftFile, "change", change)
    log.WRITER.serve()
    try:
        worker = host.worker()
        worker.look(host.now)
        write(host.place, draw(400, 2, shift=2.0), host.of)
        host.settle(worker)
    finally:
        assert log.WRITER.end(10.0)
    assert alarm(host).acts["log"] == "written"


def test_an_alarm_that_is_certain_and_small_does_nothing_by_itself(host: Host) -> None:
    """An alarm that is certain and small does nothing by itself."""
    host.rules = DataRules(ENDPOINT, psi=10.0)
    worker = host.worker()
    worker.look(host.now)
    write(host.place, draw(400, 2, shift=2.0), host.of)
    host.settle(worker)
    assert alarm(host).acting == ()
    assert alarm(host).state == "new"
    assert not host.rollout().state.paused


def test_rows_that_are_built_otherwise_are_an_alarm_of_their_own(host: Host) -> None:
    """Rows that are built otherwise are an alarm of their own."""
    worker = host.worker()
    worker.look(host.now)
    write(host.place, draw(10, 1), host.of)
    odd(host.place, host.of, "lost", "feature_2", 3)
    odd(host.place, host.of, "category", "feature_0", 2)
    host.settle(worker)
    found = alarm(host)
    assert (found.test, found.kind, found.names) == ("schema", "schema", ("feature_2",))
    assert not host.rollout().state.paused


def test_calls_that_were_refused_are_counted_once(host: Host) -> None:
    """The ledger's writers count them; status tells how many there were in the epoch, metrics each once."""
    worker = host.worker()
    write(host.place, draw(1, 1), host.of)
    count(host.place, "drift_refused", 2)
    worker.look(host.now)
    count(host.place, "drift_refused", 3)
    count(host.place, "drift_left_out", 500)
    host.settle(worker)
    schema = host.rollout().drift.status()["tests"]["schema"]
    assert (schema["refused"], schema["left_out"]) == (3, 500)
    assert worker._taken["schema"] == {"refused": 3, "left_out": 500}
    worker.resign()
    count(host.place, "drift_refused", 1)
    other = host.worker()
    host.settle(other)
    assert other._taken["schema"] == {"refused": 1}
    assert host.file.levels()[1].told["refused"] == 4


def test_no_watch_starves_another(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """While losses have much before them, rows and their form are read as well, in each look."""
    monkeypatch.setattr("bento_rollout.drift_monitor.BUDGET", 0.0)
    monkeypatch.setattr("bento_rollout.concept_watch.MOST", 10)
    host.losses = ConceptSettings(ENDPOINT, "label", 0.0, ConceptRules())
    worker = host.worker()
    worker.look(host.now)
    judge(host.place, [False] * 50, time=1.0)
    write(host.place, draw(50, 1), host.of, start=50, time=1.0)
    odd(host.place, host.of, "lost", "feature_2", 3)
    assert worker.look(host.now + 1)
    assert {one.test: one.rows for one in host.file.levels()}["data"] == 50
    assert alarm(host).test == "schema"


def test_only_one_worker_of_a_host_watches(host: Host) -> None:
    """Only one worker of a host watches."""
    first, second = host.worker(), host.worker()
    first.look(host.now)
    second.look(host.now)
    assert first.owns
    assert not second.owns
    first.resign()
    second.look(host.now)
    assert second.owns


def test_another_reference_begins_another_epoch_and_ends_the_alarm(host: Host) -> None:
    """Another reference begins another epoch and ends the alarm."""
    worker = host.worker()
    worker.look(host.now)
    write(host.place, draw(400, 2, shift=2.0), host.of)
    host.settle(worker)
    old = alarm(host)
    worker.resign()
    host.of = Reference.fit(draw(2000, 9), seed=5)
    again = host.worker()
    host.settle(again)
    (ended,) = host.file.alarms()
    assert (ended.id, ended.state) == (old.id, "replaced")
    assert "the reference has changed" in ended.note
    assert host.file.levels()[0].epoch == 2
    write(host.place, draw(400, 3, shift=2.0), host.of, start=400)
    host.settle(again)
    assert alarm(host).epoch == 2


def test_rows_of_another_reference_are_counted_and_left_out(host: Host) -> None:
    """Rows of another reference are counted and left out."""
    worker = host.worker()
    worker.look(host.now)
    write(host.place, draw(50, 2, shift=9.0), Reference.fit(draw(2000, 9), seed=5))
    host.settle(worker)
    assert host.file.levels()[0].rows == 0
    assert worker._taken[DATA] == {"other_reference": 50}


def test_a_reference_that_is_missing_is_said_and_looked_for_again(host: Host) -> None:
    """A reference that is missing is said and looked for again."""
    found: list[Reference | InvalidValue | None] = [InvalidValue("x.json: there is no such file")]

    def look() -> Reference | None:
        if isinstance(found[0], Exception):
            raise found[0]
        return found[0]

    worker = host.worker(reference=look)
    worker.look(host.now)
    assert "there is no such file" in host.file.facts()["problem"]
    found[0] = None
    worker.look(host.now)
    assert "is not there" in host.file.facts()["problem"]
    found[0] = host.of
    worker.look(host.now)
    assert "problem" not in host.file.facts()
    assert host.file.reference(host.of.digest) == host.of.to_json()


def test_a_damaged_file_is_set_aside_and_the_watch_begins_anew(host: Host) -> None:
    """A damaged file is set aside and the watch begins anew."""
    worker = host.worker()
    worker.look(host.now)
    write(host.place, draw(50, 2), host.of)
    host.settle(worker)
    worker.resign()
    content = bytearray(host.drift.read_bytes())
    content[100:9000] = b"\xff" * 8900
    host.drift.write_bytes(content)
    with pytest.raises(StoreCorrupt):
        worker.look(host.now)
    host.settle(worker)
    assert host.file.levels()[0].rows == 0
    assert list(host.drift.parent.glob("drift.db.damaged-*"))


def test_a_locked_file_costs_a_look_and_no_row(host: Host) -> None:
    """A locked file costs a look and no row."""
    worker = host.worker()
    worker.look(host.now)
    write(host.place, draw(50, 1), host.of)
    worker._file = DriftFile(host.place, patience=0.05)
    db = sqlite3.connect(host.drift, isolation_level=None)
    db.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreUnreachable, match="locked"):
        worker.look(host.now)
    db.close()
    host.settle(worker)
    assert host.file.levels()[0].rows == 50


def test_an_alarm_demotes_the_model_that_decides_once(host: Host) -> None:
    """Its certificate is revoked, as when audits refute it; a person who raises it anew is not overruled."""
    rolled = host.rollout()
    ladder = Ladder.parse({"degree": 3, "max_degree": 5, "target_error": 0.05})
    certificate = Certificate(
        digest="one", variant="a", threshold=0.9, target_error=0.05, confidence=0.95, labels=400,
        accepted=300, errors=1, coverage=0.9, full=True, at=1.0, author="ann",
    )  # fmt: skip
    rolled._desk.change("x", lambda state, _: state.taken_up({ENDPOINT: ladder}, 1.0), "", None)
    rolled._desk.change("x", lambda state, _: state.certify(ENDPOINT, certificate), "", None)

    def raised(state: RolloutState, _: object) -> RolloutState:
        return state.set_degree(ENDPOINT, Degree.FULL, "ann", ladder, "", at=2.0)

    rolled._desk.change("degree", raised, "", None)
    assert degree_of(rolled.state, ENDPOINT) is Degree.FULL
    host.wanted_acts = ("demote",)
    worker = host.worker()
    worker.look(host.now)
    write(host.place, draw(400, 2, shift=2.0), host.of)
    host.settle(worker)
    state = rolled.state
    assert degree_of(state, ENDPOINT) is Degree.SHADOW
    assert alarm(host).acts["demote"] == f"demoted a in revision {state.revision}"
    assert not state.paused
    again = Acts(host.rollout("drift"), ("demote",), None)
    assert again.do("demote", alarm(host)) == alarm(host).acts["demote"]
    assert rolled.state.revision == state.revision
