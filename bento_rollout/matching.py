"""How what a shadow made of a call is compared with what the champion did."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .comparison import Comparator, compare, compare_errors, compare_items, compare_rows, one_refused
from .kinds import class_of
from .records import Comparison, Relation
from .watching import Outcome
from .witness import Witness

__all__ = ["matched"]

Plain = Callable[[Any], Any]
"""Returns an answer as what can be compared."""


def matched(comparator: Comparator, witness: Witness, outcome: Outcome, plain: Plain) -> Sequence[Comparison]:
    """Return a comparison for the call, or for each of its rows that are compared; raises nothing.

    Where one of the two told the caller what the caller did wrong, that is its answer.
    """
    if witness.refused is not None or outcome.refused is not None:
        return [_refusals(witness.refused, outcome.refused)] * witness.count
    try:
        ours, theirs = _plain_pair(witness, outcome, plain)
    except BaseException as error:  # noqa: BLE001 - an answer that cannot be read cannot be compared, even if
        # reading it exits; this is a thread, where nobody's Ctrl-C is raised
        return [Comparison(Relation.NOT_COMPARABLE, class_of(error))] * witness.count
    if witness.stream:
        whole = {"champion_whole": not witness.cut, "candidate_whole": not outcome.cut}
        return [compare_items(comparator, ours, theirs, **whole)]
    if witness.rows is None:
        return [compare(comparator, ours, theirs)]
    rows = compare_rows(comparator, ours, theirs)
    if len(rows) == witness.count:
        return rows
    return [rows[0] if rows else Comparison(Relation.NOT_COMPARABLE, "shape")] * witness.count


def _refusals(champion: str | None, candidate: str | None) -> Comparison:
    if champion is not None and candidate is not None:
        return compare_errors(champion, candidate)
    return one_refused("champion" if candidate is None else "candidate")


def _plain_pair(witness: Witness, outcome: Outcome, plain: Plain) -> tuple[Any, Any]:
    if witness.stream:
        return [plain(item) for item in witness.answer], [plain(item) for item in outcome.answer]
    return plain(witness.answer), plain(outcome.answer)
