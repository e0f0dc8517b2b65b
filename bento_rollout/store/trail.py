"""`Trail`: who did what with which case, append-only; each entry holds the hash of all before it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .reviews_file import ReviewsFile
from .sql import Db, Row

__all__ = ["START", "Entry", "Trail", "Verified", "append", "append_each", "hashed"]

START = bytes(32)
"""What the first entry is chained to."""

_AT_ONCE = 1000
_PAGE = 10_000


@dataclass(frozen=True, slots=True)
class Entry:
    """One act.

    Attributes:
        seq: its number; they have no gaps.
        at: when, in seconds since 1970.
        who: the person, or ``automation``.
        what: the act, in one word.
        task: which case; empty: none.
        facts: more of it, without payload.
        hash: SHA-256 over the hash before it and this entry, in hex.
    """

    seq: int
    at: float
    who: str
    what: str
    task: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    hash: str = ""


@dataclass(frozen=True, slots=True)
class Verified:
    """What reading the whole trail showed.

    A trail that was written anew as a whole is consistent in itself: compare ``head`` with one that was noted
    elsewhere.

    Attributes:
        entries: how many there are.
        head: the hash of the last good one, in hex.
        broken_at: the number of the first that is not as it was written; None: all are.
    """

    entries: int
    head: str
    broken_at: int | None = None

    @property
    def whole(self) -> bool:
        """Whether nothing was changed, taken out or put in."""
        return self.broken_at is None


class Trail:
    """Reads the trail of one rollout's reviews.

    Args:
        file: where it is.
    """

    def __init__(self, file: ReviewsFile) -> None:
        self._file = file

    def verify(self) -> Verified:
        """Read all of it, and compute each hash anew.

        Raises:
            StoreUnreachable: the file cannot be read.
            StoreCorrupt: SQLite finds it damaged.
        """
        head, seq = START, 0
        if not self._file.exists():
            return Verified(0, head.hex())
        with self._file.reading() as db:
            (count,) = db.execute("SELECT count(*) FROM trail").fetchone()
            for row in _all(db):
                seq += 1
                expected = hashed(
                    head, row["seq"], row["at"], row["who"], row["what"], row["task"], row["facts"]
                )
                if row["seq"] != seq or row["hash"] != expected:
                    return Verified(count, head.hex(), seq)
                head = expected
            (last,) = db.execute("SELECT max(seq) FROM trail_given").fetchone()
        if (last or 0) != seq:  # the end was cut off
            return Verified(count, head.hex(), seq + 1)
        return Verified(count, head.hex())

    def entries(self, *, task: str = "", after: int = 0, limit: int = _AT_ONCE) -> tuple[Entry, ...]:
        """Return entries, the oldest first.

        Args:
            task: only what was done with this case; empty: all.
            after: only those with a higher number.
            limit: at most so many.

        Raises:
            StoreUnreachable: the file cannot be read.
            StoreCorrupt: it is damaged.
        """
        if not self._file.exists():
            return ()
        query = "SELECT * FROM trail WHERE seq > ? ORDER BY seq LIMIT ?"
        if task:
            query = "SELECT * FROM trail WHERE task = ? AND task <> '' AND seq > ? ORDER BY seq LIMIT ?"
        with self._file.reading() as db:
            rows = db.execute(query, (*([task] if task else []), after, limit))
            return tuple(self._entry(row) for row in rows)

    def latest(self, limit: int = 100) -> tuple[Entry, ...]:
        """Return the last entries, the newest first.

        Raises:
            StoreUnreachable: the file cannot be read.
            StoreCorrupt: it is damaged.
        """
        if not self._file.exists():
            return ()
        with self._file.reading() as db:
            rows = db.execute("SELECT * FROM trail ORDER BY seq DESC LIMIT ?", (limit,))
            return tuple(self._entry(row) for row in rows)

    def _entry(self, row: Row) -> Entry:
        try:
            facts = json.loads(row["facts"])
        except ValueError:
            raise self._file.damaged(f"entry {row['seq']} of the trail cannot be read") from None
        return Entry(row["seq"], row["at"], row["who"], row["what"], row["task"], facts, row["hash"].hex())


_LAST = """
    SELECT (SELECT max(seq) FROM trail_given) AS given, (SELECT max(seq) FROM trail) AS seq,
        (SELECT hash FROM trail ORDER BY seq DESC LIMIT 1) AS hash
"""


def append(db: Db, at: float, who: str, what: str, task: str = "", /, **facts: object) -> None:
    """Add an entry within the transaction of the act.

    Args:
        db: in a transaction that writes.
        at, who, what, task, facts: as in `Entry`.
    """
    append_each(db, at, who, what, [(task, facts)])


def append_each(
    db: Db, at: float, who: str, what: str, acts: Iterable[tuple[str, Mapping[str, object]]]
) -> None:
    """Add the same act of several cases, with the facts of each, as `append` does."""
    last = db.execute(_LAST).fetchone()
    head = START if last["hash"] is None else last["hash"]
    # Numbers go on after those that were ever given: an end that was cut off stays a gap.
    seq = max(last["seq"] or 0, last["given"] or 0)
    at, who = float(at), who.replace("\0", "\ufffd")  # which is no text everywhere
    rows = []
    for task, facts in acts:
        seq, told = seq + 1, _canonical(facts)
        head = hashed(head, seq, at, who, what, task, told)
        rows.append((seq, at, who, what, task, told, head))
    query = "INSERT INTO trail (seq, at, who, what, task, facts, hash) VALUES (?, ?, ?, ?, ?, ?, ?)"
    db.executemany(query, rows)


def _all(db: Db) -> Iterator[Row]:
    """Yield all entries in their order; however many they are, a few are in memory."""
    rows, last = db.execute("SELECT * FROM trail ORDER BY seq LIMIT ?", (_PAGE,)).fetchall(), 0
    while rows:
        yield from rows
        last = rows[-1]["seq"]
        rows = db.execute("SELECT * FROM trail WHERE seq > ? ORDER BY seq LIMIT ?", (last, _PAGE)).fetchall()


def hashed(head: bytes, seq: int, at: float, who: str, what: str, task: str, facts: str) -> bytes:
    """Return the hash of an entry: SHA-256 of the hash before it and the entry as canonical JSON.

    >>> hashed(START, 1, 0.0, "ann", "claimed", "", "{}").hex()[:16]
    '080295b91ef9262b'
    """
    return hashlib.sha256(head + _canonical([seq, at, who, what, task, facts]).encode()).digest()


def _canonical(value: object) -> str:
    return json.dumps(value, allow_nan=False, ensure_ascii=True, separators=(",", ":"), sort_keys=True)
