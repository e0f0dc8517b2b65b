"""What people see of a plan in a terminal: facts in, blocks out; pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ..amounts import in_short
from .output import EMPTY, Block, Cell, Grid, Line

__all__ = ["plan_view", "replay_view"]

Facts = Mapping[str, Any]

BARS = 10
"""Rows of a plot."""

_OUTCOMES = {
    "promoted": "promoted",
    "held": "all steps over, held",
    "rolled_back": "rolled back",
    "paused": "paused by harm",
    "unmeasurable": "paused, unmeasurable",
    "gave_up": "gave up, undecided",
}


def plan_view(facts: Facts, *, width: int = 0) -> list[Block]:
    """Return what is to be expected of a rollout as tables, warnings and a plot.

    Args:
        facts: as `forecast` tells them.
        width: columns of the terminal; 0: it is none.
    """
    how = "users keep their variant" if facts["sticky"] else "each call is drawn anew"
    told = f"  {facts['runs']} simulated rollouts of each kind, seed {facts['seed']}"
    blocks: list[Block] = [
        Line("plan", (Cell(facts["candidate"], "bold"), Cell(told, "cyan"))),
        Line(
            "traffic",
            (Cell(f"{facts['requests_per_second']:g} requests/s of {facts['keys']:,} users; {how}"),),
        ),
        *(Line("warning", (Cell(warning, "yellow"),)) for warning in facts["warnings"]),
        _metrics(facts),
        _outcomes(facts),
    ]
    if facts["steps"]:
        blocks.append(_steps(facts))
    if (seconds := facts["labels_add"]) is not None:
        text = (
            f"waiting for labels adds {in_short(seconds)} to the median"
            if seconds
            else "waiting adds nothing"
        )
        blocks.append(Line("labels", (Cell(text),)))
    blocks += _plot("healthy: time until promoted", facts["healthy"]["promoted"]["times"], "green", width)
    if facts["harmful"]:
        blocks += _plot("harmful: time until caught", facts["harmful"]["caught"]["times"], "red", width)
    return blocks


def _metrics(facts: Facts) -> Grid:
    rows = []
    for name, row in facts["metrics"].items():
        note = "assumed" if row["assumed"] else EMPTY
        style = "" if row["base"] == row["candidate"] else "yellow"
        rows.append((Cell(name), Cell(row["base"]), Cell(row["candidate"], style), Cell(note, "dim")))
    return Grid(("metric", "base", "candidate", "note"), tuple(rows))


def _outcomes(facts: Facts) -> Grid:
    """Return what became of healthy and harmful candidates, side by side."""
    sides = [side for side in (facts["healthy"], facts["harmful"]) if side]
    rows: list[tuple[str, Callable[[Facts], str]]] = [
        (words, lambda side, outcome=outcome: _chance(side["outcomes"][outcome]))  # type: ignore[misc]  # bound now
        for outcome, words in _OUTCOMES.items()
        if any(side["outcomes"][outcome]["runs"] for side in sides)
    ]
    rows += [
        ("time until promoted", lambda side: _spread(side["promoted"]["seconds"], in_short)),
        ("harm alarmed", lambda side: _chance(side["caught"])),
        ("time until the alarm", lambda side: _spread(side["caught"]["seconds"], in_short)),
        ("candidate's calls until then", lambda side: _spread(side["caught"]["calls"], _whole)),
        ("of them failed", lambda side: _spread(side["caught"]["failed"], _whole)),
        ("users who met it until then", lambda side: _spread(side["caught"]["keys"], _whole)),
        ("of them with a failed call", lambda side: _spread(side["caught"]["hurt"], _whole)),
    ]
    wrong = [_chance(facts["healthy"]["caught"])]
    if facts["harmful"]:
        wrong.append(_chance(facts["harmful"]["missed"]))
    cells = [(Cell(words), *(Cell(tell(side)) for side in sides)) for words, tell in rows]
    cells.append((Cell("decided wrongly", "bold"), *(Cell(text, "bold") for text in wrong)))
    heads = ("what (median, 90 %)", "healthy candidate", "harmful candidate")
    return Grid(heads[: 1 + len(sides)], tuple(cells))


def _steps(facts: Facts) -> Grid:
    unit = "distinct users" if facts["sticky"] else "requests"
    rows = []
    for step in facts["steps"]:
        never = "never" if step["distinct"] is not None else EMPTY
        when = never if step["seconds"] is None else in_short(step["seconds"])
        needs = EMPTY if step["distinct"] is None else f"{step['distinct']:,}"
        style = "yellow" if step["late"] else ""
        slowest = step["slowest"] or EMPTY
        rows.append(
            (
                Cell(f"{step['step']}"),
                Cell(step["what"]),
                Cell(needs, style),
                Cell(when, style),
                Cell(slowest),
            )
        )
    return Grid(("step", "what", f"{unit} needed", "come within", "slowest"), tuple(rows))


def _chance(facts: Facts) -> str:
    if not facts["of"]:
        return EMPTY
    return f"{facts['share']:.1%} ({facts['low']:.1%} to {facts['high']:.1%})"


def _spread(facts: Mapping[str, float] | None, tell: Callable[[float], str]) -> str:
    return EMPTY if facts is None else f"{tell(facts['median'])}, {tell(facts['p90'])}"


def _whole(number: float) -> str:
    return f"{number:,.0f}"


def _plot(title: str, times: Sequence[float], style: str, width: int) -> Iterator[Block]:
    """Yield a histogram of times, a row for each stretch; nothing of no times."""
    if not times:
        return
    low, high = times[0], times[-1]
    step = max((high - low) / BARS, 1e-9)
    counts = [0] * BARS
    for time in times:
        counts[min(BARS - 1, int((time - low) / step))] += 1
    yield Line("", (Cell(""),))
    yield Line("", (Cell(title, "bold"),))
    if high - low < 1:
        yield Line("", (Cell(f"{in_short(low):>10}  in all"),))
        return
    mark, most = ("\u2588" if width else "#"), max(10, min(60, (width or 80) - 24))
    for place, count in enumerate(counts):
        bar = mark * round(count / max(counts) * most) or ("." if count else "")
        start = f"{in_short(low + place * step):>10}  "
        yield Line("", (Cell(start), Cell(bar, style), Cell(f" {count / len(times):.0%}" if count else "")))


def replay_view(facts: Facts, *, width: int = 0) -> list[Block]:  # noqa: ARG001 - as `plan_view`, without a plot
    """Return how often a champion alarmed against itself.

    Args:
        facts: as `replay_facts` tells them.
        width: columns of the terminal; nothing here is as wide.
    """
    told = f"  {facts['replays']} replays of {facts['calls']:,} calls of {facts['champion']} against itself"
    blocks: list[Block] = [
        Line("A/A", (Cell(facts["rollout"], "bold"), Cell(told, "cyan"))),
        *(Line("note", (Cell(note, "yellow"),)) for note in facts["notes"]),
    ]
    rows = [
        (
            Cell(name),
            Cell(f"{row['runs']}"),
            Cell(_chance(row)),
            Cell(f"{row['promised']:.3%}" if row["promised"] else EMPTY),
        )
        for name, row in facts["guardrails"].items()
    ]
    alarms = facts["any"]
    last = Cell(f"{alarms['promised']:.1%}", "bold")
    rows.append(
        (Cell("any of them", "bold"), Cell(f"{alarms['runs']}", "bold"), Cell(_chance(alarms), "bold"), last)
    )
    return [*blocks, Grid(("guardrail", "alarms", "share (95 % sure)", "promised at most"), tuple(rows))]
