"""What the caller of a prediction must show again to be told what became of it; kept as its hash only."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Sequence
from functools import lru_cache

__all__ = ["proof_of", "proves", "shown_by"]

Pair = tuple[bytes, bytes]

AUTHORIZATION = b"authorization"


def proof_of(headers: Iterable[Pair], names: Sequence[str] = ()) -> str:
    """Return the SHA-256, in hex, of what a request shows of its caller; empty: it shows nothing.

    Args:
        headers: the request's, as ASGI has them.
        names: the headers beside ``Authorization`` that tell who calls, as those of the routing key.

    >>> proof_of([(b"accept", b"*/*")], ["x-user"])
    ''
    >>> proof_of([(b"x-user", b"ann")], ["X-User"]) == proof_of([(b"x-user", b"bob")], ["X-User"])
    False
    """
    shown = sorted(shown_by(headers, names))
    if not shown:
        return ""
    digest = hashlib.sha256(b"bento-rollout decision\0")
    for part in (part for pair in shown for part in pair):
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()


def shown_by(headers: Iterable[Pair], names: Sequence[str] = ()) -> list[Pair]:
    """Return what a request shows of its caller; of that alone `proof_of` makes the same as of all headers.

    >>> shown_by([(b"accept", b"*/*"), (b"X-User", b"ann")], ["x-user"])
    [(b'x-user', b'ann')]
    """
    wanted = _wanted(tuple(names))
    return [(lower, value) for name, value in headers if (lower := name.lower()) in wanted]


@lru_cache(maxsize=256)
def _wanted(names: tuple[str, ...]) -> frozenset[bytes]:
    """Return the names of the headers that tell who calls, as they stand on the wire."""
    return frozenset({AUTHORIZATION, *(name.lower().encode("latin-1", "ignore") for name in names)})


def proves(secret: str, shown: str) -> bool:
    """Whether what a request shows is what was shown before; in constant time. An empty secret asks nothing.

    >>> proves("", "anything"), proves("ab", ""), proves("ab", "ab")
    (True, False, True)
    """
    return hmac.compare_digest(secret.encode(), shown.encode()) or not secret
