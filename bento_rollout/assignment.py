"""From a key to a bucket to a plan, and from a batch's rows to groups and back; pure.

Buckets: ``(murmur3_x86_32(UTF-8 of salt + ":" + key, seed 0) * 100000) >> 32``. Weights own ranges of buckets, and a
change of weights moves the fewest possible keys: no bucket moves between two variants unless one must give and the
other must take.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import mmh3
import numpy as np
from numpy.typing import NDArray

from .errors import InvalidKey
from .records import Plan, Reason
from .spec import FULL

__all__ = ["MAX_KEY_BYTES", "Range", "Table", "bucket_of", "buckets_of", "normal_key", "reallocate"]

MAX_KEY_BYTES = 8192

Range = tuple[int, int, str]
"""Buckets ``start <= bucket < stop`` belong to a candidate; what no range covers is the champion's."""


def normal_key(key: object) -> str:
    """Return a key as text: text as given, integers and floats of integral value as decimal digits.

    Raises:
        InvalidKey: for None, an empty text, more than 8 KiB of UTF-8, text that is not encodable, a boolean,
            NaN, an infinity, a float with a fraction, or any other type.

    >>> normal_key(7.0), normal_key(7), normal_key("7")
    ('7', '7', '7')
    """
    if isinstance(key, np.generic):
        key = key.item()
    if isinstance(key, str):
        text = key
    elif isinstance(key, bool) or not isinstance(key, (int, float)):
        raise InvalidKey(f"a key must be text or a whole number, not {type(key).__name__}")
    elif isinstance(key, float) and not key.is_integer():
        raise InvalidKey(f"a key must be text or a whole number, not {key!r}")
    else:
        text = str(int(key))
    if not text:
        raise InvalidKey("the key is empty")
    try:
        size = len(text) if text.isascii() else len(text.encode())
    except UnicodeEncodeError:
        raise InvalidKey("the key is not valid Unicode text (it holds a lone surrogate)") from None
    if size > MAX_KEY_BYTES:
        raise InvalidKey(f"the key has {size} bytes; at most {MAX_KEY_BYTES} are hashed")
    return text


def hash_of(salt: str, key: str) -> int:
    """Return the unsigned 32-bit murmur3 of ``salt:key``."""
    return mmh3.hash(f"{salt}:{key}", 0, signed=False)


def bucket_of(salt: str, key: str) -> int:
    """Return the bucket of a key, 0 to 99 999.

    >>> bucket_of("screening-1", "p-17")
    12924
    """
    return (mmh3.hash(f"{salt}:{key}", 0, signed=False) * FULL) >> 32


def buckets_of(salt: str, keys: Iterable[str]) -> NDArray[np.int64]:
    """Return the buckets of many keys (already normal text) as an array, about 4 million keys a second."""
    prefix, digest = f"{salt}:", mmh3.hash
    hashes = np.fromiter((digest(prefix + key, 0, False) for key in keys), dtype=np.uint64)
    return ((hashes * np.uint64(FULL)) >> np.uint64(32)).astype(np.int64)


def reallocate(ranges: Sequence[Range], weights: Mapping[str, int]) -> tuple[Range, ...]:
    """Return ranges that give each candidate ``weights[name]`` buckets and move the fewest possible.

    Args:
        ranges: what the candidates own now, disjoint.
        weights: buckets for each candidate, thousandths of a percent; a candidate that is not named gets none.

    A candidate that shrinks gives its highest buckets; one that grows takes first what others gave, then the
    champion's lowest. So a bucket changes hands only where one side must lose it and the other must gain it.

    >>> reallocate([(0, 5000, "b")], {"b": 2000, "c": 4000})
    ((0, 2000, 'b'), (2000, 6000, 'c'))
    """
    kept: list[Range] = []
    given: list[tuple[int, int]] = []
    owned: dict[str, int] = {}
    for start, stop, name in sorted(ranges):
        room = weights.get(name, 0) - owned.get(name, 0)
        cut = min(stop, start + max(room, 0))
        if cut > start:
            kept.append((start, cut, name))
            owned[name] = owned.get(name, 0) + cut - start
        if cut < stop:
            given.append((cut, stop))
    free = [*given, *_gaps(sorted(ranges))]
    for name in sorted(weights):
        need = weights[name] - owned.get(name, 0)
        while need > 0:
            start, stop = free.pop(0)
            cut = min(stop, start + need)
            kept.append((start, cut, name))
            need -= cut - start
            if cut < stop:
                free.insert(0, (cut, stop))
    return _merge(kept)


def _gaps(ranges: Sequence[Range]) -> list[tuple[int, int]]:
    gaps, at = [], 0
    for start, stop, _ in ranges:
        if start > at:
            gaps.append((at, start))
        at = max(at, stop)
    return [*gaps, (at, FULL)] if at < FULL else gaps


def _merge(ranges: Iterable[Range]) -> tuple[Range, ...]:
    merged: list[Range] = []
    for start, stop, name in sorted(ranges):
        if merged and merged[-1][1] == start and merged[-1][2] == name:
            merged[-1] = (merged[-1][0], stop, name)
        else:
            merged.append((start, stop, name))
    return tuple(merged)


@dataclass(frozen=True)
class Table:
    """One revision's assignment, compiled for look-ups; immutable.

    Attributes:
        revision, champion, salt: of the state that it was compiled from.
        ranges: the buckets that candidates own.
        keys: keys that get a variant before the split.
        headers: ``(name, value, variant)``: requests that get a variant before the split.
        backups: who answers when the champion itself cannot, in the order in which they are tried.
    """

    revision: int
    champion: str
    salt: str
    ranges: tuple[Range, ...] = ()
    keys: Mapping[str, str] = field(default_factory=dict)
    headers: tuple[tuple[str, str, str], ...] = ()
    backups: tuple[str, ...] = ()
    _edges: tuple[int, ...] = field(init=False, repr=False, compare=False)
    _owners: tuple[str, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        edges, owners = [0], [self.champion]
        for start, stop, name in sorted(self.ranges):
            edges += [start, stop]
            owners += [name, self.champion]
        object.__setattr__(self, "_edges", tuple(edges))
        object.__setattr__(self, "_owners", tuple(owners))

    def owner(self, bucket: int) -> str:
        """Return the variant that owns a bucket."""
        return self._owners[bisect_right(self._edges, bucket) - 1]

    def plan(
        self,
        key: str | None,
        *,
        draw: Callable[[], int],
        ready: Collection[str],
        pinned: str | None = None,
        header: Callable[[str], str | None] | None = None,
    ) -> Plan:
        """Return who serves one call.

        Args:
            key: the normal key, or None: ``draw`` is asked for a random bucket.
            draw: returns a random bucket; called only when it is needed.
            ready: the variants that can answer here and now.
            pinned: the variant that the caller asked for, already known to exist.
            header: looks up a request header, for targets by header.
        """
        variant, reason, bucket = self._choose(key, draw, pinned, header)
        if variant not in ready:
            return Plan(self._stand_in(ready), self.revision, Reason.UNAVAILABLE, bucket)
        return Plan(variant, self.revision, reason, bucket)

    def _choose(
        self,
        key: str | None,
        draw: Callable[[], int],
        pinned: str | None,
        header: Callable[[str], str | None] | None,
    ) -> tuple[str, Reason, int | None]:
        if pinned is not None:
            return pinned, Reason.PINNED, None
        if self.headers and header is not None:
            for name, value, variant in self.headers:
                if header(name) == value:
                    return variant, Reason.TARGETED, None
        if key is not None and (targeted := self.keys.get(key)) is not None:
            return targeted, Reason.TARGETED, None
        if not self.ranges:
            return self.champion, Reason.DEFAULT, None
        bucket = draw() if key is None else bucket_of(self.salt, key)
        return self.owner(bucket), (Reason.NO_KEY if key is None else Reason.SPLIT), bucket

    def _stand_in(self, ready: Collection[str]) -> str:
        return next((name for name in (self.champion, *self.backups) if name in ready), self.champion)

    def assign(self, keys: Sequence[Any]) -> NDArray[np.str_]:
        """Return the variant's name for each key, vectorised; targets by key are honoured.

        Raises:
            InvalidKey: when a key cannot be hashed.
        """
        texts = keys if _all_plain(keys) else [normal_key(key) for key in keys]
        names = np.array(sorted({self.champion, *self._owners, *self.keys.values()}))
        index = {name: i for i, name in enumerate(names.tolist())}
        owners = np.array([index[name] for name in self._owners], dtype=np.int64)
        if not len(texts):
            return names[:0]
        places = np.searchsorted(np.array(self._edges), buckets_of(self.salt, texts), side="right") - 1
        chosen = owners[places]
        if self.keys:
            for i, text in enumerate(texts):
                if (variant := self.keys.get(text)) is not None:
                    chosen[i] = index[variant]
        return names[chosen]


def _all_plain(keys: Sequence[Any]) -> bool:
    """Whether every key is text that needs no normalising; two passes at C speed instead of a call per key."""
    if not isinstance(keys, (list, tuple)) or set(map(type, keys)) != {str}:
        return False
    return all(keys) and all(map(str.isascii, keys)) and max(map(len, keys)) <= MAX_KEY_BYTES
