"""`Seal`: what reviewers are shown, encrypted at rest under a key that lies apart from it."""

from __future__ import annotations

import hashlib
import os
import secrets
import sqlite3
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import StoreCorrupt, StoreUnreachable
from .place import Place, Shared, folder_of
from .secret_file import make_secret, read_secret

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

__all__ = ["FILE", "VARIABLE", "Seal", "Seals"]

VARIABLE = "BENTO_ROLLOUT_REVIEW_KEY_FILE"
"""The environment variable that names the file of the key, where it is not beside the store."""

FILE = "reviews.key"
"""The file beside the store that holds it otherwise."""

_ELSE = "without it what was sealed cannot be shown to anybody"
_NONCE = 12
_MARK = 8


class Seal:
    """Seals bytes by AES-256-GCM, bound to the case that they belong to. Safe in any thread.

    Whoever has the key opens them; when it is deleted, they are gone wherever copies of the file are.

    Args:
        secret: any bytes; 32 random ones are good.
        place: where it comes from, for messages.

    >>> seal = Seal(b"secret")
    >>> seal.open("case-1", seal.close("case-1", b"an X-ray"))
    b'an X-ray'
    """

    def __init__(self, secret: bytes, place: str = "this key") -> None:
        self._key = hashlib.sha256(b"bento_rollout reviews" + secret).digest()
        self._mark = hashlib.sha256(b"mark" + self._key).digest()[
            :_MARK
        ]  # tells keys apart, and tells nothing
        self._place = place

    @cached_property
    def _cipher(self) -> AESGCM:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        return AESGCM(self._key)

    def close(self, case: str, content: bytes) -> bytes:
        """Return the sealed form of what belongs to a case."""
        nonce = secrets.token_bytes(_NONCE)
        return self._mark + nonce + self._cipher.encrypt(nonce, content, case.encode())

    def open(self, case: str, sealed: bytes) -> bytes:
        """Return what was sealed.

        Raises:
            StoreUnreachable: it was sealed under another key.
            StoreCorrupt: it was changed, or belongs to another case.
        """
        from cryptography.exceptions import InvalidTag

        if sealed[:_MARK] != self._mark:
            raise StoreUnreachable(
                f"the input of case {case} is sealed under another key than {self._place}: restore that one, "
                f"or name it by {VARIABLE}"
            )
        nonce, content = sealed[_MARK : _MARK + _NONCE], sealed[_MARK + _NONCE :]
        try:
            return self._cipher.decrypt(nonce, content, case.encode())
        except (InvalidTag, ValueError):
            raise StoreCorrupt(
                f"the sealed input of case {case} was changed, or is another case's; restore a backup, or "
                "withdraw the case"
            ) from None

    @classmethod
    def beside(
        cls, store: Path, *, create: bool = False, environ: Mapping[str, str] | None = None
    ) -> Seal | None:
        """Return the seal of a store: the file of its key is named by the environment, or lies beside.

        Args:
            store: the folder beside the store.
            create: make the file when there is none.
            environ: instead of this process's environment.

        Returns:
            None when there is no key, and none is to be made.

        Raises:
            StoreUnreachable: the file cannot be read or made, is empty, or others may read it.
        """
        named = (os.environ if environ is None else environ).get(VARIABLE)
        path = Path(named) if named else store / FILE
        try:
            if create and not path.exists():
                make_secret(path)
            return cls(read_secret(path, _ELSE), str(path))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreUnreachable(f"{path} cannot be used: {error.strerror}; {_ELSE}") from None


class Seals:
    """Finds the seal of a store when it is needed.

    The key of a store in a database is in that database, unless the environment names a file.

    Args:
        place: of a rollout in the store.
        known: the seal, if it is known.
    """

    def __init__(self, place: Place, known: Seal | None = None) -> None:
        self._place, self._known = place, known

    def making(self) -> Seal:
        """Return the seal; its key is made when there is none.

        Raises:
            StoreUnreachable: as `Seal.beside`.
        """
        if self._known is None:
            self._known = self._found(create=True)
        return self.there()

    def there(self) -> Seal:
        """Return the seal of what was sealed.

        Raises:
            StoreUnreachable: there is no key, or as `Seal.beside`.
        """
        if self._known is None:
            self._known = self._found(create=False)
        if self._known is None:
            path = os.environ.get(VARIABLE) or folder_of(self._place).parent / FILE
            raise StoreUnreachable(f"there is no key at {path}: restore it; {_ELSE}")
        return self._known

    def _found(self, *, create: bool) -> Seal | None:
        if not isinstance(self._place, Shared) or os.environ.get(VARIABLE):
            return Seal.beside(folder_of(self._place).parent, create=create)
        try:
            return Seal(self._place.secret("reviews"), f"the one in {self._place.engine.shown}")
        except sqlite3.Error as error:
            shown = self._place.engine.shown
            raise StoreUnreachable(f"the key in {shown} cannot be read: {error}; {_ELSE}") from error
