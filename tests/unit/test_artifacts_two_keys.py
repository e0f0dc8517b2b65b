"""AES-GCM alone does not say which key sealed something: one ciphertext opens under two keys. A payload does.

The ciphertext is made as in "Fast Message Franking: From Invisible Salamanders to Encryptment" (Dodis,
Grubbs, Ristenpart, Woodage, 2018): the tag is linear in the ciphertext, so that one block can be chosen to
make both tags equal.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from bento_rollout.artifacts import floe
from bento_rollout.artifacts.payload import Payload
from bento_rollout.errors import ArtifactCorrupt

AAD = b"screening:v3"
ONE = 1 << 127
"""GCM writes the polynomial 1 as the highest bit."""


def times(a: int, b: int) -> int:
    """Multiply in the field of GCM."""
    product = 0
    for bit in range(127, -1, -1):
        if b >> bit & 1:
            product ^= a
        a = a >> 1 ^ (0xE1 << 120 if a & 1 else 0)
    return product


def power(a: int, exponent: int) -> int:
    """Raise to a power in the field of GCM."""
    result = ONE
    while exponent:
        if exponent & 1:
            result = times(result, a)
        a, exponent = times(a, a), exponent >> 1
    return result


def block(key: bytes, content: bytes) -> int:
    """Encrypt one block with AES."""
    encryptor = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
    return int.from_bytes(encryptor.update(content), "big")


def blocks(raw: bytes | bytearray) -> list[int]:
    """Return blocks of 16 bytes, the last one filled with zeros."""
    return [int.from_bytes(raw[at : at + 16].ljust(16, b"\0"), "big") for at in range(0, len(raw), 16)]


def tag_of(key: bytes, nonce: bytes, aad: bytes, ciphertext: bytes | bytearray) -> int:
    """The tag that GCM gives a ciphertext."""
    sizes = (len(aad) * 8 << 64) | len(ciphertext) * 8
    subkey, total = block(key, bytes(16)), 0
    for one in [*blocks(aad), *blocks(ciphertext), sizes]:
        total = times(total ^ one, subkey)
    return total ^ block(key, nonce + b"\0\0\0\1")


def collision(keys: tuple[bytes, bytes], nonce: bytes, aad: bytes, size: int) -> bytes:
    """Return a ciphertext, and its tag, that both keys open: its last block is chosen for that."""
    free = bytearray(os.urandom(size - 16) + bytes(16))
    difference = tag_of(keys[0], nonce, aad, free) ^ tag_of(keys[1], nonce, aad, free)
    factor = 0  # of the last block: the lengths' block comes after it, so its power is two
    for key in keys:
        factor ^= power(block(key, bytes(16)), 2)
    free[-16:] = times(difference, power(factor, 2**128 - 2)).to_bytes(16, "big")
    return bytes(free) + tag_of(keys[0], nonce, aad, free).to_bytes(16, "big")


def segment_key(key: bytes, prefix: bytes) -> bytes:
    """The AES key of a payload's first segments, by the specification and not by our code."""

    def derive(secret: bytes, purpose: bytes, length: int) -> bytes:
        return HKDFExpand(SHA384(), length, prefix + purpose + AAD).derive(secret)

    return derive(derive(key, b"MESSAGE_KEY:", 48), b"DEK:" + bytes(8), 32)


def test_a_payload_that_two_keys_would_open_is_opened_by_one(tmp_path: Path) -> None:
    """Its only segment passes AES-GCM under the keys of both; the header's tag belongs to one of them."""
    mine, theirs = os.urandom(32), os.urandom(32)
    size, nonce, place = 4096, os.urandom(12), bytes(8) + b"\1"
    header = floe.Message.begin(mine, AAD).header
    both = segment_key(mine, header[:42]), segment_key(theirs, header[:42])
    record = collision(both, nonce, place, size)
    plains = [AESGCM(key).decrypt(nonce, record, place) for key in both]
    assert plains[0] != plains[1], "GCM alone is content with either"

    payload = header + (size + floe.OVERHEAD).to_bytes(4, "big") + nonce + record
    assert floe.decrypt(mine, AAD, payload) == plains[0]
    with pytest.raises(ArtifactCorrupt, match="wrong tag: it was edited, or sealed with another key"):
        floe.decrypt(theirs, AAD, payload)
    # The attacker may write the other header, and sign it all; nobody can write one for both.
    other = floe.Message(theirs, AAD, header[:42], floe.ROTATION_MASK).header
    assert floe.decrypt(theirs, AAD, other + payload[74:]) == plains[1]
    with pytest.raises(ArtifactCorrupt, match="sealed with another key"):
        floe.decrypt(mine, AAD, other + payload[74:])

    (tmp_path / "0000.floe").write_bytes(payload)
    signed = Payload(header, size, (hashlib.sha256(payload[74:]).digest(),))
    with (tmp_path / "0000.floe").open("rb") as file:
        assert signed.read(file.fileno(), mine, AAD) == plains[0]
        out = bytearray(b"x" * size)
        with pytest.raises(ArtifactCorrupt, match="sealed with another key"):
            signed.read_into(file.fileno(), theirs, AAD, out)
        assert out == bytes(size)


def test_two_keys_do_not_agree_by_chance() -> None:
    """Without the chosen block the second key refuses: the collision is what the test above is about."""
    keys, nonce = (os.urandom(32), os.urandom(32)), os.urandom(12)
    sealed = AESGCM(keys[0]).encrypt(nonce, bytes(64), b"aad")
    assert tag_of(keys[0], nonce, b"aad", sealed[:-16]).to_bytes(16, "big") == sealed[-16:]
    with pytest.raises(InvalidTag):
        AESGCM(keys[1]).decrypt(nonce, sealed, b"aad")
