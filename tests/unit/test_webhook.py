"""A webhook against real servers: what is sent, what is signed, and what becomes of bad answers."""

from __future__ import annotations

import base64
import json
import os
import re
import socket
import time
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from bento_rollout import Webhook
from bento_rollout.errors import InvalidValue
from bento_rollout.webhook import message_id, signatures
from tests.unit.certified import made_certificate, tls

from .notices import (
    BEGUN,
    KEY,
    OLD_KEY,
    Answering,
    dripping,
    garbage,
    huge,
    listening,
    notice,
    read_request,
    resetting,
    saying,
    silent,
)

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"


@pytest.fixture(autouse=True)
def _surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key, and no proxies of whoever runs the tests."""
    monkeypatch.setenv("HOOK_KEY", KEY)
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


def hook(url: str, **how: Any) -> Webhook:
    """A webhook with the test's key."""
    return Webhook(url, **{"secret": "env:HOOK_KEY", "timeout": 5, **how})


# -- what is sent -----------------------------------------------------------------------------------------


def test_a_notice_is_one_signed_post_of_json() -> None:
    """The body is the notice, in the form that Standard Webhooks recommends; the headers say who and when."""
    with listening() as listener:
        assert hook(listener.url).tell(notice(guardrails={"errors": {"needed": float("inf")}})) is None
        (asked,) = listener.asked
    assert asked.line == "POST /T0/B1-secret?room=ops HTTP/1.1"
    assert asked.headers["host"] == f"127.0.0.1:{listener.port}"
    assert asked.headers["content-type"] == "application/json"
    said = json.loads(asked.body, parse_constant=pytest.fail)
    assert (said["type"], said["timestamp"]) == ("rollout.decision", "2025-10-09T08:53:27.000Z")
    assert said["data"] == notice(guardrails={"errors": {"needed": None}}).plain
    assert asked.headers["webhook-id"] == message_id(notice())
    assert abs(int(asked.headers["webhook-timestamp"]) - time.time()) < 60
    expected = signatures(
        (b"0" * 32,), asked.headers["webhook-id"], asked.headers["webhook-timestamp"], asked.body
    )
    assert asked.headers["webhook-signature"] == expected


def test_a_persons_verb_is_of_another_type() -> None:
    """Receivers tell the two apart without looking at who it was."""
    with listening() as listener:
        assert hook(listener.url).tell(notice(author="ann", action="abort")) is None
    assert json.loads(listener.asked[0].body)["type"] == "rollout.verb"


def test_the_signature_is_that_of_the_standard() -> None:
    """The example that the libraries of Standard Webhooks test themselves with."""
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'
    signed = signatures((key,), "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", body)
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_verification_in_the_docs_verifies() -> None:
    """What docs/operations.md shows takes what we send, and nothing else."""
    (code,) = re.findall(
        r"^```python\n(.*?def verify.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    assert len(code.strip().splitlines()) <= 14
    shown: dict[str, Any] = {}
    exec(code, shown)
    with listening() as listener:
        assert hook(listener.url).tell(notice()) is None
    (asked,) = listener.asked
    assert shown["verify"](asked.headers, asked.body, KEY)
    assert not shown["verify"](asked.headers, asked.body + b" ", KEY)
    assert not shown["verify"](asked.headers, asked.body, OLD_KEY)
    late = {**asked.headers, "webhook-timestamp": str(int(time.time()) - 400)}
    late["webhook-signature"] = signatures(
        (b"0" * 32,), late["webhook-id"], late["webhook-timestamp"], asked.body
    )
    assert not shown["verify"](late, asked.body, KEY)


def test_the_id_is_the_same_for_whoever_sends_it_and_of_that_revision_alone() -> None:
    """No dot is in it, whatever the rollout is called: dots part what is signed."""
    assert message_id(notice(7)) == message_id(notice(7, words="told by another version"))
    others = [notice(8), notice(7, rollout="ranking"), notice(7, time=BEGUN)]
    assert len({message_id(one) for one in [notice(7), *others]}) == 4
    assert re.fullmatch(r"msg_[0-9a-f]{32}", message_id(notice(rollout="a.b.c")))


def test_while_a_key_is_replaced_both_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several keys give several signatures, and a new key holds at once."""
    with listening() as listener:
        one = hook(listener.url)
        monkeypatch.setenv("HOOK_KEY", f"{KEY} {OLD_KEY}")
        assert one.tell(notice()) is None
    signed = listener.asked[0].headers["webhook-signature"].split(" ")
    assert len(set(signed)) == 2


def test_a_key_may_lie_in_a_file(tmp_path: Path) -> None:
    """It is read for each request."""
    place = tmp_path / "key"
    with listening() as listener:
        one = hook(listener.url, secret=f"file:{place}")
        assert "cannot be read: No such file" in str(one.problem())
        failure = one.tell(notice())
        assert failure is not None
        assert failure.again
        place.write_text(f"{KEY}\n")
        assert one.problem() is None
        assert one.tell(notice()) is None
    assert len(listener.asked) == 1


@pytest.mark.parametrize("kind", ["pipe", "folder", "nothing"])
def test_a_key_that_is_none_is_told_without_it(tmp_path: Path, kind: str) -> None:
    """A pipe in a file's place holds nobody up."""
    place = tmp_path / "key"
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "folder":
        place.mkdir()
    else:
        place.write_bytes(b"\xff" * 5000)
    assert str(place) in str(hook("https://a.example", secret=f"file:{place}").problem())


@pytest.mark.parametrize(
    "key", ["", "hunter2", "whsec_", "whsec_c2hvcnQ=", "whsec_???", KEY.removeprefix("whsec_")]
)
def test_a_key_of_another_form_is_not_repeated(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    """The error names where it lies and how one is made."""
    monkeypatch.setenv("HOOK_KEY", key)
    problem = str(hook("https://a.example").problem())
    assert "env:HOOK_KEY" in problem
    assert "make one with" in problem
    assert not key or key == "whsec_" or key not in problem


# -- what is refused --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    ["", 5, "hooks.example.com/x", "ftp://a.example", "https://", "https://a:b", "https://u:hunter2@a.example/",
     "https://a.example/ hunter2", "https://a.example/é-hunter2", "https://a.example/#hunter2", "https://[a/hunter2"],
)  # fmt: skip
def test_an_address_that_is_none_is_refused_and_not_repeated(url: Any) -> None:
    """Its path or its password may be a secret."""
    with pytest.raises(InvalidValue) as caught:
        Webhook(url, secret="env:X")
    assert "webhook" in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("secret", ["", 5, None, KEY, "env:", "env:A B", "file:", "vault:x"])
def test_a_key_in_the_code_is_refused_and_not_repeated(secret: Any) -> None:
    """The spec and the code say where it lies, and never what it is."""
    with pytest.raises(InvalidValue, match="env:NAME") as caught:
        Webhook("https://a.example", secret=secret)
    assert KEY not in str(caught.value)


def test_a_timeout_must_be_some_time() -> None:
    """At 0 nothing would ever be told."""
    with pytest.raises(InvalidValue, match="above zero"):
        Webhook("https://a.example", secret="env:X", timeout=0)


def test_a_timeout_beyond_any_clock_is_one() -> None:
    """The system's clocks end at some 292 years, with an error that is no answer's."""
    with listening(saying(204)) as server:
        assert hook(server.url, timeout="1000000000000s").tell(notice()) is None


def test_an_address_shows_its_host_alone() -> None:
    """Neither repr nor name holds path or query."""
    one = hook("https://hooks.example.com:8443/T0/B1-secret?token=hunter2")
    for text in (repr(one), one.name):
        assert "https://hooks.example.com:8443" in text
        assert "secret?" not in text
        assert "hunter2" not in text
    assert one.name != hook("https://hooks.example.com:8443/other").name


# -- bad answers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "problem", "again"),
    [
        (saying(500), "answers 500", True),
        (saying(503), "answers 503", True),
        (saying(408), "answers 408", True),
        (saying(429), "answers 429", True),
        (saying(404), "answers 404", False),
        (saying(410), "answers 410", False),
        (resetting, "cannot be reached", True),
        (garbage, "no HTTP", True),
        (silent, "no answer within", True),
        (dripping, "no answer within", True),
    ],
)
def test_a_bad_answer_is_named(answer: Answering, problem: str, again: bool) -> None:
    """And it is said whether another try may help; nothing hangs, whatever the server does."""
    with listening(answer) as listener:
        failure = hook(listener.url, timeout=0.3 if "within" in problem else 5).tell(notice())
    assert failure is not None
    assert problem in failure.problem
    assert failure.again is again
    assert "secret" not in failure.problem


def test_an_answer_without_end_is_not_read() -> None:
    """Its status is all that counts."""
    with listening(huge) as listener:
        assert hook(listener.url).tell(notice()) is None


def test_no_redirect_is_followed() -> None:
    """A notice goes where it was meant to go, or nowhere."""
    with listening() as other, listening(saying(307, f"Location: {other.url}\r\n")) as listener:
        failure = hook(listener.url).tell(notice())
        assert failure is not None
        assert not failure.again
        assert "no redirect is followed" in failure.problem
        assert other.asked == []


def test_nobody_there_is_told() -> None:
    """A refused connection, and a name that cannot be looked up."""
    with listening() as listener:
        url = listener.url
    for address in (url, "http://nowhere.invalid/", "http://a..b/"):
        failure = hook(address).tell(notice())
        assert failure is not None
        assert failure.again


@pytest.mark.parametrize(
    ("said", "least", "most"),
    [
        ("7", 7, 7),
        ("-7", 0, 0),
        ("soon", 0, 0),
        ("9" * 30, 0, 0),
        (500, 400, 500),
        (-500, 0, 0),
    ],
    ids=["seconds", "negative", "words", "huge", "later", "past"],
)
def test_the_wait_that_is_asked_for_is_read(said: str | int, least: float, most: float) -> None:
    """``Retry-After`` as seconds or as a date (here from now); what is neither asks for nothing."""
    told = said if isinstance(said, str) else formatdate(time.time() + said, usegmt=True)
    with listening(saying(429, f"Retry-After: {told}\r\n")) as listener:
        failure = hook(listener.url).tell(notice())
    assert failure is not None
    assert least <= failure.wait <= most


# -- TLS and proxies --------------------------------------------------------------------------------------


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for localhost that nobody trusts, with its key."""
    return made_certificate(tmp_path)


def test_certificates_are_verified(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that nobody trusts is told nothing; what the system trusts is, by its name alone."""
    with listening(around=tls(certificate)) as listener:
        url = f"https://localhost:{listener.port}/x"
        failure = hook(url).tell(notice())
        assert failure is not None
        assert "certificate verify failed" in failure.problem
        assert listener.asked == []
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert hook(url).tell(notice()) is None
        assert listener.asked[0].headers["host"] == f"localhost:{listener.port}"
        wrong = hook(f"https://127.0.0.1:{listener.port}/x").tell(notice())
        assert wrong is not None
        assert "certificate verify failed" in wrong.problem


def test_a_server_that_never_ends_its_handshake_is_late() -> None:
    """The limit is on all of it."""
    with listening(around=silent_tls) as listener:
        failure = hook(f"https://localhost:{listener.port}/x", timeout=0.3).tell(notice())
    assert failure is not None
    assert "no answer within 0.3 s" in failure.problem


def silent_tls(sock: socket.socket) -> socket.socket:
    """Send a record of a handshake byte by byte, for ever."""
    sock.sendall(b"\x16\x03\x03\x40\x00")
    while True:
        sock.sendall(b"\x02")
        time.sleep(0.02)


def test_proxies_mean_what_they_mean_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy of the environment is asked, unless ``NO_PROXY`` names the host."""
    with listening() as proxy, listening() as listener:
        monkeypatch.setenv("http_proxy", f"http://ann:pass@127.0.0.1:{proxy.port}")
        assert hook("http://hooks.invalid/x?y").tell(notice()) is None
        assert proxy.asked[0].line == "POST http://hooks.invalid/x?y HTTP/1.1"
        assert proxy.asked[0].headers["host"] == "hooks.invalid"
        assert proxy.asked[0].headers["proxy-authorization"] == "Basic YW5uOnBhc3M="
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        assert hook(listener.url).tell(notice()) is None
        assert "proxy-authorization" not in listener.asked[0].headers
        assert len(proxy.asked) == 1


def test_a_proxy_carries_tls_and_reads_nothing(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through a proxy the certificate is the receiver's, and is verified."""
    inside: list[str] = []

    def tunnel(sock: socket.socket) -> None:
        sock.sendall(b"HTTP/1.1 200 Go\r\n\r\n")
        with tls(certificate)(sock) as secure:
            inside.append(read_request(secure).line)
            saying(204)(secure)

    with listening(tunnel) as proxy:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert hook("https://localhost/x").tell(notice()) is None
        assert proxy.asked[0].line.startswith("CONNECT localhost:443 ")
        assert proxy.asked[0].body == b""
        assert inside == ["POST /x HTTP/1.1"]


@pytest.mark.parametrize("named", ["socks5://127.0.0.1:1", "https://127.0.0.1:1", "http://"])
def test_a_proxy_of_another_kind_is_named_and_not_gone_round(
    monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    """Nothing goes out by a way that nobody meant."""
    monkeypatch.setenv("http_proxy", named)
    with listening() as listener:
        failure = hook(listener.url).tell(notice())
    assert failure is not None
    assert "http_proxy" in failure.problem
    assert listener.asked == []
