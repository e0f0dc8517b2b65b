"""`ReviewsReader`: what the people's queue of one rollout tells; part of `Reviews`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ..reviewing import Decision, Status
from . import reviews_audits as auditing
from . import reviews_reading as looking
from . import reviews_submitting as submitting
from . import trail as chain
from .reviews_decisions import decisions
from .reviews_file import ReviewsFile
from .reviews_rows import Judged, Listed, Rating, Stats
from .sql import Db

if TYPE_CHECKING:
    from ..automation import AuditTest

__all__ = ["ReviewsReader"]

_T = TypeVar("_T")


class ReviewsReader:
    """Tells what is in the queue of one rollout; part of `Reviews`.

    Args:
        file: where it lies.
        clock: seconds since 1970.

    Raises:
        StoreUnreachable: every operation: the file is locked, or of a newer schema.
        StoreCorrupt: it is damaged.
    """

    def __init__(self, file: ReviewsFile, clock: Callable[[], float]) -> None:
        self._file, self._clock = file, clock

    @property
    def path(self) -> Path:
        """Where the file is, or would be if it were one of this host."""
        return self._file.path

    @property
    def where(self) -> str:
        """What the queue is called in messages."""
        return self._file.where

    @property
    def trail(self) -> chain.Trail:
        """Who did what: reads it and verifies it."""
        return chain.Trail(self._file)

    def close(self) -> None:
        """Close the file; the next operation opens it again."""
        self._file.close()

    def decision(self, task_id: str) -> Decision | None:
        """Return where a case stands; None: there is none, or its decision has expired."""
        return decisions(self._file, (task_id,), self._clock(), ended=False).get(task_id)

    def decided(self, ids: Collection[str]) -> dict[str, Decision]:
        """Return the decisions of those cases that have one, by id: cheap, for whoever holds calls."""
        return decisions(self._file, ids, self._clock(), ended=True)

    def open(self, endpoint: str) -> int:
        """Return how many cases of an endpoint are open."""
        return self._read(0, lambda db: submitting.opened(db, endpoint))

    def queued(self, endpoint: str) -> tuple[int, int, int, int]:
        """Return how many cases of an endpoint wait, and how many of them for an adjudicator; cheap.

        Then what its webhook is still to be told, and what it never was.
        """
        return self._read((0, 0, 0, 0), lambda db: looking.queued(db, endpoint))

    def audits(self, endpoint: str, digest: str) -> dict[str, AuditTest]:
        """Return the tests that watch a model, by class; the class ``""`` is all."""
        return self._read({}, lambda db: auditing.tests_of(db, endpoint, digest))

    def alarmed(self, endpoint: str, digest: str) -> bool:
        """Whether the audits have shown that a model is wrong more often than was certified."""
        return any(test.alarm for test in self.audits(endpoint, digest).values())

    def judged(self, endpoint: str, digest: str | None = None) -> Iterable[Judged]:
        """Return the cases that people decided and the model has an answer to, the oldest first.

        Args:
            endpoint: of which endpoint.
            digest: of which model; None: of any.
        """
        return self._read((), lambda db: tuple(auditing.judged(db, endpoint, digest)))

    def stats(self, endpoint: str | None = None) -> Stats:
        """Return how the queue does; None: of all endpoints together."""
        return self._read(Stats(), lambda db: looking.stats(db, endpoint, self._clock()))

    def ratings(self, endpoint: str, digest: str | None = None) -> tuple[Rating, ...]:
        """Return all final answers as first given, of open cases too, for measures of agreement.

        Args:
            endpoint: of which endpoint.
            digest: only cases of which this model said something; None: all.
        """
        return self._read((), lambda db: tuple(looking.ratings(db, endpoint, digest)))

    def list(
        self, endpoint: str | None = None, *, status: Status | None = None, limit: int = 100
    ) -> tuple[Listed, ...]:
        """Return cases without payload: open ones in the order of their turn, else the newest first.

        Args:
            endpoint: of which endpoint; None: of all.
            status: only those that stand so.
            limit: at most so many.
        """
        return self._read((), lambda db: looking.listed(db, endpoint, status, limit, self._clock()))

    def _read(self, nothing: _T, read: Callable[[Db], _T]) -> _T:
        """Return what a file says, or what there is where nobody was ever asked."""
        if not self._file.exists():
            return nothing
        with self._file.reading() as db:
            return read(db)
