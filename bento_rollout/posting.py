"""One HTTP POST with a limit on all of its time; of the answer only the status is of interest."""

from __future__ import annotations

import base64
import http.client
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

__all__ = ["Answer", "post"]


class Answer(NamedTuple):
    """What a server answered.

    Attributes:
        status: the HTTP status.
        retry_after: the header ``Retry-After``, as it was sent.
    """

    status: int
    retry_after: str | None


def post(url: str, headers: Mapping[str, str], body: bytes, seconds: float) -> Answer:
    """Send a body and return the answer's head; its body is not read, and no redirect is followed.

    Certificates are verified by the system's authorities. ``HTTPS_PROXY``, ``HTTP_PROXY`` and ``NO_PROXY``
    mean what they mean to other programs; ``~/.netrc`` means nothing.

    Args:
        url: where to; ``http`` or ``https``.
        headers: what is sent beside the length.
        body: what is sent.
        seconds: how long all of it may take; looking up a name is the system's business, and may take longer.

    Raises:
        OSError, http.client.HTTPException: there is no answer (`TimeoutError`: not in time).
    """
    parts = urlsplit(url)
    connection, path, more = _connection(parts, seconds)
    try:
        with _limited(connection, seconds):
            connection.request("POST", path, body, {**headers, **more, "Connection": "close"})
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers.get("Retry-After"))
    finally:
        connection.close()


def _connection(parts: SplitResult, seconds: float) -> tuple[http.client.HTTPConnection, str, dict[str, str]]:
    """Return what reaches an address, the path to ask it for, and what the proxy wants to know beside it."""
    host, path = parts.hostname or "", parts._replace(scheme="", netloc="", fragment="").geturl() or "/"
    proxy = _proxy(parts)
    first = parts if proxy is None else proxy
    at, port = first.hostname or "", first.port
    if parts.scheme == "https":
        tls = ssl.create_default_context()
        secure = http.client.HTTPSConnection(at, port, timeout=seconds, context=tls)
        if proxy is not None:
            secure.set_tunnel(host, parts.port or http.client.HTTPS_PORT, _credentials(proxy))
        return secure, path, {}
    plain = http.client.HTTPConnection(at, port, timeout=seconds)
    return (plain, path, {}) if proxy is None else (plain, parts.geturl(), _credentials(proxy))


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


@contextmanager
def _limited(connection: http.client.HTTPConnection, seconds: float) -> Iterator[None]:
    """End a connection's use when its time is over: a server that sends a byte now and then is late, too.

    Raises:
        TimeoutError: it took too long.
    """
    late = threading.Event()

    def end() -> None:
        late.set()
        if (sock := connection.sock) is not None:
            with suppress(OSError):
                # Not `sock.shutdown`: of TLS that would change what the other thread reads with just now.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

    clock = threading.Timer(seconds, end)
    clock.daemon = True
    clock.start()
    try:
        yield
    except (OSError, ValueError, http.client.HTTPException) as error:
        if late.is_set():
            raise TimeoutError(f"no answer within {seconds:g} s") from error
        raise
    finally:
        clock.cancel()
