"""While an alarm of drift is latched, requests' spans and people's conditions know it; else they do not."""

from __future__ import annotations

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from bento_rollout.ask_when import parse_conditions
from bento_rollout.asking import Facts
from bento_rollout.drift_latches import QUIET, Switch
from bento_rollout.gauged import Drifted
from bento_rollout.telemetry.measures import DRIFT_EVIDENCE, DRIFT_LATCHED, DRIFT_ROWS, gathered
from bento_rollout.telemetry.spans import Spans


def test_a_span_tells_that_drift_is_latched() -> None:
    """As an attribute and as an event, at the endpoint that is watched, and while it lasts."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    spans, switch = Spans("screening", provider), Switch()
    spans.drift = {"predict": switch}
    tracer = provider.get_tracer("x")
    for latched, endpoint in ((True, "predict"), (True, "other"), (False, "predict")):
        switch.on, switch.told = latched, "data,concept/b"
        with tracer.start_as_current_span("request") as span:
            spans.tell_drift(span, endpoint)
    first, *others = exporter.get_finished_spans()
    assert (first.attributes or {})["rollout.drift"] == "data,concept/b"
    assert [event.name for event in first.events] == ["rollout.drift"]
    assert all("rollout.drift" not in (one.attributes or {}) for one in others)


def test_a_condition_holds_while_drift_is_latched() -> None:
    """Where nobody watches, it never does."""
    (condition,) = parse_conditions([{"drift": True}])
    switch = Switch()
    assert condition.holds(Facts(drift=switch.on), None) is None
    switch.on = True
    assert condition.holds(Facts(drift=switch.on), None) == "drift"
    assert not QUIET.on


def test_what_is_measured_of_a_test() -> None:
    """A level for each worker, and rows by the owner alone; how rows are built has no evidence."""
    owner = Drifted("screening", "predict", "data", 4.9, True, {"tested": 7, "left_out": 2})
    other = Drifted("screening", "predict", "schema", None, False)
    whole = gathered([owner, owner, other])
    assert {
        series.labels[2]: value for series, value in whole.now.items() if series.measure is DRIFT_LATCHED
    } == {
        "data": 1.0,
        "schema": 0.0,
    }
    assert [series.labels[2] for series in whole.now if series.measure is DRIFT_EVIDENCE] == ["data"]
    rows = {series.labels[3]: value for series, value in whole.added.items() if series.measure is DRIFT_ROWS}
    assert rows == {"tested": 14, "left_out": 4}
