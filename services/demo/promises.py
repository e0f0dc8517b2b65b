"""Whether each promise was kept, judged from every answer that was given; pure."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.demo.operator import Step
from services.demo.traffic import Answer

CHAMPION = "logistic"
CANDIDATE = "boosted"
STANDARD_ERRORS = 4.0
AS_PLANNED = ("default", "split")
"""What ``X-Rollout-Reason`` says when nobody had to stand in for anybody."""


@dataclass(frozen=True)
class Verdict:
    """One promise, whether it was kept, and the numbers behind that."""

    promise: str
    kept: bool
    detail: str


@dataclass(frozen=True)
class Evidence:
    """All that was seen.

    Attributes:
        answers: every request that was sent, in the order in which they ended.
        steps: start, canary at 10, canary at 50, flip, rollback.
        own: by variant, the probability that the model itself gives each held-out row.
        told: who answers some patients, as ``bento-rollout assign`` said while the second canary ran.
        history: what ``bento-rollout history`` said at the end.
    """

    answers: Sequence[Answer]
    steps: Sequence[Step]
    own: Mapping[str, NDArray[np.float64]]
    told: Mapping[str, str]
    history: Sequence[Mapping[str, Any]]


def judge(evidence: Evidence) -> list[Verdict]:
    """Return a verdict on every promise of the demo."""
    start, small, large, flip, rollback = evidence.steps
    answers = evidence.answers
    return [
        nothing_failed(answers),
        own_answers(answers, evidence.own),
        nobody_stood_in(answers),
        all_by(start, small, answers, CHAMPION),
        sticky(answers),
        share_as_asked(small, answers),
        share_as_asked(large, answers),
        growing_keeps(small, large, answers),
        assign_explains(large, answers, evidence.told),
        all_by(flip, rollback, answers, CANDIDATE),
        all_by(rollback, None, answers, CHAMPION),
        fresh(evidence.steps, answers),
        ids_are_unique(answers),
        history_tells(evidence.steps, evidence.history),
    ]


def nothing_failed(answers: Sequence[Answer]) -> Verdict:
    """Judge: every request was answered with 200."""
    failed = [answer for answer in answers if answer.status != 200]
    detail = f"{len(answers)} requests, {len(failed)} failed"
    if failed:
        detail += f"; the first: status {failed[0].status} {failed[0].error}"
    return Verdict("no request failed", bool(answers) and not failed, detail)


def own_answers(answers: Sequence[Answer], own: Mapping[str, NDArray[np.float64]]) -> Verdict:
    """Judge: what an answer says is what the variant named in its header computes."""
    wrong = [
        answer
        for answer in answers
        if answer.probability is not None
        and not (
            answer.variant in own
            and math.isclose(answer.probability, own[answer.variant][answer.patient.row], abs_tol=1e-9)
        )
    ]
    return Verdict(
        "the variant in the header is the model that answered", not wrong, f"{len(wrong)} answers differ"
    )


def nobody_stood_in(answers: Sequence[Answer]) -> Verdict:
    """Judge: no answer came from a fallback, and every answer says why its variant was chosen."""
    answered = [answer for answer in answers if answer.status == 200]
    others = [answer.reason for answer in answered if answer.reason not in AS_PLANNED]
    detail = f"{len(others)} answers for other reasons" + (f": {sorted(set(others))}" if others else "")
    return Verdict("nobody had to stand in for a variant", bool(answered) and not others, detail)


def within(step: Step, following: Step | None, answers: Sequence[Answer]) -> list[Answer]:
    """Return the answers to requests that started after a command returned and before the next was issued."""
    end = math.inf if following is None else following.issued
    return [answer for answer in answers if step.returned < answer.started < end]


def all_by(step: Step, following: Step | None, answers: Sequence[Answer], variant: str) -> Verdict:
    """Judge: every request that started after a step was answered by one variant."""
    later = within(step, following, answers)
    others = sum(answer.variant != variant for answer in later)
    return Verdict(
        f"after the {step.title} every later request is answered by {variant}",
        bool(later) and not others,
        f"{len(later)} requests, {others} by others",
    )


def at(step: Step, answers: Sequence[Answer]) -> dict[str, set[str]]:
    """Return, by patient, the variants that answered at a step's revision."""
    seen: dict[str, set[str]] = defaultdict(set)
    for answer in answers:
        if answer.revision == step.revision and answer.variant:
            seen[answer.patient.key].add(answer.variant)
    return seen


def sticky(answers: Sequence[Answer]) -> Verdict:
    """Judge: within a revision a patient is always answered by the same variant."""
    seen: dict[tuple[int, str], set[str]] = defaultdict(set)
    for answer in answers:
        if answer.variant:
            seen[answer.revision, answer.patient.key].add(answer.variant)
    torn = sum(len(variants) > 1 for variants in seen.values())
    return Verdict(
        "a patient keeps the variant within a revision",
        bool(seen) and not torn,
        f"{len(answers)} answers, {torn} patients with two variants",
    )


def candidates_keys(step: Step, answers: Sequence[Answer]) -> set[str]:
    """Return the patients that the candidate answered at a step."""
    return {key for key, variants in at(step, answers).items() if CANDIDATE in variants}


def share_as_asked(step: Step, answers: Sequence[Answer]) -> Verdict:
    """Judge: the candidate's share of the patients is within four standard errors of the weight."""
    everybody = len(at(step, answers))
    if everybody == 0:
        return Verdict(f"the share is the weight at {step.share:g} %", kept=False, detail="nobody was seen")
    weight = step.share / 100
    share = len(candidates_keys(step, answers)) / everybody
    margin = STANDARD_ERRORS * math.sqrt(weight * (1 - weight) / everybody)
    return Verdict(
        f"the share is the weight at {step.share:g} %",
        abs(share - weight) <= margin,
        f"{share:.1%} of {everybody} patients, within {margin:.1%}",
    )


def growing_keeps(small: Step, large: Step, answers: Sequence[Answer]) -> Verdict:
    """Judge: a candidate that grows keeps every patient that it had."""
    before, after = candidates_keys(small, answers), candidates_keys(large, answers)
    return Verdict(
        "a growing candidate keeps all its patients",
        bool(before) and before <= after,
        f"{len(before & after)} of {len(before)} kept, {len(after - before)} won",
    )


def assign_explains(step: Step, answers: Sequence[Answer], told: Mapping[str, str]) -> Verdict:
    """Judge: ``bento-rollout assign`` names the variant that really answers."""
    seen = at(step, answers)
    wrong = sum(seen.get(key) != {variant} for key, variant in told.items())
    return Verdict(
        "bento-rollout assign names who answers",
        bool(told) and not wrong,
        f"{len(told)} patients, {wrong} wrong",
    )


def fresh(steps: Sequence[Step], answers: Sequence[Answer]) -> Verdict:
    """Judge: a request that starts after a command returned, on any worker, is answered at its revision."""
    stale = total = 0
    for step, following in zip(steps, (*steps[1:], None), strict=True):
        later = within(step, following, answers)
        total += len(later)
        stale += sum(answer.revision != step.revision for answer in later if answer.status == 200)
    return Verdict(
        "no later request sees an older revision",
        bool(total) and not stale,
        f"{total} requests, {stale} stale",
    )


def ids_are_unique(answers: Sequence[Answer]) -> Verdict:
    """Judge: every answer has a prediction id of its own."""
    answered = [answer.prediction_id for answer in answers if answer.status == 200]
    distinct = len(set(answered) - {""})
    return Verdict(
        "every answer has a prediction id of its own",
        bool(answered) and distinct == len(answered),
        f"{distinct} ids for {len(answered)} answers",
    )


def history_tells(steps: Sequence[Step], history: Sequence[Mapping[str, Any]]) -> Verdict:
    """Judge: every change stands in the history, with its author and its reason."""
    entries = {entry["revision"]: entry for entry in history}
    changes = steps[1:]
    told = sum(
        bool(entry.get("author")) and str(entry.get("reason")) in step.line
        for step in changes
        if (entry := entries.get(step.revision)) and entry.get("reason")
    )
    return Verdict(
        "every change has an author and a reason", told == len(changes), f"{told} of {len(changes)}"
    )
