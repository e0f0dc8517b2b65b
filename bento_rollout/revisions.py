"""Numbers of revisions: those that a store counts, and those of a file that governs.

A store counts 1, 2, 3. Where a file is the whole state nobody counts: its revision *is* its content, 48 bits
of the digest, with a mark above them that no count ever reaches. So a number alone says which it is, wherever
it has got to: on a plan, in a ledger, on a worker's card.
"""

from __future__ import annotations

__all__ = ["FILE", "digest_in", "is_of_file", "of_file", "shown_revision"]

FILE = 1 << 48
"""The mark of a file's revision, above the 48 bits of its digest."""

ROLLED_BACK, PAUSED = 1 << 49, 1 << 50
"""What a host has set against its file: another state, so another number. All stays below 2**53."""


def of_file(digest: str, *, rolled_back: bool = False, paused: bool = False) -> int:
    """Return the revision of a file's content, and of what this host has set against it.

    >>> shown_revision(of_file("0123456789ab", paused=True))
    'file:0123456789ab'
    """
    return FILE | int(digest, 16) | ROLLED_BACK * rolled_back | PAUSED * paused


def is_of_file(revision: int) -> bool:
    """Whether a revision is a file's, not one that a store counted."""
    return revision >= FILE


def digest_in(revision: int) -> str:
    """Return the 12 hex digits of the content that a file's revision names."""
    return f"{revision % FILE:012x}"


def shown_revision(revision: int) -> int | str:
    """Return a revision as people and programs are shown it.

    >>> shown_revision(7)
    7
    """
    return f"file:{digest_in(revision)}" if is_of_file(revision) else revision
