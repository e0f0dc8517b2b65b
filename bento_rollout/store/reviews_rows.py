"""What the people's queue tells of itself, and its rows as the records that travel."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..degrees import Degree
from ..errors import StoreCorrupt
from ..reviewing import Case, Claim, Decision, Given, Selection, Shown, Status, Suggestion, Visibility
from .reviews_file import WHENEVER
from .seal import Seal
from .sql import Db, Row

__all__ = [
    "DAY",
    "Judged",
    "Keep",
    "Listed",
    "Make",
    "Outcome",
    "Rating",
    "Settle",
    "Stats",
    "Submission",
    "case_of",
    "decision_of",
    "json_of",
    "said_by",
    "shown_to",
    "suggestion_of",
    "value_of",
]

DAY = 86400.0

Make = Callable[[Case, Given], tuple[str, bytes]]
"""Returns media type and body of what the caller gets for an answer; raises when it cannot be one."""

Settle = Callable[[Case], tuple[str, bytes]]
"""Returns them for a case whose ``on_timeout`` is ``model`` or ``default``."""


@dataclass(frozen=True, slots=True)
class Keep:
    """How long what belongs to a case is kept, in seconds, and how.

    Attributes:
        inputs: what reviewers are shown, from the case's creation; an open case ends with it (``withdrawn``).
        decisions: what the caller gets, from the decision.
        labels: who answered what, and the model's choice and score, from the creation; never less than both.
        sealed: whether inputs are encrypted at rest.
    """

    inputs: float = 30 * DAY
    decisions: float = 30 * DAY
    labels: float = 365 * DAY
    sealed: bool = False


@dataclass(frozen=True, slots=True)
class Submission:
    """A case on its way into the queue.

    Attributes:
        case: what is asked.
        most: how many cases of its endpoint may be open; None: any number.
        keep: how long what belongs to it is kept, and how.
        key_hash: the hash of its routing key; None: it has none.
    """

    case: Case
    most: int | None = None
    keep: Keep = field(default_factory=Keep)
    key_hash: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an answer.

    Attributes:
        status: ``revealed``: the answer is kept, and the suggestion is shown; answer once more to revise or
            confirm. ``kept``: it counts, and the case is not decided yet. ``done``: the case is decided.
            ``disagree``: the two answers differ, and a third person decides.
        suggestion: what the model said, where this reviewer may see it now.
        decision: what the caller gets; None: nothing yet.
        final_at: until when the answer can be taken back, in seconds since 1970; None: it cannot.
    """

    status: str
    suggestion: Suggestion | None = None
    decision: Decision | None = None
    final_at: float | None = None


@dataclass(frozen=True, slots=True)
class Judged:
    """A case that a person decided, as evidence about the model.

    Attributes:
        prediction_id: which.
        score: how sure the model was; None: it has no score.
        wrong: whether the person's choice is another than the model's. It is the choice from before the
            suggestion was seen, where there is one.
        selection, probability: why it was asked, and with which chance.
        label: the model's choice; None: it was none of the choices.
        choice: the person's.
        at: when it was decided, in seconds since 1970.
        independent: whether the person chose without having seen the suggestion.
        said: when the model said it, in seconds since 1970.
        segment: of the traffic; empty: in none that the spec named; None: it named none.
    """

    prediction_id: str
    score: float | None
    wrong: bool
    selection: Selection
    probability: float
    label: str | None = field(repr=False)
    choice: Any = field(repr=False)
    at: float
    independent: bool
    said: float
    segment: str | None = None


@dataclass(frozen=True, slots=True)
class Rating:
    """One final answer, for measures of agreement.

    Attributes:
        task, prediction_id: of which case.
        reviewer: whose.
        choice: as first given.
        model: the model's choice; None: it has none.
        adjudicates: whether it decided between two others.
        independent: whether it was given without having seen the suggestion.
        at: when, in seconds since 1970.
    """

    task: str
    prediction_id: str
    reviewer: str
    choice: Any = field(repr=False)
    model: str | None = field(repr=False)
    adjudicates: bool
    independent: bool
    at: float


@dataclass(frozen=True, slots=True)
class Listed:
    """A case as lists show it, without payload.

    Attributes:
        id, prediction_id, endpoint, degree, selection, priority, created, due, held, why: as in `Case`.
        status: where it stands.
        stage: who is wanted: ``review`` or ``adjudicate``; empty: nobody.
        reviewers: how many answers it takes.
        answers: how many there are.
        in_hands_of: who holds it now.
        decided, decided_by: when and by whom (``human``, ``model``, ``default``) it was decided.
    """

    id: str
    prediction_id: str
    endpoint: str
    degree: Degree
    selection: Selection
    priority: int
    created: float
    due: float | None
    held: bool
    why: tuple[str, ...]
    status: Status
    stage: str
    reviewers: int
    answers: int
    in_hands_of: tuple[str, ...]
    decided: float | None
    decided_by: str


@dataclass(frozen=True, slots=True)
class Stats:
    """How the queue does.

    Attributes:
        open: cases that are not ended.
        waiting: those that wait for somebody to take them.
        adjudicating: those of them that an adjudicator must decide.
        overdue: open ones past their due time.
        ended: cases that ended, by status.
        answered: final answers, by who gave them.
        median_seconds: time on the task of a final answer; None: there is none.
        with_suggestion: decided cases of which the model said something.
        overrides: those of them where the person decided otherwise.
        revised: answers that were changed after the suggestion was shown.
        revealed: answers after which it was shown.
        blind_share: part of the answers that were given without having seen the suggestion; None: no answers.
        skipped, escalated: parts that ended so.
        letters_waiting, letters_lost: what webhooks are still to be told, and never were.
    """

    open: int = 0
    waiting: int = 0
    adjudicating: int = 0
    overdue: int = 0
    ended: Mapping[str, int] = field(default_factory=dict)
    answered: Mapping[str, int] = field(default_factory=dict)
    median_seconds: float | None = None
    with_suggestion: int = 0
    overrides: int = 0
    revised: int = 0
    revealed: int = 0
    blind_share: float | None = None
    skipped: int = 0
    escalated: int = 0
    letters_waiting: int = 0
    letters_lost: int = 0


def json_of(value: object) -> str:
    """Return plain data as JSON text; the same data gives the same text.

    Raises:
        ValueError: NaN, an infinity, or a circle.
        TypeError: what JSON cannot say.
    """
    return json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def said_by(choice: str | None, output: str | None) -> str | None:
    """Return as JSON text what a person's answer is compared with: the model's choice.

    Where its answer is none of the choices, or there are none, that is the answer itself.
    """
    return output if choice is None else json_of(choice)


def value_of(text: str | None) -> Any:
    """Return what JSON text says; None for none."""
    return None if text is None else json.loads(text)


def case_of(db: Db, row: Row, seal: Callable[[], Seal] | None) -> Case:
    """Return a case as it was submitted, with what the model has said since.

    Args:
        db: where it is.
        row: of ``tasks``.
        seal: opens sealed inputs; None: the input is left out.

    Raises:
        StoreUnreachable: the input is sealed under another key.
        StoreCorrupt: it is damaged.
    """
    try:
        asked = json.loads(row["asked"])
        shown = _GONE if seal is None else _input(db, row, seal)
        return Case(
            id=row["id"],
            prediction_id=row["prediction_id"],
            endpoint=row["endpoint"],
            revision=row["revision"],
            degree=Degree(row["degree"]),
            selection=Selection(row["selection"]),
            probability=row["probability"],
            input=shown,
            choices=tuple(asked["choices"]),
            created=row["created"],
            schema=asked["schema"],
            why=tuple(asked["why"]),
            held=bool(row["held"]),
            suggestion=suggestion_of(db, row["seq"]),
            visibility=Visibility(row["visibility"]),
            blind=asked["blind"],
            reviewers=row["reviewers"],
            adjudicate=bool(row["adjudicate"]),
            priority=row["priority"],
            due=None if row["due"] == WHENEVER else row["due"],
            on_timeout=row["on_timeout"],
            default=asked["default"],
            segment=row["segment"],
            secret=row["secret"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise StoreCorrupt(f"case {row['id']} of the reviews is damaged: {type(error).__name__}") from None


_GONE = Shown("gone", None)

_HIDDEN: dict[str, Any] = {
    "suggestion": None,
    "why": (),
    "selection": Selection.ALL,
    "probability": 1.0,
    "held": True,
    "on_timeout": "wait",
    "visibility": Visibility.HIDDEN,
    "blind": False,
}
"""What a case looks like, whatever the model says of it."""


def _input(db: Db, row: Row, seal: Callable[[], Seal]) -> Shown:
    found = db.execute("SELECT sealed, content FROM inputs WHERE task = ?", (row["seq"],)).fetchone()
    if found is None:
        return _GONE
    content = seal().open(row["id"], found["content"]) if found["sealed"] else found["content"]
    told = json.loads(content)
    return Shown(told["kind"], told["content"], told["media_type"])


def suggestion_of(db: Db, task: int) -> Suggestion | None:
    """Return what the model said of a case."""
    row = db.execute("SELECT * FROM suggestions WHERE task = ?", (task,)).fetchone()
    if row is None:
        return None
    output = value_of(row["output"])
    return Suggestion(output, row["choice"], row["score"], row["variant"], row["digest"], row["at"])


def decision_of(db: Db, row: Row) -> Decision:
    """Return what became of a case."""
    body = db.execute("SELECT media_type, body FROM decisions WHERE task = ?", (row["seq"],)).fetchone()
    return Decision(
        id=row["id"],
        prediction_id=row["prediction_id"],
        endpoint=row["endpoint"],
        status=Status(row["status"]),
        media_type="" if body is None else body["media_type"],
        body=b"" if body is None else bytes(body["body"]),
        decided_by=row["decided_by"],
        choice=value_of(row["choice"]),
        secret=row["secret"],
        expires=row["expires"],
    )


def shown_to(case: Case, part: Row, token: str, adjudicates: tuple[Any, ...]) -> Claim:
    """Return a case as one reviewer may see it: what the model says only where it is shown, or was revealed.

    Where it is hidden so is everything that tells of it: why the case is asked about (which holds the score),
    and what tells an audit from a case that the model was unsure of.
    """
    if part["sees"] != Visibility.SHOWN and part["state"] != "revealed":
        case = replace(case, **_HIDDEN)
    case = replace(case, secret="")
    return Claim(case, part["reviewer"], token, part["until"], adjudicates)
