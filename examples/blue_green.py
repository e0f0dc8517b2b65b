"""Try, then flip: ``python examples/blue_green.py`` or ``bentoml serve examples.blue_green:Pricing``."""

from __future__ import annotations

import bentoml
import httpx

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
    pricing = open_rollout("pricing")
    back, free = pricing.rollback, lambda reason: pricing.flip(to="free", reason=reason)
    for what, verb in (("flipped", pricing.flip), ("refused", free), ("rolled back", back)):
        try:
            verb(reason="the supplier is late")
        except RolloutError as error:
            print(error)
        answer = client.post("/quote", json={"pieces": 10})
        print(f"{what}: {answer.text} by {answer.headers['x-rollout-variant']}")


if __name__ == "__main__":
    from _serving import served  # type: ignore[import-not-found]  # beside this file

    with served("blue_green:Pricing", rollout="pricing", workers=2) as client:
        story(client)
