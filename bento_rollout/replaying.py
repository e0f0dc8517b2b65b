"""`replay`: calls that were, split in two by chance: how often a champion alarms against itself; pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arms import Arm
from .assessment import Finding
from .bench import Bench, Setting
from .columns import bins_of_logs, counted, firsts_of, key_sums
from .errors import InvalidValue
from .evidence import Evidence, Place
from .forecast import chance
from .guardrails import Agreement, Label, Measure, Threshold, split_name
from .past import Past
from .rounds import Arms
from .strategy import Strategy
from .sums import MeasureSums
from .values import FULL

__all__ = ["Calls", "Replay", "replay", "replay_facts"]

LEAST_CALLS = 2_000
"""Calls that a replay needs: the first of them are its past."""

_PAST = 0.2
"""The part of the calls that comes before the rollout."""

_LOOKS = 60
"""Looks at each share."""

_TRIAL, _CONTROL = "trial", "control"


@dataclass(frozen=True, slots=True)
class Calls:
    """Calls of one variant in the order in which they came, as arrays of one length. Immutable.

    Attributes:
        times: in seconds since 1970.
        units: 64-bit hashes of their keys.
        endpoints: the names that ``endpoint`` counts from 0.
        endpoint: which one was asked.
        failed: whether it was the variant's error.
        seconds: how long it took.
        bad: by label how bad the answer was, 0 to 1; NaN: it has none.
    """

    times: NDArray[Any]
    units: NDArray[Any]
    endpoints: Sequence[str]
    endpoint: NDArray[Any]
    failed: NDArray[Any]
    seconds: NDArray[Any]
    bad: Mapping[str, NDArray[Any]]

    def __len__(self) -> int:
        """How many calls there are."""
        return len(self.times)

    def part(self, first: int, last: int) -> Calls:
        """Return the calls from one place to another."""
        at = slice(first, last)
        bad = {name: values[at] for name, values in self.bad.items()}
        return replace(
            self, times=self.times[at], units=self.units[at], endpoint=self.endpoint[at],
            failed=self.failed[at], seconds=self.seconds[at], bad=bad,
        )  # fmt: skip

    def of(self, chosen: NDArray[Any]) -> Calls:
        """Return those that are chosen."""
        bad = {name: values[chosen] for name, values in self.bad.items()}
        return replace(
            self, times=self.times[chosen], units=self.units[chosen], endpoint=self.endpoint[chosen],
            failed=self.failed[chosen], seconds=self.seconds[chosen], bad=bad,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Replay:
    """What a champion is tried against itself with. Immutable.

    Attributes:
        strategy: how, without the guardrails that the calls tell nothing of.
        calls: what comes; those of the past are not among them.
        past: what was before.
        sticky: whether keys keep their variant.
        left_out: guardrails that the calls tell nothing of.
    """

    strategy: Strategy
    calls: Calls
    past: Past
    sticky: bool
    left_out: tuple[str, ...]

    @classmethod
    def of(cls, strategy: Strategy, calls: Calls, *, sticky: bool) -> Replay:
        """Return the replay of calls; the first part of them is the past.

        Raises:
            InvalidValue: there are too few calls, or they tell nothing of any guardrail.
        """
        if len(calls) < LEAST_CALLS:
            raise InvalidValue(
                f"the ledger has {len(calls)} calls of the champion: a replay needs {LEAST_CALLS} at least"
            )
        out = tuple(name for name, one in strategy.guardrails.items() if not _told(name, one, calls))
        kept = {name: one for name, one in strategy.guardrails.items() if name not in out}
        if not kept:
            raise InvalidValue(
                f"calls of the ledger tell nothing of {', '.join(out)}: "
                "a replay needs error_rate, latency or a label"
            )
        bad = {n: calls.bad[split_name(n)[0]] for n in kept if split_name(n)[0] in calls.bad}
        calls = replace(calls, bad={**calls.bad, **bad})
        before = int(len(calls) * _PAST)
        alone = _evidence(calls.part(0, before), np.zeros(before, dtype=np.bool_), 0, sticky=False)
        # Each keeps the part of the false alarms that it has in the whole strategy.
        return cls(strategy, calls.part(before, len(calls)), Past().plus(alone, _CONTROL), sticky, out)

    @property
    def shares(self) -> tuple[float, ...]:
        """The shares that the strategy gives to a candidate; of blue/green what the holdback leaves."""
        weights = [self.strategy.weight_at(n) for n, step in enumerate(self.strategy.steps) if step.weight]
        bake = self.strategy.bake_after
        held = [FULL - bake.holdback] if bake and not weights else []
        return tuple(weight / FULL for weight in weights or held)


def _told(name: str, guardrail: object, calls: Calls) -> bool:
    metric, endpoint = split_name(name)
    if endpoint is not None and endpoint not in calls.endpoints:
        return False
    if isinstance(guardrail, Label):
        return metric in calls.bad
    return (
        not isinstance(guardrail, (Agreement, Measure, Threshold))
        and getattr(guardrail, "of", "first_item") == "first_item"
    )


def replay(task: Replay, salt: int) -> tuple[str, ...]:
    """Return which guardrails alarmed when chance split the calls in two; none should have.

    Each share of the strategy gets its part of the calls, in the order of time.
    """
    shares = task.shares
    if not shares:
        raise InvalidValue("the strategy gives no traffic to a candidate: there is nothing to split")
    bench = Bench.begin(task.strategy, Setting(task.sticky, task.past))
    units = task.calls.units if task.sticky else np.arange(len(task.calls), dtype=np.uint64)
    places = _mixed(units, salt)
    edges = np.linspace(0, len(task.calls), len(shares) * _LOOKS + 1).astype(int)
    arms = {number: Arms(_TRIAL, _CONTROL, share) for number, share in enumerate(shares, 1)}
    for number, share in enumerate(shares, 1):
        bench = bench.entered(f"step {number}", number)
        for look in range((number - 1) * _LOOKS, number * _LOOKS):
            first, last = int(edges[look]), int(edges[look + 1])
            if first == last:
                continue
            part = task.calls.part(first, last)
            evidence = _evidence(part, places[first:last] < share, number, sticky=task.sticky)
            bench = bench.update(evidence, arms, float(part.times[-1]))
    found = bench.assessments(arms[len(shares)], float(task.calls.times[-1]), needs=False)
    bad = (Finding.HARMFUL, Finding.UNMEASURABLE)
    return tuple(
        name for name, one in found.assessments.items() if one.finding in bad and name not in task.left_out
    )


def replay_facts(task: Replay, alarms: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Return how often what alarmed in many replays, beside what is promised, as plain data."""
    counts = Counter(name for found in alarms for name in found)
    promised: dict[str, float | None] = {
        **dict.fromkeys(task.strategy.guardrails),
        **task.strategy.alpha_shares,
    }
    kept = {name: share for name, share in promised.items() if name not in task.left_out}
    others = {name: None for name in counts if name not in kept}
    harmed = sum(any(name in kept for name in found) for found in alarms)
    notes = []
    if task.left_out:
        notes.append(f"not in the ledger, so left out: {', '.join(task.left_out)}")
    return {
        "replays": len(alarms),
        "calls": len(task.calls),
        "keys": int(np.unique(task.calls.units).size),
        "shares": list(task.shares),
        "guardrails": {
            name: {**chance(counts[name], len(alarms)), "promised": share}
            for name, share in {**kept, **others}.items()
        },
        "any": {**chance(harmed, len(alarms)), "promised": task.strategy.false_alarm},
        "left_out": list(task.left_out),
        "notes": notes,
    }


def _evidence(calls: Calls, trial: NDArray[Any], revision: int, *, sticky: bool) -> Evidence:
    """Return what workers would have counted of these calls."""
    evidence = Evidence()
    for index, endpoint in enumerate(calls.endpoints):
        for variant, mine in ((_CONTROL, ~trial), (_TRIAL, trial)):
            own = calls.of(mine & (calls.endpoint == index))
            if len(own):
                evidence.arms.setdefault(Place(revision, endpoint), {})[variant] = _arm(own, sticky=sticky)
    return evidence


def _arm(calls: Calls, *, sticky: bool) -> Arm:
    bins = bins_of_logs(np.log(np.maximum(calls.seconds, 1e-9)))
    arm = Arm(len(calls), int(calls.failed.sum()), counted(bins[~calls.failed]))
    if sticky:
        arm.keys = key_sums(calls.units, calls.failed, bins, calls.times)
    for name, values in calls.bad.items():
        has = ~np.isnan(values)
        if has.any():
            firsts = firsts_of(calls.units[has], values[has], calls.times[has]) if sticky else {}
            arm.measures[name] = MeasureSums(int(has.sum()), float(values[has].sum()), 0, firsts)
    return arm


def _mixed(units: NDArray[Any], salt: int) -> NDArray[Any]:
    """Return a place from 0 to 1 for each key, the same for the same key; splitmix64 of key and salt."""
    golden, *factors = (np.uint64(f) for f in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
    with np.errstate(over="ignore"):
        mixed = units.astype(np.uint64) + golden * np.uint64(salt + 1)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * factors[0]
        mixed = (mixed ^ (mixed >> np.uint64(27))) * factors[1]
    places: NDArray[np.float64] = (mixed ^ (mixed >> np.uint64(31))).astype(np.float64) / 2.0**64
    return places
