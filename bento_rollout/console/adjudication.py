"""`Adjudication`: a third person decides where two differ, or where somebody handed a case up."""

from __future__ import annotations

from ..reviewing import Role
from .review import Review

__all__ = ["Adjudication"]


class Adjudication(Review):
    """As review, for adjudicators: with the two answers, and without who gave them."""

    path, role, title = "/adjudication", Role.ADJUDICATOR, "Adjudication"

    counts = False
