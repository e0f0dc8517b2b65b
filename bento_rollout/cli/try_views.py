"""What people see of a try: its steps, its evidence, what it waits for, and why it was decided; pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..amounts import in_short
from .output import EMPTY, Block, Cell, Grid, Line

__all__ = ["bar", "explained", "glance", "tried"]

Facts = Mapping[str, Any]
FINDINGS = {"healthy": "green", "harmful": "bold red", "unmeasurable": "red", "no_data": "dim"}
STATES = {
    "over": ("over", "green"),
    "now": ("now", "bold cyan"),
    "next": ("next", "dim"),
    "reached": ("ended here", "yellow"),
    "skipped": ("skipped", "dim"),
    "never": ("never reached", "dim"),
}
STAGES = {
    "steps": ("", "cyan"),
    "holding": ("holds what the last step gave", "cyan"),
    "bake": ("bakes after the promotion", "cyan"),
    "watch": ("watches for late labels", "cyan"),
    "done": ("done", "green"),
    "rolled_back": ("rolled back by evidence", "bold red"),
    "aborted": ("aborted", "yellow"),
}
READABLE = 100
"""Columns that what is explained takes, where a terminal does not say how many there are."""

MOST_WHOLE = 1e15
"""Above it a number is no count."""

HALF = 10
"""Characters of a bar from its middle to each end."""


def bar(numbers: Mapping[str, float]) -> str:
    """Return how much of what an alarm, and a proof of health, needs is there: it fills from the middle.

    >>> bar({"harm": 0.2, "health": 0.75})
    '--------##|########--'
    """
    harm, health = (_filled(numbers.get(name, 0.0)) for name in ("harm", "health"))
    return f"{'-' * (HALF - harm)}{'#' * harm}|{'#' * health}{'-' * (HALF - health)}"


def _filled(part: float) -> int:
    """Return the characters for a part; the last one only when it is whole."""
    if part >= 1:
        return HALF
    return min(HALF - 1, round(HALF * part)) if part > 0 else 0  # also of NaN


def tried(facts: Facts | None) -> Iterator[Block]:
    """Yield what a status tells of the try; nothing where there was none."""
    if not facts:
        return
    yield _head(facts)
    if steps := _steps(facts):
        yield Line("steps", steps)
    if facts["runs"]:
        yield from _live(facts)
    elif facts["words"]:
        yield Line("ended", (Cell(facts["words"]),))
    if facts["runs"] or facts["stage"] == "rolled_back":
        yield _guardrails(facts)


def glance(facts: Facts) -> Iterator[Block]:
    """Yield what must be seen of a running try wherever it is watched: in 80 columns, in a few lines."""
    yield _head(facts)
    if facts["steps"]:
        yield Line("steps", tuple(_in_brief(facts)))
    yield from _paused(facts)
    if facts["missing"]:
        yield Line("missing", (Cell("; ".join(_missing(facts)), "yellow"),))
    else:
        yield Line("decision", (Cell(facts["words"]),))
    yield from _may_end(facts)
    first, *more = facts["warnings"] or [""]
    if first:
        told = f"{first} (and {len(more)} more, below)" if more else first
        yield Line("warning", (Cell(told, "bold yellow"),))
    every = _every(facts).items()
    rows = tuple((Cell(name, "bold"), _bar(row), _finding(row), _needed(row, "")) for name, row in every)
    yield Grid(("guardrail", "harmful | healthy", "finding", "needs about"), rows)
    yield from _warnings(more)
    yield _looked(facts)
    details = tuple((Cell(name, "bold"), Cell(told)) for name, row in every if (told := _told(row)))
    if details:
        yield Grid(("guardrail", "detail"), details)


def _head(facts: Facts) -> Line:
    where, style = STAGES[facts["stage"]]
    if facts["stage"] == "steps":
        where = f"step {facts['step']} of {len(facts['steps'])}"
    name = f"{facts['number']} of {facts['candidate']} against {facts['control']}, "
    dry = (Cell(", a dry run: nothing moves", "yellow"),) if facts["dry_run"] else ()
    return Line("try", (Cell(name), Cell(where, style), *dry))


def _live(facts: Facts) -> Iterator[Block]:
    """Yield how a running try stands, as its leader told last."""
    yield from _paused(facts)
    yield Line("decision", (Cell(facts["words"].removesuffix(f"; missing: {'; '.join(facts['missing'])}")),))
    for index, text in enumerate(facts["missing"]):
        yield Line(" " if index else "missing", (Cell(text, "yellow"),))
    yield from _may_end(facts)
    yield from _warnings(facts["warnings"])
    yield _looked(facts)


def _paused(facts: Facts) -> Iterator[Line]:
    if paused := facts["paused"]:
        why = f": {paused['reason']}" if paused["reason"] else ""
        yield Line("waits", (Cell(f"paused by {paused['by']}{why}", "yellow"),))


def _may_end(facts: Facts) -> Iterator[Line]:
    soonest, latest = facts["may_end"], facts["may_end_late"]
    if soonest is None:
        return
    if latest is None:
        wait = f"in {in_short(soonest)} at the earliest, and " if soonest else ""
        told = f"{wait}how long the evidence takes is not known yet"
    elif latest > soonest:
        told = f"in {in_short(soonest)} to {in_short(latest)}, with the traffic of late"
    else:
        told = f"in {in_short(soonest)} at the earliest"
    yield Line("may end", (Cell(told),))


def _warnings(texts: Iterable[str]) -> Iterator[Line]:
    return (Line("warning", (Cell(text, "bold yellow"),)) for text in texts)


def _looked(facts: Facts) -> Line:
    if facts["looked"]:
        return Line("looked", (Cell(facts["looked"], "dim"),))
    return Line("looked", (Cell("nobody yet: a live worker of the service leads", "yellow"),))


def _steps(facts: Facts) -> tuple[Cell, ...]:
    cells: list[Cell] = []
    for step in facts["steps"]:
        word, style = STATES[step["state"]]
        cells += [Cell("; ")] if cells else []
        cells.append(Cell(f"{step['what']}{_takes(step)} ({word})", style))
    return tuple(cells)


def _in_brief(facts: Facts) -> Iterator[Cell]:
    """Yield the steps of a running try, of which only the present one is told whole."""
    for number, step in enumerate(facts["steps"]):
        word, style = STATES[step["state"]]
        if number:
            yield Cell(", ")
        more = {"now": f" ({word}{_takes(step)})", "skipped": f" ({word})"}.get(step["state"], "")
        yield Cell(step["what"].removeprefix("weight ") + more, style)


def _takes(step: Facts) -> str:
    """Return how long a step takes at least, or waits."""
    pause = f", for {in_short(step['pause']['for'])}" if step["pause"] and step["pause"]["for"] else ""
    return f"{pause}, bake {in_short(step['bake'])}" if step["bake"] else pause


def _missing(facts: Facts) -> Iterator[str]:
    """Yield what is waited for; of guardrails only the names, as what is known of them stands beside."""
    unproven = {f"{name} healthy": name for name in facts["guardrails"]}
    heads = [text.partition(": ")[0] for text in facts["missing"]]
    yield from (text for head, text in zip(heads, facts["missing"], strict=True) if head not in unproven)
    if names := [unproven[head] for head in heads if head in unproven]:
        yield f"healthy: {', '.join(names)}"


def _every(facts: Facts) -> dict[str, Facts]:
    return {**facts["guardrails"], **facts.get("checks", {})}


def _bar(row: Facts) -> Cell:
    return Cell(bar(row["numbers"]), FINDINGS.get(row["finding"], ""))


def _told(row: Facts) -> str:
    excused = "accepted by a person" if row.get("excused") else ""
    needless = "" if row.get("required", True) else "not required"
    return ", ".join(filter(None, (row["detail"], excused, needless)))


def _guardrails(facts: Facts) -> Grid:
    rows = tuple(
        (
            Cell(name, "bold"),
            _bar(row),
            _finding(row),
            _needed(row),
            Cell(told) if (told := _told(row)) else Cell(EMPTY, "dim"),
            Cell(row.get("on_harm") or "pause"),
        )
        for name, row in _every(facts).items()
    )
    columns = ("guardrail", "harmful | healthy", "finding", "needed", "detail", "on harm")
    return Grid(columns, rows, frozenset({"guardrail", "harmful | healthy"}))


def explained(facts: Facts) -> list[Block]:
    """Return why a revision was made: a sentence, and the numbers."""
    made = f"{facts['action']} by {facts['author']}, {facts['time']}"
    dry = Cell("dry run, ", "yellow")
    lines: list[Block] = [
        Line(
            "",
            (*((dry,) if facts["dry_run"] else ()), Cell(_capital(facts["words"], facts["author"]), "bold")),
        ),
        Line("revision", (Cell(f"{facts['revision']}  ", "cyan"), Cell(made))),
    ]
    if facts["place"]:
        lines.append(Line("place", (Cell(facts["place"]),)))
    before, after = facts["weights_before"], facts["weights"]
    told = _shares(after) if before is None or before == after else f"{_shares(before)} -> {_shares(after)}"
    lines.append(Line("traffic", (Cell(told),)))
    lines += [
        Line(" " if index else "missing", (Cell(text, "yellow"),))
        for index, text in enumerate(facts["missing"])
    ]
    if facts["guardrails"]:
        lines += _numbers(facts)
    return lines


def _numbers(facts: Facts) -> Iterator[Grid]:
    """Yield what was known of each guardrail, and then the numbers that it was computed from."""
    found, counted = [], []
    for name, row in facts["guardrails"].items():
        head = Cell(name, "bold red" if name in facts["causes"] else "bold")
        found.append((head, _finding(row), _needed(row), Cell(row["detail"] or EMPTY)))
        if row["numbers"]:
            told = ", ".join(f"{n}={_digits(value)}" for n, value in row["numbers"].items())
            counted.append((head, Cell(told)))
    columns = ("guardrail", "finding", "needed", "detail")
    yield Grid(columns, tuple(found), frozenset(columns[:2]), READABLE)
    if counted:
        yield Grid(("guardrail", "numbers"), tuple(counted), frozenset({"guardrail"}), READABLE)


def _digits(value: float) -> str:
    """Return a number as people read it: a count whole, all else with four digits."""
    return f"{value:.0f}" if float(value).is_integer() and abs(value) < MOST_WHOLE else f"{value:.4g}"


def _finding(row: Facts) -> Cell:
    return Cell(row["finding"].replace("_", " "), FINDINGS.get(row["finding"], ""))


def _needed(row: Facts, about: str = "about ") -> Cell:
    return Cell(EMPTY, "dim") if row["needed"] is None else Cell(f"{about}{row['needed']} {row['unit']}")


def _shares(percents: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {percent:g} %" for name, percent in percents.items())


def _capital(words: str, author: str) -> str:
    """Return words as a sentence begins; a name stays as it is."""
    if words.startswith(author):
        return words
    return words[:1].upper() + words[1:]
