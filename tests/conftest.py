"""What any test may ask for: a PostgreSQL server, and a place of a rollout, in a folder and in a database."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from zlib import crc32

import pytest

from bento_rollout.store import RolloutStore
from bento_rollout.store.place import Place, Shared
from bento_rollout.store.postgres.engine import Engine
from bento_rollout.store.postgres.store import PostgresStore
from bento_rollout.store.sqlite import SQLiteStore
from tests.postgres import Server, database, emptied, reused, server, shared

__all__ = ["database", "emptied", "home", "hosted", "opener", "place", "reused", "server", "shared"]


_NUMBERS = count(1)
SHORT = int(os.environ.get("TESTS_EVERY", "1")) > 1
NIGHT = os.environ.get("BENTO_ROLLOUT_TEST_NIGHTLY") == "1"
SHARES = {"unit": 6, "contract": 6}
"""Of which suites a short run takes each such case only: the main interpreter runs all of them."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is for the night, and out of a short run what another interpreter does alike.

    The latter: simulations, suites over both stores, and all but a share of the rest, always the same cases;
    what is PostgreSQL's own (`test_postgres_…`) runs on each of them, and every file is imported.
    """
    left_out = {item for item in items if not NIGHT and item.get_closest_marker("nightly") is not None}
    left_out |= {item for item in items if SHORT and _is_done_elsewhere(item)}
    if left_out:
        config.hook.pytest_deselected(items=list(left_out))
        items[:] = [item for item in items if item not in left_out]


def _is_done_elsewhere(item: pytest.Item) -> bool:
    given = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
    twice = given.get("place") == "postgres" or given.get("store") == "postgresql"
    share = SHARES.get(Path(item.fspath).parent.name, 1)
    in_share = crc32(item.nodeid.encode()) % share == 0 or "test_postgres_" in item.nodeid
    return twice or not in_share or item.get_closest_marker("simulation") is not None


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
