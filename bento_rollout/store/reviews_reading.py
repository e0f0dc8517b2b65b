"""What the people's queue tells: lists without payload, numbers, and answers for measures of agreement."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from statistics import median

from ..degrees import Degree
from ..reviewing import Selection, Status
from . import letters
from .reviews_file import WHENEVER
from .reviews_rows import Listed, Rating, Stats, said_by, value_of
from .reviews_submitting import opened
from .sql import Db, Row

__all__ = ["listed", "queued", "ratings", "stats"]


def listed(db: Db, endpoint: str | None, status: Status | None, limit: int, now: float) -> tuple[Listed, ...]:
    """Return cases: open ones in the order of their turn, else the newest first."""
    where, given = ["1 = 1"], []
    if endpoint is not None:
        where.append("endpoint = ?")
        given.append(endpoint)
    if status is not None:
        where.append("status = ?")
        given.append(status.value)
    order = "due, priority DESC, seq" if status is Status.OPEN else "seq DESC"
    query = f"SELECT * FROM tasks WHERE {' AND '.join(where)} ORDER BY {order} LIMIT ?"  # noqa: S608 - constants
    return tuple(_listed(db, row, now) for row in db.execute(query, (*given, limit)))


def queued(db: Db, endpoint: str) -> tuple[int, int, int, int]:
    """Return how many cases of an endpoint wait, how many for an adjudicator, and its letters: wait, lost."""
    query = "SELECT count(*) FROM tasks WHERE endpoint = ? AND stage = 'adjudicate'"
    (up,) = db.execute(query, (endpoint,)).fetchone()
    return opened(db, endpoint), up, *letters.numbers(db, endpoint)


def stats(db: Db, endpoint: str | None, now: float) -> Stats:
    """Return how the queue does, of one endpoint or of all."""
    of, given = ("1 = 1", ()) if endpoint is None else ("t.endpoint = ?", (endpoint,))
    ended = dict(
        db.execute(
            f"SELECT t.status, count(*) FROM tasks t WHERE {of} AND t.decided IS NOT NULL GROUP BY 1",  # noqa: S608
            given,
        ).fetchall()
    )
    number, waiting, up, overdue = db.execute(
        f"""SELECT count(*), coalesce(sum(CASE WHEN EXISTS (
                SELECT 1 FROM parts p WHERE p.task = t.seq AND p.state IN ('held', 'revealed') AND p.until > ?
            ) THEN 0 ELSE 1 END), 0), coalesce(sum(CASE t.stage WHEN 'adjudicate' THEN 1 ELSE 0 END), 0),
            coalesce(sum(CASE WHEN t.due <= ? THEN 1 ELSE 0 END), 0)
        FROM tasks t WHERE {of} AND t.stage IS NOT NULL""",  # noqa: S608 - constants
        (now, now, *given),
    ).fetchone()
    parts = db.execute(
        f"""SELECT p.*, t.part, t.choice AS decided_choice FROM parts p JOIN tasks t ON t.seq = p.task
        WHERE {of}""",  # noqa: S608 - constants
        given,
    )
    answered: Counter[str] = Counter()
    seconds: list[float] = []
    revised = revealed = blind = skipped = escalated = 0
    for part in parts:
        skipped += part["state"] == "skipped"
        escalated += part["state"] == "escalated"
        if not part["final"]:
            continue
        answered[part["reviewer"]] += 1
        seconds.append(part["seconds"])
        revealed += part["first"] is not None
        revised += part["first"] is not None and part["first"] != part["choice"]
        blind += part["first"] is not None or part["sees"] != "shown"
    said = db.execute(
        f"""SELECT t.choice, s.choice AS said, s.output FROM tasks t JOIN suggestions s ON s.task = t.seq
        WHERE {of} AND t.status = 'answered'""",  # noqa: S608 - constants
        given,
    ).fetchall()
    overrides = sum(row["choice"] != said_by(row["said"], row["output"]) for row in said)
    count = len(seconds)
    unsent, lost = letters.numbers(db, endpoint)
    return Stats(
        open=number,
        waiting=waiting,
        adjudicating=up,
        overdue=overdue,
        ended=ended,
        answered=dict(sorted(answered.items())),
        median_seconds=median(seconds) if count else None,
        with_suggestion=len(said),
        overrides=overrides,
        revised=revised,
        revealed=revealed,
        blind_share=blind / count if count else None,
        skipped=skipped,
        escalated=escalated,
        letters_waiting=unsent,
        letters_lost=lost,
    )


def ratings(db: Db, endpoint: str, digest: str | None) -> Iterator[Rating]:
    """Return final answers, as first given, case by case; of a case that waits for an adjudicator, too.

    People who differ are what makes a case wait: without those cases they would seem to agree more often.
    """
    query = """SELECT t.id, t.prediction_id, p.*, s.choice AS said, s.digest FROM parts p
        JOIN tasks t ON t.seq = p.task LEFT JOIN suggestions s ON s.task = t.seq
        WHERE t.endpoint = ? AND p.final = 1 AND (? IS NULL OR s.digest = ?)
        ORDER BY t.seq, p.turn"""
    for row in db.execute(query, (endpoint, digest, digest)):
        choice = row["choice"] if row["first"] is None else row["first"]
        yield Rating(
            row["id"],
            row["prediction_id"],
            row["reviewer"],
            value_of(choice),
            row["said"],
            bool(row["adjudicates"]),
            row["first"] is not None or row["sees"] != "shown",
            row["answered"],
        )


def _listed(db: Db, row: Row, now: float) -> Listed:
    query = "SELECT reviewer, state, until, final FROM parts WHERE task = ? ORDER BY reviewer"
    parts = db.execute(query, (row["seq"],)).fetchall()
    hands = [p["reviewer"] for p in parts if p["state"] in ("held", "revealed") and p["until"] > now]
    return Listed(
        id=row["id"],
        prediction_id=row["prediction_id"],
        endpoint=row["endpoint"],
        degree=Degree(row["degree"]),
        selection=Selection(row["selection"]),
        priority=row["priority"],
        created=row["created"],
        due=None if row["due"] == WHENEVER else row["due"],
        held=bool(row["held"]),
        why=tuple(json.loads(row["asked"])["why"]),
        status=Status(row["status"]),
        stage=row["stage"] or "",
        reviewers=row["reviewers"],
        answers=sum(p["state"] == "answered" for p in parts),
        in_hands_of=tuple(hands) if row["stage"] else (),
        decided=row["decided"],
        decided_by=row["decided_by"],
    )
