"""Spans of single messages: not made where nobody takes them, and all there where somebody does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import bentoml
import pytest
from bentoml._internal.configuration.containers import BentoMLContainer
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from bento_rollout import rollout
from tests.contract.serving import Served

SAMPLED = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
MESSAGES = {"receive", "send"}


class Ended(SpanProcessor):
    """Takes every span, sampled or not, as one does that decides about whole traces later."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self.spans.append(span)


def make() -> Any:
    """Return a service."""

    @bentoml.service(name="quiet")
    class Quiet:
        @bentoml.api
        def double(self, number: int) -> int:
            return 2 * number

    return Quiet


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> TracerProvider:
    """BentoML's own, with nobody who takes its spans; it is as it was when the test is over."""
    found: TracerProvider = BentoMLContainer.tracer_provider.get()
    monkeypatch.setattr(found._active_span_processor, "_span_processors", ())
    return found


@pytest.fixture
def counted(provider: TracerProvider, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Return how many spans were begun since it was asked last."""
    begun: list[int] = []
    own = provider.id_generator
    real = own.generate_span_id

    def generate() -> int:
        begun.append(1)
        return real()

    monkeypatch.setattr(own, "generate_span_id", generate)

    def count() -> int:
        number = len(begun)
        begun.clear()
        return number

    return count


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> Iterator[Served]:
    """The service, wrapped."""
    monkeypatch.setenv("BENTO_ROLLOUT_STORE", f"sqlite:///{tmp_path}/store.db")
    served = Served(rollout()(make())).start()
    yield served
    served.stop()


def messages(spans: Any) -> set[str]:
    """Return which messages have spans."""
    return {span.name.rpartition(" ")[2] for span in spans if " http " in span.name}


@pytest.mark.parametrize("headers", [{}, SAMPLED], ids=["its own trace", "the caller's"])
def test_none_is_made_where_nobody_takes_them(
    app: Served, counted: Callable[[], int], headers: dict[str, str]
) -> None:
    """One span a request, whose ids stand in the answer as ever."""
    answer = app.post("/double", {"number": 4}, headers=headers)
    assert answer.json() == 8
    assert counted() == 1
    assert int(answer.headers["x-bentoml-request-id"], 16)
    assert app.predictions[-1].span_id


def test_none_is_made_of_a_request_that_is_not_sampled(app: Served, counted: Callable[[], int]) -> None:
    """An exporter is not given them."""
    exporter = InMemorySpanExporter()
    BentoMLContainer.tracer_provider.get().add_span_processor(SimpleSpanProcessor(exporter))
    app.post("/double", {"number": 4})
    assert counted() == 1
    assert exporter.get_finished_spans() == ()


def test_a_sampled_request_has_them_all(app: Served, provider: TracerProvider) -> None:
    """A collector sees what it sees of the bare service, and the variant's run; later ones, too."""
    app.post("/double", {"number": 4}, headers=SAMPLED)
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    app.post("/double", {"number": 4}, headers=SAMPLED)
    spans = exporter.get_finished_spans()
    assert messages(spans) == MESSAGES
    request = next(span for span in spans if span.name == "POST /double")
    assert all(
        span.parent.span_id == request.context.span_id
        for span in spans
        if span.parent and span is not request
    )


def test_who_takes_all_spans_is_given_all(app: Served, provider: TracerProvider) -> None:
    """A processor that takes those that are not sampled, too."""
    taker = Ended()
    provider.add_span_processor(taker)
    app.post("/double", {"number": 4})
    assert messages(taker.spans) == MESSAGES
    request = next(span for span in taker.spans if span.name == "POST /double")
    assert dict(request.attributes or {})["feature_flag.result.variant"] == "quiet"


def test_the_bare_service_makes_them(counted: Callable[[], int]) -> None:
    """The ground that this stands on: when BentoML makes none any more, we need not leave them out."""
    served = Served(make()).start()
    try:
        served.post("/double", {"number": 4})
        assert counted() > 1 + len(MESSAGES)
    finally:
        served.stop()
