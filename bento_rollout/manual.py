"""`manual_case` makes the case of a prediction that a person wants others to look at, from its ledger row."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING

from .degrees import Degree
from .disposing import hides, overlaps
from .errors import Refused
from .manner import Manner
from .reviewing import Case, Selection, Shown, Suggestion, Visibility
from .showing import named, show
from .suggesting import choice_in

if TYPE_CHECKING:
    from .store.ledger_rows import Entry

__all__ = ["manual_case"]


def manual_case(
    entry: Entry, manner: Manner, degree: Degree, *, who: str, reason: str, digest: str, at: float
) -> Case:
    """Return the case of a prediction that was answered long ago; nobody waits for it.

    What the model said is beside it where the ledger has that; its score is not. It is evidence of nothing: a
    person chose the case.

    Args:
        entry: what the ledger has of the prediction.
        manner: how people are asked about its endpoint.
        degree: the endpoint's now.
        who: wants it looked at.
        reason: why, in words without payload; reviewers see it where they see what the model says.
        digest: of the variant that answered; empty: nobody knows.
        at: now, in seconds since 1970.

    Raises:
        Refused: there is nothing that a reviewer could be shown.
    """
    return Case(
        secrets.token_hex(16),
        entry.prediction_id,
        entry.endpoint,
        entry.revision,
        degree,
        Selection.MANUAL,
        1.0,
        _shown(entry, manner),
        manner.choices,
        at,
        schema=manner.form,
        why=(f"{who} asks", *([reason] if reason else [])),
        held=False,
        suggestion=_suggestion(entry, manner, digest),
        visibility=Visibility.HIDDEN if degree.blind else manner.suggestion,
        blind=hides(entry.prediction_id, manner.blind_rate),
        reviewers=2 if overlaps(entry.prediction_id, manner.share) else 1,
        adjudicate=manner.adjudicate,
        due=None if manner.due is None else at + manner.due,
        on_timeout="wait",
        secret=secrets.token_hex(32),  # nobody's call: no caller can show what would open its decision
    )


def _shown(entry: Entry, manner: Manner) -> Shown:
    """Return what reviewers are shown: of the input what the ledger has, where the spec keeps it."""
    if manner.inputs != "reference" and entry.inputs is not None:
        return show(entry.inputs if isinstance(entry.inputs, Mapping) else {"input": entry.inputs})
    if manner.inputs == "reference" or entry.inference_id is not None:
        return named(entry.prediction_id, entry.inference_id)
    raise Refused(
        f"nothing of prediction {entry.prediction_id} can be shown: the ledger has no inputs of it, and the "
        "caller gave it no id of their own; write `ledger: {inputs: true}` for those that come, or "
        "`inputs: reference` where people look them up by the prediction's id; nobody was asked"
    )


def _suggestion(entry: Entry, manner: Manner, digest: str) -> Suggestion | None:
    if entry.output is None:
        return None
    choice = choice_in(entry.output, manner.choices)
    return Suggestion(entry.output, choice, None, entry.variant, digest, entry.time)
