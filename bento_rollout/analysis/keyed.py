"""Tests of keys: where routing is sticky, what counts is a key, once in each epoch, not each of its calls."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from ..errors import InvalidValue
from .arithmetic import count
from .floor import FloorTest
from .harm import EventTest, HarmTest
from .health import HealthTest
from .key_block import KeyBlock, OneTest, Running, running
from .key_table import KeyTable
from .latency import LatencyTest
from .latency_health import LatencyHealthTest
from .mixture import EVERY
from .stored import flag, opened, pack

__all__ = ["MOST_COPIES", "Copy", "KeyedTest", "is_health"]

MOST_COPIES = 8
"""Copies that live at a time: with 20 nothing was found earlier, and a look took longer."""

NEWEST = 4
"""Of them, the newest ones that are never dropped."""

SHORT = 20
"""Candidate calls after which a short epoch opens by itself; a part of `EVERY`."""

LONG_PART = 0.8
"""Of what may be wrong, what the long epochs share; the rest is for all epochs, short ones too."""

SPREAD = 100.0
"""How evenly the rest is shared: about so many epochs have weights of one size, later ones less."""

_KINDS: Mapping[str, type[OneTest]] = {
    kind.__name__: kind
    for kind in (HarmTest, EventTest, LatencyTest, FloorTest, HealthTest, LatencyHealthTest)
}
_STORED = frozenset({"copies", "epochs", "long", "calls", "table", "alarm"})
_FIXED = {
    "every": EVERY,
    "short": SHORT,
    "long_part": LONG_PART,
    "spread": SPREAD,
    "most_copies": MOST_COPIES,
    "newest": NEWEST,
}


def is_health(test: OneTest) -> bool:
    """Whether a test shows health: a claim that is made once, so that each key counts once and for ever."""
    return isinstance(test, (HealthTest, LatencyHealthTest)) or (isinstance(test, FloorTest) and test.good)


@lru_cache(1024)
def weight_of(epoch: int, long: int) -> float:
    """Return the part of what may be wrong that a copy has: over all that ever begin they sum to 1.

    The ``m``-th epoch has ``0.2 ln(100) (1/ln(m+99) - 1/ln(m+100))``, and if it is the ``j``-th long one
    ``0.8/(j(j+1))`` more.

    >>> round(sum(weight_of(m, 0) for m in range(1, 10_000)), 2)  # slowly towards 0.2
    0.1
    >>> round(weight_of(1, 1), 4)
    0.4004
    """
    later = SPREAD + epoch
    # 1/ln(n-1) - 1/ln(n), without the difference of two numbers that are nearly the same
    part = -math.log1p(-1.0 / later) / math.log(later) / math.log(later - 1.0)
    weight = (1.0 - LONG_PART) * math.log(SPREAD) * part
    return weight + LONG_PART / (long * (long + 1)) if long else weight


@dataclass(frozen=True, slots=True)
class Copy:
    """One copy of a test, which began at an epoch.

    Attributes:
        epoch: ``m``, from 1: its place among all epochs.
        test: what it has seen since; it has no start mixture of its own.
        long: ``j``, from 1: its place among the long epochs; 0: it began at a short one.
    """

    epoch: int
    test: OneTest
    long: int

    @property
    def log_weight(self) -> float:
        """The log of the copy's weight (see `weight_of`); a claim of health has one copy, of weight 1."""
        return 0.0 if is_health(self.test) else math.log(weight_of(self.epoch, self.long))

    @property
    def log_evidence(self) -> float:
        """``ln(w_m E_m)``."""
        return self.log_weight + self.test.log_evidence


@dataclass(frozen=True, slots=True)
class KeyedTest:
    """A test whose unit is the key, counted once in each epoch.

    Calls of one key depend on each other, so to count each of them alarms falsely far too often. Copy
    ``m`` of the test begins at epoch ``m`` and counts a key once from then on; which one it still counts
    is told by the epoch in which the key last counted (`KeyTable`). The copies see different data, so
    they are not averaged: it alarms when ``max_m w_m E_m >= 1/alpha``, with the weights of `weight_of`. By
    Ville's inequality copy ``m`` ever gets there with a chance of ``alpha w_m``, and the weights sum to 1.
    At most 8 copies live; when another opens, the one with the least ``w_m E_m`` among all but the newest
    four is dropped, which can only hide an alarm. A new copy knows of the champion what the one before knew.

    Long epochs open at the start, by `epoch`, and after every 1 000 calls of the candidate; short ones
    after every 20. The copies of long ones have most of the weight: they see small harm. Those of short
    ones see large harm at once, also when most keys have counted since the last long one. A test of health
    (`HealthTest`, `LatencyHealthTest`, or `FloorTest` with ``good``) has one copy of weight 1 and no
    epochs: each key counts once and for ever.

    Args:
        start: the test, at its start: a `HarmTest` (of each key the first call), an `EventTest` (the first
            error), a `LatencyTest` (the first call's duration), a `FloorTest`, or a test of health.

    Attributes:
        copies: those that live, oldest first.
        epochs: how many have opened.
        long: how many of them are long.
        calls: of the candidate since a long epoch last opened by count.
        table: which keys have counted.
        log_evidence: ``ln(max_m w_m E_m)`` now.
        alarm: whether that has been at ``ln(1/alpha)`` at any time so far; it stays.

    >>> test = KeyedTest(EventTest(alpha=0.01))
    >>> for _ in range(3):  # the same four users fail again and again: they count once
    ...     test = test.update(KeyBlock({1: 1.0, 2: 1.0, 3: 1.0, 4: 1.0}, {}, share=0.5))
    >>> test.alarm, len(test.table)
    (False, 4)
    >>> test.update(KeyBlock({key: 1.0 for key in range(5, 20)}, {}, share=0.5)).alarm
    True
    """

    start: OneTest
    copies: tuple[Copy, ...] = field(default=(), kw_only=True, repr=False)
    epochs: int = field(default=1, kw_only=True)
    long: int = field(default=1, kw_only=True)
    calls: int = field(default=0, kw_only=True)
    table: KeyTable = field(default_factory=KeyTable, kw_only=True)
    alarm: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        if not self.copies:
            object.__setattr__(self, "copies", (Copy(1, _plain(self.start), 1),))

    @property
    def alpha(self) -> float:
        """The chance of a false alarm (of a wrong word, for a test of health), ever."""
        return self.start.alpha

    @property
    def log_evidence(self) -> float:
        """``ln(max_m w_m E_m)`` now."""
        return max(copy.log_evidence for copy in self.copies)

    def update(self, block: KeyBlock) -> KeyedTest:
        """Return the test after one more block.

        Raises:
            InvalidValue: the block has other values than the test needs: a rate from 0 to 1, a bin, or no
                share where it takes one.
        """
        sums = running(self.start, block)
        units = block.units(events=isinstance(self.start, EventTest))
        table, marks = self.table.marking([key for key, _, _ in units], self.epochs)
        groups: dict[int, list[tuple[bool, float]]] = {}
        if marks.count(0) == len(marks):  # nearly always all are new
            groups[0] = [(candidate, value) for _, candidate, value in units]
        else:
            for (_, candidate, value), mark in zip(units, marks, strict=True):
                if mark is not None:
                    groups.setdefault(mark, []).append((candidate, value))
        copies = tuple(_grown(self.copies, sums, sorted(groups.items())))
        top = max(copy.log_evidence for copy in copies)
        calls = self.calls + block.candidate_calls
        following = replace(
            self,
            copies=copies,
            table=table,
            calls=calls % EVERY,
            alarm=self.alarm or top >= -math.log(self.alpha),
        )
        if calls >= EVERY:
            return following.epoch()
        return _opened(following, 0) if calls // SHORT > self.calls // SHORT else following

    def epoch(self) -> KeyedTest:
        """Return the test with a new long epoch open; a test of health has none."""
        following = _opened(self, self.long + 1)
        oldest = following.copies[0].epoch  # what counted before it is as good as new
        return replace(following, table=following.table.since(oldest)) if oldest > 1 else following

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, from which `from_dict` makes the same test."""
        return pack(
            "KeyedTest",
            start=self.start.to_dict(),
            copies=[[copy.epoch, copy.long, copy.test.to_dict()] for copy in self.copies],
            epochs=self.epochs,
            long=self.long,
            calls=self.calls,
            table=self.table.to_dict(),
            alarm=self.alarm,
            **_FIXED,
        )

    @classmethod
    def from_dict(cls, data: object) -> KeyedTest:
        """Return a stored test; refuse what is none, or of other settings, by name, with `InvalidValue`."""
        fields = opened(data, "KeyedTest", _STORED | {"start"}, _FIXED)
        start, epochs = _test_of("start", fields["start"]), count("epochs", fields["epochs"])
        pairs = fields["copies"]
        if not isinstance(pairs, (list, tuple)) or not 0 < len(pairs) <= MOST_COPIES:
            raise InvalidValue(f"copies is no list of 1 to {MOST_COPIES} copies")
        copies = tuple(_copy_of(f"copies[{place}]", pair, start) for place, pair in enumerate(pairs))
        opened_at = [copy.epoch for copy in copies]
        if opened_at != sorted(set(opened_at)) or opened_at[0] < 1 or opened_at[-1] != epochs:
            raise InvalidValue(f"copies began at {opened_at}; rising epochs are needed, up to {epochs}")
        long = count("long", fields["long"])
        if any(copy.long > min(long, copy.epoch) for copy in copies) or not 0 < long <= epochs:
            raise InvalidValue(f"long is {long}; of {epochs} epochs not that many, or more, are long")
        if (calls := count("calls", fields["calls"])) >= EVERY:
            raise InvalidValue(f"calls is {calls}; a long epoch opens after {EVERY}, so fewer are needed")
        table = KeyTable.from_dict(fields["table"])
        if any(table.last(key) > epochs for key in table):
            raise InvalidValue(f"table has a key of an epoch that has not opened: {epochs} have")
        alarm = flag("alarm", fields["alarm"])
        return cls(start, copies=copies, epochs=epochs, long=long, calls=calls, table=table, alarm=alarm)


def _opened(test: KeyedTest, long: int) -> KeyedTest:
    """Return a test with one more epoch: the long one of this number, or (0) a short one."""
    if is_health(test.start):
        return test
    epochs = test.epochs + 1
    copies = (*test.copies, Copy(epochs, _plain(test.copies[-1].test), long))
    if len(copies) > MOST_COPIES:
        least = min(copies[:-NEWEST], key=lambda copy: copy.log_evidence)
        copies = tuple([copy for copy in copies if copy is not least])
    return replace(test, copies=copies, epochs=epochs, long=long or test.long)


def _plain(test: OneTest) -> OneTest:
    """Return what a copy begins as."""
    return test if isinstance(test, (HealthTest, LatencyHealthTest)) else test.plain()


def _grown(
    copies: tuple[Copy, ...], sums: Running, groups: list[tuple[int, list[tuple[bool, float]]]]
) -> list[Copy]:
    """Return the copies after each has counted what it had not: younger ones what older ones do, and more."""
    grown, place = [], 0
    for copy in copies:
        while place < len(groups) and groups[place][0] < copy.epoch:
            sums.add(groups[place][1])
            place += 1
        grown.append(Copy(copy.epoch, sums.given(copy.test), copy.long) if sums else copy)
    return grown


def _test_of(name: str, data: object) -> OneTest:
    kind = data.get("kind") if isinstance(data, Mapping) else None
    if (known := _KINDS.get(str(kind))) is None:
        raise InvalidValue(f"{name} was stored as {kind!r}; one of {', '.join(_KINDS)} is needed")
    return known.from_dict(data)


def _copy_of(name: str, pair: object, start: OneTest) -> Copy:
    if not isinstance(pair, (list, tuple)) or len(pair) != len(("epoch", "long", "test")):
        raise InvalidValue(f"{name} is no list of an epoch, a long epoch and a test")
    test = _test_of(f"{name}[2]", pair[2])
    if _settings(test) != _settings(start):
        raise InvalidValue(f"{name} is of other settings than start: evidence cannot be carried on")
    return Copy(count(f"{name}[0]", pair[0]), test, count(f"{name}[1]", pair[1]))


def _settings(test: OneTest) -> tuple[object, ...]:
    if isinstance(test, LatencyHealthTest):
        return type(test), test.thresholds
    names = ("alpha", "tolerance", "margin", "p0", "good", "bins")
    return type(test), *(getattr(test, name, None) for name in names)
