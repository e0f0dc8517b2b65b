"""`Letterbox`: the letters of one rollout's reviews, as those who send them take them out."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

from ..degrees import Degree
from . import letters
from .letters import Letter
from .place import Place
from .reviews_file import ReviewsFile

__all__ = ["Letterbox"]


class Letterbox:
    """Holds what webhooks are still to be told of cases, until it was told or given up.

    Args:
        place: of the rollout (`store.place`).
        clock: seconds since 1970.

    Raises:
        StoreUnreachable: every operation: the queue cannot be used; nothing was lost, and the next one tries
            again.
        StoreCorrupt: it is damaged.
    """

    def __init__(self, place: Place, *, clock: Callable[[], float] = time.time) -> None:
        self._file, self._clock = ReviewsFile(place), clock

    def listen(self, endpoints: Collection[str]) -> None:
        """Say which endpoints have a webhook from now on; what others' were still to be told is given up."""
        if self._file.exists():
            with self._file.reading() as db:
                if letters.listening(db) == set(endpoints):
                    return
        elif not endpoints:
            return
        with self._file.writing() as db:
            letters.listen(db, endpoints)

    def next(self, endpoint: str) -> Letter | None:
        """Return the letter whose turn it is, as it reads now; None: none is due."""
        if not self._file.exists():
            return None
        with self._file.reading() as db:
            return letters.due(db, endpoint, self._clock())

    def told(self, letter: Letter) -> None:
        """Take a letter out that was taken by its receiver."""
        with self._file.writing(durable=False) as db:
            letters.take_out(db, letter, lost=False)

    def give_up(self, letter: Letter) -> None:
        """Take a letter out that nobody will ever be told, and count it."""
        with self._file.writing(durable=False) as db:
            letters.take_out(db, letter, lost=True)

    def again(self, letter: Letter, pause: float) -> None:
        """Let a letter wait for its next try, in so many seconds."""
        with self._file.writing(durable=False) as db:
            letters.wait(db, letter, self._clock(), pause)

    def numbers(self, endpoint: str) -> tuple[int, int]:
        """Return how many letters of an endpoint wait, and how many were lost."""
        if not self._file.exists():
            return 0, 0
        with self._file.reading() as db:
            return letters.numbers(db, endpoint)

    def degree(self, endpoint: str, degree: Degree, told: Mapping[str, Any], since: float) -> bool:
        """Leave word of an endpoint's degree, if it is another one than was known of it.

        Args:
            endpoint: whose.
            degree: the one that it has.
            told: more of it, without payload; its ``revision`` says so.
            since: the time of that revision, in seconds since 1970.

        Returns:
            Whether it was another one.
        """
        with self._file.writing() as db:
            return letters.degree_is(db, endpoint, degree, told, since, self._clock())

    def close(self) -> None:
        """Close the file; the next operation opens it again."""
        self._file.close()
