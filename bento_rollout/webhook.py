"""`Webhook`: an address that is told of decisions, by requests signed as Standard Webhooks has it.

The signature is that of <https://github.com/standard-webhooks/standard-webhooks>, version 1.0.0: HMAC-SHA256
under a shared key of ``id.timestamp.body``.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import http.client
import json
import math
import os
import re
import stat
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime

from .addresses import MAKE_ONE, PREFIX, check_source, place_of
from .errors import InvalidValue
from .notice import DRIFT, Notice
from .posting import Answer, post
from .values import parse_duration

__all__ = ["Failure", "Webhook", "message_id", "signatures", "timestamp_of"]

DEFAULT_TIMEOUT = 15.0

SHORTEST, LONGEST = 24, 64
"""Bytes of a key."""

MOST_READ = 4096
"""Bytes that a file with a key may have."""

MOST_SAID = 300
"""Characters of why there was no answer."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why somebody was not told.

    Attributes:
        problem: in words; holds no key, and of an address only the host.
        again: whether it may go better later.
        wait: how many seconds the receiver asked to be left alone for; 0: it did not say.
    """

    problem: str
    again: bool = False
    wait: float = 0.0


class Webhook:
    """An address that is told of every decision of a rollout: one POST of JSON each, signed.

    Args:
        url: an ``https`` address (``http`` for what never leaves a trusted network); no log line and no
            error shows more of it than its host.
        secret: where the key lies: ``env:NAME`` or ``file:PATH``; never the key itself. It is a text of the
            form ``whsec_…`` (base64 of 24 to 64 bytes), or several with blanks between them while one takes
            the other's place. It is read for each request: what replaces it holds at once.
        timeout: how long one request may take: seconds, or text like ``"15s"``.

    Raises:
        InvalidValue: an address that is none, a key in the code, or a source of neither form.

    >>> Webhook("https://hooks.example.com/T0/B1", secret="env:ROLLOUT_WEBHOOK_SECRET")
    Webhook('https://hooks.example.com/…', secret='env:ROLLOUT_WEBHOOK_SECRET')
    """

    def __init__(self, url: str, *, secret: str, timeout: float | str = DEFAULT_TIMEOUT) -> None:
        self.url = url
        self.place = place_of(url)
        self.secret = check_source(secret)
        self.timeout = parse_duration(timeout)

    def __repr__(self) -> str:
        return f"Webhook('{self.place}/…', secret={self.secret!r})"

    @property
    def name(self) -> str:
        """What log lines call it: scheme and host, and a mark of the address as a whole."""
        return f"{self.place} ({hashlib.sha256(self.url.encode()).hexdigest()[:8]})"

    def problem(self) -> str | None:
        """Return why no request could be signed now, or None."""
        try:
            _keys(self.secret)
        except InvalidValue as error:
            return str(error)
        return None

    def tell(self, notice: Notice) -> Failure | None:
        """Send one request and wait for its answer; return None when it was taken (2xx), else why not."""
        return self.send(message_id(notice), _content(notice))

    def send(self, message: str, content: Mapping[str, object]) -> Failure | None:
        """Send a message of another kind in the same way.

        Args:
            message: what it is called, at every try; receivers drop what they have.
            content: ``type``, ``timestamp`` and ``data``, as plain data.
        """
        try:
            body = json.dumps(_finite(content), default=str).encode()
            headers = _headers(message, body, _keys(self.secret))
            answer = post(self.url, headers, body, self.timeout)
        except (ValueError, OSError, http.client.HTTPException) as error:
            return Failure(_why(error), again=True)
        return _judged(answer, time.time())


def message_id(notice: Notice) -> str:
    """Return what a message is called, at every try and by whoever sends it: receivers drop what they have.

    The time is part of it, for a new store counts its revisions anew.
    """
    named = json.dumps([notice.rollout, notice.revision, notice.time])
    return f"msg_{hashlib.sha256(named.encode()).hexdigest()[:32]}"


def signatures(keys: tuple[bytes, ...], message: str, timestamp: str, body: bytes) -> str:
    """Return the header ``webhook-signature``: one signature by each key.

    >>> signatures((b"0" * 24,), "msg_1", "1674087231", b"{}")
    'v1,yLZ+eTzorJpgvCEx1oQEw/rzasCtLCDkrrYdYQxE8ns='
    """
    content = b".".join((message.encode(), timestamp.encode(), body))
    digests = (hmac.digest(key, content, "sha256") for key in keys)
    return " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests)


def _headers(message: str, body: bytes, keys: tuple[bytes, ...]) -> dict[str, str]:
    timestamp = str(int(time.time()))
    return {
        "Content-Type": "application/json",
        "User-Agent": "bento-rollout",
        "webhook-id": message,
        "webhook-timestamp": timestamp,
        "webhook-signature": signatures(keys, message, timestamp, body),
    }


def _content(notice: Notice) -> dict[str, object]:
    beside = "drift" if notice.action == DRIFT else "verb" if notice.candidate else "degree"
    kind = "decision" if notice.by_evidence else beside
    return {"type": f"rollout.{kind}", "timestamp": timestamp_of(notice.time), "data": notice.plain}


def timestamp_of(seconds: float) -> str:
    """Return a time in seconds since 1970 as messages have it.

    >>> timestamp_of(1674087231.5)
    '2023-01-19T00:13:51.500Z'
    """
    when = datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds")
    return when.replace("+00:00", "Z")


def _finite(value: object) -> object:
    """Return plain data as JSON can say it: for a number that is none it has no word but null."""
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _judged(answer: Answer, now: float) -> Failure | None:
    """Return None when a message was taken, else why not."""
    status = answer.status
    if 200 <= status < 300:  # noqa: PLR2004 - HTTP's own numbers
        return None
    if 300 <= status < 400:  # noqa: PLR2004
        return Failure(
            f"it answers {status}, and no redirect is followed: write the address that it leads to"
        )
    again = status in (408, 429) or status >= 500  # noqa: PLR2004
    return Failure(f"it answers {status}", again, _seconds(answer.retry_after, now) if again else 0.0)


def _seconds(text: str | None, now: float) -> float:
    """Return the seconds that ``Retry-After`` asks for, as a number or a date; 0: none to be read."""
    text = (text or "").strip()
    if re.fullmatch(r"[0-9]{1,9}", text):
        return float(text)
    try:
        when = parsedate_to_datetime(text)
    except (TypeError, ValueError, IndexError, OverflowError):
        return 0.0
    return max(0.0, (when if when.tzinfo else when.replace(tzinfo=timezone.utc)).timestamp() - now)


def _why(error: Exception) -> str:
    """Return in words why there was no answer; a server's own bytes are not repeated."""
    if isinstance(error, http.client.HTTPException) and not isinstance(error, http.client.RemoteDisconnected):
        return f"its answer is no HTTP ({type(error).__name__})"
    if isinstance(error, (InvalidValue, TimeoutError)):
        return str(error) or "no answer in time"
    return f"it cannot be reached: {error}"[:MOST_SAID]


def _keys(source: str) -> tuple[bytes, ...]:
    """Return the keys that lie somewhere.

    Raises:
        InvalidValue: there is none, or what lies there is none.
    """
    kind, _, where = source.partition(":")
    text = os.environ.get(where, "") if kind == "env" else _read(where)
    keys = tuple(map(_key, text.split()))
    if not keys:
        raise InvalidValue(f"the webhook's key ({source}) is empty or not there; {MAKE_ONE}")
    if None in keys:
        raise InvalidValue(
            f"the webhook's key ({source}) is not {PREFIX} and base64 of {SHORTEST} to {LONGEST} bytes; "
            f"{MAKE_ONE}"
        )
    return tuple(key for key in keys if key is not None)


def _read(path: str) -> str:
    try:
        with open(path, "rb", opener=_at_once) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise InvalidValue(f"the webhook's key (file:{path}) is not in a file")
            return file.read(MOST_READ).decode("ascii", "replace")
    except (OSError, ValueError) as error:
        if isinstance(error, InvalidValue):
            raise
        why = error.strerror if isinstance(error, OSError) else "it is no path"
        raise InvalidValue(f"the webhook's key (file:{path}) cannot be read: {why}") from None


def _at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)


def _key(text: str) -> bytes | None:
    encoded = text.removeprefix(PREFIX)
    try:
        key = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return None
    return key if encoded != text and SHORTEST <= len(key) <= LONGEST else None
