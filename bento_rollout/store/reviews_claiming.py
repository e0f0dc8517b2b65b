"""Cases in somebody's hands: taken, kept by activity, given back, left to others, or handed up."""

from __future__ import annotations

import hashlib
import hmac
import random
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import InvalidValue, NotFound, Refused
from ..reviewing import Case, Claim, Role, Visibility
from . import letters, trail
from .reviews_rows import case_of, shown_to, value_of
from .reviews_submitting import task_of
from .seal import Seal
from .sql import Db, Row

__all__ = [
    "JUMP",
    "Hand",
    "checked_lease",
    "checked_name",
    "escalate",
    "look",
    "my_part",
    "release",
    "renew",
    "require_held",
    "skip",
    "take",
]

JUMP = 60.0
"""Seconds that a time may lie ahead before the clock is taken to have gone back."""

_ACTIVE = f"(p.until > :now AND p.leased <= :now + {JUMP:g})"

_WANTED = f"""
    SELECT t.seq, t.due, t.priority FROM tasks t
    WHERE {{where}} AND NOT EXISTS (
        SELECT 1 FROM parts p WHERE p.task = t.seq AND p.reviewer = :me
        AND (p.state NOT IN ('held', 'released', 'lapsed') OR (p.state = 'held' AND {_ACTIVE}))
    ) AND (
        SELECT count(*) FROM parts p WHERE p.task = t.seq AND p.adjudicates = :up
        AND (p.state IN ('revealed', 'answered') OR (p.state = 'held' AND {_ACTIVE}))
    ) < (CASE :up WHEN 1 THEN 1 ELSE t.reviewers END)
    ORDER BY t.due, t.priority DESC, t.seq LIMIT 1
"""  # noqa: S608 - constants

_LONGEST = 1000


@dataclass(frozen=True, slots=True)
class Hand:
    """Whose hands a case is in: with each act comes the token of the claim."""

    task: str
    reviewer: str
    token: str = field(repr=False)


def take(
    db: Db,
    reviewer: str,
    now: float,
    *,
    roles: frozenset[Role],
    endpoints: Sequence[str] | None,
    lease: float,
    seal: Callable[[], Seal],
) -> Claim | None:
    """Take the next case that this person may have: due, priority, oldest."""
    found = [
        (row["due"], -row["priority"], row["seq"], up)
        for up, role in ((0, Role.REVIEWER), (1, Role.ADJUDICATOR))
        if roles & {role, Role.ADMIN}
        for row in _next(db, reviewer, now, up, endpoints)
    ]
    if not found:
        return None
    _, _, seq, up = min(found)
    task = db.execute("SELECT * FROM tasks WHERE seq = ?", (seq,)).fetchone()
    case = case_of(db, task, seal)
    token = secrets.token_urlsafe(24)
    over = "task = ? AND state = 'held' AND adjudicates = ? AND NOT (until > ? AND leased <= ?)"
    where = (seq, up, now, now + JUMP)
    lapsed = db.execute(f"SELECT reviewer FROM parts WHERE {over}", where).fetchall()  # noqa: S608 - a constant
    for one in lapsed:
        trail.append(db, now, one["reviewer"], "lapsed", task["id"])
    if lapsed:
        db.execute(f"UPDATE parts SET state = 'lapsed' WHERE {over}", where)  # noqa: S608 - a constant
    db.execute("DELETE FROM parts WHERE task = ? AND reviewer = ?", (seq, reviewer))
    db.execute(
        "INSERT INTO parts (task, reviewer, adjudicates, state, token, claimed, leased, until, lease, sees) "
        "VALUES (?, ?, ?, 'held', ?, ?, ?, ?, ?, ?)",
        (seq, reviewer, up, _hash(token), now, now, now + lease, lease, _sees(case, up).value),
    )
    trail.append(db, now, reviewer, "claimed", task["id"], adjudicates=bool(up))
    part = db.execute("SELECT * FROM parts WHERE task = ? AND reviewer = ?", (seq, reviewer)).fetchone()
    return shown_to(case, part, token, _two(db, task, part))


def look(db: Db, hand: Hand, seal: Callable[[], Seal]) -> Claim:
    """Return a case that is in this person's hands once more.

    Raises:
        NotFound: there is no such case.
        Refused: it is not in this person's hands.
    """
    task, part = _in_hand(db, hand)
    return shown_to(case_of(db, task, seal), part, hand.token, _two(db, task, part))


def renew(db: Db, hand: Hand, lease: float, now: float) -> float:
    """Make a lease begin anew, and return when it ends.

    Raises:
        NotFound, Refused: as `look`.
    """
    task, _ = _in_hand(db, hand)
    db.execute(
        "UPDATE parts SET leased = ?, until = ?, lease = ? WHERE task = ? AND reviewer = ?",
        (now, now + lease, lease, task["seq"], hand.reviewer),
    )
    return now + lease


def skip(db: Db, hand: Hand, reason: str, now: float) -> None:
    """Leave a case to others; this person is not offered it again.

    Raises:
        NotFound, Refused: as `look`.
        InvalidValue: no reason.
    """
    _put_down(db, hand, "skipped", _checked_reason(reason), now)


def release(db: Db, hand: Hand, now: float) -> None:
    """Give a case back as if it had never been taken.

    Raises:
        NotFound, Refused: as `look`.
    """
    _put_down(db, hand, "released", None, now)


def escalate(db: Db, hand: Hand, reason: str, now: float) -> None:
    """Hand a case up: an adjudicator decides it alone, before others that are equally due.

    Raises:
        NotFound, Refused: as `look`.
        InvalidValue: no reason.
    """
    task = _put_down(db, hand, "escalated", _checked_reason(reason), now)
    is_first = db.execute(
        "UPDATE tasks SET stage = 'adjudicate', escalated = 1, "
        "priority = CASE WHEN priority < ? THEN ? ELSE priority END "
        "WHERE seq = ? AND status = 'open' AND escalated = 0",
        (_URGENT, _URGENT, task["seq"]),
    ).rowcount
    if is_first:
        letters.put(db, "case.escalated", task["endpoint"], task["seq"], now, {"cause": "handed_up"})


_URGENT = 1000
"""The priority of what was handed up, at least."""


def my_part(db: Db, hand: Hand) -> tuple[Row, Row]:
    """Return a case, and what this person has to do with it under this token.

    Raises:
        NotFound: there is no such case.
        Refused: the token is not this person's for it.
    """
    task = task_of(db, hand.task)
    if task is None:
        raise NotFound(
            f"there is no case {hand.task[:64]!r}: it was decided long ago, withdrawn, or never asked"
        )
    query = "SELECT * FROM parts WHERE task = ? AND reviewer = ?"
    part = db.execute(query, (task["seq"], hand.reviewer)).fetchone()
    if not hmac.compare_digest(_hash(hand.token), bytes(32) if part is None else part["token"]):
        raise Refused(
            f"case {hand.task} is not in the hands of {hand.reviewer} under this token: claim it again"
        )
    return task, part


def checked_name(reviewer: str) -> str:
    """Return a reviewer's name.

    Raises:
        InvalidValue: it is none.
    """
    if not reviewer or len(reviewer) > _LONGEST:
        raise InvalidValue(f"a reviewer has a name of 1 to {_LONGEST} characters")
    return reviewer


def _checked_reason(reason: str) -> str:
    """Return the reason of a skip.

    Raises:
        InvalidValue: there is none, or it is too long.
    """
    if not reason.strip():
        raise InvalidValue("say why: a skip needs a reason")
    if len(reason) > _LONGEST:
        raise InvalidValue(f"a reason has at most {_LONGEST} characters")
    return reason


def checked_lease(lease: float) -> float:
    """Return the seconds of a lease.

    Raises:
        InvalidValue: it is not above 0, or over a day.
    """
    if not 0.0 < lease <= _DAY:
        raise InvalidValue(f"a lease is {lease!r} s long: it must be above 0, and at most a day")
    return lease


_DAY = 86400.0


def _next(db: Db, reviewer: str, now: float, up: int, endpoints: Sequence[str] | None) -> list[Row]:
    """Return the first case that is wanted, of each endpoint: each is one step in an index."""
    given = {"me": reviewer, "now": now, "up": up, "stage": "adjudicate" if up else "review"}
    if endpoints is None:
        return db.execute(_WANTED.format(where="t.stage = :stage"), given).fetchall()
    query = _WANTED.format(where="t.endpoint = :endpoint AND t.stage = :stage")
    found = (db.execute(query, {**given, "endpoint": name}).fetchone() for name in dict.fromkeys(endpoints))
    return [row for row in found if row is not None]


def _sees(case: Case, up: int) -> Visibility:
    """Return when a reviewer sees the suggestion of a case; who decides between two persons never does."""
    if up or case.degree.blind:
        return Visibility.HIDDEN
    if case.blind and case.visibility is Visibility.SHOWN:
        return Visibility.HIDDEN
    return case.visibility


def _two(db: Db, task: Row, part: Row) -> tuple[Any, ...]:
    """Return the answers that an adjudicator decides between, in an order that tells nothing."""
    if not part["adjudicates"] or task["escalated"]:
        return ()
    query = "SELECT choice FROM parts WHERE task = ? AND adjudicates = 0 AND final = 1 ORDER BY reviewer"
    answers = [value_of(row["choice"]) for row in db.execute(query, (task["seq"],))]
    random.Random(part["token"]).shuffle(answers)  # noqa: S311 - an order, and the same when looked at again
    return tuple(answers)


def _in_hand(db: Db, hand: Hand) -> tuple[Row, Row]:
    task, part = my_part(db, hand)
    require_held(task, part)
    return task, part


def require_held(task: Row, part: Row) -> None:
    """Raise `Refused` with the reason when a case is not in a person's hands any more."""
    if task["status"] != "open":
        by = f" by {task['decided_by']}" if task["decided_by"] else ""
        raise Refused(f"case {task['id']} is {task['status']}{by} meanwhile: go on with the next one")
    if part["state"] not in ("held", "revealed"):
        raise Refused(f"case {task['id']} is not in your hands any more ({_WORDS[part['state']]})")


_WORDS = {
    "answered": "you answered it",
    "skipped": "you skipped it",
    "released": "you gave it back",
    "escalated": "you handed it up",
    "lapsed": "the lease ended, and somebody else has it",
}


def _put_down(db: Db, hand: Hand, state: str, reason: str | None, now: float) -> Row:
    task, part = my_part(db, hand)
    if part["state"] == state:  # told twice
        return task
    require_held(task, part)
    if part["state"] == "revealed":
        raise Refused(f"your answer to case {hand.task} is kept already: confirm or revise it")
    db.execute(
        "UPDATE parts SET state = ?, reason = ? WHERE task = ? AND reviewer = ?",
        (state, reason, task["seq"], hand.reviewer),
    )
    trail.append(
        db, now, hand.reviewer, state, hand.task
    )  # not the reason: what a person writes may be forgotten
    return task


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
