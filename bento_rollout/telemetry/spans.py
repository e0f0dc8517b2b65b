"""Spans around BentoML's own span of a request: of variants, shadows, batches; of flips and their hooks.

Nothing is recorded unless somebody records the request, or exports at all: see `Spans`. No span holds
payload, keys or the text of an error. Attributes follow OpenTelemetry's semantic conventions for feature
flags: https://opentelemetry.io/docs/specs/semconv/feature-flags/feature-flags-events/
"""

from __future__ import annotations

import contextlib
import contextvars
import copy
import functools
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from opentelemetry import context as otel
from opentelemetry import propagate, trace
from opentelemetry.sdk.trace import Tracer as SdkTracer
from opentelemetry.sdk.trace import TracerProvider as SdkProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode

from ..records import Plan
from ..revisions import shown_revision
from ..threads import side_by_side
from .lost_spans import Watch

__all__ = ["Running", "Spans", "annotate", "attributes_of", "ids_of"]

Attributes = Mapping[str, Any]

NAME = "bento_rollout"
PROVIDER = {"feature_flag.provider.name": NAME}


def attributes_of(rollout: str, endpoint: str, prediction_id: str, plans: tuple[Plan, ...]) -> dict[str, Any]:
    """Return what a span tells of a prediction: who answers, why, at which revision.

    Several plans (rows) are told by their distinct values, as the response headers do.
    """
    found: dict[str, Any] = {
        **PROVIDER,
        "feature_flag.key": rollout,
        "bento_rollout.prediction_id": prediction_id,
        "bento_rollout.endpoint": endpoint,
    }
    if plans:
        variants, reasons = {plan.variant for plan in plans}, {plan.reason.value for plan in plans}
        found["feature_flag.result.variant"] = ",".join(sorted(variants))
        found["feature_flag.result.reason"] = ",".join(sorted(reasons))
        found["feature_flag.version"] = str(shown_revision(max(plan.revision for plan in plans)))
    if len(plans) > 1:
        found["bento_rollout.rows"] = len(plans)
    return found


def annotate(span: Any, rollout: str, endpoint: str, prediction_id: str, plans: tuple[Plan, ...]) -> None:
    """Tell on the span of a request who answers it; never raises."""
    with contextlib.suppress(Exception):
        span.set_attributes(attributes_of(rollout, endpoint, prediction_id, plans))


def ids_of(span: Span) -> tuple[str, str]:
    """Return a span's trace id and span id, in 32 and 16 hexadecimal digits; empty where it has none."""
    context = span.get_span_context()
    return (f"{context.trace_id:032x}", f"{context.span_id:016x}") if context.is_valid else ("", "")


class Latched(Protocol):
    """Whether drift is latched at an endpoint."""

    on: bool
    told: str


class Running:
    """A span of code that runs now.

    Args:
        span: the span.
    """

    __slots__ = ("_inside", "_token", "span")

    def __init__(self, span: Span) -> None:
        self.span = span
        self._inside: otel.Context | None = None
        self._token: contextvars.Token[Any] | None = None

    def enter(self) -> None:
        """Make it the current span of this context, until `leave` or `pause`."""
        self._token = otel.attach(self._inside or trace.set_span_in_context(self.span))

    def pause(self) -> None:
        """Leave for a while: what is current now, like a span that the code began, is so after `enter`."""
        self._inside = otel.get_current()
        self.leave()

    def stay(self) -> None:
        """Make it the current span of this context, which is a copy that ends with the span."""
        otel.attach(trace.set_span_in_context(self.span))

    @property
    def ids(self) -> tuple[str, str]:
        """Its trace id and its span id, in hexadecimal."""
        return ids_of(self.span)

    def leave(self) -> None:
        """Let the span that was current before be it again; called in the context that was entered."""
        token, self._token = self._token, None
        if token is not None:
            otel.detach(token)

    def tell(self, outcome: str, *, failed: bool) -> None:
        """Note how it went; it goes on."""
        with contextlib.suppress(Exception):
            self.span.set_attribute("bento_rollout.outcome", outcome)
            if failed:
                self.span.set_status(Status(StatusCode.ERROR, outcome))

    def end(self, outcome: str, error: str | None, *, failed: bool) -> None:
        """End it.

        Args:
            outcome: how the code ended.
            error: the class name of what it raised; never its text.
            failed: whether that is the code's own fault.
        """
        self.leave()
        with contextlib.suppress(Exception):
            self.span.set_attribute("bento_rollout.outcome", outcome)
            if error is not None:
                self.span.set_attribute("error.type", error)
            if failed:
                self.span.set_status(Status(StatusCode.ERROR, error))
            self.span.end()


def _flush(provider: SdkProvider, done: list[SdkProvider], seconds: float) -> None:
    if provider.force_flush(int(seconds * 1000)) is not False:
        done.append(provider)


def _processors(provider: trace.TracerProvider | None) -> Sequence[object]:
    """Return what is given a provider's spans; of a provider that is not the SDK's something: it may be."""
    processor = getattr(provider, "_active_span_processor", None)
    return getattr(processor, "_span_processors", _SOMEBODY)


def _takes(provider: trace.TracerProvider | None, span: Span) -> bool:
    """Whether any of a provider's processors does something with a span: most pass on the sampled ones."""
    processors = _processors(provider)
    if span.get_span_context().trace_flags.sampled:
        return bool(processors)
    return any(type(processor) not in _SAMPLED_ONLY for processor in processors)


_SOMEBODY = (None,)
_SAMPLED_ONLY = (BatchSpanProcessor, SimpleSpanProcessor, Watch)


class Spans:
    """Makes spans with the provider that recorded the request's, BentoML's or the user's own.

    Args:
        rollout: the rollout's name.
        own: BentoML's provider.

    Attributes:
        drift: by endpoint whether drift is latched there.
    """

    def __init__(self, rollout: str, own: trace.TracerProvider) -> None:
        self.drift: Mapping[str, Latched] = {}
        self._rollout, self._own = rollout, own
        self._found: SdkProvider | None = None
        self._look_again = 0.0
        self._made: dict[int, tuple[trace.TracerProvider, trace.Tracer, trace.Tracer]] = {}

    # -- a request's -----------------------------------------------------------------------------------

    def records(self, span: Span) -> bool:
        """Whether a span is recorded, and somebody takes it."""
        return span.is_recording() and self.is_taken(span)

    def is_taken(self, span: Span) -> bool:
        """Whether somebody takes a span, or what is recorded under it.

        BentoML's provider records every request, though nothing may export it, or this one not be sampled.
        """
        users = self._users
        theirs = users is not None and getattr(span, "resource", None) is users.resource
        return _takes(users if theirs else self._own, span)

    def is_own(self, tracer: trace.Tracer) -> bool:
        """Whether a tracer is of BentoML's provider."""
        own = getattr(self._own, "_active_span_processor", None)
        return own is not None and getattr(tracer, "span_processor", None) is own

    def request(self, endpoint: str, headers: Iterable[tuple[bytes, bytes]]) -> Running | None:
        """Begin a request's span with the user's own provider, when nobody else records it; never raises."""
        try:
            if self._users is None or self.records(trace.get_current_span()):
                return None
            carrier = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}
            parent = propagate.extract(carrier, context=otel.Context())
            tracer = self._tracers(self._users)[0]
            running = Running(tracer.start_span(f"POST /{endpoint}", context=parent, kind=SpanKind.SERVER))
            running.enter()
        except Exception:  # noqa: BLE001 - a trace costs no answer
            return None
        return running

    def tell_drift(self, span: Span, endpoint: str) -> None:
        """Tell on the span of a request that drift is latched at its endpoint; never raises."""
        latched = self.drift.get(endpoint)
        if latched is not None and latched.on:
            with contextlib.suppress(Exception):
                span.set_attribute("rollout.drift", latched.told)
                span.add_event("rollout.drift", {"rollout.drift.tests": latched.told})

    def run(self, parent: Span, call: tuple[str, str], plan: Plan, rows: int = 0) -> Running | None:
        """Begin the span of one run of a variant; never raises.

        Args:
            parent: the request's span, which is recorded.
            call: the endpoint, and the prediction's id.
            plan: who runs.
            rows: how many of the request's rows it was given; 0: the request as a whole.
        """
        try:
            told = attributes_of(self._rollout, *call, (plan,))
            if rows:
                told["bento_rollout.rows"] = rows
            here = trace.set_span_in_context(parent)
            span = self._tracer_of(parent)[0].start_span(f"variant {plan.variant}", here, attributes=told)
            running = Running(span)
            running.enter()
        except Exception:  # noqa: BLE001 - a trace costs no answer
            return None
        return running

    def shadow(self, told: Attributes) -> Running | None:
        """Begin the span of a shadow's call: a trace of its own, linked to the request's; never raises.

        The current span is the request's: it has ended as a rule. It stays current no longer in this context,
        which is the shadow's own.

        Args:
            told: the span's attributes; ``feature_flag.result.variant`` names it.
        """
        try:
            request = trace.get_current_span()
            where = request.get_span_context()
            if not where.trace_flags.sampled:
                return None
            attributes = {**PROVIDER, "feature_flag.key": self._rollout, "bento_rollout.shadow": True, **told}
            name = f"shadow {told['feature_flag.result.variant']}"
            span = self._tracer_of(request)[1].start_span(
                name, otel.Context(), links=[Link(where)], attributes=attributes
            )
            running = Running(span)
            running.stay()
        except Exception:  # noqa: BLE001 - a trace costs no answer
            return None
        return running

    def batch(self, endpoint: str, variant: str, size: int, requests: Sequence[Span]) -> Running | None:
        """Begin the span of a batch: a trace of its own, and each of its requests linked to it; never raises.

        Args:
            endpoint, variant: whose.
            size: how many requests are in it.
            requests: the recorded spans of those that wait for it; at least one.
        """
        try:
            told: dict[str, Any] = {
                **PROVIDER,
                "feature_flag.key": self._rollout,
                "feature_flag.result.variant": variant,
                "bento_rollout.endpoint": endpoint,
                "bento_rollout.batch_size": size,
            }
            links = [Link(request.get_span_context()) for request in requests]
            tracer = self._tracer_of(requests[0])[1]
            span = tracer.start_span(f"batch {endpoint}", otel.Context(), links=links, attributes=told)
            for request in requests:
                request.add_link(span.get_span_context())
        except Exception:  # noqa: BLE001 - a trace costs no answer
            return None
        return Running(span)

    # -- an operator's ---------------------------------------------------------------------------------

    @contextlib.contextmanager
    def operation(self, name: str, told: Attributes) -> Iterator[Running | None]:
        """Trace what belongs to no request, like a flip: a trace of its own, or a part of the current one."""
        running: Running | None = None
        with contextlib.suppress(Exception):
            current = trace.get_current_span()
            inside = self.records(current)
            provider = self._own if _processors(self._own) or self._users is None else self._users
            tracer = self._tracer_of(current)[0] if inside else self._tracers(provider)[1]
            attributes = {**PROVIDER, "feature_flag.key": self._rollout, **told}
            where = None if inside else otel.Context()
            running = Running(tracer.start_span(name, where, attributes=attributes))
            running.enter()
        try:
            yield running
        finally:
            if running is not None:
                running.leave()
                running.span.end()

    def flush(self, seconds: float) -> bool:
        """Send what was recorded and not yet sent, and return whether that was done, well or not, in time.

        Called in a thread, since it waits as long as that: an SDK's own limit does not hold while its
        exporter tries again and again.
        """
        done: list[SdkProvider] = []
        providers = self.providers
        side_by_side([functools.partial(_flush, one, done) for one in providers], seconds)
        return len(done) == len(providers)

    # -- whose -----------------------------------------------------------------------------------------

    @property
    def providers(self) -> list[SdkProvider]:
        """The providers that record spans of this process: BentoML's, and the user's own, if there is one."""
        return [one for one in (self._own, self._users) if isinstance(one, SdkProvider)]

    @property
    def _users(self) -> SdkProvider | None:
        """The provider that the user's own code has set for the process, if it records at all.

        It is looked for once a second: finding none takes longer than all else that a request costs here.
        """
        now = time.monotonic()
        if now >= self._look_again:
            self._look_again = now + 1.0
            found = trace.get_tracer_provider()
            self._found = found if isinstance(found, SdkProvider) and found is not self._own else None
        return self._found

    def _tracer_of(self, span: Span) -> tuple[trace.Tracer, trace.Tracer]:
        """Return the tracers of the provider that a span is from: it is told by the resource."""
        users = self._users
        mine = users is None or getattr(span, "resource", None) is not users.resource
        return self._tracers(self._own if mine else users)

    def _tracers(self, provider: trace.TracerProvider | None) -> tuple[trace.Tracer, trace.Tracer]:
        """Return a provider's tracer, and one like it that records whatever it is asked for.

        A trace of its own that belongs to a recorded request is recorded like that one: a sampler would
        decide anew, and by chance.
        """
        assert provider is not None  # one of the two that there are
        if (made := self._made.get(id(provider))) is not None:
            return made[1:]
        tracer = provider.get_tracer(NAME)
        always: trace.Tracer = tracer
        if isinstance(tracer, SdkTracer):
            always = copy.copy(tracer)
            always.sampler = ALWAYS_ON
        self._made[id(provider)] = (provider, tracer, always)
        return tracer, always
