"""Spans that are lost between the SDK and a collector: counted exactly, said once, and in nobody's way."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ConcurrentMultiSpanProcessor, ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    SimpleSpanProcessor,
    SpanExporter,
    SpanExportResult,
)
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from bento_rollout.telemetry import log
from bento_rollout.telemetry.lost_spans import LostSpans

Capture = pytest.CaptureFixture[str]
WAIT = 60.0


class Exporter(SpanExporter):
    """Does what it is told with each batch, and keeps those that it has sent.

    Args:
        act: called with each batch; None: it is sent.
    """

    def __init__(self, act: Callable[[], SpanExportResult | None] | None = None) -> None:
        self.act, self.sent, self.given = act, 0, 0
        self._counting = threading.Lock()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        with self._counting:
            self.given += len(spans)
        result = SpanExportResult.SUCCESS if self.act is None else self.act()
        if result is not SpanExportResult.FAILURE:
            with self._counting:
                self.sent += len(spans)
        return result  # type: ignore[return-value]  # some exporters return nothing

    def shutdown(self) -> None:
        """Nothing is held."""

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return True


class Gate:
    """Holds an exporter.

    Attributes:
        entered: it has come.
    """

    def __init__(self) -> None:
        self.entered, self._open = threading.Event(), threading.Event()

    def __call__(self) -> SpanExportResult:
        """Wait until it is opened."""
        self.entered.set()
        assert self._open.wait(WAIT)
        return SpanExportResult.SUCCESS

    def open(self) -> None:
        """Let it through, now and later."""
        self._open.set()


@contextlib.contextmanager
def provided(*processors: SpanProcessor, **options: Any) -> Iterator[TracerProvider]:
    """Provide spans until the block ends."""
    provider = TracerProvider(shutdown_on_exit=False, **options)
    for processor in processors:
        provider.add_span_processor(processor)
    try:
        yield provider
    finally:
        provider.shutdown()


def batches(exporter: SpanExporter, size: int = 8, room: int = 64) -> BatchSpanProcessor:
    """Return a processor that exports by itself only when a batch is full."""
    return BatchSpanProcessor(
        exporter, max_queue_size=room, schedule_delay_millis=600_000, max_export_batch_size=size
    )


def end(provider: TracerProvider, count: int) -> None:
    """Let spans end."""
    tracer = provider.get_tracer("test")
    for _ in range(count):
        tracer.start_span("one").end()


def watching(*providers: TracerProvider) -> LostSpans:
    """Return who counts, after its first look."""
    lost = LostSpans("screening", lambda: providers)
    lost.look()
    return lost


def events(capfd: Capture) -> list[dict[str, Any]]:
    """Return our lines since the last time."""
    assert log.WRITER.flush(30)  # a service of another file in this process may still let a thread write
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == "spans.lost"]


def raising() -> SpanExportResult:
    """Raise."""
    raise ConnectionError("nobody at secret.example")


def refusing() -> SpanExportResult:
    """Give up."""
    return SpanExportResult.FAILURE


def slow() -> None:
    """Take a moment."""
    time.sleep(0.001)


def saying_nothing() -> None:
    """Return None, as sloppy exporters do."""


@pytest.mark.parametrize("make", [batches, SimpleSpanProcessor])
@pytest.mark.parametrize("act", [None, saying_nothing])
def test_nothing_is_lost_when_all_is_well(
    make: Callable[[SpanExporter], SpanProcessor], act: Any, capfd: Capture
) -> None:
    """Not one of very many, from many threads, however often somebody looks."""
    exporter = Exporter(act)
    with provided(batches(exporter, 16, 100_000) if make is batches else make(exporter)) as provider:
        lost = watching(provider)
        threads = [threading.Thread(target=end, args=(provider, 1000)) for _ in range(8)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            lost.look()
            assert lost.lost == 0
        provider.force_flush()
        assert (exporter.sent, lost.lost, lost.waiting) == (8000, 0, 0)
    lost.close(sent=True)
    assert (lost.lost, events(capfd)) == (0, [])


@pytest.mark.parametrize("make", [batches, SimpleSpanProcessor])
@pytest.mark.parametrize(
    ("act", "reason", "error"), [(raising, "raised", "ConnectionError"), (refusing, "refused", None)]
)
def test_an_exporter_that_fails(
    make: Callable[[SpanExporter], SpanProcessor],
    act: Callable[[], SpanExportResult],
    reason: str,
    error: str | None,
    capfd: Capture,
) -> None:
    """All that it was given is counted; it is said once, by the class of what was raised, never its text."""
    exporter = Exporter(act)
    with provided(make(exporter)) as provider:
        lost = watching(provider)
        for _ in range(5):
            end(provider, 4)
            provider.force_flush()
            lost.look()
        assert (exporter.given, lost.lost) == (20, 20)
        (line,) = events(capfd)
        assert (line["rollout"], line["reason"], line.get("error")) == ("screening", reason, error)
        assert (line["exporter"], line["level"]) == ("Exporter", "warning")
        assert "secret" not in json.dumps(line)
        exporter.act = None  # the collector is back
        end(provider, 4)
        provider.force_flush()
        assert (exporter.sent, lost.lost) == (4, 20)


def test_each_kind_of_failure_is_said_once(capfd: Capture) -> None:
    """However often one follows the other."""
    exporter = Exporter()
    with provided(SimpleSpanProcessor(exporter)) as provider:
        lost = watching(provider)
        for _ in range(3):
            for act in (raising, refusing):
                exporter.act = act
                end(provider, 1)
                lost.look()
    assert [line["reason"] for line in events(capfd)] == ["raised", "refused"]
    assert lost.lost == 6


def test_what_an_exporter_does_stays_as_it_is() -> None:
    """It returns and raises what it would, with whatever it is called."""
    exporter = Exporter()
    with provided(SimpleSpanProcessor(exporter)) as provider:
        watching(provider)
        assert exporter.export(spans=()) is SpanExportResult.SUCCESS
        exporter.act = refusing
        assert exporter.export(()) is SpanExportResult.FAILURE
        exporter.act = raising
        with pytest.raises(ConnectionError, match=r"secret\.example"):
            exporter.export(())
        with pytest.raises(TypeError):
            exporter.export()  # type: ignore[call-arg]  # as if nobody stood between


def test_an_exporter_that_hangs(capfd: Capture) -> None:
    """What its queue has no room for is counted exactly while it hangs; what waits is not lost yet."""
    gate = Gate()
    exporter = Exporter(gate)
    with provided(batches(exporter, 8, 64)) as provider:
        lost = watching(provider)
        end(provider, 8)
        assert gate.entered.wait(WAIT)
        end(provider, 64)
        lost.look()
        assert (lost.lost, lost.waiting) == (0, 72)
        for number in range(1, 4):
            end(provider, 10)
            lost.look()
            assert (lost.lost, lost.waiting) == (10 * number, 72)
        (line,) = events(capfd)
        assert (line["reason"], line["count"]) == ("full", 10)
        gate.open()
        provider.force_flush()
        assert (exporter.sent, lost.lost, lost.waiting) == (72, 30, 0)
        end(provider, 5)
        provider.force_flush()
        assert (exporter.sent, lost.lost) == (77, 30)


def test_a_queue_that_overflows_under_load() -> None:
    """Many threads and a slow exporter: what was sent and what was lost is all that there was."""
    exporter = Exporter(slow)
    with provided(batches(exporter, 8, 32)) as provider:
        lost = watching(provider)
        threads = [threading.Thread(target=end, args=(provider, 1000)) for _ in range(8)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            assert lost.lost + exporter.given <= 8000
        provider.force_flush()
        end(provider, 8)  # what the queue lost at the very last is seen with the next batch
        provider.force_flush()
        assert lost.lost + exporter.sent == 8008
        assert lost.lost > 0


def test_what_is_not_sent_at_the_end(capfd: Capture) -> None:
    """It is counted and said; what becomes of it later counts no more."""
    gate = Gate()
    with provided(batches(Exporter(gate))) as provider:
        lost = watching(provider)
        end(provider, 13)
        assert gate.entered.wait(WAIT)
        lost.close(sent=False)
        (line,) = events(capfd)
        assert (line["reason"], line["count"]) == ("unsent", 13)
        assert (lost.lost, lost.waiting) == (13, 0)
        gate.open()
        provider.force_flush()
        lost.look()
    assert (lost.lost, events(capfd)) == (13, [])


def test_spans_from_before_the_first_look_are_not_taken_for_lost_ones() -> None:
    """They wait in the queue, and were never seen to end."""
    gate = Gate()
    exporter = Exporter(gate)
    with provided(batches(exporter)) as provider:
        end(provider, 20)
        assert gate.entered.wait(WAIT)
        lost = watching(provider)
        end(provider, 10)
        gate.open()
        provider.force_flush()
        assert (exporter.sent, lost.lost) == (30, 0)
        exporter.act = refusing
        end(provider, 3)
        provider.force_flush()
        assert lost.lost == 3


def test_nobody_exports(capfd: Capture) -> None:
    """Nothing is lost, and the provider stays without a processor: nothing is recorded for ours."""
    with provided() as provider, provided(sampler=ALWAYS_OFF) as silent:
        lost = watching(provider, silent, trace.NoOpTracerProvider())  # type: ignore[arg-type]
        end(provider, 10)
        end(silent, 10)
        lost.look()
        assert provider._active_span_processor._span_processors == ()
        assert (lost.lost, lost.waiting, events(capfd)) == (0, 0, [])


def test_what_is_not_sampled_is_not_lost() -> None:
    """It has no place in the queue."""
    gate = Gate()
    with provided(batches(Exporter(gate)), sampler=ALWAYS_OFF) as provider:
        lost = watching(provider)
        end(provider, 1000)
        assert (lost.lost, lost.waiting) == (0, 0)


def test_two_exporters_and_a_later_one() -> None:
    """Each counts for itself; one that was added later is watched from the next look on."""
    good, bad, late = Exporter(), Exporter(refusing), Exporter(raising)
    with provided(batches(good), SimpleSpanProcessor(bad)) as provider:
        lost = watching(provider)
        end(provider, 3)
        provider.force_flush()
        assert (good.sent, lost.lost) == (3, 3)
        provider.add_span_processor(batches(late))
        lost.look()
        end(provider, 2)
        provider.force_flush()
        assert (good.sent, lost.lost) == (5, 7)


def test_two_rollouts_in_one_process() -> None:
    """Each counts from its own beginning, and an exporter is shadowed once."""
    exporter = Exporter(refusing)
    with provided(batches(exporter)) as provider:
        first = watching(provider)
        end(provider, 2)
        provider.force_flush()
        second = watching(provider)
        end(provider, 3)
        provider.force_flush()
        assert (exporter.given, first.lost, second.lost) == (5, 5, 3)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_process_that_is_forked_while_a_thread_counts() -> None:
    """Spans end there, too: it does not wait for a thread that it has not."""
    exporter = Exporter(refusing)
    with provided(SimpleSpanProcessor(exporter)) as provider:
        watching(provider)
        watch = exporter.export.watch  # type: ignore[attr-defined]
        held, leave = threading.Event(), threading.Event()

        def hold() -> None:
            with watch._lock:
                held.set()
                assert leave.wait(WAIT)

        thread = threading.Thread(target=hold)
        thread.start()
        assert held.wait(WAIT)
        pid = os.fork()
        if not pid:
            signal.alarm(30)
            end(provider, 1)
            os._exit(watch._failed.total())
        leave.set()
        thread.join()
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1


class Slotted:
    """An exporter that takes no other `export`."""

    __slots__ = ("given",)

    def __init__(self) -> None:
        self.given = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.given += len(spans)
        return SpanExportResult.FAILURE

    def shutdown(self) -> None:
        """Nothing is held."""


class Strange(SpanProcessor):
    """Has something else wherever one looks."""

    span_exporter = "a text"
    queue = 7
    _batch_processor = None


def test_what_cannot_be_watched_is_left_alone() -> None:
    """Nothing is counted, nothing breaks, and others are watched."""
    slotted, bad = Slotted(), Exporter(refusing)
    kinds = [SimpleSpanProcessor(slotted), Strange(), SimpleSpanProcessor(bad)]  # type: ignore[arg-type]
    with provided(*kinds) as provider:
        lost = watching(provider)
        end(provider, 3)
        lost.look()
        assert (slotted.given, bad.given, lost.lost) == (3, 3, 3)


def test_processors_that_run_at_the_same_time() -> None:
    """Only failures are counted: whether the queue or we had a span first is not known."""
    gate = Gate()
    exporter = Exporter(gate)
    several = ConcurrentMultiSpanProcessor(2)
    with provided(batches(exporter, 8, 32), active_span_processor=several) as provider:
        lost = watching(provider)
        end(provider, 100)
        lost.look()
        assert lost.lost == 0
        gate.open()
        provider.force_flush()
        exporter.act = refusing
        end(provider, 3)
        provider.force_flush()
        assert lost.lost == 3


def test_providers_that_cannot_be_told() -> None:
    """Whoever is asked for them raises."""

    def none() -> list[TracerProvider]:
        raise RuntimeError("no")

    lost = LostSpans("screening", none)
    lost.look()
    lost.close(sent=False)
    assert (lost.lost, lost.waiting) == (0, 0)
