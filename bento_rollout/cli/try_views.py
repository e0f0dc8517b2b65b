"""What people see of a try: its steps, its evidence, what it waits for, and why it was decided; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..amounts import in_short
from .output import EMPTY, Block, Cell, Grid, Line

__all__ = ["bar", "explained", "tried"]

Facts = Mapping[str, Any]
FINDINGS = {"healthy": "green", "harmful": "bold red", "unmeasurable": "red", "no_data": "dim"}
STATES = {"over": "green", "now": "bold cyan", "next": "dim"}
STAGES = {
    "steps": ("", "cyan"),
    "holding": ("holds what the last step gave", "cyan"),
    "bake": ("bakes after the promotion", "cyan"),
    "watch": ("watches for late labels", "cyan"),
    "done": ("done", "green"),
    "rolled_back": ("rolled back by evidence", "bold red"),
    "aborted": ("aborted", "yellow"),
}
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
    where, style = STAGES[facts["stage"]]
    if facts["stage"] == "steps":
        where = f"step {facts['step']} of {len(facts['steps'])}"
    name = f"{facts['number']} of {facts['candidate']} against {facts['control']}, "
    dry = (Cell(", a dry run: nothing moves", "yellow"),) if facts["dry_run"] else ()
    yield Line("try", (Cell(name), Cell(where, style), *dry))
    if steps := _steps(facts):
        yield Line("steps", steps)
    if facts["runs"]:
        yield from _live(facts)
    elif facts["words"]:
        yield Line("ended", (Cell(facts["words"]),))
    if facts["runs"] or facts["stage"] == "rolled_back":
        yield _guardrails(facts)


def _live(facts: Facts) -> Iterator[Block]:
    """Yield how a running try stands, as its leader told last."""
    if paused := facts["paused"]:
        why = f": {paused['reason']}" if paused["reason"] else ""
        yield Line("waits", (Cell(f"paused by {paused['by']}{why}", "yellow"),))
    yield Line("decision", (Cell(facts["words"]),))
    for index, text in enumerate(facts["missing"]):
        yield Line(" " if index else "missing", (Cell(text, "yellow"),))
    if facts["may_end"] is not None:
        yield Line("may end", (Cell(f"in {in_short(facts['may_end'])} at the earliest"),))
    for text in facts["warnings"]:
        yield Line("warning", (Cell(text, "bold yellow"),))
    if facts["looked"]:
        yield Line("looked", (Cell(facts["looked"], "dim"),))
    else:
        yield Line("looked", (Cell("nobody yet: a live worker of the service leads", "yellow"),))


def _steps(facts: Facts) -> tuple[Cell, ...]:
    cells: list[Cell] = []
    for step in facts["steps"]:
        bake = f", bake {in_short(step['bake'])}" if step["bake"] else ""
        pause = f" for {in_short(step['pause']['for'])}" if step["pause"] and step["pause"]["for"] else ""
        text = f"{step['what']}{pause}{bake} ({step['state']})"
        cells += [Cell("; ")] if cells else []
        cells.append(Cell(text, STATES[step["state"]]))
    return tuple(cells)


def _guardrails(facts: Facts) -> Grid:
    rows = []
    for name, row in {**facts["guardrails"], **facts.get("checks", {})}.items():
        excused = "accepted by a person" if row.get("excused") else ""
        needless = "" if row.get("required", True) else "not required"
        told = ", ".join(filter(None, (row["detail"], excused, needless)))
        rows.append(
            (
                Cell(name, "bold"),
                Cell(bar(row["numbers"]), FINDINGS.get(row["finding"], "")),
                _finding(row),
                _needed(row),
                Cell(told or EMPTY, "" if told else "dim"),
                Cell(row.get("on_harm") or "pause"),
            )
        )
    columns = ("guardrail", "harmful | healthy", "finding", "needed", "detail", "on harm")
    return Grid(columns, tuple(rows), frozenset({"guardrail", "harmful | healthy"}))


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
        lines.append(_numbers(facts))
    return lines


def _numbers(facts: Facts) -> Grid:
    rows = tuple(
        (
            Cell(name, "bold red" if name in facts["causes"] else "bold"),
            _finding(row),
            Cell(row["detail"] or EMPTY),
            Cell(", ".join(f"{n} {value:.4g}" for n, value in row["numbers"].items()) or EMPTY),
            _needed(row),
        )
        for name, row in facts["guardrails"].items()
    )
    columns = ("guardrail", "finding", "detail", "numbers", "needed")
    return Grid(columns, rows, frozenset({"guardrail", "finding"}))


def _finding(row: Facts) -> Cell:
    return Cell(row["finding"].replace("_", " "), FINDINGS.get(row["finding"], ""))


def _needed(row: Facts) -> Cell:
    return Cell(EMPTY, "dim") if row["needed"] is None else Cell(f"about {row['needed']} {row['unit']}")


def _shares(percents: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {percent:g} %" for name, percent in percents.items())


def _capital(words: str, author: str) -> str:
    """Return words as a sentence begins; a name stays as it is."""
    if words.startswith(author):
        return words
    return words[:1].upper() + words[1:]
