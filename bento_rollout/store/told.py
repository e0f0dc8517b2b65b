"""`Told`: how far each receiver of notices has been told, so that a new leader goes on from there."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import RolloutError
from .files import read_json, write_json
from .making import make_folder
from .place import Place, Shared, folder_of

__all__ = ["Told", "ToldFile"]


@dataclass(frozen=True, slots=True)
class Told:
    """How far the receivers of one rollout's notices have been told. Immutable.

    Attributes:
        revision: the newest revision that was looked at; 0: none.
        time: when that one was made: a new store counts its revisions anew.
        receivers: for each receiver the revision up to which there is nothing left to tell it.
    """

    revision: int = 0
    time: float = 0.0
    receivers: Mapping[str, int] = field(default_factory=dict)


class ToldFile:
    """Keeps `Told` in a rollout's place; only its leader writes it.

    What cannot be read is nothing, and what cannot be written is not kept: the next leader then tells some
    of it once more, under the same ids.
    """

    def __init__(self, place: Place) -> None:
        self._place = place

    def read(self) -> Told:
        """Return what was kept; nothing when there is none, or none that can be read."""
        try:
            data: Any = _read(self._place) if isinstance(self._place, Shared) else read_json(self._path)
            receivers = {str(name): int(revision) for name, revision in data["receivers"].items()}
            return Told(int(data["revision"]), float(data["time"]), receivers)
        except (TypeError, ValueError, KeyError, AttributeError, OverflowError):
            return Told()

    def write(self, told: Told) -> None:
        """Keep it, as far as that is possible."""
        data = {"revision": told.revision, "time": told.time, "receivers": dict(told.receivers)}
        if isinstance(self._place, Shared):
            with suppress(RolloutError, sqlite3.Error):
                _write(self._place, data)
        else:
            with suppress(OSError):
                make_folder(self._path.parent)
                write_json(self._path, data)

    @property
    def _path(self) -> Path:
        return folder_of(self._place) / "told.json"


def _read(place: Shared) -> dict[str, Any] | None:
    try:
        with closing(place.connect("reviews", make=False)) as db:
            row = db.execute("SELECT revision, time, receivers FROM noticed WHERE one = 1").fetchone()
    except (RolloutError, sqlite3.Error):
        return None
    return None if row is None else {**dict(row), "receivers": json.loads(row["receivers"])}


def _write(place: Shared, data: Mapping[str, Any]) -> None:
    with closing(place.connect("reviews")) as db:
        db.execute(
            "INSERT INTO noticed VALUES (1, ?, ?, ?) ON CONFLICT (one) DO UPDATE SET "
            "revision = excluded.revision, time = excluded.time, receivers = excluded.receivers",
            (data["revision"], data["time"], json.dumps(data["receivers"])),
        )
