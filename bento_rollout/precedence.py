"""`Precedence`: whether a worker leaves what one worker does for all to one that runs newer code."""

from __future__ import annotations

import time

from .mixing import outranked
from .store.codes import Codes
from .store.place import Place
from .store.presence import Workers

__all__ = ["DRIFT", "TRY", "Precedence"]

TRY, DRIFT = "try", "drift"
"""What one worker does for all, as its card names it: it decides a try, it watches for drift."""

LOOK = 1.0
"""Seconds between two looks at who lives."""


class Precedence:
    """One worker's rank among those that could do the same.

    A worker counts for as able when its card says so: it has finished its start, and takes part.

    Args:
        place: where what belongs to the rollout lies.
        workers: those of the rollout.
        code: what this one runs; empty: it gives way to nobody.
        duty: what it would do.
    """

    def __init__(self, place: Place, workers: Workers, code: str, duty: str) -> None:
        self._codes, self._workers = Codes(place), workers
        self._code, self._duty = code, duty
        self._looked = -LOOK
        self._yields = False

    def yields(self) -> bool:
        """Whether it must not begin, or go on: somebody who can runs newer code. Looked at once a second.

        Raises:
            OSError, StoreUnreachable: nobody can say.
        """
        now = time.monotonic()
        if self._code and now - self._looked >= LOOK:
            able = {card.code for card in self._workers.living() if self._duty in card.duties}
            self._yields = bool(able - {self._code}) and outranked(
                self._codes.known().order, self._code, able
            )
            self._looked = now
        return self._yields
