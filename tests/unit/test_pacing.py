"""When a stretch of a try may end: how fast evidence comes, and what is said while too little has come."""

from __future__ import annotations

from typing import Any

import pytest

from bento_rollout.assessment import Assessment, Assessments, Finding
from bento_rollout.attempt import Try
from bento_rollout.outlining import outline
from bento_rollout.pacing import FEW, Paces
from bento_rollout.policy import decide
from bento_rollout.position import Position
from tests.unit.trying import CANARY, parsed


def known(numbers: dict[str, float], unit: str = "keys") -> Assessments:
    """What is known of the errors."""
    one = Assessment(Finding.INCONCLUSIVE, needed=400, unit=unit, numbers=numbers)
    return Assessments({"error_rate": one})


def both(second: float, share: float) -> dict[str, float]:
    """Hundred calls a second, of which the trial has its share."""
    return {
        "trial": round(share * 100 * second) or 1.0,
        "control": (1 - share) * 100 * second,
        "share": share,
    }


def test_few_calls_tell_no_pace() -> None:
    """Nothing is said until enough came; then it is the share of all calls, however few the trial had."""
    paces = Paces()
    told = [paces.after(known(both(second, 0.01)), second).get("error_rate") for second in range(1, 6)]
    assert told[:2] == [None, None]
    assert told[-1] == pytest.approx(1.0, rel=0.1)


def test_a_step_is_followed_at_once() -> None:
    """The same calls with a larger share: the pace is the new one's from the first look."""
    paces = Paces()
    for second in range(1, 20):
        paces.after(known(both(second, 0.01)), second)
    numbers = {**both(20, 0.01), "share": 0.25}
    assert paces.after(known(numbers), 20)["error_rate"] == pytest.approx(25.0, rel=0.1)


def test_what_goes_back_tells_nothing() -> None:
    """Counts that begin anew, and a clock that jumps, leave the pace as it was."""
    paces, before = Paces(), dict[str, float]()
    for second in range(1, 20):
        before = dict(paces.after(known(both(second, 0.05)), second))
    assert paces.after(known(both(1, 0.05)), 20) == before
    assert paces.after(known(both(2, 0.05)), 5) == before
    assert paces.after(known(both(3, 0.05)), 5) == before


@pytest.mark.parametrize(
    ("numbers", "pace"),
    [({"pairs": 1.0}, 100.0), ({"control": 1.0}, 100.0), ({"trial": 1.0}, 100.0), ({"correct": 1.0}, None)],
)
def test_what_is_waited_for_is_counted(numbers: dict[str, float], pace: float | None) -> None:
    """Pairs of a shadow, calls of the control, the trial's own where nothing is split; else nothing."""
    paces, told = Paces(), {}
    for second in range(1, 2 + FEW // 50):
        told = paces.after(known(dict.fromkeys(numbers, 100.0 * second)), second)
    assert told.get("error_rate") == pace


# -- what is told -----------------------------------------------------------------------------------------


def told(findings: dict[str, Assessment], paces: dict[str, float], **place: Any) -> tuple[Any, Any]:
    """When a try may end, after a look."""
    strategy = parsed(CANARY)
    position = Position(control="logistic", **place)
    attempt = Try(number=1, strategy=strategy, position=position, started=2, revision=2)
    evidence = Assessments(findings, position.place, 1, 1)
    row = outline(attempt, decide(strategy, position, evidence, 1000.0), evidence, paces, 1000.0)
    return row["may_end"], row["may_end_late"]


OPEN = Assessment(Finding.INCONCLUSIVE, needed=600)
HEALTHY = Assessment(Finding.HEALTHY)


def test_a_range_is_told() -> None:
    """A third to twice of what evidence takes on average, and never less than the bake."""
    found = {"error_rate": OPEN, "latency": HEALTHY}
    assert told(found, {"error_rate": 1.0}) == (200.0, 1200.0)
    assert told(found, {"error_rate": 5.0}) == (60.0, 240.0)
    assert told(found, {"error_rate": 100.0}) == (60.0, 60.0)


def test_what_is_not_known_is_not_told() -> None:
    """Without a pace, or without a number, the bake alone is known; with a person to wait for nothing is."""
    found = {"error_rate": OPEN, "latency": HEALTHY}
    assert told(found, {}) == (60.0, None)
    assert told({**found, "latency": Assessment(Finding.INCONCLUSIVE)}, {"error_rate": 1.0}) == (200.0, None)
    thresholds = Assessment(Finding.NO_DATA, needed=900, unit="calls of the control")
    assert told({**found, "latency": thresholds}, {"error_rate": 5.0, "latency": 1.0}) == (300.0, None)
    assert told(found, {"error_rate": 1.0}, step=1) == (None, None)
    assert told(found, {}, stage="bake") == (100.0, 100.0)
