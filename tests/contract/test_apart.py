"""A candidate in a service of its own: the same answers, over a socket, and a fate of its own."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from _bentoml_impl.server.serving import server_on_deployment
from aiohttp import web
from bentoml._internal.configuration.containers import BentoMLContainer

from bento_rollout import open_rollout
from bento_rollout.bento import service_runner, standing
from bento_rollout.bento.decorator import site_of
from tests.contract import kinds_apart, kinds_beside
from tests.contract.apart import Callee, Stranger
from tests.contract.places import CASES, Service, compare, settled, started
from tests.contract.serving import Served, marks

Callees = dict[str, Callee]


@pytest.fixture(scope="module")
def callees(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callees]:
    """The candidates' services."""
    folder = tmp_path_factory.mktemp("apart")
    targets = {"plain_two": "PLAIN", "context_two": "CONTEXT", "kinds_two": "OWN"}
    made = {
        name: Callee(f"tests.contract.kinds_apart:{target}", name, folder).start()
        for name, target in targets.items()
    }
    yield made
    for callee in made.values():
        callee.stop()


@pytest.fixture(scope="module")
def service(callees: Callees, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The services of `kinds_apart`."""

    def named(which: str) -> Any:
        return getattr(kinds_apart, which.upper())

    with started(tmp_path_factory.mktemp("apart"), named) as get:
        yield get


@pytest.mark.parametrize(("which", "case"), CASES)
def test_whole_responses_are_those_of_the_bare_service(which: str, case: str, service: Service) -> None:
    """Status, body and headers are the bare service's, byte for byte, for every kind of endpoint."""
    compare(which, case, service)


def test_the_head_of_a_request_reaches_it(service: Service) -> None:
    """All headers, credentials and the trace included; its status, headers and cookies come back."""
    app = service("own")
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    said = "grüße".encode()
    sent: Any = {"x-say": said, "authorization": "Bearer x", "cookie": "a=b; c=d", "traceparent": trace}
    told = app.post("/headers", {}, headers={**sent, "baggage": "user=u1", "x-rollout-variant": "two"}).json()
    expected = ("Bearer x", "a=b; c=d", "test", said.decode("latin-1"))
    assert tuple(told[name] for name in ("authorization", "cookie", "host", "x-say")) == expected
    assert told["traceparent"].split("-")[1] == trace.split("-")[1]
    assert told["baggage"] == "user=u1"
    answer = app.post("/where", {}, headers=sent)
    assert (answer.status_code, answer.headers["x-own"], answer.cookies["own"]) == (201, "two", "1")
    assert (answer.json()["who"], answer.json()["path"]) == ("two", "/where")
    assert answer.headers.get_list("server") == ["BentoML Service/kinds"]


def test_arrays_of_every_size_come_back_right(service: Service) -> None:
    """Small ones, large ones, and many at the same time."""
    app = service("own")
    for size in (1, 100, 30_000, 300_000):
        assert app.post("/double", {"rows": [1.5] * size}).json() == [3.0] * size
    requests = [{"method": "POST", "path": "/double", "json": {"rows": [i] * 2_000}} for i in range(32)]
    for i, answer in enumerate(app.together(requests)):
        assert answer.json() == [2 * i] * 2_000


def test_streams_come_item_by_item(service: Service) -> None:
    """Long ones whole, in the pieces in which they were sent; one that never ends stops with its reader."""
    app = service("own")
    assert app.post("/count", {"n": 1000}).text.split() == [str(n) for n in range(1000)]
    runner = app.site.serving._runners["two"]

    async def taken(most: int, endpoint: str, **arguments: Any) -> list[str]:
        items, found = runner.stream(endpoint, [], arguments), []
        async for item in items:
            found.append(item)
            if len(found) == most:
                break
        await items.aclose()
        return found

    assert app.run(taken(3, "ticks")) == ["1\n", "2\n", "3\n"]
    assert app.run(taken(9, "words", fail_at=9)) == ["größer", "€", "ñ"]
    assert app.post("/count", {"n": 2}).text == "0\n1\n"  # nothing hangs behind it


def test_what_a_stream_fails_with_before_its_first_item_is_the_callers(
    service: Service,
) -> None:
    """As the bare service answers it; later ones end the stream."""
    answer = service("own").post("/words", {"fail_at": 0})
    assert (answer.status_code, answer.json()) == (404, [{"error": "no more words"}])
    assert marks(answer)["variant"] == "two"
    assert service("own").post("/words", {"fail_at": 2}).text == "größer€"


def test_a_stream_without_a_body_ends(service: Service) -> None:
    """Again and again; the event loop goes on."""
    for _ in range(3):
        assert service("own").post("/silence", {}).content == b""
    assert service("own").get("/livez").status_code == 200


def test_routes_may_have_parameters(service: Service) -> None:
    """What stands in the caller's path stands in the candidate's."""
    assert service("own").post("/wards/east%20wing/beds", {}).text == "two east wing"


FAILURES = {
    "absent": (404, b'[{"error":"no such patient"}]', "two"),
    "own": (418, b"teapot", "two"),
    "forbidden": (403, b'{"error":"Authorization error"}', "two"),
    "own-failure": (507, b"no weights", "one"),
    "invalid": (400, None, "one"),
    "boom": (500, None, "one"),
}


@pytest.mark.parametrize("how", FAILURES)
def test_errors_are_the_callers_or_the_candidates(how: str, service: Service) -> None:
    """4xx is an answer; every other error the champion answers for, or without a fallback is passed on."""
    status, body, guarded = FAILURES[how]
    answer = service("own").post("/fail", {"how": how})
    assert (answer.status_code, marks(answer)["variant"]) == (status, "two")
    assert body is None or answer.content == body
    answer = service("own_guarded").post("/fail", {"how": how})
    assert (marks(answer)["variant"], answer.status_code) == (guarded, status if guarded == "two" else 200)


def test_tasks_are_done_there(service: Service) -> None:
    """A task's work is the candidate's; who did it stands on `/get`."""
    app = service("own")
    task = app.post("/job/submit", {"seconds": 0.5}).json()["task_id"]

    async def done() -> httpx.Response:
        while (answer := await app.arequest("GET", f"/job/get?task_id={task}")).status_code != 200:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        return answer

    answer = app.run(asyncio.wait_for(done(), 30))
    assert (answer.text, marks(answer)["variant"]) == ("two 0.5", "two")


def test_it_dies_and_comes_back(service: Service, callees: Callees) -> None:
    """What it dies under is answered 503; then the champion answers and is ready itself, until it is back."""
    app = service("own")
    answer = app.post("/die", {})
    assert (answer.status_code, marks(answer)["variant"]) == (503, "two")
    answer = app.post("/slow", {"seconds": 0})
    assert (answer.text, marks(answer)["reason"]) == ("one", "unavailable")
    assert app.get("/readyz").status_code == app.get("/livez").status_code == 200
    assert "cannot be reached" in settled(app, "unready").error
    callees["kinds_two"].kill()
    callees["kinds_two"].start()
    settled(app)
    assert app.post("/slow", {"seconds": 0}).text == "two"


def test_with_a_fallback_nobody_notices(service: Service, callees: Callees) -> None:
    """With kill -9 in the middle of calls the champion answers them, and every later one."""
    app = service("own_guarded")
    settled(app)

    async def story() -> list[httpx.Response]:
        send = [asyncio.ensure_future(app.arequest("POST", "/slow", json={"seconds": 1.0})) for _ in range(8)]
        await asyncio.sleep(0.3)
        await asyncio.to_thread(callees["kinds_two"].kill)
        return list(await asyncio.gather(*send))

    answers = app.run(story())
    assert [(answer.status_code, answer.text) for answer in answers] == [(200, "one")] * 8
    assert {marks(answer)["reason"] for answer in answers} == {"fallback"}
    callees["kinds_two"].start()
    settled(app)
    assert app.post("/slow", {"seconds": 0}).text == "two"


def test_calls_to_a_dead_service_do_not_hang(service: Service, callees: Callees) -> None:
    """The server holds its socket, so one can connect: what waits there is let go when it is found dead."""
    app = service("own")
    settled(app)
    app.run(app.site.serving._runners["two"]._hang_up())  # nothing tells that it died
    callees["kinds_two"].kill()
    answer = app.post("/slow", {"seconds": 0})
    assert (answer.status_code, answer.text) in [(503, answer.text), (200, "one")]
    assert "does not answer" in settled(app, "unready").error
    callees["kinds_two"].start()
    settled(app)


def test_a_call_that_hangs_is_left_behind(service: Service) -> None:
    """With a time limit the champion answers."""
    app = service("own_guarded")
    settled(app)
    answer = app.post("/slow", {"seconds": 4})
    assert (answer.text, marks(answer)["reason"]) == ("one", "fallback")
    assert app.post("/slow", {"seconds": 0}).text == "two"


def test_one_that_stands_still_is_unready(
    service: Service, callees: Callees, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service that is stopped (SIGSTOP) loses its traffic after a while, and has it back later."""
    monkeypatch.setattr(service_runner, "SUSPICION", 0.3)
    monkeypatch.setattr(service_runner, "SILENCE", 0.8)
    app = service("own_guarded")
    settled(app)
    process = callees["kinds_two"].process
    assert process is not None
    process.send_signal(signal.SIGSTOP)
    try:
        settled(app, "unready")
        answer = app.post("/slow", {"seconds": 0})
        assert (answer.text, marks(answer)["reason"]) == ("one", "unavailable")
    finally:
        process.send_signal(signal.SIGCONT)
    settled(app)
    assert app.post("/slow", {"seconds": 0}).text == "two"


def test_hooks_can_warm_it_up(callees: Callees, serve: Callable[..., Served]) -> None:
    """A hook gets its endpoints as methods that call it."""
    app = serve(kinds_apart.HOOKED)
    settled(app)
    process = callees["kinds_two"].process
    kinds_beside.WARMED.clear()
    open_rollout("apart-hooked").flip(to="two", timeout=20)
    (asked, *told) = kinds_beside.WARMED
    assert process is not None
    assert asked == (process.pid, ["0\n", "1\n", "2\n"], [2.0, 2.0])
    assert told[:2] == [process.pid, ["0\n", "1\n"]]
    assert "await to_async.pid" in told[2]


def test_a_hooks_call_does_not_wait_for_ever(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody can end a hook's thread: its call of a candidate that hangs is given up."""
    monkeypatch.setattr(standing, "LONGEST", 0.3)
    app = service("own")
    settled(app)
    with pytest.raises(TimeoutError, match="variant 'two' did not answer hang within"):
        app.site.serving._runners["two"].instance.hang(2.0)


def test_a_start_does_not_wait_for_it(serve: Callable[..., Served], tmp_path: Any) -> None:
    """A service whose candidate has not started yet serves at once; the candidate joins when it is there."""
    callee = Callee("tests.contract.kinds_apart:UNDEPLOYABLE", "hooked_two", tmp_path)
    try:
        app = serve(kinds_apart.UNDEPLOYABLE)
        assert app.get("/readyz").status_code == 200
        answer = app.post("/slow", {"seconds": 0})
        assert (answer.text, marks(answer)["reason"]) == ("one", "unavailable")
        card = settled(app, "starting")
        assert "it is starting, busy or dead" in card.error
        assert card.runner == "service"
        callee.start()
        settled(app)
        assert app.post("/slow", {"seconds": 0}).text == "two"
    finally:
        callee.stop()


def test_a_deployment_hook_that_fails_is_the_candidates_trouble(
    serve: Callable[..., Served], monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """The server starts all the same; the candidate is `failed`, with the reason."""
    monkeypatch.setenv("BENTO_ROLLOUT_BROKEN", "{}")
    monkeypatch.setenv("BENTO_ROLLOUT_PINS", "{}")
    service = kinds_apart.UNDEPLOYABLE
    server_on_deployment(service, result_file=str(tmp_path / "results.db"))
    server_on_deployment(service.all_services()["hooked_two"], result_file=str(tmp_path / "results.db"))
    callee = Callee("tests.contract.kinds_apart:UNDEPLOYABLE", "hooked_two", tmp_path)
    try:
        app = serve(service)
        assert "its deployment hook raised RuntimeError: not on" in settled(app, "failed").error
    finally:
        callee.stop()


def test_the_champions_code_in_a_service_is_called_after_both() -> None:
    """`SERVICE_VARIANT`, with the champion's configuration; BentoML knows it as a dependency."""
    site = site_of(kinds_apart.OWN)
    assert site is not None
    assert list(kinds_apart.OWN.all_services()) == ["kinds", "kinds_two"]
    made = kinds_apart.OWN.all_services()["kinds_two"]
    assert made.inner().who == "two"
    assert made is site.definitions["two"].service


def test_without_other_services_it_runs_in_the_worker(serve: Callable[..., Served]) -> None:
    """Where the server starts no dependencies, as in development, nothing is lost but the place."""
    app = serve(kinds_apart.UNDEPLOYABLE)
    assert app.post("/slow", {"seconds": 0}).text == "two"
    assert settled(app).runner == "worker"


def test_it_is_asked_once_a_second_at_most(serve: Callable[..., Served]) -> None:
    """Whether it is ready or not, and however many callers there are."""
    status = [503]

    async def handle(request: web.Request) -> web.StreamResponse:
        return web.Response(status=status[0], text="two")

    there = Stranger(handle)
    BentoMLContainer.remote_runner_mapping.get()["hooked_two"] = there.url.replace("http:", "tcp:")
    try:
        app = serve(kinds_apart.UNDEPLOYABLE)
        assert settled(app, "starting").error == "service 'hooked_two' says that it is not ready (503)"
        for status[0] in (503, 200):
            if status[0] == 200:
                settled(app)
            there.seen.clear()
            began = time.monotonic()
            while time.monotonic() - began < 2.5:
                app.together([{"method": "POST", "path": "/slow", "json": {"seconds": 0}}] * 16)
                time.sleep(0.1)
            assert 1 <= sum(method == "GET" for method, *_ in there.seen) <= 4
    finally:
        BentoMLContainer.remote_runner_mapping.get().pop("hooked_two")
        there.stop()
