"""Progressive: evidence moves a good candidate up until it is champion, and takes a bad one back.

Run ``python examples/progressive.py``; or serve it with ``bentoml serve examples.progressive:Good``.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from threading import Event

import bentoml
import httpx

from bento_rollout import Variant, open_rollout, rollout


class Words:
    """Greets; who has bad luck is lost for words."""

    word, bad_luck = "Good day", 0.0

    @bentoml.api
    def greet(self, name: str) -> str:
        """Return a greeting."""
        if random.random() < self.bad_luck:
            raise RuntimeError("lost for words")
        return f"{self.word}, {name}!"


warm = Variant(attributes={"word": "Welcome"})
lost = Variant(attributes={"word": "Er", "bad_luck": 0.2})
quiet = {"access": {"enabled": False}}


@rollout(champion="polite", candidates={"warm": warm}, spec="progressive.yaml")
@bentoml.service(name="greeter", logging=quiet)
class Good(Words):
    """Its candidate is as good as the champion."""


@rollout(champion="polite", candidates={"warm": lost}, spec="progressive.yaml")
@bentoml.service(name="greeter", logging=quiet)
class Bad(Words):
    """Its candidate fails every fifth user."""


def story(client: httpx.Client) -> None:
    """Start the try, let users come, and read what was decided."""
    greeter, failed, over = open_rollout("greeter"), Counter[str](), Event()

    def come(door: int) -> None:
        users = (f"user-{door}-{number}" for number in count())
        while not over.is_set():
            answer = client.post("/greet", json={"name": "you"}, headers={"x-user": next(users)})
            failed[answer.headers["x-rollout-variant"]] += answer.is_error

    with ThreadPoolExecutor() as doors:
        doors.map(come, range(4))
        greeter.start("warm", reason="a new greeting")
        while greeter.status()["try"]["runs"]:
            time.sleep(0.2)
        over.set()
    for commit in reversed(greeter.history()):
        print(commit.author, commit.action, commit.state.champion, commit.state.percents)
    print(greeter.explain()["words"])
    print(f"failed requests: {dict(failed)}")


if __name__ == "__main__":
    from _serving import served  # type: ignore[import-not-found]  # beside this file

    for service in ("progressive:Good", "progressive:Bad"):
        with served(service, rollout="greeter") as client:
            story(client)
