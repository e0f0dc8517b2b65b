"""The operators' HTTP door: real routes over a real store, without a server."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from bento_rollout.admin import admin_app
from bento_rollout.admin.reading import parse_json
from bento_rollout.admin.tokens import Tokens
from bento_rollout.errors import InvalidValue
from bento_rollout.operations import Rollout, open_rollout
from bento_rollout.store.presence import Presence, VariantCard
from bento_rollout.store.sqlite import SQLiteStore
from tests.unit.door import TOKEN, Door, opened, problem

MIB = 1 << 20

# -- the verbs -----------------------------------------------------------------------------------------------


def test_verbs(door: Door, join: Callable[..., Presence]) -> None:
    """Each verb answers with the new state."""
    join()
    steps: list[tuple[str, Any, str, dict[str, float]]] = [
        ("weights", {"weights": {"boosted": 5, "forest": 2.5}}, "logistic", {"boosted": 5, "forest": 2.5}),
        ("shadow", {"shadow": {"boosted": 100}}, "logistic", {"boosted": 5, "forest": 2.5}),
        ("flip", {"to": "boosted", "timeout": "5s"}, "boosted", {}),
        ("rollback", {}, "logistic", {}),
        ("undo", None, "boosted", {}),
        ("target", {"variant": "forest", "keys": ["u1", 7], "header": {"X-Ring": "dogfood"}}, "boosted", {}),
        ("pause", {}, "boosted", {}),
        ("resume", {}, "boosted", {}),
        ("retire", {"variant": "forest"}, "boosted", {}),
    ]
    for revision, (verb, body, champion, weights) in enumerate(steps, 2):
        answer = door.post(verb, body)
        assert answer.status_code == 200, answer.text
        document = answer.json()
        assert (document["revision"], document["champion"]) == (revision, champion), verb
        assert {name: w for name, w in document["weights"].items() if w} == weights, verb
        assert document["changed"] is True
        assert document["store"]["binds"] == "host"


def test_no_body(door: Door) -> None:
    """A verb whose fields are all optional needs no body."""
    door.post("weights", {"weights": {"boosted": 5}})
    assert door.send("rollback", b"").json()["weights"] == {"boosted": 0.0, "forest": 0.0}


def test_rollback_twice(door: Door) -> None:
    """Two operators who both roll back do it once."""
    door.post("weights", {"weights": {"boosted": 5}})
    first, second = door.post("rollback"), door.post("rollback")
    assert first.json()["changed"] is True
    assert second.json()["changed"] is False
    assert second.json()["notes"] == ["nothing to roll back"]
    assert first.json()["revision"] == second.json()["revision"] == 3


def test_same_store(door: Door) -> None:
    """What is changed here is what the library and the command line see."""
    door.post("weights", {"weights": {"boosted": 5}, "reason": "first traffic"})
    assert opened().state.weights == {"boosted": 5000}
    assert opened().history_rows(1)[0]["reason"] == "first traffic"


def test_author(door: Door) -> None:
    """The author is the token's name, and the person whom it acts for."""
    door.post("weights", {"weights": {"boosted": 5}})
    door.post("pause", {"on_behalf_of": "Ada"})
    assert [row["author"] for row in opened().history_rows(2)] == ["admin on behalf of Ada", "admin"]


def test_reads(door: Door) -> None:
    """Reads answer with what was asked for, and are never cached."""
    for _ in range(3):
        door.post("pause")
        door.post("resume")
    rows = door.ask("GET", "/rollout/admin/history?limit=2").json()
    assert [row["revision"] for row in rows] == [7, 6]
    assert len(door.ask("GET", "/rollout/admin/history").json()) == 7
    keys = door.ask("GET", "/rollout/admin/assign", params=[("key", "u1"), ("key", "ü/2&=")]).json()
    assert [row["key"] for row in keys] == ["u1", "ü/2&="]
    assert door.ask("HEAD", "/rollout/admin/state").status_code == 200
    assert door.ask("GET", "/rollout/admin/state").headers["cache-control"] == "no-store"


# -- refusals ------------------------------------------------------------------------------------------------


def test_conflict(door: Door) -> None:
    """A conflict carries the current revision."""
    document = problem(door.post("weights", {"weights": {"boosted": 5}, "if_revision": 7}), 409)
    assert document["current_revision"] == 1
    assert document["type"] == "urn:bento-rollout:problem:conflict"
    assert door.state()["revision"] == 1
    assert door.post("weights", {"weights": {"boosted": 5}, "if_revision": 1}).status_code == 200


def test_not_ready(door: Door, join: Callable[..., Presence]) -> None:
    """A variant that is not ready gets no traffic, and the answer says why it is not."""
    failed = {
        "logistic": VariantCard("ready", "worker", "1"),
        "boosted": VariantCard("failed", "worker", "2", "no file"),
    }
    join(variants=failed)
    for verb, body in (("weights", {"weights": {"boosted": 5}}), ("flip", {"to": "boosted"})):
        assert "no file" in problem(door.post(verb, body), 409)["detail"]
    assert door.state()["revision"] == 1


def test_promote(door: Door) -> None:
    """Without a running strategy `promote` says so, and `flip`, whether there is a reason or not."""
    for body in ({"reason": "it looks good"}, {}):
        told = problem(door.post("promote", body), 409)["detail"]
        assert "no strategy is running" in told
        assert "use `flip`" in told


def test_flip_timeout(door: Door, join: Callable[..., Presence]) -> None:
    """A worker that is alive and silent refuses the flip, by pid."""
    join(before_flip=1)
    document = problem(door.post("flip", {"to": "boosted", "timeout": 0.1}), 409)
    assert document["type"].endswith(":flip_timeout")
    assert "4000" in document["detail"]
    assert door.state()["champion"] == "logistic"


def test_store_gone(door: Door, store: SQLiteStore) -> None:
    """A store that is gone is 503 for changes; the last good copy is still shown."""
    store.path.unlink()
    problem(door.post("weights", {"weights": {"boosted": 5}}), 503)
    problem(door.ask("GET", "/rollout/admin/history"), 503)
    assert "gone" in door.state()["store"]["problem"]  # the last good copy is shown, and what is wrong


def test_not_durable(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that binds one pod of unknown many refuses changes."""
    monkeypatch.delenv("BENTO_ROLLOUT_SINGLE_REPLICA")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    assert "one pod" in problem(door.post("weights", {"weights": {"boosted": 5}}), 409)["detail"]
    assert door.state()["store"]["durable"] is False


def test_unknown_rollout(store: SQLiteStore) -> None:
    """A rollout that the store does not know is 404."""
    door = Door(Tokens(TOKEN))
    door.app = admin_app(lambda: open_rollout("other"), tokens=Tokens(TOKEN))
    problem(door.ask("GET", "/rollout/admin/state"), 404)


def test_bug(store: SQLiteStore, capfd: pytest.CaptureFixture[str]) -> None:
    """An error of ours is 500, and its details are told to the log alone."""

    def broken() -> Rollout:
        raise ZeroDivisionError("a secret detail")

    door = Door(Tokens(TOKEN))
    door.app = admin_app(broken, tokens=Tokens(TOKEN))
    assert "secret" not in json.dumps(problem(door.ask("GET", "/rollout/admin/state"), 500))
    assert "a secret detail" in capfd.readouterr().err


# -- bad input -----------------------------------------------------------------------------------------------

BAD: list[tuple[str, Any, str]] = [
    ("weights", {"weights": {"nobody": 5}}, "nobody"),
    ("weights", {"weights": {"boosted": 101}}, "100"),
    ("weights", {"weights": {"boosted": 60, "forest": 41}}, "101"),
    ("weights", {"weights": {"boosted": -1}}, "weights.boosted"),
    ("weights", {"weights": {"boosted": True}}, "weights.boosted"),
    ("weights", {"weights": {"boosted": "5"}}, "weights.boosted"),
    ("weights", {"weights": {"boosted": None}}, "weights.boosted"),
    ("weights", {"weights": {"boosted": 0.00001}}, "decimals"),
    ("weights", {"weights": {"logistic": 5}}, "champion"),
    ("weights", {"weights": {"../../etc/passwd": 5}}, "passwd"),
    ("weights", {"weights": {}}, "weights"),
    ("weights", {"weights": [5]}, "weights"),
    ("weights", {}, "weights"),
    ("weights", None, "weights"),
    ("weights", {"weights": {"boosted": 5}, "wieghts": {}}, "wieghts"),
    ("weights", {"weights": {"boosted": 5}, "if_revision": True}, "if_revision"),
    ("weights", {"weights": {"boosted": 5}, "if_revision": -1}, "if_revision"),
    ("weights", {"weights": {"boosted": 5}, "reason": 5}, "reason"),
    ("weights", {"weights": {"boosted": 5}, "reason": "x" * 5000}, "reason"),
    ("weights", {"weights": {"boosted": 5}, "on_behalf_of": "a\nb"}, "on_behalf_of"),
    ("weights", {"weights": {"boosted": 5}, "on_behalf_of": ""}, "on_behalf_of"),
    ("weights", [], "object"),
    ("weights", "x", "object"),
    ("shadow", {"shadow": {"nobody": 5}}, "nobody"),
    ("shadow", {"shadow": {"boosted": 200}}, "shadow.boosted"),
    ("flip", {"to": "nobody"}, "nobody"),
    ("flip", {"to": 5}, "to"),
    ("flip", {}, "to"),  # two candidates, no standby: which?
    ("flip", {"to": "boosted", "timeout": "soon"}, "timeout"),
    ("flip", {"to": "boosted", "timeout": -1}, "timeout"),
    ("flip", {"to": "boosted", "timeout": "2d"}, "timeout"),
    ("flip", {"to": "boosted", "no_workers": 1}, "no_workers"),
    ("rollback", {"to_revision": "1"}, "to_revision"),
    ("rollback", {"again": "yes"}, "again"),
    ("rollback", {"again": True, "to_revision": 1}, "again"),
    ("target", {"variant": "boosted"}, "key"),
    ("target", {"variant": "boosted", "keys": [""]}, "empty"),
    ("target", {"variant": "boosted", "keys": [True]}, "keys"),
    ("target", {"variant": "boosted", "keys": ["x" * 10_000]}, "bytes"),
    ("target", {"variant": "nobody", "keys": ["u1"]}, "nobody"),
    ("retire", {"variant": "nobody"}, "nobody"),
    ("retire", {}, "variant"),
    ("pause", {"for": "5m"}, "for"),
]


@pytest.mark.parametrize(("verb", "body", "named"), BAD)
def test_bad_body(door: Door, verb: str, body: Any, named: str) -> None:
    """A bad body is 400, names the place, and changes nothing."""
    assert named in problem(door.post(verb, body), 400)["detail"]
    assert door.state()["revision"] == 1


@pytest.mark.parametrize(
    "content",
    [
        b"weights=boosted",
        b"{",
        b"\xff\xfe{}",
        b'{"weights": {"boosted": NaN}}',
        b'{"weights": {"boosted": Infinity}}',
        b'{"weights": {"boosted": 1e999}}',
        b'{"weights": {"boosted": ' + b"9" * 10_000 + b"}}",
        b'{"weights": {"boosted": 5, "boosted": 50}}',
        b'{"weights": {"boosted": 5}, "reason": "\\ud800"}',
        b'{"weights": {"\\udcff": 5}}',
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b'{"weights": {"boosted": ' + b"[" * 900 + b"]" * 900 + b"}}",
        b'{"' + b"x" * 900_000 + b'": 1}',
    ],
    ids=lambda content: content[:24].decode("latin-1"),
)
def test_not_json(door: Door, content: bytes) -> None:
    """What is not clean JSON is 400 and changes nothing."""
    document = problem(door.send("weights", content), 400)
    assert len(document["detail"]) < 500
    assert door.state()["revision"] == 1


def test_lone_surrogates() -> None:
    """Text that no store could keep is refused wherever it stands."""
    with pytest.raises(InvalidValue, match="UTF-8"):
        parse_json(b'{"a": [{"\\udcff": 1}]}')


def test_announced_length(door: Door) -> None:
    """A body of 100 MB is refused by its announced length."""
    problem(
        door.ask("POST", "/rollout/admin/weights", content=b"", headers={"Content-Length": str(100 * MIB)}),
        413,
    )
    problem(
        door.ask("POST", "/rollout/admin/weights", content=b"", headers={"Content-Length": "9" * 5000}), 413
    )
    assert door.state()["revision"] == 1


def test_streamed_length(door: Door) -> None:
    """A body of 100 MB that announces nothing is not read to its end."""
    sent = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(1600):
            sent += 1 << 16
            yield b" " * (1 << 16)

    problem(door.send("weights", body()), 413)
    assert sent <= 2 * MIB


def test_largest_body(door: Door) -> None:
    """A body of exactly 1 MiB is read, and one byte more is not."""
    content = b'{"weights": {"boosted": 5}}'
    assert door.send("weights", content.ljust(MIB)).status_code == 200
    problem(door.send("weights", content.ljust(MIB + 1)), 413)


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("assign", "key"),
        ("assign?key=", "empty"),
        ("assign?key=%FF", "UTF-8"),
        (f"assign?key={'x' * 10_000}", "bytes"),
        ("assign?kye=u1", "kye"),
        ("assign?" + "&".join(["key=u"] * 2000), "fields"),
        ("history?limit=0", "limit"),
        ("history?limit=-1", "limit"),
        ("history?limit=1&limit=2", "limit"),
        ("history?limit=1e3", "limit"),
        ("history?limit=" + "9" * 5000, "limit"),
        ("state?name=../../etc/passwd", "name"),
    ],
    ids=lambda value: value[:24],
)
def test_bad_query(door: Door, path: str, named: str) -> None:
    """A bad query is 400 and names the place."""
    assert named in problem(door.ask("GET", f"/rollout/admin/{path}"), 400)["detail"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/rollout/labelled"),
        ("GET", "/rollout/admin"),
        ("GET", "/rollout/admin/"),
        ("GET", "/rollout/admin/state/"),
        ("GET", "/rollout/admin/state/../../etc/passwd"),
        ("GET", "/rollout/admin/%2e%2e/%2e%2e/etc/passwd"),
        ("GET", "/rollout/console"),
        ("GET", "/rollout/decisions/1"),
        ("POST", "/rollout/admin/drop"),
    ],
)
def test_unknown_path(door: Door, method: str, path: str) -> None:
    """What is not there is 404, traversals of paths included."""
    problem(door.ask(method, path), 404)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("GET", "weights", {"POST"}), ("DELETE", "rollback", {"POST"}), ("POST", "state", {"GET", "HEAD"})],
)
def test_wrong_method(door: Door, method: str, path: str, allowed: set[str]) -> None:
    """A wrong method is 405 and says which is right."""
    answer = door.ask(method, f"/rollout/admin/{path}")
    problem(answer, 405)
    assert {name.strip() for name in answer.headers["allow"].split(",")} == allowed
