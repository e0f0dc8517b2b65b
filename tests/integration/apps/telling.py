"""A service that tells a webhook of the cases that people decide, and another one of degrees."""

from __future__ import annotations

import os
from typing import Literal

import bentoml

from bento_rollout import RolloutSpec, Webhook, rollout

URL = os.environ.get("TELLING_URL", "http://127.0.0.1:1/")
SPEC = RolloutSpec(
    automation={
        "read": {
            "degree": "assist",
            "max_degree": "assist",
            "decisions": {"require": "none"},
            "review": {
                "inputs": "plain",
                "on_timeout": "wait",
                "overflow": {"max_open": 500, "action": "reject"},
                "webhook": {"url": URL, "secret": "env:TELLING_KEY", "answer": True},
            },
        }
    }
)


@rollout(champion="first", spec=SPEC, notify=Webhook(f"{URL}&notices=1", secret="env:TELLING_KEY"))
@bentoml.service(name="telling", workers=int(os.environ.get("TELLING_WORKERS", "2")), traffic={"timeout": 4})
class Telling:
    """Reads findings."""

    @bentoml.api
    def read(self, study: str) -> Literal["benign", "malignant"]:
        return "malignant"
