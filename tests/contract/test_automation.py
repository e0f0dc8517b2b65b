"""Every degree of automation in process: who answers, what is kept, and what nobody may see."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import bentoml
import pytest
from bentoml.exceptions import InvalidArgument
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from bento_rollout import Variant
from bento_rollout.bento import people as people_module
from bento_rollout.degrees import Degree
from bento_rollout.errors import InvalidValue
from bento_rollout.reviewing import Given, Selection, Status, Visibility
from tests.contract.reading import (
    BODIES,
    CANARY,
    KINDS,
    Reading,
    answered,
    asking,
    certify,
    claimed,
    operator,
    people_of,
    reading,
    service,
    spec_of,
)
from tests.contract.serving import Served
from tests.places import behind
from tests.states import fill, mounted


def eventually(condition: Callable[[], Any], seconds: float = 15.0) -> Any:
    """Return the first truth that a condition has, within a generous time."""
    until = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < until, "it never came true"
        time.sleep(0.02)
    return value


@pytest.mark.parametrize("degree", ["human", "shadow", "assist"])
@pytest.mark.parametrize("endpoint", list(BODIES))
def test_a_person_answers_a_held_call(serve: Callable[..., Served], degree: str, endpoint: str) -> None:
    """At the first three degrees the caller gets what a person chose, as the endpoint would have said it."""
    served = serve(service(degree, endpoint, limit=30.0))
    people, waiting = people_of(served), asking(served, endpoint)
    choice = "benign" if endpoint != "upload" else "looks fine"
    claim = answered(people, choice)
    response = waiting.result(20)
    assert response.status_code == 200
    assert response.headers["x-rollout-decided-by"] == "human"
    assert "x-rollout-variant" not in response.headers
    assert "x-canary" not in response.headers
    assert CANARY not in response.text
    assert claim.case.input.kind == KINDS[endpoint]
    expected = {
        "read": {"label": "benign", "score": 1.0},
        "plain": "benign",
        "rows": [[1.0, 0.0]],
        "frame": [1.0, 0.0],
        "image": "benign",
        "upload": "looks fine",
    }[endpoint]
    got = response.text if endpoint in ("plain", "image", "upload") else response.json()
    assert got == expected
    place = served.get(f"/rollout/decisions/{claim.case.id}")
    assert place.json() == {"status": "answered", "answer": expected, "decided_by": "human"}


# -- held, and not -----------------------------------------------------------------------------------------


def test_a_call_that_nobody_decides_is_told_the_place(serve: Callable[..., Served]) -> None:
    """When the server's time is nearly up the caller gets 503 with the place of the decision."""
    served = serve(service("human", "plain", limit=1.0))
    response = served.post("/plain", {"age": 61})
    assert response.status_code == 503
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["type"].endswith("/decision-pending")
    assert int(response.headers["retry-after"]) > 0
    assert "x-rollout-decided-by" not in response.headers
    place = response.headers["location"]
    assert place.startswith("/rollout/decisions/")
    assert served.get(place).json() == {"status": "pending", "answer": None, "decided_by": None}
    answered(people_of(served), "malignant")
    assert served.get(place).json() == {"status": "answered", "answer": "malignant", "decided_by": "human"}
    assert served.get(place).headers["x-rollout-decided-by"] == "human"


def test_a_caller_may_prefer_not_to_wait(serve: Callable[..., Served]) -> None:
    """``Prefer: respond-async`` is answered at once by 202; ``wait`` is kept to."""
    served = serve(service("human", "plain", limit=60.0))
    response = served.post("/plain", {"age": 61}, headers={"Prefer": "respond-async"})
    assert response.status_code == 202
    assert response.json() == {
        "prediction_id": response.headers["x-rollout-prediction-id"],
        "status": "pending",
    }
    assert response.headers["preference-applied"] == "respond-async"
    assert served.get(response.headers["location"]).json()["status"] == "pending"
    assert served.post("/plain", {"age": 61}, headers={"Prefer": "wait=0"}).status_code == 503


def test_a_decision_is_found_by_its_caller_only(serve: Callable[..., Served]) -> None:
    """Who does not show what the call carried, unknown, malformed ids are told the same 404."""
    served = serve(service("human", "plain", limit=60.0, decisions={"require": "same"}))
    headers = {"Prefer": "respond-async", "Authorization": "Bearer mine"}
    place = served.post("/plain", {"age": 61}, headers=headers).headers["location"]
    assert served.get(place, headers={"Authorization": "Bearer mine"}).status_code == 200
    wrong = [
        served.get(place),
        served.get(place, headers={"Authorization": "Bearer other"}),
        served.get(f"/rollout/decisions/{'0' * 32}"),
        served.get("/rollout/decisions/odd"),
        served.get(place.upper().replace("/ROLLOUT/DECISIONS", "/rollout/decisions"), headers=headers),
    ]
    assert {(one.status_code, one.text) for one in wrong} == {(404, wrong[0].text)}


def test_who_leaves_takes_no_case_along(serve: Callable[..., Served]) -> None:
    """A caller that is gone leaves its case; its answer is found at the place all the same."""
    served = serve(service("human", "plain", limit=60.0))
    people, waiting = people_of(served), asking(served, "plain")
    eventually(lambda: people.held.waiting)
    waiting.cancel()
    claim = answered(people, "benign")
    decision = served.get(f"/rollout/decisions/{claim.case.id}").json()
    assert decision == {"status": "answered", "answer": "benign", "decided_by": "human"}
    eventually(lambda: not people.held.waiting)


def test_nobody_waits_longer_than_the_worker_lives(serve: Callable[..., Served]) -> None:
    """A worker that ends lets held calls go, with the place of the decision."""
    served = serve(service("human", "plain", limit=60.0))
    people, waiting = people_of(served), asking(served, "plain")
    eventually(lambda: people.held.waiting)
    people.held.close()
    assert waiting.result(10).status_code == 503


def test_an_answer_that_is_no_output_is_refused(serve: Callable[..., Served]) -> None:
    """What a person chose is validated as the endpoint's own output is; else nothing is kept."""
    served = serve(service("human", "plain", limit=60.0, review={"answer": lambda *_: "odd"}))
    people, waiting = people_of(served), asking(served, "plain")
    claim = claimed(people)
    with pytest.raises(ValueError, match="no output of endpoint 'plain'"):
        people.reviews.answer(claim.case.id, "ann", claim.token, Given("benign"), make=people.make)
    assert people.reviews.open("plain") == 1
    waiting.cancel()


# -- the degrees -------------------------------------------------------------------------------------------


def test_at_degree_human_the_model_does_not_run(serve: Callable[..., Served]) -> None:
    """Nobody asks the model, and the prediction is told of all the same: nobody ran, and a person decided."""
    served = serve(service("human", "read", limit=60.0))
    waiting = asking(served, "read")
    answered(people_of(served))
    assert waiting.result(10).json() == {"label": "benign", "score": 1.0}
    assert served.site.instance.ran == []
    prediction = eventually(lambda: served.predictions)[0]
    assert (prediction.degree, prediction.decided_by, prediction.runs) == ("human", "human", ())
    assert prediction.reply.body == b""


def test_at_degree_shadow_nothing_depends_on_the_model(
    serve: Callable[..., Served], capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A model that hangs holds nobody; what it says comes to the case later."""
    served = serve(service("shadow", "read", limit=60.0))
    people, held = people_of(served), threading.Event()
    type(served.site.instance).held = held
    waiting = asking(served, "read")
    claim = claimed(people)
    assert claim.case.visibility is Visibility.HIDDEN
    assert claim.case.suggestion is None
    given = claim.case.id, "ann", claim.token, Given("benign")
    people.reviews.answer(*given, make=people.make)
    response = waiting.result(10)  # while the model still hangs
    assert response.json() == {"label": "benign", "score": 1.0}
    held.set()
    (judged,) = eventually(lambda: people.reviews.judged("read"))
    assert (judged.label, judged.score, judged.wrong) == ("malignant", 0.97, True)
    prediction = eventually(lambda: served.predictions)[0]
    assert prediction.runs[-1].outcome.value == "ok"
    assert prediction.runs[-1].measures == ()


def test_what_the_model_says_is_nowhere_before_the_answer(
    serve: Callable[..., Served], capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """At degree shadow no response, header, page, log line, fact or ledger row holds what the model said."""
    served = serve(service("shadow", "read", limit=60.0))
    people = people_of(served)
    response = served.post("/read", {"text": "x"}, headers={"Prefer": "respond-async"})
    pages = [response, served.get(response.headers["location"])]
    eventually(lambda: served.predictions)  # the model has run, and that was told
    with closing(behind(people.reviews.path.parent, "reviews")) as db:
        eventually(lambda: db.execute("SELECT count(*) FROM suggestions").fetchone()[0])
    pages.append(served.get("/metrics"))
    claim = claimed(people)
    served.stop()
    told = [page.text + str(page.headers) for page in pages]
    told += [repr(claim.case), str(claim.case.input.content), *map(repr, served.facts)]
    told += [repr(tuple(one)) for one in served.predictions]
    captured = capfd.readouterr()
    told += [captured.out, captured.err]
    told += [
        file.read_bytes().decode("latin-1")
        for file in tmp_path.rglob("*")
        if file.is_file() and not file.name.startswith("reviews.db")
    ]
    for text in told:
        assert "canary" not in text.replace("x-canary", "canary").lower()
        assert "31337" not in text
        choices = "'benign', 'malignant'", '"benign","malignant"'  # which the case has, and the worker's card
        assert "malignant" not in text.replace(choices[0], "").replace(choices[1], "")


def test_spans_say_nothing_of_what_the_model_says(
    serve: Callable[..., Served], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At degree shadow no span is made of the model's run, and none holds what it said."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    served = serve(service("shadow", "read", limit=60.0))
    waiting = asking(served, "read")
    eventually(lambda: served.facts)  # the model has run
    answered(people_of(served))
    waiting.result(10)
    eventually(exporter.get_finished_spans)
    told = " ".join(span.to_json() for span in exporter.get_finished_spans())
    assert "read" in told
    assert not any(word in told for word in ("canary", "31337", "malignant", "0.97"))


def test_at_degree_assist_the_suggestion_comes_with_the_case(serve: Callable[..., Served]) -> None:
    """The model runs first; its answer is kept as its choice and score, and what it set goes nowhere."""
    served = serve(service("assist", "read", limit=60.0, review={"suggestion": "shown", "blind_rate": 0}))
    people, waiting = people_of(served), asking(served, "read")
    claim = answered(people)
    suggestion = claim.case.suggestion
    assert suggestion is not None
    assert (suggestion.choice, suggestion.score, suggestion.variant) == ("malignant", 0.97, "reading")
    response = waiting.result(10)
    assert "x-canary" not in response.headers
    assert CANARY not in response.text
    prediction = eventually(lambda: served.predictions)[0]
    assert (prediction.decided_by, prediction.degree, len(prediction.runs)) == ("human", "assist", 1)


def test_a_model_that_fails_leaves_the_case_to_the_person(serve: Callable[..., Served]) -> None:
    """At degree assist an error of the model's is no error of the call."""
    served = serve(service("assist", "read", limit=60.0))
    type(served.site.instance).says = RuntimeError(CANARY)
    people, waiting = people_of(served), asking(served, "read")
    assert answered(people).case.suggestion is None
    assert waiting.result(10).json()["label"] == "benign"


def test_at_degree_partial_the_model_decides_where_it_is_sure(serve: Callable[..., Served]) -> None:
    """A score from the certified threshold on is answered by the model, as it is; one below by a person."""
    served = serve(service("assist", "read", limit=60.0, audit={"rate": 0}))
    certify(served, "read", "partial", threshold=0.9)
    people = people_of(served)
    sure = served.post("/read", {"text": "x"})
    assert sure.json()["note"] == CANARY
    assert sure.headers["x-canary"] == CANARY
    assert sure.headers["x-rollout-decided-by"] == "model"
    assert sure.headers["x-rollout-variant"] == "reading"
    assert people.reviews.open("read") == 0
    type(served.site.instance).says = {"label": "malignant", "score": 0.89, "note": CANARY}
    waiting = asking(served, "read")
    claim = answered(people)
    assert (claim.case.why, claim.case.selection) == ((), Selection.ALL)  # the suggestion is hidden as yet
    (listed,) = people.reviews.list("read")
    assert (listed.selection, listed.why) == (Selection.UNSURE, ("score 0.89 below 0.9",))
    unsure = waiting.result(10)
    assert unsure.json() == {"label": "benign", "score": 1.0}
    assert "x-canary" not in unsure.headers
    assert unsure.headers["x-rollout-decided-by"] == "human"


def test_conditions_and_failures_send_a_call_to_a_person(serve: Callable[..., Served]) -> None:
    """What the spec asks about is decided by a person, and a model that failed; a caller's mistake is not."""
    condition = {"when": lambda arguments, output: arguments["text"] == "odd"}
    review = {"suggestion": "shown", "blind_rate": 0}
    settings = {"audit": {"rate": 0}, "ask_when": [condition], "review": review}
    served = serve(service("assist", "read", limit=60.0, **settings))
    certify(served, "read", "partial")
    people, waiting = people_of(served), asking(served, "read", json={"text": "odd"})
    assert answered(people).case.why[0].endswith("asks")
    assert waiting.result(10).headers["x-rollout-decided-by"] == "human"
    type(served.site.instance).says = RuntimeError(CANARY)
    waiting = asking(served, "read")
    assert answered(people).case.why == ("the model failed",)
    waiting.result(10)
    type(served.site.instance).says = InvalidArgument("too short")
    refused = served.post("/read", {"text": ""})
    assert (refused.status_code, refused.headers["x-rollout-decided-by"]) == (400, "model")
    assert people.reviews.open("read") == 0


@pytest.mark.parametrize("degree", ["partial", "full"])
def test_audits_go_to_people_without_anybody_waiting(serve: Callable[..., Served], degree: str) -> None:
    """What was drawn is answered by the model, and a person looks at it, who does not see what it said."""
    score = lambda output: 0.95  # noqa: E731 - what the model says is one word
    served = serve(service("assist", "image", limit=60.0, audit={"rate": "100%"}, score=score))
    certify(served, "image", degree, threshold=0.9)
    people = people_of(served)
    response = served.request("POST", "/image", **BODIES["image"])
    assert (response.status_code, response.text) == (201, "malignant")
    assert response.headers["x-rollout-decided-by"] == "model"
    claim = claimed(people)
    (listed,) = people.reviews.list("image")
    assert (listed.selection, listed.degree.word, listed.held) == (Selection.AUDIT, degree, False)
    assert claim.case.input.kind == "image"
    assert (claim.case.suggestion, claim.case.selection) == (None, Selection.ALL)
    people.reviews.answer(claim.case.id, "ann", claim.token, Given("benign"), make=people.make)
    (judged,) = people.reviews.judged("image")
    assert (judged.selection, judged.probability, judged.wrong) == (Selection.AUDIT, 1.0, True)
    assert (judged.score, judged.independent) == (0.95, True)


def test_at_degree_full_nobody_is_asked(serve: Callable[..., Served]) -> None:
    """The model answers, errors included; the answer says who decided."""
    served = serve(service("assist", "read", limit=60.0, audit={"rate": "1%"}))
    certify(served, "read", "full")
    assert served.post("/read", {"text": "x"}).headers["x-rollout-decided-by"] == "model"
    type(served.site.instance).says = RuntimeError("no")
    assert served.post("/read", {"text": "x"}).status_code == 500


def test_another_model_than_was_certified_does_not_decide(serve: Callable[..., Served]) -> None:
    """A candidate with weight answers at the degree that was certified for it: at shadow, when none was."""
    candidate = bentoml.service(name="other")(
        type("Other", (Reading,), {"says": {"label": "odd"}, "ran": []})
    )
    spec = spec_of("assist", "read")
    served = serve(reading(spec, limit=60.0, champion="first", candidates={"second": Variant(candidate)}))
    certify(served, "read", "partial")
    operator(served).set_weights({"second": 100})
    waiting = asking(served, "read")
    claim = answered(people_of(served))
    assert claim.case.degree.word == "shadow"
    assert waiting.result(10).headers["x-rollout-decided-by"] == "human"


# -- when it does not go well ------------------------------------------------------------------------------


@pytest.mark.parametrize("action", ["model", "default", "reject", "wait"])
def test_overflow_does_what_the_spec_says(serve: Callable[..., Served], action: str) -> None:
    """With as many cases open as may be, the model or the default answers, or the call is refused or kept."""
    review = {"overflow": {"max_open": 1, "action": action}, "default": "benign"}
    served = serve(service("assist", "read", limit=60.0, review=review))
    people = people_of(served)
    waiting = asking(served, "read")
    eventually(lambda: people.reviews.open("read"))
    response = served.post("/read", {"text": "x"})
    by = response.headers.get("x-rollout-decided-by")
    if action == "model":
        assert (response.json()["note"], by) == (CANARY, "model")
        assert response.headers["x-canary"] == CANARY
    elif action == "default":
        assert (response.json(), by) == ({"label": "benign", "score": 1.0}, "default")
    elif action == "reject":
        assert response.json()["type"].endswith("/queue-full")
        assert (response.status_code, by) == (503, None)
        assert int(response.headers["retry-after"]) > 0
    else:
        assert response.json()["type"].endswith("/decision-pending")
        assert served.get(response.headers["location"]).json()["status"] == "pending"
    assert people.reviews.open("read") == (2 if action == "wait" else 1)
    waiting.cancel()


@pytest.mark.parametrize("way", ["model", "default", "reject"])
def test_timeouts_do_what_the_spec_says(serve: Callable[..., Served], way: str) -> None:
    """What nobody decided in time is answered by the model, by the default, or not at all."""
    review = {"on_timeout": way, "due": "100ms", "default": "benign"}
    served = serve(service("assist", "read", limit=60.0, review=review))
    response = asking(served, "read").result(20)
    by = response.headers.get("x-rollout-decided-by")
    if way == "reject":
        assert response.json()["type"].endswith("/decision-rejected")
        assert (response.status_code, by) == (503, None)
    else:
        assert response.json()["label"] == ("malignant" if way == "model" else "benign")
        assert (response.status_code, by) == (200, way)
    assert people_of(served).reviews.open("read") == 0


def test_what_fell_to_shadow_is_not_answered_by_the_model_in_time(serve: Callable[..., Served]) -> None:
    """A degree may fall to shadow by itself beside ``on_timeout: model``: then the case waits."""
    review = {"on_timeout": "model", "due": "100ms"}
    served = serve(service("assist", "read", limit=60.0, review=review))
    operator(served).demote("read", Degree.SHADOW, "audits refuted it")
    waiting = asking(served, "read")
    case = answered(people_of(served)).case
    assert (case.degree, case.on_timeout) == (Degree.SHADOW, "wait")
    response = waiting.result(20)
    assert (response.json()["label"], response.headers["x-rollout-decided-by"]) == ("benign", "human")


def test_a_case_with_choices_of_an_earlier_spec_says_what_to_do(serve: Callable[..., Served]) -> None:
    """Where no choice of a case is an output any more, neither old nor new ones being taken, it is told."""
    served = serve(service("human", "plain", limit=60.0))
    people, waiting = people_of(served), asking(served, "plain")
    claim = claimed(people)
    old = replace(claim.case, choices=("fine", "odd"))
    with pytest.raises(InvalidValue, match="the choices were fine, odd; the service has benign"):
        people.make(old, Given("fine"))
    assert people.reviews.withdraw([old.id], who="ann", why="other choices") == 1
    assert waiting.result(20).status_code == 503


def broken(served: Served, how: str) -> Any:
    """Make the reviews unusable; return what mends them."""
    people = people_of(served)
    path = people.reviews.path
    if how == "locked":
        people.reviews.note("ann", "begun")
        db = behind(people.reviews.path.parent, "reviews")
        db.execute("BEGIN IMMEDIATE")
        return db.close
    path.unlink(missing_ok=True)
    path.mkdir()
    return path.rmdir


@pytest.mark.parametrize("how", ["locked", "a folder"])
@pytest.mark.parametrize("degree", ["human", "shadow", "assist"])
def test_without_reviews_the_first_degrees_refuse(
    serve: Callable[..., Served], degree: str, how: str
) -> None:
    """When cases cannot be kept the caller is told so at once, and served again when they can."""
    served = serve(service(degree, "plain", limit=60.0))
    mend = broken(served, how)
    response = served.post("/plain", {"age": 61})
    assert response.status_code == 503
    assert response.json()["type"].endswith("/reviews-unreachable")
    assert people_of(served).unreachable
    mend()
    eventually(lambda: not people_of(served).unreachable)
    waiting = asking(served, "plain")
    answered(people_of(served), "benign")
    assert waiting.result(10).text == "benign"


@pytest.mark.fault
def test_a_full_disk_refuses_and_is_over_with_space(serve: Callable[..., Served], tmp_path: Path) -> None:
    """On a full disk a call that a person must decide is refused; with space people are asked again."""
    with mounted(tmp_path / "small", "4m"):
        served = serve(service("human", "plain", limit=60.0), store="small/rollouts.db")
        people, waiting = people_of(served), asking(served, "plain")
        answered(people, "benign")
        assert waiting.result(10).text == "benign"
        fill(tmp_path / "small")
        statuses = {served.post("/plain", {"age": 61, "smoker": True}).status_code for _ in range(3)}
        assert statuses == {503}
        (tmp_path / "small" / "ballast").unlink()
        eventually(lambda: not people.unreachable)
        waiting = asking(served, "plain")
        answered(people, "malignant")
        assert waiting.result(10).text == "malignant"
        served.stop()


@pytest.mark.parametrize("unreachable", ["closed", "open"])
def test_without_reviews_the_model_decides_only_where_that_was_chosen(
    serve: Callable[..., Served], unreachable: str
) -> None:
    """A call that needs a person, or would be audited, is refused, or with ``open`` answered by the model."""
    served = serve(service("assist", "read", limit=60.0, audit={"rate": "100%"}, unreachable=unreachable))
    certify(served, "read", "partial", threshold=0.9)
    mend = broken(served, "a folder")
    type(served.site.instance).says = {"label": "malignant", "score": 0.5}
    expected = 503 if unreachable == "closed" else 200
    assert served.post("/read", {"text": "x"}).status_code == expected
    type(served.site.instance).says = None
    assert served.post("/read", {"text": "x"}).status_code == expected
    mend()


def test_display_is_all_that_is_kept_of_a_reference(serve: Callable[..., Served]) -> None:
    """With ``inputs: reference`` reviewers get what ``display:`` returns; one that raises costs nothing."""
    shows: list[Any] = ["https://pacs/7"]

    def display(arguments: dict[str, Any]) -> str:
        if isinstance(shows[0], Exception):
            raise shows[0]
        return str(shows[0])

    review = {"inputs": "reference", "display": display}
    served = serve(service("human", "plain", limit=60.0, review=review))
    people = people_of(served)
    for value, kind in (("https://pacs/7", "link"), ("patient 7", "text"), (ValueError(CANARY), "text")):
        shows[0] = value
        waiting = asking(served, "plain")
        claim = answered(people)
        assert claim.case.input.kind == kind
        assert CANARY not in str(claim.case.input.content)
        assert waiting.result(10).status_code == 200


# -- audits take degrees away ------------------------------------------------------------------------------


def test_a_model_that_audits_refute_is_demoted(serve: Callable[..., Served]) -> None:
    """When people find the model wrong too often its degree goes down by itself, and people decide again."""
    served = serve(service("assist", "read", limit=60.0, audit={"rate": "100%"}))
    certify(served, "read", "full")
    people = people_of(served)
    for _ in range(60):
        if operator(served).state.automation["read"].degree.word == "shadow":
            break
        served.post("/read", {"text": "x"})
        answered(people, "benign")
    standing = eventually(lambda: (one := operator(served).state.automation["read"]).demoted and one)
    assert "audits found the model wrong, and at most" in standing.demoted
    assert (standing.degree.word, standing.author) == ("shadow", "automation")
    waiting = asking(served, "read")
    answered(people, "benign")
    assert waiting.result(10).headers["x-rollout-decided-by"] == "human"
    # What was certified since is not taken away for what was known before.
    certify(served, "read", "full")
    people._watch()
    assert operator(served).state.automation["read"].degree.word == "full"
    assert people.reviews.alarmed("read", operator(served).state.champions_digest)


def test_a_candidate_that_audits_refute_decides_no_more(serve: Callable[..., Served]) -> None:
    """Whoever decides a part of the traffic by an old certificate is watched as the champion is."""
    spec = spec_of("assist", "read", audit={"rate": "100%"})
    candidate = bentoml.service(name="other")(
        type("Other", (Reading,), {"says": {"label": "malignant", "score": 0.99}, "ran": []})
    )
    served = serve(reading(spec, limit=60.0, champion="first", candidates={"other": Variant(candidate)}))
    certify(served, "read", "full")
    rolled, people = operator(served), people_of(served)
    digest = served.site.digests()["other"]

    def as_before(state: Any, _: Any) -> Any:
        standing = state.automation["read"]
        old = standing.certificates[0].model_copy(update={"digest": digest, "variant": "other"})
        return state.model_copy(update={"automation": {"read": standing.certified(old)}})

    def ended() -> bool:
        found = people._feed.commit.state.automation["read"].certificate(digest)  # as the worker has it
        return found is not None and bool(found.revoked)

    rolled._desk.change("calibrate", as_before, "", None)
    rolled.set_weights({"other": 100})
    for _ in range(60):
        if ended():
            break
        response = served.post("/read", {"text": "x"})
        if response.headers["x-rollout-decided-by"] == "model":
            answered(people, "benign")
    assert eventually(ended)
    assert rolled.state.automation["read"].degree.word == "full"
    waiting = asking(served, "read")
    answered(people, "benign")
    assert waiting.result(10).headers["x-rollout-decided-by"] == "human"


# -- tasks -------------------------------------------------------------------------------------------------


def test_a_task_stays_in_progress_until_a_person_decides(serve: Callable[..., Served]) -> None:
    """A task's result is the person's choice; until then it is in progress."""
    served = serve(service("shadow", "job", limit=60.0))
    people = people_of(served)
    task = asking(served, "job", path="/job/submit", json={"text": "x"})
    claim = claimed(people)
    assert claim.case.input.content == "x"
    task_id = {"task_id": eventually(lambda: _task_of(served, claim.case.id))}
    assert served.get("/job/status", params=task_id).json()["status"] == "in_progress"
    assert served.get("/job/get", params=task_id).status_code == 400
    people.reviews.answer(claim.case.id, "ann", claim.token, Given("benign"), make=people.make)
    assert task.result(10).status_code == 200
    result = eventually(lambda: (one := served.get("/job/get", params=task_id)).is_success and one)
    assert (result.text, result.headers["x-rollout-decided-by"]) == ("benign", "human")
    assert served.get("/job/status", params=task_id).json()["status"] == "completed"


def test_a_task_whose_worker_ended_has_its_decision(serve: Callable[..., Served]) -> None:
    """Who asks another worker for the task's result gets what a person decided meanwhile."""
    first = serve(service("human", "job", limit=60.0), store="shared.db")
    asking(first, "job", path="/job/submit", json={"text": "x"})
    claim = claimed(people_of(first))
    task_id = {"task_id": eventually(lambda: _task_of(first, claim.case.id))}
    first.stop()
    second = serve(service("human", "job", limit=60.0), store="shared.db")
    assert second.get("/job/status", params=task_id).json()["status"] == "in_progress"
    people = people_of(second)
    people.reviews.answer(claim.case.id, "ann", claim.token, Given("benign"), make=people.make)
    assert second.get("/job/status", params=task_id).json()["status"] == "completed"
    result = second.get("/job/get", params=task_id)
    assert (result.text, result.headers["x-rollout-decided-by"]) == ("benign", "human")


def _task_of(served: Served, case: str) -> str | None:
    """Return the id of the task that waits for a case."""
    with closing(sqlite3.connect(f"{served.site.serving.tasks._path()}.plans")) as db:
        row = db.execute("SELECT task_id FROM plan WHERE plan LIKE ?", (f"%{case}%",)).fetchone()
    return None if row is None else str(row[0])


def test_degrees_are_read_from_the_state_at_each_call(serve: Callable[..., Served]) -> None:
    """A degree that an operator sets holds for the next call."""
    served = serve(service("shadow", "plain", limit=60.0))
    operator(served).set_degree("plain", "human")
    waiting = asking(served, "plain")
    assert answered(people_of(served)).case.degree.word == "human"
    assert waiting.result(10).status_code == 200
    assert people_of(served).reviews.list(status=Status.ANSWERED)


def test_cases_of_before_a_fall_hide_what_the_model_says(serve: Callable[..., Served]) -> None:
    """Asked at assist and answered after a fall to shadow: nobody is shown the suggestion."""
    served = serve(service("assist", "read"))
    asked = served.post("/read", json={"text": "two nodules"}, headers={"Prefer": "respond-async"})
    assert asked.status_code == 202
    people = people_of(served)
    operator(served).set_degree("read", "shadow", reason="to look again")
    time.sleep(2 * people_module.EACH)  # it is looked at each so often
    claim = claimed(people)
    assert claim.case.visibility is Visibility.HIDDEN
    found = people.reviews.answer(claim.case.id, "ann", claim.token, Given("benign"), make=people.make)
    assert (found.status, found.suggestion) == ("done", None)
