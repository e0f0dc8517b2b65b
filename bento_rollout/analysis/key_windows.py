"""Keys' first windows: how bad each key's first minute was, which is what health is about."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..errors import InvalidValue
from .arithmetic import count, finite, inside
from .key_block import KeyBlock
from .key_table import CAPACITY, HASHES
from .stored import flag, opened, pack

__all__ = ["KeyCalls", "KeyWindows", "Window"]

SECONDS = 60.0
"""How long a key's calls are averaged, from its first one."""


class KeyCalls(NamedTuple):
    """What one key did in one flush.

    Attributes:
        calls: how many.
        bad: the sum of their bad outcomes, each from 0 to 1.
        time: of the first of them, in seconds since any fixed moment.
    """

    calls: int
    bad: float
    time: float


class Window(NamedTuple):
    """A key's window while it is open.

    Attributes:
        candidate: whether its first call was the candidate's; calls of the other arm do not count.
        share: what was assigned then.
        calls, bad: sums so far.
        begun: the time of its first call.
    """

    candidate: bool
    share: float
    calls: int
    bad: float
    begun: float


@dataclass(frozen=True, slots=True)
class KeyWindows:
    """Averages each key's outcomes over its first window; what comes out is for a `KeyedTest` of health.

    "Healthy" is about what a user meets, and one call of a key says less than all of its first minute. A
    window is closed by the clock, never by outcomes, so the means are as valid as single outcomes. A key
    that comes again gets another window; the test, in which a key counts once and for ever, ignores it.

    Bounded: with more than ``capacity`` windows open, those whose hash lies at or above half the present
    cut are given up, in both arms alike, and such keys get none any more.

    Args:
        seconds: how long a window is open, above 0.
        capacity: windows that are open at most, 1 or more.

    Attributes:
        cut: hashes at or above it get no window.
        windows: those that are open, by the hash of the key.

    Raises:
        InvalidValue: a setting that cannot be, by its name.

    >>> windows, first = KeyWindows(), {7: KeyCalls(2, 1, 0.0)}
    >>> windows, closed = windows.update(first, {8: KeyCalls(1, 0, 1.0)}, share=0.5, now=1.0)
    >>> closed
    ()
    >>> windows, closed = windows.update({7: KeyCalls(2, 0, 30.0)}, {}, share=0.5, now=90.0)
    >>> [(block.candidate, block.champion) for block in closed]
    [({7: 0.25}, {8: 0.0})]
    """

    seconds: float = SECONDS
    capacity: int = CAPACITY
    cut: int = field(default=HASHES, kw_only=True)
    windows: Mapping[int, Window] = field(default_factory=dict, kw_only=True, repr=False)

    def __post_init__(self) -> None:
        if finite("seconds", self.seconds) <= 0:
            raise InvalidValue(f"seconds is {self.seconds!r}; a number above 0 is needed")
        if count("capacity", self.capacity) < 1:
            raise InvalidValue(f"capacity is {self.capacity!r}; one window or more is needed")
        if type(self.cut) is not int or not 0 < self.cut <= HASHES:
            raise InvalidValue(f"cut is {self.cut!r}; a whole number from 1 to 2**64 is needed")

    def update(
        self,
        candidate: Mapping[int, KeyCalls],
        champion: Mapping[int, KeyCalls],
        *,
        share: float,
        now: float,
    ) -> tuple[KeyWindows, tuple[KeyBlock, ...]]:
        """Return the windows after one flush, and what was closed meanwhile, one block for each share.

        Args:
            candidate, champion: what keys did in the flush, by their 64-bit hashes.
            share: of the candidate, as it was assigned at the revision of the flush.
            now: the time, on the clock of `KeyCalls.time`; after a jump windows close early or late.

        Raises:
            InvalidValue: sums, a hash, a share or a time that cannot be; the windows stay as they are.
        """
        inside("share", share)
        finite("now", now)
        windows = dict(self.windows)
        for is_candidate, arm in ((True, candidate), (False, champion)):
            for key, calls in _checked(arm):
                if key < self.cut:
                    self._count(windows, key, calls, candidate=is_candidate, share=share)
        done = [key for key, window in windows.items() if now >= window.begun + self.seconds]
        closed = [(key, windows.pop(key)) for key in done]
        cut = self.cut
        while len(windows) > self.capacity:
            cut //= 2
            windows = {key: window for key, window in windows.items() if key < cut}
        blocks = _blocks([(key, window) for key, window in closed if key < cut])
        return KeyWindows(self.seconds, self.capacity, cut=cut, windows=windows), blocks

    def _count(
        self, windows: dict[int, Window], key: int, calls: KeyCalls, *, candidate: bool, share: float
    ) -> None:
        """Add a key's calls to its window, or open one; calls of the other arm, or too late, are left out."""
        window = windows.get(key)
        if window is None:
            windows[key] = Window(candidate, share, calls.calls, calls.bad, calls.time)
        elif window.candidate is candidate and calls.time < window.begun + self.seconds:
            more = window.calls + calls.calls, window.bad + calls.bad
            windows[key] = Window(candidate, window.share, *more, min(window.begun, calls.time))

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, from which `from_dict` makes the same windows."""
        windows = [[key, *window] for key, window in self.windows.items()]
        return pack("KeyWindows", seconds=self.seconds, capacity=self.capacity, cut=self.cut, windows=windows)

    @classmethod
    def from_dict(cls, data: object) -> KeyWindows:
        """Return stored windows; refuse what is none, by name, with `InvalidValue`."""
        fields = opened(data, "KeyWindows", frozenset({"seconds", "capacity", "cut", "windows"}))
        if not isinstance(fields["windows"], (list, tuple)):
            raise InvalidValue(f"windows is {type(fields['windows']).__name__}; a list is needed")
        empty = cls(fields["seconds"], fields["capacity"], cut=fields["cut"])
        windows = dict(_window_of(f"windows[{n}]", row) for n, row in enumerate(fields["windows"]))
        if len(windows) < len(fields["windows"]) or len(windows) > empty.capacity:
            raise InvalidValue("windows has a key twice, or more keys than the capacity")
        if any(key >= empty.cut for key in windows):
            raise InvalidValue(f"windows has a key that is not below the cut {empty.cut}")
        return cls(empty.seconds, empty.capacity, cut=empty.cut, windows=windows)


def _checked(arm: Mapping[int, KeyCalls]) -> Iterator[tuple[int, KeyCalls]]:
    """Yield an arm's keys; refuse sums that cannot be."""
    for key, (calls, bad, time) in arm.items():
        if type(key) is not int or not 0 <= key < HASHES:
            raise InvalidValue(f"{key!r} is no hash of a key, from 0 to below 2**64")
        if not 0.0 <= finite("bad", bad) <= count("calls", calls) or not calls:
            raise InvalidValue(f"bad is {bad!r} of {calls!r} calls; a sum from 0 to calls is needed")
        yield key, KeyCalls(calls, bad, finite("time", time))


def _blocks(closed: list[tuple[int, Window]]) -> tuple[KeyBlock, ...]:
    """Return the means of closed windows, apart by share: a block never crosses a revision."""
    by_share: dict[float, tuple[dict[int, float], dict[int, float]]] = {}
    for key, window in closed:
        arms = by_share.setdefault(window.share, ({}, {}))
        arms[0 if window.candidate else 1][key] = min(1.0, window.bad / window.calls)
    return tuple(KeyBlock(arms[0], arms[1], share) for share, arms in by_share.items())


def _window_of(name: str, row: object) -> tuple[int, Window]:
    if not isinstance(row, (list, tuple)) or len(row) != 1 + len(Window._fields):
        raise InvalidValue(f"{name} is no list of a hash and the {len(Window._fields)} parts of a window")
    key, candidate, share, calls, bad, begun = row
    ((key, sums),) = _checked({key: KeyCalls(calls, bad, begun)})
    return key, Window(flag(name, candidate), inside("share", share), *sums)
