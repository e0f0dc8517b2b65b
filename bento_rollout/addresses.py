"""What a webhook's fields may be: an address that can be asked, and where its key lies; pure."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from .errors import InvalidValue

__all__ = ["MAKE_ONE", "PREFIX", "check_source", "place_of"]

PREFIX = "whsec_"
"""What a key begins with."""

MAKE_ONE = (
    f'make one with: python -c "import base64, secrets; '
    f"print('{PREFIX}' + base64.b64encode(secrets.token_bytes(32)).decode())\""
)


def place_of(url: object) -> str:
    """Return scheme and host of an address that can be asked; no error repeats more of it.

    >>> place_of("https://hooks.example.com/T0/B1")
    'https://hooks.example.com'
    """
    try:
        parts = urlsplit(url if isinstance(url, str) else "")
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidValue("a webhook's address has the form https://HOST/PATH; this one has not")
    place = f"{parts.scheme}://{parts.hostname}" + ("" if port is None else f":{port}")
    if not re.fullmatch(r"[!-~]+", str(url)) or parts.fragment:
        raise InvalidValue(
            f"the address of the webhook at {place} holds blanks, a fragment or other letters than "
            "ASCII; write them in their %-form, or leave them out"
        )
    if "@" in parts.netloc:
        raise InvalidValue(
            f"the address of the webhook at {place} holds a user name or a password; leave them out:"
            " what shows who we are is the signature"
        )
    return place


def check_source(text: object) -> str:
    """Return where a key lies; a key itself is refused, and not repeated.

    >>> check_source("env:HOOK_SECRET")
    'env:HOOK_SECRET'
    """
    if not isinstance(text, str) or not re.fullmatch(r"env:[A-Za-z_][A-Za-z0-9_]*|file:.+", text):
        raise InvalidValue(
            "a webhook's secret= says where its key lies, and is not the key: "
            f"env:NAME for an environment variable, file:PATH for a file; {MAKE_ONE}"
        )
    return text
