"""A real OTLP receiver in a process of its own, and what it received."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.integration.running import free_port, until


@dataclass(frozen=True, slots=True)
class Span:
    """One span that was received over OTLP."""

    trace: str
    id: str
    parent: str
    name: str
    kind: int
    attributes: dict[str, Any]
    links: tuple[tuple[str, str], ...]
    failed: bool
    seconds: float

    @classmethod
    def read(cls, line: str) -> Span:
        """Return the span that one line of the receiver tells of."""
        told = json.loads(line)
        attributes = {one["key"]: next(iter(one["value"].values()), None) for one in told["attributes"]}
        links = tuple((link["traceId"], link["spanId"]) for link in told["links"])
        seconds = (int(told["endTimeUnixNano"]) - int(told["startTimeUnixNano"])) / 1e9
        failed = told["status"]["code"] in (2, "STATUS_CODE_ERROR")
        ids = told["traceId"], told["spanId"], told["parentSpanId"]
        return cls(*ids, told["name"], told["kind"], attributes, links, failed, seconds)


class Collector:
    """A receiver that runs.

    Args:
        folder: where what it received is written.
        port: where it listens.
    """

    def __init__(self, folder: Path, port: int) -> None:
        self.port, self.file = port, folder / "spans.ndjson"

    @property
    def endpoint(self) -> str:
        """Where traces go."""
        return f"http://127.0.0.1:{self.port}/v1/traces"

    def options(self, *, rate: float = 1.0) -> dict[str, str]:
        """Return the environment by which BentoML's own tracing exports to it."""
        excluded = "readyz,livez,healthz,metrics"
        tracing = (
            f"services.tracing.exporter_type=otlp services.tracing.sample_rate={rate} "
            f"services.tracing.excluded_urls={excluded} services.tracing.otlp.protocol=http "
            f"services.tracing.otlp.endpoint={self.endpoint}"
        )
        return {"BENTOML_CONFIG_OPTIONS": tracing, "OTEL_BSP_SCHEDULE_DELAY": "200"}

    def spans(self) -> list[Span]:
        """Return all that came so far, without those of single ASGI messages."""
        lines = self.file.read_text().splitlines()
        found = [Span.read(line) for line in lines if line.startswith("{") and line.endswith("}")]
        return [span for span in found if not span.name.endswith(("http send", "http receive"))]

    def until(self, what: str, where: Callable[[Span], bool], count: int = 1) -> list[Span]:
        """Return the spans that have something in common, once there are as many."""

        def enough() -> list[Span] | None:
            found = [span for span in self.spans() if where(span)]
            return found if len(found) >= count else None

        return list(until(enough, f"{count} spans: {what}", 30.0))


@contextlib.contextmanager
def collecting(folder: Path, port: int | None = None) -> Iterator[Collector]:
    """Receive until the block ends."""
    collector = Collector(folder, port or free_port())
    command = [sys.executable, "-u", "-m", "oteltap", "--port", str(collector.port)]
    with collector.file.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, text=True)
    try:
        until(lambda: "Listening" in collector.file.read_text(), "the receiver listens", 20.0)
        yield collector
    finally:
        process.terminate()
        process.wait(20)
