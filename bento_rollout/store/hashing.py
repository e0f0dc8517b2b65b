"""Routing keys as hashes under a secret: whoever has a key finds what belongs to it, and nobody else does."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from ..errors import StoreUnreachable
from .place import Place, Shared
from .secret_file import make_secret, read_secret

__all__ = ["FILE", "VARIABLE", "KeyHash"]

VARIABLE = "BENTO_ROLLOUT_HASH_KEY"
"""The environment variable that holds the secret, where there is no file."""

FILE = "hash.key"
"""The file beside the store that holds it otherwise."""

_NAME = "hash_key"
"""The secret's name in a database that many hosts share."""

_BYTES = 16


class KeyHash:
    """Hashes texts by BLAKE2b under a secret; the same text always has the same hash. Safe in any thread.

    Args:
        secret: any bytes; 32 random ones are good.

    >>> KeyHash(b"secret").of("u1")
    'e0db74f9e42d5b32498a1b0a0f7f7ad0'
    """

    __slots__ = ("_keyed",)

    def __init__(self, secret: bytes) -> None:
        key = hashlib.sha512(secret).digest()
        self._keyed = hashlib.blake2b(digest_size=_BYTES, key=key, person=b"bento_rollout")

    def of(self, text: str) -> str:
        """Return the hash of a text, 32 hexadecimal digits."""
        keyed = self._keyed.copy()
        keyed.update(text.encode("utf-8", "surrogatepass"))
        return keyed.hexdigest()

    @property
    def fingerprint(self) -> str:
        """What tells secrets apart, and tells nothing of them."""
        keyed = self._keyed.copy()
        keyed.update(b"\xff the key's own fingerprint")  # no text's UTF-8 begins so
        return keyed.hexdigest()[:16]

    @classmethod
    def beside(
        cls, store: Path, *, create: bool = False, environ: Mapping[str, str] | None = None
    ) -> KeyHash | None:
        """Return the hash of a store: its secret is ``BENTO_ROLLOUT_HASH_KEY``, or a file beside it.

        Args:
            store: the folder beside the store.
            create: make the file when there is none.
            environ: instead of this process's environment.

        Returns:
            None when there is no secret, and none is to be made.

        Raises:
            StoreUnreachable: the file cannot be read or made, is empty, or others may read it.
        """
        if (given := cls._given(environ)) is not None:
            return given
        path = store / FILE
        try:
            if create and not path.exists():
                make_secret(path)
            return cls(read_secret(path, _ELSE))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreUnreachable(f"{path} cannot be used: {error.strerror}; {_ELSE}") from None

    @classmethod
    def of_place(
        cls, place: Place, *, create: bool = False, environ: Mapping[str, str] | None = None
    ) -> KeyHash | None:
        """Return the hash of the store that a rollout is in: as `beside`, or what all hosts share.

        That secret is ``BENTO_ROLLOUT_HASH_KEY``, or lies in the database. Who makes it keeps a copy on this
        host, for the time in which the database cannot be reached.

        Args:
            place: where the rollout is.
            create: make the secret when there is none.
            environ: instead of this process's environment.

        Returns:
            None when there is no secret, and none is to be made.

        Raises:
            StoreUnreachable: it cannot be read or made.
        """
        if not isinstance(place, Shared):
            return cls.beside(place.parent, create=create, environ=environ)
        if (given := cls._given(environ)) is not None:
            return given
        try:
            if not create and not place.known():
                return None
            secret = place.secret(_NAME)
        except sqlite3.Error as error:
            if (copy := cls.beside(place.folder.parent, environ={})) is not None:
                return copy
            words = f"{place.words('secrets')} cannot be used: {error}; {_ELSE}"
            raise StoreUnreachable(words) from error
        if create:
            _keep_copy(place.folder.parent / FILE, secret)
        return cls(secret)

    @classmethod
    def _given(cls, environ: Mapping[str, str] | None) -> KeyHash | None:
        secret = (os.environ if environ is None else environ).get(VARIABLE)
        return cls(secret.encode("utf-8", "surrogateescape")) if secret else None


def _keep_copy(path: Path, secret: bytes) -> None:
    with suppress(OSError, StoreUnreachable):
        if not path.exists() or read_secret(path, _ELSE) != secret:
            make_secret(path, secret)


_ELSE = f"without it keys have no hashes; mend it, or set {VARIABLE}"
