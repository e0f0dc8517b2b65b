"""Sessions are signed, expire, and are read by every worker; logins that fail wait."""

from __future__ import annotations

import base64
import json
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from bento_rollout.console.doorway import Tries, is_ours, shows_form_token
from bento_rollout.console.hand import Hand
from bento_rollout.console.sessions import LIFE, Sessions, key_in


class Clock:
    """Time that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def sessions(clock: Clock, key: bytes = b"k" * 32) -> Sessions:
    """Return sessions of a key."""
    return Sessions(lambda: key, clock)


def test_sessions_are_read_by_whoever_has_the_key() -> None:
    """Another worker knows them; another service does not."""
    clock = Clock()
    cookie = sessions(clock).open("ada", "mark")
    found = sessions(clock).read(cookie)
    assert found is not None
    assert (found.name, found.mark) == ("ada", "mark")
    assert sessions(clock, b"o" * 32).read(cookie) is None


def test_sessions_end() -> None:
    """After eight hours the cookie is worth nothing, whatever the browser does with it."""
    clock = Clock()
    cookie = sessions(clock).open("ada")
    clock.now += LIFE - 1
    assert sessions(clock).read(cookie) is not None
    clock.now += 1
    assert sessions(clock).read(cookie) is None


def test_each_session_has_its_own_token() -> None:
    """A form of one session is worth nothing in another, of the same person even."""
    made = sessions(Clock())
    first, second = made.read(made.open("ada")), made.read(made.open("ada"))
    assert first is not None
    assert second is not None
    assert first.form != second.form
    assert shows_form_token(first, first.form)
    assert not shows_form_token(first, second.form)
    assert not shows_form_token(first, None)
    assert not shows_form_token(first, "é")


def test_changed_cookies_are_nobodys() -> None:
    """Nobody makes themselves somebody else."""
    made = sessions(Clock())
    body, _, signature = made.open("ada").partition(".")
    facts = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    forged = base64.urlsafe_b64encode(json.dumps({**facts, "n": "admin"}).encode()).rstrip(b"=").decode()
    for cookie in (
        f"{forged}.{signature}",
        f"{body}.",
        body,
        f".{signature}",
        f"{body}.{signature}x",
        "x" * 9999,
    ):
        assert made.read(cookie) is None


@given(st.text(max_size=200))
def test_any_text_is_read(cookie: str) -> None:
    """What browsers send may be anything."""
    assert sessions(Clock()).read(cookie) is None
    Hand.read(cookie)


@given(st.builds(Hand, *[st.text(max_size=40)] * 2, mine=st.none() | st.text(max_size=40) | st.integers()))
def test_hands_are_kept(hand: Hand) -> None:
    """A cookie tells what was put into it."""
    assert Hand.read(hand.cookie()) == hand


def test_a_long_answer_is_left_out_of_a_cookie() -> None:
    """Browsers drop cookies that are too long."""
    hand = Hand("task", "token", mine="x" * 5000)
    assert Hand.read(hand.cookie()) == Hand("task", "token")


def test_the_key_is_made_once_and_only_for_its_owner(tmp_path: Path) -> None:
    """All workers have the same."""
    place = tmp_path / "screening"
    key = key_in(place)
    assert len(key) >= 32
    assert key_in(place) == key
    assert stat.S_IMODE((place / "console.key").stat().st_mode) == 0o600


@pytest.mark.parametrize("mode", [0o644, 0o640])
def test_a_key_that_others_may_read_is_not_used(tmp_path: Path, mode: int) -> None:
    """Sessions are signed with a secret of this worker then."""
    key = key_in(tmp_path)
    (tmp_path / "console.key").chmod(mode)
    assert key_in(tmp_path) != key


def test_an_unusable_place_costs_shared_sessions_only(tmp_path: Path) -> None:
    """Where nothing can be written each worker has a secret of its own."""
    (tmp_path / "file").write_text("")
    assert len(key_in(tmp_path / "file")) == 32


def test_failures_are_counted_per_address() -> None:
    """Ten in a minute are enough, and others are not kept waiting."""
    clock = Clock()
    tries = Tries(clock=clock)
    for _ in range(10):
        assert tries.wait("a") == 0
        tries.failed("a")
    assert tries.wait("a") == 60
    assert tries.wait("b") == 0
    clock.now += 61
    assert tries.wait("a") == 0


def test_failures_do_not_fill_the_memory() -> None:
    """Whoever comes from many addresses is forgotten, the oldest first."""
    tries = Tries()
    for number in range(5000):
        tries.failed(str(number))
    assert len(tries._failures) == tries.ADDRESSES


def request(**headers: str) -> Request:
    """Return a request with headers."""
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "POST", "headers": raw})


@pytest.mark.parametrize(
    ("headers", "ours"),
    [
        ({"sec_fetch_site": "same-origin"}, True),
        ({"sec_fetch_site": "same-site"}, False),
        ({"sec_fetch_site": "cross-site"}, False),
        ({"sec_fetch_site": "none"}, False),
        ({"sec_fetch_site": "cross-site", "origin": "http://a", "host": "a"}, False),
        ({"origin": "http://a:3000", "host": "a:3000"}, True),
        ({"origin": "https://a", "host": "a"}, True),
        ({"origin": "https://a", "host": "a:443"}, True),
        ({"origin": "http://a", "host": "a:3000"}, False),
        ({"origin": "http://b", "host": "a"}, False),
        ({"origin": "null", "host": "a"}, False),
        ({"origin": "http://a.evil", "host": "a"}, False),
        ({"origin": "http://a:x", "host": "a"}, False),
        ({"host": "a"}, False),
        ({}, False),
    ],
)
def test_unsafe_requests_come_from_our_pages(headers: dict[str, str], ours: bool) -> None:
    """The browser's word, else an Origin that is the Host."""
    assert is_ours(request(**headers)) is ours
