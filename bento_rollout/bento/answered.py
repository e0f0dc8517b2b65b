"""What a candidate elsewhere answered when that is an error."""

from __future__ import annotations

from bentoml.exceptions import BentoMLException
from starlette.responses import Response

__all__ = ["Answered", "RemoteFailure"]


class Answered(BentoMLException):
    """A candidate elsewhere answered with an error: 4xx is its answer to the caller.

    Attributes:
        response: what it answered, for a caller whom nobody else answers.
        place: what is told of where it failed.
        failed: whether it is the candidate's failure, whatever the status.
    """

    response: Response | None = None
    place: str | None = None
    failed = False


class RemoteFailure(Answered):
    """A candidate elsewhere failed: it answered 5xx, or what is no answer of this endpoint."""

    failed = True
