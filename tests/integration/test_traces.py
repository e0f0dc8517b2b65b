"""A collector sees a request whole: the caller's trace, the request, the variant, its service, the shadow."""

from __future__ import annotations

import contextlib
import http.client
import json
import secrets
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.integration.collector import Collector, Span, collecting
from tests.integration.running import STOP, Server, free_port, fresh, serving, until
from tests.scrapes import Scrape

pytestmark = [pytest.mark.server, pytest.mark.slow]

TARGET = "tests.integration.apps.traced:Traced"
ID = "bento_rollout.prediction_id"
VARIANT = "feature_flag.result.variant"


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    """The receiver."""
    with collecting(tmp_path_factory.mktemp("collector")) as running:
        yield running


@pytest.fixture(scope="module")
def traced(collector: Collector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The service `traced`, whose spans go there."""
    folder = fresh(tmp_path_factory.mktemp("traced"))
    options: dict[str, Any] = {"rollout": "traced", "workers": 2, "environment": collector.options()}
    with serving(TARGET, folder, **options) as server:
        server.ready()
        until(lambda: ask(server, "who", "apart")[1]["variant"] == "apart", "the service answers", pause=0.5)
        yield server


def ask(
    server: Server, endpoint: str, pin: str | None = None, body: dict[str, Any] | None = None, trace: str = ""
) -> tuple[str, dict[str, str]]:
    """Return an answer, and what its headers say of the rollout; of status 0 nothing is said."""
    headers = {"content-type": "application/json"}
    if pin is not None:
        headers["x-rollout-variant"] = pin
    if trace:
        headers["traceparent"] = trace
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        connection.request("POST", f"/{endpoint}", json.dumps(body or {}), headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        ours = {name.lower().removeprefix("x-rollout-"): value for name, value in answer.getheaders()}
    finally:
        connection.close()
    return text, ours


def caller() -> tuple[str, str, str]:
    """Return a new trace of a caller: the header, the trace's id, the caller's span."""
    trace, span = secrets.token_hex(16), secrets.token_hex(8)
    return f"00-{trace}-{span}-01", trace, span


def of_trace(collector: Collector, trace: str, count: int) -> list[Span]:
    """Return the spans of a trace, once there are as many."""
    return collector.until(f"trace {trace}", lambda span: span.trace == trace, count)


def test_one_trace_from_the_caller_to_the_candidates_service(collector: Collector, traced: Server) -> None:
    """Caller, request, variant, the request in the candidate's service: each is the next one's parent."""
    header, trace, span = caller()
    text, said = ask(traced, "who", "apart", trace=header)
    assert text == "apart"
    spans = {one.id: one for one in of_trace(collector, trace, 3)}
    request = next(one for one in spans.values() if one.parent == span)
    variant = next(one for one in spans.values() if one.parent == request.id and one.name == "variant apart")
    inner = next(one for one in spans.values() if one.kind == 2 and one.id != request.id)
    line = [inner]
    while line[-1].parent in spans:
        line.append(spans[line[-1].parent])
    assert line[-1] == request
    assert variant in line
    expected = {
        "feature_flag.key": "traced",
        VARIANT: "apart",
        "feature_flag.result.reason": said["reason"],
        "feature_flag.version": said["revision"],
        "feature_flag.provider.name": "bento_rollout",
        ID: said["prediction-id"],
        "bento_rollout.endpoint": "who",
    }
    assert expected.items() <= request.attributes.items()
    assert expected.items() <= variant.attributes.items()
    assert variant.attributes["bento_rollout.outcome"] == "ok"


def test_a_candidate_that_fails_before_the_champion_answers(collector: Collector, traced: Server) -> None:
    """Two variant spans in one request; the failed one has an error, and no text of it."""
    header, trace, _ = caller()
    text, said = ask(traced, "who", "near", {"how": "near"}, trace=header)
    assert (text, said["reason"]) == ("calm", "fallback")
    spans = {one.name: one for one in of_trace(collector, trace, 3)}
    assert spans["variant near"].failed
    assert spans["variant near"].attributes["error.type"] == "RuntimeError"
    assert not spans["variant calm"].failed
    ours = [one.attributes for one in spans.values() if one.name.startswith("variant")]
    assert "secret payload" not in json.dumps(ours)
    request = next(one for one in spans.values() if one.kind == 2)
    assert request.attributes[VARIANT] == "calm"
    assert request.attributes["feature_flag.result.reason"] == "fallback"


def test_a_shadow_has_a_trace_of_its_own_linked_to_the_request(collector: Collector, traced: Server) -> None:
    """It ends in its own time."""
    header, trace, _ = caller()
    _, said = ask(traced, "who", trace=header)
    mine = said["prediction-id"]
    (shadow,) = collector.until(
        "the shadow's", lambda one: one.name == "shadow watcher" and one.attributes[ID] == mine
    )
    request = next(one for one in of_trace(collector, trace, 2) if one.kind == 2)
    assert shadow.trace != trace
    assert shadow.links == ((trace, request.id),)
    assert shadow.attributes["bento_rollout.champion"] == "calm"


def test_a_stream(collector: Collector, traced: Server) -> None:
    """Its variant's span ends with the last item."""
    header, trace, _ = caller()
    assert ask(traced, "items", "near", trace=header)[0] == "near!"
    spans = of_trace(collector, trace, 2)
    (variant,) = [one for one in spans if one.name == "variant near"]
    request = next(one for one in spans if one.kind == 2)
    assert (variant.parent, variant.attributes["bento_rollout.outcome"]) == (request.id, "ok")
    assert request.attributes[VARIANT] == "near"


def test_requests_in_one_batch(collector: Collector, traced: Server) -> None:
    """Each request's span is its own, and is linked to the batch's, which is linked to all of them."""
    callers = [caller() for _ in range(12)]
    barrier = threading.Barrier(len(callers))

    def call(number: int) -> str:
        barrier.wait()
        return ask(traced, "batch", "near", {"names": [str(number)]}, trace=callers[number][0])[0]

    with ThreadPoolExecutor(len(callers)) as pool:
        answers = list(pool.map(call, range(len(callers))))
    assert answers == [f'["near {number}"]' for number in range(len(callers))]
    traces = {trace for _, trace, _ in callers}
    variants = collector.until(
        "variants of the batch", lambda one: one.name == "variant near" and one.trace in traces, len(callers)
    )
    batches = {one.id: one for one in collector.spans() if one.name == "batch batch"}
    for variant in variants:
        ((_, batch),) = variant.links
        assert (variant.trace, variant.id) in batches[batch].links
        assert batches[batch].trace not in traces
    assert len({variant.links for variant in variants}) < len(callers)


def test_a_flip_and_its_hooks(collector: Collector, traced: Server) -> None:
    """Each worker's preparation is a trace with its hook; what follows the flip is one, too."""
    operator = traced.operator()
    operator.flip("near")
    try:
        prepared = collector.until("preparations", lambda one: one.name == "flip prepare", 2)
        hooks = collector.until("hooks", lambda one: one.name == "hook warm_up", 2)
        (after,) = collector.until("what follows", lambda one: one.name == "flip after")
        assert {hook.parent for hook in hooks} == {flip.id for flip in prepared}
        for flip in prepared:
            assert (flip.parent, flip.attributes["bento_rollout.source"], flip.attributes[VARIANT]) == (
                "",
                "calm",
                "near",
            )
            assert flip.attributes["bento_rollout.outcome"] == "prepared"
        assert after.attributes["bento_rollout.outcome"] == "done"
    finally:
        operator.rollback()


def test_what_is_not_sampled_has_no_spans(collector: Collector, traced: Server) -> None:
    """The caller says so; neither variant nor shadow is recorded."""
    header, trace, _ = caller()
    _, said = ask(traced, "who", trace=header.removesuffix("01") + "00")
    _, later = ask(traced, "who")
    collector.until("later spans", lambda one: one.attributes.get(ID) == later["prediction-id"], 2)
    assert [one for one in collector.spans() if one.trace == trace] == []
    assert [one for one in collector.spans() if one.attributes.get(ID) == said["prediction-id"]] == []


def test_no_span_is_lost_at_the_end(tmp_path_factory: pytest.TempPathFactory) -> None:
    """SIGTERM under load, long before the exporter would send by itself: every answer's spans arrive."""
    folder = fresh(tmp_path_factory.mktemp("ended"))
    with collecting(folder) as collector:
        environment = {**collector.options(), "OTEL_BSP_SCHEDULE_DELAY": "600000"}
        with serving(TARGET, folder, rollout="traced", workers=2, environment=environment) as server:
            server.ready()
            answered: list[str] = []
            over = threading.Event()

            def call() -> None:
                while not over.is_set():
                    try:
                        answered.append(ask(server, "who", "calm")[1]["prediction-id"])
                    except (OSError, http.client.HTTPException, KeyError):
                        return

            threads = [threading.Thread(target=call) for _ in range(8)]
            for thread in threads:
                thread.start()
            until(lambda: len(answered) > 400, "some traffic")
            server.stop()
            over.set()
            for thread in threads:
                thread.join(30)
            assert not said(server)
        spans = collector.spans()
    requests = {one.attributes.get(ID) for one in spans if one.kind == 2}
    variants = {one.attributes.get(ID) for one in spans if one.name == "variant calm"}
    assert set(answered) - requests == set()
    assert set(answered) - variants == set()


@contextlib.contextmanager
def to_nobody(folder: Path, port: int, **environment: str) -> Iterator[Server]:
    """Serve `traced` with small batches that go to a port where nobody takes them."""
    small = {"OTEL_BSP_MAX_QUEUE_SIZE": "64", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "16"}
    more = {**Collector(folder, port).options(), **small, **environment}
    with serving(TARGET, folder, rollout="traced", workers=2, environment=more) as server:
        yield server.ready()


def lost(server: Server) -> float:
    """Return how many spans its workers have counted as lost."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        connection.request("GET", "/metrics")
        scrape = Scrape(connection.getresponse().read().decode())
    finally:
        connection.close()
    assert scrape.has("telemetry_lost_total", channel="spans")
    return scrape("telemetry_lost_total", channel="spans")


def said(server: Server) -> Counter[str]:
    """Return how often it was said for which reason that spans were lost."""
    return Counter(line["reason"] for line in server.events("spans.lost"))


def given_up(server: Server) -> int:
    """Return how often it was said that an exporter failed: an older one raises where a newer one refuses."""
    return said(server)["refused"] + said(server)["raised"]


def test_a_collector_that_is_gone_costs_nothing(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Answers go out as ever while nobody takes the spans, and the end does not wait long for anybody.

    What is lost is counted, and each worker says it once.
    """
    folder = fresh(tmp_path_factory.mktemp("gone"))
    with to_nobody(folder, free_port(), OTEL_EXPORTER_OTLP_TIMEOUT="1") as server:
        assert {ask(server, "who", "near")[0] for _ in range(300)} == {"near"}
        until(lambda: lost(server) > 300, "lost spans are counted")
        until(lambda: given_up(server) == server.count, "both workers have said it", pause=0.5)
        assert {ask(server, "who", "near")[0] for _ in range(100)} == {"near"}
        began = time.monotonic()
        server.stop()
        assert time.monotonic() - began < STOP
        assert set(said(server).values()) <= set(range(1, server.count + 1))
        assert given_up(server) == server.count


def test_a_collector_that_never_answers_costs_nothing(tmp_path_factory: pytest.TempPathFactory) -> None:
    """It takes the connection, and holds the exporter: the queue runs over, and what is in it is not sent."""
    folder, forever = fresh(tmp_path_factory.mktemp("silent")), {"OTEL_EXPORTER_OTLP_TIMEOUT": "600"}
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        to_nobody(folder, silent.getsockname()[1], **forever) as server,
    ):
        assert {ask(server, "who", "near")[0] for _ in range(300)} == {"near"}
        until(lambda: lost(server) > 100, "lost spans are counted")
        until(lambda: said(server)["full"] == server.count, "both workers have said it", pause=0.5)
        began = time.monotonic()
        server.stop()
        assert time.monotonic() - began < STOP
        assert said(server) == {"full": server.count, "unsent": server.count}
        unsent = [line["count"] for line in server.events("spans.lost") if line["reason"] == "unsent"]
        assert all(64 < count <= 64 + 16 for count in unsent), unsent  # a full queue, and a batch


def test_no_span_was_lost_while_the_collector_took_them(traced: Server) -> None:
    """Neither is one counted, nor is one said to be."""
    assert ask(traced, "who")[0] == "calm"
    assert lost(traced) == 0
    assert not said(traced)
