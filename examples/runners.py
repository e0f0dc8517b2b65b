"""The same candidate in four places.

Run ``python examples/runners.py``; or serve it with ``bentoml serve examples.runners:Pricing``.
"""

from __future__ import annotations

import os
import signal
from collections import Counter

import bentoml
import httpx

from bento_rollout import Variant, open_rollout, rollout


class Quotes:
    """What champion and candidate share."""

    price = 4

    @bentoml.api
    def quote(self, pieces: int) -> dict[str, int]:
        """Return the price of some pieces, and which process says so."""
        return {"price": pieces * self.price, "process": os.getpid()}


@bentoml.service(name="newer")
class Newer(Quotes):
    """The candidate; a deployment of it is ``bentoml serve examples.runners:Newer``."""

    price = 3


PLACES = {
    "here": Variant(Newer),
    "beside": Variant(Newer, runner="process", twin=True),
    "apart": Variant(Newer, runner="service", twin=True),
    "away": Variant(url=os.environ.get("NEWER_URL", "http://newer.invalid")),
}


@rollout(champion="older", candidates=PLACES, spec="runners.yaml")
@bentoml.service(name="pricing")
class Pricing(Quotes):
    """The champion."""


def story(client: httpx.Client) -> None:
    """Ask each variant, kill the one in a service of its own, and ask on."""

    def ask(variant: str) -> tuple[str, int, int]:
        answer = client.post("/quote", json={"pieces": 10}, headers={"X-Rollout-Variant": variant})
        return answer.headers["x-rollout-variant"], *answer.raise_for_status().json().values()

    _, _, worker = ask("older")
    for name, variant in open_rollout("pricing").status()["variants"].items():
        who, price, process = ask(name)
        where = "the worker" if process == worker else "another process"
        print(f"{name} is {variant['state']}, runner {variant['runner']}: {price} by {who} in {where}")
    os.kill(ask("apart")[2], signal.SIGKILL)
    print(f"apart is killed, and callers get {dict(Counter(ask('apart')[0] for _ in range(20)))}")


if __name__ == "__main__":
    from _serving import deployed, served  # type: ignore[import-not-found]  # beside this file

    with deployed("runners:Newer") as os.environ["NEWER_URL"], served("runners:Pricing", "pricing") as client:
        story(client)
