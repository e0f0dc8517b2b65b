"""How the degrees of automation stand, as the plain data that every door shows; pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .degrees import Degree
from .errors import Refused
from .ladder import Certificate, Ladder
from .revisions import shown_revision
from .standing import Standing
from .state import RolloutState

__all__ = ["degree_rows", "degree_steps"]

_SOMEBODY = "a person"


def degree_rows(state: RolloutState, ladders: Mapping[str, Ladder]) -> dict[str, dict[str, Any]]:
    """Return how each endpoint stands: ``automation`` in the JSON of ``status --json``.

    Args:
        state: the newest.
        ladders: what the service's spec allows; empty: nobody said.
    """
    names = dict.fromkeys((*ladders, *sorted(state.automation)))
    return {name: _row(state, state.automation.get(name), ladders.get(name)) for name in names}


def _row(state: RolloutState, now: Standing | None, ladder: Ladder | None) -> dict[str, Any]:
    rules = {
        "automated": ladder is not None,
        "max_degree": None if ladder is None else ladder.max_degree.word,
        "approvals": None if ladder is None else ladder.approvals,
        "target_error": None if ladder is None else ladder.target_error,
        "confidence": None if ladder is None else ladder.confidence,
        "segments": [] if ladder is None else list(ladder.segments),
        "audit": None if ladder is None else ladder.audit,
    }
    if now is None:  # a worker has it, and its start could not write it yet
        return {"degree": None, **rules}
    proposed = None if now.proposed is None else now.proposed.model_dump(mode="json")
    if proposed is not None and now.proposed is not None:
        proposed["degree"] = now.proposed.degree.word
    found = now.certificate(state.champions_digest)
    return {
        "degree": now.degree.word,
        "number": int(now.degree),
        "champion": state.champion,
        "digest": state.champions_digest or None,
        "since": shown_revision(now.since),
        "author": now.author,
        "reason": now.reason,
        "demoted": now.demoted or None,
        "proposed": proposed,
        "certificate": None if found is None else _certificate(found),
        **rules,
    }


def _certificate(one: Certificate) -> dict[str, Any]:
    allows = one.allows
    return {
        **one.model_dump(mode="json"),
        "revoked": one.revoked or None,
        "allows": allows.word if allows >= Degree.PARTIAL else None,
    }


def degree_steps(endpoint: str, now: Standing, ladder: Ladder) -> list[dict[str, Any]]:
    """Return the degrees from below, with why each may be set or not.

    Args:
        endpoint: for the words.
        now: how it stands for the present champion.
        ladder: what the spec allows.

    Returns:
        rows with ``degree``, ``state`` (``now``, ``open``: a person may set it, ``closed``), and ``words``.
    """
    return [_step(endpoint, now, ladder, degree) for degree in Degree]


def _step(endpoint: str, now: Standing, ladder: Ladder, degree: Degree) -> dict[str, Any]:
    row = {"degree": degree.word, "state": "open", "words": ""}
    if degree is now.degree:
        return {**row, "state": "now", "words": _who(now)}
    try:
        now.raised(endpoint, degree, _SOMEBODY, ladder, reason="", at=0.0, revision=now.since)
    except Refused as error:
        return {**row, "state": "closed", "words": str(error).replace("; nothing changed", "")}
    if degree > now.degree and ladder.approvals > 1:
        asked = now.proposed
        first = "" if asked is None or asked.degree is not degree else f"; {asked.author} asks for it"
        return {**row, "words": f"two persons may set it{first}"}
    return {**row, "words": "a person may set it"}


def _who(now: Standing) -> str:
    since, why = shown_revision(now.since), f": {now.reason}" if now.reason else ""
    return f"since revision {since}, by {now.author}{why}"
