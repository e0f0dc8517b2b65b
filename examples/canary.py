"""Canary: give a candidate 10 percent of the users, then half, and take it all back in one step.

Run ``python examples/canary.py``; or serve it with ``bentoml serve examples.canary:Greeter`` and use the commands.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import bentoml

from bento_rollout import Variant, open_rollout, rollout


@rollout(champion="polite", candidates={"warm": Variant(attributes={"word": "Welcome"})}, spec="canary.yaml")
@bentoml.service(name="greeter")
class Greeter:
    """Greets; the candidate is the same code with another word."""

    word = "Good day"

    @bentoml.api
    def greet(self, name: str) -> str:
        """Return a greeting."""
        return f"{self.word}, {name}!"


def who_answers(url: str, users: int = 200) -> Counter[str]:
    """Return how many users get which variant: a user is a key, and keeps the variant."""
    import httpx

    with httpx.Client(base_url=url) as client:
        answers = (
            client.post("/greet", json={"name": "you"}, headers={"x-user": f"user-{n}"}) for n in range(users)
        )
        return Counter(answer.raise_for_status().headers["x-rollout-variant"] for answer in answers)


def story(url: str) -> None:
    """Move weights while the service runs, and say who answers."""
    greeter = open_rollout("greeter")
    for percent in (0, 10, 50):
        greeter.set_weights({"warm": percent}, reason="ramp up")
        print(f"warm at {percent:2} %: {dict(who_answers(url))}")
    greeter.rollback(reason="the office prefers the old greeting")
    print(f"rolled back:  {dict(who_answers(url))}")


if __name__ == "__main__":
    with bentoml.serve("canary:Greeter", working_dir=str(Path(__file__).parent), port=3101) as server:
        with bentoml.SyncHTTPClient(server.url, server_ready_timeout=60):  # waits until it is ready
            story(server.url)
