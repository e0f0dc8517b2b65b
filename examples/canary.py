"""Canary: give a candidate 10 percent of the users, then half, and take it all back in one step.

Run ``python examples/canary.py``; or serve it with ``bentoml serve examples.canary:Greeter``.
"""

from __future__ import annotations

from collections import Counter

import bentoml
import httpx

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


def who_answers(client: httpx.Client, users: int = 200) -> Counter[str]:
    """Return how many users get which variant: a user is a key, and keeps the variant."""
    answers = (
        client.post("/greet", json={"name": "you"}, headers={"x-user": f"user-{n}"}) for n in range(users)
    )
    return Counter(answer.raise_for_status().headers["x-rollout-variant"] for answer in answers)


def story(client: httpx.Client) -> None:
    """Move weights while the service runs, and say who answers."""
    greeter = open_rollout("greeter")
    for percent in (0, 10, 50):
        greeter.set_weights({"warm": percent}, reason="ramp up")
        print(f"warm at {percent:2} %: {dict(who_answers(client))}")
    greeter.rollback(reason="the office prefers the old greeting")
    print(f"rolled back:  {dict(who_answers(client))}")


if __name__ == "__main__":
    from _serving import served  # type: ignore[import-not-found]  # beside this file

    with served("canary:Greeter", rollout="greeter") as client:
        story(client)
