"""A real store with one rollout, and live workers of it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bento_rollout.admin.tokens import Tokens
from bento_rollout.cli import main
from bento_rollout.opening import first_commit
from bento_rollout.operations import Rollout, open_rollout
from bento_rollout.spec import RolloutSpec
from bento_rollout.store.presence import Card, Presence, VariantCard
from bento_rollout.store.sqlite import SQLiteStore
from tests.unit.door import TOKEN, Door, Say

SHORT = int(os.environ.get("TESTS_EVERY", "1")) > 1
DIGESTS = {"logistic": "1" * 12, "boosted": "2" * 12, "forest": "3" * 12}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the simulations out of a short run: another interpreter draws the same."""
    left_out = [item for item in items if SHORT and item.get_closest_marker("simulation")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in set(left_out)]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SQLiteStore:
    """The store that the environment names; it knows ``screening``: champion logistic, revision 1."""
    for name in ("ADMIN_TOKEN", "ADMIN_TOKEN_FILE", "AUTHOR"):
        monkeypatch.delenv(f"BENTO_ROLLOUT_{name}", raising=False)
    monkeypatch.setenv("BENTO_ROLLOUT_STORE", f"sqlite:///{tmp_path / 'rollouts.db'}")
    monkeypatch.setenv("BENTO_ROLLOUT_SINGLE_REPLICA", "1")  # wherever the tests run
    store = SQLiteStore(tmp_path / "rollouts.db", create=True)
    store.commit(first_commit("screening", "logistic", RolloutSpec.parse({}), DIGESTS), after=0)
    return store


@pytest.fixture
def screening(store: SQLiteStore) -> Rollout:
    """The rollout ``screening`` as its operator ann sees it; nobody serves it yet."""
    return open_rollout("screening", author="ann")


@pytest.fixture
def join(store: SQLiteStore) -> Iterator[Callable[..., Presence]]:
    """Let a worker live: it holds its lock and has written its card; arguments replace fields of the card."""
    living: list[Presence] = []

    def join(**fields: object) -> Presence:
        presence = Presence(store.place("screening"))
        presence.join()
        variants = {name: VariantCard("ready", "worker", digest) for name, digest in DIGESTS.items()}
        card = Card(presence.token, 4000 + len(living), len(living) + 1, "Screening", 1, variants)
        presence.write(replace(card, **fields))  # type: ignore[arg-type]  # the test knows the fields
        living.append(presence)
        return presence

    yield join
    for presence in living:
        presence.leave()


@pytest.fixture
def door(store: SQLiteStore, capfd: pytest.CaptureFixture[str]) -> Iterator[Door]:
    """The door with one token, ``admin``; afterwards neither an answer nor the log may hold it."""
    door = Door(Tokens(TOKEN))
    yield door
    out, err = capfd.readouterr()
    assert all(TOKEN not in text for text in (*door.seen, out, err))


@pytest.fixture
def say(store: SQLiteStore, capsys: pytest.CaptureFixture[str]) -> Say:
    """Run one command; returns exit code, standard output and standard error."""

    def say(*arguments: str) -> tuple[int, str, str]:
        code = main(arguments)
        out, err = capsys.readouterr()
        return code, out, err

    return say


@pytest.fixture
def ask(say: Say) -> Callable[..., Any]:
    """Run one command with ``--json``; returns the document, of a command that must succeed."""

    def ask(*arguments: str) -> Any:
        code, out, err = say(*arguments, "--json")
        assert (code, err) == (0, "")
        return json.loads(out)

    return ask
