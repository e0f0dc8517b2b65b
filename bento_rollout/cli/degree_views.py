"""What people see of degrees of automation, of a calibration, and of the trail; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .output import EMPTY, Block, Cell, Grid, Line

__all__ = ["calibration", "degrees", "explained", "standings", "verified"]

Facts = Mapping[str, Any]
NOTHING = Cell(EMPTY, "dim")
DIGEST = 12
ROWS = 12
"""Rows of a table of thresholds that are shown; a program gets all of them."""

STATES = {"now": "bold cyan", "open": "green", "closed": "dim"}


def degrees(rows: Mapping[str, Facts]) -> Iterator[Block]:
    """Yield what a status tells of who decides; nothing where no endpoint is automated."""
    for index, (endpoint, row) in enumerate(rows.items()):
        cells = [Cell(f"{endpoint} "), Cell(row["degree"] or "not taken up yet", "bold cyan")]
        if row.get("demoted"):
            cells.append(Cell(f"  demoted: {row['demoted']}", "bold red"))
        if asked := row.get("proposed"):
            cells.append(Cell(f"  {asked['author']} asks for {asked['degree']}", "yellow"))
        yield Line(" " if index else "degree", tuple(cells))


def standings(rows: Mapping[str, Facts]) -> list[Block]:
    """Return how each automated endpoint stands."""
    if not rows:
        return [Line("", (Cell("no endpoint is automated: the model decides all of them"),))]
    cells = []
    for endpoint, row in rows.items():
        who = f"{row['author']}{': ' + row['reason'] if row['reason'] else ''}" if row["degree"] else EMPTY
        cells.append(
            (
                Cell(endpoint, "bold"),
                Cell(row["degree"] or EMPTY, "bold cyan"),
                Cell(row["max_degree"] or "not automated now", "" if row["max_degree"] else "yellow"),
                _certified(row.get("certificate")),
                _proposed(row.get("proposed")),
                Cell(str(row["since"])) if row["degree"] else NOTHING,
                Cell(who),
            )
        )
    columns = ("endpoint", "degree", "at most", "certified", "asked for", "since", "by")
    return [Grid(columns, tuple(cells), frozenset({"endpoint", "degree"}))]


def _certified(one: Facts | None) -> Cell:
    if one is None:
        return NOTHING
    if one["revoked"]:
        return Cell(f"refuted by audits: {one['revoked']}", "bold red")
    return Cell(f"{one['allows']}: {_threshold(one)}, {one['coverage']:.1%} of the traffic", "green")


def _proposed(one: Facts | None) -> Cell:
    return NOTHING if one is None else Cell(f"{one['degree']} by {one['author']}", "yellow")


def _threshold(one: Facts) -> str:
    if one["threshold"] is not None:
        return f"score from {one['threshold']:.4g}"
    each = {**one["by_class"], **one["by_segment"]}
    return ", ".join(f"{name} from {at:.4g}" for name, at in sorted(each.items()))


def explained(facts: Facts) -> list[Block]:
    """Return why an endpoint has its degree, and what each takes."""
    lines: list[Block] = [
        Line("endpoint", (Cell(facts["endpoint"], "bold"), Cell(f"  degree {facts['degree']}", "bold cyan"))),
        Line(
            "champion", (Cell(facts["champion"], "green"), Cell(f"  {(facts['digest'] or EMPTY)[:DIGEST]}"))
        ),
    ]
    if facts["demoted"]:
        lines.append(Line("demoted", (Cell(facts["demoted"], "bold red"),)))
    lines.append(Line("certified", (_certified(facts["certificate"]),)))
    if asked := facts["proposed"]:
        lines.append(Line("asked for", (_proposed(asked),)))
    if seen := facts["evidence"]:
        told = f"{seen['cases']} answered cases of this model; at least {seen['least']} without an error are "
        lines.append(Line("evidence", (Cell(f"{told}needed to certify anything"),)))
        kept = (facts["certificate"] or {}).get("by_segment", {})
        lines += [Line("", (_segment(name, cases, kept.get(name)),)) for name, cases in _segments(seen)]
    lines += [Line("audits", (_audited(one),)) for one in facts["audits"]]
    rows = tuple(
        (Cell(row["degree"], "bold"), Cell(row["state"], STATES[row["state"]]), Cell(row["words"] or EMPTY))
        for row in facts["steps"]
    )
    return [*lines, Grid(("degree", "state", "why"), rows, frozenset({"degree", "state"}))]


def _segments(seen: Facts) -> list[tuple[str, int]]:
    return list(seen.get("segments", {}).items())


def _segment(name: str, cases: int, threshold: float | None) -> Cell:
    if threshold is None:
        return Cell(f"{name}: {cases} cases, no threshold: people decide", "yellow")
    return Cell(f"{name}: {cases} cases, score from {threshold:.4g}", "green")


def _audited(one: Facts) -> Cell:
    """Return how the audits of one class stand; they are told, not judged: what judges is the alarm."""
    of = f" of {one['class']}" if one["class"] else ""
    told = f"{one['errors']} of {one['audits']}{of} wrong, at most {one['target_error']:.2%} is certified"
    return Cell(f"{told}: refuted", "bold red") if one["alarm"] else Cell(told)


def calibration(facts: Facts) -> list[Block]:
    """Return what a calibration found, and the table of thresholds."""
    used = ", ".join(f"{count} {why}" for why, count in facts["used"].items()) or "none"
    cases = f"{used}; {facts['scoreless']} without a score" if facts["scoreless"] else used
    style = "bold green" if facts["certified"] else "bold yellow"
    lines: list[Block] = [
        Line("endpoint", (Cell(facts["endpoint"], "bold"),)),
        Line("model", (Cell(facts["variant"], "green"), Cell(f"  {facts['digest'][:DIGEST]}"))),
        Line("promise", (Cell(_promise(facts)),)),
        Line("cases", (Cell(cases),)),
        *(
            Line(" " if index else "left out", (Cell(f"{count} {why}", "yellow"),))
            for index, (why, count) in enumerate(facts["left_out"].items())
        ),
        Line("result", (Cell(facts["words"], style),)),
    ]
    if facts["revision"]:
        lines.append(Line("kept", (Cell(f"in revision {facts['revision']}; the degree stays as it is"),)))
    for name, one in {**facts["classes"], **facts["segments"]}.items():
        lines += [_of_class(name, one), _table(one)]
    return lines


def _promise(facts: Facts) -> str:
    target = facts["target_error"]
    each = (
        ", ".join(f"{name} at most {100 * most:g} %" for name, most in sorted(target.items()))
        if isinstance(target, Mapping)
        else f"at most {100 * target:g} %"
    )
    return f"error {each} of what the model decides, {100 * facts['confidence']:g} % sure"


def _of_class(name: str, one: Facts) -> Line:
    who = f"{name}: " if name else ""
    if one["threshold"] is None:
        text = f"{who}no threshold; {one['labels_missing']} more cases are missing"
        return Line("", (Cell(text, "yellow"),))
    seen = f"{one['errors']} errors in {one['accepted']}"
    return Line(
        "", (Cell(f"{who}score from {one['threshold']:.4g}: {seen}, {one['coverage']:.1%}", "green"),)
    )


def _table(one: Facts) -> Grid:
    rows = tuple(
        (
            Cell(f"{row['threshold']:.4g}", "bold" if row["threshold"] == one["threshold"] else ""),
            Cell(f"{row['coverage']:.1%}"),
            Cell(str(row["accepted"])),
            Cell(str(row["errors"])),
            NOTHING if row["error"] is None else Cell(f"{row['error']:.2%}"),
            Cell(f"{row['bound']:.2%}", "green" if row["bound"] <= one["target_error"] else ""),
            Cell("certified", "bold green") if row["threshold"] == one["threshold"] else NOTHING,
        )
        for row in _some(one["table"], one["threshold"])
    )
    columns = ("threshold", "coverage", "accepted", "errors", "error", "at most", "note")
    return Grid(columns, rows, frozenset({"threshold"}))


def _some(table: Sequence[Facts], chosen: float | None) -> list[Facts]:
    """Return a few rows of a table, the chosen one among them."""
    every = max(1, -(-len(table) // ROWS))
    last = len(table) - 1
    return [row for at, row in enumerate(table) if (last - at) % every == 0 or row["threshold"] == chosen]


def verified(facts: Facts) -> list[Block]:
    """Return whether the trail is whole."""
    if facts["broken_at"] is not None:
        text = f"entry {facts['broken_at']} is not as it was written: the trail was changed there, or before"
        verdict = Line("", (Cell(text, "bold red"),))
    else:
        verdict = Line("", (Cell("the trail is whole", "bold green"),))
    return [Line("entries", (Cell(str(facts["entries"])),)), Line("head", (Cell(facts["head"]),)), verdict]
