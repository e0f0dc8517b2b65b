"""What people answer: kept, revealed, taken back, made final, and what follows for the case."""

from __future__ import annotations

import math
from collections.abc import Callable

from ..errors import InvalidValue, Refused
from ..reviewing import Case, Claim, Given, Selection, Status, Visibility
from . import letters, trail
from .reviews_audits import feed
from .reviews_claiming import JUMP, Hand, look, my_part, require_held
from .reviews_rows import Outcome, case_of, decision_of, json_of, suggestion_of
from .reviews_submitting import End, end
from .seal import Seal
from .sql import Db, Row

__all__ = ["asked", "checked", "close", "keep_answer", "outcome", "resolve", "take_back"]

_LONGEST = 10_000
"""Characters of a comment."""


def asked(db: Db, hand: Hand, seal: Callable[[], Seal], *, final: bool) -> Case | Outcome:
    """Return the case that is to be answered, or what became of this same answer before.

    Raises:
        NotFound: there is no such case.
        Refused: it is not in this person's hands.
    """
    task, part = my_part(db, hand)
    if _told_before(part, final=final):
        return outcome(db, task, part)
    require_held(task, part)
    return case_of(db, task, seal)


def checked(case: Case, given: Given) -> Given:
    """Return what was answered.

    Raises:
        InvalidValue: it is none of the choices, or nothing that JSON can say.
    """
    if case.choices and given.choice not in case.choices:
        words = ", ".join(case.choices)
        raise InvalidValue(f"the answer to case {case.id} is none of its choices: {words}")
    if len(given.comment) > _LONGEST:
        raise InvalidValue(f"a comment has at most {_LONGEST} characters")
    try:
        json_of([given.choice, given.comment]).encode()
    except (TypeError, ValueError) as error:
        raise InvalidValue(f"the answer to case {case.id} cannot be kept: {type(error).__name__}") from None
    return given


def keep_answer(
    db: Db,
    hand: Hand,
    given: Given,
    made: tuple[str, bytes],
    now: float,
    *,
    final: bool,
    undo: float,
) -> Outcome:
    """Keep an answer, whole, and say what follows; the same one told twice is kept once.

    Raises:
        NotFound: there is no such case.
        Refused: it is not in this person's hands any more.
    """
    task, part = my_part(db, hand)
    if _told_before(part, final=final):
        return outcome(db, task, part)
    require_held(task, part)
    choice = json_of(given.choice)
    here, turn = (task["seq"], hand.reviewer), _turn(db, task, part)
    if part["state"] == "held" and part["sees"] == Visibility.AFTER_ANSWER and _said(db, task):
        db.execute(
            "UPDATE parts SET state = 'revealed', first = ?, choice = ?, comment = ?, answered = ?, "
            "turn = ?, seconds = ?, media_type = ?, body = ?, leased = ?, until = ? + lease "
            "WHERE task = ? AND reviewer = ?",
            (choice, choice, given.comment, now, turn, _seconds(given, part, now), *made, now, now, *here),
        )
        trail.append(db, now, hand.reviewer, "answered", hand.task, first=True)
    else:
        revised = part["first"] is not None and part["first"] != choice
        seconds = part["seconds"] if part["seconds"] is not None else _seconds(given, part, now)
        comment = given.comment or part["comment"]
        db.execute(
            "UPDATE parts SET state = 'answered', choice = ?, comment = ?, answered = ?, turn = ?, "
            "final_at = ?, seconds = ?, media_type = ?, body = ? WHERE task = ? AND reviewer = ?",
            (choice, comment, now, turn, now + undo, seconds, *made, *here),
        )
        db.execute(
            "UPDATE tasks SET pending = ? WHERE seq = ? AND (pending IS NULL OR pending > ?)",
            (now + undo, task["seq"], now + undo),
        )
        trail.append(db, now, hand.reviewer, "revised" if revised else "answered", hand.task)
        if undo <= 0:
            close(db, task, now)
    return outcome(db, *my_part(db, hand))


def take_back(
    db: Db,
    hand: Hand,
    now: float,
    *,
    within: float,
    seal: Callable[[], Seal],
) -> Claim:
    """Take an answer back that is not final yet; the case is in this person's hands again.

    Raises:
        NotFound: there is no such case.
        Refused: it is too late, or there is nothing to take back.
    """
    task, part = my_part(db, hand)
    if part["state"] != "answered":
        require_held(task, part)
        return look(db, hand, seal)  # told twice
    late = now >= min(part["final_at"], part["answered"] + within)
    if part["final"] or late or task["status"] != Status.OPEN.value:
        raise Refused(f"the answer to case {hand.task} is final: it can be taken back for a short time only")
    state = "held" if part["first"] is None else "revealed"
    db.execute(
        "UPDATE parts SET state = ?, choice = first, turn = CASE WHEN first IS NULL THEN NULL ELSE turn END, "
        "final_at = NULL, leased = ?, until = ? + lease, "
        "seconds = CASE ? WHEN 'held' THEN NULL ELSE seconds END WHERE task = ? AND reviewer = ?",
        (state, now, now, state, task["seq"], hand.reviewer),
    )
    _next_pending(db, task["seq"])
    trail.append(db, now, hand.reviewer, "undone", hand.task)
    return look(db, hand, seal)


def close(db: Db, task: Row, now: float) -> bool:
    """Make the answers final whose time is over, and decide the case if that is what they amount to.

    Returns:
        Whether the case ended.
    """
    db.execute(
        "UPDATE parts SET final = 1 WHERE task = ? AND state = 'answered' AND final = 0 "
        "AND (final_at <= ? OR answered > ?)",
        (task["seq"], now, now + JUMP),
    )
    _next_pending(db, task["seq"])
    return resolve(db, task, now)


def resolve(db: Db, task: Row, now: float, *, enough: int | None = None) -> bool:
    """Decide a case by the final answers to it, if they do: an adjudicator's, or as many as were asked for.

    Args:
        db: in a transaction that writes.
        task: the case.
        now: seconds since 1970.
        enough: how many answers do; None: as many as the case asks for.

    Returns:
        Whether the case ended.
    """
    query = "SELECT * FROM parts WHERE task = ? AND final = 1 ORDER BY turn"
    parts = db.execute(query, (task["seq"],)).fetchall()
    ruled = [part for part in parts if part["adjudicates"]]
    if ruled:
        return _decide(db, task, ruled[0], now)
    if task["escalated"] or task["stage"] == "adjudicate":
        return False
    if not parts or len(parts) < (task["reviewers"] if enough is None else enough):
        return False
    if len({part["choice"] for part in parts}) == 1 or not task["adjudicate"]:
        return _decide(db, task, parts[0], now)
    done = db.execute(
        "UPDATE tasks SET stage = 'adjudicate' WHERE seq = ? AND status = 'open' AND stage = 'review'",
        (task["seq"],),
    ).rowcount
    if done:
        trail.append(db, now, "automation", "disagreed", task["id"])
        letters.put(db, "case.escalated", task["endpoint"], task["seq"], now, {"cause": "disagreement"})
    return False


def outcome(db: Db, task: Row, part: Row) -> Outcome:
    """Return what became of somebody's answer."""
    task = db.execute("SELECT * FROM tasks WHERE seq = ?", (task["seq"],)).fetchone()
    if part["state"] == "revealed":
        return Outcome("revealed", suggestion_of(db, task["seq"]))
    seen = part["sees"] != Visibility.HIDDEN or bool(part["first"])
    suggestion = suggestion_of(db, task["seq"]) if seen else None
    if not part["final"] and task["status"] == Status.OPEN.value:
        return Outcome("kept", suggestion, final_at=part["final_at"])
    if task["status"] != Status.OPEN.value:
        return Outcome("done", suggestion, decision_of(db, task))
    disagree = task["stage"] == "adjudicate" and not task["escalated"]
    return Outcome("disagree" if disagree else "kept", suggestion)


def _decide(db: Db, task: Row, part: Row, now: float) -> bool:
    revised = part["first"] is not None and part["first"] != part["choice"]
    how = End(
        Status.ANSWERED,
        by="human",
        choice=part["choice"],
        part=part["reviewer"],
        made=(part["media_type"], part["body"]),
        who=part["reviewer"],
        facts={"revised": revised, "adjudicated": bool(part["adjudicates"])},
    )
    done = end(db, task, how, now)
    if done and task["selection"] == Selection.AUDIT.value:
        feed(db, task["seq"], now)
    return done


def _told_before(part: Row, *, final: bool) -> bool:
    return part["state"] == "answered" or (part["state"] == "revealed" and not final)


def _said(db: Db, task: Row) -> bool:
    query = "SELECT 1 FROM suggestions WHERE task = ?"
    return db.execute(query, (task["seq"],)).fetchone() is not None


def _next_pending(db: Db, task: int) -> None:
    db.execute(
        "UPDATE tasks SET pending = (SELECT min(final_at) FROM parts WHERE task = :task "
        "AND state = 'answered' AND final = 0) WHERE seq = :task AND status = 'open'",
        {"task": task},
    )


def _turn(db: Db, task: Row, part: Row) -> int:
    """Return the place of an answer among those to its case: of a second one that of the first."""
    if part["turn"] is not None:
        return int(part["turn"])
    query = "SELECT coalesce(max(turn), 0) + 1 FROM parts WHERE task = ?"
    return int(db.execute(query, (task["seq"],)).fetchone()[0])


def _seconds(given: Given, part: Row, now: float) -> float:
    if given.seconds is not None and math.isfinite(given.seconds) and given.seconds >= 0:
        return float(given.seconds)
    return max(now - float(part["claimed"]), 0.0)
