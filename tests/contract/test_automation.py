"""Every degree of automation in process: who answers, what is kept, and what nobody may see."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import bentoml
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from PIL.Image import Image as PILImage

from bento_rollout import rollout
from bento_rollout.bento.people import People
from bento_rollout.reviewing import Given, Role
from tests.contract.serving import Served

CANARY = "zq-canary-31337"
ROLES = frozenset({Role.REVIEWER})
REVIEW = {
    "inputs": "plain",
    "on_timeout": "wait",
    "overflow": {"max_open": 100, "action": "reject"},
}

Finding = Literal["benign", "malignant"]


class Reading:
    """A service with an endpoint of each kind of input; what it says is the canary, or as it is told."""

    says: Any = None
    seconds = 0.0

    @bentoml.api
    def read(self, text: str) -> dict[str, Any]:
        time.sleep(type(self).seconds)
        return self.says or {"label": "malignant", "score": 0.97, "note": CANARY}

    @bentoml.api
    def plain(self, age: int, smoker: bool = False) -> Finding:
        return "malignant"

    @bentoml.api
    def rows(self, rows: np.ndarray) -> np.ndarray:
        return np.asarray([[0.1, 0.9]])

    @bentoml.api
    def frame(self, frame: pd.DataFrame) -> list[float]:
        return [0.2, 0.8]

    @bentoml.api
    def image(self, image: PILImage, ctx: bentoml.Context) -> Finding:
        ctx.response.headers["x-canary"] = CANARY
        ctx.response.status_code = 201
        return "malignant"

    @bentoml.api
    def upload(self, file: Path) -> str:
        return f"{CANARY} {len(file.read_bytes())}"

    @bentoml.task
    def job(self, text: str) -> Finding:
        return "malignant"


def to_finding(choice: str, suggestion: Any) -> dict[str, Any]:
    """What a person's choice means to callers of `read`."""
    return {"label": choice, "score": 1.0}


def to_scores(choice: str, suggestion: Any) -> Any:
    """What it means to callers of `rows` and `frame`."""
    scores = [1.0, 0.0] if choice == "benign" else [0.0, 1.0]
    return scores


def to_rows(choice: str, suggestion: Any) -> Any:
    """What it means to callers of `rows`."""
    return [to_scores(choice, suggestion)]


CHOICES = ["benign", "malignant"]
ANSWERS: dict[str, dict[str, Any]] = {
    "read": {"choices": CHOICES, "answer": to_finding},
    "plain": {},
    "rows": {"choices": CHOICES, "answer": to_rows},
    "frame": {"choices": CHOICES, "answer": to_scores},
    "image": {},
    "upload": {},
    "job": {},
}


def service(
    degree: str, *endpoints: str, review: dict[str, Any] | None = None, limit: float = 3.0, **more: Any
) -> Any:
    """Return a service in which some endpoints are automated."""
    automation = {
        name: {
            "degree": degree,
            "target_error": "5%",
            "decisions": {"require": "none"},
            "review": {**REVIEW, **ANSWERS[name], **(review or {})},
            **more,
        }
        for name in endpoints
    }
    made = bentoml.service(name="reading", traffic={"timeout": limit}, threads=4)(
        type("Reading", (Reading,), {"says": None, "seconds": 0.0})
    )
    from bento_rollout import RolloutSpec

    return rollout(spec=RolloutSpec(automation=automation, ledger={"enabled": True}))(made)


def people_of(served: Served) -> People:
    """Return who asks people in a service."""
    people: People = served.site.serving._people
    return people


def png(color: str = "red") -> bytes:
    """Return an image as a file."""
    box = io.BytesIO()
    Image.new("RGB", (8, 8), color).save(box, "PNG")
    return box.getvalue()


BODIES: dict[str, dict[str, Any]] = {
    "read": {"json": {"text": "two nodules"}},
    "plain": {"json": {"age": 61}},
    "rows": {"json": {"rows": [[1.0, 2.0], [3.0, 4.0]]}},
    "frame": {"json": {"frame": [{"a": 1, "b": 2}]}},
    "image": {"files": {"image": ("x.png", png(), "image/png")}},
    "upload": {"files": {"file": ("x.txt", b"hello", "text/plain")}},
}
KINDS = {
    "read": "text",
    "plain": "json",
    "rows": "table",
    "frame": "table",
    "image": "image",
    "upload": "text",
}


def claimed(people: People, reviewer: str = "ann", patience: float = 10.0) -> Any:
    """Return the next case, when there is one."""
    until = time.monotonic() + patience
    while (claim := people.reviews.claim(reviewer, roles=ROLES)) is None:
        assert time.monotonic() < until, "nothing was asked"
        time.sleep(0.02)
    return claim


def answered(people: People, choice: Any = "benign", reviewer: str = "ann") -> Any:
    """Answer the next case as a person does, and return the claim."""
    claim = claimed(people, reviewer)
    given = claim.case.id, reviewer, claim.token, Given(choice)
    outcome = people.reviews.answer(*given, make=people.make)
    if outcome.status == "revealed":
        people.reviews.answer(*given, make=people.make)
    return claim


def asking(served: Served, endpoint: str, **more: Any) -> Any:
    """Begin a call, and return what waits for its answer."""
    import asyncio

    work = served.arequest("POST", f"/{endpoint}", **{**BODIES[endpoint], **more})
    return asyncio.run_coroutine_threadsafe(work, served.loop)


@pytest.mark.parametrize("degree", ["human", "shadow", "assist"])
@pytest.mark.parametrize("endpoint", list(BODIES))
def test_a_person_answers_a_held_call(serve: Callable[..., Served], degree: str, endpoint: str) -> None:
    """At the first three degrees the caller gets what a person chose, as the endpoint would have said it."""
    served = serve(service(degree, endpoint, limit=30.0))
    people, waiting = people_of(served), asking(served, endpoint)
    choice = "benign" if endpoint != "upload" else "looks fine"
    claim = answered(people, choice)
    response = waiting.result(20)
    assert response.status_code == 200
    assert response.headers["x-rollout-decided-by"] == "human"
    assert "x-rollout-variant" not in response.headers
    assert "x-canary" not in response.headers
    assert CANARY not in response.text
    assert claim.case.input.kind == KINDS[endpoint]
    expected = {
        "read": {"label": "benign", "score": 1.0},
        "plain": "benign",
        "rows": [[1.0, 0.0]],
        "frame": [1.0, 0.0],
        "image": "benign",
        "upload": "looks fine",
    }[endpoint]
    got = response.text if endpoint in ("plain", "image", "upload") else response.json()
    assert got == expected
    place = served.get(f"/rollout/decisions/{claim.case.id}")
    assert place.json() == {"status": "answered", "answer": expected, "decided_by": "human"}
