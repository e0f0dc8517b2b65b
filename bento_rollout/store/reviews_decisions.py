"""What became of cases, as their callers see it."""

from __future__ import annotations

from collections.abc import Collection

from ..reviewing import Decision, Status
from .reviews_answering import close
from .reviews_file import ReviewsFile
from .reviews_rows import decision_of
from .reviews_submitting import task_of

__all__ = ["decisions"]


def decisions(file: ReviewsFile, ids: Collection[str], now: float, *, ended: bool) -> dict[str, Decision]:
    """Return where cases stand, by id; those that are not known, or whose decision has expired, are left out.

    An answer whose time to be taken back is over is made final first: what a caller saw is never taken back.

    Args:
        file: where they are.
        ids: the cases.
        now: seconds since 1970.
        ended: whether open ones are left out.
    """
    if not ids or not file.exists():
        return {}
    with file.reading() as db:
        rows = [row for name in ids if (row := task_of(db, name)) is not None]
        late = [row["id"] for row in rows if row["pending"] is not None and row["pending"] <= now]
        if not late:
            return {
                row["id"]: decision_of(db, row)
                for row in rows
                if (not ended if row["status"] == Status.OPEN.value else row["expires"] > now)
            }
    with file.writing() as db:
        for name in late:
            if (task := task_of(db, name)) is not None:
                close(db, task, now)
    return decisions(file, ids, now, ended=ended)
