"""What a webhook is told of a service's cases, by a real receiver: and what it never is."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from bento_rollout.degrees import Degree
from bento_rollout.store.letters import task_name
from tests.contract.reading import (
    CANARY,
    answered,
    asking,
    certify,
    claimed,
    operator,
    people_of,
    service,
)
from tests.contract.serving import Served
from tests.contract.test_automation import eventually
from tests.places import behind
from tests.unit.notices import KEY, Listener, listening, saying, silent


@pytest.fixture(autouse=True)
def _surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK_KEY", KEY)
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


@pytest.fixture
def receiver() -> Iterator[Listener]:
    """A server that takes what it is told."""
    with listening(saying(204)) as server:
        yield server


def hooked(receiver: Listener, **more: Any) -> dict[str, Any]:
    """Return the settings of a review that tells the receiver."""
    review = more.pop("review", {})
    return {"webhook": {"url": receiver.url, "secret": "env:HOOK_KEY", **more}, **review}


def told(receiver: Listener, kind: str = "") -> list[dict[str, Any]]:
    """Return what a receiver was told, or of one kind."""
    messages = [json.loads(one.body) for one in receiver.asked]
    return [one for one in messages if one["type"] == kind or not kind]


def data(receiver: Listener, kind: str) -> dict[str, Any]:
    """Return what the first message of a kind tells, when it is there."""
    found: dict[str, Any] = eventually(lambda: told(receiver, kind), 20)[0]["data"]
    return found


def test_a_case_is_told_of_and_its_end(serve: Callable[..., Served], receiver: Listener) -> None:
    """The caller's own system finds its case by the prediction's id, and the answer where it may have it."""
    review = hooked(receiver, answer=True, console="https://s.example.com")
    served = serve(service("human", "read", limit=60.0, review=review))
    response = served.post("/read", {"text": "x"}, headers={"Prefer": "respond-async"})
    claim = answered(people_of(served))
    decided, opened = data(receiver, "case.decided"), data(receiver, "case.opened")
    assert opened["prediction_id"] == decided["prediction_id"] == response.json()["prediction_id"]
    assert opened["task"] == decided["task"] == task_name(claim.case.id)
    assert opened["console"] == "https://s.example.com/rollout/console/review"
    assert (decided["decided_by"], decided["status"]) == ("human", "answered")
    assert decided["answer"] == {"label": "benign", "score": 1.0}
    assert served.get(response.headers["location"]).json()["answer"] == decided["answer"]


def test_nothing_of_the_model_is_told_at_degree_shadow(
    serve: Callable[..., Served], receiver: Listener
) -> None:
    """Nor of the input, the key, or what lets a caller read the decision; before the answer or after."""
    served = serve(service("shadow", "read", limit=60.0, review=hooked(receiver)))
    people = people_of(served)
    headers = {"Prefer": "respond-async", "Authorization": "Bearer caller-secret"}
    response = served.post("/read", {"text": "patient-7"}, headers=headers)
    eventually(lambda: served.predictions)
    with closing(behind(people.reviews.path.parent, "reviews")) as db:
        eventually(lambda: db.execute("SELECT count(*) FROM suggestions").fetchone()[0])
    opened = data(receiver, "case.opened")
    assert (opened["why"], opened["selection"]) == ([], "all")
    task = claimed(people).case.id
    served.stop()
    before = [one.body.decode() + str(one.headers) for one in receiver.asked]
    assert before
    for text in before:
        for secret in (CANARY, "31337", "malignant", "0.97", "patient-7", "caller-secret", task):
            assert secret not in text
    assert task in response.headers["location"]


def test_the_answer_is_not_told_unless_it_is_asked_for(
    serve: Callable[..., Served], receiver: Listener
) -> None:
    """The end says who decided, and not what."""
    served = serve(service("shadow", "read", limit=60.0, review=hooked(receiver)))
    waiting = asking(served, "read")
    answered(people_of(served), "benign")
    waiting.result(20)
    assert "answer" not in data(receiver, "case.decided")
    assert not any("benign" in one.body.decode() for one in receiver.asked)


def test_an_unsure_model_is_not_told_of_where_it_is_hidden(
    serve: Callable[..., Served], receiver: Listener
) -> None:
    """At degree partial the score stands in why: it is told where reviewers see it, and nowhere else."""
    for suggestion, expected in (
        ("after_answer", ([], "all")),
        ("shown", (["score 0.5 below 0.9"], "unsure")),
    ):
        receiver.asked.clear()
        review = hooked(receiver, review={"suggestion": suggestion, "blind_rate": 0})
        served = serve(service("assist", "read", limit=60.0, audit={"rate": 0}, review=review))
        certify(served, "read", "partial", threshold=0.9)
        type(served.site.instance).says = {"label": "malignant", "score": 0.5}
        served.post("/read", {"text": "x"}, headers={"Prefer": "respond-async"})
        opened = data(receiver, "case.opened")
        assert (opened["why"], opened["selection"]) == expected
        served.stop()


def test_too_many_cases_and_a_degree_that_fell_are_told(
    serve: Callable[..., Served], receiver: Listener
) -> None:
    """Once each; the degree by who took it away, and why."""
    review = hooked(receiver, review={"overflow": {"max_open": 1, "action": "reject"}})
    served = serve(service("assist", "read", limit=60.0, review=review))
    for _ in range(3):
        served.post("/read", {"text": "x"}, headers={"Prefer": "respond-async"})
    assert data(receiver, "case.overflowed")["most"] == 1
    certify(served, "read", "partial")
    raised = data(receiver, "degree.changed")
    assert (raised["was"], raised["degree"], raised["author"]) == ("assist", "partial", "ann")
    receiver.asked.clear()
    operator(served).demote("read", Degree.SHADOW, "9 of 40 audits were wrong")
    fallen = data(receiver, "degree.changed")
    assert (fallen["was"], fallen["degree"], fallen["author"]) == ("partial", "shadow", "automation")
    assert fallen["reason"] == "9 of 40 audits were wrong"
    answered(people_of(served))
    data(receiver, "case.decided")
    assert len(told(receiver, "degree.changed")) == 1


def test_a_receiver_that_is_silent_costs_no_call_anything(serve: Callable[..., Served]) -> None:
    """Calls are held, answered and ended while it is waited for."""
    with listening(silent) as server:
        served = serve(service("human", "plain", limit=60.0, review=hooked(server)))
        first = asking(served, "plain")
        answered(people_of(served), "benign")
        assert first.result(20).text == "benign"
        eventually(lambda: server.asked, 20)
        for _ in range(5):
            waiting = asking(served, "plain")
            answered(people_of(served), "malignant")
            assert waiting.result(20).text == "malignant"
    assert len(server.asked) == 1
