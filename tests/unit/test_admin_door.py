"""Who may come in by the operators' HTTP door, where it stands, and its OpenAPI document."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from openapi_schema_validator import validate as check_schema
from openapi_spec_validator import OpenAPIV31SpecValidator
from starlette.applications import Starlette
from starlette.routing import Mount

from bento_rollout.admin import admin_app
from bento_rollout.admin.openapi import openapi
from bento_rollout.admin.tokens import Tokens, parse_tokens
from bento_rollout.store.presence import Presence
from bento_rollout.store.sqlite import SQLiteStore
from tests.unit.door import TOKEN, Door, client, opened, problem

MIB = 1 << 20

# -- who may come in -----------------------------------------------------------------------------------------

ROUTES = [(method.upper(), path) for path, item in openapi()["paths"].items() for method in item]
OPERATORS = [(method, path) for method, path in ROUTES if not path.startswith("/rollout/reviews")]


@pytest.mark.parametrize(("method", "path"), OPERATORS)
def test_closed_by_default(store: SQLiteStore, method: str, path: str) -> None:
    """Without a configured token every operators' route is 403."""
    door = Door(Tokens.from_environment({"BENTO_ROLLOUT_ADMIN_TOKEN": ""}))
    problem(door.ask(method, path), 403)
    problem(door.ask(method, path, token=""), 403)
    problem(door.ask(method, path, token=None), 403)


@pytest.mark.parametrize(("method", "path"), OPERATORS)
def test_wrong_token(door: Door, method: str, path: str) -> None:
    """A wrong token, or none, is 401 on every operators' route."""
    for token in ("wrong", TOKEN[:-1], TOKEN + "x", "", None):
        answer = door.ask(method, path, token=token)
        problem(answer, 401)
        assert answer.headers["www-authenticate"].startswith("Bearer")
    assert door.state()["revision"] == 1


@pytest.mark.parametrize(
    "headers",
    [
        [("Authorization", f"Basic {TOKEN}")],
        [("Authorization", TOKEN)],
        [("Authorization", f"Bearer {TOKEN}"), ("Authorization", "Bearer other")],
        [("Authorization", "Bearer \xff\xfe".encode("latin-1"))],
        [("X-Token", TOKEN)],
    ],
)
def test_other_ways(door: Door, headers: Any) -> None:
    """A token that is shown in another way is 401."""
    problem(door.ask("GET", "/rollout/admin/state", token=None, headers=headers), 401)


def test_strangers_body(door: Door) -> None:
    """The body of somebody without a token is not read."""

    async def body() -> AsyncIterator[bytes]:
        raise AssertionError("it was read")
        yield b""

    problem(door.ask("POST", "/rollout/admin/weights", token="wrong", content=body()), 401)


def test_token_file(store: SQLiteStore, tmp_path: Path) -> None:
    """The tokens of a file have names, and change with the file."""
    path = tmp_path / "tokens"
    path.write_text("# operators\nada:aaaa\n\n  grace : gg:gg#1 \r\n")
    door = Door(
        Tokens.from_environment(
            {"BENTO_ROLLOUT_ADMIN_TOKEN": TOKEN, "BENTO_ROLLOUT_ADMIN_TOKEN_FILE": str(path)}
        )
    )
    for token in ("aaaa", "gg:gg#1", TOKEN):
        assert door.post("pause", token=token).status_code == 200
        assert door.post("resume", token=token).status_code == 200
    assert [row["author"] for row in opened().history_rows(6)][::2] == ["admin", "grace", "ada"]
    path.write_text("ada:bbbb\n")
    assert door.post("pause", token="bbbb").status_code == 200
    for token in ("aaaa", "gg:gg#1"):
        problem(door.post("pause", token=token), 401)


def test_replaced_token_file(tmp_path: Path) -> None:
    """A file that lay unchanged for long is read again when it is replaced."""
    path = tmp_path / "tokens"
    path.write_text("ada:aaaa\n")
    os.utime(path, (time.time() - 100, time.time() - 100))
    tokens = Tokens(path=path)
    assert tokens.name_of(b"aaaa") == tokens.name_of(b"aaaa") == "ada"
    path.with_name("new").write_text("ada:bbbb\n")
    path.with_name("new").replace(path)
    assert (tokens.name_of(b"aaaa"), tokens.name_of(b"bbbb")) == (None, "ada")


@pytest.mark.parametrize(
    "content",
    [
        b"ada\n",
        b"ada:\n",
        b":aaaa\n",
        b"ada:a b\n",
        b"ada:\xff\n",
        b"a/b:cccc\n",
        b"ada:same\nbob:same\n",
        b"x" * 300_000,
        None,
    ],
    ids=lambda content: str(content)[:20],
)
def test_broken_token_file(
    store: SQLiteStore,
    tmp_path: Path,
    content: bytes | None,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """A broken file closes the door, and what is broken is told to the log alone, once."""
    path = tmp_path / "tokens"
    path.write_bytes(b"ada:aaaa\n")
    door = Door(Tokens(TOKEN, path))
    assert door.ask("GET", "/rollout/admin/state", token="aaaa").status_code == 200
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    for token in ("aaaa", TOKEN, "same", ""):
        assert str(path) not in json.dumps(problem(door.ask("GET", "/rollout/admin/state", token=token), 403))
    log = capfd.readouterr().err
    assert log.count("admin.closed") == 1
    assert str(path) in log
    assert "same" not in log
    path.write_bytes(b"ada:aaaa\n")
    assert door.ask("GET", "/rollout/admin/state", token="aaaa").status_code == 200


def test_pipe_as_token_file(store: SQLiteStore, tmp_path: Path) -> None:
    """A named pipe in the file's place does not hang the service."""
    os.mkfifo(tmp_path / "tokens")
    problem(Door(Tokens(path=tmp_path / "tokens")).ask("GET", "/rollout/admin/state"), 403)


def test_broken_token_file_knows_nobody(tmp_path: Path) -> None:
    """Beside a broken file not even the token of the environment is known."""
    tokens = Tokens(TOKEN, tmp_path / "nowhere")
    assert (tokens.name_of(TOKEN.encode()), tokens.names) == (None, ())
    assert "nowhere" in (tokens.problem or "")


def test_empty_token_file() -> None:
    """A file without tokens configures none."""
    assert parse_tokens("# nobody\n\n") == ()


# -- its place -----------------------------------------------------------------------------------------------


def test_mounted(store: SQLiteStore) -> None:
    """The app can be mounted below another one."""
    door = Door(Tokens(TOKEN))
    door.app = Starlette(routes=[Mount("/rollout", app=admin_app(opened, tokens=Tokens(TOKEN), prefix=""))])
    assert door.state()["name"] == "screening"
    problem(door.ask("GET", "/rollout/other"), 404)


def test_waiting_flip(door: Door, join: Callable[..., Presence]) -> None:
    """Flips that wait hold up neither the event loop nor a rollback."""
    door.post("weights", {"weights": {"boosted": 5}})
    join(before_flip=1)

    async def story() -> tuple[list[int], list[int], float]:
        async with client(door.app) as http:
            slow = {"to": "boosted", "timeout": 3}
            flips = [asyncio.create_task(http.post("/rollout/admin/flip", json=slow)) for _ in range(16)]
            await asyncio.sleep(0.3)
            began = time.monotonic()
            quick = [await http.get("/rollout/admin/state"), await http.post("/rollout/admin/rollback")]
            took = time.monotonic() - began
            assert not all(flip.done() for flip in flips)
            done = await asyncio.gather(*flips)
            return [answer.status_code for answer in quick], [answer.status_code for answer in done], took

    quick, flips, took = asyncio.run(story())
    assert quick == [200, 200]
    assert set(flips) == {409}
    assert took < 1.5
    assert door.state()["weights"] == {"boosted": 0.0, "forest": 0.0}


# -- the document --------------------------------------------------------------------------------------------


def test_openapi(door: Door) -> None:
    """The OpenAPI document is valid, and is served."""
    document = door.ask("GET", "/rollout/admin/openapi.json").json()
    OpenAPIV31SpecValidator(document).validate()
    assert document == openapi()
    assert {path for _, path in ROUTES} == set(document["paths"])


def test_answers_as_described(door: Door, join: Callable[..., Presence]) -> None:
    """Real answers are as the OpenAPI document describes them."""
    join()
    document = openapi()

    def check(answer: httpx.Response, method: str, path: str) -> None:
        responses = document["paths"][f"/rollout/admin/{path}"][method]["responses"]
        (described,) = responses[str(answer.status_code)]["content"].items()
        assert answer.headers["content-type"].startswith(described[0])
        check_schema(answer.json(), {**described[1]["schema"], "components": document["components"]})

    check(door.post("weights", {"weights": {"boosted": 5}}), "post", "weights")
    check(door.post("weights", {"weights": {"boosted": 5}, "if_revision": 99}), "post", "weights")
    check(door.post("flip", {"to": "nobody"}), "post", "flip")
    check(door.ask("GET", "/rollout/admin/state"), "get", "state")
    check(door.ask("GET", "/rollout/admin/history"), "get", "history")
    check(door.ask("GET", "/rollout/admin/assign?key=u1"), "get", "assign")
