"""The people's queue in a database of many hosts: what is there otherwise than beside a file."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from bento_rollout.errors import StoreUnreachable
from bento_rollout.reviewing import Shown
from bento_rollout.store.letterbox import Letterbox
from bento_rollout.store.place import Place, Shared
from bento_rollout.store.postgres.engine import Engine
from bento_rollout.store.postgres.migrate import migrate
from bento_rollout.store.reviews import Keep, Reviews
from bento_rollout.store.reviews_hiding import Hiding
from bento_rollout.store.seal import VARIABLE
from bento_rollout.store.told import Told, ToldFile
from tests.places import busy
from tests.postgres import Database, Server
from tests.reviewed import REVIEWER, Clock, Queue, said
from tests.unit.test_reviews_model import QueueMachine

SECRET = "a very private finding"


def test_whoever_looks_enters_nothing(shared: Callable[..., Shared], database: Database) -> None:
    """A rollout that nobody was asked about is not made by asking for it."""
    place = shared()
    queue, box = Queue(place), Letterbox(place)
    box.listen([])
    assert (queue.claim("ann"), queue.reviews.list(), queue.settle(), box.next("read")) == (None, (), 0, None)
    assert Hiding(place, clock=Clock()).look("read", blind=True) == 0
    assert queue.reviews.trail.verify().whole
    assert database.run("SELECT count(*) FROM bento_rollout.rollouts") == [(0,)]
    queue.submit()
    assert database.run("SELECT name FROM bento_rollout.rollouts") == [("screening",)]


def test_hosts_share_the_queue_and_its_key(
    shared: Callable[..., Shared], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What one host sealed another one shows; a key of the environment's is another one."""
    one, other = Queue(shared()), Queue(shared())
    asked = one.submit(Keep(sealed=True), input=Shown("text", SECRET))
    claim = other.take("ann")
    assert claim.case.input == asked.input
    assert other.answer(claim, "yes").status == "done"
    assert one.reviews.decided([asked.id])[asked.id].choice == "yes"
    one.submit(Keep(sealed=True))
    key = tmp_path / "key"
    key.write_text("another one")
    key.chmod(0o600)
    monkeypatch.setenv(VARIABLE, str(key))
    with pytest.raises(StoreUnreachable, match="sealed under another key"):
        Queue(shared()).take("ann")


def test_what_is_forgotten_leaves_no_byte_in_the_tables(
    shared: Callable[..., Shared], database: Database, server: Server
) -> None:
    """Nor do the files that the server keeps them in hold any."""
    queue = Queue(shared())
    for number in range(20):
        queue.submit(input=Shown("text", f"{number} {SECRET}" * 100), prediction_id="prediction-7")
    left = queue.submit(input=Shown("text", "another finding"))
    ((oid,),) = database.run("SELECT oid FROM pg_database WHERE datname = current_database()")

    def stored() -> bytes:
        database.run("CHECKPOINT")
        return b"".join(path.read_bytes() for path in (server.data / "base" / str(oid)).iterdir())

    assert b"prediction-7" in stored()
    assert queue.reviews.forget(["prediction-7"]) == 20
    content = stored()
    assert b"prediction-7" not in content
    assert SECRET.encode() not in content
    assert left.id.encode() in content


def test_a_role_that_owns_nothing_does_all_the_work(
    shared: Callable[..., Shared], database: Database, server: Server
) -> None:
    """It takes, answers and forgets, and cannot write the trail anew."""
    database.run("CREATE ROLE clerk LOGIN")
    try:
        migrate(shared().engine, grant="clerk")
        engine = Engine(server.url(database.name, "clerk"))
        place = Shared(engine, "screening", shared().folder)
        queue = Queue(place)
        Letterbox(place).listen(["read"])
        one, other = queue.submit(Keep(sealed=True), suggestion=said()), queue.submit()
        queue.answer(queue.take("ann"), "yes")
        assert queue.reviews.forget([other.prediction_id]) == 1
        assert queue.acts(one)[-1] == ("ann", "decided")
        assert queue.reviews.trail.verify().whole
        with engine.lent(place.schema("reviews")) as db:
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                db.execute("DELETE FROM trail")
            with pytest.raises(sqlite3.OperationalError, match="must be owner"):
                db.execute("DROP TRIGGER trail_remains ON trail")
        engine.close()
    finally:
        database.run("DROP OWNED BY clerk")
        database.run("DROP ROLE clerk")


def test_a_writer_that_stays_too_long_is_told_of(shared: Callable[..., Shared]) -> None:
    """And all goes on when it is done; who reads does not wait."""
    place = shared()
    queue = Queue(place)
    queue.submit()
    hasty = Reviews(shared(), rollout="screening", patience=0.05)
    with busy(place, "reviews"):
        with pytest.raises(StoreUnreachable, match=r"postgresql://.*reviews of screening.*locked.*try again"):
            hasty.claim("ann", roles=REVIEWER)
        assert hasty.open("read") == 1
    assert hasty.claim("ann", roles=REVIEWER) is not None


def test_it_is_remembered_how_far_receivers_were_told(place: Place) -> None:
    """By a file of the host, or for all hosts; what was never written is nothing."""
    file, told = ToldFile(place), Told(7, 1.5, {"a webhook": 5, "": 7})
    assert file.read() == Told()
    file.write(Told(6, 1.0, {}))
    file.write(told)
    assert ToldFile(place).read() == told


def test_what_cannot_be_read_is_nothing_and_what_cannot_be_written_is_not_kept(tmp_path: Path) -> None:
    """Where there is no database, the next leader tells some of it once more."""
    file = ToldFile(Shared(Engine("postgresql://nobody@127.0.0.1:1/none"), "screening", tmp_path))
    file.write(Told(6, 1.0, {}))
    assert file.read() == Told()


def test_any_order_of_acts_does_what_a_plain_model_does(home: Engine, tmp_path: Path) -> None:
    """As in a file: several people, and the clock."""
    names = iter(range(1000))

    class Machine(QueueMachine):
        def place(self) -> Place:
            return Shared(home, f"machine-{next(names)}", tmp_path)

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=5,
            stateful_step_count=15,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
