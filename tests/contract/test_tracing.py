"""Spans by the user's own provider, where BentoML records none."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Generator, Iterator
from typing import Any

import bentoml
import pytest
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from bento_rollout import RolloutSpec, Variant, rollout
from tests.contract.serving import DEADLINE, Served
from tests.scrapes import Scrape

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Mine:
    """Opens a span of its own."""

    word = "one"

    @bentoml.api
    def who(self) -> str:
        with trace.get_tracer("mine").start_as_current_span("my own"):
            return self.word

    @bentoml.api
    def plain(self) -> str:
        return self.word

    @bentoml.api
    async def items(self) -> AsyncGenerator[str, None]:
        tracer = trace.get_tracer("mine")
        for number in range(3):
            with tracer.start_as_current_span(f"item {number}"):
                await asyncio.sleep(0)
            yield self.word
        with tracer.start_as_current_span("around"):
            yield "more"
            with tracer.start_as_current_span("within"):
                await asyncio.sleep(0)
            yield "most"
        tracer.start_span("last").end()

    @bentoml.api
    def sync_items(self) -> Generator[str, None, None]:
        for number in range(3):
            trace.get_tracer("mine").start_span(f"item {number}").end()
            yield self.word


class Breaking(SimpleSpanProcessor):
    """Raises whenever it is asked for anything."""

    def on_start(self, span: object, parent_context: object = None) -> None:
        raise RuntimeError("no")

    def on_end(self, span: object) -> None:
        raise RuntimeError("no")


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> TracerProvider:
    """The process's, as the user's own code has set it."""
    found = TracerProvider(resource=Resource.create({"service.name": "mine"}))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: found)
    return found


@pytest.fixture
def app(
    provider: TracerProvider,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: object,
    request: pytest.FixtureRequest,
) -> Iterator[Served]:
    """A service whose candidate is pinned, with a limit between two items if one is given."""
    monkeypatch.setenv("BENTO_ROLLOUT_STORE", f"sqlite:///{tmp_path}/store.db")
    limits = {"two": {"idle_timeout": request.param}} if hasattr(request, "param") else {}
    spec = RolloutSpec.parse({"name": "mine", "routing": {"override_header": True}, "variants": limits})
    made = rollout(champion="one", candidates={"two": Variant(attributes={"word": "two"})}, spec=spec)
    served = Served(made(bentoml.service(name="mine")(type("Mine", (Mine,), {})))).start()
    yield served
    served.stop()


def ask(app: Served, path: str = "/who", **headers: str) -> str:
    """Ask the candidate."""
    return app.post(path, {}, headers={"x-rollout-variant": "two", **headers}).text


def test_the_users_own_provider_records(app: Served, provider: TracerProvider) -> None:
    """The request's span is in the caller's trace; the variant's and the user's are below it."""
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    assert ask(app, traceparent=f"00-{TRACE}-{SPAN}-01") == "two"
    spans: dict[str, ReadableSpan] = {span.name: span for span in exporter.get_finished_spans()}
    request, variant, mine = spans["POST /who"], spans["variant two"], spans["my own"]
    assert request.parent is not None
    assert (f"{request.parent.trace_id:032x}", f"{request.parent.span_id:016x}") == (TRACE, SPAN)
    assert variant.parent is not None
    assert variant.parent.span_id == request.context.span_id
    assert mine.parent is not None
    assert mine.parent.span_id == variant.context.span_id
    assert dict(request.attributes or {})["feature_flag.result.variant"] == "two"
    assert app.predictions[-1].trace_id == TRACE
    assert app.predictions[-1].sampled


def parents(exporter: InMemorySpanExporter) -> dict[str, str]:
    """Return the name of each span's parent, by its own; "" where it is another process's."""
    spans = {span.context.span_id: span for span in exporter.get_finished_spans()}
    return {
        span.name: spans[span.parent.span_id].name if span.parent and span.parent.span_id in spans else ""
        for span in spans.values()
    }


@pytest.mark.parametrize("app", [None, "30s"], indirect=True)
def test_all_items_of_a_stream_are_made_in_the_variants_span(app: Served, provider: TracerProvider) -> None:
    """It is the current one of the user's code throughout; a span that this code begins stays so, too."""
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    assert ask(app, "/items") == "twotwotwomoremost"
    found = parents(exporter)
    variant = {name: found[name] for name in ("item 0", "item 1", "item 2", "around", "last")}
    assert set(variant.values()) == {"variant two"}
    assert found["variant two"] == "POST /items"


def test_a_span_around_items_of_a_stream_is_the_current_one_within(
    app: Served, provider: TracerProvider, caplog: pytest.LogCaptureFixture
) -> None:
    """Though whoever takes the items has the request's meanwhile."""
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    ask(app, "/items")
    assert parents(exporter)["within"] == "around"
    assert "detach" not in caplog.text


def test_a_stream_in_threads(app: Served, provider: TracerProvider) -> None:
    """Each of its steps, too."""
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    assert ask(app, "/sync_items") == "twotwotwo"
    found = parents(exporter)
    assert {found[f"item {number}"] for number in range(3)} == {"variant two"}


def test_a_provider_that_breaks_costs_no_answer(app: Served, provider: TracerProvider) -> None:
    """Whatever a span processor raises."""
    provider.add_span_processor(Breaking(InMemorySpanExporter()))
    assert ask(app, "/plain") == "two"
    assert app.predictions[-1].outcome.value == "ok"


class Dead(InMemorySpanExporter):
    """Nobody takes what it sends."""

    def export(self, spans: object) -> SpanExportResult:
        raise ConnectionError("nobody at secret.example")


@pytest.mark.parametrize("make", [SimpleSpanProcessor, BatchSpanProcessor])
def test_an_exporter_that_fails(
    app: Served, provider: TracerProvider, make: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    """Answers go out as ever; lost spans are counted in the metrics, and said once."""
    provider.add_span_processor(make(Dead()))
    until = time.monotonic() + DEADLINE
    while not hasattr(provider._active_span_processor._span_processors[0].span_exporter.export, "watch"):  # type: ignore[attr-defined]
        assert time.monotonic() < until
        time.sleep(0.05)
    before = Scrape(app.get("/metrics").text).of("mine")
    assert [ask(app, "/plain") for _ in range(20)] == ["two"] * 20
    provider.force_flush()
    grown = Scrape(app.get("/metrics").text).of("mine") - before
    assert grown("telemetry_lost_total", rollout="mine", channel="spans") == 40
    assert grown("predictions_total", rollout="mine", outcome="ok") == 20
    app.stop()
    lines = [line for line in capfd.readouterr().err.splitlines() if '"spans.lost"' in line]
    assert len(lines) == 1
    line = json.loads(lines[0])
    assert (line["reason"], line["error"], line["exporter"]) == ("raised", "ConnectionError", "Dead")


def test_nobody_exports(app: Served, capfd: pytest.CaptureFixture[str]) -> None:
    """Nothing is lost then."""
    before = Scrape(app.get("/metrics").text).of("mine")
    assert before.has("telemetry_lost_total", rollout="mine", channel="spans")
    assert ask(app, "/plain") == "two"
    grown = Scrape(app.get("/metrics").text).of("mine") - before
    assert grown("telemetry_lost_total", rollout="mine", channel="spans") == 0
    app.stop()
    assert "spans.lost" not in capfd.readouterr().err
