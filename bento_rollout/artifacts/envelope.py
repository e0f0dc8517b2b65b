"""The data key's envelope: ``keys.age`` for people and hosts, ``keys.json`` for key management services.

Both lie outside the signature, so that recipients change without a new one. An attacker who replaces them can
only make an artifact fail to open: another data key does not fit the FLOE headers in the signed manifest.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import pyrage

from ..errors import ArtifactCorrupt, InvalidValue, KeyUnavailable
from .age_header import DATA_KEY_SIZE, MAX_STANZAS, Header, read_header
from .canonical import Malformed, shown
from .keys import Identities
from .kms import KMS_TIMEOUT, KeyList, Kms, unwrap, wrap

__all__ = ["KEYS_AGE", "KEYS_JSON", "MAX_RECIPIENTS", "Envelope"]

KEYS_AGE = "keys.age"
KEYS_JSON = "keys.json"
MAX_RECIPIENTS = MAX_STANZAS // 2
"""Half of the stanzas that are read: age adds some of its own."""

_NO_MATCH = frozenset({"No matching keys found", "Decryption failed"})
"""What pyrage says when the file is good and the identity or the passphrase is another."""


@dataclass(frozen=True)
class Envelope:
    """One data key, wrapped for everybody who may open the artifact.

    Args:
        age: the content of ``keys.age``, or None when only key management services open it.
        keys: what ``keys.json`` says.
    """

    age: bytes | None
    keys: KeyList

    @classmethod
    def seal(
        cls,
        key: bytes,
        context: Mapping[str, str],
        *,
        recipients: Iterable[str] = (),
        passphrase: str | None = None,
        kms: Mapping[str, Kms] | None = None,
        kms_timeout: float = KMS_TIMEOUT,
    ) -> Envelope:
        """Wrap a data key of 32 bytes.

        Args:
            key: the data key.
            context: what a KMS binds it to (`Manifest.context`).
            recipients: of age (``age1…``), at most 64.
            passphrase: instead of recipients: age lets a passphrase stand alone.
            kms: services by a name of the user's.
            kms_timeout: seconds for each of them.

        Raises:
            InvalidValue: nobody could open it, or one of the arguments cannot be.
            KeyUnavailable: a KMS failed.
        """
        if len(key) != DATA_KEY_SIZE:
            raise InvalidValue(f"a data key has {DATA_KEY_SIZE} bytes, not {len(key)}")
        named = sorted(set(recipients))
        if not (named or passphrase is not None or kms):
            raise InvalidValue("nobody could open it: give recipients (age1…), a passphrase or a KMS")
        age = _encrypt(key, named, passphrase) if named or passphrase is not None else None
        wrapped = wrap(key, kms or {}, context, timeout=kms_timeout)
        return cls(age, KeyList(tuple(named), wrapped))

    @classmethod
    def parse(cls, age: bytes | None, keys_json: bytes | None) -> Envelope:
        """Read what lies beside the artifact; either file may be missing, not both.

        Raises:
            ArtifactCorrupt: ``keys.age`` is no age file of one data key or asks for too much work,
                ``keys.json`` is not valid, or both are missing; nothing was decrypted.
        """
        if age is None and keys_json is None:
            raise ArtifactCorrupt(f"neither {KEYS_AGE} nor {KEYS_JSON} is there")
        if age is not None:
            _header(age)
        return cls(age, KeyList() if keys_json is None else KeyList.parse(keys_json))

    @property
    def needs_passphrase(self) -> bool:
        """Whether ``keys.age`` is opened by a passphrase, and by no identity."""
        return self.age is not None and _header(self.age).passphrase

    def open(
        self,
        context: Mapping[str, str],
        *,
        identities: Identities | None = None,
        passphrase: str | None = None,
        kms: Mapping[str, Kms] | None = None,
        kms_timeout: float = KMS_TIMEOUT,
    ) -> bytes:
        """Return the data key: from ``keys.age`` if identities or a passphrase open it, else from a KMS.

        It is a data key that somebody wrapped, and not yet the right one: that shows in the FLOE header.

        Raises:
            KeyUnavailable: none of what was given opens it.
            ArtifactCorrupt: ``keys.age`` is damaged.
        """
        problems = []
        try:
            return self._open_age(identities, passphrase)
        except KeyUnavailable as error:
            problems.append(str(error))
        if kms:
            try:
                return unwrap(self.keys, kms, context, timeout=kms_timeout)
            except KeyUnavailable as error:
                problems.append(str(error))
        raise KeyUnavailable("; ".join(problems))

    def _open_age(self, identities: Identities | None, passphrase: str | None) -> bytes:
        if self.age is None:
            if not self.keys.wrapped:
                raise KeyUnavailable(
                    f"{KEYS_AGE} is missing, and {KEYS_JSON} names no KMS: take it from a copy"
                )
            some = ", ".join(map(shown, self.keys.wrapped))
            raise KeyUnavailable(f"there is no {KEYS_AGE}: only a KMS opens this: {some} (kms=, from Python)")
        if _header(self.age).passphrase:
            if passphrase is None:
                raise KeyUnavailable(
                    f"{KEYS_AGE} is opened by a passphrase, and none was given: pass passphrase="
                    " (--passphrase-file FILE)"
                )
            return _decrypted(
                lambda raw: pyrage.passphrase.decrypt(raw, passphrase), self.age, "the passphrase"
            )
        if identities is None:
            raise KeyUnavailable(f"{KEYS_AGE} is opened by an identity, and none was given")
        secrets = list(identities.secrets)
        return _decrypted(
            lambda raw: pyrage.decrypt(raw, secrets), self.age, f"the identity from {identities.source}"
        )


@functools.lru_cache(maxsize=1)  # asked for thrice in a row
def _header(age: bytes) -> Header:
    try:
        return read_header(age)
    except Malformed as error:
        raise ArtifactCorrupt(f"{KEYS_AGE} is not valid: {error}") from None


def _encrypt(key: bytes, recipients: list[str], passphrase: str | None) -> bytes:
    """The content of ``keys.age``."""
    if recipients and passphrase is not None:
        raise InvalidValue("a passphrase stands alone in age: give recipients or a passphrase, not both")
    if len(recipients) > MAX_RECIPIENTS:
        raise InvalidValue(
            f"{len(recipients)} recipients are too many; at most {MAX_RECIPIENTS} open one artifact"
        )
    if passphrase is None:
        return pyrage.encrypt(key, [_recipient(text) for text in recipients])
    if not passphrase:
        raise InvalidValue("the passphrase is empty")
    return pyrage.passphrase.encrypt(key, passphrase)


def _recipient(text: str) -> pyrage.x25519.Recipient:
    if not text.startswith("age1"):
        raise InvalidValue("a recipient does not begin with age1: give what `keygen` wrote as recipient.txt")
    try:
        return pyrage.x25519.Recipient.from_str(text)
    except pyrage.RecipientError:
        raise InvalidValue(f"{shown(text)} is no recipient of age (X25519), or has a typing error") from None


def _decrypted(decrypt: Callable[[bytes], bytes], age: bytes, source: str) -> bytes:
    """The data key; whose header was checked."""
    try:
        key = decrypt(age)
    except pyrage.DecryptError as error:
        if str(error) in _NO_MATCH:
            raise KeyUnavailable(
                f"{KEYS_AGE} was not wrapped for {source}; `artifacts inspect` says who can open it"
            ) from None
        if "work" in str(error):
            raise KeyUnavailable(f"{KEYS_AGE} was not opened by {source}: {error}") from None
        raise ArtifactCorrupt(f"{KEYS_AGE} is damaged: {error}") from None
    if len(key) != DATA_KEY_SIZE:
        raise ArtifactCorrupt(f"{KEYS_AGE} holds {len(key)} bytes, not a data key of {DATA_KEY_SIZE}")
    return key
