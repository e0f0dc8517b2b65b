"""What one process knows of a rollout without asking the database: told by a link, read by requests."""

from __future__ import annotations

import struct
import threading
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from ...errors import StoreUnreachable
from ...state import Commit
from ..files import read_json, write_json
from ..making import make_folder
from .engine import Engine
from .faults import OperationalError

__all__ = ["CHANNEL", "News", "SharedBeacon"]

CHANNEL = "bento_rollout"
"""Where hosts tell each other of a new revision, or (0) that there is something else to look at."""

_TOKEN = struct.Struct(">QQ")


class News:
    """The newest commit of a rollout that this process knows; a token says when to look again.

    Attributes:
        token: another value after each change; empty: nothing is known yet.
        commit: the newest commit, or None.
        contacted: when the database was last known to be within reach, by the monotonic clock; 0: never.
    """

    def __init__(self) -> None:
        self.token = b""
        self.commit: Commit | None = None
        self.contacted = 0.0
        self._sequence = 0
        self._lock = threading.Lock()

    @property
    def revision(self) -> int:
        """The newest revision that is known; 0: none."""
        return 0 if self.commit is None else self.commit.revision

    def tell(self, commit: Commit) -> None:
        """Let every later look find a commit, unless a newer one is known."""
        with self._lock:
            if commit.revision > self.revision:
                self.commit = commit
                self._bump()

    def poke(self) -> None:
        """Let everybody in this process look: there is something beside the state."""
        with self._lock:
            self._bump()

    def _bump(self) -> None:
        self._sequence += 1
        self.token = _TOKEN.pack(self._sequence, self.revision)


class SharedBeacon:
    """The signal of a rollout: to all hosts through the database, within this process through memory.

    A copy of the newest commit lies in this host's folder; a worker starts from it when there is no database.

    Args:
        engine: the database.
        name: the rollout.
        folder: this host's folder of the rollout.

    Attributes:
        news: what this process knows.
    """

    def __init__(self, engine: Engine, name: str, folder: Path) -> None:
        self.news: News = engine.kept(name, News)
        self._engine, self._name, self._copy = engine, name, folder / "state.json"

    @property
    def contacted(self) -> float:
        """When the database was last known to be within reach, by the monotonic clock; 0: never."""
        return self.news.contacted

    def token(self) -> bytes:
        """Return a value that is another one after each change. Never raises, never waits."""
        return self.news.token

    def revision_in(self, token: bytes) -> int | None:
        """Return the revision that a token speaks of, or None: it says nothing."""
        return int(_TOKEN.unpack(token)[1]) if len(token) == _TOKEN.size else None

    def load(self) -> Commit | None:
        """Return the newest commit that is known without the database, or None."""
        return self.news.commit or self.read_copy()[0]

    def poke(self, patience: float = 5.0) -> None:
        """Let everybody look: there is something beside the state.

        Raises:
            StoreUnreachable: they cannot be told.
        """
        try:
            with self._engine.lent(patience=patience) as db:
                db.execute("SELECT pg_notify(?, ?)", (CHANNEL, f"{self._name} 0"))
        except OperationalError as error:
            raise StoreUnreachable(f"{self._engine.shown} cannot be used: {error}") from None
        self.news.poke()

    def keep(self, commit: Commit, store_id: str, patience: float = 0.0) -> None:  # noqa: ARG002 - no lock here
        """Keep a commit that somebody serves by for bad days, unless a newer one is kept; never raises."""
        kept, of = self.read_copy()
        if kept is not None and of == store_id and kept.revision >= commit.revision:
            return
        with suppress(OSError):
            make_folder(self._copy.parent)
            write_json(self._copy, {"store": store_id, "commit": commit.model_dump(mode="json")})

    def read_copy(self) -> tuple[Commit | None, str | None]:
        """Return the commit that is kept for bad days, and the id of the database that it is from."""
        data = read_json(self._copy)
        try:
            return Commit.model_validate(data["commit"]), str(data["store"])  # type: ignore[index]  # None: see below
        except (TypeError, KeyError, ValidationError):
            return None, None
