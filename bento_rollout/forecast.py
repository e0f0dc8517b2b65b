"""`forecast`: what many simulated rollouts say together, as plain data; pure."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from .amounts import in_short, in_time
from .analysis import HealthTest, KeyedTest, LatencyBlock, LatencyHealthTest, needed, typical_block
from .bench import Bench, Setting
from .exams import LatencyExam, RateExam
from .guardrails import Threshold, split_name
from .rounds import counts_of
from .simulation import Outcome, Plan, Reach, Run
from .strategy import Strategy
from .traffic import Traffic
from .values import FULL

__all__ = ["chance", "forecast", "interval", "median_run", "needs", "scenario", "spread"]

_Z = 1.959964
_NEVER = 3650 * 86400.0
"""Seconds after which it is not worth waiting for a key."""


def interval(hits: int, runs: int) -> tuple[float, float]:
    """Return bounds that hold with 95 % for the chance of what came so often (Wilson).

    >>> [round(bound, 3) for bound in interval(0, 200)]
    [0.0, 0.019]
    """
    if not runs:
        return 0.0, 1.0
    value, spread = hits / runs, _Z**2 / runs
    middle = value + spread / 2
    half = _Z * math.sqrt(value * (1 - value) / runs + spread / (4 * runs))
    return max(0.0, (middle - half) / (1 + spread)), min(1.0, (middle + half) / (1 + spread))


def chance(hits: int, runs: int) -> dict[str, float]:
    """Return how often something came, with its bounds."""
    low, high = interval(hits, runs)
    return {"runs": hits, "of": runs, "share": hits / runs if runs else 0.0, "low": low, "high": high}


def spread(values: Iterable[float]) -> dict[str, float] | None:
    """Return the median and the 90th percentile; None of nothing."""
    found = np.sort(np.fromiter(values, dtype=np.float64))
    if not found.size:
        return None
    return {"median": float(np.median(found)), "p90": float(np.quantile(found, 0.9))}


def scenario(runs: Sequence[Run]) -> dict[str, Any]:
    """Return what became of many runs of the same candidate: how they ended, when, and whom it reached."""
    caught = [run.caught for run in runs if run.caught is not None]
    promoted = [run.promoted for run in runs if run.promoted is not None]
    ends = Counter(run.outcome for run in runs)
    causes = Counter(_short(cause) for run in runs for cause in run.causes)
    late = sum(run.caught is not None and run.promoted is not None for run in runs)
    return {
        "runs": len(runs),
        "outcomes": {outcome.value: chance(ends[outcome], len(runs)) for outcome in Outcome},
        "causes": dict(causes.most_common()),
        "promoted": {
            **chance(len(promoted), len(runs)),
            "seconds": spread(promoted),
            "times": sorted(round(seconds, 1) for seconds in promoted),
        },
        "caught": {
            **chance(len(caught), len(runs)),
            "seconds": spread(at.seconds for at in caught),
            "times": sorted(round(at.seconds, 1) for at in caught),
            **_reached(caught),
        },
        "caught_after_promotion": chance(late, len(runs)),
        "missed": chance(sum(run.caught is None and run.promoted is not None for run in runs), len(runs)),
        "whole": {"seconds": spread(run.end.seconds for run in runs), **_reached([run.end for run in runs])},
    }


def _short(cause: str) -> str:
    """Return a cause without what differs from run to run."""
    return ": ".join(re.sub(r": (?:inconclusive|no data)[^;]*", "", cause).split(": ")[:3])


def _reached(ends: Sequence[Reach]) -> dict[str, Any]:
    return {name: spread(getattr(end, name) for end in ends) for name in ("calls", "failed", "keys", "hurt")}


def median_run(runs: Sequence[Run]) -> Run | None:
    """Return the run that took the median time to its end; of even numbers the shorter of the middle two."""
    ordered = sorted(runs, key=lambda run: run.end.seconds)
    return ordered[(len(ordered) - 1) // 2] if ordered else None


def needs(plan: Plan) -> list[dict[str, Any]]:
    """Return about how many keys (or requests) each step takes until all that it requires is healthy.

    As if nothing were known from the steps before. ``units``: of the candidate; ``distinct``: keys, or
    requests, of both arms; ``seconds``: how long those take to come; None: they never do. ``late``: whether
    that is longer than the strategy waits.
    """
    strategy, traffic = plan.strategy, plan.traffic
    bench = Bench.begin(strategy, Setting(traffic.sticky, plan.past))
    found = []
    for number, step in enumerate(strategy.steps):
        if not step.weight:
            continue
        share = strategy.weight_at(number) / FULL
        waits = strategy.required_at(number)
        required = waits or strategy.required_to_promote or tuple(strategy.guardrails)
        each = {name: _needed(plan, bench, name, share) for name in required}
        known = {name: units for name, units in each.items() if units is not None}
        slowest = max(known, key=lambda name: known[name], default=None)
        units = None if slowest is None else known[slowest]
        distinct = None if units is None else math.ceil(units / share)
        seconds = None if distinct is None else _until(traffic, distinct)
        found.append(
            {
                "step": number + 1,
                "what": str(step),
                "share": share,
                "required": list(waits),
                "slowest": slowest,
                "units": units,
                "distinct": distinct,
                "seconds": seconds,
                "late": bool(waits)
                and distinct is not None
                and (seconds is None or seconds > strategy.give_up_after),
            }
        )
    return found


def _needed(plan: Plan, bench: Bench, name: str, share: float) -> int | None:
    """Return about how many units of the candidate it takes until a guardrail is healthy."""
    exam, guardrail = bench.exams[name], plan.strategy.guardrails[name]
    if isinstance(guardrail, Threshold):
        return None
    if isinstance(exam, LatencyExam) and exam.health is not None:
        counts = counts_of(plan.past.histogram(None, guardrail.of))  # type: ignore[attr-defined]  # a Latency
        total = sum(counts)
        wanted = max(1, round(total * share / (1 - share)))
        mine = [round(count * wanted / total * _LARGE) for count in counts]
        return _asked(exam.health, LatencyBlock(mine, [count * _LARGE for count in counts], share))
    if isinstance(exam, RateExam) and exam.health is not None:
        rate = plan.traffic.behaviours.base.bad[split_name(name)[0]]
        return _asked(exam.health, typical_block(share, min(0.5, max(1e-6, rate))))
    return None


_LARGE = 1000
"""How many times the calls of a histogram are taken, so that parts of it are as good as exact."""


def _asked(test: HealthTest | LatencyHealthTest | KeyedTest, typical: Any) -> int | None:
    return needed(test, typical)


def _until(traffic: Traffic, wanted: int) -> float | None:
    """Return the seconds until so many different keys came, or without sticky keys requests; None: never."""
    if not traffic.sticky:
        return wanted / traffic.rate
    if wanted >= traffic.keys:
        return None
    low, high = 0.0, _NEVER
    if traffic.distinct(high * traffic.rate) < wanted:
        return None
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if traffic.distinct(middle * traffic.rate) < wanted else (low, middle)
    return high


def forecast(
    plan: Plan,
    healthy: Sequence[Run],
    harmful: Sequence[Run] = (),
    prompt: Sequence[Run] = (),
) -> dict[str, Any]:
    """Return what is to be expected of a rollout, as plain data.

    Args:
        plan: what was planned.
        healthy: runs of a candidate that does what the champion does.
        harmful: runs of the candidate that is asked about.
        prompt: as healthy, with labels that come at once.
    """
    strategy, traffic = plan.strategy, plan.traffic
    told = traffic.behaviours.told
    steps = needs(plan)
    facts = {
        "candidate": strategy.candidate,
        "false_alarm": strategy.false_alarm,
        "requests_per_second": traffic.rate,
        "keys": traffic.keys,
        "sticky": traffic.sticky,
        "zipf": traffic.zipf,
        "metrics": {
            name: {"base": base, "candidate": candidate, "assumed": name in traffic.behaviours.assumed}
            for name, (base, candidate) in told.items()
        },
        "healthy": scenario(healthy),
        "harmful": scenario(harmful) if harmful else None,
        "labels_add": _labels_add(healthy, prompt),
        "steps": steps,
    }
    return {**facts, "warnings": _warnings(strategy, facts)}


def _labels_add(healthy: Sequence[Run], prompt: Sequence[Run]) -> float | None:
    """Return the seconds that waiting for labels adds to the median; None: there is nothing to compare."""
    late, soon = (spread(r.promoted for r in runs if r.promoted is not None) for runs in (healthy, prompt))
    return None if late is None or soon is None else max(0.0, late["median"] - soon["median"])


def _warnings(strategy: Strategy, facts: Mapping[str, Any]) -> list[str]:
    found = []
    unit = "distinct keys" if facts["sticky"] else "requests"
    for step in [step for step in facts["steps"] if step["required"]][:1]:  # health is carried over steps
        if not step["late"]:
            continue
        when = "never come" if step["seconds"] is None else f"take {in_short(step['seconds'])}"
        found.append(
            f"step {step['step']} ({step['what']}) needs about {step['distinct']:,} {unit} until "
            f"{step['slowest']} can be shown healthy; at {facts['requests_per_second']:g} requests a second "
            f"from {facts['keys']:,} keys they {when}, and it gives up after "
            f"{in_time(strategy.give_up_after)}: write a larger weight, a larger margin, or healthy: optional"
        )
    gave_up = facts["healthy"]["outcomes"][Outcome.GAVE_UP.value]
    if gave_up["runs"]:
        reasons = facts["healthy"]["causes"]
        found.append(
            f"{gave_up['share']:.1%} of the healthy rollouts were not decided within give_up_after, and "
            f"paused (the most common reason: {max(reasons, key=lambda name: reasons[name])})"
        )
    if not strategy.promotes:
        found.append("finally: hold promotes nothing: durations are those until all steps are over")
    return found
