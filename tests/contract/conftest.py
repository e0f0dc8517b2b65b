"""Fixtures of the contract tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.contract.serving import Served, forget_numbers


@pytest.fixture(scope="module", autouse=True)
def numbers_of_its_own() -> None:
    """Let no file's services be scraped with the numbers of all files before it."""
    forget_numbers()


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
