"""A candidate at a URL: the same answers; nothing goes there but what may; whatever is there harms nobody."""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
import pickle
import socket
import ssl
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import bentoml
import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from bento_rollout import Variant, open_rollout
from bento_rollout.bento import remote, url_runner
from bento_rollout.errors import NotReady
from tests.contract import kinds
from tests.contract.apart import Callee, Handler, Stranger
from tests.contract.kinds_apart import Apart
from tests.contract.kinds_beside import GUARDED, beside
from tests.contract.places import CASES, Service, compare, settled, started
from tests.contract.serving import Served, bare_part, marks

# What was made by hand in a form of its own is a failure there.
ELSEWHERE = [(which, case) for which, case in CASES if (which, case[:8]) != ("context", "response")]

CLASSES: dict[str, type] = {"plain": kinds.Kinds, "context": kinds.KindsInContext, "own": Apart}

Serve = Callable[..., Served]


@pytest.fixture(scope="module")
def deployments(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Callee]]:
    """Services that are deployed already."""
    folder = tmp_path_factory.mktemp("deployed")
    made = {
        name: Callee(f"tests.contract.kinds_deployed:{name.upper()}", name, folder, main=True).start()
        for name in ("plain", "context", "own")
    }
    yield made
    for callee in made.values():
        callee.stop()


@pytest.fixture(scope="module")
def service(deployments: dict[str, Callee], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Services whose candidates are those deployments."""

    def make(which: str) -> Any:
        variant = Variant(url=deployments[which].url, forward_headers=["X-Say"])
        return beside(CLASSES[which], f"elsewhere-{which}", variant)

    with started(tmp_path_factory.mktemp("elsewhere"), make) as get:
        yield get


@pytest.mark.parametrize(("which", "case"), ELSEWHERE)
def test_whole_responses_are_those_of_the_bare_service(which: str, case: str, service: Service) -> None:
    """Status, body and headers are the bare service's, byte for byte, for every kind of endpoint."""
    by_hand = (which, case) == ("plain", "response")  # JSON that was made by hand comes in BentoML's form
    compare(
        which, case, service, (lambda answer: (answer.status_code, answer.json())) if by_hand else bare_part
    )


def test_only_named_headers_go_there(service: Service) -> None:
    """Neither credentials, nor cookies, nor the trace; status, headers and cookies come back."""
    app = service("own")
    secret = {"authorization": "Bearer x", "cookie": "a=b", "x-other": "no", "x-say": "hello"}
    told = app.post("/headers", {}, headers={**secret, "traceparent": f"00-{'1' * 32}-{'2' * 16}-01"}).json()
    assert told.pop("host").startswith("127.0.0.1")
    asked = {"x-rollout-measured": "0"}  # ours: what is measured there may come back
    assert told == {"x-say": "hello", "content-type": "application/json", "content-length": "2", **asked}
    answer = app.post("/where", {})
    assert (answer.status_code, answer.headers["x-own"], answer.cookies["own"]) == (201, "two", "1")


# -- who else may be there ------------------------------------------------------------------------------


@pytest.fixture
def stranger() -> Iterator[Callable[..., Stranger]]:
    """Start servers, and end them."""
    made: list[Stranger] = []

    def start(handle: Handler, tls: ssl.SSLContext | None = None) -> Stranger:
        made.append(Stranger(handle, tls))
        return made[-1]

    yield start
    for one in made:
        one.stop()


def at(url: str, name: str, **more: Any) -> Any:
    """Return a service whose candidate is at a URL."""
    return beside(Apart, name, Variant(url=url, **more), **GUARDED)


SCHEMA = bentoml.service(name="kinds")(Apart).schema()
"""What a deployment of the same code says of itself."""


def saying(change: Callable[[web.Request], Awaitable[web.StreamResponse | None]]) -> Handler:
    """Return what answers as a deployment of the candidate, but for what ``change`` answers itself."""

    async def handle(request: web.Request) -> web.StreamResponse:
        if (own := await change(request)) is not None:
            return own
        if request.path == "/schema.json":
            return web.json_response(SCHEMA)
        return web.Response(text="two" if request.path == "/slow" else "")

    return handle


def start_of(size: int) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Return what sends many bytes, without saying how many."""

    async def handle(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"content-type": "text/plain; charset=utf-8"})
        await answer.prepare(request)
        try:
            for _ in range(size >> 20):
                await answer.write(b" " * (1 << 20))
        except ConnectionError:
            pass
        return answer

    return handle


async def html(_: web.Request) -> web.StreamResponse:
    """Answer with a page."""
    return web.Response(text="<html>Welcome</html>", content_type="text/html")


async def moved(request: web.Request) -> web.StreamResponse:
    """Redirect."""
    return web.HTTPMovedPermanently(f"https://example.org{request.path}")


async def locked(_: web.Request) -> web.StreamResponse:
    """Want to know who asks."""
    return web.json_response({"error": "Authorization error"}, status=401)


async def nothing(_: web.Request) -> web.StreamResponse:
    """Know nothing of it."""
    return web.Response(status=404)


async def other_schema(_: web.Request) -> web.StreamResponse:
    """Answer with other values."""
    routes = [{**route, "output": {"type": "integer"}} for route in SCHEMA["routes"]]
    return web.json_response({**SCHEMA, "routes": routes})


async def other_place(_: web.Request) -> web.StreamResponse:
    """Lead calls, and what goes with them, somewhere else."""
    routes = [{**route, "route": "@127.0.0.1:9/x"} for route in SCHEMA["routes"]]
    return web.json_response({**SCHEMA, "routes": routes})


async def other_path(_: web.Request) -> web.StreamResponse:
    """Lead calls to another path of the same server."""
    return web.json_response({"routes": [{**SCHEMA["routes"][0], "route": "/a/../../admin"}]})


async def other_service(_: web.Request) -> web.StreamResponse:
    """Have other endpoints."""
    return web.json_response({"routes": [{"name": "summarize", "route": "/summarize"}]})


STRANGERS = {
    "html": (html, "answers what is no JSON: '<html>Welcome"),
    "redirects": (moved, "redirects (301) to 'https://example.org': write that URL"),
    "locked": (locked, "/readyz answers 401"),
    "nothing": (nothing, "is a BentoML service there?"),
    "too much": (start_of(1 << 30), "answers more than 524288 bytes"),
    "another place": (other_place, "its route '@127.0.0.1:9/x' is no path there"),
    "another path": (other_path, "its route '/a/../../admin' is no path there"),
    "another schema": (other_schema, "the output differs at "),
    "another service": (other_service, "it has no endpoint 'bare_headers'; it has: summarize"),
}


@pytest.mark.parametrize("who", STRANGERS)
def test_a_stranger_is_not_ready(
    who: str, stranger: Callable[..., Stranger], serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reason stands in `status` and at the verbs; the champion answers."""
    monkeypatch.setattr(url_runner, "PROBE", 0.2)
    handle, problem = STRANGERS[who]
    app = serve(at(stranger(handle).url, f"stranger-{who.replace(' ', '-')}"))
    card = settled(app, "unready")
    assert problem in card.error
    answer = app.post("/slow", {"seconds": 0})
    assert (answer.text, marks(answer)["reason"]) == ("one", "unavailable")
    rollout = open_rollout(app.site.name)
    rollout.set_weights({"two": 0})
    with pytest.raises(NotReady) as refused:
        rollout.set_weights({"two": 5})
    assert problem[:40] in str(refused.value)
    with pytest.raises(NotReady) as refused:
        rollout.flip(to="two")
    assert problem[:40] in str(refused.value)


def test_nobody_there(serve: Serve) -> None:
    """A start does not wait; the error names the address, in `status` and at the verbs."""
    app = serve(at("http://127.0.0.1:9", "nobody"))
    problem = "http://127.0.0.1:9/readyz: ClientConnectorError"
    assert problem in settled(app, "unready").error
    assert app.post("/slow", {"seconds": 0}).text == "one"
    rollout = open_rollout("nobody")
    rollout.set_weights({"two": 0})
    with pytest.raises(NotReady, match=problem):
        rollout.set_weights({"two": 5})
    with pytest.raises(NotReady, match=problem):
        rollout.flip(to="two")


async def pickled(_: web.Request) -> web.StreamResponse:
    """Answer in a form that a gateway's client would unpickle."""
    body = pickle.dumps("two")
    head = {"buffer-lengths": str(len(body)), "content-type": "application/vnd.bentoml+pickle"}
    return web.Response(body=body, headers=head)


async def untyped(_: web.Request) -> web.StreamResponse:
    """Answer with nothing."""
    return web.Response(status=204)


async def bad_cookie(_: web.Request) -> web.StreamResponse:
    """Set a cookie that cannot be sent."""
    return web.Response(text="two", headers={"set-cookie": "a=b; SameSite=bogus"})


ANSWERS: dict[str, tuple[Any, str]] = {
    "html": (html, "one"),
    "redirects": (moved, "one"),
    "too much": (start_of(1 << 30), "one"),
    "pickled": (pickled, "one"),
    "of no type": (untyped, "one"),
    "bad cookie": (bad_cookie, "one"),
    "fine": (nothing, "two"),
}


@pytest.mark.parametrize("how", ANSWERS)
def test_an_answer_that_is_none_is_the_candidates_failure(
    how: str, stranger: Callable[..., Stranger], serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The champion answers; a gigabyte is not kept."""
    monkeypatch.setattr(remote.Remote, "most", 1 << 22)
    handle, who = ANSWERS[how]

    async def change(request: web.Request) -> web.StreamResponse | None:
        return await handle(request) if request.path == "/slow" and how != "fine" else None

    app = serve(at(stranger(saying(change)).url, f"answers-{how.replace(' ', '-')}"))
    settled(app)
    answer = app.post("/slow", {"seconds": 0})
    assert (answer.status_code, answer.text) == (200, who)
    assert marks(answer)["reason"] == ("fallback" if who == "one" else "no_key")


STREAMS: dict[str, Any] = {"html": html, "redirects": moved, "nothing": untyped, "bad cookie": bad_cookie}


@pytest.mark.parametrize("how", STREAMS)
def test_a_stream_that_is_none_is_the_candidates_failure(
    how: str, stranger: Callable[..., Stranger], serve: Serve
) -> None:
    """Before the first item the champion answers, again and again."""

    async def change(request: web.Request) -> web.StreamResponse | None:
        return await STREAMS[how](request) if request.path == "/count" else None

    app = serve(at(stranger(saying(change)).url, f"streams-{how.replace(' ', '-')}"))
    settled(app)
    for _ in range(3):
        answer = app.post("/count", {"n": 2})
        assert (answer.status_code, answer.text) == (200, "0\n1\n")
        assert marks(answer)["reason"] == "fallback"


def test_switching_protocols_is_no_answer(serve: Serve) -> None:
    """A server that says 101 has failed."""

    def speak(line: socket.socket) -> None:
        head = line.recv(1 << 16)
        body = json.dumps(SCHEMA).encode()
        good = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s" % (len(body), body)
        odd = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n"
        line.sendall(odd if head.startswith(b"POST") else good)
        line.close()

    with speaking(speak) as url:
        app = serve(at(url, "switching"))
        settled(app)
        answer = app.post("/slow", {"seconds": 0})
        assert (answer.text, marks(answer)["reason"]) == ("one", "fallback")


@contextmanager
def speaking(speak: Callable[[socket.socket], None]) -> Iterator[str]:
    """Serve raw bytes."""
    listening = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        while True:
            try:
                speak(listening.accept()[0])
            except OSError:
                return

    threading.Thread(target=run, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()


def test_numbers_that_are_none_reach_it(service: Service) -> None:
    """NaN and infinity are what they were, as in the worker."""
    answer = service("own").post("/same", content=b'{"values": {"a": NaN, "b": Infinity, "c": 1.5}}')
    assert answer.text == "two {'a': nan, 'b': inf, 'c': 1.5}"


def test_its_schema_is_compared_again(
    stranger: Callable[..., Stranger], serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deployment that becomes another one loses its traffic, and has it back when it is the old one."""
    monkeypatch.setattr(url_runner, "AGAIN", 2)
    monkeypatch.setattr(remote, "PROBE", 0.1)
    answering: list[Callable[[web.Request], Awaitable[web.StreamResponse]]] = []

    async def change(request: web.Request) -> web.StreamResponse | None:
        return await answering[0](request) if answering and request.path == "/schema.json" else None

    app = serve(at(stranger(saying(change)).url, "changing"))
    settled(app)
    answering.append(other_schema)
    assert "the output differs at" in settled(app, "unready").error
    assert marks(app.post("/slow", {"seconds": 0}))["reason"] == "unavailable"
    answering.clear()
    settled(app)


def test_one_that_says_that_it_is_not_ready_is_not(
    stranger: Callable[..., Stranger], serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its schema is fine, its ``/readyz`` is not: it has no traffic, and does not come and go."""
    monkeypatch.setattr(remote, "PROBE", 0.1)
    status = [503]

    async def change(request: web.Request) -> web.StreamResponse | None:
        return web.Response(status=status[0]) if request.path == "/readyz" else None

    app = serve(at(stranger(saying(change)).url, "not-ready"))
    assert settled(app, "unready").error.endswith("/readyz answers 503")
    until = time.monotonic() + 1
    while time.monotonic() < until:
        assert app.site.serving._card().variants["two"].state == "unready"
        time.sleep(0.01)
    assert marks(app.post("/slow", {"seconds": 0}))["reason"] == "unavailable"
    status[0] = 404  # who has no such path is ready when its endpoints are the champion's
    settled(app)
    status[0] = 503
    settled(app, "unready")


def test_who_is_no_service_is_asked_less_and_less(
    stranger: Callable[..., Stranger], serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One description at a time, and when there is none with longer and longer pauses."""
    monkeypatch.setattr(remote, "PROBE", 0.2)
    monkeypatch.setattr(url_runner, "PROBE", 0.2)
    there = stranger(nothing)
    app = serve(at(there.url, "less"))
    until = time.monotonic() + 4.5  # questions at 0, 0.2, 0.4, 0.6, 1.0, 1.8, 3.4
    while time.monotonic() < until:
        time.sleep(0.05)
    paths = [path for _, path, _ in there.seen]
    assert paths[:6] == [part for path in url_runner.DESCRIPTIONS for part in ("/readyz", path)]
    assert len(paths) <= 16
    assert "has no /schema.json, no /openapi.json, no /docs.json" in settled(app, "unready").error


def test_it_is_asked_once_a_second_at_most(stranger: Callable[..., Stranger], serve: Serve) -> None:
    """Whether it is ready or not, and however many callers there are."""

    async def down(_: web.Request) -> web.StreamResponse | None:
        return web.Response(status=503)

    there = stranger(saying(down))
    app = serve(at(there.url, "asked"))
    began = time.monotonic()
    while time.monotonic() - began < 3:
        app.together([{"method": "POST", "path": "/slow", "json": {"seconds": 0}}] * 16)
    assert len(there.seen) <= 5
    assert {method for method, *_ in there.seen} == {"GET"}


def test_openapi_is_compared_where_there_is_nothing_else(
    stranger: Callable[..., Stranger], serve: Serve
) -> None:
    """A service of another framework: its paths, its inputs' names and plain types."""
    text = {"type": "string"}
    found: dict[str, Any] = {
        "openapi": "3.1.0",
        "paths": {
            "/slow": {
                "post": {
                    "requestBody": {
                        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Slow"}}}
                    },
                    "responses": {"200": {"content": {"application/json": {"schema": text}}}},
                }
            }
        },
        "components": {"schemas": {"Slow": {"properties": {"seconds": {"type": "number"}}}}},
    }

    async def handle(request: web.Request) -> web.StreamResponse:
        if request.path == "/openapi.json":
            return web.json_response(found)
        return web.Response(text="two") if request.path == "/slow" else web.Response(status=404)

    there = stranger(handle)
    spec = {**GUARDED, "endpoints": ["slow"]}
    app = serve(beside(Apart, "openapi", Variant(url=there.url), **spec))
    settled(app)
    assert app.post("/slow", {"seconds": 0}).text == "two"
    found["components"]["schemas"]["Slow"]["properties"] = {"delay": {"type": "number"}}
    app = serve(beside(Apart, "openapi-other", Variant(url=there.url), **spec))
    assert "endpoint 'slow': the input has no seconds" in settled(app, "unready").error


def test_certificates_are_verified(
    stranger: Callable[..., Stranger], serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An authority that nobody knows is refused; ``SSL_CERT_FILE`` makes it known."""

    async def same(_: web.Request) -> None:
        return None

    there = stranger(saying(same), certified(tmp_path))
    app = serve(at(there.url, "unverified"))
    assert "certificate verify failed" in settled(app, "unready").error.lower()
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate.pem"))
    app = serve(at(there.url, "verified"))
    settled(app)
    assert app.post("/slow", {"seconds": 0}).text == "two"


def test_own_headers_go_with_every_call(stranger: Callable[..., Stranger], serve: Serve) -> None:
    """A token for the deployment; it stands neither in `status` nor in what is printed."""

    async def guarded(request: web.Request) -> web.StreamResponse | None:
        allowed = request.headers.get("authorization") == "Bearer s3cret"
        return None if allowed else web.Response(status=401)

    variant = Variant(url=stranger(saying(guarded)).url, headers={"Authorization": "Bearer s3cret"})
    assert "s3cret" not in repr(variant)
    app = serve(beside(Apart, "tokened", variant, **GUARDED))
    settled(app)
    assert app.post("/slow", {"seconds": 0}, headers={"authorization": "Bearer mine"}).text == "two"
    assert "s3cret" not in str(open_rollout("tokened").status())


def certified(folder: Path) -> ssl.SSLContext:
    """Return what a server needs to speak TLS as 127.0.0.1, by its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.timezone.utc)
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "certificate.pem").write_bytes(certificate.public_bytes(pem))
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "key.pem").write_bytes(private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    return context
