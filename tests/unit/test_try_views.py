"""What is seen of a try in a terminal of 80 columns and 24 lines, and what is said of its end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from rich.console import Console

from bento_rollout.cli.output import Block, renderable, show
from bento_rollout.cli.try_views import explained, tried
from bento_rollout.cli.views import watched
from bento_rollout.operations import Rollout
from bento_rollout.store.evidence_log import EvidenceLog
from bento_rollout.store.presence import Workers
from bento_rollout.store.sqlite import SQLiteStore
from tests.unit.test_trying_doors import decide, text_of
from tests.unit.trying import CANARY, parsed
from tests.unit.workers import Join

COLUMNS, LINES = 80, 24
MANY = [
    "error_rate", "latency", "label.correct", "confidence", "error_rate:predict_batch", "agreement",
    "latency:predict_batch", "label.relevant", "cost", "answers", "sample_ratio",
]  # fmt: skip
STEPS = [
    {
        "what": f"weight {weight} %",
        "bake": 3600.0,
        "pause": None,
        "state": "over" if weight < 20 else "now" if weight == 20 else "next",
    }
    for weight in (1, 5, 10, 20, 30, 40, 50, 60, 75, 90)
]


def drawn(blocks: Sequence[Block], columns: int = COLUMNS) -> list[str]:
    """What a terminal shows, line by line."""
    console = Console(width=columns, height=LINES, highlight=False, markup=False, emoji=False)
    with console.capture() as captured:
        console.print(renderable(blocks))
    return captured.get().splitlines()


@pytest.fixture(autouse=True)
def served(join: Join) -> Workers:
    """A live worker whose spec has a strategy."""
    return join(spec={"strategy": parsed(CANARY).plain})


def running(screening: Rollout) -> dict[str, Any]:
    """A status as long as any: ten steps, eleven guardrails, warnings, each with much to say."""
    screening.start()
    facts = screening.status()
    detail = "0.12% errors of 12345, against 0.11% of 1234567"
    row = {"finding": "inconclusive", "detail": detail, "needed": 123456, "unit": "keys"}
    rows = {name: {**row, "numbers": {"harm": 0.1, "health": 0.8}, "on_harm": "rollback"} for name in MANY}
    unproven = [f"{name} healthy: inconclusive, {detail}, about 123456 more keys" for name in MANY[:3]]
    late = "needs about 123456 more keys: at the present pace 9d 3h, longer than give_up_after (7d)"
    attempt = {
        **facts["try"],
        "step": 4,
        "steps": STEPS,
        "guardrails": rows,
        "missing": ["the bake: 29m 30s more", *unproven],
        "words": f"holds at step 4 of 10 (weight 20 %); missing: {'; '.join(unproven)}",
        "warnings": [f"{name} {late}; raise the weight, or widen its margin" for name in MANY[:3]],
        "may_end": 1770.0,
        "may_end_late": 7200.0,
    }
    return {**facts, "try": attempt}


def test_a_watched_try_fits_a_small_terminal(screening: Rollout) -> None:
    """Steps, what is missing, when it may end and every bar stand in its first lines, however much it is."""
    lines = drawn(watched(running(screening)))
    seen = "\n".join(lines[: LINES - 1])
    assert all(any(line.startswith(f"{name} ") and "-#|###" in line for line in lines) for name in MANY)
    missing = [name for name in MANY if f"\n{name} " not in seen]
    assert not missing, seen
    seen = " ".join(seen.split())
    assert "try 1 of boosted against logistic, step 4 of 10" in seen
    assert "10 %, 20 % (now, bake 1h), 30 %" in seen
    assert "the bake: 29m 30s more; healthy: error_rate, latency" in seen
    assert "in 29m 30s to 2h, with the traffic of late" in seen
    assert "(and 2 more, below)" in seen
    assert max(map(len, lines)) <= COLUMNS
    every = " ".join(" ".join(lines).split())
    assert every.count("0.12% errors of 12345, against 0.11% of 1234567") == len(MANY)
    assert "rollback would give all traffic to logistic" in every


def test_a_watch_without_a_running_try_shows_the_status(screening: Rollout) -> None:
    """Before, and after it."""
    assert "standby" in str(watched({**screening.status(), "standby": "boosted"}))
    screening.start()
    screening.abort()
    assert "ended here" in "\n".join(drawn(watched(screening.status())))


@pytest.mark.parametrize(
    ("soonest", "latest", "words"),
    [
        (25.0, 25.0, "in 25s at the earliest"),
        (600.0, 3600.0, "in 10m to 1h, with the traffic of late"),
        (25.0, None, "in 25s at the earliest, and how long the evidence takes is not known yet"),
        (0.0, None, "how long the evidence takes is not known yet"),
        (None, None, None),
    ],
)
def test_when_it_may_end(
    screening: Rollout, soonest: float | None, latest: float | None, words: str | None
) -> None:
    """A time, a range, or that it is not known; nothing where a person is waited for."""
    screening.start()
    facts = {**screening.status()["try"], "may_end": soonest, "may_end_late": latest}
    found = [line for line in text_of(list(tried(facts))).splitlines() if line.startswith("may end")]
    assert found == ([] if words is None else [f"may end: {words}"])


def test_a_hold_does_not_say_twice_what_is_missing(screening: Rollout) -> None:
    """What is missing has lines of its own."""
    screening.start()
    more = {"words": "holds at step 1; missing: a; b", "missing": ["a", "b"]}
    told = text_of(list(tried({**screening.status()["try"], **more})))
    assert "decision: holds at step 1\nmissing: a\n : b\n" in told


@pytest.mark.parametrize("columns", [80, 100, None])
def test_an_explanation_is_readable(
    screening: Rollout, capsys: pytest.CaptureFixture[str], columns: int | None
) -> None:
    """No line of a table is wider than a screen, in a terminal and in a pipe, and no number is left out."""
    screening.start()
    numbers = {f"{arm}_{what}": 1234567.0 for arm in ("trial", "control") for what in ("bad", "mean", "p50")}
    row = {
        "finding": "inconclusive",
        "detail": "p50 4.22 ms against 4.13 ms, p95 4.3 ms against 4.84 ms",
        "needed": 900,
        "unit": "calls of the control",
        "numbers": {"harm": 0.0123, **numbers},
    }
    facts = {**screening.explain(), "guardrails": dict.fromkeys(MANY, row)}
    if columns is None:
        show(explained(facts))
        lines = capsys.readouterr().out.splitlines()
    else:
        lines = drawn(explained(facts), columns)
    table = lines[next(number for number, line in enumerate(lines) if line.startswith("GUARDRAIL")) :]
    assert max(len(line.rstrip()) for line in table) <= (columns or 100)
    told = " ".join(" ".join(lines).split())
    assert told.count("control_p50=1234567") == len(MANY)
    assert told.count("harm=0.0123") == len(MANY)


def states(rollout: Rollout) -> list[str]:
    """What became of each step."""
    return [step["state"] for step in rollout.status()["try"]["steps"]]


def test_steps_that_a_try_never_reached(screening: Rollout) -> None:
    """An aborted try tells which steps are over, in which it ended, and which it never reached."""
    screening.start()
    decide(screening)
    assert states(screening) == ["over", "now", "next"]
    screening.abort()
    assert states(screening) == ["over", "reached", "never"]
    told = text_of(list(tried(screening.status()["try"])))
    assert "weight 5 %, bake 1m (over); pause (ended here); weight 50 %, bake 1m (never reached)" in told


def test_steps_that_a_promotion_skipped(screening: Rollout) -> None:
    """A person who promotes leaves steps out; a promotion by evidence has none left."""
    screening.start()
    screening.promote(reason="now")
    assert states(screening) == ["over", "skipped", "skipped"]
    assert "5 %, pause (skipped), 50 % (skipped)" in "\n".join(drawn(watched(screening.status())))
    screening.abort()
    screening.retry()
    decide(screening, 3)
    assert states(screening) == ["over", "over", "over"]
    screening.abort()
    assert states(screening) == ["over", "over", "over"]


def test_nobody_serves(screening: Rollout, store: SQLiteStore, served: Workers) -> None:
    """Without a live worker nothing moves, and that is said instead of when it may end."""
    attempt = screening.start().state.attempt
    assert attempt is not None
    report = {"number": 1, "revision": attempt.revision, "position": attempt.position.plain}
    EvidenceLog(store.place("screening")).tell(
        {**report, "may_end": 25.0, "may_end_late": 30.0, "looked": 9.0}
    )
    served.leave()
    facts = screening.status()["try"]
    assert (facts["may_end"], facts["may_end_late"]) == (None, None)
    assert facts["warnings"] == [
        "no worker of the service is live: nobody serves, so nothing moves and no harm is seen; start it"
    ]
