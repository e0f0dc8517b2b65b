"""A console for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.console.site import Site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Yield a console with a rollout and an empty queue."""
    made = Site(tmp_path)
    yield made
    made.presence.leave()
    made.reviews.close()
