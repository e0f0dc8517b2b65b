"""States, workers and histories as the plain data that every door shows."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timezone
from typing import Any

from .assignment import Table, bucket_of, normal_key
from .errors import StoreCorrupt, StoreUnreachable
from .governing import Override
from .mixing import newest
from .revisions import shown_revision
from .state import Commit, RolloutState, Settled
from .store.ballot import After
from .store.codes import Known
from .store.governed import governed_at, opened
from .store.location import Location, locate
from .store.opened import open_at
from .store.presence import Card, Silent
from .telling import Step, detail, taken_back
from .view import View

__all__ = [
    "assignments",
    "code_of",
    "describe",
    "history_row",
    "list_rollouts",
    "status_of",
    "told_override",
    "utc",
]


def status_of(
    commit: Commit, view: View, store: dict[str, Any], tried: dict[str, Any] | None
) -> dict[str, Any]:
    """Return a rollout's state and its live workers: the JSON of ``status --json``.

    Args:
        commit: the newest.
        view: the service around it.
        store: what the store is.
        tried: how its try stands.
    """
    state = commit.state
    target, further = state.rollback_target(), state.rollback_target(again=True)
    variants = view.variants()
    candidates = [name for name in variants if name != state.champion]
    return {
        "name": state.name,
        "revision": shown_revision(state.revision),
        "champion": state.champion,
        "variants": variants,
        "weights": {**dict.fromkeys(candidates, 0.0), **state.percents},
        "served": view.served(),
        "idle": view.idle(),
        "shadow": state.shadow_percents,
        "standby": state.standby,
        "targets": {name: target.model_dump() for name, target in state.targets.items()},
        "paused": state.paused,
        "automation": view.degrees(),
        "try": tried,
        "salt": state.salt,
        "settled": state.is_settled,
        "rollback": _point(target),
        "rollback_again": _point(further),
        "last_change": {
            "time": utc(commit.time),
            "author": commit.author,
            "action": commit.action,
            "reason": commit.reason,
        },
        "workers": [_worker(card) for card in view.cards],
        "silent": [_silent(one) for one in view.silent],
        "differences": view.differences(),
        "store": store,
    }


def _worker(card: Card) -> dict[str, Any]:
    row = {
        "pid": card.pid,
        "worker": card.worker,
        "revision": shown_revision(card.revision),
        "trouble": card.trouble,
    }
    return {**row, "host": card.host} if card.host else row


def _silent(one: Silent) -> dict[str, Any]:
    told = {"pid": one.pid, "host": one.host, "seconds": round(one.seconds, 1), "lease": one.lease}
    revision = shown_revision(one.revision)
    return {**told, "revision": revision, "on_stale": one.on_stale, "over": one.over, "words": one.words}


def code_of(view: View, known: Known, now: float) -> dict[str, Any]:
    """Return who runs which code: part of ``status --json``.

    Args:
        view: the service around the state.
        known: which codes there were.
        now: seconds since 1970.
    """
    workers = view.codes
    came = known.came(workers) if len(workers) > 1 else None
    return {
        "newest": newest(known.order, workers),
        "differs_for": None if came is None else max(0.0, now - came),
        "workers": workers,
    }


def history_row(
    commit: Commit, before: RolloutState | None, after: After | None, living: Collection[str], step: Step
) -> dict[str, Any]:
    """Return one row of ``history --json``.

    Args:
        commit: the revision.
        before: the state that it was made from, if that is known.
        after: how its ``after_flip`` hooks went, if they were to run.
        living: the tokens of the workers that are alive.
        step: looks up a revision, to say what an undo took back.
    """
    row: dict[str, Any] = {
        "revision": shown_revision(commit.revision),
        "parent": shown_revision(commit.parent),
        "time": utc(commit.time),
        "author": commit.author,
        "reason": commit.reason,
        "action": commit.action,
        "champion": commit.state.champion,
        "weights": commit.state.percents,
        "shadow": commit.state.shadow_percents,
        "detail": [] if before is None else _told(commit, before, step),
    }
    if after is not None:
        died = after.state == "running" and after.token not in living
        row["after_flip"] = {
            "worker": after.pid,
            "state": "died" if died else after.state,
            "error": after.error,
        }
    return row


def assignments(table: Table, keys: Sequence[Any], ready: Collection[str]) -> list[dict[str, Any]]:
    """Return for each key who answers it and why: the rows of ``assign --json``.

    Args:
        table: the state's assignment.
        keys: as a caller would send them.
        ready: the variants that answer now.

    Raises:
        InvalidKey: when a key cannot be hashed.
    """
    rows = []
    for key in keys:
        text = normal_key(key)
        plan = table.plan(text, draw=lambda: 0, ready=ready)
        rows.append(
            {
                "key": text,
                "bucket": bucket_of(table.salt, text),
                "variant": plan.variant,
                "revision": shown_revision(plan.revision),
                "reason": plan.reason.value,
            }
        )
    return rows


def _told(commit: Commit, before: RolloutState, step: Step) -> list[str]:
    """Return what a revision changed beside champion and weights."""
    if commit.action == "deploy":  # its reason names the digests, and what became of the degrees
        return []
    undone = [taken_back(before.moved, *step(before.moved))] if commit.action == "undo" else []
    return [*undone, *detail(before, commit.state)]


def _point(point: Settled | None) -> dict[str, Any] | None:
    return None if point is None else {"revision": shown_revision(point.revision), "champion": point.champion}


def describe(location: Location, problem: str | None = None) -> dict[str, Any]:
    """Return what a store is, as ``status --json`` shows it."""
    return {
        "kind": location.kind,
        "durable": location.durable,
        "binds": location.binds,
        "url": str(location),
        "why": location.why,
        "problem": problem,
    }


def told_override(held: Override | None) -> dict[str, Any] | None:
    """Return what a host holds against its file, as ``status --json`` shows it."""
    if held is None:
        return None
    marks = {"pause": held.pause, "rollback": held.rollback}
    told = {
        verb: {**mark.model_dump(), "time": utc(mark.time)}
        for verb, mark in marks.items()
        if mark is not None
    }
    return {"digest": held.digest, **told}


def list_rollouts(*, store: str | None = None) -> list[dict[str, Any]]:
    """Return name, revision and champion of every rollout: the JSON of ``list --json``."""
    location = locate(store)
    place, governed = open_at(location), governed_at(location)
    try:
        names = place.names()
    except StoreUnreachable as error:
        if not governed or isinstance(error, StoreCorrupt):
            raise
        names = ()  # where files govern there may be no database
    opens = {name: opened(location, name) for name in sorted({*names, *governed})}
    commits = [one.read(name) for name, one in opens.items()]
    return [
        {
            "name": commit.state.name,
            "revision": shown_revision(commit.revision),
            "champion": commit.state.champion,
        }
        for commit in commits
        if commit
    ]


def utc(seconds: float) -> str:
    """Return a time in ISO 8601, in UTC, like ``2026-01-31T12:00:00.000Z``."""
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds")[:-6] + "Z"
