"""The OMS bundle: one accepted form, and each deviation refused for its own reason."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st

from bento_rollout.artifacts.signature import MAX_BUNDLE, Signed, sign, verify, verify_signature
from bento_rollout.artifacts.signers import PublicKey, Signer
from bento_rollout.errors import ArtifactCorrupt, InvalidValue, SignatureInvalid

SIGNER = Signer.generate()
KEYS = (SIGNER.public,)
DIGESTS = {
    name: hashlib.sha256(name.encode()).digest() for name in ("0000.floe", "0001.floe", "manifest.json")
}
BUNDLE = sign(DIGESTS, SIGNER)
PAYLOAD = base64.b64decode(json.loads(BUNDLE)["dsseEnvelope"]["payload"])


def outside(change: Callable[[dict[str, Any]], object]) -> bytes:
    """The bundle after a change outside what is signed."""
    value = json.loads(BUNDLE)
    change(value)
    return json.dumps(value).encode()


def wrapped(
    payload: bytes, signer: Signer = SIGNER, begin: bytes = b"DSSEv1 28 application/vnd.in-toto+json"
) -> bytes:
    """A bundle whose signature over this payload is good."""
    sig = signer.sign(b"%s %d %s" % (begin, len(payload), payload))

    def change(it: dict[str, Any]) -> None:
        it["dsseEnvelope"]["payload"] = base64.b64encode(payload).decode()
        it["dsseEnvelope"]["signatures"][0]["sig"] = base64.b64encode(sig).decode()
        it["verificationMaterial"]["publicKey"]["hint"] = signer.public.hint

    return outside(change)


def inside(change: Callable[[dict[str, Any]], object]) -> bytes:
    """A bundle with a good signature over a statement after a change."""
    value = json.loads(PAYLOAD)
    change(value)
    return wrapped(json.dumps(value).encode())


def subject_of(resources: list[dict[str, str]]) -> list[dict[str, Any]]:
    """The subject that belongs to these resources."""
    whole = hashlib.sha256(b"".join(bytes.fromhex(item["digest"]) for item in resources))
    return [{"name": "sealed", "digest": {"sha256": whole.hexdigest()}}]


def with_resources(change: Callable[[list[Any]], object]) -> bytes:
    """A bundle over changed resources, with the subject that belongs to them."""

    def both(it: dict[str, Any]) -> None:
        change(it["predicate"]["resources"])
        it["subject"] = subject_of(it["predicate"]["resources"])

    return inside(both)


def test_what_is_signed_is_verified() -> None:
    """The digests come back, with the key that signed; the payload is the published statement."""
    signed = verify(BUNDLE, KEYS, DIGESTS)
    assert (signed.resources, signed.key) == (DIGESTS, SIGNER.public)
    assert verify_signature(BUNDLE, [Signer.generate().public, SIGNER.public]).key == SIGNER.public
    assert json.loads(PAYLOAD)["predicate"]["serialization"] == {
        "method": "files",
        "hash_type": "sha256",
        "allow_symlinks": False,
    }


def envelope(it: dict[str, Any]) -> dict[str, Any]:
    """The DSSE envelope."""
    found: dict[str, Any] = it["dsseEnvelope"]
    return found


def serialization_of(it: dict[str, Any]) -> dict[str, Any]:
    """How the statement says that files were hashed."""
    found: dict[str, Any] = it["predicate"]["serialization"]
    return found


STOCK = [".gitignore", ".git", ".gitattributes", ".github"]

BAD: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "no JSON"),
    "no signature": (outside(lambda it: envelope(it).update(signatures=[])), "it has 0 signatures, not one"),
    "two signatures": (
        outside(lambda it: envelope(it)["signatures"].append({})),
        "it has 2 signatures, not one",
    ),
    "huge bundle": (b" " * (MAX_BUNDLE + 1), f"more than {MAX_BUNDLE}"),
    "many containers": (b"[" * 10 + b"{}," * 2_000_000, "lists and objects"),
    "duplicate member": (BUNDLE.replace(b'"keyid": ""', b'"keyid": "", "keyid": ""'), "'keyid' twice"),
    "media type": (
        outside(lambda it: it.update(mediaType="application/json")),
        "mediaType is 'application/json'",
    ),
    "old media type": (
        outside(lambda it: it.update(mediaType=it["mediaType"].replace("v0.3", "v0.2"))),
        "mediaType is 'app.*v0.2",
    ),
    "unknown member": (
        outside(lambda it: it.update(messageSignature={})),
        "unknown member 'messageSignature'",
    ),
    "missing envelope": (outside(lambda it: it.pop("dsseEnvelope")), "lacks the member 'dsseEnvelope'"),
    "no tlogEntries": (
        outside(lambda it: it["verificationMaterial"].pop("tlogEntries")),
        "lacks the member 'tlog",
    ),
    "tlogEntries": (
        outside(lambda it: it["verificationMaterial"]["tlogEntries"].append({})),
        "tlogEntries is not empty",
    ),
    "certificate": (
        outside(lambda it: it["verificationMaterial"].update(certificate={})),
        "unknown member 'certificate'",
    ),
    "missing hint": (
        outside(lambda it: it["verificationMaterial"].update(publicKey={})),
        "lacks the member 'hint'",
    ),
    "empty hint": (
        outside(lambda it: it["verificationMaterial"].update(publicKey={"hint": ""})),
        "hint is ''",
    ),
    "raw key": (
        outside(lambda it: it["verificationMaterial"]["publicKey"].update(rawBytes="")),
        "unknown member 'rawBytes'",
    ),
    "another hint": (
        outside(lambda it: it["verificationMaterial"]["publicKey"].update(hint="0" * 64)),
        "names the key 0000000000000000…, which is not trusted here; trusted: ",
    ),
    "payload type": (
        outside(lambda it: envelope(it).update(payloadType="text/plain")),
        "payloadType is 'text/plain'",
    ),
    "keyid": (outside(lambda it: envelope(it)["signatures"][0].update(keyid="x")), "keyid is 'x'"),
    "missing keyid": (
        outside(lambda it: envelope(it)["signatures"][0].pop("keyid")),
        "lacks the member 'keyid'",
    ),
    "signature of nothing": (
        outside(lambda it: envelope(it)["signatures"][0].update(sig="")),
        "is not by the key",
    ),
    "base64 of URLs": (outside(lambda it: envelope(it).update(payload="_-8=")), "payload is no base64"),
    "base64 with a line end": (
        outside(lambda it: envelope(it).update(payload=envelope(it)["payload"] + "\n")),
        "payload is no",
    ),
    "base64 with other last bits": (
        outside(lambda it: envelope(it).update(payload="QR==")),
        "canonical form of base64",
    ),
    "another payload": (
        outside(lambda it: envelope(it).update(payload="e30=")),
        "is not by the key .* that it names",
    ),
    "wrong key": (wrapped(PAYLOAD, Signer.generate()), "which is not trusted here"),
    "the old encoding": (
        wrapped(PAYLOAD, begin=b"DSSEV1 28 application/vnd.in-toto+json"),
        "is not by the key",
    ),
    "no JSON inside": (wrapped(b"no"), "no JSON"),
    "deep inside": (wrapped(b"[" * 100_000), "more than 16 deep"),
    "statement type": (inside(lambda it: it.update(_type="https://in-toto.io/Statement/v0.1")), "_type is "),
    "predicate v0.1": (
        inside(lambda it: it.update(predicateType="https://model_signing/Digests/v0.1")),
        "predicateType is 'https://model_signing/Digests/v0.1'",
    ),
    "unknown member inside": (
        inside(lambda it: it.update(more=1)),
        "the statement has the unknown member 'more'",
    ),
    "unknown member of the predicate": (
        inside(lambda it: it["predicate"].update(x=1)),
        "predicate has the unknown",
    ),
    "other subject": (
        inside(lambda it: it["subject"][0].update(name="other")),
        "subject is not the folder 'sealed'",
    ),
    "two subjects": (inside(lambda it: it["subject"].append(it["subject"][0])), "subject is not"),
    "subject's digest": (
        inside(lambda it: it["subject"][0]["digest"].update(sha256="0" * 64)),
        "subject is not",
    ),
    "subject's other digest": (
        inside(lambda it: it["subject"][0]["digest"].update(sha512="")),
        "subject is not",
    ),
    "shards": (
        inside(lambda it: serialization_of(it).update(method="shards")),
        "method is 'shards', not 'files'",
    ),
    "hash": (inside(lambda it: serialization_of(it).update(hash_type="blake2b")), "hash_type is 'blake2b'"),
    "symlinks": (
        inside(lambda it: serialization_of(it).update(allow_symlinks=True)),
        "allow_symlinks is True",
    ),
    "symlinks as 0": (
        inside(lambda it: serialization_of(it).update(allow_symlinks=0)),
        "allow_symlinks is 0",
    ),
    "no symlinks": (inside(lambda it: serialization_of(it).pop("allow_symlinks")), "lacks the member"),
    "ignore_paths": (
        inside(lambda it: serialization_of(it).update(ignore_paths=STOCK)),
        "--no-ignore-git-paths",
    ),
    "one ignored path": (
        inside(lambda it: serialization_of(it).update(ignore_paths=["0001.floe"])),
        "--no-ignore-git-paths",
    ),
    "shard size": (
        inside(lambda it: serialization_of(it).update(shard_size=1)),
        "unknown member 'shard_size'",
    ),
    "order": (with_resources(lambda them: them.reverse()), "not sorted by name"),
    "a name twice": (with_resources(lambda them: them.insert(0, them[0])), "has a name twice"),
    "no resources": (with_resources(lambda them: them.clear()), "resources is empty"),
    "algorithm": (
        inside(lambda it: it["predicate"]["resources"][0].update(algorithm="md5")),
        r"\[0\]\.algorithm is 'md5'",
    ),
    "digest": (
        inside(lambda it: it["predicate"]["resources"][0].update(digest="AB" * 32)),
        r"\[0\]\.digest is ",
    ),
    "name": (inside(lambda it: it["predicate"]["resources"][0].update(name=1)), r"\[0\]\.name is 1, no text"),
    "unknown member of a resource": (
        inside(lambda it: it["predicate"]["resources"][0].update(size=1)),
        r"resources\[0\] has the unknown member 'size'",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_bundles(case: str) -> None:
    """Each is refused for its own reason, though the signature over what is inside is good."""
    bundle, message = BAD[case]
    with pytest.raises(SignatureInvalid, match=message):
        verify(bundle, KEYS, DIGESTS)


def test_no_keys_trust_nobody() -> None:
    """An empty list of keys verifies nothing."""
    with pytest.raises(SignatureInvalid, match="trusted: none"):
        verify(BUNDLE, (), DIGESTS)


def test_files_that_are_not_those_that_were_signed() -> None:
    """Missing, extra and changed files are told by their names, and as damage, not as a bad signature."""
    fewer = {name: digest for name, digest in DIGESTS.items() if name != "0001.floe"}
    with pytest.raises(ArtifactCorrupt, match=r"sealed/0001\.floe was signed, and is missing"):
        verify(BUNDLE, KEYS, fewer)
    with pytest.raises(ArtifactCorrupt, match=r"sealed/x is not among the files that were signed"):
        verify(BUNDLE, KEYS, {**DIGESTS, "x": bytes(32)})
    with pytest.raises(
        ArtifactCorrupt, match=r"sealed/0000\.floe is not what was signed: its SHA-256 is 0000"
    ):
        verify(BUNDLE, KEYS, {**DIGESTS, "0000.floe": bytes(32)})
    signed: Signed = verify_signature(BUNDLE, KEYS)
    signed.require("manifest.json", DIGESTS["manifest.json"])
    with pytest.raises(ArtifactCorrupt, match="not among"):
        signed.require("x", bytes(32))


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused(raw: bytes) -> None:
    """Outside and, with a good signature, inside: the declared error and nothing else."""
    for bundle in (raw, wrapped(raw)):
        with pytest.raises(SignatureInvalid, match=r"^sealed\.sig is not valid: "):
            verify_signature(bundle, KEYS)


@given(st.data())
def test_a_changed_byte_never_changes_what_is_signed(data: st.DataObject) -> None:
    """A changed bundle is refused, or says exactly the same (white space between members)."""
    at = data.draw(st.integers(0, len(BUNDLE) - 1))
    mutated = BUNDLE[:at] + data.draw(st.binary(max_size=2)) + BUNDLE[at + 1 :]
    with suppress(SignatureInvalid):
        assert verify_signature(mutated, KEYS).resources == DIGESTS


@given(st.data())
def test_a_changed_byte_in_what_is_signed(data: st.DataObject) -> None:
    """A trusted signer's odd statement is refused or read, and raises nothing else."""
    at = data.draw(st.integers(0, len(PAYLOAD) - 1))
    mutated = PAYLOAD[:at] + data.draw(st.binary(max_size=2)) + PAYLOAD[at + 1 :]
    with suppress(SignatureInvalid):
        assert len(verify_signature(wrapped(mutated), KEYS).resources) == 3


# -- keys -------------------------------------------------------------------------------------------------


def public_pem(key: Any) -> bytes:
    """The PEM of any public key."""
    pem: bytes = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return pem


def private_pem(key: Any, password: bytes | None = None) -> bytes:
    """The PEM of any private key."""
    cipher = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    pem: bytes = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, cipher)
    return pem


OTHER_KEYS = {
    "P-384": ec.generate_private_key(ec.SECP384R1()),
    "secp256k1": ec.generate_private_key(ec.SECP256K1()),
    "Ed25519": ed25519.Ed25519PrivateKey.generate(),
    "RSA": rsa.generate_private_key(65537, 2048),
}


@pytest.mark.parametrize("kind", OTHER_KEYS)
def test_other_curves_are_refused(kind: str) -> None:
    """Only P-256 signs, and only P-256 is pinned."""
    with pytest.raises(InvalidValue, match=r"^x\.pem is not of the curve P-256"):
        PublicKey.parse(public_pem(OTHER_KEYS[kind]), "x.pem")
    with pytest.raises(InvalidValue, match=r"^x\.pem is not of the curve P-256"):
        Signer.parse(private_pem(OTHER_KEYS[kind]), source="x.pem")


def test_a_signature_of_another_curve_is_refused() -> None:
    """A bundle that a P-384 key signed names a key that cannot be trusted here."""
    key = ec.generate_private_key(ec.SECP384R1())
    sig = key.sign(
        b"DSSEv1 28 application/vnd.in-toto+json %d %s" % (len(PAYLOAD), PAYLOAD), ec.ECDSA(hashes.SHA384())
    )

    def change(it: dict[str, Any]) -> None:
        it["dsseEnvelope"]["signatures"][0]["sig"] = base64.b64encode(sig).decode()
        it["verificationMaterial"]["publicKey"]["hint"] = hashlib.sha256(public_pem(key)).hexdigest()

    with pytest.raises(SignatureInvalid, match="which is not trusted here"):
        verify_signature(outside(change), KEYS)


def test_keys_come_back() -> None:
    """A key is the same after it was written and read; its representation shows nothing of it."""
    again = Signer.parse(SIGNER.to_pem())
    assert again.public == SIGNER.public == PublicKey.parse(SIGNER.public.pem)
    assert SIGNER.public.hint == hashlib.sha256(SIGNER.public.pem).hexdigest()
    assert repr(SIGNER) == f"Signer(public=PublicKey(pem={SIGNER.public.pem!r}))"


def test_passwords() -> None:
    """An encrypted key needs its password, and says so without telling anything."""
    pem = private_pem(ec.generate_private_key(ec.SECP256R1()), b"right")
    assert Signer.parse(pem, b"right").public.hint
    for password, message in (
        (None, "is encrypted: give its password"),
        (b"wrong", "or its password is another"),
    ):
        with pytest.raises(InvalidValue, match=message) as raised:
            Signer.parse(pem, password)
        assert "wrong" not in str(raised.value)
    with pytest.raises(InvalidValue, match="is not encrypted, but a password was given"):
        Signer.parse(SIGNER.to_pem(), b"right")


@given(
    st.binary(max_size=300) | st.builds(lambda middle: b"-----BEGIN PUBLIC KEY-----\n" + middle, st.binary())
)
def test_arbitrary_keys_are_refused(raw: bytes) -> None:
    """Whatever the bytes: the declared error, without them."""
    with pytest.raises(InvalidValue, match="is no public key in PEM"):
        PublicKey.parse(raw)
    with pytest.raises(InvalidValue, match="is no private key in PEM"):
        Signer.parse(raw)
    with pytest.raises(InvalidValue, match="is no public key in PEM"):
        PublicKey.parse(SIGNER.public.pem + b" " * 20_000)
