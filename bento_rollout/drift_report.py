"""What is known of drift, as data and in words: of each test, of its alarms, and of each feature; pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from .alarms import Alarm, changed, cut
from .reports import utc
from .store.drift_rows import Level, Point

__all__ = ["drift_report", "drift_status", "odds"]

_LARGEST = 1e6
"""Up to it odds are written as a number."""


def odds(log_evidence: float) -> str:
    """Return evidence as people read it: how many times likelier than by chance, at most.

    >>> odds(0.0), odds(math.log(250)), odds(230.0)
    ('1', '250', '10^100')
    """
    if log_evidence <= math.log(_LARGEST):
        number = math.exp(log_evidence)
        return f"{number:.0f}" if number >= 10 else f"{number:.2g}"  # noqa: PLR2004 - digits of small ones
    return f"10^{log_evidence / math.log(10):.0f}"


def drift_status(
    rollout: str,
    tests: Sequence[Level],
    alarms: Sequence[Alarm],
    facts: Mapping[str, Any],
    now: float,
    problem: str | None = None,
) -> dict[str, Any]:
    """Return how the watch of a rollout stands: the JSON of ``drift NAME status --json``.

    Args:
        rollout: its name.
        tests: as they were left.
        alarms: the newest ones, those that are latched among them.
        facts: what the owner noted beside: problems, the reference.
        now: seconds since 1970.
        problem: why nothing newer is known; None: it is.
    """
    latched = [alarm for alarm in alarms if alarm.latched]
    problem = problem or facts.get("problem")
    return {
        "rollout": rollout,
        "time": utc(now),
        "watched": bool(tests),
        "latched": bool(latched),
        "words": _words(tests, latched, problem),
        "problem": problem,
        "reference": facts.get("reference"),
        "tests": {
            test.test: _test(test, [one for one in latched if one.test == test.test], facts) for test in tests
        },
        "alarms": [_alarm(alarm) for alarm in alarms],
    }


def drift_report(
    status: Mapping[str, Any],
    features: Mapping[str, Sequence[Mapping[str, Any]]],
    timelines: Mapping[str, Sequence[Point]],
    epochs: Mapping[str, Sequence[tuple[int, float, str]]],
) -> dict[str, Any]:
    """Return all that is known: the JSON of ``drift NAME report --json``.

    Args:
        status: what `drift_status` returns.
        features: of each test its features, the strongest first, as plain data with both histograms.
        timelines: of each test its evidence in this epoch.
        epochs: of each test when its epochs began, and why.
    """
    tests = {}
    for key, row in status["tests"].items():
        tests[key] = {
            **row,
            "features": [_feature(one, row["alarm_at"]) for one in features.get(key, ())],
            "timeline": [
                {
                    "row": one.row,
                    "time": utc(one.at),
                    "log_evidence": one.log_evidence,
                    "features": dict(one.top),
                }
                for one in _until_now(key, row, timelines.get(key, ()))
            ],
            "epochs": [
                {"epoch": epoch, "time": utc(at), "why": why} for epoch, at, why in epochs.get(key, ())
            ],
        }
    return {**status, "tests": tests}


def _until_now(key: str, row: Mapping[str, Any], points: Sequence[Point]) -> list[Point]:
    """Return the course up to what was tested last: points are written more seldom than rows are tested."""
    found = list(points)
    if row["rows"] > (found[-1].row if found else 0):
        now = datetime.fromisoformat(row["updated"].replace("Z", "+00:00")).timestamp()
        found.append(Point(key, row["epoch"], row["rows"], now, row["log_evidence"]))
    return found


def _test(test: Level, latched: Sequence[Alarm], facts: Mapping[str, Any]) -> dict[str, Any]:
    told = dict(test.told)
    estimate = (facts.get("estimates") or {}).get(test.test)
    if estimate is not None and estimate["digest"] == told.get("digest"):  # else it was another model's
        told["estimate"] = estimate
    if "segments" in told:
        told["segments"] = [{**one, "odds": odds(one["log_evidence"])} for one in told["segments"]]
    return {
        "kind": test.kind,
        "endpoint": test.endpoint,
        "epoch": test.epoch,
        "rows": test.rows,
        "log_evidence": test.log_evidence,
        "alarm_at": test.log_bound,
        "odds": odds(test.log_evidence),
        "odds_needed": odds(test.log_bound),
        "latched": bool(latched),
        "certain": any(alarm.kind != "schema" for alarm in latched),
        "acting": sorted({name for alarm in latched for name in alarm.acting}),
        "updated": utc(test.updated),
        **told,
    }


def _alarm(alarm: Alarm) -> dict[str, Any]:
    ended = None if alarm.ended_at is None else utc(alarm.ended_at)
    return {**alarm.plain, "at": utc(alarm.at), "ended_at": ended}


def _feature(one: Mapping[str, Any], bound: float) -> dict[str, Any]:
    """Return a feature with its evidence in words: how sure that is stands first where it is not certain."""
    segment, name = one.get("segment"), one["name"]
    since = f" since about row {one['since_row']}" if one.get("since_row") else ""
    if segment:
        name, since = name.removeprefix(f"{segment}: "), f"{since} of it" if since else ""
    words = f"{changed(name, one['direction'], kind=one['kind'])}{since}"
    words = f"in {cut(segment)} {words}" if segment else words
    if one["log_evidence"] <= 0:
        words = "nothing speaks for a change"
    elif one["log_evidence"] < bound:
        words = f"not certain: {words}"
    return {**one, "odds": odds(one["log_evidence"]), "words": words}


def _words(tests: Sequence[Level], latched: Sequence[Alarm], problem: str | None) -> list[str]:
    """Return how it stands in sentences, the most urgent first."""
    said = [f"{_found(alarm)} ({alarm.id}, {alarm.state})" for alarm in latched]
    if problem:
        said.append(problem)
    if not tests and not problem:
        said.append("nothing was watched yet: no row of a reference's form has come")
    elif not latched:
        rows = max((test.rows for test in tests), default=0)
        said.append(f"no alarm: {rows} rows, and none of the tests is certain of a change")
    return said


def _found(alarm: Alarm) -> str:
    if alarm.kind == "schema":
        return alarm.words
    sized = "large" if alarm.acting else "certain, and not large enough to act"
    return f"{alarm.words}; {sized}"
