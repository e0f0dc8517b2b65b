"""Where a deployment is that exists already, and what of a request may go there."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from ..errors import InvalidValue

__all__ = ["Place", "check_headers", "check_url"]

TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
"""A header's name (RFC 9110, 5.1)."""

OURS = ("host", "content-type", "content-length", "transfer-encoding", "connection")
"""Headers that belong to the connection or the body, and are never anybody's to forward."""


@dataclass(frozen=True)
class Place:
    """A deployment's address.

    Attributes:
        url: without a slash at its end.
        forwarded: the request's headers that go there, in lower case.
        headers: ours, for every call.
    """

    url: str
    forwarded: frozenset[str] = frozenset()
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


def check_url(url: object) -> None:
    """Raise `InvalidValue` unless a URL can be the address of a deployment."""
    if not isinstance(url, str):
        raise InvalidValue(f"url={url!r} is not text")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InvalidValue(f"url={url!r}: {error}") from None
    if parts.username is not None or parts.password is not None:
        raise InvalidValue(
            f"the url of {parts.hostname!r} has a name or a password in it, which logs would show; "
            'use headers={"Authorization": …}'
        )
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidValue(f"url={url!r} needs to be like https://host/path")
    if parts.query or parts.fragment:
        raise InvalidValue(f"url={url!r} has a query or a fragment; the endpoints' paths come after it")
    if port == 0 or any(ord(character) <= ord(" ") for character in url):
        raise InvalidValue(f"url={url!r} has a port or a character that no address has")


def check_headers(forwarded: Any, headers: Mapping[str, Any]) -> None:
    """Raise `InvalidValue` for what is not the name of a header, or not text for one."""
    if isinstance(forwarded, str) or not isinstance(forwarded, Sequence):
        raise InvalidValue(f"forward_headers={forwarded!r} is not a list of names")
    for name in (*forwarded, *headers):
        if not TOKEN.match(str(name)):
            raise InvalidValue(f"{name!r} is not the name of a header")
        if name.lower() in OURS:
            raise InvalidValue(f"the header {name!r} belongs to the connection, and cannot be given")
    for name, value in headers.items():
        if not isinstance(value, str):
            raise InvalidValue(f"the value for the header {name!r} is {value!r}, and not text: is it set?")
        if any(c in value for c in "\r\n\0"):
            raise InvalidValue(f"the value for the header {name!r} is not text of one line")
