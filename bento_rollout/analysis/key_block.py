"""What one flush counted by key, and how it is summed for a test."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from ..errors import InvalidValue
from .arithmetic import count, finite, inside
from .block import Block, joint_share
from .floor import FloorTest
from .harm import EventTest, HarmTest
from .health import HealthTest
from .key_table import HASHES
from .latency import BINS, LatencyBlock, LatencyTest
from .latency_health import LatencyHealthTest

__all__ = ["KeyBlock", "OneTest", "Running", "running"]

OneTest = HarmTest | EventTest | LatencyTest | FloorTest | HealthTest | LatencyHealthTest
"""What can be tested by key."""


@dataclass(frozen=True, slots=True)
class KeyBlock:
    """What keys did in one flush, by the 64-bit hash of each; never across a revision.

    The value of a key is that of its first call in the flush: for a rate a number from 0 to 1 (1: bad), for
    durations the bin. For an `EventTest` only keys that failed need be there; keys of value 0 do not count.

    ``+`` merges the blocks of several workers. Where one key is in both, the left one's value is taken: in
    what order workers are added must not depend on outcomes (by their names, or by time).

    Args:
        candidate: values of its keys.
        champion: values of its keys; a key is in one arm.
        share: the share of the candidate that routing assigned, above 0 and below 1; None: the realised one.
        calls: of the candidate in the flush, repeated ones of a key included; by them epochs open. None:
            as many as it has units here.
        keyless: sums of the calls that had no key: each is a unit of its own. A `LatencyBlock` for
            durations; its share is this block's.

    Raises:
        InvalidValue: a hash, value or share that cannot be, or a key that is in both arms.

    >>> one, other = KeyBlock({7: 1.0}, {8: 0.0}, share=0.5), KeyBlock({7: 0.0}, {9: 0.0}, share=0.5)
    >>> (one + other).candidate, sorted((one + other).champion)
    ({7: 1.0}, [8, 9])
    """

    candidate: Mapping[int, float]
    champion: Mapping[int, float]
    share: float | None = None
    calls: int | None = field(default=None, kw_only=True)
    keyless: Block | LatencyBlock | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        for name, arm in (("candidate", self.candidate), ("champion", self.champion)):
            for key, value in arm.items():
                if type(key) is not int or not 0 <= key < HASHES:
                    raise InvalidValue(f"{name} has {key!r} as a key; a hash from 0 to below 2**64 is needed")
                if type(value) is float and 0.0 <= value <= BINS:  # nearly always; names are made for errors
                    continue
                if finite(f"a value of {name}", value) < 0:
                    raise InvalidValue(f"a value of {name} is {value!r}; a number from 0 is needed")
        if both := self.candidate.keys() & self.champion.keys():
            raise InvalidValue(f"{len(both)} keys are in both arms: at one revision each is in one of them")
        if self.share is not None:
            inside("share", self.share)
        if self.calls is not None:
            count("calls", self.calls)
        if self.keyless is not None and self.keyless.share not in (None, self.share):
            raise InvalidValue(f"keyless has the share {self.keyless.share}; the block's is {self.share}")

    def __add__(self, other: KeyBlock) -> KeyBlock:
        if not isinstance(other, KeyBlock):
            return NotImplemented
        return KeyBlock(
            {**other.candidate, **self.candidate},
            {**other.champion, **self.champion},
            joint_share(self.share, other.share),
            calls=self.candidate_calls + other.candidate_calls,
            keyless=_together(self.keyless, other.keyless),
        )

    @property
    def candidate_calls(self) -> int:
        """Calls of the candidate, as far as they are known."""
        if self.calls is not None:
            return self.calls
        alone = 0
        if self.keyless is not None:
            keyless = self.keyless
            alone = keyless.n_candidate if isinstance(keyless, Block) else sum(keyless.candidate)
        return len(self.candidate) + alone

    def units(self, *, events: bool) -> list[tuple[int, bool, float]]:
        """Return each key that may count, whether it is the candidate's, and its value.

        Args:
            events: leave out keys of value 0: nothing happened to them.
        """
        arms = ((True, self.candidate), (False, self.champion))
        if events:
            return [(key, mine, value) for mine, arm in arms for key, value in arm.items() if value]
        return [(key, mine, value) for mine, arm in arms for key, value in arm.items()]


class Running(Protocol):
    """Sums that grow by one key after another, and are given to tests in between."""

    def __bool__(self) -> bool:
        """Whether anything was counted."""

    def add(self, units: Iterable[tuple[bool, float]]) -> None:
        """Count keys: whether each is the candidate's, and its value."""

    def given(self, test: OneTest) -> OneTest:
        """Return a test after a block of these sums."""


def running(test: OneTest, block: KeyBlock) -> Running:
    """Return sums for a test, begun with the units that have no key.

    Raises:
        InvalidValue: the keyless sums are of another kind, or a value is none of this test.
    """
    durations, keyless = isinstance(test, (LatencyTest, LatencyHealthTest)), block.keyless
    if keyless is not None and durations != isinstance(keyless, LatencyBlock):
        raise InvalidValue(f"keyless is a {type(keyless).__name__}; {type(test).__name__} takes another")
    if isinstance(test, EventTest) and block.share is None:
        raise InvalidValue("share is None; EventTest needs the share that was assigned")
    _check_values(block, durations=durations)
    if isinstance(keyless, LatencyBlock):
        return _Bins(block.share, [*keyless.candidate], [*keyless.champion])
    if durations:
        return _Bins(block.share, [0] * BINS, [0] * BINS)
    if keyless is None:
        return _Rates(block.share, [0, 0], [0, 0])
    candidate = [keyless.n_candidate, keyless.x_candidate]
    return _Rates(block.share, candidate, [keyless.n_champion, keyless.x_champion])


def _check_values(block: KeyBlock, *, durations: bool) -> None:
    most = BINS - 1 if durations else 1
    for name, arm in (("candidate", block.candidate), ("champion", block.champion)):
        wrong = next((value for value in arm.values() if value != int(value)), None) if durations else None
        if wrong is None and (wrong := max(arm.values(), default=0)) <= most:
            continue
        kind = f"a bin from 0 to {most}" if durations else "a number from 0 to 1"
        raise InvalidValue(f"a value of {name} is {wrong!r}; {kind} is needed")


@dataclass(slots=True)
class _Rates:
    """How many keys, and how bad they were."""

    share: float | None
    candidate: list[float]
    champion: list[float]
    _block: Block | None = None

    def __bool__(self) -> bool:
        return bool(self.candidate[0] or self.champion[0])

    def add(self, units: Iterable[tuple[bool, float]]) -> None:
        mine, theirs, self._block = self.candidate, self.champion, None
        for candidate, value in units:
            arm = mine if candidate else theirs
            arm[0] += 1
            arm[1] += value

    def given(self, test: OneTest) -> OneTest:
        if isinstance(test, FloorTest):
            return test.update(int(self.candidate[0]), self.candidate[1])
        if isinstance(test, (LatencyTest, LatencyHealthTest)):
            raise InvalidValue(f"{type(test).__name__} takes durations, and these are rates")
        if self._block is None:  # copies that count the same share it
            (n_c, x_c), (n_s, x_s) = self.candidate, self.champion
            self._block = Block(int(n_c), x_c, int(n_s), x_s, self.share)
        return test.update(self._block)


@dataclass(slots=True)
class _Bins:
    """How many keys had a duration in each bin."""

    share: float | None
    candidate: list[int]
    champion: list[int]
    _block: LatencyBlock | None = None
    _sums: list[tuple[int, int, int, int]] | None = None

    def __bool__(self) -> bool:
        return any(self.candidate) or any(self.champion)

    def add(self, units: Iterable[tuple[bool, float]]) -> None:
        for candidate, value in units:
            (self.candidate if candidate else self.champion)[int(value)] += 1
        self._block = self._sums = None

    def given(self, test: OneTest) -> OneTest:
        if not isinstance(test, (LatencyTest, LatencyHealthTest)):
            raise InvalidValue(f"{type(test).__name__} takes rates, and these are durations")
        if self._block is None:
            self._block = LatencyBlock(self.candidate, self.champion, self.share)
        if isinstance(test, LatencyHealthTest):
            return test.update(self._block)
        if self._sums is None:  # copies of one test share their thresholds
            self._sums = test.sums(self._block)
        return test.after(self._sums, self.share)


def _together(
    left: Block | LatencyBlock | None, right: Block | LatencyBlock | None
) -> Block | LatencyBlock | None:
    if left is None or right is None:
        return left or right
    if isinstance(left, Block) and isinstance(right, Block):
        return left + right
    if isinstance(left, LatencyBlock) and isinstance(right, LatencyBlock):
        return left + right
    raise InvalidValue("keyless is a Block in one and a LatencyBlock in the other: these are two metrics")
