"""What inputs, callers, functions of the user's and clocks may do to the degrees of automation."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from starlette.responses import StreamingResponse

from bento_rollout import holding
from bento_rollout.bento import cases, making
from bento_rollout.errors import InvalidValue
from bento_rollout.reviewing import Given
from tests.contract.reading import answered, asking, certify, claimed, operator, people_of, service
from tests.contract.serving import Served
from tests.contract.test_automation import eventually

HALF = "\ud83d"
"""Half of a pair of surrogates: no character."""

JSON = {"Content-Type": "application/json", "Prefer": "respond-async"}


class Hangs:
    """A function that returns when the test is over.

    Attributes:
        calls: how often it was called.
    """

    def __init__(self) -> None:
        self.over, self.calls = threading.Event(), 0

    def __call__(self, *_: Any) -> str:
        self.calls += 1
        self.over.wait(60)
        return "late"


@pytest.fixture
def hangs() -> Iterator[Hangs]:
    """A function of the user's that hangs."""
    hanging = Hangs()
    yield hanging
    hanging.over.set()


def test_half_a_character_is_asked_about(serve: Callable[..., Served]) -> None:
    """A text that no file can hold does not keep a case from people: not the model's, nor an input's."""
    review = {"inputs": "reference", "display": lambda _: HALF}
    served = serve(service("assist", "read", limit=60.0, review=review))
    type(served.site.instance).says = {"label": HALF, "score": 0.5}
    response = served.post("/read", {"text": "x"}, headers={"Prefer": "respond-async"})
    assert response.status_code == 202
    assert answered(people_of(served)).case.input.content == "\\ud83d"
    assert served.get(response.headers["location"]).json()["decided_by"] == "human"


def test_a_huge_input_is_asked_about(serve: Callable[..., Served]) -> None:
    """Ten megabytes of numbers, or of text, are shown as their beginning."""
    served = serve(service("human", "read", "rows", limit=60.0))
    rows = json.dumps({"rows": [[0.5] * 1000] * 1000}).encode()
    for path, content in (("/rows", rows), ("/read", json.dumps({"text": "x" * 10_000_000}).encode())):
        assert served.request("POST", path, content=content, headers=JSON).status_code == 202
        assert len(json.dumps(claimed(people_of(served)).case.input.content)) < 1_000_000


@pytest.mark.parametrize(
    "prefer", ["wait=abc", "wait=-1", "wait=1e3", "wait=", "wait", ";;,=,", "wait=99999999"]
)
def test_what_is_no_preference_is_passed_over(serve: Callable[..., Served], prefer: str) -> None:
    """The call is held as if nothing had been said."""
    served = serve(service("human", "plain", limit=60.0))
    people, waiting = people_of(served), asking(served, "plain", headers={"Prefer": prefer})
    answered(people, "benign")
    assert waiting.result(10).text == "benign"


def test_only_the_whole_id_finds_a_decision(serve: Callable[..., Served]) -> None:
    """Not a part of it, nor another way to write it, nor that of the prediction; nor what has expired."""
    served = serve(service("human", "plain", limit=60.0, decisions={"require": "none", "keep": "1s"}))
    response = served.post("/plain", {"age": 61}, headers={"Prefer": "respond-async"})
    place = response.headers["location"]
    path, _, name = place.rpartition("/")
    odd = [
        name[:-1], name[:8], name + "0", name.upper(), "%20" + name, name + "%0A", "*", "..", "%00",
        f"{name[:8]}-{name[8:12]}-{name[12:16]}-{name[16:20]}-{name[20:]}", "\N{FULLWIDTH DIGIT ONE}" * 32,
        response.headers["x-rollout-prediction-id"], "a" * 10_000, "%ff" * 32, f"{int(name, 16) ^ 1:032x}",
    ]  # fmt: skip
    assert served.get(place).status_code == 200
    assert {served.get(f"{path}/{one}").status_code for one in odd} == {404}
    answered(people_of(served), "benign")
    assert served.get(place).json()["status"] == "answered"
    eventually(lambda: served.get(place).status_code == 404)


# -- functions of the user's -------------------------------------------------------------------------------


def endless() -> Iterator[str]:
    """Never end."""
    while True:
        yield "x" * 1_000_000


WRONG: list[Any] = [
    object(),
    b"\xff",
    {"benign": 1},
    None,
    float("nan"),
    StreamingResponse(endless()),
]


@pytest.mark.parametrize("returns", WRONG, ids=lambda value: type(value).__name__)
def test_an_answer_of_a_wrong_kind_is_refused(serve: Callable[..., Served], returns: Any) -> None:
    """Whatever ``answer:`` returns, also what has no end, the reviewer is told, and nothing is kept."""
    served = serve(service("human", "plain", limit=60.0, review={"answer": lambda *_: returns}))
    people, waiting = people_of(served), asking(served, "plain")
    claim = claimed(people)
    with pytest.raises(InvalidValue, match=r"no output|more than 64 MiB"):
        people.reviews.answer(claim.case.id, "ann", claim.token, Given("benign"), make=people.make)
    assert people.reviews.open("plain") == 1
    waiting.cancel()


def test_an_answer_that_is_a_stream_is_kept_whole(serve: Callable[..., Served]) -> None:
    """A response of the user's own is sent byte for byte, also one that comes in parts."""
    streamed = {"answer": lambda *_: StreamingResponse(iter(["be", "ni", "gn"]), media_type="text/plain")}
    served = serve(service("human", "plain", limit=60.0, review=streamed))
    people, waiting = people_of(served), asking(served, "plain")
    answered(people, "benign")
    assert waiting.result(10).text == "benign"


def test_an_answer_that_hangs_holds_nobody(
    serve: Callable[..., Served], monkeypatch: pytest.MonkeyPatch, hangs: Hangs
) -> None:
    """The reviewer is told after a while; meanwhile cases come in, and audits take degrees away."""
    monkeypatch.setattr(making, "PATIENCE", 30.0)
    review = {"answer": hangs, "on_timeout": "default", "default": "benign", "due": "100ms"}
    served = serve(service("assist", "read", limit=60.0, review=review, audit={"rate": "100%"}))
    people, waiting = people_of(served), asking(served, "read")
    eventually(lambda: hangs.calls)  # what settles is held up for long
    waiting.cancel()
    assert served.post("/read", {"text": "x"}, headers={"Prefer": "respond-async"}).status_code == 202
    certify(served, "read", "full")
    monkeypatch.setattr(people.reviews, "alarmed", lambda *_: True)
    monkeypatch.setattr(people, "_refutation", lambda *_: "audits say so")
    eventually(lambda: operator(served).state.automation["read"].degree.word == "shadow", 10)


def test_a_display_that_hangs_is_left_alone(
    serve: Callable[..., Served], monkeypatch: pytest.MonkeyPatch, hangs: Hangs
) -> None:
    """The first case waits for it, the others do not; and callers get their place all the same."""
    monkeypatch.setattr(cases, "DISPLAY", 0.2)
    review = {"inputs": "reference", "display": hangs}
    served = serve(service("human", "plain", limit=60.0, review=review))
    for _ in range(5):
        headers = {"Prefer": "respond-async"}
        assert served.post("/plain", {"age": 61}, headers=headers).status_code == 202
    assert hangs.calls == 1
    assert claimed(people_of(served)).case.input.content == "(display: no answer in time)"


def test_an_answer_that_no_file_can_hold_is_refused(serve: Callable[..., Served]) -> None:
    """Half a character in what a reviewer writes is their mistake, and not the queue's."""
    served = serve(service("human", "upload", limit=60.0))
    people, waiting = people_of(served), asking(served, "upload")
    claim = claimed(people)
    for given in (Given(HALF), Given("fine", comment=HALF)):
        with pytest.raises(InvalidValue, match="cannot be kept: UnicodeEncodeError"):
            people.reviews.answer(claim.case.id, "ann", claim.token, given, make=people.make)
    assert not people.unreachable
    waiting.cancel()


# -- clocks ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("jump", [-7200.0, 7200.0])
def test_a_clock_that_jumps_holds_nobody_longer_nor_shorter(
    serve: Callable[..., Served], monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    """While a model runs the clock is set: the call is held for the rest of its time all the same."""
    served = serve(service("assist", "read", limit=2.0))
    people, held, real = people_of(served), threading.Event(), time.time
    type(served.site.instance).held = held
    began = time.monotonic()
    waiting = asking(served, "read")
    eventually(lambda: served.site.instance.ran)
    monkeypatch.setattr("bento_rollout.bento.automated.time.time", lambda: real() + jump)
    held.set()
    eventually(lambda: people.held.waiting)
    response = waiting.result(20)
    assert response.json()["type"].endswith("/decision-pending")
    assert time.monotonic() - began > 1.0


@pytest.mark.parametrize("endpoint", ["plain", "job"])
def test_who_waits_for_a_forgotten_case_is_told(
    serve: Callable[..., Served], monkeypatch: pytest.MonkeyPatch, endpoint: str
) -> None:
    """A case that was deleted on somebody's wish leaves no call held, and no task in progress for ever."""
    monkeypatch.setattr(holding, "EACH", 0.05)
    served = serve(service("human", endpoint, limit=60.0))
    people = people_of(served)
    more = {"path": "/job/submit", "json": {"text": "x"}} if endpoint == "job" else {}
    waiting = asking(served, endpoint, **more)
    case = claimed(people).case
    assert people.reviews.forget([case.prediction_id]) == 1
    response = waiting.result(20)
    if endpoint == "job":
        response = served.get("/job/get", params={"task_id": response.json()["task_id"]})
    assert response.status_code == 503
    assert response.json()["type"].endswith("/decision-withdrawn")
    assert response.json()["prediction_id"] == case.prediction_id
    assert not people.held.waiting
