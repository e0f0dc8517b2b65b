"""Cases, people and a clock for tests of the people's queue."""

from __future__ import annotations

import secrets
from contextlib import closing
from pathlib import Path
from typing import Any

from bento_rollout.degrees import Degree
from bento_rollout.reviewing import Case, Claim, Given, Role, Selection, Shown, Suggestion
from bento_rollout.store.place import Place
from bento_rollout.store.reviews import Keep, Outcome, Reviews

REVIEWER = frozenset({Role.REVIEWER})
ADJUDICATOR = frozenset({Role.ADJUDICATOR})
START = 1_700_000_000.0


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


def case(**fields: Any) -> Case:
    """A case of a person's at degree 3 that one reviewer answers by yes or no, unless told otherwise."""
    given: dict[str, Any] = {
        "id": secrets.token_hex(16),
        "prediction_id": secrets.token_hex(8),
        "endpoint": "read",
        "revision": 1,
        "degree": Degree.ASSIST,
        "selection": Selection.ALL,
        "probability": 1.0,
        "input": Shown("json", {"amount": 12}),
        "choices": ("yes", "no"),
        "created": START,
    }
    return Case(**{**given, **fields})


def said(choice: str | None = "no", output: Any = None, score: float | None = 0.7) -> Suggestion:
    """What the model says."""
    return Suggestion({"label": choice} if output is None else output, choice, score, "v2", "digest", START)


def made(_: Case, given: Given) -> tuple[str, bytes]:
    """What the caller gets for an answer."""
    return "text/plain", f"answer {given.choice}".encode()


def settled(one: Case) -> tuple[str, bytes]:
    """What the caller gets when the time is over."""
    return "text/plain", one.on_timeout.encode()


def kept(place: Place) -> bytes:
    """All that is kept of a queue: the bytes of its folder, or the values in its tables."""
    if isinstance(place, Path):
        return b"".join(path.read_bytes() for path in place.iterdir())
    with closing(place.connect("reviews")) as db:
        query = "SELECT tablename FROM pg_tables WHERE schemaname = ?"
        tables = [row[0] for row in db.execute(query, (place.schema("reviews"),))]
        rows = [row for table in tables for row in db.execute(f"SELECT * FROM {table}")]
    return b"".join(it if isinstance(it, bytes) else str(it).encode() for row in rows for it in row)


class Queue:
    """A queue, with people who go by their name."""

    def __init__(self, place: Place) -> None:
        self.clock = Clock()
        self.place = place
        self.reviews = Reviews(self.place, rollout="screening", clock=self.clock)

    def submit(self, keep: Keep | None = None, **fields: Any) -> Case:
        """Ask about a case."""
        one = case(**{"created": self.clock.now, **fields})
        self.reviews.submit(one, keep=keep or Keep())
        return one

    def claim(self, who: str, *, up: bool = False, lease: float = 600.0) -> Claim | None:
        """Let somebody take a case, as an adjudicator or else as a reviewer."""
        return self.reviews.claim(who, roles=ADJUDICATOR if up else REVIEWER, lease=lease)

    def take(self, who: str, *, up: bool = False, lease: float = 600.0) -> Claim:
        """Let somebody take the case that must be there."""
        found = self.claim(who, up=up, lease=lease)
        assert found is not None
        return found

    def answer(self, claim: Claim, choice: Any, **more: Any) -> Outcome:
        """Answer what somebody took."""
        return self.reviews.answer(
            claim.case.id, claim.reviewer, claim.token, Given(choice), make=made, **more
        )

    def settle(self) -> int:
        """Let time do what it does."""
        return self.reviews.settle(self.clock.now, settled)

    def acts(self, one: Case) -> list[tuple[str, str]]:
        """Who did what with a case."""
        return [(entry.who, entry.what) for entry in self.reviews.trail.entries(task=one.id)]
