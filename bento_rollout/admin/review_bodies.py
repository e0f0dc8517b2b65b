"""What reviewers send and get back, as models: they check bodies, and describe both in OpenAPI."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool

from ..store.ledger_json import check_depth

__all__ = [
    "MOST_UNDO",
    "REVIEW_ANSWERS",
    "REVIEW_BODIES",
    "AnswerBody",
    "Answered",
    "AskBody",
    "AskedByHand",
    "ClaimBody",
    "Claimed",
    "HandBody",
    "ListedCase",
    "Put",
    "ReasonBody",
    "Renewed",
    "ReviewStats",
]

MOST_UNDO = 60.0
"""Seconds in which an answer can be taken back, at most."""

MONTH = 30 * 86400.0


def _shallow(value: Any) -> Any:
    try:
        check_depth(value)
    except (ValueError, RecursionError):
        raise ValueError("it is nested too deeply") from None
    return value


Token = Annotated[str, Field(strict=True, min_length=1, max_length=200, repr=False)]
Seconds = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ClaimBody(_Body):
    """What is wanted; an empty body: the next case that this person may have."""

    endpoint: Annotated[str, Field(strict=True, min_length=1, max_length=200)] | None = Field(
        None, description="Only cases of this one."
    )
    role: Literal["reviewer", "adjudicator"] | None = Field(
        None, description="Only ordinary cases, or only those that an adjudicator must decide."
    )


class AskBody(_Body):
    """The prediction that people shall look at, and why."""

    prediction: Annotated[str, Field(strict=True, min_length=1, max_length=200)] = Field(
        description="Its id, or the caller's own: then the newest prediction of it."
    )
    reason: Annotated[str, Field(strict=True, max_length=1000)] = Field(
        "", description="Without payload: reviewers read it, where they may see what the model says."
    )


class HandBody(_Body):
    """The token of the claim."""

    token: Token


class AnswerBody(HandBody):
    """An answer; told again under the same token it is kept once."""

    choice: Annotated[Any, AfterValidator(_shallow)] = Field(
        description="One of the choices; where there are none, what the schema asks for.", repr=False
    )
    comment: Annotated[str, Field(strict=True, max_length=10_000, repr=False)] = ""
    seconds: Annotated[Seconds, Field(le=MONTH)] | None = Field(
        None, description="Time on the task; without it since the claim."
    )
    final: StrictBool = Field(
        True,
        description="False: never taken for the second answer, which ends a case whose suggestion was "
        "revealed. Whoever repeats a lost first call says so.",
    )
    undo: Annotated[Seconds, Field(le=MOST_UNDO)] = Field(
        0.0, description="Seconds in which it can be taken back; until then nothing follows from it."
    )


class ReasonBody(HandBody):
    """The token of the claim, and why."""

    reason: Annotated[str, Field(strict=True, min_length=1, max_length=1000, repr=False)]


class _Answer(BaseModel):
    # A later version may say more: whoever reads must pass over what they do not know.
    model_config = ConfigDict(extra="allow")


class ShownInput(_Answer):
    """What a reviewer is shown; never more than the spec's ``inputs:`` keeps."""

    kind: Literal["json", "text", "image", "table", "link", "gone"]
    content: Any = Field(description="Plain data; of an image its base64, of a table {columns, rows}.")
    media_type: str = Field("", description="Of an image.")


class Suggested(_Answer):
    """What the model says."""

    choice: str | None = Field(description="Null: its output is none of the choices.")
    output: Any
    score: float | None


class Claimed(_Answer):
    """A case in somebody's hands."""

    task: str
    token: str = Field(description="Shown with each act on the case.")
    endpoint: str
    input: ShownInput
    suggestion: Suggested | None = Field(None, description="Only there where this reviewer may see it now.")
    choices: list[str] = Field(description="Empty: the answer is what the schema asks for.")
    output_schema: dict[str, Any] | None = Field(
        None, alias="schema", description="Where there are no choices."
    )
    due: float | None = Field(description="Seconds since 1970; null: whenever.")
    until: float = Field(description="When the lease ends, unless it is renewed; seconds since 1970.")
    adjudicates: list[Any] | None = Field(
        None, description="The two answers that differ, in an order that tells nothing; for an adjudicator."
    )


class Answered(_Answer):
    """What became of an answer.

    ``revealed``: it is kept, and the suggestion is there: answer once more to revise or confirm. ``kept``: it
    counts, and the case is not decided yet. ``done``: the case is decided. ``disagree``: a third person
    decides.
    """

    status: Literal["revealed", "kept", "done", "disagree"]
    suggestion: Suggested | None = Field(None, description="Only where the status is revealed.")
    until: float | None = Field(
        None, description="Until when it can be taken back; seconds since 1970; null: it cannot."
    )


class Put(_Answer):
    """A case that is out of somebody's hands."""

    status: Literal["skipped", "released", "escalated"]


class Renewed(_Answer):
    """A lease that began anew."""

    until: float = Field(description="Seconds since 1970.")


class AskedByHand(_Answer):
    """The case that people have of a prediction."""

    case: str = Field(description="The first digits of its id.")
    prediction_id: str
    endpoint: str
    selection: Literal["all", "audit", "unsure", "drift", "manual"]
    status: Literal["open", "answered"]
    new: bool = Field(description="False: people have it already, or answered it.")


class ListedCase(_Answer):
    """A case without payload."""

    case: str = Field(description="The first digits of its id: the whole id is its caller's.")
    prediction_id: str
    endpoint: str
    degree: str
    selection: Literal["all", "audit", "unsure", "drift", "manual"]
    priority: int
    created: float
    due: float | None
    held: bool
    why: list[str]
    status: Literal["open", "answered", "defaulted", "rejected", "withdrawn"]
    stage: Literal["review", "adjudicate", ""]
    reviewers: int
    answers: int
    in_hands_of: list[str]
    decided: float | None
    decided_by: Literal["human", "model", "default", ""]


class ReviewStats(_Answer):
    """How the queue of one endpoint does."""

    open: int
    waiting: int
    adjudicating: int
    overdue: int
    ended: dict[str, int]
    answered: dict[str, int]
    median_seconds: float | None
    with_suggestion: int
    overrides: int
    revised: int
    revealed: int
    blind_share: float | None
    skipped: int
    escalated: int
    letters_waiting: int = Field(description="What webhooks are still to be told of cases.")
    letters_lost: int = Field(description="What they were never told: given up, or too many.")


REVIEW_BODIES: tuple[type[BaseModel], ...] = (AskBody, ClaimBody, HandBody, AnswerBody, ReasonBody)
REVIEW_ANSWERS: tuple[type[BaseModel], ...] = (
    AskedByHand,
    Claimed,
    Answered,
    Put,
    Renewed,
    ListedCase,
    ReviewStats,
)
