"""A real server with a PostgreSQL database as its store: changes, hooks, and times without it."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bento_rollout.errors import StoreUnreachable, Vetoed
from tests.integration.running import ROOT, Server, fresh, serving, until
from tests.postgres import Server as Postgres

pytestmark = [pytest.mark.server, pytest.mark.fault]

TARGET, WORKERS = "tests.integration.apps.pair:Pair", 2


@pytest.fixture(scope="module")
def pair(server: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The service `pair` with hooks and two workers, over a database."""
    folder = fresh(tmp_path_factory.mktemp("served"))
    server.run("CREATE DATABASE served TEMPLATE made")
    environment = {"PAIR_HOOKS": str(folder), "PAIR_WORKERS": str(WORKERS)}
    options = {"rollout": "pair", "workers": WORKERS, "database": server.url("served")}
    with serving(TARGET, folder, environment=environment, **options) as made:
        yield made.ready()
        assert "secret-word" not in made.said


def ask(pair: Server, times: int = 1) -> set[str]:
    """The variants that answered a few requests, on connections of their own: any worker."""
    return {answered(pair) for _ in range(times)}


def answered(pair: Server) -> str:
    """The variant that answered one request."""
    connection = http.client.HTTPConnection("127.0.0.1", pair.port, timeout=10)
    try:
        connection.request("POST", "/who", "{}", {"Content-Type": "application/json"})
        response = connection.getresponse()
        assert response.status == http.client.OK, response.read()
        return str(response.headers["X-Rollout-Variant"])
    finally:
        connection.close()


def alive(pair: Server) -> int:
    """How many workers live; 0 in the second after a failed attempt to connect, in which none is made."""
    try:
        return len(pair.living())
    except StoreUnreachable:
        return 0


def command(pair: Server, *arguments: str) -> tuple[int, str]:
    """Run one command of the CLI on this host; return exit code and everything it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "bento_rollout.cli", *arguments],
        cwd=ROOT,
        env=pair.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_changes_hold_at_once_on_every_worker(pair: Server) -> None:
    """The spec seeds the rollout; weights, flips with hooks and rollbacks hold for each later request."""
    ann = pair.operator()
    assert [row["action"] for row in ann.history_rows()] == ["seed"]
    store = ann.status()["store"]
    assert (store["kind"], store["durable"], store["binds"], store["problem"]) == (
        "postgresql",
        True,
        "cluster",
        None,
    )
    assert len(ann.status()["workers"]) == WORKERS
    for number in range(3):
        assert ann.flip("green", timeout=60).notes == ()
        assert ask(pair, 10) == {"green"}, number
        ann.rollback(reason="back")
        assert ask(pair, 10) == {"blue"}, number
    ann.set_weights({"green": 100})
    assert ask(pair, 5) == {"green"}
    ann.rollback()
    until(lambda: (pair.folder / "before.log").read_text().count("\n") == 3 * WORKERS, "hooks ran in each")
    afters = [row["after_flip"]["state"] for row in ann.history_rows() if row["action"] == "flip"]
    assert set(afters) <= {"done", "running"}


def test_a_veto_changes_nothing(pair: Server) -> None:
    """A hook that says no in any worker stops the flip."""
    (pair.folder / "draft").write_text(json.dumps({"veto": "not today"}))
    (pair.folder / "draft").rename(pair.folder / "before.json")
    before = pair.operator().state
    with pytest.raises(Vetoed, match="not today"):
        pair.operator().flip("green", timeout=60)
    (pair.folder / "before.json").unlink()
    assert pair.operator().state == before


def test_commands_of_this_host(pair: Server) -> None:
    """The command line works over the database, and shows no password."""
    code, told = command(pair, "doctor")
    assert code == 0, told
    assert "postgresql://postgres@127.0.0.1" in told
    assert "binds this cluster" in told
    assert "secret-word" not in told


def test_the_database_stops(pair: Server, server: Postgres) -> None:
    """While it is down predictions go on, changes are refused with exit code 4; afterwards all goes on."""
    ann = pair.operator()
    ann.set_weights({"green": 100})
    server.stop("immediate")
    try:
        assert ask(pair, 20) == {"green"}
        code, told = command(pair, "rollback", "pair")
        assert code == 4, told
        assert "secret-word" not in told
        with pytest.raises(StoreUnreachable):
            ann.rollback()
        until(lambda: pair.events("store.unreachable"), "the workers have noticed")
        assert ask(pair, 20) == {"green"}
    finally:
        server.start()
    until(lambda: alive(pair) == WORKERS, "the workers are back")
    assert ann.rollback().notes == ()
    assert ask(pair, 20) == {"blue"}
    until(lambda: not any(worker["trouble"] for worker in ann.status()["workers"]), "trouble is over")


def test_links_that_are_ended(pair: Server, server: Postgres) -> None:
    """Somebody ends every session of the database: no request fails, and the next flip holds."""
    ann = pair.operator()
    server.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'served'")
    assert ask(pair, 10) == {"blue"}
    until(lambda: alive(pair) == WORKERS, "the workers are back")
    assert ann.flip("green", timeout=60).notes == ()
    assert ask(pair, 20) == {"green"}
    ann.rollback()


def test_a_start_without_a_database(pair: Server, server: Postgres, tmp_path: Path) -> None:
    """A host that starts while the database is away serves what it knows, and follows once it is back."""
    ann = pair.operator()
    ann.set_weights({"green": 100})
    until(lambda: list(pair.folder.glob("rollouts.pg-*.d/pair/state.json")), "a copy is kept")
    pair.stop()
    server.stop()
    options = {"rollout": "pair", "workers": 1, "database": server.url("served")}
    home = str(pair.folder)
    environment = {"BENTOML_HOME": home, "PAIR_HOOKS": home, "PAIR_WORKERS": "1"}
    try:
        with serving(TARGET, tmp_path, environment=environment, **options) as alone:
            try:
                until(lambda: alone.asks("GET", "/readyz") == http.client.OK, "it serves", 120)
                assert ask(alone, 5) == {"green"}
            finally:
                server.start()
            until(lambda: alive(alone) == 1, "it is back")
            assert ann.rollback().notes == ()
            assert ask(alone, 5) == {"blue"}
    finally:
        server.stop("immediate")
        server.start()
