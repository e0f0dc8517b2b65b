"""Multiplies by a sealed factor; a candidate has another one."""

from __future__ import annotations

import json
from typing import Any

import bentoml

from bento_rollout import Variant, rollout
from bento_rollout.artifacts import SealedModel


def load(file: Any) -> int:
    """Return the factor of a model."""
    return int(json.load(file)["factor"])


@rollout(champion="first", candidates={"second": Variant(model="scale:second")}, spec="rollout.yaml")
@bentoml.service(name="scale", workers=1)
class Scale:
    """Multiplies."""

    factor = SealedModel("scale:first", "factor.json", loader=load)

    @bentoml.api
    def times(self, number: int) -> int:
        return number * self.factor


@bentoml.service(name="plain", workers=1)
class Plain:
    """Has no rollout."""

    factor = SealedModel("scale:first", "factor.json", loader=load)

    @bentoml.api
    def times(self, number: int) -> int:
        return number * self.factor
