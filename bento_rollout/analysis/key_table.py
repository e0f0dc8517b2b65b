"""Which keys have counted, and when: bounded, and blind to what they did."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import InvalidValue
from .arithmetic import count
from .stored import opened, pack

__all__ = ["CAPACITY", "HASHES", "KeyTable"]

CAPACITY = 100_000
"""Keys that are remembered at most."""

HASHES = 1 << 64
"""Hashes of keys lie below it."""

_LAYER = 4096
"""Keys in the upper layer before both become one: what an update copies is this much, not all keys."""

_DIGITS = 16
_HASH = re.compile(r"(?:[0-9a-f]{16})*")


@dataclass(frozen=True, slots=True, eq=False)
class KeyTable:
    """The epoch in which each key last counted, by the key's 64-bit hash.

    One small number for each key serves all copies of a test: copy ``j`` counts a key that last counted
    before epoch ``j``. When the table is full, the cut is halved: keys whose hash lies at or above it are
    forgotten and never count again, in both arms alike. Who stays is decided by a hash that has nothing
    to do with arm or outcome, so every test stays valid; it sees fewer keys, and `part` says how many.

    Args:
        capacity: keys at most, 1 or more.
        cut: hashes at or above it do not count; a half, a quarter, … of ``2**64`` after each halving.
        epochs: what is remembered, by hash; from 1 on.

    Raises:
        InvalidValue: a capacity, cut, hash or epoch that cannot be, or more keys than the capacity.

    >>> table, counted = KeyTable().counting([7, 8, 7], epoch=1)
    >>> counted
    {7: 0, 8: 0}
    >>> table, counted = table.counting([7, 9], epoch=1)
    >>> counted
    {9: 0}
    >>> table.counting([7], epoch=3)[1]
    {7: 1}
    """

    capacity: int = CAPACITY
    cut: int = HASHES
    epochs: Mapping[int, int] = field(default_factory=dict, repr=False)
    _recent: Mapping[int, int] = field(default_factory=dict, repr=False, kw_only=True)
    _size: int | None = field(default=None, repr=False, kw_only=True)

    def __post_init__(self) -> None:
        if self._size is not None:  # made from a table that was checked
            return
        if count("capacity", self.capacity) < 1:
            raise InvalidValue(f"capacity is {self.capacity!r}; one key or more is needed")
        if type(self.cut) is not int or not 0 < self.cut <= HASHES:
            raise InvalidValue(f"cut is {self.cut!r}; a whole number from 1 to 2**64 is needed")
        for key, epoch in self.epochs.items():
            if type(key) is not int or not 0 <= key < self.cut:
                raise InvalidValue(f"{key!r} is no hash below the cut {self.cut}")
            if count("epoch", epoch) < 1:
                raise InvalidValue(f"epoch is {epoch!r}; a key counts from epoch 1 on")
        if len(self.epochs) > self.capacity:
            raise InvalidValue(f"{len(self.epochs)} keys are too many: the capacity is {self.capacity}")
        object.__setattr__(self, "_size", len(self.epochs))

    def __len__(self) -> int:
        return self._size or 0

    def __iter__(self) -> Iterator[int]:
        return iter(self._whole())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, KeyTable):
            return NotImplemented
        mine, theirs = (self.capacity, self.cut), (other.capacity, other.cut)
        return mine == theirs and self._whole() == other._whole()

    __hash__ = None  # type: ignore[assignment]  # it may hold a hundred thousand keys

    @property
    def part(self) -> float:
        """The part of all keys that can count: 1, or a half, a quarter, … where the table was too small."""
        return self.cut / HASHES

    def last(self, key: int) -> int:
        """Return the epoch in which a key last counted; 0: it has not, or that was forgotten."""
        return self._recent.get(key) or self.epochs.get(key, 0)

    def counting(self, keys: Iterable[int], epoch: int) -> tuple[KeyTable, dict[int, int]]:
        """Return the next table, and the keys that count now, each with the epoch in which it last did.

        A key counts if it has not counted in this epoch and lies below the cut. Where the table overflows,
        the cut is halved before anything counts.

        Args:
            keys: their hashes.
            epoch: the present one.
        """
        cut, recently, before = (
            self.cut,
            self._recent.get,
            self.epochs.get,
        )  # looked up once: it is asked often
        lasts = {key: last for key in keys if key < cut and (last := recently(key) or before(key, 0)) < epoch}
        size = len(self) + [*lasts.values()].count(0)
        if size > self.capacity:
            return self._halved(lasts, epoch)
        recent = {**self._recent, **dict.fromkeys(lasts, epoch)}
        if len(recent) > _LAYER:
            return KeyTable(self.capacity, self.cut, {**self.epochs, **recent}, _size=size), lasts
        return KeyTable(self.capacity, self.cut, self.epochs, _recent=recent, _size=size), lasts

    def marking(self, keys: Sequence[int], epoch: int) -> tuple[KeyTable, list[int | None]]:
        """Return the same as `counting`, in the order of the keys; None for those that do not count now.

        Args:
            keys: their hashes, each once.
            epoch: the present one.
        """
        recently, before = self._recent.get, self.epochs.get
        marks: list[int | None] = [recently(key) or before(key, 0) for key in keys]
        new = marks.count(0)
        size = len(self) + new
        if new == len(marks) and self.cut == HASHES and size <= self.capacity:
            recent = {**self._recent, **dict.fromkeys(keys, epoch)}
            if len(recent) <= _LAYER:
                return KeyTable(self.capacity, self.cut, self.epochs, _recent=recent, _size=size), marks
        table, lasts = self.counting(keys, epoch)
        return table, [lasts.get(key) for key in keys]

    def since(self, epoch: int) -> KeyTable:
        """Return the table without keys that last counted before an epoch: no copy that old is left."""
        kept = {key: last for key, last in self._whole().items() if last >= epoch}
        return self if len(kept) == len(self) else KeyTable(self.capacity, self.cut, kept, _size=len(kept))

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values: hashes in 16 hex digits each, end to end, by epoch."""
        by_epoch: dict[int, list[int]] = {}
        for key, epoch in self._whole().items():
            by_epoch.setdefault(epoch, []).append(key)
        keys = {
            str(epoch): "".join([f"{key:016x}" for key in sorted(found)])
            for epoch, found in sorted(by_epoch.items())
        }
        return pack("KeyTable", capacity=self.capacity, cut=self.cut, keys=keys)

    @classmethod
    def from_dict(cls, data: object) -> KeyTable:
        """Return a stored table; refuse what is none, by name, with `InvalidValue`."""
        fields = opened(data, "KeyTable", frozenset({"capacity", "cut", "keys"}))
        if not isinstance(fields["keys"], Mapping):
            raise InvalidValue(f"keys is {type(fields['keys']).__name__}; hashes by epoch are needed")
        epochs: dict[int, int] = {}
        for epoch, digits in fields["keys"].items():
            if not re.fullmatch(r"[1-9][0-9]{0,14}", str(epoch)):
                raise InvalidValue(f"keys has {epoch!r}; an epoch is a whole number from 1")
            if not isinstance(digits, str) or not _HASH.fullmatch(digits):
                raise InvalidValue(f"keys[{epoch}] is no text of {_DIGITS} hex digits for each key")
            hashes = [int(digits[at : at + _DIGITS], 16) for at in range(0, len(digits), _DIGITS)]
            if len(set(hashes)) < len(hashes) or not epochs.keys().isdisjoint(hashes):
                raise InvalidValue(f"keys[{epoch}] has a key that is already there; each last counted once")
            epochs.update(dict.fromkeys(hashes, int(epoch)))
        return cls(fields["capacity"], fields["cut"], epochs)

    def _whole(self) -> dict[int, int]:
        return {**self.epochs, **self._recent}

    def _halved(self, lasts: dict[int, int], epoch: int) -> tuple[KeyTable, dict[int, int]]:
        """Return what is left of both when the cut is halved until all fit; one key in 2**64 always does."""
        whole, cut = {**self._whole(), **dict.fromkeys(lasts, epoch)}, self.cut
        while len(whole) > self.capacity:
            cut //= 2
            whole = {key: last for key, last in whole.items() if key < cut}
        counted = {key: last for key, last in lasts.items() if key < cut}
        return KeyTable(self.capacity, cut, whole, _size=len(whole)), counted
