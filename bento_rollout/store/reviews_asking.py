"""`Asking`: a person sends a prediction to others by hand; one that people have already stays as it is."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from ..reviewing import Status
from . import trail
from .place import Place
from .reviews_file import ReviewsFile
from .reviews_rows import Submission
from .reviews_submitting import insert
from .seal import Seals
from .sql import Db

__all__ = ["Asking", "There"]


@dataclass(frozen=True, slots=True)
class There:
    """The case that people have of a prediction.

    Attributes:
        id: of the case.
        status: where it stands.
        selection: why it went to people.
        new: whether it was made now.
    """

    id: str
    status: Status
    selection: str
    new: bool


class Asking:
    """Asks people about predictions that were answered before, in a person's name.

    Args:
        place: of the rollout (`store.place`).
        clock: seconds since 1970.

    Raises:
        StoreUnreachable: each operation: the queue cannot be used.
        StoreCorrupt: it is damaged.
    """

    def __init__(self, place: Place, *, clock: Callable[[], float] = time.time) -> None:
        self._file, self._clock, self._seals = ReviewsFile(place), clock, Seals(place)

    def find(self, prediction_id: str, endpoint: str) -> There | None:
        """Return the case that people have of a prediction, or had and answered; None: there is none."""
        if not self._file.exists():
            return None
        with self._file.reading() as db:
            return _there(db, prediction_id, endpoint)

    def ask(self, submission: Submission, who: str) -> There:
        """Keep a case, unless people have one of its prediction; that one is returned then.

        Args:
            submission: the case, and how it is kept.
            who: asks; the trail says so.

        Raises:
            QueueFull: too many are open; nothing was kept.
        """
        case = submission.case
        with self._file.writing() as db:
            if (known := _there(db, case.prediction_id, case.endpoint)) is not None:
                return known
            now = self._clock()
            insert(db, submission, now, seal=self._seals.making)
            trail.append(db, now, who, "asked", case.id, endpoint=case.endpoint)
            return There(case.id, Status.OPEN, case.selection.value, new=True)


def _there(db: Db, prediction_id: str, endpoint: str) -> There | None:
    """Return the case of a prediction that a person decides or has decided; None: nobody does.

    A second answer to what people answered as an audit would take the place of that one, chosen by a person.
    """
    row = db.execute(
        "SELECT id, status, selection FROM tasks WHERE prediction_id = ? AND endpoint = ? "
        "AND status IN ('open', 'answered') ORDER BY seq LIMIT 1",
        (prediction_id, endpoint),
    ).fetchone()
    return None if row is None else There(row["id"], Status(row["status"]), row["selection"], new=False)
