"""Which workers of a rollout give no sign of life, by the database's own clock."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress

from ...leases import LEASE
from ..presence import Silent
from ..sql import Db
from .link import LIVING

__all__ = ["QUIET", "silent_at", "unheard"]

QUIET = 2.5
"""Seconds without a sign of life, which comes each second, after which a worker counts as silent."""

NAMED = 600.0
"""Seconds for which a worker that was lost is told of: it may live, and serve what it knows."""

# ruff: noqa: S608 - the statements are put together from constants
_SILENT = (
    "SELECT w.host, w.card, w.seen, extract(epoch FROM clock_timestamp()) - w.contacted AS silence, "
    f"CASE WHEN {LIVING} THEN 1 ELSE 0 END AS linked FROM workers w WHERE w.rollout = ? "
)


def unheard(db: Db, name: str, revision: int) -> list[Silent]:
    """Return the workers that have not said that they serve a revision; a dead one after a while no more."""
    return _found(db.execute(f"{_SILENT} AND w.seen < ?", (name, revision)).fetchall())


def silent_at(db: Db, name: str) -> list[Silent]:
    """Return the workers that are silent now."""
    found = _found(db.execute(f"{_SILENT} ORDER BY w.number", (name,)).fetchall())
    return [one for one in found if one.seconds >= QUIET]


def _found(rows: Sequence[Sequence[object]]) -> list[Silent]:
    made = [(_made(*row), row[4]) for row in rows]
    return [one for one, linked in made if linked or one.seconds < max(NAMED, one.lease)]


def _made(host: object, card: object, seen: object, silence: object, _: object) -> Silent:
    told = {}
    with suppress(ValueError):
        told = json.loads(str(card))
    if not isinstance(told, dict):
        told = {}
    pid, lease, on_stale = told.get("pid", 0), told.get("lease", LEASE), told.get("on_stale", "serve")
    return Silent(
        pid if isinstance(pid, int) else 0,
        str(host),
        max(0.0, float(str(silence))),
        int(str(seen)),
        float(lease) if isinstance(lease, (int, float)) else LEASE,
        str(on_stale),
    )
