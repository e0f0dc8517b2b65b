"""What a shadow does is its own affair: exits, threads, the event loop, memory, processes and folders."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator
from pathlib import Path
from typing import Any

import bentoml
import numpy as np
import pytest

from bento_rollout import RolloutSpec, is_shadow, open_rollout, rollout
from bento_rollout.telemetry import log
from tests.contract import kinds_shadowed
from tests.contract.places import settled
from tests.contract.serving import Served, marks

Serve = Callable[..., Served]

release = threading.Event()
hung: list[str] = []
"""The names of the threads in which a shadow hangs."""


class Polite:
    """Answers, and does nothing else."""

    @bentoml.api
    def sync(self, number: float) -> float:
        return number

    @bentoml.api
    async def coroutine(self, number: float) -> float:
        return number

    @bentoml.api
    async def threads(self, number: float) -> float:
        return await asyncio.to_thread(lambda: number)

    @bentoml.api
    def generator(self, count: int) -> Generator[str, None, None]:
        yield from map(str, range(count))

    @bentoml.api
    async def stream(self, count: int) -> AsyncGenerator[str, None]:
        for number in range(count):
            yield str(number)

    @bentoml.api(batchable=True, max_batch_size=8, max_latency_ms=5000)
    def batch(self, rows: list[int]) -> list[int]:
        return rows

    @bentoml.api
    def array(self, box: np.ndarray) -> int:
        return len(box)


class Rude(Polite):
    """Does as a shadow what nobody would want to happen to a caller."""

    @bentoml.api
    def sync(self, number: float) -> float:
        if is_shadow():
            if number == 600:
                hung.append(threading.current_thread().name)
                release.wait(20)
            raise (SystemExit(3) if number == 1 else KeyboardInterrupt)
        return number

    @bentoml.api
    async def coroutine(self, number: float) -> float:
        if is_shadow():
            if number == 900:
                instance: Any = self
                return float(await instance.to_async.sync(600))
            if number == 700:
                time.sleep(0.4)  # noqa: ASYNC251 - that is what is tested
                return number
            raise (SystemExit(3) if number == 1 else KeyboardInterrupt)
        return number

    @bentoml.api
    async def threads(self, number: float) -> float:
        def hang() -> float:
            hung.append(threading.current_thread().name)
            release.wait(30)
            return number

        def burn() -> float:
            assert is_shadow()
            until = time.thread_time() + 0.2
            while time.thread_time() < until:
                pass
            return number

        if not is_shadow():
            return number
        if number == 800:
            return await asyncio.get_running_loop().run_in_executor(None, burn)
        if number == 1:
            await asyncio.gather(asyncio.to_thread(sys.exit, 3), asyncio.sleep(0))
        return await asyncio.to_thread(hang)

    @bentoml.api
    def generator(self, count: int) -> Generator[str, None, None]:
        try:
            yield from map(str, range(count))
        finally:
            if is_shadow():
                if count == 1001:
                    raise SystemExit(3)
                release.wait(5)

    @bentoml.api
    async def stream(self, count: int) -> AsyncGenerator[str, None]:
        yield "0"
        while is_shadow():
            until = time.perf_counter() + 0.002
            while time.perf_counter() < until:
                pass
            yield "1"

    @bentoml.api(batchable=True, max_batch_size=8, max_latency_ms=5000)
    def batch(self, rows: list[int]) -> list[int]:
        if is_shadow():
            release.wait(20)
        return rows

    @bentoml.api
    def array(self, box: np.ndarray) -> int:
        if is_shadow():
            release.wait(20)
        return len(box)


def service(champion: type = Polite, candidate: type = Rude, **shadow: Any) -> Any:
    """Return the decorated service."""
    made = bentoml.service(name="apart")(type("Champion", (champion,), {}))
    other = bentoml.service(name="candidate")(type("Candidate", (candidate,), {}))
    limits = {"percent": 100, "timeout": "1s", "max_cpu": None, **shadow}
    spec = RolloutSpec(name="apart", shadow={"two": limits})
    return rollout(champion="one", candidates={"two": other}, spec=spec)(made)


def report(done: Callable[..., Any], name: str = "two", rollout: str = "apart") -> dict[str, Any]:
    """Return a shadow's part of the report once something is true of it."""
    until = time.monotonic() + 20
    while True:
        whole = open_rollout(rollout).shadow_report()
        found: Any = whole["noise"] if name == whole["champion"] else whole["candidates"].get(name)
        if found is not None and done(found):
            return dict(found)
        assert time.monotonic() < until, found
        time.sleep(0.05)


@pytest.fixture(autouse=True)
def _forget() -> Any:
    hung.clear()
    release.clear()
    yield
    release.set()


@pytest.fixture
def swapped(serve: Serve) -> Served:
    """A service after a flip: its own class, which BentoML made, is the shadow."""
    app = serve(service(champion=Rude, candidate=Polite))
    open_rollout("apart").flip(to="two")
    return app


# -- exits and streams of the service's own class ------------------------------------------------------------


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("path", ["/sync", "/coroutine"])
def test_an_exit_in_the_home_as_a_shadow_is_a_failure(swapped: Served, path: str, number: int) -> None:
    """SystemExit and KeyboardInterrupt in the service's own class, as a shadow, end nothing."""
    for _ in range(2):
        answer = swapped.post(path, {"number": number})
        assert (answer.status_code, marks(answer)["variant"]) == (200, "two")
    report(lambda row: row["not_comparable"] == {"Exited": 2}, "one")
    assert swapped.loop.is_running()


def test_an_exit_while_a_stream_ends_is_nobodys(swapped: Served) -> None:
    """A shadow's generator that exits while it is closed is cut, and nothing else happens."""
    assert swapped.post("/generator", {"count": 1001}).status_code == 200
    report(lambda row: row["compared"] == 1, "one")
    assert swapped.post("/generator", {"count": 1}).status_code == 200


def test_a_stream_is_closed_off_the_loop(swapped: Served) -> None:
    """A shadow's generator that takes its time to clean up holds up nobody."""
    swapped.post("/generator", {"count": 1500})
    until = time.monotonic() + 1.5
    while time.monotonic() < until:
        began = time.monotonic()
        swapped.post("/batch", {"rows": []})
        assert time.monotonic() - began < 2.5  # it takes five seconds


def test_a_shadow_takes_no_thread_of_its_variants_callers(serve: Serve) -> None:
    """A shadow that hangs, with one thread, and then becomes the champion: its callers are served."""
    app = serve(service(timeout="200ms"))
    app.post("/sync", {"number": 600})
    report(lambda row: row["now"]["stuck"] == 1)
    open_rollout("apart").set_shadow({"two": 0})
    open_rollout("apart").flip(to="two")
    answer = app.post("/sync", {"number": 5})
    assert (answer.status_code, marks(answer)["variant"]) == (200, "two")


# -- the loop's default executor -----------------------------------------------------------------------------


def test_work_that_hangs_in_to_thread_keeps_its_slot_and_takes_nobodys_thread(serve: Serve) -> None:
    """However many calls come, one thread hangs, the report says so, and the champion's own work is done."""
    app = serve(service(timeout="100ms"))
    for _ in range(50):
        assert app.post("/threads", {"number": 5}).status_code == 200
        time.sleep(0.02)
    report(lambda row: row["now"]["stuck"] == 1)
    assert len(hung) == 1
    assert "asyncio" not in hung[0]
    release.set()
    report(lambda row: row["now"]["running"] == 0)


def test_a_call_inside_that_hangs_keeps_its_slot(serve: Serve) -> None:
    """`to_async` of a shadow's own endpoint runs in a thread that its meter knows of."""
    app = serve(service(timeout="100ms"))
    for _ in range(10):
        app.post("/coroutine", {"number": 900})
        time.sleep(0.05)
    report(lambda row: row["now"]["stuck"] == 1)
    assert len(hung) == 1
    release.set()
    report(lambda row: row["now"]["running"] == 0)


def test_work_in_the_default_executor_is_measured(serve: Serve) -> None:
    """CPU time that a shadow burns in the loop's executor is taken from its budget."""
    app = serve(service(max_cpu="0.1%", timeout="20s"))  # minutes until it is paid for, however slow we are
    app.post("/threads", {"number": 800})
    report(lambda row: row["compared"] == 1)
    app.post("/threads", {"number": 800})
    assert report(lambda row: row["dropped"])["dropped"] == {"budget": 1}


def test_an_exit_in_to_thread_ends_nothing(serve: Serve) -> None:
    """`sys.exit` in a task's thread is a failure: asyncio would let it leave the loop."""
    app = serve(service())
    app.post("/threads", {"number": 1})
    assert report(lambda row: row["not_comparable"])["not_comparable"] == {"Exited": 1}
    assert app.post("/threads", {"number": 1}).status_code == 200


# -- the event loop ------------------------------------------------------------------------------------------


def test_a_step_that_sleeps_on_the_loop_is_paid_for(serve: Serve) -> None:
    """An async shadow that blocks the loop without CPU time has used its budget up all the same."""
    app = serve(service(max_cpu="0.1%", timeout="20s"))
    app.post("/coroutine", {"number": 700})
    report(lambda row: row["compared"] == 1)
    app.post("/coroutine", {"number": 700})
    assert report(lambda row: row["dropped"])["dropped"] == {"budget": 1}


def test_a_stream_that_never_suspends_is_timed_out(serve: Serve) -> None:
    """An async generator without an await has its turns between others, and ends with its time."""
    app = serve(service(timeout="300ms"))
    app.post("/stream", {"count": 1})
    time.sleep(0.05)
    began = time.monotonic()
    app.post("/stream", {"count": 1})
    assert time.monotonic() - began < 0.25
    assert report(lambda row: row["dropped"])["dropped"]["timeout"] >= 1


# -- what waits ----------------------------------------------------------------------------------------------


def test_the_queue_counts_calls_and_not_batches(serve: Serve) -> None:
    """Requests that the champion answered in one batch are so many calls that wait."""
    app = serve(service(max_pending=4, timeout="20s"))
    requests = [{"method": "POST", "path": "/batch", "json": {"rows": [n]}} for n in range(24)]
    for _ in range(3):
        app.together(requests)
        time.sleep(0.1)  # longer than a batch lingers
    now = {"pending": 4, "running": 1, "stuck": 0}
    report(lambda row: row["now"] == now and row["dropped"].get("queue_full", 0) >= 60)


def test_the_queue_is_bounded_in_bytes(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls that would hold more memory than a lane may are dropped; one always fits."""
    monkeypatch.setattr("bento_rollout.lane.MOST_WAITING", 20_000)
    app = serve(service(timeout="20s"))
    for _ in range(6):  # 8 kB each: one runs, two wait
        app.post("/array", {"box": [0.5] * 1000})
    found = report(lambda row: row["dropped"].get("queue_full") == 3)
    assert found["now"] == {"pending": 2, "running": 1, "stuck": 0}
    release.set()
    report(lambda row: row["now"]["pending"] == row["now"]["running"] == 0)
    release.clear()
    for _ in range(3):
        app.post("/array", {"box": [0.5] * 10_000})
    assert report(lambda row: row["now"]["pending"] == 1)["now"]["running"] == 1


# -- in a process --------------------------------------------------------------------------------------------


@pytest.fixture
def beside(serve: Serve) -> Served:
    """A service whose candidate runs in a process, ready."""
    app = serve(kinds_shadowed.HANGS)
    settled(app)
    return app


@pytest.mark.parametrize("path", ["/sync", "/inner", "/generator"])
def test_a_call_that_hangs_in_a_process_keeps_its_slot(beside: Served, path: str, tmp_path: Path) -> None:
    """The slot is free again when the process says that the call is over, and nothing is left behind it."""
    file = tmp_path / "go"
    for _ in range(6):
        assert beside.post(path, {"path": str(file)}).status_code == 200
    found = report(
        lambda row: row["now"]["stuck"] == 1 and row["dropped"].get("timeout") == 6, rollout="hangs"
    )
    assert (found["now"]["running"], found["compared"]) == (1, 0)
    file.touch()
    report(lambda row: row["now"] == {"pending": 0, "running": 0, "stuck": 0}, rollout="hangs")
    assert not beside.site.serving._runners["two"]._waiting
    beside.post(path, {"path": str(file)})
    report(lambda row: row["compared"] == 1, rollout="hangs")


def test_a_process_that_dies_frees_the_slot(beside: Served, tmp_path: Path) -> None:
    """Nothing of a call runs in a process that is gone."""
    beside.post("/sync", {"path": str(tmp_path / "never")})
    report(lambda row: row["now"]["stuck"] == 1, rollout="hangs")
    os.kill(beside.site.serving._runners["two"].pid, signal.SIGKILL)
    report(lambda row: row["now"]["running"] == 0, rollout="hangs")


def test_the_champion_in_a_process_is_no_shadow_of_itself(
    beside: Served, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """It has no second place: its noise is not measured, and that is counted and said once."""
    open_rollout("hangs").set_shadow({"two": 0})
    open_rollout("hangs").flip(to="two", reason="a test")
    open_rollout("hangs").set_shadow({"two": 100, "one": 0})
    for _ in range(3):
        answer = beside.post("/sync", {"path": str(tmp_path / "never")})
        assert (answer.status_code, marks(answer)["variant"]) == (200, "two")
    found = report(lambda row: row["dropped"], "two", rollout="hangs")
    assert (found["dropped"], found["compared"]) == ({"unavailable": 3}, 0)
    assert log.WRITER.flush(30)
    said = capfd.readouterr()
    assert (said.out + said.err).count('"event": "shadow.no_place"') == 1


def test_a_worker_ends_though_a_call_hangs_in_a_process(beside: Served, tmp_path: Path) -> None:
    """The end waits neither for the call nor for its thread."""
    for path in ("/sync", "/inner"):
        beside.post(path, {"path": str(tmp_path / "never")})
    report(lambda row: row["now"]["running"] == 1, rollout="hangs")
    began = time.monotonic()
    beside.stop()
    assert time.monotonic() - began < 5


@pytest.mark.nightly
def test_a_folder_of_a_call_in_a_process_goes_with_it(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A candidate that asks for `ctx.temp_dir` in each call uses one folder again, and leaves no file."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    app = serve(kinds_shadowed.HANGS)
    settled(app)
    for number in range(12):
        app.post("/temporary", {"path": str(number)})
        report(lambda row, done=number + 1: row["compared"] == done, rollout="hangs")
    folders = list(tmp_path.glob("bentoml-request-*"))
    assert len(folders) == 1
    assert list(folders[0].iterdir()) == []
