"""The acts by evidence: a person starts a try, and what becomes of it is nobody's work."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from services.demo.operator import NAME, Operator
from services.demo.promises import CANDIDATE, CHAMPION, Verdict
from services.demo.screen import Screen
from services.demo.traffic import Answer, Patient, Traffic

PATIENCE = 90.0
GOING_UP = ("advance", "advance", "promote", "end_bake")
SHARES = (5, 25, 50)


@dataclass(frozen=True)
class Tried:
    """A try that is over.

    Attributes:
        answers: every request that was sent meanwhile, in the order in which they ended.
        told: what ``bento-rollout explain`` says of each revision since the start, oldest first.
        seconds: how long it took.
    """

    answers: Sequence[Answer]
    told: Sequence[Mapping[str, Any]]
    seconds: float


def tried(
    operator: Operator, port: int, patients: Sequence[Patient], screen: Screen, verb: str, reason: str
) -> Tried:
    """Start a try while patients come, say each decision when it is there, and return once nothing runs."""
    with Traffic(port, patients) as traffic:
        step = operator.step("try", 0, verb, (), reason)
        screen.say(f"$ {step.line}")
        told: list[Mapping[str, Any]] = []
        while True:
            status = operator.status()
            for revision in range(step.revision + len(told), status["revision"] + 1):
                told.append(operator.ask("explain", NAME, "--revision", str(revision)))
                screen.say(f"  {'evidence: ' if told[-1]['by_evidence'] else ''}{told[-1]['words']}")
            took = time.monotonic() - step.returned
            if not status["try"]["runs"]:
                return Tried(traffic.answers, told, took)
            if took > PATIENCE or not traffic.alive:
                raise RuntimeError(f"the try does not end: {status['try']['words']}")
            time.sleep(0.5)


def judged(bad: Tried, good: Tried) -> list[Verdict]:
    """Return a verdict on every promise of both tries; pure."""
    return [taken_back(bad), explained(bad), nobody_lost(bad), promoted(good), stays(good)]


def taken_back(bad: Tried) -> Verdict:
    """Judge: evidence, and nobody else, gave all traffic back to the champion."""
    last = bad.told[-1]
    kept = (last["author"], last["action"]) == ("evidence", "rollback") and last["weights"] == {CHAMPION: 100}
    detail = f"{last['action']} by {last['author']} {bad.seconds:.0f} s after the start"
    return Verdict("a release that fails is rolled back by itself", kept, detail)


def explained(bad: Tried) -> Verdict:
    """Judge: ``explain`` names the guardrail that was broken."""
    last = bad.told[-1]
    kept = "error_rate" in last["causes"] and "error_rate" in last["words"]
    return Verdict("bento-rollout explain names the guardrail", kept, ", ".join(last["causes"]))


def nobody_lost(bad: Tried) -> Verdict:
    """Judge: the champion answered whatever the candidate failed, and nothing else failed."""
    failed = sum(answer.status != HTTPStatus.OK for answer in bad.answers)
    lost = sum(answer.reason == "fallback" for answer in bad.answers)
    detail = (
        f"it failed {lost} of {len(bad.answers)} calls, which {CHAMPION} answered; {failed} had no answer"
    )
    return Verdict("what the release failed was answered all the same", lost > 0 and not failed, detail)


def promoted(good: Tried) -> Verdict:
    """Judge: started by a person, and by evidence alone through its steps, promoted, and out of its bake."""
    ways = tuple(one["action"] for one in good.told[1:] if one["author"] == "evidence")
    shares = tuple(one["weights"].get(CANDIDATE, 0) for one in good.told[: len(SHARES)])
    failed = sum(answer.status != HTTPStatus.OK for answer in good.answers)
    kept = ways == GOING_UP and len(good.told) == 1 + len(ways) and shares == SHARES and not failed
    said = f"{', '.join(f'{share:g}' for share in shares)} %, {', '.join(ways[len(SHARES) - 1 :])}"
    detail = f"{said} in {good.seconds:.0f} s; {failed} of {len(good.answers)} requests failed"
    return Verdict("the mended release goes up by itself and is promoted", kept, detail)


def stays(good: Tried) -> Verdict:
    """Judge: a patient whom the candidate answered meets it at every later revision, too."""
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    for answer in good.answers:
        key, revision = answer.patient.key, answer.revision
        if answer.variant == CANDIDATE:
            first[key] = min(first.get(key, revision), revision)
        elif answer.variant and answer.reason != "fallback":
            last[key] = max(last.get(key, revision), revision)
    back = sum(last.get(key, 0) >= revision for key, revision in first.items())
    promise = "on its way up a candidate keeps every patient"
    return Verdict(promise, bool(first) and not back, f"{back} of {len(first)} were moved back")
