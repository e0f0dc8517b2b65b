"""What waits in a shadow's lane: bounded by calls, and by about how many bytes they hold."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from .witness import Witness

__all__ = ["MOST_WAITING", "Entry", "Waiting", "weight_of"]

MOST_WAITING = 1 << 26
"""Bytes that the calls in one lane may hold while they wait, as far as that is known; one always fits."""


@dataclass(slots=True, eq=False)
class Entry:
    """What waits: one call, or the calls that the champion answered in one batch.

    Attributes:
        since: when the first of them came.
        witnesses: the calls.
        weight: about how many bytes they hold.
        whole: whether all of the batch are there.
    """

    since: float
    witnesses: list[Witness]
    weight: int = 0
    whole: bool = True

    @property
    def first(self) -> Witness:
        """The call that came first."""
        return self.witnesses[0]


class Waiting:
    """The calls that wait, in their order.

    Args:
        most: how many calls.

    Attributes:
        most: how many calls fit.
        calls: how many wait.
        weight: about how many bytes they hold.
    """

    __slots__ = ("_entries", "calls", "most", "weight")

    def __init__(self, most: int) -> None:
        self._entries: deque[Entry] = deque()
        self.most = most
        self.calls = self.weight = 0

    def __bool__(self) -> bool:
        return self.calls > 0

    @property
    def first(self) -> Entry:
        """What came first."""
        return self._entries[0]

    def add(self, now: float, witness: Witness, weight: int) -> None:
        """Let a call wait, with those that were answered in one batch with it."""
        self.calls += 1
        self.weight += weight
        if (batch := witness.batch) is None or batch.size == 1:
            self._entries.append(Entry(now, [witness], weight))
            return
        entry = next((entry for entry in self._entries if entry.first.batch is batch), None)
        if entry is None:
            entry = Entry(now, [])
            self._entries.append(entry)
        entry.witnesses.append(witness)
        entry.weight += weight
        entry.whole = len(entry.witnesses) >= batch.size

    def take(self) -> Entry:
        """Return what came first, which waits no more."""
        entry = self._entries.popleft()
        self.calls -= len(entry.witnesses)
        self.weight -= entry.weight
        return entry


def weight_of(witness: Witness) -> int:
    """Return about how many bytes a call's input holds, as far as that is cheap to know.

    A list counts as if its items were all like its first; files do not count: they are on a disk.
    """
    weight = 0
    for value in witness.kwargs.values():
        if (way := _WAYS.get(type(value), _unknown)) is not None:
            weight += way(value)
    if witness.args:
        weight += sum(way(value) for value in witness.args if (way := _WAYS.get(type(value), _unknown)))
    return weight if witness.spare is None else 2 * weight


def _unknown(value: Any) -> int:
    """Weigh an array; what is none weighs nothing here."""
    kind = type(value)
    if kind.__module__ == "numpy" and kind.__name__ == "ndarray":
        _WAYS[kind] = attrgetter("nbytes")  # known from now on; numpy itself need not be there
    try:
        # Asked of the class first: an object may answer anything when it is asked for what it has not.
        return int(value.nbytes) if hasattr(kind, "nbytes") else 0
    except Exception:  # noqa: BLE001 - whatever an input does when it is looked at
        return 0


def _of_list(values: list[Any] | tuple[Any, ...], depth: int = 3) -> int:
    if not values or not depth:
        return 0
    first, kind = values[0], type(values[0])
    if kind is list or kind is tuple:
        return len(values) * (_ITEM + _of_list(first, depth - 1))
    way = _WAYS.get(kind, _unknown)
    return len(values) * (_ITEM + (0 if way is None else way(first)))


_WAYS: dict[type, Callable[[Any], int] | None] = {
    **dict.fromkeys((int, float, bool, type(None))),
    **dict.fromkeys((str, bytes, bytearray), len),
    **dict.fromkeys((list, tuple), _of_list),
}
"""What weighs a value, by its class; None: it is small."""

_ITEM = 32
"""Bytes of a number and of the place that holds it."""
