"""Fixtures of the contract tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.contract.serving import Served


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Served]]:
    """Start services in this process, each with a store of its own, and stop them at the end."""
    with ExitStack() as stack:
        count = 0

        def begin(service: Any, *, store: str | None = None) -> Served:
            nonlocal count
            count += 1
            monkeypatch.setenv(
                "BENTO_ROLLOUT_STORE", f"sqlite:///{tmp_path / (store or f'store-{count}.db')}"
            )
            served = Served(service).start()
            stack.callback(served.stop)
            return served

        yield begin
