"""``POST /rollout/labels``: what the truth of predictions turned out to be, one or many at a time."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from ..errors import InvalidValue
from ..operations import Rollout
from .gate import NO_STORE, Gate, respond, said
from .problems import problem
from .reading import BodyTooLarge, parse_json, read_body

__all__ = ["MOST_BYTES", "LabelBody", "Taken", "labels_endpoint"]

MOST_BYTES = 1 << 24
"""Bytes of one batch of labels."""


class LabelBody(BaseModel):
    """What the truth of one prediction turned out to be, by its id or by the caller's own."""

    model_config = ConfigDict(extra="forbid")

    prediction_id: str | None = Field(None, description="X-Rollout-Prediction-Id; with `.i` of row i.")
    inference_id: str | None = Field(None, description="The caller's own id, instead.")
    label: Any = Field(description="The truth: anything that JSON can say, but null.")
    name: str = Field("label", description="What it is the truth about.")
    source: str = Field("api", description="Who says so; the newest of each source is valid.")
    time: float | str | None = Field(
        None, description="When it was found out: seconds since 1970, or ISO 8601."
    )
    reason: str = ""
    selection: str | None = Field(
        None, description="Why it was asked about: all, audit, unsure, drift or manual; null: not known."
    )
    probability: float | None = Field(None, description="The chance with which it was asked about.")


class Refused(BaseModel):
    """A label that was not taken: its place, from 0, and why."""

    index: int
    error: str


class Taken(BaseModel):
    """What became of the labels; `accepted` counts those that wait for their prediction (`orphaned`), too."""

    accepted: int
    orphaned: int
    refused: list[Refused]


Run = Callable[[Callable[[], Any]], Awaitable[Any]]


def _parsed(raw: bytes) -> Any:
    """Return what JSON says: strictly; or, of several labels, so that each bad one is refused by itself.

    Raises:
        InvalidValue: it is no JSON at all.
    """
    try:
        return parse_json(raw)
    except InvalidValue:
        try:
            found = json.loads(raw)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, list):
            raise
        return found


def labels_endpoint(
    gate: Gate,
    opened: Callable[[str, Request], Rollout],
    run: Run,
    guarded: Callable[[Awaitable[Any]], Awaitable[Response]],
) -> Callable[[Request], Awaitable[Response]]:
    """Return the endpoint.

    Args:
        gate: who may tell labels.
        opened: returns the rollout for an author, as a request means it.
        run: runs blocking work.
        guarded: turns what work returns or raises into an answer.
    """

    def keep(author: str, raw: bytes, request: Request) -> Response:
        document = _parsed(raw)
        items = document if isinstance(document, list) else [document]
        found = opened(author, request).label(*items)
        facts = {
            "accepted": found.accepted,
            "orphaned": found.orphaned,
            "refused": [{"index": one.index, "error": one.error} for one in found.refused],
        }
        if items and not found.accepted:
            document = problem(400, "none of the labels could be taken: `refused` says why")
            return respond({**document, **facts})
        return JSONResponse(facts, headers=NO_STORE)

    async def endpoint(request: Request) -> Response:
        admitted = gate.admit(request)
        if isinstance(admitted, Response):
            return admitted
        try:
            raw = await read_body(request.headers.get("content-length"), request.stream(), MOST_BYTES)
        except BodyTooLarge:
            detail = f"the body has over {MOST_BYTES} bytes: send fewer labels at a time"
            return said(413, detail, {"Connection": "close"})
        except ClientDisconnect:
            return said(400, "the body ended early")
        return await guarded(run(lambda: keep(admitted, raw, request)))

    return endpoint
