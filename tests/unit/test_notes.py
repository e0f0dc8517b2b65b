"""What leaders leave to each other, and what workers wrote: whatever is wrong in it breaks no look."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from functools import cache
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from bento_rollout.bench import Bench, Setting
from bento_rollout.errors import InvalidValue
from bento_rollout.evidence import Evidence
from bento_rollout.notes import Notes
from bento_rollout.position import Position
from bento_rollout.rounds import Arms
from tests.unit.test_bench import PAST, STEPS, Traffic, strategy

GUARDRAILS = {
    "error_rate": {"margin": "1pp"},
    "latency": {},
    "agreement": {"min": "98%"},
    "doubt": {"better": "low", "range": [0, 1], "margin": 0.2},
    "restarts": {"below": 3},
}
STRATEGY = strategy(GUARDRAILS, STEPS)
SPLIT, WATCH = Arms("new", "old", 0.25), Arms("new", "old", None)

ODD = [-1, math.nan, math.inf, 10**400, 2**53, 2**64, 1e308, "x", "", None, [], {}, [[]], True, 0, 1.5]


def changed(data: Any, chance: st.DataObject) -> str:
    """Change one thing in plain data, wherever; return where."""
    place, name = data, "whole"
    for _ in range(12):
        keys = list(place) if isinstance(place, dict) else list(range(min(len(place), 5)))
        if not keys:
            return "nothing"
        key = chance.draw(st.sampled_from(keys))
        name = f"{name}.{key}"
        below = place[key]
        if not isinstance(below, (dict, list)) or not below or chance.draw(st.integers(0, 4)) == 0:
            if chance.draw(st.integers(0, 5)) == 0:
                del place[key]
            else:
                place[key] = chance.draw(st.sampled_from(ODD))
            return name
        place = below
    return name


def look(bench: Bench, evidence: Evidence, now: float) -> Bench:
    """What a leader does with it."""
    bench = bench.update(evidence, {7: SPLIT}, now, {"restarts": 1.0})
    told = bench.assessments(SPLIT, now)
    json.dumps([dict(one.numbers) for one in told.assessments.values()], allow_nan=False)
    return bench


@cache
def led(*, sticky: bool) -> str:
    """The notes of a leader that has looked some times, as JSON."""
    traffic = Traffic(sticky=sticky)
    bench = Bench.begin(STRATEGY, Setting(sticky, PAST)).entered("step 2", 7)
    for _ in range(3):
        bench = look(bench, traffic.flush(60, measures=(0.1, 0.1)), traffic.now)
        bench = bench.update(traffic.watched(20), {7: WATCH}, traffic.now)
    notes = Notes(1, 7, Position(control="old"), bench, {("old", "d"): PAST}, {"label.x": [1, 2]})
    return json.dumps(notes.plain)


@given(st.booleans(), st.data())
@settings(max_examples=150, deadline=None)
def test_notes_are_whole_or_refused(sticky: bool, chance: st.DataObject) -> None:
    """Whoever takes over can go on with what it reads, or is told what is wrong with it."""
    data = json.loads(led(sticky=sticky))
    changed(data, chance)
    traffic = Traffic(sticky=sticky)
    try:
        notes = Notes.parse(data, STRATEGY, sticky)
    except InvalidValue:
        return
    if notes.bench is not None:
        bench = look(notes.bench, traffic.flush(20, measures=(0.1, 0.1)), traffic.now)
        json.dumps(Notes(1, 7, notes.position, bench, notes.pasts, {}).plain, allow_nan=False)


@given(st.booleans(), st.data())
@settings(max_examples=150, deadline=None)
def test_sums_are_whole_or_refused(sticky: bool, chance: st.DataObject) -> None:
    """A flush in which anything is wrong is refused, by itself or by a test, and takes no other with it."""
    traffic = Traffic(sticky=sticky)
    odd = traffic.watched(20) if chance.draw(st.booleans()) else traffic.flush(20, measures=(0.1, 0.1))
    rows = json.loads(json.dumps(odd.to_plain()))
    changed(rows, chance)
    bench = Notes.parse(json.loads(led(sticky=sticky)), STRATEGY, sticky).bench
    assert bench is not None
    with suppress(InvalidValue, ArithmeticError):
        look(bench, Evidence.from_plain(json.loads(json.dumps(rows))), traffic.now)
    look(bench, traffic.flush(20, measures=(0.1, 0.1)), traffic.now)
