"""From a key to a bucket to a plan; pure.

Buckets: ``(murmur3_x86_32(UTF-8 of salt + ":" + key, seed 0) * 100000) >> 32``. Weights own ranges of
buckets, and a change of weights moves the fewest possible keys: no bucket moves between two variants unless
one must give and the other must take.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import mmh3

from .errors import InvalidValue
from .keys import MAX_KEY_BYTES, normal_key, normal_keys
from .records import Plan, Reason
from .values import FULL, check_weights

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "MAX_KEY_BYTES",
    "Range",
    "Table",
    "bucket_of",
    "buckets_of",
    "check_ranges",
    "hash_of",
    "normal_key",
    "reallocate",
]

Range = tuple[int, int, str]
"""Buckets ``start <= bucket < stop`` belong to a candidate; what no range covers is the champion's."""

Span = tuple[int, int]
"""Buckets ``start <= bucket < stop``, whoever owns them."""


def hash_of(salt: str, key: str) -> int:
    """Return the unsigned 32-bit murmur3 (x86, seed 0) of ``salt:key`` in UTF-8.

    >>> hash_of("screening-1", "p-17")
    555098115
    """
    return mmh3.hash(f"{salt}:{key}", 0, signed=False)


def bucket_of(salt: str, key: str) -> int:
    """Return the bucket of a normal key, 0 to 99 999.

    >>> bucket_of("screening-1", "p-17")
    12924
    """
    return (hash_of(salt, key) * FULL) >> 32


def buckets_of(salt: str, keys: Iterable[str]) -> NDArray[np.int64]:
    """Return the buckets of many normal keys as an array.

    >>> buckets_of("screening-1", ["p-17", "p-18"]).tolist()
    [12924, 75800]
    """
    import numpy as np

    prefix, digest = f"{salt}:", mmh3.hash
    hashes = np.fromiter((digest(prefix + key, 0, False) for key in keys), dtype=np.int64)
    buckets: NDArray[np.int64] = (hashes * FULL) >> 32  # below 2**49: exact
    return buckets


def reallocate(ranges: Sequence[Range], weights: Mapping[str, int]) -> tuple[Range, ...]:
    """Return ranges that give each candidate ``weights[name]`` buckets and move the fewest possible.

    A bucket changes hands only where one side must lose it and the other must gain it: who shrinks gives, who
    grows takes first what others gave, and only then from the champion. Among the ways to do that, one with
    few and large ranges is taken: small ranges are given first; the gap that just suffices is filled first.

    Args:
        ranges: what the candidates own now, disjoint.
        weights: buckets for each candidate, thousandths of a percent; one that is not named gets none.

    Raises:
        InvalidValue: when the weights add up to over 100 percent.

    >>> reallocate([(0, 5000, "b")], {"b": 2000, "c": 4000})
    ((0, 2000, 'b'), (2000, 6000, 'c'))
    """
    check_weights(weights)
    kept, given = _kept(ranges, weights)
    need = {
        name: weights[name] - sum(stop - start for start, stop, owner in kept if owner == name)
        for name in weights
    }
    taken: list[Range] = []
    for free in (given, _gaps(ranges)):
        for name in sorted(need, key=lambda name: (-need[name], name)):
            spans = _taken(free, need[name])
            need[name] -= sum(stop - start for start, stop in spans)
            taken += [(start, stop, name) for start, stop in spans]
    return _merged([*kept, *taken])


def _kept(ranges: Sequence[Range], weights: Mapping[str, int]) -> tuple[list[Range], list[Span]]:
    """Return what the candidates keep, and what they give: their smallest ranges, and the top of one."""
    kept: list[Range] = []
    given: list[Span] = []
    room = dict(weights)
    for start, stop, name in sorted(ranges, key=lambda range_: (range_[0] - range_[1], range_[0])):
        cut = start + min(stop - start, room.get(name, 0))
        room[name] = room.get(name, 0) - (cut - start)
        if cut > start:
            kept.append((start, cut, name))
        if cut < stop:
            given.append((cut, stop))
    return kept, given


def _taken(free: list[Span], need: int) -> list[Span]:
    """Take ``need`` buckets out of ``free``: of the smallest span that suffices, else the largest."""
    taken: list[Span] = []
    while need > 0 and free:
        enough = [span for span in free if span[1] - span[0] >= need]
        start, stop = min(
            enough or free, key=lambda span: ((1 if enough else -1) * (span[1] - span[0]), span[0])
        )
        free.remove((start, stop))
        cut = min(stop, start + need)
        taken.append((start, cut))
        need -= cut - start
        if cut < stop:
            free.append((cut, stop))
    return taken


def _gaps(ranges: Iterable[Range]) -> list[Span]:
    """Return what no range covers: the champion's."""
    gaps, at = [], 0
    for start, stop, _ in sorted(ranges):
        if start > at:
            gaps.append((at, start))
        at = stop
    return [*gaps, (at, FULL)] if at < FULL else gaps


def _merged(ranges: Iterable[Range]) -> tuple[Range, ...]:
    merged: list[Range] = []
    for start, stop, name in sorted(ranges):
        if merged and merged[-1][1] == start and merged[-1][2] == name:
            merged[-1] = (merged[-1][0], stop, name)
        else:
            merged.append((start, stop, name))
    return tuple(merged)


def check_ranges(ranges: Iterable[Range], weights: Mapping[str, int]) -> None:
    """Raise `InvalidValue` unless ranges are disjoint and give each candidate exactly its weight."""
    at, sizes = 0, dict.fromkeys(weights, 0)
    for start, stop, name in sorted(ranges):
        if not at <= start < stop <= FULL:
            raise InvalidValue(
                f"the range {start} to {stop} of {name!r} overlaps another, or is out of bounds"
            )
        at, sizes[name] = stop, sizes.get(name, 0) + stop - start
    if sizes != {name: weights.get(name, 0) for name in sizes}:
        raise InvalidValue(f"the ranges hold {sizes} buckets, and the weights are {dict(weights)}")


@dataclass(frozen=True)
class Table:
    """One revision's assignment, compiled for look-ups; immutable.

    Attributes:
        revision, champion, salt: of the state that it was compiled from.
        ranges: the buckets that candidates own.
        keys: keys that get a variant before the split.
        headers: ``(name, value, variant)``: requests that get a variant before the split.
        backups: who answers when the champion itself cannot, in the order in which they are tried.
        shadows: the variants that shadow the champion, each with the buckets of its own that it watches.
    """

    revision: int
    champion: str
    salt: str
    ranges: tuple[Range, ...] = ()
    keys: Mapping[str, str] = field(default_factory=dict)
    headers: tuple[tuple[str, str, str], ...] = ()
    backups: tuple[str, ...] = ()
    shadows: tuple[tuple[str, int], ...] = ()
    _edges: tuple[int, ...] = field(init=False, repr=False, compare=False)
    _owners: tuple[str, ...] = field(init=False, repr=False, compare=False)
    _prefix: str = field(init=False, repr=False, compare=False)
    _watch: tuple[tuple[str, str, int], ...] = field(init=False, repr=False, compare=False)
    _everyone: tuple[str, ...] | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        edges, owners = [0], [self.champion]
        for start, stop, name in sorted(self.ranges):
            edges += [start, stop]
            owners += [name, self.champion]
        object.__setattr__(self, "_edges", tuple(edges))
        object.__setattr__(self, "_owners", tuple(owners))
        object.__setattr__(self, "_prefix", f"{self.salt}:")
        watch = tuple((name, f"{self.shadow_salt(name)}:", limit) for name, limit in self.shadows if limit)
        object.__setattr__(self, "_watch", watch)
        everyone = tuple(name for name, *_ in watch) if all(limit >= FULL for *_, limit in watch) else None
        object.__setattr__(self, "_everyone", everyone)

    def shadow_salt(self, name: str) -> str:
        """Return what a shadow's buckets are salted with; the champion's own shadow is the noise floor."""
        return f"{self.salt}:noise" if name == self.champion else f"{self.salt}:shadow:{name}"

    def watchers(self, key: str | None, draw: Callable[[], int]) -> tuple[str, ...]:
        """Return the variants that shadow a call: each has buckets of its own, whoever serves.

        Args:
            key: the normal key, or None: ``draw`` is asked for a random bucket, for each shadow.
            draw: returns a random bucket.

        >>> Table(1, "logistic", "screening-1", shadows=(("boosted", 50_000),)).watchers("p-17", lambda: 0)
        ('boosted',)
        """
        if self._everyone is not None:  # each watches all calls: there is nothing to find out
            return self._everyone
        if key is None:
            return tuple([name for name, _, limit in self._watch if draw() < limit])
        return tuple(
            [
                name
                for name, prefix, limit in self._watch
                if (mmh3.hash(prefix + key, 0, False) * FULL) >> 32 < limit
            ]
        )

    def row_watchers(self, keys: Sequence[str | None], draw: Callable[[], int]) -> dict[str, tuple[int, ...]]:
        """Return which rows each shadow watches, given each row's key."""
        rows: dict[str, list[int]] = {}
        for row, key in enumerate(keys):
            for name in self.watchers(key, draw):
                rows.setdefault(name, []).append(row)
        return {name: tuple(watched) for name, watched in rows.items()}

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
            ready: the variants that can answer here and now; the plan says who was meant and cannot.
            pinned: the variant that the caller asked for, already known to exist.
            header: looks up a request header, for targets by header.
        """
        variant, reason, bucket = self._choose(key, draw, pinned, header)
        if variant not in ready:
            return Plan(self._stand_in(ready), self.revision, Reason.UNAVAILABLE, bucket, variant)
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
        if key is None:
            bucket = draw()
            return self.owner(bucket), Reason.NO_KEY, bucket
        bucket = (mmh3.hash(self._prefix + key, 0, False) * FULL) >> 32  # `bucket_of`, on the hot path
        return self.owner(bucket), Reason.SPLIT, bucket

    def _stand_in(self, ready: Collection[str]) -> str:
        return next((name for name in (self.champion, *self.backups) if name in ready), self.champion)

    def assign(self, keys: Any, *, ready: Collection[str] | None = None) -> NDArray[np.str_]:
        """Return the variant's name for each of many keys, as `plan` would choose; vectorised.

        Args:
            keys: a list, a numpy array, a pandas series, … of keys as a caller would send them.
            ready: the variants that can answer; None: all.

        Raises:
            InvalidKey: when a key cannot be hashed.
        """
        import numpy as np

        texts = normal_keys(keys)
        names = sorted({self.champion, *self._owners, *self.keys.values()})
        index = {name: i for i, name in enumerate(names)}
        answers = np.array(
            [name if ready is None or name in ready else self._stand_in(ready) for name in names]
        )
        chosen = self._split(texts, index)
        if self.keys:
            for i, text in enumerate(texts):
                if (variant := self.keys.get(text)) is not None:
                    chosen[i] = index[variant]
        return answers[chosen]

    def _split(self, texts: Sequence[str], index: Mapping[str, int]) -> NDArray[np.int64]:
        """Return the index of each key's variant by the split alone."""
        import numpy as np

        if not self.ranges:
            return np.full(len(texts), index[self.champion], dtype=np.int64)
        owners = np.array([index[name] for name in self._owners], dtype=np.int64)
        places = np.searchsorted(np.array(self._edges), buckets_of(self.salt, texts), side="right") - 1
        return owners[places]
