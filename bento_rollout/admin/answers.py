"""What operators get back, as models: they describe the answers in the OpenAPI document."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ..errors import RolloutError
from ..operations import Change, Rollout
from ..revisions import shown_revision

__all__ = [
    "ANSWERS",
    "Assignment",
    "Calibrated",
    "Changed",
    "Degrees",
    "Explanation",
    "HistoryRow",
    "Problem",
    "ShadowReport",
    "State",
    "answer_to",
]


Revision = int | str
"""The number that a store counted, or ``file:`` and 12 hex digits where a file governs."""


class _Answer(BaseModel):
    # A later version may say more: whoever reads must pass over what they do not know.
    model_config = ConfigDict(extra="allow")


class VariantState(_Answer):
    """One variant, as the live workers have it; the worst of them counts."""

    state: Literal["starting", "ready", "unready", "failed", "missing"]
    runner: str
    digest: str | None
    error: str | None


class StoreState(_Answer):
    """Where the state lives, and whom it binds."""

    kind: str
    durable: bool
    binds: Literal["host", "cluster"]


class Idle(_Answer):
    """Why a candidate does not answer its keys, so that the champion does."""

    percent: float = Field(description="The weight that it has.")
    state: Literal["held", "starting", "unready", "failed", "missing"]
    why: str
    command: str | None = Field(description="What a person may do about it.")


class Weighed(_Answer):
    """What the evidence of one guardrail says."""

    finding: Literal["healthy", "harmful", "inconclusive", "no_data", "unmeasurable"]
    detail: str
    needed: int | None = Field(description="About how many more of the unit until it may be healthy.")
    unit: str
    numbers: dict[str, float]


class Tried(_Answer):
    """How a try stands: its steps, and what the evidence says."""

    number: int
    candidate: str
    control: str
    stage: Literal["steps", "holding", "bake", "watch", "done", "rolled_back", "aborted"]
    step: int | None = Field(description="From 1; null: of blue/green there are none.")
    guardrails: dict[str, Weighed]
    missing: list[str] = Field(description="What it waits for.")
    words: str
    may_end: float | None = Field(
        description="Seconds until this stretch may end at the earliest; null: a person is waited for."
    )
    may_end_late: float | None = Field(
        description="Seconds until it has ended in most tries like this; null: too little is known to say."
    )
    warnings: list[str]
    looked: str | None = Field(description="When its leader looked last; null: nobody has yet.")


class Explanation(_Answer):
    """Why a revision was made."""

    revision: Revision
    time: str
    author: str
    action: str
    reason: str
    by_evidence: bool
    words: str
    place: str | None
    causes: list[str] = Field(description="The guardrails that decided.")
    missing: list[str]
    dry_run: bool
    guardrails: dict[str, Weighed]
    weights_before: dict[str, float] | None
    weights: dict[str, float]


class Certified(_Answer):
    """That a model is right often enough above a threshold."""

    digest: str
    variant: str
    threshold: float | None = Field(
        description="The score from which on it decides; null: see by_class, by_segment."
    )
    by_class: dict[str, float]
    by_segment: dict[str, float] = Field(description="Of a call in no other one a person decides.")
    target_error: float | dict[str, float]
    confidence: float
    labels: int
    accepted: int
    errors: int
    coverage: float
    allows: Literal["partial", "full"] | None
    revoked: str | None = Field(description="Why it holds no more; null: it does.")


class Risk(_Answer):
    """One row of the risk-coverage table: to look at, not to choose from."""

    threshold: float
    coverage: float
    accepted: int
    errors: int
    error: float | None
    bound: float
    p: float


class Searched(_Answer):
    """What the cases say of one class, of one segment, or (an empty name) of all."""

    threshold: float | None = Field(description="The score from which on it may decide; null: none can be.")
    accepted: int
    errors: int
    coverage: float
    labels_missing: int
    target_error: float
    confidence: float
    table: list[Risk]


class Calibrated(_Answer):
    """What people's answers say about a threshold; what is certified is kept with the state."""

    endpoint: str
    variant: str
    digest: str
    target_error: float | dict[str, float]
    confidence: float
    certified: bool = Field(description="Whether anything is; if not, nothing is kept.")
    certificate: dict[str, Any] | None
    words: str
    labels_missing: int = Field(description="How many more accepted cases, all right, it takes at least.")
    least: int
    used: dict[str, int]
    left_out: dict[str, int]
    scoreless: int
    classes: dict[str, Searched] = Field(description="By class, or (an empty name) of all.")
    segments: dict[str, Searched] = Field(description="By segment, where the spec names some.")
    revision: int | None = Field(description="In which the certificate is; null: in none.")


class Asked(_Answer):
    """A higher degree that one person asked for, where two must."""

    degree: str
    author: str
    at: float


class Degrees(_Answer):
    """Who decides one endpoint, and what is certified for its champion."""

    degree: Literal["human", "shadow", "assist", "partial", "full"] | None
    automated: bool = Field(description="Whether the service's spec automates it now.")
    max_degree: str | None = Field(description="The highest that the spec allows.")
    segments: list[str] = Field(
        default_factory=list, description="Parts of the traffic that get a threshold each."
    )
    since: Revision | None = Field(None, description="The revision from which on it holds.")
    author: str | None = None
    reason: str | None = None
    demoted: str | None = Field(None, description="What audits showed when they lowered it last.")
    proposed: Asked | None = None
    certificate: Certified | None = None


class Code(_Answer):
    """Which code the live workers run."""

    newest: str | None = Field(description="The digest of the newest; null: nobody has told one yet.")
    differs_for: float | None = Field(
        description="Seconds for which they have run different code; null: all run the same."
    )
    workers: dict[str, list[str]] = Field(description="By digest, who runs it.")


class State(_Answer):
    """A rollout: its state, its live workers and its store."""

    name: str
    revision: Revision
    champion: str
    variants: dict[str, VariantState]
    weights: dict[str, float] = Field(description="Percent by candidate; the champion gets the rest.")
    served: dict[str, float] = Field(
        default_factory=dict,
        description="Percent by variant that truly answers now: what others cannot answer is the champion's.",
    )
    idle: dict[str, Idle] = Field(
        default_factory=dict, description="The candidates with weight or targets that do not answer."
    )
    shadow: dict[str, float] = Field(description="Percent by variant that watches.")
    paused: bool
    attempt: Tried | None = Field(
        None, alias="try", description="The running try, else the last one; null: there was none."
    )
    automation: dict[str, Degrees] = Field(default_factory=dict, description="Who decides, by endpoint.")
    code: Code | None = Field(None, description="Which code the live workers run.")
    store: StoreState
    override: dict[str, Any] | None = Field(
        None, description="What this host holds against the file that governs: pause, rollback, or both."
    )


class Changed(State):
    """The new state, and what the change did."""

    changed: bool = Field(description="Whether a revision was made.")
    notes: list[str] = Field(description='Sentences for the operator, like "nothing to roll back".')
    detail: list[str] = Field(description="What is different now beside champion and weights.")


class HistoryRow(_Answer):
    """One committed revision."""

    revision: Revision
    parent: Revision
    time: str = Field(description="In ISO 8601, in UTC, like 2026-01-31T12:00:00.000Z.")
    author: str
    reason: str
    action: str
    champion: str
    weights: dict[str, float]
    shadow: dict[str, float]
    detail: list[str] = Field(description="What it changed beside champion and weights.")


class Assignment(_Answer):
    """Who answers a key now, and why."""

    key: str
    bucket: int = Field(ge=0, lt=100_000)
    variant: str
    revision: Revision
    reason: str


class Bounds(_Answer):
    """A share of the calls, and bounds for the true one; null where nothing was seen."""

    value: float | None
    low: float | None
    high: float | None


class Shadowed(_Answer):
    """What one variant's shadow calls showed."""

    percent: float = Field(description="Of the keys, that it watches now.")
    compared: int = Field(description="Calls that could be compared: agreed and disagreed together.")
    agreed: int
    disagreed: int
    not_comparable: dict[str, int] = Field(description="Calls by what made a comparison impossible.")
    dropped: dict[str, int] = Field(description="Calls by the reason for which they were not shadowed.")
    agreement: Bounds
    noise_floor: float | None = Field(description="How often the champion differs from itself.")
    beyond_noise: Bounds = Field(description="How often it differs, less the noise floor.")
    latency: dict[str, Any]


class ShadowReport(_Answer):
    """What shadow calls showed since the present code of champion and candidates serves."""

    rollout: str
    since_revision: Revision
    candidates: dict[str, Shadowed]
    noise: Shadowed | None = Field(description="The champion beside itself.")


class Problem(_Answer):
    """Problem details (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    current_revision: Revision | None = Field(
        None, description="On a conflict: the revision that is current now."
    )


ANSWERS: tuple[type[BaseModel], ...] = (
    State,
    Degrees,
    Changed,
    Calibrated,
    HistoryRow,
    Assignment,
    Explanation,
    ShadowReport,
    Problem,
)


def answer_to(rollout: Rollout, change: Change) -> dict[str, Any]:
    """Return what a change is answered with: the status after it, and what it did.

    A change that was made is never reported as failed: when the status cannot be read afterwards, the
    state that was committed stands in for it. Who is live is not told: workers write down what they serve a
    moment after they serve it.
    """
    notes = list(change.notes)
    state = change.state
    try:
        status = {key: value for key, value in rollout.status().items() if key not in ("workers", "code")}
    except RolloutError as error:
        notes.append(f"the status cannot be read now: {error}")
        status = {
            "name": state.name,
            "revision": shown_revision(state.revision),
            "champion": state.champion,
            "weights": state.percents,
            "shadow": state.shadow_percents,
            "paused": state.paused,
        }
    ours, now = shown_revision(state.revision), status["revision"]
    followed = now > ours if isinstance(now, int) and isinstance(ours, int) else now != ours
    if followed:
        notes.append(f"this is about revision {ours}; revision {now} has followed it")
    return {**status, "changed": change.changed, "notes": notes, "detail": list(change.detail)}
