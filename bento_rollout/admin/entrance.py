"""`Entrance`: lets people in who review, by a token of their own or by a trusted proxy's word."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from ..standing import MACHINES
from ..telemetry.log import event
from .gate import bearer_of, said, unauthorized
from .people import People, Person

__all__ = ["Entrance"]

CLOSED = (
    "the reviews are closed: no usable token is configured (BENTO_ROLLOUT_REVIEW_TOKEN, "
    "BENTO_ROLLOUT_REVIEW_TOKEN_FILE, or an operator's)"
)
NO_FORM = (
    "a request that a proxy vouches for needs Content-Type: application/json: a page of somebody else's "
    "could send any other in your name"
)
NO_PERSON = "the name {name!r} is the service's own: give this person another one in the token file"


class Entrance:
    """Finds out who sent a request.

    Args:
        people: who may come in.
    """

    def __init__(self, people: People) -> None:
        self._people = people
        self._said: str | None = None

    def admit(self, request: Request) -> Person | Response:
        """Return who it is, or the refusal: 403 where nobody could come in, 401 for an unknown token.

        Whoever shows a token is who that token is; a proxy's word counts only without one.
        """
        people, trouble = self._people, self._people.problem
        if trouble is not None and trouble != self._said:
            event("reviews.closed", "error", problem=trouble)
        self._said = trouble
        if not people.is_open:
            return said(403, CLOSED)
        token = bearer_of(request)
        if token is not None:
            found = people.by_token(token)
            if found is None:
                return unauthorized("the token is not known here", ', error="invalid_token"')
        else:
            found = people.by_proxy(request.scope)
            if found is None:
                return unauthorized("show a token: Authorization: Bearer TOKEN")
            if request.method not in ("GET", "HEAD") and not _is_json(request):
                return said(403, NO_FORM)
        return said(403, NO_PERSON.format(name=found.name)) if found.name in MACHINES else found


def _is_json(request: Request) -> bool:
    kinds = [value for name, value in request.scope["headers"] if name.lower() == b"content-type"]
    return [kind.partition(b";")[0].strip().lower() for kind in kinds] == [b"application/json"]
