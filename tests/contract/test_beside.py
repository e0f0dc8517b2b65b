"""A candidate in a process beside the worker: the same answers, and a fate of its own."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from bento_rollout import open_rollout
from bento_rollout.bento import child, process_runner
from bento_rollout.bento.child import Child
from bento_rollout.errors import NotReady
from bento_rollout.telemetry import log
from tests.contract import kinds_beside, kinds_unimportable
from tests.contract.places import CASES, Service, compare, settled, started
from tests.contract.serving import Served, marks

Serve = Callable[..., Served]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The services of `kinds_beside`."""
    with started(
        tmp_path_factory.mktemp("beside"), lambda which: getattr(kinds_beside, which.upper())
    ) as get:
        yield get


@pytest.mark.parametrize(("which", "case"), CASES)
def test_whole_responses_are_those_of_the_bare_service(which: str, case: str, service: Service) -> None:
    """Status, body and headers are the bare service's, byte for byte, for every kind of endpoint."""
    compare(which, case, service)


def test_it_is_another_process_of_the_lowest_priority(service: Service) -> None:
    """The candidate answers from a process of its own, in the worker's session, with nice 19."""
    app = service("own")
    pid = int(app.post("/pid", {}).text)
    assert pid == settled(app).process["pid"] != os.getpid()
    answer = app.post("/where", {}, headers={"x-say": "hello"})
    told = answer.json()
    assert (answer.status_code, answer.headers["x-own"], answer.cookies["own"]) == (201, "two", "1")
    assert (told["who"], told["say"], told["path"]) == ("two", "hello", "/where")
    assert (told["nice"], told["session"]) == (19, os.getsid(0))


def test_arrays_of_every_size_come_back_right(service: Service) -> None:
    """Small ones, large ones, and many at the same time."""
    app = service("own")
    for size in (1, 100, 30_000, 300_000):
        assert app.post("/double", {"rows": [1.5] * size}).json() == [3.0] * size
    requests = [{"method": "POST", "path": "/double", "json": {"rows": [i] * 20_000}} for i in range(32)]
    for i, answer in enumerate(app.together(requests)):
        assert answer.json() == [2 * i] * 20_000


@pytest.mark.nightly
def test_an_answer_larger_than_the_sockets_memory_comes_whole(service: Service) -> None:
    """The thread that made it sends what fits, the rest follows; others are answered meanwhile."""
    app = service("four")
    sizes = [5_000_000, 10, 3_000_000, 0] * 4
    requests = [{"method": "POST", "path": "/text", "json": {"size": size}} for size in sizes]
    assert [len(answer.text) for answer in app.together(requests)] == sizes


def test_many_sync_calls_run_side_by_side_and_each_in_its_own_request(
    service: Service,
) -> None:
    """With ``threads=4`` four at a time, and no more; each sees its own head and sets its own headers."""
    app = service("four")
    heads = [{"x-say": f"caller {number}"} for number in range(64)]
    answers = app.together(
        [{"method": "POST", "path": "/said", "json": {}, "headers": head} for head in heads]
    )
    assert [answer.headers["x-own"] for answer in answers] == [head["x-say"] for head in heads]
    assert [answer.text.rpartition(" ")[0] for answer in answers] == [head["x-say"] for head in heads]
    crowds = app.together([{"method": "POST", "path": "/crowd", "json": {}}] * 32)
    assert max(int(answer.text) for answer in crowds) == 4


def test_one_call_after_the_other_is_answered_by_one_thread(service: Service) -> None:
    """Nobody else has to wake up for it, and its context ends with it."""
    app = service("own")
    heads = [{"x-say": f"caller {number}"} for number in range(20)]
    answers = [app.post("/said", {}, headers=head) for head in heads]
    assert [answer.headers["x-own"] for answer in answers] == [head["x-say"] for head in heads]
    assert [answer.text.rpartition(" ")[0] for answer in answers] == [head["x-say"] for head in heads]
    assert "x-own" not in app.post("/pid", {}).headers


def test_background_tasks_of_a_sync_call_run_after_its_answer(service: Service, tmp_path: Path) -> None:
    """In the candidate's process, with the request that they were added in."""
    path = tmp_path / "later"
    assert service("own").post("/later", {"path": str(path)}, headers={"x-say": "hello"}).text == "two"
    until = time.monotonic() + 20
    while not path.exists() or not path.read_text():
        assert time.monotonic() < until
        time.sleep(0.01)
    assert path.read_text() == "two hello"


def test_a_sync_call_that_asks_the_process_to_end_only_fails(service: Service) -> None:
    """`SystemExit` in a candidate's thread is an error of that call."""
    app = service("own")
    pid = settled(app).process["pid"]
    answer = app.post("/leave", {})
    assert (answer.status_code, marks(answer)["variant"]) == (500, "two")
    assert int(app.post("/pid", {}).text) == pid


def test_streams_come_item_by_item(service: Service) -> None:
    """Long ones whole; a candidate that never ends is not far ahead of its reader, and stops with it."""
    app = service("own")
    assert app.post("/count", {"n": 1000}).text.split() == [str(n) for n in range(1000)]
    runner = app.site.serving._runners["two"]

    async def three() -> list[str]:
        items = runner.stream("endless", [], {})
        taken = [await anext(items) for _ in range(3)]
        await items.aclose()
        return taken

    assert app.run(three()) == ["1\n", "2\n", "3\n"]
    assert app.post("/count", {"n": 2}).text == "0\n1\n"  # nothing hangs behind it


def test_an_error_that_cannot_cross_is_told_in_words(
    service: Service, capfd: pytest.CaptureFixture[str]
) -> None:
    """The caller gets BentoML's 500 with our headers; the log has the candidate's traceback."""
    answer = service("own").post("/odd", {})
    assert (answer.status_code, marks(answer)["variant"]) == (500, "two")


def test_it_dies_and_comes_back(service: Service) -> None:
    """A call that its process dies under is answered 503; then the champion answers, until it is back."""
    app = service("own")
    first = int(app.post("/pid", {}).text)
    answer = app.post("/die", {})
    assert (answer.status_code, marks(answer)["variant"]) == (503, "two")
    answer = app.post("/slow", {"seconds": 0})
    assert (answer.text, marks(answer)["reason"]) == ("one", "unavailable")
    card = settled(app)
    assert card.process["restarts"] >= 1
    assert int(app.post("/pid", {}).text) != first


def test_with_a_fallback_nobody_notices(service: Service) -> None:
    """With kill -9 in the middle of calls the champion answers them, and every later one."""
    app = service("own_guarded")

    async def story() -> list[Any]:
        calls = [
            asyncio.ensure_future(app.arequest("POST", "/slow", json={"seconds": 1.0})) for _ in range(8)
        ]
        await asyncio.sleep(0.3)
        os.kill(app.site.serving._runners["two"].pid, signal.SIGKILL)
        return list(await asyncio.gather(*calls))

    answers = app.run(story())
    assert [(answer.status_code, answer.text) for answer in answers] == [(200, "one")] * 8
    assert {marks(answer)["reason"] for answer in answers} == {"fallback"}
    settled(app)
    assert app.post("/slow", {"seconds": 0}).text == "two"


def test_the_log_says_where_it_raised(service: Service, capfd: pytest.CaptureFixture[str]) -> None:
    """A failure that the champion covers is told with the candidate's own line, and not with ours."""
    app = service("own_guarded")
    settled(app)
    assert marks(app.post("/odd", {}))["reason"] == "fallback"
    assert log.WRITER.flush(30)
    said = capfd.readouterr()
    (line,) = [line for line in (said.out + said.err).splitlines() if '"call.fallback"' in line]
    assert "kinds_beside.py:" in json.loads(line)["where"]


def test_a_call_that_hangs_is_left_behind(service: Service) -> None:
    """With a time limit the champion answers; what was cancelled holds no memory here."""
    app = service("own_guarded")
    settled(app)
    answer = app.post("/slow", {"seconds": 4})
    assert (answer.text, marks(answer)["reason"]) == ("one", "fallback")
    assert app.post("/slow", {"seconds": 0}).text == "two"
    assert not app.site.serving._runners["two"]._waiting


def test_one_that_takes_nothing_piles_nothing_up(serve: Serve) -> None:
    """It blocks its loop, and calls with arrays come and are given up: what it does not take stays small."""
    app = serve(kinds_beside.ENVED)
    settled(app)
    runner, gated = app.site.serving._runners["two"], app.site.serving._router.runs._gated["two"]
    here, array = psutil.Process(), np.ones(500_000)

    async def one(seconds: float) -> str:
        try:
            return str(await asyncio.wait_for(gated.call("block", [array, seconds], {}), 0.3))
        except (TimeoutError, asyncio.TimeoutError):
            return "late"

    async def story() -> list[str]:
        calls = []
        for _ in range(120):  # 480 MB in three seconds
            calls.append(asyncio.ensure_future(one(20)))
            await asyncio.sleep(0.025)
        return list(await asyncio.gather(*calls))

    before = here.memory_info().rss
    assert set(app.run(story())) == {"late"}
    assert here.memory_info().rss - before < 1e8
    assert not runner._waiting
    os.kill(runner.pid, signal.SIGKILL)  # nothing else ends it in time


def test_a_sync_call_that_is_given_up_is_not_answered(service: Service) -> None:
    """Its thread works on, async calls are answered meanwhile, and sync ones once it is done."""
    app = service("own_guarded")
    settled(app)
    answer = app.post("/hang", {"seconds": 3.5})
    assert (answer.text, marks(answer)["reason"]) == ("one", "fallback")
    assert not app.site.serving._runners["two"]._waiting
    assert app.post("/slow", {"seconds": 0}).text == "two"
    assert app.post("/hang", {"seconds": 0}).text == "two"


def test_one_that_stands_still_is_unready(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is stopped (SIGSTOP) loses its traffic after a while, and has it back later."""
    monkeypatch.setattr("bento_rollout.bento.process_runner.PROBE", 0.1)
    monkeypatch.setattr("bento_rollout.bento.process_runner.SILENCE", 0.8)
    app = service("own_guarded")
    settled(app)
    runner = app.site.serving._runners["two"]
    os.kill(runner.pid, signal.SIGSTOP)
    try:
        card = settled(app, "unready")
        assert "has not answered for" in card.error
        answer = app.post("/slow", {"seconds": 0})
        assert (answer.text, marks(answer)["reason"]) == ("one", "unavailable")
        assert app.predictions[-1].plans[0].missed == "two"  # its error: it had been ready
    finally:
        os.kill(runner.pid, signal.SIGCONT)
    settled(app)
    assert app.post("/slow", {"seconds": 0}).text == "two"


@pytest.mark.nightly
def test_starting_again_leaks_nothing(service: Service) -> None:
    """Neither file descriptors nor shared memory of processes that died stay behind."""
    app = service("own_guarded")
    settled(app)
    here = psutil.Process()
    app.post("/double", {"rows": [1.0] * 100_000})
    before = here.num_fds()
    for _ in range(3):
        os.kill(app.site.serving._runners["two"].pid, signal.SIGKILL)
        app.site.serving._runners["two"].state = "starting"
        settled(app)
        app.post("/double", {"rows": [1.0] * 100_000})
    assert here.num_fds() <= before + 1


def test_one_that_cannot_be_made_is_failed(serve: Serve) -> None:
    """The service starts, the champion answers, and the reason stands in `status`."""
    app = serve(kinds_beside.BROKEN)
    card = settled(app, "failed")
    assert "OSError: no weights here" in card.error
    answer = app.post("/slow", {"seconds": 0})
    assert (answer.text, marks(answer)["reason"]) == ("one", "unavailable")
    assert app.predictions[-1].plans[0].missed is None  # it never was ready


UNIMPORTABLE = {
    "import": r"^ImportError: no such wheel \(\S+kinds_unimportable.py:\d+\)$",
    "chain": r"^RuntimeError: no weights here because of KeyError: 'NO_WEIGHTS' \(\S+unimportable.py:\d+\)$",
    "exit": r"^its process ended while it was starting \(exit code 3\)$",
    "kill": r"^its process ended while it was starting \(signal 9\)$",
}


@pytest.mark.parametrize("how", UNIMPORTABLE)
def test_one_that_cannot_be_imported_is_failed(
    how: str, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`status` and the verbs say why, on one line; the champion answers."""
    monkeypatch.setenv(kinds_unimportable.HOW, how)
    app = serve(kinds_unimportable.SERVICE)
    problem = settled(app, "failed").error
    assert re.search(UNIMPORTABLE[how], problem)
    answer = app.post("/slow", {"seconds": 0})
    assert (answer.status_code, answer.text) == (200, "one")
    rollout = open_rollout("beside-unimportable")
    assert rollout.status()["variants"]["two"]["error"] == problem
    with pytest.raises(NotReady, match=re.escape(problem)):
        rollout.set_weights({"two": 5})
    with pytest.raises(NotReady, match=re.escape(problem)):
        rollout.flip(to="two")


def test_its_envs_are_its_own(serve: Serve) -> None:
    """What a candidate's ``envs`` say is true in its process, and not in the worker."""
    app = serve(kinds_beside.ENVED)
    settled(app)
    assert app.post("/environment", {}).text == "own"
    assert "OWN_ENV" not in os.environ


def test_what_a_middleware_noted_crosses_where_it_can(serve: Serve) -> None:
    """Of ``request.state`` the candidate has what can be pickled; the rest is absent, and harms nothing."""
    app = serve(kinds_beside.ENVED)
    settled(app)
    told = app.post("/where", {}).json()
    assert (told["who"], told["note"], told["lock"]) == ("two", {"ward": 3}, None)


def test_one_that_dies_at_every_start_is_started_less_and_less(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pause doubles up to the longest; one that has lived for a while begins at the first again."""
    for name, seconds in (("FIRST_WAIT", 0.3), ("LAST_WAIT", 1.2), ("STEADY", 4.0)):
        monkeypatch.setattr(process_runner, name, seconds)
    begun: list[float] = []
    ends: list[float] = []
    living = threading.Event()

    async def spawn(*args: Any) -> Child:
        begun.append(time.monotonic())
        made = await child.spawn(*args)
        if not living.is_set():
            made.process.kill()
            await asyncio.to_thread(made.process.wait)
            ends.append(time.monotonic())
        return made

    monkeypatch.setattr(process_runner, "spawn", spawn)
    app = serve(kinds_beside.ENVED)
    runner = app.site.serving._runners["two"]
    until(lambda: len(begun) >= 5)
    assert runner.restarts == len(begun) - 1
    gaps = [after - before for before, after in zip(ends, begun[1:5], strict=False)]
    for gap, wait in zip(gaps, [0.3, 0.6, 1.2, 1.2], strict=True):
        assert wait - 0.05 <= gap < wait + 0.5
    living.set()
    settled(app)
    until(lambda: time.monotonic() - begun[-1] > 4.1)  # it has been steady
    count, died = len(begun), time.monotonic()
    os.kill(runner.pid, signal.SIGKILL)
    until(lambda: len(begun) > count)
    assert 0.25 <= begun[-1] - died < 0.8


def until(condition: Callable[[], bool]) -> None:
    """Wait for something to be so."""
    last = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < last
        time.sleep(0.01)


def test_it_ends_with_the_service(serve: Serve) -> None:
    """When the service stops, the process is gone."""
    app = serve(kinds_beside.ENVED)
    process = psutil.Process(settled(app).process["pid"])
    app.run(app.site.stop())
    assert not process.is_running()


def test_calls_of_all_kinds_at_once_leave_nothing_behind(service: Service) -> None:
    """Sync, async and streamed ones, a third given up at any moment: the others are right, memory is free."""
    app = service("four")
    runner = app.site.serving._runners["two"]

    async def counted() -> list[str]:
        return [item async for item in runner.stream("count", [5], {})]

    def asked(number: int) -> tuple[Any, Callable[[Any], bool]]:
        """Return a call and what is right for its answer."""
        endpoint = ("double", "text", "slow", "crowd", "count")[number % 5]
        if endpoint == "count":
            return counted(), lambda got: len(got) == 5
        array = np.full((10, 3000, 50_000)[number // 5 % 3], number)
        inputs: Any = {"double": array, "text": 400_000, "slow": 0.003}
        right: Any = {
            "double": lambda got: (got == 2 * number).all(),
            "text": lambda got: got == "x" * 400_000,
            "slow": lambda got: got == "two",
            "crowd": lambda got: got <= 4,
        }
        given = [inputs[endpoint]] if endpoint in inputs else []
        return runner.call(endpoint, given, {}), right[endpoint]

    async def one(number: int) -> None:
        call, right = asked(number)
        task = asyncio.ensure_future(call)
        if number % 3 == 0:
            await asyncio.sleep(number % 11 / 1000)
            task.cancel()
            await asyncio.wait({task})
        else:
            assert right(await task)

    async def story() -> None:
        for start in range(0, 600, 60):
            await asyncio.gather(*(one(number) for number in range(start, start + 60)))

    app.run(story())
    assert not runner._waiting
    assert int(app.post("/pid", {}).text) == runner.pid  # behind what says that the arrays were taken
    assert runner._child.arenas[0].used == 0


def test_a_thread_that_is_busy_does_not_hold_the_end(serve: Serve) -> None:
    """When the service stops, a sync call that runs fails, and its process is gone."""
    app = serve(kinds_beside.ENVED)
    process = psutil.Process(settled(app).process["pid"])

    async def story() -> Any:
        call = asyncio.ensure_future(app.arequest("POST", "/hang", json={"seconds": 60}))
        await asyncio.sleep(0.5)
        began = time.monotonic()
        await app.site.stop()
        assert time.monotonic() - began < 8
        return await call

    assert app.run(story()).status_code == 500
    assert not process.is_running()


def test_hooks_can_warm_it_up(serve: Serve) -> None:
    """A hook gets its endpoints as methods that call it: sync ones in a thread, ``to_async`` on the loop."""
    app = serve(kinds_beside.HOOKED)
    pid = settled(app).process["pid"]
    kinds_beside.WARMED.clear()
    open_rollout("beside-hooked").flip(to="two", timeout=20)
    (asked, *told) = kinds_beside.WARMED
    assert asked == (pid, ["0\n", "1\n", "2\n"], [2.0, 2.0])
    assert told[:2] == [pid, ["0\n", "1\n"]]
    assert "await to_async.pid" in told[2]
    assert app.post("/slow", {"seconds": 0}).text == "two"


def test_status_says_what_it_costs(service: Service) -> None:
    """`status` has the process's memory and how often it was started again."""
    app = service("own")
    settled(app)
    until = time.monotonic() + 10
    while (row := open_rollout("beside-own").status()["variants"]["two"])["state"] != "ready":
        assert time.monotonic() < until, row
        time.sleep(0.1)
    assert row["runner"] == "process"
    (process,) = row["processes"]
    assert process["memory_mb"] > 10
    assert process["restarts"] >= 0
    assert process["worker"] == os.getpid()
