"""Opens the store that a location names, of whatever kind."""

from __future__ import annotations

from . import RolloutStore
from .location import Location
from .place import Place, Shared
from .presence import Presence, Workers
from .sqlite import SQLiteStore

__all__ = ["open_at", "presence_at"]


def open_at(location: Location, *, create: bool = False, patience: float = 5.0) -> RolloutStore:
    """Return a store.

    Args:
        location: where it lies.
        create: make an SQLite file when it is not there; a database is made by `bento-rollout migrate` only.
        patience: seconds to wait for another process's lock.
    """
    if location.database is None:
        return SQLiteStore(location.path, create=create, patience=patience)
    from .postgres.engine import engine_at
    from .postgres.store import PostgresStore

    return PostgresStore(engine_at(location.database), location.path, patience=patience)


def presence_at(place: Place) -> Workers:
    """Return the workers of a rollout."""
    if not isinstance(place, Shared):
        return Presence(place)
    from .postgres.presence import SharedPresence

    return SharedPresence(place)
