"""`Keepsake`: one JSON document that all workers of a rollout keep together."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..errors import StoreUnreachable
from .files import read_json, release, try_lock, write_json
from .making import make_folder
from .place import Place, Shared

__all__ = ["DRIFT_REFERENCE", "Keepsake"]

DRIFT_REFERENCE = "drift-reference"
"""The reference that inputs are compared with, of a rollout that watches for drift."""


class Keepsake:
    """A document beside the store: a file in the rollout's folder, or a row of the database of many hosts.

    Args:
        place: where what belongs to the rollout lies.
        name: of the document.
    """

    def __init__(self, place: Place, name: str) -> None:
        self._place, self._name = place, name

    @property
    def where(self) -> str:
        """Where it is, for messages."""
        if isinstance(self._place, Shared):
            return self._place.words(self._name)
        return str(self._place / f"{self._name}.json")

    def mark(self) -> object | None:
        """Return what is another one after it was written; None: there is none. Never raises."""
        if isinstance(self._place, Shared):
            try:
                row = self._row("writing")
            except StoreUnreachable:
                return None
            return None if row is None else int(row[0])
        try:
            there = (self._place / f"{self._name}.json").stat()
        except OSError:
            return None
        return there.st_mtime_ns, there.st_size

    def read(self) -> Any | None:
        """Return the document; None: it is missing or damaged.

        Raises:
            StoreUnreachable: the database cannot be used.
        """
        if not isinstance(self._place, Shared):
            return read_json(self._place / f"{self._name}.json")
        try:
            return json.loads((self._row("document") or ("null",))[0])
        except ValueError:
            return None

    def write(self, document: object) -> None:
        """Replace the document whole.

        Raises:
            StoreUnreachable: it cannot be written.
        """
        if isinstance(self._place, Shared):
            self._write(self._place, json.dumps(document, separators=(",", ":")))
            return
        try:
            make_folder(self._place)
            write_json(self._place / f"{self._name}.json", document)
        except OSError as error:
            raise StoreUnreachable(f"{self.where}: it cannot be written: {error.strerror}") from None

    @contextmanager
    def turn(self) -> Iterator[bool]:
        """Be the only one who makes it; yields false when somebody else is just doing that.

        Raises:
            StoreUnreachable: nobody can say.
        """
        if isinstance(self._place, Shared):
            with self._place.engine.turn(f"{self._place.name} {self._name}") as mine:
                yield mine
            return
        try:
            make_folder(self._place)
            lock = try_lock(self._place / f"{self._name}.json.lock")
        except OSError as error:
            raise StoreUnreachable(f"{self.where}: it cannot be locked: {error.strerror}") from None
        try:
            yield lock is not None
        finally:
            if lock is not None:
                release(lock)

    def _row(self, column: str) -> tuple[Any, ...] | None:
        place = self._place
        assert isinstance(place, Shared)
        query = f"SELECT {column} FROM keepsakes WHERE rollout = ? AND name = ?"  # noqa: S608 - a constant
        try:
            with place.engine.lent() as db:
                return db.execute(query, (place.name, self._name)).fetchone()  # type: ignore[no-any-return]  # a row
        except sqlite3.Error as error:
            raise StoreUnreachable(f"{self.where} cannot be read: {error}") from None

    def _write(self, place: Shared, text: str) -> None:
        try:
            with place.engine.lent() as db:
                db.execute(
                    "INSERT INTO keepsakes VALUES (?, ?, ?, 1) ON CONFLICT (rollout, name) "
                    "DO UPDATE SET document = excluded.document, writing = keepsakes.writing + 1",
                    (place.name, self._name, text),
                )
        except sqlite3.Error as error:
            raise StoreUnreachable(f"{self.where}: it cannot be written: {error}") from None
