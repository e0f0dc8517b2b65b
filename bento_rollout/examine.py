"""`examine` looks at everything that can be wrong around a store; `repair` makes a lost one anew."""

from __future__ import annotations

import os
from typing import Any

from .admin.tokens import Tokens
from .amounts import in_short
from .errors import RolloutError, StoreCorrupt
from .operations import Rollout, default_author
from .reports import describe
from .store.drift_file import DriftFile
from .store.evidence_log import EvidenceLog
from .store.governed import governed_at, opened
from .store.ledger import Ledger
from .store.location import Location, locate
from .store.mending import diagnose, known, mend
from .store.opened import open_at, presence_at
from .store.place import Place
from .store.presence import Card, Workers
from .store.sqlite import SQLiteStore

__all__ = ["examine", "repair"]

LONG = 900.0
"""Seconds after which a rolling update that is not over is a problem: it hangs."""


def examine(*, store: str | None = None, served: Rollout | None = None) -> dict[str, Any]:
    """Return what ``doctor`` shows: store, permissions, tokens, and each rollout with its problems.

    Args:
        store: its URL; None: the environment's.
        served: what a file governs in this very process, written down beside the store or not.
    """
    location = locate(store)
    place = open_at(location)
    own = {} if served is None else {served.name: served}
    governed, problem = sorted({*governed_at(location), *own}), None
    try:
        diagnose(place)
        _require_writable(location)
    except RolloutError as error:
        problem = str(error)
    told = describe(location, problem)
    if governed and not _is_there(location) and set(known(place)) <= set(governed):
        nothing = {"kind": "spec", "durable": True, "why": "", "url": "no database: files govern"}
        told = {**told, **nothing, "problem": None}
    return {
        "store": told,
        "permissions": _permissions(place) if isinstance(place, SQLiteStore) else [],
        "token": _tokens(),
        "rollouts": [
            _look(own.get(name) or Rollout(name, one, location, "doctor"), one.place(name))
            for name in sorted({*known(place), *governed})
            for one in [opened(location, name)]
        ],
    }


def _require_writable(location: Location) -> None:
    """Refuse a database that only reads: a worker could serve by it, but could not say that it lives."""
    if location.database is not None:
        from .store.postgres.engine import engine_at

        engine_at(location.database).require_writable()


def repair(*, store: str | None = None) -> list[str]:
    """Put a damaged or lost store aside and make a new one from the last good copies; say what was done.

    What is still readable of the history goes into the new store, the rest stays in the file that was put
    aside. A store that is whole is left alone, and so is one that only cannot be reached now.

    Raises:
        StoreUnreachable: the store is locked or cannot be written, or there is nothing to make it from.
        StoreCorrupt: a damaged database; only its backup makes it whole.
    """
    location = locate(store)
    place = open_at(location)
    try:
        diagnose(place)
    except StoreCorrupt:
        if not isinstance(place, SQLiteStore):
            raise
        done = mend(place, default_author())
    else:
        done = []
    return done or [f"{location.words} is whole; nothing was done"]


def _look(rollout: Rollout, place: Place) -> dict[str, Any]:
    presence = presence_at(place)
    nothing: dict[str, Any] = {
        "name": rollout.name,
        "revision": None,
        "workers": [],
        "differences": [],
        "code": None,
        "notes": [],
        "ledger": _ledger(rollout.ledger),
    }
    unwatched, alarms = _drift(place)
    unread = [problem for problem in (nothing["ledger"]["problem"], _evidence(place), unwatched) if problem]
    try:
        status = rollout.status()
    except RolloutError as error:
        troubled = [f"worker {card.pid}: {card.trouble}" for card in _living(presence) if card.trouble]
        return {**nothing, "problems": [str(error), *troubled, *unread]}
    found = {key: status[key] for key in ("revision", "champion", "workers", "differences", "code")}
    unread += [one["words"] for one in status["silent"]]
    alarms = [*alarms, *_against_the_file(status)]
    unread += _refused(status)
    if not status["workers"]:
        notes = ["no worker is live: only the store was checked"]
        return {**nothing, **found, "notes": [*notes, *alarms], "problems": unread}
    mixed, hangs = _mixed(status["code"])
    problems = [*_of_workers(status), *_of_variants(status), *_of_idle(status), *hangs, *unread]
    return {**nothing, **found, "notes": [*_new_code(status), *mixed, *alarms], "problems": problems}


def _is_there(location: Location) -> bool:
    """Whether a store lies where one would; one that cannot be asked counts as there."""
    try:
        return location.database is not None or location.path.exists()
    except OSError:
        return True


def _living(presence: Workers) -> list[Card]:
    try:
        return presence.living()
    except RolloutError:  # nobody can say
        return []


def _refused(status: dict[str, Any]) -> list[str]:
    """Return why the file that governs is not followed; empty: it is, or a worker says so."""
    refused = None if any(w["trouble"] for w in status["workers"]) else status["store"].get("refused")
    return [] if refused is None else [f"the file that governs is refused, the earlier one holds: {refused}"]


def _against_the_file(status: dict[str, Any]) -> list[str]:
    """Return what this host holds against the file that governs, and what of it waits for a restart."""
    file, override = status["store"].get("path"), status.get("override") or {}
    held = [
        f"{verb} by {mark['author']} holds against {file} on this host, until it changes or `resume`"
        for verb in ("rollback", "pause")
        if (mark := override.get(verb)) is not None
    ]
    waits = [
        f"{name} of {file} is code, and waits for the next start"
        for name in status.get("waits_for_restart", ())
    ]
    return held + waits


def _ledger(ledger: Ledger) -> dict[str, Any]:
    """Return where a rollout's predictions are kept, how many, and how many could not be written."""
    try:
        counts = ledger.counts()
    except RolloutError as error:
        return {"path": ledger.where, "problem": str(error)}
    kept = {"predictions": counts.predictions, "labels": counts.labels, "size": counts.size}
    return {"path": ledger.where, **kept, "lost": counts.events.get("unwritten", 0), "problem": None}


def _drift(place: Place) -> tuple[str | None, list[str]]:
    """Return why nothing is watched for drift though it should be, and the alarms that wait for a person."""
    file = DriftFile(place)
    try:
        problem, alarms = file.facts().get("problem"), file.alarms(latched=True)
    except RolloutError as error:
        return str(error), []
    waiting = [f"an alarm of drift waits for a person: {one.words} ({one.id})" for one in alarms]
    return (None if problem is None else f"drift: {problem}"), waiting


def _evidence(place: Place) -> str | None:
    """Return why evidence cannot be read, so that a try stands still; None: it can."""
    try:
        EvidenceLog(place).standing()
    except RolloutError as error:
        return str(error)
    return None


def _of_workers(status: dict[str, Any]) -> list[str]:
    workers, revision = status["workers"], status["revision"]
    troubled = [f"{_named(w)}: {w['trouble']}" for w in workers if w["trouble"]]
    behind = [
        f"{_named(w)} serves revision {w['revision']}, not {revision}"
        for w in workers
        if w["revision"] != revision
    ]
    return troubled + behind


def _mixed(code: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Return that workers run different code: as a note, and as a problem when it lasts."""
    workers, seconds = code["workers"], code["differs_for"]
    if len(workers) < 2:  # noqa: PLR2004 - with one code nothing differs
        return [], []
    told = "; ".join(
        f"{digest}{' (the newest)' if digest == code['newest'] else ''}: {', '.join(who)}"
        for digest, who in workers.items()
    )
    if seconds is None or seconds <= LONG:
        return [f"workers run different code, so no try goes on: {told}"], []
    since = in_short(seconds)
    return [], [f"workers have run different code for {since}, so no try goes on: {told}; end the deployment"]


def _named(worker: dict[str, Any]) -> str:
    return f"worker {worker['pid']}" + (f" on {worker['host']}" if worker.get("host") else "")


def _of_variants(status: dict[str, Any]) -> list[str]:
    """Return which variants cannot answer, weight or not; who is starting is missed when it has traffic."""
    found = []
    for name, row in status["variants"].items():
        fine = ("ready",) if name in status["idle"] else ("ready", "starting")
        if row["state"] not in fine:
            why = status["idle"].get(name, {}).get("why") or row["error"]
            found.append(f"variant {name!r} is {row['state']}" + (f": {why}" if why else ""))
    return found


def _of_idle(status: dict[str, Any]) -> list[str]:
    """Return which variants could answer, and may not: their code is new."""
    return [
        f"variant {name!r}: {status['variants'][name]['held']}: grant it with {row['command']}"
        for name, row in status["idle"].items()
        if row["state"] == "held"
    ]


def _new_code(status: dict[str, Any]) -> list[str]:
    """Return whose code is new and waits, without weight and targets: nobody misses it."""
    return [
        f"variant {name!r} has a new digest and no weight: to reach it by a pin, run {row['grant']}"
        for name, row in status["variants"].items()
        if "held" in row and name not in status["idle"]
    ]


def _permissions(place: SQLiteStore) -> list[str]:
    path, parent = place.path, place.path.parent
    found = [
        f"{one} is not readable and writable for this user"
        for one in (path, place.folder)
        if os.path.exists(one) and not os.access(one, os.R_OK | os.W_OK)  # noqa: PTH110 - Path's may raise
    ]
    if not os.path.exists(path) and os.path.exists(parent) and not os.access(parent, os.W_OK):  # noqa: PTH110
        found.append(f"{parent} is not writable for this user")
    return found


def _tokens() -> dict[str, Any]:
    """Return what a service that is started in this environment would let in."""
    tokens = Tokens.from_environment(os.environ)
    names = list(tokens.names)
    return {"admin": bool(names), "names": names, "problem": tokens.problem}
