"""What operators may send beside the verbs of traffic: a spec file, and what is done with predictions."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, RootModel, StrictStr

from ..errors import InvalidSpec, InvalidValue, NotFound
from ..operations import Rollout
from ..specfile import parse_whole
from .answers import Changed, answer_to
from .bodies import Body
from .reads import MOST_PREDICTIONS, in_pieces
from .review_bodies import AskedByHand

__all__ = [
    "MORE_ANSWERS",
    "MORE_VERBS",
    "Applied",
    "Apply",
    "AskReview",
    "Differences",
    "Find",
    "Found",
    "Kept",
    "Prediction",
    "Story",
    "Verified",
]


MOST_SPEC = 1 << 18
"""Characters of a file that is applied over HTTP: a worker that serves callers reads it."""


class _Answer(BaseModel):
    # A later version may say more: whoever reads must pass over what they do not know.
    model_config = ConfigDict(extra="allow")


class Differences(_Answer):
    """What a file would change; nothing was changed."""

    name: str
    revision: int
    differences: list[str]


class Applied(RootModel[Changed | Differences]):
    """The new state, and what was done; of a dry run what would differ."""


class Run(_Answer):
    """A variant that ran for a prediction and did not give the answer."""

    variant: str
    outcome: str
    error: str | None
    seconds: float


class Prediction(_Answer):
    """A prediction as the ledger keeps it."""

    seq: int = Field(description="Its place in the order of arrival.")
    prediction_id: str
    time: float = Field(description="Seconds since 1970.")
    endpoint: str
    variant: str
    revision: int
    reason: str
    outcome: str
    runs: list[Run]


class Story(_Answer):
    """All that is known of one prediction."""

    prediction: Prediction
    shadows: list[dict[str, Any]]
    labels: list[dict[str, Any]]
    others: list[str] = Field(description="Other predictions of the same inference id.")


class Kept(_Answer):
    """How much the ledger keeps."""

    path: str
    predictions: int
    shadows: int
    labels: int
    orphans: int = Field(description="Labels that wait for their prediction.")
    size: int = Field(description="Bytes.")
    oldest: float | None
    newest: float | None
    events: dict[str, int] = Field(description="What was lost, by kind.")


class Verified(_Answer):
    """What reading the whole trail of people's work showed."""

    whole: bool
    entries: int
    head: str
    broken_at: int | None = Field(description="The first entry that is not as it was written.")


class Found(RootModel[list[Prediction]]):
    """Predictions, the newest last."""


class Apply(Body):
    """Sets exactly the state fields that a spec file names; it is for the rollout that it names."""

    verb = "apply"
    summary = "Apply a spec file"
    answers = Applied
    spec: StrictStr = Field(max_length=MOST_SPEC, description="The file's content: YAML.")
    dry_run: Annotated[bool, Field(strict=True)] = Field(
        False, description="Only say what differs, and change nothing."
    )
    abort: Annotated[bool, Field(strict=True)] = Field(False, description="End a running try first.")
    keep_rollback: Annotated[bool, Field(strict=True)] = Field(
        False,
        description="Where a person rolled back what the file sets: change nothing and say so, "
        "instead of 409.",
    )

    def answer(self, rollout: Rollout) -> dict[str, Any]:
        """Apply, or say what differs."""
        spec, digest = parse_whole(self.spec.encode(), "the spec")
        if spec.name is None:
            raise InvalidSpec("the spec has no `name`, so it does not say which rollout it is for")
        if spec.name != rollout.name:
            raise NotFound(f"the spec is for the rollout {spec.name!r}; this service has {rollout.name!r}")
        if self.dry_run:
            found = rollout.differences(spec)
            return {"name": rollout.name, "revision": rollout.state.revision, "differences": found}
        change = rollout.apply(
            spec, digest=digest, abort=self.abort, keep_rollback=self.keep_rollback, **self.common
        )
        return answer_to(rollout, change)


class AskReview(Body):
    """Lets people look at a prediction of the ledger; the answer that it had stays."""

    verb = "reviews/ask"
    summary = "Send a prediction to people by hand, as an operator"
    answers = AskedByHand
    prediction: Annotated[str, Field(strict=True, min_length=1, max_length=512)] = Field(
        description="Its id, or the caller's own: then the newest prediction of it."
    )

    def answer(self, rollout: Rollout) -> dict[str, Any]:
        """Ask."""
        return rollout.ask_review(self.prediction, reason=self.reason)


class Find(Body):
    """The predictions of a key, or of the caller's own id: no GET, for logs of paths shall not have them."""

    verb = "ledger/find"
    summary = "Find the predictions of a key"
    answers = Found
    key: StrictStr | None = Field(None, description="The routing key.")
    inference_id: StrictStr | None = Field(None, description="The caller's own id.")
    limit: Annotated[int, Field(strict=True, ge=1, le=MOST_PREDICTIONS)] = 100

    def answer(self, rollout: Rollout) -> Any:
        """Look."""
        if (self.key is None) == (self.inference_id is None):
            raise InvalidValue("say either key or inference_id")
        found = rollout.ledger.find(key=self.key, inference_id=self.inference_id, limit=self.limit)
        return in_pieces(found)


MORE_VERBS: tuple[type[Body], ...] = (Apply, AskReview, Find)
MORE_ANSWERS: tuple[type[BaseModel], ...] = (
    Applied,
    Differences,
    Found,
    Kept,
    Prediction,
    Run,
    Story,
    Verified,
)
