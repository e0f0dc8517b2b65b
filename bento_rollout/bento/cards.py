"""What a worker's card tells of the spec that it serves by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..applying import ladders_of
from ..manner import manner_of
from ..spec import RolloutSpec
from .entrusting import choices_of
from .method import Method

__all__ = ["state_fields"]


def state_fields(spec: RolloutSpec, methods: Mapping[str, Method] | None = None) -> dict[str, Any]:
    """Return what a card tells of a spec: state fields as in its file, its strategy, and degrees.

    Args:
        spec: the rollout's.
        methods: the service's endpoints, of which it tells how people are asked; None: it does not.
    """
    shadow = {name: {"percent": shadow.percent / 1000} for name, shadow in spec.shadow.items()}
    targets = {name: {"keys": list(t.keys), "header": t.header} for name, t in spec.targets.items()}
    every = {
        "weights": ("weights", {name: milli / 1000 for name, milli in spec.weights.items()}),
        "shadow": ("shadow", shadow),
        "targets": ("targets", targets),
        "standby": ("blue_green", {"standby": spec.blue_green.standby}),
        "salt": ("routing", {"salt": spec.routing.salt}),
    }
    told = dict(written for field, written in every.items() if field in spec.state_fields)
    if spec.strategy is not None:
        told["strategy"] = spec.strategy.plain
    if ladders := ladders_of(spec):
        told["automation"] = {
            endpoint: {**ladder.plain, **_asking(spec, endpoint, methods)}
            for endpoint, ladder in ladders.items()
        }
    return told


def _asking(spec: RolloutSpec, endpoint: str, methods: Mapping[str, Method] | None) -> dict[str, Any]:
    if methods is None:
        return {}
    automation, method = spec.automation[endpoint], methods[endpoint]
    choices = choices_of(automation, method)
    form = None if choices else method.output_spec.model_json_schema()
    return {"asking": manner_of(automation, choices, form).plain}
