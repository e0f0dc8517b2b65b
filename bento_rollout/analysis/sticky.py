"""Harm where routing is sticky: the unit is the key, and a key counts once for each epoch.

A key that always fails, or is always slow, would be counted with each of its calls, though chance drew it
only once: such a test gives many times the false alarms that it promises. A key that counts only once *ever*
would make the test blind as soon as most keys were seen. So copies of the test begin anew, epoch by epoch,
and copy ``j`` counts what a key did first since its epoch opened. The copies see different data, so they are
not averaged: the test alarms when the largest ``w_j E_j`` reaches ``1/alpha``, with ``w_j = 1/(j(j+1))``,
which sum to 1 (a union bound).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from ..errors import InvalidValue
from .arithmetic import count, finite, inside, log_mean
from .block import Block
from .harm import ODDS, champion_rate, event_bets, odds_bets
from .stored import flag, numbers, opened, pack

__all__ = ["MOST_COPIES", "MOST_KEYS", "Counts", "KeyTable", "StickyTest"]

MOST_KEYS = 100_000
"""Keys that are remembered; with more, only those of half the hashes are counted, in both arms."""

MOST_COPIES, NEWEST = 20, 5
"""Copies that are kept; of too many the one with the least evidence goes, but none of the newest."""

_WHOLE = 1 << 64

Counts = Mapping[int, tuple[int, float]]
"""Keys, and their bad outcomes, by the epoch in which they counted last before (0: never)."""


class KeyTable:
    """Remembers in which epoch each key counted last. One for each guardrail; not frozen.

    Bounded: when it is full, only keys whose hash lies below half the present cut are kept, and counted from
    then on. Which keys these are has nothing to do with what they did, so tests stay valid, and only slower.

    Args:
        most: keys that are remembered.

    Attributes:
        cut: hashes from here on are not counted; 2**64: all are.

    >>> table = KeyTable()
    >>> table.counted([(11, 1.0), (12, 0.0)], 1), table.counted([(11, 1.0)], 1), table.counted([(11, 0.0)], 2)
    ({0: (2, 1.0)}, {}, {1: (1, 0.0)})
    """

    def __init__(self, most: int = MOST_KEYS) -> None:
        self.cut, self._most = _WHOLE, most
        self._last: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._last)

    def counted(self, keys: Iterable[tuple[int, float]], epoch: int) -> dict[int, tuple[int, float]]:
        """Return what counts of one arm's keys in this epoch, and remember that it did.

        Args:
            keys: 64-bit hashes, each with its first outcome in the flush, from 0 (good) to 1 (bad). For
                tests of events only the keys that had one.
            epoch: the one that is open, from 1.
        """
        counts: dict[int, tuple[int, float]] = {}
        for key, bad in keys:
            if key >= self.cut or (last := self._last.get(key, 0)) >= epoch:
                continue
            number, sum_ = counts.get(last, (0, 0.0))
            counts[last] = number + 1, sum_ + bad
            self._last[key] = epoch
        while len(self._last) > self._most:
            self.cut //= 2
            self._last = {key: last for key, last in self._last.items() if key < self.cut}
        return counts

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, from which `from_dict` makes the same table."""
        return pack(
            "KeyTable", most=self._most, cut=self.cut, keys=[list(pair) for pair in self._last.items()]
        )

    @classmethod
    def from_dict(cls, data: object) -> KeyTable:
        """Return a stored table; refuse what is none, by name, with `InvalidValue`."""
        fields = opened(data, "KeyTable", frozenset({"most", "cut", "keys"}))
        table = cls(count("most", fields["most"]))
        cut, keys = fields["cut"], fields["keys"]
        if type(cut) is not int or not 0 <= cut <= _WHOLE:
            raise InvalidValue(f"cut is {cut!r}; a whole number from 0 to 2**64 is needed")
        if not isinstance(keys, list):
            raise InvalidValue(f"keys is {type(keys).__name__}; a list of pairs is needed")
        table.cut = cut
        for pair in keys:
            if not isinstance(pair, list) or [type(part) for part in pair] != [int, int]:
                raise InvalidValue(f"keys has {pair!r}; pairs of a hash and an epoch are needed")
            if not 0 <= pair[0] < cut or pair[1] < 1:
                raise InvalidValue(f"keys has {pair!r}; a hash below the cut and an epoch from 1 are needed")
            table._last[pair[0]] = pair[1]
        return table


class Copy(NamedTuple):
    """One copy of the test.

    Attributes:
        epoch: when it began.
        logs: what each bet has won, in logs.
        bad, calls: what the champion's keys did, for the rate that it bets with.
    """

    epoch: int
    logs: tuple[float, ...]
    bad: float = 0.0
    calls: float = 0.0

    @property
    def weighed(self) -> float:
        """``ln(w_j E_j)``."""
        return log_mean(self.logs) - math.log(self.epoch) - math.log(self.epoch + 1)


_FIRST = (Copy(1, (0.0,) * len(ODDS)),)


@dataclass(frozen=True, slots=True)
class StickyTest:
    """Is the candidate worse, where what a key does depends on the key?

    The bets are those of `HarmTest`, or with ``events`` those of `EventTest`; see there for the sources. The
    chance that it ever alarms is at most ``alpha`` while the candidate is no worse, whatever single keys do.

    Args:
        alpha: the chance of a false alarm, ever, above 0 and below 1.
        tolerance: what the candidate's rate may be above the champion's; not with ``events``.
        events: count keys that had an event (a first error), and not how many had none.

    Attributes:
        epoch_number: the epoch that is open, which `KeyTable.counted` needs.
        log_evidence: the largest ``ln(w_j E_j)`` now.
        alarm: whether that was at ``ln(1/alpha)`` at any time so far; it stays.

    Raises:
        InvalidValue: a setting that cannot be, by its name.

    >>> test, table = StickyTest(alpha=0.01, events=True), KeyTable()
    >>> failed = table.counted([(key, 1.0) for key in range(5)], test.epoch_number)
    >>> test.update(failed, {}, share=0.05).alarm
    True
    """

    alpha: float = 0.01
    tolerance: float = 0.0
    events: bool = False
    copies: tuple[Copy, ...] = field(default=_FIRST, kw_only=True, repr=False)
    alarm: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        inside("alpha", self.alpha)
        if not 0.0 <= finite("tolerance", self.tolerance) < 1.0 or (self.events and self.tolerance):
            raise InvalidValue(
                f"tolerance is {self.tolerance!r}; a number from 0 to below 1 is needed, 0 with events"
            )

    @property
    def epoch_number(self) -> int:
        """The epoch that is open."""
        return self.copies[-1].epoch

    @property
    def log_evidence(self) -> float:
        """The largest ``ln(w_j E_j)`` now."""
        return max(copy.weighed for copy in self.copies)

    def update(self, candidate: Counts, champion: Counts, *, share: float) -> StickyTest:
        """Return the test after one flush.

        Args:
            candidate, champion: what `KeyTable.counted` told of the keys of each arm.
            share: of the candidate's among the keys of both, as routing assigned it.
        """
        copies = tuple(
            self._updated(copy, _block(candidate, champion, copy.epoch, share)) for copy in self.copies
        )
        following = replace(self, copies=copies)
        alarm = self.alarm or following.log_evidence >= -math.log(self.alpha)
        return replace(following, alarm=alarm)

    def epoch(self) -> StickyTest:
        """Return the test with a new epoch open: at a change of step, and every 1 000 candidate calls."""
        newest = self.copies[-1]
        copies = [*self.copies, Copy(newest.epoch + 1, _FIRST[0].logs, newest.bad, newest.calls)]
        if len(copies) > MOST_COPIES:
            copies.remove(min(copies[:-NEWEST], key=lambda copy: copy.weighed))
        return replace(self, copies=tuple(copies))

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, from which `from_dict` makes the same test."""
        copies = [[copy.epoch, list(copy.logs), copy.bad, copy.calls] for copy in self.copies]
        return pack(
            "StickyTest",
            alpha=self.alpha,
            tolerance=self.tolerance,
            events=self.events,
            alarm=self.alarm,
            copies=copies,
            odds=list(ODDS),
        )

    @classmethod
    def from_dict(cls, data: object) -> StickyTest:
        """Return a stored test; refuse what is none, or of other settings, by name, with `InvalidValue`."""
        names = frozenset({"alpha", "tolerance", "events", "alarm", "copies"})
        fields = opened(data, "StickyTest", names, {"odds": list(ODDS)})
        stored = fields["copies"]
        if not isinstance(stored, list) or not 1 <= len(stored) <= MOST_COPIES:
            raise InvalidValue(f"copies is no list of 1 to {MOST_COPIES}")
        copies = tuple(map(_copy_of, stored))
        epochs = [copy.epoch for copy in copies]
        if epochs != sorted(set(epochs)):
            raise InvalidValue(f"copies have the epochs {epochs}; rising ones are needed")
        return cls(
            fields["alpha"],
            fields["tolerance"],
            flag("events", fields["events"]),
            copies=copies,
            alarm=flag("alarm", fields["alarm"]),
        )

    def _updated(self, copy: Copy, block: Block) -> Copy:
        if self.events:
            bets = event_bets(block, block.needed_share("StickyTest"))
        else:
            rate = champion_rate(copy.bad, copy.calls)
            bets = odds_bets(block.sums, block.needed_share("StickyTest"), rate, ODDS, self.tolerance)
        return Copy(
            copy.epoch,
            tuple([log + bet for log, bet in zip(copy.logs, bets, strict=True)]),
            copy.bad + block.x_champion,
            copy.calls + block.n_champion,
        )


def _block(candidate: Counts, champion: Counts, epoch: int, share: float) -> Block:
    """Return what a copy counts: the keys that have not counted since its epoch opened."""
    return Block(*_sum(candidate, epoch), *_sum(champion, epoch), share=share)


def _sum(counts: Counts, epoch: int) -> tuple[int, float]:
    found = [pair for last, pair in counts.items() if last < epoch]
    return sum(number for number, _ in found), math.fsum(bad for _, bad in found)


def _copy_of(stored: object) -> Copy:
    if not isinstance(stored, list) or len(stored) != len(Copy._fields):
        raise InvalidValue(f"copies has {stored!r}; an epoch, logs, and two sums are needed")
    epoch, bad, calls = count("epoch", stored[0]), finite("bad", stored[2]), finite("calls", stored[3])
    if epoch < 1 or not 0.0 <= bad <= calls:
        raise InvalidValue(f"copies has the epoch {epoch} and the sums {bad} of {calls}: that cannot be")
    return Copy(epoch, numbers("logs", stored[1], len(ODDS)), bad, calls)
