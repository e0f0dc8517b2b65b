"""What a service must have for people to decide its predictions, checked when it is defined."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Callable
from enum import Enum
from pathlib import Path
from typing import Any, Literal

import bentoml
import numpy as np
import pytest
from pydantic import BaseModel

from bento_rollout import rollout
from bento_rollout.bento.decorator import site_of
from bento_rollout.bento.entrusting import choices_of, functions_of, outputs_of
from bento_rollout.errors import InvalidSpec
from bento_rollout.spec import RolloutSpec

CHOICES = ["benign", "malignant"]


class Finding(BaseModel):
    """An output with fields."""

    label: str
    score: float


class Urgency(str, Enum):
    """An output that is a choice."""

    NOW = "now"
    LATER = "later"


class Reading:
    """Endpoints whose outputs are choices, and others."""

    @bentoml.api
    def array(self, rows: np.ndarray) -> np.ndarray:
        """No choice, and no form."""
        return rows

    @bentoml.api
    def finding(self, image: str, amount: float = 0.0) -> Finding:
        """A form."""
        return Finding(label=image, score=amount)

    @bentoml.api
    def word(self, image: str) -> Literal["benign", "malignant"]:
        """A choice."""
        return "benign" if image else "malignant"

    @bentoml.task
    def urgency(self, image: str) -> Urgency:
        """A choice of a task."""
        return Urgency.NOW if image else Urgency.LATER

    @bentoml.api
    def flag(self, image: str) -> bool:
        """A choice of two."""
        return bool(image)

    @bentoml.api
    def text(self, image: str) -> str:
        """Any text."""
        return image

    @bentoml.api
    def loose(self, image: str) -> dict[str, float]:
        """A mapping without fields of its own."""
        return {image: 1.0}

    @bentoml.api
    async def stream(self, image: str) -> AsyncGenerator[str, None]:
        """Items."""
        yield image


def to_finding(choice: str, suggestion: object) -> object:
    """An output of a choice."""
    return choice, suggestion


def entrust(endpoint: str, *, spec: dict[str, Any] | None = None, **fields: Any) -> Any:
    """The service with an automation of one endpoint; `review` is completed."""
    review = {"inputs": "plain", "on_timeout": "wait", "overflow": {"max_open": 9, "action": "wait"}}
    review |= fields.pop("review", {})
    automation = {"degree": "human", "max_degree": "assist", "review": review, **fields}
    given = RolloutSpec(automation={endpoint: automation}, **(spec or {}))
    cls = type("Reading", (), {k: v for k, v in vars(Reading).items() if not k.startswith("__")})
    return rollout(champion="one", spec=given)(bentoml.service(name="reading")(cls))


def refused(endpoint: str, told: str, **fields: Any) -> None:
    """Fail unless it is refused in these words."""
    with pytest.raises(InvalidSpec, match=told):
        entrust(endpoint, **fields)


@pytest.mark.parametrize(
    ("endpoint", "review", "choices"),
    [
        ("word", {}, ("benign", "malignant")),
        ("word", {"choices": ["malignant", "benign"]}, ("malignant", "benign")),
        ("urgency", {}, ("now", "later")),
        ("flag", {"due": "1h", "on_timeout": "default", "default": "false"}, ("false", "true")),
        ("text", {}, ()),
        ("text", {"choices": CHOICES}, ("benign", "malignant")),
        ("finding", {}, ()),
        ("array", {"choices": CHOICES, "answer": to_finding}, ("benign", "malignant")),
        ("loose", {"choices": CHOICES, "answer": f"{__name__}:to_finding"}, ("benign", "malignant")),
    ],
)
def test_what_reviewers_choose_from(endpoint: str, review: dict[str, Any], choices: tuple[str, ...]) -> None:
    """As written, or as the output's type has it; else they fill in a form by its schema."""
    service = entrust(endpoint, review=review)
    site = site_of(service)
    assert site is not None
    automation, method = site.spec.automation[endpoint], service.apis[endpoint]
    assert choices_of(automation, method) == choices
    functions = functions_of(automation, endpoint)
    assert functions == ({"review.answer": to_finding} if "answer" in review else {})


def test_outputs_by_choice() -> None:
    """A choice becomes the very output of the type."""
    apis = entrust("word").apis
    assert outputs_of(apis["urgency"]) == {"now": Urgency.NOW, "later": Urgency.LATER}
    assert outputs_of(apis["flag"]) == {"false": False, "true": True}
    assert outputs_of(apis["text"]) == {}
    assert outputs_of(apis["finding"]) is None


def test_an_endpoint_that_the_service_does_not_have_is_refused() -> None:
    """What it has is told."""
    refused("guess", r"^automation\.guess: the service has no endpoint 'guess'; it has: array, finding")


def test_an_endpoint_that_is_not_routed_is_refused() -> None:
    """Nobody would ask."""
    refused("word", r"^automation\.word: endpoint 'word' is not routed", spec={"endpoints": ["text"]})


def test_a_stream_is_refused() -> None:
    """A person answers a call as a whole."""
    refused("stream", r"^automation\.stream: endpoint 'stream' is a stream")


def test_an_endpoint_that_is_routed_by_rows_is_refused() -> None:
    """Each row may have another variant."""
    routing = {"key": {"array": "rows:rows"}}
    review = {"choices": CHOICES, "answer": to_finding}
    refused("array", r"^automation\.array: endpoint 'array' is routed by its rows", review=review,
            spec={"routing": routing})  # fmt: skip


def test_a_missing_answer_where_the_output_is_no_choice_is_refused() -> None:
    """An array has no form; and with choices an output with fields needs one that makes it."""
    for endpoint in ("array", "loose"):
        refused(
            endpoint, rf"^automation\.{endpoint}\.review\.answer: the endpoint's output is no choice, and"
        )
        refused(endpoint, rf"^automation\.{endpoint}\.review\.answer: ", review={"choices": CHOICES})
    refused("finding", r"^automation\.finding\.review\.answer: the endpoint's output is no choice: write",
            review={"choices": CHOICES})  # fmt: skip


def test_choices_that_are_no_outputs_are_refused() -> None:
    """Unless `answer:` makes outputs of them."""
    refused("word", r"^automation\.word\.review\.choices\.1: 'odd' is no output of the endpoint \(benign",
            review={"choices": ["benign", "odd"]})  # fmt: skip
    entrust("word", review={"choices": ["benign", "odd"], "answer": to_finding})


def test_a_default_that_is_no_choice_is_refused() -> None:
    """The choices may be the output type's; of a form there is none."""
    late = {"due": "1h", "on_timeout": "default", "default": "maybe"}
    refused(
        "flag",
        r"^automation\.flag\.review\.default: 'maybe' is none of the choices: false, true",
        review=late,
    )
    refused("finding", r"^automation\.finding\.review\.default: there are no choices", review=late)
    entrust("text", review=late)


def test_conditions_on_arguments_that_are_not_there_are_refused() -> None:
    """By the condition's place."""
    asked = [{"drift": True}, {"above": {"price": 3}}]
    refused("finding", r"^automation\.finding\.ask_when\.1: the endpoint has no argument 'price'; it has: im",
            ask_when=asked)  # fmt: skip
    entrust("finding", ask_when=[{"above": {"amount": 3}}])


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        (lambda named: {"score": named}, "score"),
        (lambda named: {"ask_when": [{"when": named}]}, r"ask_when\.0\.when"),
        (lambda named: {"review": {"answer": named}}, r"review\.answer"),
        (lambda named: {"review": {"choice_of": named}}, r"review\.choice_of"),
        (lambda named: {"review": {"inputs": "reference", "display": named}}, r"review\.display"),
    ],
)
def test_functions_that_cannot_be_imported_are_refused(
    fields: Callable[[str], dict[str, Any]], place: str
) -> None:
    """Each by its field."""
    for named, told in (
        ("nowhere:f", "No module named"),
        ("os:nothing", "has no"),
        ("os:sep", "not callable"),
    ):
        refused("word", rf"^automation\.word\.{place}: {named}:? .*{told}", **fields(named))


def test_the_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As for every field that only the code can know to be wrong."""
    (tmp_path / "rollout.yaml").write_text(
        "automation: {guess: {degree: 1, max_degree: 3, review: {inputs: plain, on_timeout: wait, "
        "overflow: {max_open: 9, action: wait}}}}"
    )
    monkeypatch.setattr(sys.modules[__name__], "__file__", str(tmp_path / "service.py"))
    with pytest.raises(InvalidSpec, match=r"rollout\.yaml: automation\.guess: the service has no endpoint"):
        rollout(champion="one", spec="rollout.yaml")(bentoml.service(name="reading")(Reading))
