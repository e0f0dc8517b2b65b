"""`Hiding`: open cases of an endpoint whose degree fell so far that nobody may see what the model says."""

from __future__ import annotations

import time
from collections.abc import Callable

from .place import Place
from .reviews_file import ReviewsFile

__all__ = ["Hiding"]

AGAIN = 10.0
"""Seconds after a fall in which it is done again: other workers may ask by the degree of before meanwhile."""

_SHOWING = """
    endpoint = :endpoint AND status = 'open' AND seq IN (
        SELECT seq FROM tasks WHERE endpoint = :endpoint AND stage IS NOT NULL
        UNION SELECT task FROM parts WHERE state = 'held'
        UNION SELECT task FROM parts WHERE state = 'revealed'
    ) AND (visibility <> 'hidden' OR on_timeout = 'model')
"""
"""Found by the indexes of what is open: queues remember far more cases than wait in them."""

_ANY = f"SELECT 1 FROM tasks WHERE {_SHOWING} LIMIT 1"  # noqa: S608 - constants
_TASKS = f"""
    UPDATE tasks SET
        settle = CASE on_timeout WHEN 'model' THEN NULL ELSE settle END, visibility = 'hidden',
        on_timeout = CASE on_timeout WHEN 'model' THEN 'wait' ELSE on_timeout END
    WHERE {_SHOWING}
"""  # noqa: S608 - constants
_HELD = """
    UPDATE parts SET sees = 'hidden' WHERE state = 'held' AND sees <> 'hidden'
        AND task IN (SELECT seq FROM tasks WHERE endpoint = :endpoint)
"""


class Hiding:
    """Lets cases that were asked at a higher degree follow an endpoint's fall to human or shadow.

    What the model says of them is shown to nobody any more who has not seen it, and it answers for nobody
    when time is up: audits may just have refuted it, or another model may be champion.

    Args:
        place: of the rollout (`store.place`).
        clock: seconds that never go back.

    Raises:
        StoreUnreachable: `look`: the queue cannot be used; the next look tries again.
        StoreCorrupt: `look`: it is damaged.
    """

    def __init__(self, place: Place, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._file, self._clock = ReviewsFile(place), clock
        self._until: dict[str, float] = {}

    def look(self, endpoint: str, *, blind: bool) -> int:
        """Hide what is to be hidden, and return of how many cases; nothing while the degree is not blind.

        Args:
            endpoint: whose cases.
            blind: whether nobody may see what the model says, at its present degree.
        """
        if not blind:
            self._until.pop(endpoint, None)
            return 0
        if self._clock() >= self._until.setdefault(endpoint, self._clock() + AGAIN):
            return 0
        try:
            return self._hide(endpoint)
        except BaseException:
            del self._until[endpoint]  # nothing was done: it falls again at the next look
            raise

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _hide(self, endpoint: str) -> int:
        if not self._file.exists():
            return 0
        which = {"endpoint": endpoint}
        with self._file.reading() as db:
            if db.execute(_ANY, which).fetchone() is None:
                return 0
        with self._file.writing() as db:
            hidden = db.execute(_TASKS, which).rowcount
            db.execute(_HELD, which)
        return hidden
