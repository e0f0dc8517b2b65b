"""`openapi` builds the OpenAPI 3.1 document of the operators' routes from their models; a plain function."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from .answers import (
    ANSWERS,
    Assignment,
    Degrees,
    Explanation,
    HistoryRow,
    Problem,
    ShadowReport,
    State,
)
from .bodies import VERBS, Body
from .drift import DRIFT_ANSWERS, DRIFT_VERBS, Drift, DriftReplay, DriftReport
from .labels import LabelBody, Taken
from .more_bodies import MORE_ANSWERS, MORE_VERBS, Kept, Prediction, Story, Verified
from .reads import MOST_PREDICTIONS
from .review_bodies import (
    REVIEW_ANSWERS,
    REVIEW_BODIES,
    AnswerBody,
    Answered,
    AskBody,
    AskedByHand,
    ClaimBody,
    Claimed,
    HandBody,
    ListedCase,
    Put,
    ReasonBody,
    Renewed,
    ReviewStats,
)

__all__ = ["openapi"]

_REF = "#/components/schemas/{model}"
_PROBLEMS = {
    "400": "A value that cannot be; nothing changed.",
    "401": "The token is missing or not known.",
    "403": "No token is configured: the operators' routes are closed.",
    "404": "There is no such rollout or revision.",
    "503": "The store cannot be read or written; serving goes on.",
}
_REFUSALS = {
    "409": "Refused, nothing changed: a conflict (with the current revision), a veto, a timeout, not ready.",
    "413": "The body has over 1 MiB.",
}


def openapi(prefix: str = "/rollout", *, root: str = "") -> dict[str, Any]:
    """Return the document.

    Args:
        prefix: what the paths begin with.
        root: what a proxy took away before that; empty: nothing.
    """
    models = [
        (model, "validation")
        for model in (
            *VERBS,
            *DRIFT_VERBS,
            *MORE_VERBS,
            *ANSWERS,
            *DRIFT_ANSWERS,
            *MORE_ANSWERS,
            LabelBody,
            Taken,
            *REVIEW_BODIES,
            *REVIEW_ANSWERS,
        )
    ]
    _, schemas = models_json_schema(models, ref_template=_REF)  # type: ignore[arg-type]  # a list is invariant
    paths = _reads()
    paths |= {f"/admin/{model.verb}": {"post": _post(model)} for model in (*VERBS, *DRIFT_VERBS, *MORE_VERBS)}
    paths["/admin/labels"] = {"post": _labels("operators-labels")}
    paths["/labels"] = {"post": _labels("labels")}
    paths |= _reviews()
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "bento-rollout: operators",
            "version": "1",
            "description": "The same verbs and errors as the command line `bento-rollout`.",
        },
        **({"servers": [{"url": root}]} if root else {}),
        "paths": {f"{prefix}{path}": item for path, item in paths.items()},
        "components": {
            "schemas": schemas["$defs"],
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}],
    }


def _reads() -> dict[str, Any]:
    """Return the routes of operators that only look."""
    return {
        "/admin/state": _get("The state, the live workers and the store", _json(State)),
        "/admin/history": _get(
            "The revisions, newest first",
            _array(HistoryRow),
            _parameter(
                "limit",
                {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100},
                required=False,
                text="At most so many; the header Link leads to the next, older ones.",
            ),
            _parameter(
                "before",
                {"type": "integer", "minimum": 1},
                required=False,
                text="Only revisions below this one.",
            ),
        ),
        "/admin/assign": _get(
            "Who answers these keys now, and why",
            _array(Assignment),
            _parameter(
                "key",
                {"type": "array", "items": {"type": "string"}, "minItems": 1},
                required=True,
                text="May stand several times.",
            ),
        ),
        "/admin/explain": _get(
            "Why a revision was made, with its numbers",
            _json(Explanation),
            _parameter(
                "revision",
                {"type": "integer", "minimum": 1},
                required=False,
                text="Which; without it the newest decision by evidence.",
            ),
        ),
        "/admin/automation": _get(
            "Who decides, by endpoint",
            {"type": "object", "additionalProperties": _json(Degrees)},
        ),
        "/admin/shadow-report": _get(
            "What shadow calls showed",
            _json(ShadowReport),
            _parameter(
                "since_revision",
                {"type": "integer", "minimum": 1},
                required=False,
                text="Leave out calls that were planned before this revision.",
            ),
        ),
        "/admin/drift": _get("How the watch for drift stands", _json(Drift)),
        "/admin/drift/report": _get("What has drifted: each test's course and features", _json(DriftReport)),
        "/admin/drift/replay": _get("Whether the ledger gives the same evidence again", _json(DriftReplay)),
        "/admin/automation/explain": _get(
            "Why an endpoint has its degree, and what each other one takes", {"type": "object"}, _ENDPOINT_ONE
        ),
        "/admin/audit/verify": _get("Whether the trail of people's work is whole", _json(Verified)),
        "/admin/reviews": _get("The cases, for operators", _array(ListedCase), _ENDPOINT, _STATUS, _LIMIT),
        "/admin/reviews/stats": _get("How the queue does", _json(ReviewStats), _ENDPOINT),
        "/admin/reviews/agreement": _get("Whether people agree, by endpoint", {"type": "object"}, _ENDPOINT),
        "/admin/ledger": _get("How much the ledger keeps", _json(Kept)),
        "/admin/ledger/tail": _get(
            "The newest predictions",
            _array(Prediction),
            _FEW,
            _parameter(
                "after",
                {"type": "integer", "minimum": 0},
                required=False,
                text="Only those that arrived after the one with this seq, the first of them first.",
            ),
        ),
        "/admin/ledger/show": _get(
            "The whole story of a prediction",
            _json(Story),
            _parameter(
                "prediction",
                {"type": "string"},
                required=True,
                text="Its id, ID.i of row i, or the caller's own id.",
            ),
        ),
        "/admin/doctor": _get("What is wrong", {"type": "object"}),
        "/admin/openapi.json": _get("This document", {"type": "object"}),
    }


def _get(summary: str, schema: dict[str, Any], *parameters: dict[str, Any]) -> dict[str, Any]:
    name = summary.lower().replace(",", "").replace(" ", "-")
    operation = {"operationId": name, "summary": summary, "responses": _responses(schema, _PROBLEMS)}
    return {"get": {**operation, "parameters": list(parameters)} if parameters else operation}


def _post(model: type[Body]) -> dict[str, Any]:
    required = any(field.is_required() for field in model.model_fields.values())
    return {
        "operationId": model.verb.replace("/", "-"),
        "summary": model.summary,
        "requestBody": {"required": required, "content": {"application/json": {"schema": _json(model)}}},
        "responses": _responses(_json(model.answers), {**_PROBLEMS, **_REFUSALS}),
    }


def _labels(name: str) -> dict[str, Any]:
    one = _json(LabelBody)
    body = {"oneOf": [one, {"type": "array", "items": one, "maxItems": 100_000}]}
    refusals = {
        "409": "Labels are refused here: the store would bind one pod of unknown many.",
        "413": "The body has over 16 MiB.",
    }
    return {
        "operationId": name,
        "summary": "Tell what the truth of predictions turned out to be",
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": _responses(_json(Taken), {**_PROBLEMS, **refusals}),
    }


_OVER = {
    "403": "No token is configured, or this person lacks the role.",
    "404": "There is no such case.",
    "409": "The case is not in these hands under this token, or somebody answered it; nothing changed.",
    "410": "The case ended without a person's answer; nothing changed.",
    "413": "The body has over 1 MiB.",
}


def _reviews() -> dict[str, Any]:
    """Return the reviewers' routes."""
    acts: dict[str, tuple[str, type[BaseModel], type[BaseModel]]] = {
        "answer": ("Answer a case in hand", AnswerBody, Answered),
        "skip": ("Leave a case to others", ReasonBody, Put),
        "release": ("Give a case back", HandBody, Put),
        "escalate": ("Hand a case up to an adjudicator", ReasonBody, Put),
        "renew": ("Let the lease of a case begin anew", HandBody, Renewed),
        "undo": ("Take an answer back", HandBody, Claimed),
    }
    claim = _acting("claim", "Take the next case", ClaimBody, Claimed, required=False)
    claim["responses"]["204"] = {"description": "No case waits for this person."}
    ask = _acting("ask", "Let people look at a prediction", AskBody, AskedByHand, required=True)
    ask["responses"]["404"]["description"] = "There is no such prediction in the ledger."
    ask["responses"]["409"]["description"] = "Refused: nothing can be shown, or too many cases are open."
    paths = {
        "/reviews": _get(
            "The cases, without payload",
            _array(ListedCase),
            _ENDPOINT,
            _STATUS,
            _LIMIT,
        ),
        "/reviews/stats": _get(
            "How the queue does, by endpoint",
            {"type": "object", "additionalProperties": _json(ReviewStats)},
            _ENDPOINT,
        ),
        "/reviews/claim": {"post": claim},
        "/reviews/ask": {"post": ask},
    }
    task = {"name": "task", "in": "path", "required": True, "schema": {"type": "string"}}
    for name, (summary, body, answer) in acts.items():
        operation = _acting(f"review-{name}", summary, body, answer, required=True)
        paths[f"/reviews/{{task}}/{name}"] = {"post": {**operation, "parameters": [task]}}
    return paths


def _acting(
    name: str, summary: str, body: type[BaseModel], answer: type[BaseModel], *, required: bool
) -> dict[str, Any]:
    return {
        "operationId": name,
        "summary": summary,
        "requestBody": {"required": required, "content": {"application/json": {"schema": _json(body)}}},
        "responses": _responses(_json(answer), {**_PROBLEMS, **_OVER}),
    }


def _responses(schema: dict[str, Any], problems: dict[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "200": {"description": "Done.", "content": {"application/json": {"schema": schema}}}
    }
    content = {"application/problem+json": {"schema": _json(Problem)}}
    return found | {
        status: {"description": text, "content": content} for status, text in sorted(problems.items())
    }


def _parameter(name: str, schema: dict[str, Any], *, required: bool, text: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": required, "description": text, "schema": schema}


def _json(model: type[Any]) -> dict[str, Any]:
    return {"$ref": _REF.format(model=model.__name__)}


def _array(model: type[Any]) -> dict[str, Any]:
    return {"type": "array", "items": _json(model)}


_ENDPOINT = _parameter("endpoint", {"type": "string"}, required=False, text="Only of this one.")
_ENDPOINT_ONE = _parameter(
    "endpoint", {"type": "string"}, required=False, text="May be left out where only one is automated."
)
_STATUS = _parameter(
    "status",
    {"enum": ["open", "answered", "defaulted", "rejected", "withdrawn"]},
    required=False,
    text="Only those that stand so.",
)
_LIMIT = _parameter(
    "limit",
    {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100},
    required=False,
    text="At most so many.",
)
_FEW = _parameter(
    "limit",
    {"type": "integer", "minimum": 1, "maximum": MOST_PREDICTIONS, "default": 100},
    required=False,
    text="At most so many.",
)
