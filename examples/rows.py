"""Rows: one request carries many customers, and each customer keeps their own variant.

Run ``python examples/rows.py``; or serve it with ``bentoml serve examples.rows:Scoring``.
"""

from __future__ import annotations

import bentoml
import httpx
from pydantic import BaseModel

from bento_rollout import open_rollout, rollout


class Customer(BaseModel):
    """One row."""

    id: str
    income: float


@bentoml.service(name="scoring_v2")
class Candidate:
    """Scores by the logarithm; one unlucky income is more than it can take."""

    @bentoml.api
    def score(self, customers: list[Customer]) -> list[str]:
        """Return a score for each row."""
        return [f"v2:{len(str(int(customer.income))) / (customer.income != 13)}" for customer in customers]


@rollout(champion="v1", candidates={"v2": Candidate}, spec="rows.yaml")
@bentoml.service(name="scoring")
class Scoring:
    """Scores by the income itself."""

    @bentoml.api
    def score(self, customers: list[Customer]) -> list[str]:
        """Return a score for each row."""
        return [f"v1:{customer.income:g}" for customer in customers]


def story(client: httpx.Client) -> None:
    """Score a batch whose customers belong to two variants, then one that the candidate cannot take."""
    scoring = open_rollout("scoring")
    batch = [{"id": f"customer-{n}", "income": 1000 * n} for n in range(1, 9)]
    print("assigned:", scoring.assign([row["id"] for row in batch]).tolist())
    for rows in (batch, [{**row, "income": 13} for row in batch]):
        answer = client.post("/score", json={"customers": rows}).raise_for_status()
        print(answer.headers["x-rollout-variant"], answer.headers["x-rollout-reason"], answer.json())


if __name__ == "__main__":
    from _serving import served  # type: ignore[import-not-found]  # beside this file

    with served("rows:Scoring", rollout="scoring") as client:
        story(client)
