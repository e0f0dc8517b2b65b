"""Operators from elsewhere: every verb over `--url`, an address of their own, a proxy's path before it."""

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
    words = line.replace("PREDICTION", server.operator().ledger.tail(1)[0].prediction_id).split()
    for more in ([], ["--json"]) if "--html" not in line else ([],):
        near = far = (0, "", "")
        for _ in range(3):  # what workers write down may come in between
            near, far = _timeless(here(*words, *more)), _timeless(there(*words, *more))
            if near == far:
                break
        assert far == near


def _timeless(said: tuple[int, str, str]) -> tuple[int, str, str]:
    """Leave out when it was, and whose tokens `doctor` speaks of."""
    code, out, err = said
    out = re.sub(r"20\d\d-\d\d-\d\d[T ][\d:.]+Z?", "TIME", out)
    out = re.sub(r"(?m)^token .*$", "token", out)
    return code, out, err


def test_a_watch(server: Apart, there: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    """`status --watch` goes on looking over HTTP, a line of JSON for each change."""
    seen: list[str] = []

    def once(text: str, **_: Any) -> bool:
        seen.append(json.dumps(text))
        return False

    monkeypatch.setattr("bento_rollout.cli.watch.emit_json", once)
    assert there("status", "afar", "--watch")[0] == 0
    assert json.loads(seen[0])["name"] == "afar"


# -- changing ------------------------------------------------------------------------------------------------


def test_changes(server: Apart, here: Say, there: Say, tmp_path: Path) -> None:
    """Verbs that change do it there, for the token's name, and on behalf of whom `--author` names."""
    rows = json.loads(here("history", "afar", "--json")[1])
    lines = [
        "weight afar second=25 --reason more --author ann",
        "shadow afar second=50",
        "flip afar --to second --timeout 20s",
        "rollback afar",
        "undo afar",
        "rollback afar",
        "target afar second --key u7 --header x-ring=dogfood",
        "target afar second --key u7 --header x-ring=dogfood --remove",
        "pause afar",
        "resume afar",
        "automation afar set human",
        "automation afar set shadow",
    ]
    for line in lines:
        code, out, err = there(*line.split(), "--json")
        assert (code, err) == (0, ""), line
        assert json.loads(out)["changed"] is True
    made = json.loads(here("history", "afar", "--json")[1])[: -len(rows)][::-1]
    assert [row["action"] for row in made] == [
        "weight", "shadow", "flip", "rollback", "undo", "rollback", "target", "target", "pause", "resume",
        "degree", "degree",
    ]  # fmt: skip
    assert [row["author"] for row in made] == ["admin on behalf of ann", *["admin"] * 11]
    assert made[0]["reason"] == "more"


def test_what_changes_nothing(here: Say, there: Say, server: Apart, tmp_path: Path) -> None:
    """What is not done is the same there as here, too, in words, exit code and JSON."""
    before = server.operator().state.revision
    for line in (
        "weight afar nobody=5",
        "weight afar second=101",
        "weight afar second=5 --if-revision 1",
        "flip afar --to first",
        "flip afar --to nobody",
        "rollback afar --to-revision 99",
        "promote afar --reason why",
        "abort afar",
        "start afar",
        "retire afar nobody",
        "automation afar set full",
        "automation afar calibrate",
        "drift afar ack",
        "drift afar ack --alarm 00000000",
        "drift afar rebase --test other",
        "reviews afar ask nothing",
        "label afar --prediction nothing --label 1",
    ):
        for more in ([], ["--json"]):
            near, far = here(*line.split(), *more), there(*line.split(), *more)
            assert _timeless(far) == _timeless(near), line
    assert server.operator().state.revision == before
    assert there("weight", "other", "second=5")[::2] == (
        3, "Error: this service has the rollout 'afar', and none called 'other'\n",
    )  # fmt: skip
    for line in (
        "ledger afar prune",
        "ledger afar forget --key u1",
        "ledger afar export",
        "doctor --repair",
        "drift afar rebase --file rows.csv",
    ):
        code, out, err = there(*line.split())
        assert (code, out) == (1, ""), line
        assert "works where the store is" in err


def test_labels(here: Say, there: Say, server: Apart, tmp_path: Path) -> None:
    """Labels of a file are told there, each refused one by its line, and count like others."""
    ids = [entry.prediction_id for entry in server.operator().ledger.tail(3)]
    lines = [json.dumps({"prediction_id": id_, "label": 1, "name": "afar"}) for id_ in ids]
    file = tmp_path / "labels.jsonl"
    file.write_text("\n".join([*lines, "[1]", '{"label": 2}', "nonsense"]), encoding="utf-8")
    told = there("label", "afar", str(file))
    assert told[0] == 2
    assert told == here("label", "afar", str(file))
    (label,) = server.operator().ledger.story(ids[0]).labels[-1:]
    assert (label.name, label.source, label.value) == ("afar", "api", 1)


# -- a job that applies a file ---------------------------------------------------------------------------


def test_apply_in_a_job(here: Say, there: Say, tmp_path: Path) -> None:
    """Twice does it once; a person's rollback stands: exit code 1, or 0 where the job says that it may."""
    file = tmp_path / "rollout.yaml"
    file.write_text("name: afar\nweights: {second: 40}\n", encoding="utf-8")
    assert there("apply", str(file), "--dry-run") == here("apply", str(file), "--dry-run")
    assert there("apply", str(file), "--dry-run")[0] == 8
    first = json.loads(there("apply", str(file), "--wait", "5s", "--json")[1])
    assert (first["changed"], first["weights"]) == (True, {"second": 40})
    again = json.loads(there("apply", str(file), "--json")[1])
    assert (again["changed"], again["revision"]) == (False, first["revision"])
    here("rollback", "afar", "--author", "ann")
    code, _, err = there("apply", str(file))
    assert code == 1
    assert "ann rolled back" in err
    assert (code, err) == here("apply", str(file))[::2]
    for door in (here, there):
        code, out, _ = door("apply", str(file), "--keep-rollback")
        assert code == 0
        assert "that stands, and nothing of it was applied" in " ".join(out.split())
    assert json.loads(here("status", "afar", "--json")[1])["weights"] == {"second": 0}
    file.write_text("name: afar\nweights: {second: 41}\n", encoding="utf-8")  # new content is a new word
    assert there("apply", str(file), "--keep-rollback")[0] == 0
    assert json.loads(here("status", "afar", "--json")[1])["weights"] == {"second": 41}
    file.write_text("name: other\nweights: {second: 41}\n", encoding="utf-8")
    assert there("apply", str(file))[0] == 3


# -- the token -----------------------------------------------------------------------------------------------


def test_the_token(here: Say, server: Apart, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes from the environment or a file, and is never shown; without one the error says what to do."""
    asked = ("--url", server.admin)
    assert here("status", "afar", *asked)[0] == 0
    assert here(*asked, "status", "afar")[0] == 0
    monkeypatch.setenv("BENTO_ROLLOUT_ADMIN_TOKEN", "another-token")
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n", encoding="utf-8")
    assert here("status", "afar", *asked, "--token-file", str(file))[0] == 0
    code, _, err = here("status", "afar", *asked)
    assert code == 1
    assert "BENTO_ROLLOUT_ADMIN_TOKEN" in err
    assert "another-token" not in err
    monkeypatch.delenv("BENTO_ROLLOUT_ADMIN_TOKEN")
    assert here("status", "afar", *asked)[0] == 1
    file.write_text("two words", encoding="utf-8")
    code, _, err = here("status", "afar", *asked, "--token-file", str(file))
    assert code == 2
    assert "two words" not in err
    assert here("status", "afar", *asked, "--token-file", str(tmp_path / "none"))[0] == 2


# -- an address of their own ---------------------------------------------------------------------------------


def test_operators_are_nowhere_else(server: Apart) -> None:
    """On the service's port there is no operators' route; labels, decisions and the console are there."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", headers=headers) as client:
        for path in ("state", "history", "openapi.json", "drift", "doctor", "ledger/tail"):
            assert client.get(f"/rollout/admin/{path}").status_code == 404
        assert client.post("/rollout/admin/rollback", json={}).status_code == 404
        assert client.post("/rollout/labels", json=[]).status_code == 200
        assert client.get("/rollout/reviews").status_code == 200
        assert client.get("/rollout/console/login").status_code == 200
    with httpx.Client(base_url=server.admin, headers=headers) as client:
        assert client.get("/rollout/admin/state").status_code == 200
        for path in ("/rollout/console/login", "/rollout/reviews", "/greet", "/metrics", "/readyz"):
            assert client.get(path).status_code == 404


# -- behind a proxy that takes a path away -------------------------------------------------------------------


@contextmanager
def stripping(port: int, prefix: str) -> Iterator[str]:
    """Serve what a port serves below a path, as a reverse proxy that takes it away and says so."""
    ready = threading.Event()
    found: list[Any] = []

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while block := await reader.read(65_536):
                writer.write(block)
        finally:
            writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        method, path, rest = head.split(" ", 2)
        if not path.startswith(prefix):
            writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            writer.close()
            return
        line, others = rest.split("\r\n", 1)
        others = re.sub(r"(?im)^connection:.*\r\n", "", others)
        added = f"X-Forwarded-Prefix: {prefix}\r\nConnection: close\r\n"
        inner, out = await asyncio.open_connection("127.0.0.1", port)
        out.write(f"{method} {path.removeprefix(prefix)} {line}\r\n{added}{others}".encode("latin-1"))
        both = asyncio.gather(pipe(reader, out), pipe(inner, writer), return_exceptions=True)
        await both

    async def main() -> None:
        listening, ended = await asyncio.start_server(serve, "127.0.0.1", 0), asyncio.Event()
        found[:] = listening.sockets[0].getsockname()[1], asyncio.get_running_loop(), ended
        ready.set()
        await ended.wait()
        listening.close()

    thread = threading.Thread(target=lambda: asyncio.run(main()), daemon=True)
    thread.start()
    assert ready.wait(10)
    port_here, loop, ended = found
    yield f"http://127.0.0.1:{port_here}"
    loop.call_soon_threadsafe(ended.set)
    thread.join(10)


def test_behind_a_proxy(server: Apart, here: Say) -> None:
    """Every address that is told leads there through the proxy: decisions, the console, the operators'."""
    with stripping(server.port, "/ml/afar") as url, httpx.Client(base_url=url, timeout=30) as client:
        asked = {"prefer": "respond-async"}
        answer = client.post("/ml/afar/read", json={"text": "a"}, headers=asked)
        assert answer.status_code == 202
        place = answer.headers["location"]
        assert place.startswith("/ml/afar/rollout/decisions/")
        assert client.get(place).json()["status"] == "pending"
        led = client.get("/ml/afar/rollout/console")
        assert (led.status_code, led.headers["location"]) == (303, "/ml/afar/rollout/console/login")
        page = client.get(led.headers["location"]).text
        found = re.findall(r'(?:href|src|action)="(/[^"]*)"', page)
        assert len(found) > 3
        assert [one for one in found if not one.startswith("/ml/afar/rollout/console")] == []
        for one in found:
            if "/static/" in one:
                assert client.get(one).status_code == 200
        form = {"token": TOKEN}
        entered = client.post(
            "/ml/afar/rollout/console/login", data=form, headers={"sec-fetch-site": "same-origin"}
        )
        assert entered.headers["location"] == "/ml/afar/rollout/console/entered"
    with stripping(int(server.admin.rpartition(":")[2]), "/ops") as url:
        assert here("status", "afar", "--url", f"{url}/ops") == here("status", "afar")
        headers = {"Authorization": f"Bearer {TOKEN}"}
        document = httpx.get(f"{url}/ops/rollout/admin/openapi.json", headers=headers).json()
        assert document["servers"] == [{"url": "/ops"}]


@pytest.mark.parametrize(
    "prefix", ["//evil.example", "https://evil.example", "/a b", "/a\tb", "/" + "x" * 600]
)
def test_a_prefix_that_is_none(server: Apart, prefix: str) -> None:
    """What could lead to another host, or is no path, is as if nothing was said."""
    headers = {"prefer": "respond-async", "x-forwarded-prefix": prefix}
    answer = httpx.post(f"http://127.0.0.1:{server.port}/read", json={"text": "a"}, headers=headers)
    assert answer.headers["location"].startswith("/rollout/decisions/")


def test_root_path(server: Apart) -> None:
    """An app around the service that mounts it below a path is honoured in the same way."""
    with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", headers={"x-mounted": "/v1"}) as client:
        answer = client.post("/read", json={"text": "a"}, headers={"prefer": "respond-async"})
        assert answer.headers["location"].startswith("/v1/rollout/decisions/")
        assert client.get(answer.headers["location"].removeprefix("/v1")).json()["status"] == "pending"
        led = client.get("/rollout/console")
        assert led.headers["location"] == "/v1/rollout/console/login"
        assert client.post("/greet", json={"age": 1}).headers["x-rollout-variant"] in ("first", "second")


# -- at the end, for it costs a worker -----------------------------------------------------------------------


def test_another_worker_takes_over(server: Apart, there: Say) -> None:
    """When the worker dies that listens, another one does; on the service's port nobody notices."""
    port = int(server.admin.rpartition(":")[2])
    (pid,) = {
        process.pid
        for process in server.processes()
        for one in process.net_connections("tcp")
        if one.status == psutil.CONN_LISTEN and one.laddr.port == port
    }
    os.kill(pid, signal.SIGKILL)
    until(lambda: there("list")[0] == 0, "operators are served again", 20)
    assert len(server.events("admin.bound")) == 2
