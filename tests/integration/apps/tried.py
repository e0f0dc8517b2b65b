"""A champion, and a candidate that behaves as a file says: so one service tells many stories."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import bentoml

from bento_rollout import Variant, measure, rollout

PLACE = Path(os.environ.get("TRIED_PLACE", "."))
WORKERS = int(os.environ.get("TRIED_WORKERS", "2"))
RUNNER = os.environ.get("TRIED_RUNNER", "worker")
WORK = 0.004


def behaviour() -> dict[str, Any]:
    """Return how the candidate is to behave now."""
    try:
        return dict(json.loads((PLACE / "behaviour.json").read_text()))
    except (FileNotFoundError, ValueError):
        return {}


def unlucky(share: float) -> bool:
    """Whether this call is one of a share of all."""
    return os.urandom(1)[0] < share * 256


@bentoml.service(name="trying")
class Trying:
    """The candidate."""

    @bentoml.api
    def score(self, number: int = 0) -> int:
        """Return whether a number is even, unless told otherwise."""
        how = behaviour()
        if unlucky(how.get("dies", 0)):
            os._exit(1)
        time.sleep(WORK * how.get("slower", 1))
        if unlucky(how.get("fails", 0)):
            raise RuntimeError("as told")
        measure("doubt", 0.9 if unlucky(how.get("doubts", 0.1)) else 0.1)
        wrong = unlucky(how.get("disagrees", 0))
        return int(number % 2 == 0) ^ wrong


@rollout(
    champion="steady",
    candidates={"trying": Variant(Trying, runner=RUNNER)},
    spec=os.environ.get("TRIED_SPEC", "tried.yaml"),
)
@bentoml.service(name="tried", workers=WORKERS)
class Tried:
    """The champion."""

    @bentoml.api
    def score(self, number: int = 0) -> int:
        """Return whether a number is even."""
        time.sleep(WORK)
        measure("doubt", 0.9 if unlucky(0.1) else 0.1)
        return int(number % 2 == 0)
