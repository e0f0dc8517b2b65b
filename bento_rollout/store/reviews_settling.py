"""What time does to cases: answers become final, timeouts act, and what was kept long enough goes."""

from __future__ import annotations

from collections.abc import Callable, Collection

from ..reviewing import Case, Status
from . import trail
from .reviews_answering import close, resolve
from .reviews_claiming import JUMP
from .reviews_file import ReviewsFile
from .reviews_rows import Settle, case_of, json_of
from .reviews_submitting import AUTOMATION, End, end, task_of
from .seal import Seal
from .sql import Db, Row

__all__ = ["AT_ONCE", "expire", "forget", "settle"]

AT_ONCE = 200
"""Cases that are settled, or forgotten, in one transaction."""

_AGAIN, _SELDOM = 60.0, 86_400.0
"""Seconds after which a timeout is tried once more whose answer could not be made: as long again as it has
been due, at least and at most these. The trail has a line for each try, and is kept for good."""

_LEFT = "SELECT task, reviewer FROM parts WHERE state = 'revealed' AND (until <= ? OR leased > ?)"


def settle(file: ReviewsFile, now: float, make: Settle, seal: Callable[[], Seal]) -> int:
    """Do what is due, each thing exactly once however many processes try, and return how many cases ended.

    Raises:
        StoreUnreachable, StoreCorrupt: what was not done is done by the next who tries.
    """
    with file.reading() as db:
        left = db.execute(_LEFT + " LIMIT 1", (now, now + JUMP)).fetchone() is not None
        pending = db.execute("SELECT 1 FROM tasks WHERE pending IS NOT NULL LIMIT 1").fetchone() is not None
    ended = 0
    if left or pending:
        with file.writing() as db:
            ended += _finish(db, now)
    with file.reading() as db:
        query = "SELECT id FROM tasks WHERE settle <= ? ORDER BY settle LIMIT ?"
        due = [row["id"] for row in db.execute(query, (now, AT_ONCE))]
    return ended + sum(_time_out(file, name, now, make, seal) for name in due)


def expire(file: ReviewsFile, now: float) -> int:
    """Delete what was kept long enough, and return how many open cases that ended.

    Raises:
        StoreUnreachable, StoreCorrupt: the rest goes next time.
    """
    with file.reading() as db:
        old = [
            db.execute(query + " LIMIT 1", (now,)).fetchone()
            for query in (_OLD_INPUTS, _OLD_BODIES, _OLD_TASKS)
        ]
    if not any(old):
        return 0
    with file.writing() as db:
        ended = _expire_inputs(db, now)
        db.execute("DELETE FROM decisions WHERE until <= ?", (now,))
        for row in db.execute(_OLD_TASKS + " LIMIT ?", (now, AT_ONCE)).fetchall():
            _delete(db, row["seq"])
    file.tidy()
    return ended


_OLD_INPUTS = "SELECT task FROM inputs WHERE until <= ?"
_OLD_BODIES = "SELECT task FROM decisions WHERE until <= ?"
_OLD_TASKS = "SELECT seq FROM tasks WHERE labels_until <= ? AND status <> 'open'"


def forget(
    file: ReviewsFile, predictions: Collection[str], key_hash: str | None, now: float, who: str, why: str
) -> int:
    """Delete all cases of some predictions, or of a key, to the last byte, and return how many there were.

    Raises:
        StoreUnreachable: with what is left to do.
        StoreCorrupt: the file is damaged.
    """
    with file.writing() as db:
        found = {
            row["seq"]
            for name in predictions
            for row in db.execute("SELECT seq FROM tasks WHERE prediction_id = ?", (name,))
        }
        if key_hash is not None:
            found |= {
                row["seq"] for row in db.execute("SELECT seq FROM tasks WHERE key_hash = ?", (key_hash,))
            }
        for seq in sorted(found):
            task = db.execute("SELECT * FROM tasks WHERE seq = ?", (seq,)).fetchone()
            end(db, task, End(Status.WITHDRAWN, who=who, why=why), now)
            _delete(db, seq)
            trail.append(db, now, who, "forgotten", task["id"])
    if found:
        file.rewrite()
    return len(found)


def _finish(db: Db, now: float) -> int:
    """Make answers final that cannot be taken back any more, and first ones that nobody came back to."""
    ended = 0
    for left in db.execute(_LEFT, (now, now + JUMP)).fetchall():
        task = db.execute("SELECT * FROM tasks WHERE seq = ?", (left["task"],)).fetchone()
        if task["status"] == Status.OPEN.value:
            ended += _confirm(db, task, left["reviewer"], now)
    for task in db.execute("SELECT * FROM tasks WHERE pending IS NOT NULL").fetchall():
        ended += close(db, task, now)
    return ended


def _confirm(db: Db, task: Row, reviewer: str, now: float) -> bool:
    """Let a first answer stand: nobody came back to revise or to confirm it."""
    db.execute(
        "UPDATE parts SET state = 'answered', final_at = ?, final = 1 WHERE task = ? AND reviewer = ?",
        (now, task["seq"], reviewer),
    )
    trail.append(db, now, AUTOMATION, "confirmed", task["id"], of=reviewer)
    return resolve(db, task, now)


def _time_out(file: ReviewsFile, name: str, now: float, make: Settle, seal: Callable[[], Seal]) -> bool:
    with file.writing() as db:
        task = task_of(db, name)
        if task is None or task["settle"] is None or task["settle"] > now or task["pending"] is not None:
            return False  # somebody else was faster, or an answer is final in a moment
        if _answered(db, task, now):
            return True
        case = case_of(db, task, seal)
    made, problem = _made(case, make)
    with file.writing() as db:
        task = task_of(db, name)
        if task is None or task["settle"] is None or task["settle"] > now or task["pending"] is not None:
            return False
        if problem:
            again = now + min(max(_AGAIN, now - task["due"]), _SELDOM)
            db.execute("UPDATE tasks SET settle = ? WHERE seq = ?", (again, task["seq"]))
            trail.append(db, now, AUTOMATION, "unsettled", name, on_timeout=case.on_timeout, error=problem)
            return False
        if case.on_timeout == "reject":
            return end(db, task, End(Status.REJECTED, why="due"), now)
        by_model = case.on_timeout == "model"
        choice = case.suggestion.choice if by_model and case.suggestion else case.default
        by = "model" if by_model else "default"
        how = End(Status.DEFAULTED, by=by, choice=json_of(choice), made=made, why="due")
        return end(db, task, how, now)


def _answered(db: Db, task: Row, now: float) -> bool:
    """Decide a case that is due by the one answer that is there: better than by none."""
    revealed = "SELECT reviewer FROM parts WHERE task = ? AND state = 'revealed'"
    for row in db.execute(revealed, (task["seq"],)).fetchall():
        if _confirm(db, task, row["reviewer"], now):
            return True
    task = db.execute("SELECT * FROM tasks WHERE seq = ?", (task["seq"],)).fetchone()
    return resolve(db, task, now, enough=1)


def _made(case: Case, make: Settle) -> tuple[tuple[str, bytes] | None, str]:
    if case.on_timeout == "reject":
        return None, ""
    if case.on_timeout == "model" and case.suggestion is None:
        return None, "the model has said nothing"
    try:
        return make(case), ""
    except Exception as error:  # noqa: BLE001 - a user's callable
        return None, type(error).__name__


def _expire_inputs(db: Db, now: float) -> int:
    ended = 0
    for row in db.execute(_OLD_INPUTS + " LIMIT ?", (now, AT_ONCE)).fetchall():
        task = db.execute("SELECT * FROM tasks WHERE seq = ?", (row["task"],)).fetchone()
        if task is not None:
            ended += end(db, task, End(Status.WITHDRAWN, why="its input was kept long enough"), now)
        db.execute("DELETE FROM inputs WHERE task = ?", (row["task"],))
        db.execute("UPDATE parts SET comment = NULL, reason = NULL WHERE task = ?", (row["task"],))
        # Where the answer is none of the choices the output is what the person's answer is compared with.
        db.execute(
            "UPDATE suggestions SET output = NULL WHERE task = ? AND choice IS NOT NULL", (row["task"],)
        )
    return ended


def _delete(db: Db, task: int) -> None:
    for table in ("inputs", "suggestions", "parts", "decisions"):
        db.execute(f"DELETE FROM {table} WHERE task = ?", (task,))  # noqa: S608 - constants
    db.execute("DELETE FROM tasks WHERE seq = ?", (task,))
