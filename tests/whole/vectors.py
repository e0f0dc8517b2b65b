"""Whole artifacts, good ones and bad ones: what each is, and what must come of it."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

from cryptography.hazmat.primitives.asymmetric import ec

from bento_rollout.artifacts.age_header import MAX_STANZAS
from bento_rollout.artifacts.floe import Message
from bento_rollout.artifacts.manifest import aad

from .draft import (
    BLOB,
    CANARY,
    HEADER,
    IDENTITY,
    KEYS_AGE,
    KEYS_JSON,
    MANIFEST,
    NAME,
    PASSPHRASE,
    SEGMENT,
    SERIAL,
    SIGNATURE,
    SIGNER,
    STRANGER,
    Chance,
    Draft,
    public_pem,
    signing_key,
    strangers,
)

__all__ = ["KEYS", "Vector", "vectors"]

ERRORS = {
    0: None,
    3: "ArtifactNotFound",
    10: "SignatureInvalid",
    11: "KeyUnavailable",
    12: "ArtifactCorrupt",
    13: "PolicyViolated",
}

STOCK = [".gitignore", ".git", ".gitattributes", ".github"]
"""What the public tool ignores by default."""

THREE = "three-segments"
LAST = b"the last segment, " + CANARY
LARGE = CANARY * ((2 * (SEGMENT - 32)) // len(CANARY) + 1)
LARGE = LARGE[: 2 * (SEGMENT - 32)] + LAST
A, B, C = (HEADER, HEADER + SEGMENT), (HEADER + SEGMENT, HEADER + 2 * SEGMENT), (HEADER + 2 * SEGMENT, 2**22)
H = (0, HEADER)


def policy(more: str = "", key: str = "sign.pub.pem") -> bytes:
    """Return a trust policy."""
    return f'keys = ["{key}"]\nidentity = "identity.txt"\n{more}'.encode()


def of_model(rule: str) -> bytes:
    """Return a policy with a rule for the model of the vectors."""
    return policy(f'\n[models."{NAME}"]\n{rule}\n')


FIRST = Draft()
KEYS: dict[str, bytes] = {
    "identity.txt": f"{IDENTITY}\n".encode(),
    "passphrase.txt": f"{PASSPHRASE}\n".encode(),
    "sign.pub.pem": public_pem(SIGNER),
    "stranger.pub.pem": public_pem(STRANGER),
    "p384.pub.pem": public_pem(signing_key("another curve", ec.SECP384R1())),
    "trust.toml": policy(),
    "trust-a-stranger.toml": policy(key="stranger.pub.pem"),
    "trust-another-curve.toml": policy(key="p384.pub.pem"),
    "trust-nobody.toml": b"keys = []\n",
    "trust-serial-42.toml": of_model(f'min_serial = {SERIAL}\nartifact_id = "{FIRST.artifact_id}"'),
    "trust-serial-42-of-another.toml": of_model(f'min_serial = {SERIAL}\nartifact_id = "{"0" * 32}"'),
    "trust-serial-43.toml": of_model(f"min_serial = {SERIAL + 1}"),
    "trust-until-2020.toml": of_model("not_after = 2020-01-01"),
}
"""Files that all vectors share, by their names in `keys/`."""


@dataclass(frozen=True)
class Vector:
    """One artifact.

    Args:
        name: of its folder.
        why: what it is.
        content: its files' bytes by name.
        opens: the exit code when it is opened.
        verifies: the exit code when it is verified without a data key; as ``opens`` if None.
        says: what the message of opening says, somewhere.
        tag: under which it lies and is asked for; None: it is asked for as a folder.
        policy: in `keys/`.
        path: which of its files is opened.
        passphrase: whether one opens it.
        pieces: its payload is not among its files, but made of these parts (from, to) of that of `THREE`.
        plain: what good ones hold.
    """

    name: str
    why: str
    content: Mapping[str, bytes] = field(repr=False)
    opens: int
    verifies: int | None = None
    says: str = ""
    tag: str | None = None
    policy: str = "trust.toml"
    path: str = "model.bin"
    passphrase: bool = False
    pieces: tuple[tuple[int, int], ...] = ()
    plain: Mapping[str, bytes] | None = None

    def entry(self) -> dict[str, Any]:
        """Return what the index says of it; what is as it mostly is, is left out."""
        verifies = self.opens if self.verifies is None else self.verifies
        found: dict[str, Any] = {
            "folder": self.name,
            "error": ERRORS[self.opens],
            "exit_code": self.opens,
            "verify_error": ERRORS[verifies],
            "verify_exit_code": verifies,
            "why": self.why,
        }
        if self.says:
            found["says"] = self.says
        if self.plain is not None:
            found["files"] = {path: hashlib.sha256(plain).hexdigest() for path, plain in self.plain.items()}
        for name, usual in (
            ("tag", None),
            ("policy", "trust.toml"),
            ("path", "model.bin"),
            ("passphrase", False),
        ):
            if (value := getattr(self, name)) != usual:
                found[name] = value
        if self.pieces:
            found["pieces"] = {"of": THREE, "file": BLOB, "parts": self.pieces}
        return found


def vectors() -> list[Vector]:
    """Return all of them."""
    groups = (
        good,
        payloads,
        signed_payloads,
        segments,
        swapped,
        manifests,
        signatures,
        keys,
        files,
        policies,
    )
    found = [vector for group in groups for vector in group()]
    assert len({vector.name for vector in found}) == len(found)
    return found


def good() -> Iterator[Vector]:
    """Each of them opens."""

    def vector(name: str, why: str, draft: Draft, plain: Mapping[str, bytes], **more: Any) -> Vector:
        return Vector(name, why, draft.content, 0, plain=plain, **more)

    one = {"model.bin": CANARY}
    two = {"model.bin": CANARY, "conf/größe.txt": b"23"}
    yield vector("good", "one file", Draft(), one)
    yield vector("good-by-its-tag", "asked for by name and version", Draft(), one, tag="screening:v3")
    yield vector("good-two-files", "one of them in a folder", Draft("two", two), two)
    yield vector("good-empty", "a file of no bytes", Draft("none", {"model.bin": b""}), {"model.bin": b""})
    yield vector(
        THREE, "a payload of three segments", Draft("large", {"model.bin": LARGE}), {"model.bin": LARGE}
    )
    yield vector(
        "good-serial", "serial and id that the policy knows", Draft(), one, policy="trust-serial-42.toml"
    )
    draft = Draft()
    del draft.content[KEYS_JSON]
    yield vector("good-without-a-list", "keys.json is not needed", draft, one)
    draft = Draft()
    draft.content |= {
        "sealed.sig.next": b"half a signature",
        "model.yaml": b"name: other\n",
        "README.md": b"",
    }
    yield vector("good-with-others-beside", "what lies outside of sealed/ is ignored", draft, one)
    draft = Draft()
    before = b"-> joint-grease \x7e\n\n" + strangers(draft.chance, MAX_STANZAS - 2)
    yield vector("good-many-recipients", "as many stanzas as may be", draft.wrap(before=before), one)
    yield vector("good-passphrase", "a passphrase opens it", Draft().wrap(factor=10), one, passphrase=True)
    draft = Draft()
    pretty = draft.content[SIGNATURE].replace(b'{"', b'{\n  "').replace(b", ", b" ,\t")
    draft.content[SIGNATURE] = pretty
    yield vector("good-signature-with-space", "white space in the bundle", draft, one)


def flipped(at: int) -> Any:
    """Return what flips a bit of a byte."""

    def flip(raw: bytes) -> bytes:
        place = at % len(raw)
        return raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :]

    return flip


def word(at: int, value: int) -> Any:
    """Return what writes a number of 4 bytes."""
    return lambda raw: raw[:at] + value.to_bytes(4, "big") + raw[at + 4 :]


FIELDS = {
    "aead": 0,
    "kdf": 1,
    "segment-length": 4,
    "iv-length": 9,
    "iv": 20,
    "header-tag": 50,
    "mark": HEADER + 3,
    "nonce": HEADER + 8,
    "ciphertext": HEADER + 20,
    "tag": -1,
}
WORDS = {0: "0", 1: "1", 2**32 - 1: "2-32-1"}


def payloads() -> Iterator[Vector]:
    """The payload was changed, and nobody signed that."""

    def vector(name: str, why: str, change: Any, says: str) -> Vector:
        return Vector(f"payload-{name}", why, Draft().edit(BLOB, change).content, 12, says=says)

    size = len(FIRST.content[BLOB])
    for name, at in FIELDS.items():
        says = "header is not the one that was signed" if 0 <= at < HEADER else "its SHA-256 differs"
        yield vector(f"flip-{name}", f"a bit of the {name} is another", flipped(at), says)
    for number, name in WORDS.items():
        yield vector(
            f"segment-length-{name}", f"the header says {number}", word(2, number), "header is not the one"
        )
        if number != 2**32 - 1:
            yield vector(f"mark-{name}", f"the mark is {number}", word(HEADER, number), "its SHA-256 differs")
    yield vector(
        "mark-of-an-inner", "the last one's mark is ffffffff", word(HEADER, 2**32 - 1), "SHA-256 differs"
    )
    cuts = {"nothing": 0, "half-a-header": 40, "header": HEADER, "mark": HEADER + 4, "overhead": HEADER + 32}
    for name, length in {**cuts, "one-byte-short": size - 1}.items():
        yield vector(
            f"cut-{name}",
            f"only {length} bytes",
            lambda raw, end=length: raw[:end],
            f"has {length} bytes, and",
        )
    for count in (1, 32):
        yield vector(
            f"longer-by-{count}",
            "zeros behind it",
            lambda raw, n=count: raw + bytes(n),
            f"has {size + count}",
        )
    yield vector(
        "second-final-segment",
        "an empty last segment behind the last one, sealed with the data key",
        lambda raw: raw + empty_last(FIRST, raw),
        f"has {size + 32} bytes, and {size} were signed",
    )


def empty_last(draft: Draft, blob: bytes) -> bytes:
    """Return an empty segment that is sealed as the second and last of a payload."""
    about = aad(draft.artifact_id, NAME, draft.value["version"], "model.bin")
    out = bytearray(32)

    with mock.patch("os.urandom", Chance("empty")):
        Message.resume(draft.data_key, about, blob[:HEADER]).seal_into(
            memoryview(b""), 1, True, memoryview(out)
        )
    return bytes(out)


def signed_payloads() -> Iterator[Vector]:
    """A trusted signer signed what is wrong: without a data key all is well, and FLOE refuses."""

    def vector(name: str, why: str, draft: Draft, says: str, verifies: int = 0) -> Vector:
        return Vector(f"signed-{name}", why, draft.content, 12, verifies, says=says)

    for name in ("iv", "header-tag"):
        draft = Draft().edit(BLOB, flipped(FIELDS[name])).again()
        yield vector(f"flip-{name}", f"a bit of the {name} is another", draft, "header has a wrong tag")
    for name in ("mark", "nonce", "ciphertext", "tag"):
        draft = Draft().edit(BLOB, flipped(FIELDS[name])).again()
        says = "is marked" if name == "mark" else "has a wrong tag: it was edited or moved"
        yield vector(f"flip-{name}", f"a bit of the {name} is another", draft, says)
    for number, text in WORDS.items():
        draft = Draft().edit(BLOB, word(HEADER, number)).again()
        yield vector(f"mark-{text}", f"the last segment's mark is {number}", draft, f"is marked {number:08x}")
    for number, text in {**WORDS, 2**20 - 1: "2-20-1", 64: "64"}.items():
        draft = Draft().edit(BLOB, word(2, number)).again()
        says = "header that is not GCM256_IV256 with 1 MiB segments"
        yield vector(f"segment-length-{text}", f"the header says {number} bytes a segment", draft, says, 12)
    yield vector("another-path", "sealed as another file", Draft(bound="other.bin"), "header has a wrong tag")
    draft = Draft()
    draft.value["artifact_id"] = "0" * 32
    yield vector("another-id", "sealed in another artifact", draft.again(), "header has a wrong tag")
    draft = Draft("other key", data_key=bytes(32))
    yield vector("another-key", "sealed with another data key", draft, "header has a wrong tag")
    draft = Draft()
    draft.content[BLOB] += empty_last(draft, draft.content[BLOB])
    draft.sign()
    yield vector("second-final-segment", "an empty last segment behind the last one", draft, "bytes, and", 12)
    for step in (-1, 1):
        draft = Draft()
        draft.value["files"][0]["size"] += step
        draft.write().sign()
        yield vector(f"size-{step:+d}", "a size that is not the payload's", draft, "bytes, and", 12)
    draft = Draft().write(lambda it: it["files"][0].update(size=0)).sign()
    yield vector("size-0", "no bytes of plaintext, and there are some", draft, "bytes, and", 12)


ORDERS: dict[str, tuple[tuple[tuple[int, int], ...], str]] = {
    "swapped": ((H, B, A, C), "its SHA-256 differs"),
    "repeated": ((H, A, A, C), "segment 1 of the payload is not"),
    "dropped": ((H, B, C), "bytes, and"),
    "dropped-last": ((H, A, B), "bytes, and"),
    "repeated-last": ((H, A, B, C, C), "bytes, and"),
    "inner-behind-the-last": ((H, A, B, C, A), "bytes, and"),
}


def segments() -> Iterator[Vector]:
    """Segments of 1 MiB that are elsewhere; they are made of the parts of one good payload."""
    large = Draft("large", {"model.bin": LARGE})
    blob = large.content[BLOB]
    small = {name: content for name, content in large.content.items() if name != BLOB}
    for name, (pieces, says) in ORDERS.items():
        yield Vector(f"segments-{name}", f"segments {name}", small, 12, says=says, pieces=pieces)
    signed = {
        "swapped": ((H, B, A, C), "has a wrong tag: it was edited or moved"),
        "repeated": ((H, A, A, C), "has a wrong tag: it was edited or moved"),
        "dropped": ((H, B, C), "has a wrong tag: it was edited or moved"),
        "dropped-last": ((H, A, B), "is marked ffffffff"),
        "last-as-inner": ((H, C), "has a wrong tag: it was edited or moved"),
    }
    for name, (pieces, says) in signed.items():
        draft = Draft("large", {"model.bin": LARGE})
        draft.content[BLOB] = b"".join(blob[slice(*piece)] for piece in pieces)
        count = len(pieces) - 1
        size = len(draft.content[BLOB]) - HEADER - 32 * count
        draft.value["files"][0]["size"] = size
        draft.again()
        rest = {name: content for name, content in draft.content.items() if name != BLOB}
        why = f"segments {name}, signed like that"
        yield Vector(f"signed-segments-{name}", why, rest, 12, 0, says=says, pieces=pieces)


PARTS = {
    "manifest": (MANIFEST,),
    "signature": (SIGNATURE,),
    "keys": (KEYS_AGE, KEYS_JSON),
    "payload": (BLOB,),
}


def swapped() -> Iterator[Vector]:
    """Parts of another artifact of the same model, in all combinations; and what lies under another name."""
    other = Draft("second", version="v4")
    for count in range(1, len(PARTS)):
        for chosen in itertools.combinations(PARTS, count):
            content = dict(FIRST.content)
            content.update({name: other.content[name] for part in chosen for name in PARTS[part]})
            if ("manifest" in chosen) != ("signature" in chosen):
                verifies, says = 12, "manifest.json is not what was signed"
            elif ("manifest" in chosen) != ("payload" in chosen):
                verifies, says = 12, "header is not the one|another key"
            else:
                verifies, says = 0, "another key"
            name = "other-" + "-".join(chosen)
            yield Vector(name, f"another's {' and '.join(chosen)}", content, 12, verifies, says=says)
    files = {"model.bin": CANARY, "other.bin": CANARY[::-1]}
    draft = Draft("pair", files)
    one, two = BLOB, "sealed/0001.floe"
    draft.content[one], draft.content[two] = draft.content[two], draft.content[one]
    yield Vector("files-swapped", "two files within", draft.content, 12, says="header is not the one")
    draft = Draft("pair", files)
    draft.content[one], draft.content[two] = draft.content[two], draft.content[one]
    draft.again()
    yield Vector("signed-files-swapped", "and signed", draft.content, 12, 0, says="header has a wrong tag")
    for tag in ("other:v3", "screening:v4"):
        says = f"what lies at {tag} was sealed as screening:v3"
        name = f"renamed-{tag.replace(':', '-')}"
        yield Vector(name, f"lies under {tag}", FIRST.content, 12, says=says, tag=tag)


def manifests() -> Iterator[Vector]:
    """The manifest is changed: by somebody, or by a trusted signer."""

    def signed(name: str, why: str, says: str, change: Any = None, raw: Any = None) -> Vector:
        draft = Draft()
        if change:
            draft.write(change)
        if raw:
            draft.edit(MANIFEST, raw)
        return Vector(f"manifest-{name}", why, draft.sign().content, 12, says=says)

    draft = Draft().write(lambda it: it.update(serial=SERIAL + 1))
    yield Vector(
        "manifest-unsigned-serial", "a higher serial", draft.content, 12, says="is not what was signed"
    )
    yield signed(
        "format-2", "another format", "format", lambda it: it.update(format="bento-rollout/sealed/v2")
    )
    for name, path in {"above": "../x", "absolute": "/x", "nul": "x\0y", "backslash": "a\\b"}.items():
        yield signed(
            f"path-{name}",
            f"the path {path!r}",
            "path",
            lambda it, path=path: it["files"][0].update(path=path),
        )
    yield signed("huge-size", "2^53 bytes", r"2\^53", lambda it: it["files"][0].update(size=2**53 - 1), huge)
    yield signed("no-files", "none", "files", lambda it: it.update(files=[]))
    yield signed(
        "another-blob", "0001.floe first", "blob", lambda it: it["files"][0].update(blob="0001.floe")
    )
    yield signed(
        "twice", "a member twice", "twice", raw=lambda raw: raw.replace(b'{"a', b'{"serial":1,"a', 1)
    )
    yield signed("space", "white space", "canonical", raw=lambda raw: raw + b"\n")
    yield signed("nan", "NaN", "", raw=lambda raw: raw.replace(b'"serial":42', b'"serial":NaN'))
    yield signed("empty", "no bytes", "no JSON", raw=lambda _: b"")
    yield signed("deep", "lists in lists", "16 deep", raw=lambda _: b"[" * 1000)


def huge(raw: bytes) -> bytes:
    """Return a manifest with a size beyond 2^53-1."""
    return raw.replace(b'"size":9007199254740991', b'"size":9007199254740992')


def signatures() -> Iterator[Vector]:
    """The signature is missing, somebody else's, or not in the one form."""

    def vector(name: str, why: str, says: str, **signing: Any) -> Vector:
        return Vector(f"signature-{name}", why, Draft().sign(**signing).content, 10, says=says)

    def ignoring(names: list[str]) -> Any:
        return lambda it: it["predicate"]["serialization"].update(ignore_paths=names)

    def same_hint(it: Any) -> None:
        it["verificationMaterial"]["publicKey"]["hint"] = hashlib.sha256(public_pem(SIGNER)).hexdigest()

    draft = Draft()
    del draft.content[SIGNATURE]
    yield Vector("signature-missing", "nobody signed it", draft.content, 10, says="nobody signed this")
    for name, change in {"empty": lambda _: b"", "cut": lambda raw: raw[:200]}.items():
        draft = Draft().edit(SIGNATURE, change)
        yield Vector(f"signature-{name}", name, draft.content, 10, says="no JSON")
    yield vector("strangers", "signed by a stranger", "not trusted here", key=STRANGER)
    yield vector(
        "strangers-hint", "by a stranger who names our key", "not by the key", key=STRANGER, outside=same_hint
    )
    p384 = signing_key("another curve", ec.SECP384R1())
    yield vector(
        "p384", "signed with another curve, with our hint", "not by the key", key=p384, outside=same_hint
    )
    yield vector(
        "none",
        "no signature in it",
        "has 0 signatures",
        outside=lambda it: it["dsseEnvelope"].update(signatures=[]),
    )
    yield vector(
        "two", "twice the same", "has 2 signatures",
        outside=lambda it: it["dsseEnvelope"].update(signatures=it["dsseEnvelope"]["signatures"] * 2),
    )  # fmt: skip
    yield vector(
        "no-hint",
        "no hint",
        "lacks the member 'hint'",
        outside=lambda it: it["verificationMaterial"].update(publicKey={}),
    )
    yield vector(
        "no-log",
        "no tlogEntries",
        "tlogEntries",
        outside=lambda it: it["verificationMaterial"].pop("tlogEntries"),
    )
    yield vector(
        "payload-type",
        "another type",
        "payloadType",
        outside=lambda it: it["dsseEnvelope"].update(payloadType="text/plain"),
    )
    yield vector("old-encoding", "DSSE's encoding of release 0.2", "not by the key", begin=b"DSSEV1")
    yield vector(
        "stock-ignores",
        "as the public tool signs by default",
        "--no-ignore-git-paths",
        inside=ignoring(STOCK),
    )
    yield vector("ignores-a-blob", "the payload is ignored", "ignore_paths", inside=ignoring(["0000.floe"]))
    yield vector("ignores-nothing", "an empty ignore_paths", "ignore_paths", inside=ignoring([]))
    yield vector(
        "order", "not sorted", "not sorted", inside=lambda it: it["predicate"]["resources"].reverse()
    )
    yield vector(
        "subject",
        "another folder's name",
        "subject",
        subject=False,
        inside=lambda it: it["subject"][0].update(name="model"),
    )
    yield vector(
        "subject-digest", "another digest of all", "subject", subject=False,
        inside=lambda it: it["subject"][0]["digest"].update(sha256="0" * 64),
    )  # fmt: skip
    yield vector(
        "predicate", "predicate v0.1", "predicateType",
        inside=lambda it: it.update(predicateType="https://model_signing/Digests/v0.1"),
    )  # fmt: skip
    yield vector(
        "shards",
        "method shards",
        "method",
        inside=lambda it: it["predicate"]["serialization"].update(method="shards"),
    )
    draft = Draft()
    shorter = draft.content.pop(BLOB)
    draft.sign().content[BLOB] = shorter
    yield Vector(
        "signature-without-the-blob", "covers only the manifest", draft.content, 12, says="not among"
    )


def keys() -> Iterator[Vector]:
    """The data key cannot be had, or is another; whoever verifies sees that the signed files are right."""

    def vector(name: str, why: str, draft: Draft, says: str, code: int = 12, **more: Any) -> Vector:
        return Vector(f"keys-{name}", why, draft.content, code, 0, says=says, **more)

    yield vector("attackers", "an attacker's data key", Draft().wrap(key=bytes(32)), "another key")
    other = Draft("theirs").data_key
    draft = Draft(data_key=other).wrap(key=other)
    payload = {**FIRST.content, BLOB: draft.content[BLOB], KEYS_AGE: draft.content[KEYS_AGE]}
    yield Vector(
        "keys-and-payload-attackers", "an attacker's data key, and a payload sealed with it", payload, 12,
        says="header is not the one",
    )  # fmt: skip
    yield vector(
        "of-others",
        "wrapped for a stranger",
        Draft().wrap(recipient=bytes([9] + [0] * 31)),
        "was not wrapped for",
        11,
    )
    draft = Draft()
    del draft.content[KEYS_AGE]
    yield vector("service-only", "no keys.age, and no key service", draft, "", 11)
    draft = Draft()
    del draft.content[KEYS_AGE], draft.content[KEYS_JSON]
    yield vector("missing", "no keys at all", draft, "neither keys.age nor keys.json")
    for size in (31, 33):
        yield vector(
            f"{size}-bytes",
            f"{size} bytes in it",
            Draft().wrap(key=bytes(size)),
            f"{size + 32} bytes, not the 64",
        )
    for factor in (23, 30):
        yield vector(
            f"work-{factor}",
            f"scrypt with the work factor {factor}",
            Draft().wrap(factor=factor),
            f"factor {factor}",
        )
    yield vector(
        "passphrase-missing", "only a passphrase opens it", Draft().wrap(factor=10), "passphrase", 11
    )
    draft = Draft()
    yield vector(
        "stanzas-129",
        "a stanza too many",
        draft.wrap(before=strangers(draft.chance, MAX_STANZAS)),
        "more than 128",
    )
    yield vector(
        "stanzas-2000", "thousands of stanzas", Draft().wrap(before=b"-> x\n\n" * 2000), "more than 128"
    )
    yield vector(
        "too-large",
        "thousands of stanzas that nobody counts",
        Draft().wrap(before=b"-> x\n\n" * 3000),
        "more than 16384",
    )
    for name, at in {"mac": -70, "nonce": -60, "key": -20, "tag": -1}.items():
        yield vector(f"flip-{name}", f"a bit of the {name}", Draft().edit(KEYS_AGE, flipped(at)), "")
    yield vector("flip-stanza", "a bit of the wrapped file key", Draft().edit(KEYS_AGE, flipped(90)), "", 11)
    yield vector("cut", "a byte short", Draft().edit(KEYS_AGE, lambda raw: raw[:-1]), "63 bytes, not the 64")
    yield vector("empty", "no bytes", Draft().edit(KEYS_AGE, lambda _: b""), "no age file")
    yield vector(
        "list-edited",
        "keys.json is not canonical",
        Draft().edit(KEYS_JSON, lambda raw: raw + b" "),
        "keys.json",
    )
    yield vector("list-empty", "keys.json has no bytes", Draft().edit(KEYS_JSON, lambda _: b""), "keys.json")


def files() -> Iterator[Vector]:
    """Files too many, too few, or in another's place."""

    def vector(name: str, why: str, says: str, change: Any, code: int = 12, sign: bool = False) -> Vector:
        draft = Draft()
        change(draft.content)
        return Vector(f"files-{name}", why, (draft.sign() if sign else draft).content, code, says=says)

    yield vector("extra", "sealed/extra", "not among", lambda it: it.update({"sealed/extra": b""}))
    yield vector(
        "extra-blob", "sealed/0001.floe", "not among", lambda it: it.update({"sealed/0001.floe": it[BLOB]})
    )
    yield vector(
        "extra-folder", "sealed/more/", "no regular file", lambda it: it.update({"sealed/more/x": b""})
    )
    yield vector(
        "extra-signed",
        "signed, and not in the manifest",
        "sealed/x",
        lambda it: it.update({"sealed/x": b""}),
        sign=True,
    )
    yield vector("no-blob", "the payload is missing", "missing", lambda it: it.pop(BLOB))
    yield vector("no-blob-signed", "and nobody signed one", "0000.floe", lambda it: it.pop(BLOB), sign=True)
    yield vector("no-manifest", "the manifest is missing", "missing", lambda it: it.pop(MANIFEST))
    yield vector("no-sealed", "sealed/ is missing", "missing", lambda it: [it.pop(MANIFEST), it.pop(BLOB)])
    yield vector(
        "sealed-is-a-file", "sealed is no folder", "no folder of its own",
        lambda it: [it.pop(MANIFEST), it.pop(BLOB), it.update({"sealed": b""})],
    )  # fmt: skip
    yield vector(
        "blob-is-a-folder",
        "0000.floe is one",
        "no regular file",
        lambda it: it.update({f"{BLOB}/x": it.pop(BLOB)}),
    )
    yield vector(
        "signature-is-a-folder", "sealed.sig is one", "no regular file",
        lambda it: it.update({f"{SIGNATURE}/x": it.pop(SIGNATURE)}), 10,
    )  # fmt: skip
    pickled = {"model.pkl": b"cos\nsystem\n(S'false'\ntR.", "model.yaml": b"name: screening\n"}
    yield Vector("files-no-artifact", "an unsealed model", pickled, 3, says="no sealed artifact")
    yield Vector(
        "files-another-path", "asked for another file", FIRST.content, 3, 0, says="no file", path="model.pkl"
    )


def policies() -> Iterator[Vector]:
    """A good artifact that the policy does not allow."""

    def vector(name: str, why: str, policy: str, says: str, code: int = 13) -> Vector:
        return Vector(f"policy-{name}", why, FIRST.content, code, says=says, policy=policy)

    yield vector("older-serial", "serial 42, and 43 is the least", "trust-serial-43.toml", "older release")
    yield vector(
        "equal-serial", "serial 42 of another id", "trust-serial-42-of-another.toml", "another artifact"
    )
    yield vector("too-late", "not_after is over", "trust-until-2020.toml", "not_after")
    yield vector("nobody", "trusts nobody", "trust-nobody.toml", "keys")
    yield vector("another-curve", "a key of P-384", "trust-another-curve.toml", "P-256")
    yield vector("missing", "there is no such policy", "trust-missing.toml", "cannot be used")
    yield vector("a-stranger", "trusts a stranger only", "trust-a-stranger.toml", "not trusted here", 10)
