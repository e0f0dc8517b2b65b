"""Where a request stands in a trace: BentoML's own span of it, which we mark and never replace."""

from __future__ import annotations

from opentelemetry import trace

from ..calls import Call

__all__ = ["mark_trace"]


def mark_trace(call: Call) -> None:
    """Note the span of the request that is being served, and its ids."""
    span = trace.get_current_span()
    context = span.get_span_context()
    if context.is_valid:
        call.trace = f"{context.trace_id:032x}", f"{context.span_id:016x}"
        if span.is_recording():
            call.span = span
