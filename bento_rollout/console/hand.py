"""`Hand`: what one browser holds of the queue: the case in hand, and the answer that can be taken back."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from typing import Any

__all__ = ["Hand"]

MOST = 3500
"""Characters of a cookie: browsers keep 4096 bytes with its name."""


@dataclass(frozen=True, slots=True)
class Hand:
    """Kept in the browser, which may say anything: the queue checks every token.

    Attributes:
        task, token: the case in hand; empty: none.
        mine: the first answer, while the suggestion is shown beside it; None: it was not given yet.
        undo, undo_token, until: the answer that can be taken back, and until when, in seconds since 1970.
        first: of the answer that can be taken back, what ``mine`` was.
        said: what happened last, in one word.
    """

    task: str = ""
    token: str = field(default="", repr=False)
    mine: Any = field(default=None, repr=False)
    undo: str = ""
    undo_token: str = field(default="", repr=False)
    until: float = 0.0
    first: Any = field(default=None, repr=False)
    said: str = ""

    def cookie(self) -> str:
        """Return it as a cookie; a first answer that is too long is left out."""
        if self == Hand():
            return ""
        facts = asdict(self)
        text = _packed(facts)
        return text if len(text) <= MOST else _packed({**facts, "mine": None, "first": None})

    @classmethod
    def read(cls, cookie: str) -> Hand:
        """Return what a cookie says; an empty hand, when it says nothing that can be understood.

        >>> Hand.read(Hand(task="a", token="b", mine="benign").cookie()).mine, Hand.read("nonsense").task
        ('benign', '')
        """
        with suppress(ValueError, TypeError):
            facts = json.loads(base64.urlsafe_b64decode(cookie[: MOST + 1].encode("ascii")))
            if isinstance(facts, Mapping) and all(
                _fits(facts.get(one.name), one.name) for one in fields(cls)
            ):
                return cls(**{one.name: facts[one.name] for one in fields(cls) if one.name in facts})
        return cls()


def _packed(facts: Mapping[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(facts, separators=(",", ":")).encode()).decode("ascii")


def _fits(value: object, name: str) -> bool:
    if value is None or name in {"mine", "first"}:
        return True
    return isinstance(value, float | int) if name == "until" else isinstance(value, str)
