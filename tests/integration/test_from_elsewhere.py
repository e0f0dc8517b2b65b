"""Operators come from elsewhere: every verb over `--url`, at an address of their own, behind a proxy's path."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest

from bento_rollout.cli import main
from bento_rollout.drift import Reference
from tests.integration.running import Server, free_port, serving, until

pytestmark = pytest.mark.server

TARGET = "tests.integration.apps.asked_from_afar:Afar"
TOKEN = "a-token-of-the-operators-27182818"
Say = Callable[..., tuple[int, str, str]]


class Apart(Server):
    """A server whose operators have an address of their own."""

    admin: str


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Apart]:
    """Serve with two workers; people are asked, predictions are kept, and one has a label."""
    folder = tmp_path_factory.mktemp("afar")
    ages = {"age": np.random.default_rng(3).normal(50, 10, 1000)}
    (folder / "reference.json").write_text(Reference.fit(ages).to_json(), encoding="utf-8")
    port = free_port()
    environment = {
        "AFAR_REFERENCE": str(folder / "reference.json"),
        "BENTO_ROLLOUT_ADMIN_TOKEN": TOKEN,
        "BENTO_ROLLOUT_ADMIN_BIND": f"127.0.0.1:{port}",
    }
    with serving(TARGET, folder, rollout="afar", workers=2, environment=environment) as started:
        started.__class__ = Apart
        assert isinstance(started, Apart)
        started.admin = f"http://127.0.0.1:{port}"
        started.ready()
        until(lambda: started.events("admin.bound"), "operators are served")
        with httpx.Client(base_url=f"http://127.0.0.1:{started.port}", timeout=30) as client:
            for age in range(4):
                answer = client.post("/greet", json={"age": 40 + age}, headers={"x-user": f"u{age}"})
                assert answer.status_code == 200, answer.text
            client.post("/read", json={"text": "a"}, headers={"prefer": "respond-async"})
        ledger = started.operator().ledger
        until(lambda: ledger.counts().predictions >= 4 and ledger.counts().shadows >= 4, "they are kept")
        started.operator().label({"prediction_id": ledger.tail(1)[0].prediction_id, "label": "one"})
        started.operator().set_weights({"second": 5}, reason="first traffic")
        yield started


@pytest.fixture
def here(server: Apart, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Say:
    """Run a command beside the store."""
    for name in ("URL", "AUTHOR", "ADMIN_TOKEN_FILE"):
        monkeypatch.delenv(f"BENTO_ROLLOUT_{name}", raising=False)
    monkeypatch.setenv("BENTO_ROLLOUT_STORE", server.url)
    monkeypatch.setenv("BENTO_ROLLOUT_SINGLE_REPLICA", "1")
    monkeypatch.setenv("BENTO_ROLLOUT_ADMIN_TOKEN", TOKEN)

    def say(*arguments: str) -> tuple[int, str, str]:
        code = main(arguments)
        out, err = capsys.readouterr()
        assert TOKEN not in out + err
        return code, out, err

    return say


@pytest.fixture
def there(here: Say, server: Apart, monkeypatch: pytest.MonkeyPatch) -> Say:
    """Run a command over HTTP, where no store is."""

    def say(*arguments: str) -> tuple[int, str, str]:
        with monkeypatch.context() as context:
            context.setenv("BENTO_ROLLOUT_STORE", "sqlite:////nowhere/at/all.db")
            context.setenv("BENTO_ROLLOUT_URL", server.admin)
            return here(*arguments)

    return say


# -- looking -------------------------------------------------------------------------------------------------

LOOKS = [
    "list",
    "status afar",
    "history afar",
    "history afar --limit 1",
    "explain afar",
    "explain afar --revision 1",
    "assign afar --key u1 --key ü",
    "shadow-report afar",
    "shadow-report afar --html",
    "automation afar status",
    "automation afar explain",
    "audit afar verify",
    "reviews afar list",
    "reviews afar list --status open --endpoint read",
    "reviews afar stats",
    "reviews afar agreement",
    "drift afar status",
    "drift afar report",
    "drift afar report --html -",
    "drift afar replay",
    "ledger afar tail",
    "ledger afar tail -n 2",
    "ledger afar status",
    "ledger afar show --key u1",
    "ledger afar show PREDICTION",
    "doctor",
    # and what is wrong with each
    "history afar --limit x",
    "explain afar --revision 99",
    "assign afar",
    "automation afar explain --endpoint nothing",
    "reviews afar stats --endpoint nothing",
    "ledger afar show nothing",
    "ledger afar show --key nobody",
]


@pytest.mark.parametrize("line", LOOKS)
def test_what_is_seen_is_the_same(server: Apart, here: Say, there: Say, line: str) -> None:
    """Every verb that looks prints over HTTP what it prints beside the store, with the same exit code."""
    newest = server.operator().ledger.tail(1)[0].prediction_id
    words = line.replace("PREDICTION", newest).split()
    for more in ([], ["--json"]) if "--html" not in line else ([],):

        def both(words: list[str] = [*words, *more]) -> bool:  # noqa: B006 - it is read
            near, far = here(*words), there(*words)
            both.seen = near, far  # type: ignore[attr-defined]  # for the message
            return _timeless(near) == _timeless(far)

        try:
            until(both, "they are the same", 5, 0.2)
        except AssertionError:
            near, far = both.seen  # type: ignore[attr-defined]  # as above
            assert _timeless(far) == _timeless(near)


def _timeless(said: tuple[int, str, str]) -> tuple[int, str, str]:
    """Leave out how long ago something was, and whose tokens `doctor` speaks of."""
    code, out, err = said
    out = re.sub(r"\d+(?:\.\d+)? (?:ms|s|min|h) ago|just now", "AGO", out)
    out = re.sub(r"(?m)^token .*$", "token", out)
    return code, out, err
