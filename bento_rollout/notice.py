"""`Notice`: what people and machines are told of a try, or of a degree, made from a commit; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from .alarms import DRIFT, Alarm
from .state import Commit, RolloutState

__all__ = ["DRIFT", "EVIDENCE", "Notice", "notice_of", "notice_of_alarm"]

EVIDENCE = "evidence"
"""The author of what is decided by evidence."""


@dataclass(frozen=True, slots=True)
class Notice:
    """What became of a running try at one revision, by evidence or by a person's verb. Immutable.

    A change of who decides an endpoint is one, too, as when audits take a degree away: where no try had a
    part in it, ``candidate``, ``control`` and ``place`` are empty.

    An alarm of drift is told as one, too, whether a try runs or not: then ``candidate``, ``control`` and
    ``place`` may be empty.

    Attributes:
        rollout: whose try it is.
        revision: the revision that the change made.
        time: when, in seconds since 1970.
        action: what was done, in the word of the history: of a person the verb (``start``, ``abort``,
            ``retry``, ``promote``, ``pause``, ``resume``, ``rollback``, ``undo``, ``apply``), of evidence
            what was decided (``advance``, ``promote``, ``rollback``, ``pause``, ``notify``, ``end_bake``,
            ``finish``); of a degree ``demote`` (audits), ``degree`` (a person), or what it came with;
            ``drift``: an alarm was found.
        author: who did it; ``evidence``, ``drift``, and ``automation`` for audits: no person.
        words: the same in one sentence for people.
        candidate: the variant that is tried.
        control: who was champion when the try began: the way back.
        champion: who is champion now.
        place: where the try stands after it: ``step 2``, or a stage.
        causes: the guardrails, or checks of the evidence, that decided; of a person none. Of drift the
            features that changed.
        missing: what the try waits for, one thing each.
        reason: what the author wrote, possibly empty.
        dry_run: whether it only says what it would have done.
        guardrails: what was known of each when it was decided, as plain data: finding, detail, needed, unit
            and numbers; of a person none.
        weights_before: percents by candidate before it; None: not known any more.
        weights: percents by candidate after it; the champion has the rest.
    """

    rollout: str
    revision: int
    time: float
    action: str
    author: str
    words: str
    candidate: str
    control: str
    champion: str
    place: str
    causes: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    reason: str = ""
    dry_run: bool = False
    guardrails: Mapping[str, Any] = field(default_factory=dict)
    weights_before: Mapping[str, float] | None = None
    weights: Mapping[str, float] = field(default_factory=dict)

    @property
    def by_evidence(self) -> bool:
        """Whether evidence decided it, and no person."""
        return self.author == EVIDENCE

    @property
    def plain(self) -> dict[str, Any]:
        """All of it as plain data, which JSON can say."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def notice_of(commit: Commit, before: RolloutState | None) -> Notice | None:
    """Return what a commit is to be told as, or None: it is none of a try, and no degree changed.

    Args:
        commit: any commit of a rollout.
        before: the state that it was made from, as far as it is known.
    """
    attempt, degrees = getattr(commit.state, "attempt", None), "; ".join(_degrees(commit, before))
    decision: Mapping[str, Any] = getattr(attempt, "decision", None) or {}
    decided = commit.author == EVIDENCE and decision.get("revision") == commit.revision
    if attempt is not None and not decided and attempt.revision != commit.revision:
        attempt = None  # it had no part in this
    if attempt is None and not degrees:
        return None
    known = decision if decided else {} if attempt is None else _by_person(commit, attempt)
    return Notice(
        rollout=commit.state.name,
        revision=commit.revision,
        time=commit.time,
        action=commit.action,
        author=commit.author,
        words="; ".join(filter(None, (known.get("words", ""), degrees))),
        candidate="" if attempt is None else attempt.candidate,
        control="" if attempt is None else attempt.control,
        champion=commit.state.champion,
        place="" if attempt is None else known.get("place", attempt.position.place),
        causes=tuple(known.get("causes", ())),
        missing=tuple(known.get("missing", ())),
        reason=commit.reason,
        dry_run=bool(known.get("dry_run", False)),
        guardrails=known.get("guardrails", {}),
        weights_before=None if before is None else before.percents,
        weights=commit.state.percents,
    )


def _degrees(commit: Commit, before: RolloutState | None) -> Iterator[str]:
    """Yield in words which endpoints have another degree than before, and why."""
    known = getattr(before, "automation", {})
    for endpoint, now in sorted(getattr(commit.state, "automation", {}).items()):
        was = known.get(endpoint)
        if was is not None and was.degree != now.degree:
            why = f": {now.reason}" if now.reason else ""
            yield f"{endpoint} is at degree {now.degree.word} (was {was.degree.word}), by {now.author}{why}"


def notice_of_alarm(alarm: Alarm, state: RolloutState) -> Notice:
    """Return what an alarm of drift is to be told as.

    Args:
        alarm: the alarm; its revision and time are the notice's, so that it is the same whenever it is told.
        state: the rollout's, now.
    """
    attempt = state.running
    return Notice(
        rollout=state.name,
        revision=alarm.revision,
        time=alarm.at,
        action=DRIFT,
        author=DRIFT,
        words=f"drift at {alarm.endpoint}: {alarm.words}",
        candidate="" if attempt is None else attempt.candidate,
        control="" if attempt is None else attempt.control,
        champion=state.champion,
        place="" if attempt is None else attempt.position.place,
        causes=alarm.names,
        reason=f"alarm {alarm.id}",
        weights=state.percents,
    )


DONE = {
    "start": "started",
    "abort": "aborted",
    "retry": "began anew",
    "promote": "promoted, skipping what was left,",
    "pause": "paused",
    "resume": "resumed",
    "rollback": "rolled back",
}


def _by_person(commit: Commit, attempt: Any) -> dict[str, Any]:
    """Return what is told of a person's verb: what evidence would have found is not a part of it."""
    done = DONE.get(commit.action, f"changed ({commit.action})")
    reason = f": {commit.reason}" if commit.reason else ""
    return {
        "words": f"{commit.author} {done} the try of {attempt.candidate}{reason}",
        "dry_run": attempt.strategy.dry_run,
    }
