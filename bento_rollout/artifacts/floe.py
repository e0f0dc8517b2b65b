"""The payload of a sealed artifact: FLOE, ``GCM256_IV256`` (https://c2sp.org/FLOE).

A header of 74 bytes is followed by segments. Every segment but the last has the length that the header says,
and the last one has what is left. Each is a record of AES-256-GCM that knows its place and whether it is the
last, so that nothing can be moved, repeated, dropped or cut off. The header's tag binds key and associated
data: no second key opens a payload.

`encrypt` and `decrypt` have all of it in memory. Files are written by `sealer.Sealer` and read by
`payload.Payload`, segment by segment and by several threads; both work with a `Message`.
"""

from __future__ import annotations

import hmac
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from ..errors import ArtifactCorrupt, InvalidValue
from .memory import bytes_of, wipe

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

__all__ = [
    "HEADER_LENGTH",
    "KEY_LENGTH",
    "OVERHEAD",
    "ROTATION_MASK",
    "SEGMENT_LENGTH",
    "Layout",
    "Message",
    "check_key",
    "decrypt",
    "encrypt",
    "segment_length_of",
]

KEY_LENGTH = 32
"""Bytes of the data key."""

SEGMENT_LENGTH = 2**20
"""Bytes of a whole segment as it is stored, `OVERHEAD` included."""

ROTATION_MASK = 20
"""2 to the power of it segments have one AES key."""

MARK, NONCE, TAG = 4, 12, 16
OVERHEAD = MARK + NONCE + TAG
"""Bytes of a segment that are no plaintext: its mark, nonce and tag."""

ALGORITHMS = bytes(2)
"""AES-256-GCM is AEAD 0, HKDF-Expand-SHA384 is KDF 0."""

PARAMETERS, IV, HEADER_TAG, MESSAGE_KEY = 10, 32, 32, 48
HEADER_LENGTH = PARAMETERS + IV + HEADER_TAG
"""Bytes before the first segment."""

SHORTEST, LONGEST = OVERHEAD + 1, 2**31 - 1
"""Segment lengths: a whole segment holds a byte or more, and AES-GCM takes at most 2**31 - 1 at a time."""

MOST_SEGMENTS = 2**40
MOST_ROTATION = 32
"""No AES key may have more than 2**32 random nonces."""

INTERNAL = b"\xff\xff\xff\xff"
"""The mark of every segment but the last; that one's mark is its length."""


@dataclass(frozen=True)
class Layout:
    """Where each segment of a payload lies, which follows from its plaintext's size alone.

    The last segment is never empty, unless the payload is.

    >>> layout = Layout(size=100, segment_length=64)
    >>> layout.count, layout.sealed_size, layout.plain(3), layout.sealed(3)
    (4, 302, (96, 100), (266, 302))

    Args:
        size: bytes of plaintext.
        segment_length: bytes of a whole segment as it is stored.
    """

    size: int
    segment_length: int = SEGMENT_LENGTH

    @property
    def plain_length(self) -> int:
        """Bytes of plaintext in a whole segment."""
        return self.segment_length - OVERHEAD

    @property
    def count(self) -> int:
        """How many segments there are: one at least."""
        return max(1, -(-self.size // self.plain_length))

    @property
    def sealed_size(self) -> int:
        """Bytes of the payload as it is stored, its header included."""
        return HEADER_LENGTH + self.size + self.count * OVERHEAD

    def is_last(self, index: int) -> bool:
        """Say whether a segment (from 0) is the last."""
        return index == self.count - 1

    def plain(self, index: int) -> tuple[int, int]:
        """Return where a segment's plaintext begins and ends."""
        begin = index * self.plain_length
        return begin, min(begin + self.plain_length, self.size)

    def sealed(self, index: int) -> tuple[int, int]:
        """Return where a segment begins and ends in the payload as it is stored."""
        begin = HEADER_LENGTH + index * self.segment_length
        return begin, min(begin + self.segment_length, self.sealed_size)


class Message:
    """The keys of one payload, with which its segments are sealed and opened in any order, by any thread.

    Attributes:
        header: the payload's first 74 bytes.
        segment_length: bytes of a whole segment as it is stored.
    """

    def __init__(self, key: bytes, aad: bytes, prefix: bytes, rotation_mask: int) -> None:
        self.segment_length = int.from_bytes(prefix[2:6], "big")
        self._prefix = prefix
        self._aad = aad
        self._rotation_mask = rotation_mask
        self.header = prefix + self._derive(key, b"HEADER_TAG:", HEADER_TAG)
        self._key = self._derive(key, b"MESSAGE_KEY:", MESSAGE_KEY)
        self._cipher = 0, self._cipher_of(0)

    @classmethod
    def begin(
        cls,
        key: bytes,
        aad: bytes,
        *,
        segment_length: int = SEGMENT_LENGTH,
        rotation_mask: int = ROTATION_MASK,
    ) -> Message:
        """Return the keys of a new payload.

        Raises:
            InvalidValue: a key, segment length or rotation mask that cannot be.
        """
        check_key(key)
        _check_rotation(rotation_mask)
        if not SHORTEST <= segment_length <= LONGEST:
            raise InvalidValue(f"segment_length={segment_length}: it is from {SHORTEST} to {LONGEST} bytes")
        parameters = ALGORITHMS + segment_length.to_bytes(4, "big") + IV.to_bytes(4, "big")
        return cls(key, aad, parameters + os.urandom(IV), rotation_mask)

    @classmethod
    def resume(cls, key: bytes, aad: bytes, header: bytes, *, rotation_mask: int = ROTATION_MASK) -> Message:
        """Return the keys of a payload that has this header.

        Raises:
            InvalidValue: a key or rotation mask that cannot be.
            ArtifactCorrupt: a header of another format; or another key or other associated data made it.
        """
        check_key(key)
        _check_rotation(rotation_mask)
        segment_length_of(header)
        message = cls(key, aad, header[:-HEADER_TAG], rotation_mask)
        if not hmac.compare_digest(message.header, header):
            raise ArtifactCorrupt(
                "the payload's header has a wrong tag: it was edited, or sealed with another key, or as "
                "another artifact or file"
            )
        return message

    def seal_into(self, plain: memoryview, index: int, last: bool, out: memoryview) -> None:
        """Encrypt one segment.

        Args:
            plain: its plaintext; whole, unless it is the last.
            index: its place, from 0.
            last: whether it is the last.
            out: where it goes: as long as the plaintext and `OVERHEAD`.
        """
        nonce = os.urandom(NONCE)
        out[:MARK] = len(out).to_bytes(MARK, "big") if last else INTERNAL
        out[MARK : MARK + NONCE] = nonce
        self._cipher_at(index).encrypt_into(nonce, plain, _place(index, last), out[MARK + NONCE :])

    def open_into(self, sealed: memoryview, index: int, last: bool, out: memoryview) -> None:
        """Decrypt one segment; when that fails, what it left in ``out`` is not to be used, but to be wiped.

        Args:
            sealed: the segment as it is stored.
            index: its place, from 0.
            last: whether it is the last, by what the caller knows of the payload's size.
            out: where its plaintext goes: shorter by `OVERHEAD`.

        Raises:
            ArtifactCorrupt: it is not the segment that was sealed at this place.
        """
        mark = len(sealed).to_bytes(MARK, "big") if last else INTERNAL
        if sealed[:MARK] != mark:
            raise ArtifactCorrupt(
                f"segment {index} of the payload is marked {sealed[:MARK].hex()}, and not {mark.hex()} as "
                f"{'the last' if last else 'one that is followed by others'}"
            )
        nonce, record = sealed[MARK : MARK + NONCE], sealed[MARK + NONCE :]
        try:
            self._cipher_at(index).decrypt_into(nonce, record, _place(index, last), out)
        except InvalidTag:
            raise ArtifactCorrupt(
                f"segment {index} of the payload has a wrong tag: it was edited or moved"
            ) from None

    def _derive(self, key: bytes, purpose: bytes, length: int) -> bytes:
        return HKDFExpand(SHA384(), length, self._prefix + purpose + self._aad).derive(key)

    def _cipher_of(self, masked: int) -> AESGCM:
        return AESGCM(self._derive(self._key, b"DEK:" + masked.to_bytes(8, "big"), KEY_LENGTH))

    def _cipher_at(self, index: int) -> AESGCM:
        if index >= MOST_SEGMENTS:
            raise InvalidValue(f"a payload has at most {MOST_SEGMENTS} segments: choose longer ones")
        masked = index >> self._rotation_mask << self._rotation_mask
        known, cipher = self._cipher
        if known != masked:
            cipher = self._cipher_of(masked)
            self._cipher = masked, cipher
        return cipher


def check_key(key: bytes) -> None:
    """Check the length of a data key.

    Raises:
        InvalidValue: it is not 32 bytes.
    """
    if len(key) != KEY_LENGTH:
        raise InvalidValue(f"a data key has {KEY_LENGTH} bytes, and this one {len(key)}")


def segment_length_of(header: bytes) -> int:
    """Return the segment length that a header says, which nobody has verified yet.

    Raises:
        ArtifactCorrupt: it is no header of FLOE ``GCM256_IV256``.
    """
    if len(header) != HEADER_LENGTH:
        raise ArtifactCorrupt(f"a payload's header has {HEADER_LENGTH} bytes, and here are {len(header)}")
    length, iv = int.from_bytes(header[2:6], "big"), int.from_bytes(header[6:10], "big")
    if header[:2] != ALGORITHMS or iv != IV:
        raise ArtifactCorrupt(
            f"the payload's header begins with {header[:PARAMETERS].hex()}, which is not FLOE GCM256_IV256"
        )
    if not SHORTEST <= length <= LONGEST:
        raise ArtifactCorrupt(
            f"the payload's header says {length} bytes a segment: they have from {SHORTEST} to {LONGEST}"
        )
    return length


def encrypt(
    key: bytes,
    aad: bytes,
    plaintext: ReadableBuffer,
    *,
    segment_length: int = SEGMENT_LENGTH,
    rotation_mask: int = ROTATION_MASK,
) -> bytes:
    """Return the payload of a plaintext that is in memory.

    >>> key = bytes(range(32))
    >>> payload = encrypt(key, b"screening:v3", b"weights")
    >>> len(payload), decrypt(key, b"screening:v3", payload)
    (113, b'weights')

    Args:
        key: the data key, 32 bytes.
        aad: what the payload belongs to; it is not stored, and must be the same when it is decrypted.
        plaintext: any bytes.
        segment_length: bytes of a whole segment as it is stored, 32 of them overhead.
        rotation_mask: 2 to the power of it segments have one AES key; FLOE says 20, and the header does not.

    Raises:
        InvalidValue: a key, segment length or rotation mask that cannot be.
    """
    message = Message.begin(key, aad, segment_length=segment_length, rotation_mask=rotation_mask)
    plain = bytes_of(plaintext)
    layout = Layout(len(plain), segment_length)
    sealed = bytearray(layout.sealed_size)
    sealed[:HEADER_LENGTH] = message.header
    with memoryview(sealed) as out:
        for index in range(layout.count):
            part, place = slice(*layout.plain(index)), slice(*layout.sealed(index))
            message.seal_into(plain[part], index, layout.is_last(index), out[place])
    return bytes(sealed)


def decrypt(
    key: bytes, aad: bytes, ciphertext: ReadableBuffer, *, rotation_mask: int = ROTATION_MASK
) -> bytes:
    """Return the plaintext of a payload that is in memory, once every segment of it has passed.

    Args:
        key: the data key, 32 bytes.
        aad: what was given when it was encrypted.
        ciphertext: the payload; the segment length is in its header.
        rotation_mask: what was given when it was encrypted.

    Raises:
        InvalidValue: a key or rotation mask that cannot be.
        ArtifactCorrupt: it is not what was sealed with this key and this associated data.
    """
    sealed = bytes_of(ciphertext)
    message = Message.resume(key, aad, bytes(sealed[:HEADER_LENGTH]), rotation_mask=rotation_mask)
    body = sealed[HEADER_LENGTH:]
    segments = [
        body[start : start + message.segment_length] for start in range(0, len(body), message.segment_length)
    ]
    if not segments or len(segments[-1]) < OVERHEAD:
        raise ArtifactCorrupt("the payload is cut short: its last segment is not whole")
    plain, end = bytearray(len(body) - OVERHEAD * len(segments)), 0
    try:
        for index, segment in enumerate(segments):
            begin, end = end, end + len(segment) - OVERHEAD
            last = index == len(segments) - 1
            message.open_into(segment, index, last, memoryview(plain)[begin:end])
    except BaseException:
        wipe(plain)
        raise
    return bytes(plain)


def _place(index: int, last: bool) -> bytes:
    return index.to_bytes(8, "big") + bytes([last])


def _check_rotation(mask: int) -> None:
    if not 0 <= mask <= MOST_ROTATION:
        raise InvalidValue(f"rotation_mask={mask}: it is from 0 to {MOST_ROTATION}")
