"""Lines of a service that serves: one for each prediction, whatever its kind, and what arguments tell."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncGenerator, Callable
from typing import Any

import bentoml
import pytest
import structlog
from bentoml.exceptions import InvalidArgument
from pydantic import BaseModel

from bento_rollout import RolloutSpec, Variant, rollout
from bento_rollout.bento.recording import Recording
from bento_rollout.errors import InvalidSpec
from bento_rollout.shadow import Shadows
from bento_rollout.store.hashing import KeyHash
from bento_rollout.telemetry import log
from tests.contract.serving import Served

Serve = Callable[..., Served]
Lines = Callable[[], list[dict[str, Any]]]


class Patient(BaseModel):
    """Who is asked about."""

    name: str
    age: int


class Logged:
    """Answers with its word."""

    word = "one"

    @bentoml.api
    def sync(self, how: str) -> dict[str, str]:
        if how == "raises" and self.word == "two":
            raise RuntimeError("secret")
        if how == "breaks":
            raise KeyError("secret")
        if how == "client":
            raise InvalidArgument("secret")
        return {"word": self.word}

    @bentoml.api
    def patient(self, patient: Patient, rows: list[dict[str, str]], note: str = "") -> str:
        return "seen"

    @bentoml.api
    async def stream(self, how: str) -> AsyncGenerator[str, None]:
        yield self.word
        yield "!"

    @bentoml.api
    def by_row(self, rows: list[dict[str, str]]) -> list[str]:
        return [self.word for _ in rows]

    @bentoml.task
    def job(self, how: str) -> str:
        return self.word


def logged(**more: Any) -> Any:
    """The service, with more of its spec."""
    fields = {
        "name": "logged",
        "routing": {"key": {"*": "header:x-user", "by_row": "rows:rows.user"}, "override_header": True},
        "weights": {"two": 50},
        "variants": {"two": {"timeout": 5, "fallback": "champion"}},
        **more,
    }
    candidates = {"two": Variant(attributes={"word": "two"})}
    decorate = rollout(champion="one", candidates=candidates, spec=RolloutSpec.parse(fields))
    return decorate(bentoml.service(name="logged")(Logged))


@pytest.fixture
def lines(capfd: pytest.CaptureFixture[str]) -> Lines:
    """Return the lines about predictions and shadows since the last time."""

    def lines() -> list[dict[str, Any]]:
        assert log.WRITER.flush(30)
        err = capfd.readouterr().err
        found = [json.loads(line) for line in err.splitlines() if line.startswith("{")]
        return [line for line in found if line["event"].partition(".")[0] in ("prediction", "shadow", "log")]

    return lines


def test_a_line_for_each_answer(serve: Serve, lines: Lines) -> None:
    """It says what the answer's headers say, and nothing of key and payload."""
    app = serve(logged(shadow={"two": {"percent": 100, "endpoints": ["sync"]}}))
    answer = app.post(
        "/sync", {"how": "secret"}, headers={"x-user": "ann-secret", "x-rollout-variant": "one"}
    )
    app.stop()
    served, *shadowed = [line for line in lines() if line["event"] != "shadow.first"]
    head = answer.headers
    assert (served["event"], served["level"], served["outcome"]) == ("prediction.served", "info", "ok")
    assert served["prediction_id"] == head["x-rollout-prediction-id"]
    assert served["variant"] == head["x-rollout-variant"]
    assert served["revision"] == int(head["x-rollout-revision"])
    assert served["reason"] == head["x-rollout-reason"]
    assert (served["rollout"], served["endpoint"], served["shadows"]) == ("logged", "sync", ["two"])
    assert (len(served["trace_id"]), len(served["span_id"])) == (32, 16)
    assert served["timestamp"].endswith("Z")
    (compared,) = shadowed
    assert (compared["event"], compared["relation"], compared["variant"]) == (
        "shadow.compared",
        "differ",
        "two",
    )
    assert compared["prediction_id"] == served["prediction_id"]
    assert "secret" not in json.dumps([served, compared])


def test_what_fails(serve: Serve, lines: Lines) -> None:
    """The caller's errors, ours, and a candidate's that nobody saw; all of them, whatever is sampled."""
    app = serve(logged(log={"sample": {"prediction.served": 0}}))
    for how, pin in (
        ("well", "one"),
        ("client", "one"),
        ("breaks", "one"),
        ("raises", "two"),
        ("breaks", "two"),
    ):
        app.post("/sync", {"how": how}, headers={"x-rollout-variant": pin})
    found = lines()
    told = [(line["event"].partition(".")[2], line["level"], line.get("error")) for line in found]
    assert told == [
        ("failed", "warning", "InvalidArgument"),
        ("failed", "error", "KeyError"),
        ("served", "warning", None),
        ("failed", "error", "KeyError"),
    ]
    assert [line["variant"] for line in found] == ["one"] * 4
    assert [[run["variant"] for run in line.get("failed_runs", ())] for line in found] == [
        [],
        [],
        ["two"],
        ["two"],
    ]
    assert "secret" not in json.dumps(found)


def test_every_kind(serve: Serve, lines: Lines) -> None:
    """Rows, streams and tasks are one line each; what BentoML refuses is no prediction."""
    app = serve(logged())
    rows = app.post("/by_row", {"rows": [{"user": f"u{number}"} for number in range(20)]})
    stream = app.post("/stream", {"how": "well"})
    assert app.post("/sync", {"what": 1}).status_code == 400
    job = app.post("/job/submit", {"how": "well"})
    app.stop()
    by_endpoint = {line["endpoint"]: line for line in lines()}
    assert sorted(by_endpoint) == ["by_row", "job", "stream"]
    assert (by_endpoint["by_row"]["variant"], by_endpoint["by_row"]["rows"]) == ("one,two", 20)
    assert by_endpoint["by_row"]["prediction_id"] == rows.headers["x-rollout-prediction-id"]
    assert by_endpoint["stream"]["prediction_id"] == stream.headers["x-rollout-prediction-id"]
    assert by_endpoint["job"]["prediction_id"] == job.headers["x-rollout-prediction-id"]
    assert by_endpoint["job"]["task_id"] == job.json()["task_id"]


def test_arguments(serve: Serve, lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only where they are asked for; hidden by path, hashed under the user's key."""
    monkeypatch.setenv("BENTO_ROLLOUT_HASH_KEY", "k")
    paths = {"mask": ["patient.name"], "drop": ["rows[].name"], "hash": ["note"]}
    body = {"patient": {"name": "secret", "age": 7}, "rows": [{"name": "secret", "x": "1"}], "note": "secret"}
    app = serve(logged(log={"inputs": True, **paths}))
    app.post("/patient", body)
    app.post("/sync", {"how": "well"})
    first, second = lines()
    assert first["inputs"] == {
        "patient": {"name": "***", "age": 7},
        "rows": [{"x": "1"}],
        "note": KeyHash(b"k").of("secret"),
    }
    assert second["inputs"] == {"how": "well"}
    app.stop()
    app = serve(logged(ledger={"inputs": True}))
    app.post("/patient", body)
    assert all("inputs" not in line for line in lines())


def test_a_path_that_leads_nowhere_is_refused_or_said(serve: Serve, lines: Lines) -> None:
    """An argument that no endpoint has is refused; a field that is not there is said once."""
    with pytest.raises(InvalidSpec, match=r"log\.mask: no endpoint has an argument 'person'; .*patient has"):
        logged(log={"inputs": True, "mask": ["person.name"]})
    app = serve(logged(log={"inputs": True, "mask": ["patient.nme", "how.x"]}))
    for _ in range(3):
        app.post("/patient", {"patient": {"name": "Ann", "age": 7}, "rows": []})
    app.post("/sync", {"how": "well"})
    found = lines()
    (unmatched,) = [line for line in found if line["event"] == "log.path_unmatched"]
    assert (unmatched["path"], unmatched["endpoint"]) == ("patient.nme", "patient")
    (last,) = [line for line in found if line.get("endpoint") == "sync"]
    assert (last["inputs"], last["inputs_left_out"]) == ({}, ["how"])


@pytest.mark.parametrize(("hidden", "told"), [("patient.name", None), ("patient.*", None), ("note", "ann")])
def test_an_id_that_is_read_from_what_is_hidden_is_hidden(
    serve: Serve, lines: Lines, hidden: str, told: str | None
) -> None:
    """A caller's own id stands in a line, unless a path hides where it comes from."""
    routing = {"inference_id": {"patient": "field:patient.name"}}
    app = serve(logged(routing=routing, log={"mask": [hidden]}))
    app.post("/patient", {"patient": {"name": "ann", "age": 7}, "rows": []})
    (line,) = lines()
    assert line.get("inference_id") == told


class Binds:
    """A user's middleware that names each request for all of its log lines."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        path = scope.get("path", "")
        with structlog.contextvars.bound_contextvars(request=f"to {path}", variant="theirs"):
            await self.app(scope, receive, send)


def test_what_a_request_has_bound_is_in_its_line(serve: Serve) -> None:
    """For each kind of endpoint, though the middleware that bound it has taken it back meanwhile."""
    out = io.StringIO()
    service = logged(log={"sample": {"prediction.served": 1}})
    service.add_asgi_middleware(Binds)
    app = serve(service)
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, structlog.processors.JSONRenderer()],
        logger_factory=structlog.WriteLoggerFactory(out),
    )
    try:
        for endpoint in ("sync", "stream"):
            app.post(f"/{endpoint}", {"how": "well"}, headers={"x-rollout-variant": "two"})
        app.post("/by_row", {"rows": [{"user": "ann"}, {"user": "bob"}]})
        app.stop()
    finally:
        structlog.reset_defaults()
    found = [json.loads(line) for line in out.getvalue().splitlines()]
    served = [line for line in found if line["event"] == "prediction.served"]
    assert [line["request"] for line in served] == ["to /sync", "to /stream", "to /by_row"]
    assert "theirs" not in {line["variant"] for line in served}


def test_our_own_trouble_is_told_without_its_text(capsys: pytest.CaptureFixture[str]) -> None:
    """What we stumble over may be what was asked or answered; its class and its place tell enough."""

    class Stumbled(ValueError):
        pass

    class Odd:
        @property
        def plans(self) -> Any:
            raise Stumbled("secret")

    recording, shadows = Recording.__new__(Recording), Shadows.__new__(Shadows)
    recording._name, shadows._once = "r", log.Once()
    odd: Any = Odd()
    recording.tell(odd)
    try:
        _ = odd.plans
    except Stumbled as error:
        shadows._trouble(error)
    told = capsys.readouterr().err
    assert "secret" not in told
    lines = [json.loads(line) for line in told.splitlines()]
    assert [(line["event"], line["error"]) for line in lines] == [
        ("telemetry.failed", "Stumbled"),
        ("shadow.error", "Stumbled"),
    ]
    assert all(__file__ in line["where"] for line in lines)
