"""What any test may ask for: a PostgreSQL server, and a place of a rollout, in a folder and in a database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from bento_rollout.store import RolloutStore
from bento_rollout.store.place import Place, Shared
from bento_rollout.store.postgres.engine import Engine
from bento_rollout.store.postgres.store import PostgresStore
from bento_rollout.store.sqlite import SQLiteStore
from tests.postgres import Server, database, emptied, reused, server, shared

__all__ = ["database", "emptied", "home", "hosted", "opener", "place", "reused", "server", "shared"]


_NUMBERS = count(1)


@pytest.fixture(scope="session")
def home(server: Server) -> Iterator[Engine]:
    """A database with our tables that many tests use, each for a rollout of its own: that costs little."""
    server.run("CREATE DATABASE home TEMPLATE made")
    engine = Engine(server.url("home"))
    yield engine
    engine.close()


@pytest.fixture
def hosted(home: Engine, tmp_path: Path) -> Shared:
    """A rollout in a database, which nobody has written to."""
    name = f"screening-{next(_NUMBERS)}"
    return Shared(home, name, tmp_path / name)


@pytest.fixture(params=["sqlite", "postgresql"])
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], RolloutStore]:
    """Opens one store, which holds nothing yet, as another process would: of each kind that services have."""
    if request.param == "sqlite":
        return lambda: SQLiteStore(tmp_path / "home" / "rollouts.db", create=True)
    url = request.getfixturevalue("emptied")
    return lambda: PostgresStore(Engine(url), tmp_path / "copies")


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Where a rollout lies that nobody has written to: a test that asks for it runs over both."""
    if request.param == "sqlite":
        return tmp_path / "screening"
    made: Shared = request.getfixturevalue("hosted")
    return made
