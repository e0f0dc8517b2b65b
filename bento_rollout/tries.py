"""A try as plain data, for every door: what `status` shows of it, and what `explain` tells of a revision.

Whoever leads a try tells each tick how it stands, and the report holds as long as the try is where it was
when it was told: its ``number`` and ``revision`` must be those of the state. Beside them a report has
``position`` (`Position.plain`), ``looked`` (seconds since 1970), ``words``, ``missing``, ``may_end`` and
``may_end_late`` (seconds from then, or None), ``warnings``, and ``guardrails``: by name ``finding``,
``detail``, ``needed``, ``unit`` and ``numbers``, of these at least ``harm`` and ``health``: the evidence as a
part of what an alarm, or a proof of health, needs: 0 to 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .assessment import Assessment, Assessments, Finding
from .attempt import Try
from .deciding import EVIDENCE
from .errors import StoreCorrupt
from .position import Position, Stage
from .revisions import shown_revision
from .standing import AUTOMATION
from .state import Commit, RolloutState
from .steps import Step
from .telling import phrases

__all__ = ["explained", "known_of", "live_position", "try_status"]

Report = Mapping[str, Any] | None

NOBODY = "no worker of the service is live: nobody serves, so nothing moves and no harm is seen; start it"
"""What is said of a running try that nobody can lead."""


def live_position(attempt: Try, report: Report) -> Position:
    """Return where a try stands: as the leader told last, else as the state has it."""
    if _is_about(attempt, report) and report is not None:
        try:
            return Position.parse(report["position"])
        except (KeyError, StoreCorrupt):  # another version leads: what the state has is true, and older
            pass
    return attempt.position


def known_of(attempt: Try, report: Report) -> Assessments:
    """Return what the leader told last of each guardrail."""
    found = {}
    for name, row in _guardrails(attempt, report).items():
        words, needed = str(row.get("detail", "")), row.get("needed")
        found[name] = Assessment(Finding(row["finding"]), words, needed, str(row.get("unit", "requests")))
    return Assessments(found)


def try_status(
    attempt: Try, report: Report, looked: str | None, started: str | None, *, serves: bool = True
) -> dict[str, Any]:
    """Return how a try stands: ``try`` in the JSON of ``status --json``.

    Args:
        attempt: the running or the last one.
        report: what the leader told last.
        looked: when that was, as shown.
        started: when the try began, as shown.
        serves: whether a worker is live; without one nothing moves, so nobody can say when it may end.
    """
    about = report if _is_about(attempt, report) and report is not None else {}
    position, strategy = live_position(attempt, report), attempt.strategy
    found = _guardrails(attempt, report)
    return {
        "number": attempt.number,
        "candidate": attempt.candidate,
        "control": attempt.control,
        "stage": position.stage.value,
        "runs": attempt.runs,
        "step": position.step + 1 if strategy.steps else None,
        "steps": [_step(step, number, attempt, position) for number, step in enumerate(strategy.steps)],
        "bake_after": _bake_after(attempt),
        "counted": round(position.counted, 3),
        "started": {"revision": attempt.started, "time": started},
        "paused": position.paused.model_dump(mode="json") if position.paused and attempt.runs else None,
        "dry_run": strategy.dry_run,
        "guardrails": {
            name: {
                **_row(found.get(name)),
                "required": one.is_required,
                "on_harm": strategy.harm(name),
                "latched": name in position.alarms,
                "excused": name in position.excused,
            }
            for name, one in strategy.guardrails.items()
        },
        "checks": {name: _row(row) for name, row in found.items() if name not in strategy.guardrails},
        "missing": list(about.get("missing", ())),
        "words": about.get("words") or _words(attempt),
        "may_end": about.get("may_end") if serves else None,
        "may_end_late": about.get("may_end_late") if serves else None,
        "warnings": list(about.get("warnings", ())) if serves else [NOBODY][: attempt.runs],
        "looked": looked if about else None,
    }


def explained(commit: Commit, before: RolloutState | None, time: str) -> dict[str, Any]:
    """Return why a revision was made: the JSON of ``explain --json``.

    Args:
        commit: the revision.
        before: the state that it was made from, if that is known.
        time: when it was made, as shown.
    """
    state = commit.state
    decision = state.attempt.decision if state.attempt else None
    told = decision if decision and decision.get("revision") == commit.revision else None
    row: dict[str, Any] = {
        "revision": shown_revision(commit.revision),
        "time": time,
        "author": commit.author,
        "action": commit.action,
        "reason": commit.reason,
        "by_evidence": told is not None or commit.author == AUTOMATION,
        "words": told["words"] if told else _by_a_person(commit, before),
        "place": told["place"] if told else state.attempt.position.place if state.attempt else None,
        "causes": list(told["causes"]) if told else [],
        "missing": list(told["missing"]) if told else [],
        "dry_run": bool(told and told["dry_run"]),
        "guardrails": dict(told["guardrails"]) if told else {},
        "weights_before": None if before is None else _shares(before),
        "weights": _shares(state),
    }
    if state.attempt:
        row["try"] = {"number": state.attempt.number, "candidate": state.attempt.candidate}
    return row


def _is_about(attempt: Try, report: Report) -> bool:
    return report is not None and (report.get("number"), report.get("revision")) == (
        attempt.number,
        attempt.revision,
    )


def _guardrails(attempt: Try, report: Report) -> dict[str, Mapping[str, Any]]:
    """Return what was told last of each guardrail: by the leader, else with the newest decision."""
    if report is not None and _is_about(attempt, report):
        found = report.get("guardrails", {})
    else:
        found = (attempt.decision or {}).get("guardrails", {})
    return {name: row for name, row in found.items() if row.get("finding") in _FINDINGS}  # of this version


_FINDINGS = frozenset(finding.value for finding in Finding)


def _row(row: Mapping[str, Any] | None) -> dict[str, Any]:
    row = row or {"finding": Finding.NO_DATA.value}
    return {
        "finding": row["finding"],
        "detail": row.get("detail", ""),
        "needed": row.get("needed"),
        "unit": row.get("unit", "requests"),
        "numbers": {"harm": 0.0, "health": 0.0, **row.get("numbers", {})},
    }


def _step(step: Step, number: int, attempt: Try, position: Position) -> dict[str, Any]:
    return {
        "what": str(step),
        "weight": None if step.weight is None else step.weight / 1000,
        "shadow": None if step.shadow is None else step.shadow / 1000,
        "bake": step.bake,
        "pause": None if step.pause is None else {"for": step.pause.seconds},
        "state": _reached(number, attempt, position),
    }


def _reached(number: int, attempt: Try, position: Position) -> str:
    """Return what became of a step.

    One in which the try ended is ``reached``, those after it ``never``; a promotion by a person ``skipped``
    those that were left.
    """
    decision, stage = attempt.decision or {}, position.stage
    if stage is Stage.STEPS:
        return "now" if number == position.step else "over" if number < position.step else "next"
    passed = stage not in (Stage.ROLLED_BACK, Stage.ABORTED)
    if passed or position.promoted or decision.get("action") == "promote":
        return "over" if number <= position.step else "skipped"
    return "over" if number < position.step else "reached" if number == position.step else "never"


def _bake_after(attempt: Try) -> dict[str, float] | None:
    bake = attempt.strategy.bake_after
    return None if bake is None else {"for": bake.seconds, "holdback": bake.holdback / 1000}


def _words(attempt: Try) -> str:
    """Return how a try stands when nobody told yet."""
    stage = attempt.position.stage
    if not stage.ended:
        return "nobody has looked at it since its newest revision"
    decision = attempt.decision or {}
    if stage is Stage.ROLLED_BACK or decision.get("revision") == attempt.revision:
        return str(decision.get("words", stage.value))
    return {Stage.DONE: "it is done", Stage.ABORTED: "a person ended it; `retry` begins a new one"}[stage]


def _by_a_person(commit: Commit, before: RolloutState | None) -> str:
    who = f"{commit.author} decided this, not evidence: {commit.action}"
    if commit.author in (EVIDENCE, AUTOMATION) or commit.action in ("seed", "deploy"):
        who = f"{commit.author}: {commit.action}"
    told = "" if before is None else "; ".join(phrases(before, commit.state))
    return f"{who}{f' ({told})' if told else ''}{f': {commit.reason}' if commit.reason else ''}"


def _shares(state: RolloutState) -> dict[str, float]:
    """Return what each variant has, the champion first, in percent."""
    rest = 100 - sum(state.percents.values())
    return {state.champion: round(rest, 3), **{n: p for n, p in state.percents.items() if p}}
