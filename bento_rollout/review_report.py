"""What the people's queue comes to, as plain data: cases, numbers, and whether people agree."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from .automation import Agreement, agreement_of
from .store.reviews import Judged, Listed, Rating
from .store.reviews_rows import json_of

__all__ = ["agreement_report", "case_row", "unbiased"]

AUDITED = "some cases are audits, of which the model was sure: it agrees more often on those than on all"


def case_row(one: Listed) -> dict[str, Any]:
    """Return a case of a list, without payload."""
    words = {"degree": one.degree.word, "selection": one.selection.value, "status": one.status.value}
    return {**asdict(one), **words}


def agreement_report(ratings: Iterable[Rating], judged: Iterable[Judged]) -> dict[str, Any]:
    """Return whether people agree with each other, and beside it with the model.

    People with each other: of the cases that two answered, neither seeing the other's answer; what an
    adjudicator says is none of these. With the model: of each case that was drawn whatever the model said of
    it, the answer that was given before the suggestion was seen.

    Args:
        ratings: all final answers.
        judged: the decided cases of which the model said something.
    """
    units: dict[str, list[str]] = defaultdict(list)
    for rating in ratings:
        if not rating.adjudicates and rating.independent:
            units[rating.task].append(json_of(rating.choice))
    beside = unbiased(judged)
    pairs = [(json_of(one.label), json_of(one.choice)) for one in beside]
    kinds = {one.selection for one in beside}
    return {
        "people": _facts(agreement_of([unit for unit in units.values() if len(unit) > 1])),
        "model": _facts(agreement_of(pairs), () if len(kinds) < 2 else (AUDITED,)),  # noqa: PLR2004 - both
    }


def unbiased(judged: Iterable[Judged]) -> list[Judged]:
    """Return the cases that say how often people agree with the model.

    Each was drawn whatever the model said of it, and answered before its suggestion was seen; the model's
    answer is one of the choices.
    """
    return [one for one in judged if one.selection.unbiased and one.independent and one.label is not None]


def _facts(found: Agreement, more: Sequence[str] = ()) -> dict[str, Any]:
    """Return a measure as JSON has it: what is no number is null."""
    facts = {name: _plain(value) for name, value in asdict(found).items()}
    return {**facts, "warnings": [*found.warnings, *more]}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
