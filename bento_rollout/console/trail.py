"""`TrailPage`: who did what, newest first, and whether the chain of entries is whole."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from ..reviewing import Role
from ..store.reviews import Reviews
from ..store.trail import Entry
from .acts import acted
from .visiting import Goto, Page, Visit, Work

__all__ = ["TrailPage"]

ROWS = 100
READERS = (Role.VIEWER, Role.ADJUDICATOR, Role.OPERATOR, Role.ADMIN)
"""Who may read it: a reviewer's own view of a case must not be led by what others did with it."""


SHOWN = 8
"""Digits of a case's id that the page shows: who knows all of them may ask for the decision."""


class TrailPage:
    """The page of the audit trail.

    Args:
        reviews: the queue; None: nothing is automated.
    """

    def __init__(self, reviews: Callable[[], Reviews | None]) -> None:
        self._reviews = reviews
        self.reads: dict[str, Work] = {"/trail": self._show}
        self.acts: dict[str, Work] = {"/trail/verify": self._verify}

    def _show(self, visit: Visit) -> Page:
        return self._page(visit)

    def _verify(self, visit: Visit) -> Page | Goto:
        return self._page(visit, verify=True)

    def _page(self, visit: Visit, *, verify: bool = False) -> Page:
        reviews = self._reviews()
        allowed = any(visit.person.may(role) for role in READERS)
        context: dict[str, Any] = {
            "here": "trail",
            "title": "Audit trail",
            "automated": reviews is not None,
            "allowed": allowed,
            "rows": [],
            "verified": None,
        }
        if reviews is not None and allowed:
            context["verified"] = reviews.trail.verify() if verify else None
            context["rows"] = [
                {
                    "seq": entry.seq,
                    "at": entry.at,
                    "who": entry.who,
                    "told": acted(entry.what, entry.facts),
                    "task": entry.task[:SHOWN],
                    "raw": _raw(entry),
                }
                for entry in reviews.trail.latest(ROWS)
            ]
        return Page("trail.html", context)


def _raw(entry: Entry) -> str:
    """Return an entry as JSON, as the trail has it but for the digits of the case."""
    facts = {"what": entry.what, "task": entry.task[:SHOWN], "facts": dict(entry.facts), "hash": entry.hash}
    return json.dumps(facts, ensure_ascii=False)
