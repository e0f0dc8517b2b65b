"""`Sessions`: signed, expiring cookies for people who logged in, and the token that their forms must show."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from ..errors import StoreUnreachable
from ..store.place import Place, Shared, folder_of
from ..store.secret_file import make_secret, read_secret
from ..telemetry.log import event

__all__ = ["COOKIE", "LIFE", "Session", "Sessions", "key_in"]

COOKIE = "__Host-bento-rollout"
LIFE = 8 * 3600.0
"""Seconds that a session lasts, whatever happens in it."""

KEY_FILE = "console.key"
MOST = 2048
"""Characters of a cookie that are looked at."""


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody's time in the console.

    Attributes:
        id: random.
        name: whose it is.
        mark: of the token that opened it (`Tokens.mark_of`); empty: a proxy's word did.
        until: when it ends, in seconds since 1970.
        form: what each unsafe request must show in its field ``csrf``.
    """

    id: str
    name: str
    mark: str
    until: float
    form: str


class Sessions:
    """Opens and reads sessions; nothing is kept at the server, so every worker reads what another opened.

    Args:
        key: returns the secret that signs; asked once, late.
        clock: seconds since 1970.

    >>> sessions = Sessions(lambda: b"k" * 32, clock=lambda: 1000.0)
    >>> cookie = sessions.open("ada", "mark")
    >>> sessions.read(cookie).name, sessions.read(cookie + "x"), sessions.read("")
    ('ada', None, None)
    """

    def __init__(self, key: Callable[[], bytes], clock: Callable[[], float] = time.time) -> None:
        self._make, self._clock = key, clock
        self._key: bytes | None = None

    def open(self, name: str, mark: str = "") -> str:
        """Return the cookie of a session that begins now."""
        facts = {"i": secrets.token_urlsafe(16), "n": name, "m": mark, "u": int(self._clock() + LIFE)}
        body = _text(json.dumps(facts, separators=(",", ":")).encode())
        return f"{body}.{self._sign('session', body)}"

    def read(self, cookie: str) -> Session | None:
        """Return the session of a cookie; None: it is not ours, was changed, or is over."""
        body, dot, signature = cookie[: MOST + 1].partition(".")
        if not dot or len(cookie) > MOST:
            return None
        if not hmac.compare_digest(self._sign("session", body).encode(), signature.encode()):
            return None
        with suppress(ValueError, KeyError, TypeError):
            facts = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
            if facts["u"] > self._clock():
                form = self._sign("form", facts["i"])
                return Session(facts["i"], facts["n"], facts["m"], float(facts["u"]), form)
        return None

    def _sign(self, purpose: str, text: str) -> str:
        if self._key is None:
            self._key = self._make()
        return _text(hmac.new(self._key, f"{purpose}\n{text}".encode(), hashlib.sha256).digest())


def key_in(place: Place) -> bytes:
    """Return the secret that all workers of a rollout share: a file for its owner only, or in the database.

    It is made if it is missing. Where it can be neither read nor made it is random: a worker then knows only
    the sessions that it opened, and the log says so (``console.key_unusable``).
    """
    path = folder_of(place) / KEY_FILE
    try:
        if isinstance(place, Shared):
            return place.secret("console")
        if not path.exists():
            make_secret(path)
        return read_secret(path, "sessions of the console are not shared between workers meanwhile")
    except (OSError, StoreUnreachable, sqlite3.Error) as error:
        event("console.key_unusable", "error", path=str(path), error=str(error))
        return secrets.token_bytes(32)


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")
