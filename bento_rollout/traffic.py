"""`Traffic`: made-up calls of a rollout that is only planned, drawn in numbers and told as evidence; pure.

Who calls, whom chance gives the call and what becomes of it are drawn from a generator that is handed in. A
part of what a call does is its key's own: some users fail more often, and some are slower, whoever serves.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arms import Arm
from .behaviour import Behaviour, Behaviours
from .columns import Flags, Floats, Ints, bins_of_logs, counted, firsts_of, key_sums
from .errors import InvalidValue
from .evidence import Evidence, Place
from .guardrails import Guardrail, Label, Latency, Measure, split_name
from .sums import MeasureSums, PairSums, Timing

__all__ = ["MOST_KEYS", "Crowd", "Hit", "Split", "Traffic", "endpoints_of"]

MOST_KEYS = 10_000_000
"""Keys that a plan draws calls of."""

_MOST_RATE = 1e6
_MOST_DRAWN = 20_000
"""Calls that are drawn at once; of more, each stands for several."""


@dataclass(frozen=True, slots=True)
class Split:
    """Whom chance gives what. Immutable.

    Attributes:
        trial, control: the two variants.
        share: of the trial; 0: the control answers all.
        shadow: the part of the control's calls that the trial watches.
        promoted: whether the trial is champion.
    """

    trial: str
    control: str
    share: float
    shadow: float = 0.0
    promoted: bool = False

    def chosen(self, position: Floats) -> Flags:
        """Return which of these places, 0 to 1, are the trial's: ranges grow, so who has it keeps it."""
        return position < self.share


@dataclass(frozen=True, slots=True)
class Hit:
    """What users got from the trial. Immutable.

    Attributes:
        calls: of the trial, on average.
        bad: those of them that failed.
    """

    calls: float
    bad: float


@dataclass(frozen=True, slots=True)
class Traffic:
    """How calls come, and what becomes of them. Immutable.

    Args:
        rate: calls a second.
        keys: how many users there are.
        behaviours: what both arms do.
        guardrails: what counts, by name.
        sticky: whether a key keeps its variant; else each call is drawn anew, and keys are not told apart.
        zipf: how unevenly keys call: the one at place ``n`` in proportion to ``n ** -zipf``; 0: evenly.
        per_key: which part of what a call does is its key's own, 0 to below 1.
        sigma: spread of durations: the standard deviation of their natural logarithm.
        endpoints: what is called, each equally often.

    Raises:
        InvalidValue: a number that cannot be, by its name.
    """

    rate: float
    keys: int
    behaviours: Behaviours
    guardrails: Mapping[str, Guardrail] = field(repr=False)
    sticky: bool = True
    zipf: float = 0.0
    per_key: float = 0.1
    sigma: float = 0.5
    endpoints: Sequence[str] = ("predict",)

    def __post_init__(self) -> None:
        for name, value, least, most in (
            ("requests a second", self.rate, math.nextafter(0, 1), _MOST_RATE),
            ("keys", self.keys, 1, MOST_KEYS),
            ("zipf", self.zipf, 0, 5),
            ("per key", self.per_key, 0, math.nextafter(1, 0)),
            ("sigma", self.sigma, 0, 5),
        ):
            if not least <= value <= most:
                above = "above 0" if 0 < least < 1 else f"from {least:g}"
                raise InvalidValue(f"{name} is {value:g}: it lies {above} to {most:g}")

    def distinct(self, calls: float) -> float:
        """Return how many different keys so many calls come from, on average."""
        chances = self._chances()
        if chances is None:
            return self.keys * -math.expm1(calls * math.log1p(-1 / self.keys)) if self.keys > 1 else 1.0
        return float(-np.expm1(calls * np.log1p(-np.minimum(chances, 1 - 1e-12))).sum())

    def _chances(self) -> Floats | None:
        if not self.zipf:
            return None
        weights = np.arange(1, self.keys + 1, dtype=np.float64) ** -self.zipf
        chances: Floats = weights / weights.sum()
        return chances


class Crowd:
    """The keys of one run: where each lies, what is its own, and what it has met.

    Args:
        traffic: how calls come.
        rng: all chance of this run.
        healthy: whether the candidate does what the champion does.
    """

    def __init__(self, traffic: Traffic, rng: np.random.Generator, *, healthy: bool) -> None:
        self._traffic, self._rng = traffic, rng
        base = traffic.behaviours.base
        self._arms = base, base if healthy else traffic.behaviours.candidate
        chances = traffic._chances()  # noqa: SLF001 - the crowd is this traffic's
        self._cumulated = None if chances is None else np.cumsum(chances)
        self._position = rng.random(traffic.keys)
        self._hash = rng.integers(0, 1 << 64, traffic.keys, dtype=np.uint64)
        self._own: dict[str, Floats] = {}
        self._met = np.zeros(traffic.keys, dtype=np.bool_)
        self._hurt = np.zeros(traffic.keys, dtype=np.bool_)

    @property
    def met(self) -> int:
        """Keys that the trial answered."""
        return int(self._met.sum())

    @property
    def hurt(self) -> int:
        """Keys of which the trial failed a call."""
        return int(self._hurt.sum())

    def draw(
        self, split: Split, seconds: float, now: float, revision: int, most: int
    ) -> tuple[Evidence, Evidence, Hit]:
        """Return what happened in some seconds: what is known at once, what labels tell later, and the harm.

        Args:
            split: whom chance gives what.
            seconds: how long.
            now: when they began, in seconds since 1970.
            revision: the revision that all is counted at.
            most: calls that evidence is made of; of more, chance keeps so many.
        """
        number = int(self._rng.poisson(self._traffic.rate * seconds))
        drawn = min(number, max(_MOST_DRAWN, most))
        each = number / drawn if drawn else 0.0
        keys = self._keys(drawn)
        places = self._position[keys] if self._traffic.sticky else self._rng.random(drawn)
        trial = split.chosen(places)
        kept = min(drawn, most)
        calls = _Calls(keys, trial, np.sort(self._rng.random(drawn)) * seconds + now)
        failed = self._failed(calls)
        self._met[keys[trial]] = True
        self._hurt[keys[trial & failed]] = True
        hit = Hit(float(trial.sum()) * each, float((trial & failed).sum()) * each)
        chosen = np.sort(self._rng.choice(drawn, kept, replace=False)) if kept < drawn else np.arange(drawn)
        at_once, later = Evidence(), Evidence()
        endpoints = self._rng.integers(0, len(self._traffic.endpoints), kept)
        for index, endpoint in enumerate(self._traffic.endpoints):
            here = chosen[endpoints == index] if len(self._traffic.endpoints) > 1 else chosen
            self._told(at_once, later, Place(revision, endpoint), split, calls.of(here), failed[here])
        return at_once, later, hit

    def _told(
        self, at_once: Evidence, later: Evidence, place: Place, split: Split, calls: _Calls, failed: Flags
    ) -> None:
        for number, (variant, mine) in enumerate(((split.control, ~calls.trial), (split.trial, calls.trial))):
            own = calls.of(mine)
            if not own.keys.size:
                continue
            arms, does = at_once.arms.setdefault(place, {}), self._arms[number]
            if not split.share:
                arms[variant] = self._alone(own, failed[mine], does)
                continue
            arms[variant] = self._arm(place, own, failed[mine], does)
            labels = self._measures(place, own, does, Label)
            if labels:
                later.arms.setdefault(place, {})[variant] = Arm(measures=labels)
        if split.shadow:
            watched = calls.of(~calls.trial & (self._rng.random(calls.keys.size) < split.shadow))
            if watched.keys.size:
                at_once.pairs[place] = {
                    split.trial: self._pairs(watched, self._arms[1]),
                    split.control: self._pairs(watched, self._arms[0]),
                }

    # -- what one arm's calls did ----------------------------------------------------------------------

    def _alone(self, calls: _Calls, failed: Flags, arm: Behaviour) -> Arm:
        """Return what the control did while nothing was split: no evidence, but what a shadow is beside."""
        seconds = counted(self._bins(calls.keys, arm)[~failed])
        history = {of: dict(seconds) for of in {"first_item", *self._timings()}}
        return Arm(alone=(int(failed.size), int(failed.sum())), history=history)

    def _arm(self, place: Place, calls: _Calls, failed: Flags, arm: Behaviour) -> Arm:
        bins = self._bins(calls.keys, arm)
        arm_of = Arm(int(failed.size), int(failed.sum()), counted(bins[~failed]))
        arm_of.measures = self._measures(place, calls, arm, Measure)
        for of in self._timings():
            arm_of.timings[of] = Timing(counted(bins[~failed]), self._firsts_of(calls, bins))
        if self._traffic.sticky:
            arm_of.keys = key_sums(self._hash[calls.keys], failed, bins, calls.times)
        return arm_of

    def _timings(self) -> set[str]:
        """Return what is timed of streams; made-up ones take as long in each way."""
        found: set[str] = {one.of for one in self._traffic.guardrails.values() if isinstance(one, Latency)}
        return found - {"first_item"}

    def _firsts_of(self, calls: _Calls, values: NDArray[Any]) -> dict[int, tuple[Any, float]]:
        """Return by key what its first call was, and when."""
        if not self._traffic.sticky:
            return {}
        return firsts_of(self._hash[calls.keys], values, calls.times)

    def _measures(
        self, place: Place, calls: _Calls, arm: Behaviour, kind: type[Guardrail]
    ) -> dict[str, MeasureSums]:
        """Return what guardrails of a kind count, by their names; those of one metric count the same."""
        drawn: dict[str, MeasureSums] = {}
        found = {}
        for name, guardrail in self._traffic.guardrails.items():
            metric, endpoint = split_name(name)
            if isinstance(guardrail, kind) and endpoint in (None, place.endpoint):
                if metric not in drawn:
                    drawn[metric] = self._sums(calls, metric, arm, guardrail)
                found[name] = drawn[metric]
        return found

    def _sums(self, calls: _Calls, metric: str, arm: Behaviour, guardrail: Guardrail) -> MeasureSums:
        if not isinstance(guardrail, Measure) or guardrail.range is not None:
            bad = self._bad(calls.keys, metric, arm).astype(np.float64)
            return MeasureSums(int(bad.size), float(bad.sum()), 0, self._firsts_of(calls, bad))
        events = self._rng.poisson(arm.bad[metric], calls.keys.size)
        some = events > 0
        firsts = self._firsts_of(calls.of(some), np.ones(int(some.sum())))
        return MeasureSums(int(events.size), float(events.sum()), 0, firsts)

    def _pairs(self, calls: _Calls, arm: Behaviour) -> PairSums:
        """Return what was compared with the control's answers; of the control it answers twice."""
        failed = self._bad(calls.keys, "error_rate", arm)
        disagreed = self._bad(calls.keys, "agreement", arm) | failed
        answered = calls.keys[~failed]
        seconds, champion = counted(self._bins(answered, arm)), counted(self._bins(answered, self._arms[0]))
        both = np.stack([disagreed, failed], axis=1)
        keys = {key: (pair[0], pair[1], time) for key, (pair, time) in self._firsts_of(calls, both).items()}
        return PairSums(int(failed.size), int(disagreed.sum()), int(failed.sum()), seconds, champion, keys)

    # -- chance ----------------------------------------------------------------------------------------

    def _keys(self, number: int) -> Ints:
        if self._cumulated is None:
            found: Ints = self._rng.integers(0, self._traffic.keys, number)
            return found
        found = np.searchsorted(self._cumulated, self._rng.random(number) * self._cumulated[-1], side="right")
        return np.minimum(found, self._traffic.keys - 1).astype(np.int64)

    def _failed(self, calls: _Calls) -> Flags:
        failed = np.empty(calls.keys.size, dtype=np.bool_)
        for arm, mine in zip(self._arms, (~calls.trial, calls.trial), strict=True):
            failed[mine] = self._bad(calls.keys[mine], "error_rate", arm)
        return failed

    def _bad(self, keys: Ints, metric: str, arm: Behaviour) -> Flags:
        """Return which calls are bad: a part of them by what is their key's own, the others by chance."""
        chance = self._rng.random(keys.size)
        if part := math.sqrt(self._traffic.per_key):
            own = self._rng.random(keys.size) < part
            chance[own] = self._owned(metric)[keys[own]]
        bad: Flags = chance < arm.bad.get(metric, 0.0)
        return bad

    def _bins(self, keys: Ints, arm: Behaviour) -> Ints:
        """Return the bins of as many durations: lognormal, of which a part of the spread is the key's."""
        part = self._traffic.per_key
        noise = self._rng.standard_normal(keys.size) * math.sqrt(1 - part)
        if part:
            noise += self._owned("latency")[keys] * math.sqrt(part)
        return bins_of_logs(math.log(arm.latency) + noise * self._traffic.sigma)

    def _owned(self, metric: str) -> Floats:
        """Return what is each key's own in a metric, drawn when it is first asked for."""
        if (known := self._own.get(metric)) is None:
            size = self._traffic.keys
            known = self._rng.standard_normal(size) if metric == "latency" else self._rng.random(size)
            self._own[metric] = known
        return known


@dataclass(frozen=True, slots=True)
class _Calls:
    """Calls in the order in which they came: whose, whether the trial's, and when."""

    keys: Ints
    trial: Flags
    times: Floats

    def of(self, chosen: NDArray[Any]) -> _Calls:
        return _Calls(self.keys[chosen], self.trial[chosen], self.times[chosen])


def endpoints_of(guardrails: Iterable[str]) -> tuple[str, ...]:
    """Return the endpoints that guardrails name; none named: one that stands for all."""
    named = {endpoint for _, endpoint in map(split_name, guardrails) if endpoint is not None}
    return tuple(sorted(named)) or ("predict",)
