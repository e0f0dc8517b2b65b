"""How wrong models probably are while labels are missing, from how sure they are: an estimate, for people.

It is blind to concept drift: nothing is decided by it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .concept_watch import CONCEPT, ConceptWatch
from .drift import ErrorEstimate, loss_of
from .errors import InvalidValue
from .label_evidence import Mature
from .scoring import max_probability
from .store.ledger_answers import Answers, newest_answers
from .store.place import Place

__all__ = ["BLIND", "EVERY", "estimated", "estimates"]

EVERY = 60.0
"""Seconds between two estimates: it is a look at some thousands of predictions."""

BLIND = "estimated, blind to concept drift: it closes no alarm and promotes nothing"
"""What stands beside an estimate, wherever it is shown."""

_KINDS = ("zero_one", "log")


def estimates(watch: ConceptWatch, place: Place, digest_of: Callable[[Mature], str]) -> dict[str, Any]:
    """Return the estimate of each model whose losses are tested, by its test; those without one are left out.

    Args:
        watch: how the models are tested, and up to where predictions have matured.
        place: where the rollout's shared files lie.
        digest_of: which model of its variant made a prediction.

    Raises:
        StoreUnreachable, StoreCorrupt: the ledger cannot be read.
    """
    tested = {
        (level.test.partition("/")[2], str(level.told["digest"])): str(level.told["loss"])
        for level in watch.levels(0.0)
        if level.told.get("loss") in _KINDS
        and "waits" not in level.told  # else its labels are no fair sample
    }
    if not tested:
        return {}
    settings = watch.settings
    answers = newest_answers(
        place,
        endpoint=settings.endpoint,
        label=settings.label,
        seq=watch.mark.seq,
        matures=settings.matures,
    )
    found = {}
    for (variant, digest), kind in tested.items():
        labelled, recent = (
            [row for row in rows if row.variant == variant and digest_of(row) == digest]
            for rows in (answers.labelled, answers.recent)
        )
        if (told := estimated(kind, Answers(tuple(labelled), tuple(recent)))) is not None:
            found[f"{CONCEPT}/{variant}"] = {"digest": digest, **told}
    return found


def estimated(kind: str, answers: Answers) -> dict[str, Any] | None:
    """Return the estimated mean loss of one model's newest predictions; None: its answers have no score.

    Args:
        kind: of its loss: ``zero_one`` or ``log``.
        answers: of this model alone.
    """
    losses = [loss_of(kind, row.label, row.output) for row in answers.labelled]
    try:
        fitted = ErrorEstimate.fit(_scores(answers.labelled), losses)
    except InvalidValue:  # too few have a score, or a loss
        return None
    found = fitted.of(_scores(answers.recent))
    if found is None:
        return None
    what = "error" if kind == "zero_one" else "log loss"
    words = f"the {what} of the newest {found.rows} predictions without labels is probably {found.mean:.3g}"
    return {
        "estimate": found.mean,
        "labelled": found.expected,
        "rows": found.rows,
        "loss": kind,
        "blind_to_concept_drift": True,
        "words": f"{words} ({found.expected:.3g} by the newest labels); {BLIND}",
    }


def _scores(rows: Sequence[Mature]) -> list[float | None]:
    return [_score(row.output) for row in rows]


def _score(output: Any) -> float | None:
    """Return how sure a model was; of one number that of the likelier class."""
    if isinstance(output, list) and len(output) == 1:
        output = output[0]
    if isinstance(output, float) and 0 <= output <= 1:
        return max(output, 1 - output)
    return max_probability(output)
