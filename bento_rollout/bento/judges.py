"""What judges labels in this process, with the user's functions imported."""

from __future__ import annotations

from ..judging import CORRECT, Judge, Judging
from ..spec import RolloutSpec
from .functions import imported

__all__ = ["judges_of"]


def judges_of(spec: RolloutSpec) -> dict[str, Judge]:
    """Return by entry of ``labels:`` who judges its labels, the built-in ``correct`` included.

    ``judging_of(spec.labels, entry).told_as(entry)`` says what their labels are called in the ledger.

    Raises:
        InvalidSpec: for a loss that cannot be imported.
    """
    judges = {CORRECT: Judge(Judging())}
    for name, judging in spec.labels.items():
        loss = judging.loss
        given = imported(loss, f"labels.{name}.loss") if isinstance(loss, str) else loss
        judges[name] = Judge(judging, given)
    return judges
