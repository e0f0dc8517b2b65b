"""What tests of a service with this library need: fakes that keep the promises of the real things."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from enum import Enum
from pathlib import Path

from .artifacts.canonical import canonical
from .artifacts.files import read_private, write_new

__all__ = ["FileKms", "KmsFailure"]


class KmsFailure(Enum):
    """What a `FileKms` does instead of its work."""

    RAISES = "raises"
    HANGS = "hangs"
    SHORT = "short"
    """It returns 31 bytes."""


class FileKms:
    """A key management service whose master key is a file: for tests, and to try things out.

    It keeps what `bento_rollout.artifacts.kms.Kms` asks of a service: what was wrapped is bound to its
    context. It is no protection where the file lies beside the artifact.

    Args:
        path: the file; it is made, for its owner alone, if it is missing.
        failure: what goes wrong from now on, or None.

    Attributes:
        failure: may be set at any time.

    >>> import tempfile
    >>> kms = FileKms(Path(tempfile.mkdtemp()) / "master.key")
    >>> kms.unwrap(kms.wrap(bytes(32), {"name": "m"}), {"name": "m"}) == bytes(32)
    True
    """

    def __init__(self, path: Path, failure: KmsFailure | None = None) -> None:
        self.failure = failure
        if not path.exists():
            write_new(path, os.urandom(32), 0o600)
        self._master = read_private(path)

    def wrap(self, key: bytes, context: Mapping[str, str]) -> bytes:
        """Return nonce and AES-256-GCM of the key, with the context's canonical JSON as AAD."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self._fail()
        nonce = os.urandom(12)
        return nonce + AESGCM(self._master).encrypt(nonce, key, canonical(dict(context)))

    def unwrap(self, blob: bytes, context: Mapping[str, str]) -> bytes:
        """Return the key.

        Raises:
            cryptography.exceptions.InvalidTag: it was wrapped with another context or master key.
        """
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self._fail()
        key = AESGCM(self._master).decrypt(blob[:12], blob[12:], canonical(dict(context)))
        return key[:31] if self.failure is KmsFailure.SHORT else key

    def _fail(self) -> None:
        if self.failure is KmsFailure.RAISES:
            raise PermissionError("AccessDenied: this is what a service says")
        if self.failure is KmsFailure.HANGS:
            threading.Event().wait()
