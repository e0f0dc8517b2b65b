"""Workers of many hosts: who lives, what they hear, and what a commit that returned means."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from bento_rollout.errors import StoreCorrupt, StoreUnreachable
from bento_rollout.feed import Feed
from bento_rollout.opening import open_state
from bento_rollout.spec import RolloutSpec
from bento_rollout.store.postgres.engine import Engine
from bento_rollout.store.postgres.presence import SharedPresence
from bento_rollout.store.postgres.store import PostgresStore
from bento_rollout.store.presence import Card
from tests.between import Between
from tests.postgres import Database, Server
from tests.states import DIGESTS, NAME, following, grow, seed, wait_until


class Host:
    """One host of a database: an engine and a folder of its own."""

    def __init__(self, url: str, folder: Path) -> None:
        self.engine = Engine(url)
        self.store = PostgresStore(self.engine, folder)
        self.presence = SharedPresence(self.store.place(NAME))

    def joined(self, lease: float = 10.0) -> Host:
        """The same, with a living worker."""
        self.presence.write(Card(self.presence.token, 1234, 1, "Screening", 0, lease=lease))
        self.presence.join()
        return self

    def pid(self) -> int:
        """The server's process at the other end of the worker's link."""
        with self.engine.lent() as db:
            query = "SELECT pid FROM pg_locks JOIN workers ON objid = number WHERE token = ? AND objsubid = 2"
            return int(db.execute(query, (self.presence.token,)).fetchone()[0])


@pytest.fixture
def hosts(database: Database, tmp_path: Path) -> Iterator[Callable[..., Host]]:
    """Makes hosts of one database."""
    made: list[Host] = []

    def make(line: Between | None = None) -> Host:
        url = (
            database.url if line is None else database.url.replace(str(database.server.port), str(line.port))
        )
        made.append(Host(url, tmp_path / f"host-{len(made)}"))
        return made[-1]

    yield make
    for host in made:
        host.presence.leave()
        host.engine.close()


def test_what_was_acknowledged_holds_on_every_host(hosts: Callable[[], Host]) -> None:
    """Once a commit has returned, each later look on every connected host finds it, without a query."""
    here, there = hosts().joined(), hosts().joined()
    newest = grow(here.store, 1)
    feed = Feed(there.store, open_state(there.store, NAME, "logistic", RolloutSpec.parse({}), DIGESTS))
    for _ in range(20):
        newest = following(newest, percent=newest.revision)
        assert here.store.commit(newest, after=newest.parent) == ()
        assert feed.table().revision == newest.revision


def test_the_living_are_seen(hosts: Callable[[], Host]) -> None:
    """A worker is seen with its card, from every host; when it has left, its card describes the service."""
    here, there = hosts(), hosts().joined()
    (card,) = here.presence.living()
    assert (card.pid, card.service) == (1234, "Screening")
    assert card.host
    there.presence.leave()
    assert here.presence.living() == []
    last = here.presence.last()
    assert last is not None
    assert last.service == "Screening"


def test_a_link_that_is_lost_is_made_anew(hosts: Callable[[], Host], database: Database) -> None:
    """A worker whose connection was ended is back at once, and a commit meanwhile waits for it."""
    here, there = hosts().joined(), hosts().joined()
    newest = grow(here.store, 1)
    database.server.run(f"SELECT pg_terminate_backend({there.pid()})")
    began = time.monotonic()
    assert here.store.commit(following(newest), after=1) == ()
    assert there.store.beacon(NAME).news.revision == 2
    assert time.monotonic() - began < 5
    wait_until(lambda: len(here.presence.living()) == 2)


def test_a_lost_notification_is_healed(hosts: Callable[[], Host], database: Database) -> None:
    """What no notification told is found within a second or so."""
    there = hosts().joined()
    grow(there.store, 1)
    state = "replace(state, '\"revision\":1', '\"revision\":2')"
    row = f"name, revision + 1, revision, time, author, action, reason, {state}"
    database.run(f"INSERT INTO bento_rollout.revisions SELECT {row} FROM bento_rollout.revisions")
    wait_until(lambda: there.store.beacon(NAME).news.revision == 2, 3.0)


def test_pokes_reach_every_host(hosts: Callable[[], Host]) -> None:
    """A poke changes the token on every host, and no revision."""
    here, there = hosts().joined(), hosts().joined()
    grow(here.store, 1)
    token = there.store.beacon(NAME).token()
    here.store.beacon(NAME).poke()
    wait_until(lambda: there.store.beacon(NAME).token() != token)
    assert there.store.beacon(NAME).news.revision == 1


def test_a_row_that_was_removed_comes_back(hosts: Callable[[], Host], database: Database) -> None:
    """Somebody who removes a worker's row only makes it write another one, with its card."""
    here, _ = hosts(), hosts().joined()
    database.run("DELETE FROM bento_rollout.workers")
    wait_until(lambda: [card.pid for card in here.presence.living()] == [1234])


@pytest.mark.parametrize(
    ("on_stale", "then"),
    [("serve", "revision 1"), ("champion", "only the champion of revision 1"), ("refuse", "nobody: .*503")],
)
def test_a_silent_worker_is_named(
    hosts: Callable[[], Host], database: Database, on_stale: str, then: str
) -> None:
    """A commit waits for a worker that cannot be reached until its lease is over, and says who it is."""
    here = hosts()
    newest = grow(here.store, 1)
    silent(database, lease=1.5, on_stale=on_stale)
    began = time.monotonic()
    (told,) = here.store.commit(following(newest), after=1)
    assert 1.2 < time.monotonic() - began < 5
    assert re.fullmatch(
        rf"could not reach worker 77 on far, silent for \d s: until .* it serves {then}", told
    )
    silent(database, lease=60, on_stale=on_stale)
    began = time.monotonic()
    back = following(following(newest)).model_copy(update={"action": "rollback"})
    (told,) = here.store.commit(back, after=2)
    assert 0.4 < time.monotonic() - began < 2
    assert "until it is connected again it serves revision 1" in told
    silent(database, lease=60, on_stale=on_stale, ago=5)
    assert [(one.pid, one.host, one.over) for one in here.presence.silent()] == [(77, "far", False)]


def test_the_dead_are_forgotten_and_the_hurried_wait_for_the_living(
    hosts: Callable[[], Host], database: Database
) -> None:
    """Who was lost long ago is no longer told of; a rollback still holds for all who are connected."""
    here, there = hosts(), hosts().joined()
    newest = grow(here.store, 1)
    silent(database, lease=1, on_stale="serve", ago=700)
    assert here.presence.silent() == []
    back = following(newest).model_copy(update={"action": "rollback"})
    assert here.store.commit(back, after=1) == ()
    assert there.store.beacon(NAME).news.revision == 2


def silent(database: Database, *, lease: float, on_stale: str, ago: float = 0.0) -> None:
    """Let there be a worker that has just given, or gave long ago, its last sign of life."""
    card = json.dumps({"pid": 77, "lease": lease, "on_stale": on_stale})
    database.run(
        "INSERT INTO bento_rollout.workers (rollout, token, host, card, seen, contacted) "
        f"VALUES ('{NAME}', '77-x', 'far', '{card}', 1, extract(epoch FROM clock_timestamp()) - {ago}) "
        "ON CONFLICT (token) DO UPDATE SET card = excluded.card, contacted = excluded.contacted"
    )


def test_a_server_that_hangs_is_left(hosts: Callable[[], Host], database: Database) -> None:
    """A statement that gets no answer in time ends the connection, whatever hangs in between."""
    with closing(hosts().engine.alone()) as raw:
        raw.patience = 0.3
        began = time.monotonic()
        with pytest.raises(psycopg.OperationalError, match="no answer within"):
            raw.execute("SELECT pg_sleep(20)")
        assert time.monotonic() - began < 5


def test_a_host_that_is_cut_off(hosts: Callable[..., Host], database: Database) -> None:
    """A commit waits no longer than the lease of a host that is cut off, names it, and reaches it later."""
    line = Between(database.server.port)
    here, there = hosts().joined(), hosts(line).joined(lease=1.5)
    newest = grow(here.store, 1)
    line.cut()
    began = time.monotonic()
    (told,) = here.store.commit(following(newest), after=1)
    assert time.monotonic() - began < 5
    assert "worker 1234 on" in told
    assert "serves revision 1" in told
    token = there.store.beacon(NAME).token()
    assert there.store.beacon(NAME).revision_in(token) == 1
    line.mend()
    wait_until(lambda: there.store.beacon(NAME).news.revision == 2)
    assert here.store.commit(following(following(newest)), after=2) == ()
    line.close()


def test_a_lost_acknowledgement_of_the_database(hosts: Callable[..., Host], database: Database) -> None:
    """A connection that is lost while it commits: the history says whether it did."""
    here = hosts()
    newest = grow(here.store, 1)
    database.run(
        "CREATE FUNCTION bento_rollout.hang() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "IF NEW.revision = 2 THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF; RETURN NEW; END $$"
    )
    database.run(
        "CREATE CONSTRAINT TRIGGER hangs AFTER INSERT ON bento_rollout.revisions "
        "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION bento_rollout.hang()"
    )
    with pytest.raises(StoreUnreachable, match="nothing changed"):
        here.store.commit(following(newest), after=1)
    assert here.store.read(NAME) == newest


def test_a_pooler_is_refused(hosts: Callable[..., Host], database: Database) -> None:
    """What a pooler would silently swallow is refused from the start, with what to do."""
    line = Between(database.server.port, pooler=True)
    with pytest.raises(StoreUnreachable, match=r"a pooler .* answers there.* name the database itself"):
        hosts(line).store.names()
    line.close()


def test_the_urls_options_are_honoured(database: Database, tmp_path: Path) -> None:
    """What libpq reads in a URL holds: a server without TLS is refused where TLS is required."""
    for option in ("sslmode=require", "connect_timeout=2&sslmode=verify-full&sslrootcert=/nowhere"):
        store = PostgresStore(Engine(f"{database.url}?{option}"), tmp_path)
        with pytest.raises(StoreUnreachable, match=r"SSL|certificate") as caught:
            store.names()
        assert "secret-word" not in str(caught.value)


def test_without_a_database(hosts: Callable[[], Host], server: Server) -> None:
    """While the server is down a worker serves what it knows, changes are refused; afterwards all goes on."""
    here = hosts().joined()
    newest = grow(here.store, 3)
    feed = Feed(here.store, newest)
    wait_until(lambda: here.store.beacon(NAME).read_copy()[0] == newest)
    server.stop("immediate")
    try:
        with pytest.raises(StoreUnreachable, match=r"nothing changed|was lost") as caught:
            here.store.commit(following(newest), after=3)
        assert "secret-word" not in str(caught.value)
        feed.check()
        assert feed.trouble is not None
        began = time.monotonic()
        for _ in range(1000):
            assert feed.table().revision == 3
        assert time.monotonic() - began < 0.5
        cold = PostgresStore(Engine(here.engine._target), here.store.folder)
        assert open_state(cold, NAME, "logistic", RolloutSpec.parse({}), DIGESTS) == newest
    finally:
        server.start()
    wait_until(lambda: here.presence._link.problem is None)
    here.store.commit(following(newest, percent=9), after=3)
    assert feed.table().revision == 4
    feed.check()
    assert feed.trouble is None


def test_another_database_is_noticed(hosts: Callable[[], Host], database: Database) -> None:
    """A database that went back, or is another one, is refused where this host remembers more."""
    here = hosts()
    newest = grow(here.store, 3)
    here.store.beacon(NAME).keep(following(newest), here.store.identity())
    with pytest.raises(StoreCorrupt, match="went back"):
        here.store.read(NAME)
    here.store.beacon(NAME).keep(seed(), "another")
    with pytest.raises(StoreCorrupt, match="another database"):
        here.store.read(NAME)


def test_other_versions_are_refused(hosts: Callable[[], Host], database: Database) -> None:
    """Tables that are newer, older or missing are refused, with what to do."""
    for version, told in ((2, "use a newer bento_rollout"), (0, "run `bento-rollout migrate`")):
        database.run(f"UPDATE bento_rollout.meta SET value = '{version}' WHERE key = 'schema_version'")
        with pytest.raises(StoreUnreachable, match=told):
            hosts().store.names()
    database.run("DROP SCHEMA bento_rollout CASCADE")
    with pytest.raises(StoreUnreachable, match="has no tables of bento_rollout: run `bento-rollout migrate`"):
        hosts().store.names()
    with closing(hosts().engine.alone(checked=False)) as raw:
        assert raw.execute("SELECT 1").fetchone() == (1,)
