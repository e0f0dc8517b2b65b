"""What a command says of a service that it cannot talk to: proxies, redirects, servers that hang or lie."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bento_rollout.admin.problems import kind_of, problem_of
from bento_rollout.distant import Distant, Service
from bento_rollout.distant import service as talking
from bento_rollout.errors import Conflict, InvalidValue, RolloutError, StoreUnreachable, UnknownVariant
from tests.unit.certified import made_certificate, tls
from tests.unit.door import Say

TOKEN = "a-token-that-nobody-may-see-271828"

Answer = Callable[[socket.socket], None]


class Liar:
    """A server that answers each connection as it is told, and remembers what it was sent."""

    def __init__(self, around: Callable[[socket.socket], socket.socket] = lambda sock: sock) -> None:
        self.answer: Answer = lambda _: None
        self._around = around
        self.asked: list[bytes] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError), self._around(connection) as inner:
                self.asked.append(_request(inner))
                self.answer(inner)

    def close(self) -> None:
        """End."""
        with contextlib.suppress(OSError):  # a test may have ended it before
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join(10)


def _request(connection: socket.socket) -> bytes:
    """Read one request with its body."""
    found = b""
    while b"\r\n\r\n" not in found and (more := connection.recv(65_536)):
        found += more
    head, _, body = found.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", head)
    while length and len(body) < int(length[1]) and (more := connection.recv(65_536)):
        body += more
    return head + b"\r\n\r\n" + body


@pytest.fixture
def liar() -> Iterator[Liar]:
    """A server that does as it is told."""
    server = Liar()
    yield server
    server.close()


@pytest.fixture
def ask(say: Say, liar: Liar, monkeypatch: pytest.MonkeyPatch) -> Say:
    """Run a command that asks the liar; whatever it says, nobody hears the token."""
    monkeypatch.setenv("BENTO_ROLLOUT_URL", liar.url)
    monkeypatch.setenv("BENTO_ROLLOUT_ADMIN_TOKEN", TOKEN)
    monkeypatch.setattr(talking, "SECONDS", 1.0)
    monkeypatch.setattr(talking, "MOST", 100_000)

    def asked(*arguments: str) -> tuple[int, str, str]:
        code, out, err = say(*arguments)
        assert TOKEN not in out + err
        assert "Traceback" not in err
        return code, out, err

    return asked


def http(status: str, kind: str, body: bytes, *more: str) -> Answer:
    """Answer with this."""
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", f"Content-Length: {len(body)}", *more]
    content = "\r\n".join([*lines, "Connection: close", "", ""]).encode() + body
    return lambda connection: connection.sendall(content)


def raw(content: bytes) -> Answer:
    """Answer with these bytes."""
    return lambda connection: connection.sendall(content)


def in_turn(answers: list[Answer]) -> Answer:
    """Answer the first with the first, and so on."""

    def answer(connection: socket.socket) -> None:
        answers.pop(0)(connection)

    return answer


def hangs(connection: socket.socket) -> None:
    """Say nothing for a while."""
    connection.settimeout(5)
    connection.recv(1)


def drips(connection: socket.socket) -> None:
    """Say a byte now and then."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 5000\r\n\r\n")
    for _ in range(100):
        connection.sendall(b" ")
        time.sleep(0.05)


PROBLEM, JSON, HTML = "application/problem+json", "application/json", "text/html; charset=utf-8"
CUT = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
DEEP = b"[" * 50_000

LIES: dict[str, tuple[Answer, int, str]] = {
    "bad gateway": (http("502 Bad Gateway", HTML, b"<html>"), 4, "502 (Bad Gateway) with text/html"),
    "unavailable": (http("503 Service Unavailable", HTML, b"..."), 4, "no answer of a rollout"),
    "a web page": (http("200 OK", HTML, b"<html>hello</html>"), 4, "not the service's address"),
    "a page that is not there": (http("404 Not Found", HTML, b"<html>"), 4, "not the service's address"),
    "a login page": (http("401 Unauthorized", HTML, b"<html>"), 1, "something in between"),
    "a gateway's no": (http("403 Forbidden", "text/plain", b"no"), 1, "something in between"),
    "another host": (
        http("307 Temporary Redirect", HTML, b"", "Location: https://evil.example/x?token=1"),
        4,
        "https://evil.example/x; no redirect is followed",
    ),
    "a strange status": (http("599 Odd", HTML, b""), 4, "answers 599"),
    "no JSON": (http("200 OK", JSON, b"{"), 4, "no answer of a rollout"),
    "deep JSON": (http("200 OK", JSON, DEEP), 4, "no answer of a rollout"),
    "too much": (http("200 OK", JSON, b" " * 200_000), 4, "over 100000 bytes"),
    "an end too early": (raw(CUT), 4, "ended"),
    "no HTTP": (raw(b"SSH-2.0-OpenSSH_9.6\r\n"), 4, "no HTTP"),
    "nothing": (raw(b""), 4, "ended before the answer"),
    "silence": (hangs, 4, "no answer within 1 s"),
    "drops": (drips, 4, "no answer within 1 s"),
    "an unknown kind": (
        http("409 Conflict", PROBLEM, b'{"type": "urn:bento-rollout:problem:new", "detail": "of later"}'),
        4,
        "of later",
    ),
    "another route": (
        http("404 Not Found", PROBLEM, b'{"type": "about:blank", "detail": "there is no such route"}'),
        3,
        "BENTO_ROLLOUT_ADMIN_BIND",
    ),
    "a failure": (
        http("500 Internal Server Error", PROBLEM, b'{"type": "about:blank", "detail": "its log says more"}'),
        4,
        "its log says more",
    ),
    "a screen that moves": (
        http("409 X", PROBLEM, b'{"type": "urn:bento-rollout:problem:refused", "detail": "\\u001b[2J"}'),
        1,
        "\\x1b[2J",
    ),
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
def test_lies(liar: Liar, ask: Say, lie: str) -> None:
    """Whatever answers, the command says in a sentence what it was, and never goes on with it."""
    liar.answer, code, words = LIES[lie]
    for line in ("status screening", "rollback screening"):
        began = time.monotonic()
        found, out, err = ask(*line.split())
        assert (found, out) == (code, ""), err
        assert words in err
        assert time.monotonic() - began < 5


def test_a_change_that_nobody_confirmed(liar: Liar, ask: Say) -> None:
    """Of a change whose answer is lost nobody knows; of one that was never sent it is clear."""
    liar.answer = hangs
    assert "whether it was done nobody said" in ask("rollback", "screening")[2]
    assert "whether it was done" not in ask("status", "screening")[2]
    liar.close()
    code, _, err = ask("rollback", "screening")
    assert code == 4
    assert "cannot be reached: [Errno 111] Connection refused" in err
    assert "whether it was done" not in err


def test_what_is_sent(liar: Liar, ask: Say) -> None:
    """The token is in one header, the name in another, and neither is in the path."""
    ask("rollback", "screening", "--reason", "why", "--author", "ann")
    head, _, body = liar.asked[-1].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /rollout/admin/rollback HTTP/1.1\r\n")
    assert head.count(TOKEN.encode()) == 1
    assert b"X-Rollout-Name: screening" in head
    assert json.loads(body) == {"again": False, "reason": "why", "on_behalf_of": "ann"}


URLS = [
    "localhost:3000",
    "ftp://host",
    "http://",
    "http://host:99999",
    "http://ann:secret@host:3000",
    "http://host/?token=secret",
    "http://host/#secret",
    "http://ho st/",
    "http://host/\r\nX-Evil: 1",
    "http://[::1",
    "file:///etc/passwd",
]


@pytest.mark.parametrize("url", URLS, ids=range(len(URLS)))
def test_addresses_that_are_none(say: Say, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """An address that is none, or that holds a secret, is exit code 2, and the secret is not shown."""
    monkeypatch.setenv("BENTO_ROLLOUT_ADMIN_TOKEN", TOKEN)
    code, out, err = say("status", "screening", "--url", url)
    assert (code, out) == (2, "")
    assert "--url" in err
    assert "secret" not in err


@pytest.mark.parametrize("end", ["", "/", "/rollout", "/rollout/admin", "/rollout/admin/"])
def test_an_address_may_end_in_many_ways(end: str) -> None:
    """Who copies more of the address than is needed is understood."""
    assert Service(f"http://host:3000/ml{end}", TOKEN).url == "http://host:3000/ml"
    assert TOKEN not in repr(Service("http://host", TOKEN)) + repr(
        Distant(Service("http://host", TOKEN), "x")
    )


def test_a_token_is_no_option(say: Say) -> None:
    """A token on the command line, which every process may read, is not taken, nor repeated."""
    for line in (["--token", "hunter2"], ["--token=hunter2"]):
        code, _, err = say("status", "screening", "--url", "http://127.0.0.1:1", *line)
        assert code == 2
        assert "hunter2" not in err


def test_local_verbs_stay_local(say: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is about files here works as before, whatever service the environment names."""
    monkeypatch.setenv("BENTO_ROLLOUT_URL", "http://127.0.0.1:1")
    file = tmp_path / "rollout.yaml"
    file.write_text("name: screening\n", encoding="utf-8")
    assert say("validate", str(file))[0] == 0
    assert say("openapi")[0] == 0


def test_waiting_for_a_service(liar: Liar, ask: Say, tmp_path: Path) -> None:
    """`apply --wait` tries again while nobody answers, and says at the end what it was."""
    file = tmp_path / "rollout.yaml"
    file.write_text("name: screening\nweights: {boosted: 5}\n", encoding="utf-8")
    answers = [
        http("502 Bad Gateway", HTML, b"<html>"),
        http("200 OK", JSON, b'{"changed": false, "name": "screening"}'),
    ]
    liar.answer = in_turn(answers)
    assert ask("apply", str(file), "--wait", "30s", "--json")[0] == 0
    assert len(liar.asked) == 2
    liar.answer = http("502 Bad Gateway", HTML, b"<html>")
    began = time.monotonic()
    assert ask("apply", str(file), "--wait", "500ms")[0] == 4
    assert time.monotonic() - began < 5
    liar.answer = http(
        "401 Unauthorized", PROBLEM, b'{"type": "about:blank", "detail": "the token is not known"}'
    )
    asked = len(liar.asked)
    assert ask("apply", str(file), "--wait", "30s")[0] == 1  # waiting would not help
    assert len(liar.asked) == asked + 1


def test_errors_come_back_as_they_were(liar: Liar) -> None:
    """Each error of the library is raised there again, with its class, its words and its exit code."""
    kinds, new = list[type[RolloutError]](), [RolloutError]
    while new:
        kinds += new
        new = [sub for kind in new for sub in kind.__subclasses__()]
    service = Service(liar.url, TOKEN)
    for kind in kinds:
        error = kind.__new__(kind, "in words")
        error.args = ("in words",)
        if isinstance(error, Conflict):
            error.current = 7
        liar.answer = http(f"{kind.http_status} X", PROBLEM, json.dumps(problem_of(error)).encode())
        with pytest.raises(kind, match="in words") as caught:
            service.get("state")
        assert type(caught.value) is kind
        assert kind_of(caught.value) == kind_of(error)
        if isinstance(caught.value, Conflict):
            assert caught.value.current == 7
    liar.answer = http("400 X", PROBLEM, json.dumps(problem_of(UnknownVariant("x", ("a", "b")))).encode())
    with pytest.raises(UnknownVariant, match="this rollout has: a, b"):
        service.get("state")


def test_many_keys_and_labels(liar: Liar) -> None:
    """What is too much for one request goes in several, and comes back as one."""
    rollout = Distant(Service(liar.url, TOKEN), "screening")
    liar.answer = http("200 OK", JSON, b"[1]")
    assert len(rollout.assignments(["k" * 1000] * 20)) > 2
    liar.answer = http("200 OK", JSON, b"<html>")
    with pytest.raises(StoreUnreachable):
        rollout.label([{"prediction_id": "x", "label": 1}])


def test_the_history_of_a_file_has_one_page(liar: Liar) -> None:
    """Revisions of a file that governs have no order: nothing is older than the last of them."""
    liar.answer = http("200 OK", JSON, b'[{"revision": "file:4fd03861320d"}]')
    assert Distant(Service(liar.url, TOKEN), "screening").history_rows(1) == [
        {"revision": "file:4fd03861320d"}
    ]
    assert len(liar.asked) == 1


def test_it_starts_light(liar: Liar) -> None:
    """A verb over HTTP loads no BentoML and no web framework."""
    code = (
        "import sys; from bento_rollout.cli import main; main(['pause', 'screening']);"
        "print(sorted({'bentoml', 'starlette', 'rich', 'httpx', 'aiohttp', 'asyncio'} & set(sys.modules)))"
    )
    environ = {**os.environ, "BENTO_ROLLOUT_URL": liar.url, "BENTO_ROLLOUT_ADMIN_TOKEN": TOKEN}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_bad_values_stay_here(liar: Liar) -> None:
    """A value that cannot be is refused before anything is sent."""
    rollout = Distant(Service(liar.url, TOKEN), "screening")
    with pytest.raises(InvalidValue, match="between 0 and 100"):
        rollout.set_weights({"boosted": 101})
    with pytest.raises(InvalidValue, match="reason"):
        rollout.pause(reason="a\nb")
    assert liar.asked == []


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of this host, with its key, that nobody else has signed."""
    return made_certificate(tmp_path_factory.mktemp("tls"))


def test_tls_is_verified(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A certificate that no authority signed is refused before the token is sent; a trusted one is not."""
    liar = Liar(around=tls(certificate))
    liar.answer = http("200 OK", JSON, b'{"name": "screening"}')
    service = Service(liar.url.replace("http://127.0.0.1", "https://localhost"), TOKEN)
    with pytest.raises(StoreUnreachable, match=r"cannot be reached: .*certificate verify failed"):
        service.get("state")
    assert liar.asked == []
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert service.get("state") == {"name": "screening"}
    liar.close()
