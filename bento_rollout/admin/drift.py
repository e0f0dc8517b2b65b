"""The operators' routes of drift: how the watch stands, and what people tell it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from ..operations import Rollout
from .bodies import Body

__all__ = [
    "DRIFT_ANSWERS",
    "DRIFT_VERBS",
    "Ack",
    "Drift",
    "DriftChanged",
    "DriftReplay",
    "DriftReport",
    "Rebase",
]


class _Answer(BaseModel):
    # A later version may say more: whoever reads must pass over what they do not know.
    model_config = ConfigDict(extra="allow")


class DriftTest(_Answer):
    """How one test stands."""

    kind: str = Field(description="data, schema or concept.")
    endpoint: str
    epoch: int = Field(description="How often it began, from 1.")
    rows: int = Field(description="Rows of this epoch; of concept labels.")
    log_evidence: float = Field(description="The natural logarithm of its evidence.")
    alarm_at: float = Field(description="What the evidence must reach; of schema 0: it has none.")
    latched: bool
    certain: bool
    acting: list[str] = Field(description="What is certain and large.")


class DriftAlarm(_Answer):
    """Drift that was found."""

    id: str
    test: str
    kind: str
    state: str = Field(description="new, acted, acknowledged, rebased or replaced.")
    at: str
    words: str
    acting: list[str]
    acts: dict[str, str] = Field(description="What it did, and what came of that.")


class Drift(_Answer):
    """How the watch for drift stands."""

    rollout: str
    watched: bool = Field(description="Whether any test ever began.")
    latched: bool = Field(description="Whether any alarm waits for a person.")
    words: list[str]
    problem: str | None = Field(description="Why it is not watched now.")
    tests: dict[str, DriftTest]
    alarms: list[DriftAlarm] = Field(description="Those that are latched, then the newest.")


class DriftReported(DriftTest):
    """How one test stands, with its course."""

    features: list[dict[str, Any]] = Field(description="Of data: each with both histograms, strongest first.")
    timeline: list[dict[str, Any]] = Field(description="The evidence of this epoch, row by row.")
    epochs: list[dict[str, Any]] = Field(description="When it began anew, and why.")


class DriftReport(Drift):
    """All that is known of what has drifted."""

    tests: dict[str, DriftReported]  # type: ignore[assignment]  # each has more than `Drift` says


class DriftReplayed(_Answer):
    """One test computed again from the ledger."""

    rows: int
    kept: float = Field(description="The natural logarithm of the evidence that stands.")
    again: float | None = Field(description="That which the ledger gives.")
    same: bool | None = Field(description="Within 1e-9; null: what is gone from the ledger may explain it.")
    words: str


class DriftReplay(_Answer):
    """Whether the ledger gives the same evidence again."""

    rollout: str
    tests: dict[str, DriftReplayed]


class DriftChanged(_Answer):
    """What a verb did to the watch."""

    changed: bool
    words: list[str]
    status: Drift


class Ack(Body):
    """The alarm that was seen; without ``alarm`` all that are latched."""

    verb = "drift/ack"
    summary = "Acknowledge alarms of drift: their tests begin anew"
    answers = DriftChanged
    alarm: Annotated[str, Field(strict=True, pattern="^[0-9a-f]{8}$")] | None = None

    def answer(self, rollout: Rollout) -> dict[str, Any]:
        """Acknowledge."""
        return rollout.drift.ack(self.alarm, **self.common)


class Rebase(Body):
    """The test that begins anew against its last ``rows``; without it, all that are kept."""

    verb = "drift/rebase"
    summary = "Let what comes now be the reference for drift"
    answers = DriftChanged
    rows: Annotated[int, Field(strict=True, ge=1, le=10_000)] | None = None
    test: Annotated[str, Field(strict=True, max_length=300)] = "data"

    def answer(self, rollout: Rollout) -> dict[str, Any]:
        """Begin anew."""
        return rollout.drift.rebase(rows=self.rows, test=self.test, **self.common)


DRIFT_VERBS: tuple[type[Body], ...] = (Ack, Rebase)
DRIFT_ANSWERS = (
    Drift,
    DriftTest,
    DriftAlarm,
    DriftChanged,
    DriftReport,
    DriftReported,
    DriftReplay,
    DriftReplayed,
)
