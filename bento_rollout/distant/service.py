"""`Service`: the operators' routes of a service that runs elsewhere, asked one thing at a time."""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from ..errors import InvalidValue, Refused, StoreUnreachable
from ..posting import ConnectError, Reply, exchange
from .answered import WAY_IN, document_of, raise_for

__all__ = ["LONG", "Service", "token_from"]

CONNECT = 5.0
"""Seconds until a connection must stand."""

SECONDS = 30.0
"""Seconds that an answer may take."""

LONG = 600.0
"""Seconds that an answer may take for which the service reads much."""

MOST = 1 << 26
"""Bytes of an answer."""

MOST_TOKEN = 4096
"""Bytes that a file with a token may have."""

MOST_SAID = 300

ADMIN = "BENTO_ROLLOUT_ADMIN_TOKEN"

_TOKEN = re.compile(r"[\x21-\x7e]+")
_URL = re.compile(r"https?://[\x21-\x7e]+")


class Service:
    """A service's operators' routes.

    Certificates are verified, no redirect is followed, and no message holds the token.

    Args:
        url: the service's address, with the path that a proxy takes away, if there is one.
        token: of an operator.

    Attributes:
        seconds: how long an answer may take, beside what the service itself waits for.

    Raises:
        InvalidValue: it is no such address.
    """

    def __init__(self, url: str, token: str) -> None:
        self.url, self._token = _checked(url), token
        self.seconds = SECONDS

    def __repr__(self) -> str:
        return f"Service({self.url!r})"

    def get(
        self,
        path: str,
        query: Sequence[tuple[str, str]] | Mapping[str, object] = (),
        *,
        rollout: str = "",
        seconds: float | None = None,
    ) -> Any:
        """Return what a route has.

        Args:
            path: below ``/rollout/admin``.
            query: fields; of a mapping those that are None are left out.
            rollout: which one is meant; the service refuses another. Empty: whichever it has.
            seconds: how long the answer may take; None: as of any.

        Raises:
            RolloutError: as the same verb beside the store; `StoreUnreachable` where no answer of it came.
        """
        if isinstance(query, Mapping):
            query = [(name, str(value)) for name, value in query.items() if value is not None]
        text = urlencode(query)
        reply = self._sent("GET", f"{path}?{text}" if text else path, None, rollout, seconds)
        return self._said(reply, (200,))

    def post(
        self,
        path: str,
        body: object,
        *,
        rollout: str,
        seconds: float | None = None,
        taken: Collection[int] = (),
    ) -> Any:
        """Send a verb, and return what it is answered with.

        Args:
            path: below ``/rollout/admin``.
            body: plain data.
            rollout: which one is meant.
            seconds: how long the answer may take; None: as of any.
            taken: statuses beside 200 whose documents say something, too.

        Raises:
            RolloutError: as the same verb beside the store; `StoreUnreachable` where no answer of it came.
        """
        reply = self._sent("POST", path, json.dumps(body).encode(), rollout, seconds)
        return self._said(reply, (200, *taken))

    def _said(self, reply: Reply, fine: Collection[int]) -> Any:
        document = document_of(reply) if reply.status in fine else None
        if document is None:
            raise_for(reply, self.url)
        return document

    def _sent(self, method: str, path: str, body: bytes | None, rollout: str, seconds: float | None) -> Reply:
        headers = {
            "Authorization": f"Bearer {self._token}",
            "Accept": "application/json",
            "User-Agent": "bento-rollout",
            **({"X-Rollout-Name": quote(rollout)} if rollout else {}),
            **({} if body is None else {"Content-Type": "application/json"}),
        }
        url, limit = f"{self.url}/rollout/admin/{path}", self.seconds if seconds is None else seconds
        try:
            return exchange(method, url, headers, body, connect=CONNECT, seconds=limit, most=MOST)
        except ConnectError as error:
            raise StoreUnreachable(f"{self.url} cannot be reached: {error}"[:MOST_SAID]) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            doubt = "" if body is None else "; whether it was done nobody said: `status` shows what holds"
            raise StoreUnreachable(f"{self.url}: {_why(error)}{doubt}") from None


def token_from(environ: Mapping[str, str], file: str | None) -> str:
    """Return an operator's token: of a file that holds nothing else, else of the environment.

    Args:
        environ: where ``BENTO_ROLLOUT_ADMIN_TOKEN`` may be.
        file: the file's path; None: there is none.

    Raises:
        Refused: there is no token.
        InvalidValue: the file cannot be read, or what is there can be no token; its text is never shown.
    """
    where = ADMIN if file is None else f"--token-file {file}"
    token = environ.get(ADMIN, "").strip() if file is None else _read(file)
    if not token:
        if file is not None:
            raise InvalidValue(f"{where}: the file is empty")
        raise Refused(f"no token is at hand: {WAY_IN}")
    if not _TOKEN.fullmatch(token):
        hint = "" if file is None else "; the file holds the token alone, on one line"
        raise InvalidValue(f"{where}: this is no token: it has other than visible ASCII{hint}")
    return token


def _read(file: str) -> str:
    try:
        with Path(file).expanduser().open("rb") as opened:
            text = opened.read(MOST_TOKEN + 1)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no path"
        raise InvalidValue(f"--token-file {file}: {why}") from None
    if len(text) > MOST_TOKEN:
        raise InvalidValue(f"--token-file {file}: over {MOST_TOKEN} bytes; this is no token")
    return text.decode("utf-8", "replace").strip()


def _checked(url: str) -> str:
    """Return an address without its end; what would carry a secret, or split a request, is none."""
    text = url.strip()
    form = "write it like http://localhost:3000 or https://models.example.com/screening"
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        raise InvalidValue(f"--url is no address: {form}") from None
    if "@" in parts.netloc:
        raise InvalidValue(f"--url holds a name or a password: {WAY_IN}; {form}")
    if not _URL.fullmatch(text) or not parts.hostname:
        raise InvalidValue(f"--url {text[:200]!r} is no address: {form}")
    if parts.query or parts.fragment:
        raise InvalidValue(
            f"--url {re.split('[?#]', text)[0][:200]!r} has more than an address and a path: {form}"
        )
    return text.rstrip("/").removesuffix("/admin").removesuffix("/rollout").rstrip("/")


def _why(error: Exception) -> str:
    """Return in words why there was no answer; a server's own bytes are not repeated."""
    if isinstance(error, (http.client.RemoteDisconnected, http.client.IncompleteRead)):
        return "the connection ended before the answer did"
    if isinstance(error, http.client.HTTPException):
        text = str(error) if type(error).__name__ == "TooMuch" else f"({type(error).__name__})"
        return f"{text}" if "bytes" in text else f"its answer is no HTTP {text}"
    return (str(error) or type(error).__name__)[:MOST_SAID]
