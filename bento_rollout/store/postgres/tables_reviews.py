"""The tables of a rollout's reviews, for PostgreSQL."""

from __future__ import annotations

__all__ = ["REVIEWS"]

REVIEWS: tuple[str, ...] = ()
"""The statements of version 1, run with the schema of one rollout's reviews."""
