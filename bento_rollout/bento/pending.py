"""The answers to callers of whom a person decides: where the decision is found, or why there is none."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from starlette.responses import JSONResponse, Response

from ..reviewing import Decision, Status

__all__ = ["answer_of", "made", "pending", "refused"]

RETRY = 30
"""Seconds after which it is worth asking for a decision again."""

_REFUSALS = {
    "reviews-unreachable": (
        "The reviews cannot be used",
        "a person must decide this, and people cannot be asked now; nothing was kept: try again later",
        10,
    ),
    "queue-full": (
        "Too many cases wait for people",
        "a person must decide this, and too many cases wait already; nothing was kept: try again later",
        60,
    ),
    "decision-rejected": (
        "Nobody decided in time",
        "a person was to decide this, and nobody did in time; nothing more comes of it: call again",
        None,
    ),
    "decision-withdrawn": (
        "The case was withdrawn",
        "a person was to decide this, and the case was taken back; nothing more comes of it",
        None,
    ),
    "default-failed": (
        "The default answer failed",
        "too many cases wait for people, and the default answer could not be made: try again later",
        60,
    ),
}
"""By kind: title, detail, and after how many seconds it is worth trying again."""


def pending(place: str, prediction_id: str, *, at_once: bool) -> Response:
    """Return that the decision is still to come, and where: 202 for who asked not to wait, else 503.

    BentoML's own clients take the body of a 202 for the prediction, and raise for a 503.

    Args:
        place: the path of the decision.
        prediction_id: whose.
        at_once: whether the caller sent ``Prefer: respond-async``.
    """
    headers = {"Location": place, "Retry-After": str(RETRY), "Cache-Control": "no-store"}
    if at_once:
        told = {"prediction_id": prediction_id, "status": "pending"}
        return JSONResponse(told, HTTPStatus.ACCEPTED, {**headers, "Preference-Applied": "respond-async"})
    detail = "a person decides this, and has not yet; the decision will be found at the place in Location"
    return _problem("decision-pending", "Decision pending", detail, headers, prediction_id=prediction_id)


def refused(kind: str, prediction_id: str) -> Response:
    """Return that nobody decides, and why: 503, with the time after which to try again."""
    title, detail, retry = _REFUSALS[kind]
    headers = {"Cache-Control": "no-store"} | ({} if retry is None else {"Retry-After": str(retry)})
    return _problem(kind, title, detail, headers, prediction_id=prediction_id)


def answer_of(decision: Decision, prediction_id: str = "") -> Response:
    """Return what a decision means to its caller: the answer byte for byte, or that there will be none.

    Args:
        decision: what became of the case.
        prediction_id: whose it is, where a case that is not there any more cannot say it.
    """
    if decision.status is Status.REJECTED:
        return refused("decision-rejected", decision.prediction_id)
    if decision.status not in (Status.ANSWERED, Status.DEFAULTED):
        return refused("decision-withdrawn", decision.prediction_id or prediction_id)
    return made(decision.media_type, decision.body)


def made(media_type: str, body: bytes) -> Response:
    """Return an answer that was made before."""
    return Response(body, headers={"content-type": media_type} if media_type else None)


def _problem(kind: str, title: str, detail: str, headers: dict[str, str], **members: Any) -> Response:
    status = HTTPStatus.SERVICE_UNAVAILABLE.value
    document = {
        "type": f"urn:bento-rollout:problem/{kind}",
        "title": title,
        "status": status,
        "detail": detail,
    }
    return JSONResponse({**document, **members}, status, headers, "application/problem+json")
