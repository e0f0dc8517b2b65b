"""The tables of what a rollout's workers count, find and watch, for PostgreSQL."""

from __future__ import annotations

__all__ = ["DRIFT", "EVIDENCE", "SHADOWS"]

SHADOWS: tuple[str, ...] = ()
"""The statements of version 1, run with the schema of one rollout's counts of shadows."""

EVIDENCE: tuple[str, ...] = ()
"""The statements of version 1, run with the schema of one rollout's evidence."""

DRIFT: tuple[str, ...] = ()
"""The statements of version 1, run with the schema of one rollout's watch for drift."""
