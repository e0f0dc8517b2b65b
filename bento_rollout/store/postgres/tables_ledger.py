"""The tables of a rollout's ledger, for PostgreSQL."""

from __future__ import annotations

__all__ = ["LEDGER"]

LEDGER: tuple[str, ...] = ()
"""The statements of version 1, run with the schema of one rollout's ledger."""
