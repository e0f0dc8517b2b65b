"""One HTTP request with a limit on all of its time; no redirect is followed, and answers are bounded."""

from __future__ import annotations

import base64
import http.client
import socket
import ssl
import threading
from collections.abc import Mapping
from contextlib import suppress
from email.message import Message
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Answer", "ConnectError", "Reply", "TooMuch", "exchange", "post"]

LONGEST = 86_400.0
"""Seconds that a request may take at most, whatever is asked for: a clock of the system has an end."""


class Answer(NamedTuple):
    """What a server answered.

    Attributes:
        status: the HTTP status.
        retry_after: the header ``Retry-After``, as it was sent.
    """

    status: int
    retry_after: str | None


class Reply(NamedTuple):
    """What a server answered, with its body.

    Attributes:
        status: the HTTP status.
        headers: as they were sent.
        body: all of it.
    """

    status: int
    headers: Message
    body: bytes


class TooMuch(http.client.HTTPException):
    """The answer has more bytes than are read."""


def exchange(
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes | None,
    *,
    connect: float,
    seconds: float,
    most: int,
) -> Reply:
    """Send a request and return its answer; proxies, certificates and redirects as for `post`.

    Args:
        method: of HTTP.
        url: where to; ``http`` or ``https``.
        headers: what is sent beside the length.
        body: what is sent; None: nothing.
        connect: how long it may take until the connection stands, TLS included.
        seconds: how long all that follows may take, at most a day.
        most: bytes of the answer that are read.

    Raises:
        TooMuch: it has more.
        OSError, http.client.HTTPException: there is no answer (`TimeoutError`: not in time). What raises a
            `ConnectError` was not sent.
    """
    parts, seconds = urlsplit(url), min(seconds, LONGEST)
    connection, path, more = _connection(parts, connect)
    connected = False
    try:
        with _Limit(connect) as limit:
            _connect(connection, parts, limit)
            connected = True
            connection.sock.settimeout(seconds)
            limit.renew(seconds)
            everything = {"Host": parts.netloc, **headers, **more, "Connection": "close"}
            connection.request(method, path, body, everything)
            with connection.getresponse() as answer:
                return Reply(answer.status, answer.headers, _bounded(answer, most))
    except (OSError, http.client.HTTPException) as error:
        if connected:
            raise
        raise ConnectError(str(error)) from error
    finally:
        connection.close()


class ConnectError(OSError):
    """No connection came about, so nothing was sent."""


def _bounded(answer: http.client.HTTPResponse, most: int) -> bytes:
    found = answer.read(most + 1)
    if len(found) > most:
        raise TooMuch(f"the answer has over {most} bytes")
    if answer.length:  # a body that ends early seems to be whole where an amount was asked for
        raise http.client.IncompleteRead(found, answer.length)
    return found


def _connect(connection: http.client.HTTPConnection, parts: SplitResult, limit: _Limit) -> None:
    """Connect, and put TLS on top where it is asked for: within the same limit."""
    connection.connect()
    limit.watch(connection.sock)
    if parts.scheme == "https":
        tls = ssl.create_default_context()
        connection.sock = tls.wrap_socket(connection.sock, server_hostname=parts.hostname)


def post(url: str, headers: Mapping[str, str], body: bytes, seconds: float) -> Answer:
    """Send a body and return the answer's head; its body is not read, and no redirect is followed.

    Certificates are verified by the system's authorities. ``HTTPS_PROXY``, ``HTTP_PROXY`` and ``NO_PROXY``
    mean what they mean to other programs; ``~/.netrc`` means nothing.

    Args:
        url: where to; ``http`` or ``https``.
        headers: what is sent beside the length.
        body: what is sent.
        seconds: how long all of it may take, at most a day; looking up a name is the system's business, and
            may take longer.

    Raises:
        OSError, http.client.HTTPException: there is no answer (`TimeoutError`: not in time).
    """
    parts, seconds = urlsplit(url), min(seconds, LONGEST)
    connection, path, more = _connection(parts, seconds)
    with _Limit(seconds) as limit:
        try:
            _connect(connection, parts, limit)
            everything = {"Host": parts.netloc, **headers, **more, "Connection": "close"}
            connection.request("POST", path, body, everything)
            with connection.getresponse() as answer:
                return Answer(answer.status, answer.headers.get("Retry-After"))
        finally:
            connection.close()


def _connection(parts: SplitResult, seconds: float) -> tuple[http.client.HTTPConnection, str, dict[str, str]]:
    """Return what reaches an address, the path to ask it for, and what a proxy wants to know beside it.

    TLS comes on top when the connection is there: so its handshake has the same limit as all the rest.
    """
    path = parts._replace(scheme="", netloc="", fragment="").geturl() or "/"
    if (proxy := _proxy(parts)) is None:
        port = parts.port or _PORTS[parts.scheme]
        return http.client.HTTPConnection(parts.hostname or "", port, timeout=seconds), path, {}
    connection = http.client.HTTPConnection(proxy.hostname or "", proxy.port, timeout=seconds)
    if parts.scheme == "https":
        connection.set_tunnel(parts.hostname or "", parts.port or _PORTS["https"], _credentials(proxy))
        return connection, path, {}
    return connection, parts.geturl(), _credentials(proxy)


_PORTS = {"http": http.client.HTTP_PORT, "https": http.client.HTTPS_PORT}


def _proxy(parts: SplitResult) -> SplitResult | None:
    """Return the proxy that the environment names for an address, or None."""
    named = getproxies().get(parts.scheme)
    if not named or proxy_bypass(parts.netloc):
        return None
    proxy = urlsplit(named if "://" in named else f"http://{named}")
    if proxy.scheme != "http" or not proxy.hostname:
        raise OSError(f"{parts.scheme}_proxy names no proxy of the form http://HOST:PORT")
    return proxy


def _credentials(proxy: SplitResult) -> dict[str, str]:
    if proxy.username is None:
        return {}
    pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return {"Proxy-Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}


class _Limit:
    """Ends a connection when its time is over: a server that sends a byte now and then is late, too.

    What the block raises from then on is a `TimeoutError`.
    """

    def __init__(self, seconds: float) -> None:
        self._late = threading.Event()
        self._handle: socket.socket | None = None
        self._set(seconds)

    def watch(self, sock: socket.socket) -> None:
        """Take a handle of a connection of its own: TLS takes the one that we were given."""
        self._handle = sock.dup()
        if self._late.is_set():
            raise TimeoutError

    def renew(self, seconds: float) -> None:
        """Begin anew, with so much time."""
        self._clock.cancel()
        self._set(seconds)
        self._clock.start()

    def _set(self, seconds: float) -> None:
        self._seconds = seconds
        self._clock = threading.Timer(seconds, self._end)
        self._clock.daemon = True

    def __enter__(self) -> Self:
        self._clock.start()
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        self._clock.cancel()
        if self._handle is not None:
            self._handle.close()
        # Also without an error: a head that ends too early seems to be whole.
        if self._late.is_set() or isinstance(error, TimeoutError):
            raise TimeoutError(f"no answer within {self._seconds:g} s") from error

    def _end(self) -> None:
        self._late.set()
        if self._handle is not None:
            with suppress(OSError):
                self._handle.shutdown(socket.SHUT_RDWR)
