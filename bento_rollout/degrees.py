"""`Degree`: who decides a prediction, from a person alone to the model alone."""

from __future__ import annotations

from enum import IntEnum
from functools import cached_property

from .errors import InvalidValue
from .values import shown

__all__ = ["Degree", "parse_degree"]


class Degree(IntEnum):
    """Who decides a prediction: a team may stop at any of these; down goes by itself, up only by a person.

    ``HUMAN``: a person; the model does not run. ``SHADOW``: a person; the model runs, and nobody sees what it
    says before the answer. ``ASSIST``: a person, who sees the suggestion. ``PARTIAL``: the model where it is
    sure, else a person. ``FULL``: the model.

    >>> Degree.ASSIST.word, Degree.ASSIST < Degree.FULL
    ('assist', True)
    """

    HUMAN = 1
    SHADOW = 2
    ASSIST = 3
    PARTIAL = 4
    FULL = 5

    @cached_property
    def word(self) -> str:
        """As specs, pages and log lines write it."""
        return self.name.lower()

    @property
    def by_people(self) -> bool:
        """Whether a person decides each prediction."""
        return self <= Degree.ASSIST

    @property
    def blind(self) -> bool:
        """Whether nobody may see what the model says before the answer is there."""
        return self <= Degree.SHADOW


_WORDS = {degree.word: degree for degree in Degree} | {"silent": Degree.SHADOW}


def parse_degree(value: object) -> Degree:
    """Return the degree that a word or a number from 1 to 5 means; ``silent`` is radiology's word for shadow.

    Raises:
        InvalidValue: it means none.

    >>> parse_degree("partial"), parse_degree(4) is parse_degree("partial"), parse_degree("silent").word
    (<Degree.PARTIAL: 4>, True, 'shadow')
    """
    if isinstance(value, str) and (found := _WORDS.get(value.strip().lower())) is not None:
        return found
    text = value.strip() if isinstance(value, str) else value
    if isinstance(text, str) and text in {"1", "2", "3", "4", "5"}:
        return Degree(int(text))
    if isinstance(text, int) and not isinstance(text, bool) and 1 <= text <= len(Degree):
        return Degree(text)
    words = ", ".join(degree.word for degree in Degree)
    raise InvalidValue(f"{shown(value)} is no degree of automation: write {words}, or 1 to 5")
