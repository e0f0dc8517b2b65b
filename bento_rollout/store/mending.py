"""Makes a damaged or lost store anew: from what is still readable in it, and from the last good copies."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Mapping
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from ..errors import InvalidValue, RolloutError, StoreCorrupt
from ..spec import check_name
from ..state import Commit
from . import RolloutStore
from .beacon import Turn, Witness
from .database import COLUMNS, Database, commit_of, row_of
from .making import take_after
from .presence import Presence
from .sqlite import SQLiteStore

__all__ = ["Rest", "diagnose", "known", "mend"]

BESIDE = ("", "-journal", "-wal", "-shm")


@dataclass(frozen=True)
class Rest:
    """What is left of one rollout.

    Attributes:
        history: every commit that could be found, oldest first.
        seen: the newest revision that anybody is known to have seen.
    """

    history: tuple[Commit, ...]
    seen: int

    def continued(self, author: str) -> Commit:
        """Return the commit that goes on from here: the newest state, at a revision that nobody has seen."""
        last = self.history[-1]
        state = last.state.model_copy(update={"revision": max(self.seen, last.revision) + 1})
        reason = f"restored from the last good copy of revision {last.revision}"
        now = time.time()
        return Commit(
            state=state, parent=last.revision, time=now, author=author, action="repair", reason=reason
        )


def known(store: RolloutStore) -> list[str]:
    """Return the rollouts that a store has, and those whose files or workers are beside it, sorted."""
    found = _beside(store.folder) if isinstance(store, SQLiteStore) else set()
    with suppress(RolloutError):
        found.update(store.names())
    return sorted(found)


def _beside(folder: Path) -> set[str]:
    found: set[str] = set()
    with suppress(OSError):  # nothing may lie there, or this user may not look
        for place in folder.iterdir():
            with suppress(InvalidValue):
                left = any((place / name).exists() for name in ("state.json", "counter"))
                if left or Presence(place).living():
                    found.add(check_name(place.name, "rollout name"))
    return found


def diagnose(store: RolloutStore) -> None:
    """Read everything in a store.

    Raises:
        StoreUnreachable: it cannot be read now.
        StoreCorrupt: it is damaged or lost, or holds less than was committed to it; `mend` is for that.
    """
    store.check()
    for name in known(store):
        store.history(name)
        store.read(name)


def mend(store: SQLiteStore, author: str) -> list[str]:
    """Put a damaged or lost store aside and make a new one; say what was done, nothing when it is whole.

    Nobody can commit meanwhile, and the new store takes the old one's place whole.

    Raises:
        StoreUnreachable: it is locked, cannot be written, or nothing is left to make it from.
    """
    with ExitStack() as held:
        beacons = {name: store.beacon(name) for name in known(store)}
        turns = {name: held.enter_context(beacon.writing()) for name, beacon in beacons.items()}
        try:
            diagnose(store)
        except StoreCorrupt as error:
            problem = str(error)
        else:
            return []
        rests = _rests(store, {name: beacon.witness() for name, beacon in beacons.items()})
        if not any(rest.history for rest in rests.values()):
            raise StoreCorrupt(f"{problem} (no good copy of any rollout was found: nothing was done)")
        return _replace(store, rests, turns, author)


def _rests(store: SQLiteStore, witnesses: Mapping[str, Witness]) -> dict[str, Rest]:
    ids = {witness.store_id for witness in witnesses.values() if witness.copy is not None}
    readable = _readable(store.path, ids)
    rests = {}
    for name, witness in witnesses.items():
        found = {commit.revision: commit for commit in readable if commit.state.name == name}
        if witness.copy is not None:
            found.setdefault(witness.copy.revision, witness.copy)
        cards = Presence(store.place(name)).living()
        seen = max([witness.revision, *(card.revision for card in cards)])
        rests[name] = Rest(tuple(found[revision] for revision in sorted(found)), seen)
    return rests


def _readable(path: Path, ids: set[str | None]) -> list[Commit]:
    """Return the commits that can still be read, unless the copies were made from another store."""
    commits: list[Commit] = []
    url = f"file:{quote(os.fsencode(path))}?mode=rw"
    with suppress(sqlite3.Error), closing(sqlite3.connect(url, uri=True)) as db:
        (identity,) = db.execute("SELECT value FROM meta WHERE key = 'store_id'").fetchone() or (None,)
        if ids and identity not in ids:
            return []
        for row in db.execute(f"SELECT {COLUMNS} FROM revisions"):  # noqa: S608 - constants
            with suppress(StoreCorrupt):
                commits.append(commit_of(row))
    return commits


def _replace(
    store: SQLiteStore, rests: Mapping[str, Rest], turns: Mapping[str, Turn], author: str
) -> list[str]:
    fresh = store.path.with_name(f".{store.path.name}.fresh")
    for suffix in BESIDE:
        fresh.with_name(fresh.name + suffix).unlink(missing_ok=True)
    again = {name: rest.continued(author) for name, rest in rests.items() if rest.history}
    rows = [row_of(c) for name, commit in again.items() for c in (*rests[name].history, commit)]
    identity = Database(fresh, fresh / "no copies", create=True, patience=0).fill(rows)
    take_after(fresh, store.path)
    done = _put_aside(store.path)
    fresh.replace(store.path)
    for name, rest in rests.items():
        if name in again:
            done.append(
                f"{name}: revision {again[name].revision} in {store.path} is the last good copy of revision "
                f"{again[name].parent}; older revisions saved: {len(rest.history)}"
            )
            turns[name].publish(again[name], identity)
        else:
            turns[name].forget()
            done.append(f"{name}: no good copy was found; its next start seeds it from the spec")
    return done


def _put_aside(path: Path) -> list[str]:
    """Move a store's files away, keeping the file itself in place until the new one replaces it."""
    aside = path.with_name(f"{path.name}.damaged-{int(time.time())}")
    while aside.exists():
        aside = aside.with_name(f"{aside.name}-again")
    for suffix in BESIDE[1:]:  # a journal that stayed would be rolled back into the new file
        with suppress(FileNotFoundError):
            path.with_name(path.name + suffix).rename(aside.with_name(aside.name + suffix))
    if not path.exists():
        return []
    try:
        aside.hardlink_to(path)
    except OSError:  # not every file system has links
        path.rename(aside)
    return [f"{path} was put aside as {aside.name}"]
