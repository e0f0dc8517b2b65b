"""What a shadow leaves behind: nothing in another caller's request, on the disk, or in an answer."""

from __future__ import annotations

import tempfile
import time
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import bentoml
import pytest

from bento_rollout import RolloutSpec, Variant, is_shadow, open_rollout, rollout
from tests.contract.serving import Served

Serve = Callable[..., Served]


class Odd(dict[str, int]):
    """A mapping whose items are attributes, too: asked for any other, it raises KeyError."""

    __getattr__ = dict.__getitem__


class Files:
    """Answers with files, odd items, and batches of what callers share."""

    word = "champion"

    @bentoml.api
    def file(self, name: str, ctx: bentoml.Context) -> Path:
        if is_shadow():
            time.sleep(0.3)
        path = Path(ctx.temp_dir) / "out.txt"
        path.write_text(f"{self.word} for {name}" if is_shadow() else name)
        return path

    @bentoml.api
    async def items(self, count: int) -> AsyncGenerator[dict[str, int], None]:
        for number in range(count):
            yield Odd(number=number)

    @bentoml.api
    async def large(self, count: int) -> AsyncGenerator[str, None]:
        for _ in range(count):
            yield "x" * (1 << 19)

    @bentoml.api(batchable=True, max_batch_size=8, max_latency_ms=5000)
    async def batch(self, rows: tuple[int, ...] = ()) -> list[int]:
        return list(rows)


def serving(serve: Serve) -> Served:
    """Serve a champion and a shadow that says other words."""
    service = bentoml.service(name="files")(type("Files", (Files,), {}))
    shadow = {"two": {"percent": 100, "max_pending": 100, "timeout": "20s", "max_cpu": "400%"}}
    candidates = {"two": Variant(attributes={"word": "shadow"})}
    spec = RolloutSpec(name="files", shadow=shadow)
    return serve(rollout(champion="one", candidates=candidates, spec=spec)(service))


def report(done: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    """Return the shadow's part of the report once something is true of it."""
    until = time.monotonic() + 20
    while not ((found := open_rollout("files").shadow_report()["candidates"]["two"]) and done(found)):
        assert time.monotonic() < until, found
        time.sleep(0.05)
    return dict(found)


def test_a_shadows_files_are_its_own(serve: Serve) -> None:
    """A request's folder is the next request's while the shadow runs: callers get their own files."""
    app = serving(serve)
    for number in range(8):
        assert app.post("/file", {"name": f"caller {number}"}).text == f"caller {number}"
        time.sleep(0.1)
    found = report(lambda row: row["compared"] == 8)
    assert found["disagreed"] == 8  # the champion's file was kept as it was, and is not the shadow's
    until = time.monotonic() + 10
    while left := list(Path(tempfile.gettempdir()).glob("bento-rollout-shadow-*")):
        assert time.monotonic() < until, left
        time.sleep(0.1)


def test_items_that_cannot_be_measured_are_sent(serve: Serve) -> None:
    """What an item does when it is looked at costs the comparison, and not the stream."""
    app = serving(serve)
    answer = app.post("/items", {"count": 3})
    assert answer.status_code == 200
    assert "2" in answer.text


def test_long_streams_are_kept_up_to_a_bound(serve: Serve) -> None:
    """Of a stream of large items no more than about a megabyte is kept, and compared."""
    app = serving(serve)
    assert len(app.post("/large", {"count": 20}).content) == 20 << 19
    report(lambda row: row["compared"] == 1)


@pytest.mark.parametrize("body", [{}, {"rows": []}])
def test_callers_who_send_the_same_object(serve: Serve, body: dict[str, Any]) -> None:
    """Two calls whose input is one object in memory are two calls."""
    app = serving(serve)
    requests = [{"method": "POST", "path": "/batch", "json": body} for _ in range(6)]
    assert {answer.status_code for answer in app.together(requests)} == {200}
