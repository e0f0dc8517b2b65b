"""What people see of a ledger in a terminal: entries in, blocks out; pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from ..revisions import shown_revision
from .output import EMPTY, Block, Cell, Grid, Line

if TYPE_CHECKING:
    from ..store.ledger import Counts
    from ..store.ledger_joins import Story
    from ..store.ledger_labels import Label
    from ..store.ledger_rows import Entry, Verdict

__all__ = ["counts", "line", "story", "tail"]

LONGEST = 200
"""Characters of an output that one screen shows; the JSON has all of it."""

_STYLES = {"ok": "green", "client_error": "yellow", "disconnected": "yellow"}
_RELATIONS = {"agree": "green", "differ": "yellow", "not_comparable": "red"}


def tail(entries: Sequence[Entry]) -> list[Block]:
    """Return the newest predictions as a table."""
    if not entries:
        return [Line("", (Cell("no prediction is kept yet", "yellow"),))]
    columns = ("time", "prediction", "endpoint", "variant", "reason", "outcome", "seconds", "output")
    rows = tuple(
        (
            Cell(_clock(one.time)),
            Cell(one.prediction_id, "cyan"),
            Cell(one.endpoint),
            Cell(one.variant, "bold"),
            Cell(one.reason),
            Cell(one.outcome, _STYLES.get(one.outcome, "red")),
            Cell(_took(one.seconds)),
            Cell(_short(one.output, 40)),
        )
        for one in entries
    )
    return [Grid(columns, rows, frozenset({"time", "prediction"}))]


def line(entry: Entry) -> str:
    """Return one prediction on one line."""
    parts = (_clock(entry.time), entry.prediction_id, entry.endpoint, entry.variant, entry.reason)
    return "  ".join((*parts, entry.outcome, _took(entry.seconds), _short(entry.output, 40)))


def story(told: Story) -> list[Block]:
    """Return one screen about one prediction: who, why, when, what, the shadows, the truth."""
    one = told.prediction
    revision = shown_revision(one.revision)
    blocks: list[Block] = [
        Line("prediction", (Cell(one.prediction_id, "bold cyan"), Cell(f"  {_clock(one.time)}"))),
        Line("asked", (Cell(one.endpoint), *_known("of inference id", one.inference_id))),
        Line(
            "answered",
            (
                Cell(f"by {one.variant}", "bold"),
                Cell(f"  because {one.reason}, revision {revision}, in {_took(one.seconds)}  "),
                Cell(one.outcome, _STYLES.get(one.outcome, "red")),
                *_known("", one.error),
            ),
        ),
    ]
    for run in one.runs:
        how = Cell(f"{run.variant}: {run.outcome} in {_took(run.seconds)}", "red")
        blocks.append(Line("before it", (how, *_known("", run.error))))
    blocks.append(Line("key", (Cell(one.key_hash or "no key"),)))
    if one.task_id:
        blocks.append(Line("task", (Cell(one.task_id),)))
    if one.trace_id:
        blocks.append(Line("trace", (Cell(one.trace_id), Cell(f"  span {one.span_id}", "dim"))))
    if one.inputs is not None:
        blocks.append(Line("inputs", (Cell(_short(one.inputs, LONGEST)),)))
    sent = "not kept" if one.output is None else _short(one.output, LONGEST)
    if one.output is None and one.size:
        sent = f"not kept: {one.size} bytes of {one.media_type or 'an unknown kind'}"
    blocks.append(Line("output", (Cell(sent),)))
    if told.others:
        blocks.append(Line("same id", (Cell(", ".join(told.others)),)))
    blocks += list(_shadows(told.shadows))
    blocks += list(_labels(told.labels))
    return blocks


def _shadows(verdicts: Sequence[Verdict]) -> Iterator[Block]:
    if not verdicts:
        return
    rows = tuple(
        (
            Cell(one.variant, "bold"),
            Cell(one.relation.replace("_", " "), _RELATIONS.get(one.relation, "")),
            Cell(EMPTY if one.seconds is None else _took(one.seconds)),
            Cell(one.error or ", ".join(str(found.get("path")) for found in one.differences) or EMPTY),
            Cell(EMPTY if one.output is None else _short(one.output, 60)),
        )
        for one in verdicts
    )
    yield Grid(("shadow", "said", "seconds", "where", "output"), rows, frozenset({"shadow", "said"}))


def _labels(labels: Sequence[Label]) -> Iterator[Block]:
    if not labels:
        yield Line("truth", (Cell("not known yet", "dim"),))
        return
    rows = tuple(
        (
            Cell(one.name, "bold"),
            Cell(_short(one.value, 60), "" if one.valid else "dim"),
            Cell(one.source),
            Cell(_clock(one.time)),
            Cell("valid" if one.valid else "corrected since", "green" if one.valid else "dim"),
            Cell(one.reason or EMPTY),
        )
        for one in labels
    )
    yield Grid(("label", "truth", "source", "time", "", "reason"), rows, frozenset({"label", "truth"}))


def _known(what: str, text: str | None) -> tuple[Cell, ...]:
    return () if text is None else (Cell(f"  {f'{what} {text}'.strip()}", "dim"),)


def _took(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.2f} ms"


def counts(where: str, found: Counts) -> list[Block]:
    """Return what a ledger holds, and what was lost."""
    if found.oldest is None or found.newest is None:
        since = "nothing is kept yet"
    else:
        since = f"{found.predictions} predictions, from {_clock(found.oldest)} to {_clock(found.newest)}"
    blocks: list[Block] = [
        Line("ledger", (Cell(where, "bold"), Cell(f"  {found.size / 1e6:.1f} MB"))),
        Line("kept", (Cell(since),)),
        Line("beside them", (Cell(f"{found.shadows} answers of shadows, {found.labels} labels"),)),
    ]
    if found.orphans:
        told = f"{found.orphans} labels wait for a prediction that is not known"
        blocks.append(Line("waiting", (Cell(told, "yellow"),)))
    blocks += [
        Line(name.replace("_", " "), (Cell(str(number), "red" if name == "unwritten" else ""),))
        for name, number in found.events.items()
    ]
    return blocks


def _clock(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + "Z"


def _short(value: Any, most: int) -> str:
    text = EMPTY if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= most else f"{text[: most - 1]}…"
