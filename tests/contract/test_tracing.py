"""Spans by the user's own provider, where BentoML records none."""

from __future__ import annotations

from collections.abc import Iterator

import bentoml
import pytest
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from bento_rollout import RolloutSpec, Variant, rollout
from tests.contract.serving import Served

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
def app(provider: TracerProvider, monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> Iterator[Served]:
    """A service whose candidate is pinned."""
    monkeypatch.setenv("BENTO_ROLLOUT_STORE", f"sqlite:///{tmp_path}/store.db")
    spec = RolloutSpec(name="mine", routing={"override_header": True})
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


def test_a_provider_that_breaks_costs_no_answer(app: Served, provider: TracerProvider) -> None:
    """Whatever a span processor raises."""
    provider.add_span_processor(Breaking(InMemorySpanExporter()))
    assert ask(app, "/plain") == "two"
    assert app.predictions[-1].outcome.value == "ok"
