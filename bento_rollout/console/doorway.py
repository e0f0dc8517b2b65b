"""Who comes into the console: where requests come from, how often logins may fail, what answers must say."""

from __future__ import annotations

import hmac
import time
from collections import OrderedDict
from collections.abc import Callable
from urllib.parse import urlsplit

from starlette.requests import Request

from .sessions import Session

__all__ = ["HEADERS", "SECURITY", "Tries", "is_ours", "shows_form_token"]

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
SECURITY = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
"""What every answer says; with ``no-referrer`` as the policy browsers would take Origin from forms."""

HEADERS = SECURITY | {"Cache-Control": "no-store", "Vary": "Cookie, HX-Request"}
"""What pages say, beside files that may be kept."""

PORTS = {"http": 80, "https": 443}


def is_ours(request: Request) -> bool:
    """Whether an unsafe request comes from a page of this very origin.

    Browsers say it in ``Sec-Fetch-Site``, on https and for localhost; where that is missing the Origin must
    be the Host.
    """
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    try:
        origin = urlsplit(request.headers.get("origin", ""))
        host = urlsplit(f"//{request.headers.get('host', '')}")
        port = PORTS.get(origin.scheme)
        return bool(
            port
            and origin.hostname
            and origin.hostname == host.hostname
            and (origin.port or port) == (host.port or port)
        )
    except ValueError:
        return False


def shows_form_token(session: Session, shown: object) -> bool:
    """Whether a form shows its session's token."""
    return isinstance(shown, str) and hmac.compare_digest(session.form.encode(), shown.encode())


class Tries:
    """Counts failed logins per address; each worker counts its own.

    Args:
        most: failures of one address within ``seconds``.
        seconds: the window.
        clock: monotonic seconds.

    >>> now = 0.0
    >>> tries = Tries(most=2, clock=lambda: now)
    >>> for _ in range(2):
    ...     tries.failed("a")
    >>> tries.wait("a"), tries.wait("b")
    (60, 0)
    """

    ADDRESSES = 1024

    def __init__(
        self, most: int = 10, seconds: float = 60.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._most, self._seconds, self._clock = most, seconds, clock
        self._failures: OrderedDict[str, list[float]] = OrderedDict()

    def wait(self, address: str) -> int:
        """Return the seconds until this address may try again; 0: now."""
        now = self._clock()
        recent = [one for one in self._failures.get(address, ()) if now - one < self._seconds]
        return 0 if len(recent) < self._most else max(1, round(recent[0] + self._seconds - now))

    def failed(self, address: str) -> None:
        """Count a failure."""
        now = self._clock()
        times = self._failures.pop(address, [])
        self._failures[address] = [*times, now][-self._most :]
        while len(self._failures) > self.ADDRESSES:
            self._failures.popitem(last=False)
