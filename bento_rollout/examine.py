"""`examine` looks at everything that can be wrong around a store; `repair` makes a lost or damaged one anew."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from .errors import RolloutError
from .operations import Rollout, default_author, describe
from .state import Commit
from .store.beacon import Beacon
from .store.location import Location, locate
from .store.sqlite import SQLiteStore

__all__ = ["examine", "repair"]


def examine(*, store: str | None = None) -> dict[str, Any]:
    """Return what ``doctor`` shows: store, permissions, tokens, and each rollout with its workers and problems."""
    location = locate(store)
    place = SQLiteStore(location.path)
    problem: str | None = None
    names: set[str] = {folder.parent.name for folder in place.folder.glob("*/state.json")}
    try:
        place.check()
        names |= set(place.names())
    except RolloutError as error:
        problem = str(error)
    return {
        "store": describe(location, problem),
        "permissions": _permissions(place),
        "token": _tokens(),
        "rollouts": [_look(Rollout(name, place, location, "doctor")) for name in sorted(names)],
    }


def _look(rollout: Rollout) -> dict[str, Any]:
    try:
        status = rollout.status()
    except RolloutError as error:
        return {
            "name": rollout.name,
            "revision": None,
            "workers": [],
            "differences": [],
            "problems": [str(error)],
        }
    problems = [f"worker {w['pid']}: {w['trouble']}" for w in status["workers"] if w["trouble"]]
    problems += [
        f"worker {w['pid']} serves revision {w['revision']}, not {status['revision']}"
        for w in status["workers"]
        if w["revision"] != status["revision"]
    ]
    for name, row in status["variants"].items():
        if row["state"] not in ("ready", "starting") and status["workers"]:
            problems.append(f"variant {name!r} is {row['state']}: {row['error']}")
        if "held" in row:
            problems.append(f"variant {name!r}: {row['held']}; grant it with `weight` or `apply`")
    return {
        "name": rollout.name,
        "revision": status["revision"],
        "champion": status["champion"],
        "workers": status["workers"],
        "differences": status["differences"],
        "problems": problems,
    }


def _permissions(place: SQLiteStore) -> list[str]:
    found = []
    for path in (place.path, place.folder):
        if path.exists() and not os.access(path, os.R_OK | os.W_OK):
            found.append(f"{path} is not readable and writable for this user")
    if not place.path.exists() and place.path.parent.exists() and not os.access(place.path.parent, os.W_OK):
        found.append(f"{place.path.parent} is not writable for this user")
    return found


def _tokens() -> dict[str, Any]:
    path = os.environ.get("BENTO_ROLLOUT_ADMIN_TOKEN_FILE")
    direct = bool(os.environ.get("BENTO_ROLLOUT_ADMIN_TOKEN"))
    names = ["admin"] if direct else []
    problem = None
    if path:
        try:
            lines = Path(path).read_text(encoding="utf-8").splitlines()
            names += [
                line.partition(":")[0].strip()
                for line in lines
                if ":" in line and not line.lstrip().startswith("#")
            ]
        except (OSError, UnicodeDecodeError) as error:
            problem = f"{path} cannot be read: {error}"
    return {"admin": bool(names), "names": names, "problem": problem}


def repair(*, store: str | None = None) -> list[str]:
    """Put a damaged or lost store aside and make a new one from the last good copies; return what was done.

    The history before the copies stays in the file that was put aside. A store that is whole is left alone.

    Raises:
        StoreUnreachable: when the folder cannot be written.
    """
    location = locate(store)
    place = SQLiteStore(location.path)
    copies = [(beacon.folder.name, beacon.load()) for beacon in _beacons(place)]
    if not _needs_repair(place, copies):
        return [f"{location.path} is whole; nothing was done"]
    done = []
    if location.path.exists():
        aside = location.path.with_name(f"{location.path.name}.damaged-{int(time.time())}")
        location.path.rename(aside)
        done.append(f"{location.path} was put aside as {aside.name}")
    for folder, _ in copies:
        _aside(place.folder / folder / "state.json")
    fresh = SQLiteStore(location.path, create=True)
    for name, commit in copies:
        if commit is None:
            done.append(f"{name}: no good copy was found; its next start seeds it from the spec")
            continue
        done.append(_restore(fresh, name, commit, location))
    return done


def _restore(fresh: SQLiteStore, name: str, commit: Commit, location: Location) -> str:
    revision = commit.revision + 1
    state = commit.state.model_copy(update={"revision": revision})
    again = Commit(
        state=state,
        parent=commit.revision,
        time=time.time(),
        author=default_author(),
        action="repair",
        reason=f"restored from the last good copy of revision {commit.revision}",
    )
    fresh.adopt(again)
    return (
        f"{name}: revision {revision} in {location.path} is the last good copy of revision {commit.revision}"
    )


def _needs_repair(place: SQLiteStore, copies: list[tuple[str, Commit | None]]) -> bool:
    try:
        place.check()
        for name, _ in copies:
            place.heal(name)
    except RolloutError:
        return True
    return False


def _beacons(place: SQLiteStore) -> list[Beacon]:
    return [place.beacon(path.name) for path in sorted(place.folder.glob("*")) if path.is_dir()]


def _aside(path: Path) -> None:
    if path.exists():
        path.rename(path.with_name(f"{path.name}.before-repair"))
