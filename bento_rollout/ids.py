"""Ids of predictions."""

from __future__ import annotations

__all__ = ["uuid7"]


def uuid7(unix_ms: int, entropy: bytes) -> str:
    """Return the UUIDv7 (RFC 9562, section 5.7) of a time in milliseconds and 10 bytes of entropy.

    >>> uuid7(0x017F22E279B0, bytes.fromhex("0cc318c4dc0c0c07398f"))
    '017f22e2-79b0-7cc3-98c4-dc0c0c07398f'
    """
    head = unix_ms & 0xFFFF_FFFF_FFFF
    tail = int.from_bytes(entropy[:10], "big")
    high = (head << 16) | 0x7000 | ((tail >> 64) & 0x0FFF)
    low = 0x8000_0000_0000_0000 | (tail & 0x3FFF_FFFF_FFFF_FFFF)
    text = f"{(high << 64) | low:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
