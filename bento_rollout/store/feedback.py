"""`Feedback`: what people decided becomes labels in the ledger, each exactly once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ..reviewing import Visibility
from .ledger import Ledger
from .place import Place
from .reviews_file import ReviewsFile
from .reviews_rows import value_of
from .sql import Db, Row

__all__ = ["LOCK", "SOURCE", "Feedback", "Told", "hushed"]

SOURCE = "review"
"""Who says what these labels say."""

LOCK = "reviews.telling.lock"
"""The lock that is held by whoever tells: a file in the folder of a rollout, where that has one."""

_WHAT = "the telling of labels"

AT_ONCE = 200
"""Decisions that are told in one transaction."""

MOST = 10
"""Times that so many are told before somebody else has a turn."""

AHEAD = 60.0
"""Seconds that a decision may be ahead of the clock: it is told when the clock has come that far again."""

SEEN = "given after the suggestion was seen"
"""The reason of a label whose answer may have followed the model's."""


@dataclass(frozen=True, slots=True)
class Told:
    """What became of decisions that were to be labels.

    Attributes:
        labels: how many the ledger has now; some may have been there before.
        refused: why it did not take others, in words without payload; they are not tried again.
        waiting: how many are still to be told.
    """

    labels: int = 0
    refused: tuple[str, ...] = ()
    waiting: int = 0


class Feedback:
    """Tells the ledger of one rollout what people decided. Used by whoever looks after time, never by a call.

    A decision is owed to the ledger from the transaction that made it, until the ledger has it. Whoever dies
    between the two tells it again: it says the same, time included, and so the ledger keeps it once. What a
    person picked by hand is not told where an audit of the same prediction was: its label would take the
    place of the drawn one. (An audit that was on its way into the queue when the person asked is beside it.)

    Args:
        place: of the rollout (`store.place`).
        names: what a label is called, by endpoint; of others ``label``.
        clock: seconds since 1970.
        patience: seconds to wait for another process's lock.

    Raises:
        StoreUnreachable: `tell`: the ledger or the reviews cannot be used; nothing is lost.
        StoreCorrupt: one of them is damaged.
    """

    def __init__(
        self,
        place: Place,
        names: Mapping[str, str] | None = None,
        *,
        clock: Callable[[], float] = time.time,
        patience: float = 1.0,
    ) -> None:
        self._file = ReviewsFile(place, patience=patience)
        self._ledger = Ledger(place, patience=patience, clock=clock)
        self._names, self._clock = names or {}, clock

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        self._file.close()

    def waiting(self) -> int:
        """Return how many decisions the ledger has not heard of."""
        if not self._file.exists():
            return 0
        with self._file.reading() as db:
            return _waiting(db)

    def tell(self) -> Told:
        """Tell what the ledger has not heard of, the oldest first; nothing while another process does."""
        if not self._file.exists() or not self.waiting():
            return Told()
        with self._file.turn(LOCK, _WHAT) as mine:  # several who tell would only repeat each other
            return self._tell() if mine else Told()

    def _tell(self) -> Told:
        labels, refused = 0, []
        for _ in range(MOST):
            with self._file.reading() as db:
                owed = db.execute(_OWED, (self._clock() + AHEAD, AT_ONCE)).fetchall()
            if not owed:
                break
            told = [row for row in owed if not row["beside"]]
            found = self._ledger.label([self._label(row) for row in told], source=SOURCE)
            labels += found.accepted
            refused += [one.error for one in found.refused]
            with self._file.writing() as db:
                db.executemany("DELETE FROM owed WHERE task = ?", [(row["seq"],) for row in owed])
        return Told(labels, tuple(refused), self.waiting())

    def _label(self, row: Row) -> dict[str, Any]:
        """Return a decision as a label; the same decision gives the same one."""
        seen = row["sees"] == Visibility.SHOWN.value or row["first"] not in (None, row["choice"])
        return {
            "prediction_id": row["prediction_id"],
            "label": value_of(row["choice"]),
            "name": self._names.get(row["endpoint"], "label"),
            "time": row["decided"],
            "reason": SEEN if seen else None,
            "selection": row["selection"],
            "probability": row["probability"],
        }


_OWED = """
    SELECT t.seq, t.prediction_id, t.endpoint, t.choice, t.decided, t.selection, t.probability,
        p.sees, p.first,
        CASE WHEN t.selection = 'manual' AND EXISTS (
            SELECT 1 FROM tasks other WHERE other.prediction_id = t.prediction_id
            AND other.endpoint = t.endpoint AND other.status = 'answered' AND other.selection <> 'manual'
        ) THEN 1 ELSE 0 END AS beside
    FROM owed o JOIN tasks t ON t.seq = o.task LEFT JOIN parts p ON p.task = t.seq AND p.reviewer = t.part
    WHERE t.decided <= ? ORDER BY o.task LIMIT ?
"""


@contextmanager
def hushed(place: Place) -> Iterator[None]:
    """Let nobody tell the ledger of a rollout anything for a block.

    Raises:
        StoreUnreachable: somebody has told it for a long time.
    """
    file = ReviewsFile(place)
    if not file.exists():  # and so nobody has anything to tell
        yield
        return
    with file.turn(LOCK, _WHAT, wait=True):
        yield


def _waiting(db: Db) -> int:
    return int(db.execute("SELECT count(*) FROM owed").fetchone()[0])
