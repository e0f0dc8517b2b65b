"""`LostSpans`: how many spans of this process were lost on their way to a collector, and says so once.

OpenTelemetry's SDK tells nobody: its batch processor forgets the oldest span when its queue is full, and what
an exporter returns or raises. So both are looked at from outside, for every exporter of the providers that
`Spans` knows: its ``export`` is shadowed on the instance, and a span processor of ours, behind the SDK's,
counts what ended. Where an SDK has its parts elsewhere nothing is counted, and nothing else changes.
"""

from __future__ import annotations

import contextlib
import functools
import os
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Sized
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, SynchronousMultiSpanProcessor
from opentelemetry.trace import TracerProvider

from . import log

__all__ = ["LostSpans", "Watch"]

Kind = tuple[str, str]
"""Why spans were lost (``raised``, ``refused``, ``full``, ``unsent``), and the class of what was raised."""

HINTS = {
    "raised": "the exporter raised; see where spans are sent, and whether anybody takes them there",
    "refused": "the exporter gave up; see where spans are sent, and whether anybody takes them there",
    "full": "spans end faster than they are sent: a slow collector, or OTEL_BSP_MAX_QUEUE_SIZE is too small",
    "unsent": "the worker ended before they were sent; see where spans are sent, and how long that takes",
}


class Watch(SpanProcessor):
    """Counts what one exporter was given, and what came of it.

    It never counts a span as lost that was not. Of spans that end on other threads just while it begins,
    some may be missed.

    Args:
        exporter: whose ``export`` is shadowed.
        queue: where spans wait for it; None: they do not wait, or nobody knows where.
    """

    def __init__(self, exporter: Any, queue: Sized | None) -> None:
        self.exporter = type(exporter).__name__
        self._queue: Sized = () if queue is None else queue
        self._queued = queue is not None
        self._renew_lock()
        if hasattr(os, "register_at_fork"):
            renew = weakref.WeakMethod(self._renew_lock)
            os.register_at_fork(after_in_child=lambda: (found := renew()) and found())
        self._failed: Counter[Kind] = Counter()
        self._ended = self._full = self._given = self._running = 0
        exporter.export = _shadowed(exporter.export, self)
        self._ended = len(self._queue)  # not before: what waits now is given to the shadow later

    def _renew_lock(self) -> None:
        """Make the lock; anew in a process that is forked while another thread of this one holds it.

        A thread may have it twice: a generator that is collected while it counts may end a span.
        """
        self._lock = threading.RLock()

    @property
    def waiting(self) -> int:
        """How many spans wait, or are being exported."""
        return self._running + len(self._queue)

    def lost(self) -> Counter[Kind]:
        """Return how many spans were lost so far, by kind."""
        with self._lock:
            self._settle()
            return self._failed + Counter({("full", ""): self._full})

    def on_end(self, span: ReadableSpan) -> None:
        """Count a span that was put into the queue just now."""
        with contextlib.suppress(Exception):
            if span.context.trace_flags.sampled:
                with self._lock:
                    self._ended += 1

    def force_flush(self, timeout_millis: int = 30000) -> bool:  # noqa: ARG002 - the SDK's signature
        """Say that nothing is held here: by an older SDK's None no processor behind this one was flushed."""
        return True

    def begin(self, count: int) -> None:
        """Note that the exporter has taken spans."""
        with self._lock:
            self._given += count
            self._running += count
            self._settle()

    def end(self, count: int, kind: Kind | None) -> None:
        """Note what came of them; None: they were sent."""
        with self._lock:
            self._settle()
            self._running -= count
            if kind is not None:
                self._failed[kind] += count

    def _settle(self) -> None:
        """Count what the queue had no room for.

        Only while the exporter has spans: then nobody takes others out of the queue, which would be missing
        in it and not given yet.
        """
        if self._queued and self._running:
            self._full = max(self._full, self._ended - self._given - len(self._queue))


def _shadowed(export: Callable[..., Any], watch: Watch) -> Callable[..., Any]:
    """Return what exports just as ``export`` does, and tells the watch."""

    @functools.wraps(export)
    def shadow(*args: Any, **kwargs: Any) -> Any:
        count = _count(*args, **kwargs)
        watch.begin(count)
        try:
            result = export(*args, **kwargs)
        except BaseException as error:
            watch.end(count, ("raised", type(error).__name__))
            raise
        watch.end(count, ("refused", "") if _is_failure(result) else None)
        return result

    found: Any = shadow
    found.watch = watch  # for another rollout in this process
    return shadow


def _count(spans: Any = (), *_: Any, **__: Any) -> int:
    try:
        return len(spans)
    except Exception:  # noqa: BLE001 - whatever an exporter is given, it gets
        return 0


def _is_failure(result: Any) -> bool:
    """Whether it is ``SpanExportResult.FAILURE``."""
    with contextlib.suppress(Exception):
        return bool(result.name == "FAILURE")
    return False


class LostSpans:
    """Counts the spans of a process that were lost, whoever made them, and says each kind of loss once.

    Args:
        rollout: the rollout's name.
        providers: returns the tracer providers whose exporters are watched, found anew at each look.
    """

    def __init__(self, rollout: str, providers: Callable[[], Iterable[TracerProvider]]) -> None:
        self._rollout, self._providers = rollout, providers
        self._watches: dict[int, tuple[SpanProcessor, Watch, Counter[Kind]]] = {}
        self._final: int | None = None
        self._once = log.Once()

    @property
    def lost(self) -> int:
        """How many spans were lost since the worker began."""
        return self._sum() if self._final is None else self._final

    @property
    def waiting(self) -> int:
        """How many spans wait to be sent now."""
        return 0 if self._final is not None else sum(one.waiting for _, one, _ in self._all)

    def look(self) -> None:
        """Watch exporters that are new, and say what was lost; called each second, never raises."""
        with contextlib.suppress(Exception):
            for provider in self._providers():
                self._watch(provider)
        with contextlib.suppress(Exception):
            self._say()

    def close(self, *, sent: bool) -> None:
        """Look a last time: the worker ends; never raises.

        Args:
            sent: whether all that waited was sent, or given up; if not it counts as lost.
        """
        with contextlib.suppress(Exception):
            self._say()
            unsent = 0 if sent else self.waiting
            self._final = self._sum() + unsent
            if unsent:
                names = sorted({watch.exporter for _, watch, _ in self._all if watch.waiting})
                self._tell(("unsent", ""), ", ".join(names), unsent)

    @property
    def _all(self) -> list[tuple[SpanProcessor, Watch, Counter[Kind]]]:
        return list(self._watches.values())

    def _sum(self) -> int:
        return sum((watch.lost() - before).total() for _, watch, before in self._all)

    def _say(self) -> None:
        for _, watch, before in self._all:
            for kind, count in (watch.lost() - before).items():
                self._tell(kind, watch.exporter, count)

    def _tell(self, kind: Kind, exporter: str, count: int) -> None:
        reason, error = kind
        facts = {"rollout": self._rollout, "reason": reason, "exporter": exporter, "count": count}
        if error:
            facts["error"] = error
        hint = f"{HINTS[reason]}; further ones are only counted"
        self._once.say(f"{exporter} {reason} {error}", "spans.lost", "warning", **facts, hint=hint)

    def _watch(self, provider: Any) -> None:
        """Watch the exporters of a provider that are not watched yet."""
        active = getattr(provider, "_active_span_processor", None)
        for processor in getattr(active, "_span_processors", ()):
            if id(processor) in self._watches or isinstance(processor, Watch):
                continue
            with contextlib.suppress(Exception):  # an exporter without room for another `export`, say
                exporter, queue = _parts(processor)
                if exporter is None:
                    continue
                found = getattr(exporter.export, "watch", None)
                if found is None:
                    ordered = type(active) is SynchronousMultiSpanProcessor  # the queue has it before us
                    found = Watch(exporter, queue if ordered else None)
                    if ordered and queue is not None:
                        provider.add_span_processor(found)
                self._watches[id(processor)] = (processor, found, found.lost())


def _parts(processor: Any) -> tuple[Any, Sized | None]:
    """Return the exporter of a span processor, and the queue before it; None for what is not there."""
    inner = getattr(processor, "_batch_processor", None)  # since opentelemetry-sdk 1.34
    exporter = getattr(processor, "span_exporter", None) or getattr(inner, "_exporter", None)
    queue = getattr(processor, "queue", None) if inner is None else getattr(inner, "_queue", None)
    return exporter, queue
