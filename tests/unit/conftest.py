"""A real store with one rollout, and live workers of it."""

from __future__ import annotations

import json
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
from bento_rollout.store import RolloutStore
from bento_rollout.store.location import locate
from bento_rollout.store.opened import open_at, presence_at
from bento_rollout.store.postgres.engine import engine_at
from bento_rollout.store.presence import Card, VariantCard, Workers
from tests.unit.door import TOKEN, Door, Say
from tests.unit.workers import Join

DIGESTS = {"logistic": "1" * 12, "boosted": "2" * 12, "forest": "3" * 12}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the tests of a module that says ``STORES`` over each of these kinds of store."""
    stores = getattr(metafunc.module, "STORES", ())
    if stores and "store" in metafunc.fixturenames:
        metafunc.parametrize("store", stores, indirect=True)


@pytest.fixture
def store(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[RolloutStore]:
    """The store that the environment names; it knows ``screening``: champion logistic, revision 1."""
    for name in ("ADMIN_TOKEN", "ADMIN_TOKEN_FILE", "AUTHOR"):
        monkeypatch.delenv(f"BENTO_ROLLOUT_{name}", raising=False)
    shared = getattr(request, "param", "sqlite") == "postgresql"
    url = request.getfixturevalue("emptied") if shared else f"sqlite:///{tmp_path / 'rollouts.db'}"
    monkeypatch.setenv("BENTO_ROLLOUT_STORE", url)
    monkeypatch.setenv("BENTO_ROLLOUT_SINGLE_REPLICA", "1")  # wherever the tests run
    if shared:
        monkeypatch.setenv("BENTOML_HOME", str(tmp_path))
    store = open_at(locate(), create=True)
    store.commit(first_commit("screening", "logistic", RolloutSpec.parse({}), DIGESTS), after=0)
    yield store
    if shared:
        engine_at(url).close()


@pytest.fixture
def screening(store: RolloutStore) -> Rollout:
    """The rollout ``screening`` as its operator ann sees it; nobody serves it yet."""
    return open_rollout("screening", author="ann")


@pytest.fixture
def join(store: RolloutStore) -> Iterator[Join]:
    """Let a worker live: it holds its lock and has written its card; arguments replace fields of the card."""
    living: list[Workers] = []

    def join(**fields: object) -> Workers:
        presence = presence_at(store.place("screening"))
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
def door(store: RolloutStore, capfd: pytest.CaptureFixture[str]) -> Iterator[Door]:
    """The door with one token, ``admin``; afterwards neither an answer nor the log may hold it."""
    door = Door(Tokens(TOKEN))
    yield door
    out, err = capfd.readouterr()
    assert all(TOKEN not in text for text in (*door.seen, out, err))


@pytest.fixture
def say(store: RolloutStore, capsys: pytest.CaptureFixture[str]) -> Say:
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
