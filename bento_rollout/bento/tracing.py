"""Where a request stands in a trace: BentoML's own span of it, which we mark and never replace."""

from __future__ import annotations

from typing import Any

from bentoml._internal.configuration.containers import BentoMLContainer
from opentelemetry import trace

from ..calls import Call
from ..telemetry.spans import Running, Spans, ids_of

__all__ = ["batch_span", "mark_trace", "recorded_span", "spans_of"]


def mark_trace(call: Call) -> None:
    """Note the span of the request that is being served, and its ids."""
    span = trace.get_current_span()
    call.trace = ids_of(span)
    if span.is_recording() and _made and _made[0].records(span):
        call.span = span
        _made[0].tell_drift(span, call.endpoint)


def spans_of(rollout: str) -> Spans:
    """Return what makes the spans of this worker; the last one made makes those of batches, too."""
    spans = Spans(rollout, BentoMLContainer.tracer_provider.get())
    _made[:] = [spans]
    return spans


_made: list[Spans] = []
"""This worker's; a worker serves one rollout."""


def recorded_span() -> Any:
    """Return the current span when it is recorded, else None."""
    span = trace.get_current_span()
    return span if span.is_recording() and _made and _made[0].records(span) else None


def batch_span(endpoint: str, variant: str, size: int, requests: list[Any]) -> Running | None:
    """Begin the span of a batch for which recorded requests wait."""
    return _made[0].batch(endpoint, variant, size, requests) if _made and requests else None
