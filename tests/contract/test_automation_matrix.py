"""Each degree of automation with each kind of input, in sync and async endpoints and in tasks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import bentoml
import httpx
import numpy as np
import pandas as pd
import pytest
from PIL.Image import Image as PILImage

from bento_rollout import RolloutSpec, rollout
from bento_rollout.reviewing import Selection
from tests.contract.reading import REVIEW, answered, asking, certify, people_of, png
from tests.contract.serving import Served

Said = dict[str, Any]


class Looks:
    """What all of them say, and the inputs that they were given."""

    score = 0.97
    saw: ClassVar[list[str]] = []

    def look(self, value: Any) -> Said:
        self.saw.append(type(value).__name__)
        return {"label": "malignant", "score": self.score}


class Plain(Looks):
    """Ordinary functions."""

    @bentoml.api
    def data(self, case: dict[str, Any]) -> Said:
        return self.look(case)

    @bentoml.api
    def array(self, rows: np.ndarray) -> Said:
        return self.look(rows)

    @bentoml.api
    def frame(self, frame: pd.DataFrame) -> Said:
        return self.look(frame)

    @bentoml.api
    def text(self, text: str) -> Said:
        return self.look(text)

    @bentoml.api
    def image(self, image: PILImage) -> Said:
        return self.look(image)


class Async(Looks):
    """Coroutines."""

    @bentoml.api
    async def data(self, case: dict[str, Any]) -> Said:
        return self.look(case)

    @bentoml.api
    async def array(self, rows: np.ndarray) -> Said:
        return self.look(rows)

    @bentoml.api
    async def frame(self, frame: pd.DataFrame) -> Said:
        return self.look(frame)

    @bentoml.api
    async def text(self, text: str) -> Said:
        return self.look(text)

    @bentoml.api
    async def image(self, image: PILImage) -> Said:
        return self.look(image)


class Tasks(Looks):
    """Tasks."""

    @bentoml.task
    def data(self, case: dict[str, Any]) -> Said:
        return self.look(case)

    @bentoml.task
    async def array(self, rows: np.ndarray) -> Said:
        return self.look(rows)

    @bentoml.task
    def frame(self, frame: pd.DataFrame) -> Said:
        return self.look(frame)

    @bentoml.task
    async def text(self, text: str) -> Said:
        return self.look(text)

    @bentoml.task
    def image(self, image: PILImage) -> Said:
        return self.look(image)


INPUTS: dict[str, tuple[dict[str, Any], str]] = {
    "data": ({"json": {"case": {"age": 61, "sites": ["left", "right"]}}}, "json"),
    "array": ({"json": {"rows": [[1.0, 2.0], [3.0, 4.0]]}}, "table"),
    "frame": ({"json": {"frame": [{"a": 1, "b": 2}]}}, "table"),
    "text": ({"json": {"text": "two nodules"}}, "text"),
    "image": ({"files": {"image": ("x.png", png(), "image/png")}}, "image"),
}
MODELS = {"label": "malignant", "score": 0.97}
PERSONS = {"label": "benign", "score": 1.0}


def to_finding(choice: str, suggestion: Any) -> Said:
    """What a choice is to callers."""
    return {"label": choice, "score": 1.0}


def looking(kind: type[Looks], degree: str) -> Any:
    """Return a service of which each endpoint is automated."""
    review = {**REVIEW, "choices": ["benign", "malignant"], "answer": to_finding}
    automation = {
        name: {
            "degree": degree if degree in ("human", "shadow") else "assist",
            "score": "field:score",
            "target_error": "5%",
            "audit": {"rate": "100%"},
            "decisions": {"require": "none"},
            "review": review,
        }
        for name in INPUTS
    }
    made = bentoml.service(name="looking", traffic={"timeout": 30.0}, threads=4)(
        type("Looking", (kind,), {"saw": []})
    )
    return rollout(spec=RolloutSpec(automation=automation))(made)


def answer_of(served: Served, endpoint: str, decide: Callable[[], Any]) -> tuple[httpx.Response, Any]:
    """Call an endpoint, or submit its task, and return its answer with what happened meanwhile."""
    body = INPUTS[endpoint][0]
    if not issubclass(served.site.service.inner, Tasks):
        waiting = asking(served, endpoint, **body)
        meanwhile = decide()
        return waiting.result(20), meanwhile
    waiting = asking(served, endpoint, path=f"/{endpoint}/submit", **body)
    meanwhile = decide()
    task = {"task_id": waiting.result(20).json()["task_id"]}  # here a task ends before its submit is answered
    return served.get(f"/{endpoint}/get", params=task), meanwhile


@pytest.mark.parametrize("kind", [Plain, Async, Tasks])
@pytest.mark.parametrize("degree", ["human", "shadow", "assist", "partial", "full"])
def test_every_degree_with_every_input(serve: Callable[..., Served], degree: str, kind: type[Looks]) -> None:
    """Who answers, what reviewers are shown, and what is kept of it, for each input."""
    served = serve(looking(kind, degree))
    people, model = people_of(served), type(served.site.instance)
    for endpoint, (_, shown) in INPUTS.items():
        if degree in ("partial", "full"):
            certify(served, endpoint, degree, threshold=0.9)
            response, _ = answer_of(served, endpoint, lambda: None)
            told = response.json(), response.headers["x-rollout-decided-by"]
            assert told == (MODELS, "model"), endpoint
            claim = answered(people)
            assert claim.case.input.kind == shown, endpoint
            (judged,) = people.reviews.judged(endpoint)
            assert (judged.selection, judged.wrong, judged.score) == (Selection.AUDIT, True, 0.97), endpoint
        if degree != "full":
            model.score = 0.5
            response, claim = answer_of(served, endpoint, lambda: answered(people))
            model.score = 0.97
            told = response.json(), response.headers["x-rollout-decided-by"]
            assert told == (PERSONS, "human"), endpoint
            assert "x-rollout-variant" not in response.headers, endpoint
            assert (claim.case.input.kind, claim.case.degree.word) == (shown, degree), endpoint
            place = served.get(f"/rollout/decisions/{claim.case.id}").json()
            assert place == {"status": "answered", "answer": PERSONS, "decided_by": "human"}, endpoint
        assert people.reviews.open(endpoint) == 0, endpoint
    if degree == "human":
        assert model.saw == []
