"""What a service's answer means: plain data, or the very error that the same verb raises beside the store."""

from __future__ import annotations

import json
from http import HTTPStatus
from http.client import responses
from typing import Any, NoReturn
from urllib.parse import urlsplit

from ..admin.problems import kind_of
from ..errors import Conflict, InvalidValue, NotFound, Refused, RolloutError, StoreUnreachable
from ..posting import Reply

__all__ = ["WAY_IN", "document_of", "raise_for"]

URN = "urn:bento-rollout:problem:"

MOST_SAID = 8000
"""Characters of an error's words that are passed on."""

WAY_IN = (
    "set BENTO_ROLLOUT_ADMIN_TOKEN here, or --token-file, to a token that the service knows "
    "(its own BENTO_ROLLOUT_ADMIN_TOKEN, or a line of BENTO_ROLLOUT_ADMIN_TOKEN_FILE)"
)


def document_of(reply: Reply) -> Any:
    """Return the plain data of an answer; None where it is not JSON."""
    kind = reply.headers.get_content_type()
    if kind != "application/json" and not kind.endswith("+json"):
        return None
    try:
        return json.loads(reply.body)
    except (ValueError, RecursionError):
        return None


def raise_for(reply: Reply, place: str) -> NoReturn:
    """Raise what an answer means that is no success.

    Args:
        reply: the answer.
        place: whose, for the message.

    Raises:
        RolloutError: of the class that the service raised; `Refused` where the token is not taken,
            `NotFound` where there is no such route, and `StoreUnreachable` where something else answered.
    """
    document = document_of(reply)
    if not isinstance(document, dict) or not isinstance(document.get("type"), str):
        _raise_foreign(reply, place)
    said = str(document.get("detail", ""))[:MOST_SAID]
    found = _KINDS.get(document["type"].removeprefix(URN)) if document["type"].startswith(URN) else None
    if found is not None:
        raise _again(found, said, document.get("current_revision"))
    if reply.status in (401, 403):
        raise Refused(f"{place}: {said}; {WAY_IN}")
    if reply.status in (404, 405):
        raise NotFound(
            f"{place}: {said}: the service is of another version, or BENTO_ROLLOUT_ADMIN_BIND serves its "
            "operators at another address"
        )
    if reply.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        raise InvalidValue(f"{place}: {said}")
    raise StoreUnreachable(f"{place}: {said or f'it answers {reply.status}'}")


def _raise_foreign(reply: Reply, place: str) -> NoReturn:
    """Raise for an answer that no rollout gave: of a proxy, of another server."""
    status, kind = reply.status, reply.headers.get_content_type()
    if 300 <= status < 400:  # noqa: PLR2004 - HTTP's own numbers
        raise StoreUnreachable(
            f"{place} answers {status} and leads to {_shown(reply.headers.get('Location', ''))}; no redirect "
            "is followed, for the token would go along: write the address that it leads to"
        )
    if status in (401, 403):
        raise Refused(
            f"{place} answers {status} with {kind}, which no rollout says: something in between does not let "
            f"this through; and then {WAY_IN}"
        )
    said = f"{status} ({phrase})" if (phrase := responses.get(status)) else str(status)
    raise StoreUnreachable(
        f"{place} answers {said} with {kind}, which is no answer of a rollout: a proxy in between says it, "
        "or this is not the service's address"
    )


def _shown(location: str) -> str:
    """Return where a redirect leads, without what it carries along."""
    try:
        parts = urlsplit(location)
        host = f"{parts.scheme}://{parts.hostname}" if parts.hostname else ""
    except ValueError:
        return "nowhere"
    return f"{host}{parts.path}"[:200] or "nowhere"


def _again(kind: type[RolloutError], words: str, current: object) -> RolloutError:
    """Return an error with these words, whatever its class makes its own from."""
    error = kind.__new__(kind, words)
    error.args = (words,)
    if isinstance(error, Conflict):
        error.current = current if isinstance(current, int) else 0
    return error


def _kinds() -> dict[str, type[RolloutError]]:
    found, new = dict[str, type[RolloutError]](), [RolloutError]
    while new:
        one = new.pop()
        found[kind_of(one.__new__(one))] = one
        new += one.__subclasses__()
    return found


_KINDS = _kinds()
