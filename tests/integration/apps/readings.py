"""A service whose endpoints people decide, as its spec says."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Literal

import bentoml

from bento_rollout import rollout

CANARY = "zq-canary-31337"
Finding = Literal["benign", "malignant"]


def to_finding(choice: str, suggestion: object) -> dict[str, object]:
    """Return what a person's choice means to the caller of `score`."""
    return {"label": choice, "score": 1.0}


def shown(arguments: dict[str, object]) -> str:
    """Return where a reviewer sees a case."""
    return f"https://pacs.example/{arguments['study']}"


@rollout(champion="first", spec=Path(__file__).with_name("readings.yaml"))
@bentoml.service(
    name="readings", workers=int(os.environ.get("READINGS_WORKERS", "2")), threads=4, traffic={"timeout": 4}
)
class Readings:
    """Reads findings."""

    @bentoml.api
    def read(self, study: str) -> Finding:
        time.sleep(float(os.environ.get("READINGS_SECONDS", "0")))
        return "malignant"

    @bentoml.api
    def score(self, text: str) -> dict[str, object]:
        return {"label": "malignant", "score": 0.97, "note": CANARY}

    @bentoml.task
    def job(self, text: str) -> Finding:
        return "malignant"

    @bentoml.api
    def free(self, text: str) -> str:
        return text

    @bentoml.api
    async def who(self) -> dict[str, int]:
        return {"pid": os.getpid()}
