"""What people see of the queue of reviews in a terminal; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from .output import EMPTY, Block, Cell, Grid, Line

__all__ = ["agreements", "asked", "cases", "numbers"]

Facts = Mapping[str, Any]

STYLES = {"open": "yellow", "answered": "green"}
WHO = {"people": "people with each other", "model": "people with the model"}


def cases(rows: Sequence[Facts]) -> list[Block]:
    """Return cases as a table."""
    if not rows:
        return [Line("", (Cell("there is no such case"),))]
    columns = ("case", "endpoint", "degree", "why", "created", "due", "status", "answers", "in hands of")
    return [Grid(columns, tuple(map(_case, rows)), frozenset({"case", "status"}))]


def _case(row: Facts) -> tuple[Cell, ...]:
    status = (row["decided_by"] and f"{row['status']} by {row['decided_by']}") or row["status"]
    if row["stage"] == "adjudicate":
        status = "open, to adjudicate"
    return (
        Cell(row["id"], "cyan"),
        Cell(row["endpoint"], "bold"),
        Cell(row["degree"]),
        Cell("; ".join(row["why"]) or row["selection"]),
        Cell(_clock(row["created"])),
        Cell(_clock(row["due"])),
        Cell(status, STYLES.get(row["status"], "dim")),
        Cell(f"{row['answers']} of {row['reviewers']}"),
        Cell(", ".join(row["in_hands_of"]) or EMPTY),
    )


def asked(facts: Facts) -> list[Block]:
    """Return the case that people have of a prediction."""
    told = "people are asked now" if facts["new"] else f"people have it already, {facts['status']}"
    return [
        Line("case", (Cell(facts["case"], "cyan"),)),
        Line("prediction", (Cell(f"{facts['prediction_id']} of {facts['endpoint']}: {told}"),)),
    ]


def numbers(facts: Facts) -> list[Block]:
    """Return how the queue does."""
    waits = (
        f"{facts['open']} open, {facts['waiting']} wait for somebody, {facts['adjudicating']} to adjudicate"
    )
    overdue = Cell(f", {facts['overdue']} overdue", "bold red" if facts["overdue"] else "")
    ended = ", ".join(f"{number} {status}" for status, number in facts["ended"].items()) or "none"
    blocks: list[Block] = [Line("cases", (Cell(waits), overdue)), Line("ended", (Cell(ended),))]
    if facts["answered"]:
        seconds = facts["median_seconds"]
        told = f"{sum(facts['answered'].values())}, in {seconds:.1f} s each (median)"
        blocks.append(Line("answers", (Cell(told),)))
        blocks += [
            Line("  by", (Cell(f"{name} "), Cell(str(n), "bold"))) for name, n in facts["answered"].items()
        ]
        blocks.append(
            Line("unseen", (Cell(f"{facts['blind_share']:.0%} without having seen the suggestion"),))
        )
    if facts["with_suggestion"]:
        share = facts["overrides"] / facts["with_suggestion"]
        told = f"{facts['overrides']} of {facts['with_suggestion']}, otherwise than the model ({share:.1%})"
        blocks.append(Line("overrides", (Cell(told),)))
    if facts["revealed"]:
        told = f"{facts['revised']} of {facts['revealed']} answers, after the suggestion was shown"
        blocks.append(Line("revised", (Cell(told),)))
    if facts["letters_waiting"] or facts["letters_lost"]:
        told = f"{facts['letters_waiting']} messages wait"
        lost = Cell(f", {facts['letters_lost']} lost", "bold red" if facts["letters_lost"] else "")
        blocks.append(Line("webhook", (Cell(told), lost)))
    blocks.append(Line("put down", (Cell(f"{facts['skipped']} skipped, {facts['escalated']} handed up"),)))
    return blocks


def agreements(rows: Mapping[str, Facts]) -> list[Block]:
    """Return whether people agree, by endpoint."""
    if not rows:
        return [Line("", (Cell("no endpoint is automated: nobody is asked"),))]
    return [block for name, facts in rows.items() for block in _agreement(name, facts)]


def _agreement(endpoint: str, facts: Facts) -> Iterator[Block]:
    yield Line("endpoint", (Cell(endpoint, "bold"),))
    columns = ("who", "cases", "agree", "kappa", "alpha", "2p-1", "most frequent")
    rows = tuple(
        (
            Cell(words, "bold"),
            Cell(str(facts[who]["units"])),
            Cell(_measure(facts[who], "raw")),
            Cell(_measure(facts[who], "kappa")),
            Cell(_measure(facts[who], "alpha")),
            Cell(_number(facts[who]["twice"])),
            Cell(_number(facts[who]["prevalence"])),
        )
        for who, words in WHO.items()
    )
    yield Grid(columns, rows, frozenset({"who"}))
    for who, words in WHO.items():
        for warning in facts[who]["warnings"]:
            yield Line("", (Cell(f"{words}: {warning}", "yellow"),))


def _measure(facts: Facts, name: str) -> str:
    low, high = facts[f"{name}_interval"]
    if facts[name] is None:
        return EMPTY
    return f"{facts[name]:.2f}" + (f" ({low:.2f} to {high:.2f})" if None not in (low, high) else "")


def _number(value: float | None) -> str:
    return EMPTY if value is None else f"{value:.2f}"


def _clock(seconds: float | None) -> str:
    if seconds is None:
        return EMPTY
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d %H:%M:%SZ")
