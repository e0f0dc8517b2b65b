"""A process of people who answer, or of a worker that settles.

Run ``python -m tests.reviewing_crew PLACE ACT NAME...``; it begins when it is sent a line.
"""

from __future__ import annotations

import random
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest

from bento_rollout.errors import Refused, StoreUnreachable
from bento_rollout.reviewing import Given
from bento_rollout.store.place import Place, Shared
from bento_rollout.store.postgres.engine import engine_at
from bento_rollout.store.reviews import Reviews
from tests.reviewed import REVIEWER, made, settled

T = TypeVar("T")

_telling = threading.Lock()


def tell(line: str) -> None:
    """Write a line whole, at once."""
    with _telling:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


def answer(reviews: Reviews, name: str) -> None:
    """Take and answer until nothing is left; tell each answer once it is acknowledged."""
    draw = random.Random(name)
    while (claim := reviews.claim(name, roles=REVIEWER)) is not None:
        given = Given(draw.choice(["yes", "no"]))
        reviews.answer(claim.case.id, name, claim.token, given, make=made)
        tell(f"{claim.case.id} {name} {given.choice}")


def persist(reviews: Reviews, name: str) -> None:
    """Answer until no case is open, whatever breaks meanwhile; tell each answer once it is acknowledged."""
    draw = random.Random(name)
    while again(lambda: reviews.open("read")):
        claim = again(lambda: reviews.claim(name, roles=REVIEWER, lease=2.0))
        if claim is None:
            time.sleep(0.05)
            continue
        given = Given(draw.choice(["yes", "no"]))
        with suppress(Refused):  # it took too long, and somebody else has it
            again(partial(reviews.answer, claim.case.id, name, claim.token, given, make=made))
            tell(f"{claim.case.id} {name} {given.choice}")


def again(act: Callable[[], T]) -> T:
    """Do it, as often as it takes."""
    while True:
        try:
            return act()
        except StoreUnreachable:
            time.sleep(0.01)


def settle(reviews: Reviews, _: str) -> None:
    """Settle until nothing is open; tell how many cases were ended here."""
    ended = 0
    while reviews.open("read"):
        ended += reviews.settle(time.time(), settled)
    tell(str(ended))


def address_of(place: Place, request: pytest.FixtureRequest) -> str:
    """Return what `place_at` makes a test's place of in another process."""
    if isinstance(place, Shared):
        return f"{request.getfixturevalue('server').url('home')} {place.name} {place.folder}"
    return str(place)


def place_at(text: str) -> Place:
    """Return a place: a folder, or ``URL NAME FOLDER`` of a database."""
    if not text.startswith("postgresql:"):
        return Path(text)
    url, name, folder = text.split(" ")
    return Shared(engine_at(url), name, Path(folder))


def main(place: str, act: str, *names: str) -> None:
    """Let each of them do it at once."""
    reviews = Reviews(place_at(place), rollout="screening", patience=30.0)
    tell("ready")
    sys.stdin.readline()
    work = {"answer": answer, "persist": persist, "settle": settle}[act]
    crew = [threading.Thread(target=work, args=(reviews, name)) for name in names]
    for one in crew:
        one.start()
    for one in crew:
        one.join()


if __name__ == "__main__":
    main(*sys.argv[1:])
