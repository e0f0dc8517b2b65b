"""What a service must have for its inputs to be watched for drift, checked when it is defined."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import bentoml
import pytest

from bento_rollout import rollout
from bento_rollout.bento.decorator import site_of
from bento_rollout.errors import InvalidSpec
from bento_rollout.spec import RolloutSpec

DATA = {"reference": {"file": "reference.json"}, "data": {}}


class Reading:
    """Endpoints with arguments, without, and one that streams."""

    @bentoml.api
    def predict(self, age: float) -> float:
        """One argument."""
        return age

    @bentoml.api
    def loose(self, **fields: Any) -> int:
        """Any argument."""
        return len(fields)

    @bentoml.api
    def nothing(self) -> int:
        """No argument."""
        return 1

    @bentoml.api
    async def stream(self, age: float) -> AsyncGenerator[str, None]:
        """Items."""
        yield str(age)


def watch(spec: RolloutSpec | Path) -> Any:
    """The service with a watch."""
    cls = type("Reading", (), {k: v for k, v in vars(Reading).items() if not k.startswith("__")})
    return rollout(champion="one", spec=spec)(bentoml.service(name="reading")(cls))


def watched(drift: dict[str, Any], **spec: Any) -> str | None:
    """The endpoint that is watched."""
    site = site_of(watch(RolloutSpec(drift=drift, **spec)))
    assert site is not None
    return site.watched


def test_the_endpoint_that_is_watched() -> None:
    """As written, or the only one that is routed; none where only losses are."""
    assert watched({"endpoint": "predict", **DATA}) == "predict"
    assert watched({"endpoint": "loose", **DATA}) == "loose"
    assert watched(DATA, endpoints=["predict"]) == "predict"
    assert watched({"endpoint": "nothing", "concept": {}}) is None
    site = site_of(watch(RolloutSpec()))
    assert site is not None
    assert site.watched is None


@pytest.mark.parametrize(
    ("drift", "told"),
    [
        (
            {"endpoint": "guess"},
            r"^drift\.endpoint: no routed endpoint is called 'guess'; there are: loose, ",
        ),
        ({}, r"^drift\.endpoint: 4 endpoints are routed, and one of them is watched: write one of loose, "),
        ({"endpoint": "stream"}, r"^drift\.endpoint: 'stream' is a stream, whose inputs are not watched"),
        ({"endpoint": "nothing"}, r"^drift\.endpoint: 'nothing' has no arguments that could drift"),
    ],
)
def test_what_the_service_does_not_have_is_refused(drift: dict[str, Any], told: str) -> None:
    """The field is named, and what there is."""
    with pytest.raises(InvalidSpec, match=told):
        watch(RolloutSpec(drift=drift | DATA))


def test_a_refusal_names_the_file(tmp_path: Path) -> None:
    """Where the spec is from one."""
    spec = tmp_path / "rollout.yaml"
    spec.write_text("drift: {endpoint: guess, concept: {}}", encoding="utf-8")
    with pytest.raises(InvalidSpec, match=r"rollout\.yaml: drift\.endpoint: no routed endpoint"):
        watch(spec)


def test_an_automation_of_another_endpoint_cannot_be_demoted() -> None:
    """It is told when it is known which endpoint is watched."""
    review = {"inputs": "plain", "on_timeout": "wait", "overflow": {"max_open": 9, "action": "wait"}}
    automation = {"predict": {"degree": "human", "max_degree": "assist", "review": review}}
    drift = {**DATA, "endpoint": "predict", "on_alarm": {"automation": "demote"}}
    assert watched(drift, automation=automation, endpoints=["predict"]) == "predict"
    with pytest.raises(InvalidSpec, match=r"drift\.on_alarm\.automation: 'loose' has no automation"):
        RolloutSpec(drift=drift | {"endpoint": "loose"}, automation=automation)
