"""Predictions with what belongs to them: what shadows said, and labels, also by the caller's own id."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from .ledger_ids import id_of
from .ledger_labels import LABEL, Label, label_of, valid_of
from .ledger_rows import SHADOW, Entry, Verdict, entry_of, verdict_of
from .sql import Db

__all__ = ["Story", "exported", "stories_of"]


@dataclass(frozen=True, slots=True)
class Story:
    """All that is known of one prediction.

    Attributes:
        prediction: the prediction.
        shadows: what shadows said to it, by variant.
        labels: in the order of their time, then of arrival; the valid ones say so.
        others: the ids of other predictions of the same inference id, oldest first.
    """

    prediction: Entry
    shadows: tuple[Verdict, ...] = ()
    labels: tuple[Label, ...] = ()
    others: tuple[str, ...] = ()


def stories_of(db: Db, rows: Sequence[Sequence[Any]]) -> Iterator[Story]:
    """Return the stories of stored rows of `PREDICTION`, which are in the order of their ids.

    A label by inference id belongs to the newest prediction of that id.
    """
    if not rows:
        return
    between = (rows[0][1], rows[-1][1])
    shadows: dict[str, list[Verdict]] = {}
    query = f"SELECT {SHADOW} FROM shadows WHERE id BETWEEN ? AND ? ORDER BY id, row, variant"  # noqa: S608 - constants
    for found in db.execute(query, between):
        verdict = verdict_of(found)
        shadows.setdefault(verdict.prediction_id, []).append(verdict)
    labels: dict[str, list[Label]] = {}
    query = f"SELECT {LABEL} FROM labels WHERE id BETWEEN ? AND ?"  # noqa: S608 - constants
    for found in db.execute(query, between):
        label = label_of(found)
        labels.setdefault(label.prediction_id or "", []).append(label)
    for owner, label in _by_inference_id(db, sorted({row[5] for row in rows if row[5] is not None})):
        labels.setdefault(owner, []).append(label)
    for row in rows:
        entry = entry_of(row)
        own = labels.get(entry.prediction_id, ())
        yield Story(entry, tuple(shadows.get(entry.prediction_id, ())), valid_of(own) if own else ())


def _by_inference_id(db: Db, names: Sequence[str]) -> Iterator[tuple[str, Label]]:
    """Return the labels of inference ids, each with the id of the prediction that it belongs to."""
    newest = "SELECT id, row FROM predictions WHERE inference_id = ? ORDER BY id DESC, row DESC LIMIT 1"
    for name in names:
        query = f"SELECT {LABEL} FROM labels WHERE inference_id = ?"  # noqa: S608 - constants
        if found := db.execute(query, (name,)).fetchall():
            owner = id_of(*db.execute(newest, (name,)).fetchone())
            yield from ((owner, label_of(row)) for row in found)


def exported(story: Story) -> dict[str, Any]:
    """Return a prediction as one plain row: its fields, what shadows said, and the valid labels.

    ``label`` is the one that is called so; of several sources' the newest; ``labels`` holds each name's.
    """
    row = asdict(story.prediction)
    row["runs"] = list(row["runs"])
    valid = {label.name: label for label in story.labels if label.valid}  # in order: the newest stays
    label = valid.get("label")
    row["label"] = None if label is None else label.value
    row["label_source"] = None if label is None else label.source
    row["label_time"] = None if label is None else label.time
    row["label_selection"] = None if label is None or label.selection is None else label.selection.value
    row["label_probability"] = None if label is None else label.probability
    row["labels"] = {name: one.value for name, one in sorted(valid.items())}
    row["shadows"] = [_said(verdict) for verdict in story.shadows]
    return row


def _said(verdict: Verdict) -> Mapping[str, Any]:
    return {
        "variant": verdict.variant,
        "relation": verdict.relation,
        "error": verdict.error,
        "seconds": verdict.seconds,
        "output": verdict.output,
    }
