"""The header of an age file, read within bounds before any key is tried.

``keys.age`` lies outside the signature: whoever can write it chooses how much work it asks for. So it is
counted first: stanzas, bytes, and scrypt's work factor. The format is that of https://c2sp.org/age.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .canonical import Malformed

__all__ = ["DATA_KEY_SIZE", "MAX_AGE", "MAX_STANZAS", "MAX_WORK_FACTOR", "Header", "read_header"]

MAX_AGE = 16 * 2**10
"""Bytes of the whole file: 128 recipients take 13 KiB.

`pyrage` takes time with the square of them: seconds for 64 KiB.
"""

MAX_STANZAS = 128
"""One for each recipient, and those that age adds so that readers learn to skip what they do not know."""

MAX_WORK_FACTOR = 22
"""What `age` itself stops at: 2^22 blocks are 4 GiB of memory and many seconds."""

DATA_KEY_SIZE = 32
PAYLOAD_SIZE = 16 + DATA_KEY_SIZE + 16
"""Bytes after the header: a nonce, the data key, a tag."""

_VERSION = b"age-encryption.org/v1\n"
_ARMOR = b"-----BEGIN AGE ENCRYPTED FILE-----"
_ARGUMENTS = re.compile(rb"-> ([\x21-\x7e]+(?: [\x21-\x7e]+)*)", re.DOTALL)
_BODY = re.compile(rb"[A-Za-z0-9+/]*")
_MAC = re.compile(rb"--- [A-Za-z0-9+/]{43}")
_FACTOR = re.compile(r"[1-9][0-9]*", re.ASCII)
_COLUMNS = 64


@dataclass(frozen=True)
class Header:
    """What the header of ``keys.age`` says.

    Args:
        kinds: the kind of each stanza (``X25519``, ``scrypt``, others), in their order.
    """

    kinds: tuple[str, ...]

    @property
    def passphrase(self) -> bool:
        """Whether a passphrase opens it, and nothing else does."""
        return self.kinds == ("scrypt",)


def read_header(raw: bytes) -> Header:
    """Read the header of an age file that holds one data key, and check all that costs work.

    Raises:
        Malformed: it is no age file, holds no 32 bytes, or asks for too much; nothing was decrypted.
    """
    if len(raw) > MAX_AGE:
        raise Malformed(f"it has {len(raw)} bytes, more than {MAX_AGE}")
    if raw.startswith(_ARMOR):
        raise Malformed("it is armored: write it without `age --armor`")
    if not raw.startswith(_VERSION):
        raise Malformed("it is no age file of version 1")
    kinds, position = _stanzas(raw, len(_VERSION))
    if "scrypt" in kinds and len(kinds) > 1:
        raise Malformed("it has a passphrase stanza beside others: a passphrase stands alone")
    if (size := len(raw) - position) != PAYLOAD_SIZE:
        raise Malformed(f"its payload has {size} bytes, not the {PAYLOAD_SIZE} of a data key of 32")
    return Header(tuple(kinds))


def _stanzas(raw: bytes, position: int) -> tuple[list[str], int]:
    """The kind of each stanza, and where the payload begins."""
    kinds: list[str] = []
    line, position = _line(raw, position)
    while not line.startswith(b"---"):
        if len(kinds) == MAX_STANZAS:
            raise Malformed(f"it has more than {MAX_STANZAS} stanzas")
        kinds.append(_kind(line))
        line, position = _line(raw, position)
        while len(line) == _COLUMNS and _BODY.fullmatch(line):
            line, position = _line(raw, position)
        if len(line) >= _COLUMNS or not _BODY.fullmatch(line):
            raise Malformed(f"the body of stanza {len(kinds)} is damaged")
        line, position = _line(raw, position)
    if not kinds or not _MAC.fullmatch(line):
        raise Malformed("its header has no stanza, or no message authentication code")
    return kinds, position


def _line(raw: bytes, start: int) -> tuple[bytes, int]:
    """The line that begins there, and where the next one does."""
    end = raw.find(b"\n", start)
    if end < 0:
        raise Malformed("its header is cut short")
    return raw[start:end], end + 1


def _kind(line: bytes) -> str:
    """The kind of the stanza that this line begins, if its work is within bounds."""
    if (found := _ARGUMENTS.fullmatch(line)) is None:
        raise Malformed("a stanza does not begin with an arrow and its kind")
    kind, *arguments = found[1].decode().split(" ")
    if kind == "scrypt":
        if len(arguments) != 2 or not _FACTOR.fullmatch(arguments[1]):  # noqa: PLR2004 - salt and factor
            raise Malformed("its passphrase stanza lacks salt or work factor")
        if len(arguments[1]) > 2 or int(arguments[1]) > MAX_WORK_FACTOR:  # noqa: PLR2004 - digits
            raise Malformed(
                f"its passphrase stanza asks for the work factor {arguments[1][:20]},"
                f" and at most {MAX_WORK_FACTOR} is done"
            )
    return kind
