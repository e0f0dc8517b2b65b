"""What any test may ask for: a PostgreSQL server, and a place of a rollout, in a folder and in a database."""

from __future__ import annotations

from pathlib import Path

import pytest

from bento_rollout.store.place import Place
from tests.postgres import database, server, shared

__all__ = ["database", "place", "server", "shared"]


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Where a rollout lies that nobody has written to: a test that asks for it runs over both."""
    if request.param == "sqlite":
        return tmp_path / "screening"
    made: Place = request.getfixturevalue("shared")("screening")
    return made
