"""The keys that sign artifacts and that verify them: ECDSA on P-256, in PEM."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ..errors import InvalidValue

__all__ = ["PublicKey", "Signer"]

MAX_PEM = 16 * 2**10
"""Bytes; a P-256 key has about 240."""


@dataclass(frozen=True)
class PublicKey:
    """A P-256 key that is trusted to have signed; two are equal if they are the same key.

    Args:
        pem: the key as `PublicKey.parse` wrote it; use that instead.

    Attributes:
        hint: hexadecimal SHA-256 of the PEM, by which a bundle says who signed it.
    """

    pem: bytes
    _key: ec.EllipticCurvePublicKey = field(repr=False, compare=False)

    @classmethod
    def parse(cls, pem: bytes, source: str = "the public key") -> PublicKey:
        """Read a key in PEM (SubjectPublicKeyInfo).

        Raises:
            InvalidValue: it is none, or not of P-256; the message begins with ``source``.
        """
        try:
            if len(pem) > MAX_PEM:
                raise ValueError("too long")  # noqa: TRY301 - told like what the reader itself refuses
            key = serialization.load_pem_public_key(pem)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise InvalidValue(
                f"{source} is no public key in PEM; `keygen` writes one as sign.pub.pem"
            ) from None
        return cls._of(key, source)

    @classmethod
    def _of(cls, key: object, source: str) -> PublicKey:
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
            raise InvalidValue(
                f"{source} is not of the curve P-256 (secp256r1), the only one that signs here"
            )
        pem = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        return cls(pem, key)

    @property
    def hint(self) -> str:
        """Hexadecimal SHA-256 of the PEM."""
        return hashlib.sha256(self.pem).hexdigest()

    def signed(self, message: bytes, signature: bytes) -> bool:
        """Whether this DER signature of this message is by this key."""
        try:
            self._key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True)
class Signer:
    """A private P-256 key; its representation holds nothing of it.

    Attributes:
        public: the key that verifies what it signs.
    """

    _key: ec.EllipticCurvePrivateKey = field(repr=False)
    public: PublicKey = field()

    @classmethod
    def generate(cls) -> Signer:
        """Make a new key."""
        return cls._of(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def parse(cls, pem: bytes, password: bytes | None = None, source: str = "the signing key") -> Signer:
        """Read a private key in PEM, encrypted or not.

        Raises:
            InvalidValue: it is none, the password is wrong, missing or not needed, or the curve is not
                P-256; the message begins with ``source`` and holds nothing of the key.
        """
        try:
            if len(pem) > MAX_PEM:
                raise ValueError("too long")  # noqa: TRY301 - told like what the reader itself refuses
            key = serialization.load_pem_private_key(pem, password)
        except TypeError:
            told = (
                "is not encrypted, but a password was given"
                if password
                else "is encrypted: give its password"
            )
            raise InvalidValue(f"{source} {told}") from None
        except (ValueError, UnsupportedAlgorithm):
            raise InvalidValue(
                f"{source} is no private key in PEM, or its password is another; `keygen` writes a sign.pem"
            ) from None
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise InvalidValue(
                f"{source} is not of the curve P-256 (secp256r1), the only one that signs here"
            )
        PublicKey._of(key.public_key(), source)  # noqa: SLF001 - its sister
        return cls._of(key)

    @classmethod
    def _of(cls, key: ec.EllipticCurvePrivateKey) -> Signer:
        return cls(key, PublicKey._of(key.public_key(), "the signing key"))  # noqa: SLF001 - its sister

    def to_pem(self) -> bytes:
        """Return the private key in PEM (PKCS 8), not encrypted: for a file that only its owner reads."""
        return self._key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )

    def sign(self, message: bytes) -> bytes:
        """Return the signature of a message: ECDSA with SHA-256, in DER."""
        return self._key.sign(message, ec.ECDSA(hashes.SHA256()))
