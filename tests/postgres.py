"""A real PostgreSQL server for the tests, and a fresh database with our tables for each of them.

`tests/conftest.py` brings the fixtures to every test.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import psycopg
import pytest

from bento_rollout.store.place import Shared
from bento_rollout.store.postgres.engine import Engine
from bento_rollout.store.postgres.migrate import migrate

__all__ = ["Database", "Server", "database", "emptied", "reused", "running", "server", "shared"]

_NUMBERS = count(1)


@dataclass
class Server:
    """A PostgreSQL server of its own, on a port of its own, that trusts everybody on this host."""

    binaries: Path
    data: Path
    port: int
    durable: bool = False

    def url(self, name: str, user: str = "postgres") -> str:
        """The URL of one of its databases."""
        return f"postgresql://{user}:secret-word@127.0.0.1:{self.port}/{name}"

    def start(self) -> None:
        """Start it; it answers when this returns."""
        options = (
            f"-p {self.port} -c listen_addresses=127.0.0.1,127.0.0.7 -c unix_socket_directories={self.data}"
        )
        fast = "" if self.durable else "-c fsync=off -c full_page_writes=off"
        self._ctl(
            "start", "-w", "-l", str(self.data / "log"), "-o", f"{options} -c max_connections=200 {fast}"
        )

    def stop(self, mode: str = "fast") -> None:
        """Stop it: ``fast`` ends every session, ``immediate`` is as good as a crash."""
        self._ctl("stop", "-w", "-m", mode)

    def run(self, sql: str, name: str = "postgres") -> list[tuple[object, ...]]:
        """Run one statement as its owner, and return what it found."""
        with psycopg.connect(self.url(name), autocommit=True) as db:
            cursor = db.execute(sql.encode())
            return cursor.fetchall() if cursor.description else []

    def _ctl(self, *arguments: str) -> None:
        as_its_user([str(self.binaries / "pg_ctl"), "-D", str(self.data), *arguments])


@dataclass
class Database:
    """A fresh database with our tables."""

    server: Server
    name: str
    url: str

    def run(self, sql: str) -> list[tuple[object, ...]]:
        """Run one statement as the server's owner, and return what it found."""
        return self.server.run(sql, self.name)


def as_its_user(command: list[str]) -> None:
    """Run a command as the user that the server runs as: never root."""
    user = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.getuid() == 0 else {}
    done = subprocess.run(  # type: ignore[call-overload]  # the fields are right for `run`
        command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd="/", **user
    )
    assert done.returncode == 0, done.stderr.decode()


def _binaries() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    if os.environ.get("CI"):
        pytest.fail("CI runs the tests of PostgreSQL: install the package `postgresql`")
    pytest.skip("PostgreSQL's server is not installed (Debian: postgresql)")


@contextmanager
def running(*, durable: bool = False) -> Iterator[Server]:
    """Run a server until the block ends; its database ``made`` has our tables.

    Args:
        durable: whether commits wait for the disk, as they do by default; tests have no time for it.
    """
    binaries = _binaries()
    data = Path(tempfile.mkdtemp(prefix="bento-rollout-pg-"))
    if os.getuid() == 0:
        owner = pwd.getpwnam("postgres")
        os.chown(data, owner.pw_uid, owner.pw_gid)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    made = Server(binaries, data, port, durable)
    options = ["-A", "trust", "-U", "postgres", "-E", "UTF8", "--no-sync"]
    try:
        as_its_user([str(binaries / "initdb"), "-D", str(data), *options])
        made.start()
        made.run("CREATE DATABASE made")
        engine = Engine(made.url("made"))
        migrate(engine)
        engine.close()
        yield made
        made.stop("immediate")
    finally:
        shutil.rmtree(data, ignore_errors=True)


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A server that lives as long as the tests of this process; its database ``made`` has our tables."""
    with running() as made:
        yield made


@pytest.fixture
def database(server: Server) -> Iterator[Database]:
    """A fresh database with our tables."""
    name = f"test_{next(_NUMBERS)}"
    server.run(f"CREATE DATABASE {name} TEMPLATE made")
    yield Database(server, name, server.url(name))
    server.run(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def reused(server: Server) -> Database:
    """A database with our tables for many tests, one after the other."""
    server.run("CREATE DATABASE reused TEMPLATE made")
    return Database(server, "reused", server.url("reused"))


@pytest.fixture
def emptied(reused: Database) -> str:
    """The URL, which nobody had before, of a database whose tables hold nothing; quicker than a new one."""
    tables = "revisions, workers, services, proposals, votes, afters, told, secrets, keepsakes, delivered"
    listed = ", ".join(f"bento_rollout.{table}" for table in tables.split(", "))
    renamed = "UPDATE bento_rollout.rollouts SET name = 'old-' || number"
    reused.run(f"SET session_replication_role = replica; TRUNCATE {listed}; {renamed}")
    return f"{reused.url}?application_name=test-{next(_NUMBERS)}"


@pytest.fixture
def shared(database: Database, tmp_path: Path) -> Iterator[Callable[..., Shared]]:
    """Makes the place of a rollout in a fresh database, each time with an engine of its own."""
    engines: list[Engine] = []

    def make(name: str = "screening") -> Shared:
        engines.append(Engine(database.url))
        return Shared(engines[-1], name, tmp_path / f"host-{len(engines)}" / name)

    yield make
    for engine in engines:
        engine.close()
