"""``sealed.sig``: an OpenSSF Model Signing (OMS) bundle over ``sealed/``, in the one accepted form.

What is written is read by the public tool ``model_signing verify key``. That tool accepts more than this:
other orders, no hint, other subjects, an older encoding. Here each of these is refused, so that an artifact
has one valid form, and a signature never covers less than it seems to.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import ArtifactCorrupt, SignatureInvalid
from .canonical import (
    Malformed,
    as_base64,
    as_constant,
    as_list,
    as_object,
    as_text,
    parse,
    shown,
)
from .signers import PublicKey, Signer

__all__ = ["MAX_BUNDLE", "SIGNATURE_FILE", "Signed", "sign", "verify", "verify_signature"]

SIGNATURE_FILE = "sealed.sig"
SUBJECT = "sealed"
"""The folder that is signed."""

MAX_BUNDLE = 8 * 2**20
"""Bytes; 10 001 resources make about 3 MiB."""

MAX_RESOURCES = 10_001
MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://model_signing/signature/v1.0"

_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)
_HEXADECIMAL = "64 lower-case hexadecimal digits"


@dataclass(frozen=True)
class Signed:
    """What a valid signature says: whose it is, and the SHA-256 (32 bytes) of each file of ``sealed/``."""

    resources: Mapping[str, bytes]
    key: PublicKey

    def require(self, name: str, digest: bytes) -> None:
        """Check one file by its SHA-256.

        Raises:
            ArtifactCorrupt: it was not signed, or it is not what was signed.
        """
        signed = self.resources.get(name)
        if signed is None:
            raise ArtifactCorrupt(f"sealed/{name} is not among the files that were signed")
        if signed != digest:
            raise ArtifactCorrupt(
                f"sealed/{name} is not what was signed: its SHA-256 is {digest.hex()}, not {signed.hex()}"
            )

    def require_names(self, names: Iterable[str]) -> None:
        """Check that these, and no others, are the files that were signed.

        Raises:
            ArtifactCorrupt: one is missing, or was not signed.
        """
        found = set(names)
        if missing := sorted(self.resources.keys() - found):
            raise ArtifactCorrupt(f"sealed/{missing[0]} was signed, and is missing")
        if extra := sorted(found - self.resources.keys()):
            raise ArtifactCorrupt(f"sealed/{extra[0]} is not among the files that were signed")


def sign(resources: Mapping[str, bytes], signer: Signer) -> bytes:
    """Return a bundle over the files of ``sealed/``.

    Args:
        resources: the SHA-256 (32 bytes) of each file, by its name.
        signer: whose signature it is.
    """
    payload = json.dumps(_statement(resources)).encode()
    bundle = {
        "mediaType": MEDIA_TYPE,
        "verificationMaterial": {"publicKey": {"hint": signer.public.hint}, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"sig": base64.b64encode(signer.sign(_pae(payload))).decode(), "keyid": ""}],
        },
    }
    return json.dumps(bundle).encode()


def verify(bundle: bytes, keys: Iterable[PublicKey], resources: Mapping[str, bytes]) -> Signed:
    """Check that one of the keys signed exactly these files.

    Args:
        bundle: the bytes of ``sealed.sig``.
        keys: those that are trusted.
        resources: the SHA-256 (32 bytes) of each file in ``sealed/``, by its name.

    Raises:
        SignatureInvalid: see `verify_signature`.
        ArtifactCorrupt: a file is missing, was not signed, or is not what was signed.
    """
    signed = verify_signature(bundle, keys)
    signed.require_names(resources)
    for name in sorted(resources):
        signed.require(name, resources[name])
    return signed


def verify_signature(bundle: bytes, keys: Iterable[PublicKey]) -> Signed:
    """Check the bundle itself, and return what it says of the files: `Signed.require` compares them.

    Nothing of the payload is read before the signature over it is valid.

    Raises:
        SignatureInvalid: none of the keys signed it, or anything in it is not as this format says.
    """
    try:
        payload, key = _opened(bundle, tuple(keys))
        return Signed(_resources(payload), key)
    except Malformed as error:
        raise SignatureInvalid(f"{SIGNATURE_FILE} is not valid: {error}") from None


def _opened(raw: bytes, keys: tuple[PublicKey, ...]) -> tuple[bytes, PublicKey]:
    """The payload, and whose signature over it is valid."""
    bundle = as_object(
        parse(raw, limit=MAX_BUNDLE, containers=16),
        {"mediaType", "verificationMaterial", "dsseEnvelope"},
        "the bundle",
    )
    as_constant(bundle["mediaType"], MEDIA_TYPE, "mediaType")
    material = as_object(bundle["verificationMaterial"], {"publicKey", "tlogEntries"}, "verificationMaterial")
    if as_list(material["tlogEntries"], "tlogEntries"):
        raise Malformed("tlogEntries is not empty: a pinned key signs here, and no transparency log is asked")
    public = as_object(material["publicKey"], {"hint"}, "publicKey")
    hint = as_text(public["hint"], "hint", _DIGEST, f"{_HEXADECIMAL}, the SHA-256 of the public key's PEM")
    envelope = as_object(bundle["dsseEnvelope"], {"payload", "payloadType", "signatures"}, "dsseEnvelope")
    as_constant(envelope["payloadType"], PAYLOAD_TYPE, "payloadType")
    signatures = as_list(envelope["signatures"], "signatures")
    if len(signatures) != 1:
        raise Malformed(f"it has {len(signatures)} signatures, not one")
    signature = as_object(signatures[0], {"sig", "keyid"}, "signatures[0]")
    as_constant(signature["keyid"], "", "keyid")
    sig = as_base64(signature["sig"], "sig")
    payload = as_base64(envelope["payload"], "payload")
    key = next((key for key in keys if key.hint == hint), None)
    if key is None:
        known = ", ".join(key.hint[:16] for key in keys) or "none"
        raise Malformed(f"it names the key {hint[:16]}…, which is not trusted here; trusted: {known}")
    if not key.signed(_pae(payload), sig):
        raise Malformed(
            f"the signature is not by the key {hint[:16]}… that it names, or not over this payload"
        )
    return payload, key


def _resources(payload: bytes) -> dict[str, bytes]:
    """The digests in a payload, whose signature is valid."""
    statement = as_object(
        parse(payload, limit=MAX_BUNDLE, containers=MAX_RESOURCES + 16),
        {"_type", "subject", "predicateType", "predicate"},
        "the statement",
    )
    as_constant(statement["_type"], STATEMENT_TYPE, "_type")
    as_constant(statement["predicateType"], PREDICATE_TYPE, "predicateType")
    predicate = as_object(statement["predicate"], {"serialization", "resources"}, "predicate")
    _check_serialization(predicate["serialization"])
    pairs = [
        _resource(index, item) for index, item in enumerate(as_list(predicate["resources"], "resources"))
    ]
    names = [name for name, _ in pairs]
    if not pairs or len(pairs) > MAX_RESOURCES or names != sorted(set(names)):
        raise Malformed("resources is empty, too long, not sorted by name, or has a name twice")
    resources = dict(pairs)
    if statement["subject"] != _subject(resources):
        raise Malformed("subject is not the folder 'sealed' with the SHA-256 of all digests together")
    return resources


def _check_serialization(found: Any) -> None:
    if isinstance(found, dict) and "ignore_paths" in found:
        raise Malformed(
            f"serialization has ignore_paths ({shown(found['ignore_paths'])}): files of these"
            " names would not be covered; sign again with `model_signing sign key --no-ignore-git-paths`"
        )
    serialization = as_object(found, {"method", "hash_type", "allow_symlinks"}, "serialization")
    as_constant(serialization["method"], "files", "method")
    as_constant(serialization["hash_type"], "sha256", "hash_type")
    as_constant(serialization["allow_symlinks"], False, "allow_symlinks")


def _resource(index: int, item: Any) -> tuple[str, bytes]:
    where = f"resources[{index}]"
    found = as_object(item, {"name", "algorithm", "digest"}, where)
    as_constant(found["algorithm"], "sha256", f"{where}.algorithm")
    digest = as_text(found["digest"], f"{where}.digest", _DIGEST, _HEXADECIMAL)
    return as_text(found["name"], f"{where}.name"), bytes.fromhex(digest)


def _statement(resources: Mapping[str, bytes]) -> dict[str, Any]:
    ordered = {name: resources[name] for name in sorted(resources)}
    return {
        "_type": STATEMENT_TYPE,
        "subject": _subject(ordered),
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "serialization": {"method": "files", "hash_type": "sha256", "allow_symlinks": False},
            "resources": [
                {"name": name, "algorithm": "sha256", "digest": digest.hex()}
                for name, digest in ordered.items()
            ],
        },
    }


def _subject(ordered: Mapping[str, bytes]) -> list[dict[str, Any]]:
    whole = hashlib.sha256(b"".join(ordered.values())).hexdigest()
    return [{"name": SUBJECT, "digest": {"sha256": whole}}]


def _pae(payload: bytes) -> bytes:
    """What is signed: DSSE's pre-authentication encoding, version 1."""
    return b"DSSEv1 %d %s %d %s" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload)
