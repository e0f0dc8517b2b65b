"""The overview: who answers how much, whether all is well, and what changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .visiting import Page, Visit

__all__ = ["overview"]

ROWS = 25
"""Revisions that are listed."""

WIDTH = 1000
"""Units of the bar that shows shares."""

COLORS = 6
"""Colours that tell variants apart; further ones begin anew."""


def overview(visit: Visit) -> Page:
    """Show the rollout."""
    rollout = visit.opened()
    status, history = rollout.status(), rollout.history_rows(ROWS)
    names = list(dict.fromkeys([status["champion"], *status["variants"]]))
    return Page(
        "overview.html",
        {
            "here": "overview",
            "title": status["name"],
            "status": status,
            "shares": _shares(status["served"], names),
            "variants": [_variant(name, status, index) for index, name in enumerate(names)],
            "concerns": _concerns(status),
            "history": history,
            "chart": _chart(history, names),
        },
    )


def _variant(name: str, status: Mapping[str, Any], index: int) -> dict[str, Any]:
    row = status["variants"].get(name, {})
    return {
        "name": name,
        "color": index % COLORS,
        "champion": name == status["champion"],
        "state": row.get("state", "missing"),
        "error": row.get("error") or "",
        "held": row.get("held", ""),
        "digest": str(row.get("digest", ""))[:12],
        "weight": None if name == status["champion"] else status["weights"].get(name, 0.0),
        "served": status["served"].get(name, 0.0),
        "shadow": status["shadow"].get(name, 0.0),
    }


def _shares(served: Mapping[str, float], names: Sequence[str]) -> list[dict[str, Any]]:
    """Return the parts of the bar, left to right."""
    found, at = [], 0.0
    for name, percents in sorted(served.items(), key=lambda item: -item[1]):
        if percents > 0:
            color = names.index(name) % COLORS if name in names else 0
            wide = percents / 100 * WIDTH
            found.append({"name": name, "percent": percents, "x": at, "width": wide, "color": color})
            at += wide
    return found


def _concerns(status: Mapping[str, Any]) -> list[str]:
    """Return in words what is not as it should be."""
    found = [f"{name}: {row['why']}" for name, row in status["idle"].items()]
    if not status["workers"]:
        found.append("No worker is live: the service does not run, or uses another store.")
    found += [
        f"Worker {worker['pid']}: {worker['trouble']}" for worker in status["workers"] if worker["trouble"]
    ]
    behind = [worker for worker in status["workers"] if worker["revision"] != status["revision"]]
    if behind:
        found.append(f"{len(behind)} of {len(status['workers'])} workers serve an older revision.")
    if len((status.get("code") or {}).get("workers", ())) > 1:
        found.append("Workers run different code: no try goes on until they all run the same.")
    for verb in ("rollback", "pause"):
        if mark := (status.get("override") or {}).get(verb):
            file = status["store"]["path"]
            found.append(f"{verb} by {mark['author']} holds against {file} on this host, until it changes.")
    if status["paused"]:
        found.append("The rollout is paused.")
    if not status["store"]["durable"]:
        found.append(f"The store does not last: {status['store']['why']}.")
    return found


def _chart(history: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, Any] | None:
    """Return the variants' shares over the revisions that are listed; None: there is nothing to draw."""
    rows = list(reversed(history))
    if len(rows) < 2:  # noqa: PLR2004 - a line needs two points
        return None
    series = []
    for name in dict.fromkeys([*names, *(row["champion"] for row in rows)]):
        values = [_share(row, name) for row in rows]
        if any(values):
            color = names.index(name) % COLORS if name in names else COLORS - 1
            series.append({"label": name, "values": values, "color": color})
    counted = all(isinstance(row["revision"], int) for row in rows)
    x = [row["revision"] if counted else at for at, row in enumerate(rows)]
    return {"x": x, "series": series, "y": [0, 100], "unit": "%", "stepped": True, "whole": True}


def _share(row: Mapping[str, Any], name: str) -> float:
    if name == row["champion"]:
        return 100.0 - float(sum(row["weights"].values()))
    return float(row["weights"].get(name, 0.0))
