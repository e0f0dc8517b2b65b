"""The time without a database: what is predicted waits on this host's disk, and arrives once."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bento_rollout.errors import StoreUnreachable
from bento_rollout.spec import Ledger as Settings
from bento_rollout.store import ledger_spooling
from bento_rollout.store.hashing import FILE, KeyHash
from bento_rollout.store.ledger import Ledger
from bento_rollout.store.ledger_inserting import Batch
from bento_rollout.store.ledger_rows import INSERT_ALARM, INSERT_COUNT, INSERT_PREDICTION, INSERT_SHADOW
from bento_rollout.store.ledger_spool import Spool, left_behind
from bento_rollout.store.ledger_writer import LedgerWriter
from bento_rollout.store.place import Shared
from bento_rollout.store.postgres.engine import Engine
from bento_rollout.store.postgres.ledger_home import InDatabase
from bento_rollout.store.postgres.migrate import migrate
from bento_rollout.telemetry import log
from tests.ledgers import prediction, reply_of, said, written
from tests.postgres import Database
from tests.states import wait_until

Capture = pytest.CaptureFixture[str]
ROWS: list[Any] = [
    (0, INSERT_PREDICTION, ("a", -1, 0.5, None, "\ud800", b"\x00\xff", 1 << 40)),
    (1, INSERT_SHADOW, ("a", -1, float("inf"))),
    (1, INSERT_COUNT, ("drift_rows", 7)),
    (1, INSERT_ALARM, ("r", "kind", "feature", 1, 0.0, 0.0, "")),
]


@pytest.fixture
def away(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[bool], None]]:
    """Takes the server away, as a crash does, and brings it back."""
    monkeypatch.setattr(ledger_spooling, "PAUSE", 0.05)
    database.run(f"ALTER DATABASE {database.name} SET synchronous_commit = on")  # as it is by default
    gone = False

    def take(go: bool) -> None:
        nonlocal gone
        if go and not gone:
            database.server.stop("immediate")
        elif gone and not go:
            database.server.start()
        gone = go

    yield take
    take(False)


def events(capfd: Capture) -> list[dict[str, Any]]:
    """Return the log lines about the ledger since the last look."""
    assert log.WRITER.flush(30)
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"].startswith("ledger.")]


def spools(place: Shared) -> list[str]:
    """Return the names of what lies in this host's folder of the rollout."""
    return sorted(path.name for path in place.folder.glob("spool-*"))


# -- the file -----------------------------------------------------------------------------------------------


def test_batches_come_back_as_they_went(tmp_path: Path) -> None:
    """In their order; with the last one the files are gone, and the next one makes them anew."""
    spool = Spool(tmp_path / "new", "t")
    for number in (3, 4):
        spool.put(number, ROWS)
    assert (spool.batches, spool.facts) == (2, 4)
    assert all(path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "new").iterdir())
    assert spool.first() == (Batch("t", 3), ROWS, 2)
    spool.drop(Batch("t", 3), 2)
    assert spool.first() == (Batch("t", 4), ROWS, 2)
    spool.drop(Batch("t", 4), 2)
    assert (spool.first(), spool.facts, list((tmp_path / "new").iterdir())) == (None, 0, [])
    spool.put(5, ROWS)
    assert spool.first() == (Batch("t", 5), ROWS, 2)


def test_a_spool_is_bounded(tmp_path: Path) -> None:
    """All spools of a rollout on this host together; what was delivered makes room."""
    rows = [(0, INSERT_PREDICTION, (f"{number}" * 50, number)) for number in range(3000)]
    spools = [Spool(tmp_path, name, 300_000) for name in "ab"]
    put = 0
    with pytest.raises(StoreUnreachable, match="is full"):  # noqa: PT012 - which one is refused is not said
        for put in range(100):
            spools[put % 2].put(put, rows)
    assert put > 3
    for _ in range(2):
        batch, _, facts = spools[0].first() or (Batch("", 0), None, 0)
        spools[0].drop(batch, facts)
    spools[0].put(200, rows[:100])


def test_only_what_is_nobodys_is_taken_over(tmp_path: Path) -> None:
    """The one who lives keeps its own; a damaged batch costs no other."""
    mine, other = Spool(tmp_path, "mine"), Spool(tmp_path, "other")
    for spool in (mine, other):
        spool.put(1, ROWS)
    damaged: list[str] = []
    assert list(left_behind(tmp_path, "mine", damaged.append)) == []
    other.put(2, ROWS)
    other.close()
    with sqlite3.connect(tmp_path / "spool-other.db") as db:
        db.execute("UPDATE batches SET packed = x'00' WHERE number = 1")
    db.close()
    (tmp_path / "spool-broken.db").write_bytes(b"x" * 5000)
    (found,) = left_behind(tmp_path, "mine", damaged.append)
    assert (found.facts, found.first()) == (4, (Batch("other", 1), None, 2))
    found.drop(Batch("other", 1), 2)
    assert found.first() == (Batch("other", 2), ROWS, 2)
    with pytest.raises(StoreUnreachable, match="cannot be written"):
        other.put(3, ROWS)
    found.close()
    assert "moved to" in damaged[0]
    assert sorted(path.stem for path in tmp_path.glob("*.db")) == ["spool-mine", "spool-other"]
    assert (len(damaged), (tmp_path / "spool-broken.damaged").exists()) == (1, True)


# -- the database goes and comes ----------------------------------------------------------------------------


def test_what_is_predicted_meanwhile_arrives_once(
    shared: Callable[..., Shared], away: Callable[[bool], None], capfd: Capture
) -> None:
    """In the order in which it came, with what was odd left out; said when it begins and when it is over."""
    place = shared()
    writer = LedgerWriter(place, Settings())
    facts = [prediction() for _ in range(60)]
    for fact in facts[:20]:
        writer.offer(fact)
    assert writer.flush(30)
    away(True)
    for fact in facts[20:40]:
        writer.offer(fact)
        writer.offer(said(fact))
    odd: Any = None
    writer.offer(facts[0]._replace(prediction_id="odd", endpoint=odd))
    assert writer.flush(30)
    for fact in facts[40:]:
        writer.offer(fact)
    assert writer.flush(30)
    assert (writer.spooled, writer.lost) == (61, 0)
    with pytest.raises(StoreUnreachable):
        Ledger(place).counts()
    (line,) = events(capfd)
    assert (line["event"], line["level"]) == ("ledger.spooled", "warning")
    away(False)
    wait_until(lambda: not spools(place))
    ledger = Ledger(place)
    assert [one.prediction_id for one in ledger.tail(100)] == [fact.prediction_id for fact in facts]
    assert (ledger.counts().shadows, writer.spooled, writer.lost) == (20, 0, 1)
    wait_until(lambda: writer._spooling is not None and writer._spooling._thread is None)
    assert [(line["event"], line.get("facts")) for line in events(capfd)] == [
        ("ledger.unwritten", None),
        ("ledger.delivered", 61),
    ]
    writer.offer(prediction())  # and directly again
    assert writer.close(30)
    assert ledger.counts().predictions == 61


def test_a_worker_that_ends_leaves_its_spool(
    shared: Callable[..., Shared], away: Callable[[bool], None], capfd: Capture
) -> None:
    """To the next one, also when it was killed: that delivers it before anybody asks it anything."""
    place = shared()
    first = prediction()
    writer = LedgerWriter(place, Settings())
    writer.offer(first)
    assert writer.flush(30)
    away(True)
    writer.offer(prediction())
    assert writer.close(5)
    killed = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from bento_rollout.spec import Ledger as Settings\n"
        "from bento_rollout.store.ledger_writer import LedgerWriter\n"
        "from bento_rollout.store.place import Shared\n"
        "from bento_rollout.store.postgres.engine import Engine\n"
        "from tests.ledgers import prediction\n"
        "place = Shared(Engine(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))\n"
        "writer = LedgerWriter(place, Settings())\n"
        "for _ in range(5): writer.offer(prediction())\n"
        "assert writer.flush(30) and writer.spooled == 5\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    url = place.engine._target
    done = subprocess.run([sys.executable, "-c", killed, url, place.name, str(place.folder)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert [name for name in spools(place) if name.endswith(".db")] != []
    away(False)
    hashed = KeyHash.of_place(place)
    assert hashed is not None
    writer = LedgerWriter(place, Settings())
    wait_until(lambda: not spools(place))
    found = Ledger(place).tail()
    assert {one.key_hash for one in found} == {hashed.of("u1")}  # by the copy of the secret on this host
    assert (len(found), found[0].prediction_id, writer.lost) == (7, first.prediction_id, 0)
    assert writer.close(30)


def test_what_finds_no_room_is_lost_and_said(
    shared: Callable[..., Shared], away: Callable[[bool], None], capfd: Capture
) -> None:
    """What was kept before arrives all the same."""
    place = shared()
    writer = LedgerWriter(place, Settings(max_size=1_000_000), patience=0.1)
    writer.offer(prediction())
    assert writer.flush(30)
    away(True)
    for _ in range(10):
        for _ in range(20):
            writer.offer(prediction(reply=reply_of(b'"%s"' % os.urandom(8000).hex().encode())))
        assert writer.flush(30)
    assert 0 < writer.lost < 200
    assert sum(path.stat().st_size for path in place.folder.glob("spool-*.db")) < 1_100_000
    assert any("is full" in line["reason"] for line in events(capfd) if line["level"] == "error")
    away(False)
    wait_until(lambda: not spools(place))
    assert writer.close(30)
    assert Ledger(place).counts().predictions == 201 - writer.lost


@pytest.mark.parametrize("temporary", [True, False])
def test_a_role_that_owns_nothing_writes(
    shared: Callable[..., Shared], database: Database, tmp_path: Path, *, temporary: bool
) -> None:
    """What `migrate --grant` allows is enough, also where nobody else may make temporary tables."""
    role = f"serving_{database.name}"
    database.run(f"CREATE ROLE {role} LOGIN")
    if not temporary:
        database.run(f"REVOKE TEMPORARY ON DATABASE {database.name} FROM PUBLIC")
    owner = shared()
    migrate(owner.engine, grant=role)
    place = Shared(Engine(database.url.replace("postgres:", f"{role}:")), "screening", tmp_path / "r")
    facts = [prediction(inference_id="tx"), prediction("u2")]
    writer = written(place, *facts, said(facts[0]))
    ledger = Ledger(place)
    assert ledger.label([{"inference_id": "tx", "label": 1}]).accepted == 1
    assert [one.seq for one in ledger.tail()] == [1, 2]
    assert ledger.forget("u2").gone.predictions == 1
    assert (ledger.prune(max_size=1).predictions, writer.lost) == (1, 0)
    place.engine.close()
    database.run(f"DROP OWNED BY {role}")
    database.run(f"DROP ROLE {role}")


def test_an_answer_that_is_lost_counts_nothing_twice(
    shared: Callable[..., Shared], away: Callable[[bool], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether a batch was kept is not known when the connection ends at its end: it is sent again."""
    place = shared()
    writer = LedgerWriter(place, Settings())
    insert = InDatabase.insert
    lost: list[Any] = []

    def cut(self: InDatabase, *arguments: Any) -> None:
        insert(self, *arguments)
        if not lost:
            lost.append(arguments)
            raise sqlite3.OperationalError("the connection is lost")

    monkeypatch.setattr(InDatabase, "insert", cut)
    counted: list[Any] = [(0, INSERT_COUNT, ("drift_rows", 7))]
    monkeypatch.setattr(writer, "_watched", lambda batch: ({}, counted))
    writer.offer(prediction())
    assert writer.flush(30)
    wait_until(lambda: bool(lost) and not spools(place))
    assert writer.close(30)
    counts = Ledger(place).counts()
    assert (counts.predictions, counts.events) == (1, {"drift_rows": 7})
    seqs = [one.seq for one in Ledger(place).tail()]
    assert seqs == [1]


def test_a_host_that_knows_the_secret_needs_no_database_for_it(
    shared: Callable[..., Shared], away: Callable[[bool], None]
) -> None:
    """It is the same for all hosts; one that never knew it says what to do."""
    place, other = shared(), shared()
    away(False)
    assert KeyHash.of_place(other, environ={}) is None  # nothing was ever kept
    made = KeyHash.of_place(place, create=True, environ={})
    assert made is not None
    copy = place.folder.parent / FILE
    assert copy.stat().st_mode & 0o077 == 0
    away(True)
    again = KeyHash.of_place(place, create=True, environ={})
    assert again is not None
    assert again.of("u1") == made.of("u1")
    with pytest.raises(StoreUnreachable, match="BENTO_ROLLOUT_HASH_KEY"):
        KeyHash.of_place(other, create=True, environ={})


@pytest.mark.parametrize("reads", [False, True])
def test_a_spool_that_is_damaged_while_it_is_used(tmp_path: Path, reads: bool) -> None:
    """What was in it is lost and said so; the next batch goes into a new one."""
    spool = Spool(tmp_path, "mine")
    spool.put(1, [])
    (tmp_path / "spool-mine.db").write_bytes(b"no database" * 1000)
    if reads:
        found = spool.first()
        assert found is not None
        assert found[1] is None
    else:
        with pytest.raises(StoreUnreachable, match="it is moved to"):
            spool.put(2, [])
    assert spool.first() is None
    spool.put(3, [])
    assert spool.first() == (Batch("mine", 3), [], 0)
    spool.close()
