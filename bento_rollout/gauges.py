"""What plain thresholds may be about in every service: the memory of a variant's processes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from .view import View

__all__ = ["gauges_of"]


def gauges_of(variant: str, view: View) -> Mapping[str, float]:
    """Return what can be read of a variant on this host, by name.

    ``rss`` is the resident memory, in bytes, of the largest process that runs the variant: of a variant in
    the worker the worker's. Where the system tells nobody (it has no ``/proc``, or the process is
    elsewhere), it is left out.
    """
    pids = [pid for card in view.cards if (pid := _pid(card, variant)) is not None]
    found = [size for pid in pids if (size := _resident(pid)) is not None]
    return {"rss": float(max(found))} if found else {}


def _pid(card: object, variant: str) -> int | None:
    described = getattr(card, "variants", {}).get(variant)
    if described is None or described.runner not in ("worker", "process"):
        return None
    if described.process is not None:
        return int(described.process.get("pid", 0)) or None
    return int(getattr(card, "pid", 0)) or None


def _resident(pid: int) -> int | None:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None
