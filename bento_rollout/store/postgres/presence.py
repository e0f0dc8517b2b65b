"""Who is alive, on all hosts: a row for each worker, and a lock that goes with its connection."""

from __future__ import annotations

import json
import os
import secrets
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace

from ...errors import StoreUnreachable
from ..place import Shared
from ..presence import Card, Silent
from .connection import Connection
from .link import LIVING, Link
from .news import SharedBeacon
from .silence import silent_at

__all__ = ["SharedPresence"]

PATIENCE = 5.0
"""Seconds that a worker's start waits for its first connection."""


class SharedPresence:
    """The workers of one rollout on all hosts that share its database.

    Args:
        place: the rollout.
    """

    def __init__(self, place: Shared) -> None:
        self._engine, self._name = place.engine, place.name
        self._pid = os.getpid()
        self.token = f"{self._pid}-{secrets.token_hex(4)}"
        beacon = SharedBeacon(place.engine, place.name, place.folder)
        self._link = Link(place.engine, place.name, beacon, self.token)
        self._joined = False

    def join(self) -> None:
        """Be seen as alive from now on, as long as this process and its connection live.

        Raises:
            OSError: the database cannot be reached now; it is tried again and again.
        """
        if not self._joined:
            self._joined = True
            self._link.start(PATIENCE)

    def stay(self) -> bool:
        """Make sure that others see this worker; its link does it, whatever was lost.

        Raises:
            OSError: the database cannot be reached now.
        """
        if (problem := self._link.problem) is not None:
            raise ConnectionError(problem)
        return False

    def write(self, card: Card) -> None:
        """Replace what this worker says of itself; the last one stays as the service's description.

        Raises:
            OSError: the database cannot be reached.
        """
        text = json.dumps(asdict(replace(card, host=socket.gethostname())), separators=(",", ":"))
        self._link.describe(text, card.lease)
        try:
            with self._engine.lent() as db:
                db.execute("UPDATE workers SET card = ? WHERE token = ?", (text, self.token))
                db.execute(
                    "INSERT INTO services VALUES (?, ?) "
                    "ON CONFLICT (rollout) DO UPDATE SET card = excluded.card",
                    (self._name, text),
                )
        except sqlite3.Error as error:
            raise ConnectionError(str(error)) from None

    def leave(self) -> None:
        """Be seen no longer."""
        if os.getpid() == self._pid and self._joined:  # a forked child is not the worker
            self._link.stop()

    def living(self) -> list[Card]:
        """Return the cards of the workers that are alive now and have a connection.

        Raises:
            StoreUnreachable: the database cannot be used.
        """
        living = f"w.rollout = ? AND {LIVING}"
        query = f"SELECT w.token, w.host, w.card FROM workers w WHERE {living}"  # noqa: S608 - constants
        cards = [_card(*row) for row in self._rows(query)]
        return sorted(cards, key=lambda card: (card.host, card.worker, card.pid))

    def silent(self) -> list[Silent]:
        """Return the workers that have lost their connection, as far as anybody can say.

        Raises:
            StoreUnreachable: the database cannot be used.
        """
        with self._asked() as db:
            return silent_at(db, self._name)

    def last(self) -> Card | None:
        """Return the newest card that any worker wrote, alive or not: what the service is like.

        Raises:
            StoreUnreachable: the database cannot be used.
        """
        rows = self._rows("SELECT card FROM services WHERE rollout = ?")
        return _loaded(rows[0][0]) if rows else None

    def _rows(self, query: str) -> list[tuple[str, ...]]:
        with self._asked() as db:
            return db.execute(query, (self._name,)).fetchall()

    @contextmanager
    def _asked(self) -> Iterator[Connection]:
        try:
            with self._engine.lent() as db:
                yield db
        except sqlite3.Error as error:
            problem = f"the store {self._engine.shown} cannot be used: {error}; nothing changed"
            raise StoreUnreachable(problem) from None


def _card(token: str, host: str, text: str) -> Card:
    """Return a living worker's card; one that could not write it counts, with an empty one."""
    if (card := _loaded(text)) is not None and card.token == token:
        return card
    pid = token.partition("-")[0]
    number = int(pid) if pid.isdecimal() else 0
    return Card(token, number, 0, "", 0, trouble="it could not write its card", host=host)


def _loaded(text: str) -> Card | None:
    try:
        return Card.load(json.loads(text))
    except ValueError:
        return None
