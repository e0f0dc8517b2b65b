"""What an error looks like to a program: its kind, and the problem details of RFC 9457."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any

from ..errors import Conflict, RolloutError
from ..revisions import shown_revision

__all__ = ["kind_of", "problem", "problem_of"]

_CAPITAL = re.compile(r"(?<!^)(?=[A-Z])")


def kind_of(error: RolloutError) -> str:
    """Return the kind of an error, as programs may compare it.

    >>> from bento_rollout.errors import NotReady
    >>> kind_of(NotReady("no worker has it"))
    'not_ready'
    """
    return _CAPITAL.sub("_", type(error).__name__).lower()


def problem(status: int, detail: str, kind: str | None = None, **members: Any) -> dict[str, Any]:
    """Return a problem document; without a ``kind`` it is one that the HTTP status alone explains."""
    title = HTTPStatus(status).phrase if kind is None else kind.replace("_", " ").capitalize()
    uri = "about:blank" if kind is None else f"urn:bento-rollout:problem:{kind}"
    return {"type": uri, "title": title, "status": status, "detail": detail, **members}


def problem_of(error: RolloutError) -> dict[str, Any]:
    """Return the problem document of an error of the library."""
    members = {"current_revision": shown_revision(error.current)} if isinstance(error, Conflict) else {}
    return problem(error.http_status, str(error), kind_of(error), **members)
