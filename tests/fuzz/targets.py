"""What is fuzzed: each parser, the inputs to begin with, and what must be true of whatever it accepts."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from random import Random

from bento_rollout.artifacts import floe
from bento_rollout.artifacts.age_header import read_header
from bento_rollout.artifacts.canonical import Malformed
from bento_rollout.artifacts.envelope import Envelope
from bento_rollout.artifacts.keys import Identities
from bento_rollout.artifacts.kms import KeyList
from bento_rollout.artifacts.manifest import Manifest
from bento_rollout.artifacts.payload import Payload
from bento_rollout.artifacts.policy import TrustFile, parse_trust
from bento_rollout.artifacts.sealer import Sealer
from bento_rollout.artifacts.signature import PAYLOAD_TYPE, sign, verify_signature
from bento_rollout.artifacts.signers import Signer
from bento_rollout.errors import ArtifactCorrupt, KeyUnavailable, SignatureInvalid

from .mutations import LONGEST, Mutation, flip, mutated, rewritten

LONGEST_MESSAGE = 1000
VECTORS = Path(__file__).parent.parent / "vectors" / "sealed"


@dataclass(frozen=True)
class Target:
    """One parser.

    Args:
        name: of the target.
        seeds: inputs that are mutated; good ones, and bad ones that come far.
        read: parses one input, and asserts that what came of it is what the input says.
        refusals: what it may raise, and nothing else.
        mutations: ways to change an input; which of them is taken is a matter of chance.
    """

    name: str
    seeds: Sequence[bytes]
    read: Callable[[bytes], object]
    refusals: tuple[type[Exception], ...]
    mutations: Sequence[Mutation] = (mutated,)

    def case(self, random: Random) -> bytes:
        """Return one input: a seed as it is, now and then, or changed."""
        seed = random.choice(self.seeds)
        return seed if random.random() < 0.01 else random.choice(self.mutations)(random, seed)

    def accepts(self, raw: bytes) -> bool:
        """Say whether it takes an input; whatever is wrong but a refusal is raised."""
        try:
            self.read(raw)
        except self.refusals as error:
            refusal = error
        else:
            return True
        kind = type(refusal)
        if kind not in self.refusals:
            raise AssertionError(f"{kind.__name__} is only a relative of what is declared")
        if len(str(refusal)) > LONGEST_MESSAGE:
            raise AssertionError("a message as long as what it tells of")
        return False


def targets() -> dict[str, Target]:
    """Return all targets by name; keys are made anew."""
    made = [
        _manifest(),
        _bundle(),
        _statement(),
        _age(),
        _keys_json(),
        _trust(),
        _payload(),
        _signed_payload(),
    ]
    return {target.name: target for target in made}


def vectors(layer: str, pattern: str) -> list[bytes]:
    """Return all vectors of a layer that are not huge, the good ones many times."""
    found = {path: path.read_bytes() for path in sorted((VECTORS / layer).glob(pattern))}
    good = [raw for path, raw in found.items() if path.stem == "good"]
    return [raw for raw in found.values() if 0 < len(raw) < LONGEST // 8] + len(found) * good


def _manifest() -> Target:
    def read(raw: bytes) -> None:
        manifest = Manifest.parse(raw)
        assert manifest.to_bytes() == raw
        for _, file in manifest.blobs():
            spans = [file.segment_span(index) for index in range(len(file.segments))]
            assert sum(size for _, size in spans) + 74 == file.blob_size
            Payload(file.header, file.size, file.segments)

    good = (VECTORS / "manifest/good.json").read_bytes()
    return Target(
        "manifest",
        vectors("manifest", "*.json"),
        read,
        (ArtifactCorrupt,),
        (mutated, lambda random, _: rewritten(random, good)),
    )


DIGESTS = {
    name: hashlib.sha256(name.encode()).digest() for name in ("0000.floe", "0001.floe", "manifest.json")
}


def _bundle() -> Target:
    signer = Signer.generate()
    good = sign(DIGESTS, signer)

    def read(raw: bytes) -> None:
        assert verify_signature(raw, [signer.public]).resources == DIGESTS

    return Target(
        "bundle",
        [good],
        read,
        (SignatureInvalid,),
        (mutated, lambda random, _: rewritten(random, good)),
    )


def _statement() -> Target:
    """The payload of a bundle, each time with a good signature over it."""
    signer = Signer.generate()
    bundle = json.loads(sign(DIGESTS, signer))
    envelope = bundle["dsseEnvelope"]
    good = base64.b64decode(envelope["payload"])

    def read(raw: bytes) -> None:
        signed = b"DSSEv1 %d %s %d %s" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(raw), raw)
        envelope["payload"] = base64.b64encode(raw).decode()
        envelope["signatures"][0]["sig"] = base64.b64encode(signer.sign(signed)).decode()
        found = verify_signature(json.dumps(bundle).encode(), [signer.public])
        again = json.loads(sign(found.resources, signer))["dsseEnvelope"]["payload"]
        assert json.loads(base64.b64decode(again)) == json.loads(raw)

    return Target(
        "statement", [good], read, (SignatureInvalid,), (mutated, lambda random, _: rewritten(random, good))
    )


def _age() -> Target:
    identity, others = Identities.generate(), [Identities.generate().recipients[0] for _ in range(3)]
    key = os.urandom(32)
    good = Envelope.seal(key, {}, recipients=[*identity.recipients, *others]).age
    assert good is not None

    def read(raw: bytes) -> None:
        envelope = Envelope.parse(raw, None)
        lines = raw[:-64].decode("ascii").splitlines()
        starts = [line.split(" ")[1] for line in lines if line.startswith("-> ")]
        assert read_header(raw).kinds == tuple(starts)
        assert len(raw[:-64].split(b"\n")[-2]) == len("--- ") + 43
        assert envelope.open({}, identities=identity) == key

    return Target(
        "age header",
        [good] * 20 + vectors("keys-age", "*.age"),
        read,
        (ArtifactCorrupt, KeyUnavailable),
    )


def _keys_json() -> Target:
    def read(raw: bytes) -> None:
        assert KeyList.parse(raw).to_bytes() == raw

    good = (VECTORS / "keys-json/good.json").read_bytes()
    return Target(
        "keys.json",
        vectors("keys-json", "*.json"),
        read,
        (ArtifactCorrupt,),
        (mutated, lambda random, _: rewritten(random, good)),
    )


def _trust() -> Target:
    def read(raw: bytes) -> None:
        found = parse_trust(raw)
        assert parse_trust(_written(found)) == found

    whole = b"""
        keys = ["sign.pub.pem", 'other.pem']  # two
        identity = "identity.txt"
        models.plain = { min_serial = 1 }
        [models."screening"]
        min_serial = 42
        artifact_id = "00112233445566778899aabbccddeeff"
        not_after = 2027-01-01
        [models.'of-a-moment']
        not_after = 2027-01-01T12:00:00.5+02:00
    """
    return Target("trust.toml", [whole] * 20 + vectors("trust", "*.toml"), read, (Malformed,))


def _written(trust: TrustFile) -> bytes:
    """The same trust as TOML; what expires is written as a moment."""

    def text(value: str) -> str:
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")

    def moment(value: datetime) -> str:
        return f"{value:%H:%M:%S.%f}".join([f"{value.year:04}-{value:%m-%d}T", "Z"])

    lines = [f"keys = [{', '.join(map(text, trust.keys))}]"]
    lines += [] if trust.identity is None else [f"identity = {text(trust.identity)}"]
    for name, asked in trust.models.items():
        lines += [f"[models.{text(name)}]", f"min_serial = {asked.min_serial}"]
        lines += [] if asked.artifact_id is None else [f"artifact_id = {text(asked.artifact_id)}"]
        lines += [] if asked.expires is None else [f"not_after = {moment(asked.expires)}"]
    return "\n".join(lines).encode()


LENGTH = 64
"""Bytes of a segment in the fuzzed payloads: small ones have many edges."""


def move_segment(random: Random, raw: bytes) -> bytes:
    """Swap, repeat, drop, or replace whole segments, as one who knows the format would."""
    body = raw[floe.HEADER_LENGTH :]
    parts = [body[at : at + LENGTH] for at in range(0, len(body), LENGTH)] or [b""]
    at, other = random.randrange(len(parts)), random.randrange(len(parts))
    how = random.randrange(4)
    if how == 0:
        parts[at], parts[other] = parts[other], parts[at]
    elif how == 1:
        parts.insert(at, parts[other])
    elif how == 2:
        del parts[at]
    else:
        parts[at] = len(parts[at]).to_bytes(4, "big") + parts[at][4:]
    return raw[: floe.HEADER_LENGTH] + b"".join(parts)


def edit_parameters(random: Random, raw: bytes) -> bytes:
    """Write another segment length, or other algorithms, into the header."""
    length = random.choice((0, 1, 32, 33, 63, 65, 2**20, 2**31 - 1, 2**31, 2**32 - 1))
    return random.choice(
        (
            raw[:2] + length.to_bytes(4, "big") + raw[6:],
            random.randbytes(2) + raw[2:],
            raw[:6] + raw[2:6] + raw[10:],
        )
    )


PAYLOAD_MUTATIONS = (mutated, mutated, move_segment, edit_parameters, flip)
PLAIN = 32 * 5 + 7


def _payload() -> Target:
    """A payload in memory: FLOE's cannot be changed into another one that opens."""
    key, plain = os.urandom(32), os.urandom(PLAIN)
    sealed = {
        floe.encrypt(key, b"aad", plain[:size], segment_length=LENGTH): plain[:size]
        for size in (0, 32, PLAIN)
    }

    def read(raw: bytes) -> None:
        assert floe.decrypt(key, b"aad", raw) == sealed[raw]

    return Target("payload", list(sealed), read, (ArtifactCorrupt,), PAYLOAD_MUTATIONS)


def _signed_payload() -> Target:
    """A payload in a file, with its hashes, and with those that fit the change: a dishonest signer's."""
    key, plain = os.urandom(32), os.urandom(PLAIN)
    out = io.BytesIO()
    with Sealer(key, b"aad", out, segment_length=LENGTH) as sealer:
        sealer.write(plain)
    good, signed = out.getvalue(), sealer.payload
    assert signed is not None
    spans = [signed.layout.sealed(index) for index in range(signed.layout.count)]

    def open_with(digests: tuple[bytes, ...], raw: bytes, file: int) -> None:
        buffer = bytearray(b"x" * PLAIN)
        try:
            Payload(raw[:74], PLAIN, digests, LENGTH).read_into(file, key, b"aad", buffer)
        except ArtifactCorrupt:
            assert bytes(buffer) in {bytes(PLAIN), b"x" * PLAIN}, "something is left in the buffer"
            raise
        assert (raw, bytes(buffer)) == (good, plain)

    def read(raw: bytes) -> None:
        fitting = tuple(hashlib.sha256(raw[begin:end]).digest() for begin, end in spans)
        file = os.memfd_create("fuzz")
        try:
            os.write(file, raw)
            with suppress(ArtifactCorrupt):
                open_with(signed.digests, raw, file)
            open_with(fitting, raw, file)
        finally:
            os.close(file)

    return Target("signed payload", [good], read, (ArtifactCorrupt,), PAYLOAD_MUTATIONS)
