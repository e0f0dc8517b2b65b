"""A sealed artifact in memory, to be broken: of one seed comes one artifact, byte for byte.

Keys, nonces and signatures follow from the seed, so the vectors can be written again and compared. What is
public, the identity and the signing key too, protects nothing: these keys are for the vectors alone.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from unittest import mock

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from bento_rollout.artifacts.canonical import canonical
from bento_rollout.artifacts.floe import encrypt
from bento_rollout.artifacts.manifest import FORMAT, aad, blob_name

NAME, SERIAL = "screening", 42
CANARY = b"the plaintext of a vector, 5d0c2e"

IDENTITY = "AGE-SECRET-KEY-1DUDX5WHH427CGV88R8C8CMH34SM54JCSPGTZJ5JF28HUGAPDR7US0ZWRE2"
RECIPIENT = "age1pau7f4qc24qds6a77jekm3hxx58cvasy2pclwvnk7kmq426env5sfx47xx"
RECIPIENT_KEY = bytes.fromhex("0f79e4d4185540d86bbef4b36dc6e6350f8676045071f73276f5b60aab599b29")
PASSPHRASE = "correct horse battery staple"

MANIFEST, SIGNATURE, KEYS_AGE, KEYS_JSON = "sealed/manifest.json", "sealed.sig", "keys.age", "keys.json"
BLOB = "sealed/0000.floe"
HEADER, SEGMENT = 74, 2**20

Change = Callable[[Any], object]


def unchanged(_: object) -> None:
    """Leave it as it is."""


class Chance:
    """Bytes that look random and follow from a seed; takes the place of `os.urandom`."""

    def __init__(self, seed: str) -> None:
        self._seed, self._count = seed.encode(), 0

    def __call__(self, size: int) -> bytes:
        """Return the next bytes."""
        self._count += 1
        return hashlib.shake_256(b"%s %d" % (self._seed, self._count)).digest(size)


def signing_key(seed: str, curve: ec.EllipticCurve | None = None) -> ec.EllipticCurvePrivateKey:
    """Return a key to sign with."""
    secret = int.from_bytes(hashlib.sha256(seed.encode()).digest(), "big")
    return ec.derive_private_key(secret, curve or ec.SECP256R1())


def public_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return the PEM of its public half."""
    pem, form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(pem, form)


SIGNER, STRANGER = signing_key("who signs the vectors"), signing_key("a stranger")


class Draft:
    """The files of one artifact by their names in its folder; whoever changes one signs again, or does not.

    Args:
        seed: everything random follows from it.
        files: plaintext by path.
        version: of the model.
        data_key: instead of one that follows from the seed.
        bound: what is taken for the path in the payload's associated data, instead of the path.

    Attributes:
        content: bytes by name.
        value: the manifest, as it is written.
    """

    def __init__(
        self,
        seed: str = "first",
        files: Mapping[str, bytes] | None = None,
        *,
        version: str = "v3",
        data_key: bytes | None = None,
        bound: str | None = None,
    ) -> None:
        self.chance = Chance(seed)
        self.data_key = self.chance(32)
        self.artifact_id = self.chance(16).hex()
        self.content: dict[str, bytes] = {}
        self.value: dict[str, Any] = {
            "artifact_id": self.artifact_id,
            "files": [],
            "format": FORMAT,
            "name": NAME,
            "serial": SERIAL,
            "version": version,
        }
        for index, (path, plain) in enumerate((files or {"model.bin": CANARY}).items()):
            about = aad(self.artifact_id, NAME, version, bound or path)
            with mock.patch("os.urandom", self.chance):
                blob = encrypt(data_key or self.data_key, about, plain)
            self.content[f"sealed/{blob_name(index)}"] = blob
            self.value["files"].append({"blob": blob_name(index), "path": path, "size": len(plain)})
        self.hash_blobs().write().wrap().sign()

    def edit(self, name: str, change: Callable[[bytes], bytes]) -> Draft:
        """Change a file."""
        self.content[name] = change(self.content[name])
        return self

    def hash_blobs(self) -> Draft:
        """Let the manifest say the headers and the hashes of the blobs as they are now."""
        for file in self.value["files"]:
            blob = self.content[f"sealed/{file['blob']}"]
            body = blob[HEADER:]
            starts = range(0, max(len(body), 1), SEGMENT)
            file["header"] = blob[:HEADER].hex()
            file["segments"] = [hashlib.sha256(body[at : at + SEGMENT]).hexdigest() for at in starts]
        return self

    def write(self, change: Change = unchanged) -> Draft:
        """Write the manifest, after a change of it."""
        change(self.value)
        self.content[MANIFEST] = canonical(self.value)
        return self

    def again(self, change: Change = unchanged) -> Draft:
        """Let a trusted signer hash, write and sign all that lies there, after a change of the manifest."""
        return self.hash_blobs().write(change).sign()

    def wrap(self, **more: Any) -> Draft:
        """Write the data key's envelope; see `age_file`."""
        self.content[KEYS_AGE] = age_file(self.chance, **({"key": self.data_key} | more))
        value = {"format": "bento-rollout/keys/v1", "kms": [], "recipients": [RECIPIENT]}
        self.content[KEYS_JSON] = canonical(value)
        return self

    def sign(
        self,
        key: ec.EllipticCurvePrivateKey = SIGNER,
        *,
        inside: Change = unchanged,
        outside: Change = unchanged,
        begin: bytes = b"DSSEv1",
        subject: bool = True,
    ) -> Draft:
        """Sign what lies in `sealed/` now.

        Args:
            key: whose signature it is.
            inside: changes the statement before it is signed.
            outside: changes the bundle.
            begin: the first word of what is signed.
            subject: whether the statement's subject is that of its resources after the change.
        """
        names = sorted(name for name in self.content if name.startswith("sealed/"))
        resources = [
            {
                "name": name.removeprefix("sealed/"),
                "algorithm": "sha256",
                "digest": hashlib.sha256(self.content[name]).hexdigest(),
            }
            for name in names
        ]
        statement: dict[str, Any] = {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": subject_of(resources),
            "predicateType": "https://model_signing/signature/v1.0",
            "predicate": {
                "serialization": {"method": "files", "hash_type": "sha256", "allow_symlinks": False},
                "resources": resources,
            },
        }
        inside(statement)
        if subject and "resources" in statement["predicate"]:
            statement["subject"] = subject_of(statement["predicate"]["resources"])
        payload = json.dumps(statement).encode()
        signed = b"%s 28 application/vnd.in-toto+json %d %s" % (begin, len(payload), payload)
        signature = key.sign(signed, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
        bundle: dict[str, Any] = {
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": {
                "publicKey": {"hint": hashlib.sha256(public_pem(key)).hexdigest()},
                "tlogEntries": [],
            },
            "dsseEnvelope": {
                "payload": base64.b64encode(payload).decode(),
                "payloadType": "application/vnd.in-toto+json",
                "signatures": [{"sig": base64.b64encode(signature).decode(), "keyid": ""}],
            },
        }
        outside(bundle)
        self.content[SIGNATURE] = json.dumps(bundle).encode()
        return self


def subject_of(resources: list[dict[str, str]]) -> list[dict[str, Any]]:
    """Return the subject that belongs to these resources."""
    whole = hashlib.sha256(b"".join(bytes.fromhex(item["digest"]) for item in resources))
    return [{"name": "sealed", "digest": {"sha256": whole.hexdigest()}}]


# -- age, https://c2sp.org/age -------------------------------------------------------------------------------


def age_file(
    chance: Chance,
    *,
    key: bytes,
    recipient: bytes = RECIPIENT_KEY,
    before: bytes = b"",
    factor: int | None = None,
) -> bytes:
    """Return an age file that holds a key.

    Args:
        chance: where its random bytes are from.
        key: what it holds.
        recipient: the X25519 key that opens it.
        before: stanzas that stand before its own.
        factor: a passphrase opens it, with this work factor; above 20 the work is not done, but asked for.
    """
    file_key = chance(16)
    if factor is None:
        stanza = x25519_stanza(chance, file_key, recipient)
    else:
        salt = chance(16)
        scrypt = Scrypt(
            b"age-encryption.org/v1/scrypt" + salt, 32, 2 ** (factor if factor <= 20 else 1), 8, 1
        )
        body = ChaCha20Poly1305(scrypt.derive(PASSPHRASE.encode())).encrypt(bytes(12), file_key, None)
        stanza = b"-> scrypt %s %d\n%s\n" % (plain64(salt), factor, plain64(body))
    header = b"age-encryption.org/v1\n" + before + stanza + b"---"
    mac = hmac.digest(derived(file_key, b"", b"header"), header, "sha256")
    nonce = chance(16)
    payload = ChaCha20Poly1305(derived(file_key, nonce, b"payload")).encrypt(bytes(11) + b"\1", key, None)
    return header + b" " + plain64(mac) + b"\n" + nonce + payload


def x25519_stanza(chance: Chance, file_key: bytes, recipient: bytes) -> bytes:
    """Return the stanza of one recipient."""
    ephemeral = X25519PrivateKey.from_private_bytes(chance(32))
    share = ephemeral.public_key().public_bytes_raw()
    shared = ephemeral.exchange(X25519PublicKey.from_public_bytes(recipient))
    wrapping = derived(shared, share + recipient, b"age-encryption.org/v1/X25519")
    body = ChaCha20Poly1305(wrapping).encrypt(bytes(12), file_key, None)
    return b"-> X25519 %s\n%s\n" % (plain64(share), plain64(body))


def strangers(chance: Chance, count: int) -> bytes:
    """Return stanzas for as many others."""

    def stanzas() -> Iterator[bytes]:
        for _ in range(count):
            other = X25519PrivateKey.from_private_bytes(chance(32)).public_key().public_bytes_raw()
            yield x25519_stanza(chance, chance(16), other)

    return b"".join(stanzas())


def derived(key: bytes, salt: bytes, info: bytes) -> bytes:
    """Return a key of 32 bytes."""
    return HKDF(hashes.SHA256(), 32, salt, info).derive(key)


def plain64(raw: bytes) -> bytes:
    """Return base64 without padding."""
    return base64.b64encode(raw).rstrip(b"=")
