"""Holds what it has read of two sealed models, and tells how much it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bentoml

from bento_rollout import Variant, rollout
from bento_rollout.artifacts import SealedModel


def read_twice(path: Any) -> tuple[bytes, Any]:
    """Return what a file in memory holds, and the file itself, open."""
    return Path(path).read_bytes(), Path(path).open("rb")


@rollout(champion="first", candidates={"second": Variant(model="held:second")})
@bentoml.service(name="held", workers=1)
class Held:
    """Tells sizes."""

    model = SealedModel("held:first", "model.bin", loader=read_twice, as_="path")

    @bentoml.api
    def size(self, times: int) -> int:
        return times * len(self.model[0])
