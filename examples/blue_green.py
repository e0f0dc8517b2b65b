"""Blue/green: smoke-test the waiting variant in every worker, then flip all traffic to it (run this file)."""

from __future__ import annotations

from functools import partial

import bentoml
import httpx
from _serving import served  # type: ignore[import-not-found]  # a script's own folder

from bento_rollout import Flip, RolloutError, RolloutSpec, Variant, Veto, open_rollout, rollout


def smoke_test(flip: Flip) -> None:
    """Refuse a variant that gives things away; runs in every worker."""
    if not flip.instance.quote(10):
        raise Veto(f"{flip.target} quotes nothing for ten pieces")


def tell(flip: Flip) -> None:
    """Say that it happened; runs once."""
    print(f"{flip.target} has replaced {flip.source}: {flip.reason}")


@rollout(
    champion="blue",
    candidates={"green": Variant(attributes={"price": 3}), "free": Variant(attributes={"price": 0})},
    before_flip=smoke_test,
    after_flip=tell,
    spec=RolloutSpec.parse({"blue_green": {"standby": "green"}}),
)
@bentoml.service(name="pricing", workers=2)
class Pricing:
    """Quotes prices."""

    price = 4

    @bentoml.api
    def quote(self, pieces: int) -> int:
        """Return the price of some pieces."""
        return pieces * self.price


def story(client: httpx.Client) -> None:
    """Flip to the standby, be refused, and roll back."""
    flip, back = open_rollout("pricing").flip, open_rollout("pricing").rollback
    for what, verb in (("flipped", flip), ("refused", partial(flip, to="free")), ("rolled back", back)):
        try:
            verb(reason="the supplier is late")
        except RolloutError as error:
            print(error)
        answer = client.post("/quote", json={"pieces": 10})
        print(f"{what}: {answer.text} by {answer.headers['x-rollout-variant']}")


if __name__ == "__main__":
    with served("blue_green:Pricing", rollout="pricing", workers=2) as client:
        story(client)
