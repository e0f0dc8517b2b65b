"""Spares a request the spans of its messages: BentoML records them though nobody may take them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

from opentelemetry import trace
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.trace import INVALID_SPAN, Span

__all__ = ["quieten"]

DEEPEST = 50
"""Middlewares that are looked through."""


def quieten(app: Any, is_theirs: Callable[[trace.Tracer], bool], is_taken: Callable[[Span], bool]) -> None:
    """Let BentoML's OpenTelemetry middleware make no spans of messages that nobody would see.

    BentoML records every request, and in it a span for each message that is received or sent: about four
    more, a quarter of what a small request costs. Without an exporter, and for a request that is not sampled,
    they go nowhere. The request's own span stays: its ids stand in headers and log lines.

    Args:
        app: the application as the server calls it, whose middlewares are linked by ``app``.
        is_theirs: whether a tracer is of BentoML's provider.
        is_taken: whether somebody takes what is recorded under a span.
    """
    for one in _middlewares(app):
        if isinstance(one, OpenTelemetryMiddleware) and is_theirs(one.tracer) and not _is_hooked(one):
            one.tracer = QuietTracer(one.tracer, is_taken)


class QuietTracer(trace.Tracer):
    """A tracer that makes no current span when nobody would take it; any other span is made as ever.

    Args:
        tracer: makes spans.
        is_taken: whether somebody takes what is recorded under a span.
    """

    def __init__(self, tracer: trace.Tracer, is_taken: Callable[[Span], bool]) -> None:
        self._tracer, self._is_taken = tracer, is_taken

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tracer, name)

    def start_span(self, *args: Any, **kwargs: Any) -> Span:
        """Begin a span."""
        return self._tracer.start_span(*args, **kwargs)

    def start_as_current_span(self, *args: Any, **kwargs: Any) -> Any:
        """Begin a span that is the current one meanwhile: in this middleware, the span of one message."""
        if self._is_taken(trace.get_current_span()):
            return self._tracer.start_as_current_span(*args, **kwargs)
        return _NOTHING


class _Nothing(AbstractContextManager[Span]):
    """Stands for a span that nobody would take; the request's own stays the current one."""

    def __enter__(self) -> Span:
        return INVALID_SPAN

    def __exit__(self, *_: object) -> None:
        return None


_NOTHING = _Nothing()


def _middlewares(app: Any) -> Iterator[Any]:
    """Yield an application's middlewares, the outermost first, as far as they are linked."""
    one = getattr(app, "middleware_stack", None)
    for _ in range(DEEPEST):
        if one is None:
            return
        yield one
        one = getattr(one, "app", None)


def _is_hooked(middleware: Any) -> bool:
    """Whether somebody is called with such spans."""
    return any(getattr(middleware, f"client_{one}_hook", None) for one in ("request", "response"))
