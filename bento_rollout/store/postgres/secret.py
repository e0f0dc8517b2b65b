"""Secrets that all hosts share: made once, by whoever asks first."""

from __future__ import annotations

import secrets

from .engine import Engine

__all__ = ["shared_secret"]


def shared_secret(engine: Engine, name: str) -> bytes:
    """Return a secret of 32 random bytes in hex.

    Raises:
        OperationalError: the database cannot be used.
    """
    with engine.lent() as db:
        query = "SELECT secret FROM secrets WHERE name = ?"
        if (row := db.execute(query, (name,)).fetchone()) is None:
            db.execute(
                "INSERT INTO secrets VALUES (?, ?) ON CONFLICT DO NOTHING", (name, secrets.token_hex(32))
            )
            row = db.execute(query, (name,)).fetchone()
        return str(row[0]).encode()
