"""Shadow: a candidate watches every call, and a report says how often it would have answered otherwise.

Run ``python examples/shadow.py``; or serve it with ``bentoml serve examples.shadow:Prices``.
"""

from __future__ import annotations

import time

import bentoml
import httpx

from bento_rollout import Variant, is_shadow, open_rollout, rollout


@rollout(
    champion="plain",
    candidates={"discount": Variant(attributes={"from_pieces": 90})},
    spec="shadow.yaml",
)
@bentoml.service(name="prices")
class Prices:
    """Quotes prices; the candidate is the same code with a discount for large orders."""

    from_pieces = 1_000_000

    @bentoml.api
    def quote(self, pieces: int) -> float:
        """Return what some pieces cost."""
        if not is_shadow():
            print(f"booked {pieces}")  # what has effects must happen once
        return pieces * (0.9 if pieces >= self.from_pieces else 1.0)


def story(client: httpx.Client) -> None:
    """Ask, while the candidate watches; then read the report."""
    prices = open_rollout("prices")
    prices.set_shadow({"discount": 100, "plain": 100}, reason="what would it say?")
    answers = {client.post("/quote", json={"pieces": n}).headers["x-rollout-variant"] for n in range(100)}
    print(f"answered by {answers}")
    while (report := prices.shadow_report())["candidates"]["discount"]["compared"] < 100:
        time.sleep(0.2)
    seen, noise = report["candidates"]["discount"], report["noise"]
    print(f"discount agrees in {seen['agreement']['value']:.0%} of {seen['compared']} calls")
    print(f"plain differs from itself in {noise['disagreed']} calls")
    print(f"the most telling one: {seen['examples'][0]['differences'][0]}")


if __name__ == "__main__":
    from _serving import served  # type: ignore[import-not-found]  # beside this file

    with served("shadow:Prices", rollout="prices") as client:
        story(client)
