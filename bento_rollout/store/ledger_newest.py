"""The newest labels of predictions, and their answers, for many at a time: a database may be some way off."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ..reviewing import Selection
from .sql import Db

__all__ = ["AT_ONCE", "SAYS", "newest_labels", "outputs_of"]

AT_ONCE = 100
"""Predictions whose labels and answers are asked for at a time: as many may be held."""

_UNBIASED = ", ".join(f"'{one.value}'" for one in Selection if one.unbiased)
SAYS = f"(selection IS NULL OR selection IN ({_UNBIASED}))"
"""Labels that say something of a variant: nobody chose their prediction for how hard it is."""

_LABEL = (
    "SELECT l.seq FROM labels AS l WHERE {which} AND l.name = ? AND l.received <= p.time + ? "  # noqa: S608
    f"AND {SAYS} ORDER BY l.time DESC, l.seq DESC LIMIT 1"
)
_HEIR = (
    "SELECT 1 FROM predictions AS h WHERE h.inference_id = p.inference_id AND (h.id, h.row) > (p.id, p.row) "
    "AND h.time <= p.time + ?"
)
_BY_ID = _LABEL.format(which="l.id = p.id AND l.row = p.row")
_BY_INFERENCE = _LABEL.format(which=f"NOT EXISTS ({_HEIR}) AND l.inference_id = p.inference_id")


def newest_labels(db: Db, label: str, seqs: Sequence[int], matures: float) -> dict[int, str]:
    """Return the newest label of a name of each prediction that has one, as JSON text.

    Of those that were told up to a prediction's time and some seconds; one by inference id belongs to the
    newest prediction of that id, of those made up to then.

    Args:
        db: a ledger.
        label: the labels' name.
        seqs: which predictions.
        matures: the seconds.
    """
    found: dict[int, str] = {}
    for some in _parts(seqs):
        asked = (label, matures, matures, label, matures, *some)  # the third is the heir's
        named = {seq: told for seq, *told in db.execute(_newest(len(some)), asked) if any(told)}
        labels = [number for told in named.values() for number in told if number is not None]
        said = {row[0]: (row[1], row[0], row[2]) for row in _of(db, "time, value", "labels", labels)}
        for seq, told in named.items():
            found[seq] = max(said[number] for number in told if number is not None)[2]
    return found


def outputs_of(db: Db, seqs: Sequence[int]) -> dict[int, str]:
    """Return the answers of predictions, as JSON text, as far as they are kept."""
    return {seq: text for seq, text in _of(db, "output", "predictions", seqs) if text is not None}


def _newest(count: int) -> str:
    return (
        f"SELECT p.seq, ({_BY_ID}), ({_BY_INFERENCE}) FROM predictions AS p WHERE p.seq IN ({_marks(count)})"  # noqa: S608 - constants
    )


def _of(db: Db, what: str, table: str, seqs: Sequence[int]) -> Iterator[Sequence[Any]]:
    for some in _parts(seqs):
        yield from db.execute(f"SELECT seq, {what} FROM {table} WHERE seq IN ({_marks(len(some))})", some)  # noqa: S608


def _parts(seqs: Sequence[int]) -> Iterator[Sequence[int]]:
    return (seqs[start : start + AT_ONCE] for start in range(0, len(seqs), AT_ONCE))


def _marks(count: int) -> str:
    return ", ".join("?" * count)
