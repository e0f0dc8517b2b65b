"""The response headers: on every answer for which a variant was chosen, and on no other."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncGenerator, Callable
from http import HTTPStatus
from typing import Any

import bentoml
import pytest
from bentoml.exceptions import BentoMLException
from pydantic import BaseModel

from bento_rollout import RolloutSpec, open_rollout, rollout
from tests.contract.serving import OURS, Served, marks

UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


class Transaction(BaseModel):
    """Something with a key inside."""

    id: str = ""
    owner: dict[str, Any] = {}


class Echo:
    """Says who answered; fails on demand."""

    who = "one"

    @bentoml.api
    def predict(self, x: int = 0) -> str:
        return self.who

    @bentoml.api
    async def transact(self, tx: Transaction) -> str:
        return self.who

    @bentoml.api
    async def fail(self, status: int) -> str:
        if status == 0:
            raise RuntimeError("a bug")
        raise BentoMLException("no", error_code=HTTPStatus(status))

    @bentoml.api
    async def stream(self, fails: bool = False) -> AsyncGenerator[str, None]:
        if fails:
            raise RuntimeError("before the first item")
        yield self.who

    @bentoml.api
    async def sleep(self, seconds: float) -> str:
        await asyncio.sleep(seconds)
        return self.who


def service(spec: dict[str, Any], **config: Any) -> Any:
    """Return a decorated service whose candidate says `two`."""

    class Two(Echo):
        who = "two"

    one: Any = bentoml.service(name="echo", **config)(type("Echo", (Echo,), {"__module__": __name__}))
    two = bentoml.service(name="echo_two")(Two)
    parsed = RolloutSpec.parse({"name": "echo", **spec})
    return rollout(champion="one", candidates={"two": two}, spec=parsed)(one)


ALL_TO_TWO: dict[str, Any] = {"weights": {"two": 100}}
Serve = Callable[..., Served]


def test_an_answer_says_who_at_which_revision_under_which_id_and_why(serve: Serve) -> None:
    """A 200 carries the four headers; ids are UUIDv7 and differ."""
    app = serve(service(ALL_TO_TWO))
    first, second = (marks(app.post("/predict", {}, headers={"x": "y"})) for _ in range(2))
    assert first | {"prediction-id": ""} == {
        "variant": "two",
        "revision": "1",
        "prediction-id": "",
        "reason": "no_key",
    }
    assert UUID7.fullmatch(first["prediction-id"])
    assert first["prediction-id"] != second["prediction-id"]


@pytest.mark.parametrize("status", [0, 400, 401, 404, 409, 429, 500, 503])
def test_errors_of_the_variant_carry_the_headers(status: int, serve: Serve) -> None:
    """Whatever the variant raises: the caller learns whose error it is."""
    answer = serve(service(ALL_TO_TWO)).post("/fail", {"status": status})
    assert answer.status_code == (status or 500)
    assert marks(answer)["variant"] == "two"


def test_the_504_of_the_time_limit_carries_the_headers(serve: Serve) -> None:
    """When the server's own time is up, the answer is BentoML's 504 with our headers."""
    app = serve(service(ALL_TO_TWO, traffic={"timeout": 0.6}))
    answer = app.post("/sleep", {"seconds": 30})
    assert answer.status_code == 504
    assert answer.json() == {"error": "Not able to process the request in 0.6 seconds"}
    assert marks(answer)["variant"] == "two"
    assert app.post("/sleep", {"seconds": 0}).text == "two"


def test_each_request_has_its_own_time(serve: Serve) -> None:
    """Requests that began at different times end at different times, each with its own 504."""
    app = serve(service(ALL_TO_TWO, traffic={"timeout": 0.8}))

    async def begin_later(seconds: float) -> tuple[float, Any]:
        await asyncio.sleep(seconds)
        began = time.monotonic()
        answer = await app.arequest("POST", "/sleep", json={"seconds": 30 if seconds < 0.5 else 0})
        return time.monotonic() - began, answer

    async def all_of_them() -> list[tuple[float, Any]]:
        return list(await asyncio.gather(*map(begin_later, (0.0, 0.2, 0.4, 0.5, 0.6))))

    found = app.run(all_of_them())
    assert [answer.status_code for _, answer in found] == [504, 504, 504, 200, 200]
    assert all(0.6 < seconds < 20 for seconds, _ in found[:3])
    assert len({marks(answer)["prediction-id"] for _, answer in found}) == 5


def test_what_is_refused_before_a_variant_was_chosen_carries_none(serve: Serve) -> None:
    """400 for invalid input, 404, 405, 415 and other pages have no headers of ours."""
    app = serve(service(ALL_TO_TWO))
    pickle = {"content-type": "application/vnd.bentoml+pickle"}
    answers = [
        app.post("/predict", {"x": "text"}),
        app.post("/nowhere", {}),
        app.get("/predict"),
        app.post("/predict", content=b"x", headers=pickle),
        app.get("/schema.json"),
        app.get("/readyz"),
    ]
    assert [answer.status_code for answer in answers] == [400, 404, 405, 415, 200, 200]
    assert [marks(answer) for answer in answers] == [{}] * 6


def test_a_busy_service_answers_429_without_headers(serve: Serve) -> None:
    """What BentoML refuses because it is busy was never routed."""
    app = serve(service(ALL_TO_TWO, traffic={"max_concurrency": 1}))
    request = {"method": "POST", "path": "/sleep", "json": {"seconds": 0.3}}
    answers = app.together([dict(request) for _ in range(3)])
    assert sorted(answer.status_code for answer in answers) == [200, 429, 429]
    assert all(bool(marks(answer)) == (answer.status_code == 200) for answer in answers)


@pytest.mark.parametrize("fails", [False, True])
def test_a_stream_sends_them_before_the_first_item(fails: bool, serve: Serve) -> None:
    """A stream's headers say who streams; one that fails before its first item is an error with headers."""
    answer = serve(service(ALL_TO_TWO)).post("/stream", {"fails": fails})
    assert answer.status_code == (500 if fails else 200)
    assert marks(answer)["variant"] == "two"


@pytest.mark.parametrize(
    ("exposed", "seen"),
    [
        (True, list(OURS)),
        (False, []),
        (
            ["X-Rollout-Prediction-Id", "x-rollout-revision"],
            ["x-rollout-revision", "x-rollout-prediction-id"],
        ),
    ],
)
def test_expose_headers_says_which_callers_may_see(exposed: Any, seen: list[str], serve: Serve) -> None:
    """`expose_headers` is all, none, or a list, on answers, errors and streams alike."""
    app = serve(service({**ALL_TO_TWO, "expose_headers": exposed}))
    for answer in (app.post("/predict", {}), app.post("/fail", {"status": 500}), app.post("/stream", {})):
        assert [name for name in OURS if name in answer.headers] == seen


def test_a_pin_is_obeyed_only_where_the_spec_allows_it(serve: Serve) -> None:
    """`override_header: true` lets a caller choose; otherwise the header is not looked at."""
    closed, opened = serve(service({})), serve(service({"routing": {"override_header": True}}))
    pin = {"x-rollout-variant": "two"}
    assert marks(closed.post("/predict", {}, headers=pin))["reason"] == "default"
    answer = opened.post("/predict", {}, headers=pin)
    assert (answer.text, marks(answer)["reason"]) == ("two", "pinned")
    assert marks(opened.post("/predict", {}, headers={"x-rollout-variant": "one"}))["reason"] == "pinned"


@pytest.mark.parametrize("pin", [b"three", b"", b"\xff\xfe", b"two,one"])
def test_a_pin_that_names_no_variant_is_refused(pin: bytes, serve: Serve) -> None:
    """400, naming the variants; nothing runs."""
    app = serve(service({"routing": {"override_header": True}}))
    answer = app.post("/predict", {}, headers=[(b"x-rollout-variant", pin)])
    assert answer.status_code == 400
    assert "one, two" in answer.json()["detail"]
    assert (marks(answer), app.facts) == ({}, [])


def test_endpoints_that_are_not_routed_go_to_the_champion_and_say_so(serve: Serve) -> None:
    """`endpoints:` limits routing; the others carry the headers too, with reason default."""
    app = serve(service({**ALL_TO_TWO, "endpoints": ["transact"]}))
    assert marks(app.post("/predict", {})) | {"prediction-id": ""} == {
        "variant": "one",
        "revision": "1",
        "prediction-id": "",
        "reason": "default",
    }
    assert marks(app.post("/transact", {"tx": {}}))["variant"] == "two"


def test_reasons_follow_how_the_variant_was_found(serve: Serve) -> None:
    """split, targeted (by key and by header), no_key and default are told apart."""
    spec = {
        "weights": {"two": 50},
        "routing": {"key": "header:x-user"},
        "targets": {"two": {"keys": ["vip"], "header": {"x-ring": "dogfood"}}},
    }
    app = serve(service(spec))

    def ask(**headers: str) -> tuple[str, str]:
        said = marks(app.post("/predict", {}, headers={k.replace("_", "-"): v for k, v in headers.items()}))
        return said["variant"], said["reason"]

    assert ask(x_user="vip") == ("two", "targeted")
    assert ask(x_user="u1", x_ring="dogfood") == ("two", "targeted")
    assert ask(x_user="u1")[1] == "split"
    assert ask()[1] == "no_key"
    assert {ask(x_user=f"u{i}") for i in range(40)} == {("one", "split"), ("two", "split")}
    open_rollout("echo").set_weights({"two": 0})
    assert ask(x_user="u1") == ("one", "default")


# -- where keys come from ------------------------------------------------

SOURCES: dict[str, dict[str, Any]] = {
    "header:X-User": {"headers": {"x-user": "KEY"}},
    "cookie:user": {"headers": {"cookie": 'other=1; user="KEY"; z=2'}},
    "query:user": {"path": "/transact?a=1&user=KEY"},
    "baggage:user": {"headers": {"baggage": "other=1,user=KEY;meta=x"}},
    "field:tx.id": {"json": {"tx": {"id": "KEY"}}},
    "field:tx.owner.name": {"json": {"tx": {"owner": {"name": "KEY"}}}},
    "tests.contract.test_headers:key_of": {"json": {"tx": {"id": "KEY"}}},
}


def key_of(arguments: dict[str, Any], ctx: Any) -> str | None:
    """Return the key as a user's function would."""
    if arguments["tx"].id == "raise":
        raise RuntimeError("this function is broken")
    return arguments["tx"].id or None


@pytest.mark.parametrize("source", SOURCES)
def test_each_key_source_finds_its_key(source: str, serve: Serve) -> None:
    """A targeted key is recognised wherever the spec says that it is."""
    spec = {
        "weights": {"two": 1},
        "routing": {"key": {"transact": source}},
        "targets": {"two": {"keys": ["KEY"]}},
    }
    app = serve(service(spec))
    request = {"path": "/transact", "json": {"tx": {}}, **SOURCES[source]}
    assert marks(app.request("POST", **request))["reason"] == "targeted"
    assert marks(app.post("/transact", {"tx": {}}))["reason"] == "no_key"


def test_the_first_key_that_is_present_counts_and_endpoints_may_differ(serve: Serve) -> None:
    """A list names sources in order; a map gives each endpoint its own."""
    spec = {
        "weights": {"two": 1},
        "routing": {"key": {"transact": ["field:tx.id", "header:x-user"], "predict": "header:x-other"}},
        "targets": {"two": {"keys": ["KEY"]}},
    }
    app = serve(service(spec))
    user = {"x-user": "KEY"}
    assert marks(app.post("/transact", {"tx": {"id": "other"}}, headers=user))["reason"] == "split"
    assert marks(app.post("/transact", {"tx": {"owner": {}, "id": "KEY"}}))["reason"] == "targeted"
    assert marks(app.post("/predict", {}, headers=user))["reason"] == "no_key"
    assert marks(app.post("/predict", {}, headers={"x-other": "KEY"}))["reason"] == "targeted"
    assert marks(app.post("/fail", {"status": 400}, headers=user))["reason"] == "no_key"


def test_an_odd_key_in_the_head_costs_no_answer(serve: Serve) -> None:
    """Empty, 10 kB, not UTF-8: a key that cannot be hashed is no key; the request is served."""
    app = serve(service({"weights": {"two": 50}, "routing": {"key": ["header:x-user", "cookie:u"]}}))
    for key in (b"", b"x" * 10_240, b"\xff\xfe\xfa", "ü".encode() * 5_000):
        for name, value in ((b"x-user", key), (b"cookie", b"u=" + key)):
            answer = app.post("/predict", {}, headers=[(name, value)])
            assert (answer.status_code, marks(answer)["reason"]) == (200, "no_key")


def test_an_odd_key_in_the_body_costs_no_answer(serve: Serve) -> None:
    """An attribute that is no key (null, a boolean, NaN, a list, over 8 KiB) routes at random."""
    key = {"transact": "field:tx.owner.name"}
    app = serve(service({"weights": {"two": 50}, "routing": {"key": key}}))
    odd = ["", "x" * 10_240, "\ud800", None, True, 1.5, float("nan"), float("inf"), [1], {"a": 1}]
    for value in odd:
        content = json.dumps({"tx": {"owner": {"name": value}}}).encode()
        answer = app.post("/transact", content=content, headers={"content-type": "application/json"})
        if answer.status_code == 400:  # BentoML itself refuses a lone surrogate, bare or not
            assert (value, marks(answer)) == ("\ud800", {})
        else:
            assert (answer.status_code, marks(answer)["reason"]) == (200, "no_key"), value


def test_whole_numbers_and_their_text_are_one_key(serve: Serve) -> None:
    """7, 7.0 and "7" are the same key."""
    spec: dict[str, Any] = {"weights": {"two": 1}, "routing": {"key": {"transact": "field:tx.owner.n"}}}
    spec["targets"] = {"two": {"keys": ["7"]}}
    app = serve(service(spec))
    for key in (7, 7.0, "7"):
        assert marks(app.post("/transact", {"tx": {"owner": {"n": key}}}))["reason"] == "targeted"


def test_a_key_function_that_raises_costs_no_answer(serve: Serve) -> None:
    """The user's own function may fail: the request is routed at random."""
    app = serve(
        service(
            {"weights": {"two": 50}, "routing": {"key": {"transact": "tests.contract.test_headers:key_of"}}}
        )
    )
    answer = app.post("/transact", {"tx": {"id": "raise"}})
    assert (answer.status_code, marks(answer)["reason"]) == (200, "no_key")
