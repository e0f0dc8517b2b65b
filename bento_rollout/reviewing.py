"""What travels between those who ask people, those who keep what was asked, and those who answer; frozen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from .degrees import Degree

__all__ = [
    "Case",
    "Claim",
    "Decision",
    "Given",
    "Role",
    "Selection",
    "Shown",
    "Status",
    "Suggestion",
    "Visibility",
]


class Role(str, Enum):
    """What a person may do. Roles are held side by side: none contains another, but `ADMIN` holds all."""

    VIEWER = "viewer"
    REVIEWER = "reviewer"
    ADJUDICATOR = "adjudicator"
    OPERATOR = "operator"
    ADMIN = "admin"


class Selection(str, Enum):
    """Why a case went to people; decides what its answer may be used for.

    ``ALL``: each case does (degrees human, shadow, assist). ``AUDIT``: drawn at random from what the model
    decided. ``UNSURE``: the score, a condition of the user's, or a failed model. ``DRIFT``: drift is latched.
    ``MANUAL``: somebody asked for it. Only ``ALL`` and ``AUDIT`` say how good the model is.
    """

    ALL = "all"
    AUDIT = "audit"
    UNSURE = "unsure"
    DRIFT = "drift"
    MANUAL = "manual"

    @property
    def unbiased(self) -> bool:
        """Whether the answer had the same chance of being asked for whatever the model made of the case."""
        return self in (Selection.ALL, Selection.AUDIT)


class Visibility(str, Enum):
    """When a reviewer sees what the model says."""

    HIDDEN = "hidden"
    AFTER_ANSWER = "after_answer"
    SHOWN = "shown"


class Status(str, Enum):
    """Where a case stands. ``OPEN`` until it is one of the others, which are its end."""

    OPEN = "open"
    ANSWERED = "answered"
    DEFAULTED = "defaulted"
    REJECTED = "rejected"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True)
class Shown:
    """What a reviewer is shown of a case's input.

    Attributes:
        kind: ``json``, ``text``, ``image``, ``table`` or ``link``.
        content: plain data as JSON has it; of an image its base64, of a table ``{columns, rows}``.
        media_type: of an image.
    """

    kind: str
    content: Any = field(repr=False)
    media_type: str = ""


@dataclass(frozen=True, slots=True)
class Suggestion:
    """What the model says of a case. Never in a log line.

    Attributes:
        output: its answer as plain data.
        choice: the choice that this answer is; None: it is none of the choices.
        score: how sure it is; None: it has no score.
        variant, digest: who says so.
        at: when it was said, in seconds since 1970.
    """

    output: Any = field(repr=False)
    choice: str | None = field(repr=False)
    score: float | None
    variant: str
    digest: str
    at: float


@dataclass(frozen=True, slots=True)
class Case:
    """One prediction about which people are asked.

    Attributes:
        id: 32 hexadecimal digits, random: the id of the decision, and of the task.
        prediction_id, endpoint, revision: which prediction.
        degree: at which degree it was asked.
        selection, probability: why, and with which chance that was drawn (1 where no chance was involved).
        why: in words without payload, like ``score 0.71 below 0.93``.
        segment: of the traffic, as the spec names it; empty: in none of them; None: there were none.
        held: whether a caller waits for it; False: an audit, whose answer went out already.
        input: what reviewers are shown.
        choices: what they choose from; empty: they fill in a form by ``schema``.
        schema: JSON schema of the output, where there are no choices.
        suggestion: what the model says; None: it was not asked, has not answered yet, or failed.
        visibility: when reviewers see that.
        blind: whether this case was drawn to hide it until the answer, whatever ``visibility`` says.
        reviewers: how many must answer, none seeing the others: 1, or 2 where it was drawn to overlap.
        adjudicate: whether a third decides where two differ; else the first answer stands.
        priority: higher ones first among those equally due.
        created, due: seconds since 1970; ``due`` None: whenever.
        on_timeout: ``model``, ``default``, ``reject`` or ``wait``.
        default: what ``on_timeout: default`` answers.
        secret: SHA-256 of what the caller of ``/rollout/decisions/ID`` must show, in hex; empty: nothing.
    """

    id: str
    prediction_id: str
    endpoint: str
    revision: int
    degree: Degree
    selection: Selection
    probability: float
    input: Shown
    choices: tuple[str, ...]
    created: float
    schema: Mapping[str, Any] | None = None
    why: tuple[str, ...] = ()
    held: bool = True
    suggestion: Suggestion | None = None
    visibility: Visibility = Visibility.HIDDEN
    blind: bool = False
    reviewers: int = 1
    adjudicate: bool = False
    priority: int = 0
    due: float | None = None
    on_timeout: str = "wait"
    default: str | None = None
    secret: str = ""
    segment: str | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """A case in somebody's hands, until ``until``.

    Attributes:
        case: what is asked; unless this reviewer may see now what the model says its ``suggestion`` is None,
            and what would tell of it is as in any other case: ``why`` is empty, ``selection`` is ``all``.
        reviewer: whose it is.
        token: shown with each act on it.
        until: when the lease ends, in seconds since 1970, unless it is renewed.
        adjudicates: the two answers that differ, in random order; empty: an ordinary review.
    """

    case: Case
    reviewer: str
    token: str = field(repr=False)
    until: float
    adjudicates: tuple[Any, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Given:
    """What a reviewer answered.

    Attributes:
        choice: one of the choices, or what the form holds.
        comment: possibly empty.
        seconds: time on the task, as the reviewer's side measured it; None: by the claim.
    """

    choice: Any = field(repr=False)
    comment: str = field(default="", repr=False)
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What became of a case, as its caller sees it.

    Attributes:
        id, prediction_id, endpoint: which.
        status: where it stands.
        media_type, body: the answer as the endpoint would have sent it; empty while it is open.
        decided_by: ``model``, ``human``, ``default``; empty while it is open.
        choice: what was chosen; None: nothing yet.
        secret: as in the case.
        expires: when nobody can ask for it any more, in seconds since 1970.
    """

    id: str
    prediction_id: str
    endpoint: str
    status: Status
    media_type: str = ""
    body: bytes = field(default=b"", repr=False)
    decided_by: str = ""
    choice: Any = field(default=None, repr=False)
    secret: str = field(default="", repr=False)
    expires: float = 0.0
