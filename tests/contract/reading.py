"""A service in which people decide, and those who answer its cases, for tests of the degrees."""

from __future__ import annotations

import asyncio
import io
import os
import threading
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any, ClassVar, Literal

import bentoml
import httpx
import numpy as np
import pandas as pd
from PIL import Image
from PIL.Image import Image as PILImage

from bento_rollout import RolloutSpec, measure, rollout
from bento_rollout.bento.people import People
from bento_rollout.ladder import Certificate
from bento_rollout.operations import Rollout
from bento_rollout.reviewing import Claim, Given, Role
from bento_rollout.store.location import locate
from bento_rollout.store.sqlite import SQLiteStore
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
    held: threading.Event | None = None
    ran: ClassVar[list[str]] = []

    @bentoml.api
    def read(self, text: str, ctx: bentoml.Context) -> dict[str, Any]:
        measure("canary", 31337.0)
        self.ran.append(text)
        ctx.response.headers["x-canary"] = CANARY
        if self.held is not None:
            assert self.held.wait(60)
        if isinstance(self.says, Exception):
            raise self.says
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
    return [1.0, 0.0] if choice == "benign" else [0.0, 1.0]


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


def spec_of(degree: str, *endpoints: str, review: dict[str, Any] | None = None, **more: Any) -> RolloutSpec:
    """Return a spec in which some endpoints are automated."""
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
    return RolloutSpec(automation=automation, ledger={"enabled": True})


def reading(spec: RolloutSpec, *, limit: float = 3.0, base: type[Reading] = Reading, **more: Any) -> Any:
    """Return the service, with state of its own."""
    made = bentoml.service(name="reading", traffic={"timeout": limit}, threads=4)(
        type("Reading", (base,), {"says": None, "held": None, "ran": []})
    )
    return rollout(spec=spec, **more)(made)


def service(degree: str, *endpoints: str, limit: float = 3.0, **more: Any) -> Any:
    """Return a service in which some endpoints are automated."""
    return reading(spec_of(degree, *endpoints, **more), limit=limit)


def certify(
    served: Served, endpoint: str, degree: str, threshold: float | None = 0.9, **changes: Any
) -> None:
    """Let the model of a service decide, as a person does who has a certificate."""
    rolled = operator(served)
    state = rolled.state
    fields: dict[str, Any] = {
        "digest": state.champions_digest,
        "variant": state.champion,
        "threshold": threshold,
        "target_error": 0.05,
        "confidence": 0.95,
        "labels": 400,
        "accepted": 300,
        "errors": 1,
        "coverage": 0.75,
        "full": degree == "full",
        "at": time.time(),
        "author": "ann",
    }
    certificate = Certificate(**{**fields, **changes})
    rolled._desk.change("calibrate", lambda state, _: state.certify(endpoint, certificate), "", None)
    rolled.set_degree(endpoint, degree)


def operator(served: Served) -> Rollout:
    """Return the rollout as an operator on this host has it."""
    location = locate(os.environ["BENTO_ROLLOUT_STORE"], {"BENTO_ROLLOUT_SINGLE_REPLICA": "1"})
    return Rollout(served.site.name, SQLiteStore(location.path), location, "ann")


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


def claimed(people: People, reviewer: str = "ann", patience: float = 10.0) -> Claim:
    """Return the next case, when there is one."""
    until = time.monotonic() + patience
    while (claim := people.reviews.claim(reviewer, roles=ROLES)) is None:
        assert time.monotonic() < until, "nothing was asked"
        time.sleep(0.02)
    return claim


def answered(people: People, choice: Any = "benign", reviewer: str = "ann") -> Claim:
    """Answer the next case as a person does, and return the claim."""
    claim = claimed(people, reviewer)
    given = claim.case.id, reviewer, claim.token, Given(choice)
    outcome = people.reviews.answer(*given, make=people.make)
    if outcome.status == "revealed":
        people.reviews.answer(*given, make=people.make)
    return claim


def asking(served: Served, endpoint: str, **more: Any) -> Future[httpx.Response]:
    """Begin a call, and return what waits for its answer."""
    path = more.pop("path", f"/{endpoint}")
    work: Any = served.arequest("POST", path, **{**BODIES.get(endpoint, {}), **more})
    return asyncio.run_coroutine_threadsafe(work, served.loop)
