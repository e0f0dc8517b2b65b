"""Blue/green: warm up and smoke-test the waiting variant in every worker, then flip all traffic to it at once.

Run ``python examples/blue_green.py``.
"""

from __future__ import annotations

from pathlib import Path

import bentoml

from bento_rollout import Flip, Variant, Veto, open_rollout, rollout
from bento_rollout.errors import Vetoed


def smoke_test(flip: Flip) -> None:
    """Refuse a variant that gives things away; runs in every worker, before the flip."""
    if flip.instance.quote(10) <= 0:
        raise Veto(f"{flip.target} quotes nothing for ten pieces")


def tell(flip: Flip) -> None:
    """Say that it happened; runs once."""
    print(f"{flip.target} has replaced {flip.source}: {flip.reason}", flush=True)


@rollout(
    champion="blue",
    candidates={"green": Variant(attributes={"price": 3}), "free": Variant(attributes={"price": 0})},
    before_flip=[smoke_test],
    after_flip=[tell],
    spec="blue_green.yaml",
)
@bentoml.service(name="pricing", workers=2)
class Pricing:
    price = 4

    @bentoml.api
    def quote(self, pieces: int) -> int:
        return pieces * self.price


def story(url: str) -> None:
    """Flip, be refused, and roll back."""
    import httpx

    def quote() -> str:
        answer = httpx.post(f"{url}/quote", json={"pieces": 10}).raise_for_status()
        return f"{answer.text} by {answer.headers['x-rollout-variant']}"

    pricing = open_rollout("pricing")
    print("at first:   ", quote())
    pricing.flip(reason="cheaper supplier")  # to the standby
    print("flipped:    ", quote())
    try:
        pricing.flip(to="free")
    except Vetoed as veto:
        print("refused:    ", veto)
    pricing.rollback(reason="supplier is late")
    print("rolled back:", quote())


if __name__ == "__main__":
    with bentoml.serve(
        "blue_green:Pricing", working_dir=__file__.rpartition("/")[0] or ".", port=3102
    ) as server:
        story(server.url)
