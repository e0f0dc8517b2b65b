"""`Round`: what one look counted at one revision for both arms of a try, as numbers that tests take."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from .analysis import Block, KeyBlock, KeyCalls, LatencyBlock
from .arms import Arm
from .evidence import Evidence, Place
from .histogram import ABOVE
from .sums import PairSums

__all__ = ["BINS", "ERRORS", "Arms", "Rates", "Round", "Times", "counts_of", "disagreed_of", "rounds_of"]

ERRORS = "error_rate"
"""The number that every call has: whether it failed."""

BINS = ABOVE + 1

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Arms:
    """Who is compared at a revision. Immutable.

    Attributes:
        trial, control: the two variants, to the end of a try.
        share: of the trial among both, as routing assigned it; None: only one of them was drawn.
    """

    trial: str
    control: str
    share: float | None


@dataclass(frozen=True, slots=True)
class Rates:
    """A number of both arms: by key where routing is sticky, else as sums.

    Tests of rates and durations are given the *realised* share of each block, not the assigned one. Calls are
    told when they end, so those of a slower trial come later: under the assigned share what is still on its
    way would look like successes that are missing. Of events alone nothing is missing that way.

    Attributes:
        share: of the trial, as assigned.
        sums: calls that have no key: of the trial, how many and how bad, then of the control.
        trial, control: what each key did.
        first: the first call's value of each key, of the trial and of the control.
        calls: of the trial, all of them.
    """

    share: float
    sums: tuple[int, float, int, float]
    trial: Mapping[int, KeyCalls]
    control: Mapping[int, KeyCalls]
    first: tuple[Mapping[int, float], Mapping[int, float]]
    calls: int

    @property
    def units(self) -> tuple[int, float, int, float]:
        """Keys, and calls without one: of the trial how many and how bad (their first), then of the other."""
        n_c, x_c, n_s, x_s = self.sums
        trial, control = self.first
        more = len(trial), math.fsum(trial.values()), len(control), math.fsum(control.values())
        return n_c + more[0], x_c + more[1], n_s + more[2], x_s + more[3]

    def block(self, *, events: bool = False) -> Block:
        """Return the sums alone; of events, of which a call may have several, no number of calls."""
        n_c, x_c, n_s, x_s = self.sums
        if events:
            n_c, n_s = math.ceil(x_c), math.ceil(x_s)
        return Block(n_c, min(x_c, n_c), n_s, min(x_s, n_s), self.share if events else None)

    def key_block(self, *, events: bool = False) -> KeyBlock:
        """Return each key's value: of its first call; of events 1 if anything happened to it."""
        if events:
            trial = {key: 1.0 for key, done in self.trial.items() if done.bad > 0}
            control = {key: 1.0 for key, done in self.control.items() if done.bad > 0}
        else:
            trial, control = dict(self.first[0]), dict(self.first[1])
        keyless = self.block(events=events) if any(self.sums) else None
        share = self.share if events else None
        return KeyBlock(trial, control, share, calls=self.calls, keyless=keyless)


@dataclass(frozen=True, slots=True)
class Times:
    """Durations of both arms, by bin.

    Attributes:
        share: of the trial, as assigned.
        trial, control: calls without a key, by bin.
        first: the bin of each key's first call, of the trial and of the control.
        calls: of the trial, all of them.
    """

    share: float
    trial: Mapping[int, int]
    control: Mapping[int, int]
    first: tuple[Mapping[int, float], Mapping[int, float]]
    calls: int

    @property
    def counts(self) -> tuple[dict[int, int], dict[int, int]]:
        """Durations of the trial and of the control, by bin: of each key the first, and of calls without."""
        both = dict(self.trial), dict(self.control)
        for counts, keys in zip(both, self.first, strict=True):
            for index in keys.values():
                counts[int(index)] = counts.get(int(index), 0) + 1
        return both

    def block(self) -> LatencyBlock:
        """Return the calls without a key."""
        return LatencyBlock(counts_of(self.trial), counts_of(self.control))

    def key_block(self) -> KeyBlock:
        """Return each key's first duration."""
        keyless = self.block() if self.trial or self.control else None
        return KeyBlock(self.first[0], self.first[1], calls=self.calls, keyless=keyless)


@dataclass(frozen=True, slots=True)
class Round:
    """What one look counted at one revision. Immutable.

    Attributes:
        share: of the trial, as assigned; None: there was no split.
        now: when it was looked, in seconds since 1970.
        trial, control: what each did, one of both for each endpoint.
        pairs: answers of the trial that were compared with the control's, as its shadow.
        floor: answers of the control that were compared with its own.
    """

    share: float | None
    now: float
    trial: tuple[Arm, ...]
    control: tuple[Arm, ...]
    pairs: tuple[PairSums, ...] = ()
    floor: tuple[PairSums, ...] = ()

    @property
    def heard(self) -> tuple[bool, bool]:
        """Whether the trial and the control had a call (or the trial watched one)."""
        watched = any(pairs.compared for pairs in self.pairs)
        drawn = self.share is not None and any(arm.calls for arm in self.trial)
        return watched or drawn, any(arm.calls or arm.alone[0] for arm in self.control)

    def rates(self, number: str) -> Rates | None:
        """Return a number of both arms; None: there was no split."""
        if self.share is None:
            return None
        sums, keyed = [0, 0.0, 0, 0.0], ({}, {})  # type: tuple[list[float], tuple[_Keyed, _Keyed]]
        for arms in zip(self.trial, self.control, strict=True):
            found = [_number(arm, number) for arm in arms]
            sticky = any(keys for _, _, keys in found)
            for place, (calls, bad, keys) in enumerate(found):
                if sticky:
                    _merge(keyed[place], keys)
                else:
                    sums[2 * place] += calls
                    sums[2 * place + 1] += bad
        trial, control = _apart(*keyed)
        return Rates(
            self.share,
            (int(sums[0]), sums[1], int(sums[2]), sums[3]),
            {key: done for key, (done, _) in trial.items()},
            {key: done for key, (done, _) in control.items()},
            ({key: first for key, (_, first) in trial.items()}, {k: f for k, (_, f) in control.items()}),
            sum(arm.calls for arm in self.trial),
        )

    def times(self, of: str) -> Times | None:
        """Return durations of both arms; None: there was no split.

        Args:
            of: of a stream: to its ``first_item``, its ``total``, or ``per_item``.
        """
        if self.share is None:
            return None
        plain: tuple[dict[int, int], dict[int, int]] = ({}, {})
        keyed: tuple[dict[int, tuple[int, float]], dict[int, tuple[int, float]]] = ({}, {})
        for arms in zip(self.trial, self.control, strict=True):
            sticky = any(arm.keys for arm in arms)
            for place, arm in enumerate(arms):
                seconds, keys = _durations(arm, of)
                if sticky:
                    for key, (index, time) in keys:
                        if key not in keyed[place] or time < keyed[place][key][1]:
                            keyed[place][key] = index, time
                else:
                    _add(plain[place], seconds)
        trial, control = _apart(*keyed)
        first = {k: float(b) for k, (b, _) in trial.items()}, {k: float(b) for k, (b, _) in control.items()}
        return Times(self.share, plain[0], plain[1], first, sum(arm.calls for arm in self.trial))

    @property
    def watched_errors(self) -> Block | None:
        """Failures of a shadow against those of the control, whose answers it watched; None: it did not.

        A call that the control failed is not watched, and failures of both go together if anything: so this
        sees no harm that is not there.
        """
        seen, failed = sum(pairs.compared for pairs in self.pairs), sum(pairs.failed for pairs in self.pairs)
        calls = sum(arm.calls + arm.alone[0] for arm in self.control)
        errors = sum(arm.errors + arm.alone[1] for arm in self.control)
        return Block(seen, failed, calls, errors) if seen and calls else None

    @property
    def watched_times(self) -> LatencyBlock | None:
        """Durations of a shadow and of what it watched, call by call; None: it watched nothing."""
        shadow, champion = dict[int, int](), dict[int, int]()
        for pairs in self.pairs:
            _add(shadow, pairs.seconds)
            _add(champion, pairs.champion_seconds)
        if not shadow or not champion:
            return None
        return LatencyBlock(counts_of(shadow), counts_of(champion))


def disagreed_of(sums: Iterable[PairSums]) -> tuple[tuple[int, float], dict[int, float]]:
    """Return how many pairs have no key and how many of these disagree, and whether each key's first does."""
    compared, bad = 0, 0.0
    firsts: dict[int, tuple[float, float]] = {}
    for pairs in sums:
        if not pairs.keys:
            compared, bad = compared + pairs.compared, bad + pairs.disagreed
        for key, (disagreed, _, time) in pairs.keys.items():
            if key not in firsts or time < firsts[key][1]:
                firsts[key] = float(disagreed), time
    return (compared, bad), {key: value for key, (value, _) in firsts.items()}


def rounds_of(evidence: Evidence, arms: Mapping[int, Arms], now: float) -> Iterator[tuple[int, _Maker]]:
    """Yield by revision what makes the rounds of evidence, in order: called with the endpoint, or with None.

    Args:
        evidence: what all workers counted.
        arms: who is compared, by revision; what was counted at others is left out.
        now: when it is looked, in seconds since 1970.
    """
    for revision in sorted({place.revision for place in (*evidence.arms, *evidence.pairs)}):
        if (who := arms.get(revision)) is not None:
            yield revision, _maker(evidence, revision, who, now)


_Maker = Callable[[str | None], Round]
_Keyed = dict[int, tuple[KeyCalls, float]]


def _maker(evidence: Evidence, revision: int, who: Arms, now: float) -> _Maker:
    def make(endpoint: str | None) -> Round:
        places = [
            place
            for place in sorted({*evidence.arms, *evidence.pairs})
            if place.revision == revision and endpoint in (None, place.endpoint)
        ]
        trial, control = _arms(evidence, places, who.trial), _arms(evidence, places, who.control)
        pairs, floor = _pairs(evidence, places, who.trial), _pairs(evidence, places, who.control)
        return Round(who.share, now, trial, control, pairs, floor)

    return make


def _arms(evidence: Evidence, places: Sequence[Place], variant: str) -> tuple[Arm, ...]:
    return tuple(evidence.arms.get(place, {}).get(variant) or Arm() for place in places)


def _pairs(evidence: Evidence, places: Sequence[Place], variant: str) -> tuple[PairSums, ...]:
    found = (evidence.pairs.get(place, {}).get(variant) for place in places)
    return tuple(pairs for pairs in found if pairs is not None)


def _number(arm: Arm, number: str) -> tuple[float, float, _Keyed]:
    """Return how often an arm had a number, how bad it was in all, and by key."""
    if number == ERRORS:
        keys = {
            key: (KeyCalls(sums.calls, float(sums.errors), sums.time), float(sums.first_error))
            for key, sums in arm.keys.items()
        }
        return arm.calls, float(arm.errors), keys
    if (measured := arm.measures.get(number)) is None:
        return 0, 0.0, {}
    first = {key: (KeyCalls(1, bad, time), bad) for key, (bad, time) in measured.keys.items()}
    return measured.calls, measured.bad, first


def _merge(known: _Keyed, more: _Keyed) -> None:
    """Add what keys did at another endpoint: what came first is the earlier one's."""
    for key, (done, first) in more.items():
        if (old := known.get(key)) is None:
            known[key] = done, first
            continue
        before, value = old
        calls = KeyCalls(before.calls + done.calls, before.bad + done.bad, min(before.time, done.time))
        known[key] = calls, value if before.time <= done.time else first


def _durations(arm: Arm, of: str) -> tuple[Mapping[int, int], Iterable[tuple[int, tuple[int, float]]]]:
    """Return the durations of an arm: of calls by bin, and of each key's first one; failures have none."""
    if of != "first_item":
        timing = arm.timings.get(of)
        return ({}, ()) if timing is None else (timing.seconds, timing.keys.items())
    keys = ((key, (s.first_bin, s.time)) for key, s in arm.keys.items() if not s.first_error)
    return arm.seconds, keys


def _apart(trial: dict[int, _T], control: dict[int, _T]) -> tuple[dict[int, _T], dict[int, _T]]:
    """Return both without the keys that are in both: chance put their calls on both sides."""
    both = trial.keys() & control.keys()
    if not both:
        return trial, control
    return (
        {key: value for key, value in trial.items() if key not in both},
        {key: value for key, value in control.items() if key not in both},
    )


def _add(counts: dict[int, int], more: Mapping[int, int]) -> None:
    for index, number in more.items():
        counts[index] = counts.get(index, 0) + number


def counts_of(counts: Mapping[int, int]) -> list[int]:
    """Return counts by bin as one list of all bins."""
    every = [0] * BINS
    for index, number in counts.items():
        every[index] += number
    return every
