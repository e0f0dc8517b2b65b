"""`bento-rollout migrate`: tables are made and brought along by a person or a job, and by nobody else."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import psycopg
import pytest

from bento_rollout.cli import main
from bento_rollout.store.postgres.engine import Engine
from bento_rollout.store.postgres.store import PostgresStore
from tests.postgres import Server
from tests.states import grow

NEW = "fresh"


@pytest.fixture
def fresh(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of a database without tables, which the environment names."""
    server.run(f"CREATE DATABASE {NEW} STRATEGY FILE_COPY")
    monkeypatch.setenv("BENTO_ROLLOUT_STORE", server.url(NEW))
    yield server.url(NEW)
    server.run(f"DROP DATABASE {NEW} WITH (FORCE)")


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Run ``migrate``; return its exit code and everything that it printed."""
    code = main(["migrate", *arguments])
    out, err = capsys.readouterr()
    assert "secret-word" not in out + err
    return code, out + err


def test_from_nothing(fresh: str, server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """A dry run changes nothing; the first run makes the tables, a later one finds nothing to do."""
    assert main(["list"]) == 4
    assert "run `bento-rollout migrate`" in capsys.readouterr().err
    code, text = told(capsys, "--dry-run", "--json")
    assert (code, json.loads(text)["before"], json.loads(text)["dry_run"]) == (0, 0, True)
    assert server.run("SELECT to_regclass('bento_rollout.meta')", NEW) == [(None,)]
    assert told(capsys) == (0, f"postgresql://postgres@127.0.0.1:{server.port}/{NEW}: schema 1 was made\n")
    assert "nothing is to be done" in told(capsys)[1]
    assert main(["list"]) == 0


def test_a_role_that_is_not_there(fresh: str, server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is made where the role of `--grant` is missing: the message says so, and it is true."""
    for arguments in ((), ("--dry-run",)):
        code, text = told(capsys, "--grant", "nobody_here", *arguments)
        assert code == 4
        assert "there is no role 'nobody_here' to let in" in text
    assert server.run("SELECT to_regclass('bento_rollout.meta')", NEW) == [(None,)]


def test_doctor_says_what_it_knows(fresh: str, server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """A database that cannot be used, or is read-only, is no store without rollouts."""
    assert main(["doctor"]) == 4
    assert "the store has no rollout yet" not in capsys.readouterr().out
    assert told(capsys)[0] == 0
    assert main(["doctor"]) == 0
    assert "the store has no rollout yet" in capsys.readouterr().out
    server.run(f"ALTER DATABASE {NEW} SET default_transaction_read_only = on")
    server.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'fresh'")
    assert main(["doctor"]) == 4
    assert "can be read only" in capsys.readouterr().out


def test_jobs_at_once(fresh: str, server: Server) -> None:
    """Several jobs that migrate at once make the tables once."""
    command = [sys.executable, "-m", "bento_rollout.cli", "migrate"]
    jobs = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(3)]
    for job in jobs:
        assert job.wait(60) == 0, job.stderr and job.stderr.read()
        assert job.stderr is not None
        job.stderr.close()
    assert server.run("SELECT count(*) FROM bento_rollout.meta WHERE key = 'store_id'", NEW) == [(1,)]


def test_a_role_that_owns_nothing(fresh: str, server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """The role of `--grant` serves and operates, and can change neither tables nor the history."""
    server.run("DROP ROLE IF EXISTS serving")
    server.run("CREATE ROLE serving LOGIN")
    assert told(capsys, "--grant", "serving")[0] == 0
    engine = Engine(server.url(NEW, "serving"))
    store = PostgresStore(engine, server.data / "nowhere")
    grow(store, 3)
    for file in ("ledger", "reviews", "shadows", "evidence", "drift"):
        with engine.lent(store.place("screening").schema(file)) as db:
            db.execute("BEGIN IMMEDIATE")
            assert db.execute("SELECT count(*) FROM information_schema.tables").fetchone()[0] > 5
            db.execute("ROLLBACK")
    with psycopg.connect(server.url(NEW, "serving"), autocommit=True) as raw:
        for attempt in (
            "UPDATE bento_rollout.revisions SET author = 'x'",
            "DELETE FROM bento_rollout.meta",
            "DROP TABLE bento_rollout.revisions",
            "CREATE TABLE bento_rollout.mine (a int)",
            "INSERT INTO bento_rollout.tables_of_files VALUES ('ledger', 99, 'DROP SCHEMA bento_rollout')",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                raw.execute(attempt.encode())
    engine.close()


def test_a_newer_schema_is_left_alone(fresh: str, server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """An older version of the library changes nothing in newer tables."""
    told(capsys)
    server.run("UPDATE bento_rollout.meta SET value = '9' WHERE key = 'schema_version'", NEW)
    code, text = told(capsys)
    assert code == 4
    assert "have schema 9" in text
    assert "use a newer bento_rollout" in text


def test_sqlite_needs_none(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A store in a file brings itself along: a job may run the command whatever the store is."""
    monkeypatch.setenv("BENTO_ROLLOUT_STORE", "sqlite:////nowhere/rollouts.db")
    assert told(capsys) == (
        0,
        "sqlite:////nowhere/rollouts.db brings itself along: there is nothing to migrate\n",
    )
