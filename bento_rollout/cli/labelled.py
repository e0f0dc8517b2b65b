"""What people see of labels that they told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from .output import emit, emit_json, visible

if TYPE_CHECKING:
    from ..store.ledger_labels import Accepted

__all__ = ["Told", "taken"]

Told = list[tuple[int, str]]
"""What is wrong with labels: the number of each one's line, and why it is refused."""

REFUSED, WRONG = 1, 2
MOST_SHOWN, MOST_LINES = 20, 5
"""Kinds of what is wrong that are shown, and numbers of lines of each."""


def taken(kept: Accepted, refused: Told | None = None, *, as_json: bool) -> int:
    """Tell what became of labels; a bad one among good ones is exit code 2, and the good are kept."""
    told = [(one.index + 1, one.error) for one in kept.refused] if refused is None else refused
    if as_json:
        places = [{"line": line, "error": error} for line, error in told]
        emit_json({"accepted": kept.accepted, "orphaned": kept.orphaned, "refused": places})
    else:
        waiting = f", {kept.orphaned} of them wait for their prediction" if kept.orphaned else ""
        emit(f"{kept.accepted} accepted{waiting}; {len(told)} refused")
        for text in _refusals(told, lines=refused is not None):
            click.echo(text, err=True)
    if not told:
        return 0
    return WRONG if kept.accepted else REFUSED


def _refusals(told: Told, *, lines: bool) -> list[str]:
    """Return what is wrong with labels, what is wrong with several of them once."""
    places: dict[str, list[int]] = {}
    for line, error in told:
        places.setdefault(visible(error), []).append(line)
    found = []
    for error, where in places.items():
        some = ", ".join(map(str, where[:MOST_LINES])) + (", …" if len(where) > MOST_LINES else "")
        times = f" ({len(where)} times)" if len(where) > 1 else ""
        found.append(f"line{'s' * (len(where) > 1)} {some}: {error}{times}" if lines else f"{error}{times}")
    more = len(found) - MOST_SHOWN
    return [*found[:MOST_SHOWN], *([f"and {more} more kinds"] if more > 0 else [])]
