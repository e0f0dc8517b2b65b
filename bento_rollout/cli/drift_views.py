"""What people see of drift in a terminal: how the tests stand, which features moved, what was done; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .output import EMPTY, Block, Cell, Grid, Line

__all__ = ["ended", "fitted", "replayed", "report", "status"]

Facts = Mapping[str, Any]
NOTHING = Cell(EMPTY, "dim")
MOST_FEATURES = 20
"""Features of one test that a terminal shows; a program gets all of them."""
SPARKS = "▁▂▃▄▅▆▇█"
STATES = {"new": "bold red", "acted": "bold red"}


def status(facts: Facts) -> list[Block]:
    """Return how the watch of a rollout stands."""
    blocks: list[Block] = [_head(facts)]
    blocks += [_sentence(words, facts) for words in facts["words"]]
    if (reference := facts.get("reference")) is not None:
        blocks.append(Line("reference", (Cell(_reference(reference)),)))
        blocks += [Line("warning", (Cell(one, "yellow"),)) for one in reference.get("warnings", ())]
    if facts["tests"]:
        blocks.append(_tests(facts["tests"]))
    for one in facts["tests"].values():
        if one.get("segments"):
            blocks.append(_segments(one))
        blocks += [Line("note", (Cell(note, "yellow"),)) for note in one.get("notes", ())]
        if (estimate := one.get("estimate")) is not None:
            blocks.append(Line("estimate", (Cell(estimate["words"], "dim"),)))
    if facts["alarms"]:
        blocks.append(_alarms(facts["alarms"]))
    if facts["latched"]:
        name = facts["rollout"]
        blocks += [
            Line("", (Cell(f"bento-rollout drift {name} report     shows what moved"),)),
            Line(
                "", (Cell(f"bento-rollout drift {name} ack        you have seen it; the watch begins anew"),)
            ),
            Line("", (Cell(f"bento-rollout drift {name} rebase     what comes now is the reference"),)),
        ]
    return blocks


def report(facts: Facts) -> list[Block]:
    """Return how it stands, with the features of each test."""
    blocks = status(facts)
    for key, test in facts["tests"].items():
        if test["kind"] == "schema":
            blocks += [Line("built", (Cell(_built(one), "yellow"),)) for one in test["changes"]]
            if refused := test.get("refused"):
                blocks.append(Line("refused", (Cell(f"{refused} calls gave no rows", "yellow"),)))
            continue
        title = (Cell(key, "bold"), Cell(f"  {_course(test['timeline'])}"))
        blocks.append(Line("features", title))
        rows = tuple(_row(one, test) for one in test["features"][:MOST_FEATURES])
        if rows:
            columns = ("feature", "evidence", "psi", "since row", "reference", "recent", "in words")
            blocks.append(Grid(columns, rows, frozenset({"feature"})))
        left = len(test["features"]) - MOST_FEATURES
        if left > 0:
            blocks.append(Line("", (Cell(f"and {left} more features: --json has all", "dim"),)))
    return blocks


def ended(facts: Facts) -> list[Block]:
    """Return what an acknowledgement, or a new reference, did."""
    return [Line("", (Cell(one, "green" if facts["changed"] else ""),)) for one in facts["words"]]


def replayed(facts: Facts) -> list[Block]:
    """Return how a replay of the ledger compares with what was kept."""
    rows = []
    for key, one in facts["tests"].items():
        words = {True: Cell("the same", "green"), False: Cell("not the same", "bold red")}
        same = words.get(one["same"], Cell("cannot be compared", "yellow"))
        numbers = [
            NOTHING if value is None else Cell(f"{value:.9f}") for value in (one["kept"], one["again"])
        ]
        rows.append((Cell(key, "bold"), Cell(str(one["rows"])), *numbers, same, Cell(one["words"] or EMPTY)))
    columns = ("test", "rows", "kept", "again", "replay", "why")
    return [Grid(columns, tuple(rows), frozenset({"test"}))] if rows else [Line("", (Cell("no test yet"),))]


def fitted(facts: Facts) -> list[Block]:
    """Return what a reference was made of."""
    blocks: list[Block] = [
        Line("reference", (Cell(facts["digest"], "bold"), Cell(f"  {facts['rows']} rows"))),
        *([Line("written", (Cell(facts["file"], "green"),))] if facts["file"] else []),
        *(Line("warning", (Cell(one, "yellow"),)) for one in facts["warnings"]),
        *(Line("segment", (Cell(f"{name}  {rows} rows"),)) for name, rows in facts["segments"].items()),
    ]
    rows = tuple(
        (
            Cell(one["name"], "bold"),
            Cell(one["kind"]),
            Cell(str(one["bins"])),
            Cell(f"skipped: {one['skipped']}", "yellow") if one["skipped"] else Cell("watched", "green"),
            NOTHING if one["dependence"] is None else Cell(f"{one['dependence']:.2f}"),
        )
        for one in facts["features"]
    )
    columns = ("feature", "kind", "bins", "is", "lag-1 correlation")
    return [*blocks, Grid(columns, rows, frozenset({"feature"}))]


# -- the parts -----------------------------------------------------------------------------------------


def _head(facts: Facts) -> Line:
    if facts["latched"]:
        said = Cell("  ALARM", "bold red")
    elif facts["problem"]:
        said = Cell("  not watched now", "bold yellow")
    else:
        said = Cell("  quiet", "green") if facts["watched"] else Cell("  nothing yet", "yellow")
    return Line("drift", (Cell(facts["rollout"], "bold"), said))


def _sentence(words: str, facts: Facts) -> Line:
    style = "yellow" if words == facts["problem"] else "red" if facts["latched"] else ""
    return Line(" ", (Cell(words, style),))


def _reference(one: Facts) -> str:
    return f"{one['digest']}  {one['rows']} rows, {one['features']} features, from {one['source']}"


def _tests(tests: Mapping[str, Facts]) -> Grid:
    rows = tuple(
        (
            Cell(key, "bold"),
            Cell(one["endpoint"]),
            Cell(str(one["epoch"])),
            Cell(str(one["rows"])),
            *(
                (NOTHING, NOTHING)
                if one["kind"] == "schema"
                else (Cell(one["odds"]), Cell(one["odds_needed"]))
            ),
            _stands(one),
        )
        for key, one in tests.items()
    )
    columns = ("test", "endpoint", "epoch", "rows", "evidence", "alarm at", "is")
    return Grid(columns, rows, frozenset({"test"}))


def _segments(test: Facts) -> Grid:
    """Return how each segment stands, the strongest evidence first."""
    ordered = sorted(test["segments"], key=lambda one: -one["log_evidence"])
    rows = tuple(
        (
            Cell(one["name"], "bold red" if one["certain"] else "bold"),
            Cell(str(one["rows"])),
            Cell(one["odds"]),
            Cell(test["odds_needed"]),
            Cell("certain", "bold yellow") if one["certain"] else Cell("quiet", "green"),
        )
        for one in ordered
    )
    return Grid(("segment", "rows", "evidence", "alarm at", "is"), rows, frozenset({"segment"}))


def _built(one: Facts) -> str:
    return f"{one['feature'] or 'a call'}: {one['kind']} in {one['rows']} rows"


def _stands(one: Facts) -> Cell:
    if one["kind"] == "schema" and one["latched"]:
        return Cell("rows are built otherwise", "bold red")
    if one["acting"]:
        return Cell(f"certain and large: {', '.join(one['acting'])}", "bold red")
    if one["certain"]:
        return Cell("certain, not large", "bold yellow")
    if (why := one.get("waits")) is not None:
        return Cell(why, "yellow")
    return Cell("quiet", "green")


def _alarms(alarms: Sequence[Facts]) -> Grid:
    rows = tuple(
        (
            Cell(one["id"], "bold"),
            Cell(one["at"].partition(".")[0].replace("T", " ")),
            Cell(one["state"], STATES.get(one["state"], "dim")),
            Cell(one["words"]),
            Cell("; ".join(f"{act}: {what}" for act, what in one["acts"].items()) or EMPTY),
            Cell(_by(one)),
        )
        for one in alarms
    )
    return Grid(("alarm", "found", "state", "about", "did", "ended by"), rows, frozenset({"alarm", "state"}))


def _by(one: Facts) -> str:
    if not one["ended_by"]:
        return EMPTY
    return f"{one['ended_by']}: {one['note']}" if one["note"] else str(one["ended_by"])


def _row(one: Facts, test: Facts) -> tuple[Cell, ...]:
    strong = one["log_evidence"] >= test["alarm_at"]
    return (
        Cell(one["name"], "bold red" if strong else "bold"),
        Cell(one["odds"]),
        NOTHING if one["psi"] is None else Cell(f"{one['psi']:.3f}"),
        NOTHING if one["since_row"] is None else Cell(str(one["since_row"])),
        Cell(_sparks(one["reference_histogram"])),
        Cell(_sparks(one["recent_histogram"])),
        Cell(one["words"]),
    )


def _sparks(counts: Sequence[float]) -> str:
    """Return a histogram as a row of blocks, the tallest bin as a whole one.

    >>> _sparks([0, 4, 8])
    '▁▅█'
    """
    most = max(counts, default=0)
    if most <= 0:
        return EMPTY
    return "".join(
        SPARKS[min(len(SPARKS) - 1, int(count / most * (len(SPARKS) - 1) + 0.5))] for count in counts
    )


def _course(points: Sequence[Facts]) -> str:
    """Return the course of the evidence as a row of blocks."""
    if not points:
        return ""
    values = [max(0.0, point["log_evidence"]) for point in points]
    step = max(1, len(values) // 60)
    return f"{_sparks(values[::-step][::-1])}  to row {points[-1]['row']}"
